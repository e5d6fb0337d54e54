//! Stats: maths over slices. No I/O, no clock, no randomness.
//!
//! How well scores rank and how true they are as probabilities, and the quantiles behind cut-offs and histograms.

mod ranking; // AUC: does a converted lead outrank one that did not convert
mod probability; // log-loss, Brier: is 0.2 really one in five
mod quantile; // quantiles, histogram edges and counts

pub use self::{
    probability::{brier, log_loss},
    quantile::{counts, edges, quantile, sorted},
    ranking::auc,
};
