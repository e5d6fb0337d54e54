//! Lead: the words every room shares, as plain data.
//!
//! A lead is a record of the CRM that is worth a score. What is known about it when it passes are its features; what
//! comes out is a score, a grade and the model version they came from; what became of it is its outcome.

mod feature; // what was read off the wire: number, text, boolean or missing
mod reading; // a text as a number, a word, or true and false; the cells of a table
mod score; // probability, points, grade
mod trend; // whether the score moved
mod reason; // why: one feature's part in a score
mod model; // which version answered, and from which slot
mod assignment; // which arm of an experiment a lead belongs to
mod trial; // what became of leads in an arm, and why a trial ends at once
mod outcome; // what became of the lead
mod id; // one record, two forms of its id
mod feedback; // what a person said of its score
mod skip; // why there was no score
mod spot; // where in a body a member is written
mod evidence; // what is known of a version under trial

pub use self::{
    assignment::{Assignment, Exposure, KeyKind},
    evidence::{
        AucDifference, Cohort, Evidence, Histogram, Labelled, Pairs, Sides, StepCounts, Traffic, Window,
    },
    feature::{FeatureType, SIGNS, Value},
    feedback::{Feedback, FeedbackReason, MAX_NOTE, MAX_WHO, Verdict},
    id::id_forms,
    model::{Arm, ModelId, Slot},
    outcome::{Alias, LeadId, Outcome},
    reading::{finite, is_no_value, read_text, separator},
    reason::{Direction, Reason},
    score::{Cutoffs, Grade, Score},
    skip::Skip,
    spot::Spot,
    trend::Trend,
    trial::{ArmOutcome, ShadowError, TripReason},
};
