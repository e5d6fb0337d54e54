//! What went wrong so far, and where in the file everything stands.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    document::Mark,
    problem::{Problem, Problems},
};

/// The way to a node: `routes[0].inject.headers`.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyPath {
    text: String,
    /// The text's length at each node on the way, the root's first.
    ancestors: Vec<usize>,
}

impl KeyPath {
    /// An environment variable, which stands nowhere in the file.
    pub(super) fn variable(name: &str) -> Self {
        Self { text: name.to_owned(), ancestors: Vec::new() }
    }

    /// One level down, to a mapping's entry. Names that would read as several steps are quoted.
    pub(super) fn key(&self, name: &str) -> Self {
        let mut next = self.down();
        if !next.text.is_empty() {
            next.text.push('.');
        }
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        match !name.is_empty() && name.chars().all(plain) {
            true => next.text.push_str(name),
            false => next.text.push_str(&format!("{name:?}")),
        }
        next
    }

    /// One level down, to a list's item, counted from 0.
    pub(super) fn item(&self, index: usize) -> Self {
        let mut next = self.down();
        next.text.push_str(&format!("[{index}]"));
        next
    }

    fn down(&self) -> Self {
        let mut next = self.clone();
        next.ancestors.push(next.text.len());
        next
    }

    /// The path itself, then every node above it, the root last.
    fn upwards(&self) -> impl Iterator<Item = &str> {
        let above = self.ancestors.iter().rev().filter_map(|&end| self.text.get(..end));
        std::iter::once(self.text.as_str()).chain(above)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong with one text, wherever it stands.
#[derive(Debug, PartialEq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl<T: Into<String>> From<T> for Complaint {
    fn from(message: T) -> Self {
        Self { message: message.into(), hint: None }
    }
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint }
    }
}

/// What went wrong so far, and where everything stands.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Problems,
    marks: HashMap<String, Mark>,
    /// Nodes of the wrong shape. What is found about them later follows from that, and is not worth telling.
    spoilt: HashSet<String>,
}

impl Findings {
    pub(super) fn mark(&mut self, path: &KeyPath, mark: Mark) {
        self.marks.insert(path.text.clone(), mark);
    }

    /// The line a node stands in.
    pub(super) fn line(&self, path: &KeyPath) -> Option<usize> {
        path.upwards().find_map(|above| self.marks.get(above)).map(|mark| mark.line)
    }

    /// Reports a node of the wrong shape.
    pub(super) fn spoil(
        &mut self,
        path: &KeyPath,
        mark: Mark,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.spoilt.insert(path.text.clone());
        let Mark { line, column } = mark;
        self.problems.push(Problem { line, column, key: path.text.clone(), message: message.into(), hint });
    }

    /// Reports a node that has its shape but makes no sense.
    pub(super) fn wrong(&mut self, path: &KeyPath, complaint: impl Into<Complaint>) {
        if path.upwards().any(|above| self.spoilt.contains(above)) {
            return;
        }
        let mark = path.upwards().find_map(|above| self.marks.get(above)).copied();
        let Mark { line, column } = mark.unwrap_or_default();
        let Complaint { message, hint } = complaint.into();
        self.problems.push(Problem { line, column, key: path.text.clone(), message, hint });
    }

    /// The value, or `None` once what is wrong with it has been reported.
    pub(super) fn take<T>(&mut self, path: &KeyPath, result: Result<T, impl Into<Complaint>>) -> Option<T> {
        result.map_err(|complaint| self.wrong(path, complaint)).ok()
    }
}
