//! A model becomes a version: calibrated, graded, described, and written. What was trained here and what was trained
//! elsewhere go the same way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::{Device, Tensor};

use super::{
    CalibrationChoice, GradeOptions, TrainError,
    card::{self, Told},
    cutoffs,
    dataset::Dataset,
    judged::{self, View},
    schema,
};
use crate::{
    lead::{Cutoffs, Value},
    registry::{
        self, Baseline, Golden, JudgedOn, Lineage, Manifest, Metrics, Plain, Program, Segment, Version,
    },
    score::{Calibration, Encoder, KernelOp, Kind, Model, Objective, Schema, Scratch, Spec},
    stats,
};

/// The last of them is a lead of which nothing is known, to hold the imputation too.
const GOLDEN: usize = 32;

/// The journal of a search, beside the manifest, which does not name it.
pub(super) const STUDY: &str = "study.log";

/// A model file and what it reads.
pub(super) struct Artefact<'a> {
    pub(super) kind: Kind,
    pub(super) objective: Option<Objective>,
    pub(super) schema: Schema,
    /// The file's name in the version's folder.
    pub(super) name: &'static str,
    pub(super) bytes: &'a [u8],
}

/// Where a version comes from. Columns of both datasets are the schema's features, in its order.
pub(super) struct Origin<'a> {
    /// The model's folder.
    pub(super) out: &'a Path,
    /// What leads look like: baseline and background.
    pub(super) described: &'a Dataset,
    /// What scores look like: calibration and metrics where it has labels, cut-offs, the score's baseline, golden samples.
    pub(super) judged: &'a Dataset,
    /// What these leads are, such as `validation rows`.
    pub(super) rows: &'static str,
    pub(super) calibration: CalibrationChoice,
    pub(super) grades: &'a GradeOptions,
    pub(super) lineage: Lineage,
    /// The journal of the search, where there was one.
    pub(super) study: Option<&'a [u8]>,
}

/// A version that is not written yet.
pub(super) struct Draft<'a> {
    pub(super) manifest: Manifest,
    name: &'static str,
    bytes: &'a [u8],
    study: Option<&'a [u8]>,
}

/// Writes the next version of the model, with its card.
pub(super) fn publish(origin: Origin<'_>, artefact: Artefact<'_>) -> Result<Version, TrainError> {
    let (out, judged, rows) = (origin.out, origin.judged, origin.rows);
    draft(origin, artefact)?.write(out, judged, rows)
}

/// Calibrates, grades and describes the next version of the model.
pub(super) fn draft<'a>(origin: Origin<'a>, artefact: Artefact<'a>) -> Result<Draft<'a>, TrainError> {
    let Origin { out, described, judged, rows, calibration, grades, lineage, study } = origin;
    let Artefact { kind, objective, schema, name, bytes } = artefact;
    let cutoffs = Cutoffs { a: 0.0, b: 0.0, c: 0.0 };
    let mut spec = Spec { kind, objective, schema, calibration: Calibration::None, cutoffs };
    let logits = logits(&Model::new(spec.clone(), bytes)?, judged)?;
    spec.calibration = fit_calibration(calibration, &logits, &judged.labels);
    let scores: Vec<f64> = logits.iter().map(|logit| spec.calibration.probability(*logit)).collect();
    spec.cutoffs =
        cutoffs::cutoffs(&scores, grades).map_err(|reason| TrainError::data(judged.path(), reason))?;
    let golden = golden(&Model::new(spec.clone(), bytes)?, judged)?;
    let (model, version) = names(out)?;
    let columns = || described.columns.iter();
    let manifest = Manifest {
        format: 1,
        model,
        version,
        kind,
        objective,
        files: [(name.to_owned(), registry::sha256(bytes))].into(),
        baseline: Baseline {
            rows: described.rows() as u64,
            features: columns().map(|c| (c.name.clone(), schema::histogram(&c.cells))).collect(),
            score: schema::number_histogram(scores.clone(), 0),
        },
        background: columns().map(|c| (c.name.clone(), schema::background(&c.cells))).collect(),
        golden,
        judged_on: (!judged.labels.is_empty())
            .then(|| JudgedOn { metrics: rows.to_owned(), segments: rows.to_owned() }),
        metrics: metrics(&scores, judged),
        segments: segments(&spec.schema, &scores, judged),
        gate: None,
        lineage,
        schema: spec.schema,
        calibration: spec.calibration,
        cutoffs: spec.cutoffs,
    };
    Ok(Draft { manifest, name, bytes, study })
}

fn segments(schema: &Schema, scores: &[f64], judged: &Dataset) -> Vec<Segment> {
    match judged.labels.as_slice() {
        [] => Vec::new(),
        labels => judged::segments(&judged::kinds(schema, judged), scores, labels),
    }
}

impl Draft<'_> {
    /// Where it will be.
    fn folder(&self, out: &Path) -> PathBuf {
        out.join(&self.manifest.version)
    }

    /// The same under another number.
    pub(super) fn numbered(&self, version: &str) -> Self {
        let manifest = Manifest { version: version.to_owned(), ..self.manifest.clone() };
        Self { manifest, ..*self }
    }

    /// The bytes of its manifest.
    pub(super) fn manifest_bytes(&self, out: &Path) -> Result<Vec<u8>, TrainError> {
        let refuse =
            |error: serde_json::Error| TrainError::Out { folder: out.into(), reason: error.to_string() };
        self.manifest.to_bytes().map_err(refuse)
    }

    /// As it would be loaded: everything is checked, the golden samples too.
    pub(super) fn version(&self, out: &Path) -> Result<Version, TrainError> {
        let bytes = self.manifest_bytes(out)?;
        Ok(Version::from_parts(&self.folder(out), &bytes, |_| Ok(self.bytes.to_vec()))?)
    }

    /// Writes it with its card, which tells how good it is on these leads.
    pub(super) fn write(&self, out: &Path, judged: &Dataset, rows: &str) -> Result<Version, TrainError> {
        let version = self.version(out)?;
        let scores = View::new(&version.model, judged).scores()?;
        let files = card::files(&Told { version: &version, judged, scores: &scores, rows });
        let study = self.study.map(|study| (STUDY, study));
        let beside_it: Vec<_> =
            files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).chain(study).collect();
        let folder = self.folder(out);
        Ok(registry::write_with(&folder, &self.manifest, &[(self.name, self.bytes)], &beside_it)?)
    }
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

/// Logits by the code that will serve.
fn logits(model: &Model, dataset: &Dataset) -> Result<Vec<f64>, TrainError> {
    if let Some(op) = model.op() {
        return network_logits(model, &op, dataset);
    }
    let mut scratch = Scratch::default();
    let logit = |row| {
        let lead = dataset.lead(row);
        let scored = model.score(|i| lead.get(i).unwrap_or(&Value::Missing), &mut scratch);
        let reason = |error| TrainError::data(dataset.path(), format!("row {}: {error}", row + 1));
        Ok(scored.map_err(reason)?.logit)
    };
    (0..dataset.rows()).map(logit).collect()
}

fn network_logits(model: &Model, op: &KernelOp, dataset: &Dataset) -> Result<Vec<f64>, TrainError> {
    let (mut row, mut rows) = (Vec::new(), Vec::new());
    for i in 0..dataset.rows() {
        encode(model.encoder(), dataset, i, &mut row)?;
        rows.extend_from_slice(&row);
    }
    let rows = Tensor::from_vec(rows, (dataset.rows(), model.encoder().row_width()), &Device::Cpu)?;
    let logits: Vec<f32> = rows.apply_op1_no_bwd(op)?.to_vec1()?;
    Ok(logits.into_iter().map(f64::from).collect())
}

fn fit_calibration(choice: CalibrationChoice, logits: &[f64], labels: &[bool]) -> Calibration {
    let logits: Vec<f32> = logits.iter().map(|logit| *logit as f32).collect();
    match choice {
        CalibrationChoice::Platt => Calibration::fit_platt(&logits, labels),
        CalibrationChoice::Isotonic => Calibration::fit_isotonic(&logits, labels),
        CalibrationChoice::None => Calibration::None,
    }
}

fn metrics(scores: &[f64], judged: &Dataset) -> Option<Metrics> {
    (!judged.labels.is_empty()).then(|| Metrics {
        auc: stats::auc(scores, &judged.labels).unwrap_or(0.5),
        log_loss: stats::log_loss(scores, &judged.labels),
        brier: stats::brier(scores, &judged.labels),
        rows: judged.rows() as u64,
        positives: judged.positives() as u64,
    })
}

/// The quality of a version on rows that had no part in it.
pub(super) fn judge(version: &Version, rows: &Dataset) -> Result<Option<Metrics>, TrainError> {
    let calibration = &version.manifest.calibration;
    let logits = logits(&version.model, rows)?;
    let scores: Vec<f64> = logits.iter().map(|logit| calibration.probability(*logit)).collect();
    Ok(metrics(&scores, rows))
}

/// Leads at even distances, and one of which nothing is known.
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
                Value::Missing | Value::Cleared => None,
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

/// The model's name, and the version after the highest in its folder.
fn names(out: &Path) -> Result<(String, String), TrainError> {
    let refuse = |reason: String| TrainError::Out { folder: out.into(), reason };
    let model = model_name(out)?;
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries.flatten().collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let versions = entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let next = versions
        .max()
        .unwrap_or(0)
        .checked_add(1)
        .ok_or_else(|| refuse("has no number left for a version".into()))?;
    Ok((model, next.to_string()))
}

/// The model whose versions stand in a folder.
pub(super) fn model_name(out: &Path) -> Result<String, TrainError> {
    let name = out.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| TrainError::Out { folder: out.into(), reason: "names no model".into() })
}

/// A file's name without its folder, which would say too much of the machine.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// This program, as far as the bytes of a model depend on it.
pub(super) fn program() -> Program {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("fma", is_x86_feature_detected!("fma")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        crates: registry::sha256(include_bytes!("../../Cargo.lock")),
        cpu: known.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect(),
    }
}

/// The commit of the working tree the command runs in, where there is one.
pub(super) fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{VersionError, WEIGHTS, fixture};

    #[test]
    fn a_version_whose_golden_samples_are_off_is_none() {
        let root = tempfile::tempdir().unwrap();
        let bytes = fs::read(fixture::write(root.path(), "lead", "1", 0.5).join(WEIGHTS)).unwrap();
        let draft = |off: f32| {
            let mut manifest = fixture::manifest("lead", "2", 0.5);
            manifest.golden[3].score += off;
            Draft { manifest, name: WEIGHTS, bytes: &bytes, study: None }.version(&root.path().join("lead"))
        };
        assert_eq!(draft(0.0).unwrap().manifest.golden.len(), 8);
        for off in [2e-5, -0.1] {
            let refused = draft(off).err();
            let is_golden =
                matches!(refused, Some(TrainError::Version(VersionError::Golden { sample: 3, .. })));
            assert!(is_golden, "{off}: {refused:?}");
        }
    }
}
