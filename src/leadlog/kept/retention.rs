//! What the log forgets: what is too old, and the oldest where the file is too large. A little at a time, by the writer
//! while it has nothing to write, so that no record waits for it longer than a few milliseconds.
//!
//! Scores, shadows' scores, misses and feedback stand in the order of time, and go from their beginning. Outcomes,
//! conversions, exposures and places in sketches are looked through whole, once an hour. The outcomes of a lead stay as
//! long as a score of it does. The last row of a table stays, so that numbers never begin again. What sketches say and the
//! list of what was removed on request stay too.
//!
//! The file does not shrink: SQLite uses the freed pages for new rows. An error leaves what was not removed for the next
//! time.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::store::{Store, StoreError};
use crate::config::Log;

/// Rows that are looked at, or removed, at once.
const SLICE: i64 = 1_000;

/// How often all tables are looked through, in milliseconds.
const ROUND_MS: i64 = 3_600_000;

/// How often the file's size is looked at, in milliseconds.
const SIZE_MS: i64 = 1_000;

/// How long a deal's outcome waits for the conversion that tells its lead, in milliseconds: a year.
const MAX_UNMATCHED_MS: i64 = 365 * 86_400_000;

/// Deals whose lead is remembered at most.
const MAX_ALIASES: i64 = 1_000_000;

/// Of the time that the log covers, what goes at once when it is too large.
const SHARE: i64 = 256;

/// Tables in the order of time.
const IN_ORDER: [&str; 4] = ["scores", "shadow_scores", "misses", "feedback"];

/// Those that are not, with what tells their rows apart.
const KEYED: [(&str, [&str; 3]); 2] =
    [("exposures", ["model", "experiment", "lead"]), ("counted", ["lead", "model", "version"])];

/// Where the removal stands.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct Retention {
    walk: Option<Walk>,
    next_round_ms: i64,
    next_size_ms: i64,
    /// The log was larger than it may be, up to this time.
    pressed_ms: Option<i64>,
}

/// One way through the tables.
#[derive(Debug)]
struct Walk {
    /// What is older goes.
    cutoff_ms: i64,
    /// Deals' outcomes of which no lead is known.
    unmatched_ms: i64,
    /// Conversions, whatever became of their leads.
    aliases_ms: i64,
    table: usize,
    /// Tables to go through.
    tables: usize,
    /// Where the table's next slice begins.
    after: After,
}

/// A row's number, or its key.
#[derive(Debug, Default)]
struct After {
    seq: i64,
    key: [String; 3],
}

impl Retention {
    /// Goes on by one slice, where there is something to do, and says how many rows were removed.
    pub(in crate::leadlog) fn step(
        &mut self,
        store: &Store,
        log: &Log,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        if self.walk.is_none() {
            self.walk = self.begin(&store.connection, log, now_ms)?;
        }
        let Some(walk) = &mut self.walk else { return Ok(0) };
        let slice = walk.slice(&store.connection);
        if !matches!(slice, Ok((_, false))) {
            walk.table += 1;
            walk.after = After::default();
        }
        if walk.table >= walk.tables {
            self.walk = None;
        }
        Ok(slice.map(|(removed, _)| removed)?)
    }

    fn begin(&mut self, connection: &Connection, log: &Log, now_ms: i64) -> Result<Option<Walk>, StoreError> {
        if now_ms >= self.next_round_ms {
            self.next_round_ms = now_ms.saturating_add(ROUND_MS);
            let keep = i64::try_from(log.keep.as_millis()).unwrap_or(i64::MAX);
            let cutoff_ms = now_ms.saturating_sub(keep).max(self.pressed_ms.unwrap_or(i64::MIN));
            return Ok(Some(Walk {
                cutoff_ms,
                unmatched_ms: cutoff_ms.max(now_ms.saturating_sub(MAX_UNMATCHED_MS)),
                aliases_ms: too_many(connection)?,
                table: 0,
                tables: IN_ORDER.len() + 2 + KEYED.len(),
                after: After::default(),
            }));
        }
        if now_ms < self.next_size_ms {
            return Ok(None);
        }
        self.next_size_ms = now_ms.saturating_add(SIZE_MS);
        if used(connection)? <= log.size {
            return Ok(None);
        }
        let Some(oldest_ms) = oldest(connection)? else { return Ok(None) };
        let step = (now_ms.saturating_sub(oldest_ms) / SHARE).max(1_000);
        // A row from a time that is yet to come, of a clock that was wrong, takes no others with it.
        let cutoff_ms = oldest_ms.saturating_add(step).min(now_ms.saturating_sub(1_000));
        if self.pressed_ms.replace(cutoff_ms).is_none() {
            let size = log.size;
            tracing::warn!(size, "the lead log is larger than it may be; its oldest rows are removed");
        }
        // Looked at again at once: it takes many such steps until the file is small enough.
        self.next_size_ms = now_ms;
        let (unmatched_ms, aliases_ms) = (i64::MIN, i64::MIN);
        let (table, tables, after) = (0, IN_ORDER.len(), After::default());
        Ok(Some(Walk { cutoff_ms, unmatched_ms, aliases_ms, table, tables, after }))
    }
}

impl Walk {
    /// Rows that were removed, and whether the table has been gone through.
    fn slice(&mut self, connection: &Connection) -> rusqlite::Result<(u64, bool)> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let keyed = |place: usize| KEYED.get(place.checked_sub(IN_ORDER.len() + 2)?);
        let slice = match (IN_ORDER.get(self.table), keyed(self.table)) {
            (Some(table), _) => self.in_order(&transaction, table)?,
            (None, Some((table, key))) => self.keyed(&transaction, table, key)?,
            (None, None) if self.table == IN_ORDER.len() => self.outcomes(&transaction)?,
            (None, None) => self.aliases(&transaction)?,
        };
        transaction.commit()?;
        Ok(slice)
    }

    fn in_order(&self, connection: &Connection, table: &str) -> rusqlite::Result<(u64, bool)> {
        let first = format!(
            "SELECT max(seq), count(*) FROM (SELECT seq, time_ms FROM {table} ORDER BY seq LIMIT ?1)
             WHERE time_ms < ?2 AND seq < (SELECT max(seq) FROM {table})"
        );
        let (last, old): (Option<i64>, i64) = connection
            .prepare_cached(&first)?
            .query_row([SLICE, self.cutoff_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Times differ by a little from the order; the few that are younger wait for the next hour.
        let delete = format!("DELETE FROM {table} WHERE seq <= ?1 AND time_ms < ?2");
        let removed =
            connection.prepare_cached(&delete)?.execute(params![last.unwrap_or(i64::MIN), self.cutoff_ms])?;
        Ok((removed as u64, old < SLICE))
    }

    fn outcomes(&mut self, connection: &Connection) -> rusqlite::Result<(u64, bool)> {
        let Some(last) = self.window(connection, "outcomes")? else { return Ok((0, true)) };
        let mut statement = connection.prepare_cached(
            "DELETE FROM outcomes WHERE seq > ?1 AND seq <= ?2 AND seq < (SELECT max(seq) FROM outcomes) AND CASE
             WHEN lead IS NULL THEN time_ms < ?4
             ELSE time_ms < ?3 AND NOT EXISTS (SELECT 1 FROM scores WHERE scores.lead = outcomes.lead) END",
        )?;
        let removed = statement.execute([self.after.seq, last, self.cutoff_ms, self.unmatched_ms])?;
        self.after.seq = last;
        Ok((removed as u64, false))
    }

    fn aliases(&mut self, connection: &Connection) -> rusqlite::Result<(u64, bool)> {
        let Some(last) = self.window(connection, "aliases")? else { return Ok((0, true)) };
        let mut statement = connection.prepare_cached(
            "DELETE FROM aliases WHERE rowid > ?1 AND rowid <= ?2 AND (time_ms <= ?4
             OR time_ms < ?3 AND NOT EXISTS (SELECT 1 FROM scores WHERE scores.lead = aliases.lead))",
        )?;
        let removed = statement.execute([self.after.seq, last, self.cutoff_ms, self.aliases_ms])?;
        self.after.seq = last;
        Ok((removed as u64, false))
    }

    /// The last row of the next slice.
    fn window(&self, connection: &Connection, table: &str) -> rusqlite::Result<Option<i64>> {
        let window = format!(
            "SELECT max(number) FROM (SELECT rowid AS number FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2)"
        );
        connection.prepare_cached(&window)?.query_row([self.after.seq, SLICE], |row| row.get(0))
    }

    fn keyed(
        &mut self,
        connection: &Connection,
        table: &str,
        [a, b, c]: &[&str; 3],
    ) -> rusqlite::Result<(u64, bool)> {
        let last = format!(
            "SELECT {a}, {b}, {c} FROM {table} WHERE ({a}, {b}, {c}) > (?1, ?2, ?3) ORDER BY {a}, {b}, {c}
             LIMIT 1 OFFSET ?4"
        );
        let [x, y, z] = &self.after.key;
        let last: Option<[String; 3]> = connection
            .prepare_cached(&last)?
            .query_row(params![x, y, z, SLICE], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let bound =
            if last.is_some() { format!("AND ({a}, {b}, {c}) <= (?5, ?6, ?7)") } else { String::new() };
        let delete =
            format!("DELETE FROM {table} WHERE ({a}, {b}, {c}) > (?1, ?2, ?3) AND time_ms < ?4 {bound}");
        let mut delete = connection.prepare_cached(&delete)?;
        let removed = match &last {
            Some([u, v, w]) => delete.execute(params![x, y, z, self.cutoff_ms, u, v, w])?,
            None => delete.execute(params![x, y, z, self.cutoff_ms])?,
        };
        let is_last = last.is_none();
        self.after.key = last.unwrap_or_default();
        Ok((removed as u64, is_last))
    }
}

/// Bytes that rows and indices take; pages that are free do not count.
pub(in crate::leadlog) fn used(connection: &Connection) -> Result<u64, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(pages.saturating_mul(pragma("page_size")?).unsigned_abs())
}

/// When the first row was written that may go.
fn oldest(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let mut oldest = None;
    for table in IN_ORDER {
        let first = format!(
            "SELECT time_ms FROM {table} WHERE seq < (SELECT max(seq) FROM {table}) ORDER BY seq LIMIT 1"
        );
        let first: Option<i64> =
            connection.prepare_cached(&first)?.query_row([], |row| row.get(0)).optional()?;
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest)
}

/// The time up to which there are more conversions than are remembered.
fn too_many(connection: &Connection) -> Result<i64, StoreError> {
    let time = "SELECT time_ms FROM aliases ORDER BY time_ms DESC LIMIT 1 OFFSET ?1";
    let time = connection.prepare_cached(time)?.query_row([MAX_ALIASES], |row| row.get(0)).optional()?;
    Ok(time.unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_000 * DAY;
    const LOG: Log = Log { keep: Duration::from_secs(400 * 86_400), size: 1 << 40, spill: 0 };

    /// All that is to be done now; how many rows it was.
    fn run(store: &Store, log: &Log, now_ms: i64) -> u64 {
        let mut retention = Retention::default();
        let mut removed = retention.step(store, log, now_ms).unwrap();
        while retention.walk.is_some()
            || used(&store.connection).unwrap() > log.size && oldest(&store.connection).unwrap().is_some()
        {
            removed += retention.step(store, log, now_ms).unwrap();
        }
        removed
    }

    fn open(rows: &str) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.connection.execute_batch(rows).unwrap();
        (folder, store)
    }

    fn score(lead: &str, day: i64) -> String {
        format!(
            "INSERT INTO scores (time_ms, route, lead, arm, model, version, digest, features, score, grade, latency_ns, decision)
             VALUES ({}, 'r', '{lead}', 'champion', 'lead', '1', 'ab', '{{}}', 0.5, 'B', 9, 'headers');",
            day * DAY
        )
    }

    fn outcome(lead: &str, deal: &str, day: i64) -> String {
        format!(
            "INSERT INTO outcomes (time_ms, route, lead, deal, won) VALUES ({}, 'r', {lead}, {deal}, 1);",
            day * DAY
        )
    }

    fn column(store: &Store, sql: &str) -> Vec<String> {
        let mut statement = store.connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn scores_go_when_they_are_too_old_and_the_last_one_stays() {
        let check = |days: &[i64], kept: &[&str]| {
            let rows: String = days.iter().map(|day| score(&format!("{day}"), *day)).collect();
            let (_folder, store) = open(&rows);
            assert_eq!(run(&store, &LOG, NOW), (days.len() - kept.len()) as u64);
            assert_eq!(column(&store, "SELECT lead FROM scores ORDER BY seq"), kept, "{days:?}");
        };
        check(&[], &[]);
        check(&[1, 599, 600, 999], &["600", "999"]);
        check(&[1, 2], &["2"]);
        check(&[600, 1, 999], &["600", "999"]);
    }

    #[test]
    fn more_than_a_slice_goes_too() {
        let rows: String = (0..2_500).map(|i| score("a", i / 10)).collect();
        let (_folder, store) = open(&format!("BEGIN; {rows} {} COMMIT;", score("b", 999)));
        assert_eq!(run(&store, &LOG, NOW), 2_500);
        assert_eq!(column(&store, "SELECT lead FROM scores"), ["b"]);
    }

    #[test]
    fn what_became_of_a_lead_stays_as_long_as_its_last_score() {
        let rows = [
            score("a", 1),
            score("b", 2),
            score("b", 900),
            outcome("'a'", "NULL", 1),
            outcome("'b'", "NULL", 3),
            outcome("'never scored'", "NULL", 3),
            outcome("NULL", "'old'", 600),
            outcome("NULL", "'young'", 700),
            outcome("'never scored'", "NULL", 700),
            outcome("'last'", "NULL", 1),
            "INSERT INTO aliases VALUES ('d', 'a', 5), ('e', 'b', 5), ('f', 'c', 999000000000);".into(),
        ];
        let (_folder, store) = open(&rows.concat());
        run(&store, &LOG, NOW);
        let outcomes = column(&store, "SELECT coalesce(lead, deal) FROM outcomes ORDER BY seq");
        assert_eq!(outcomes, ["b", "young", "never scored", "last"], "the last row of a table stays");
        assert_eq!(column(&store, "SELECT deal FROM aliases ORDER BY 1"), ["e", "f"]);
    }

    #[test]
    fn exposures_and_places_in_sketches_go_too() {
        let exposure = |lead: i64, day: i64| {
            format!(
                "INSERT INTO exposures VALUES ('lead', '2', 'L{lead}', 'champion', 1, 'id', {}, 1);",
                day * DAY
            )
        };
        let counted = |lead: i64, day: i64| {
            format!(
                "INSERT INTO counted VALUES ('L{lead}', 'lead', '1', {}, 0.5, 'B', NULL, NULL);",
                day * DAY
            )
        };
        let old = |i: i64| if i % 3 == 0 { 900 } else { 1 };
        let rows: String = (0..2_400).map(|i| exposure(i, old(i)) + &counted(i, old(i))).collect();
        let rows = format!(
            "BEGIN; {rows} INSERT INTO misses (time_ms, model, experiment, arm, outcome) VALUES (1, 'm', '2', 'champion', 'late'), (2, 'm', '2', 'champion', 'late');
             INSERT INTO feedback (time_ms, lead, source, verdict) VALUES (1, 'a', 'api', 'up'), (2, 'a', 'api', 'up');
             INSERT INTO sketches (model, version, day, scored, known) VALUES ('lead', '1', 1, x'', x'');
             INSERT INTO forgotten (lead_sha256, time_ms, rows) VALUES ('ab', 1, 1); COMMIT;"
        );
        let (_folder, store) = open(&rows);
        assert_eq!(run(&store, &LOG, NOW), 1_600 + 1_600 + 2);
        for (table, left) in [
            ("exposures", 800),
            ("counted", 800),
            ("misses", 1),
            ("feedback", 1),
            ("sketches", 1),
            ("forgotten", 1),
        ] {
            assert_eq!(
                column(&store, &format!("SELECT count(*) || '' FROM {table}")),
                [left.to_string()],
                "{table}"
            );
        }
    }

    #[test]
    fn a_log_that_is_too_large_loses_its_oldest_rows_however_young() {
        let rows: String = (0..20_000).map(|i| score(&format!("L{i}"), 990 + i / 2_000)).collect();
        let (_folder, store) = open(&format!("BEGIN; {rows} COMMIT;"));
        let full = used(&store.connection).unwrap();
        assert_eq!(run(&store, &LOG, NOW), 0);
        let log = Log { size: full / 2, ..LOG };
        let removed = run(&store, &log, NOW);
        assert!(used(&store.connection).unwrap() <= full / 2);
        let first = column(&store, "SELECT min(seq) || '' FROM scores");
        assert_eq!(first, [(removed + 1).to_string()], "from the beginning");
        assert!((8_000..14_000).contains(&removed), "{removed}");
    }

    #[test]
    fn nothing_is_looked_at_between_two_rounds() {
        let (_folder, store) = open("");
        let mut retention = Retention::default();
        let mut steps = 0;
        retention.step(&store, &LOG, NOW).unwrap();
        while retention.walk.is_some() {
            retention.step(&store, &LOG, NOW).unwrap();
            steps += 1;
        }
        assert!(steps < 20);
        store.connection.execute_batch(&(score("a", 1) + &score("b", 999))).unwrap();
        let mut at =
            |now_ms: i64| -> u64 { (0..20).map(|_| retention.step(&store, &LOG, now_ms).unwrap()).sum() };
        assert_eq!((at(NOW + ROUND_MS - 1), at(NOW + ROUND_MS)), (0, 1));
    }
}
