//! Rollout: how a version comes to serve, and how it leaves.
//!
//! A hash of a lead's key puts it into a bucket; a share of the buckets is the challenger's. A guard beside it sees what
//! becomes of those leads and ends the trial at once where it must.
//!
//! What became of every version is folded from the ledger's records; nothing else is remembered. What comes next is
//! decided from that, from counts of what was seen, and from the configuration. No I/O and no clock in here: whoever
//! asks brings all three, and carries out the answer. No data is never good news and never bad news: nothing moves.

mod assign; // a lead's key -> its bucket -> its arm
mod guard; // what takes a challenger out of service at once
mod state; // the states of a version, and the moves between them
mod life; // the ledger's records -> who holds which slot, since when

pub use self::{
    assign::{BUCKETS, Key, Split, bucket},
    guard::{Guard, Guards, Minute, Trip},
    life::{Approval, Change, Detail, Experiment, Life, ModelLife, Oddity, Ruling, StepSpan, VersionLife},
    state::{Move, State, Why, may},
};

#[cfg(test)]
mod fixture; // histories for tests
