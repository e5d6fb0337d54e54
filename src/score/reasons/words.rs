//! A feature's value as people read it: a word of the schema or a band, never the value itself.

use std::sync::Arc;

use crate::{
    lead::Value,
    score::{Encoding, FeatureSpec},
};

/// A bin with more of the training rows than this says nothing of high or low.
const WIDE: f64 = 0.5;

/// Least mid-ranks of the bands above the lowest: fifths of the training rows.
const BANDS: [(f64, &str); 5] =
    [(0.8, "very high"), (0.6, "high"), (0.4, "medium"), (0.2, "low"), (0.0, "very low")];

/// What numbers are called high and low by.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    median: f64,
    /// Inner edges of the histogram, rising.
    edges: Vec<f64>,
    /// The band of each bin; none for a wide one.
    bins: Vec<Option<&'static str>>,
}

impl Bands {
    /// Bands over a histogram of bins `(-inf, e1], (e1, e2], ..., (ek, inf)`; `edges` are the inner ones.
    pub fn new(median: f64, edges: &[f64], counts: &[u64]) -> Self {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let mut before = 0;
        let bin = |count: &u64| {
            let middle = (before as f64 + *count as f64 / 2.0) / total;
            before += count;
            let band = BANDS.iter().find(|(least, _)| middle >= *least).map(|(_, band)| *band);
            band.filter(|_| *count as f64 / total <= WIDE)
        };
        Self { median, bins: counts.iter().map(bin).collect(), edges: edges.to_vec() }
    }

    /// The median, what is typical.
    pub(super) fn median(&self) -> f64 {
        self.median
    }

    /// `high`; within a bin that holds most rows, the side of the median.
    fn word(&self, number: f64) -> &'static str {
        let bin = self.edges.partition_point(|edge| *edge < number);
        let by_median = match number.total_cmp(&self.median) {
            std::cmp::Ordering::Less => "low",
            std::cmp::Ordering::Equal => "medium",
            std::cmp::Ordering::Greater => "high",
        };
        self.bins.get(bin).copied().flatten().unwrap_or(by_median)
    }
}

/// One feature, ready to be talked about.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) name: Arc<str>,
    pub(super) label: Arc<str>,
    pub(super) protected: bool,
    /// For numbers.
    pub(super) bands: Option<Bands>,
}

impl Shown {
    pub(super) fn new(spec: &FeatureSpec, bands: Option<Bands>) -> Self {
        Self { name: spec.name.as_str().into(), label: spec.label().into(), protected: spec.protected, bands }
    }

    /// `job: services`. `code` is the category's, as its encoder gave it: a word that is not the schema's stays unsaid.
    pub(super) fn text(&self, encoding: &Encoding, value: &Value<'_>, code: Option<usize>) -> Box<str> {
        let known = code.and_then(|code| match encoding {
            Encoding::Category { vocabulary } => vocabulary.get(code),
            _ => None,
        });
        let word = match (encoding, value) {
            (Encoding::Category { .. }, Value::Missing | Value::Cleared) => "unknown",
            (Encoding::Category { .. }, _) => known.map_or("other", String::as_str),
            (Encoding::Boolean { .. }, Value::Boolean(true)) => "yes",
            (Encoding::Boolean { .. }, Value::Boolean(false)) => "no",
            (Encoding::Boolean { .. }, Value::Number(number)) if *number == 1.0 => "yes",
            (Encoding::Boolean { .. }, Value::Number(number)) if *number == 0.0 => "no",
            (Encoding::Number { .. } | Encoding::Piecewise { .. }, Value::Number(number)) => {
                self.bands.as_ref().map_or("unknown", |bands| bands.word(*number))
            }
            _ => "unknown",
        };
        format!("{}: {word}", self.label).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fall_into_fifths() {
        let bands = Bands::new(5.0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &[10; 10]);
        let words = [-1.0, 2.5, 4.5, 5.0, 7.0, 9.0, 1e9].map(|number| bands.word(number));
        assert_eq!(words, ["very low", "low", "medium", "medium", "high", "very high", "very high"]);
    }

    #[test]
    fn in_a_bin_of_most_rows_the_median_tells() {
        let pdays = Bands::new(999.0, &[], &[100]);
        assert_eq!([3.0, 999.0, 1000.0].map(|number| pdays.word(number)), ["low", "medium", "high"]);
        let previous = Bands::new(0.0, &[1.0], &[97, 3]);
        assert_eq!([0.0, 1.0, 2.0].map(|number| previous.word(number)), ["medium", "high", "very high"]);
        assert_eq!(Bands::new(0.0, &[], &[]).word(1.0), "high");
    }

    #[test]
    fn words_are_the_schemas() {
        let shown = |encoding: Encoding, bands: Option<Bands>, value: Value<'_>, code| {
            let spec = FeatureSpec::new("lead_source.kind", true, encoding.clone());
            Shown::new(&spec, bands).text(&encoding, &value, code).into_string()
        };
        let words = || Encoding::Category { vocabulary: vec!["web".into()] };
        let check = |value, code, expected| {
            assert_eq!(shown(words(), None, value, Some(code)), format!("lead source kind: {expected}"));
        };
        check(Value::Text("web".into()), 0, "web");
        check(Value::Text("<script>".into()), 1, "other");
        check(Value::Missing, 1, "unknown");
        check(Value::Cleared, 1, "unknown");
        let yes = Encoding::Boolean { imputation: false };
        assert_eq!(shown(yes.clone(), None, Value::Boolean(true), None), "lead source kind: yes");
        assert_eq!(shown(yes, None, Value::Text("x".into()), None), "lead source kind: unknown");
        let number = Encoding::Number { median: 1.0, mean: 1.0, sd: 1.0 };
        assert_eq!(
            shown(number, Some(Bands::new(1.0, &[], &[1])), Value::Missing, None),
            "lead source kind: unknown"
        );
    }
}
