//! Rollout: how a version comes to serve, and how it leaves.
//!
//! A hash of a lead's key puts it into a bucket; a share of the buckets is the challenger's. A guard beside it sees what
//! becomes of those leads and ends the trial at once where it must.
//!
//! What became of every version is folded from the ledger's records; nothing else is remembered. What comes next is
//! decided from that, from counts of what was seen, and from the configuration. No I/O and no clock in here: whoever
//! asks brings all three, and carries out the answer. No data is never good news and never bad news: nothing moves.
//! Only the desk has a disk: it records orders, a person's like those that were decided, and puts them into effect.

mod assign; // a lead's key -> its bucket -> its arm
mod guard; // what takes a challenger out of service at once
mod state; // the states of a version, and the moves between them
mod life; // the ledger's records -> who holds which slot, since when
mod told; // a finding in words and numbers
mod verdict; // counts -> better, worse, harm, mismatch, or nothing to be told yet
mod gate; // what a version must show before it serves all
mod decision; // what is to be done, about whom, and why
mod decide; // past, counts and configuration -> the next thing to do
mod review; // what the evidence says, for whoever asks
mod wanted; // what must be counted before
mod orders; // what somebody wants done, and whether it may be
mod slots; // deployment.json against the ledger
mod desk; // orders are recorded, and put into effect
mod status; // how models stand, told to people
mod asked; // what a person asks for, as an order
mod command; // `leadwire rollout`

pub use self::{
    asked::Asked,
    assign::{BUCKETS, Key, Split, bucket},
    command::{Counted, RolloutOptions, Told as RolloutTold, run},
    decide::{Fault, Memory, Situation, decide},
    decision::{Act, Alarm, Decision, Hold, Trigger},
    desk::{Desk, Done, OrderError, Settled},
    gate::{Case, Check, Gate, gate, quantile_cutoffs, volumes},
    guard::{Guard, Guards, Minute, Trip},
    life::{Approval, Change, Detail, Experiment, Life, ModelLife, Oddity, Ruling, StepSpan, VersionLife},
    orders::{Action, Admitted, Grounds, LEADWIRE, Leave, Order, Refused, span},
    review::{Finding, Kept, Next, Review, Tried, review},
    state::{Move, State, Why, may},
    status::{Status, statuses},
    told::{Numbers, Told},
    verdict::{
        ConversionRuling, ConversionVerdict, Operation, PairedVerdict, Quality, ShareVerdict, WindowVerdict,
        conversion, operation, paired, shares, shift, window,
    },
    wanted::{Wanted, WantedCanary, wanted},
};

#[cfg(test)]
mod fixture; // histories for tests
#[cfg(test)]
mod simulation; // what the rules come to over thousands of leads
