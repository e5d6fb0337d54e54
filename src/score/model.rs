//! A model: schema, network or trees, calibration and cut-offs, compiled for scoring.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Batch, Calibration, Encoder, FeatureSpec, Kernel, KernelOp, Kind, Network, Objective, Schema, Scratch,
    boosted::Boosted,
};
use crate::lead::{Cutoffs, Grade, Score, Value};

/// What a manifest says of a model, besides its model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Network or trees; their sizes come from the model file.
    pub kind: Kind,
    /// What the trees were trained for, where their file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
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
    body: Body,
}

/// What makes a row a logit.
#[derive(Clone, Debug)]
enum Body {
    Network(Arc<Kernel>),
    Trees(Arc<Boosted>),
}

/// One lead's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Calibrated probability.
    pub score: Score,
    /// The band it falls in.
    pub grade: Grade,
    /// What the network or the trees said before calibration.
    pub logit: f64,
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
    /// The trees' file, or one that does not fit the kind, the schema or a probability.
    #[error("trees: {0}")]
    Trees(String),
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
    /// A value too large for a network, or a result that is not a number.
    #[error("the score is not finite")]
    NotFinite,
}

impl Model {
    /// Compiles a model from its spec and the bytes of its model file: safetensors of a network, the library's own of
    /// trees. Both may be hostile.
    pub fn new(spec: Spec, file: &[u8]) -> Result<Self, ModelError> {
        let encoder = Encoder::new(&spec.schema)?;
        spec.calibration.check()?;
        let Cutoffs { a, b, c } = spec.cutoffs;
        if !(1.0 >= a && a >= b && b >= c && c >= 0.0) {
            return Err(ModelError::Cutoffs);
        }
        let body = match spec.kind {
            Kind::Linear | Kind::Mlp => {
                let network = Network::read(spec.kind, file, spec.schema.width())?;
                Body::Network(Arc::new(Kernel::new(&encoder, &network)?))
            }
            Kind::Lightgbm | Kind::Xgboost => {
                Body::Trees(Arc::new(Boosted::read((spec.kind, spec.objective), file, &spec.schema)?))
            }
        };
        Ok(Self { spec, encoder, body })
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

    /// A network's kernel as a graph operation over a batch of the encoder's rows; trees have none.
    pub fn op(&self) -> Option<KernelOp> {
        match &self.body {
            Body::Network(kernel) => Some(KernelOp(Arc::clone(kernel))),
            Body::Trees(_) => None,
        }
    }

    /// Scores the lead whose `i`-th schema feature is `feature(i)`.
    pub fn score<'v, 'f: 'v>(
        &self,
        feature: impl Fn(usize) -> &'v Value<'f>,
        scratch: &mut Scratch,
    ) -> Result<Scored, ScoreError> {
        let logit = match &self.body {
            Body::Network(kernel) => {
                if !self.encoder.encode(feature, &mut scratch.row) {
                    return Err(ScoreError::NotFinite);
                }
                f64::from(kernel.logit(&scratch.row, &mut scratch.buffers))
            }
            Body::Trees(trees) => {
                self.encoder.encode_plain(feature, &mut scratch.plain);
                trees.logit(&scratch.plain, &mut scratch.trees)
            }
        };
        self.scored(logit)
    }

    /// Adds the lead whose `i`-th schema feature is `feature(i)` to a batch.
    pub fn push<'v, 'f: 'v>(&self, feature: impl Fn(usize) -> &'v Value<'f>, batch: &mut Batch) {
        match &self.body {
            Body::Network(_) => {
                let start = batch.compact.len();
                batch.compact.resize(start + self.encoder.row_width(), 0.0);
                let row = batch.compact.get_mut(start..).unwrap_or_default();
                if !self.encoder.write(feature, row) {
                    // The kernel keeps it, and so there is no score.
                    row.fill(f32::NAN);
                }
            }
            Body::Trees(_) => self.encoder.append_plain(feature, &mut batch.plain),
        }
    }

    /// Scores a batch of this model and empties it; `each` gets one result per lead, in order. Equal, to the bit, to what
    /// [`Model::score`] gives lead by lead.
    pub fn score_batch(&self, batch: &mut Batch, mut each: impl FnMut(Result<Scored, ScoreError>)) {
        match &self.body {
            Body::Network(kernel) => {
                let rows = batch.compact.chunks_exact(kernel.row_width().max(1));
                rows.for_each(|row| each(self.scored(kernel.logit(row, &mut batch.buffers).into())));
            }
            Body::Trees(trees) => {
                trees.raw_batch(&batch.plain, &mut batch.trees, &mut batch.raw);
                batch.raw.iter().for_each(|raw| each(self.scored(trees.to_logit(*raw))));
            }
        }
        batch.clear();
    }

    fn scored(&self, logit: f64) -> Result<Scored, ScoreError> {
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{
        goldens,
        score::{Encoding, fixture},
    };

    const CUTOFFS: Cutoffs = Cutoffs { a: 0.5, b: 0.25, c: 0.125 };

    fn spec(kind: Kind, features: Vec<FeatureSpec>) -> Spec {
        let (schema, calibration) = (Schema { features }, Calibration::None);
        Spec { kind, objective: None, schema, calibration, cutoffs: CUTOFFS }
    }

    fn number(name: &str, required: bool) -> FeatureSpec {
        FeatureSpec::new(name, required, Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 })
    }

    /// Logit = 2 x - 1 + 3 if x is missing.
    fn small() -> Model {
        let numbers = [2.0f32, 3.0].map(f32::to_le_bytes).concat();
        let bias = (-1.0f32).to_le_bytes();
        let view = |shape, bytes| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap()
        };
        let tensors = [("linear.weight", view(vec![1, 2], &numbers)), ("linear.bias", view(vec![1], &bias))];
        let weights = safetensors::serialize(tensors, None).unwrap();
        Model::new(spec(Kind::Linear, vec![number("x", true)]), &weights).unwrap()
    }

    #[test]
    fn scores_and_grades() {
        let check = |value: Value<'_>, logit: f64, grade| {
            let scored = small().score(|_| &value, &mut Scratch::default()).unwrap();
            assert_eq!((scored.logit, scored.grade), (logit, grade));
            assert!((f64::from(scored.score.probability()) - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
        };
        check(Value::Number(0.5), 0.0, Grade::A);
        check(Value::Number(0.0), -1.0, Grade::B);
        check(Value::Number(-1.0), -3.0, Grade::D);
        check(Value::Missing, 2.0, Grade::A);
    }

    #[test]
    fn a_result_that_is_not_a_number_is_an_error() {
        for x in [1e300, -1e300, 3.4e38, -3.4e38] {
            let value = Value::Number(x);
            assert_eq!(small().score(|_| &value, &mut Scratch::default()), Err(ScoreError::NotFinite));
        }
    }

    #[test]
    fn a_batch_scores_as_its_leads_do_and_is_empty_then() {
        let (model, mut batch, mut results) = (small(), Batch::default(), Vec::new());
        let leads = [Value::Number(0.5), Value::Number(1e300), Value::Missing, Value::Number(-2.0)];
        let alone: Vec<_> = leads.iter().map(|lead| model.score(|_| lead, &mut Scratch::default())).collect();
        assert_eq!(alone.iter().filter(|result| result.is_err()).count(), 1);
        for _ in 0..2 {
            leads.iter().for_each(|lead| model.push(|_| lead, &mut batch));
            model.score_batch(&mut batch, |result| results.push(result));
            assert_eq!(std::mem::take(&mut results), alone);
        }
        model.score_batch(&mut batch, |result| results.push(result));
        assert!(results.is_empty());
    }

    #[test]
    fn a_required_feature_of_another_type_is_missing() {
        let features = vec![number("a", false), number("b", true), number("c", true)];
        let model =
            Model::new(spec(Kind::Linear, features), &fixture::weights(&[("linear", 1, 6)], 0.1)).unwrap();
        let check = |values: [Value<'_>; 3], missing| {
            assert_eq!(model.missing_required(|i| &values[i]), missing);
        };
        let one = || Value::Number(1.0);
        check([Value::Missing, one(), one()], None);
        check([one(), one(), Value::Missing], Some(2));
        check([one(), Value::Text("1".into()), Value::Missing], Some(1));
    }

    #[test]
    fn cutoffs_must_fall() {
        let weights = fixture::weights(&[("linear", 1, 2)], 0.1);
        let check = |a, b, c| {
            let spec = Spec { cutoffs: Cutoffs { a, b, c }, ..spec(Kind::Linear, vec![number("x", true)]) };
            assert!(matches!(Model::new(spec, &weights), Err(ModelError::Cutoffs)));
        };
        check(0.1, 0.2, 0.05);
        check(1.5, 0.2, 0.1);
        check(0.5, f32::NAN, 0.1);
    }

    /// Candle asks /proc/cpuinfo before every matrix product unless told how many threads to use; 95 us a lead.
    #[test]
    #[cfg(target_os = "linux")]
    fn scoring_reads_no_file() {
        let model = small();
        let rows = Tensor::zeros((8, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let reads_during = |work: &dyn Fn()| {
            let reads = || -> u64 {
                let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
                io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
            };
            let before = reads();
            work();
            reads() - before
        };
        let idle = reads_during(&|| {});
        let scoring = reads_during(&|| {
            let mut scratch = Scratch::default();
            for _ in 0..100 {
                model.score(|_| &Value::Number(0.5), &mut scratch).unwrap();
                rows.apply_op1_no_bwd(&model.op().unwrap()).unwrap();
            }
        });
        assert_eq!(scoring, idle);
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let Some(golden) = goldens::json("goldens/nn_bank.json") else { return };
        for (kind, file, expected) in
            [(Kind::Linear, "logreg_bank", "pred_logreg"), (Kind::Mlp, "mlp_bank", "pred_mlp")]
        {
            let weights = goldens::bytes(&format!("goldens/models/{file}.safetensors")).unwrap();
            let model = Model::new(spec(kind, bank_features(&golden["preprocess"])), &weights).unwrap();
            let mut scratch = Scratch::default();
            for (i, input) in golden["inputs"].as_array().unwrap().iter().enumerate() {
                let values: Vec<Value<'_>> =
                    model.features().iter().map(|f| value(&input[&f.name])).collect();
                let scored = model.score(|i| &values[i], &mut scratch).unwrap();
                let want = golden[expected][i].as_f64().unwrap();
                assert!((f64::from(scored.score.probability()) - want).abs() < 2e-5, "{file} row {i}");
                if let Some(want) = golden["encoded_first5"].get(i) {
                    let mut columns = Vec::new();
                    model.encoder().expand(&scratch.row, &mut columns);
                    check_columns(&columns, want);
                }
            }
        }
    }

    fn check_columns(columns: &[f32], expected: &serde_json::Value) {
        let expected = expected.as_array().unwrap();
        assert_eq!(columns.len(), expected.len());
        for (got, want) in columns.iter().zip(expected) {
            assert!((f64::from(*got) - want.as_f64().unwrap()).abs() < 1e-6);
        }
    }

    fn bank_features(preprocess: &serde_json::Value) -> Vec<FeatureSpec> {
        let at = |key: &str, i: usize| preprocess[key][i].as_f64().unwrap();
        let feature = |name: &str, encoding| FeatureSpec::new(name, true, encoding);
        let numeric = preprocess["numeric"].as_array().unwrap().iter().enumerate().map(|(i, name)| {
            let (median, mean, sd) = (at("median", i), at("mean", i), at("sd", i));
            feature(name.as_str().unwrap(), Encoding::Number { median, mean, sd })
        });
        let vocabularies = preprocess["categorical_vocab"].as_object().unwrap();
        let order =
            preprocess["columns"].as_array().unwrap().iter().filter_map(|c| c.as_str()?.split_once('='));
        let mut names: Vec<&str> = order.map(|(name, _)| name.rsplit(':').next().unwrap()).collect();
        names.dedup();
        let categories = names.into_iter().map(|name| {
            let vocabulary = serde_json::from_value(vocabularies[name].clone()).unwrap();
            feature(name, Encoding::Category { vocabulary })
        });
        numeric.chain(categories).collect()
    }

    fn value(json: &serde_json::Value) -> Value<'_> {
        match json {
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Value::Text(text.as_str().into()),
            _ => Value::Missing,
        }
    }
}
