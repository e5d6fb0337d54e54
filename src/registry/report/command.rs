//! `leadwire models`: options in, text out.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{ReportError, diff, list, show};
use crate::{
    config::ModelKey,
    registry::{Trust, keygen, sign},
};

/// Look at the versions on disk, compare and sign them.
#[derive(Clone, Debug, Args)]
pub struct ModelsOptions {
    /// Directory of models.
    #[arg(long, value_name = "DIR", default_value = "models", global = true)]
    models: PathBuf,
    /// Public key in hex, or a file of one, that must have signed what is to serve; may stand several times.
    #[arg(long, value_name = "KEY", global = true)]
    trust: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Every version with its slot, quality and state.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One version: schema, metrics, lineage, files.
    Show {
        /// The version.
        #[arg(value_name = "MODEL/VERSION")]
        version: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check digests, signatures and golden samples; exit code 1 if any version would not serve.
    Verify {
        /// One model or version; all without it.
        #[arg(value_name = "MODEL[/VERSION]")]
        what: Option<String>,
    },
    /// Score the same leads with two versions and tell what changes.
    Diff {
        /// The version that serves.
        #[arg(value_name = "MODEL/VERSION")]
        from: Named,
        /// The version that may follow.
        #[arg(value_name = "MODEL/VERSION")]
        to: Named,
        /// Leads beside the golden samples: CSV with a header or JSON Lines, by the features' names.
        #[arg(long, value_name = "FILE")]
        sample: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign a version's manifest; the signature is written beside it.
    Sign {
        /// The version.
        #[arg(value_name = "MODEL/VERSION")]
        version: Named,
        /// Private key: ed25519 as PKCS#8 PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Make a private key and print its public key, which `model_keys` takes.
    Keygen {
        /// File for the private key; never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `lead/3`
#[derive(Clone, Debug)]
struct Named(String, String);

impl std::str::FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((model, version)) if !model.is_empty() && !version.is_empty() && !version.contains('/') => {
                Ok(Self(model.to_owned(), version.to_owned()))
            }
            _ => Err("expected MODEL/VERSION, such as lead/3"),
        }
    }
}

impl Named {
    fn folder(&self, models: &Path) -> PathBuf {
        models.join(&self.0).join(&self.1)
    }
}

/// What a subcommand has to say.
#[derive(Clone, Debug)]
pub struct Told {
    /// For standard output.
    pub text: String,
    /// Whether the exit code is 0.
    pub ok: bool,
}

/// Runs a subcommand.
pub fn run(options: &ModelsOptions) -> Result<Told, ReportError> {
    let models = options.models.as_path();
    let keys: Vec<ModelKey> = options.trust.iter().map(|key| ModelKey::parse(key)).collect();
    let trust = Trust::load(&keys)?;
    let text = match &options.command {
        Command::List { json } => {
            let listing = list(models, (None, None), &trust)?;
            if *json { line(&listing)? } else { listing.to_string() }
        }
        Command::Show { version, json } => {
            let shown = show(&version.folder(models), &trust)?;
            if *json { line(&shown.to_json()?)? } else { shown.to_string() }
        }
        Command::Verify { what } => return verify(models, what.as_deref(), &trust),
        Command::Diff { from, to, sample, json } => {
            let folders = [from.folder(models), to.folder(models)];
            let diff = diff(folders.each_ref().map(PathBuf::as_path), sample.as_deref(), &trust)?;
            if *json { line(&diff)? } else { diff.to_string() }
        }
        Command::Sign { version, key } => {
            let public = sign(&version.folder(models), key)?;
            format!("{}/{}: signed; public key {public}\n", version.0, version.1)
        }
        Command::Keygen { out } => format!("{}\n", keygen(out)?),
    };
    Ok(Told { text, ok: true })
}

fn verify(models: &Path, what: Option<&str>, trust: &Trust) -> Result<Told, ReportError> {
    let only = match what.map(|what| (what, what.split_once('/'))) {
        None => (None, None),
        Some((_, Some((model, version)))) => (Some(model), Some(version)),
        Some((model, None)) => (Some(model), None),
    };
    let listing = list(models, only, trust)?;
    if listing.versions.is_empty() {
        return Err(ReportError::Nothing { path: models.into(), what: what.unwrap_or_default().to_owned() });
    }
    Ok(Told { text: listing.verdicts(), ok: listing.is_fine() })
}

fn line(value: &impl serde::Serialize) -> Result<String, ReportError> {
    Ok(format!("{}\n", serde_json::to_string(value)?))
}
