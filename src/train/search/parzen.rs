//! A density over parameters, drawn from what was tried: Optuna's multivariate Parzen estimator.
//!
//! Each trial is a bump around its values, the same in all parameters at once, and one more that is as wide as the space keeps
//! every value possible. Numbers are normal distributions cut off at the ends of their range, whole numbers the same in steps,
//! categories a share for each choice.

use super::space::{Distribution, Space};
use crate::stats::{SplitMix, normal_quantile, normal_sf};

/// How wide a bump is, as a share of the range, before the number of trials narrows it.
const WIDTH: f64 = 0.2;

/// Trials, the latest, that all weigh the same; older ones weigh less the older they are.
const FULL_WEIGHT: usize = 25;

/// A number's range on the scale on which it is looked for.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    /// None where it is continuous there.
    step: Option<f64>,
    log: bool,
}

/// One parameter's part in every bump.
#[derive(Debug)]
enum Dimension {
    Number {
        scale: Scale,
        /// Middle, width and the logarithm of what lies within the range.
        bumps: Vec<(f64, f64, f64)>,
    },
    /// Of each bump the shares of the choices.
    Category(Vec<Vec<f64>>),
}

/// The density.
#[derive(Debug)]
pub(super) struct Parzen<'s> {
    space: Vec<&'s Distribution>,
    dimensions: Vec<Dimension>,
    /// Of the bumps; they add up to 1.
    weights: Vec<f64>,
}

impl<'s> Parzen<'s> {
    /// Of the trials with these values, in the order of the space, the oldest first.
    pub(super) fn new(space: &'s Space, trials: &[Vec<f64>]) -> Self {
        let space: Vec<&Distribution> = space.values().collect();
        let dimension = |(place, distribution): (usize, &&Distribution)| {
            let values = trials.iter().filter_map(|values| values.get(place).copied());
            match distribution {
                Distribution::Category { choices } => Dimension::categories(choices.len(), values),
                _ => Dimension::numbers(Scale::of(distribution), values, space.len()),
            }
        };
        let dimensions = space.iter().enumerate().map(dimension).collect();
        Self { dimensions, space, weights: weights(trials.len()) }
    }

    /// Values drawn from it.
    pub(super) fn draw(&self, random: &mut SplitMix) -> Vec<f64> {
        let mut left = random.unit();
        let past = |weight: &f64| {
            left -= weight;
            left < 0.0
        };
        let bump = self.weights.iter().position(past).unwrap_or(self.weights.len() - 1);
        let one = |(dimension, distribution): (&Dimension, &&Distribution)| {
            dimension.draw(bump, distribution, random)
        };
        self.dimensions.iter().zip(&self.space).map(one).collect()
    }

    /// The logarithm of the density at some values.
    pub(super) fn ln(&self, values: &[f64]) -> f64 {
        let bump = |(bump, weight): (usize, &f64)| {
            let parts =
                self.dimensions.iter().zip(values).map(|(dimension, value)| dimension.ln(bump, *value));
            weight.ln() + parts.sum::<f64>()
        };
        let all: Vec<f64> = self.weights.iter().enumerate().map(bump).collect();
        let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most.is_finite() {
            most + all.iter().map(|one| (one - most).exp()).sum::<f64>().ln()
        } else {
            most
        }
    }
}

/// A value drawn evenly from a distribution.
pub(super) fn even(distribution: &Distribution, random: &mut SplitMix) -> f64 {
    match distribution {
        Distribution::Category { choices } => random.below(choices.len()) as f64,
        _ => {
            let scale = Scale::of(distribution);
            let (low, high) = scale.ends();
            scale.value(low + (high - low) * random.unit(), distribution)
        }
    }
}

/// Of each trial, the oldest first, and of the bump that is as wide as the space.
fn weights(trials: usize) -> Vec<f64> {
    let ramp = trials.saturating_sub(FULL_WEIGHT);
    let first = 1.0 / trials.max(1) as f64;
    let rising = |place: usize| match ramp {
        1 => first,
        _ => first + (1.0 - first) * place as f64 / (ramp - 1) as f64,
    };
    let mut weights: Vec<f64> = (0..ramp).map(rising).collect();
    weights.resize(trials + 1, 1.0);
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

impl Scale {
    fn of(distribution: &Distribution) -> Self {
        match *distribution {
            Distribution::Float { low, high, log: true, .. } => {
                Self { low: low.ln(), high: high.ln(), step: None, log: true }
            }
            Distribution::Float { low, high, step, .. } => {
                Self { low, high: top(low, high, step), step, log: false }
            }
            // So that the least and the greatest have as much room as those between them.
            Distribution::Int { low, high, log: true, .. } => {
                Self { low: (low as f64 - 0.5).ln(), high: (high as f64 + 0.5).ln(), step: None, log: true }
            }
            Distribution::Int { low, high, step, .. } => {
                let (low, high, step) = (low as f64, high as f64, Some(step as f64));
                Self { low, high: top(low, high, step), step, log: false }
            }
            Distribution::Category { .. } => Self { low: 0.0, high: 0.0, step: None, log: false },
        }
    }

    /// Where what is drawn may lie.
    fn ends(&self) -> (f64, f64) {
        let half = self.step.unwrap_or(0.0) / 2.0;
        (self.low - half, self.high + half)
    }

    fn width(&self) -> f64 {
        let (low, high) = self.ends();
        high - low
    }

    fn place(&self, value: f64) -> f64 {
        if self.log { value.ln() } else { value }
    }

    /// The nearest value of the distribution.
    fn value(&self, place: f64, distribution: &Distribution) -> f64 {
        let value = if self.log { place.exp() } else { place };
        match *distribution {
            Distribution::Float { low, high, .. } => match self.step {
                Some(step) => (low + ((value - low) / step).round() * step).clamp(low, self.high),
                None => value.clamp(low, high),
            },
            Distribution::Int { low, high, step, .. } => {
                let (low, high, step) = (low as f64, high as f64, step as f64);
                (low + ((value - low) / step).round() * step).clamp(low, top(low, high, Some(step)))
            }
            Distribution::Category { .. } => value,
        }
    }
}

/// The greatest value that is whole steps above the least.
fn top(low: f64, high: f64, step: Option<f64>) -> f64 {
    // What a division loses in the last digit is no step.
    step.map_or(high, |step| low + ((high - low) / step + 1e-8).floor() * step)
}

/// P(Z < z) of a standard normal.
fn below(z: f64) -> f64 {
    normal_sf(-z)
}

impl Dimension {
    fn numbers(scale: Scale, values: impl Iterator<Item = f64>, dimensions: usize) -> Self {
        let middles: Vec<f64> = values.map(|value| scale.place(value)).collect();
        let (trials, width) = (middles.len().max(1) as f64, scale.width());
        let narrow = width / f64::min(100.0, 2.0 + middles.len() as f64);
        let share = WIDTH * trials.powf(-1.0 / (dimensions as f64 + 4.0));
        // A range of one value has no width, and any width does.
        let some = |sigma: f64| if sigma > 0.0 { sigma } else { 1.0 };
        let sigma = some((share * width).clamp(narrow, width));
        let (low, high) = scale.ends();
        let bump = |(middle, sigma): (f64, f64)| {
            let inside = below((high - middle) / sigma) - below((low - middle) / sigma);
            (middle, sigma, inside.max(f64::MIN_POSITIVE).ln())
        };
        let prior = (f64::midpoint(scale.low, scale.high), some(width));
        let bumps = middles.into_iter().map(|middle| (middle, sigma)).chain([prior]).map(bump).collect();
        Self::Number { scale, bumps }
    }

    fn categories(choices: usize, values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<usize> = values.map(|value| value as usize).collect();
        let even = 1.0 / (values.len() + 1) as f64;
        let share = |mut shares: Vec<f64>| {
            let sum: f64 = shares.iter().sum();
            shares.iter_mut().for_each(|share| *share /= sum);
            shares
        };
        let of = |place: &usize| {
            let mut shares = vec![even; choices];
            shares.get_mut(*place).into_iter().for_each(|share| *share += 1.0);
            share(shares)
        };
        Self::Category(values.iter().map(of).chain([share(vec![even; choices])]).collect())
    }

    fn draw(&self, bump: usize, distribution: &Distribution, random: &mut SplitMix) -> f64 {
        let at = random.unit();
        match self {
            Self::Number { scale, bumps } => {
                let (middle, sigma, _) = bumps.get(bump).copied().unwrap_or((scale.low, 1.0, 0.0));
                let (low, high) = scale.ends();
                let [from, to] = [low, high].map(|end| below((end - middle) / sigma));
                let place = middle + sigma * normal_quantile(from + (to - from) * at);
                scale.value(place.clamp(low, high), distribution)
            }
            Self::Category(bumps) => {
                let (mut left, shares) = (at, bumps.get(bump).map(Vec::as_slice).unwrap_or_default());
                let past = |share: &f64| {
                    left -= share;
                    left < 0.0
                };
                shares.iter().position(past).unwrap_or(shares.len().saturating_sub(1)) as f64
            }
        }
    }

    fn ln(&self, bump: usize, value: f64) -> f64 {
        match self {
            Self::Number { scale, bumps } => {
                let Some((middle, sigma, inside)) = bumps.get(bump).copied() else {
                    return f64::NEG_INFINITY;
                };
                let place = scale.place(value);
                match scale.step {
                    Some(step) => {
                        let [from, to] =
                            [-0.5, 0.5].map(|half| below((place + half * step - middle) / sigma));
                        (to - from).max(f64::MIN_POSITIVE).ln() - inside
                    }
                    None => {
                        let z = (place - middle) / sigma;
                        -0.5 * z * z - (sigma * (2.0 * std::f64::consts::PI).sqrt()).ln() - inside
                    }
                }
            }
            Self::Category(bumps) => {
                let share = bumps.get(bump).and_then(|shares| shares.get(value as usize));
                share.map_or(f64::NEG_INFINITY, |share| share.ln())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(distributions: &[Distribution]) -> Space {
        distributions
            .iter()
            .enumerate()
            .map(|(i, distribution)| (format!("p{i}"), distribution.clone()))
            .collect()
    }

    #[test]
    fn old_trials_weigh_less() {
        assert_eq!(weights(0), [1.0]);
        assert_eq!(weights(3), [0.25; 4]);
        let [first, second, third, rest @ ..] = &*weights(28) else { panic!("29 weights") };
        assert!((first / third - 1.0 / 28.0).abs() < 1e-12);
        assert!((second / third - f64::midpoint(1.0 / 28.0, 1.0)).abs() < 1e-12);
        assert!(rest.len() == 26 && rest.iter().all(|weight| weight == third));
        assert!((weights(26)[0] / weights(26)[1] - 1.0 / 26.0).abs() < 1e-12);
    }

    /// Adds the density up over a range of values, each with the room it has on its scale.
    fn total(parzen: &Parzen<'_>, values: impl Iterator<Item = (f64, f64)>) -> f64 {
        values.map(|(value, room)| parzen.ln(&[value]).exp() * room).sum()
    }

    #[test]
    fn a_density_adds_up_to_one() {
        let steps = 20_000;
        let between = |low: f64, high: f64| {
            let room = (high - low) / f64::from(steps);
            (0..steps).map(move |step| (low + (f64::from(step) + 0.5) * room, room))
        };
        let one = |total: f64| assert!((total - 1.0).abs() < 1e-6, "{total}");
        let trials = [vec![2.0], vec![2.0], vec![8.0]];
        let float = space(&[Distribution::float(1.0, 9.0, false)]);
        one(total(&Parzen::new(&float, &trials), between(1.0, 9.0)));
        one(total(&Parzen::new(&float, &[]), between(1.0, 9.0)));
        let log = space(&[Distribution::float(1.0, 9.0, true)]);
        let exp = between(0.0, 9f64.ln()).map(|(place, room)| (place.exp(), room));
        one(total(&Parzen::new(&log, &trials), exp));
        let int = space(&[Distribution::int(2, 9, 2)]);
        one(total(&Parzen::new(&int, &trials), [2.0, 4.0, 6.0, 8.0].map(|value| (value, 1.0)).into_iter()));
        let words = space(&[Distribution::words(["a", "b", "c"])]);
        let trials = [vec![2.0], vec![1.0]];
        one(total(&Parzen::new(&words, &trials), [0.0, 1.0, 2.0].map(|value| (value, 1.0)).into_iter()));
        assert_eq!(Parzen::new(&words, &trials).ln(&[3.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn what_is_drawn_is_of_the_distribution_and_near_what_was_tried() {
        let space = space(&[
            Distribution::float(1e-4, 0.1, true),
            Distribution::int(16, 130, 16),
            Distribution::Int { log: true, step: 1, low: 1, high: 100 },
            Distribution::words(["relu", "gelu"]),
            Distribution::Float { step: Some(0.25), low: 0.0, high: 0.9, log: false },
            Distribution::float(3.0, 3.0, false),
        ]);
        let tried = vec![0.01, 64.0, 10.0, 1.0, 0.5, 3.0];
        let (parzen, mut random) = (Parzen::new(&space, &vec![tried.clone(); 9]), SplitMix::new(3));
        let mut near = [0; 5];
        for _ in 0..1_000 {
            let (drawn, even): (Vec<f64>, Vec<f64>) =
                (parzen.draw(&mut random), space.values().map(|one| even(one, &mut random)).collect());
            for (values, distribution) in drawn.iter().zip(&even).zip(space.values()) {
                assert!(distribution.contains(*values.0) && distribution.contains(*values.1), "{values:?}");
            }
            assert!(drawn[1] % 16.0 == 0.0 && drawn[4] % 0.25 == 0.0 && even[4] <= 0.75);
            let is_near = [
                (drawn[0] / 0.01).ln().abs() < 2.0,
                (drawn[1] - 64.0).abs() <= 32.0,
                (drawn[2] / 10.0).ln().abs() < 1.2,
                drawn[3] == 1.0,
                (drawn[4] - 0.5).abs() <= 0.25,
            ];
            near.iter_mut().zip(is_near).for_each(|(count, is_near)| *count += u32::from(is_near));
        }
        assert!(near.iter().all(|count| *count > 750), "{near:?}");
    }
}
