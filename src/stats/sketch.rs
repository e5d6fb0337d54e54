//! The sketch: what is kept of a version's scores and outcomes, in 16 KiB however many leads there were.
//!
//! Counts over bins of equal width, per label, and the sums that bins cannot give back. Sketches of replicas and of days
//! merge by addition. What comes from bins is off by what they hide, and says by how much; the Brier score is exact.

use super::{Psi, Reliability, bootstrap::area};

/// Bins of a sketch that the sidecar writes; AUC is off by a few 1e-5.
const BINS: usize = 1024;

/// Scores and outcomes of one version over one period. The two lists of counts have one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// Converted leads per bin of score, from 0 to 1.
    pub positives: Vec<u64>,
    /// The other leads per bin.
    pub negatives: Vec<u64>,
    /// Sum of the converted leads' scores.
    pub positive_sum: f64,
    /// Sum of the other leads' scores.
    pub negative_sum: f64,
    /// Sum of the squares of all scores.
    pub squares: f64,
    /// What the conversions brought, in the currency of the outcomes.
    pub revenue: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::with_bins(BINS)
    }
}

impl Sketch {
    /// An empty sketch of so many bins, one at the least.
    pub fn with_bins(bins: usize) -> Self {
        let empty = vec![0; bins.max(1)];
        Self {
            positives: empty.clone(),
            negatives: empty,
            positive_sum: 0.0,
            negative_sum: 0.0,
            squares: 0.0,
            revenue: 0.0,
        }
    }

    /// Counts a lead. One whose score is outside 0..=1 or NaN is left out, and so is a revenue that is not finite.
    pub fn add(&mut self, score: f64, converted: bool, revenue: f64) {
        if !(0.0..=1.0).contains(&score) {
            return;
        }
        let (counts, sum) = if converted {
            (&mut self.positives, &mut self.positive_sum)
        } else {
            (&mut self.negatives, &mut self.negative_sum)
        };
        let bin = ((score * counts.len() as f64) as usize).min(counts.len().saturating_sub(1));
        let Some(count) = counts.get_mut(bin) else { return };
        *count += 1;
        *sum += score;
        self.squares += score * score;
        self.revenue += if revenue.is_finite() { revenue } else { 0.0 };
    }

    /// Adds another replica's or day's. False, and nothing is added, where the bins are not the same.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        let lengths = |sketch: &Self| [sketch.positives.len(), sketch.negatives.len()];
        if lengths(self) != lengths(other) {
            return false;
        }
        let add = |to: &mut [u64], from: &[u64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = to.saturating_add(*from));
        };
        add(&mut self.positives, &other.positives);
        add(&mut self.negatives, &other.negatives);
        self.positive_sum += other.positive_sum;
        self.negative_sum += other.negative_sum;
        self.squares += other.squares;
        self.revenue += other.revenue;
        true
    }

    /// Leads counted.
    pub fn leads(&self) -> u64 {
        self.bins().map(|(p, n)| p.saturating_add(n)).fold(0, u64::saturating_add)
    }

    /// Area under the ROC curve, 0..=1, and how far from the exact one it may be. `None` when a class is empty.
    pub fn auc(&self) -> Option<(f64, f64)> {
        let (positives, negatives) = self.classes();
        let within: f64 = self.bins().map(|(p, n)| p as f64 * n as f64).sum();
        let pairs = positives * negatives;
        (pairs > 0.0).then(|| (area(self.bins()), within / (2.0 * pairs)))
    }

    /// Mean squared distance between score and outcome, 0..=1, exact. NaN when empty.
    pub fn brier(&self) -> f64 {
        let (positives, negatives) = self.classes();
        (self.squares - 2.0 * self.positive_sum + positives) / (positives + negatives)
    }

    /// Observed over expected conversions; 1 where scores are right on the whole. NaN when empty.
    pub fn observed_over_expected(&self) -> f64 {
        self.classes().0 / (self.positive_sum + self.negative_sum)
    }

    /// Widest gap between the shares of positives and of negatives above an edge of the bins, 0..=1: the exact separation or a
    /// little less. `None` when a class is empty.
    pub fn separation(&self) -> Option<f64> {
        widest_gap(self.bins())
    }

    /// Widest gap between two distributions of scores at an edge of the bins, 0..=1: the exact Kolmogorov-Smirnov distance or a
    /// little less. `None` when either is empty or the bins are not the same.
    pub fn ks(&self, reference: &Self) -> Option<f64> {
        widest_gap(self.beside(reference)?)
    }

    /// How far the scores have moved from a reference's, over `parts` that hold about equally many of its leads: the edges of
    /// parts are edges of bins. `None` when either is empty or the bins are not the same.
    pub fn psi(&self, reference: &Self, parts: u32) -> Option<Psi> {
        let total = reference.leads() as f64;
        let (mut then, mut now, mut seen) = (vec![0u64], vec![0u64], 0.0);
        for (current, before) in self.beside(reference)? {
            if let (Some(then), Some(now)) = (then.last_mut(), now.last_mut()) {
                *then = then.saturating_add(before);
                *now = now.saturating_add(current);
            }
            seen += before as f64;
            if seen >= total * then.len() as f64 / f64::from(parts) && seen < total {
                then.push(0);
                now.push(0);
            }
        }
        Psi::new(&then, &now)
    }

    /// The leads in `parts` of equal width, each lead taken at the middle of its bin: mean scores, and so calibration errors,
    /// are off by half a bin at most.
    pub fn reliability(&self, parts: usize) -> Vec<Reliability> {
        let bins = self.positives.len() as f64;
        let mut sums = vec![(0u64, 0.0, 0.0); parts];
        for (bin, (positives, negatives)) in self.bins().enumerate() {
            let middle = (bin as f64 + 0.5) / bins;
            let Some((leads, scores, converted)) = sums.get_mut((middle * parts as f64) as usize) else {
                continue;
            };
            *leads = leads.saturating_add(positives).saturating_add(negatives);
            *scores += middle * (positives as f64 + negatives as f64);
            *converted += positives as f64;
        }
        sums.into_iter().map(|(n, scores, labels)| Reliability::from_sums(n, scores, labels)).collect()
    }

    fn bins(&self) -> impl Iterator<Item = (u64, u64)> {
        self.positives.iter().copied().zip(self.negatives.iter().copied())
    }

    /// Leads per bin, here and in a reference.
    fn beside(&self, reference: &Self) -> Option<impl Iterator<Item = (u64, u64)>> {
        let leads = |(p, n): (u64, u64)| p.saturating_add(n);
        let same = self.positives.len() == reference.positives.len();
        same.then(|| self.bins().map(leads).zip(reference.bins().map(leads)))
    }

    /// Positives and negatives in all.
    fn classes(&self) -> (f64, f64) {
        self.bins()
            .fold((0.0, 0.0), |(p, n), (positives, negatives)| (p + positives as f64, n + negatives as f64))
    }
}

fn widest_gap(bins: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let bins: Vec<(f64, f64)> = bins.map(|(a, b)| (a as f64, b as f64)).collect();
    let total = bins.iter().fold((0.0, 0.0), |total, bin| (total.0 + bin.0, total.1 + bin.1));
    let (mut below, mut widest) = ((0.0, 0.0), 0.0f64);
    for (a, b) in bins {
        below = (below.0 + a / total.0, below.1 + b / total.1);
        widest = widest.max((below.0 - below.1).abs());
    }
    (total.0 > 0.0 && total.1 > 0.0).then_some(widest)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        goldens,
        stats::{
            Curve, brier,
            check::{Golden, close, numbers},
            ece, reliability,
        },
    };

    #[test]
    fn agrees_with_the_histograms_of_the_golden() {
        let Some(golden) = goldens::json("goldens/mlops/auc_histogram.json") else { return };
        for (bins, counts) in golden["inputs"]["counts"].as_object().unwrap() {
            let whole = |value: &Value| numbers(value).into_iter().map(|count| count as u64).collect();
            let mut sketch = Sketch::default();
            (sketch.positives, sketch.negatives) = (whole(&counts["pos"]), whole(&counts["neg"]));
            let (auc, bound) = sketch.auc().unwrap();
            let expected = &golden["expected"]["bins"][bins];
            close(auc, &expected["auc"]);
            close(bound, &expected["bound"]);
            let exact = golden["expected"]["exact"].as_f64().unwrap();
            close((auc - exact).abs(), &expected["abs_err"]);
            assert!((auc - exact).abs() <= bound);
        }
    }

    #[test]
    fn stays_within_its_bounds_on_real_and_awkward_scores() {
        for Golden { name, labels, scores, expect } in Golden::metrics() {
            let mut sketch = Sketch::default();
            scores
                .iter()
                .zip(&labels)
                .for_each(|(score, label)| sketch.add(*score, *label, f64::from(*label)));
            assert!((sketch.brier() - brier(&scores, &labels)).abs() < 1e-12, "{name}");
            assert_eq!(
                (sketch.leads(), sketch.revenue as u64),
                (scores.len() as u64, expect["positives"].as_u64().unwrap())
            );
            let Some(curve) = Curve::new(&scores, &labels) else {
                assert!(sketch.auc().is_none() && sketch.separation().is_none(), "{name}");
                continue;
            };
            let (auc, bound) = sketch.auc().unwrap();
            assert!((auc - curve.auc()).abs() <= bound + 1e-12, "{name}");
            assert!(sketch.separation().unwrap() <= curve.separation() + 1e-12, "{name}");
            if name.starts_with("bank") {
                let exact = ece(&reliability(&scores, &labels, 10));
                assert!((ece(&sketch.reliability(10)) - exact).abs() < 0.5 / BINS as f64, "{name}");
                assert!(curve.separation() - sketch.separation().unwrap() < 0.01, "{name}");
            }
        }
    }

    #[test]
    fn drift_shows_in_the_bins() {
        let Some(golden) = goldens::json("goldens/mlops/psi_scores.json") else { return };
        let [then, now] = ["ref", "cur"].map(|name| {
            let mut sketch = Sketch::default();
            numbers(&golden["inputs"][name]).into_iter().for_each(|score| sketch.add(score, false, 0.0));
            sketch
        });
        let expected = |name: &str| golden["expected"][name].as_f64().unwrap();
        let psi = now.psi(&then, 10).unwrap();
        assert!((psi.raw - expected("psi")).abs() < 0.01, "{psi:?}");
        close(psi.bias, &golden["expected"]["psi_null_mean_approx"]);
        let ks = now.ks(&then).unwrap();
        assert!((expected("ks") - 0.003..=expected("ks")).contains(&ks), "{ks}");
        assert_eq!((then.psi(&then, 10).unwrap().raw, then.ks(&then)), (0.0, Some(0.0)));
    }

    #[test]
    fn merging_is_counting_together() {
        let leads =
            [(0.1, false, 0.0), (0.9, true, 50.0), (1.0, true, 7.0), (0.0, false, 0.0), (0.1, true, 1.0)];
        let count = |leads: &[(f64, bool, f64)]| {
            let mut sketch = Sketch::with_bins(4);
            leads.iter().for_each(|(score, converted, revenue)| sketch.add(*score, *converted, *revenue));
            sketch
        };
        let mut merged = count(&leads[..2]);
        assert!(merged.merge(&count(&leads[2..])));
        assert_eq!(merged, count(&leads));
        assert_eq!((merged.positives.as_slice(), merged.revenue), ([1, 0, 0, 2].as_slice(), 58.0));
        assert!(!merged.merge(&Sketch::default()));
        assert_eq!(merged, count(&leads));
    }

    #[test]
    fn odd_scores_are_left_out_and_nothing_is_nothing() {
        let mut sketch = Sketch::default();
        [f64::NAN, -0.1, 1.1, f64::INFINITY].iter().for_each(|score| sketch.add(*score, true, 1.0));
        assert_eq!(sketch, Sketch::default());
        assert!(sketch.brier().is_nan() && sketch.observed_over_expected().is_nan());
        assert_eq!(
            (sketch.auc(), sketch.ks(&sketch), sketch.psi(&sketch, 10), sketch.leads()),
            (None, None, None, 0)
        );
        assert!(sketch.reliability(0).is_empty() && ece(&sketch.reliability(10)).is_nan());
        sketch.add(0.5, true, f64::NAN);
        assert_eq!((sketch.revenue, sketch.leads()), (0.0, 1));
        assert_eq!(sketch.psi(&Sketch::with_bins(3), 10), None);
        assert!(sketch.psi(&sketch, 0).is_some_and(|psi| psi.raw == 0.0));
        let mut full = Sketch::with_bins(2);
        (full.positives, full.negatives) = (vec![u64::MAX; 2], vec![u64::MAX; 2]);
        assert!(full.merge(&full.clone()));
        assert_eq!((full.leads(), full.auc(), full.ks(&full)), (u64::MAX, Some((0.5, 0.25)), Some(0.0)));
        assert!(full.psi(&full, 2).is_some() && ece(&full.reliability(1)) < 1e-9);
        assert_eq!(Sketch::with_bins(0).positives.len(), 1);
    }
}
