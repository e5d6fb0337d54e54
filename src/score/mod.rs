//! Score: features become a calibrated probability, a grade and reasons.
//!
//! A [`Model`] is a schema, a network or trees, a calibration and cut-offs, compiled once when a version is loaded. Scoring one
//! lead is synchronous, allocates nothing and takes a fraction of a microsecond. Pure: no I/O, no clock.

mod kind; // network or trees
mod schema; // what a model reads, and how a value becomes a column
mod encode; // one lead's values -> a compact row, or a plain one
mod network; // safetensors bytes -> checked weights
mod kernel; // compact rows -> logits: the packed weights and the loops over them
mod op; // the kernel as an operation of candle's graphs
pub mod trees; // LightGBM and XGBoost files -> raw scores, predictions, leaves
mod boosted; // those trees whose raw score is a logit
mod calibrate; // logit -> probability, and the fits
mod batch; // leads to score together
mod model; // the whole, compiled
mod reasons; // which features made a score high or low
#[cfg(test)]
pub(crate) mod fixture; // small weights, for tests

pub use self::{
    batch::Batch,
    calibrate::Calibration,
    encode::Encoder,
    kernel::{Kernel, Scratch},
    kind::{Kind, Objective},
    model::{Model, ModelError, ScoreError, Scored, Spec},
    network::{Layer, Network},
    op::KernelOp,
    reasons::{Bands, Ends, Explainer, Explanation, Mix, ReasonScratch, Typical, in_out},
    schema::{Encoding, FeatureSpec, Schema},
};
