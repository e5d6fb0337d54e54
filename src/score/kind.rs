//! What a version is: one of the networks that are trained here, or trees of another library.

use serde::{Deserialize, Serialize};

/// What a version is, and with it what its model file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Logistic regression: tensors `linear.weight`, `linear.bias`.
    Linear,
    /// Linear, ReLU, ..., Linear: tensors `layers.{i}.weight`, `layers.{i}.bias`.
    Mlp,
    /// LightGBM's text.
    Lightgbm,
    /// XGBoost's JSON or UBJ.
    Xgboost,
}

/// What the sum of the leaves is, said by a person: a LightGBM file of a custom objective does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The logit of a probability.
    Binary,
}
