//! What there is in the lead log, as numbers.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use super::{
    export::rfc3339,
    retention::used,
    spill::Spill,
    store::{Store, StoreError},
};

/// Tables that are counted, in reading order.
const TABLES: [&str; 8] =
    ["scores", "outcomes", "feedback", "aliases", "exposures", "misses", "shadow_scores", "forgotten"];

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// The schema's version.
    pub schema: i64,
    /// Rows of each table.
    pub rows: Vec<(&'static str, u64)>,
    /// The first and the last score's time: RFC 3339.
    pub scored: Option<(String, String)>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Those of them that hold something; the rest is used again.
    pub used_bytes: u64,
    /// Bytes beside it that are not in it yet.
    pub wal_bytes: u64,
    /// Files in which records wait for the log, and their bytes.
    pub spill: (u64, u64),
    /// Files of logs that could not be read and were set aside.
    pub aside: u64,
    /// Outcomes of deals that no conversion has linked to a lead yet.
    pub unmatched: u64,
}

impl Store {
    /// What there is in the log in `state`, which this is.
    pub fn status(&self, state: &Path) -> Result<LogStatus, StoreError> {
        self.check_schema()?;
        let moment = self.connection.unchecked_transaction()?;
        let mut rows = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            let count: i64 =
                moment.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
            rows.push((table, count.unsigned_abs()));
        }
        // Rows are written in the order of their times.
        let ends = "SELECT (SELECT time_ms FROM scores ORDER BY seq LIMIT 1),
                    (SELECT time_ms FROM scores ORDER BY seq DESC LIMIT 1)";
        let ends: (Option<i64>, Option<i64>) =
            moment.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let length = |name: &str| fs::metadata(state.join(name)).map_or(0, |file| file.len());
        let names = || fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let is_aside = |name: &std::ffi::OsString| {
            name.to_string_lossy().starts_with(&format!("{}.corrupt-", Self::FILE))
        };
        Ok(LogStatus {
            schema: moment.pragma_query_value(None, "user_version", |row| row.get(0))?,
            rows,
            scored: ends.0.zip(ends.1).map(|(first, last)| (rfc3339(first), rfc3339(last))),
            bytes: length(Self::FILE),
            used_bytes: used(&self.connection)?,
            wal_bytes: length("leads.sqlite-wal"),
            spill: waiting(&state.join(Spill::FOLDER)),
            aside: names().filter(is_aside).count() as u64,
            unmatched: self.unmatched()?,
        })
    }
}

/// The files of a directory that may be missing, and their bytes.
fn waiting(folder: &Path) -> (u64, u64) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let lengths = files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    lengths.fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.len()))
}

impl fmt::Display for LogStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, rows) in &self.rows {
            writeln!(f, "{table:<14} {rows:>12} rows")?;
        }
        match &self.scored {
            Some((first, last)) => writeln!(f, "scored         {first} to {last}")?,
            None => writeln!(f, "scored         never")?,
        }
        writeln!(
            f,
            "file           {} bytes, {} of them used, {} beside it",
            self.bytes, self.used_bytes, self.wal_bytes
        )?;
        writeln!(f, "waiting        {} files, {} bytes", self.spill.0, self.spill.1)?;
        writeln!(f, "unmatched      {} outcomes of deals without a lead", self.unmatched)?;
        writeln!(f, "set aside      {} files", self.aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leadlog::{Entry, fixture};

    #[test]
    fn everything_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let empty = store.status(folder.path()).unwrap();
        assert_eq!((empty.scored, empty.spill, empty.aside), (None, (0, 0), 0));
        store
            .write(&[fixture::score(0, "a", "1"), fixture::score(1_000, "b", "1")].map(Entry::Score))
            .unwrap();
        fs::create_dir(folder.path().join(Spill::FOLDER)).unwrap();
        fs::write(folder.path().join("spill/1.log"), "12345").unwrap();
        fs::write(folder.path().join("leads.sqlite.corrupt-1"), "").unwrap();
        let status = store.status(folder.path()).unwrap();
        let scored = Some(("1970-01-01T00:00:00.000Z".to_owned(), "1970-01-01T00:00:01.000Z".to_owned()));
        assert_eq!((&status.scored, status.spill, status.aside), (&scored, (1, 5), 1));
        assert_eq!((status.schema, status.rows[0], status.rows[1]), (5, ("scores", 2), ("outcomes", 0)));
        assert!(status.used_bytes > 0 && status.wal_bytes > 0);
        let text = status.to_string();
        assert!(
            text.starts_with("scores                    2 rows\n") && text.contains("1 files, 5 bytes"),
            "{text}"
        );
        store.connection.pragma_update(None, "user_version", 4).unwrap();
        assert!(matches!(store.status(folder.path()), Err(StoreError::Older { .. })));
    }
}
