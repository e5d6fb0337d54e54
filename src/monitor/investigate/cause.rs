//! What most likely is behind a score that somebody wonders about: rules, tried in a fixed order, each with its evidence.
//!
//! 1. `not_reproduced`: the version that gave the score gives another one for the same features.
//! 2. `data_missing`: a value is missing that at least four of five leads in training had, and a typical one would move the
//!    score by a point or to another grade.
//! 3. `unseen_value`: training never had such a word or number, and a typical value would move the score as much.
//! 4. `input_changed` and `model_changed`: the score moved by a point or to another grade since the one before, and most of
//!    that came with the features, or with the model. Where both are of a kind the features come first.
//! 5. `drifted_feature`: of the five features that weigh most, one drifted, by a PSI of at least 0.25 over 500 leads.
//! 6. `as_trained`: none of these. The score is what the version learnt.

use serde::Serialize;

use super::{
    Feature, Scoring,
    compare::{Change, PartKind},
    drift::Drift,
    shown::{self, percent, signed},
};

/// Points that matter.
const LEAST: f64 = 1.0;

/// Kinds of causes, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The score cannot be reproduced.
    NotReproduced,
    /// Data is missing.
    DataMissing,
    /// A value that training never had.
    UnseenValue,
    /// The lead changed.
    InputChanged,
    /// The model changed.
    ModelChanged,
    /// Leads are not what they were in training.
    DriftedFeature,
    /// The model works as it was trained.
    AsTrained,
}

impl CauseKind {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            CauseKind::NotReproduced => "the score cannot be reproduced",
            CauseKind::DataMissing => "data is missing",
            CauseKind::UnseenValue => "a value that training never had",
            CauseKind::InputChanged => "the lead changed",
            CauseKind::ModelChanged => "the model changed",
            CauseKind::DriftedFeature => "leads are not what they were in training",
            CauseKind::AsTrained => "the model works as it was trained",
        }
    }
}

/// A rule and what speaks for it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule.
    pub kind: CauseKind,
    /// Whether it applies.
    pub holds: bool,
    /// What speaks for it, or why it could not be tried.
    pub evidence: Vec<String>,
}

/// What the rules look at.
pub(super) struct Case<'c> {
    pub(super) scoring: &'c Scoring,
    /// Those that may be shown, the weightiest first.
    pub(super) features: &'c [Feature],
    pub(super) change: Option<&'c Change>,
    pub(super) drift: &'c Drift,
}

/// Every rule, in order; the first that holds is the suggestion.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let [inputs, model] = changes(case.change);
    let inputs_first = case.change.is_none_or(|change| {
        change.inputs.unwrap_or_default().abs() >= change.model.unwrap_or_default().abs()
    });
    let changed = if inputs_first { [inputs, model] } else { [model, inputs] };
    let mut found = vec![not_reproduced(case.scoring), data_missing(case), unseen_value(case)];
    found.extend(changed);
    found.push(drifted(case));
    let is_explained = found.iter().any(|finding| finding.holds);
    found.push(Finding { holds: !is_explained, ..as_trained(case) });
    found
}

fn finding(kind: CauseKind, evidence: Vec<String>) -> Finding {
    Finding { kind, holds: !evidence.is_empty(), evidence }
}

fn not_reproduced(scoring: &Scoring) -> Finding {
    let proof = &scoring.recomputed;
    let told = match (proof.equal, proof.score) {
        (Some(false), Some(score)) => vec![format!(
            "version {} gives {:.4} for these features, {:.4} was recorded",
            scoring.version, score, scoring.score
        )],
        _ => Vec::new(),
    };
    finding(CauseKind::NotReproduced, told)
}

/// What a typical value would change, where that matters.
fn would(feature: &Feature) -> Option<String> {
    let moved = feature.typical_moves.filter(|moved| moved.abs() >= LEAST || feature.typical_regrades)?;
    let typical = shown::words(&feature.typical);
    Some(format!("with {typical}, which is typical, the score moves by {}", signed(moved)))
}

fn data_missing(case: &Case<'_>) -> Finding {
    let gaps = case.features.iter().filter(|feature| feature.seen.is_gap());
    let told = gaps.filter_map(|feature| {
        let had = percent(1.0 - feature.seen.missing_in_training);
        Some(format!(
            "{} is missing, {had} of the leads in training had one; {}",
            feature.label,
            would(feature)?
        ))
    });
    finding(CauseKind::DataMissing, told.collect())
}

fn unseen_value(case: &Case<'_>) -> Finding {
    let new = case.features.iter().filter(|feature| feature.seen.is_new());
    let told = new.filter_map(|feature| {
        let value = shown::words(&feature.value);
        Some(format!("{} is {value}: {}; {}", feature.label, feature.seen.text, would(feature)?))
    });
    finding(CauseKind::UnseenValue, told.collect())
}

/// By features, and by the model.
fn changes(change: Option<&Change>) -> [Finding; 2] {
    let seen = change.filter(|change| change.is_seen());
    let told = |kinds: &[PartKind], sum: fn(&Change) -> Option<f64>| {
        let change =
            seen.filter(|change| sum(change).is_some_and(|sum| sum.abs() >= LEAST || is_most(sum, change)));
        let parts = change.map(|change| change.parts.as_slice()).unwrap_or_default();
        let of_kind = parts.iter().filter(|part| kinds.contains(&part.kind) && part.points != 0.0);
        of_kind.map(part_words).collect::<Vec<_>>()
    };
    let inputs = [PartKind::Feature, PartKind::Hidden, PartKind::Together];
    [
        finding(CauseKind::InputChanged, told(&inputs, |change| change.inputs)),
        finding(CauseKind::ModelChanged, told(&[PartKind::Model], |change| change.model)),
    ]
}

fn is_most(sum: f64, change: &Change) -> bool {
    sum != 0.0 && sum.abs() * 2.0 >= change.points.abs()
}

/// `source: Referral -> Web, -15.1 points`
pub(super) fn part_words(part: &super::compare::Part) -> String {
    let points = signed(part.points);
    match part.kind {
        PartKind::Feature => {
            let (from, to) = (shown::words(&part.from), shown::words(&part.to));
            format!("{}: {from} -> {to}, {points} points", part.label)
        }
        _ => format!("{}, {points} points", part.label),
    }
}

/// Features whose drift is asked after.
const WEIGHTIEST: usize = 5;

fn drifted(case: &Case<'_>) -> Finding {
    let weighs = |name: &str| case.features.iter().take(WEIGHTIEST).any(|feature| feature.feature == name);
    let told = case.drift.alarms().filter(|moved| weighs(&moved.feature)).map(|moved| {
        format!("{}: PSI {} over {} leads of the week before", moved.label, moved.words(), case.drift.rows)
    });
    finding(CauseKind::DriftedFeature, told.collect())
}

fn as_trained(case: &Case<'_>) -> Finding {
    let reasons =
        case.scoring.reasons.iter().map(|reason| format!("{} {}", reason.direction.as_str(), reason.text));
    let mut evidence: Vec<String> = reasons.collect();
    if evidence.is_empty() {
        evidence.push("nothing about this lead stands out".into());
    }
    Finding { kind: CauseKind::AsTrained, holds: true, evidence }
}
