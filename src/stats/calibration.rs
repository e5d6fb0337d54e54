//! How true scores are as probabilities, part by part and over all.
//!
//! `scores` are probabilities, 0..=1, paired with `labels`. A table of parts first, what is read off it, then what needs none.

use super::{
    ranking::{falling, split},
    tail::two_sided,
};

/// Leads with similar scores: what was promised, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reliability {
    /// Leads in the part.
    pub n: u64,
    /// Their mean score; NaN in an empty part.
    pub mean_score: f64,
    /// The share of them that converted; NaN in an empty part.
    pub mean_label: f64,
}

/// The leads in `parts` of equal width, `(k / parts, (k + 1) / parts]`, 0 in the first. A NaN is in none.
pub fn reliability(scores: &[f64], labels: &[bool], parts: usize) -> Vec<Reliability> {
    let last = parts.saturating_sub(1) as f64;
    // By the product, not by edges k / parts: those put 0.30000000000000004 one part lower.
    let part = |score: f64| ((score * parts as f64).ceil() - 1.0).clamp(0.0, last) as usize;
    let rows = scores.iter().copied().zip(labels.iter().copied()).filter(|(score, _)| !score.is_nan());
    tabulate(rows.map(|(score, label)| (part(score), score, label)), parts)
}

/// The leads by rising score, earlier first at equal scores, in `parts` whose sizes differ by one at most.
pub fn reliability_equal_mass(scores: &[f64], labels: &[bool], parts: usize) -> Vec<Reliability> {
    // Falling order of the negated is rising order of the scores, and keeps the order of equal ones.
    let order = falling(&scores.iter().map(|score| -score).collect::<Vec<_>>());
    let rows = split(order.len(), parts).enumerate().flat_map(|(part, range)| {
        let rows = order.get(range).unwrap_or_default();
        rows.iter().filter_map(move |i| Some((part, *scores.get(*i)?, *labels.get(*i)?)))
    });
    tabulate(rows, parts)
}

fn tabulate(rows: impl Iterator<Item = (usize, f64, bool)>, parts: usize) -> Vec<Reliability> {
    let mut sums = vec![(0u64, 0.0, 0.0); parts];
    for (part, score, label) in rows {
        let Some((n, scores, labels)) = sums.get_mut(part) else { continue };
        *n += 1;
        *scores += score;
        *labels += f64::from(label);
    }
    sums.into_iter().map(|(n, scores, labels)| Reliability::from_sums(n, scores, labels)).collect()
}

impl Reliability {
    pub(super) fn from_sums(n: u64, scores: f64, labels: f64) -> Self {
        Self { n, mean_score: scores / n as f64, mean_label: labels / n as f64 }
    }

    fn gap(&self) -> f64 {
        (self.mean_label - self.mean_score).abs()
    }
}

/// Expected calibration error, 0..=1: the mean gap between promise and outcome, weighted by leads. NaN when empty.
pub fn ece(table: &[Reliability]) -> f64 {
    let filled = table.iter().filter(|part| part.n > 0);
    filled.map(|part| part.n as f64 * part.gap()).sum::<f64>() / leads(table)
}

/// Maximum calibration error, 0..=1: the widest gap. NaN when empty.
pub fn mce(table: &[Reliability]) -> f64 {
    table.iter().filter(|part| part.n > 0).map(Reliability::gap).fold(f64::NAN, f64::max)
}

fn leads(table: &[Reliability]) -> f64 {
    table.iter().map(|part| part.n as f64).sum()
}

/// Murphy's parts of the Brier score (1973), which is `reliability - resolution + uncertainty` but for what scores
/// differ within a part. NaN when empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Murphy {
    /// Mean squared gap between promise and outcome; 0 is best.
    pub reliability: f64,
    /// Mean squared distance of the parts' outcomes from the overall one; more is better.
    pub resolution: f64,
    /// What no model can help: base rate times its complement.
    pub uncertainty: f64,
}

/// Murphy's decomposition over a table.
pub fn murphy(table: &[Reliability]) -> Murphy {
    let leads = leads(table);
    let mean = |of: &dyn Fn(&Reliability) -> f64| {
        table.iter().filter(|part| part.n > 0).map(|part| part.n as f64 * of(part)).sum::<f64>() / leads
    };
    let base = mean(&|part| part.mean_label);
    Murphy {
        reliability: mean(&|part| part.gap().powi(2)),
        resolution: mean(&|part| (part.mean_label - base).powi(2)),
        uncertainty: base * (1.0 - base),
    }
}

/// Observed over expected: conversions over the sum of scores; 1 where scores are right on the whole. NaN or infinite where
/// nothing is expected.
pub fn observed_over_expected(scores: &[f64], labels: &[bool]) -> f64 {
    labels.iter().filter(|label| **label).count() as f64 / scores.iter().sum::<f64>()
}

/// Spiegelhalter's z (1986) and its two-sided p: does the Brier score differ from what the scores themselves foretell.
/// NaN when empty and where every score is 0, a half or 1.
pub fn spiegelhalter(scores: &[f64], labels: &[bool]) -> (f64, f64) {
    let (mut gap, mut variance) = (0.0, 0.0);
    for (&p, &label) in scores.iter().zip(labels) {
        gap += (f64::from(label) - p) * (1.0 - 2.0 * p);
        variance += (1.0 - 2.0 * p).powi(2) * p * (1.0 - p);
    }
    let z = if variance > 0.0 { gap / variance.sqrt() } else { f64::NAN };
    (z, two_sided(z))
}

/// Cox's recalibration (1958): `(slope, intercept)` of the outcome's logit on the score's. `(1, 0)` is perfect, a slope
/// below 1 overconfident. `None` when a class is empty or a score is NaN; steep without bound where the classes separate.
pub fn logit_line(scores: &[f64], labels: &[bool]) -> Option<(f64, f64)> {
    let points: Vec<(f64, f64)> =
        scores.iter().map(|p| logit(*p)).zip(labels.iter().map(|label| f64::from(*label))).collect();
    let both = labels.contains(&true) && labels.contains(&false);
    (both && !points.iter().any(|(x, _)| x.is_nan())).then(|| logistic(&points))
}

/// The temperature T above 0 that minimises the log-loss of `sigmoid(logit(score) / T)` (Guo et al. 2017). `None` when empty,
/// when a score is NaN, and where no positive temperature is best.
pub fn temperature(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let mut slope = 1.0;
    for _ in 0..100 {
        let (mut gradient, mut curvature) = (0.0, 1e-12);
        for (&p, &label) in scores.iter().zip(labels) {
            let x = logit(p);
            let q = sigmoid(slope * x);
            gradient += (q - f64::from(label)) * x;
            curvature += q * (1.0 - q) * x * x;
        }
        slope -= gradient / curvature;
        if (gradient / curvature).abs() < 1e-12 {
            break;
        }
    }
    (slope > 0.0 && slope.is_finite() && !scores.is_empty()).then_some(1.0 / slope)
}

/// The line `slope * x + intercept` whose sigmoid has the least log-loss against targets in 0..=1, by Newton's method: for
/// pairs `(x, target)`. Where a hundred steps do not suffice, as where the classes separate, it is as far as they lead.
pub fn logistic(points: &[(f64, f64)]) -> (f64, f64) {
    let (mut slope, mut intercept) = (1.0, 0.0);
    for _ in 0..100 {
        let Some((along, up)) = newton_step(points, (slope, intercept)) else { break };
        slope -= along;
        intercept -= up;
        if along.abs() + up.abs() < 1e-10 {
            break;
        }
    }
    (slope, intercept)
}

/// The step down the log-loss; `None` where there is no slope left to follow.
fn newton_step(points: &[(f64, f64)], (slope, intercept): (f64, f64)) -> Option<(f64, f64)> {
    let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
    for &(x, target) in points {
        let p = sigmoid(slope * x + intercept);
        let error = p - target;
        let weight = p * (1.0 - p);
        ga += error * x;
        gb += error;
        haa += weight * x * x;
        hab += weight * x;
        hbb += weight;
    }
    let determinant = haa * hbb - hab * hab;
    (determinant > 0.0).then(|| ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Kept an epsilon off 0 and 1, as log-loss is.
fn logit(p: f64) -> f64 {
    let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        goldens,
        stats::{
            check::{Golden, close, near},
            edges, sorted,
        },
    };

    fn check_table(table: &[Reliability], rows: &Value) {
        for (i, part) in table.iter().enumerate().filter(|(_, part)| part.n > 0) {
            let row = rows.as_array().unwrap().iter().find(|row| row[0].as_u64() == Some(i as u64)).unwrap();
            assert_eq!(Some(part.n), row[1].as_u64());
            close(part.mean_score, &row[2]);
            close(part.mean_label, &row[3]);
        }
    }

    #[test]
    fn agrees_with_the_calibration_golden() {
        let Some(golden) = goldens::json("goldens/mlops/calibration.json") else { return };
        let Golden { labels, scores, expect, .. } = Golden::paired(&golden, "p");
        let table = reliability(&scores, &labels, 10);
        check_table(&table, &expect["table_equal_width"]);
        close(ece(&table), &expect["ece_equal_width"]);
        close(mce(&table), &expect["mce_equal_width"]);
        let parts = murphy(&table);
        close(parts.reliability, &expect["murphy"]["reliability"]);
        close(parts.resolution, &expect["murphy"]["resolution"]);
        close(parts.uncertainty, &expect["murphy"]["uncertainty"]);
        let (slope, intercept) = logit_line(&scores, &labels).unwrap();
        close(slope, &expect["logit_slope"]);
        close(intercept, &expect["logit_intercept"]);
        let (z, p) = spiegelhalter(&scores, &labels);
        close(z, &expect["spiegelhalter_z"]);
        close(p, &expect["spiegelhalter_p"]);
        close(observed_over_expected(&scores, &labels), &expect["o_over_e"]);
        // Its equal-mass table is cut at quantiles, where ours cuts the order: another number where scores tie.
        let edges = edges(&sorted(scores.clone()), 10);
        let inner = &edges[1..edges.len() - 1];
        let rows = scores.iter().zip(&labels);
        let table = tabulate(rows.map(|(p, y)| (inner.partition_point(|e| e < p), *p, *y)), 10);
        check_table(&table, &expect["table_equal_mass"]);
        close(ece(&table), &expect["ece_equal_mass"]);
    }

    #[test]
    fn agrees_on_real_and_awkward_cases() {
        for Golden { labels, scores, expect, .. } in Golden::metrics() {
            let table = reliability(&scores, &labels, 10);
            for (part, row) in table.iter().zip(expect["reliability10"].as_array().unwrap()) {
                assert_eq!(Some(part.n), row[0].as_u64());
                close(part.mean_score, &row[1]);
                close(part.mean_label, &row[2]);
            }
            close(ece(&table), &expect["ece10"]);
            close(mce(&table), &expect["mce10"]);
            close(ece(&reliability_equal_mass(&scores, &labels, 10)), &expect["ece10_quantile"]);
            if !expect["temperature"].is_null() {
                near(temperature(&scores, &labels).unwrap(), &expect["temperature"], 1e-6);
            }
        }
    }

    #[test]
    fn nothing_to_judge_is_nothing() {
        let table = reliability(&[], &[], 10);
        assert!(ece(&table).is_nan() && mce(&table).is_nan() && murphy(&table).uncertainty.is_nan());
        assert!(reliability(&[0.5], &[true], 0).is_empty());
        assert!(reliability_equal_mass(&[], &[], 2).iter().all(|part| part.n == 0));
        assert_eq!(
            reliability(&[f64::NAN, 2.0, -1.0], &[true, true, true], 2)
                .iter()
                .map(|part| part.n)
                .sum::<u64>(),
            2
        );
        assert!(spiegelhalter(&[], &[]).0.is_nan() && spiegelhalter(&[0.5], &[true]).1.is_nan());
        assert!(observed_over_expected(&[], &[]).is_nan());
    }

    #[test]
    fn lines_need_both_classes_and_numbers() {
        assert_eq!(logit_line(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(logit_line(&[0.1, f64::NAN], &[true, false]), None);
        assert!(logit_line(&[0.1, 0.9], &[false, true]).is_some_and(|(slope, _)| slope > 5.0));
        assert_eq!(temperature(&[], &[]), None);
        assert_eq!(temperature(&[f64::NAN], &[true]), None);
        assert_eq!(temperature(&[0.9, 0.8, 0.1], &[false, false, true]), None);
    }
}
