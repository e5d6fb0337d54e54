//! What is wrong with a configuration, and where.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// More than this many mistakes are a wrong file rather than a file with mistakes; the rest is only counted.
const MOST: usize = 100;
/// Longest message in characters; texts of the file are repeated in them.
const MAX_MESSAGE: usize = 400;
/// Longest word in bytes that is compared with others. No valid word comes near.
const MAX_WORD: usize = 64;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Counted from 1; 0 where the mistake is not in the file but in an environment variable.
    pub line: usize,
    /// Counted from 1, in characters; 0 like `line`.
    pub column: usize,
    /// Dotted path such as `routes[0].inject.headers`, or the variable's name; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `12:5: routes[0].methd: unknown key; did you mean "method"?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Every mistake found in one file, in the file's order. Serialises as the plain list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    #[serde(skip)]
    file: Option<PathBuf>,
    list: Vec<Problem>,
    #[serde(skip)]
    more: usize,
}

impl Problems {
    /// The mistakes, by line and column.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are, including those that were only counted.
    pub fn len(&self) -> usize {
        self.list.len() + self.more
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The same, naming the file they are in.
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    pub(super) fn push(&mut self, mut problem: Problem) {
        if self.list.len() >= MOST {
            self.more += 1;
            return;
        }
        for text in [&mut problem.message].into_iter().chain(&mut problem.hint) {
            if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
                text.truncate(end);
                text.push('…');
            }
        }
        self.list.push(problem);
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|problem| (problem.line, problem.column));
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { list: vec![problem], ..Self::default() }
    }
}

/// One a line, each with the file's name where that is known; the last line ends without a line break.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let (Some(file), true) = (&self.file, problem.line > 0) {
                write!(f, "{}:", file.display())?;
            }
            write!(f, "{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Why no configuration came out of a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can be read, but not used.
    #[error("{0}")]
    Invalid(Problems),
}

/// `did you mean "method"?` where one of `words` is close enough to `word` to be what was meant.
pub(super) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if word.len() > MAX_WORD {
        return None;
    }
    let near = |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    let (distance, best) = words.into_iter().map(|candidate| (near(candidate), candidate)).min()?;
    // One slip in three letters is a typing mistake, more is another word.
    let allowed = word.chars().count().max(best.chars().count()).div_ceil(3);
    (distance <= allowed).then(|| format!("did you mean {best:?}?"))
}

/// [`nearest`], or the whole list where nothing is near.
pub(super) fn nearest_or_all<'a>(
    word: &str,
    words: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    nearest(word, words.clone()).or_else(|| {
        let all: Vec<_> = words.into_iter().collect();
        (!all.is_empty()).then(|| format!("expected one of {}", all.join(", ")))
    })
}
