//! A second upstream that gets copies of what routes take.

use std::time::Duration;

use super::settings::Upstream;

/// Where copies go, and how much they may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets them.
    pub upstream: Upstream,
    /// Of a hundred requests, so many are copied.
    pub percent: u32,
    /// Longest time for one copy, from connecting to the end of its answer.
    pub timeout: Duration,
    /// Bytes of copies on their way at most, over all workers.
    pub bytes: usize,
}
