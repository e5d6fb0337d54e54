//! Sample ratio mismatch: whether leads came to the arms in the shares they should.

use super::{chi_square_sf, ln_gamma};

/// ln of the Bayes factor against the intended shares: a Dirichlet-multinomial with mean `weights` and total
/// `concentration` against the multinomial with exactly these shares. It may be looked at at every moment: above
/// `ln(1 / alpha)` the shares are off. `weights` are above 0 and sum to 1. NaN where lengths differ.
pub fn log_bayes_factor(counts: &[u64], weights: &[f64], concentration: f64) -> f64 {
    if counts.len() != weights.len() {
        return f64::NAN;
    }
    let total = counts.iter().sum::<u64>() as f64;
    let arm = |(&count, &weight): (&u64, &f64)| {
        let (count, prior) = (count as f64, concentration * weight);
        ln_gamma(prior + count) - ln_gamma(prior) - count * weight.ln()
    };
    let arms: f64 = counts.iter().zip(weights).map(arm).sum();
    arms + ln_gamma(concentration) - ln_gamma(concentration + total)
}

/// Chi-square of the counts against the intended shares, and its p: for a report after the end, not for watching. `None`
/// while an arm expects fewer than 50 leads.
pub fn mismatch(counts: &[u64], weights: &[f64]) -> Option<(f64, f64)> {
    let total = counts.iter().sum::<u64>() as f64;
    if counts.len() != weights.len() || counts.len() < 2 || weights.iter().any(|weight| weight * total < 50.0)
    {
        return None;
    }
    let off = |(&count, &weight): (&u64, &f64)| (count as f64 - weight * total).powi(2) / (weight * total);
    let statistic: f64 = counts.iter().zip(weights).map(off).sum();
    Some((statistic, chi_square_sf(statistic, counts.len() as f64 - 1.0)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::goldens;

    #[test]
    fn agrees_with_scipy() {
        let Some(golden) = goldens::json("goldens/mlops/srm.json") else { return };
        for case in golden["expected"].as_array().unwrap() {
            let list = |key: &str| case[key].as_array().unwrap().iter();
            let counts: Vec<u64> = list("counts").map(|count| count.as_u64().unwrap()).collect();
            let weights: Vec<f64> = list("weights").map(|weight| weight.as_f64().unwrap()).collect();
            let close = |got: f64, want: &Value| {
                let want = want.as_f64().unwrap();
                assert!((got - want).abs() <= 1e-9 * want.abs(), "{got} is not {want}");
            };
            let (statistic, p) = mismatch(&counts, &weights).unwrap();
            close(statistic, &case["chi2"]);
            close(p, &case["p"]);
            close(log_bayes_factor(&counts, &weights, counts.len() as f64), &case["log_bayes_factor"]);
        }
    }

    #[test]
    fn with_a_sharp_prior_it_takes_a_real_mismatch() {
        for (counts, weights, expected) in [
            ([8800, 1200], [0.9, 0.1], 10.41),
            ([5200, 4800], [0.5, 0.5], 3.65),
            ([9000, 1000], [0.9, 0.1], -0.35),
            ([0, 0], [0.9, 0.1], 0.0),
        ] {
            let got = log_bayes_factor(&counts, &weights, 10_000.0);
            assert!((got - expected).abs() < 0.005, "{counts:?}: {got}");
        }
    }

    #[test]
    fn too_little_is_not_judged() {
        assert_eq!(mismatch(&[100, 1], &[0.9, 0.1]), None);
        assert_eq!(mismatch(&[100], &[1.0]), None);
        assert_eq!(mismatch(&[100, 200, 300], &[0.5, 0.5]), None);
        assert!(log_bayes_factor(&[1], &[0.5, 0.5], 10.0).is_nan());
    }
}
