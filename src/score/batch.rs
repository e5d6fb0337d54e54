//! Leads to score together.

use super::{kernel::Buffers, trees::TreeScratch};

/// Encoded leads of one model, and what scoring them needs. Reused, it stops allocating.
#[derive(Debug, Default)]
pub struct Batch {
    /// Rows of a network.
    pub(super) compact: Vec<f32>,
    pub(super) buffers: Buffers,
    /// Rows of trees.
    pub(super) plain: Vec<f64>,
    pub(super) trees: TreeScratch,
    /// What the trees' leaves add up to, row by row.
    pub(super) raw: Vec<f64>,
}

impl Batch {
    /// Forgets its leads.
    pub fn clear(&mut self) {
        self.compact.clear();
        self.plain.clear();
    }
}
