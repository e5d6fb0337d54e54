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
