//! Why a file or a row was refused.

/// Why a file of trees was refused. Names in it are cut to 64 characters: the file is somebody else's.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Neither LightGBM's text nor XGBoost's JSON or UBJ.
    #[error("neither LightGBM text nor XGBoost JSON or UBJ")]
    Format,
    /// A line of a LightGBM file.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// The key and what is wrong with it.
        reason: String,
    },
    /// A tree whose parts contradict each other.
    #[error("tree {tree}: {reason}")]
    Tree {
        /// From 0.
        tree: usize,
        /// The node or key and what is wrong with it.
        reason: String,
    },
    /// A key of an XGBoost file.
    #[error("`{key}`: {reason}")]
    Key {
        /// Its name.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Something that would change the score, and that is not known.
    #[error("{what} `{name}` is not known")]
    Unknown {
        /// Objective, booster, key, ...
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A LightGBM file of a custom objective: nobody can tell the link.
    #[error("no objective: the file does not say what makes a sum a prediction")]
    NoObjective,
    /// Text that is not JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Bytes that are not UBJ.
    #[error("UBJ: byte {at}: {reason}")]
    Ubj {
        /// Offset in the file.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More than the flat layout can address.
    #[error("too many {0}")]
    TooMany(&'static str),
}

/// A row, or the room for its result, that does not fit the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got} {what}, expected {expected}")]
pub struct RowError {
    /// Features or results.
    pub what: &'static str,
    /// How many there are.
    pub got: usize,
    /// How many the model has.
    pub expected: usize,
}

impl TreeError {
    pub(super) fn line(line: usize, reason: impl Into<String>) -> Self {
        TreeError::Line { line, reason: reason.into() }
    }

    pub(super) fn tree(tree: usize, reason: impl Into<String>) -> Self {
        TreeError::Tree { tree, reason: reason.into() }
    }

    pub(super) fn key(key: &str, reason: impl Into<String>) -> Self {
        TreeError::Key { key: short(key), reason: reason.into() }
    }

    pub(super) fn unknown(what: &'static str, name: &str) -> Self {
        TreeError::Unknown { what, name: short(name) }
    }
}

/// At most 64 characters.
pub(super) fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
