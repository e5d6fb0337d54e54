//! The never-worse gate: what a version must show before it serves all, and what will change when it does.

use super::{
    life::{Experiment, ModelLife},
    orders::Grounds,
    told::{Told, e6, grouped, micros, percent, whole},
    verdict::{self, ConversionVerdict, Quality, paired},
};
use crate::{
    config::Rollout,
    lead::{Cutoffs, Evidence, Histogram, Labelled, Pairs},
    stats::Z95,
};

/// Every check of the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// In the order they are told.
    pub checks: Vec<Check>,
    quality: Quality,
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

    /// Whether the version was shown to be better, without anybody's word for it.
    pub fn is_better(&self) -> bool {
        self.quality == Quality::Better
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

/// What speaks for a canary that is to serve all.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it must show.
    pub gate: Gate,
    /// Whether it converts more: for people to know, and for the record.
    pub benefit: ConversionVerdict,
}

impl Case {
    /// The case of a running canary.
    pub fn of(experiment: &Experiment, evidence: &Evidence, is_override: bool, policy: &Rollout) -> Self {
        // A version serves only once its golden samples came out as they should.
        let gate = gate(true, &evidence.pairs, is_override, policy);
        Self { gate, benefit: verdict::conversion(experiment.sound(&evidence.steps), &policy.benefit) }
    }

    /// Both, in words and numbers.
    pub fn told(&self) -> Told {
        let (gate, benefit) = (self.gate.told(), self.benefit.benefit());
        Told::new(format!("{}; {}", gate.said, benefit.said), gate.numbers.into_iter().chain(benefit.numbers))
    }
}

impl Grounds {
    /// What the evidence says for a person who has a version serve all: better where nothing stands in the way, and
    /// nothing where the version is no canary.
    pub fn to_promote(version: &str, life: &ModelLife, evidence: &Evidence, policy: &Rollout) -> Self {
        let canary = life.experiment.as_ref().filter(|experiment| experiment.version == version);
        let Some(experiment) = canary else { return Self::default() };
        let case = Case::of(experiment, evidence, false, policy);
        let told = case.told();
        let better = case.gate.is_passed();
        Self { better, trigger: None, numbers: told.fields(), found: Some(told.said) }
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
        quality: quality.ruling,
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
    let between = |below: u64, above: u64| share(below.saturating_sub(above));
    format!("A {}, B {}, C {}, D {}", share(a), between(b, a), between(c, b), between(all, c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::Sides;

    /// A challenger that is better and true: 800 wins of 10,000 leads.
    fn good() -> Pairs {
        Pairs {
            p99_ns: Sides { champion: 9000, challenger: 12_000 },
            grades: [[500, 100, 0, 0], [50, 1800, 150, 0], [0, 60, 2800, 40], [0, 0, 12, 5472]],
            labelled: Labelled {
                leads: 10_000,
                positives: 800,
                mean: 0.01,
                squares: 400.0,
                expected: Sides { champion: 900.0, challenger: 790.0 },
            },
            ..Pairs::default()
        }
    }

    #[test]
    fn the_gate_names_what_stands_in_the_way() {
        let policy = Rollout::default();
        let check = |goldens, pairs: Pairs, is_override, expected: &str| {
            let gate = gate(goldens, &pairs, is_override, &policy);
            assert_eq!(gate.told().said, expected);
            assert_eq!(gate.is_passed(), expected.contains("change grade"));
        };
        check(
            true,
            good(),
            false,
            "golden samples hold; \
             better on the same 10,000 leads, 800 of them won: log-loss is lower by 0.0100 a lead (p below 0.0001); \
             800 wins where it expects 790 and the champion 900; \
             scoring takes 12 µs at p99, the champion 9 µs; 412 of 10,984 leads change grade",
        );
        check(false, good(), false, "a golden sample is off");
        let mut open = good();
        open.labelled.mean = 0.0001;
        let undecided = "neither better nor worse on 10,000 leads, 800 of them won: log-loss is lower by 0.0001 a lead \
                         (p 1.0000); no number of leads in sight would tell them apart";
        check(true, open.clone(), false, undecided);
        check(
            true,
            open,
            true,
            &format!(
                "golden samples hold; {undecided}, which was overridden; \
                 800 wins where it expects 790 and the champion 900; \
                 scoring takes 12 µs at p99, the champion 9 µs; 412 of 10,984 leads change grade"
            ),
        );
        let mut hopeful = good();
        hopeful.labelled.expected.challenger = 1000.0;
        check(true, hopeful, false, "800 wins where it expects 1000 and the champion 900");
        let slow = Pairs { p99_ns: Sides { champion: 9000, challenger: 1_000_001 }, ..good() };
        check(true, slow, false, "scoring takes 1,001 µs at p99, the champion 9 µs");
        assert!(!gate(true, &Pairs::default(), false, &policy).is_passed());
    }

    #[test]
    fn cutoffs_keep_the_volumes_of_grades() {
        let (mut champion, mut challenger) = (Histogram::default(), Histogram::default());
        for lead in 0..100_000 {
            let score = f64::from(lead) / 100_000.0;
            champion.count(score);
            // The challenger is far less sure of itself, and ranks the same.
            challenger.count(score * score / 4.0);
        }
        let cutoffs = Cutoffs { a: 0.9, b: 0.7, c: 0.4 };
        let mapped = quantile_cutoffs(&champion, &challenger, cutoffs);
        for (got, expected) in [(mapped.a, 0.81 / 4.0), (mapped.b, 0.49 / 4.0), (mapped.c, 0.16 / 4.0)] {
            assert!((got - expected).abs() < 0.001, "{got} is not {expected}");
        }
        assert_eq!(volumes(&champion, cutoffs), "A 9.96%, B 20.02%, C 29.98%, D 40.04%");
        assert_eq!(volumes(&challenger, mapped), "A 9.86%, B 19.98%, C 30.14%, D 40.02%");
        assert_eq!(quantile_cutoffs(&champion, &champion, cutoffs).a, 922.0 / 1024.0);
        assert_eq!(quantile_cutoffs(&champion, &Histogram::default(), cutoffs), cutoffs);
        assert_eq!(volumes(&Histogram::default(), cutoffs), "A 0.00%, B 0.00%, C 0.00%, D 0.00%");
        // One score for all: the volumes cannot be kept, and the cut-offs stay in order.
        let mut flat = Histogram::default();
        flat.add_bin(100, 1000);
        let Cutoffs { a, b, c } = quantile_cutoffs(&champion, &flat, cutoffs);
        assert!(a >= b && b >= c && a <= 1.0);
    }
}
