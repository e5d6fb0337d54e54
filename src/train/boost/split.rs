//! The best split of a leaf: gains from sums over bins.

use super::{
    bins::{Binned, Column, Form},
    fit::Recipe,
    tree::Rule,
};

/// Sums over rows: of first and second derivatives of the loss by the logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) gradient: f64,
    pub(super) hessian: f64,
    pub(super) rows: usize,
}

/// One sum for each bin of each feature, the features one after another.
pub(super) type Histogram = Vec<Sums>;

/// A way to part a leaf's rows.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) feature: usize,
    pub(super) rule: Rule,
    pub(super) gain: f64,
    pub(super) left: Sums,
    pub(super) right: Sums,
    /// What the leaves' values are drawn towards zero with.
    pub(super) l2: f64,
}

/// Second derivatives that a leaf has at the least.
const LEAST_HESSIAN: f64 = 1e-3;

/// Up to so many words are tried one against all others.
const ONE_BY_ONE: usize = 4;

/// Words that occur less often are not told apart from missing ones.
const LEAST_WORD: usize = 10;

/// Added to a word's second derivatives when words are put in order, so that rare ones stay in the middle.
const WORD_SMOOTH: f64 = 10.0;

/// Added to L2 where words were put in order by what they are to predict.
const WORD_L2: f64 = 10.0;

/// Words of the smaller set at the most.
const MOST_WORDS: usize = 32;

impl Sums {
    pub(super) fn add(&mut self, gradient: f64, hessian: f64) {
        self.gradient += gradient;
        self.hessian += hessian;
        self.rows += 1;
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            gradient: self.gradient + other.gradient,
            hessian: self.hessian + other.hessian,
            rows: self.rows + other.rows,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
            rows: self.rows.saturating_sub(other.rows),
        }
    }

    /// The value that lowers the loss most.
    pub(super) fn value(self, l2: f64) -> f64 {
        -self.gradient / (self.hessian + l2)
    }

    /// By how much it does, times two.
    fn gain(self, l2: f64) -> f64 {
        self.gradient * self.gradient / (self.hessian + l2)
    }
}

/// The best split over the features that may be used; the first of equals. `None` where none lowers the loss.
pub(super) fn best(
    recipe: &Recipe,
    rows: &Binned,
    features: &[bool],
    histogram: &[Sums],
    total: Sums,
) -> Option<Split> {
    let mut best: Option<Split> = None;
    let mut rest = histogram;
    for (feature, (column, used)) in rows.columns.iter().zip(features).enumerate() {
        let (cells, after) = rest.split_at_checked(column.count())?;
        rest = after;
        if !used || total.rows < 2 * recipe.least_rows {
            continue;
        }
        let mut search = Search { recipe, feature, total, best: best.take() };
        search.column(column, cells);
        best = search.best;
    }
    best
}

struct Search<'r> {
    recipe: &'r Recipe,
    feature: usize,
    total: Sums,
    best: Option<Split>,
}

impl Search<'_> {
    fn column(&mut self, column: &Column, cells: &[Sums]) {
        let Some((missing, cells)) = cells.split_first() else { return };
        match column.form {
            Form::Numbers { .. } => self.numbers(*missing, cells),
            Form::Words { .. } => self.words(cells),
        }
    }

    fn numbers(&mut self, missing: Sums, cells: &[Sums]) {
        let mut left = Sums::default();
        for (cell, bin) in cells.iter().zip(1u8..) {
            if cell.rows == 0 {
                continue;
            }
            left = left.plus(*cell);
            let right = self.total.minus(left);
            if missing.rows == 0 {
                // Where none was missing, one that is goes with the many.
                let rule = |missing| Rule::UpTo { bin, missing };
                self.consider(left, self.recipe.l2, || rule(left.rows >= right.rows));
                continue;
            }
            self.consider(left, self.recipe.l2, || Rule::UpTo { bin, missing: false });
            self.consider(left.plus(missing), self.recipe.l2, || Rule::UpTo { bin, missing: true });
        }
    }

    fn words(&mut self, cells: &[Sums]) {
        let known = cells.iter().zip(1u8..).filter(|(cell, _)| cell.rows > 0);
        let mut words: Vec<(Sums, u8)> = known.map(|(cell, bin)| (*cell, bin)).collect();
        if words.len() <= ONE_BY_ONE {
            for (cell, bin) in words {
                self.consider(cell, self.recipe.l2, || Rule::Among(vec![bin]));
            }
            return;
        }
        words.retain(|(cell, _)| cell.rows >= LEAST_WORD);
        let slope = |cell: &Sums| cell.gradient / (cell.hessian + WORD_SMOOTH);
        words.sort_by(|(a, _), (b, _)| slope(a).total_cmp(&slope(b)));
        let most = MOST_WORDS.min(words.len().div_ceil(2));
        self.ordered(words.iter().take(most));
        self.ordered(words.iter().rev().take(most));
    }

    /// The first word, the first two, and so on against the rest.
    fn ordered<'w>(&mut self, words: impl Iterator<Item = &'w (Sums, u8)>) {
        let (mut left, mut bins) = (Sums::default(), Vec::new());
        for (cell, bin) in words {
            left = left.plus(*cell);
            bins.push(*bin);
            self.consider(left, self.recipe.l2 + WORD_L2, || Rule::Among(bins.clone()));
        }
    }

    fn consider(&mut self, left: Sums, l2: f64, rule: impl Fn() -> Rule) {
        let right = self.total.minus(left);
        let is_large =
            |side: Sums| side.rows >= self.recipe.least_rows.max(1) && side.hessian >= LEAST_HESSIAN;
        if !is_large(left) || !is_large(right) {
            return;
        }
        let gain = left.gain(l2) + right.gain(l2) - self.total.gain(self.recipe.l2);
        let least = self.best.as_ref().map_or(LEAST_GAIN, |best| best.gain);
        if gain > least {
            self.best = Some(Split { feature: self.feature, rule: rule(), gain, left, right, l2 });
        }
    }
}

/// Less is rounding.
const LEAST_GAIN: f64 = 1e-9;
