//! The versions on disk, their slots, and whether each would serve.

use std::{fmt, path::Path, sync::Arc};

use serde::Serialize;

use super::{
    ReportError,
    table::{Table, short, thousands},
};
use crate::registry::{
    Deployment, Trust, Version, VersionError,
    deployment::{folders, versions},
};

/// What stands in a directory of models.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Every version, each model's highest first.
    pub versions: Vec<Listed>,
    /// Deployments that cannot be used.
    pub problems: Vec<String>,
}

/// One version.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The model's folder.
    pub model: String,
    /// The version's folder.
    pub version: String,
    /// `champion`, `challenger 10%`, `shadow`, `previous`; empty without one.
    pub slot: String,
    /// What it says of itself; `None` where it was refused.
    pub facts: Option<Facts>,
    /// Why it would not serve.
    pub refused: Option<Refused>,
}

/// What a version says of itself.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// The kind of model.
    pub kind: String,
    /// On its validation data, where it is known.
    pub auc: Option<f64>,
    /// Training rows.
    pub rows: u64,
    /// SHA-256 of the manifest.
    pub digest: String,
    /// Golden samples, all of which score as they must.
    pub golden: usize,
}

/// Why a version would not serve.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// From a closed set.
    pub kind: &'static str,
    /// The file and what is wrong with it.
    pub reason: String,
}

/// Loads every version under `models`, or those of one model, or one.
pub fn list(
    models: &Path,
    only: (Option<&str>, Option<&str>),
    trust: &Trust,
) -> Result<Listing, ReportError> {
    let unreadable = |source| ReportError::Models { path: models.into(), source };
    let mut names = folders(models).map_err(unreadable)?;
    names.sort_unstable();
    let mut listing = Listing { versions: Vec::new(), problems: Vec::new() };
    for model in names.iter().filter(|name| only.0.is_none_or(|only| only == &***name)) {
        let folder = models.join(&**model);
        let found = versions(&folder, None);
        let wanted = found.iter().filter(|name| only.1.is_none_or(|only| only == &***name));
        let mut listed: Vec<Listed> =
            wanted.map(|version| listed(&folder, (model, version), trust)).collect();
        match Deployment::read(&folder) {
            Ok(Some(deployment)) => {
                listed.iter_mut().for_each(|listed| listed.slot = slot(&deployment, &listed.version));
            }
            Ok(None) => {
                // Without a deployment the highest that loads is champion.
                if let Some(champion) = listed.iter_mut().find(|listed| listed.refused.is_none())
                    && only.1.is_none()
                {
                    champion.slot = "champion".to_owned();
                }
            }
            Err(error) => listing.problems.push(error.to_string()),
        }
        listing.versions.append(&mut listed);
    }
    Ok(listing)
}

fn listed(folder: &Path, (model, version): (&Arc<str>, &Arc<str>), trust: &Trust) -> Listed {
    let (facts, refused) = match Version::load_trusted(&folder.join(&**version), trust) {
        Ok(version) => (Some(Facts::new(&version)), None),
        Err(error) => (None, Some(Refused::new(&error))),
    };
    Listed { model: model.to_string(), version: version.to_string(), slot: String::new(), facts, refused }
}

fn slot(deployment: &Deployment, version: &str) -> String {
    let mut slots = Vec::new();
    if *deployment.champion == *version {
        slots.push("champion".to_owned());
    }
    if let Some(challenger) = deployment.challenger.as_ref().filter(|held| *held.version == *version) {
        slots.push(format!("challenger {}%", challenger.percent));
    }
    if deployment.shadows.iter().any(|shadow| **shadow == *version) {
        slots.push("shadow".to_owned());
    }
    if deployment.previous.as_deref() == Some(version) {
        slots.push("previous".to_owned());
    }
    slots.join(", ")
}

impl Facts {
    fn new(version: &Version) -> Self {
        let manifest = &version.manifest;
        Self {
            kind: super::kind(manifest),
            auc: manifest.metrics.map(|metrics| metrics.auc),
            rows: manifest.baseline.rows,
            digest: version.id.digest.to_string(),
            golden: manifest.golden.len(),
        }
    }
}

impl Refused {
    fn new(error: &VersionError) -> Self {
        Self { kind: error.kind(), reason: error.to_string() }
    }
}

impl Listing {
    /// Whether every version would serve, and there is one.
    pub fn is_fine(&self) -> bool {
        !self.versions.is_empty() && self.versions.iter().all(|listed| listed.refused.is_none())
    }

    /// One line for each version, `lead/1: ok, 32 golden samples`.
    pub fn verdicts(&self) -> String {
        let verdict = |listed: &Listed| match (&listed.facts, &listed.refused) {
            (Some(facts), _) => {
                format!("{}/{}: ok, {} golden samples\n", listed.model, listed.version, facts.golden)
            }
            (None, Some(refused)) => {
                format!("{}/{}: refused: {}\n", listed.model, listed.version, refused.reason)
            }
            (None, None) => String::new(),
        };
        self.versions.iter().map(verdict).collect()
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["model", "version", "slot", "kind", "auc", "rows", "digest", "state"]);
        for listed in &self.versions {
            let slot = if listed.slot.is_empty() { "-" } else { &listed.slot };
            let dash = || "-".to_owned();
            let fact = |of: &dyn Fn(&Facts) -> String| listed.facts.as_ref().map_or_else(dash, of);
            let state = listed
                .refused
                .as_ref()
                .map_or("ok".to_owned(), |refused| format!("refused ({}): {}", refused.kind, refused.reason));
            table.push(vec![
                listed.model.clone(),
                listed.version.clone(),
                slot.to_owned(),
                fact(&|facts| facts.kind.clone()),
                fact(&|facts| facts.auc.map_or_else(dash, short)),
                fact(&|facts| thousands(facts.rows)),
                fact(&|facts| facts.digest.chars().take(12).collect()),
                state,
            ]);
        }
        write!(f, "{table}")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}
