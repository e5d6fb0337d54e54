//! How far a feature or a score has moved: the population stability index.
//!
//! Bins come from the reference, never from the present. PSI without drift is not 0 but about `(B - 1)(1/n + 1/m)`: with a
//! hundred rows and twenty bins it looks like an alarm in a third of windows. So that bias is subtracted before judging.

use super::tail::chi_square_quantile;

/// What stands for a share of 0, on both sides; without it one empty bin would be infinite.
const FLOOR: f64 = 1e-4;

/// PSI over bins as it is judged, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psi {
    /// What is judged: the raw value less the bias, 0 at the least.
    pub value: f64,
    /// The sum over bins.
    pub raw: f64,
    /// What the raw value is on average without drift.
    pub bias: f64,
    /// What the raw value stays below in 95 of 100 windows without drift (Yurdakul 2018).
    pub null_p95: f64,
}

impl Psi {
    /// From counts of the same bins. Bins empty on both sides do not count as bins. `None` when a side has no rows.
    pub fn new(reference: &[u64], current: &[u64]) -> Option<Self> {
        let raw = psi(reference, current)?;
        let [m, n] = [reference, current].map(|counts| counts.iter().map(|count| *count as f64).sum::<f64>());
        let bins = longest(reference, current).filter(|(p, q)| *p > 0 || *q > 0).count();
        let freedom = bins.saturating_sub(1) as f64;
        let bias = freedom * (1.0 / n + 1.0 / m);
        let null_p95 =
            if freedom > 0.0 { chi_square_quantile(0.95, freedom) * (1.0 / n + 1.0 / m) } else { 0.0 };
        Some(Self { value: (raw - bias).max(0.0), raw, bias, null_p95 })
    }
}

/// The raw population stability index, natural log: the sum of `(q - p) ln(q / p)` over shares, a share of 0 taken as 1e-4
/// (Siddiqi 2006). `None` when a side has no rows.
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let [m, n] = [reference, current].map(|counts| counts.iter().map(|count| *count as f64).sum::<f64>());
    let share = |count: u64, of: f64| if count == 0 { FLOOR } else { count as f64 / of };
    let term = |(p, q): (u64, u64)| {
        let (p, q) = (share(p, m), share(q, n));
        (q - p) * (q / p).ln()
    };
    (m > 0.0 && n > 0.0).then(|| longest(reference, current).map(term).sum())
}

/// Both counts of every bin; what one side lacks is 0.
fn longest(reference: &[u64], current: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let at = |counts: &[u64], i: usize| counts.get(i).copied().unwrap_or(0);
    (0..reference.len().max(current.len())).map(move |i| (at(reference, i), at(current, i)))
}

/// How many values fall below the edges, in each part between them (`[e0, e1], (e1, e2], ...`) and above. Without the two outer
/// bins a reference that was constant hides every drift; its one edge `c` gives `< c`, `= c`, `> c`. NaN is counted
/// nowhere: how many are missing is a bin that the caller adds.
pub fn counts_with_outside(values: &[f64], edges: &[f64]) -> Vec<u64> {
    let (Some(first), Some(last)) = (edges.first(), edges.last()) else { return Vec::new() };
    let mut counts = vec![0; edges.len().max(2) + 1];
    let above = counts.len() - 1;
    for value in values.iter().filter(|value| !value.is_nan()) {
        let bin = match value {
            value if value < first => 0,
            value if value > last => above,
            value => edges.partition_point(|edge| edge < value).max(1),
        };
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        goldens,
        stats::{
            check::{close, near, numbers},
            counts, edges, sorted,
        },
    };

    /// Both forms of PSI between two samples.
    fn check(reference: &[f64], current: &[f64], expect: &Value) {
        let edges = edges(&sorted(reference.to_vec()), 10);
        let plain = [reference, current].map(|values| counts(values, &edges));
        close(psi(&plain[0], &plain[1]).unwrap(), &expect["psi_eps"]);
        let outside = [reference, current].map(|values| counts_with_outside(values, &edges));
        assert_eq!(outside[0], whole(&expect["oor_ref_counts"]));
        assert_eq!(outside[1], whole(&expect["oor_cur_counts"]));
        close(psi(&outside[0], &outside[1]).unwrap(), &expect["psi_oor"]);
    }

    fn whole(value: &Value) -> Vec<u64> {
        value.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect()
    }

    #[test]
    fn agrees_on_scores_of_a_model_that_ages() {
        let Some(golden) = goldens::json("goldens/score_drift.json") else { return };
        let scores: Vec<Vec<f64>> = golden["scores"].as_array().unwrap().iter().map(numbers).collect();
        for (current, window) in scores[1..].iter().zip(["w2", "w3", "w4", "w5", "w6", "w7", "w8"]) {
            check(&scores[0], current, &golden["vs"][window]);
        }
    }

    #[test]
    fn agrees_on_awkward_inputs() {
        let Some(golden) = goldens::json("goldens/drift_edge_cases.json") else { return };
        for case in golden["cases"].as_object().unwrap().values() {
            let expect = &case["expect"];
            if case["numeric"] == Value::Bool(true) {
                check(&numbers(&case["ref"]), &numbers(&case["cur"]), expect);
            } else {
                close(
                    psi(&whole(&expect["ref_counts"]), &whole(&expect["cur_counts"])).unwrap(),
                    &expect["psi_eps"],
                );
            }
        }
    }

    #[test]
    fn agrees_on_counts_of_real_features() {
        let Some(golden) = goldens::json("goldens/drift.json") else { return };
        for expect in golden["features"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|f| f["vs"].as_object().unwrap().values())
        {
            for (kind, name) in [("", "psi_eps"), ("oor_", "psi_oor")]
                .into_iter()
                .filter(|(_, name)| !expect[*name].is_null())
            {
                let [a, b] = ["ref", "cur"].map(|side| whole(&expect[format!("{kind}{side}_counts")]));
                close(psi(&a, &b).unwrap(), &expect[name]);
            }
        }
    }

    #[test]
    fn subtracts_what_chance_alone_gives() {
        let Some(golden) = goldens::json("goldens/mlops/psi_scores.json") else { return };
        let [reference, current] = ["ref", "cur"].map(|name| numbers(&golden["inputs"][name]));
        let edges = edges(&sorted(reference.clone()), 10);
        let expected = numbers(&golden["expected"]["edges"]);
        assert!(edges[1..10].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12));
        let psi = Psi::new(&counts(&reference, &edges), &counts(&current, &edges)).unwrap();
        close(psi.raw, &golden["expected"]["psi"]);
        close(psi.bias, &golden["expected"]["psi_null_mean_approx"]);
        near(psi.value, &Value::from(psi.raw - 0.0093), 1e-9);
        // chi-square of nine degrees stays below 16.919 in 95 of 100.
        near(psi.null_p95, &Value::from(16.918_977_604_620_45 * (1.0 / 5000.0 + 1.0 / 1200.0)), 1e-9);
    }

    #[test]
    fn nothing_to_compare_is_nothing() {
        assert_eq!([psi(&[], &[1]), psi(&[1], &[]), psi(&[0], &[1])], [None; 3]);
        assert_eq!(Psi::new(&[5], &[7]).map(|psi| (psi.raw, psi.bias, psi.null_p95)), Some((0.0, 0.0, 0.0)));
        let same = Psi::new(&[50, 50, 0], &[50, 50]).unwrap();
        assert_eq!((same.value, same.raw, same.bias), (0.0, 0.0, 0.02));
        assert_eq!(psi(&[10, 10], &[10, 10, 0]), psi(&[10, 10], &[10, 10]));
        assert!(psi(&[u64::MAX, u64::MAX], &[1, 1]).is_some());
        assert!(counts_with_outside(&[1.0], &[]).is_empty());
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 2.0];
        assert_eq!(counts_with_outside(&odd, &[1.0, 2.0]), [1, 2, 1]);
        assert_eq!(counts_with_outside(&odd, &[1.0]), [1, 1, 2]);
    }
}
