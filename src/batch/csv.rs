//! A block of CSV, scored.

use std::{borrow::Cow, io::Write, sync::Arc};

use super::{
    cells::{self, Cell},
    error::RowError,
    format::BOM,
    scorer::{self, Block, COLUMNS, Table},
};
use crate::{
    lead::{FeatureType, Value, is_no_value, read_text, separator},
    registry::Version,
    score::Scored,
};

/// A table of CSV whose header is known.
#[derive(Clone)]
pub(super) struct Csv {
    version: Arc<Version>,
    /// By feature: its column, if there is one, and what it must be.
    columns: Columns,
    /// Between cells.
    pub(super) separator: u8,
    /// Cells of a row.
    width: usize,
    cells: Vec<Cell>,
}

/// What a header says.
pub(super) struct Header {
    pub(super) table: Csv,
    /// As it goes out.
    pub(super) out: Vec<u8>,
    /// Bytes it takes.
    pub(super) end: usize,
    /// Features that have no column.
    pub(super) absent: Vec<String>,
}

impl Csv {
    /// Reads the header at the start of the input; the reason where it does not go with the model.
    pub(super) fn header(version: &Arc<Version>, start: &[u8]) -> Result<Header, String> {
        let first = if start.starts_with(BOM) { BOM.len() } else { 0 };
        let mut cells = Vec::new();
        let separator = separator(start.get(first..).unwrap_or_default());
        let mut record = cells::record(start, first, separator, &mut cells);
        while record.end == record.start && record.next < start.len() {
            record = cells::record(start, record.next, separator, &mut cells);
        }
        let Some(text) = Block::new(start).text(0, record.end) else {
            return Err("the header is not UTF-8".into());
        };
        if !record.closed {
            return Err("the header's last quote is not closed".into());
        }
        if record.end == record.start {
            return Err("there is no header".into());
        }
        let names: Vec<Cow<'_, str>> = cells.iter().map(|cell| cell.text(text, 0)).collect();
        // The csv crate, and so training, would end a row there: a whole file of such rows would be one header.
        if names.iter().any(|name| name.replace("\r\n", "").contains('\r')) {
            return Err("rows end with a carriage return alone; save the file with line feeds".into());
        }
        if let Some(taken) = COLUMNS.iter().find(|column| names.iter().any(|name| name == *column)) {
            return Err(format!("there is a column `{taken}` already; scoring would add another"));
        }
        let (columns, absent) = columns(version, &names, separator)?;
        let mut out = start.get(..record.end).unwrap_or_default().to_vec();
        COLUMNS.iter().for_each(|column| out.extend([&[separator], column.as_bytes()].concat()));
        out.extend_from_slice(start.get(record.end..record.next).unwrap_or_default());
        let table = Self { version: Arc::clone(version), columns, separator, width: cells.len(), cells };
        Ok(Header { table, out, end: record.next, absent })
    }
}

/// By feature: its column, if there is one, and what it must be.
type Columns = Arc<[(Option<usize>, FeatureType)]>;

/// Finds the features' columns; and the features that have none.
fn columns(
    version: &Version,
    names: &[Cow<'_, str>],
    separator: u8,
) -> Result<(Columns, Vec<String>), String> {
    let (mut columns, mut absent, mut required) = (Vec::new(), Vec::new(), Vec::new());
    for spec in version.model.features() {
        let mut found = names.iter().enumerate().filter(|(_, name)| **name == spec.name).map(|(i, _)| i);
        let column = found.next();
        if found.next().is_some() {
            return Err(format!("column `{}` stands twice", spec.name));
        }
        if column.is_none() {
            if spec.required { &mut required } else { &mut absent }.push(spec.name.clone());
        }
        columns.push((column, spec.feature_type()));
    }
    if columns.iter().all(|(column, _)| column.is_none()) {
        let hint = match separator {
            b',' => String::new(),
            other => format!("; cells were taken to stand between `{}`", char::from(other).escape_default()),
        };
        return Err(format!("no column is a feature of {}{hint}", version.id));
    }
    if !required.is_empty() {
        return Err(format!("{} requires columns that are missing: {}", version.id, required.join(", ")));
    }
    Ok((columns.into(), absent))
}

/// A row's place.
#[derive(Clone, Copy)]
pub(super) struct Row {
    start: usize,
    /// Of what is kept: surplus cells are not, nor are those behind a quote that is not closed.
    kept: usize,
    end: usize,
    next: usize,
    /// Cells that are missing, so that what is added stands in its columns.
    missing: usize,
}

impl Table for Csv {
    type Row = Row;

    fn read<'b>(
        &mut self,
        block: Block<'b>,
        at: &mut usize,
        values: &mut [Value<'b>],
    ) -> Option<(Row, Result<(), RowError>)> {
        let record = loop {
            if *at >= block.bytes.len() {
                return None;
            }
            let record = cells::record(block.bytes, *at, self.separator, &mut self.cells);
            *at = record.next;
            if record.end > record.start {
                break record;
            }
        };
        let (start, end, next) = (record.start, record.end, record.next);
        let (got, expected) = (self.cells.len(), self.width);
        let mut row = Row { start, kept: end, end, next, missing: expected.saturating_sub(got) };
        if !record.closed {
            (row.kept, row.missing) = (start, expected.saturating_sub(1));
            return Some((row, Err(RowError::Quote)));
        }
        if got != expected {
            row.kept = self.cells.get(expected - 1).map_or(end, |cell| cell.end);
            return Some((row, Err(RowError::Cells { got, expected })));
        }
        Some((row, self.values(block, row, values)))
    }

    fn write(&self, block: Block<'_>, row: Row, outcome: &Result<Scored, RowError>, out: &mut Vec<u8>) {
        out.extend_from_slice(block.bytes.get(row.start..row.kept).unwrap_or_default());
        out.extend(std::iter::repeat_n(self.separator, row.missing));
        let between = char::from(self.separator);
        match outcome {
            Ok(scored) => {
                scorer::write_scored(scored, [&*between.encode_utf8(&mut [0; 1]); 3], "", out);
                out.push(self.separator);
            }
            Err(error) => {
                out.extend([self.separator; COLUMNS.len()]);
                let told = error.told(scorer::named(self.version.model.features())).to_string();
                // A feature's name may hold anything.
                let quoted = told.contains(['"', between, '\n', '\r']);
                let text = if quoted { format!("\"{}\"", told.replace('"', "\"\"")) } else { told };
                // Writing to a vector does not fail.
                _ = out.write_all(text.as_bytes());
            }
        }
        out.extend_from_slice(block.bytes.get(row.end..row.next).unwrap_or_default());
    }
}

impl Csv {
    fn values<'b>(&self, block: Block<'b>, row: Row, values: &mut [Value<'b>]) -> Result<(), RowError> {
        let text = block.text(row.start, row.end).ok_or(RowError::Utf8)?;
        for (feature, ((column, kind), value)) in self.columns.iter().zip(values).enumerate() {
            if let Some(cell) = column.and_then(|column| self.cells.get(column)) {
                let cell = cell.text(text, row.start);
                let is_sure = self.separator == b',' || !may_be_decimal(&cell, *kind);
                let read = Some(cell).filter(|_| is_sure).and_then(|cell| read(cell, *kind));
                *value = read.ok_or(RowError::Value { feature })?;
            }
        }
        Ok(())
    }
}

/// Whether a number may have a comma before its decimals, as is usual where cells stand between semicolons: on the wire `4,857` is
/// some thousands.
fn may_be_decimal(cell: &str, kind: FeatureType) -> bool {
    kind == FeatureType::Number && !cell.contains('.') && cell.matches(',').count() == 1
}

/// A cell as the wire reads text; `None` for one that is neither empty nor of its type.
fn read(cell: Cow<'_, str>, kind: FeatureType) -> Option<Value<'_>> {
    // Where words are wanted it is a word, as on the wire; none that a model knows.
    if cell.is_empty() || kind != FeatureType::Category && is_no_value(&cell) {
        return Some(Value::Missing);
    }
    if kind == FeatureType::Number
        && let Some(number) = cell.parse().ok().filter(|number: &f64| number.is_finite())
    {
        return Some(Value::Number(number));
    }
    Some(read_text(cell, kind)).filter(|value| !value.is_missing())
}
