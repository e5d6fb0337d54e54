//! A lead is removed from the log, and stays removed.
//!
//! The tombstone comes first: a hash of the id, and the moment. From then on no writer takes a record of that lead from that
//! moment or before, so that what waits in a queue or a file cannot bring it back, nor a score of the two minutes that follow,
//! which may have been given by what a sidecar still remembered; what comes later is of a lead that is new
//! again. Then every table gives up its rows, whatever else writes meanwhile, and pages that held them are overwritten. What
//! fails in between is made good by doing it again.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::{
    record::{Entry, OutcomeRecord},
    store::{Store, StoreError},
};

/// Where a lead may stand, in the order in which it is removed: deals lead to outcomes, so aliases come after those.
const TABLES: [(&str, &str); 8] = [
    ("scores", "lead = ?1"),
    ("shadow_scores", "lead = ?1"),
    ("exposures", "lead = ?1"),
    ("outcomes", "lead = ?1 OR deal IN (SELECT deal FROM aliases WHERE lead = ?1)"),
    ("aliases", "lead = ?1"),
    ("feedback", "lead = ?1"),
    ("counted", "lead = ?1"),
    ("recount", "lead = ?1"),
];

/// How often a running writer looks whether leads were forgotten while it had nothing to write.
const BETWEEN: Duration = Duration::from_secs(1);

/// How long no score of a forgotten lead is taken, in milliseconds. A running sidecar learns of it within a second; requests
/// that it had begun by then may have been completed with what it remembered, and wait for the CRM's answer: a minute, if
/// `limits` say nothing else, and then for its body.
const GRACE_MS: i64 = 120_000;

/// How much later than it was scored a lead may be remembered, at the most.
const LATE_MS: i64 = 2_000;

/// What stands for a lead in a tombstone: the SHA-256 of its id, in hex.
pub(in crate::leadlog) fn hash(lead: &str) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    Sha256::digest(lead).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a removal came to, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::leadlog) struct Removed {
    /// Rows by table.
    pub(in crate::leadlog) tables: Vec<(&'static str, u64)>,
    /// When the lead was forgotten before, in milliseconds since 1970.
    pub(in crate::leadlog) before_ms: Option<i64>,
}

impl Removed {
    pub(in crate::leadlog) fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }
}

impl Store {
    /// Opens a log that is there and of this release's schema, to remove from it: with patience for who writes it, and so
    /// that what is deleted is overwritten.
    pub(in crate::leadlog) fn open_to_remove(folder: &Path, patience: Duration) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join(Self::FILE), flags)?;
        connection.busy_timeout(patience)?;
        connection.pragma_update(None, "secure_delete", "on")?;
        let store = Self::of(connection);
        store.check_schema()?;
        Ok(store)
    }

    /// What there is of a lead.
    pub(in crate::leadlog) fn count_of(&self, lead: &str) -> Result<Removed, StoreError> {
        let mut tables = Vec::new();
        for (table, of_lead) in TABLES {
            let count = format!("SELECT count(*) FROM {table} WHERE {of_lead}");
            let rows: i64 = self.connection.query_row(&count, [lead], |row| row.get(0))?;
            tables.push((table, rows.unsigned_abs()));
        }
        Ok(Removed { tables, before_ms: self.forgotten_ms(&hash(lead))? })
    }

    fn forgotten_ms(&self, hash: &str) -> Result<Option<i64>, StoreError> {
        let found = "SELECT time_ms FROM forgotten WHERE lead_sha256 = ?1";
        Ok(self.connection.query_row(found, [hash], |row| row.get(0)).optional()?)
    }

    /// Removes a lead from every table.
    pub(in crate::leadlog) fn forget(&self, lead: &str, now_ms: i64) -> Result<Removed, StoreError> {
        let hash = hash(lead);
        let before_ms = self.forgotten_ms(&hash)?;
        // A new row in place of the one that may be there: writers look for rows behind the last that they know.
        self.connection.execute(
            "INSERT OR REPLACE INTO forgotten (lead_sha256, time_ms, rows)
             VALUES (?1, ?2, coalesce((SELECT rows FROM forgotten WHERE lead_sha256 = ?1), 0))",
            params![hash, now_ms],
        )?;
        let mut tables = Vec::new();
        for (table, of_lead) in TABLES {
            // Each in a transaction of its own, so that a running writer waits for one table at most.
            let rows = self.connection.execute(&format!("DELETE FROM {table} WHERE {of_lead}"), [lead])?;
            tables.push((table, rows as u64));
        }
        let removed = Removed { tables, before_ms };
        let count = "UPDATE forgotten SET rows = rows + ?2 WHERE lead_sha256 = ?1";
        self.connection.execute(count, params![hash, i64::try_from(removed.rows()).unwrap_or(i64::MAX)])?;
        Ok(removed)
    }

    /// Brings everything into the file itself and empties the file beside it, in which old pages stand. Whether that could
    /// be done; it cannot while somebody reads an old state.
    pub(in crate::leadlog) fn checkpoint(&self, patience: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + patience;
        loop {
            let busy: i64 =
                self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy == 0 || Instant::now() >= until {
                return Ok(busy == 0);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes the file anew. What was deleted at a time when pages were not overwritten is gone then.
    pub(in crate::leadlog) fn rebuild(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("VACUUM")?)
    }

    /// Leads that were forgotten, as far as that is known, which is looked at once a second. What is remembered of each from up
    /// to the time beside it is to be forgotten: when this first learns of it, and at every look until no score of before can
    /// follow, or a change that comes meanwhile would be completed with what another one brought back.
    pub(in crate::leadlog) fn lately_forgotten(&mut self, now_ms: i64) -> Result<Gone, StoreError> {
        let Self { connection, tombs, .. } = self;
        let is_time = tombs.looked.is_none_or(|looked| looked.elapsed() >= BETWEEN);
        if is_time {
            tombs.refresh(connection)?;
            tombs.looked = Some(Instant::now());
        }
        Ok(if is_time || !tombs.fresh.is_empty() { tombs.due(now_ms) } else { Gone::default() })
    }
}

/// What is to be forgotten of what is remembered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::leadlog) struct Gone {
    /// Leads by their hash, each with the time up to which scores of it are not taken.
    pub(in crate::leadlog) leads: Vec<(String, i64)>,
    /// Whatever was scored before this has been looked at.
    pub(in crate::leadlog) since_ms: i64,
}

/// The leads that a writer does not take any more.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct Tombs {
    /// When each was forgotten, in milliseconds since 1970.
    of: HashMap<String, i64>,
    /// The latest of these.
    newest_ms: Option<i64>,
    /// The last row that was read.
    seq: i64,
    /// Those that the table of known leads has not heard of, each with the time up to which scores of it are not taken.
    fresh: Vec<(String, i64)>,
    /// Those that it is to hear of again until that time has come.
    again: Vec<(String, i64)>,
    looked: Option<Instant>,
    /// When the table was last looked through, in milliseconds since 1970.
    due_ms: Option<i64>,
}

impl Tombs {
    /// Reads what came since. Within the transaction of a batch nothing comes between this and the batch.
    pub(in crate::leadlog) fn refresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection
            .prepare_cached("SELECT seq, lead_sha256, time_ms FROM forgotten WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query([self.seq])?;
        while let Some(row) = rows.next()? {
            self.seq = row.get(0)?;
            let (lead, time_ms): (String, i64) = (row.get(1)?, row.get(2)?);
            self.of.insert(lead.clone(), time_ms);
            self.fresh.push((lead, time_ms.saturating_add(GRACE_MS)));
            self.newest_ms = self.newest_ms.max(Some(time_ms));
        }
        Ok(())
    }

    fn due(&mut self, now_ms: i64) -> Gone {
        let last_ms = self.due_ms.replace(now_ms).filter(|_| self.fresh.is_empty());
        let since_ms = last_ms.map_or(i64::MIN, |last| last.min(now_ms).saturating_sub(LATE_MS));
        let mut due = self.again.clone();
        self.again.retain(|(_, until_ms)| *until_ms >= now_ms);
        self.again.extend(self.fresh.iter().filter(|(_, until_ms)| *until_ms >= now_ms).cloned());
        due.append(&mut self.fresh);
        Gone { leads: due, since_ms }
    }

    /// Whether a record is of a lead that was forgotten when it came. Nearly all are later than every tombstone, and need no
    /// hash.
    pub(in crate::leadlog) fn hold(&self, entry: &Entry) -> bool {
        let grace_ms = if matches!(entry, Entry::Score(_) | Entry::Shadow(_)) { GRACE_MS } else { 0 };
        let after_ms = entry.time_ms().saturating_sub(grace_ms);
        entry.lead().is_some_and(|lead| self.is_gone(lead, after_ms))
    }

    /// The same of what is told of a deal, once it is known which lead became it.
    pub(in crate::leadlog) fn hold_deal(
        &self,
        connection: &Connection,
        record: &OutcomeRecord,
    ) -> Result<bool, StoreError> {
        let OutcomeRecord { time_ms, outcome, .. } = record;
        if !outcome.via_alias || self.newest_ms.is_none_or(|newest| *time_ms > newest) {
            return Ok(false);
        }
        let mut lead = connection.prepare_cached("SELECT lead FROM aliases WHERE deal = ?1")?;
        let lead: Option<String> = lead.query_row([&*outcome.lead], |row| row.get(0)).optional()?;
        Ok(lead.is_some_and(|lead| self.is_gone(&lead, *time_ms)))
    }

    /// When a lead was forgotten, if it ever was.
    pub(in crate::leadlog) fn gone_ms(&self, lead: &str) -> Option<i64> {
        if self.of.is_empty() { None } else { self.of.get(&hash(lead)).copied() }
    }

    fn is_gone(&self, lead: &str, time_ms: i64) -> bool {
        self.newest_ms.is_some_and(|newest| time_ms <= newest)
            && self.gone_ms(lead).is_some_and(|gone| time_ms <= gone)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        lead::{Alias, Feedback, Outcome, Slot, Verdict},
        leadlog::{
            AliasRecord, FeedbackRecord, Known, LiveScore, OutcomeRecord, Queue, ScoreRecord, ShadowRecord,
            Told, Writer, fixture,
        },
    };

    const PATIENCE: Duration = Duration::from_secs(5);

    fn everything_of(lead: &str, deal: &str, time_ms: i64) -> Vec<Entry> {
        let outcome = |outcome| Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome });
        let feedback = Feedback::new(lead, Verdict::Down).noted(Some("no"));
        vec![
            Entry::Score(fixture::score(time_ms, lead, "1")),
            Entry::Score(fixture::score(time_ms, lead, "2")),
            Entry::Alias(AliasRecord { time_ms, alias: Alias { deal: deal.into(), lead: lead.into() } }),
            outcome(Outcome::new(lead, false)),
            outcome(Outcome { via_alias: true, ..Outcome::new(deal, true) }),
            Entry::Feedback(Box::new(FeedbackRecord { time_ms, source: "api".into(), feedback })),
        ]
    }

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn every_table_that_knows_of_leads_gives_them_up() {
        let (folder, store) = open();
        let mut columns = store
            .connection
            .prepare("SELECT t.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND c.name = 'lead'")
            .unwrap();
        let mut found: Vec<String> =
            columns.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let mut known = TABLES.map(|(table, _)| table.to_owned());
        found.sort();
        known.sort();
        assert_eq!(found, known);
        drop(columns);
        let mut store = store;
        store.write(&everything_of("a", "d", 1)).unwrap();
        store.write(&everything_of("b", "e", 1)).unwrap();
        let of_b = Store::count_of(&store, "b").unwrap();
        let remover = Store::open_to_remove(folder.path(), PATIENCE).unwrap();
        let counted = remover.count_of("a").unwrap();
        let removed = remover.forget("a", 5).unwrap();
        assert_eq!((counted.rows(), &removed), (7, &counted));
        assert_eq!(remover.count_of("a").unwrap().rows(), 0);
        assert_eq!(remover.count_of("b").unwrap(), of_b, "others are untouched");
        let graves = remover.forgotten().unwrap();
        let told: Vec<_> =
            graves.iter().map(|grave| (&*grave.lead_sha256, grave.time_ms, grave.rows)).collect();
        assert_eq!(told, [("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", 5, 7)]);
    }

    #[test]
    fn what_waited_does_not_come_back_and_what_is_new_does() {
        let (folder, mut store) = open();
        store.write(&everything_of("a", "d", 1)).unwrap();
        let remover = Store::open_to_remove(folder.path(), PATIENCE).unwrap();
        assert_eq!(remover.forget("a", 5).unwrap().before_ms, None);
        let rows = |expected: u64| assert_eq!(remover.count_of("a").unwrap().rows(), expected);
        // Only the deal's own outcome is taken, which no longer leads to anybody.
        store.write(&everything_of("a", "d", 5)).unwrap();
        rows(0);
        let score = |time_ms| Entry::Score(fixture::score(time_ms, "a", "1"));
        // A score that may have been completed with what was remembered is not taken either, but all else is.
        let ScoreRecord { time_ms, lead, model, score: given, grade, .. } =
            fixture::score(5 + GRACE_MS, "a", "1");
        let live = LiveScore { model: model.clone(), score: given, grade, latency_ns: 1 };
        let (slot, along) = (Slot::Shadow, Ok((given, grade)));
        let shadow = ShadowRecord { time_ms, lead, model, slot, live, score: along, latency_ns: 1 };
        let shadow = Entry::Shadow(Box::new(shadow));
        store.write(&[score(6), score(5 + GRACE_MS), shadow]).unwrap();
        rows(0);
        store.write(&everything_of("a", "e", 6)[4..]).unwrap();
        rows(1);
        store.write(&[score(6 + GRACE_MS)]).unwrap();
        rows(2);
        // Once more: the same tombstone, of a later time, and a running writer knows.
        let again = remover.forget("a", 8).unwrap();
        assert_eq!((again.rows(), again.before_ms), (2, Some(5)));
        store.write(&[score(8 + GRACE_MS)]).unwrap();
        rows(0);
        assert_eq!(remover.forgotten().unwrap().len(), 1);
        // A writer that starts later knows too.
        let mut store = Store::open(folder.path()).unwrap();
        store.write(&everything_of("a", "d", 8)).unwrap();
        rows(0);
    }

    #[test]
    fn what_was_told_of_a_deal_before_does_not_find_its_lead_again() {
        let (folder, mut store) = open();
        let outcome = |time_ms, won| {
            let outcome = Outcome { via_alias: true, ..Outcome::new("d", won) };
            Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
        };
        let alias = |time_ms| {
            Entry::Alias(AliasRecord { time_ms, alias: Alias { deal: "d".into(), lead: "a".into() } })
        };
        let remover = Store::open_to_remove(folder.path(), PATIENCE).unwrap();
        // Nobody knew yet whose deal it was.
        store.write(&[outcome(1, true)]).unwrap();
        remover.forget("a", 5).unwrap();
        store.write(&[outcome(4, true), alias(6)]).unwrap();
        assert_eq!((store.outcome_of("a").unwrap(), store.unmatched().unwrap()), (None, 0));
        // What comes late is of that time too.
        store.write(&[outcome(5, true)]).unwrap();
        assert_eq!((store.outcome_of("a").unwrap(), store.unmatched().unwrap()), (None, 0));
        store.write(&[outcome(6, false)]).unwrap();
        assert!(!store.outcome_of("a").unwrap().unwrap().won);
    }

    #[test]
    fn what_is_remembered_is_forgotten_at_once_and_until_no_score_of_before_can_follow() {
        let (folder, mut store) = open();
        let remover = Store::open_to_remove(folder.path(), PATIENCE).unwrap();
        remover.forget("a", 5).unwrap();
        remover.forget("b", 5 + GRACE_MS).unwrap();
        let (a, b) = ((hash("a"), 5 + GRACE_MS), (hash("b"), 5 + 2 * GRACE_MS));
        store.tombs.refresh(&store.connection).unwrap();
        store.tombs.looked = Some(Instant::now());
        let told: Vec<_> = [6 + GRACE_MS, 5 + GRACE_MS, 5 + 2 * GRACE_MS, 6 + 2 * GRACE_MS, i64::MAX]
            .map(|now_ms| store.tombs.due(now_ms))
            .into();
        let gone = |leads: &[&(String, i64)], since_ms| Gone {
            leads: leads.iter().map(|lead| (*lead).clone()).collect(),
            since_ms,
        };
        let since = |last: i64| last - LATE_MS;
        let expected = [
            gone(&[&a, &b], i64::MIN),
            // The clock was set back meanwhile.
            gone(&[&b], since(5 + GRACE_MS)),
            gone(&[&b], since(5 + GRACE_MS)),
            gone(&[&b], since(5 + 2 * GRACE_MS)),
            gone(&[], since(6 + 2 * GRACE_MS)),
        ];
        assert_eq!(told, expected);
        let nothing = store.lately_forgotten(i64::MAX).unwrap();
        assert_eq!(nothing, Gone::default(), "nothing is new, and a second is not over");
    }

    #[test]
    fn a_running_writer_forgets_what_it_knows_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, 1 << 20, metrics::Counter::noop());
        let known = Arc::new(Known::new(64, Duration::from_secs(60)));
        let names: Arc<[Arc<str>]> = ["age".into()].into();
        let told = Told { known: known.clone(), ..Told::alone(names) };
        let mut store = Store::open(folder.path()).unwrap();
        store.write(&[fixture::score(1, "a", "1"), fixture::score(1, "b", "1")].map(Entry::Score)).unwrap();
        drop(store);
        let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
        let until = |done: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(Instant::now() < end);
                std::thread::yield_now();
            }
        };
        until(&|| known.count() == 2);
        Store::open_to_remove(folder.path(), PATIENCE).unwrap().forget("a", 5).unwrap();
        queue.sender(0).send(Entry::Score(fixture::score(2, "a", "1")));
        until(&|| known.find("lead", "a", 5).is_none());
        assert!(known.find("lead", "b", 5).is_some());
        drop(writer);
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!((store.scores_of("a").unwrap().len(), store.scores_of("b").unwrap().len()), (0, 1));
    }

    #[test]
    fn a_log_of_an_earlier_release_is_left_alone() {
        let (folder, store) = open();
        store.connection.pragma_update(None, "user_version", 4).unwrap();
        let error = Store::open_to_remove(folder.path(), PATIENCE).unwrap_err().to_string();
        assert_eq!(
            error,
            "lead log has schema 4, and 5 is needed; a start of this release's sidecar brings it there"
        );
        assert_eq!(Store::open_read_only(folder.path()).unwrap_err().to_string(), error);
        assert!(Store::open_to_remove(&folder.path().join("absent"), PATIENCE).is_err());
        assert!(!folder.path().join("absent").exists());
    }
}
