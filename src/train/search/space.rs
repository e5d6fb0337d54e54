//! What a parameter may be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The parameters of a study by name.
pub type Space = BTreeMap<String, Distribution>;

/// The values that a parameter may take. Inside, every value is a number: that of a category is its place among the choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "attributes")]
pub enum Distribution {
    /// A number.
    #[serde(rename = "FloatDistribution")]
    Float {
        /// Between two of them; any without it.
        step: Option<f64>,
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
        /// Equal factors are equally far apart.
        log: bool,
    },
    /// A whole number.
    #[serde(rename = "IntDistribution")]
    Int {
        /// Equal factors are equally far apart.
        log: bool,
        /// Between two of them.
        step: i64,
        /// The least.
        low: i64,
        /// The greatest.
        high: i64,
    },
    /// One of a few.
    #[serde(rename = "CategoricalDistribution")]
    Category {
        /// They.
        choices: Vec<Json>,
    },
}

impl Distribution {
    /// A number, on a logarithmic scale where `log`.
    pub fn float(low: f64, high: f64, log: bool) -> Self {
        Self::Float { step: None, low, high, log }
    }

    /// A whole number.
    pub fn int(low: i64, high: i64, step: i64) -> Self {
        Self::Int { log: false, step, low, high }
    }

    /// A whole number on a logarithmic scale.
    pub fn int_log(low: i64, high: i64) -> Self {
        Self::Int { log: true, step: 1, low, high }
    }

    /// One of some words.
    #[cfg(test)]
    pub fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        Self::Category { choices: words.into_iter().map(Json::from).collect() }
    }

    /// Whether it holds a value at all, and is nothing to divide by.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Float { step, low, high, log } => {
                let is_step = step.is_none_or(|step| step.is_finite() && step > 0.0);
                (high - low).is_finite() && low <= high && is_step && (!log || *low > 0.0)
            }
            Self::Int { log, step, low, high } => low <= high && *step > 0 && (!log || *low > 0),
            Self::Category { choices } => !choices.is_empty(),
        }
    }

    /// The value as people write it.
    pub fn external(&self, value: f64) -> Json {
        match self {
            Self::Float { .. } => value.into(),
            // The cast saturates.
            Self::Int { .. } => (value.round() as i64).into(),
            Self::Category { choices } => choices.get(value as usize).cloned().unwrap_or_default(),
        }
    }

    /// The value inside; `None` where it is none of the distribution's.
    pub fn internal(&self, value: &Json) -> Option<f64> {
        let inside = match self {
            Self::Category { choices } => choices.iter().position(|choice| choice == value)? as f64,
            _ => value.as_f64()?,
        };
        self.contains(inside).then_some(inside)
    }

    /// Whether a value inside is one of them.
    pub fn contains(&self, value: f64) -> bool {
        match self {
            Self::Float { low, high, .. } => (*low..=*high).contains(&value),
            Self::Int { low, high, .. } => {
                value.fract() == 0.0 && (*low as f64..=*high as f64).contains(&value)
            }
            Self::Category { choices } => {
                value.fract() == 0.0 && (0.0..choices.len() as f64).contains(&value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_optuna_writes_it() {
        for text in [
            r#"{"name":"FloatDistribution","attributes":{"step":null,"low":0.0001,"high":0.1,"log":true}}"#,
            r#"{"name":"IntDistribution","attributes":{"log":false,"step":16,"low":16,"high":128}}"#,
            r#"{"name":"CategoricalDistribution","attributes":{"choices":["relu",2,null]}}"#,
        ] {
            let distribution: Distribution = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&distribution).unwrap(), text);
            assert!(distribution.is_sound());
        }
        assert!(
            serde_json::from_str::<Distribution>(r#"{"name":"UniformDistribution","attributes":{}}"#)
                .is_err()
        );
    }

    #[test]
    fn what_holds_no_value_is_not_sound() {
        let int = |low, high, step, log| Distribution::Int { log, step, low, high };
        for (distribution, is_sound) in [
            (Distribution::float(0.0, 1.0, false), true),
            (Distribution::float(0.0, 1.0, true), false),
            (Distribution::float(1.0, 0.0, false), false),
            (Distribution::float(-f64::MAX, f64::MAX, false), false),
            (Distribution::float(f64::NAN, 1.0, false), false),
            (Distribution::Float { step: Some(0.0), low: 0.0, high: 1.0, log: false }, false),
            (int(1, 1, 1, true), true),
            (int(0, 1, 1, true), false),
            (int(1, 0, 1, false), false),
            (int(0, 1, 0, false), false),
            (Distribution::words([]), false),
        ] {
            assert_eq!(distribution.is_sound(), is_sound, "{distribution:?}");
        }
    }

    #[test]
    fn a_value_has_an_inside_and_an_outside() {
        let (float, int) = (Distribution::float(0.5, 2.0, true), Distribution::int(2, 8, 2));
        let words = Distribution::words(["relu", "gelu"]);
        for (distribution, outside, inside) in [
            (&float, Json::from(0.75), Some(0.75)),
            (&float, Json::from(2.5), None),
            (&float, Json::from("x"), None),
            (&int, Json::from(4), Some(4.0)),
            (&int, Json::from(4.5), None),
            (&int, Json::from(10), None),
            (&words, Json::from("gelu"), Some(1.0)),
            (&words, Json::from("tanh"), None),
        ] {
            assert_eq!(distribution.internal(&outside), inside, "{distribution:?} {outside}");
            inside.into_iter().for_each(|inside| assert_eq!(distribution.external(inside), outside));
        }
        assert!(!words.contains(2.0) && !words.contains(-1.0) && !words.contains(0.5));
        assert_eq!(words.external(f64::NAN), Json::from("relu"), "and never out of bounds");
    }
}
