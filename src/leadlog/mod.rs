//! Lead log: what was scored, as it was given, and what became of it.
//!
//! Workers push records into bounded queues and never wait. One writer thread drains them into SQLite in batches. While
//! SQLite cannot take them they wait in files. What does not fit there either is dropped, oldest first, and counted.

mod record; // what is written down
mod packed; // features as scored, in one allocation
mod private; // what the log may keep of them
mod known; // the last score of each lead, in memory
mod waiting; // from the workers to the writer, in memory and in files
mod writer; // the thread between them
mod kept; // SQLite
mod told; // what is read out of it, lead by lead
mod counts; // what scores add up to, day by day
mod trials; // what it tells of versions on trial
mod gone; // a lead is removed
mod command; // `leadwire leads`
#[cfg(test)]
mod fixture; // records for tests

pub use self::{
    command::{Forgetting, LeadsCommand, LeadsError, Ledgered, LogPlace, run},
    counts::{
        cohorts::{CohortDay, Days, Revenue, Win},
        counted::Counted,
        tally::{Group, Tally},
    },
    gone::erase::{EraseError, Erased, ErasedLead, Erasure, Noted},
    kept::{
        backup::BackupError,
        flat::{FlatError, read_features},
        status::LogStatus,
        store::{Store, StoreError, StoredOutcome, StoredScore},
    },
    known::{Known, Memory, MemoryRef, Pen},
    packed::Packed,
    private::Rules,
    record::{
        AliasRecord, Decision, Entry, ExposureRecord, FeedbackRecord, LiveScore, OutcomeRecord, ScoreRecord,
        ShadowRecord,
    },
    told::{
        export::{ExportError, ExportRow, Span, Tombstone},
        feedback::{FeedbackCount, StoredFeedback},
        history::{GivenShadow, Scoring, ToldOutcome},
        scan::{Ending, Endings, GivenScore, Reading, Scan},
        training::{Scored, Wanted, is_withheld},
    },
    trials::{
        evidence::Seen,
        trial::{Horizon, OnCanary, OnStep, OnTrial},
    },
    waiting::queue::{CAPACITY, Queue, Sender},
    writer::{Told, Writer},
};
