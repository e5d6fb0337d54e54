//! The never-worse gate: what a version must show before it serves all, and what will change when it does.

use super::{
    told::{Told, e6, grouped, micros, percent, whole},
    verdict::{self, Quality, paired},
};
use crate::{
    config::Rollout,
    lead::{Cutoffs, Histogram, Labelled, Pairs},
    stats::Z95,
};

/// Every check of the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// In the order they are told.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Such as `"quality"`.
    pub name: &'static str,
    /// Whether it stands in the way.
    pub is_passed: bool,
    /// What was found.
    pub told: Told,
}

impl Gate {
    /// Whether nothing stands in the way.
    pub fn is_passed(&self) -> bool {
        self.checks.iter().all(|check| check.is_passed)
    }

    /// What stands in the way, or else what all checks found.
    pub fn told(&self) -> Told {
        let is_passed = self.is_passed();
        let named = self.checks.iter().filter(|check| is_passed || !check.is_passed);
        let said: Vec<_> = named.map(|check| check.told.said.as_str()).collect();
        let numbers = self.checks.iter().flat_map(|check| check.told.numbers.clone());
        Told::new(said.join("; "), numbers)
    }
}

/// The gate before production. `goldens`: the version's golden samples came out as they should. `is_override`: a person
/// answers for the quality, with a reason, where the evidence does not.
pub fn gate(goldens: bool, pairs: &Pairs, is_override: bool, policy: &Rollout) -> Gate {
    let quality = paired(&pairs.labelled, &policy.paired);
    let mut told = quality.told();
    if is_override && quality.ruling != Quality::Better {
        told.said.push_str(", which was overridden");
    }
    let told_goldens = Told::new(if goldens { "golden samples hold" } else { "a golden sample is off" }, []);
    let p99 = &pairs.p99_ns;
    let latency = Told::new(
        format!("scoring takes {} at p99, the champion {}", micros(p99.challenger), micros(p99.champion)),
        [("p99_ns", whole(p99.challenger)), ("champion_p99_ns", whole(p99.champion))],
    );
    let (changed, graded) = (pairs.changed(), pairs.graded());
    let churn = Told::new(
        format!("{} of {} leads change grade", grouped(changed), grouped(graded)),
        [("changed", whole(changed)), ("graded", whole(graded))],
    );
    Gate {
        checks: vec![
            Check { name: "goldens", is_passed: goldens, told: told_goldens },
            Check { name: "quality", is_passed: is_override || quality.ruling == Quality::Better, told },
            calibration(&pairs.labelled, is_override),
            Check { name: "latency", is_passed: verdict::is_fast(p99, policy), told: latency },
            // How many change is for people to know; grades may well change for the better.
            Check { name: "grades", is_passed: true, told: churn },
        ],
    }
}

/// Calibration in the large: wins over expected wins. The version may be off by as much as the champion is, or by what
/// chance does to so many wins.
fn calibration(labelled: &Labelled, is_override: bool) -> Check {
    let won = labelled.positives as f64;
    let off = |expected: f64| if expected > 0.0 { (won / expected - 1.0).abs() } else { f64::INFINITY };
    let (here, there) = (off(labelled.expected.challenger), off(labelled.expected.champion));
    // The share of wins varies by 1/sqrt(wins); without a win nothing is known, and the quality check says so.
    let noise = if won > 0.0 { Z95 / won.sqrt() } else { f64::INFINITY };
    let ratio = |expected: f64| if expected > 0.0 { won / expected } else { 0.0 };
    let said = format!(
        "{} wins where it expects {:.0} and the champion {:.0}",
        grouped(labelled.positives),
        labelled.expected.challenger,
        labelled.expected.champion
    );
    let told = Told::new(
        said,
        [
            ("observed_over_expected_e6", e6(ratio(labelled.expected.challenger))),
            ("champion_observed_over_expected_e6", e6(ratio(labelled.expected.champion))),
        ],
    );
    Check { name: "calibration", is_passed: is_override || here <= there.max(noise), told }
}

/// Cut-offs at which the challenger gives A, B, C and D to the shares of leads that the champion does with `cutoffs`; the
/// very same where either has scored nothing. Exact to a bin, which is less than a thousandth.
pub fn quantile_cutoffs(champion: &Histogram, challenger: &Histogram, cutoffs: Cutoffs) -> Cutoffs {
    let (m, n) = (champion.total(), challenger.total());
    if m == 0 || n == 0 {
        return cutoffs;
    }
    let width = 1.0 / champion.bins().len() as f64;
    let map = |cutoff: f32| {
        let bin = (f64::from(cutoff) / width).round() as usize;
        let above: u64 = champion.bins().iter().skip(bin).sum();
        let wanted = above as f64 / m as f64 * n as f64;
        // From the top down, the first edge that as many lie above.
        let mut held = 0.0;
        let bins = challenger.bins().iter().enumerate().rev();
        let mut edges = bins.map(|(bin, count)| {
            let before = held;
            held += *count as f64;
            (bin, before, held)
        });
        let edge = edges.find(|(_, _, held)| *held > wanted);
        // Whichever edge of that bin is closer.
        let edge = edge.map_or(0, |(bin, before, held)| bin + usize::from(wanted - before < held - wanted));
        (edge as f64 * width) as f32
    };
    let (a, b, c) = (map(cutoffs.a), map(cutoffs.b), map(cutoffs.c));
    Cutoffs { a, b: b.min(a), c: c.min(b).min(a) }
}

/// How many of a hundred leads get which grade, in words: `A 10.00%, B 20.00%, C 30.00%, D 40.00%`.
pub fn volumes(scores: &Histogram, cutoffs: Cutoffs) -> String {
    let bins = scores.bins().len();
    let above =
        |cutoff: f32| -> u64 { scores.bins().iter().skip((cutoff * bins as f32).round() as usize).sum() };
    let (all, a, b, c) = (scores.total(), above(cutoffs.a), above(cutoffs.b), above(cutoffs.c));
    let share = |leads: u64| percent(leads as f64 / all.max(1) as f64);
    format!("A {}, B {}, C {}, D {}", share(a), share(b - a), share(c - b), share(all - c))
}
