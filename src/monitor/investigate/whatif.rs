//! What the score would be if one thing about the lead were different.

use serde::Serialize;
use serde_json::Value as Json;

use super::{super::rescore::Rescorer, shown};
use crate::{
    lead::{Grade, Value, read_text},
    registry::{Background, Histogram, Manifest},
    score::FeatureSpec,
};

/// Words that are tried, the most frequent ones.
const MOST_WORDS: usize = 4;

/// A feature with another value, everything else as it is.
#[derive(Clone, Debug, Serialize)]
pub struct WhatIf {
    /// The feature's name.
    pub feature: String,
    /// How people call it.
    pub label: String,
    /// Its value.
    pub value: Json,
    /// The value that is tried.
    pub would: Json,
    /// Points then, to a tenth.
    pub points: f64,
    /// What that is more.
    pub moved: f64,
    /// The grade then.
    pub grade: String,
}

/// What a version makes of a lead whose feature at `place` has another value; points and grade.
pub(super) fn with(
    version: &mut Rescorer,
    values: &[Value<'_>],
    place: usize,
    value: &Value<'_>,
) -> Option<(f64, Grade)> {
    let mut changed = values.to_vec();
    *changed.get_mut(place)? = value.clone();
    let scored = version.score_values(&changed).ok()?;
    Some((f64::from(scored.score.probability()) * 100.0, scored.grade))
}

/// The value of most leads: the training median, or the most frequent word.
pub(super) fn typical(manifest: &Manifest, spec: &FeatureSpec) -> Option<Value<'static>> {
    match manifest.background.get(&spec.name)? {
        Background::Number { median } => Some(Value::Number(*median)),
        Background::Category { shares } => {
            let (word, _) = shares.iter().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)))?;
            Some(word_value(spec, word))
        }
    }
}

/// Values that a feature often has: a tenth of the training leads lie below the first number and above the last, and the
/// most frequent words.
fn often(manifest: &Manifest, spec: &FeatureSpec) -> Vec<Value<'static>> {
    let mut values: Vec<Value<'static>> = Vec::new();
    match manifest.baseline.features.get(&spec.name) {
        Some(Histogram::Number { edges, .. }) => {
            let inner = edges.get(1..edges.len().saturating_sub(1)).unwrap_or_default();
            values
                .extend([inner.first(), inner.last()].into_iter().flatten().map(|edge| Value::Number(*edge)));
        }
        Some(Histogram::Category { counts, .. }) => {
            let mut words: Vec<(&String, &u64)> = counts.iter().collect();
            words.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            values.extend(words.iter().take(MOST_WORDS).map(|(word, _)| word_value(spec, word)));
        }
        None => {}
    }
    values.extend(typical(manifest, spec));
    values
}

fn word_value(spec: &FeatureSpec, word: &str) -> Value<'static> {
    read_text(word.to_owned().into(), spec.feature_type())
}

/// The values that the features at `places` often have, tried one by one. The greatest gain first, for each feature.
pub(super) fn what_if(version: &mut Rescorer, values: &[Value<'_>], places: &[usize]) -> Vec<WhatIf> {
    let held = version.version().clone();
    let Ok(now) = version.score_values(values) else { return Vec::new() };
    let now = f64::from(now.score.probability()) * 100.0;
    let mut tried = Vec::new();
    for place in places {
        let (Some(spec), Some(value)) = (held.model.features().get(*place), values.get(*place)) else {
            continue;
        };
        let mut of: Vec<WhatIf> = Vec::new();
        for would in often(&held.manifest, spec) {
            let shown = shown::json(&would);
            if would == *value || of.iter().any(|tried| tried.would == shown) {
                continue;
            }
            let Some((points, grade)) = with(version, values, *place, &would) else { continue };
            of.push(WhatIf {
                feature: spec.name.clone(),
                label: shown::line(&spec.label()),
                value: shown::json(value),
                would: shown,
                points: tenth(points),
                moved: tenth(tenth(points) - tenth(now)),
                grade: grade.to_string(),
            });
        }
        of.sort_by(|a, b| b.moved.total_cmp(&a.moved));
        tried.extend(of);
    }
    tried
}

/// To a tenth.
pub(super) fn tenth(points: f64) -> f64 {
    (points * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::{Version, fixture};

    #[test]
    fn values_that_are_often_seen_are_tried_but_for_its_own() {
        let root = tempfile::tempdir().unwrap();
        let version = Version::load(&fixture::write(root.path(), "lead", "1", 0.5)).unwrap();
        let mut version = Rescorer::new(Arc::new(version));
        let values = [Value::Number(0.0), Value::Text("web".into())];
        let tried = what_if(&mut version, &values, &[0, 1]);
        let told: Vec<_> =
            tried.iter().map(|tried| (&*tried.feature, shown::words(&tried.would), tried.moved)).collect();
        // From a logit of 0 to one of 1; both words weigh the same.
        assert_eq!(told, [("budget", "10".into(), 23.1), ("channel", "phone".into(), 0.0)]);
        assert_eq!((tried[0].points, &*tried[0].grade), (73.1, "B"));
        assert!(what_if(&mut version, &[Value::Missing, Value::Missing], &[0]).is_empty());
        assert!(what_if(&mut version, &values, &[7]).is_empty());
    }

    #[test]
    fn the_typical_value_is_the_median_or_the_most_frequent_word() {
        let manifest = fixture::manifest("lead", "1", 0.5);
        let typical = |place: usize| typical(&manifest, &manifest.schema.features[place]);
        assert_eq!([typical(0), typical(1)], [Some(Value::Number(10.0)), Some(Value::Text("web".into()))]);
    }
}
