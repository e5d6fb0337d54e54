//! Goldens as the tests of this room read them. Only compiled for tests.

use serde_json::Value;

use crate::goldens;

/// One case of reference data: scores with labels, and what is known of them. Nothing where the data are absent.
pub(super) struct Golden {
    pub(super) name: String,
    pub(super) labels: Vec<bool>,
    pub(super) scores: Vec<f64>,
    pub(super) expect: Value,
}

impl Golden {
    /// The cases of `metrics.json`, real and awkward.
    pub(super) fn metrics() -> Vec<Self> {
        let Some(golden) = goldens::json("goldens/metrics.json") else { return Vec::new() };
        let case = |(name, case): (&String, &Value)| Self {
            name: name.clone(),
            labels: labels(&case["y"]),
            scores: numbers(&case["p"]),
            expect: case["expect"].clone(),
        };
        golden["cases"].as_object().unwrap().iter().map(case).collect()
    }

    /// A file of `mlops/` whose inputs are labels `y` and one list of scores.
    pub(super) fn paired(golden: &Value, scores: &str) -> Self {
        Self {
            name: scores.to_owned(),
            labels: labels(&golden["inputs"]["y"]),
            scores: numbers(&golden["inputs"][scores]),
            expect: golden["expected"].clone(),
        }
    }
}

/// A list of 0 and 1.
pub(super) fn labels(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|label| label == 1.0).collect()
}

/// A list of numbers; null is NaN.
pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Equal to 1e-9 of the value, 1e-15 at the least; null is NaN.
#[track_caller]
pub(super) fn close(got: f64, expected: &Value) {
    near(got, expected, 1e-9);
}

/// Equal to the share `tolerance` of the value, a millionth of it at the least; null is NaN.
#[track_caller]
pub(super) fn near(got: f64, expected: &Value, tolerance: f64) {
    match expected.as_f64() {
        Some(want) => {
            assert!((got - want).abs() <= tolerance * want.abs().max(1e-6), "{got:e} is not {want:e}");
        }
        None => assert!(got.is_nan() && expected.is_null(), "{got:e} is not {expected}"),
    }
}
