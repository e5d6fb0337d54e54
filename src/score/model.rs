//! A model: schema, network, calibration and cut-offs, compiled for scoring.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Calibration, Encoder, FeatureSpec, Kernel, KernelOp, Kind, Network, Schema, Scratch};
use crate::lead::{Cutoffs, Grade, Score, Value};

/// What a manifest says of a model, besides its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Which network; its sizes come from the weights.
    pub kind: Kind,
    /// What it reads.
    pub schema: Schema,
    /// What makes its logits probabilities.
    pub calibration: Calibration,
    /// What makes probabilities grades.
    pub cutoffs: Cutoffs,
}

/// A compiled model. Immutable; share it behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Model {
    spec: Spec,
    encoder: Encoder,
    kernel: Arc<Kernel>,
}

/// One lead's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Calibrated probability.
    pub score: Score,
    /// The band it falls in.
    pub grade: Grade,
    /// What the network said before calibration.
    pub logit: f32,
}

/// Why a model was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A feature of the schema.
    #[error("feature `{feature}`: {reason}")]
    Schema {
        /// Its name.
        feature: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The weights file, or a tensor in it.
    #[error("weights: {0}")]
    Weights(String),
    /// A tensor that does not fit the schema or its neighbours.
    #[error("weights: tensor `{tensor}` is {shape:?}, expected {expected}")]
    Shape {
        /// Its name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape that fits.
        expected: String,
    },
    /// The calibration's numbers.
    #[error("calibration: {0}")]
    Calibration(&'static str),
    /// The cut-offs' numbers.
    #[error("cutoffs must be in 0..=1 and must not rise from a to c")]
    Cutoffs,
}

/// Why a lead got no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A value too large for the network, or a result that is not a number.
    #[error("the score is not finite")]
    NotFinite,
}

impl Model {
    /// Compiles a model from its spec and the bytes of its safetensors file. Both may be hostile.
    pub fn new(spec: Spec, weights: &[u8]) -> Result<Self, ModelError> {
        let encoder = Encoder::new(&spec.schema)?;
        spec.calibration.check()?;
        let Cutoffs { a, b, c } = spec.cutoffs;
        if !(1.0 >= a && a >= b && b >= c && c >= 0.0) {
            return Err(ModelError::Cutoffs);
        }
        let network = Network::read(spec.kind, weights, spec.schema.width())?;
        let kernel = Arc::new(Kernel::new(&encoder, &network)?);
        Ok(Self { spec, encoder, kernel })
    }

    /// The features it reads, in schema order.
    pub fn features(&self) -> &[FeatureSpec] {
        &self.spec.schema.features
    }

    /// What it was compiled from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its encoder, for building rows of a batch.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Its kernel as a graph operation over a batch of the encoder's rows.
    pub fn op(&self) -> KernelOp {
        KernelOp(Arc::clone(&self.kernel))
    }

    /// Scores the lead whose `i`-th schema feature is `feature(i)`.
    pub fn score<'v, 'f: 'v>(
        &self,
        feature: impl Fn(usize) -> &'v Value<'f>,
        scratch: &mut Scratch,
    ) -> Result<Scored, ScoreError> {
        if !self.encoder.encode(feature, &mut scratch.row) {
            return Err(ScoreError::NotFinite);
        }
        self.scored(self.kernel.logit(&scratch.row, &mut scratch.buffers))
    }

    /// The result for a logit of [`Model::op`].
    pub fn scored(&self, logit: f32) -> Result<Scored, ScoreError> {
        let probability = self.spec.calibration.probability(logit) as f32;
        let score = Score::new(probability).filter(|_| logit.is_finite()).ok_or(ScoreError::NotFinite)?;
        Ok(Scored { score, grade: self.spec.cutoffs.grade(score), logit })
    }

    /// The first required feature that is missing, or of another type.
    pub fn missing_required<'v, 'f: 'v>(&self, feature: impl Fn(usize) -> &'v Value<'f>) -> Option<usize> {
        let mut required = self.features().iter().enumerate().filter(|(_, spec)| spec.required);
        required.find(|(i, _)| self.encoder.is_missing(*i, feature(*i))).map(|(i, _)| i)
    }
}
