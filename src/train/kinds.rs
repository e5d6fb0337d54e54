//! What each column of a table is, decided by the training rows: numbers, words, true or false, or nothing to learn from.
//!
//! The rules stand in `docs/training.md`, for whoever wonders why a column was left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dataset::{Cells, Column},
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

/// What the cells of a column become.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    name: String,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Numbers,
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
    Empty,
    Constant,
    Dates,
    Commas,
    Counter,
    Names,
    Rare,
}

impl Out {
    fn reason(self) -> &'static str {
        match self {
            Out::Unnamed => "has no name",
            Out::Nested => "holds objects or lists",
            Out::Empty => "is empty",
            Out::Constant => "is always the same",
            Out::Dates => "holds dates",
            Out::Commas => "holds numbers with commas; write 1200 or 1.2",
            Out::Counter => "counts the rows: an id",
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
        if seen.are_numbers() {
            let notes = seen.numbers()?;
            return Ok((kind(Form::Numbers), notes));
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
            Form::Numbers => Cells::Numbers(gather(texts, rows, |word| number(word))),
            Form::Booleans => Cells::Booleans(gather(texts, rows, |word| truth(word))),
            Form::Words { known, codes } => {
                let word = |word: &String| known.get(&*shown(word, *codes)).cloned();
                Cells::Words(gather(texts, rows, word))
            }
        };
        // A rare word is a value all the same.
        let complete = match &self.form {
            Form::Words { .. } => rows.iter().all(|row| texts.code(*row) != MISSING),
            _ => cells.is_complete(),
        };
        Column { name: self.name.clone(), cells, complete }
    }

    /// The first row of another table that holds no number, where too many do.
    pub(super) fn stranger(&self, texts: &Texts, rows: &[usize]) -> Option<usize> {
        if !matches!(self.form, Form::Numbers) {
            return None;
        }
        let seen = Seen::new(texts, rows);
        let odd = |row: &&usize| texts.word(**row).is_some_and(|word| number(word).is_none());
        if seen.numeric() * 10 >= seen.filled * 9 { None } else { rows.iter().find(odd).copied() }
    }
}

impl<'t> Seen<'t> {
    fn new(column: &'t Texts, rows: &[usize]) -> Self {
        let counts = column.counts(rows);
        let words = column.words.iter().map(String::as_str).zip(counts).filter(|(_, count)| *count > 0);
        let words: Vec<(&str, usize)> = words.collect();
        let filled = words.iter().map(|(_, count)| count).sum();
        Self { column, words, rows: rows.len(), filled }
    }

    fn check(&self) -> Result<(), Out> {
        if self.column.name.is_empty() {
            return Err(Out::Unnamed);
        }
        if self.column.nested {
            return Err(Out::Nested);
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

    fn numeric(&self) -> usize {
        self.count(|word| number(word).is_some())
    }

    /// All, or nearly all beside a few words; or half, beside a single word, which then means that the number is missing.
    fn are_numbers(&self) -> bool {
        let strays = self.words.iter().filter(|(word, _)| number(word).is_none()).count();
        let numeric = self.numeric();
        let is_code = self.words.iter().any(|(word, _)| leads_with_zero(word));
        let most = numeric * 10 >= self.filled * 9 && strays <= MOST_STRAYS;
        !is_code && (most || (strays == 1 && numeric * 2 >= self.filled))
    }

    fn numbers(&self) -> Result<Vec<String>, Out> {
        let numbers = || self.words.iter().filter_map(|(word, _)| number(word));
        let (least, most) =
            numbers().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let differ = self.words.len() == self.filled && self.filled >= LEAST_IDS;
        if differ && numbers().all(|x| x.fract() == 0.0) && most - least < 2.0 * self.filled as f64 {
            return Err(Out::Counter);
        }
        if least == most && self.filled == self.rows {
            return Err(Out::Constant);
        }
        let strays = self.filled - self.numeric();
        Ok(if strays > 0 {
            vec![format!("{strays} cells that are no numbers are read as missing")]
        } else {
            Vec::new()
        })
    }

    /// Words, unless they are dates, numbers that cannot be read for sure, or different nearly everywhere.
    fn texts(&self) -> Result<(Form, Vec<String>), Out> {
        if self.count(|word| times::moment(word).is_some()) * 10 >= self.filled * 9 {
            return Err(Out::Dates);
        }
        let commas = self.count(has_commas);
        if commas > 0 && (commas + self.numeric()) * 10 >= self.filled * 9 {
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

/// `1,200` is 1200 to some and 1.2 to others.
fn has_commas(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    text.contains(',') && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.'))
}
