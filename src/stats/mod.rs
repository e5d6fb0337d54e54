//! Stats: maths over slices. No I/O, no clock, no randomness.
//!
//! How well scores rank and how true they are as probabilities, and the quantiles behind cut-offs and histograms.

mod tail; // survival functions: how often chance alone goes this far
mod ranking; // AUC: does a converted lead outrank one that did not convert
mod probability; // log-loss, Brier: is 0.2 really one in five
mod quantile; // quantiles, histogram edges and counts

pub use self::{
    probability::{brier, log_loss},
    quantile::{counts, edges, quantile, sorted},
    ranking::auc,
    tail::{
        Z95, chi_square_quantile, chi_square_sf, kolmogorov_sf, ln_gamma, normal_quantile, normal_sf, t_sf,
        two_sided,
    },
};
