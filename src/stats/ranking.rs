//! How well scores rank, and what a threshold catches.
//!
//! `scores` and `labels` are paired; any scale that rises with the chance of a positive will do. A score that is NaN ranks
//! nowhere: what ranks is `None` then. Definitions are scikit-learn's.

use std::ops::Range;

/// Area under the ROC curve by the Mann-Whitney statistic, 0..=1: the chance that a positive outscores a negative, ties
/// counting half. `None` when a class is empty or a score is NaN.
pub fn auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    Some(Curve::new(scores, labels)?.auc())
}

/// What is caught as the threshold falls: the ROC and the precision-recall curve in one.
#[derive(Clone, Debug)]
pub struct Curve {
    positives: f64,
    negatives: f64,
    steps: Vec<Step>,
}

/// One distinct score, and how many leads of each class have it or a higher one.
#[derive(Clone, Copy, Debug)]
struct Step {
    threshold: f64,
    hits: f64,
    alarms: f64,
}

impl Curve {
    /// The curve over every distinct score. `None` when a class is empty or a score is NaN.
    pub fn new(scores: &[f64], labels: &[bool]) -> Option<Self> {
        let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
        if pairs.iter().any(|(score, _)| score.is_nan()) {
            return None;
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut hits, mut alarms) = (0.0, 0.0);
        let steps: Vec<Step> = pairs
            .chunk_by(|a, b| a.0 == b.0)
            .map(|tied| {
                let up = tied.iter().filter(|(_, positive)| *positive).count() as f64;
                hits += up;
                alarms += tied.len() as f64 - up;
                Step { threshold: tied.first().map_or(f64::NAN, |pair| pair.0), hits, alarms }
            })
            .collect();
        (hits > 0.0 && alarms > 0.0).then_some(Self { positives: hits, negatives: alarms, steps })
    }

    /// Area under the ROC curve, 0..=1.
    pub fn auc(&self) -> f64 {
        let won: f64 = self.pairs().map(|(a, b)| (b.alarms - a.alarms) * f64::midpoint(a.hits, b.hits)).sum();
        won / (self.positives * self.negatives)
    }

    /// Gini coefficient, -1..=1: how far the area under the ROC curve is from a half, doubled.
    pub fn gini(&self) -> f64 {
        2.0 * self.auc() - 1.0
    }

    /// Average precision, 0..=1: the sum over thresholds of recall gained times precision, not interpolated.
    pub fn average_precision(&self) -> f64 {
        self.pairs().map(|(a, b)| (b.hits - a.hits) * b.precision()).sum::<f64>() / self.positives
    }

    /// Area under the precision-recall curve by trapezoids, 0..=1, from precision 1 at recall 0. Another number than
    /// [`average_precision`](Self::average_precision), and too kind where scores tie.
    pub fn precision_recall_area(&self) -> f64 {
        let area: f64 =
            self.pairs().map(|(a, b)| (b.hits - a.hits) * f64::midpoint(a.precision(), b.precision())).sum();
        area / self.positives
    }

    /// Kolmogorov-Smirnov separation, 0..=1: the widest gap between the shares of positives and of negatives caught.
    pub fn separation(&self) -> f64 {
        self.steps.iter().map(|step| self.youden(step).abs()).fold(0.0, f64::max)
    }

    /// The highest threshold where Youden's J = TPR - FPR is greatest; infinity where catching nothing is best.
    pub fn youden_threshold(&self) -> f64 {
        let none = (f64::INFINITY, 0.0);
        let better = |best: (f64, f64), step: &Step| {
            let j = self.youden(step);
            if j > best.1 { (step.threshold, j) } else { best }
        };
        self.steps.iter().fold(none, better).0
    }

    fn youden(&self, step: &Step) -> f64 {
        step.hits / self.positives - step.alarms / self.negatives
    }

    /// Every step with the one before it, the first with a threshold that nothing reaches.
    fn pairs(&self) -> impl Iterator<Item = (Step, Step)> {
        let start = Step { threshold: f64::INFINITY, hits: 0.0, alarms: 0.0 };
        std::iter::once(start).chain(self.steps.iter().copied()).zip(self.steps.iter().copied())
    }
}

impl Step {
    /// 1 where nothing is predicted, as the precision-recall curve begins.
    fn precision(&self) -> f64 {
        if self.hits + self.alarms > 0.0 { self.hits / (self.hits + self.alarms) } else { 1.0 }
    }
}

/// How often the `1 / parts` highest scores convert, over how often all do; at equal scores the earlier come first. The part
/// is rounded up. `None` when nothing converts or `parts` is 0.
pub fn lift(scores: &[f64], labels: &[bool], parts: usize) -> Option<f64> {
    let order = falling(scores);
    let top =
        order.get(..order.len().checked_div(parts)? + usize::from(!order.len().is_multiple_of(parts)))?;
    let rate = |positives: usize, of: usize| positives as f64 / of as f64;
    let overall = rate(labels.iter().filter(|label| **label).count(), order.len());
    (overall > 0.0).then(|| rate(positives(labels, top), top.len()) / overall)
}

/// One part of a gains table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Leads in the part.
    pub n: u64,
    /// Those of them that converted.
    pub positives: u64,
    /// Their mean score; NaN in an empty part.
    pub mean_score: f64,
    /// Share of all conversions in this part and those above; NaN when nothing converts.
    pub cumulative: f64,
}

/// The leads by falling score, earlier first at equal scores, cut into parts whose sizes differ by one at most.
pub fn gains(scores: &[f64], labels: &[bool], parts: usize) -> Vec<Gain> {
    let order = falling(scores);
    let total = positives(labels, &order);
    let mut caught = 0;
    split(order.len(), parts)
        .map(|range| {
            let part = order.get(range).unwrap_or_default();
            let hits = positives(labels, part);
            caught += hits;
            let sum: f64 = part.iter().filter_map(|i| scores.get(*i)).sum();
            Gain {
                n: part.len() as u64,
                positives: hits as u64,
                mean_score: sum / part.len() as f64,
                cumulative: caught as f64 / total as f64,
            }
        })
        .collect()
}

fn positives(labels: &[bool], rows: &[usize]) -> usize {
    rows.iter().filter(|i| labels.get(**i) == Some(&true)).count()
}

/// The rows by falling score, earlier rows first at equal scores, NaN before all.
pub(super) fn falling(scores: &[f64]) -> Vec<usize> {
    let score = |i: &usize| scores.get(*i).copied().unwrap_or(f64::NAN);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    order
}

/// `0..n` cut into parts whose sizes differ by one at most, the larger ones first.
pub(super) fn split(n: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let (least, larger) = (n.checked_div(parts).unwrap_or(0), n.checked_rem(parts).unwrap_or(0));
    (0..parts).map(move |i| i * least + i.min(larger)..(i + 1) * least + (i + 1).min(larger))
}

/// What a threshold does: a lead is called positive when its score reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Called positive, and are.
    pub true_positives: u64,
    /// Called positive, and are not.
    pub false_positives: u64,
    /// Called negative, and are positive.
    pub false_negatives: u64,
    /// Called negative, and are.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts the four. A NaN score reaches no threshold.
    pub fn at(threshold: f64, scores: &[f64], labels: &[bool]) -> Self {
        let mut counts = Self::default();
        for (&score, &positive) in scores.iter().zip(labels) {
            *match (score >= threshold, positive) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, true) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            } += 1;
        }
        counts
    }

    /// Share of those called positive that are; 0 when nothing is called positive.
    pub fn precision(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of the positives that are called so; 0 when there are none.
    pub fn recall(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of precision and recall; 0 when both are.
    pub fn f1(&self) -> f64 {
        let hits = 2 * self.true_positives;
        share(hits, hits + self.false_positives + self.false_negatives)
    }

    /// Share of all calls that are right; 0 when there are none.
    pub fn accuracy(&self) -> f64 {
        let right = self.true_positives + self.true_negatives;
        share(right, right + self.false_positives + self.false_negatives)
    }

    /// Matthews correlation, -1..=1; 0 when a row or a column of the table is empty.
    pub fn mcc(&self) -> f64 {
        let [tp, fp, miss, tn] =
            [self.true_positives, self.false_positives, self.false_negatives, self.true_negatives]
                .map(|count| count as f64);
        let margins = (tp + fp) * (tp + miss) * (tn + fp) * (tn + miss);
        if margins > 0.0 { (tp * tn - fp * miss) / margins.sqrt() } else { 0.0 }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::check::{Golden, close},
    };

    #[test]
    fn ties_count_half() {
        let check = |scores: &[f64], labels: &[bool], expected| assert_eq!(auc(scores, labels), expected);
        check(&[0.1, 0.9], &[false, true], Some(1.0));
        check(&[0.9, 0.1], &[false, true], Some(0.0));
        check(&[0.5, 0.5], &[false, true], Some(0.5));
        check(&[0.2, 0.5, 0.5, 0.1], &[false, true, false, true], Some(0.375));
        check(&[0.0, -0.0], &[false, true], Some(0.5));
        check(&[f64::NEG_INFINITY, f64::INFINITY], &[false, true], Some(1.0));
        check(&[0.2, 0.5], &[true, true], None);
        check(&[0.2, f64::NAN], &[false, true], None);
        check(&[], &[], None);
    }

    #[test]
    fn curves_agree_with_scikit_learn() {
        for Golden { name, labels, scores, expect } in Golden::metrics() {
            let Some(curve) = Curve::new(&scores, &labels) else {
                assert!(expect["auc"].is_null() && expect["ap"].is_null(), "{name}");
                continue;
            };
            close(curve.auc(), &expect["auc"]);
            close(curve.average_precision(), &expect["ap"]);
            close(curve.precision_recall_area(), &expect["pr_auc_trapezoid"]);
            close(curve.separation(), &expect["ks_separation"]);
            match curve.youden_threshold() {
                f64::INFINITY => assert!(expect["youden_threshold"].is_null(), "{name}"),
                threshold => close(threshold, &expect["youden_threshold"]),
            }
        }
    }

    #[test]
    fn parts_and_thresholds_agree_with_scikit_learn() {
        for Golden { name, labels, scores, expect } in Golden::metrics() {
            assert_eq!(lift(&scores, &labels, 10).is_none(), expect["lift10"].is_null(), "{name}");
            lift(&scores, &labels, 10).into_iter().for_each(|lift| close(lift, &expect["lift10"]));
            for (gain, row) in gains(&scores, &labels, 10).iter().zip(expect["gains"].as_array().unwrap()) {
                assert_eq!(
                    (Some(gain.n), Some(gain.positives)),
                    (row[0].as_u64(), row[1].as_u64()),
                    "{name}"
                );
                close(gain.mean_score, &row[2]);
                close(gain.cumulative, &row[3]);
            }
            for (threshold, row) in expect["thresholds"].as_object().unwrap() {
                check_confusion(&Confusion::at(threshold.parse().unwrap(), &scores, &labels), row);
            }
        }
    }

    #[test]
    fn the_other_golden_agrees() {
        let Some(golden) = goldens::json("goldens/mlops/ranking.json") else { return };
        let Golden { labels, scores, expect, .. } = Golden::paired(&golden, "score");
        let curve = Curve::new(&scores, &labels).unwrap();
        close(curve.auc(), &expect["auc"]);
        close(curve.average_precision(), &expect["average_precision"]);
        close(curve.separation(), &expect["ks"]);
        close(curve.gini(), &expect["gini"]);
        check_confusion(
            &Confusion::at(golden["inputs"]["threshold"].as_f64().unwrap(), &scores, &labels),
            &expect,
        );
    }

    fn check_confusion(got: &Confusion, expect: &serde_json::Value) {
        let counts = [got.true_positives, got.false_positives, got.false_negatives, got.true_negatives];
        assert_eq!(counts.map(Some), ["tp", "fp", "fn", "tn"].map(|name| expect[name].as_u64()));
        close(got.precision(), &expect["precision"]);
        close(got.recall(), &expect["recall"]);
        close(got.f1(), &expect["f1"]);
        close(got.mcc(), &expect["mcc"]);
        if !expect["accuracy"].is_null() {
            close(got.accuracy(), &expect["accuracy"]);
        }
    }

    #[test]
    fn nothing_to_rank_is_nothing() {
        assert!(Curve::new(&[], &[]).is_none());
        assert_eq!([lift(&[], &[], 10), lift(&[0.5], &[true], 0), lift(&[0.5], &[false], 10)], [None; 3]);
        assert!(gains(&[0.5], &[true], 0).is_empty());
        assert!(gains(&[], &[], 2).iter().all(|gain| gain.n == 0 && gain.mean_score.is_nan()));
        assert_eq!(lift(&[f64::NAN, 0.1], &[true, false], 2), Some(2.0));
        let none = Confusion::at(0.5, &[], &[]);
        assert_eq!([none.precision(), none.recall(), none.f1(), none.accuracy(), none.mcc()], [0.0; 5]);
        assert_eq!(Confusion::at(0.5, &[f64::NAN], &[true]).false_negatives, 1);
    }

    #[test]
    fn parts_differ_by_one_at_most() {
        let sizes = |n, parts| split(n, parts).map(|range| range.len()).collect::<Vec<_>>();
        assert_eq!(sizes(12, 10), [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(sizes(2, 3), [1, 1, 0]);
        assert!(sizes(5, 0).is_empty());
    }
}
