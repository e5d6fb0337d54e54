//! Investigate: why a lead got the score it got, and whether that was right.
//!
//! Everything is read from the lead log and the versions on disk, and nothing is written: each score the lead ever had is
//! computed again from the features that were recorded, by the very version that gave it; what lies between two scores is
//! split into what the lead brought and what the model did; and rules that are tried in a fixed order say what most likely
//! is behind it. Reasons are computed anew, they are not stored.
//!
//! What cannot be done says so and leaves the rest alone: a version whose folder is gone or holds another artifact, features
//! that the log may not keep, a week with too few leads. Features that a version calls protected are never shown. The work
//! has a size: the last hundred scores, eight versions, 5,000 leads of the week, 100,000 of the peers.

mod shown; // times and values for people
mod find; // the lead, under whichever id, and its scores
mod versions; // the versions that gave them
mod compare; // what lies between two scores
mod drift; // the week before, and values that training never had
mod peers; // what became of such leads, and of this one
mod whatif; // what another value would do
mod features; // what is known of each, for one score
mod cause; // rules
mod steps; // the checklist
mod gather; // all of it, in order
mod answer; // two sentences
mod sections; // the report as headings, lines and tables
mod text; // those for a terminal, and for a mail
mod command; // options in, text out

use serde::Serialize;
use serde_json::Value as Json;

pub use self::{
    cause::{CauseKind, Finding},
    command::{CommandError, InvestigateOptions, run},
    compare::{Change, Changed, Part, PartKind},
    drift::{Drift, Moved, Seen},
    gather::investigate,
    peers::{Became, Converted, Peers},
    shown::parse_time,
    steps::Step,
    whatif::WhatIf,
};
use crate::{lead::Reason, leadlog::StoreError};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The lead's id, in either of Salesforce's forms, or that of a deal it became.
    pub lead: String,
    /// The model; that of the last score without it.
    pub model: Option<String>,
    /// The score that was current then, in milliseconds since 1970; the last one without it.
    pub at_ms: Option<i64>,
    /// The score to compare it with, current then; the one before without it.
    pub against_ms: Option<i64>,
    /// Peers are leads that had their time within so many days.
    pub days: u32,
}

impl Ask {
    /// Days without any being asked for.
    pub const DAYS: u32 = 90;

    /// As many as may be asked for.
    pub const MOST_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;

    /// What is there to know of a lead's last score.
    pub fn of(lead: impl Into<String>) -> Self {
        Self { lead: lead.into(), model: None, at_ms: None, against_ms: None, days: Self::DAYS }
    }
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub enum InvestigateError {
    /// Nobody scored it.
    #[error("no score of lead {lead:?} in the lead log{}", near_words(near))]
    Unknown {
        /// What was asked for.
        lead: String,
        /// Ids that are spelt much the same.
        near: Vec<String>,
    },
    /// Another model did.
    #[error("no score of lead {lead:?} by model {model:?}; there are some by {}", known.join(", "))]
    Model {
        /// What was asked for.
        lead: String,
        /// The model.
        model: String,
        /// Those that scored it.
        known: Vec<String>,
    },
    /// It was scored later only.
    #[error("lead {lead:?} had no score yet at {at}")]
    Early {
        /// What was asked for.
        lead: String,
        /// When.
        at: String,
    },
    /// The lead log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn near_words(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(", ")) }
}

/// All that is known of a lead's score.
#[derive(Clone, Debug, Serialize)]
pub struct Investigation {
    /// What was asked for.
    pub asked: String,
    /// The lead's ids in the log, that of the last score first.
    pub ids: Vec<String>,
    /// The deal by which it was found.
    pub via_deal: Option<String>,
    /// The model.
    pub model: String,
    /// Other models that scored it.
    pub other_models: Vec<String>,
    /// When it was asked, in milliseconds since 1970.
    pub now_ms: i64,
    /// In two sentences.
    pub answer: String,
    /// The rule that was found to hold.
    pub cause: CauseKind,
    /// Every rule, in the order in which they were tried.
    pub findings: Vec<Finding>,
    /// Its scores, oldest first.
    pub scores: Vec<Scoring>,
    /// Whether there are older ones.
    pub has_older: bool,
    /// The place in `scores` of the one that is looked into.
    pub at: usize,
    /// The place of the one it is compared with.
    pub against: Option<usize>,
    /// What lies between the two.
    pub change: Option<Change>,
    /// The features of the score that is looked into, the weightiest first.
    pub features: Vec<Feature>,
    /// Features that are not shown.
    pub hidden: usize,
    /// Other values for the weightiest ones.
    pub what_if: Vec<WhatIf>,
    /// The week before the score.
    pub drift: Drift,
    /// Leads like this one.
    pub peers: Peers,
    /// What became of this one.
    pub outcome: Became,
    /// What people said of it, oldest first.
    pub feedback: Vec<Feedback>,
    /// The checklist.
    pub steps: Vec<Step>,
}

/// A score that was given.
#[derive(Clone, Debug, Serialize)]
pub struct Scoring {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The same for people and scripts.
    pub time: String,
    /// The route.
    pub route: String,
    /// The slot that answered.
    pub arm: String,
    /// The version that answered.
    pub version: String,
    /// The beginning of its digest.
    pub digest: String,
    /// Probability, 0..=1.
    pub score: f64,
    /// The same, 0..=100.
    pub points: u8,
    /// The grade.
    pub grade: String,
    /// What was done with it.
    pub decision: String,
    /// Against the one before: `improving`, `steady` or `declining`.
    pub trend: Option<&'static str>,
    /// The experiment that ran.
    pub experiment: Option<String>,
    /// What other versions said at the same time.
    pub shadows: Vec<Opinion>,
    /// Features that differ from the score before.
    pub changed: Vec<Changed>,
    /// Whether it was found again.
    pub recomputed: Recomputed,
    /// Why, as people are told; of the two scores that are compared.
    pub reasons: Vec<Reason>,
}

/// What a version said that did not answer.
#[derive(Clone, Debug, Serialize)]
pub struct Opinion {
    /// The version.
    pub version: String,
    /// The slot it held.
    pub slot: String,
    /// Its score in points, 0..=100.
    pub points: Option<u8>,
    /// Its grade.
    pub grade: Option<String>,
    /// Why it has none.
    pub error: Option<String>,
}

/// Whether a score was found again from what was recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recomputed {
    /// Equal to the bit; `None` where it could not be tried.
    pub equal: Option<bool>,
    /// What came out.
    pub score: Option<f64>,
    /// Why it could not be tried.
    pub why: Option<String>,
}

/// A feature of the score that is looked into.
#[derive(Clone, Debug, Serialize)]
pub struct Feature {
    /// Its name.
    pub feature: String,
    /// How people call it.
    pub label: String,
    /// Its value in the score that is compared with.
    pub before: Json,
    /// Its value.
    pub value: Json,
    /// Its value in the last score.
    pub now: Json,
    /// What it does to the score against a typical lead, in logits; `None` where the version could not be asked.
    pub effect: Option<f32>,
    /// What most leads have.
    pub typical: Json,
    /// Points that the score would move by with that, to a tenth.
    pub typical_moves: Option<f64>,
    /// Whether the grade would be another.
    pub typical_regrades: bool,
    /// How its value stands to the training data.
    pub seen: Seen,
}

/// What a person said.
#[derive(Clone, Debug, Serialize)]
pub struct Feedback {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The same for people and scripts.
    pub time: String,
    /// Where it came from.
    pub source: String,
    /// `up` or `down`.
    pub verdict: String,
    /// A word of a closed set.
    pub reason: Option<String>,
    /// Who.
    pub who: Option<String>,
    /// In their words.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests;
