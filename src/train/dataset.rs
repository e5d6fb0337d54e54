//! Typed columns and labels; and a sample whose columns a model names, as it is read for an import.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    TrainError,
    format::{self, Form},
};
use crate::{
    lead::{self, FeatureType, Value},
    registry,
};

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
}

/// One feature of every lead.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) cells: Cells,
    /// Rows with a word that the model does not know: their cells are `None`, and they are not without a value.
    pub(super) unseen: usize,
}

/// A column's values, `None` where there is none.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    Numbers(Vec<Option<f64>>),
    Words(Vec<Option<String>>),
    Booleans(Vec<Option<bool>>),
}

impl Dataset {
    /// Rows whose columns are read.
    pub(super) fn new(path: &Path, columns: Vec<Column>, labels: Vec<bool>) -> Self {
        Self { path: path.into(), rows: labels.len(), columns, labels }
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

impl Column {
    /// Whether no row is without a value.
    pub(super) fn is_complete(&self) -> bool {
        self.cells.gaps() == self.unseen
    }
}

impl Cells {
    /// Finite numbers; `Err` is the row that holds something else.
    pub(super) fn numbers(cells: &[String]) -> Result<Self, usize> {
        let numbers = cells.iter().enumerate().map(|(row, cell)| number(cell).ok_or(row));
        Ok(Cells::Numbers(numbers.collect::<Result<_, _>>()?))
    }

    /// Yes and no in any form; `Err` is the row that holds something else.
    pub(super) fn booleans(cells: &[String]) -> Result<Self, usize> {
        let boolean = |(row, cell): (usize, &String)| match cell.as_str() {
            "" => Ok(None),
            cell => truth(cell).map(Some).ok_or(row),
        };
        Ok(Cells::Booleans(cells.iter().enumerate().map(boolean).collect::<Result<_, _>>()?))
    }

    /// Cells that hold nothing.
    pub(super) fn gaps(&self) -> usize {
        fn count<T>(all: &[Option<T>]) -> usize {
            all.iter().filter(|cell| cell.is_none()).count()
        }
        match self {
            Cells::Numbers(all) => count(all),
            Cells::Words(all) => count(all),
            Cells::Booleans(all) => count(all),
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
        let Roles { target, dropped } = roles;
        let unreadable = |reason| TrainError::Csv { file: path.into(), reason };
        let (form, reader) = format::open(path)?;
        let Form::Csv { separator } = form else {
            return Err(TrainError::data(path, "is JSON lines; it must be CSV".into()));
        };
        let mut reader = format::csv(separator, reader);
        let header = format::header(path, &mut reader)?;
        let names: BTreeSet<&str> = header.iter().map(String::as_str).collect();
        for name in dropped.iter().map(String::as_str).chain(target) {
            if !names.contains(name) {
                return Err(TrainError::data(path, format!("column `{name}` is missing")));
            }
        }
        let kept = |name: &str| Some(name) != target && !dropped.iter().any(|drop| drop == name);
        let columns =
            header.iter().filter(|name| kept(name)).map(|name| (name.clone(), Vec::new())).collect();
        let mut raw = Self { columns, labels: Vec::new(), lines: Vec::new() };
        for record in reader.byte_records() {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            let mut columns = raw.columns.iter_mut();
            for (name, cell) in header.iter().zip(&record) {
                let cell = format::cell(path, line, name, cell)?;
                if Some(name.as_str()) == target {
                    let label = label(cell).ok_or_else(|| TrainError::cell(path, line, name, NO_LABEL))?;
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

/// Of a label that is none.
pub(super) const NO_LABEL: &str = "not one of 0, 1, yes, no, true, false, y, n, t, f";

/// Whether the lead converted.
pub(super) fn label(cell: &str) -> Option<bool> {
    let short = |yes: &str, no: &str| match cell {
        _ if cell.eq_ignore_ascii_case(yes) => Some(true),
        _ if cell.eq_ignore_ascii_case(no) => Some(false),
        _ => None,
    };
    truth(cell).or_else(|| short("y", "n")).or_else(|| short("t", "f"))
}

/// Yes or no as leads bring it.
fn truth(cell: &str) -> Option<bool> {
    match lead::read_text(cell.into(), FeatureType::Boolean) {
        Value::Boolean(yes) => Some(yes),
        _ => None,
    }
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

    fn read(csv: &str) -> Result<Raw, TrainError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        let roles = Roles { target: Some("y"), dropped: &["id".into()] };
        let raw = Raw::read(file.path(), roles)?;
        raw.dataset(file.path(), Vec::new(), roles)?;
        Raw::read(file.path(), roles)
    }

    fn refused(csv: &str, expected: &str) {
        let error = read(csv).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn cells_come_as_they_stand() {
        let raw = read("id,age,job,y\n1,38, clerk ,Y\n2,,,f\n3,1e1,chef,TRUE\n").unwrap();
        assert_eq!(raw.labels, [true, false, true]);
        let column = |name: &str, cells: [&str; 3]| (name.to_owned(), cells.map(String::from).to_vec());
        assert_eq!(raw.columns, [column("age", ["38", "", "1e1"]), column("job", ["clerk", "", "chef"])]);
        let cells = |at: usize| raw.columns[at].1.clone();
        assert!(
            matches!(Cells::numbers(&cells(0)), Ok(Cells::Numbers(all)) if all == [Some(38.0), None, Some(10.0)])
        );
        assert_eq!(Cells::numbers(&cells(1)).unwrap_err(), 0);
        assert_eq!((raw.rows(), raw.line(1)), (3, 3));
    }

    #[test]
    fn errors_name_line_and_column() {
        refused("id,a,y\n1,2,yes\n1,2,maybe\n", "line 3, column `y`: not one of");
        refused("id,a,y\n1,2,yes\n1,2\n", "line: 3");
        refused("id,a,z\n1,2,yes\n", "column `y` is missing");
        refused("id;a;y\n1;2;maybe\n", "line 2, column `y`: not one of");
        refused("{\"y\":1}\n", "is JSON lines; it must be CSV");
        refused("a,y\n1,yes\n", "column `id` is missing");
        refused("id,a,a,y\n", "column 3: has the name of column 2, `a`");
        refused("id,a,y\n1,2,no\n", "`y` is never yes");
        refused("id,a,y\n1,2,yes\n", "`y` is always yes");
    }
}
