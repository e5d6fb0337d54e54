//! Tree after tree, each on the slope of the loss that the ones before have left.

use std::ops::ControlFlow;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{
    bins::Binned,
    grow::{Grower, Slopes},
    tree::Tree,
};
use crate::stats;

/// How to boost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Recipe {
    /// What share of a tree's values is added.
    pub(in super::super) rate: f64,
    /// Leaves of a tree at the most.
    pub(in super::super) leaves: usize,
    /// Splits from the root to a leaf at the most.
    pub(in super::super) depth: usize,
    /// Rows of a leaf at the least.
    pub(in super::super) least_rows: usize,
    /// Draws leaves' values towards zero.
    pub(in super::super) l2: f64,
    /// Share of the features that a tree may use, above 0 to 1.
    pub(in super::super) features: f64,
    /// Share of the rows that a tree is grown on, above 0 to 1.
    pub(in super::super) rows: f64,
    /// Trees at the most.
    pub(in super::super) trees: usize,
    /// Stops after so many trees without a better validation AUC.
    pub(in super::super) patience: usize,
}

/// A tree was added.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Round {
    /// How many trees there are.
    pub(in super::super) trees: usize,
    /// Mean training log-loss before the last of them.
    pub(in super::super) loss: f64,
    /// Validation AUC of all of them.
    pub(in super::super) auc: f64,
}

/// The trees up to the best round.
#[derive(Clone, Debug)]
pub(in super::super) struct Boosted {
    pub(super) trees: Vec<Tree>,
    /// Validation AUC.
    pub(in super::super) auc: f64,
}

impl Boosted {
    /// How many trees.
    pub(in super::super) fn rounds(&self) -> usize {
        self.trees.len()
    }
}

/// Rows and what became of them.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Labelled<'l> {
    pub(in super::super) rows: &'l Binned,
    pub(in super::super) labels: &'l [bool],
}

/// Fits trees on `train`, stops by `valid`. `each` hears of every round and may end it.
pub(in super::super) fn fit(
    recipe: &Recipe,
    train: Labelled<'_>,
    valid: Labelled<'_>,
    seed: u64,
    each: &mut dyn FnMut(Round) -> ControlFlow<()>,
) -> Boosted {
    let mut rng = StdRng::seed_from_u64(seed);
    let base = base(train.labels);
    let (mut logits, mut judged) = (vec![base; train.rows.rows], vec![base; valid.rows.rows]);
    let mut trees: Vec<Tree> = Vec::new();
    let mut best = Best { trees: 0, auc: f64::NEG_INFINITY, loss: f64::INFINITY };
    while trees.len() < recipe.trees.max(1) {
        let scores = scores(&logits);
        let (slopes, loss) = (slopes(&scores, train.labels), stats::log_loss(&scores, train.labels));
        let features = draw_features(recipe, train.rows.columns.len(), &mut rng);
        let drawn = draw_rows(recipe, train.rows.rows, &mut rng);
        let grower = Grower { recipe, rows: train.rows, slopes: &slopes, features: &features };
        let mut tree = grower.grow(drawn);
        tree.leaves.iter_mut().for_each(|leaf| leaf.value *= recipe.rate);
        add(&mut logits, &tree, train.rows);
        add(&mut judged, &tree, valid.rows);
        if trees.is_empty() {
            // LightGBM's files hold the start in the first tree.
            tree.leaves.iter_mut().for_each(|leaf| leaf.value += base);
        }
        let is_stump = tree.nodes.is_empty();
        trees.push(tree);
        let auc = stats::auc(&judged, valid.labels).unwrap_or(0.5);
        best.see(trees.len(), auc, &judged, valid.labels);
        let ends = each(Round { trees: trees.len(), loss, auc }).is_break();
        // Without a split all rows are alike to what was drawn; with all of them drawn they stay so.
        let is_done = is_stump && recipe.rows >= 1.0 && recipe.features >= 1.0;
        if ends || is_done || trees.len() - best.trees >= recipe.patience {
            break;
        }
    }
    trees.truncate(best.trees.max(1));
    Boosted { trees, auc: best.auc }
}

/// The best round so far.
struct Best {
    trees: usize,
    auc: f64,
    loss: f64,
}

impl Best {
    /// Of rounds that rank alike the one whose probabilities are better.
    fn see(&mut self, trees: usize, auc: f64, logits: &[f64], labels: &[bool]) {
        if auc < self.auc {
            return;
        }
        let loss = stats::log_loss(&scores(logits), labels);
        if auc > self.auc || loss < self.loss {
            *self = Self { trees, auc, loss };
        }
    }
}

fn add(logits: &mut [f64], tree: &Tree, rows: &Binned) {
    logits.iter_mut().enumerate().for_each(|(row, logit)| *logit += tree.value(rows, row));
}

/// The logit of the share of leads that converted.
fn base(labels: &[bool]) -> f64 {
    let positives = labels.iter().filter(|label| **label).count() as f64;
    let share = (positives / labels.len().max(1) as f64).clamp(1e-6, 1.0 - 1e-6);
    (share / (1.0 - share)).ln()
}

fn scores(logits: &[f64]) -> Vec<f64> {
    logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
}

/// Derivatives of the log-loss.
fn slopes(scores: &[f64], labels: &[bool]) -> Slopes {
    let slope = |(p, label): (&f64, &bool)| (p - f64::from(u8::from(*label)), p * (1.0 - p));
    let (gradients, hessians) = scores.iter().zip(labels).map(slope).unzip();
    Slopes { gradients, hessians }
}

fn draw_features(recipe: &Recipe, count: usize, rng: &mut StdRng) -> Vec<bool> {
    let most = ((recipe.features * count as f64).round() as usize).clamp(1, count.max(1));
    let mut order: Vec<usize> = (0..count).collect();
    if most < count {
        order.shuffle(rng);
    }
    let mut used = vec![false; count];
    for feature in order.into_iter().take(most) {
        if let Some(used) = used.get_mut(feature) {
            *used = true;
        }
    }
    used
}

fn draw_rows(recipe: &Recipe, count: usize, rng: &mut StdRng) -> Vec<u32> {
    let all = 0..u32::try_from(count).unwrap_or(u32::MAX);
    if recipe.rows >= 1.0 {
        return all.collect();
    }
    all.filter(|_| rng.random::<f64>() < recipe.rows).collect()
}
