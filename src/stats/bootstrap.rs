//! The paired stratified bootstrap: how the difference of two AUCs would vary over other leads like these.
//!
//! Positives and negatives are drawn apart, so that every resample has as many of each as the data, and both models are
//! judged on the same draw. The draws are splitmix64's: the same seed gives the same numbers everywhere, to the bit. Better
//! than DeLong's normal approximation where there are fewer than 100 positives.

/// What `resamples` draws said of the difference, the second area less the first. O((n + distinct scores) x resamples).
/// `None` when a class is empty, a score is NaN, the lengths differ, or no draw is asked for.
pub fn bootstrap_auc(a: &[f64], b: &[f64], labels: &[bool], resamples: usize, seed: u64) -> Option<Vec<f64>> {
    let ranks = [ranks(a)?, ranks(b)?];
    let rows = |class: bool| -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, label)| **label == class).map(|(i, _)| i).collect()
    };
    let (up, down) = (rows(true), rows(false));
    if up.is_empty() || down.is_empty() || resamples == 0 || [a.len(), b.len()] != [labels.len(); 2] {
        return None;
    }
    let mut random = SplitMix(seed);
    let mut tallies =
        ranks.each_ref().map(|ranks| vec![(0u64, 0u64); ranks.iter().max().map_or(0, |r| r + 1)]);
    let mut deltas = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        tallies.iter_mut().for_each(|tally| tally.fill((0, 0)));
        for (class, is_up) in [(&up, true), (&down, false)] {
            for _ in 0..class.len() {
                let Some(row) = class.get(random.below(class.len())) else { continue };
                for (tally, ranks) in tallies.iter_mut().zip(&ranks) {
                    let Some(cell) = ranks.get(*row).and_then(|rank| tally.get_mut(*rank)) else { continue };
                    *(if is_up { &mut cell.0 } else { &mut cell.1 }) += 1;
                }
            }
        }
        let [first, second] = tallies.each_ref().map(|tally| area(tally));
        deltas.push(second - first);
    }
    Some(deltas)
}

/// Area under the ROC curve from counts of positives and negatives per score, rising.
pub(super) fn area(tally: &[(u64, u64)]) -> f64 {
    let (mut won, mut up, mut below) = (0.0, 0.0, 0.0);
    for (positives, negatives) in tally.iter().map(|(p, n)| (*p as f64, *n as f64)) {
        won += positives * (below + negatives / 2.0);
        up += positives;
        below += negatives;
    }
    won / (up * below)
}

/// The rank of each score among the distinct ones, from 0.
fn ranks(scores: &[f64]) -> Option<Vec<usize>> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    // Adding 0 makes -0 and 0 one score.
    let scores: Vec<f64> = scores.iter().map(|score| score + 0.0).collect();
    let mut distinct = super::sorted(scores.clone());
    distinct.dedup();
    Some(scores.iter().map(|score| distinct.partition_point(|other| other < score)).collect())
}

/// Steele, Lea and Flood's generator (2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, by the high half of a product (Lemire 2019, without his rejection: the bias is n / 2^64).
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
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
