//! When a trial is not worth its time: Optuna's MedianPruner.

use super::study::{State, Study, Trial};
use crate::stats;

/// Ends a trial whose best value so far is worse than the median of those that came to their end, at the same step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MedianPruner {
    /// Nothing is pruned before so many came to their end.
    pub startup: usize,
    /// Nor before this step.
    pub warmup: u64,
    /// Steps between two looks; at least 1.
    pub interval: u64,
}

impl Default for MedianPruner {
    fn default() -> Self {
        Self { startup: 5, warmup: 0, interval: 1 }
    }
}

impl MedianPruner {
    /// Whether a trial should end after what it reported last.
    pub fn prunes(&self, study: &Study, trial: &Trial) -> bool {
        let ended = || study.trials.iter().filter(|trial| trial.state == State::Complete);
        let Some((step, _)) = trial.steps.last_key_value() else { return false };
        if ended().count() < self.startup.max(1) || !self.looks(trial, *step) {
            return false;
        }
        let best = trial.steps.values().copied().min_by(|a, b| study.direction.better(*a, *b));
        let Some(best) = best.filter(|best| !best.is_nan()) else { return true };
        let others = ended().filter_map(|trial| trial.steps.get(step).copied());
        let others = stats::sorted(others.filter(|value| !value.is_nan()).collect());
        stats::quantile(&others, 0.5).is_some_and(|median| study.direction.better(best, median).is_gt())
    }

    /// Whether a step is the first to be reported since the last look was due.
    fn looks(&self, trial: &Trial, step: u64) -> bool {
        let Some(past) = step.checked_sub(self.warmup) else { return false };
        let due = step - past % self.interval.max(1);
        trial.steps.range(..step).next_back().is_none_or(|(before, _)| *before < due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{goldens, train::search::Direction};

    #[test]
    fn trials_end_where_optuna_ends_them() {
        let Some(golden) = goldens::json("goldens/mlops/optuna_median_pruner.json") else { return };
        let number = |key: &str| golden["inputs"][key].as_u64().unwrap();
        assert_eq!(golden["inputs"]["direction"], "maximize");
        let pruner = MedianPruner {
            startup: number("n_startup_trials") as usize,
            warmup: number("n_warmup_steps"),
            interval: number("interval_steps"),
        };
        let mut study = Study::new("golden", Direction::Maximize);
        for (number, expected) in golden["expected"].as_array().unwrap().iter().enumerate() {
            let mut trial = Trial::new(number, State::Running);
            let mut pruned = None;
            for (step, value) in (0..).zip(expected["values"].as_array().unwrap()) {
                trial.steps.insert(step, value.as_f64().unwrap());
                if pruner.prunes(&study, &trial) {
                    pruned = Some(step);
                    break;
                }
            }
            assert_eq!(pruned, expected["pruned_at_step"].as_u64(), "trial {number}");
            trial.state = if pruned.is_some() { State::Pruned } else { State::Complete };
            study.trials.push(trial);
        }
    }

    /// A trial that reported these values at these steps.
    fn reported(steps: &[(u64, f64)]) -> Trial {
        Trial { steps: steps.iter().copied().collect(), ..Trial::new(9, State::Running) }
    }

    #[test]
    fn what_cannot_be_compared_goes_on_and_what_is_no_number_ends() {
        let mut study = Study::new("a", Direction::Minimize);
        let pruner = MedianPruner { startup: 2, warmup: 0, interval: 1 };
        let bad = reported(&[(0, 9.0)]);
        assert!(!pruner.prunes(&study, &bad), "nobody came to an end");
        for value in [1.0, 2.0, f64::NAN] {
            study.trials.push(Trial { state: State::Complete, ..reported(&[(0, value)]) });
        }
        for (steps, expected) in [
            (&[(0, 9.0)][..], true),
            (&[(0, 1.5)], false),
            (&[(0, f64::NAN)], true),
            (&[(1, 9.0)], false),
            (&[], false),
            (&[(0, 1.0), (1, f64::NAN)], false),
        ] {
            assert_eq!(pruner.prunes(&study, &reported(steps)), expected, "{steps:?}");
        }
        study.trials.truncate(1);
        assert!(!pruner.prunes(&study, &bad), "too few came to an end");
    }

    #[test]
    fn a_look_is_due_after_the_warm_up_and_then_at_intervals() {
        let pruner = MedianPruner { startup: 0, warmup: 2, interval: 3 };
        for (steps, expected) in [
            (&[1][..], false),
            (&[2], true),
            (&[2, 3], false),
            (&[2, 5], true),
            (&[4, 6], true),
            (&[5, 6], false),
            (&[0, 1, 7], true),
        ] {
            let trial = reported(&steps.iter().map(|step| (*step, 1.0)).collect::<Vec<_>>());
            assert_eq!(pruner.looks(&trial, *steps.last().unwrap()), expected, "{steps:?}");
        }
        let never = MedianPruner { startup: 0, warmup: u64::MAX, interval: 0 };
        assert!(!never.looks(&reported(&[(7, 1.0)]), 7));
    }
}
