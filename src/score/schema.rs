//! What a model reads: its features in order, and what each becomes before the network sees it.
//!
//! The schema is part of the manifest, so that training, batch scoring and the wire share one encoder.

use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::lead::FeatureType;

/// A model's features, in the model's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// One entry per feature, names unique.
    pub features: Vec<FeatureSpec>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// The name the configuration maps a CRM's field to.
    pub name: String,
    /// Never missing in the training data: a lead without it is not like any the model has seen.
    pub required: bool,
    /// What a value becomes.
    pub encoding: Encoding,
    /// How people call it in reasons; without one, the name with spaces for underscores and dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A protected attribute, or a stand-in for one: never shown as a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

/// How a value becomes numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Encoding {
    /// `(x, or the median where missing, - mean) / sd`, and a flag for missing.
    Number {
        /// Stands in for a missing value.
        median: f64,
        /// Training mean.
        mean: f64,
        /// Training standard deviation; 0, of a constant, is read as 1.
        sd: f64,
    },
    /// A number's place among edges, one ramp for each part between two of them: 0 below the part, 1 above it, and the
    /// share of it that lies below the number inside (the piecewise-linear encoding of Gorishniy, Rubachev and Babenko
    /// 2022); and a flag for missing. A number beyond the first or last edge is read as that edge.
    Piecewise {
        /// Stands in for a missing value.
        median: f64,
        /// Training mean: says what the column looked like, no part of the encoding.
        mean: f64,
        /// At least two, finite and rising.
        edges: Vec<f64>,
    },
    /// One column per word of the vocabulary, then one for missing or unseen.
    Category {
        /// The words seen in training, in column order.
        vocabulary: Vec<String>,
    },
    /// 0 or 1 as it is, and a flag for missing.
    Boolean {
        /// Stands in for a missing value.
        imputation: bool,
    },
}

impl Schema {
    /// Columns of the expanded input: standardised numbers and booleans, the ramps of piecewise numbers, one is-missing
    /// flag for each of all these, then the one-hots of every category.
    pub fn width(&self) -> usize {
        self.features.iter().map(FeatureSpec::columns).sum()
    }

    /// Refuses what would give wrong or infinite columns: duplicate names and words, numbers that are not finite.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let mut names: Vec<&str> = self.features.iter().map(|feature| feature.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
            return Err(ModelError::Schema { feature: (*name).into(), reason: "stands in the schema twice" });
        }
        if names.is_empty() {
            return Err(ModelError::Schema { feature: String::new(), reason: "no features" });
        }
        self.features.iter().try_for_each(FeatureSpec::check)
    }
}

impl FeatureSpec {
    /// A feature without a label of its own that may be shown.
    pub fn new(name: impl Into<String>, required: bool, encoding: Encoding) -> Self {
        Self { name: name.into(), required, encoding, label: None, protected: false }
    }

    /// How people call it.
    pub fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.name.replace(['_', '.'], " "))
    }

    /// The type a value must have to be read.
    pub fn feature_type(&self) -> FeatureType {
        match self.encoding {
            Encoding::Number { .. } | Encoding::Piecewise { .. } => FeatureType::Number,
            Encoding::Category { .. } => FeatureType::Category,
            Encoding::Boolean { .. } => FeatureType::Boolean,
        }
    }

    fn columns(&self) -> usize {
        match &self.encoding {
            Encoding::Number { .. } | Encoding::Boolean { .. } => 2,
            Encoding::Piecewise { edges, .. } => edges.len().max(1),
            Encoding::Category { vocabulary } => vocabulary.len() + 1,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let refuse = |reason| Err(ModelError::Schema { feature: self.name.clone(), reason });
        match &self.encoding {
            Encoding::Number { median, mean, sd } => {
                if ![median, mean, sd].into_iter().all(|number| number.is_finite()) || *sd < 0.0 {
                    return refuse("median, mean and sd must be finite, and sd not negative");
                }
            }
            Encoding::Piecewise { median, mean, edges } => {
                let rising = edges.len() >= 2 && edges.array_windows().all(|[a, b]| a < b);
                // A part narrower than this has no reciprocal that could place a number in it.
                let wide = edges.array_windows().all(|[a, b]| (b - a).is_normal());
                if !(median.is_finite()
                    && mean.is_finite()
                    && edges.iter().all(|edge| edge.is_finite())
                    && rising
                    && wide)
                {
                    return refuse(
                        "median, mean and edges must be finite, and the edges at least two and rising",
                    );
                }
            }
            Encoding::Category { vocabulary } => {
                let mut words: Vec<&String> = vocabulary.iter().collect();
                words.sort_unstable();
                if words.array_windows().any(|[a, b]| a == b) {
                    return refuse("a word stands in the vocabulary twice");
                }
            }
            Encoding::Boolean { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Schema, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn reads_as_the_manifest_writes_it() {
        let schema = parse(
            r#"{"features": [
                {"name": "age", "required": true, "encoding": {"type": "number", "median": 38, "mean": 40, "sd": 10}},
                {"name": "debt", "required": true, "encoding": {"type": "piecewise", "median": 1, "mean": 1, "edges": [0, 1, 4]}},
                {"name": "job", "required": false, "encoding": {"type": "category", "vocabulary": ["chef", "clerk"]}},
                {"name": "vip", "required": false, "encoding": {"type": "boolean", "imputation": false}}]}"#,
        )
        .unwrap();
        assert_eq!(schema.width(), 10);
        assert!(schema.check().is_ok());
        assert_eq!(parse(&serde_json::to_string(&schema).unwrap()).unwrap(), schema);
    }

    #[test]
    fn unknown_keys_and_types_are_errors() {
        let check =
            |feature: &str| assert!(parse(&format!(r#"{{"features": [{feature}]}}"#)).is_err(), "{feature}");
        check(r#"{"name": "a", "required": true, "encoding": {"type": "embedding"}}"#);
        check(
            r#"{"name": "a", "required": true, "encoding": {"type": "boolean", "imputation": true, "sd": 1}}"#,
        );
        check(
            r#"{"name": "a", "required": true, "scale": 1, "encoding": {"type": "boolean", "imputation": true}}"#,
        );
    }

    #[test]
    fn refuses_what_would_give_wrong_columns() {
        let number = |sd| Encoding::Number { median: 0.0, mean: 0.0, sd };
        let words = |words: [&str; 2]| Encoding::Category { vocabulary: words.map(String::from).to_vec() };
        let check = |encodings: Vec<(&str, Encoding)>, accepted| {
            let features = encodings
                .into_iter()
                .map(|(name, encoding)| FeatureSpec::new(name, false, encoding))
                .collect();
            assert_eq!(Schema { features }.check().is_ok(), accepted);
        };
        let piecewise = |edges: &[f64]| Encoding::Piecewise { median: 0.0, mean: 0.0, edges: edges.to_vec() };
        check(vec![("a", number(0.0)), ("b", words(["x", "y"])), ("c", piecewise(&[0.0, 1.0]))], true);
        for edges in
            [&[][..], &[0.0], &[0.0, 0.0], &[1.0, 0.0], &[0.0, f64::NAN], &[-1e308, 1e308], &[0.0, 1e-310]]
        {
            check(vec![("a", piecewise(edges))], false);
        }
        check(vec![("a", number(1.0)), ("a", number(1.0))], false);
        check(vec![("a", number(f64::INFINITY))], false);
        check(vec![("a", number(-1.0))], false);
        check(vec![("b", words(["x", "x"]))], false);
        check(vec![], false);
    }
}
