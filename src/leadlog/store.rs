//! SQLite: the lead log on disk.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::record::{Entry, OutcomeRecord, ScoreRecord};

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
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreError {
    /// Whether the file is no database, or one no longer.
    pub(super) fn is_corrupt(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let code = match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(DatabaseCorrupt | NotADatabase))
    }
}

const SCHEMA: i64 = 1;

/// An open lead log.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// The file's name in the state directory.
    pub const FILE: &'static str = "leads.sqlite";

    /// Opens the log in `folder` for writing, and creates both where they are missing.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { folder: folder.display().to_string(), source })?;
        let connection = Connection::open(folder.join(Self::FILE))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // In WAL mode NORMAL loses no committed record to a crash of the process, only to one of the machine.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.busy_timeout(std::time::Duration::from_millis(200))?;
        let store = Self { connection };
        store.migrate()?;
        Ok(store)
    }

    /// Renames a log that is no database, with what SQLite keeps beside it, to `leads.sqlite.corrupt-<n>`.
    pub(super) fn set_aside(folder: &Path) -> Result<PathBuf, StoreError> {
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

    /// Opens an existing log for reading.
    pub fn open_read_only(folder: &Path) -> Result<Self, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join(Self::FILE), flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(Self { connection })
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let found: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => Ok(self.connection.execute_batch(include_str!("schema.sql"))?),
            SCHEMA => Ok(()),
            found => Err(StoreError::Newer { found, known: SCHEMA }),
        }
    }

    /// Writes a batch in one transaction: all of it or none.
    pub fn write(&mut self, batch: &[Entry]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for entry in batch {
            match entry {
                Entry::Score(record) => insert_score(&transaction, record)?,
                Entry::Outcome(record) => insert_outcome(&transaction, record)?,
            }
        }
        Ok(transaction.commit()?)
    }

    /// The number of scores in the log.
    pub fn score_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM scores", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Every score a lead was given, oldest first.
    pub fn scores_of(&self, lead: &str) -> Result<Vec<StoredScore>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, route, arm, model, version, digest, features, score, grade, latency_ns, decision
             FROM scores WHERE lead = ?1 ORDER BY seq",
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
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last outcome recorded for a lead.
    pub fn outcome_of(&self, lead: &str) -> Result<Option<StoredOutcome>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, route, won, revenue FROM outcomes WHERE lead = ?1 ORDER BY seq DESC LIMIT 1",
        )?;
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

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn insert_score(connection: &Connection, record: &ScoreRecord) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO scores
         (time_ms, route, lead, arm, model, version, digest, features, score, grade, latency_ns, decision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    statement.execute(params![
        record.time_ms,
        &*record.route,
        record.lead.as_deref(),
        record.arm.as_str(),
        &*record.model.model,
        &*record.model.version,
        &*record.model.digest,
        record.features.to_json(&record.names),
        // Every f32 is an f64, so it reads back exactly.
        f64::from(record.score.probability()),
        record.grade.as_str(),
        i64::try_from(record.latency_ns).unwrap_or(i64::MAX),
        record.decision.as_str(),
    ])?;
    Ok(())
}

fn insert_outcome(connection: &Connection, record: &OutcomeRecord) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO outcomes (time_ms, route, lead, won, revenue) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let OutcomeRecord { time_ms, route, outcome } = record;
    statement.execute(params![time_ms, &**route, &*outcome.lead, outcome.won, outcome.revenue])?;
    Ok(())
}

/// A score, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of schema.sql, which describes them")]
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
}

/// An outcome, read back.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of schema.sql, which describes them")]
pub struct StoredOutcome {
    pub time_ms: i64,
    pub route: String,
    pub won: bool,
    pub revenue: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
