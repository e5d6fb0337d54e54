//! What stands in SQLite, and for how long.

pub(super) mod store; // the file, and what writes to it
pub(super) mod rows; // scores to rows
pub(super) mod json; // features as rows keep them
pub(super) mod flat; // the same, read back
pub(super) mod retention; // what is forgotten in time
pub(super) mod backup; // a copy while it is written
pub(super) mod status; // how much there is of what

use super::{
    gone::forget,
    known, packed, private, record,
    told::{export, feedback},
    waiting::spill,
};
