//! The whole: rows become raw scores, predictions and leaves.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Link, NoObjective, RowError, TreeError, TreeScratch,
    forest::{Forest, Layout},
    lightgbm,
    linear::Linear,
    ubj, xgboost,
};

/// A model of LightGBM or XGBoost, ready to score. Immutable; share it behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Trees(Plan);

/// What a reader found.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) features: usize,
    pub(super) names: Vec<String>,
    pub(super) categories: BTreeMap<usize, Vec<String>>,
    /// Columns the file marks categorical or splits so, and the greatest code it knows of each.
    pub(super) codes: BTreeMap<usize, u32>,
    pub(super) classes: usize,
    pub(super) link: Link,
    /// Its name; empty where the file has none.
    pub(super) objective: String,
    /// Where each iteration's trees start, and where the last one's end.
    pub(super) iterations: Vec<usize>,
    /// By tree.
    pub(super) class_of: Vec<u32>,
    /// A random forest: predictions are of the mean over iterations.
    pub(super) average: bool,
    pub(super) body: Body,
}

/// What is summed up, and in what.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// LightGBM: f64, from zero.
    Double(Forest),
    /// XGBoost: f32, from the base margin of each class.
    Single(Forest, Vec<f32>),
    /// XGBoost without trees.
    Linear(Linear, Vec<f32>),
}

/// Some of a model's iterations.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    plan: &'a Plan,
    iterations: Range<usize>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            features: 0,
            names: Vec::new(),
            categories: BTreeMap::new(),
            codes: BTreeMap::new(),
            classes: 1,
            link: Link::Identity,
            objective: String::new(),
            iterations: vec![0],
            class_of: Vec::new(),
            average: false,
            body: Body::Linear(Linear { weights: Vec::new() }, Vec::new()),
        }
    }
}

impl Trees {
    /// Reads a file of either library; a LightGBM file without an objective is refused. The bytes may be hostile.
    pub fn read(bytes: &[u8]) -> Result<Self, TreeError> {
        Self::read_as(bytes, NoObjective::Refuse)
    }

    /// Reads a file of either library; `without` says what a LightGBM file without an objective predicts.
    pub fn read_as(bytes: &[u8], without: NoObjective) -> Result<Self, TreeError> {
        match bytes {
            [b't', b'r', b'e', b'e', ..] => Self::lightgbm(bytes, without),
            _ if Self::is_ubj(bytes) => Self::xgboost_ubj(bytes),
            _ if bytes.trim_ascii_start().first() == Some(&b'{') => Self::xgboost_json(bytes),
            _ => Err(TreeError::Format),
        }
    }

    /// Whether an XGBoost file is UBJ rather than JSON: what follows the brace in UBJ says how long the first key is; in
    /// JSON it is white space or a quote.
    pub fn is_ubj(bytes: &[u8]) -> bool {
        matches!(bytes, [b'{', b'L' | b'l' | b'I' | b'U' | b'i' | b'#' | b'$' | b'N', ..])
    }

    /// Reads LightGBM's text.
    pub fn lightgbm(bytes: &[u8], without: NoObjective) -> Result<Self, TreeError> {
        lightgbm::read(bytes, without, Layout::Fastest)
    }

    /// Reads XGBoost's JSON.
    pub fn xgboost_json(bytes: &[u8]) -> Result<Self, TreeError> {
        xgboost::read(&serde_json::from_slice(bytes)?, Layout::Fastest)
    }

    /// Reads XGBoost's UBJ.
    pub fn xgboost_ubj(bytes: &[u8]) -> Result<Self, TreeError> {
        xgboost::read(&ubj::read(bytes)?, Layout::Fastest)
    }

    pub(super) fn new(plan: Plan) -> Self {
        Self(plan)
    }

    /// Columns of a row.
    pub fn features(&self) -> usize {
        self.0.features
    }

    /// The columns' names in order; empty where the file has none, or LightGBM's `Column_0`, `Column_1`, ... for none.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// The words of a categorical column of a LightGBM model trained from pandas: a word's place is the value to score.
    /// A word that is not among them is missing.
    pub fn categories(&self, column: usize) -> Option<&[String]> {
        self.0.categories.get(&column).map(Vec::as_slice)
    }

    /// The greatest code the file knows of a categorical column; `None` of a column of numbers.
    pub fn greatest_code(&self, column: usize) -> Option<u32> {
        self.0.codes.get(&column).copied()
    }

    /// Raw scores and predictions of a row.
    pub fn classes(&self) -> usize {
        self.0.classes
    }

    /// What makes raw scores predictions.
    pub fn link(&self) -> Link {
        self.0.link
    }

    /// What the trees were trained for, by the library's name; empty where the file has none.
    pub fn objective(&self) -> &str {
        &self.0.objective
    }

    /// What a raw score times is the logit of the probability predicted; `None` of trees that predict something else.
    pub fn logit_scale(&self) -> Option<f64> {
        let scale = match self.link() {
            _ if self.classes() != 1 => return None,
            Link::Sigmoid(k) => k,
            Link::SingleSigmoid => 1.0,
            Link::Identity if self.objective() == "binary:logitraw" => 1.0,
            _ => return None,
        };
        Some(if self.0.average { scale / self.iterations().max(1) as f64 } else { scale })
    }

    /// What it predicts, for people.
    pub fn predicts(&self) -> &'static str {
        match self.logit_scale() {
            Some(_) => "a probability",
            None if self.classes() > 1 => "classes",
            None => "an amount",
        }
    }

    /// Iterations of boosting, each of one tree or more; 0 for `gblinear`.
    pub fn iterations(&self) -> usize {
        self.0.iterations.len().saturating_sub(1)
    }

    /// Trees in the model.
    pub fn trees(&self) -> usize {
        self.0.class_of.len()
    }

    /// Whether results are those of an f32 computation, and read back as such.
    pub fn is_single(&self) -> bool {
        !matches!(self.0.body, Body::Double(_))
    }

    /// These iterations only; those past the end do not exist.
    pub fn part(&self, iterations: Range<usize>) -> Part<'_> {
        let end = iterations.end.min(self.iterations());
        Part { plan: &self.0, iterations: iterations.start.min(end)..end }
    }

    /// Sums of leaves, one per class: LightGBM's in f64, XGBoost's in f32 from the base margin. NaN is missing.
    pub fn raw(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [f64]) -> Result<(), RowError> {
        self.part(0..usize::MAX).raw(row, scratch, out)
    }

    /// Predictions, one per class: what the libraries' `predict` returns.
    pub fn predict(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [f64]) -> Result<(), RowError> {
        self.part(0..usize::MAX).predict(row, scratch, out)
    }

    /// The number, in the file, of the leaf each tree ends at.
    pub fn leaves(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [u32]) -> Result<(), RowError> {
        self.part(0..usize::MAX).leaves(row, scratch, out)
    }

    /// [`Trees::raw`] of many rows, one after another, as are the results.
    pub fn raw_batch(
        &self,
        rows: &[f64],
        scratch: &mut TreeScratch,
        out: &mut [f64],
    ) -> Result<(), RowError> {
        let plan = &self.0;
        let count = rows.len() / plan.features.max(1);
        check("features", rows.len(), count * plan.features)?;
        check("results", out.len(), count * plan.classes)?;
        let all = 0..plan.class_of.len();
        let mut sum = |forest: &Forest, base: &[f32]| {
            forest.find_batch(rows, plan.features, scratch, |i, row, at| {
                let out = out.get_mut(i * plan.classes..(i + 1) * plan.classes).unwrap_or_default();
                plan.sum(forest.values(row, at), base, all.clone(), out);
            });
        };
        match &plan.body {
            Body::Double(forest) => sum(forest, &[]),
            Body::Single(forest, base) => sum(forest, base),
            Body::Linear(linear, base) => {
                let rows = rows.chunks_exact(plan.features.max(1));
                rows.zip(out.chunks_exact_mut(plan.classes.max(1)))
                    .for_each(|(row, out)| linear.raw(row, base, out));
            }
        }
        Ok(())
    }
}

impl Part<'_> {
    /// As [`Trees::raw`].
    pub fn raw(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [f64]) -> Result<(), RowError> {
        self.plan.check(row)?;
        check("results", out.len(), self.plan.classes)?;
        let trees = self.trees();
        let mut sum = |forest: &Forest, base: &[f32]| {
            forest.find(row, (trees.start, trees.end), scratch);
            self.plan.sum(forest.values(row, &scratch.ends), base, trees.clone(), out);
        };
        match &self.plan.body {
            Body::Double(forest) => sum(forest, &[]),
            Body::Single(forest, base) => sum(forest, base),
            Body::Linear(linear, base) => linear.raw(row, base, out),
        }
        Ok(())
    }

    /// As [`Trees::predict`]; a random forest's mean is over these iterations.
    pub fn predict(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [f64]) -> Result<(), RowError> {
        self.raw(row, scratch, out)?;
        if self.plan.average && !self.iterations.is_empty() {
            let count = self.iterations.len() as f64;
            out.iter_mut().for_each(|sum| *sum /= count);
        }
        self.plan.link.apply(out);
        Ok(())
    }

    /// As [`Trees::leaves`], of these iterations' trees.
    pub fn leaves(&self, row: &[f64], scratch: &mut TreeScratch, out: &mut [u32]) -> Result<(), RowError> {
        self.plan.check(row)?;
        let trees = self.trees();
        check("results", out.len(), trees.len())?;
        if let Body::Double(forest) | Body::Single(forest, _) = &self.plan.body {
            forest.find(row, (trees.start, trees.end), scratch);
            out.iter_mut().zip(forest.ids(&scratch.ends)).for_each(|(out, leaf)| *out = leaf);
        }
        Ok(())
    }

    fn trees(&self) -> Range<usize> {
        let start = |iteration| self.plan.iterations.get(iteration).copied().unwrap_or_default();
        start(self.iterations.start)..start(self.iterations.end)
    }
}

impl Plan {
    fn check(&self, row: &[f64]) -> Result<(), RowError> {
        check("features", row.len(), self.features)
    }

    /// Adds leaves up in tree order, in f32 where there is a base.
    fn sum(&self, leaves: impl Iterator<Item = f64>, base: &[f32], trees: Range<usize>, out: &mut [f64]) {
        match (&mut *out, base) {
            ([out], []) => *out = leaves.fold(0.0, |sum, leaf| sum + leaf),
            ([out], [base]) => *out = f64::from(leaves.fold(*base, |sum, leaf| sum + leaf as f32)),
            (out, base) => {
                out.fill(0.0);
                out.iter_mut().zip(base).for_each(|(out, base)| *out = f64::from(*base));
                for (leaf, class) in leaves.zip(self.class_of.get(trees).unwrap_or_default()) {
                    if let Some(out) = out.get_mut(*class as usize) {
                        let single = f64::from(*out as f32 + leaf as f32);
                        *out = if base.is_empty() { *out + leaf } else { single };
                    }
                }
            }
        }
    }
}

fn check(what: &'static str, got: usize, expected: usize) -> Result<(), RowError> {
    if got == expected { Ok(()) } else { Err(RowError { what, got, expected }) }
}
