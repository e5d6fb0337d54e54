//! What is read out of it, lead by lead.

pub(super) mod labels; // what became of a lead after it was scored
pub(super) mod history; // all that it tells of one lead
pub(super) mod feedback; // what people said of scores
pub(super) mod scan; // scores of a range of times, and what became of their leads
pub(super) mod training; // leads to learn from
pub(super) mod export; // rows for other programs

use super::{kept::store, private, record, trials::trial};
