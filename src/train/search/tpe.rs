//! The next trial's parameters: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), with the defaults of 5.0.
//!
//! The tenth of the trials that did best make one density, the others a second; of some values drawn from the first, those are
//! taken where it stands highest above the second. Trials that are still running count among the others, so that trials in
//! parallel keep apart (the constant liar). A trial's seed comes from the study's and its number, whatever ended before it.

use super::{
    parzen::{Parzen, even},
    space::{Distribution, Space},
    study::{State, Study, Trial},
};
use crate::stats::SplitMix;

/// The sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tpe {
    /// The study's.
    pub seed: u64,
    /// Trials that are drawn evenly before the first that is not.
    pub startup: usize,
    /// Values that are looked at for one trial.
    pub candidates: usize,
}

/// Most trials that count as the best.
const MOST_BEST: usize = 25;

impl Tpe {
    /// With Optuna's defaults.
    pub fn new(seed: u64) -> Self {
        Self { seed, startup: 10, candidates: 24 }
    }

    /// A trial's parameters, by name and as they are inside. What it was queued with, it gets, where that is among the values.
    pub fn suggest(&self, study: &Study, number: usize, space: &Space) -> Vec<(String, f64)> {
        let mut random = SplitMix::new(self.seed_of(number));
        let fixed = study.trials.get(number).map(|trial| &trial.fixed);
        let wanted = |name: &String, distribution: &Distribution| distribution.internal(fixed?.get(name)?);
        let drawn = self.draw(study, number, space, &mut random);
        let one = |((name, distribution), drawn): ((&String, &Distribution), f64)| {
            (name.clone(), wanted(name, distribution).unwrap_or(drawn))
        };
        space.iter().zip(drawn).map(one).collect()
    }

    /// The seed of one trial, for all that is random about it.
    pub fn seed_of(&self, number: usize) -> u64 {
        let mut random = SplitMix::new(self.seed ^ SplitMix::new(number as u64).bits());
        random.bits()
    }

    fn draw(&self, study: &Study, number: usize, space: &Space, random: &mut SplitMix) -> Vec<f64> {
        let Some([best, others]) = self.split(study, number, space) else {
            return space.values().map(|distribution| even(distribution, random)).collect();
        };
        let [best, others] = [&best, &others].map(|trials| Parzen::new(space, trials));
        let mut found: Option<(f64, Vec<f64>)> = None;
        for _ in 0..self.candidates.max(1) {
            let values = best.draw(random);
            let gain = best.ln(&values) - others.ln(&values);
            if found.as_ref().is_none_or(|(most, _)| gain > *most) {
                found = Some((gain, values));
            }
        }
        found.map(|(_, values)| values).unwrap_or_default()
    }

    /// The best trials' values and the others', the oldest first; `None` while there are too few.
    fn split(&self, study: &Study, number: usize, space: &Space) -> Option<[Vec<Vec<f64>>; 2]> {
        let mut ended: Vec<&Trial> = study.trials.iter().filter(|trial| is_told(trial)).collect();
        if ended.len() < self.startup {
            return None;
        }
        ended
            .sort_by(|a, b| rank(study, a).partial_cmp(&rank(study, b)).unwrap_or(std::cmp::Ordering::Equal));
        ended.retain(|trial| trial.values(space).is_some());
        let best = ended.len().div_ceil(10).min(MOST_BEST);
        let mut others = ended.split_off(best);
        let running =
            study.trials.iter().filter(|trial| trial.state == State::Running && trial.number != number);
        others.extend(running);
        Some([ended, others].map(|mut trials| {
            trials.sort_by_key(|trial| trial.number);
            trials.iter().filter_map(|trial| trial.values(space)).collect()
        }))
    }
}

/// Whether a trial says how good its parameters are.
fn is_told(trial: &Trial) -> bool {
    match trial.state {
        State::Complete => trial.value.is_some_and(|value| !value.is_nan()),
        state => state == State::Pruned,
    }
}

/// The better the less: those that came to their end by value, then the pruned, those that went farther first.
fn rank(study: &Study, trial: &Trial) -> (u8, f64, f64) {
    let falling = |value: f64| match study.direction {
        super::Direction::Minimize => value,
        super::Direction::Maximize => -value,
    };
    match (trial.state, trial.value, trial.steps.last_key_value()) {
        (State::Complete, Some(value), _) => (0, falling(value), 0.0),
        (_, _, Some((step, value))) if value.is_nan() => (1, -(*step as f64), f64::INFINITY),
        (_, _, Some((step, value))) => (1, -(*step as f64), falling(*value)),
        _ => (2, 0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::search::{Direction, Param};

    /// Runs a study of a function to its end, and returns the best value. A startup of all trials is a random search.
    fn best(tpe: Tpe, space: &Space, trials: usize, function: impl Fn(&[f64]) -> f64) -> f64 {
        let mut study = Study::new("a", Direction::Minimize);
        for number in 0..trials {
            let values = tpe.suggest(&study, number, space);
            let value = function(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
            study.trials.push(trial(number, space, &values, State::Complete, Some(value)));
        }
        study.best().and_then(|best| best.value).unwrap()
    }

    fn trial(
        number: usize,
        space: &Space,
        values: &[(String, f64)],
        state: State,
        value: Option<f64>,
    ) -> Trial {
        let param = |(name, value): &(String, f64)| {
            (name.clone(), Param { value: *value, distribution: space[name].clone() })
        };
        Trial { params: values.iter().map(param).collect(), value, ..Trial::new(number, state) }
    }

    fn space(distributions: &[(&str, Distribution)]) -> Space {
        distributions.iter().map(|(name, distribution)| ((*name).to_owned(), distribution.clone())).collect()
    }

    /// The medians over twenty seeds, of the sampler and of a random search.
    fn medians(space: &Space, trials: usize, function: impl Fn(&[f64]) -> f64) -> [f64; 2] {
        let median = |startup: usize| {
            let each = (0..20).map(|seed| best(Tpe { startup, ..Tpe::new(seed) }, space, trials, &function));
            crate::stats::quantile(&crate::stats::sorted(each.collect()), 0.5).unwrap()
        };
        [median(10), median(trials)]
    }

    #[test]
    fn functions_are_minimised_better_than_at_random() {
        let plane = space(&[
            ("x", Distribution::float(-5.0, 10.0, false)),
            ("y", Distribution::float(0.0, 15.0, false)),
        ]);
        let [found, random] = medians(&plane, 60, |at| (at[0] - 2.0).powi(2) + (at[1] - 7.0).powi(2));
        assert!(found < random / 2.0, "quadratic: {found} {random}");
        let branin = |at: &[f64]| {
            use std::f64::consts::PI;
            let (x, y) = (at[0], at[1]);
            let bend = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
            bend * bend + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
        };
        let [found, random] = medians(&plane, 60, branin);
        assert!(found < random && found < 1.0, "branin: {found} {random}");
        let mixed = space(&[
            ("act", Distribution::words(["relu", "gelu", "tanh"])),
            ("hidden", Distribution::int(16, 256, 16)),
            ("lr", Distribution::float(1e-5, 1.0, true)),
        ]);
        let [found, random] = medians(&mixed, 60, |at| {
            f64::from(at[0] != 1.0) + ((at[1] - 128.0) / 64.0).powi(2) + (at[2] / 3e-3).ln().powi(2)
        });
        assert!(found < random / 2.0, "mixed: {found} {random}");
    }

    #[test]
    fn a_trial_depends_on_its_number_and_what_ended_only() {
        let space = space(&[("x", Distribution::float(0.0, 1.0, false))]);
        let tpe = Tpe::new(7);
        let mut study = Study::new("a", Direction::Maximize);
        assert_eq!(tpe.suggest(&study, 3, &space), tpe.suggest(&study, 3, &space));
        assert_ne!(tpe.suggest(&study, 3, &space), tpe.suggest(&study, 4, &space));
        assert_ne!(tpe.suggest(&study, 3, &space), Tpe::new(8).suggest(&study, 3, &space));
        let first = tpe.suggest(&study, 11, &space);
        for number in 0..11 {
            let value = number as f64 / 10.0;
            study.trials.push(trial(number, &space, &[("x".into(), value)], State::Complete, Some(value)));
        }
        let told = tpe.suggest(&study, 11, &space);
        assert_ne!(told, first);
        study.trials[3].state = State::Fail;
        study.trials[4].state = State::Fail;
        assert_eq!(tpe.suggest(&study, 11, &space), first, "nine are too few");
    }

    #[test]
    fn what_was_queued_with_values_gets_them() {
        let space = space(&[("x", Distribution::float(0.0, 1.0, false)), ("y", Distribution::int(0, 9, 1))]);
        let mut study = Study::new("a", Direction::Minimize);
        let mut queued = Trial::new(0, State::Waiting);
        queued.fixed = [("x".to_owned(), 0.25.into()), ("y".to_owned(), 77.into())].into();
        study.trials.push(queued);
        let values = Tpe::new(1).suggest(&study, 0, &space);
        assert_eq!(values[0], ("x".to_owned(), 0.25));
        assert!(space["y"].contains(values[1].1), "77 is none of them");
    }

    #[test]
    fn running_trials_count_as_bad_ones_and_pruned_ones_by_how_far_they_came() {
        let space = space(&[("x", Distribution::float(0.0, 9.0, false))]);
        let mut study = Study::new("a", Direction::Minimize);
        let at = |x: f64| vec![("x".to_owned(), x)];
        for number in 0..8 {
            let (x, state) = (number as f64, if number < 2 { State::Complete } else { State::Pruned });
            study.trials.push(trial(number, &space, &at(x), state, Some(9.0 - x)));
            study.trials[number].steps.insert(number as u64, if number == 7 { f64::NAN } else { x });
        }
        study.trials.push(trial(8, &space, &at(8.0), State::Running, None));
        study.trials.push(trial(9, &space, &at(0.5), State::Running, None));
        let tpe = Tpe { startup: 8, ..Tpe::new(1) };
        let [best, others] = tpe.split(&study, 9, &space).unwrap();
        assert_eq!(best, [[1.0]], "8.0 is less than 9.0");
        assert_eq!(others, [0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0].map(|x| vec![x]));
        let mut ranked: Vec<&Trial> = study.trials[..8].iter().collect();
        ranked.sort_by(|a, b| rank(&study, a).partial_cmp(&rank(&study, b)).unwrap());
        assert_eq!(ranked.iter().map(|trial| trial.number).collect::<Vec<_>>(), [1, 0, 7, 6, 5, 4, 3, 2]);
        assert!(Tpe { startup: 9, ..tpe }.split(&study, 9, &space).is_none());
    }
}
