//! Numbers as people and spreadsheets write them: `1,234.5`, `$5`, `12 %`, as `lead/reading.rs` reads them in a lead.
//!
//! What `1,200` means is not told by the word but by its column, so one way of writing is found for a column as a whole. None
//! is where it may be a decimal comma, for in a lead it would be read as another number.

use crate::lead::SIGNS;

/// How a column writes its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notation {
    decimals: Decimals,
    /// What stands beside them.
    sign: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decimals {
    /// `1234.5`, `1e3`
    Plain,
    /// `1,234.5`
    Point,
    /// `1.234,5`
    Comma,
}

/// A column whose numbers have decimal commas, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsure {
    /// Rows that would be numbers.
    pub(super) rows: usize,
}

impl Notation {
    /// As programs write numbers.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { decimals: Decimals::Plain, sign: None };

    /// The way of writing that reads most rows of a column, whose words come with how often each stands there.
    pub(super) fn of(words: &[(&str, usize)]) -> Result<Self, Unsure> {
        let sign = sign_of(words);
        let ways =
            [Decimals::Plain, Decimals::Point, Decimals::Comma].map(|decimals| Self { decimals, sign });
        let [plain, point, comma] = ways.map(|way| way.count(words));
        let [as_plain, as_point, _] = ways;
        match () {
            () if plain >= point && plain >= comma => Ok(as_plain),
            () if point > comma || (point == comma && as_point.are_thousands(words)) => Ok(as_point),
            () => Err(Unsure { rows: comma }),
        }
    }

    /// A finite number.
    pub(super) fn read(self, word: &str) -> Option<f64> {
        let (minus, rest) = match word.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let bare = self.sign.map_or(rest, |sign| without(rest, sign));
        // One sign is enough; `+5` alone is a number, as in a lead.
        if (minus || bare.len() < rest.len()) && bare.starts_with(['-', '+']) {
            return None;
        }
        let number = match self.decimals {
            Decimals::Plain => bare.parse().ok(),
            Decimals::Point => plain(bare, '.', ',').and_then(|text| text.parse().ok()),
            Decimals::Comma => plain(bare, ',', '.').and_then(|text| text.parse().ok()),
        };
        number.filter(|number: &f64| number.is_finite()).map(|number| if minus { -number } else { number })
    }

    /// Rows that it reads.
    fn count(self, words: &[(&str, usize)]) -> usize {
        words.iter().filter(|(word, _)| self.read(word).is_some()).map(|(_, count)| count).sum()
    }

    /// Whether each number from a thousand on has separators, and none below: then they stand between thousands.
    fn are_thousands(self, words: &[(&str, usize)]) -> bool {
        let numbers = || words.iter().filter_map(|(word, _)| Some((*word, self.read(word)?.abs())));
        let has_comma = |word: &str| word.contains(',');
        numbers().any(|(word, _)| !has_comma(word))
            && numbers().all(|(word, x)| has_comma(word) == (x >= 1000.0))
    }
}

/// The one sign that numbers of the column have.
fn sign_of(words: &[(&str, usize)]) -> Option<&'static str> {
    let has = |sign: &str| {
        words.iter().any(|(word, _)| {
            let rest = word.strip_prefix('-').unwrap_or(word);
            let bare = without(rest, sign);
            bare.len() < rest.len() && bare.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    let mut found = SIGNS.into_iter().filter(|sign| has(sign));
    found.next().filter(|_| found.next().is_none())
}

/// A text without a sign before or behind it.
fn without<'w>(word: &'w str, sign: &str) -> &'w str {
    word.strip_prefix(sign).or_else(|| word.strip_suffix(sign)).map_or(word, str::trim)
}

/// `1.234,5` as `1234.5`. Thousands are all separated, or none is.
fn plain(text: &str, decimal: char, thousands: char) -> Option<String> {
    let (whole, fraction) = text.split_once(decimal).unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match whole.split_once(thousands) {
        None => whole.to_owned(),
        Some((first, rest)) => {
            let fits = (1..=3).contains(&first.len()) && first != "0";
            let fits = fits && rest.split(thousands).all(|group| group.len() == 3);
            fits.then(|| whole.replace(thousands, ""))?
        }
    };
    (is_digits(&whole) && is_digits(fraction)).then(|| format!("{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::{FeatureType, Value, read_text};

    /// The numbers of a column, `-` for what is none; how many rows would be some where it is not sure.
    fn check(words: &[&str], expected: Result<&str, usize>) {
        let counted: Vec<(&str, usize)> = words.iter().map(|word| (*word, 1)).collect();
        let read = Notation::of(&counted).map(|notation| {
            let numbers = words.iter().map(|word| notation.read(word).map_or("-".into(), |x| x.to_string()));
            numbers.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(read.as_deref().map_err(|unsure| unsure.rows), expected, "{words:?}");
    }

    #[test]
    fn a_column_is_written_one_way() {
        check(&["1", "2.5", "-1e3", "x"], Ok("1 2.5 -1000 -"));
        check(&["1.200", "2.5"], Ok("1.2 2.5"));
        check(&["1,234.5", "12", "-1,234,567"], Ok("1234.5 12 -1234567"));
        check(&["1.234,5", "12", "0,125"], Err(3));
        check(&["1,5", "2", "x"], Err(2));
        check(&["1.234.567", "1.200", "950"], Err(3));
        // One thousand two hundred, beside numbers that need no comma.
        check(&["1,200", "950", "12,500"], Ok("1200 950 12500"));
        check(&["1,200", "2,300"], Err(2));
        check(&["1,200", "1500"], Err(2));
        check(&["inf", "NaN", "1"], Ok("- - 1"));
        check(&["", "-", "--1", "1..2", "1,,2", ",", "1,"], Ok("- - - - - - -"));
    }

    /// What training takes for a number is that number in a lead; what it does not, its column may still be sure of.
    #[test]
    fn a_lead_reads_the_same_number() {
        let columns: [&[&str]; 7] = [
            &["1", "2.5", "-1e3", "+5", ".5", "5.", "1E-2", "007", "x", "inf"],
            &["1,234.5", "12", "-1,234,567", "0,125", "1,200", "12,34"],
            &["$5", "$1,200.50", "-$7", "$-5", "$+5", "-$-5", "-5", "5"],
            &["12 %", "3.5%", "7", "-2 %"],
            &["1,234.50 €", "€ 7", "-€ 7", "950"],
            &["EUR 5", "6 EUR", "1e2 EUR"],
            &["1,200", "950", "12,500", "", "-", "--1", "1..2", "1,,2", ",", "1,"],
        ];
        let mut read = 0;
        for words in columns {
            let counted: Vec<(&str, usize)> = words.iter().map(|word| (*word, 1)).collect();
            let notation = Notation::of(&counted).unwrap();
            for word in words {
                let Some(number) = notation.read(word) else { continue };
                let lead = read_text((*word).into(), FeatureType::Number);
                assert_eq!(lead, Value::Number(number), "{word}");
                read += 1;
            }
        }
        assert!(read > 25, "{read}");
    }

    #[test]
    fn a_sign_may_stand_beside_them() {
        check(&["$5", "$1,200.50", "-$7"], Ok("5 1200.5 -7"));
        check(&["12 %", "3.5%", "7"], Ok("12 3.5 7"));
        check(&["1,234.50 €", "€ 7"], Ok("1234.5 7"));
        check(&["EUR 5", "6 EUR"], Ok("5 6"));
        // Two currencies are no one number; nor are codes.
        check(&["$5", "€5", "5"], Ok("- - 5"));
        check(&["K5", "K7"], Ok("- -"));
        check(&["$5", "$-5", "$+5", "-$-5", "-5", "+5"], Ok("5 - - - -5 5"));
    }
}
