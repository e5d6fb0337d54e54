//! SQLite: the lead log on disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, config::DbConfig, params};

use super::{
    feedback::insert_feedback,
    forget::Tombs,
    json::FeatureJson,
    known::Memory,
    packed::Packed,
    record::{AliasRecord, Entry, ExposureRecord, OutcomeRecord, ScoreRecord, ShadowRecord},
    rows::ScoreRows,
    spill::Place,
};
use crate::lead::{ArmOutcome, Assignment, Exposure, Grade, KeyKind, ModelId, Score};

/// The lead log could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory could not be made.
    #[error("cannot create {folder}")]
    Folder {
        /// The directory.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not a database could not be renamed.
    #[error("cannot set {file} aside")]
    Aside {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Records could not be written to the files they wait in.
    #[error("cannot write to {folder}")]
    Spill {
        /// The files' directory.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// The files that records wait in are full.
    #[error("no room for more records that wait")]
    NoRoom,
    /// SQLite refused. Not the source: rusqlite's own source says the same once more.
    #[error("lead log: {0}")]
    Sqlite(rusqlite::Error),
    /// Written by a later release.
    #[error("lead log has schema {found}, this release knows up to {known}")]
    Newer {
        /// In the file.
        found: i64,
        /// Here.
        known: i64,
    },
    /// Written by an earlier release, and not to be changed by whoever asks.
    #[error(
        "lead log has schema {found}, and {known} is needed; a start of this release's sidecar brings it there"
    )]
    Older {
        /// In the file.
        found: i64,
        /// Here.
        known: i64,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreError {
    /// Whether the file is no database, or one no longer.
    pub(in crate::leadlog) fn is_corrupt(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let code = match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(DatabaseCorrupt | NotADatabase))
    }
}

/// What makes each version of the schema of the one before.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];

/// Bytes of a page of a new log; one that is there keeps its own. SQLite writes each page twice, and the system takes nearly
/// as long for one of 4 KiB.
const PAGE: u32 = 8_192;

/// An open lead log.
#[derive(Debug)]
pub struct Store {
    pub(in crate::leadlog) connection: Connection,
    json: FeatureJson,
    pub(in crate::leadlog) tombs: Tombs,
}

impl Store {
    /// The file's name in the state directory.
    pub const FILE: &'static str = "leads.sqlite";

    /// Opens the log in `folder` for writing, and creates both where they are missing.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { folder: folder.display().to_string(), source })?;
        let connection = Connection::open(folder.join(Self::FILE))?;
        connection.pragma_update(None, "page_size", PAGE)?;
        // In KiB. Rows are written at the end, and ids in no order find their pages in no cache of a bearable size.
        connection.pragma_update(None, "cache_size", -1_000)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // In WAL mode NORMAL loses no committed record to a crash of the process, only to one of the machine.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.busy_timeout(std::time::Duration::from_millis(200))?;
        plan_once(&connection)?;
        // Pages that stay in use keep nothing of what was deleted or moved; it costs no further writes.
        connection.pragma_update(None, "secure_delete", "fast")?;
        let store = Self::of(connection);
        store.migrate()?;
        Ok(store)
    }

    /// Renames a log that is no database, with what SQLite keeps beside it, to `leads.sqlite.corrupt-<n>`.
    pub(in crate::leadlog) fn set_aside(folder: &Path) -> Result<PathBuf, StoreError> {
        let file = folder.join(Self::FILE);
        let aside = |n: u32| folder.join(format!("{}.corrupt-{n}", Self::FILE));
        let free = (1..u32::MAX).map(aside).find(|path| !path.exists()).unwrap_or_else(|| aside(u32::MAX));
        std::fs::rename(&file, &free)
            .map_err(|source| StoreError::Aside { file: file.display().to_string(), source })?;
        for suffix in ["-wal", "-shm"] {
            // Mostly there is none; one that stays is no part of a new database, which SQLite sees by its salt.
            _ = std::fs::rename(beside(&file, suffix), beside(&free, suffix));
        }
        Ok(free)
    }

    /// Opens an existing log of this release's schema for reading.
    pub fn open_read_only(folder: &Path) -> Result<Self, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join(Self::FILE), flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        plan_once(&connection)?;
        // A container's root may be read-only, and then there is nowhere to put what is sorted.
        connection.pragma_update(None, "temp_store", "memory")?;
        let store = Self::of(connection);
        store.check_schema()?;
        Ok(store)
    }

    /// A log behind a connection.
    pub(in crate::leadlog) fn of(connection: Connection) -> Self {
        Self { connection, json: FeatureJson::default(), tombs: Tombs::default() }
    }

    /// Whether the log has every table that this release knows.
    pub(in crate::leadlog) fn check_schema(&self) -> Result<(), StoreError> {
        let found: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let known = MIGRATIONS.len() as i64;
        match found.cmp(&known) {
            std::cmp::Ordering::Less => Err(StoreError::Older { found, known }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(StoreError::Newer { found, known }),
        }
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let found: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let newer = StoreError::Newer { found, known: MIGRATIONS.len() as i64 };
        let done = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)).ok_or(newer)?;
        for migration in done {
            // Each is one transaction: a log that is cut off in between is taken further the next time.
            self.connection.execute_batch(migration)?;
        }
        Ok(())
    }

    /// Writes a batch in one transaction: all of it or none. Records of leads that were forgotten since are left out.
    pub fn write(&mut self, batch: &[Entry]) -> Result<(), StoreError> {
        self.write_from(batch, None)
    }

    /// The same of a batch that was read from a file, which is then read up to `place`.
    pub(in crate::leadlog) fn write_from(
        &mut self,
        batch: &[Entry],
        place: Option<Place>,
    ) -> Result<(), StoreError> {
        let Self { connection, json, tombs } = self;
        // It reads before it writes: a lock that is asked for only then is not waited for.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tombs.refresh(&transaction)?;
        let mut scores = ScoreRows::new(&transaction, json)?;
        for entry in batch.iter().filter(|entry| !tombs.hold(entry)) {
            match entry {
                Entry::Score(record) => {
                    scores.insert(record)?;
                    insert_first(&transaction, record)?;
                }
                Entry::Outcome(record) if tombs.hold_deal(&transaction, record)? => {}
                Entry::Outcome(record) => insert_outcome(&transaction, record)?,
                Entry::Alias(record) => insert_alias(&transaction, record, tombs)?,
                Entry::Exposure(record) => insert_unscored(&transaction, record)?,
                Entry::Shadow(record) => insert_shadow(&transaction, record)?,
                Entry::Feedback(record) => insert_feedback(&transaction, record)?,
            }
        }
        drop(scores);
        if let Some(Place { segment, offset }) = place {
            let mut statement = transaction
                .prepare_cached("INSERT OR REPLACE INTO spill (one, segment, offset) VALUES (1, ?1, ?2)")?;
            statement.execute(params![segment, i64::try_from(offset).unwrap_or(i64::MAX)])?;
        }
        Ok(transaction.commit()?)
    }

    /// How far the files have been read that records wait in.
    pub(in crate::leadlog) fn place(&self) -> Result<Option<Place>, StoreError> {
        let place = self.connection.query_row("SELECT segment, offset FROM spill", [], |row| {
            let (segment, offset): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Place { segment, offset: offset.unsigned_abs() })
        });
        Ok(place.optional()?)
    }

    /// The number of scores in the log.
    pub fn score_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM scores", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Every score a lead was given, oldest first.
    pub fn scores_of(&self, lead: &str) -> Result<Vec<StoredScore>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, route, arm, model, version, digest, features, score, grade, latency_ns, decision,
             experiment, assigned, bucket, key, propensity, fell
             FROM scores WHERE lead = ?1 ORDER BY time_ms, seq",
        )?;
        let rows = statement.query_map([lead], |row| {
            Ok(StoredScore {
                time_ms: row.get(0)?,
                route: row.get(1)?,
                arm: row.get(2)?,
                model: row.get(3)?,
                version: row.get(4)?,
                digest: row.get(5)?,
                features: row.get(6)?,
                score: row.get(7)?,
                grade: row.get(8)?,
                latency_ns: row.get(9)?,
                decision: row.get(10)?,
                experiment: row.get(11)?,
                assigned: row.get(12)?,
                bucket: row.get(13)?,
                key: row.get(14)?,
                propensity: row.get(15)?,
                fell: row.get(16)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last scores in the log, at most `most`, in the order in which the workers remembered them.
    pub(in crate::leadlog) fn recall(
        &self,
        most: usize,
        names: &Arc<[Arc<str>]>,
    ) -> Result<Vec<(String, Memory)>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT time_ms, lead, model, version, digest, features, score, grade, experiment, bucket, key
             FROM scores WHERE lead IS NOT NULL ORDER BY seq DESC LIMIT ?1",
        )?;
        let mut versions: Vec<Arc<ModelId>> = Vec::new();
        let mut experiments: Option<Arc<str>> = None;
        let rows = statement.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            let id = ModelId {
                model: row.get::<_, String>(2)?.into(),
                version: row.get::<_, String>(3)?.into(),
                digest: row.get::<_, String>(4)?.into(),
            };
            // There are few, so all that have one share it.
            let known = versions.iter().find(|known| ***known == id).cloned();
            let model = known.unwrap_or_else(|| Arc::new(id));
            if !versions.iter().any(|known| Arc::ptr_eq(known, &model)) {
                versions.push(Arc::clone(&model));
            }
            let (features, score, grade): (String, f64, String) = (row.get(5)?, row.get(6)?, row.get(7)?);
            // A row that somebody edited is passed over.
            let read = || {
                Some((Packed::from_json(&features, names)?, Score::new(score as f32)?, Grade::parse(&grade)?))
            };
            let Some((features, score, grade)) = read() else { return Ok(None) };
            let (experiment, bucket, key) = (row.get(8)?, row.get(9)?, row.get(10)?);
            let assignment = recalled(experiment, bucket, key, &mut experiments);
            let (features, names) = (features.known(), names.clone());
            let memory = Memory { time_ms: row.get(0)?, model, score, grade, names, features, assignment };
            Ok(Some((row.get(1)?, memory)))
        })?;
        let memories: Vec<Option<(String, Memory)>> = rows.collect::<Result<_, _>>()?;
        Ok(memories.into_iter().rev().flatten().collect())
    }

    /// Outcomes of deals that no conversion has linked to a lead yet.
    pub(in crate::leadlog) fn unmatched(&self) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM outcomes WHERE lead IS NULL";
        let count: i64 = self.connection.query_row(count, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The outcome that counts of a lead.
    pub fn outcome_of(&self, lead: &str) -> Result<Option<StoredOutcome>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT time_ms, route, won, revenue FROM labels WHERE lead = ?1")?;
        let found = statement.query_row([lead], |row| {
            Ok(StoredOutcome {
                time_ms: row.get(0)?,
                route: row.get(1)?,
                won: row.get(2)?,
                revenue: row.get(3)?,
            })
        });
        Ok(found.optional()?)
    }
}

/// SQLite plans a statement anew for each `LIMIT ?` that it is given, unless it is told that plans are to stay. To plan takes much
/// longer than to count a lead.
fn plan_once(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The same event again is ignored, but for a correction: a higher revision takes its place.
fn insert_outcome(connection: &Connection, record: &OutcomeRecord) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO outcomes (time_ms, route, lead, deal, event, revision, occurred_ms, won, revenue)
         VALUES (?1, ?2, coalesce(?3, (SELECT lead FROM aliases WHERE deal = ?4)), ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (coalesce(deal, lead), event) WHERE event IS NOT NULL DO UPDATE SET
         time_ms = excluded.time_ms, route = excluded.route, lead = coalesce(excluded.lead, lead),
         revision = excluded.revision, occurred_ms = excluded.occurred_ms, won = excluded.won, revenue = excluded.revenue
         WHERE coalesce(excluded.revision, 0) > coalesce(revision, 0)",
    )?;
    let OutcomeRecord { time_ms, route, outcome } = record;
    let id = Some(&*outcome.lead);
    let (lead, deal) = if outcome.via_alias { (None, id) } else { (id, None) };
    let (event, revision, occurred_ms) = (outcome.event.as_deref(), outcome.revision, outcome.time_ms);
    let (won, revenue) = (outcome.won, outcome.revenue);
    statement.execute(params![time_ms, &**route, lead, deal, event, revision, occurred_ms, won, revenue])?;
    Ok(())
}

/// Remembers a conversion, and gives outcomes of the deal that came before it to the lead; of one that was forgotten since
/// they go too.
fn insert_alias(connection: &Connection, record: &AliasRecord, tombs: &Tombs) -> Result<(), StoreError> {
    let AliasRecord { time_ms, alias } = record;
    let mut remember = connection.prepare_cached(
        "INSERT INTO aliases (deal, lead, time_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET lead = excluded.lead, time_ms = excluded.time_ms",
    )?;
    remember.execute(params![&*alias.deal, &*alias.lead, time_ms])?;
    if let Some(gone_ms) = tombs.gone_ms(&alias.lead) {
        let remove = "DELETE FROM outcomes WHERE deal = ?1 AND lead IS NULL AND time_ms <= ?2";
        connection.prepare_cached(remove)?.execute(params![&*alias.deal, gone_ms])?;
    }
    let mut resolve =
        connection.prepare_cached("UPDATE outcomes SET lead = ?2 WHERE deal = ?1 AND lead IS NULL")?;
    resolve.execute([&*alias.deal, &*alias.lead])?;
    Ok(())
}

/// What a row says of an experiment. One that somebody edited says nothing.
fn recalled(
    experiment: Option<String>,
    bucket: Option<i64>,
    key: Option<String>,
    last: &mut Option<Arc<str>>,
) -> Option<Assignment> {
    let (experiment, bucket) = (experiment?, u16::try_from(bucket?).ok()?);
    let key = KeyKind::parse(&key?)?;
    // Neighbours mostly share their experiment.
    let experiment = last.take().filter(|known| **known == *experiment).unwrap_or_else(|| experiment.into());
    *last = Some(Arc::clone(&experiment));
    Some(Assignment { experiment, bucket, key })
}

/// A score is a lead's exposure too, where the lead is known.
fn insert_first(connection: &Connection, record: &ScoreRecord) -> Result<(), StoreError> {
    match (&record.lead, &record.exposure) {
        (Some(lead), Some(exposure)) => {
            let met = Met { time_ms: record.time_ms, model: &record.model.model, lead, exposure };
            insert_exposure(connection, &met, true)
        }
        _ => Ok(()),
    }
}

/// A miss is written each time; a lead that only lacks what its version requires is none.
fn insert_unscored(connection: &Connection, record: &ExposureRecord) -> Result<(), StoreError> {
    let ExposureRecord { time_ms, lead, model, exposure, outcome } = record;
    if let Some(lead) = lead {
        insert_exposure(connection, &Met { time_ms: *time_ms, model, lead, exposure }, false)?;
    }
    if matches!(outcome, ArmOutcome::Failed | ArmOutcome::Late) && exposure.assignment.key.is_sticky() {
        let mut statement = connection.prepare_cached(
            "INSERT INTO misses (time_ms, model, experiment, arm, outcome) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let (experiment, arm) = (&*exposure.assignment.experiment, exposure.arm.as_str());
        statement.execute(params![time_ms, &**model, experiment, arm, outcome.as_str()])?;
    }
    Ok(())
}

/// A lead that met an experiment.
struct Met<'m> {
    time_ms: i64,
    model: &'m str,
    lead: &'m str,
    exposure: &'m Exposure,
}

/// Only a lead's first exposure counts.
fn insert_exposure(connection: &Connection, met: &Met<'_>, scored: bool) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO exposures (model, experiment, lead, arm, bucket, key, time_ms, scored)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let Met { time_ms, model, lead, exposure: Exposure { assignment, arm, .. } } = met;
    let (experiment, arm, key) = (&*assignment.experiment, arm.as_str(), assignment.key.as_str());
    statement.execute(params![model, experiment, lead, arm, assignment.bucket, key, time_ms, scored])?;
    Ok(())
}

fn insert_shadow(connection: &Connection, record: &ShadowRecord) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO shadow_scores (time_ms, lead, model, version, digest, slot, live_version, live_score, live_grade,
         live_ns, score, grade, latency_ns, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let ShadowRecord { time_ms, lead, model, slot, live, score, latency_ns } = record;
    let (ModelId { model, version, digest }, given) = (&**model, score.as_ref().ok());
    statement.execute(params![
        time_ms,
        lead.as_deref(),
        &**model,
        &**version,
        &**digest,
        slot.as_str(),
        &*live.model.version,
        f64::from(live.score.probability()),
        live.grade.as_str(),
        nanoseconds(live.latency_ns),
        given.map(|(score, _)| f64::from(score.probability())),
        given.map(|(_, grade)| grade.as_str()),
        nanoseconds(*latency_ns),
        score.as_ref().err().map(|error| error.as_str()),
    ])?;
    Ok(())
}

fn nanoseconds(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// A score, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct StoredScore {
    pub time_ms: i64,
    pub route: String,
    pub arm: String,
    pub model: String,
    pub version: String,
    pub digest: String,
    pub features: String,
    pub score: f64,
    pub grade: String,
    pub latency_ns: i64,
    pub decision: String,
    pub experiment: Option<String>,
    pub assigned: Option<String>,
    pub bucket: Option<i64>,
    pub key: Option<String>,
    pub propensity: Option<f64>,
    pub fell: Option<String>,
}

/// An outcome, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct StoredOutcome {
    pub time_ms: i64,
    pub route: String,
    pub won: bool,
    pub revenue: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::{Alias, Outcome};

    /// The `n`-th outcome to pass.
    fn outcome(n: i64, lead: &str, won: bool) -> OutcomeRecord {
        OutcomeRecord { time_ms: n, route: "lead.update".into(), outcome: Outcome::new(lead, won) }
    }

    fn of_deal(n: i64, deal: &str, won: bool) -> Entry {
        let outcome = Outcome { via_alias: true, ..Outcome::new(deal, won) };
        Entry::Outcome(OutcomeRecord { time_ms: n, route: "deal.update".into(), outcome })
    }

    fn alias(n: i64, deal: &str, lead: &str) -> Entry {
        Entry::Alias(AliasRecord { time_ms: n, alias: Alias { lead: lead.into(), deal: deal.into() } })
    }

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn a_reader_sorts_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path()).unwrap();
        let reader = Store::open_read_only(folder.path()).unwrap().connection;
        let kept: i64 = reader.pragma_query_value(None, "temp_store", |row| row.get(0)).unwrap();
        assert_eq!(kept, 2, "SQLite's number for it");
    }

    #[test]
    fn of_several_outcomes_the_latest_revision_counts() {
        // Event, revision, time it happened, won; as they pass one after another.
        type Passed<'a> = (Option<&'a str>, Option<i64>, Option<i64>, bool);
        let check = |passed: &[Passed<'_>], won: bool| {
            let (_folder, mut store) = open();
            for (n, (event, revision, occurred_ms, won)) in (0..).zip(passed) {
                let mut record = outcome(n, "a", *won);
                record.outcome.event = event.map(Into::into);
                (record.outcome.revision, record.outcome.time_ms) = (*revision, *occurred_ms);
                store.write(&[Entry::Outcome(record)]).unwrap();
            }
            assert_eq!(store.outcome_of("a").unwrap().map(|found| found.won), Some(won), "{passed:?}");
        };
        check(&[(None, None, None, true), (None, None, None, false)], false);
        check(&[(Some("1"), Some(2), None, true), (Some("0"), Some(1), None, false)], true);
        check(&[(Some("1"), Some(1), None, false), (Some("2"), Some(2), None, true)], true);
        check(
            &[(Some("1"), None, None, true), (Some("2"), None, None, false), (Some("1"), None, None, true)],
            false,
        );
        check(&[(None, None, Some(20), true), (None, None, Some(10), false)], true);
        check(&[(Some("1"), Some(1), None, true), (Some("1"), Some(2), None, false)], false);
        check(&[(Some("1"), Some(2), None, true), (Some("1"), Some(1), None, false)], true);
        check(&[(Some("1"), Some(2), None, true), (Some("1"), Some(2), None, false)], true);
        check(&[(Some("1"), None, None, true), (Some("1"), Some(1), None, false)], false);
        check(&[(None, None, Some(20), true), (None, Some(1), Some(10), false)], false);
    }

    #[test]
    fn an_event_is_its_records_own() {
        let (_folder, mut store) = open();
        for id in ["a", "b"] {
            let mut record = outcome(1, id, true);
            record.outcome.event = Some("1".into());
            store.write(&[Entry::Outcome(record)]).unwrap();
            assert!(store.outcome_of(id).unwrap().is_some());
        }
    }

    #[test]
    fn a_deals_outcome_is_the_leads_whichever_passes_first() {
        for conversion_first in [true, false] {
            let (_folder, mut store) = open();
            let mut entries = [alias(1, "d", "a"), of_deal(2, "d", true)];
            if !conversion_first {
                entries.reverse();
            }
            store.write(&entries[..1]).unwrap();
            assert_eq!(store.unmatched().unwrap(), u64::from(!conversion_first));
            store.write(&entries[1..]).unwrap();
            assert_eq!(store.unmatched().unwrap(), 0);
            assert!(store.outcome_of("a").unwrap().unwrap().won);
            assert_eq!(store.outcome_of("d").unwrap(), None);
        }
    }

    #[test]
    fn a_log_of_the_first_schema_keeps_its_outcomes() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join(Store::FILE)).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        let row = "INSERT INTO outcomes (time_ms, route, lead, won, revenue) VALUES (7, 'lead.update', 'a', 1, 90.5)";
        old.execute_batch(row).unwrap();
        drop(old);
        let found = Store::open(folder.path()).unwrap().outcome_of("a").unwrap().unwrap();
        let route = "lead.update".into();
        assert_eq!(found, StoredOutcome { time_ms: 7, route, won: true, revenue: Some(90.5) });
    }

    #[test]
    fn a_log_of_the_third_schema_keeps_its_scores_and_what_is_known_of_leads() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join(Store::FILE)).unwrap();
        MIGRATIONS[..3].iter().for_each(|migration| old.execute_batch(migration).unwrap());
        let row = "INSERT INTO scores (time_ms, route, lead, arm, model, version, digest, features, score, grade, latency_ns, decision)
                   VALUES (7, 'r', 'a', 'champion', 'lead', '1', 'ab', '{\"age\":5.0}', 0.5, 'B', 9, 'headers')";
        old.execute_batch(row).unwrap();
        drop(old);
        let store = Store::open(folder.path()).unwrap();
        let found = store.scores_of("a").unwrap();
        assert_eq!(
            (found.len(), found[0].score, &found[0].experiment, found[0].bucket),
            (1, 0.5, &None, None)
        );
        let known = store.recall(9, &["age".into()].into()).unwrap();
        assert_eq!((known.len(), known[0].1.assignment.clone()), (1, None));
    }

    #[test]
    fn what_is_edited_in_a_row_is_no_assignment() {
        let check = |experiment: &str, bucket: Option<i64>, key: &str, is_one: bool| {
            let found = recalled(Some(experiment.into()), bucket, Some(key.into()), &mut None);
            assert_eq!(found.is_some(), is_one, "{bucket:?} {key}");
        };
        check("4", Some(0), "email", true);
        check("4", Some(70_000), "email", false);
        check("4", Some(-1), "email", false);
        check("4", None, "email", false);
        check("4", Some(1), "name", false);
    }

    #[test]
    fn a_log_of_a_later_release_is_left_alone() {
        let (folder, store) = open();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = Store::open(folder.path()).unwrap_err().to_string();
        assert_eq!(error, "lead log has schema 99, this release knows up to 5");
    }

    #[test]
    fn each_reason_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Store::FILE), "x".repeat(9_000)).unwrap();
        let told = |folder: &Path| format!("{:#}", anyhow::Error::from(Store::open(folder).unwrap_err()));
        assert_eq!(told(folder.path()), "lead log: file is not a database");
        let file = folder.path().join(Store::FILE);
        assert_eq!(told(&file), format!("cannot create {}: File exists (os error 17)", file.display()));
    }
}
