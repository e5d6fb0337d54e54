//! Enrich: a score becomes bytes.
//!
//! Given the original body and the places the recogniser found, returns the patched body. Every byte that is not ours is
//! kept: `12000.00` stays `12000.00`, key order and white space too, because CRMs sign, diff and cache bodies. Pure: no
//! I/O, no clock.

mod reasons; // reasons -> one line of text
mod format; // score -> 0.73, 73, "A": clamp, scale, decimals
mod splice; // places and values -> the patched body
mod headers; // header values, and removal of spoofed ones

pub use self::{
    format::Given,
    headers::{FAILED, LEADWIRE, PASSED, SCORED, headers, is_ours, remove_spoofed, skipped},
    splice::{Edits, Overlap},
};
