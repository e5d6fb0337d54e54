//! Two conversion rates, compared once and after the planned end. Never look at these while a test runs: a z-test looked at
//! every 50 leads finds a difference between identical arms in four runs of ten.

use std::iter::successors;

use super::tail::{Z95, chi_square_sf, normal_quantile, normal_sf, two_sided};

/// More leads than this Fisher's sum is not taken over; the normal test is as good there.
const MOST_FOR_FISHER: u64 = 1_000_000_000;

/// A table this much rarer than the likeliest is left out of Fisher's sum. Not 0: the least floats are rounded up for ever.
const NIL: f64 = 1e-300;

/// Conversions out of leads. With more conversions than leads, as with no leads, every answer is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proportion {
    /// Leads that converted.
    pub conversions: u64,
    /// All leads.
    pub leads: u64,
}

impl Proportion {
    /// Conversions per lead, 0..=1.
    pub fn rate(&self) -> f64 {
        let (k, n) = self.counts();
        if k <= n { k / n } else { f64::NAN }
    }

    /// Wilson's 95% interval of the rate (1927), within 0..=1.
    pub fn wilson(&self) -> [f64; 2] {
        let ((_, n), p) = (self.counts(), self.rate());
        let square = Z95 * Z95;
        let centre = p + square / (2.0 * n);
        let half = Z95 * (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt();
        [centre - half, centre + half].map(|end| (end / (1.0 + square / n)).clamp(0.0, 1.0))
    }

    fn counts(&self) -> (f64, f64) {
        (self.conversions as f64, self.leads as f64)
    }

    /// Variance of the rate.
    fn variance(&self) -> f64 {
        self.rate() * (1.0 - self.rate()) / self.leads as f64
    }
}

/// Two arms, the second of which may be better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoProportions {
    /// The arm that is compared with.
    pub control: Proportion,
    /// The arm that is judged.
    pub treatment: Proportion,
}

impl TwoProportions {
    /// How much higher the treatment's rate is, -1..=1.
    pub fn difference(&self) -> f64 {
        self.treatment.rate() - self.control.rate()
    }

    /// How much higher relative to the control's rate: 0.1 is a tenth better.
    pub fn relative_lift(&self) -> f64 {
        self.treatment.rate() / self.control.rate() - 1.0
    }

    /// The difference in standard errors of the pooled rate. NaN where nothing or everything converts.
    pub fn z(&self) -> f64 {
        let ((k1, n1), (k2, n2)) = (self.control.counts(), self.treatment.counts());
        let pooled = (k1 + k2) / (n1 + n2);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
        if deviation > 0.0 { self.difference() / deviation } else { f64::NAN }
    }

    /// How often equal arms differ this much, 0..=1.
    pub fn p_two_sided(&self) -> f64 {
        two_sided(self.z())
    }

    /// How often a treatment that is no better looks this good, 0..=1.
    pub fn p_greater(&self) -> f64 {
        normal_sf(self.z())
    }

    /// Wald's 95% interval of the difference; too narrow for small counts.
    pub fn wald(&self) -> [f64; 2] {
        let half = Z95 * (self.control.variance() + self.treatment.variance()).sqrt();
        [self.difference() - half, self.difference() + half]
    }

    /// Newcombe's 95% interval of the difference (1998, method 10), from the Wilson intervals of both.
    pub fn newcombe(&self) -> [f64; 2] {
        let (p1, p2) = (self.control.rate(), self.treatment.rate());
        let ([low1, high1], [low2, high2]) = (self.control.wilson(), self.treatment.wilson());
        [self.difference() - (p2 - low2).hypot(high1 - p1), self.difference() + (high2 - p2).hypot(p1 - low1)]
    }

    /// Katz's 95% interval of the relative lift (1978). NaN where an arm has no conversions.
    pub fn katz(&self) -> [f64; 2] {
        let ((k1, n1), (k2, n2)) = (self.control.counts(), self.treatment.counts());
        let ratio = 1.0 + self.relative_lift();
        let half = Z95 * (1.0 / k1 - 1.0 / n1 + 1.0 / k2 - 1.0 / n2).sqrt();
        [-half, half]
            .map(|step| ratio * step.exp() - 1.0)
            .map(|end| if end.is_finite() { end } else { f64::NAN })
    }

    /// p of the chi-square test with Yates's correction, 0..=1. NaN where nothing or everything converts.
    pub fn chi_square_yates(&self) -> f64 {
        let ((_, n1), (_, n2)) = (self.control.counts(), self.treatment.counts());
        let (k1, k2) = (self.control.rate() * n1, self.treatment.rate() * n2);
        let rate = (k1 + k2) / (n1 + n2);
        let gap = (k1 - n1 * rate).abs();
        // Every cell is off by the same gap; the correction never carries it past 0.
        let corrected = (gap - gap.min(0.5)).powi(2);
        let cells = [n1 * rate, n1 * (1.0 - rate), n2 * rate, n2 * (1.0 - rate)];
        chi_square_sf(cells.iter().map(|expected| corrected / expected).sum(), 1.0)
    }

    /// p of Fisher's exact test, two-sided: the tables with these margins that are no likelier than this one. NaN above a
    /// thousand million leads. O(standard deviations of the table), whatever the counts.
    pub fn fisher(&self) -> f64 {
        let arms = [self.control, self.treatment];
        if !arms.iter().all(|arm| arm.conversions <= arm.leads && (1..=MOST_FOR_FISHER).contains(&arm.leads))
        {
            return f64::NAN;
        }
        let weights = self.table_weights();
        let seen =
            weights.clone().find(|(x, _)| *x == self.control.conversions).map_or(0.0, |(_, weight)| weight);
        // Tables as likely as this one may come out a little likelier.
        let (rarer, all) = weights.fold((0.0, 0.0), |(rarer, all), (_, weight)| {
            (if weight <= seen * (1.0 + 1e-7) { rarer + weight } else { rarer }, all + weight)
        });
        rarer / all
    }

    /// The conversions that the control could have with these margins, and how likely relative to the likeliest, so that
    /// nothing overflows and no factorial is needed. It ends on each side where the weights no longer count.
    fn table_weights(&self) -> impl Iterator<Item = (u64, f64)> + Clone {
        let (n1, n2) = (self.control.leads, self.treatment.leads);
        let drawn = self.control.conversions + self.treatment.conversions;
        let (least, most) = (drawn.saturating_sub(n2), drawn.min(n1));
        let mode = ((u128::from(drawn) + 1) * (u128::from(n1) + 1) / (u128::from(n1 + n2) + 2)) as u64;
        let mode = mode.clamp(least, most);
        let ratio = move |x: u64| {
            let [x, drawn, n1, n2] = [x, drawn, n1, n2].map(|count| count as f64);
            (n1 - x) * (drawn - x) / ((x + 1.0) * (n2 - drawn + x + 1.0))
        };
        let up = successors(Some((mode, 1.0)), move |(x, weight)| {
            (*x < most).then(|| (x + 1, weight * ratio(*x))).filter(|(_, weight)| *weight > NIL)
        });
        let down = successors(Some((mode, 1.0)), move |(x, weight)| {
            (*x > least).then(|| (x - 1, weight / ratio(x - 1))).filter(|(_, weight)| *weight > NIL)
        });
        up.chain(down.skip(1))
    }
}

/// Leads an arm needs to tell the rate `from` from the rate `to` at two-sided `alpha` with `power`, by the arcsine
/// transformation (Cohen 1988). Not rounded. NaN where a rate is outside 0..=1, infinite where they are equal.
pub fn leads_per_arm(from: f64, to: f64, alpha: f64, power: f64) -> f64 {
    let effect = 2.0 * (to.sqrt().asin() - from.sqrt().asin());
    let deviates = normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power);
    2.0 * (deviates / effect).powi(2)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        goldens,
        stats::check::{close, near},
    };

    fn arms(k1: u64, n1: u64, k2: u64, n2: u64) -> TwoProportions {
        TwoProportions {
            control: Proportion { conversions: k1, leads: n1 },
            treatment: Proportion { conversions: k2, leads: n2 },
        }
    }

    fn check_interval(got: [f64; 2], expected: &Value) {
        close(got[0], &expected[0]);
        close(got[1], &expected[1]);
    }

    #[test]
    fn agrees_with_statsmodels_on_six_pairs() {
        let Some(golden) = goldens::json("goldens/ab_tests.json") else { return };
        for case in golden["two_proportions"].as_array().unwrap() {
            let [k1, n1, k2, n2] = ["k1", "n1", "k2", "n2"].map(|name| case[name].as_u64().unwrap());
            let test = arms(k1, n1, k2, n2);
            close(test.difference(), &case["diff"]);
            close(test.z(), &case["z_pooled"]);
            close(test.p_two_sided(), &case["p_two_sided"]);
            close(test.p_greater(), &case["p_greater"]);
            check_interval(test.control.wilson(), &case["wilson95_1"]);
            check_interval(test.treatment.wilson(), &case["wilson95_2"]);
            check_interval(test.newcombe(), &case["newcombe95"]);
            close(test.fisher(), &case["fisher_p"]);
            close(test.chi_square_yates(), &case["chi2_yates_p"]);
        }
    }

    #[test]
    fn agrees_on_an_ab_test_and_its_plan() {
        let Some(golden) = goldens::json("goldens/mlops/ab_two_proportion.json") else { return };
        let count = |arm: &str, i: usize| golden["inputs"][arm][i].as_u64().unwrap();
        let test =
            arms(count("control", 0), count("control", 1), count("treatment", 0), count("treatment", 1));
        let expected = &golden["expected"];
        close(test.z(), &expected["z_pooled"]);
        close(test.p_two_sided(), &expected["p_two_sided"]);
        close(test.difference(), &expected["diff"]);
        check_interval(test.wald(), &expected["ci95_wald"]);
        check_interval(test.newcombe(), &expected["ci95_newcombe"]);
        check_interval(test.control.wilson(), &expected["wilson95_control"]);
        close(test.fisher(), &expected["fisher_p"]);
        close(test.relative_lift(), &expected["rel_lift"]);
        check_interval(test.katz(), &expected["rel_lift_ci95_katz"]);
        // The golden's solver also counts the far tail, which is a millionth.
        near(
            leads_per_arm(0.05, 0.055, 0.05, 0.8),
            &expected["n_per_arm_5.0_to_5.5_pct_80pct_power_arcsine"],
            1e-5,
        );
    }

    #[test]
    fn fisher_sums_the_tables_that_are_no_likelier() {
        let check = |test: TwoProportions, expected: f64| close(test.fisher(), &Value::from(expected));
        check(arms(0, 3, 3, 3), 0.1);
        check(arms(1, 3, 2, 3), 1.0);
        check(arms(0, 5, 0, 7), 1.0);
        check(arms(5, 5, 7, 7), 1.0);
        check(arms(0, 1_000_000_000, 1_000_000_000, 1_000_000_000), 0.0);
        // Two tables of C(40, 20): each arm takes all.
        check(arms(0, 20, 20, 20), 2.0 / 137_846_528_820.0);
    }

    #[test]
    fn what_cannot_be_is_no_number() {
        for test in [arms(0, 0, 0, 0), arms(5, 3, 1, 9), arms(1, 9, u64::MAX, 3), arms(1, 9, 0, 0)] {
            let answers =
                [test.difference(), test.z(), test.p_two_sided(), test.wald()[0], test.newcombe()[1]];
            assert!(answers.iter().all(|answer| answer.is_nan()), "{test:?}: {answers:?}");
            assert!(
                [test.fisher(), test.chi_square_yates(), test.katz()[0]].iter().all(|p| p.is_nan()),
                "{test:?}"
            );
        }
        assert!(arms(0, 5, 0, 5).z().is_nan() && arms(0, 5, 0, 5).chi_square_yates().is_nan());
        assert!(arms(0, 5, 3, 5).katz().iter().all(|end| end.is_nan()));
        assert!(arms(1, u64::MAX, 1, u64::MAX).fisher().is_nan());
        assert!(
            leads_per_arm(-0.1, 0.5, 0.05, 0.8).is_nan() && leads_per_arm(0.5, f64::NAN, 0.05, 0.8).is_nan()
        );
        assert_eq!(leads_per_arm(0.5, 0.5, 0.05, 0.8), f64::INFINITY);
    }
}
