//! A tree over bins.

use super::bins::Binned;

/// A tree: nodes before their children, and leaves.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Leaf>,
}

/// A place where rows part.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) feature: usize,
    pub(super) rule: Rule,
    pub(super) left: Child,
    pub(super) right: Child,
    /// By how much the loss falls here, times two.
    pub(super) gain: f64,
    pub(super) rows: usize,
}

/// Which rows go left.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    /// Those up to a bin, and perhaps those without a value.
    UpTo { bin: u8, missing: bool },
    /// Those of some words.
    Among(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Node(usize),
    Leaf(usize),
}

/// A place where rows end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// What is added to the logit.
    pub(super) value: f64,
    /// Sum of the second derivatives.
    pub(super) weight: f64,
    pub(super) rows: usize,
}

impl Rule {
    pub(super) fn goes_left(&self, bin: u8) -> bool {
        match self {
            Rule::UpTo { missing, .. } if bin == 0 => *missing,
            Rule::UpTo { bin: last, .. } => bin <= *last,
            Rule::Among(bins) => bins.contains(&bin),
        }
    }
}

impl Tree {
    /// What the tree adds to a row's logit.
    pub(super) fn value(&self, rows: &Binned, row: usize) -> f64 {
        let mut child = if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        // Children stand behind their parents, so this ends.
        loop {
            match child {
                Child::Leaf(leaf) => return self.leaves.get(leaf).map_or(0.0, |leaf| leaf.value),
                Child::Node(node) => {
                    let Some(node) = self.nodes.get(node) else { return 0.0 };
                    let left = node.rule.goes_left(rows.bin(node.feature, row));
                    child = if left { node.left } else { node.right };
                }
            }
        }
    }
}
