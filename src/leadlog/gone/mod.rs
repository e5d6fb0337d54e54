//! How a lead is removed, so that nothing of it is left.

pub(super) mod forget; // its rows
pub(super) mod residue; // bytes that belong to no row
pub(super) mod trace; // a look whether nothing is left
pub(super) mod erase; // all of it, in order

use super::{kept::store, record, waiting::spill};
