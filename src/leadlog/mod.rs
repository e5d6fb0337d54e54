//! Lead log: what was scored, as it was given, and what became of it.
//!
//! Workers push records into bounded queues and never wait. One writer thread drains them into SQLite in batches. What
//! does not fit is dropped, oldest first, and counted.

mod record; // what is written down
mod packed; // features as scored, in one allocation
mod known; // the last score of each lead, in memory
mod queue; // from the workers to the writer
mod json; // features as the log keeps them
mod flat; // the same, read back
mod rows; // scores to rows
mod store; // SQLite
mod feedback; // what people said of scores
mod history; // all that it tells of one lead
mod evidence; // what it tells of versions on trial
mod scan; // scores of a range of times, and what became of their leads
mod writer; // the thread between them
#[cfg(test)]
mod fixture; // records for tests

pub use self::{
    evidence::{Horizon, Stretch, Versus},
    feedback::{FeedbackCount, StoredFeedback},
    flat::{FlatError, read_features},
    history::{GivenShadow, Scoring, ToldOutcome},
    known::{Known, Memory},
    packed::Packed,
    queue::{CAPACITY, Queue, Sender},
    record::{
        AliasRecord, Decision, Entry, ExposureRecord, FeedbackRecord, LiveScore, OutcomeRecord, ScoreRecord,
        ShadowRecord,
    },
    scan::{Ending, Endings, GivenScore, Reading, Span},
    store::{Store, StoreError, StoredOutcome, StoredScore},
    writer::{Told, Writer},
};
