//! The lead log as rows for other programs: one for each score, with what became of its lead.
//!
//! The columns are those of [`ExportRow`], in that order. All rows are of one
//! moment, since they are read in one transaction, and each is gone before the next is read: memory does not grow with the
//! log. A label stands at the last score that a version gave its lead before anything had become of it, and nowhere else: it is
//! what `labels.rs` says of that score, and lost once the horizon is over.

use std::io;

use rusqlite::{CachedStatement, Connection, Row, params};
use serde::Serialize;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    labels::{self, Label},
    store::{Store, StoreError},
    trial::Horizon,
};
use crate::lead::Score;

/// The names of the columns, in order.
pub(in crate::leadlog) const COLUMNS: [&str; 22] = [
    "time",
    "time_ms",
    "route",
    "lead",
    "model",
    "version",
    "digest",
    "arm",
    "score",
    "points",
    "grade",
    "features",
    "latency_ns",
    "decision",
    "experiment",
    "assigned",
    "propensity",
    "won",
    "revenue",
    "occurred",
    "occurred_ms",
    "revision",
];

/// A stretch of time, in milliseconds since 1970; its end is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from_ms: i64,
    /// The moment after its last.
    pub to_ms: i64,
}

/// A score, as it leaves the log. `F` is how the features are held: as the text of a JSON object, or as the object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportRow<F = String> {
    /// When it was given: RFC 3339, in UTC, to the millisecond.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: i64,
    /// The route's name.
    pub route: String,
    /// The CRM's record id, where the traffic showed it.
    pub lead: Option<String>,
    /// The model's name.
    pub model: String,
    /// The version that answered.
    pub version: String,
    /// SHA-256 of its manifest, in hex.
    pub digest: String,
    /// The slot that answered: champion or challenger.
    pub arm: String,
    /// The probability, 0..=1; the shortest text that reads back to the same 32-bit number.
    pub score: f32,
    /// 0..=100.
    pub points: u8,
    /// A, B, C or D.
    pub grade: String,
    /// As scored; missing ones are left out.
    pub features: F,
    /// What recognising, scoring and writing took, in nanoseconds.
    pub latency_ns: i64,
    /// Where the score was written: request, response, headers, or recorded.
    pub decision: String,
    /// The challenger's version, while a canary ran.
    pub experiment: Option<String>,
    /// The arm by assignment, while a canary ran.
    pub assigned: Option<String>,
    /// How likely that arm was, 0..=1.
    pub propensity: Option<f64>,
    /// Whether the lead was won within the horizon; empty while it is open, and at all scores but the last before an outcome.
    pub won: Option<bool>,
    /// What it was worth.
    pub revenue: Option<f64>,
    /// When the outcome happened, or passed where nobody said: RFC 3339.
    pub occurred: Option<String>,
    /// The same in milliseconds since 1970.
    pub occurred_ms: Option<i64>,
    /// The outcome's revision, where the CRM counts them.
    pub revision: Option<i64>,
}

/// A lead that was removed on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tombstone {
    /// SHA-256 of its id, in hex.
    pub lead_sha256: String,
    /// When it was forgotten: RFC 3339, in UTC, to the millisecond.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: i64,
    /// Rows that were removed, over all tables.
    pub rows: i64,
}

/// Rows could not be read, or not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes the rows.
    #[error("cannot write the rows")]
    Taker(#[from] io::Error),
}

impl From<rusqlite::Error> for ExportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl<F> ExportRow<F> {
    /// The same with its features held otherwise.
    pub fn with_features<G>(self, change: impl FnOnce(F) -> G) -> ExportRow<G> {
        ExportRow {
            features: change(self.features),
            time: self.time,
            time_ms: self.time_ms,
            route: self.route,
            lead: self.lead,
            model: self.model,
            version: self.version,
            digest: self.digest,
            arm: self.arm,
            score: self.score,
            points: self.points,
            grade: self.grade,
            latency_ns: self.latency_ns,
            decision: self.decision,
            experiment: self.experiment,
            assigned: self.assigned,
            propensity: self.propensity,
            won: self.won,
            revenue: self.revenue,
            occurred: self.occurred,
            occurred_ms: self.occurred_ms,
            revision: self.revision,
        }
    }
}

impl Store {
    /// Gives every score of a stretch of time to `take`, in the order in which they were written, with the share (0..=1) of
    /// the stretch that is done. Says how many there were. An error of `take` ends it.
    pub fn export(
        &self,
        span: Span,
        horizon: Horizon,
        mut take: impl FnMut(ExportRow, f64) -> io::Result<()>,
    ) -> Result<u64, ExportError> {
        // One moment for all that is read from here on.
        let moment = self.connection.unchecked_transaction()?;
        let (first, last) = self.seqs_of(span.from_ms, span.to_ms)?;
        let mut labels = Labels::new(&moment, horizon)?;
        let mut scores = moment.prepare(
            "SELECT seq, time_ms, route, lead, model, version, digest, arm, score, grade, features, latency_ns, decision,
             experiment, assigned, propensity
             FROM scores WHERE seq >= ?1 AND seq < ?2 AND time_ms >= ?3 AND time_ms < ?4 ORDER BY seq",
        )?;
        let mut rows = scores.query(params![first, last, span.from_ms, span.to_ms])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (seq, mut score) = score(row)?;
            labels.add(seq, &mut score)?;
            take(score, (seq - first) as f64 / (last - first).max(1) as f64)?;
            count += 1;
        }
        Ok(count)
    }

    /// The leads that were removed on request, the first first.
    pub fn forgotten(&self) -> Result<Vec<Tombstone>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT lead_sha256, time_ms, rows FROM forgotten ORDER BY seq")?;
        let rows = statement.query_map([], |row| {
            let time_ms = row.get(1)?;
            let time = rfc3339(time_ms);
            Ok(Tombstone { lead_sha256: row.get(0)?, time, time_ms, rows: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn score(row: &Row<'_>) -> Result<(i64, ExportRow), rusqlite::Error> {
    let time_ms = row.get(1)?;
    // As it was given: every 32-bit number comes back exactly.
    let score = row.get::<_, f64>(8)? as f32;
    let export = ExportRow {
        time: rfc3339(time_ms),
        time_ms,
        route: row.get(2)?,
        lead: row.get(3)?,
        model: row.get(4)?,
        version: row.get(5)?,
        digest: row.get(6)?,
        arm: row.get(7)?,
        score,
        points: Score::new(score).map_or(0, Score::points),
        grade: row.get(9)?,
        features: row.get(10)?,
        latency_ns: row.get(11)?,
        decision: row.get(12)?,
        experiment: row.get(13)?,
        assigned: row.get(14)?,
        propensity: row.get(15)?,
        won: None,
        revenue: None,
        occurred: None,
        occurred_ms: None,
        revision: None,
    };
    Ok((row.get(0)?, export))
}

/// Looks up what became of leads.
struct Labels<'c> {
    connection: &'c Connection,
    horizon: Horizon,
    later: CachedStatement<'c>,
}

impl<'c> Labels<'c> {
    fn new(connection: &'c Connection, horizon: Horizon) -> Result<Self, StoreError> {
        let later = connection.prepare_cached(
            "SELECT 1 FROM scores
             WHERE lead = ?1 AND model = ?2 AND version = ?3 AND seq > ?4 AND time_ms < ?5 LIMIT 1",
        )?;
        Ok(Self { connection, horizon, later })
    }

    /// Gives a score the label that is its own.
    fn add(&mut self, seq: i64, row: &mut ExportRow) -> Result<(), StoreError> {
        let Some(lead) = &row.lead else { return Ok(()) };
        let closed_ms = labels::closed_ms(self.connection, lead)?;
        if row.time_ms >= closed_ms
            || self.later.exists(params![lead, row.model, row.version, seq, closed_ms])?
        {
            return Ok(());
        }
        let Some(Label { won, revenue, occurred_ms, revision }) =
            labels::label(self.connection, lead, (row.time_ms, self.horizon.ms))?
        else {
            row.won = (row.time_ms <= self.horizon.settled_ms()).then_some(false);
            return Ok(());
        };
        (row.won, row.revenue, row.revision) = (Some(won), revenue, revision);
        (row.occurred, row.occurred_ms) = (Some(rfc3339(occurred_ms)), Some(occurred_ms));
        Ok(())
    }
}

const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `2026-11-22T08:03:00.000Z`; empty where no calendar has such a day.
pub(in crate::leadlog) fn rfc3339(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(TIME).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Grade, Outcome},
        leadlog::{Entry, OutcomeRecord, ScoreRecord, fixture},
    };

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn score(time_ms: i64, lead: &str, version: &str) -> Entry {
        Entry::Score(fixture::score(time_ms, lead, version))
    }

    fn outcome(time_ms: i64, lead: &str, won: bool, revision: i64) -> Entry {
        let outcome = Outcome { revision: Some(revision), revenue: Some(9.5), ..Outcome::new(lead, won) };
        Entry::Outcome(OutcomeRecord { time_ms, route: "lead.update".into(), outcome })
    }

    /// Nothing is old enough to be lost without an outcome.
    const HORIZON: Horizon = Horizon { ms: 10, now_ms: 0 };

    const ALL: Span = Span { from_ms: i64::MIN, to_ms: i64::MAX };

    fn exported(store: &Store, span: Span) -> Vec<ExportRow> {
        let mut rows = Vec::new();
        let count = store
            .export(span, HORIZON, |row, done| {
                assert!((0.0..1.0).contains(&done), "{done}");
                rows.push(row);
                Ok(())
            })
            .unwrap();
        assert_eq!(count, rows.len() as u64);
        rows
    }

    #[test]
    fn a_row_has_what_was_recorded() {
        let (_folder, mut store) = open();
        let record =
            ScoreRecord { grade: Grade::A, lead: None, ..fixture::score(1_795_334_580_007, "", "3") };
        store.write(&[Entry::Score(record)]).unwrap();
        let rows = exported(&store, ALL);
        let text = serde_json::to_string(&rows[0]).unwrap();
        let expected = r#"{"time":"2026-11-22T08:03:00.007Z","time_ms":1795334580007,"route":"lead.create","lead":null,"model":"lead","version":"3","digest":"ab","arm":"champion","score":0.5,"points":50,"grade":"A","features":"{\"age\":56.0}","latency_ns":900,"decision":"headers","experiment":null,"assigned":null,"propensity":null,"won":null,"revenue":null,"occurred":null,"occurred_ms":null,"revision":null}"#;
        assert_eq!(text, expected);
        let places = COLUMNS.map(|name| expected.find(&format!("\"{name}\":")));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    }

    #[test]
    fn a_label_stands_at_the_last_score_of_each_version_before_anything_became_of_the_lead() {
        let (_folder, mut store) = open();
        store
            .write(&[
                score(1, "a", "1"),
                score(2, "a", "1"),
                score(3, "a", "2"),
                score(3, "b", "1"),
                outcome(4, "a", false, 1),
                outcome(5, "a", true, 2),
                outcome(6, "a", false, 1),
                score(7, "a", "1"),
                score(8, "c", "1"),
                outcome(7, "c", true, 1),
            ])
            .unwrap();
        let labels: Vec<_> = exported(&store, ALL).iter().map(|row| (row.time_ms, row.won)).collect();
        assert_eq!(
            labels,
            [(1, None), (2, Some(true)), (3, Some(true)), (3, None), (7, None), (8, None)],
            "the highest revision counts, and what was scored after the first is not labelled"
        );
        let row = &exported(&store, ALL)[1];
        let told = (row.revenue, row.occurred_ms, row.occurred.as_deref(), row.revision);
        assert_eq!(told, (Some(9.5), Some(5), Some("1970-01-01T00:00:00.005Z"), Some(2)));
    }

    #[test]
    fn a_span_is_found_whatever_was_deleted_and_in_small_disorder() {
        let (_folder, mut store) = open();
        let hour = 3_600_000;
        let times = [1, 2, 3, 5, 4, 6, 10, 20, 21, 40];
        let batch: Vec<Entry> = times.iter().map(|time| score(time * hour / 2, "a", "1")).collect();
        store.write(&batch).unwrap();
        store.connection.execute("DELETE FROM scores WHERE seq IN (1, 4, 9)", []).unwrap();
        let check = |from: i64, to: i64, expected: &[i64]| {
            let span = Span { from_ms: from * hour / 2, to_ms: to * hour / 2 };
            let found: Vec<i64> = exported(&store, span).iter().map(|row| row.time_ms * 2 / hour).collect();
            assert_eq!(found, expected, "{from}..{to}");
        };
        check(0, 100, &[2, 3, 4, 6, 10, 20, 40]);
        check(4, 10, &[4, 6]);
        check(3, 4, &[3]);
        check(40, 41, &[40]);
        check(41, 50, &[]);
        check(0, 1, &[]);
        check(10, 4, &[]);
        let (_folder, empty) = open();
        assert_eq!(exported(&empty, ALL), []);
    }

    #[test]
    fn rows_are_of_one_moment_and_an_error_ends_them() {
        let (folder, mut store) = open();
        store.write(&[score(1, "a", "1"), score(2, "b", "1")]).unwrap();
        let reader = Store::open_read_only(folder.path()).unwrap();
        let mut seen = Vec::new();
        reader
            .export(ALL, HORIZON, |row, _| {
                store.write(&[score(3, "c", "1"), outcome(9, "b", true, 1)]).unwrap();
                seen.push((row.time_ms, row.won));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(1, None), (2, None)]);
        let failed = reader.export(ALL, HORIZON, |_, _| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(matches!(failed, ExportError::Taker(_)));
    }

    #[test]
    fn times_that_no_calendar_has_are_empty() {
        assert_eq!([rfc3339(0), rfc3339(i64::MAX)], ["1970-01-01T00:00:00.000Z", ""]);
    }
}
