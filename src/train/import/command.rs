//! `leadwire import`: options in, a version and a report out.

use std::{fmt, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    columns::{self, Described},
    source::Source,
};
use crate::{
    registry::{self, Imported, Lineage, Metrics, Version},
    score::{Kind, Network, Objective, trees::Trees},
    train::{
        CalibrationChoice, ColumnOptions, GradeOptions, TrainError,
        dataset::Dataset,
        publish::{self, Artefact, Origin},
    },
};

/// Fewer rows make rough cut-offs and histograms.
const FEW: usize = 1000;

/// Make a version of a model that was trained elsewhere.
#[derive(Clone, Debug, Args)]
pub struct ImportOptions {
    /// The model: a LightGBM text file, an XGBoost JSON or UBJ file, a network in safetensors, or an MLflow folder of such
    /// trees.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// CSV file of past leads, with a header of the model's columns: says what leads and scores look like.
    #[arg(long, value_name = "CSV")]
    pub sample: PathBuf,
    /// Column that says whether the lead converted: 0/1, yes/no or true/false. With it the model's quality is known.
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// Column that only names the lead.
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// Columns of the sample that are no features.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// What the model's columns are, as JSON: a manifest's schema, or names, types and words. Networks need it.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Words of categories are coded in the order of the alphabet, and the sample holds all of them.
    #[arg(long)]
    pub sorted_words: bool,
    /// What the sum of the trees is, where the file does not say.
    #[arg(long, value_enum)]
    pub objective: Option<ObjectiveChoice>,
    /// How the model's probability is corrected on the sample; `none`, as without it, leaves it as it is.
    #[arg(long, value_enum, requires = "target")]
    pub calibration: Option<CalibrationChoice>,
    /// What is said of columns.
    #[command(flatten)]
    pub columns: ColumnOptions,
    /// Where grades begin.
    #[command(flatten)]
    pub grades: GradeOptions,
    /// Citation of the data, kept in the manifest.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// The model's folder; the new version is one more than the highest in it.
    #[arg(long, value_name = "FOLDER", default_value = "models/lead")]
    pub out: PathBuf,
}

/// What a sum of trees is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveChoice {
    /// The logit of a probability.
    Binary,
}

/// What was imported.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    /// Where the version is.
    pub folder: PathBuf,
    /// `model/version`.
    pub id: String,
    /// Its kind in the manifest.
    pub kind: Kind,
    /// The model file's name.
    pub file: String,
    /// Trees, of boosted trees; 0 of a linear booster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trees: Option<usize>,
    /// Layers, of a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Features it reads.
    pub features: usize,
    /// Rows of the sample.
    pub rows: usize,
    /// Its quality on the sample, where that has a target.
    pub metrics: Option<Metrics>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What to do now.
    pub next: Vec<String>,
}

/// Reads, checks and writes. `progress` hears of every step.
pub fn run(options: &ImportOptions, mut progress: impl FnMut(&str)) -> Result<ImportReport, TrainError> {
    progress("reading the model");
    let objective = options.objective.map(|ObjectiveChoice::Binary| Objective::Binary);
    let source = Source::open(&options.file, objective)?;
    progress("reading the sample");
    let Described { schema, data, mut notes } = columns::describe(&source, options)?;
    let lineage = lineage(options, &source, &data);
    let calibration = options.calibration.unwrap_or(CalibrationChoice::None);
    let grades = &options.grades;
    let origin = Origin {
        out: &options.out,
        described: &data,
        judged: &data,
        rows: "rows of the sample",
        calibration,
        grades,
        lineage,
        study: None,
    };
    let (kind, name, bytes) = (source.kind, source.name(), &source.bytes);
    let layers = match source.trees {
        Some(_) => None,
        None => {
            let network =
                Network::read(kind, bytes, schema.width()).map_err(|error| source.refuse(&error))?;
            Some(network.layers().len())
        }
    };
    let artefact = Artefact { kind, objective, schema, name, bytes };
    progress(&format!("scoring {} rows", data.rows()));
    let version = publish::publish(origin, artefact).map_err(|error| match error {
        TrainError::Model(reason) => source.refuse(&reason),
        other => other,
    })?;
    if data.rows() < FEW {
        notes.push(format!("{} rows are few: cut-offs and histograms are rough", data.rows()));
    }
    Ok(ImportReport {
        folder: options.out.join(&*version.id.version),
        id: version.id.to_string(),
        kind,
        file: publish::file_name(&source.file),
        trees: source.trees.as_ref().map(Trees::trees),
        layers,
        features: version.model.features().len(),
        rows: data.rows(),
        metrics: version.manifest.metrics,
        notes,
        next: next(options, &version),
    })
}

fn lineage(options: &ImportOptions, source: &Source, data: &Dataset) -> Lineage {
    let (file, sha256) = (publish::file_name(&source.file), registry::sha256(&source.bytes));
    Lineage {
        imported: Some(Imported { file, sha256 }),
        dataset: publish::file_name(&options.sample),
        digest: data.digest(),
        rows: data.rows() as u64,
        validation: None,
        seed: None,
        commit: None,
        target: options.target.clone(),
        dropped: options.dropped(),
        source: options.source.clone(),
        snapshot: None,
        left_out: Vec::new(),
        program: Some(publish::program()),
        search: None,
    }
}

/// What serves from now on, and the commands that follow.
fn next(options: &ImportOptions, version: &Version) -> Vec<String> {
    let models = options.out.parent().map(|models| models.display().to_string()).unwrap_or_default();
    let models = if models.is_empty() { ".".to_owned() } else { models };
    let start = format!("leadwire models --models {models}");
    let deployment = options.out.join("deployment.json");
    let serves = if deployment.exists() {
        format!("{} says which version serves", deployment.display())
    } else {
        format!("without {} the highest version serves, which is this one", deployment.display())
    };
    let mut next = vec![serves, format!("{start} show {}", version.id)];
    if let Some(before) = version.id.version.parse::<u64>().ok().filter(|number| *number > 1) {
        let (model, sample) = (&version.id.model, options.sample.display());
        next.push(format!("{start} diff {model}/{} {} --sample {sample}", before - 1, version.id));
    }
    next.push("leadwire check says which features the configuration does not map".to_owned());
    next
}

impl ImportOptions {
    /// Columns of the sample that are neither features nor the target.
    pub(super) fn dropped(&self) -> Vec<String> {
        self.id.iter().chain(&self.drop).cloned().collect()
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = match (self.trees, self.layers) {
            (Some(trees), _) => format!("{trees} trees"),
            (None, layers) => format!("{} layers", layers.unwrap_or_default()),
        };
        let kind = format!("{:?}", self.kind).to_lowercase();
        writeln!(f, "{}: {kind}, {parts}, {} features", self.file, self.features)?;
        write!(f, "sample: {} rows", self.rows)?;
        match self.metrics {
            Some(Metrics { auc, log_loss, brier, positives, .. }) => {
                writeln!(f, ", {positives} converted")?;
                writeln!(f, "  AUC {auc:.4}, log-loss {log_loss:.4}, Brier {brier:.4}")?;
            }
            None => writeln!(f, "; how good it is is not known without --target")?,
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        write!(f, "wrote {} to {}", self.id, self.folder.display())?;
        self.next.iter().try_for_each(|next| write!(f, "\nnext: {next}"))
    }
}
