//! Counterfactual: the leads of the log, scored again by another version.
//!
//! What would a version have said of the leads that were scored, and what would that have changed? Every row of the log is read
//! once, scored in batches from its features as they were, and set beside the score that was given; what became of the leads
//! tells which of the two was nearer. Nothing but numbers is kept of a lead, twelve bytes, until all have been read.
//!
//! Of each lead the last score before its outcome counts, or with `all` each of them. A row that cannot be scored is counted by
//! its reason and left out; only a log or a version that cannot be read ends the replay.

mod options; // what is asked for
mod version; // which version on disk is meant
mod run; // the log -> pairs of scores
mod tally; // pairs, one after another
mod quality; // both scores beside what became of the leads
mod report; // what the pairs say
mod text; // for a terminal
mod html; // to be mailed and kept

pub use self::{
    options::ReplayOptions,
    quality::{Difference, Quality},
    report::{Calls, GradeRow, Moved, Mover, Replay, Revenue, Skipped},
    run::{ReplayError, replay},
};
