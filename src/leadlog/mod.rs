//! Lead log: what was scored, as it was given, and what became of it.
//!
//! Workers push records into bounded queues and never wait. One writer thread drains them into SQLite in batches. What
//! does not fit is dropped, oldest first, and counted.

mod record; // what is written down
mod packed; // features as scored, in one allocation
mod known; // the last score of each lead, in memory
mod queue; // from the workers to the writer
mod json; // features as the log keeps them
mod rows; // scores to rows
mod store; // SQLite
mod evidence; // what it tells of versions on trial
mod training; // leads to learn from
mod writer; // the thread between them

pub use self::{
    evidence::{Horizon, Stretch, Versus},
    known::{Known, Memory},
    packed::Packed,
    queue::{CAPACITY, Queue, Sender},
    record::{
        AliasRecord, Decision, Entry, ExposureRecord, LiveScore, OutcomeRecord, ScoreRecord, ShadowRecord,
    },
    store::{Store, StoreError, StoredOutcome, StoredScore},
    training::{Scored, Wanted, is_withheld},
    writer::{Told, Writer},
};
