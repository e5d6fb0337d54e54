//! The paired stratified bootstrap: how the difference of two AUCs would vary over other leads like these.
//!
//! Positives and negatives are drawn apart, so that every resample has as many of each as the data, and both models are
//! judged on the same draw. The draws are splitmix64's: the same seed gives the same numbers everywhere, to the bit. Better
//! than DeLong's normal approximation where there are fewer than 100 positives.

use super::splitmix::SplitMix;

/// The difference of the areas, the second less the first, in each of `resamples` draws, in their order. O(n) each.
/// `None` when a class is empty, a score is NaN, the lengths differ, or no draw is asked for.
pub fn bootstrap_auc(a: &[f64], b: &[f64], labels: &[bool], resamples: usize, seed: u64) -> Option<Vec<f64>> {
    let mut models = [Resampled::new(a)?, Resampled::new(b)?];
    let rows = |class: bool| -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, label)| **label == class).map(|(i, _)| i).collect()
    };
    let classes = [rows(true), rows(false)];
    if classes.iter().any(Vec::is_empty) || resamples == 0 || [a.len(), b.len()] != [labels.len(); 2] {
        return None;
    }
    let mut random = SplitMix::new(seed);
    let draw = |_| {
        for (rows, positive) in classes.iter().zip([true, false]) {
            for _ in rows {
                let row = rows.get(random.below(rows.len())).copied().unwrap_or_default();
                models.iter_mut().for_each(|model| model.count(row, positive));
            }
        }
        let [first, second] = models.each_mut().map(Resampled::take_area);
        second - first
    };
    Some((0..resamples).map(draw).collect())
}

/// More leads than this are not drawn again: the normal interval is the same there.
const MOST_DRAWN: usize = 100_000;

/// Draws in all, so that many leads do not take for ever.
const DRAWS: usize = 20_000_000;

/// 95% interval of the mean of `n` values, all but `values` of them 0, by drawing them again 2,000 times, less often where there
/// are more than 10,000. `None` without values, or with fewer than two in all, or where one is not finite.
pub fn mean_interval(values: &[f64], n: usize, seed: u64) -> Option<[f64; 2]> {
    if values.is_empty() || n.max(values.len()) < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let n = n.max(values.len());
    if n > MOST_DRAWN {
        return Some(normal_interval(values, n));
    }
    let mut random = SplitMix::new(seed);
    let mut draw = || (0..n).filter_map(|_| values.get(random.below(n))).sum::<f64>() / n as f64;
    let means = super::sorted((0..(DRAWS / n).clamp(200, 2_000)).map(|_| draw()).collect());
    let end = |q| super::quantile(&means, q).unwrap_or(f64::NAN);
    Some([end(0.025), end(0.975)])
}

fn normal_interval(values: &[f64], n: usize) -> [f64; 2] {
    let n = n as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| value * value).sum::<f64>() / n;
    let half = super::Z95 * ((squares - mean * mean) / n).sqrt();
    [mean - half, mean + half]
}

/// One model's scores as ranks, and what has been drawn at each.
struct Resampled {
    ranks: Vec<usize>,
    drawn: Vec<(u64, u64)>,
}

impl Resampled {
    fn new(scores: &[f64]) -> Option<Self> {
        if scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        // Adding 0 makes -0 and 0 one score.
        let scores: Vec<f64> = scores.iter().map(|score| score + 0.0).collect();
        let mut distinct = super::sorted(scores.clone());
        distinct.dedup();
        let ranks = scores.iter().map(|score| distinct.partition_point(|other| other < score)).collect();
        Some(Self { ranks, drawn: vec![(0, 0); distinct.len()] })
    }

    fn count(&mut self, row: usize, positive: bool) {
        let Some(drawn) = self.ranks.get(row).and_then(|rank| self.drawn.get_mut(*rank)) else { return };
        *(if positive { &mut drawn.0 } else { &mut drawn.1 }) += 1;
    }

    /// The area of what was drawn; the next draw starts anew.
    fn take_area(&mut self) -> f64 {
        let area = area(self.drawn.iter().copied());
        self.drawn.fill((0, 0));
        area
    }
}

/// Area under the ROC curve from counts of positives and negatives per score, rising.
pub(super) fn area(tally: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (mut won, mut up, mut below) = (0.0, 0.0, 0.0);
    for (positives, negatives) in tally.map(|(p, n)| (p as f64, n as f64)) {
        won += positives * (below + negatives / 2.0);
        up += positives;
        below += negatives;
    }
    won / (up * below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::{
            check::{labels, near, numbers},
            quantile, sorted,
        },
    };

    #[test]
    fn replays_the_golden_to_the_bit() {
        let Some(golden) = goldens::json("goldens/mlops/bootstrap_auc.json") else { return };
        let (inputs, expected) = (&golden["inputs"], &golden["expected"]);
        let [a, b] = ["a", "b"].map(|name| numbers(&inputs[name]));
        let (seed, resamples) = (inputs["seed"].as_u64().unwrap(), inputs["resamples"].as_u64().unwrap());
        let deltas = bootstrap_auc(&a, &b, &labels(&inputs["y"]), resamples as usize, seed).unwrap();
        assert_eq!(&deltas[..5], numbers(&expected["first5"]));
        near(deltas.iter().sum::<f64>() / deltas.len() as f64, &expected["mean"], 1e-14);
        let deltas = sorted(deltas);
        for (name, q) in [("q025", 0.025), ("q05", 0.05), ("q975", 0.975)] {
            assert_eq!(quantile(&deltas, q), expected[name].as_f64(), "{name}");
        }
    }

    #[test]
    fn a_mean_of_mostly_nothing_varies_as_it_should() {
        // Of 1,000 leads 40 bring 1 to 40 each; the normal interval is about right.
        let values: Vec<f64> = (1..=40).map(f64::from).collect();
        let [low, high] = mean_interval(&values, 1_000, 42).unwrap();
        let [normal_low, normal_high] = normal_interval(&values, 1_000);
        assert!((low - normal_low).abs() < 0.04 && (high - normal_high).abs() < 0.04, "{low} {high}");
        assert_eq!(mean_interval(&values, 1_000, 42), Some([low, high]), "the same seed");
        let [low, high] = mean_interval(&values, 1_000_000, 42).unwrap();
        assert!(low < 0.00082 && high > 0.00082, "{low} {high}");
        for (values, n) in [(&[][..], 9), (&[1.0][..], 1), (&[1.0, f64::NAN][..], 9)] {
            assert_eq!(mean_interval(values, n, 42), None);
        }
        assert_eq!(mean_interval(&[3.0, 3.0], 0, 42), Some([3.0, 3.0]));
    }

    #[test]
    fn nothing_to_draw_from_is_nothing() {
        let check = |scores: &[f64], labels: &[bool], resamples| {
            assert_eq!(bootstrap_auc(scores, scores, labels, resamples, 42), None);
        };
        check(&[], &[], 10);
        check(&[0.1, 0.2], &[true, true], 10);
        check(&[0.1, f64::NAN], &[true, false], 10);
        check(&[0.1], &[true, false], 10);
        check(&[0.1, 0.2], &[true, false], 0);
        assert_eq!(bootstrap_auc(&[0.0, -0.0], &[1.0, 2.0], &[true, false], 1, 42), Some(vec![-0.5]));
    }
}
