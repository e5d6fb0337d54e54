//! What a version says of itself: `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{GateVerdict, Segment};
use crate::{
    lead::{Cutoffs, Value},
    score::{Bands, Calibration, Encoding, FeatureSpec, Kind, Objective, Schema, Spec, Typical},
};

/// The only format so far.
const FORMAT: u32 = 1;

/// Fewer would not notice an encoder that reads one category wrong.
const MIN_GOLDEN: usize = 8;

/// A version's manifest. Maps are sorted, so the same training gives the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this file: 1.
    pub format: u32,
    /// The model's name, the folder above the version's.
    pub model: String,
    /// The version, the folder's name.
    pub version: String,
    /// Network or trees.
    pub kind: Kind,
    /// What the trees were trained for, where their file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// SHA-256 in hex of every other file in the folder, by its plain name.
    pub files: BTreeMap<String, String>,
    /// What the model reads.
    pub schema: Schema,
    /// What makes its logits probabilities.
    pub calibration: Calibration,
    /// What makes probabilities grades.
    pub cutoffs: Cutoffs,
    /// What the training data looked like: the reference for drift.
    pub baseline: Baseline,
    /// What reasons compare a lead with, by feature.
    pub background: BTreeMap<String, Background>,
    /// Leads whose score is known, checked before a version may serve.
    pub golden: Vec<Golden>,
    /// Which leads the metrics and the segments are of; `None` where nobody said which leads converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_on: Option<JudgedOn>,
    /// How good it was on the validation data; `None` where nobody said which leads converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// How good it was for leads of one kind, by the features that have a handful of words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// How it did against the champion of its day; `None` where it was never compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateVerdict>,
    /// Where it came from.
    pub lineage: Lineage,
}

/// Reference histograms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Training rows behind the features' histograms.
    pub rows: u64,
    /// One per feature.
    pub features: BTreeMap<String, Histogram>,
    /// Of the calibrated score, over the validation data: scores of leads the network was fitted on flatter it.
    pub score: Histogram,
}

/// One distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Histogram {
    /// Of numbers, cut at their quantiles.
    Number {
        /// From the least value to the greatest, rising. The parts are `(-inf, e1], (e1, e2], ..., (ek, inf)` over the
        /// inner edges, those between the first and the last.
        edges: Vec<f64>,
        /// Values in each part, one more than inner edges.
        counts: Vec<u64>,
        /// Rows without a value.
        missing: u64,
    },
    /// Of words; of booleans, as `false` and `true`.
    Category {
        /// Rows with each word.
        counts: BTreeMap<String, u64>,
        /// Rows without one.
        missing: u64,
        /// Rows with a word that is not among them, because too few had it for the model to know it.
        #[serde(default, skip_serializing_if = "is_zero")]
        unseen: u64,
    },
}

/// One feature of the lead that reasons compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Background {
    /// The training median.
    Number {
        /// The median.
        median: f64,
    },
    /// The share of each word, or of `false` and `true`, among the rows that have one.
    Category {
        /// Sums to 1, unless no row has one.
        shares: BTreeMap<String, f64>,
    },
}

/// A lead and its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Values by feature; one that is left out is missing.
    pub features: BTreeMap<String, Plain>,
    /// The calibrated probability.
    pub score: f32,
}

/// A feature's value as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Plain {
    /// `true`, `false`.
    Boolean(bool),
    /// `38`, `0.5`.
    Number(f64),
    /// `"web"`.
    Text(String),
}

/// Quality on the validation data, calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Area under the ROC curve.
    pub auc: f64,
    /// Mean negative log-likelihood, natural log.
    pub log_loss: f64,
    /// Mean squared distance between probability and outcome.
    pub brier: f64,
    /// Validation rows.
    pub rows: u64,
    /// Of them converted.
    pub positives: u64,
}

/// Which leads figures are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedOn {
    /// Those of the metrics, such as `validation rows`: they chose and calibrated it, which flatters it a little.
    pub metrics: String,
    /// Those of the segments, such as `newest rows`.
    pub segments: String,
}

/// Where a version came from. File names only: paths say too much of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The model file it was imported from, where it was trained elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// The training file; of an imported model, the sample that described it.
    pub dataset: String,
    /// SHA-256 in hex of the rows it was fitted on or described by, as read.
    pub digest: String,
    /// How many.
    pub rows: u64,
    /// The validation file, unless rows of the training file were set apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// Seed of the split, the weights and the order of the rows, where it was trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Commit of the working tree it was trained in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The column that was learnt, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Columns that were left out: ids, and what is known only after the fact.
    pub dropped: Vec<String>,
    /// The citation of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The rows that it was made of, all parts of the split together, where it was trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Columns that held nothing to learn from, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<ColumnNote>,
    /// The program that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// The search that its settings came from, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
}

/// What the same bytes depend on, beside leads, options and seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// SHA-256 in hex of its `Cargo.lock`, which names every crate in it with its version.
    pub crates: String,
    /// What the processor can do of what sums depend on, such as `avx2`.
    pub cpu: Vec<String>,
}

/// A search for settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The study in `study.log`, which lies beside the manifest.
    pub study: String,
    /// Trials of all families, which the same validation leads judged.
    pub compared: usize,
    /// Trials of this study.
    pub trials: usize,
    /// Of them those that came to their end.
    pub complete: usize,
    /// Those that were ended early, for they did worse than most.
    pub pruned: usize,
    /// The best one, from 0; what a killed search began twice counts once.
    pub best: usize,
    /// What the best one was given.
    pub settings: BTreeMap<String, Json>,
    /// What trials could be given, as Optuna writes distributions.
    pub space: BTreeMap<String, Json>,
}

/// A table as it stood when a version was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The names of its files, or the lead log.
    pub source: String,
    /// Leads.
    pub rows: u64,
    /// Of them converted.
    pub positives: u64,
    /// When the first came; a plain number where the time column only gives an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_event: Option<String>,
    /// When the last came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// When the last of those came that it was fitted, chosen or calibrated on; newer ones only judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_until: Option<String>,
    /// Younger leads were left out, converted or not, for their labels were not final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_cutoff: Option<String>,
    /// SHA-256 in hex over the rows, whatever their order and the files they stand in.
    pub digest: String,
}

/// What is to be said of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnNote {
    /// Its name.
    pub column: String,
    /// A few words.
    pub note: String,
}

/// A model file of another tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Its name, without the folder.
    pub file: String,
    /// SHA-256 in hex of its bytes.
    pub sha256: String,
}

impl Manifest {
    /// Parses and checks a manifest; the error names the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let manifest: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
        })?;
        json.end().map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes of `manifest.json`.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The part the model is compiled from.
    pub fn spec(&self) -> Spec {
        Spec {
            kind: self.kind,
            objective: self.objective,
            schema: self.schema.clone(),
            calibration: self.calibration.clone(),
            cutoffs: self.cutoffs,
        }
    }

    /// What reasons compare a lead with, one entry for each feature of the schema.
    pub fn typical(&self) -> Vec<Typical> {
        let of = |spec: &FeatureSpec| {
            let shares = match self.background.get(&spec.name) {
                Some(Background::Number { median }) => {
                    return Typical::Number(self.bands(&spec.name, *median));
                }
                Some(Background::Category { shares }) => shares,
                // The check lets no such manifest pass.
                None => return Typical::Shares(Vec::new()),
            };
            let share = |word: &str| shares.get(word).copied().unwrap_or_default();
            Typical::Shares(match &spec.encoding {
                Encoding::Category { vocabulary } => vocabulary.iter().map(|word| share(word)).collect(),
                _ => vec![share("false"), share("true")],
            })
        };
        self.schema.features.iter().map(of).collect()
    }

    fn bands(&self, name: &str, median: f64) -> Bands {
        let (edges, counts): (&[f64], &[u64]) = match self.baseline.features.get(name) {
            Some(Histogram::Number { edges, counts, .. }) => (edges, counts),
            _ => (&[], &[]),
        };
        // The first and the last edge bound nothing.
        let inner = edges.get(1..edges.len().saturating_sub(1)).unwrap_or_default();
        Bands::new(median, inner, counts)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format: {} is unknown, only {FORMAT} is known", self.format));
        }
        for (key, name) in [("model", &self.model), ("version", &self.version)] {
            plain_name(name).map_err(|reason| format!("{key}: `{name}` {reason}"))?;
        }
        for (name, digest) in &self.files {
            plain_name(name).map_err(|reason| format!("files: `{name}` {reason}"))?;
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(format!("files.{name}: not a SHA-256 in lower-case hex"));
            }
        }
        self.check_features()?;
        self.baseline.score.check().map_err(|reason| format!("baseline.score: {reason}"))?;
        self.check_golden()
    }

    /// Every feature has a histogram and a background of its type, and nothing else has.
    fn check_features(&self) -> Result<(), String> {
        for FeatureSpec { name, encoding, .. } in &self.schema.features {
            let number = matches!(encoding, Encoding::Number { .. } | Encoding::Piecewise { .. });
            match self.baseline.features.get(name) {
                Some(histogram) if number == matches!(histogram, Histogram::Number { .. }) => {
                    histogram.check().map_err(|reason| format!("baseline.features.{name}: {reason}"))?;
                }
                _ => return Err(format!("baseline.features.{name}: no histogram of the feature's type")),
            }
            match self.background.get(name) {
                Some(background) if number == matches!(background, Background::Number { .. }) => {}
                _ => return Err(format!("background.{name}: no background of the feature's type")),
            }
        }
        for (key, len) in
            [("baseline.features", self.baseline.features.len()), ("background", self.background.len())]
        {
            if len != self.schema.features.len() {
                return Err(format!("{key}: names a feature that is not in the schema"));
            }
        }
        Ok(())
    }

    fn check_golden(&self) -> Result<(), String> {
        if self.golden.len() < MIN_GOLDEN {
            return Err(format!("golden: {} samples, at least {MIN_GOLDEN} are needed", self.golden.len()));
        }
        let known = |name: &&String| self.schema.features.iter().any(|feature| feature.name == **name);
        for (i, golden) in self.golden.iter().enumerate() {
            if let Some(name) = golden.features.keys().find(|name| !known(name)) {
                return Err(format!("golden[{i}]: `{name}` is not in the schema"));
            }
        }
        Ok(())
    }
}

impl Histogram {
    fn check(&self) -> Result<(), &'static str> {
        let Histogram::Number { edges, counts, .. } = self else { return Ok(()) };
        if !edges.iter().all(|edge| edge.is_finite()) || !edges.array_windows().all(|[a, b]| a < b) {
            return Err("edges must be finite and rise");
        }
        if counts.len() != edges.len().saturating_sub(2) + 1 {
            return Err("counts must be one more than inner edges");
        }
        Ok(())
    }
}

impl Plain {
    /// The value as an encoder takes it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Plain::Boolean(yes) => Value::Boolean(*yes),
            Plain::Number(number) => Value::Number(*number),
            Plain::Text(text) => Value::Text(text.as_str().into()),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A name that cannot leave its folder, nor be hidden in it.
fn plain_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(plain) {
        return Err("is not a plain name of letters, digits, `-`, `_` and `.`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::fixture;

    /// The fixture's manifest with one key, by JSON pointer, replaced.
    fn refused(pointer: &str, value: serde_json::Value, expected: &str) {
        let mut json: serde_json::Value = serde_json::to_value(fixture::manifest("lead", "1", 0.5)).unwrap();
        match json.pointer_mut(pointer) {
            Some(slot) => *slot = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                json.pointer_mut(parent).unwrap()[key] = value;
            }
        }
        let error = Manifest::parse(json.to_string().as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn reads_what_it_writes() {
        let manifest = fixture::manifest("lead", "1", 0.5);
        assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn errors_name_the_key() {
        refused("/extra", json!(1), "unknown field `extra`");
        refused("/kind", json!("forest"), "kind: unknown variant `forest`");
        refused("/metrics/auc", json!("high"), "metrics.auc: invalid type");
        refused("/schema/features/0/encoding/sd", json!(null), "schema.features[0].encoding");
        refused("/format", json!(2), "format: 2 is unknown");
        refused("/model", json!("../lead"), "model: `../lead` is not a plain name");
        refused("/files", json!({"a/b": "0"}), "files: `a/b` is not a plain name");
        refused("/files", json!({"..": "0"}), "files: `..` is not a plain name");
        refused("/files", json!({"w": "XY"}), "files.w: not a SHA-256");
        refused("/golden", json!([]), "golden: 0 samples");
        refused("/golden/3/features", json!({"typo": 1}), "golden[3]: `typo` is not in the schema");
        refused("/baseline/features", json!({}), "baseline.features.budget: no histogram");
        refused("/baseline/features/budget/edges", json!([2, 1]), "baseline.features.budget: edges must");
        refused("/baseline/score/counts", json!([1, 2, 3]), "baseline.score: counts must");
        refused(
            "/background/channel",
            json!({"type": "number", "median": 1}),
            "background.channel: no background",
        );
        refused("/background/more", json!({"type": "number", "median": 1}), "background: names a feature");
    }

    #[test]
    fn what_follows_the_manifest_is_refused() {
        let mut bytes = fixture::manifest("lead", "1", 0.5).to_bytes().unwrap();
        bytes.extend(b"{}");
        assert!(Manifest::parse(&bytes).is_err());
    }
}
