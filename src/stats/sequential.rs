//! Tests that may be looked at while they run, at every moment and as often as one likes.
//!
//! The normal mixture: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021) around a
//! difference, sharpest near a chosen sample size. mSPRT is the same with `tau^2 = rho^2 N V`. Beside it the exact e-value
//! of Turner, Ly and Grunwald (2024) for pairs of one lead from either arm, as a second opinion.

use super::proportions::Proportion;

/// A difference seen, and how sure its estimate is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The estimate.
    pub value: f64,
    /// Variance of the estimate itself, not of one lead.
    pub variance: f64,
    /// Leads it rests on, of both arms; pairs count once.
    pub leads: u64,
}

/// The normal mixture, tuned to a chance of false alarm and a sample size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    alpha: f64,
    rho: f64,
}

impl Mixture {
    /// `alpha` (0..1, exclusive) is the chance of a false alarm over all looks together; the test is sharpest at `leads`.
    pub fn new(alpha: f64, leads: u64) -> Self {
        let log = -2.0 * alpha.ln();
        Self { alpha, rho: ((log + (log + 1.0).ln()) / leads as f64).sqrt() }
    }

    /// The width of the mixture, per square root of a lead.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// The two-sided, always valid p, 0..=1. 1 where nothing can be told yet: without leads or without variance.
    pub fn p(&self, seen: &Difference) -> f64 {
        let Some(spread) = self.spread(seen) else { return 1.0 };
        let exponent =
            self.rho.powi(2) * seen.value.powi(2) * seen.leads as f64 / (2.0 * seen.variance * spread);
        (spread.sqrt() * (-exponent).exp()).min(1.0)
    }

    /// The interval that holds the true difference at all looks together with chance 1 - alpha; all numbers where nothing
    /// can be told yet.
    pub fn interval(&self, seen: &Difference) -> (f64, f64) {
        let Some(spread) = self.spread(seen) else { return (f64::NEG_INFINITY, f64::INFINITY) };
        let scale = 2.0 * spread / (self.rho.powi(2) * seen.leads as f64);
        let half = (seen.variance * scale * (spread.sqrt() / self.alpha).ln()).sqrt();
        (seen.value - half, seen.value + half)
    }

    /// `N rho^2 + 1`.
    fn spread(&self, seen: &Difference) -> Option<f64> {
        let is_told = seen.leads > 0 && seen.variance > 0.0 && seen.value.is_finite();
        is_told.then(|| seen.leads as f64 * self.rho.powi(2) + 1.0)
    }
}

/// Conversion of `b` less that of `a`. NaN where an arm is empty.
pub fn conversion(a: Proportion, b: Proportion) -> Difference {
    Difference { value: b.rate() - a.rate(), variance: a.variance() + b.variance(), leads: a.leads + b.leads }
}

/// Conversion of `b` less that of `a` over several strata, each a pair of arms with a share of its own: every stratum is
/// compared within itself and weighs `na nb / (na + nb)` (Mantel and Haenszel), so that a rate that moves while the shares
/// do is no difference. Strata with an empty arm are left out; NaN where that leaves none.
pub fn stratified(strata: impl IntoIterator<Item = (Proportion, Proportion)>) -> Difference {
    let (mut value, mut variance, mut weights, mut leads) = (0.0, 0.0, 0.0, 0);
    for (a, b) in strata.into_iter().filter(|(a, b)| a.leads > 0 && b.leads > 0) {
        let weight = a.leads as f64 * b.leads as f64 / (a.leads + b.leads) as f64;
        let seen = conversion(a, b);
        value += weight * seen.value;
        variance += weight * weight * seen.variance;
        weights += weight;
        leads += seen.leads;
    }
    Difference { value: value / weights, variance: variance / (weights * weights), leads }
}

/// ln of the likelihood ratio of mSPRT with a fixed `tau`: above `ln(1 / alpha)` the difference is there. 0 where nothing
/// can be told yet.
pub fn log_msprt(seen: &Difference, tau: f64) -> f64 {
    let (v, t) = (seen.variance, tau * tau);
    match v > 0.0 && seen.value.is_finite() {
        true => 0.5 * (v / (v + t)).ln() + t * seen.value.powi(2) / (2.0 * v * (v + t)),
        false => 0.0,
    }
}

/// The exact e-value of a stream of blocks, each of one lead of either arm: at `e >= 1 / alpha` the arms differ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EValue {
    blocks: u64,
    conversions: (u64, u64),
    log: f64,
}

impl EValue {
    /// What the Beta prior adds to both counts of an arm.
    const PRIOR: f64 = 0.18;

    /// One more block: whether the lead of `a` converted, and that of `b`.
    pub fn count(&mut self, a: bool, b: bool) {
        let guess =
            |conversions: u64| (conversions as f64 + Self::PRIOR) / (self.blocks as f64 + 2.0 * Self::PRIOR);
        let (theta_a, theta_b) = (guess(self.conversions.0), guess(self.conversions.1));
        let same = (theta_a + theta_b) / 2.0;
        let likely = |theta: f64, converted: bool| if converted { theta } else { 1.0 - theta };
        self.log += (likely(theta_a, a) * likely(theta_b, b) / (likely(same, a) * likely(same, b))).ln();
        self.blocks += 1;
        self.conversions.0 += u64::from(a);
        self.conversions.1 += u64::from(b);
    }

    /// ln of the e-value.
    pub fn log(&self) -> f64 {
        self.log
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::goldens;

    #[track_caller]
    fn close(got: f64, want: &Value) {
        let want = want.as_f64().unwrap();
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{got} is not {want}");
    }

    fn arm(counts: &Value) -> Proportion {
        Proportion { conversions: counts[0].as_u64().unwrap(), leads: counts[1].as_u64().unwrap() }
    }

    #[test]
    fn agrees_with_the_mixture_of_gbstats() {
        let Some(golden) = goldens::json("goldens/sequential_normal_mixture.json") else { return };
        for case in golden["proportions"].as_array().unwrap() {
            let mixture = Mixture::new(case["alpha"].as_f64().unwrap(), case["n_star"].as_u64().unwrap());
            let (a, b) = (arm(&case["control"]), arm(&case["treatment"]));
            let seen = conversion(a, b);
            close(mixture.rho(), &case["rho"]);
            close(seen.value, &case["delta"]);
            close(seen.variance, &case["variance"]);
            close(mixture.p(&seen), &case["p"]);
            let (low, high) = mixture.interval(&seen);
            close(low, &case["ci"][0]);
            close(high, &case["ci"][1]);
            // One stratum is the plain comparison, and an empty one changes nothing.
            let stratum = stratified([(a, b), (Proportion::default(), b)]);
            assert!(
                (stratum.value - seen.value).abs() < 1e-15
                    && (stratum.variance - seen.variance).abs() < 1e-15
            );
        }
    }

    #[test]
    fn agrees_on_pairs() {
        let Some(golden) = goldens::json("goldens/sequential_normal_mixture.json") else { return };
        let paired = &golden["paired"];
        let numbers = |key: &str| -> Vec<f64> {
            paired[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let loss = |p: f64, y: f64| -(if y > 0.5 { p } else { 1.0 - p }).clamp(1e-15, 1.0).ln();
        let scores = numbers("p_champion").into_iter().zip(numbers("p_challenger"));
        let rows = numbers("y").into_iter().zip(scores);
        let differences: Vec<f64> = rows.map(|(y, (a, b))| loss(a, y) - loss(b, y)).collect();
        let mixture = Mixture::new(0.05, 2000);
        close(mixture.rho(), &paired["rho"]);
        for checkpoint in paired["checkpoints"].as_array().unwrap() {
            let leads = checkpoint["n"].as_u64().unwrap();
            let n = leads as f64;
            let seen = &differences[..leads as usize];
            let mean = seen.iter().sum::<f64>() / n;
            let variance = seen.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
            close(mean, &checkpoint["mean"]);
            close(mixture.p(&Difference { value: mean, variance: variance / n, leads }), &checkpoint["p"]);
        }
    }

    #[test]
    fn agrees_with_msprt_and_the_exact_e_value() {
        let Some(golden) = goldens::json("goldens/mlops/sequential_ab.json") else { return };
        let (inputs, expected) = (&golden["inputs"], &golden["expected"]);
        let tau = inputs["tau"].as_f64().unwrap();
        let (mut exact, mut most) = (EValue::default(), 0.0_f64);
        let (mut a, mut b) = (Proportion::default(), Proportion::default());
        let checkpoints: Vec<_> =
            inputs["checkpoints"].as_array().unwrap().iter().map(Value::as_u64).collect();
        for block in inputs["stream_control_treatment"].as_array().unwrap() {
            let converted = [&block[0], &block[1]].map(|lead| lead.as_u64() == Some(1));
            exact.count(converted[0], converted[1]);
            most = most.max(exact.log());
            for (arm, converted) in [&mut a, &mut b].into_iter().zip(converted) {
                arm.leads += 1;
                arm.conversions += u64::from(converted);
            }
            if let Some(at) = checkpoints.iter().position(|checkpoint| *checkpoint == Some(a.leads)) {
                close(exact.log(), &expected["log_e_value"][at]);
                close(log_msprt(&conversion(a, b), tau), &expected["msprt_log_lambda"][at]);
            }
        }
        close(most, &expected["max_log_e"]);
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        let mixture = Mixture::new(0.05, 5000);
        for (a, b) in [(0, 0), (0, 100), (100, 100)] {
            let seen =
                conversion(Proportion { leads: a, conversions: a }, Proportion { leads: b, conversions: b });
            assert_eq!((mixture.p(&seen), log_msprt(&seen, 0.03)), (1.0, 0.0));
            assert_eq!(mixture.interval(&seen), (f64::NEG_INFINITY, f64::INFINITY));
        }
        assert_eq!(mixture.p(&stratified([])), 1.0);
    }

    #[test]
    fn strata_keep_a_rate_that_moves_from_looking_like_harm() {
        // 10% converts at first and 2% later, in both arms alike, while the share goes from 10% to 50%.
        let arm = |leads, conversions| Proportion { leads, conversions };
        let strata = [(arm(9000, 900), arm(1000, 100)), (arm(5000, 100), arm(5000, 100))];
        let pooled = conversion(arm(14_000, 1000), arm(6000, 200));
        let mixture = Mixture::new(0.01, 5000);
        assert!(mixture.p(&pooled) < 1e-6);
        assert_eq!(stratified(strata).value, 0.0);
        assert_eq!(mixture.p(&stratified(strata)), 1.0);
    }
}
