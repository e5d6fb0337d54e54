//! Reasons: which features made a score higher or lower than a typical lead's.
//!
//! The method is in/out ([`in_out`]) against the background that training left in the manifest: medians of numbers and
//! shares of words. Networks take the average over a category's words as an input of its own, one more column whose
//! weights are the words' weights by their shares; any other model takes the most frequent word. Effects are measured in
//! logits, before calibration, which keeps their order and their signs.

mod in_out; // how much of a logit is each feature's
mod words; // a value as people read it

pub use self::{
    in_out::{Ends, Mix, in_out},
    words::Bands,
};

use self::words::Shown;
use super::{Encoder, Encoding, Kernel, Kind, Layer, Model, ModelError, Network, Scratch};
use crate::lead::{Direction, Reason, Value};

/// Most reasons of each direction.
const MOST: usize = 3;

/// Less than this share of all effects is no reason.
const LEAST: f32 = 0.05;

/// What is typical of one feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Typical {
    /// Its median, and what is high or low.
    Number(Bands),
    /// The share of each word of the vocabulary, in its order; of a boolean, of no and yes.
    Shares(Vec<f64>),
}

/// What explaining needs besides; reused, it stops allocating. Fits any model.
#[derive(Debug, Default)]
pub struct ReasonScratch {
    row: Vec<f32>,
    mixed: Vec<f32>,
    phi: Vec<f32>,
    score: Scratch,
}

/// Explains the scores of one model.
#[derive(Clone, Debug)]
pub struct Explainer {
    shown: Vec<Shown>,
    mixer: Mixer,
}

/// How a lead is mixed with the background.
#[derive(Clone, Debug)]
enum Mixer {
    /// As compact rows for a kernel that knows the average word.
    Rows { kernel: Box<Kernel>, background: Vec<f32>, slots: Vec<[usize; 2]> },
    /// As values, for models of any kind.
    Values(Vec<Value<'static>>),
}

/// How a lead's logit came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explanation<'s> {
    /// The logits it lies between.
    pub ends: Ends,
    /// Each feature's effect in logits, in schema order, as measured.
    pub phi: &'s [f32],
}

impl Explanation<'_> {
    /// The effects, scaled for display so that they sum to the distance between the ends. Left as measured where that
    /// would take more than a factor of 4: a sum near zero would blow effects up or turn them round.
    pub fn scaled(&self) -> impl Iterator<Item = f32> {
        let factor = (self.ends.lead - self.ends.background) / self.phi.iter().sum::<f32>();
        let factor = if (0.25..=4.0).contains(&factor) { factor } else { 1.0 };
        self.phi.iter().map(move |phi| phi * factor)
    }
}

impl Explainer {
    /// For a model and the bytes of its model file; `typical` has one entry for each feature.
    pub fn new(model: &Model, weights: &[u8], typical: Vec<Typical>) -> Result<Self, ModelError> {
        if let Some(feature) = model.features().get(typical.len()) {
            let reason = "nothing typical is known";
            return Err(ModelError::Schema { feature: feature.name.clone(), reason });
        }
        match model.spec().kind {
            Kind::Linear | Kind::Mlp => Ok(Self {
                mixer: Mixer::rows(model, weights, &typical)?,
                ..Self::over_values(model, typical)
            }),
            Kind::Lightgbm | Kind::Xgboost => Ok(Self::over_values(model, typical)),
        }
    }

    /// For a model that is no network: a lead's values are mixed with the typical lead's, medians and the most frequent
    /// words, and the model scores each mix. `typical` has one entry for each feature.
    pub fn over_values(model: &Model, typical: Vec<Typical>) -> Self {
        let mixer = Mixer::values(model, &typical);
        let bands = typical.into_iter().map(|typical| match typical {
            Typical::Number(bands) => Some(bands),
            Typical::Shares(_) => None,
        });
        let shown = model.features().iter().zip(bands);
        Self { shown: shown.map(|(spec, bands)| Shown::new(spec, bands)).collect(), mixer }
    }

    /// The effects of the lead whose `i`-th feature is `feature(i)`; `None` where a logit is not finite.
    pub fn explain<'s, 'v, 'f: 'v>(
        &self,
        model: &Model,
        feature: impl Fn(usize) -> &'v Value<'f>,
        scratch: &'s mut ReasonScratch,
    ) -> Option<Explanation<'s>> {
        let ReasonScratch { row, mixed, phi, score } = scratch;
        let features = self.shown.len();
        let ends = match &self.mixer {
            Mixer::Rows { kernel, background, slots } => {
                if !model.encoder().encode(&feature, row) {
                    return None;
                }
                let logit = |mix| {
                    mix_rows(mix, row, (background, slots), mixed);
                    kernel.logit(mixed, &mut score.buffers)
                };
                in_out(features, logit, phi)
            }
            Mixer::Values(background) => {
                let logit = |mix: Mix| {
                    let value = |i| match background.get(i) {
                        Some(typical) if !mix.is_leads(i) => typical,
                        _ => feature(i),
                    };
                    model.score(value, score).map_or(f32::NAN, |scored| scored.logit as f32)
                };
                in_out(features, logit, phi)
            }
        };
        phi.iter().all(|phi| phi.is_finite()).then_some(Explanation { ends, phi })
    }

    /// At most three reasons up and three down, the strongest first. Effects below a twentieth of all are no reasons, and
    /// protected features are never named.
    pub fn reasons<'v, 'f: 'v>(
        &self,
        model: &Model,
        feature: impl Fn(usize) -> &'v Value<'f>,
        scratch: &mut ReasonScratch,
    ) -> Vec<Reason> {
        let Some(Explanation { phi, .. }) = self.explain(model, &feature, scratch) else { return Vec::new() };
        let total: f32 = phi.iter().map(|phi| phi.abs()).sum();
        let share = |phi: &f32| if total > 0.0 { phi.abs() / total } else { 0.0 };
        let shown = phi.iter().zip(&self.shown).enumerate();
        let mut strong: Vec<_> = shown
            .filter(|(_, (phi, shown))| share(phi) >= LEAST && !shown.protected)
            .map(|(i, (phi, shown))| (i, *phi, share(phi), shown))
            .collect();
        strong.sort_by(|a, b| b.2.total_cmp(&a.2));
        let (mut up, mut down) = (0, 0);
        strong.retain(|(_, phi, ..)| {
            let count = if *phi > 0.0 { &mut up } else { &mut down };
            *count += 1;
            *count <= MOST
        });
        let reason = |(i, phi, strength, shown): (usize, f32, f32, &Shown)| {
            let spec = model.features().get(i)?;
            Some(Reason {
                feature: shown.name.clone(),
                label: shown.label.clone(),
                direction: if phi > 0.0 { Direction::Up } else { Direction::Down },
                strength,
                text: shown.text(&spec.encoding, feature(i), model.encoder().code(i, feature(i))),
            })
        };
        strong.into_iter().filter_map(reason).collect()
    }
}

impl Mixer {
    fn rows(model: &Model, weights: &[u8], typical: &[Typical]) -> Result<Self, ModelError> {
        let encoder = model.encoder();
        let spec = model.spec();
        let network = Network::read(spec.kind, weights, spec.schema.width())?;
        let (mut background, mut slots, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let median = |i: usize| match typical.get(i) {
            Some(Typical::Number(bands)) => Value::Number(bands.median()),
            _ => Value::Missing,
        };
        let medians: Vec<Value<'_>> = (0..typical.len()).map(median).collect();
        // Not finite only for numbers no network can take; nothing can be explained then.
        _ = encoder.encode(|i| medians.get(i).unwrap_or(&Value::Missing), &mut background);
        let numbers = encoder.dense() / 2;
        // Plain numbers, then the places of piecewise ones; their flags in the same order; then the categories' codes.
        let (mut number, mut place, mut category) = (0, numbers - encoder.ramps().len(), encoder.dense());
        for (feature, typical) in spec.schema.features.iter().zip(typical) {
            let slot = match (&feature.encoding, typical) {
                (Encoding::Category { vocabulary }, Typical::Shares(of_words)) => {
                    set(&mut background, category, (vocabulary.len() + 1) as f32);
                    shares.push(of_words.as_slice());
                    [category, category]
                }
                (Encoding::Boolean { .. }, Typical::Shares(of_words)) => {
                    set(&mut background, number, of_words.get(1).copied().unwrap_or_default() as f32);
                    set(&mut background, numbers + number, 0.0);
                    [number, numbers + number]
                }
                (Encoding::Number { .. }, Typical::Number(_)) => [number, numbers + number],
                (Encoding::Piecewise { .. }, Typical::Number(_)) => [place, numbers + place],
                _ => {
                    let (feature, reason) = (feature.name.clone(), "what is typical is of another type");
                    return Err(ModelError::Schema { feature, reason });
                }
            };
            let next = match &feature.encoding {
                Encoding::Category { .. } => &mut category,
                Encoding::Piecewise { .. } => &mut place,
                Encoding::Number { .. } | Encoding::Boolean { .. } => &mut number,
            };
            *next += 1;
            slots.push(slot);
        }
        let network = with_average_words(network, encoder, &shares);
        let kernel = Box::new(Kernel::new(&encoder.with_average_words(), &network)?);
        Ok(Mixer::Rows { kernel, background, slots })
    }

    /// The typical lead as values: medians and the most frequent words.
    fn values(model: &Model, typical: &[Typical]) -> Self {
        let value = |(spec, typical): (&super::FeatureSpec, &Typical)| match (&spec.encoding, typical) {
            (_, Typical::Number(bands)) => Value::Number(bands.median()),
            (Encoding::Boolean { .. }, Typical::Shares(shares)) => Value::Boolean(most(shares) == Some(1)),
            (Encoding::Category { vocabulary }, Typical::Shares(shares)) => {
                let word = most(shares).and_then(|word| vocabulary.get(word));
                word.map_or(Value::Missing, |word| Value::Text(word.clone().into()))
            }
            _ => Value::Missing,
        };
        Mixer::Values(model.features().iter().zip(typical).map(value).collect())
    }
}

/// The place of the greatest share, the first of equal ones; `None` where all are 0.
fn most(shares: &[f64]) -> Option<usize> {
    let greatest = shares.iter().copied().fold(0.0, f64::max);
    shares.iter().position(|share| *share == greatest && greatest > 0.0)
}

fn set(row: &mut [f32], at: usize, value: f32) {
    if let Some(slot) = row.get_mut(at) {
        *slot = value;
    }
}

/// The network with one more column behind each category's: the average of its words' weights by their shares.
fn with_average_words(network: Network, encoder: &Encoder, shares: &[&[f64]]) -> Network {
    let ramps: usize = encoder.ramps().iter().sum();
    let before_words = encoder.dense() - encoder.ramps().len() + ramps;
    let widen = |layer: Layer| {
        let mut weight = Vec::with_capacity(layer.weight.len() + layer.outputs * shares.len());
        for output in layer.weight.chunks_exact(layer.inputs.max(1)) {
            let (dense, mut rest) = output.split_at_checked(before_words).unwrap_or_default();
            weight.extend_from_slice(dense);
            for (width, shares) in encoder.categories().iter().zip(shares) {
                let (words, after) = rest.split_at_checked(*width).unwrap_or_default();
                let average: f64 = words.iter().zip(*shares).map(|(w, share)| f64::from(*w) * share).sum();
                weight.extend_from_slice(words);
                weight.push(average as f32);
                rest = after;
            }
        }
        Layer { inputs: layer.inputs + shares.len(), weight, ..layer }
    };
    match network {
        Network::Linear(layer) => Network::Linear(widen(layer)),
        Network::Mlp(layers) => {
            let mut layers = layers.into_iter();
            let first = layers.next().map(widen);
            Network::Mlp(first.into_iter().chain(layers).collect())
        }
    }
}

/// Writes the compact row of a mix.
fn mix_rows(mix: Mix, lead: &[f32], typical: (&[f32], &[[usize; 2]]), mixed: &mut Vec<f32>) {
    let (background, slots) = typical;
    let (most, other, one) = match mix {
        Mix::Lead => (lead, lead, None),
        Mix::Background => (background, background, None),
        Mix::Without(feature) => (lead, background, Some(feature)),
        Mix::Only(feature) => (background, lead, Some(feature)),
    };
    mixed.clear();
    mixed.extend_from_slice(most);
    for slot in one.and_then(|one| slots.get(one)).into_iter().flatten() {
        if let Some(value) = other.get(*slot) {
            set(mixed, *slot, *value);
        }
    }
}

#[cfg(test)]
mod tests;
