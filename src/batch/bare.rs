//! Rows that are encoded already, scored by a model file without a manifest: how a model is compared with the library it
//! came from.
//!
//! A line in is a JSON array of numbers; `null` and `"nan"` are missing, `"inf"` and `"-inf"` infinite. A line out is an
//! object whose numbers read back exactly, in f32 where the library computes in f32.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize, Serializer};

use crate::score::trees::{RowError, TreeScratch, Trees};

/// What a line says beside the prediction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// The sum of the leaves.
    pub raw: bool,
    /// Each tree's leaf, by its number in the file.
    pub leaves: bool,
}

/// Why scoring stopped. What was scored before is written.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// Input or output.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line that is no array of numbers.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
    /// A row that is not as wide as the model.
    #[error("line {line}: {reason}")]
    Row {
        /// From 1.
        line: u64,
        /// How wide either is.
        reason: RowError,
    },
}

/// Scores every line of `input`; empty ones are left out. Returns how many rows there were.
pub fn score_bare(
    trees: &Trees,
    shown: Shown,
    mut input: impl BufRead,
    output: &mut impl Write,
) -> Result<u64, BareError> {
    let (mut text, mut row, mut scratch) = (Vec::new(), Vec::new(), TreeScratch::default());
    let (mut line, mut rows) = (0, 0);
    while input.read_until(b'\n', &mut text)? > 0 {
        line += 1;
        if !text.trim_ascii().is_empty() {
            let cells: Vec<Cell> =
                serde_json::from_slice(&text).map_err(|reason| BareError::Line { line, reason })?;
            row.clear();
            row.extend(cells.into_iter().map(|Cell(x)| x));
            let scored =
                scored(trees, shown, &row, &mut scratch).map_err(|reason| BareError::Row { line, reason })?;
            serde_json::to_writer(&mut *output, &scored).map_err(io::Error::from)?;
            output.write_all(b"\n")?;
            rows += 1;
        }
        text.clear();
    }
    output.flush()?;
    Ok(rows)
}

fn scored(trees: &Trees, shown: Shown, row: &[f64], scratch: &mut TreeScratch) -> Result<Scored, RowError> {
    let results = |scores: Vec<f64>| Results { scores, single: trees.is_single() };
    let mut pred = vec![0.0; trees.classes()];
    trees.predict(row, scratch, &mut pred)?;
    let mut scored = Scored { raw: None, pred: results(pred), leaf: None };
    if shown.raw {
        let mut raw = vec![0.0; trees.classes()];
        trees.raw(row, scratch, &mut raw)?;
        scored.raw = Some(results(raw));
    }
    if shown.leaves {
        let mut leaves = vec![0; trees.trees()];
        trees.leaves(row, scratch, &mut leaves)?;
        scored.leaf = Some(leaves);
    }
    Ok(scored)
}

#[derive(Serialize)]
struct Scored {
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Results>,
    pred: Results,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<Vec<u32>>,
}

/// A number, or a list of one per class.
struct Results {
    scores: Vec<f64>,
    single: bool,
}

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = |x: &f64| Number { x: *x, single: self.single };
        match self.scores.as_slice() {
            [one] => number(one).serialize(serializer),
            scores => serializer.collect_seq(scores.iter().map(number)),
        }
    }
}

struct Number {
    x: f64,
    single: bool,
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.x {
            x if x.is_nan() => serializer.serialize_str("nan"),
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            x if self.single => serializer.serialize_f32(x as f32),
            x => serializer.serialize_f64(x),
        }
    }
}

/// One value of a row.
#[derive(Deserialize)]
#[serde(from = "Option<Written>")]
struct Cell(f64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, null, \"nan\", \"inf\" or \"-inf\"")]
enum Written {
    Number(f64),
    Word(Word),
}

#[derive(Deserialize)]
enum Word {
    #[serde(rename = "nan")]
    Nan,
    #[serde(rename = "inf")]
    Infinity,
    #[serde(rename = "-inf")]
    NegativeInfinity,
}

impl From<Option<Written>> for Cell {
    fn from(written: Option<Written>) -> Self {
        Cell(match written {
            Some(Written::Number(x)) => x,
            None | Some(Written::Word(Word::Nan)) => f64::NAN,
            Some(Written::Word(Word::Infinity)) => f64::INFINITY,
            Some(Written::Word(Word::NegativeInfinity)) => f64::NEG_INFINITY,
        })
    }
}
