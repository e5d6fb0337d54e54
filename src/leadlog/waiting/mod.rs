//! What waits to be written: in memory, and in files where SQLite cannot take it.

pub(super) mod queue; // from the workers to the writer
pub(super) mod lines; // records as text
pub(super) mod spill; // the files they wait in
pub(super) mod inlet; // memory, then files

use super::{
    kept::{json, store},
    packed, private, record,
};
