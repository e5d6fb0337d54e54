//! Monitor: judgements over what happened, and what follows from them.
//!
//! One thread looks after the versions on trial. It gathers what the lead log knows, lets the rollout decide, and has the
//! desk carry that out, so that what it does is recorded and takes effect as a person's order does. It stands beside the
//! traffic: when it fails, what serves keeps serving, and whatever must leave at once has left through its guard.

mod evidence; // the lead log -> counts of what is on trial
mod asked; // what a person may ask about a trial
mod rollouts; // looks, decides, and has it carried out
mod thresholds; // the keys whose values a record may hold
mod journal; // files that changed -> records
mod page; // reports as HTML
mod rescore; // what the lead log keeps, scored again
mod counterfactual; // the leads of the log with another version
pub mod report; // what became of the leads, for the people who work with them
pub mod investigate; // why a lead got its score

pub use self::{
    asked::{grounds, verdict},
    counterfactual::{
        Calls, Difference, GradeRow, Moved, Mover, Quality, Replay, ReplayError, ReplayOptions, Revenue,
        Skipped, replay,
    },
    evidence::gather,
    journal::Journal,
    rescore::{Explained, RescoreError, Rescorer, Row, Unfound, recorded},
    rollouts::{Rollouts, Sources},
};
