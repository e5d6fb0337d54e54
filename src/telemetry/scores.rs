//! Scores of each version, in the buckets of a histogram.
//!
//! A score is counted at once where it falls: no clock is read, and nothing waits in memory until somebody asks.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::lead::{ModelId, Score, Slot};

/// Buckets as wide as a twentieth.
const BUCKETS: usize = 20;

/// Parts of a sum that make one.
const ONE: f64 = (1u64 << 32) as f64;

/// Scores of one version in one slot.
#[derive(Debug, Default)]
pub struct ScoreBuckets {
    /// What falls into each, its upper bound included.
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl ScoreBuckets {
    /// Counts a score; a few nanoseconds.
    pub fn record(&self, score: Score) {
        let probability = f64::from(score.probability());
        // Exact, as a score has 24 bits.
        let bucket = ((probability * BUCKETS as f64).ceil() as usize).saturating_sub(1);
        self.counts.get(bucket).into_iter().for_each(|count| _ = count.fetch_add(1, Relaxed));
        self.sum.fetch_add((probability * ONE) as u64, Relaxed);
    }
}

/// Model, version and slot.
type Key = (Arc<str>, Arc<str>, &'static str);

/// Those of all versions that have served.
#[derive(Debug, Default)]
pub(super) struct Scores(Mutex<BTreeMap<Key, Arc<ScoreBuckets>>>);

impl Scores {
    /// Those of a version in a slot, made once and kept.
    pub(super) fn of(&self, id: &ModelId, slot: Slot) -> Arc<ScoreBuckets> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(&id.model), Arc::clone(&id.version), slot.as_str());
        Arc::clone(all.entry(key).or_default())
    }

    /// As Prometheus text.
    pub(super) fn render(&self, text: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return;
        }
        // Writing to a String does not fail, here and below.
        _ = writeln!(text, "# HELP leadwire_score Scores given, and those of shadows, as probabilities.");
        _ = writeln!(text, "# TYPE leadwire_score histogram");
        for ((model, version, slot), buckets) in all.iter() {
            let [model, version] = [model, version].map(|label| escaped(label));
            let labels = format!("model=\"{model}\",version=\"{version}\",arm=\"{slot}\"");
            let mut count = 0;
            for (place, bucket) in (1..).zip(&buckets.counts) {
                count += bucket.load(Relaxed);
                let bound = if place == BUCKETS {
                    "+Inf".into()
                } else {
                    (place as f64 / BUCKETS as f64).to_string()
                };
                _ = writeln!(text, "leadwire_score_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let sum = buckets.sum.load(Relaxed) as f64 / ONE;
            _ = writeln!(text, "leadwire_score_sum{{{labels}}} {sum}");
            _ = writeln!(text, "leadwire_score_count{{{labels}}} {count}");
        }
    }
}

/// A label's value as Prometheus reads it.
pub(super) fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_fall_into_twentieths() {
        let check = |probability: f32, expected: usize| {
            let buckets = ScoreBuckets::default();
            buckets.record(Score::new(probability).unwrap());
            let found = buckets.counts.iter().position(|count| count.load(Relaxed) == 1);
            assert_eq!(found, Some(expected), "{probability}");
        };
        [
            (0.0, 0),
            (1e-9, 0),
            (0.049_999_998, 0),
            (0.25, 4),
            (0.250_000_03, 5),
            (0.5, 9),
            (0.95, 18),
            (1.0, 19),
        ]
        .into_iter()
        .for_each(|(probability, expected)| check(probability, expected));
        // As an f32 it is a little more than a twentieth.
        check(0.05, 1);
    }

    #[test]
    fn prometheus_is_told_all_versions() {
        let (scores, mut text) = (Scores::default(), String::new());
        scores.render(&mut text);
        assert_eq!(text, "");
        let id =
            |version: &str| ModelId { model: "a\"b".into(), version: version.into(), digest: "ab".into() };
        for (version, slot, probability) in
            [("1", Slot::Champion, 0.25), ("1", Slot::Champion, 0.75), ("2", Slot::Shadow, 1.0)]
        {
            scores.of(&id(version), slot).record(Score::new(probability).unwrap());
        }
        scores.render(&mut text);
        for line in [
            "# TYPE leadwire_score histogram",
            r#"leadwire_score_bucket{model="a\"b",version="1",arm="champion",le="0.2"} 0"#,
            r#"leadwire_score_bucket{model="a\"b",version="1",arm="champion",le="0.25"} 1"#,
            r#"leadwire_score_bucket{model="a\"b",version="1",arm="champion",le="+Inf"} 2"#,
            r#"leadwire_score_sum{model="a\"b",version="1",arm="champion"} 1"#,
            r#"leadwire_score_count{model="a\"b",version="1",arm="champion"} 2"#,
            r#"leadwire_score_bucket{model="a\"b",version="2",arm="shadow",le="0.95"} 0"#,
            r#"leadwire_score_count{model="a\"b",version="2",arm="shadow"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
