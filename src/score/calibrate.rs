//! A logit becomes a probability that means what it says.

use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::stats;

/// How raw logits become probabilities. Fitted on data the network was not trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
pub enum Calibration {
    /// `sigmoid(logit)`.
    #[default]
    None,
    /// `sigmoid(a * logit + b)` (Platt 1999).
    Platt {
        /// Above 0, so that the order of leads stays.
        a: f64,
        /// Shifts the base rate.
        b: f64,
    },
    /// Linear interpolation over `sigmoid(logit)`, constant outside the points.
    Isotonic {
        /// Raw probabilities, rising.
        x: Vec<f64>,
        /// Calibrated probabilities, never falling.
        y: Vec<f64>,
    },
}

impl Calibration {
    /// The probability, 0..=1; NaN for a NaN.
    pub fn probability(&self, logit: f64) -> f64 {
        match self {
            Calibration::None => sigmoid(logit),
            Calibration::Platt { a, b } => sigmoid(a * logit + b),
            Calibration::Isotonic { x, y } => interpolate(x, y, sigmoid(logit)),
        }
    }

    /// Platt's fit by Newton's method, with his targets `(n+ + 1)/(n+ + 2)` and `1/(n- + 2)`, which keep it finite when
    /// the classes separate. Falls back to `None` where the scores do not rise with the outcome.
    pub fn fit_platt(logits: &[f32], labels: &[bool]) -> Self {
        let positives = labels.iter().filter(|label| **label).count() as f64;
        let negatives = labels.len() as f64 - positives;
        let (up, down) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
        let targets = labels.iter().map(|label| if *label { up } else { down });
        let points: Vec<(f64, f64)> = logits.iter().map(|logit| f64::from(*logit)).zip(targets).collect();
        let (a, b) = stats::logistic(&points);
        let fit = Calibration::Platt { a, b };
        if fit.check().is_ok() { fit } else { Calibration::None }
    }

    /// The non-decreasing step function of least squares, by pooling adjacent violators. A block of several scores keeps
    /// its first and last, between which it is level.
    pub fn fit_isotonic(logits: &[f32], labels: &[bool]) -> Self {
        let mut points: Vec<(f64, f64)> =
            logits.iter().zip(labels).map(|(logit, y)| (sigmoid(f64::from(*logit)), f64::from(*y))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<Pool> = Vec::new();
        for tied in points.chunk_by(|a, b| a.0 == b.0) {
            let x = tied.first().map_or(0.0, |point| point.0);
            let mut pool =
                Pool { first: x, last: x, sum: tied.iter().map(|p| p.1).sum(), count: tied.len() as f64 };
            while let Some(before) = blocks.pop_if(|before| before.mean() >= pool.mean()) {
                let Pool { first, sum, count, .. } = before;
                pool = Pool { first, sum: pool.sum + sum, count: pool.count + count, ..pool };
            }
            blocks.push(pool);
        }
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for pool in &blocks {
            let ends = [pool.first, pool.last];
            x.extend(ends.iter().take(if pool.first < pool.last { 2 } else { 1 }));
            y.resize(x.len(), pool.mean());
        }
        Calibration::Isotonic { x, y }
    }

    /// Refuses what would not give a probability that rises with the logit.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let refuse = |reason| Err(ModelError::Calibration(reason));
        match self {
            Calibration::None => Ok(()),
            Calibration::Platt { a, b } if a.is_finite() && b.is_finite() && *a > 0.0 => Ok(()),
            Calibration::Platt { .. } => refuse("a and b must be finite, and a above 0"),
            Calibration::Isotonic { x, y } => {
                if x.is_empty() || x.len() != y.len() {
                    return refuse("x and y must be of one length, and not empty");
                }
                if !x.iter().chain(y).all(|p| (0.0..=1.0).contains(p)) {
                    return refuse("x and y must be in 0..=1");
                }
                if !x.array_windows().all(|[a, b]| a < b) || !y.array_windows().all(|[a, b]| a <= b) {
                    return refuse("x must rise and y must not fall");
                }
                Ok(())
            }
        }
    }
}

/// Scores that share one calibrated probability.
struct Pool {
    first: f64,
    last: f64,
    sum: f64,
    count: f64,
}

impl Pool {
    fn mean(&self) -> f64 {
        self.sum / self.count
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn interpolate(x: &[f64], y: &[f64], at: f64) -> f64 {
    let above = x.partition_point(|x| *x < at);
    let point = |i: usize| Some((*x.get(i)?, *y.get(i)?));
    match (above.checked_sub(1).and_then(point), point(above)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (at - x0) / (x1 - x0),
        (_, Some((_, y))) | (Some((_, y)), _) => y,
        (None, None) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goldens;

    #[test]
    fn fits_agree_with_scikit_learn() {
        let Some(golden) = goldens::json("goldens/metrics.json") else { return };
        let cases = golden["cases"].as_object().unwrap().values();
        for case in cases.filter(|case| !case["expect"]["platt_on_logit"].is_null()) {
            let numbers = |name: &str| case[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
            let logit = |p: f64| (p / (1.0 - p)).ln();
            let logits: Vec<f32> = numbers("p").map(|p| logit(p) as f32).collect();
            let labels: Vec<bool> = numbers("y").map(|y| y == 1.0).collect();
            let close = |got: f64, expected: &serde_json::Value| {
                assert!((got - expected.as_f64().unwrap()).abs() < 1e-5, "{got} is not {expected}");
            };
            let Calibration::Platt { a, b } = Calibration::fit_platt(&logits, &labels) else { panic!() };
            close(-a, &case["expect"]["platt_on_logit"]["a"]);
            close(-b, &case["expect"]["platt_on_logit"]["b"]);
            let isotonic = Calibration::fit_isotonic(&logits, &labels);
            for (p, expected) in case["expect"]["isotonic"]["at"].as_object().unwrap() {
                close(isotonic.probability(logit(p.parse().unwrap())), expected);
            }
        }
    }

    #[test]
    fn isotonic_interpolates_and_is_level_outside() {
        let calibration = Calibration::Isotonic { x: vec![0.25, 0.5], y: vec![0.1, 0.3] };
        let check =
            |logit: f64, p: f64| assert!((calibration.probability(logit) - p).abs() < 1e-7, "{logit}");
        check(-9.0, 0.1);
        check(0.0, 0.3);
        check(9.0, 0.3);
        check((0.375f64 / 0.625).ln(), 0.2);
        assert!(Calibration::None.probability(f64::NAN).is_nan());
    }

    #[test]
    fn refuses_what_would_not_rise() {
        let isotonic = |x: &[f64], y: &[f64]| Calibration::Isotonic { x: x.to_vec(), y: y.to_vec() };
        let accepted = |calibration: Calibration| calibration.check().is_ok();
        assert!(accepted(isotonic(&[0.1, 0.2], &[0.3, 0.3])));
        assert!(!accepted(isotonic(&[0.1, 0.1], &[0.3, 0.3])));
        assert!(!accepted(isotonic(&[0.1, 0.2], &[0.3, 0.2])));
        assert!(!accepted(isotonic(&[0.1], &[1.1])));
        assert!(!accepted(isotonic(&[f64::NAN], &[0.1])));
        assert!(!accepted(isotonic(&[0.1], &[])) && !accepted(isotonic(&[], &[])));
        assert!(!accepted(Calibration::Platt { a: 0.0, b: 0.0 }));
        assert!(!accepted(Calibration::Platt { a: 1.0, b: f64::INFINITY }));
    }

    #[test]
    fn platt_finds_the_shift_and_the_slope() {
        // Outcomes drawn exactly as often as sigmoid(2 x - 1) says.
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for x in [-2.0f32, -1.0, 0.0, 1.0, 2.0] {
            let rate = sigmoid(2.0 * f64::from(x) - 1.0);
            for i in 0..20_000 {
                logits.push(x);
                labels.push(f64::from(i) < rate * 20_000.0);
            }
        }
        let Calibration::Platt { a, b } = Calibration::fit_platt(&logits, &labels) else { panic!() };
        assert!((a - 2.0).abs() < 0.01 && (b + 1.0).abs() < 0.01, "{a} {b}");
    }

    #[test]
    fn platt_stays_finite_on_separated_classes_and_gives_up_on_inverted_ones() {
        assert!(matches!(Calibration::fit_platt(&[-1.0, 1.0], &[false, true]), Calibration::Platt { .. }));
        assert_eq!(Calibration::fit_platt(&[-1.0, 1.0], &[true, false]), Calibration::None);
    }

    #[test]
    fn isotonic_pools_what_violates_the_order() {
        let fit = Calibration::fit_isotonic(&[-2.0, -1.0, 0.0, 1.0], &[false, true, false, true]);
        let Calibration::Isotonic { x, y } = &fit else { panic!() };
        assert_eq!(y, &[0.0, 0.5, 0.5, 1.0]);
        assert_eq!(x.len(), 4);
        assert!(fit.check().is_ok());
        assert!(Calibration::fit_isotonic(&[0.0, 0.0], &[true, false]).check().is_ok());
    }
}
