//! Where in a JSON body a member is, or would be.

use std::ops::Range;

/// The place for one member's value, found by the recogniser and written to by enrich.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The member is there: the bytes of its value, quotes included.
    Replace(Range<usize>),
    /// The member is absent: the offset of its object's closing brace.
    Add {
        /// Offset of the `}`.
        at: usize,
        /// Whether the object has no member yet, so that no comma is due.
        empty: bool,
    },
}
