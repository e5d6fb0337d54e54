//! Memory for what comes and goes, lent to connections while something stands in it.
//!
//! A connection between two requests holds none, however many there are; and what is lent is what was given back last,
//! which the processor still has at hand. A worker is one thread, so nobody waits for it.

use std::{cell::RefCell, mem::take};

use bytes::BytesMut;

/// What is read at once at first, and the most that is kept of a buffer.
pub(super) const FIRST: usize = 8 << 10;

/// Input buffers that a thread keeps. They are lent for as long as it takes to read what has come, so a few will do.
const INPUTS_KEPT: usize = 16;

/// Output buffers that it keeps. What may be sent again stands in one until it is answered.
const OUTPUTS_KEPT: usize = 64;

/// What goes out first: nearly all heads, and most bodies of leads.
const OUTPUT: usize = 2 << 10;

thread_local! {
    static INPUTS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Fills in for a buffer that holds nothing.
pub(super) fn borrow_input(input: &mut BytesMut) {
    if let Some(spare) = INPUTS.with_borrow_mut(Vec::pop) {
        *input = spare;
    }
}

/// Gives an empty buffer back that was no larger than [`FIRST`].
pub(super) fn return_input(input: &mut BytesMut) {
    let input = take(input);
    INPUTS.with_borrow_mut(|kept| {
        if kept.len() < INPUTS_KEPT {
            kept.push(input);
        }
    });
}

/// An empty buffer.
pub(super) fn borrow_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(OUTPUT))
}

/// Gives a buffer back, whatever it holds.
pub(super) fn return_output(output: &mut Vec<u8>) {
    let mut output = take(output);
    output.clear();
    OUTPUTS.with_borrow_mut(|kept| {
        if kept.len() < OUTPUTS_KEPT && (OUTPUT..=FIRST).contains(&output.capacity()) {
            kept.push(output);
        }
    });
}
