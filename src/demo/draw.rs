//! Leads out of a baseline: each feature by its own histogram. How features go together is not in a baseline, so these
//! leads are likely one feature at a time, not as a whole.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::{
    config::{Feature, Pointer, Step},
    registry::{Histogram, Manifest},
    score::Encoding,
};

/// Draws leads as the CRM's clients would send them.
pub(super) struct Draw {
    rng: StdRng,
    seed: u64,
    drawn: u64,
    features: Vec<(String, Column)>,
}

/// One feature's distribution.
struct Column {
    /// Running sums of the counts.
    sums: Vec<u64>,
    values: Values,
}

enum Values {
    /// Each part's least and greatest value, and whether only whole numbers occur.
    Number {
        parts: Vec<(f64, f64)>,
        whole: bool,
        spike: Option<Spike>,
    },
    Category(Vec<String>),
}

/// One value that many rows of a part share. A histogram's parts do not show it, though half the rows may sit there:
/// `pdays` is 999 for nearly everybody, in a single part from 0 to 999.
struct Spike {
    part: usize,
    value: f64,
    /// Of the part's rows.
    share: f64,
}

impl Draw {
    /// Of the model's features, those that `mapped` maps to a member of the lead object, under that member's name. The
    /// same seed draws the same leads.
    pub(super) fn new(manifest: &Manifest, mapped: &[Feature], seed: u64) -> Self {
        let column = |feature: &Feature| {
            let histogram = manifest.baseline.features.get(&*feature.name)?;
            let trained = manifest.schema.features.iter().find(|trained| trained.name == *feature.name)?;
            Some((feature.from.iter().find_map(member)?, Column::new(histogram, &trained.encoding)))
        };
        let features = mapped.iter().filter_map(column).collect();
        Self { rng: StdRng::seed_from_u64(seed), seed, drawn: 0, features }
    }

    /// The next lead.
    pub(super) fn lead(&mut self) -> Map<String, Value> {
        let mut lead = Map::new();
        // What Salesforce requires of every lead.
        lead.insert("LastName".into(), json!("Demo"));
        lead.insert("Company".into(), json!("Example"));
        // Who has an address can be told apart, and counts for a trial.
        lead.insert("Email".into(), json!(format!("{}.{}@example.com", self.seed, self.drawn)));
        self.drawn += 1;
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
    fn new(histogram: &Histogram, encoding: &Encoding) -> Self {
        match histogram {
            Histogram::Number { edges, counts, .. } => {
                let whole = edges.iter().all(|edge| edge.fract() == 0.0);
                let parts = parts(edges, whole);
                let spike = Spike::find(&parts, counts, encoding);
                Self { sums: sums(counts.iter()), values: Values::Number { parts, whole, spike } }
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
            Values::Number { parts, whole, spike } => {
                let (low, high) = *parts.get(part)?;
                let within: f64 = rng.random();
                Some(json!(match spike {
                    Some(spike) if spike.part == part && rng.random::<f64>() < spike.share => spike.value,
                    _ if *whole => low + (within * (high - low + 1.0)).floor(),
                    _ => high - within * (high - low),
                }))
            }
        }
    }
}

/// A part holds its upper edge but not its lower one, save the first.
fn parts(edges: &[f64], whole: bool) -> Vec<(f64, f64)> {
    if let [only] = edges {
        return vec![(*only, *only)];
    }
    let step = |part| if whole && part > 0 { 1.0 } else { 0.0 };
    edges.array_windows().enumerate().map(|(part, [low, high])| (low + step(part), *high)).collect()
}

impl Spike {
    /// Where the median is the least or the greatest value, half the rows or more have it. The share is the one that
    /// makes the mean come out.
    fn find(parts: &[(f64, f64)], counts: &[u64], encoding: &Encoding) -> Option<Self> {
        let (Encoding::Number { median, mean, .. } | Encoding::Piecewise { median, mean, .. }) = encoding
        else {
            return None;
        };
        let part = match (parts.first()?.0 == *median, parts.last()?.1 == *median) {
            (true, false) => 0,
            (false, true) => parts.len() - 1,
            _ => return None,
        };
        let total = counts.iter().sum::<u64>() as f64;
        let weighed = || {
            counts.iter().zip(parts).map(|(count, (low, high))| (*count as f64 / total, (low + high) / 2.0))
        };
        let (rows, middle) = weighed().nth(part)?;
        let without: f64 = weighed().map(|(rows, middle)| rows * middle).sum();
        let share = ((mean - without) / (rows * (median - middle))).clamp(0.0, 1.0);
        share.is_finite().then_some(Self { part, value: *median, share })
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
                    let inner = &edges[1..edges.len() - 1];
                    for (part, count) in counts.iter().enumerate() {
                        let is_in = |number: &&f64| inner.partition_point(|edge| edge < number) == part;
                        let drawn = numbers.iter().filter(is_in).count();
                        close(name, drawn, *count, counts.iter().sum());
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
    fn a_value_that_most_rows_share_is_drawn_as_often() {
        let leads = drawn(7, LEADS);
        let check = |name: &str, value: f64, expected: f64| {
            let same = leads.iter().filter(|lead| lead[name] == value).count() as f64 / LEADS as f64;
            assert!((same - expected).abs() < 0.06, "{name}: {same} instead of {expected}");
        };
        // Their shares among the 24,713 training rows; a mean tells them to within six hundredths.
        check("pdays__c", 999.0, 0.963);
        check("previous__c", 0.0, 0.864);
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
