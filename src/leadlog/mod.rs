//! Lead log: what was scored, as it was given, and what became of it.
//!
//! Workers push records into bounded queues and never wait. One writer thread drains them into SQLite in batches. While
//! SQLite cannot take them they wait in files. What does not fit there either is dropped, oldest first, and counted.

mod record; // what is written down
mod packed; // features as scored, in one allocation
mod known; // the last score of each lead, in memory
mod queue; // from the workers to the writer
mod json; // features as the log keeps them
mod flat; // the same, read back
mod private; // what it may keep of them
mod lines; // records as text
mod spill; // the files they wait in
mod inlet; // memory, then files
mod rows; // scores to rows
mod store; // SQLite
mod feedback; // what people said of scores
mod history; // all that it tells of one lead
mod labels; // what became of a lead after it was scored
mod export; // rows for other programs
mod forget; // a lead is removed
mod residue; // bytes that belong to no row
mod trace; // nothing of it is left
mod erase; // both, in order
mod status; // how much there is of what
mod command; // `leadwire leads`
mod backup; // a copy while it is written
mod scan; // scores of a range of times, and what became of their leads
mod evidence; // what it tells of versions on trial
mod trial; // what is on trial, and when
mod folds; // rows of trials, counted one by one
mod settled; // what became of a trial's leads
mod retention; // what is forgotten
mod tally; // a version's day: leads by score, and what became of them
mod counted; // which score of a lead counts, and for what
mod cohorts; // what that adds up to, by day
mod training; // leads to learn from
mod writer; // the thread between them
#[cfg(test)]
mod fixture; // records for tests

pub use self::{
    backup::BackupError,
    cohorts::{CohortDay, Days, Revenue, Win},
    command::{Forgetting, LeadsCommand, LeadsError, Ledgered, LogPlace, run},
    counted::Counted,
    erase::{EraseError, Erased, ErasedLead, Erasure, Noted},
    evidence::{Horizon, OnCanary, OnStep, OnTrial, Seen},
    export::{ExportError, ExportRow, Span, Tombstone},
    feedback::{FeedbackCount, StoredFeedback},
    flat::{FlatError, read_features},
    history::{GivenShadow, Scoring, ToldOutcome},
    known::{Known, Memory, MemoryRef, Pen},
    packed::Packed,
    private::Rules,
    queue::{CAPACITY, Queue, Sender},
    record::{
        AliasRecord, Decision, Entry, ExposureRecord, FeedbackRecord, LiveScore, OutcomeRecord, ScoreRecord,
        ShadowRecord,
    },
    scan::{Ending, Endings, GivenScore, Reading, Scan},
    status::LogStatus,
    store::{Store, StoreError, StoredOutcome, StoredScore},
    tally::{Group, Tally},
    training::{Scored, Wanted, is_withheld},
    writer::{Told, Writer},
};
