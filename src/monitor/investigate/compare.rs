//! What lies between two scores of a lead, in points: how much of it came with its features, and how much with the model.
//!
//! With `f` and `g` the earlier and the later version and `x` and `y` the features they were given,
//! `g(y) - f(x) = [g(y) - g(x)] + [g(x) - f(x)]`: the features' part, as the later version sees it, and the model's. Where
//! the later version is gone the earlier one is asked: `[f(y) - f(x)] + [g(y) - f(y)]`. The features' part is split over
//! those that changed by in/out, half of what taking a change back costs and half of what it alone brings, scaled to sum
//! to their part; where that would take more than a factor of 4, what they do only together is a part of its own. What a
//! version does not score again as it did is one too. So the parts always add up, in tenths of a point, to what people
//! see.

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    super::rescore::{RescoreError, Rescorer, Row},
    shown,
    versions::{Guard, Versions},
};
use crate::{lead::Value, leadlog::StoredScore, score};

/// The way from one score to another.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// When the earlier one was given, in milliseconds since 1970.
    pub from_ms: i64,
    /// When the later one was.
    pub to_ms: i64,
    /// Points before, to a tenth.
    pub before: f64,
    /// Points after.
    pub after: f64,
    /// After less before.
    pub points: f64,
    /// The grades.
    pub grades: [String; 2],
    /// The versions.
    pub versions: [String; 2],
    /// Whether another version, or another artifact of the same name, gave the later score.
    pub is_other_model: bool,
    /// Points that came with the features; `None` where no version could be asked.
    pub inputs: Option<f64>,
    /// Points that came with the model.
    pub model: Option<f64>,
    /// The version that split them.
    pub by: Option<String>,
    /// What they are made of, the greatest first. They sum to `points`.
    pub parts: Vec<Part>,
    /// Why they could not be told apart.
    pub note: Option<String>,
}

/// What moved a score.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What kind of thing it is.
    pub kind: PartKind,
    /// The feature's name.
    pub feature: Option<String>,
    /// How people call it.
    pub label: String,
    /// Its value before.
    pub from: Json,
    /// Its value after.
    pub to: Json,
    /// Points, to a tenth.
    pub points: f64,
}

/// Kinds of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// A feature that changed.
    Feature,
    /// Features that changed and must not be shown.
    Hidden,
    /// What features that changed do only together.
    Together,
    /// Another version.
    Model,
    /// What a version does not score again as it did.
    NotReproduced,
    /// Nobody can say: no version could be asked.
    Unexplained,
}

/// A feature that differs between two scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its name.
    pub feature: String,
    /// Its value before.
    pub from: Json,
    /// Its value after.
    pub to: Json,
}

/// A part before it is rounded.
#[derive(Debug)]
struct Raw {
    kind: PartKind,
    /// The feature's place in the schema of the version that is asked.
    place: Option<usize>,
    points: f64,
}

/// What made one score of another.
pub(super) fn change(
    versions: &mut Versions<'_>,
    guard: &Guard,
    [before, after]: [&StoredScore; 2],
) -> Change {
    let is_other_model = before.digest != after.digest || before.version != after.version;
    let points = [before, after].map(|score| score.score * 100.0);
    let split = split(versions, is_other_model, [before, after]);
    let (raw, asked, note) = match split {
        Ok((raw, asked)) => (raw, Some(asked), None),
        Err(why) => {
            let points = points[1] - points[0];
            (vec![Raw { kind: PartKind::Unexplained, place: None, points }], None, Some(why))
        }
    };
    let [before_tenths, after_tenths] = points.map(|points| (points * 10.0).round() as i64);
    let tenths = apportion(raw.iter().map(|raw| raw.points * 10.0), after_tenths - before_tenths);
    let sum = |wanted: &dyn Fn(PartKind) -> bool| {
        let of = raw.iter().zip(&tenths).filter(|(raw, _)| wanted(raw.kind));
        asked.map(|_| of.map(|(_, tenths)| tenths).sum::<i64>() as f64 / 10.0)
    };
    let is_input = |kind| matches!(kind, PartKind::Feature | PartKind::Together);
    let asked_of = asked.map(|last| if last { after } else { before });
    Change {
        from_ms: before.time_ms,
        to_ms: after.time_ms,
        before: before_tenths as f64 / 10.0,
        after: after_tenths as f64 / 10.0,
        points: (after_tenths - before_tenths) as f64 / 10.0,
        grades: [before.grade.clone(), after.grade.clone()],
        versions: [before.version.clone(), after.version.clone()],
        is_other_model,
        inputs: sum(&is_input),
        model: sum(&|kind| kind == PartKind::Model),
        by: asked_of.map(|score| score.version.clone()),
        parts: parts(versions, guard, asked_of, [before, after], raw.iter().zip(&tenths)),
        note,
    }
}

/// The parts, and whether the later version was asked.
fn split(
    versions: &mut Versions<'_>,
    is_other_model: bool,
    [before, after]: [&StoredScore; 2],
) -> Result<(Vec<Raw>, bool), String> {
    let given = [before, after].map(|score| score.score * 100.0);
    let asked = versions.of(after).and_then(|later| ask(later, [before, after]));
    let (mut raw, [at_before, at_after], is_later) = match (asked, is_other_model) {
        (Ok((raw, ends)), _) => (raw, ends, true),
        (Err(why), false) => return Err(why),
        (Err(why), true) => match versions.of(before).and_then(|earlier| ask(earlier, [before, after])) {
            Ok((raw, ends)) => (raw, ends, false),
            Err(too) => return Err(format!("{why}; {too}")),
        },
    };
    // What the version that was asked says of its own score, and the other one of the same features.
    let (own, model) = match (is_later, is_other_model) {
        (true, true) => (given[1] - at_after, at_before - given[0]),
        (false, _) => (at_before - given[0], given[1] - at_after),
        (true, false) => (given[1] - at_after + at_before - given[0], 0.0),
    };
    if is_other_model {
        raw.push(Raw { kind: PartKind::Model, place: None, points: model });
    }
    if own != 0.0 {
        raw.push(Raw { kind: PartKind::NotReproduced, place: None, points: own });
    }
    Ok((raw, is_later))
}

/// What changed features do in the eyes of one version, and its points for both.
fn ask(version: &mut Rescorer, [before, after]: [&StoredScore; 2]) -> Result<(Vec<Raw>, [f64; 2]), String> {
    let told = |error: RescoreError| error.to_string();
    let rows = [version.row(&before.features).map_err(told)?, version.row(&after.features).map_err(told)?];
    rows.iter().try_for_each(|row| version.check_whole(row)).map_err(told)?;
    let [Row { values: x, .. }, Row { values: y, .. }] = rows;
    let ends = [version.score_values(&x).map_err(told)?, version.score_values(&y).map_err(told)?];
    let ends = ends.map(|scored| f64::from(scored.score.probability()) * 100.0);
    let places: Vec<usize> =
        x.iter().zip(&y).enumerate().filter(|(_, (a, b))| differ(a, b)).map(|(i, _)| i).collect();
    let total = ends[1] - ends[0];
    let raw = match in_out(version, (&x, &y), &places) {
        Some(phi) => scaled(&places, &phi, total),
        None => vec![Raw { kind: PartKind::Together, place: None, points: total }],
    };
    Ok((raw, ends))
}

/// Missing in either way is the same.
fn differ(a: &Value<'_>, b: &Value<'_>) -> bool {
    a != b && !(a.is_missing() && b.is_missing())
}

/// Each change's effect in points; `None` where a mix of both cannot be scored.
fn in_out(
    version: &mut Rescorer,
    (x, y): (&[Value<'_>], &[Value<'_>]),
    places: &[usize],
) -> Option<Vec<f32>> {
    let (mut phi, mut mixed) = (Vec::new(), x.to_vec());
    score::in_out(
        places.len(),
        |mix| {
            mixed.clear();
            mixed.extend_from_slice(x);
            for (_, place) in places.iter().enumerate().filter(|(n, _)| mix.is_leads(*n)) {
                if let (Some(slot), Some(value)) = (mixed.get_mut(*place), y.get(*place)) {
                    *slot = value.clone();
                }
            }
            version.score_values(&mixed).map_or(f32::NAN, |scored| scored.score.probability() * 100.0)
        },
        &mut phi,
    );
    phi.iter().all(|phi| phi.is_finite()).then_some(phi)
}

fn scaled(places: &[usize], phi: &[f32], total: f64) -> Vec<Raw> {
    let sum: f64 = phi.iter().map(|phi| f64::from(*phi)).sum();
    let factor = Some(total / sum).filter(|factor| (0.25..=4.0).contains(factor));
    let part = |(place, phi): (&usize, &f32)| Raw {
        kind: PartKind::Feature,
        place: Some(*place),
        points: f64::from(*phi) * factor.unwrap_or(1.0),
    };
    let mut raw: Vec<Raw> = places.iter().zip(phi).map(part).collect();
    if factor.is_none() && total != sum {
        raw.push(Raw { kind: PartKind::Together, place: None, points: total - sum });
    }
    raw
}

/// Numbers as whole ones that sum to `total`: each is rounded, and what is missing then is taken by those that lost most in
/// rounding.
fn apportion(exact: impl Iterator<Item = f64>, total: i64) -> Vec<i64> {
    let exact: Vec<f64> = exact.collect();
    let mut whole: Vec<i64> = exact.iter().map(|number| number.round() as i64).collect();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    let missing = total - whole.iter().sum::<i64>();
    let lost = |i: &usize| {
        let (exact, whole) =
            (exact.get(*i).copied().unwrap_or_default(), whole.get(*i).copied().unwrap_or_default());
        (exact - whole as f64) * missing.signum() as f64
    };
    order.sort_by(|a, b| lost(b).total_cmp(&lost(a)));
    // Parts sum to the total before rounding, so it is never more than one for each; the modulus bounds what is edited.
    for i in order.iter().cycle().take(usize::try_from(missing.abs()).unwrap_or(0).min(order.len() * 2_000)) {
        if let Some(number) = whole.get_mut(*i) {
            *number += missing.signum();
        }
    }
    whole
}

/// Parts with their names and values, the greatest first. What must not be shown is one part without a name.
fn parts<'r>(
    versions: &mut Versions<'_>,
    guard: &Guard,
    asked: Option<&StoredScore>,
    [before, after]: [&StoredScore; 2],
    raw: impl Iterator<Item = (&'r Raw, &'r i64)>,
) -> Vec<Part> {
    let version = asked.and_then(|score| versions.of(score).ok());
    let values = |score: &StoredScore| {
        let row = version.as_ref().and_then(|version| version.row(&score.features).ok());
        row.map(|row| shown::row(&row)).unwrap_or_default()
    };
    let [from, to] = [values(before), values(after)];
    let (mut parts, mut hidden) = (Vec::new(), None::<i64>);
    for (raw, tenths) in raw {
        let spec = raw.place.and_then(|place| version.as_ref()?.version().model.features().get(place));
        if spec.is_some_and(|spec| guard.hides(&spec.name)) {
            *hidden.get_or_insert(0) += tenths;
            continue;
        }
        let value = |of: &[Json]| raw.place.and_then(|place| of.get(place).cloned()).unwrap_or_default();
        let label = match raw.kind {
            PartKind::Model => {
                format!("version {} -> {}", shown::line(&before.version), shown::line(&after.version))
            }
            kind => spec.map_or_else(|| kind.label().to_owned(), |spec| shown::line(&spec.label())),
        };
        let feature = spec.map(|spec| spec.name.clone());
        let points = *tenths as f64 / 10.0;
        parts.push(Part { kind: raw.kind, feature, label, from: value(&from), to: value(&to), points });
    }
    parts.extend(hidden.map(|tenths| Part {
        kind: PartKind::Hidden,
        feature: None,
        label: PartKind::Hidden.label().into(),
        from: Json::Null,
        to: Json::Null,
        points: tenths as f64 / 10.0,
    }));
    parts.sort_by(|a, b| b.points.abs().total_cmp(&a.points.abs()));
    parts
}

impl PartKind {
    fn label(self) -> &'static str {
        match self {
            PartKind::Feature => "a feature",
            PartKind::Hidden => "features that are not shown",
            PartKind::Together => "what changed, together",
            PartKind::Model => "the model",
            PartKind::NotReproduced => "not reproduced",
            PartKind::Unexplained => "not explained",
        }
    }
}

impl Change {
    /// Whether people see a difference: a whole point, or another grade.
    pub(super) fn is_seen(&self) -> bool {
        self.points.abs() >= 1.0 || self.grades[0] != self.grades[1]
    }
}

/// Features of the version's schema that differ between two scores.
pub(super) fn changed(version: &Rescorer, guard: &Guard, [before, after]: [&StoredScore; 2]) -> Vec<Changed> {
    let (Ok(x), Ok(y)) = (version.row(&before.features), version.row(&after.features)) else {
        return Vec::new();
    };
    let pairs = version.version().model.features().iter().zip(shown::row(&x).into_iter().zip(shown::row(&y)));
    let differing = pairs.filter(|(spec, (from, to))| from != to && !guard.hides(&spec.name));
    differing.map(|(spec, (from, to))| Changed { feature: spec.name.clone(), from, to }).collect()
}

#[cfg(test)]
mod tests;
