//! What stops a run, and what is wrong with a row.

use std::{
    fmt::{self, Write},
    io,
    path::PathBuf,
};

use super::block::MAX_ROW;
use crate::registry::{Refusal, VersionError};

/// Why a run stopped. Unless it says that it stopped on the way, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The version that was asked for cannot be used.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// No version of the model can be used.
    #[error("no version of {model:?} in {}{}", models.display(), reasons(refused))]
    Model {
        /// The directory of models.
        models: PathBuf,
        /// The model that was asked for.
        model: String,
        /// Why each of its versions cannot be used.
        refused: Vec<Refusal>,
    },
    /// The input cannot be opened or read.
    #[error("{name}: {reason}")]
    Input {
        /// The file, or `standard input`.
        name: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The output's file cannot be written.
    #[error("{}: {reason}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Standard output cannot be written; a broken pipe means that its reader has seen enough.
    #[error(transparent)]
    Stdout(io::Error),
    /// A table that does not go with the model.
    #[error("{name}: {reason}")]
    Table {
        /// The file, or `standard input`.
        name: String,
        /// The columns, and what is wrong with them.
        reason: String,
    },
    /// A row without an end: most likely a quote that is never closed.
    #[error("{name}: a row from byte {at} is longer than {MAX_ROW} bytes; scoring stopped there")]
    LongRow {
        /// The file, or `standard input`.
        name: String,
        /// Where it starts.
        at: u64,
    },
    /// A thread panicked; the message before this says where.
    #[error("scoring stopped on the way: a thread panicked")]
    Panicked,
}

/// `: lead/3: ...; lead/2: ...`
fn reasons(refused: &[Refusal]) -> String {
    let mut told = String::new();
    for (i, refusal) in refused.iter().enumerate() {
        // Writing to a string does not fail.
        _ = write!(told, "{}{refusal}", if i == 0 { ": " } else { "; " });
    }
    told
}

/// What is wrong with one row. Says which column, never what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowError {
    /// More or fewer cells than the header.
    Cells { got: usize, expected: usize },
    /// A quote that is not closed.
    Quote,
    /// Bytes that are no text.
    Utf8,
    /// A line that is no JSON.
    Json { at: usize },
    /// JSON, but no object.
    NotObject,
    /// A feature's member stands twice.
    Duplicate { feature: usize },
    /// A member that would be added is there already.
    Taken { column: &'static str },
    /// A value that is not of the feature's type.
    Value { feature: usize },
    /// A required feature without a value.
    Required { feature: usize },
    /// No feature has a value.
    Nothing,
    /// The model's result is not a number.
    Score,
}

impl RowError {
    /// Every kind, in the order of [`RowError::kind`].
    pub(super) const KINDS: [&'static str; 11] = [
        "cells",
        "quote",
        "utf8",
        "json",
        "object",
        "duplicate",
        "taken",
        "value",
        "required",
        "features",
        "score",
    ];

    /// The kind's place in [`RowError::KINDS`].
    pub(super) fn kind(self) -> usize {
        match self {
            RowError::Cells { .. } => 0,
            RowError::Quote => 1,
            RowError::Utf8 => 2,
            RowError::Json { .. } => 3,
            RowError::NotObject => 4,
            RowError::Duplicate { .. } => 5,
            RowError::Taken { .. } => 6,
            RowError::Value { .. } => 7,
            RowError::Required { .. } => 8,
            RowError::Nothing => 9,
            RowError::Score => 10,
        }
    }

    /// The text for people; `name` gives a feature's name and type.
    pub(super) fn told<'n>(self, name: impl Fn(usize) -> (&'n str, &'static str)) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            RowError::Cells { got, expected } => write!(f, "{got} cells, the header has {expected}"),
            RowError::Quote => f.write_str("a quote is not closed"),
            RowError::Utf8 => f.write_str("not UTF-8"),
            RowError::Json { at } => write!(f, "not well-formed JSON at byte {at}"),
            RowError::NotObject => f.write_str("not a JSON object"),
            RowError::Duplicate { feature } => write!(f, "`{}` stands twice", name(feature).0),
            RowError::Taken { column } => write!(f, "there is a `{column}` already"),
            RowError::Value { feature } => {
                let (name, kind) = name(feature);
                write!(f, "`{name}` is not a {kind}")
            }
            RowError::Required { feature } => write!(f, "`{}` is required and missing", name(feature).0),
            RowError::Nothing => f.write_str("no feature of the model has a value"),
            RowError::Score => f.write_str("the score is not finite"),
        })
    }
}
