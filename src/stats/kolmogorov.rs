//! Kolmogorov's distributions: how far apart two samples of one distribution stray by chance.
//!
//! The limit for large samples, and the exact law for a given size, which is what scipy's "asymp" p of two samples of n and m
//! takes at `n m / (n + m)`. Survival functions, as in `tail`.

use std::f64::consts::PI;

use super::tail::ln_gamma;

/// The largest half width of the exact recursion's matrix. It costs `n` times four times its square.
const WIDEST: f64 = 64.0;

/// Sizes above this take the limit: the sums have a term per lead.
const LARGEST: u64 = 1_000_000;

/// P(K > x) of Kolmogorov's distribution, 0..=1: the two-sided Kolmogorov-Smirnov test in the limit of large samples
/// (Marsaglia, Tsang and Wang 2003, both series). NaN for a NaN.
pub fn kolmogorov_sf(x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.0 {
        let term = |odd: f64| (-(odd * PI / x).powi(2) / 8.0).exp();
        return 1.0 - (2.0 * PI).sqrt() / x * [1.0, 3.0, 5.0, 7.0].map(term).iter().sum::<f64>();
    }
    let term = |k: f64| (-2.0 * (k * x).powi(2)).exp();
    2.0 * (term(1.0) - term(2.0) + term(3.0) - term(4.0))
}

/// P(D > d) of the two-sided Kolmogorov-Smirnov distance of `n` values from their law, 0..=1: the recursion of Marsaglia,
/// Tsang and Wang (2003) in the body, twice the one-sided sum of Birnbaum and Tingey (1951) in the tail, where both sides at
/// once are too rare to count. For more than 1,800 values the body may be the limit with Vrbik's correction (2018), good
/// to three digits. NaN for a NaN and where `n` is 0.
pub fn ks_sf(d: f64, n: u64) -> f64 {
    let size = n as f64;
    if n == 0 || d.is_nan() {
        return f64::NAN;
    }
    if d <= 0.5 / size {
        return 1.0;
    }
    let (root, wide) = (size.sqrt(), size * d >= WIDEST);
    // Both sides stray at once in 1e-10 of these cases, and in 1e-6.
    let both = if wide { 2.2 } else { 4.0 };
    match d {
        _ if d >= 1.0 => 0.0,
        _ if n > LARGEST => kolmogorov_sf(d * root),
        _ if size * d * d >= both || d >= 0.5 => (2.0 * one_sided(d, n)).min(1.0),
        _ if wide => {
            let x = d * root;
            kolmogorov_sf(x + 1.0 / (6.0 * root) + (x - 1.0) / (4.0 * size))
        }
        _ => (1.0 - within(d, n)).clamp(0.0, 1.0),
    }
}

/// P(D+ > d): the law strays above by more than `d` somewhere. For `d` above 0 and below 1.
fn one_sided(d: f64, n: u64) -> f64 {
    let size = n as f64;
    let all = ln_gamma(size + 1.0);
    let term = |j: f64| {
        let (reached, left) = (d + j / size, 1.0 - d - j / size);
        let choose = all - ln_gamma(j + 1.0) - ln_gamma(size - j + 1.0);
        if left > 0.0 { (choose + (j - 1.0) * reached.ln() + (size - j) * left.ln()).exp() } else { 0.0 }
    };
    d * (0..=(size * (1.0 - d)) as u64).map(|j| term(j as f64)).sum::<f64>()
}

/// P(D <= d): the middle of the n-th power of a matrix, reached by n products with a vector. `n!/n^n` goes in evenly, step
/// by step, so that nothing overflows.
fn within(d: f64, n: u64) -> f64 {
    let size = n as f64;
    let half = (size * d) as usize + 1;
    let (width, h) = (2 * half - 1, half as f64 - size * d);
    let inverse = |i: usize| (-ln_gamma(i as f64 + 1.0)).exp();
    let edge = |i: usize| h.powi(i as i32) * inverse(i);
    let scale = ((ln_gamma(size + 1.0) - size * size.ln()) / size).exp();
    let rows: Vec<Vec<f64>> = (0..width)
        .map(|i| {
            let first = |j: usize| if j == 0 { edge(i + 1) } else { 0.0 };
            let last = |j: usize| if i + 1 == width { edge(width - j) } else { 0.0 };
            (0..width.min(i + 2)).map(|j| scale * (inverse(i + 1 - j) - first(j) - last(j))).collect()
        })
        .collect();
    let corner = scale * (2.0 * h - 1.0).max(0.0).powi(width as i32) * inverse(width);
    let mut reached = vec![0.0; width];
    reached.iter_mut().skip(half - 1).take(1).for_each(|middle| *middle = 1.0);
    for _ in 0..n {
        let into_corner = corner * reached.first().copied().unwrap_or_default();
        reached = rows.iter().map(|row| row.iter().zip(&reached).map(|(a, b)| a * b).sum()).collect();
        reached.iter_mut().skip(width - 1).for_each(|last| *last += into_corner);
    }
    reached.get(half - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        goldens,
        stats::check::{close, near, numbers},
    };

    #[test]
    fn agrees_with_scipy() {
        let Some(golden) = goldens::json("goldens/ab_tests.json") else { return };
        let rows = |name: &str| golden["tail_functions"][name].as_array().unwrap().clone();
        for row in rows("kolmogorov_sf") {
            close(kolmogorov_sf(numbers(&row)[0]), &row[1]);
        }
        for row in rows("kstwo_sf") {
            // Between 140 and 100,000 values scipy takes an expansion in the body, good to seven digits.
            near(ks_sf(numbers(&row)[0], row[1].as_u64().unwrap()), &row[2], 1e-7);
        }
    }

    #[test]
    fn small_samples_are_exact_and_the_pieces_meet() {
        let check = |d: f64, n: u64, expected: f64, tolerance: f64| {
            near(ks_sf(d, n), &serde_json::Value::from(expected), tolerance);
        };
        // One value within d of uniform: 2 d - 1. Two, by hand: 2 (1 - d)^2 above a half.
        check(0.7, 1, 0.6, 1e-12);
        check(0.75, 2, 0.125, 1e-12);
        check(0.25, 2, 1.0, 1e-12);
        // Below a half, of two: 1 - 2 (2 d - 1/2)^2.
        check(0.4, 2, 1.0 - 2.0 * 0.3 * 0.3, 1e-12);
        // Either side of where one piece hands over to the next.
        check(0.2, 100, 1.0 - within(0.2, 100), 1e-8);
        check(0.0655, 1000, 1.0 - within(0.0655, 1000), 1e-7);
        check(0.0348, 2000, 1.0 - within(0.0348, 2000), 1e-5);
        let limit = (ks_sf(0.033, 2000), 1.0 - within(0.033, 2000));
        assert!((limit.0 / limit.1 - 1.0).abs() < 1e-3, "{limit:?}");
    }

    #[test]
    fn odd_arguments_have_plain_answers() {
        for n in [1, 2, 1000, 1_000_001, u64::MAX] {
            let answers = [f64::NEG_INFINITY, 0.0, 1.0, f64::INFINITY].map(|d| ks_sf(d, n));
            assert_eq!(answers, [1.0, 1.0, 0.0, 0.0], "{n}");
            assert!(ks_sf(f64::NAN, n).is_nan());
        }
        assert!(ks_sf(0.5, 0).is_nan() && kolmogorov_sf(f64::NAN).is_nan());
        assert_eq!([kolmogorov_sf(-1.0), kolmogorov_sf(0.0), kolmogorov_sf(1e-300)], [1.0; 3]);
        assert_eq!(kolmogorov_sf(f64::INFINITY), 0.0);
        assert!((0.0..1e-12).contains(&(kolmogorov_sf(1.0 - 1e-15) - kolmogorov_sf(1.0)).abs()));
    }
}
