//! `leadwire models`: what stands on disk, told to people and scripts. Everything is loaded as the sidecar would load it.

mod table; // aligned text
mod list; // every version and its slot
mod show; // one version
mod sample; // leads from a file
mod diff; // two versions on the same leads
mod command; // options in, text out

use std::{io, path::PathBuf};

pub use self::{
    command::{ModelsOptions, Told, run},
    diff::{Diff, diff},
};

pub(crate) use self::table::{Table, thousands};
use self::{list::list, show::show};
use super::{KeyError, Manifest, VersionError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory of models cannot be read.
    #[error("cannot read {}", path.display())]
    Models {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such model or version.
    #[error("no version of {what:?} in {}", path.display())]
    Nothing {
        /// The directory of models.
        path: PathBuf,
        /// What was asked for.
        what: String,
    },
    /// A version that was asked for would not serve.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The leads' file cannot be used.
    #[error("{}: {reason}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The report is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The kind as the manifest writes it.
fn kind(manifest: &Manifest) -> String {
    let json = serde_json::to_value(manifest.kind).ok();
    json.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()
}
