//! Rows become scores, and the columns that are added.

use std::{io::Write, sync::Arc};

use super::{error::RowError, summary::Tally};
use crate::{
    lead::Value,
    registry::Version,
    score::{Batch, FeatureSpec, Scored},
};

/// What is added to every row, in this order.
pub(super) const COLUMNS: [&str; 4] = ["score", "points", "grade", "error"];

/// Rows that are encoded before they are scored: they stay in a near cache.
const CHUNK: usize = 512;

/// A form of table: how its rows are read, and how they are written again with what was added.
pub(super) trait Table {
    /// Where a row stands in its block.
    type Row: Copy;

    /// Reads the row at `at`, which moves past it, and its features' values over those of the row before; `None` at the end
    /// of the block. Where a row is wrong its values say nothing, and the rows behind it are read all the same.
    fn read<'b>(
        &mut self,
        block: Block<'b>,
        at: &mut usize,
        values: &mut [Value<'b>],
    ) -> Option<(Self::Row, Result<(), RowError>)>;

    /// Appends a row as it came and what was made of it.
    fn write(&self, block: Block<'_>, row: Self::Row, outcome: &Result<Scored, RowError>, out: &mut Vec<u8>);
}

/// Whole rows.
#[derive(Clone, Copy)]
pub(super) struct Block<'b> {
    pub(super) bytes: &'b [u8],
    /// Where all of it is text.
    text: Option<&'b str>,
}

impl<'b> Block<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, text: std::str::from_utf8(bytes).ok() }
    }

    /// A part of it, if that is text.
    pub(super) fn text(&self, from: usize, to: usize) -> Option<&'b str> {
        match self.text {
            Some(text) => text.get(from..to),
            None => std::str::from_utf8(self.bytes.get(from..to)?).ok(),
        }
    }
}

/// A block that was scored.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// As it goes out.
    pub(super) out: Vec<u8>,
    /// Bytes that came in.
    pub(super) read: usize,
    pub(super) tally: Tally,
}

/// Scores blocks one after another.
pub(super) struct Scorer<T> {
    version: Arc<Version>,
    table: T,
    /// Without one, a row of which nothing is known has to be looked for.
    requires: bool,
    batch: Batch,
}

impl<T: Table> Scorer<T> {
    pub(super) fn new(version: Arc<Version>, table: T) -> Self {
        let requires = version.model.features().iter().any(|feature| feature.required);
        Self { version, table, requires, batch: Batch::default() }
    }

    /// Scores every row of a block.
    pub(super) fn score(&mut self, bytes: &[u8]) -> Done {
        let block = Block::new(bytes);
        let mut done = Done { read: bytes.len(), ..Done::default() };
        done.out.reserve_exact(bytes.len() + bytes.len() / 4);
        let mut values = vec![Value::Missing; self.version.model.features().len()];
        let (mut rows, mut at) = (Vec::with_capacity(CHUNK), 0);
        loop {
            let row = self.read(block, &mut at, &mut values);
            let at_end = row.is_none();
            rows.extend(row);
            if rows.len() == CHUNK || at_end {
                self.finish(block, &rows, &mut done);
                rows.clear();
            }
            if at_end {
                return done;
            }
        }
    }

    /// Reads a row and adds it to the batch, unless something is wrong with it.
    fn read<'b>(
        &mut self,
        block: Block<'b>,
        at: &mut usize,
        values: &mut [Value<'b>],
    ) -> Option<(T::Row, Option<RowError>)> {
        let (row, read) = self.table.read(block, at, values)?;
        let error = read.and_then(|()| self.check(values)).err();
        if error.is_none() {
            self.version.model.push(|i| values.get(i).unwrap_or(&Value::Missing), &mut self.batch);
        }
        Some((row, error))
    }

    fn check(&self, values: &[Value<'_>]) -> Result<(), RowError> {
        if !self.requires && values.iter().all(Value::is_missing) {
            return Err(RowError::Nothing);
        }
        let value = |i| values.get(i).unwrap_or(&Value::Missing);
        match self.version.model.missing_required(value) {
            Some(feature) => Err(RowError::Required { feature }),
            None => Ok(()),
        }
    }

    /// Scores the rows that were read, and writes them.
    fn finish(&mut self, block: Block<'_>, rows: &[(T::Row, Option<RowError>)], done: &mut Done) {
        let Self { version, table, batch, .. } = self;
        let mut rows = rows.iter();
        let mut write = |row: T::Row, outcome: Result<Scored, RowError>| {
            done.tally.count(&outcome);
            table.write(block, row, &outcome, &mut done.out);
        };
        version.model.score_batch(batch, |scored| {
            for (row, error) in rows.by_ref() {
                match error {
                    Some(error) => write(*row, Err(*error)),
                    None => return write(*row, scored.map_err(|_| RowError::Score)),
                }
            }
        });
        // Those behind the last that was scored.
        rows.for_each(|(row, error)| write(*row, Err(error.unwrap_or(RowError::Score))));
    }
}

/// The names of a model's features, for messages.
pub(super) fn named<'f>(features: &'f [FeatureSpec]) -> impl Fn(usize) -> (&'f str, &'static str) {
    |i| features.get(i).map_or(("", ""), |spec| (spec.name.as_str(), spec.feature_type().as_str()))
}

/// Appends score, points and grade, each behind what `before` has for it, the grade between two of `quote`. The score is
/// the shortest text that reads back to the same bits.
pub(super) fn write_scored(scored: &Scored, before: [&str; 3], quote: &str, out: &mut Vec<u8>) {
    let (score, points) = (scored.score.probability(), scored.score.points());
    let [of_score, of_points, of_grade] = before;
    // Writing to a vector does not fail.
    _ = write!(out, "{of_score}{score}{of_points}{points}{of_grade}{quote}{}{quote}", scored.grade);
}
