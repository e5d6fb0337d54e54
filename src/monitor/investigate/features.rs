//! What is known of each feature of one score.

use serde_json::Value as Json;

use super::{
    super::rescore::{Rescorer, Row},
    Feature,
    drift::{self, Seen},
    shown,
    versions::Guard,
    whatif::{self, WhatIf},
};
use crate::{
    lead::{Grade, Value},
    leadlog::{StoredScore, read_features},
    registry::Version,
};

/// Features whose other values are tried.
const TRIED: usize = 5;

/// Features, the weightiest first.
#[derive(Default)]
pub(super) struct Features {
    pub(super) features: Vec<Feature>,
    /// Those that must not be shown.
    pub(super) hidden: usize,
    /// Other values for the weightiest.
    pub(super) what_if: Vec<WhatIf>,
}

/// What the version that gave a score knows of them, beside the score that is compared with and the last one.
pub(super) fn features(
    version: &mut Rescorer,
    guard: &Guard,
    given: &StoredScore,
    others: [Option<&StoredScore>; 2],
) -> Features {
    let Ok(row) = version.row(&given.features) else { return Features::default() };
    let held = version.version().clone();
    let phi = version.explain(&given.features).map(|explained| explained.phi).unwrap_or_default();
    let others = others.map(|other| {
        let other = other.and_then(|other| version.row(&other.features).ok());
        other.map(|other| shown::row(&other)).unwrap_or_default()
    });
    let mut seeing = Seeing { version, held: &held, row: &row, phi, values: shown::row(&row), others };
    let specs = held.model.features().iter().enumerate();
    let (hidden, shown): (Vec<_>, Vec<_>) = specs.partition(|(_, spec)| guard.hides(&spec.name));
    let mut shown: Vec<(usize, Feature)> =
        shown.into_iter().filter_map(|(place, _)| Some((place, seeing.feature(place)?))).collect();
    let weight = |feature: &Feature| feature.effect.unwrap_or_default().abs();
    shown.sort_by(|(_, a), (_, b)| weight(b).total_cmp(&weight(a)));
    let places: Vec<usize> = shown.iter().map(|(place, _)| *place).take(TRIED).collect();
    let is_whole = row.withheld.is_empty();
    let what_if = if is_whole { whatif::what_if(version, &row.values, &places) } else { Vec::new() };
    Features {
        features: shown.into_iter().map(|(_, feature)| feature).collect(),
        hidden: hidden.len(),
        what_if,
    }
}

/// One score in the eyes of its version.
struct Seeing<'s, 'j> {
    version: &'s mut Rescorer,
    held: &'s Version,
    row: &'s Row<'j>,
    phi: Vec<f32>,
    values: Vec<Json>,
    /// Of the score that is compared with, and of the last.
    others: [Vec<Json>; 2],
}

impl Seeing<'_, '_> {
    fn feature(&mut self, place: usize) -> Option<Feature> {
        let (spec, value) = (self.held.model.features().get(place)?, self.row.values.get(place)?);
        let typical = whatif::typical(&self.held.manifest, spec);
        let with = typical.as_ref().and_then(|typical| self.with(place, typical));
        let [before, now] =
            self.others.each_ref().map(|values| values.get(place).cloned().unwrap_or_default());
        Some(Feature {
            feature: spec.name.clone(),
            label: shown::line(&spec.label()),
            before,
            value: self.values.get(place).cloned().unwrap_or_default(),
            now,
            effect: self.phi.get(place).copied(),
            typical: typical.as_ref().map(shown::json).unwrap_or_default(),
            typical_moves: with.map(|(moved, _)| moved),
            typical_regrades: with.is_some_and(|(_, regrades)| regrades),
            seen: match self.row.withheld.contains(&place) {
                true => Seen::unknown("withheld", "the log may not keep it"),
                false => {
                    let histogram = self.held.manifest.baseline.features.get(&spec.name);
                    drift::seen(self.held.model.encoder(), place, value, histogram)
                }
            },
        })
    }

    /// Points that another value moves the score by, and whether the grade would be another.
    fn with(&mut self, place: usize, value: &Value<'_>) -> Option<(f64, bool)> {
        if !self.row.withheld.is_empty() {
            return None;
        }
        let now = self.version.score_values(&self.row.values).ok()?;
        let (points, grade): (f64, Grade) = whatif::with(self.version, &self.row.values, place, value)?;
        let now_points = whatif::tenth(f64::from(now.score.probability()) * 100.0);
        Some((whatif::tenth(whatif::tenth(points) - now_points), grade != now.grade))
    }
}

/// Values alone, where the version that read them is gone.
pub(super) fn bare(guard: &Guard, given: &StoredScore) -> Features {
    let mut found = Features::default();
    let read = read_features(&given.features, |name, value| {
        if guard.hides(&name) {
            found.hidden += 1;
            return;
        }
        let value = shown::json(&value.unwrap_or(Value::Missing));
        found.features.push(Feature {
            feature: shown::line(&name),
            label: shown::line(&name),
            before: Json::Null,
            value: value.clone(),
            now: value,
            effect: None,
            typical: Json::Null,
            typical_moves: None,
            typical_regrades: false,
            seen: Seen::unknown("unknown", "the version is gone"),
        });
    });
    if read.is_err() { Features::default() } else { found }
}
