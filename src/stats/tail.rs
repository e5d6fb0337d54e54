//! Tails: how often chance alone goes this far.
//!
//! Survival functions, never 1 - cdf, so that 1e-300 is still told from 0. `libm` gives erfc and ln gamma to the last bit; the
//! incomplete gamma and beta functions on top of them are our own, because those of `statrs` panic on arguments that
//! underflow inside and its erfc is off in the eleventh digit. Every loop has an end, whatever the arguments.

use std::{f64::consts::SQRT_2, ops::RangeInclusive};

/// The standard normal deviate that leaves 2.5% above it: the half width of a 95% interval in standard errors.
pub const Z95: f64 = 1.959_963_984_540_054;

/// Degrees of freedom that tables and samples have. Beyond them the series take too many terms.
const FREEDOM: RangeInclusive<f64> = 0.01..=1e6;

/// Terms after which a series or fraction is taken as it is; within [`FREEDOM`] they need a tenth of it.
const TERMS: u32 = 50_000;

/// P(Z > z) of a standard normal, 0..=1. NaN for a NaN.
pub fn normal_sf(z: f64) -> f64 {
    0.5 * libm::erfc(z / SQRT_2)
}

/// P(|Z| > |z|) of a standard normal, 0..=1. NaN for a NaN.
pub fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / SQRT_2)
}

/// The standard normal deviate below which the share `p` lies. Infinite at 0 and 1, NaN outside them.
pub fn normal_quantile(p: f64) -> f64 {
    match p {
        0.0 => f64::NEG_INFINITY,
        1.0 => f64::INFINITY,
        // The half with the small share, where the survival function is exact.
        _ if p > 0.0 && p <= 0.5 => -where_falls_to(p, 39.0, normal_sf),
        _ if p > 0.5 && p < 1.0 => where_falls_to(1.0 - p, 39.0, normal_sf),
        _ => f64::NAN,
    }
}

/// P(X > x) of a chi-square variable, 0..=1. NaN for a NaN and where `freedom` is not in 0.01..=1e6.
pub fn chi_square_sf(x: f64, freedom: f64) -> f64 {
    if FREEDOM.contains(&freedom) { upper_gamma(freedom / 2.0, x / 2.0) } else { f64::NAN }
}

/// The value below which a chi-square variable stays with probability `p`. NaN where `p` is not in 0..1 or `freedom` not in
/// 0.01..=1e6.
pub fn chi_square_quantile(p: f64, freedom: f64) -> f64 {
    if !(0.0..1.0).contains(&p) || !FREEDOM.contains(&freedom) {
        return f64::NAN;
    }
    // 1 - p is 1e-16 at the least, which ten standard deviations and a hundred reach at every freedom.
    where_falls_to(1.0 - p, 2.0 * freedom + 100.0 + 20.0 * freedom.sqrt(), |x| chi_square_sf(x, freedom))
}

/// P(T > t) of Student's t, 0..=1; the normal above a million degrees of freedom. NaN for a NaN and where `freedom` is below
/// 0.01.
pub fn t_sf(t: f64, freedom: f64) -> f64 {
    if freedom > *FREEDOM.end() {
        return normal_sf(t);
    }
    if t.is_nan() || !FREEDOM.contains(&freedom) {
        return f64::NAN;
    }
    let ratio = t * t / freedom;
    let far = 0.5 * lower_beta([freedom / 2.0, 0.5], [1.0 / (1.0 + ratio), 1.0 / (1.0 + 1.0 / ratio)]);
    if t > 0.0 { far } else { 1.0 - far }
}

/// The natural logarithm of the gamma function. NaN where `x` is not above 0.
pub fn ln_gamma(x: f64) -> f64 {
    if x > 0.0 { libm::lgamma(x) } else { f64::NAN }
}

/// The regularised upper incomplete gamma function Q(a, x), 0..=1: a series below a + 1, Lentz's continued fraction above
/// (Press et al., Numerical Recipes, 6.2).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..TERMS {
            term *= x / (a + f64::from(n));
            sum += term;
            if term < sum * f64::EPSILON {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    if front == 0.0 {
        return 0.0;
    }
    let first = x + 1.0 - a;
    let step = |n: f64| (n * (a - n), first + 2.0 * n);
    front / lentz(first, (1..TERMS).map(|n| step(f64::from(n))))
}

/// The regularised incomplete beta function I_x(a, b), 0..=1, for `[a, b]` and `[x, 1 - x]`; both are asked for, because
/// neither is exact as the other's complement (Numerical Recipes, 6.4).
fn lower_beta([a, b]: [f64; 2], [x, rest]: [f64; 2]) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - lower_beta([b, a], [rest, x]);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * rest.ln()).exp() / a;
    if front == 0.0 {
        return 0.0;
    }
    let even = |m: f64| m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
    let odd = |m: f64| -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
    let step =
        |n: u32| (if n.is_multiple_of(2) { even(f64::from(n / 2)) } else { odd(f64::from(n / 2)) }, 1.0);
    front / lentz(1.0, (0..TERMS).map(|n| step(n + 1)))
}

/// The continued fraction `first + a1 / (b1 + a2 / (b2 + ...))` for pairs `(a, b)`, by Lentz's method.
fn lentz(first: f64, pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let off_zero = |x: f64| if x.abs() < 1e-300 { 1e-300 } else { x };
    let (mut value, mut c, mut d) = (off_zero(first), off_zero(first), 0.0);
    for (a, b) in pairs {
        d = 1.0 / off_zero(b + a * d);
        c = off_zero(b + a / c);
        value *= c * d;
        if (c * d - 1.0).abs() < 2.0 * f64::EPSILON {
            break;
        }
    }
    value
}

/// Where a function that falls from 0 to `high` reaches `level`, by halving.
fn where_falls_to(level: f64, mut high: f64, falls: impl Fn(f64) -> f64) -> f64 {
    let mut low = 0.0;
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        *(if falls(middle) > level { &mut low } else { &mut high }) = middle;
    }
    high
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;
    use crate::goldens;

    fn check(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-9 * expected.abs(), "{got:e} is not {expected:e}");
    }

    #[test]
    fn agrees_with_scipy_down_to_the_smallest() {
        let Some(golden) = goldens::json("goldens/ab_tests.json") else { return };
        let rows = |name: &str| -> Vec<Vec<f64>> {
            serde_json::from_value(golden["tail_functions"][name].clone()).unwrap()
        };
        rows("norm_sf").iter().for_each(|row| check(normal_sf(row[0]), row[1]));
        rows("chi2_sf").iter().for_each(|row| check(chi_square_sf(row[0], row[1]), row[2]));
    }

    #[test]
    fn quantiles_undo_survival() {
        for p in [1e-12, 0.025, 0.2, 0.5, 0.8, 0.975, 0.9999] {
            check(normal_sf(-normal_quantile(p)), p);
        }
        check(normal_quantile(0.975), Z95);
        for (freedom, p) in [(1.0, 0.95), (9.0, 0.95), (1023.0, 0.5)] {
            check(1.0 - chi_square_sf(chi_square_quantile(p, freedom), freedom), p);
        }
    }

    #[test]
    fn t_is_cauchy_at_one_degree_and_normal_at_many() {
        check(t_sf(1.0, 1.0), 0.25);
        check(t_sf(-1.0, 1.0), 0.75);
        check(t_sf(1e100, 1.0), 1.0 / (PI * 1e100));
        for freedom in [1e3, 1e4, 1e6] {
            let close = (t_sf(2.0, freedom) / normal_sf(2.0) - 1.0) * freedom;
            assert!((0.0..10.0).contains(&close), "{freedom}: {close}");
        }
        check(t_sf(2.0, f64::INFINITY), normal_sf(2.0));
    }

    #[test]
    fn nothing_outside_the_domain_panics_or_hangs() {
        #[rustfmt::skip]
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 5e-324, 1e-9, 1.0, 1e6, 1e7, 1e300, f64::MAX];
        for x in odd {
            for freedom in odd {
                let answers = [chi_square_sf(x, freedom), t_sf(x, freedom), normal_sf(x), two_sided(x)];
                assert!(
                    answers.iter().all(|p| p.is_nan() || (-1e-15..=1.0).contains(p)),
                    "{x} {freedom}: {answers:?}"
                );
                assert!(chi_square_quantile(x, freedom).is_nan() || (0.0..1.0).contains(&x));
            }
            assert_eq!(ln_gamma(x).is_nan(), x.is_nan() || x <= 0.0);
            assert_eq!(normal_quantile(x).is_nan(), !(0.0..=1.0).contains(&x));
        }
        assert_eq!(
            [chi_square_sf(f64::INFINITY, 5.0), t_sf(f64::INFINITY, 5.0), normal_sf(f64::INFINITY)],
            [0.0; 3]
        );
        check(ln_gamma(10_001.0), 82_108.927_836_814_35);
        assert!(normal_sf(f64::NAN).is_nan() && chi_square_sf(f64::NAN, 3.0).is_nan());
    }
}
