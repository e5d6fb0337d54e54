//! What FILE is: trees of LightGBM or XGBoost, a network, or an MLflow folder with trees in it.

use std::path::{Path, PathBuf};

use super::mlmodel::{self, Input};
use crate::{
    registry::{self, WEIGHTS},
    score::{
        Kind, ModelError, Network, Objective,
        trees::{NoObjective, Trees},
    },
    train::TrainError,
};

/// What Python packs objects in. They run code when opened.
const PICKLES: [&str; 4] = ["pkl", "pickle", "joblib", "skops"];

/// A model file, read.
pub(super) struct Source {
    /// In an MLflow folder, the file that is the model.
    pub(super) file: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Kind,
    /// `None` of a network.
    pub(super) trees: Option<Trees>,
    /// The columns as MLflow says them.
    pub(super) signature: Vec<Input>,
}

impl Source {
    /// Reads a file or folder. Trees must predict a probability; `objective` is what a person says of theirs.
    pub(super) fn open(path: &Path, objective: Option<Objective>) -> Result<Self, TrainError> {
        let (file, signature) =
            if path.is_dir() { mlmodel::read(path)? } else { (path.to_owned(), Vec::new()) };
        let refuse = |reason: String| TrainError::data(&file, reason);
        if file.extension().is_some_and(|end| PICKLES.iter().any(|pickle| end.eq_ignore_ascii_case(pickle))) {
            let reason = "only Python can open a pickle; save the booster itself, by its save_model";
            return Err(refuse(reason.into()));
        }
        let bytes = bytes(&file).map_err(|error| refuse(error.to_string()))?;
        let is_network = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
        let (kind, trees) = if is_network {
            (Network::kind(&bytes).map_err(|error| refuse(error.to_string()))?, None)
        } else {
            let trees = trees(&bytes, objective).map_err(refuse)?;
            (if trees.is_single() { Kind::Xgboost } else { Kind::Lightgbm }, Some(trees))
        };
        let own = trees.as_ref().map_or("sigmoid", Trees::objective); // a network's last step
        if objective.is_some() && !own.is_empty() {
            return Err(refuse(format!("--objective: the file has its own, `{own}`")));
        }
        Ok(Self { bytes, kind, trees, signature, file })
    }

    /// Why it makes no model, with the file's name.
    pub(super) fn refuse(&self, reason: &ModelError) -> TrainError {
        TrainError::data(&self.file, reason.to_string())
    }

    /// What the file is called in the version's folder.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Linear | Kind::Mlp => WEIGHTS,
            Kind::Lightgbm => "model.txt",
            Kind::Xgboost if Trees::is_ubj(&self.bytes) => "model.ubj",
            Kind::Xgboost => "model.json",
        }
    }
}

fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let folder = file.parent().unwrap_or(Path::new(""));
    registry::read(folder, &file.file_name().unwrap_or_default().to_string_lossy(), registry::MAX_FILE)
}

fn trees(bytes: &[u8], objective: Option<Objective>) -> Result<Trees, String> {
    let without = objective.map_or(NoObjective::Identity, |Objective::Binary| NoObjective::Logit);
    let trees = Trees::read_as(bytes, without).map_err(|error| error.to_string())?;
    if trees.logit_scale().is_some() {
        return Ok(trees);
    }
    let (name, predicts) = (trees.objective(), trees.predicts());
    Err(if name.is_empty() && trees.classes() == 1 {
        "the file names no objective; if the sum of its trees is the logit of a probability, say --objective \
         binary"
            .into()
    } else {
        format!("`{name}` predicts {predicts}, not a probability")
    })
}
