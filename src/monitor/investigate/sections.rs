//! The report as headings, lines and tables, the most important first. A terminal and a page show the same.

use super::{
    Change, Feature, Investigation, Scoring,
    cause::part_words,
    drift::Moved,
    peers::Converted,
    shown::{self, line, percent, signed, time},
};
use crate::{lead::Reason, rollout::span};

/// Scores that a table holds, the last ones; JSON has a hundred.
const SCORES: usize = 10;

/// Features that a table holds, the weightiest.
const FEATURES: usize = 12;

/// Drifted features that a table holds.
const DRIFTED: usize = 6;

/// Other values that a table holds for one feature.
const VALUES: usize = 2;

/// A part of the report.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Section {
    fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    fn table(mut self, head: &[&'static str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        (self.head, self.rows) = (head.to_vec(), rows.into_iter().collect());
        self
    }

    fn say(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// What stands above all: whose score it is.
pub(super) fn title(told: &Investigation) -> String {
    let id = told.ids.first().map(|id| line(id)).unwrap_or_default();
    match told.scoring() {
        Some(scoring) => format!("Lead {id}: {} points, grade {}", scoring.points, scoring.grade),
        None => format!("Lead {id}"),
    }
}

/// The lines under it.
pub(super) fn opening(told: &Investigation) -> Vec<String> {
    let Some(scoring) = told.scoring() else { return Vec::new() };
    let model = line(&told.model);
    let mut given = format!(
        "Given by {model}/{} ({}) as {} on {}, {}.",
        line(&scoring.version),
        scoring.digest,
        line(&scoring.arm),
        line(&scoring.route),
        time(scoring.time_ms)
    );
    if told.at + 1 < told.scores.len() {
        given.push_str(" It is not the last one.");
    }
    let mut lines = vec![told.answer.clone(), given];
    if let Some(deal) = &told.via_deal {
        lines.push(format!("{} is a deal that this lead became.", line(deal)));
    }
    if told.ids.len() > 1 {
        let others: Vec<String> = told.ids.iter().skip(1).map(|id| line(id)).collect();
        lines.push(format!("The lead log knows it as {} too.", others.join(", ")));
    }
    if !told.other_models.is_empty() {
        let others: Vec<String> = told.other_models.iter().map(|model| line(model)).collect();
        lines.push(format!("Scored by {} too: ask with --model.", others.join(", ")));
    }
    lines
}

/// All parts.
pub(super) fn sections(told: &Investigation) -> Vec<Section> {
    let parts = [
        Some(causes(told)),
        told.change.as_ref().map(change),
        Some(scores(told)),
        reasons(told),
        Some(features(told)),
        what_if(told),
        Some(peers(told)),
        Some(drift(told)),
        feedback(told),
        Some(steps(told)),
    ];
    parts.into_iter().flatten().collect()
}

fn causes(told: &Investigation) -> Section {
    let holding = told.findings.iter().filter(|finding| finding.holds);
    let mut section = Section::new(format!("Suggested cause: {}", told.cause.words()));
    for finding in holding {
        if finding.kind == told.cause {
            section.lines.extend(finding.evidence.iter().map(|evidence| format!("- {evidence}")));
        } else {
            let evidence = finding.evidence.join("; ");
            section = section.say(format!("Besides, {}: {evidence}", finding.kind.words()));
        }
    }
    section
}

fn change(change: &Change) -> Section {
    let title = format!(
        "What moved the score: {:.1} ({}) to {:.1} ({}), {}",
        change.before,
        change.grades[0],
        change.after,
        change.grades[1],
        signed(change.points)
    );
    let rows = change.parts.iter().map(|part| {
        let words = part_words(part);
        let what = words.rsplit_once(", ").map_or(words.as_str(), |(what, _)| what);
        vec![signed(part.points), what.to_owned()]
    });
    let section = Section::new(title).table(&["points", "what"], rows);
    match (&change.note, change.inputs, change.model, &change.by) {
        (Some(why), ..) => section.say(format!("It cannot be told what moved it: {why}")),
        (None, Some(inputs), Some(model), Some(by)) => section.say(format!(
            "From {} to {}: {} came with the lead, {} with the model, as version {} sees it.",
            time(change.from_ms),
            time(change.to_ms),
            signed(inputs),
            signed(model),
            line(by)
        )),
        _ => section,
    }
}

fn scores(told: &Investigation) -> Section {
    let (count, more) = (told.scores.len(), if told.has_older { " and older ones" } else { "" });
    let title = match count {
        ..=SCORES => format!("Scores: {count}{more}"),
        _ => format!("Scores: the last {SCORES} of {count}{more}"),
    };
    let shown = told.scores.iter().enumerate().skip(count.saturating_sub(SCORES));
    let rows = shown.map(|(place, scoring)| score_row(told, place, scoring));
    let head = [
        "",
        "time",
        "points",
        "grade",
        "version",
        "digest",
        "arm",
        "route",
        "written",
        "trend",
        "recomputed",
        "others say",
    ];
    Section::new(title).table(&head, rows)
}

fn score_row(told: &Investigation, place: usize, scoring: &Scoring) -> Vec<String> {
    let mark = match place {
        place if place == told.at => "*",
        place if Some(place) == told.against => "-",
        _ => "",
    };
    let recomputed = match scoring.recomputed.equal {
        Some(true) => "equal",
        Some(false) => "DIFFERS",
        None => "not tried",
    };
    let opinions = scoring.shadows.iter().map(|shadow| {
        let said = match (shadow.points, &shadow.grade, &shadow.error) {
            (Some(points), Some(grade), _) => format!("{points} {grade}"),
            (_, _, Some(error)) => line(error),
            _ => "nothing".into(),
        };
        format!("{} {}: {said}", line(&shadow.slot), line(&shadow.version))
    });
    let mut row =
        vec![mark.to_owned(), time(scoring.time_ms), scoring.points.to_string(), scoring.grade.clone()];
    row.extend(
        [&scoring.version, &scoring.digest, &scoring.arm, &scoring.route, &scoring.decision]
            .map(|text| line(text)),
    );
    row.extend([
        scoring.trend.unwrap_or("-").into(),
        recomputed.into(),
        opinions.collect::<Vec<_>>().join(", "),
    ]);
    row
}

fn reasons(told: &Investigation) -> Option<Section> {
    let before = told.against.and_then(|place| told.scores.get(place));
    let now = told.scoring()?;
    let said = |scoring: Option<&Scoring>, feature: &str| {
        let reason = scoring?.reasons.iter().find(|reason| &*reason.feature == feature)?;
        let word =
            reason.text.strip_prefix(&*reason.label).unwrap_or(&reason.text).trim_start_matches([':', ' ']);
        Some(format!("{}{:.0}% ({})", reason.direction.as_str(), reason.strength * 100.0, line(word)))
    };
    let mut reasons: Vec<&Reason> = now.reasons.iter().collect();
    for reason in before.iter().flat_map(|scoring| &scoring.reasons) {
        if !reasons.iter().any(|known| known.feature == reason.feature) {
            reasons.push(reason);
        }
    }
    let cell = |scoring, feature: &str| said(scoring, feature).unwrap_or_else(|| "-".into());
    let row = |reason: &&Reason| {
        let was = before.map(|before| cell(Some(before), &reason.feature)).unwrap_or_default();
        vec![line(&reason.label), was, cell(Some(now), &reason.feature)]
    };
    let section = Section::new("Reasons, by their share of all effects");
    (!reasons.is_empty()).then(|| section.table(&["reason", "before", "now"], reasons.iter().map(row)))
}

fn features(told: &Investigation) -> Section {
    let rows = told.features.iter().take(FEATURES).map(|feature| feature_row(told, feature));
    let head = ["feature", "before", "value", "last known", "typical", "with it", "training"];
    let mut section = Section::new("Features, the weightiest first").table(&head, rows);
    let rest = told.features.len().saturating_sub(FEATURES);
    if rest > 0 {
        section = section.say(format!("{rest} that weigh less are in --json."));
    }
    if told.hidden > 0 {
        section = section.say(format!("{} features are not shown.", told.hidden));
    }
    section
}

/// What is the same for all is left out.
fn feature_row(told: &Investigation, feature: &Feature) -> Vec<String> {
    let moved = feature.typical_moves.map(signed).unwrap_or_else(|| "-".into());
    let seen = match feature.seen.state {
        "usual" => "usual",
        _ => &feature.seen.text,
    };
    let mut row = vec![feature.label.clone()];
    let only = |is_known: bool, value| if is_known { shown::words(value) } else { String::new() };
    let is_last = told.at + 1 == told.scores.len();
    row.extend([only(told.against.is_some(), &feature.before), shown::words(&feature.value)]);
    row.extend([only(!is_last, &feature.now), shown::words(&feature.typical)]);
    row.extend([moved, seen.to_owned()]);
    row
}

fn what_if(told: &Investigation) -> Option<Section> {
    let mut rows = Vec::new();
    for (at, tried) in told.what_if.iter().enumerate() {
        let before = told.what_if.iter().take(at).filter(|earlier| earlier.feature == tried.feature).count();
        if before < VALUES && tried.moved != 0.0 {
            let (is, would) = (shown::words(&tried.value), shown::words(&tried.would));
            let points = format!("{:.1}", tried.points);
            rows.push(vec![tried.label.clone(), is, would, points, signed(tried.moved), tried.grade.clone()]);
        }
    }
    let head = ["feature", "is", "if it were", "points", "moved", "grade"];
    (!rows.is_empty()).then(|| Section::new("What if").table(&head, rows))
}

fn peers(told: &Investigation) -> Section {
    let peers = &told.peers;
    let grade = told.scoring().map(|scoring| scoring.grade.clone()).unwrap_or_default();
    let row = |who: String, of: &Converted| {
        let percent = |share: Option<f64>| share.map(percent).unwrap_or_else(|| "-".into());
        let interval =
            of.interval.map(|[low, high]| format!("{} to {}", percent(Some(low)), percent(Some(high))));
        vec![
            who,
            of.leads.to_string(),
            of.conversions.to_string(),
            percent(of.rate),
            interval.unwrap_or_else(|| "-".into()),
        ]
    };
    let rows = [row(format!("of grade {grade}"), &peers.grade), row("within 5 points".into(), &peers.band)];
    let head = ["leads", "count", "converted", "rate", "95% interval"];
    let cut = if peers.is_cut { " There were more; these are the newest." } else { "" };
    let section = Section::new("What such leads became").table(&head, rows).say(format!(
        "Scored from {} to {}, each with {} to convert.{cut}",
        time(peers.from_ms),
        time(peers.to_ms),
        span(peers.horizon_ms)
    ));
    match outcome(told) {
        Some(own) => section.say(own),
        None => section,
    }
}

fn outcome(told: &Investigation) -> Option<String> {
    let outcome = &told.outcome;
    let at = outcome.occurred_ms?;
    let after = match outcome.after_ms.unwrap_or_default() {
        after if after < 0 => format!("{} before the score", span(after.saturating_neg())),
        after => format!("{} after the score", span(after)),
    };
    let revenue = outcome.revenue.map(|revenue| format!(", revenue {revenue}")).unwrap_or_default();
    let route =
        outcome.route.as_deref().map(|route| format!(", told on {}", line(route))).unwrap_or_default();
    Some(format!("This one: {} at {}, {after}{revenue}{route}.", outcome.state, time(at)))
}

fn drift(told: &Investigation) -> Section {
    let drift = &told.drift;
    let section = Section::new("Drift in the week before the score");
    if let Some(why) = &drift.note {
        return section.say(format!("Not checked: {why}"));
    }
    if !drift.is_enough {
        return section.say(format!("Too few leads to tell: {}, and 200 are needed.", drift.rows));
    }
    let drifted: Vec<&Moved> = drift.features.iter().filter(|moved| moved.level != "steady").collect();
    if drifted.is_empty() {
        return section.say(format!("No feature drifted, over {} leads.", drift.rows));
    }
    let rows = drifted
        .iter()
        .take(DRIFTED)
        .map(|moved| vec![moved.label.clone(), moved.words(), moved.level.to_owned()]);
    let section = section.table(&["feature", "PSI", "level"], rows);
    let few = if drift.rows < 500 { "; fewer than 500 leads raise no alarm" } else { "" };
    section.say(format!(
        "{} of {} features, over {} leads{few}.",
        drifted.len(),
        drift.features.len(),
        drift.rows
    ))
}

fn feedback(told: &Investigation) -> Option<Section> {
    let rows = told.feedback.iter().rev().take(SCORES).map(|said| {
        let text = |text: &Option<String>| text.as_deref().map(line).unwrap_or_else(|| "-".into());
        vec![time(said.time_ms), line(&said.verdict), text(&said.reason), text(&said.who), text(&said.note)]
    });
    let head = ["time", "verdict", "reason", "who", "note"];
    (!told.feedback.is_empty()).then(|| Section::new("What people said").table(&head, rows))
}

fn steps(told: &Investigation) -> Section {
    let rows = told.steps.iter().map(|step| {
        let done = if step.done { "done" } else { "not possible" };
        let took = format!("{:.1} ms", step.took_ms);
        vec![step.step.to_owned(), done.to_owned(), time(step.at_ms), took, line_of(&step.note)]
    });
    Section::new("Steps").table(&["step", "", "at", "took", "note"], rows)
}

/// A note of ours may be longer than a value.
fn line_of(note: &str) -> String {
    note.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
