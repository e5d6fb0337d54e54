//! `leadwire report`: what the sidecar has not counted yet is counted first, where the log can be written.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Asked, Report, ReportOptions, report};
use crate::{
    leadlog::{Horizon, Store, StoreError},
    telemetry::Progress,
};

/// Scores that are counted in one transaction. A sidecar that writes the same log has its turn in between.
const SLICE: usize = 1_000;

/// How long the log is left to a sidecar between two slices.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a lead has to convert where nobody says, in milliseconds: 30 days.
const HORIZON_MS: i64 = 30 * 86_400_000;

/// The report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to report from.
    #[error("{}: no lead log there", folder.display())]
    Missing {
        /// The directory of the state.
        folder: PathBuf,
    },
    /// Nothing of this model has been counted.
    #[error("no lead of model {model:?} has been counted; there are {known}")]
    Unknown {
        /// As asked.
        model: String,
        /// The models there are.
        known: String,
    },
    /// The lead log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The page cannot be written.
    #[error("cannot write {}", file.display())]
    Page {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The report is no JSON.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
}

/// Makes the report of the log in `folder`, and says what to print. Without a horizon that of the last count is taken.
pub fn run(
    options: &ReportOptions,
    folder: &Path,
    horizon_ms: Option<i64>,
    now_ms: i64,
) -> Result<String, ReportError> {
    if !folder.join(Store::FILE).exists() {
        return Err(ReportError::Missing { folder: folder.to_owned() });
    }
    let horizon_ms = count(folder, horizon_ms)?;
    let store = Store::open_read_only(folder)?;
    let horizon = Horizon { ms: horizon_ms, now_ms };
    let asked = Asked::new(options.model.as_deref(), (options.since, options.until), options.by, horizon);
    let report = report(&store, &asked)?;
    if let Some(model) = options.model.as_ref().filter(|_| report.models.is_empty()) {
        let known = store.counted_models()?.join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(ReportError::Unknown { model: model.clone(), known });
    }
    told(options, &report)
}

fn told(options: &ReportOptions, report: &Report) -> Result<String, ReportError> {
    match &options.html {
        Some(file) => {
            let page = |source| ReportError::Page { file: file.clone(), source };
            std::fs::write(file, report.to_html()).map_err(page)?;
            Ok(format!("{}\n", file.display()))
        }
        None if options.json => Ok(format!("{}\n", serde_json::to_string(report)?)),
        None => Ok(report.to_string()),
    }
}

/// Counts what is left, and says under which horizon. A log that cannot be written is reported as far as it has been counted;
/// the report says how much is missing.
fn count(folder: &Path, horizon_ms: Option<i64>) -> Result<i64, ReportError> {
    let mut store = match Store::open(folder) {
        Ok(store) => store,
        Err(newer @ StoreError::Newer { .. }) => return Err(newer.into()),
        Err(_) => {
            let horizon = Store::open_read_only(folder)?.counted_horizon()?;
            return Ok(horizon_ms.or(horizon).unwrap_or(HORIZON_MS));
        }
    };
    let horizon_ms = match horizon_ms {
        Some(ms) => ms,
        None => store.counted_horizon()?.unwrap_or(HORIZON_MS),
    };
    let (mut progress, all, mut done) = (Progress::new(false), store.uncounted()?, 0);
    loop {
        match store.count(SLICE, horizon_ms) {
            Ok(counted) if counted.done => break,
            Ok(counted) => {
                done += counted.steps as u64;
                progress.tell(done as f64 / all.max(1) as f64, || format!("{done} of {all} scores counted"));
            }
            // The sidecar is at it, or the disk is full.
            Err(_) => break,
        }
        std::thread::sleep(PAUSE);
    }
    Ok(horizon_ms)
}
