//! Is one model's AUC better than another's on the same leads? DeLong's test.
//!
//! Covariances as in DeLong, DeLong and Clarke-Pearson (1988), computed through midranks in O(n log n) as Sun and Xu
//! (2014) do. The normal approximation wants some hundred positives; with fewer, read the bootstrap beside it.

use super::tail::{Z95, normal_sf, two_sided};

/// Two models on the same leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delong {
    /// Area under the ROC curve of each, 0..=1.
    pub auc: [f64; 2],
    /// Variances and covariance of the two areas.
    pub covariance: [[f64; 2]; 2],
}

impl Delong {
    /// Compares two scores of the same leads. `None` when a class has fewer than two leads, a score is NaN or the
    /// lengths differ.
    pub fn new(a: &[f64], b: &[f64], labels: &[bool]) -> Option<Self> {
        let parts = [Placements::new(a, labels)?, Placements::new(b, labels)?];
        let [one, two] = &parts;
        let cell = |x: &Placements, y: &Placements| {
            covariance(&x.positives, &y.positives) / x.positives.len() as f64
                + covariance(&x.negatives, &y.negatives) / x.negatives.len() as f64
        };
        let between = cell(one, two);
        Some(Self {
            auc: [one, two].map(|placements| mean(&placements.positives)),
            covariance: [[cell(one, one), between], [between, cell(two, two)]],
        })
    }

    /// How much higher the second area is, -1..=1.
    pub fn delta(&self) -> f64 {
        let [a, b] = self.auc;
        b - a
    }

    /// Standard error of the difference; 0 where the two rank alike.
    pub fn standard_error(&self) -> f64 {
        let [[a, between], [_, b]] = self.covariance;
        (a + b - 2.0 * between).max(0.0).sqrt()
    }

    /// The difference in standard errors, above 0 where the second is better; 0 where they do not differ.
    pub fn z(&self) -> f64 {
        if self.delta() == 0.0 { 0.0 } else { self.delta() / self.standard_error() }
    }

    /// How often equal models differ this much, 0..=1.
    pub fn p_two_sided(&self) -> f64 {
        two_sided(self.z())
    }

    /// How often a second model that is no better looks this good, 0..=1.
    pub fn p_second_better(&self) -> f64 {
        normal_sf(self.z())
    }

    /// 95% interval of the difference.
    pub fn interval(&self) -> [f64; 2] {
        let half = Z95 * self.standard_error();
        [self.delta() - half, self.delta() + half]
    }
}

/// Variance of one area under the ROC curve. `None` as [`Delong::new`].
pub fn auc_variance(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let [[variance, _], _] = Delong::new(scores, scores, labels)?.covariance;
    Some(variance)
}

/// Per lead, the share of the other class that it is on the right side of, ties counting half.
struct Placements {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Placements {
    fn new(scores: &[f64], labels: &[bool]) -> Option<Self> {
        if scores.len() != labels.len() || scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let of = |class: bool| -> Vec<f64> {
            scores.iter().zip(labels).filter(|(_, label)| **label == class).map(|(score, _)| *score).collect()
        };
        let (up, down) = (of(true), of(false));
        if up.len() < 2 || down.len() < 2 {
            return None;
        }
        let all = [up.as_slice(), down.as_slice()].concat();
        let ranks = midranks(&all);
        let (among_all_up, among_all_down) = ranks.split_at(up.len());
        let (n, m) = (down.len() as f64, up.len() as f64);
        Some(Self {
            positives: among_all_up.iter().zip(midranks(&up)).map(|(all, own)| (all - own) / n).collect(),
            negatives: among_all_down
                .iter()
                .zip(midranks(&down))
                .map(|(all, own)| 1.0 - (all - own) / m)
                .collect(),
        })
    }
}

/// The rank of each value from 1, equal values sharing the mean of theirs.
pub(super) fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(f64, usize)> = values.iter().copied().zip(0..).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0.0;
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let many = tied.len() as f64;
        for (_, i) in tied {
            if let Some(rank) = ranks.get_mut(*i) {
                *rank = below + (many + 1.0) / 2.0;
            }
        }
        below += many;
    }
    ranks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample covariance, over n - 1.
fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    sum / (a.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::check::{Golden, close, labels, numbers},
    };

    #[test]
    fn agrees_with_the_paired_golden() {
        let Some(golden) = goldens::json("goldens/mlops/delong.json") else { return };
        let (inputs, expected) = (&golden["inputs"], &golden["expected"]);
        let [a, b] = ["a", "b"].map(|name| numbers(&inputs[name]));
        let test = Delong::new(&a, &b, &labels(&inputs["y"])).unwrap();
        for (i, name) in ["auc_a", "auc_b"].into_iter().enumerate() {
            close(test.auc[i], &expected[name]);
            close(test.interval()[i], &expected["ci95"][i]);
            (0..2).for_each(|j| close(test.covariance[i][j], &expected["cov"][i][j]));
        }
        close(test.delta(), &expected["delta"]);
        close(test.standard_error(), &expected["se"]);
        close(test.z(), &expected["z"]);
        close(test.p_two_sided(), &expected["p_two_sided"]);
        close(test.p_second_better(), &expected["p_one_sided_b_better"]);
    }

    #[test]
    fn agrees_on_real_and_awkward_cases() {
        let cases = Golden::metrics();
        for Golden { name, labels, scores, expect } in &cases {
            match auc_variance(scores, labels) {
                Some(variance) => close(variance, &expect["delong_var"]),
                None => assert!(expect["delong_var"].is_null(), "{name}"),
            }
        }
        let find = |name: &str| cases.iter().find(|case| case.name == name);
        let Some((a, b)) = find("bank:lgb_bank_cat").zip(find("bank:lgb_bank_num")) else { return };
        let expected = &goldens::json("goldens/metrics.json").unwrap()["paired_delong"]["bank"];
        // The golden's difference is the first less the second.
        let test = Delong::new(&b.scores, &a.scores, &a.labels).unwrap();
        close(test.z(), &expected["z"]);
        close(test.p_two_sided(), &expected["p"]);
        close(test.covariance[0][1], &expected["cov"][0][1]);
    }

    #[test]
    fn equal_models_do_not_differ() {
        let test =
            Delong::new(&[0.1, 0.9, 0.4, 0.6], &[1.0, 4.0, 2.0, 3.0], &[false, true, true, false]).unwrap();
        assert_eq!((test.delta(), test.z(), test.p_two_sided(), test.interval()), (0.0, 0.0, 1.0, [0.0; 2]));
    }

    #[test]
    fn says_nothing_where_there_is_no_variance_to_estimate() {
        let check = |scores: &[f64], labels: &[bool]| assert!(Delong::new(scores, scores, labels).is_none());
        check(&[], &[]);
        check(&[0.1, 0.2, 0.3], &[true, false, false]);
        check(&[0.1, 0.2, 0.3, f64::NAN], &[true, true, false, false]);
        check(&[0.1, 0.2, 0.3], &[true, true, false, false]);
    }
}
