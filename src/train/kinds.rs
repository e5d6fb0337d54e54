//! What each column of a table is, decided by the training rows: numbers, words, true or false, or nothing to learn from.
//!
//! The rules stand in `docs/training.md`, for whoever wonders why a column was left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dataset::{Cells, Column},
    numerals::{Notation, Unsure},
    table::{MISSING, Texts},
    times,
};
use crate::registry::ColumnNote;

/// Rows that must have a word for the model to know it.
const LEAST_ROWS: usize = 5;

/// Most words that a column keeps. Each is an input of every network, and with thousands of them a small one drowns.
const MOST_WORDS: usize = 500;

/// Longest word that is kept: the lead log cuts there.
const LONGEST: usize = 256;

/// Most different words beside a column's numbers.
const MOST_STRAYS: usize = 5;

/// Fewer rows that count up may do so by chance.
const LEAST_IDS: usize = 100;

/// Digits of a phone number, of seconds since 1970, or of an id; amounts so great are not all of one length.
const LEAST_DIGITS: usize = 9;

/// What the cells of a column become.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    name: String,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Numbers {
        /// Of the filled cells, the share that holds something else.
        strays: f64,
        notation: Notation,
    },
    Booleans,
    /// Those that the model knows. Of codes, `3.0` and `3` are one.
    Words {
        known: BTreeSet<String>,
        codes: bool,
    },
}

/// Why a column is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Unnamed,
    Nested,
    Withheld,
    Empty,
    Constant,
    Dates,
    Commas,
    Counter,
    Ids,
    Names,
    Rare,
}

impl Out {
    fn reason(self) -> &'static str {
        match self {
            Out::Unnamed => "has no name",
            Out::Nested => "holds objects or lists",
            Out::Withheld => "is not kept by the lead log as it was",
            Out::Empty => "is empty",
            Out::Constant => "is always the same",
            Out::Dates => "holds dates",
            Out::Commas => "holds numbers such as 1,2 or 1,200: write 1.2 or 1200",
            Out::Counter => "counts the rows: an id",
            Out::Ids => {
                "holds long whole numbers that differ in nearly every row: an id, a phone number or a time"
            }
            Out::Names => "differs in nearly every row: an id, a name or free text",
            Out::Rare => "has no word that enough rows share",
        }
    }

    /// As it is told.
    pub(super) fn note(self, column: &str) -> ColumnNote {
        ColumnNote { column: column.into(), note: self.reason().into() }
    }
}

/// A column's words, with how many training rows have each.
struct Seen<'t> {
    column: &'t Texts,
    words: Vec<(&'t str, usize)>,
    rows: usize,
    filled: usize,
    /// How its numbers are written.
    notation: Result<Notation, Unsure>,
}

impl Kind {
    /// What a column is by its training rows, and what a person should know of that; `Err` where it is no feature.
    pub(super) fn of(column: &Texts, rows: &[usize], is_category: bool) -> Result<(Self, Vec<String>), Out> {
        let seen = Seen::new(column, rows);
        seen.check()?;
        let kind = |form| Kind { name: column.name.clone(), form };
        if is_category || column.quoted {
            let (form, notes) = seen.words(is_category)?;
            return Ok((kind(form), notes));
        }
        if seen.words.iter().all(|(word, _)| truth(word).is_some()) {
            return Ok((kind(Form::Booleans), Vec::new()));
        }
        if let Ok(notation) = seen.notation
            && seen.are_numbers(notation)
        {
            let notes = seen.numbers(notation)?;
            return Ok((kind(Form::Numbers { strays: seen.strays(notation), notation }), notes));
        }
        let (form, notes) = seen.texts()?;
        Ok((kind(form), notes))
    }

    /// The feature's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The rows of a column, in this order.
    pub(super) fn column(&self, texts: &Texts, rows: &[usize]) -> Column {
        fn gather<T: Clone>(
            texts: &Texts,
            rows: &[usize],
            of: impl Fn(&String) -> Option<T>,
        ) -> Vec<Option<T>> {
            let values: Vec<Option<T>> = texts.words.iter().map(of).collect();
            rows.iter().map(|row| values.get(texts.code(*row) as usize).cloned().flatten()).collect()
        }
        let cells = match &self.form {
            Form::Numbers { notation, .. } => Cells::Numbers(gather(texts, rows, |word| notation.read(word))),
            Form::Booleans => Cells::Booleans(gather(texts, rows, |word| truth(word))),
            Form::Words { known, codes } => {
                let word = |word: &String| known.get(&*shown(word, *codes)).cloned();
                Cells::Words(gather(texts, rows, word))
            }
        };
        // A rare word is a value all the same; what is no number is read as missing, here and from a lead.
        let unseen = match &self.form {
            Form::Words { .. } => {
                let filled = rows.iter().filter(|row| texts.code(**row) != MISSING).count();
                filled.saturating_sub(rows.len() - cells.gaps())
            }
            _ => 0,
        };
        Column { name: self.name.clone(), cells, unseen }
    }

    /// The first row of another file that holds no number, where many more do than in the training rows.
    pub(super) fn stranger(&self, texts: &Texts, rows: &[usize]) -> Option<usize> {
        let Form::Numbers { strays, notation } = self.form else { return None };
        let odd = |row: &&usize| texts.word(**row).is_some_and(|word| notation.read(word).is_none());
        if Seen::new(texts, rows).strays(notation) <= strays + 0.1 {
            None
        } else {
            rows.iter().find(odd).copied()
        }
    }
}

impl<'t> Seen<'t> {
    fn new(column: &'t Texts, rows: &[usize]) -> Self {
        let counts = column.counts(rows);
        let words = column.words.iter().map(String::as_str).zip(counts).filter(|(_, count)| *count > 0);
        let words: Vec<(&str, usize)> = words.collect();
        let filled = words.iter().map(|(_, count)| count).sum();
        let notation = Notation::of(&words);
        Self { column, words, rows: rows.len(), filled, notation }
    }

    fn check(&self) -> Result<(), Out> {
        if self.column.name.is_empty() {
            return Err(Out::Unnamed);
        }
        if self.column.nested {
            return Err(Out::Nested);
        }
        // Some rows may hold it from before that was asked for; what a lead brings is not like what is left.
        if self.column.withheld {
            return Err(Out::Withheld);
        }
        match self.words.as_slice() {
            [] => Err(Out::Empty),
            // With gaps, that a value is there tells something.
            [_] if self.filled == self.rows => Err(Out::Constant),
            _ => Ok(()),
        }
    }

    /// Filled rows whose word is one of these.
    fn count(&self, is: impl Fn(&str) -> bool) -> usize {
        self.words.iter().filter(|(word, _)| is(word)).map(|(_, count)| count).sum()
    }

    fn numeric(&self, notation: Notation) -> usize {
        self.count(|word| notation.read(word).is_some())
    }

    /// The share of the filled rows that hold no number.
    fn strays(&self, notation: Notation) -> f64 {
        1.0 - self.numeric(notation) as f64 / self.filled.max(1) as f64
    }

    /// All, or nearly all beside a few words; or half, beside a single word, which then means that the number is missing.
    fn are_numbers(&self, notation: Notation) -> bool {
        let strays = self.words.iter().filter(|(word, _)| notation.read(word).is_none()).count();
        let numeric = self.numeric(notation);
        let is_code = self.words.iter().any(|(word, _)| leads_with_zero(word));
        let most = numeric * 10 >= self.filled * 9 && strays <= MOST_STRAYS;
        !is_code && (most || (strays == 1 && numeric * 2 >= self.filled))
    }

    fn numbers(&self, notation: Notation) -> Result<Vec<String>, Out> {
        let numbers = || self.words.iter().filter_map(|(word, _)| notation.read(word));
        let (least, most) =
            numbers().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let differ = self.words.len() == self.filled && self.filled >= LEAST_IDS;
        if differ && numbers().all(|x| x.fract() == 0.0) && most - least < 2.0 * self.filled as f64 {
            return Err(Out::Counter);
        }
        if self.words.iter().all(|(word, _)| times::is_compact_day(word)) {
            return Err(Out::Dates);
        }
        if self.are_ids() {
            return Err(Out::Ids);
        }
        if least == most && self.filled == self.rows {
            return Err(Out::Constant);
        }
        let strays = self.filled - self.numeric(notation);
        Ok(if strays > 0 {
            vec![format!("{strays} cells that are no numbers are read as missing")]
        } else {
            Vec::new()
        })
    }

    /// Whole numbers of the same many digits, nearly all different.
    fn are_ids(&self) -> bool {
        let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then_some(word.len());
        let length = self.words.first().and_then(|(word, _)| digits(word));
        self.words.len() * 10 >= self.filled * 9
            && self.filled >= LEAST_IDS
            && length.is_some_and(|length| length >= LEAST_DIGITS)
            && self.words.iter().all(|(word, _)| digits(word) == length)
    }

    /// Words, unless they are dates, numbers that cannot be read for sure, or different nearly everywhere.
    fn texts(&self) -> Result<(Form, Vec<String>), Out> {
        if self.count(times::is_moment) * 10 >= self.filled * 9 {
            return Err(Out::Dates);
        }
        if self.notation.is_err_and(|unsure| unsure.rows * 10 >= self.filled * 9) {
            return Err(Out::Commas);
        }
        self.words(false)
    }

    fn words(&self, codes: bool) -> Result<(Form, Vec<String>), Out> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (word, count) in &self.words {
            *counts.entry(shown(word, codes)).or_default() += count;
        }
        let different = counts.len();
        if different * 2 > self.filled {
            return Err(Out::Names);
        }
        let mut known: Vec<(String, usize)> = counts.into_iter().collect();
        known.retain(|(word, count)| *count >= LEAST_ROWS && word.len() <= LONGEST);
        // The sort is stable: of words as frequent, the first of the alphabet stay.
        known.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        known.truncate(MOST_WORDS);
        if known.is_empty() {
            return Err(Out::Rare);
        }
        let notes = if known.len() < different {
            vec![format!("{} of {different} words are known, the rest are read as unseen", known.len())]
        } else {
            Vec::new()
        };
        let known = known.into_iter().map(|(word, _)| word).collect();
        Ok((Form::Words { known, codes }, notes))
    }
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `true` and `false`, in any case. Other pairs of words are words.
fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A word as the encoder looks it up, which knows a number by its shortest text.
fn shown(word: &str, codes: bool) -> String {
    match number(word) {
        Some(number) if codes => number.to_string(),
        _ => word.to_owned(),
    }
}

/// `01234`: a code that happens to be digits.
fn leads_with_zero(text: &str) -> bool {
    let digits = text.strip_prefix('0').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::table;

    /// What 200 rows of a column are: its form with the words it knows and what is noted, or why it is left out.
    fn told(cell: impl Fn(usize) -> String, is_category: bool) -> String {
        let cells: Vec<String> = (0..200).map(cell).collect();
        let texts = table::texts("a", &cells);
        match Kind::of(&texts, &(0..200).collect::<Vec<_>>(), is_category) {
            Ok((Kind { form: Form::Words { known, .. }, .. }, notes)) => {
                format!("{} {}", known.into_iter().collect::<Vec<_>>().join(","), notes.join("; "))
            }
            Ok((Kind { form: Form::Numbers { .. }, .. }, notes)) => format!("numbers {}", notes.join("; ")),
            Ok((Kind { form: Form::Booleans, .. }, _)) => "booleans".to_owned(),
            Err(out) => out.reason().to_owned(),
        }
    }

    fn check(cell: impl Fn(usize) -> String, expected: &str) {
        assert_eq!(told(cell, false).trim_end(), expected);
    }

    /// One text in the first so many of ten rows, another in the rest.
    fn mixed(tenths: usize, one: impl Fn(usize) -> String, other: &str) -> impl Fn(usize) -> String {
        move |i| if i % 10 < tenths { one(i) } else { other.to_owned() }
    }

    fn decimal(i: usize) -> String {
        format!("{}.5", i * 7 % 90)
    }

    #[test]
    fn columns_with_nothing_to_learn_from_are_left_out() {
        check(|_| String::new(), "is empty");
        check(|i| ["", "NA", "n/a", "NULL", "NaN", "none"][i % 6].to_owned(), "is empty");
        check(|_| "x".into(), "is always the same");
        check(|i| ["5", "5.0"][i % 2].into(), "is always the same");
        check(|i| format!("2026-11-{:02}", i % 28 + 1), "holds dates");
        check(|i| format!("2026-11-02T10:{:02}:00Z", i % 60), "holds dates");
        check(|i| format!("1,{i:03}"), "holds numbers such as 1,2 or 1,200: write 1.2 or 1200");
        check(|i| format!("{:02}.{:02}.2026 09:30", i % 28 + 1, i % 12 + 1), "holds dates");
        check(|i| format!("{}/{}/2026 9:30 PM", i % 12 + 1, i % 28 + 1), "holds dates");
        check(|i| format!("202611{:02}", i % 28 + 1), "holds dates");
        let ids = "holds long whole numbers that differ in nearly every row: an id, a phone number or a time";
        check(|i| (555_010_000 + i * i * 7_919).to_string(), ids);
        check(|i| (i + 1000).to_string(), "counts the rows: an id");
        check(|i| format!("id-{i}"), "differs in nearly every row: an id, a name or free text");
        check(|i| format!("w{}", i % 60), "has no word that enough rows share");
    }

    #[test]
    fn numbers_may_have_a_few_words_beside_them() {
        check(decimal, "numbers");
        check(|i| (i % 3).to_string(), "numbers");
        check(mixed(5, |_| "5".into(), ""), "numbers");
        check(mixed(9, decimal, "-"), "numbers 20 cells that are no numbers are read as missing");
        check(mixed(6, decimal, "unknown"), "numbers 80 cells that are no numbers are read as missing");
        let commas = "holds numbers such as 1,2 or 1,200: write 1.2 or 1200";
        check(|i| ["1", "2", "1,5"][i % 3].into(), commas);
        check(|i| format!("{}.{:03},50 €", i % 9 + 1, i), commas);
        check(|i| format!("{} %", i % 60), "numbers");
        check(|i| format!("${},{:03}.50", i % 9 + 1, i), "numbers");
        check(|i| ["yes", "no", "t", "f"][i % 4].into(), "f,no,t,yes");
        check(mixed(9, |i| format!("{:03}", i % 9), "x"), "000,001,002,003,004,005,006,007,008,x");
        let floors = |i: usize| ["1", "2", "G", "B"][i % 4].to_owned();
        check(floors, "1,2,B,G");
    }

    #[test]
    fn words_are_those_that_enough_rows_have() {
        check(|i| ["True", "false"][i % 2].into(), "booleans");
        check(|i| ["yes", "no"][i % 2].into(), "no,yes");
        check(mixed(9, |_| "web".into(), ""), "web");
        check(
            |i| if i < 4 { "rare".into() } else { "web".into() },
            "web 1 of 2 words are known, the rest are read as unseen",
        );
        check(
            mixed(9, |_| "web".into(), &"x".repeat(257)),
            "web 1 of 2 words are known, the rest are read as unseen",
        );
        assert_eq!(told(|i| ["3", "3.0", "4"][i % 3].into(), true), "3,4 ");
        let cells: Vec<String> =
            (0..6000).map(|i| format!("w{:04}", if i < 5 { 0 } else { i % 600 })).collect();
        let rows: Vec<usize> = (0..6000).collect();
        let (kind, notes) = Kind::of(&table::texts("a", &cells), &rows, false).unwrap();
        let Form::Words { known, .. } = kind.form else { panic!("words") };
        assert_eq!((known.len(), known.first().unwrap().as_str()), (MOST_WORDS, "w0000"));
        assert_eq!(notes, ["500 of 600 words are known, the rest are read as unseen"]);
    }

    #[test]
    fn other_rows_are_read_as_the_training_rows_say() {
        let texts = table::texts("a", &["1", "2", "x", "", "3"]);
        let kind = Kind { name: "a".into(), form: Form::Numbers { strays: 0.25, notation: Notation::PLAIN } };
        let column = kind.column(&texts, &[4, 3, 2, 0]);
        assert!((column.unseen, column.is_complete()) == (0, false));
        assert!(matches!(column.cells, Cells::Numbers(all) if all == [Some(3.0), None, None, Some(1.0)]));
        assert_eq!((kind.stranger(&texts, &[0, 1, 2]), kind.stranger(&texts, &[3, 4])), (None, None));
        assert_eq!(kind.stranger(&texts, &[0, 2, 3]), Some(2));
        let words = Form::Words { known: ["x".to_owned()].into(), codes: false };
        let kind = Kind { name: "a".into(), form: words };
        let told =
            |rows: &[usize]| (kind.column(&texts, rows).unseen, kind.column(&texts, rows).is_complete());
        let column = kind.column(&texts, &[0, 2]);
        assert!(matches!(column.cells, Cells::Words(all) if all == [None, Some("x".to_owned())]));
        assert_eq!((told(&[0, 2]), told(&[0, 3, 4])), ((1, true), (2, false)), "a rare word is a value");
    }
}
