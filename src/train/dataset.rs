//! A CSV file becomes typed columns and labels.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};

use super::TrainError;
use crate::{lead::Value, registry};

/// More words than that are names or free text: useless as one-hots, and perhaps personal data.
const MAX_WORDS: usize = 256;

/// Past leads and what became of them.
#[derive(Clone, Debug)]
pub(super) struct Dataset {
    path: PathBuf,
    rows: usize,
    pub(super) columns: Vec<Column>,
    /// One for each row, or none at all where nobody said which column it is.
    pub(super) labels: Vec<bool>,
}

/// Which columns of a file are no plain features.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Roles<'a> {
    /// What became of the lead.
    pub(super) target: Option<&'a str>,
    /// Left out.
    pub(super) dropped: &'a [String],
    /// Words, though they may look like numbers.
    pub(super) category: &'a [String],
}

/// One feature of every lead.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) cells: Cells,
}

/// A column's values, `None` where the cell is empty.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    Numbers(Vec<Option<f64>>),
    Words(Vec<Option<String>>),
    Booleans(Vec<Option<bool>>),
}

impl Dataset {
    /// Reads a file. Columns whose every value is a finite number are numbers, the rest are words.
    pub(super) fn read(path: &Path, roles: Roles<'_>) -> Result<Self, TrainError> {
        let mut raw = Raw::read(path, roles)?;
        let column = |(name, cells): (String, Vec<String>)| {
            let coded = roles.category.contains(&name);
            Column { name, cells: if coded { Cells::codes(cells) } else { Cells::infer(cells) } }
        };
        let columns = std::mem::take(&mut raw.columns).into_iter().map(column).collect();
        let dataset = raw.dataset(path, columns, roles)?;
        for column in &dataset.columns {
            dataset.check(column)?;
        }
        Ok(dataset)
    }

    /// Reads a file that must have this one's columns, and read as its types.
    pub(super) fn read_alike(&self, path: &Path, roles: Roles<'_>) -> Result<Self, TrainError> {
        let mut raw = Raw::read(path, roles)?;
        if raw.columns.len() != self.columns.len() {
            let reason = format!(
                "{} feature columns, the training file has {}",
                raw.columns.len(),
                self.columns.len()
            );
            return Err(TrainError::data(path, reason));
        }
        let mut columns = Vec::new();
        for Column { name, cells } in &self.columns {
            let Some(at) = raw.columns.iter().position(|(other, _)| other == name) else {
                return Err(TrainError::data(path, format!("column `{name}` is missing")));
            };
            let values = raw.columns.swap_remove(at).1;
            let cells = match cells {
                Cells::Words(_) if roles.category.contains(name) => Cells::codes(values),
                Cells::Words(_) => Cells::words(values),
                _ => Cells::numbers(&values).map_err(|row| {
                    let reason = "not a finite number, as in the training file";
                    TrainError::cell(path, raw.line(row), name, reason)
                })?,
            };
            columns.push(Column { name: name.clone(), cells });
        }
        raw.dataset(path, columns, roles)
    }

    /// Splits off a fifth of the rows, drawn by the seed.
    pub(super) fn split(self, seed: u64, target: &str) -> Result<(Self, Self), TrainError> {
        let mut rows: Vec<usize> = (0..self.rows()).collect();
        rows.shuffle(&mut StdRng::seed_from_u64(seed));
        let (valid, train) = rows.split_at(self.rows() / 5);
        let (train, valid) = (self.select(train), self.select(valid));
        train.check_classes(target)?;
        valid.check_classes(target)?;
        Ok((train, valid))
    }

    /// The file, for errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many leads.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many of them converted.
    pub(super) fn positives(&self) -> usize {
        self.labels.iter().filter(|label| **label).count()
    }

    /// The features of one lead, in column order.
    pub(super) fn lead(&self, row: usize) -> Vec<Value<'_>> {
        self.columns.iter().map(|column| column.cells.value(row)).collect()
    }

    /// SHA-256 in hex over names, cells and labels, each ended by a separator that text does not hold.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for column in &self.columns {
            hash.update(column.name.as_bytes());
            hash.update([0x1f]);
        }
        for row in 0..self.rows {
            for column in &self.columns {
                match column.cells.value(row) {
                    Value::Number(number) => hash.update(number.to_string()),
                    Value::Text(text) => hash.update(text.as_bytes()),
                    Value::Boolean(yes) => hash.update(yes.to_string()),
                    Value::Missing | Value::Cleared => {}
                }
                hash.update([0x1f]);
            }
            hash.update(self.labels.get(row).map(|label| u8::from(*label)).as_slice());
            hash.update([0x1e]);
        }
        registry::hex(&hash.finalize())
    }

    fn select(&self, rows: &[usize]) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|column| Column { name: column.name.clone(), cells: column.cells.select(rows) });
        let labels = rows.iter().filter_map(|row| self.labels.get(*row).copied()).collect();
        Self { path: self.path.clone(), rows: rows.len(), columns: columns.collect(), labels }
    }

    fn check(&self, column: &Column) -> Result<(), TrainError> {
        let refuse =
            |reason: &str| Err(TrainError::data(&self.path, format!("column `{}` {reason}", column.name)));
        match &column.cells {
            Cells::Numbers(numbers) if numbers.iter().all(Option::is_none) => refuse("is empty; drop it"),
            Cells::Words(words) if words.iter().flatten().collect::<BTreeSet<_>>().len() > MAX_WORDS => {
                refuse(&format!(
                    "has more than {MAX_WORDS} different words: an id, a name or free text; drop it"
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_classes(&self, target: &str) -> Result<(), TrainError> {
        match self.positives() {
            0 => Err(TrainError::data(&self.path, format!("target `{target}` is never yes"))),
            all if all == self.rows => {
                Err(TrainError::data(&self.path, format!("target `{target}` is always yes")))
            }
            _ => Ok(()),
        }
    }
}

impl Cells {
    fn infer(cells: Vec<String>) -> Self {
        Self::numbers(&cells).unwrap_or_else(|_| Self::words(cells))
    }

    /// Finite numbers; `Err` is the row that holds something else.
    pub(super) fn numbers(cells: &[String]) -> Result<Self, usize> {
        let numbers = cells.iter().enumerate().map(|(row, cell)| number(cell).ok_or(row));
        Ok(Cells::Numbers(numbers.collect::<Result<_, _>>()?))
    }

    /// Cells as they are.
    pub(super) fn words(cells: Vec<String>) -> Self {
        Cells::Words(cells.into_iter().map(word).collect())
    }

    /// Cells as they are, but `3.0` and `3` are one code: the encoder looks numbers up by their shortest text.
    pub(super) fn codes(cells: Vec<String>) -> Self {
        let short = |cell: String| match number(&cell) {
            Some(Some(number)) => number.to_string(),
            _ => cell,
        };
        Self::words(cells.into_iter().map(short).collect())
    }

    /// Yes and no in any form; `Err` is the row that holds something else.
    pub(super) fn booleans(cells: &[String]) -> Result<Self, usize> {
        let boolean = |(row, cell): (usize, &String)| match cell.as_str() {
            "" => Ok(None),
            "1.0" => Ok(Some(true)),
            "0.0" => Ok(Some(false)),
            cell => label(cell).map(Some).ok_or(row),
        };
        Ok(Cells::Booleans(cells.iter().enumerate().map(boolean).collect::<Result<_, _>>()?))
    }

    /// Whether no row is without a value.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Cells::Numbers(all) => all.iter().all(Option::is_some),
            Cells::Words(all) => all.iter().all(Option::is_some),
            Cells::Booleans(all) => all.iter().all(Option::is_some),
        }
    }

    fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().filter_map(|row| all.get(*row).cloned()).collect()
        }
        match self {
            Cells::Numbers(all) => Cells::Numbers(of(all, rows)),
            Cells::Words(all) => Cells::Words(of(all, rows)),
            Cells::Booleans(all) => Cells::Booleans(of(all, rows)),
        }
    }

    fn value(&self, row: usize) -> Value<'_> {
        match self {
            Cells::Numbers(all) => all.get(row).copied().flatten().map_or(Value::Missing, Value::Number),
            Cells::Words(all) => all
                .get(row)
                .and_then(Option::as_deref)
                .map_or(Value::Missing, |word| Value::Text(word.into())),
            Cells::Booleans(all) => all.get(row).copied().flatten().map_or(Value::Missing, Value::Boolean),
        }
    }
}

/// Cells as they stand in the file.
pub(super) struct Raw {
    pub(super) columns: Vec<(String, Vec<String>)>,
    labels: Vec<bool>,
    lines: Vec<u64>,
}

impl Raw {
    /// Reads every column that is neither the target nor dropped.
    pub(super) fn read(path: &Path, roles: Roles<'_>) -> Result<Self, TrainError> {
        let Roles { target, dropped, category } = roles;
        let unreadable = |reason| TrainError::Csv { file: path.into(), reason };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(unreadable)?;
        let header = reader.headers().map_err(unreadable)?.clone();
        if header.len() == 1 && header.iter().any(|name| name.contains([';', '\t'])) {
            return Err(TrainError::data(
                path,
                "the header is one cell; cells must be separated by commas".into(),
            ));
        }
        let names: BTreeSet<&str> = header.iter().collect();
        if names.len() != header.len() {
            return Err(TrainError::data(path, "two columns have one name".into()));
        }
        for name in dropped.iter().chain(category).map(String::as_str).chain(target) {
            if !names.contains(name) {
                return Err(TrainError::data(path, format!("column `{name}` is missing")));
            }
        }
        let kept = |name: &str| Some(name) != target && !dropped.iter().any(|drop| drop == name);
        let columns =
            header.iter().filter(|name| kept(name)).map(|name| (name.to_owned(), Vec::new())).collect();
        let mut raw = Self { columns, labels: Vec::new(), lines: Vec::new() };
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            let mut columns = raw.columns.iter_mut();
            for (name, cell) in header.iter().zip(&record) {
                if Some(name) == target {
                    let label = label(cell).ok_or_else(|| {
                        TrainError::cell(path, line, name, "not one of 0, 1, yes, no, true, false")
                    })?;
                    raw.labels.push(label);
                } else if kept(name)
                    && let Some((_, cells)) = columns.next()
                {
                    cells.push(cell.to_owned());
                }
            }
            raw.lines.push(line);
        }
        Ok(raw)
    }

    /// How many leads.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The line of a row, from 1.
    pub(super) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or_default()
    }

    /// The whole, once its columns are read; with a target, there must be leads of both kinds.
    pub(super) fn dataset(
        self,
        path: &Path,
        columns: Vec<Column>,
        roles: Roles<'_>,
    ) -> Result<Dataset, TrainError> {
        let dataset = Dataset { path: path.into(), rows: self.lines.len(), columns, labels: self.labels };
        roles.target.map_or(Ok(()), |target| dataset.check_classes(target))?;
        Ok(dataset)
    }
}

fn label(cell: &str) -> Option<bool> {
    match cell.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" => Some(true),
        "0" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn word(cell: String) -> Option<String> {
    (!cell.is_empty()).then_some(cell)
}

/// `Some(None)` for an empty cell, `None` for one that is no finite number.
#[expect(clippy::option_option, reason = "empty and unreadable are two answers")]
fn number(cell: &str) -> Option<Option<f64>> {
    if cell.is_empty() {
        return Some(None);
    }
    cell.parse::<f64>().ok().filter(|number| number.is_finite()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(csv: &str) -> Result<Dataset, TrainError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        Dataset::read(file.path(), roles(&["id".into()]))
    }

    fn roles(dropped: &[String]) -> Roles<'_> {
        Roles { target: Some("y"), dropped, category: &[] }
    }

    fn refused(csv: &str, expected: &str) {
        let error = read(csv).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn types_are_inferred() {
        let dataset =
            read("id,age,job,vip,code,y\n1,38, clerk ,yes,7,yes\n2,,,no,x,0\n3,1e1,chef,yes,inf,TRUE\n")
                .unwrap();
        assert_eq!(dataset.labels, [true, false, true]);
        let text = |word: &'static str| Value::Text(word.into());
        assert_eq!(dataset.lead(0), [Value::Number(38.0), text("clerk"), text("yes"), text("7")]);
        assert_eq!(dataset.lead(1), [Value::Missing, Value::Missing, text("no"), text("x")]);
        assert_eq!(dataset.lead(2)[3], text("inf"));
    }

    #[test]
    fn codes_are_words_by_their_shortest_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "code,y\n3,1\n3.0,0\n,1\nx,1\n").unwrap();
        let category = ["code".to_owned()];
        let roles = Roles { category: &category, ..roles(&[]) };
        let dataset = Dataset::read(file.path(), roles).unwrap();
        for dataset in [&dataset, &dataset.read_alike(file.path(), roles).unwrap()] {
            let three = || Value::Text("3".into());
            let codes: Vec<_> = (0..4).map(|row| dataset.lead(row).remove(0)).collect();
            assert_eq!(codes, [three(), three(), Value::Missing, Value::Text("x".into())]);
        }
        let absent = ["kind".to_owned()];
        let error = Dataset::read(file.path(), Roles { category: &absent, ..roles }).unwrap_err();
        assert!(error.to_string().contains("column `kind` is missing"), "{error}");
    }

    #[test]
    fn errors_name_line_and_column() {
        refused("id,a,y\n1,2,yes\n1,2,maybe\n", "line 3, column `y`: not one of");
        refused("id,a,y\n1,2,yes\n1,2\n", "line: 3");
        refused("id,a,z\n1,2,yes\n", "column `y` is missing");
        refused("id;a;y\n1;2;yes\n", "cells must be separated by commas");
        refused("a,y\n1,yes\n", "column `id` is missing");
        refused("id,a,a,y\n", "two columns");
        refused("id,a,y\n1,2,no\n", "`y` is never yes");
        refused("id,a,y\n1,2,yes\n", "`y` is always yes");
        refused("id,a,y\n1,,yes\n1,,no\n", "column `a` is empty");
        let ids: String = (0..300).map(|i| format!("1,id-{i},{}\n", i % 2)).collect();
        refused(&format!("id,a,y\n{ids}"), "column `a` has more than 256 different words");
    }

    #[test]
    fn a_validation_file_must_be_alike() {
        let train = read("id,a,b,y\n1,2,x,yes\n1,2,x,no\n").unwrap();
        let check = |csv: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), csv).unwrap();
            train.read_alike(file.path(), roles(&["id".into()])).map_err(|error| error.to_string())
        };
        let valid = check("b,a,id,y\nw,3,1,yes\n,4,1,no\n").unwrap();
        assert_eq!(valid.lead(0), [Value::Number(3.0), Value::Text("w".into())]);
        assert!(check("id,a,y\n1,2,yes\n1,2,no\n").unwrap_err().contains("1 feature columns"));
        assert!(check("id,a,c,y\n1,2,x,yes\n1,2,x,no\n").unwrap_err().contains("`b` is missing"));
        assert!(check("id,a,b,y\n1,2,x,yes\n1,two,x,no\n").unwrap_err().contains("line 3, column `a`"));
    }
}
