//! Trials and how they ended.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value as Json;

use super::space::{Distribution, Space};

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The lower.
    Minimize,
    /// The higher.
    Maximize,
}

impl Direction {
    /// The better of two values first; what is no number is the worst.
    pub fn better(self, a: f64, b: f64) -> Ordering {
        match (a.is_nan(), b.is_nan()) {
            (false, false) if self == Self::Minimize => a.total_cmp(&b),
            (false, false) => b.total_cmp(&a),
            (a, b) => a.cmp(&b),
        }
    }
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Running = 0,
    /// It came to its end.
    Complete = 1,
    /// It was ended early.
    Pruned = 2,
    /// It broke.
    Fail = 3,
    /// It has yet to begin.
    Waiting = 4,
}

impl State {
    /// Reads what the journal writes.
    pub fn of(code: u64) -> Option<Self> {
        [Self::Running, Self::Complete, Self::Pruned, Self::Fail, Self::Waiting]
            .into_iter()
            .find(|state| *state as u64 == code)
    }

    /// Whether nothing about the trial changes any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Fail)
    }
}

/// A value that a trial was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As it is inside its distribution.
    pub value: f64,
    /// What it could have been.
    pub distribution: Distribution,
}

/// One try.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// From 0.
    pub number: usize,
    /// Where it is.
    pub state: State,
    /// What it was given, by name.
    pub params: BTreeMap<String, Param>,
    /// What it reported, by step.
    pub steps: BTreeMap<u64, f64>,
    /// What it came to.
    pub value: Option<f64>,
    /// What it was to be given when it was queued, as people write it.
    pub fixed: BTreeMap<String, Json>,
    /// The first of the trials that were cut off and that it repeats.
    pub repeats: Option<u64>,
}

impl Trial {
    /// One of which nothing is known yet.
    pub fn new(number: usize, state: State) -> Self {
        Self {
            number,
            state,
            params: BTreeMap::new(),
            steps: BTreeMap::new(),
            value: None,
            fixed: BTreeMap::new(),
            repeats: None,
        }
    }

    /// The number of the trial that it repeats, or its own.
    fn first(&self) -> usize {
        let repeated = self.repeats.and_then(|number| usize::try_from(number).ok());
        repeated.filter(|number| *number < self.number).unwrap_or(self.number)
    }

    /// Its parameters as people write them.
    pub fn outside(&self) -> BTreeMap<String, Json> {
        let outside =
            |(name, param): (&String, &Param)| (name.clone(), param.distribution.external(param.value));
        self.params.iter().map(outside).collect()
    }

    /// Its values of all parameters of a space, in its order; `None` where it lacks one.
    pub(super) fn values(&self, space: &Space) -> Option<Vec<f64>> {
        let value = |(name, distribution): (&String, &Distribution)| {
            let param = self.params.get(name)?;
            distribution.internal(&param.distribution.external(param.value))
        };
        space.iter().map(value).collect()
    }
}

/// All trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// What it is called.
    pub name: String,
    /// Which values are better.
    pub direction: Direction,
    /// By number.
    pub trials: Vec<Trial>,
}

impl Study {
    /// One without trials.
    pub fn new(name: impl Into<String>, direction: Direction) -> Self {
        Self { name: name.into(), direction, trials: Vec::new() }
    }

    /// The best trial that came to its end; of equal ones the first.
    pub fn best(&self) -> Option<&Trial> {
        let ended =
            self.trials.iter().filter(|trial| trial.state == State::Complete && trial.value.is_some());
        let value = |trial: &Trial| trial.value.unwrap_or(f64::NAN);
        ended.min_by(|a, b| self.direction.better(value(a), value(b)))
    }

    /// The numbers of a trial, of the one that it repeats, and of all others that do, the oldest first.
    pub fn times(&self, trial: &Trial) -> Vec<usize> {
        let first = trial.first();
        self.trials.iter().filter(|other| other.first() == first).map(|other| other.number).collect()
    }

    /// The study as if nothing had been cut off: a repeated trial stands in the place of the one that it repeats, and is numbered by
    /// it. Beside each its own number.
    pub fn unbroken(&self) -> (Self, Vec<usize>) {
        let (mut trials, mut numbers, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for trial in &self.trials {
            let place = places.get(trial.first()).copied().unwrap_or(trials.len());
            places.push(place);
            let numbered = Trial { number: place, ..trial.clone() };
            match (trials.get_mut(place), numbers.get_mut(place)) {
                (Some(known), Some(number)) => (*known, *number) = (numbered, trial.number),
                _ => {
                    trials.push(numbered);
                    numbers.push(trial.number);
                }
            }
        }
        (Self { trials, ..Self::new(self.name.clone(), self.direction) }, numbers)
    }

    /// How many trials ended since the best one, those that failed left out.
    pub fn since_best(&self) -> usize {
        let after = self.best().map_or(0, |best| best.number + 1);
        let ended = |trial: &&Trial| matches!(trial.state, State::Complete | State::Pruned);
        self.trials.iter().skip(after).filter(ended).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_of_those_that_came_to_their_end() {
        let mut study = Study::new("a", Direction::Maximize);
        assert!(study.best().is_none() && study.since_best() == 0);
        let trials = [
            (State::Complete, Some(0.5)),
            (State::Complete, Some(0.75)),
            (State::Pruned, Some(0.9)),
            (State::Complete, Some(0.75)),
            (State::Fail, None),
            (State::Complete, Some(f64::NAN)),
            (State::Running, None),
        ];
        let trial = |(number, (state, value))| Trial { value, ..Trial::new(number, state) };
        study.trials = trials.into_iter().enumerate().map(trial).collect();
        assert_eq!((study.best().map(|trial| trial.number), study.since_best()), (Some(1), 3));
        study.direction = Direction::Minimize;
        assert_eq!(study.best().map(|trial| trial.number), Some(0));
    }

    #[test]
    fn a_repeated_trial_stands_where_the_first_one_stood() {
        let mut study = Study::new("a", Direction::Maximize);
        let states = [
            (State::Complete, None),
            (State::Fail, None),
            (State::Complete, None),
            (State::Fail, Some(1)),
            (State::Complete, None),
            (State::Complete, Some(1)),
            (State::Complete, Some(99)),
        ];
        for (number, (state, repeats)) in states.into_iter().enumerate() {
            study.trials.push(Trial { repeats, value: Some(number as f64), ..Trial::new(number, state) });
        }
        let (unbroken, numbers) = study.unbroken();
        assert_eq!(numbers, [0, 5, 2, 4, 6]);
        assert_eq!(
            [5, 4, 6].map(|number| study.times(&study.trials[number])),
            [vec![1, 3, 5], vec![4], vec![6]]
        );
        let values: Vec<_> =
            unbroken.trials.iter().map(|trial| (trial.number, trial.value.unwrap())).collect();
        assert_eq!(values, [(0, 0.0), (1, 5.0), (2, 2.0), (3, 4.0), (4, 6.0)]);
    }

    #[test]
    fn states_are_the_journals() {
        for code in 0..5 {
            assert_eq!(State::of(code).map(|state| state as u64), Some(code));
        }
        assert_eq!(State::of(5), None);
        assert!(State::Pruned.is_over() && !State::Waiting.is_over() && !State::Running.is_over());
    }

    #[test]
    fn a_trial_of_another_space_has_no_values_in_this_one() {
        let mut trial = Trial::new(0, State::Complete);
        let words = Distribution::words(["gelu", "relu"]);
        trial.params.insert("act".into(), Param { value: 0.0, distribution: words });
        let of = |words| trial.values(&Space::from([("act".to_owned(), words)]));
        assert_eq!(of(Distribution::words(["relu", "gelu"])), Some(vec![1.0]));
        assert_eq!(of(Distribution::words(["relu", "tanh"])), None);
        assert_eq!(
            trial.values(&Space::from([("lr".to_owned(), Distribution::float(0.0, 1.0, false))])),
            None
        );
        assert_eq!(trial.outside(), BTreeMap::from([("act".to_owned(), Json::from("gelu"))]));
    }
}
