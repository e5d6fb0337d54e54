//! A fitted network becomes a version: calibrated, graded, described, and written.

use std::{fs, path::Path, process::Command};

use candle_core::{Device, Tensor};

use super::{CalibrationChoice, TrainError, TrainOptions, dataset::Dataset, schema};
use crate::{
    lead::{Cutoffs, Value},
    registry::{self, Baseline, Golden, Lineage, Manifest, Metrics, Plain, Version, WEIGHTS},
    score::{Calibration, Encoder, Kind, Model, ModelError, Network, Schema, Scratch, Spec},
    stats,
};

/// The last of them is a lead of which nothing is known, to hold the imputation too.
const GOLDEN: usize = 32;

/// Where a version comes from.
pub(super) struct Origin<'a> {
    pub(super) options: &'a TrainOptions,
    pub(super) train: &'a Dataset,
    pub(super) valid: &'a Dataset,
}

/// Writes the next version of the model. Calibration, cut-offs, metrics and the score's baseline come from the
/// validation rows.
pub(super) fn publish(
    origin: &Origin<'_>,
    kind: Kind,
    schema: Schema,
    network: &Network,
) -> Result<Version, TrainError> {
    let Origin { options, train, valid } = origin;
    let weights = network.to_bytes()?;
    let mut spec =
        Spec { kind, schema, calibration: Calibration::None, cutoffs: Cutoffs { a: 0.0, b: 0.0, c: 0.0 } };
    let logits = logits(&Model::new(spec.clone(), &weights)?, valid)?;
    spec.calibration = calibration(options.calibration, &logits, &valid.labels);
    let scores: Vec<f64> = logits.iter().map(|logit| spec.calibration.probability(*logit)).collect();
    spec.cutoffs = cutoffs(&scores);
    let golden = golden(&Model::new(spec.clone(), &weights)?, valid)?;
    let (model, version) = names(&options.out)?;
    let named = |column: &super::dataset::Column| column.name.clone();
    let manifest = Manifest {
        format: 1,
        model,
        version,
        kind,
        files: [(WEIGHTS.to_owned(), registry::sha256(&weights))].into(),
        baseline: Baseline {
            rows: train.rows() as u64,
            features: train.columns.iter().map(|c| (named(c), schema::histogram(&c.cells))).collect(),
            score: schema::number_histogram(scores.clone(), 0),
        },
        background: train.columns.iter().map(|c| (named(c), schema::background(&c.cells))).collect(),
        golden,
        metrics: metrics(&scores, valid),
        lineage: lineage(origin),
        schema: spec.schema,
        calibration: spec.calibration,
        cutoffs: spec.cutoffs,
    };
    let folder = options.out.join(&manifest.version);
    Ok(registry::write(&folder, &manifest, &[(WEIGHTS, &weights)])?)
}

/// One row through the encoder.
pub(super) fn encode(
    encoder: &Encoder,
    dataset: &Dataset,
    row: usize,
    columns: &mut Vec<f32>,
) -> Result<(), TrainError> {
    let lead = dataset.lead(row);
    if encoder.encode(|i| lead.get(i).unwrap_or(&Value::Missing), columns) {
        return Ok(());
    }
    Err(TrainError::data(dataset.path(), format!("row {} holds a number too large to score", row + 1)))
}

/// Logits by the kernel that will serve.
fn logits(model: &Model, dataset: &Dataset) -> Result<Vec<f32>, TrainError> {
    let (mut row, mut rows) = (Vec::new(), Vec::new());
    for i in 0..dataset.rows() {
        encode(model.encoder(), dataset, i, &mut row)?;
        rows.extend_from_slice(&row);
    }
    let rows = Tensor::from_vec(rows, (dataset.rows(), model.encoder().row_width()), &Device::Cpu)?;
    let op = model.op().ok_or_else(|| ModelError::Weights("trees are not trained here".into()))?;
    Ok(rows.apply_op1_no_bwd(&op)?.to_vec1()?)
}

fn calibration(choice: CalibrationChoice, logits: &[f32], labels: &[bool]) -> Calibration {
    match choice {
        CalibrationChoice::Platt => Calibration::fit_platt(logits, labels),
        CalibrationChoice::Isotonic => Calibration::fit_isotonic(logits, labels),
        CalibrationChoice::None => Calibration::None,
    }
}

/// A is the top tenth, B the next fifth, C the three tenths after.
fn cutoffs(scores: &[f64]) -> Cutoffs {
    let sorted = stats::sorted(scores.to_vec());
    let at = |q| stats::quantile(&sorted, q).unwrap_or_default() as f32;
    Cutoffs { a: at(0.9), b: at(0.7), c: at(0.4) }
}

fn metrics(scores: &[f64], valid: &Dataset) -> Metrics {
    Metrics {
        auc: stats::auc(scores, &valid.labels).unwrap_or(0.5),
        log_loss: stats::log_loss(scores, &valid.labels),
        brier: stats::brier(scores, &valid.labels),
        rows: valid.rows() as u64,
        positives: valid.positives() as u64,
    }
}

/// Validation leads at even distances, and one of which nothing is known.
fn golden(model: &Model, valid: &Dataset) -> Result<Vec<Golden>, TrainError> {
    let unknown = vec![Value::Missing; valid.columns.len()];
    let known = (0..GOLDEN - 1).map(|i| valid.lead(i * valid.rows() / (GOLDEN - 1)));
    let mut scratch = Scratch::default();
    known
        .chain([unknown])
        .map(|lead| {
            let scored = model
                .score(|i| lead.get(i).unwrap_or(&Value::Missing), &mut scratch)
                .map_err(|error| TrainError::data(valid.path(), error.to_string()))?;
            let plain = |value: &Value<'_>| match value {
                Value::Missing => None,
                Value::Number(number) => Some(Plain::Number(*number)),
                Value::Text(text) => Some(Plain::Text(text.to_string())),
                Value::Boolean(yes) => Some(Plain::Boolean(*yes)),
            };
            let named = valid.columns.iter().zip(&lead);
            let features =
                named.filter_map(|(column, value)| Some((column.name.clone(), plain(value)?))).collect();
            Ok(Golden { features, score: scored.score.probability() })
        })
        .collect()
}

fn lineage(origin: &Origin<'_>) -> Lineage {
    let Origin { options, train, .. } = origin;
    Lineage {
        dataset: file_name(&options.data),
        digest: train.digest(),
        rows: train.rows() as u64,
        validation: options.valid.as_deref().map(file_name),
        seed: options.seed,
        commit: commit(),
        target: options.target.clone(),
        dropped: options.dropped(),
        source: options.source.clone(),
    }
}

/// The model's name, and the version after the highest in its folder.
fn names(out: &Path) -> Result<(String, String), TrainError> {
    let refuse = |reason: String| TrainError::Out { folder: out.into(), reason };
    let model =
        out.file_name().and_then(|name| name.to_str()).ok_or_else(|| refuse("names no model".into()))?;
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries.flatten().collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let versions = entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    Ok((model.to_owned(), (versions.max().unwrap_or(0) + 1).to_string()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The commit of the working tree the command runs in, where there is one.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
