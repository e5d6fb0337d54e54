//! Leads out of a baseline: each feature by its own histogram. How features go together is not in a baseline, so these
//! leads are likely one feature at a time, not as a whole.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::{
    config::{Feature, Pointer, Step},
    registry::{Histogram, Manifest},
};

/// Draws leads as the CRM's clients would send them.
pub(super) struct Draw {
    rng: StdRng,
    features: Vec<(String, Column)>,
}

/// One feature's distribution.
struct Column {
    /// Running sums of the counts.
    sums: Vec<u64>,
    values: Values,
}

enum Values {
    /// Each part's lower and upper edge.
    Number {
        parts: Vec<(f64, f64)>,
        whole: bool,
    },
    Category(Vec<String>),
}

impl Draw {
    /// Of the model's features, those that `mapped` maps to a member of the lead object, under that member's name. The
    /// same seed draws the same leads.
    pub(super) fn new(manifest: &Manifest, mapped: &[Feature], seed: u64) -> Self {
        let column = |feature: &Feature| {
            let histogram = manifest.baseline.features.get(&*feature.name)?;
            Some((feature.from.iter().find_map(member)?, Column::new(histogram)))
        };
        Self { rng: StdRng::seed_from_u64(seed), features: mapped.iter().filter_map(column).collect() }
    }

    /// The next lead.
    pub(super) fn lead(&mut self) -> Map<String, Value> {
        let mut lead = Map::new();
        // What Salesforce requires of every lead.
        lead.insert("LastName".into(), json!("Demo"));
        lead.insert("Company".into(), json!("Example"));
        for (member, column) in &self.features {
            if let Some(value) = column.draw(&mut self.rng) {
                lead.insert(member.clone(), value);
            }
        }
        lead
    }
}

/// `/age__c` is the member `age__c`; deeper pointers name none.
fn member(pointer: &Pointer) -> Option<String> {
    match pointer.steps.as_slice() {
        [Step::Key(name)] => Some(name.to_string()),
        _ => None,
    }
}

impl Column {
    fn new(histogram: &Histogram) -> Self {
        match histogram {
            Histogram::Number { edges, counts, .. } => {
                let parts = match edges.as_slice() {
                    [only] => vec![(*only, *only)],
                    edges => edges.array_windows().map(|[low, high]| (*low, *high)).collect(),
                };
                let whole = edges.iter().all(|edge| edge.fract() == 0.0);
                Self { sums: sums(counts.iter()), values: Values::Number { parts, whole } }
            }
            Histogram::Category { counts, .. } => {
                let words = counts.keys().cloned().collect();
                Self { sums: sums(counts.values()), values: Values::Category(words) }
            }
        }
    }

    /// A part by its share, then a value within it; `None` where the baseline is empty.
    fn draw(&self, rng: &mut StdRng) -> Option<Value> {
        let total = self.sums.last().copied().filter(|total| *total > 0)?;
        let at = rng.random_range(0..total);
        let part = self.sums.partition_point(|sum| *sum <= at);
        match &self.values {
            Values::Category(words) => Some(json!(words.get(part)?)),
            Values::Number { parts, whole } => {
                let (low, high) = *parts.get(part)?;
                let value = if *whole {
                    // A part holds its upper edge but not its lower one, save the first.
                    let low = if part == 0 { low } else { low + 1.0 };
                    low + (rng.random::<f64>() * (high - low + 1.0)).floor()
                } else {
                    high - rng.random::<f64>() * (high - low)
                };
                Some(json!(value))
            }
        }
    }
}

fn sums<'a>(counts: impl Iterator<Item = &'a u64>) -> Vec<u64> {
    counts
        .scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        demo::{model, scene},
        lead,
        registry::Plain,
        score::{Encoder, FeatureSpec},
        stats,
    };

    const LEADS: usize = 20_000;

    fn drawn(seed: u64, leads: usize) -> Vec<Map<String, Value>> {
        let mut draw = Draw::new(&model::first().unwrap(), &scene::shipped_config().features, seed);
        (0..leads).map(|_| draw.lead()).collect()
    }

    /// The wire's name of a feature.
    fn named(feature: &str) -> String {
        format!("{}__c", feature.replace('.', "_"))
    }

    #[test]
    fn shares_come_out_as_the_baseline_has_them() {
        let leads = drawn(7, LEADS);
        let close = |name: &str, drawn: usize, count: u64, total: u64| {
            let (drawn, expected) = (drawn as f64 / LEADS as f64, count as f64 / total as f64);
            // Four standard deviations of a share of a half, over 20,000 leads.
            assert!((drawn - expected).abs() < 0.0142, "{name}: {drawn} instead of {expected}");
        };
        for (name, histogram) in &model::first().unwrap().baseline.features {
            let values: Vec<&Value> = leads.iter().map(|lead| &lead[&named(name)]).collect();
            match histogram {
                Histogram::Number { edges, counts, .. } => {
                    let numbers: Vec<f64> = values.iter().map(|value| value.as_f64().unwrap()).collect();
                    let inside = edges[0]..=*edges.last().unwrap();
                    assert!(numbers.iter().all(|number| inside.contains(number)), "{name}");
                    for (drawn, count) in stats::counts(&numbers, edges).into_iter().zip(counts) {
                        close(name, drawn as usize, *count, counts.iter().sum());
                    }
                }
                Histogram::Category { counts, .. } => {
                    for (word, count) in counts {
                        let drawn = values.iter().filter(|value| value.as_str() == Some(word)).count();
                        close(&format!("{name}={word}"), drawn, *count, counts.values().sum());
                    }
                }
            }
        }
    }

    #[test]
    fn every_lead_encodes_with_nothing_missing() {
        let manifest = model::first().unwrap();
        let encoder = Encoder::new(&manifest.schema).unwrap();
        let mut row = Vec::new();
        for lead in drawn(8, 1_000) {
            let plain = |feature: &FeatureSpec| {
                serde_json::from_value::<Plain>(lead[&named(&feature.name)].clone()).unwrap()
            };
            let plains: Vec<Plain> = manifest.schema.features.iter().map(plain).collect();
            let values: Vec<lead::Value<'_>> = plains.iter().map(Plain::value).collect();
            assert!(encoder.encode(|i| &values[i], &mut row));
            let (flags, codes) = (&row[encoder.dense() / 2..encoder.dense()], &row[encoder.dense()..]);
            assert!(flags.iter().all(|flag| *flag == 0.0), "{lead:?}");
            let known =
                codes.iter().zip(encoder.categories()).all(|(code, width)| (*code as usize) < width - 1);
            assert!(known, "{lead:?}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_leads() {
        assert_eq!(drawn(7, 10), drawn(7, 10));
        assert_ne!(drawn(7, 10), drawn(8, 10));
    }
}
