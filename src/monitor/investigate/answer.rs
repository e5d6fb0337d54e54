//! The answer in two sentences: what is behind the score, and what such leads become.

use super::{
    CauseKind, Investigation, Scoring,
    compare::{Part, PartKind},
    shown::{self, day, percent, signed},
};
use crate::{lead::Direction, rollout::span};

/// Things that are named in a sentence.
const NAMED: usize = 3;

pub(super) fn answer(told: &Investigation) -> String {
    let Some(scoring) = told.scoring() else { return String::new() };
    format!("{} {}", why(told, scoring), became(told, scoring))
}

fn why(told: &Investigation, scoring: &Scoring) -> String {
    let points = format!("{} points, grade {}", scoring.points, scoring.grade);
    let evidence = told.findings.iter().find(|finding| finding.kind == told.cause);
    let evidence = evidence.and_then(|finding| finding.evidence.first().cloned()).unwrap_or_default();
    match (told.cause, &told.change) {
        (CauseKind::InputChanged | CauseKind::ModelChanged, Some(change)) => {
            let way = match change.points {
                points if points < 0.0 => "fell",
                points if points > 0.0 => "rose",
                _ => "kept its points but not its grade,",
            };
            let parts: Vec<&Part> = change.parts.iter().filter(|part| part.points != 0.0).collect();
            let mut named: Vec<String> = parts.iter().take(NAMED).map(|part| part_words(part)).collect();
            if parts.len() > NAMED {
                let rest: f64 = parts.iter().skip(NAMED).map(|part| part.points).sum();
                named.push(format!("the rest took {}", signed(whatever_is_zero(rest))));
            }
            format!(
                "The score {way} from {:.1} ({}) to {:.1} ({}) since {}: {}.",
                change.before,
                change.grades[0],
                change.after,
                change.grades[1],
                day(change.from_ms),
                named.join("; ")
            )
        }
        (CauseKind::NotReproduced, _) => format!("The score of {points}, cannot be reproduced: {evidence}."),
        (CauseKind::DataMissing | CauseKind::UnseenValue, _) => format!("The score is {points}; {evidence}."),
        (CauseKind::DriftedFeature, _) => {
            format!("The score is {points}, and leads were not what they were in training: {evidence}.")
        }
        _ => as_trained(scoring, &points),
    }
}

fn whatever_is_zero(points: f64) -> f64 {
    if points.abs() < 0.05 { 0.0 } else { points }
}

fn part_words(part: &Part) -> String {
    match part.kind {
        PartKind::Feature => {
            let (from, to) = (shown::words(&part.from), shown::words(&part.to));
            format!("{} went from {from} to {to} ({})", part.label, signed(part.points))
        }
        _ => format!("{} ({})", part.label, signed(part.points)),
    }
}

fn as_trained(scoring: &Scoring, points: &str) -> String {
    let side = |direction: Direction| {
        let of = scoring.reasons.iter().filter(|reason| reason.direction == direction);
        of.take(NAMED).map(|reason| reason.text.to_string()).collect::<Vec<_>>().join(", ")
    };
    let told = match (side(Direction::Up), side(Direction::Down)) {
        (up, down) if up.is_empty() && down.is_empty() => "nothing about it stands out".to_owned(),
        (up, down) if up.is_empty() => format!("it is lowered by {down}, and nothing of weight raises it"),
        (up, down) if down.is_empty() => format!("it is raised by {up}, and nothing of weight lowers it"),
        (up, down) => format!("it is raised by {up} and lowered by {down}"),
    };
    format!("The score of {points}, is what version {} learnt: {told}.", shown::line(&scoring.version))
}

/// What such leads become, and what became of this one.
fn became(told: &Investigation, scoring: &Scoring) -> String {
    let group = &told.peers.grade;
    let peers = match (group.rate, group.interval) {
        (Some(rate), Some([low, high])) => format!(
            "Of {} leads of grade {} that had their time, {} converted ({}, 95% interval {} to {})",
            group.leads,
            scoring.grade,
            group.conversions,
            percent(rate),
            percent(low),
            percent(high)
        ),
        _ => format!("No lead of grade {} has had its time yet", scoring.grade),
    };
    let outcome = &told.outcome;
    let own = match (outcome.state, outcome.occurred_ms) {
        ("won", Some(at)) => format!("this one was won on {}", day(at)),
        ("lost", Some(at)) => format!("this one was lost on {}", day(at)),
        _ => match outcome.due_ms - told.now_ms {
            left if left > 0 => format!("this one is open and has {} left", span(left)),
            _ => "this one did not convert in its time".to_owned(),
        },
    };
    format!("{peers}; {own}.")
}
