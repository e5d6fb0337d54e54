//! Retrain: leads become a version that has met the champion, in one go.
//!
//! Snapshot, fit, calibrate, gate, register, shadow. What happens to slots and states is the desk's business, which is not
//! known in here: whoever calls brings it as [`Hands`]. Serving is never touched by a step that fails; each leaves either
//! nothing or something whole, and what a killed run left is taken up by the next one over the same leads.

mod work; // what has been done so far, on disk
mod report; // what came of it
mod run; // the steps
mod compare; // one of them: with the champion, on the newest leads
#[cfg(test)]
mod windows; // static against rolling training, on leads that drift

pub use self::{
    report::RetrainReport,
    run::{Hands, Job, Outcome, Recorded, RetrainError, RetrainOptions, Stand, run},
};
