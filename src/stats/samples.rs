//! Two samples of numbers, such as latencies: do their means differ, is one the larger.

use super::{
    delong::midranks,
    tail::{t_sf, two_sided},
};

/// Welch's t-test of two means (1947).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Welch {
    /// The difference, first less second, in standard errors.
    pub t: f64,
    /// Welch-Satterthwaite degrees of freedom.
    pub freedom: f64,
    /// Two-sided p, 0..=1.
    pub p: f64,
}

/// Compares two means without assuming equal variances. `None` when a sample has fewer than two values, both are constant, or
/// a value is not finite.
pub fn welch(a: &[f64], b: &[f64]) -> Option<Welch> {
    let ((mean_a, error_a, n_a), (mean_b, error_b, n_b)) = (mean_error(a)?, mean_error(b)?);
    let error = error_a + error_b;
    let freedom = error.powi(2) / (error_a.powi(2) / (n_a - 1.0) + error_b.powi(2) / (n_b - 1.0));
    let t = (mean_a - mean_b) / error.sqrt();
    (t.is_finite() && freedom.is_finite()).then(|| Welch { t, freedom, p: 2.0 * t_sf(t.abs(), freedom) })
}

/// Mean, its squared standard error, and how many there are.
fn mean_error(values: &[f64]) -> Option<(f64, f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (n > 1.0).then(|| (mean, squares / (n - 1.0) / n, n))
}

/// The Mann-Whitney test of two samples (1947).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first sample's value is the larger, ties counting half.
    pub u: f64,
    /// Two-sided p by the normal approximation, with corrections for ties and continuity, 0..=1.
    pub p: f64,
}

/// Whether values of one sample tend to be larger, whatever their distribution; heavy tails do no harm. `None` when a sample is
/// empty, all values are equal, or one is NaN.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<MannWhitney> {
    let all = [a, b].concat();
    if a.is_empty() || b.is_empty() || all.iter().any(|value| value.is_nan()) {
        return None;
    }
    let (n_a, n_b, n) = (a.len() as f64, b.len() as f64, all.len() as f64);
    let ranks: f64 = midranks(&all).iter().take(a.len()).sum();
    let u = ranks - n_a * (n_a + 1.0) / 2.0;
    let sorted = super::sorted(all);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tied| tied.len() as f64).map(|t| t.powi(3) - t).sum();
    let deviation = (n_a * n_b / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)))).sqrt();
    let beyond = (u - n_a * n_b / 2.0).abs() - 0.5;
    (deviation > 0.0).then(|| MannWhitney { u, p: two_sided((beyond / deviation).max(0.0)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::{
            check::{close, numbers},
            nearest_rank, quantile, sorted,
        },
    };

    #[test]
    fn agrees_with_scipy_on_latencies() {
        let Some(golden) = goldens::json("goldens/ab_tests.json") else { return };
        let golden = &golden["latency_samples"];
        let [a, b] = ["a", "b"].map(|name| numbers(&golden[name]));
        let test = welch(&a, &b).unwrap();
        close(test.t, &golden["welch_t"]);
        close(test.freedom, &golden["welch_df"]);
        close(test.p, &golden["welch_p"]);
        let test = mann_whitney(&a, &b).unwrap();
        close(test.u, &golden["mwu_u"]);
        close(test.p, &golden["mwu_p_asymptotic_cc"]);
        let a = sorted(a);
        for q in ["0.5", "0.95", "0.99"] {
            let share = q.parse().unwrap();
            close(quantile(&a, share).unwrap(), &golden["quantile_linear"][q]);
            close(nearest_rank(&a, share).unwrap(), &golden["quantile_nearest_rank"][q]);
        }
        assert_eq!([nearest_rank(&[], 0.5), nearest_rank(&[1.0], 0.0)], [None, Some(1.0)]);
    }

    #[test]
    fn ties_narrow_the_test() {
        let check = |a: &[f64], b: &[f64], u: f64, p: f64| {
            let test = mann_whitney(a, b).unwrap();
            assert!(test.u == u && (test.p - p).abs() < 1e-9, "{test:?}");
        };
        // Two ties of nine pairs; 4.5 were to be expected, half a pair is for continuity, and three equal values narrow it.
        check(
            &[1.0, 2.0, 2.0],
            &[2.0, 3.0, 4.0],
            1.0,
            two_sided(3.0 / (0.75f64 * (7.0 - 24.0 / 30.0)).sqrt()),
        );
        check(&[1.0, 2.0], &[1.0, 2.0], 2.0, 1.0);
    }

    #[test]
    fn samples_without_variance_say_nothing() {
        let check =
            |a: &[f64], b: &[f64]| assert_eq!((welch(a, b), mann_whitney(a, b)), (None, None), "{a:?} {b:?}");
        check(&[], &[]);
        check(&[], &[1.0, 2.0]);
        check(&[1.0, 1.0], &[1.0, 1.0]);
        check(&[1.0, f64::NAN], &[1.0, 2.0]);
        assert_eq!(welch(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(welch(&[1.0, f64::INFINITY], &[1.0, 2.0]), None);
        assert!(mann_whitney(&[f64::INFINITY], &[1.0]).is_some());
    }
}
