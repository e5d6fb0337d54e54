//! What is written down.

use std::sync::Arc;

use super::packed::Packed;
use crate::lead::{
    Alias, Arm, ArmOutcome, Exposure, Feedback, Grade, ModelId, Outcome, Score, ShadowError, Slot,
};

/// One line of the lead log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A score, as it was given.
    Score(ScoreRecord),
    /// What became of a lead.
    Outcome(OutcomeRecord),
    /// Which lead became a deal.
    Alias(AliasRecord),
    /// A lead that met an experiment and got no score.
    Exposure(ExposureRecord),
    /// What a version said that did not answer.
    Shadow(Box<ShadowRecord>),
    /// What a person said of a score.
    Feedback(Box<FeedbackRecord>),
}

impl Entry {
    /// The lead it is about, where that is known; of a deal's outcome it is not.
    pub(super) fn lead(&self) -> Option<&str> {
        match self {
            Entry::Score(record) => record.lead.as_deref(),
            Entry::Outcome(record) => (!record.outcome.via_alias).then_some(&*record.outcome.lead),
            Entry::Alias(record) => Some(&record.alias.lead),
            Entry::Exposure(record) => record.lead.as_deref(),
            Entry::Shadow(record) => record.lead.as_deref(),
            Entry::Feedback(record) => Some(&record.feedback.lead),
        }
    }

    /// When, in milliseconds since 1970.
    pub(super) fn time_ms(&self) -> i64 {
        match self {
            Entry::Score(record) => record.time_ms,
            Entry::Outcome(record) => record.time_ms,
            Entry::Alias(record) => record.time_ms,
            Entry::Exposure(record) => record.time_ms,
            Entry::Shadow(record) => record.time_ms,
            Entry::Feedback(record) => record.time_ms,
        }
    }

    /// Bytes it takes in memory, without what it shares with others.
    pub(super) fn size(&self) -> u64 {
        let lead = |lead: &Option<Box<str>>| lead.as_deref().map_or(0, str::len);
        let behind = match self {
            Entry::Score(ScoreRecord { lead: id, features, exposure, .. }) => {
                lead(id) + features.size() + exposure.as_ref().map_or(0, |_| size_of::<Exposure>())
            }
            Entry::Outcome(OutcomeRecord { outcome, .. }) => outcome.lead.len() + lead(&outcome.event),
            Entry::Alias(AliasRecord { alias, .. }) => alias.lead.len() + alias.deal.len(),
            Entry::Exposure(record) => lead(&record.lead) + size_of::<Exposure>(),
            Entry::Shadow(record) => lead(&record.lead) + size_of::<ShadowRecord>(),
            Entry::Feedback(record) => {
                let Feedback { lead: id, who, note, .. } = &record.feedback;
                id.len() + lead(who) + lead(note) + size_of::<FeedbackRecord>()
            }
        };
        (size_of::<Self>() + behind) as u64
    }
}

/// A score that was given to a lead the CRM accepted.
#[derive(Clone, Debug)]
pub struct ScoreRecord {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The route's name.
    pub route: Arc<str>,
    /// The record's id, where the traffic showed it.
    pub lead: Option<Box<str>>,
    /// The slot that answered.
    pub arm: Arm,
    /// The version that answered.
    pub model: Arc<ModelId>,
    /// The names of the features, shared by all records of one configuration.
    pub names: Arc<[Arc<str>]>,
    /// Their values as scored, in the same order.
    pub features: Packed,
    /// The score.
    pub score: Score,
    /// The grade.
    pub grade: Grade,
    /// Time spent on recognising, scoring and writing, in nanoseconds.
    pub latency_ns: u64,
    /// What was done with the score.
    pub decision: Decision,
    /// Its arm by assignment, while an experiment runs.
    pub exposure: Option<Box<Exposure>>,
    /// Why the champion answered for the challenger, where it did.
    pub fell: Option<ArmOutcome>,
}

/// What was done with a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Written into the request the CRM stored.
    Request,
    /// Written into the answer's body, and its headers if any.
    Response,
    /// Written into the answer's headers only.
    Headers,
    /// Only recorded.
    Recorded,
}

impl Decision {
    /// All of them, in the order of the variants.
    pub(super) const ALL: [Decision; 4] =
        [Decision::Request, Decision::Response, Decision::Headers, Decision::Recorded];

    /// The word in the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Request => "request",
            Decision::Response => "response",
            Decision::Headers => "headers",
            Decision::Recorded => "recorded",
        }
    }
}

/// An outcome, with when and where it passed.
#[derive(Clone, Debug)]
pub struct OutcomeRecord {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The route's name.
    pub route: Arc<str>,
    /// The outcome.
    pub outcome: Outcome,
}

/// A conversion, with when it passed.
#[derive(Clone, Debug)]
pub struct AliasRecord {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The lead and the deal.
    pub alias: Alias,
}

/// A lead that met an experiment and got no score.
#[derive(Clone, Debug)]
pub struct ExposureRecord {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The record's id, where the traffic showed it.
    pub lead: Option<Box<str>>,
    /// The model's name.
    pub model: Arc<str>,
    /// The arm.
    pub exposure: Box<Exposure>,
    /// Why it has no score.
    pub outcome: ArmOutcome,
}

/// A person's verdict, with when and where it passed.
#[derive(Clone, Debug)]
pub struct FeedbackRecord {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The name of the route it passed on, or [`FeedbackRecord::API`].
    pub source: Arc<str>,
    /// The verdict.
    pub feedback: Feedback,
}

impl FeedbackRecord {
    /// The source of what came over the admin listener.
    pub const API: &'static str = "api";
}

/// What a version said that did not answer.
#[derive(Clone, Debug)]
pub struct ShadowRecord {
    /// When the lead got its score, in milliseconds since 1970.
    pub time_ms: i64,
    /// The record's id, where the traffic showed it.
    pub lead: Option<Box<str>>,
    /// The version.
    pub model: Arc<ModelId>,
    /// The slot it holds.
    pub slot: Slot,
    /// The answer that was given.
    pub live: LiveScore,
    /// The version's own answer.
    pub score: Result<(Score, Grade), ShadowError>,
    /// What that took, in nanoseconds.
    pub latency_ns: u64,
}

/// The answer that a shadow is compared with.
#[derive(Clone, Debug)]
pub struct LiveScore {
    /// The version that gave it.
    pub model: Arc<ModelId>,
    /// The score.
    pub score: Score,
    /// The grade.
    pub grade: Grade,
    /// What it takes that version on the thread of the shadows, in nanoseconds.
    pub latency_ns: u64,
}
