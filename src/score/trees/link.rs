//! What makes a sum of leaves a prediction, by objective.
//!
//! LightGBM computes in f64 and XGBoost in f32, and so does each link here; the formulas are theirs.

use super::{TreeError, error::short};

/// From raw scores, one per class, to predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The sum itself.
    Identity,
    /// `sign(r) r^2`, of a target that was trained as its square root.
    Square,
    /// `exp(r)`.
    Exp,
    /// `1 / (1 + exp(-k r))` for each class on its own.
    Sigmoid(f64),
    /// `exp(r) / sum of exp(r)` over the classes.
    Softmax,
    /// XGBoost's `exp(r)`, in f32.
    SingleExp,
    /// XGBoost's sigmoid, in f32.
    SingleSigmoid,
    /// XGBoost's softmax, in f32.
    SingleSoftmax,
}

/// From a `base_score` to the margin that sums start at.
pub(super) type Margin = fn(f32) -> f32;

impl Link {
    /// The link of a LightGBM `objective` line: a name, and settings as `key:value` or bare words.
    pub(super) fn lightgbm(objective: &str, classes: usize) -> Result<Self, TreeError> {
        let mut words = objective.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let (mut k, mut sqrt) = (None, false);
        for word in words {
            match word.split_once(':') {
                Some(("sigmoid", value)) => {
                    k = value.parse().ok().filter(|k: &f64| k.is_finite() && *k > 0.0);
                }
                Some(("num_class", value)) if value.parse() == Ok(classes) => {}
                None if word == "sqrt" => sqrt = true,
                _ => return Err(TreeError::unknown("objective setting", word)),
            }
        }
        let unknown = || TreeError::unknown("objective", objective);
        let link = match name {
            "binary" | "multiclassova" => Link::Sigmoid(k.take().ok_or_else(unknown)?),
            "cross_entropy" => Link::Sigmoid(1.0),
            "multiclass" => Link::Softmax,
            "regression" if sqrt => Link::Square,
            "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => Link::Identity,
            "poisson" | "gamma" | "tweedie" => Link::Exp,
            _ => return Err(unknown()),
        };
        let many = matches!(name, "multiclass" | "multiclassova");
        if k.is_some() || sqrt != (link == Link::Square) || many != (classes > 1) {
            return Err(TreeError::line(
                0,
                format!("objective `{}` does not fit {classes} classes", short(objective)),
            ));
        }
        Ok(link)
    }

    /// The link of an XGBoost objective, and what its `base_score` is as a margin.
    pub(super) fn xgboost(objective: &str) -> Result<(Self, Margin), TreeError> {
        Ok(match objective {
            "binary:logistic" | "reg:logistic" => (Link::SingleSigmoid, |b| -(1.0 / b - 1.0).ln()),
            "binary:logitraw" | "reg:squarederror" => (Link::Identity, |b| b),
            "multi:softprob" => (Link::SingleSoftmax, |b| b),
            "count:poisson" | "reg:gamma" | "reg:tweedie" => (Link::SingleExp, f32::ln),
            _ => return Err(TreeError::unknown("objective", objective)),
        })
    }

    /// Replaces raw scores by predictions.
    pub fn apply(self, scores: &mut [f64]) {
        match self {
            Link::Identity => {}
            Link::Square => scores.iter_mut().for_each(|r| *r *= r.abs()),
            Link::Exp => scores.iter_mut().for_each(|r| *r = r.exp()),
            Link::Sigmoid(k) => scores.iter_mut().for_each(|r| *r = 1.0 / (1.0 + (-k * *r).exp())),
            Link::Softmax => {
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.iter_mut().for_each(|r| *r = (*r - most).exp());
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|r| *r /= sum);
            }
            Link::SingleExp => single(scores, f32::exp),
            // 88.7 keeps the f32 exponential finite.
            Link::SingleSigmoid => single(scores, |m| 1.0 / (1.0 + (-m).min(88.7).exp())),
            Link::SingleSoftmax => {
                let most = scores.iter().map(|r| *r as f32).fold(f32::NEG_INFINITY, f32::max);
                single(scores, |r| (r - most).exp());
                let sum = scores.iter().sum::<f64>() as f32;
                single(scores, |r| r / sum);
            }
        }
    }
}

fn single(scores: &mut [f64], f: impl Fn(f32) -> f32) {
    scores.iter_mut().for_each(|r| *r = f64::from(f(*r as f32)));
}
