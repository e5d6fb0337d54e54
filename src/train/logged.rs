//! The lead log as a table: leads as they were scored, with what became of them within the horizon.

use std::path::{Path, PathBuf};

use sha2::Digest;

use super::{
    TrainError,
    input::{Leads, LogOptions},
    snapshot,
    table::Table,
    times::{self, Times},
};
use crate::{
    config::Config,
    leadlog::{Horizon, Scored, Store, Wanted},
};

/// What reports call it.
pub(super) const SOURCE: &str = "the lead log";

/// What reports call whether a lead converted.
const TARGET: &str = "converted";

/// Reads the leads of a model whose labels are final.
pub(super) fn read(options: &LogOptions, model: &str, now_ms: i64) -> Result<Leads, TrainError> {
    let (state, horizon) = match &options.state {
        Some(state) => (state.clone(), options.horizon.unwrap_or_default()),
        None => {
            let config = Config::load(&options.config).map_err(TrainError::Config)?;
            (config.state, options.horizon.unwrap_or(config.rollout.horizon))
        }
    };
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let horizon = Horizon { ms: millis(horizon), now_ms };
    let wanted = Wanted { model, since_ms: now_ms.saturating_sub(millis(options.since)), horizon };
    let file: PathBuf = state.join(Store::FILE);
    if !file.exists() {
        return Err(TrainError::data(&file, "is not there".into()));
    }
    let store = Store::open_read_only(&state)?;
    let gathered = Gathered::read(&store, &wanted, Path::new(SOURCE))?;
    gathered.check(&store, &wanted, options.min_rows)?;
    Ok(gathered.leads(&wanted))
}

/// Rows as they come.
struct Gathered {
    table: Table,
    labels: Vec<bool>,
    times: Vec<f64>,
}

impl Gathered {
    fn read(store: &Store, wanted: &Wanted<'_>, source: &Path) -> Result<Self, TrainError> {
        let mut gathered = Self { table: Table::of(source), labels: Vec::new(), times: Vec::new() };
        let mut wrong = Ok(());
        store.training(wanted, |scored| {
            wrong = gathered.push(scored);
            wrong.is_ok()
        })?;
        wrong.map(|()| gathered)
    }

    fn push(&mut self, Scored { time_ms, features, won }: Scored<'_>) -> Result<(), TrainError> {
        // A row that somebody edited is passed over.
        if self.table.push_scored(features)? {
            self.labels.push(won);
            self.times.push(time_ms as f64);
        }
        Ok(())
    }

    /// Too few rows are no snapshot; the refusal says how many there are, and how many are only too young.
    fn check(&self, store: &Store, wanted: &Wanted<'_>, least: usize) -> Result<(), TrainError> {
        let rows = self.labels.len();
        if rows >= least {
            return Ok(());
        }
        let young = store.young(wanted)?;
        let (model, since) = (wanted.model, times::told(wanted.since_ms));
        let reason = format!(
            "{rows} leads of model `{model}` since {since} have a final label, {least} are needed; {young} more are too young \
             (--since, --horizon and --min-rows say what counts)"
        );
        Err(TrainError::data(self.table.path(), reason))
    }

    fn leads(self, wanted: &Wanted<'_>) -> Leads {
        let Self { table, labels, times } = self;
        let hashes = snapshot::row_hashes(&table, |row, hash| {
            hash.update(times.get(row).copied().unwrap_or_default().to_le_bytes());
            hash.update([u8::from(labels.get(row).copied().unwrap_or_default())]);
        });
        Leads {
            table,
            source: SOURCE.into(),
            labels,
            times: Some(Times::of_millis(times)),
            cutoff: Some(times::told(wanted.horizon.settled_ms())),
            hashes,
            target: TARGET.into(),
        }
    }
}
