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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Outcome, Score, Value},
        leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord},
    };

    const DAY: i64 = 86_400_000;

    /// Today: 2026-11-02.
    const NOW: i64 = 1_793_577_600_000;

    /// A lead scored so many days ago, and another entry where it converted a day later.
    fn lead(days: i64, n: usize, won: bool) -> Vec<Entry> {
        let id: Box<str> = format!("{days}-{n}").into();
        let (time_ms, names) = (NOW - days * DAY, ["age", "job", "vip", "zip"].map(Arc::from));
        let text = |text: &'static str| Value::Text(text.into());
        let job = if n.is_multiple_of(3) { Value::Missing } else { text(["chef", "clerk"][n % 2]) };
        let features = Packed::new(&[
            Value::Number(n as f64),
            job,
            Value::Boolean(n.is_multiple_of(2)),
            text(["10", "20"][n % 2]),
        ]);
        let scored = ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: Some(id.clone()),
            arm: Arm::Champion,
            model: ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() }.into(),
            names: names.into(),
            features,
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: 900,
            decision: Decision::Headers,
            exposure: None,
            fell: None,
        };
        let outcome =
            OutcomeRecord { time_ms: time_ms + DAY, route: "r".into(), outcome: Outcome::new(&*id, true) };
        let mut entries = vec![Entry::Score(scored)];
        entries.extend(won.then_some(Entry::Outcome(outcome)));
        entries
    }

    fn log(days: std::ops::Range<i64>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let entries: Vec<Entry> =
            days.rev().flat_map(|day| (0..4).flat_map(move |n| lead(day, n, n == 1))).collect();
        Store::open(folder.path()).unwrap().write(&entries).unwrap();
        folder
    }

    fn options(state: &Path, min_rows: usize) -> LogOptions {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let state = Some(state.to_owned());
        LogOptions {
            from_log: true,
            config: PathBuf::new(),
            state,
            since: days(40),
            horizon: Some(days(10)),
            min_rows,
        }
    }

    #[test]
    fn leads_come_as_they_were_scored_with_a_final_label() {
        let folder = log(1..60);
        let leads = read(&options(folder.path(), 1), "lead", NOW).unwrap();
        assert_eq!((leads.labels.len(), leads.labels.iter().filter(|won| **won).count()), (31 * 4, 31));
        let range = leads.times.as_ref().unwrap().range().unwrap();
        assert_eq!((&*range.0, &*range.1), ("2026-09-23T00:00:00Z", "2026-10-23T00:00:00Z"));
        assert_eq!(leads.cutoff.as_deref(), Some("2026-10-23T00:00:00Z"));
        let columns = leads.table.columns();
        let told: Vec<_> =
            columns.iter().map(|column| (&*column.name, column.quoted, column.word(1))).collect();
        let expected = [
            ("age", false, Some("1.0")),
            ("job", true, Some("clerk")),
            ("vip", false, Some("false")),
            ("zip", true, Some("20")),
        ];
        assert_eq!(told, expected);
        let again = read(&options(folder.path(), 1), "lead", NOW).unwrap();
        assert_eq!(snapshot::digest(&leads.hashes), snapshot::digest(&again.hashes));
        let later = read(&options(folder.path(), 1), "lead", NOW + DAY).unwrap();
        assert_ne!(snapshot::digest(&leads.hashes), snapshot::digest(&later.hashes));
    }

    #[test]
    fn too_few_are_refused_with_the_numbers() {
        let folder = log(1..60);
        let refused = |model: &str, min_rows, expected: &str| {
            let error = read(&options(folder.path(), min_rows), model, NOW).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let told = "the lead log: 124 leads of model `lead` since 2026-09-23T00:00:00Z have a final label, 125 are needed; \
                    36 more are too young";
        refused("lead", 125, told);
        refused("other", 1, "the lead log: 0 leads of model `other` since");
        let absent = tempfile::tempdir().unwrap();
        let error = read(&options(absent.path(), 1), "lead", NOW).err().unwrap().to_string();
        assert!(error.ends_with("leads.sqlite: is not there"), "{error}");
        let without = LogOptions { state: None, config: "absent.yaml".into(), ..options(absent.path(), 1) };
        assert!(matches!(read(&without, "lead", NOW).err(), Some(TrainError::Config(_))));
    }
}
