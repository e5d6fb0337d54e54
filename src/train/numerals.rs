//! Numbers as people and spreadsheets write them: `1,234.5`, `1.234,5`, `1'234`, `$5`, `12 %`.
//!
//! What `1,200` means is not told by the word but by its column, so one way of writing is found for a column as a whole, and
//! none where two would do.

/// What may stand before or behind a number. One column has one of them.
const SIGNS: [&str; 10] = ["$", "€", "£", "¥", "₹", "%", "EUR", "USD", "GBP", "CHF"];

/// What may stand between thousands, beside the point and the comma.
const BLANKS: [char; 5] = [' ', '\u{a0}', '\u{202f}', '\'', '\u{2019}'];

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

/// A column whose numbers may be one thing or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl Notation {
    /// As programs write numbers.
    pub(super) const PLAIN: Self = Self { decimals: Decimals::Plain, sign: None };

    /// The way of writing that reads most rows of a column, whose words come with how often each stands there.
    pub(super) fn of(words: &[(&str, usize)]) -> Result<Self, Ambiguous> {
        let sign = sign_of(words);
        let ways =
            [Decimals::Plain, Decimals::Point, Decimals::Comma].map(|decimals| Self { decimals, sign });
        let [plain, point, comma] = ways.map(|way| way.count(words));
        let [as_plain, as_point, as_comma] = ways;
        match () {
            () if plain >= point && plain >= comma => Ok(as_plain),
            () if point > comma => Ok(as_point),
            () if comma > point => Ok(as_comma),
            () if as_point.are_thousands(words) => Ok(as_point),
            () => Err(Ambiguous),
        }
    }

    /// A finite number.
    pub(super) fn read(self, word: &str) -> Option<f64> {
        let (minus, rest) = match word.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let bare = self.sign.map_or(rest, |sign| without(rest, sign));
        if minus && bare.starts_with(['-', '+']) {
            return None;
        }
        let number = match self.decimals {
            Decimals::Plain => bare.parse().ok(),
            Decimals::Point => plain(bare, '.', ',').and_then(|text| text.parse().ok()),
            Decimals::Comma => plain(bare, ',', '.').and_then(|text| text.parse().ok()),
        };
        number.filter(|number: &f64| number.is_finite()).map(|number| if minus { -number } else { number })
    }

    /// What is to be known of it: leads must bring the numbers as they are read.
    pub(super) fn note(self) -> Option<String> {
        let how = match self.decimals {
            Decimals::Plain => "",
            Decimals::Point => " separators between thousands",
            Decimals::Comma => " decimal commas",
        };
        let sign = self.sign.map_or(String::new(), |sign| format!(" `{sign}`"));
        let and = if how.is_empty() || sign.is_empty() { "" } else { " and" };
        let told =
            format!("its numbers have{how}{and}{sign}, and are read without; leads must bring plain numbers");
        (self != Self::PLAIN).then_some(told)
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
            let bare = without(word.strip_prefix('-').unwrap_or(word), sign);
            bare.len() < word.len() && bare.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    let mut found = SIGNS.into_iter().filter(|sign| has(sign));
    found.next().filter(|_| found.next().is_none())
}

/// A text without a sign before or behind it.
fn without<'w>(word: &'w str, sign: &str) -> &'w str {
    word.strip_prefix(sign).or_else(|| word.strip_suffix(sign)).map_or(word, str::trim)
}

/// `1 234,5` as `1234.5`. Thousands are all separated, or none is, and always by the same.
fn plain(text: &str, decimal: char, thousands: char) -> Option<String> {
    let (whole, fraction) = text.split_once(decimal).unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let separator = whole.chars().find(|c| *c == thousands || BLANKS.contains(c));
    let whole = match separator {
        None => whole.to_owned(),
        Some(separator) => {
            let mut groups = whole.split(separator);
            let first = groups.next().filter(|first| (1..=3).contains(&first.len()) && *first != "0")?;
            let rest: Vec<&str> = groups.collect();
            rest.iter().all(|group| group.len() == 3).then(|| format!("{first}{}", rest.concat()))?
        }
    };
    (is_digits(&whole) && is_digits(fraction)).then(|| format!("{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a column, `-` for what is none.
    fn check(words: &[&str], expected: Result<&str, Ambiguous>) {
        let counted: Vec<(&str, usize)> = words.iter().map(|word| (*word, 1)).collect();
        let read = Notation::of(&counted).map(|notation| {
            let numbers = words.iter().map(|word| notation.read(word).map_or("-".into(), |x| x.to_string()));
            numbers.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(read.as_deref().map_err(|ambiguous| *ambiguous), expected, "{words:?}");
    }

    #[test]
    fn a_column_is_written_one_way() {
        check(&["1", "2.5", "-1e3", "x"], Ok("1 2.5 -1000 -"));
        check(&["1.200", "2.5"], Ok("1.2 2.5"));
        check(&["1,234.5", "12", "-1,234,567"], Ok("1234.5 12 -1234567"));
        check(&["1.234,5", "12", "0,125"], Ok("1234.5 12 0.125"));
        check(&["1,5", "2"], Ok("1.5 2"));
        check(&["1.234.567", "1.200", "950"], Ok("1234567 1200 950"));
        check(&["1 234,5", "1\u{a0}234", "12\u{202f}345,25"], Ok("1234.5 1234 12345.25"));
        check(&["1'234.50", "7"], Ok("1234.5 7"));
        // One thousand two hundred, beside numbers that need no separator.
        check(&["1,200", "950", "12,500"], Ok("1200 950 12500"));
        check(&["1,200", "2,300"], Err(Ambiguous));
        check(&["1,200", "1500"], Err(Ambiguous));
        check(&["1,20,0", "12,34"], Ok("- 12.34"));
        check(&["inf", "NaN", "1"], Ok("- - 1"));
        check(&["", "-", "--1", "1..2", "1,,2", ",", "1,"], Ok("- - - - - - -"));
    }

    #[test]
    fn a_sign_may_stand_beside_them() {
        check(&["$5", "$1,200.50", "-$7"], Ok("5 1200.5 -7"));
        check(&["12 %", "3.5%", "7"], Ok("12 3.5 7"));
        check(&["1.234,50 €", "€ 7"], Ok("1234.5 7"));
        check(&["EUR 5", "6 EUR"], Ok("5 6"));
        // Two currencies are no one number; nor are codes.
        check(&["$5", "€5", "5"], Ok("- - 5"));
        check(&["K5", "K7"], Ok("- -"));
    }

    #[test]
    fn what_leads_must_bring_is_told() {
        let note = |words: &[&str]| {
            let counted: Vec<(&str, usize)> = words.iter().map(|word| (*word, 1)).collect();
            Notation::of(&counted).unwrap().note()
        };
        assert_eq!(note(&["1", "2.5"]), None);
        for (word, how) in [
            ("$5", "`$`"),
            ("1.234,5", "decimal commas"),
            ("1,234.5 €", "separators between thousands and `€`"),
        ] {
            let expected =
                format!("its numbers have {how}, and are read without; leads must bring plain numbers");
            assert_eq!(note(&[word]), Some(expected));
        }
    }
}
