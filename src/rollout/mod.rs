//! Rollout: how a version comes to serve, and how it leaves.
//!
//! What became of every version is folded from the ledger's records; nothing else is remembered. What comes next is
//! decided from that, from counts of what was seen, and from the configuration. No I/O and no clock in here: whoever
//! asks brings all three, and carries out the answer. No data is never good news and never bad news: nothing moves.

mod state; // the states of a version, and the moves between them
mod life; // the ledger's records -> who holds which slot, since when

mod told; // a finding in words and numbers
mod verdict; // counts -> better, worse, harm, mismatch, or nothing to be told yet
mod gate; // what a version must show before it serves all
mod decide; // past, counts and configuration -> the next thing to do

pub use self::{
    decide::{Act, Alarm, Decision, Fault, Hold, Memory, Situation, Trigger, decide},
    gate::{Check, Gate, gate, quantile_cutoffs, volumes},
    life::{Approval, Change, Detail, Experiment, Life, ModelLife, Oddity, Ruling, StepSpan, VersionLife},
    state::{Move, State, Why, may},
    told::{Numbers, Told},
    verdict::{
        ConversionRuling, ConversionVerdict, Operation, PairedVerdict, Quality, ShareVerdict, WindowVerdict,
        conversion, operation, paired, shares, shift, window,
    },
};

#[cfg(test)]
mod fixture; // histories for tests
#[cfg(test)]
mod simulation; // what the rules come to over thousands of leads
