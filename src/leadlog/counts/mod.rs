//! What its scores add up to, day by day.

pub(super) mod tally; // a version's day: leads by score, and what became of them
pub(super) mod counted; // which score of a lead counts, and for what
pub(super) mod cohorts; // what that adds up to, by day

use super::{kept::store, told::labels, trials::trial};
