//! Both scores beside what became of the leads.

use serde::Serialize;

use super::tally::{Fate, Pair};
use crate::stats::{self, Delong};

/// Parts of a table of calibration.
const PARTS: usize = 10;

/// How well either score foretold what became of the leads: as given first, the version's second. What too few outcomes tell is
/// `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quality {
    /// Leads with a known end.
    pub leads: u64,
    /// Those that were won.
    pub won: u64,
    /// Area under the ROC curve.
    pub auc: [Option<f64>; 2],
    /// The version's area less that of the scores as given.
    pub auc_difference: Option<Difference>,
    /// Log-loss.
    pub log_loss: [Option<f64>; 2],
    /// Brier score.
    pub brier: [Option<f64>; 2],
    /// Expected calibration error over ten parts of equal width.
    pub ece: [Option<f64>; 2],
}

/// DeLong's test on the same leads.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Difference {
    /// The difference.
    pub value: f64,
    /// Lower end of its 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p.
    pub p: f64,
}

impl Quality {
    /// Of the leads with a known end that have had their time, or have not.
    pub(super) fn of(pairs: &[Pair], matured: bool) -> Self {
        let known = || pairs.iter().filter(|pair| pair.matured == matured && pair.fate != Fate::Open);
        let side = |side: usize| -> Vec<f64> {
            known().filter_map(|pair| pair.scores.get(side).copied().map(f64::from)).collect()
        };
        let (scores, won) =
            ([side(0), side(1)], known().map(|pair| pair.fate == Fate::Won).collect::<Vec<_>>());
        let each = |of: &dyn Fn(&[f64], &[bool]) -> f64| {
            scores.each_ref().map(|scores| Some(of(scores, &won)).filter(|value| value.is_finite()))
        };
        let [given, with] = &scores;
        let delong = Delong::new(given, with, &won);
        let ece = |scores: &[f64], won: &[bool]| stats::ece(&stats::reliability(scores, won, PARTS));
        Self {
            leads: won.len() as u64,
            won: won.iter().filter(|won| **won).count() as u64,
            auc: match &delong {
                Some(delong) => delong.auc.map(Some),
                None => scores.each_ref().map(|scores| stats::auc(scores, &won)),
            },
            auc_difference: delong.map(|delong| {
                let [low, high] = delong.interval();
                Difference { value: delong.delta(), low, high, p: delong.p_two_sided() }
            }),
            log_loss: each(&stats::log_loss),
            brier: each(&stats::brier),
            ece: each(&ece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::Grade;

    fn pair(scores: [f32; 2], fate: Fate, matured: bool) -> Pair {
        Pair { scores, grades: [Grade::A; 2], fate, matured }
    }

    #[test]
    fn only_known_ends_of_the_asked_age_count() {
        let pairs = [
            pair([0.5, 0.75], Fate::Won, true),
            pair([0.5, 0.25], Fate::Lost, true),
            pair([0.9, 0.9], Fate::Won, false),
            pair([0.9, 0.9], Fate::Open, false),
        ];
        let matured = Quality::of(&pairs, true);
        assert_eq!((matured.leads, matured.won), (2, 1));
        assert_eq!(matured.auc, [Some(0.5), Some(1.0)]);
        assert_eq!(matured.brier, [Some(0.25), Some(0.0625)]);
        assert_eq!(matured.ece, [Some(0.0), Some(0.25)]);
        assert_eq!(matured.log_loss, [Some(2f64.ln()), Some(-0.75f64.ln())]);
        assert!(matured.auc_difference.is_none(), "one of a class tells nothing of it");
        let provisional = Quality::of(&pairs, false);
        assert_eq!((provisional.leads, provisional.won, provisional.auc), (1, 1, [None; 2]));
        assert!(provisional.log_loss[0].is_some());
        let none = Quality::of(&[], true);
        assert_eq!((none.leads, none.brier, none.ece), (0, [None; 2], [None; 2]));
    }

    #[test]
    fn the_difference_has_an_interval() {
        let pairs: Vec<Pair> = (0..200u8)
            .map(|n| {
                let fate = if n % 4 == 0 { Fate::Won } else { Fate::Lost };
                let with = if fate == Fate::Won { 0.5 + f32::from(n) / 800.0 } else { f32::from(n) / 400.0 };
                pair([f32::from(n % 7) / 10.0, with], fate, true)
            })
            .collect();
        let Quality { auc: [Some(given), Some(with)], auc_difference: Some(difference), .. } =
            Quality::of(&pairs, true)
        else {
            panic!("both classes are there");
        };
        assert!((difference.value - (with - given)).abs() < 1e-12);
        assert!(difference.low < difference.value && difference.value < difference.high);
        assert!(difference.low > 0.0 && difference.p < 0.01);
    }
}
