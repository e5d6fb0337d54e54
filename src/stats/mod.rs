//! Stats: maths over slices and counts. No I/O, no clock, no randomness but that of a given seed.
//!
//! How well scores rank and how true they are as probabilities, how far inputs have moved, whether one model or arm is better
//! than another, and the quantiles behind cut-offs and histograms. What cannot be told from the input is `None` or NaN,
//! as each function says; nothing panics.

mod tail; // survival functions: how often chance alone goes this far
mod kolmogorov; // the same for the Kolmogorov-Smirnov distance
mod quantile; // quantiles, histogram edges and counts
mod ranking; // AUC and its kin, lift, gains, what a threshold catches
mod delong; // is one AUC better than another: DeLong's test
mod splitmix; // random numbers that are the same everywhere
mod bootstrap; // the same by drawing again
mod probability; // log-loss, Brier: is 0.2 really one in five
mod calibration; // promise and outcome part by part, and the lines that mend them
mod drift; // how far a feature or score has moved: PSI
mod proportions; // two conversion rates: intervals and fixed-sample tests
mod samples; // two samples of numbers: Welch, Mann-Whitney
mod sequential; // tests that may be looked at while they run
mod srm; // whether leads came to the arms in the shares they should
mod buckets; // deciles with their conversions and money
mod sketch; // the mergeable record of a version's scores and outcomes
#[cfg(test)]
mod check; // goldens, as the tests here read them

pub use self::{
    bootstrap::{bootstrap_auc, mean_interval},
    buckets::{Bucket, buckets, cochran_armitage, gain},
    calibration::{
        Murphy, Reliability, ece, logistic, logit_line, mce, murphy, observed_over_expected, reliability,
        reliability_equal_mass, spiegelhalter, temperature,
    },
    delong::{Delong, auc_variance},
    drift::{Psi, counts_with_outside, psi},
    kolmogorov::{kolmogorov_sf, ks_sf},
    probability::{brier, log_loss},
    proportions::{Proportion, TwoProportions, leads_per_arm},
    quantile::{counts, edges, nearest_rank, quantile, sorted},
    ranking::{Confusion, Curve, Gain, auc, gains, lift},
    samples::{MannWhitney, Welch, mann_whitney, welch},
    sequential::{Difference, EValue, Mixture, conversion, log_msprt, stratified},
    sketch::Sketch,
    splitmix::SplitMix,
    srm::{log_bayes_factor, mismatch},
    tail::{Z95, chi_square_quantile, chi_square_sf, ln_gamma, normal_quantile, normal_sf, t_sf, two_sided},
};
