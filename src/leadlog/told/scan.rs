//! The log read through: the scores of a range of times, the newest first, and what became of their leads.
//!
//! Nothing is asked row by row. Outcomes are read once and kept by lead; scores are read in slices, each a statement of its
//! own, so that however long a reading takes the writer's changes flow back into the file meanwhile. Rows are written
//! nearly in the order of their times, so the ends of a range are found by bisection, with some slack that each row's own
//! time decides.

use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use rusqlite::{OptionalExtension, Row, params};

use super::{
    labels::MOST_OUTCOMES,
    store::{Store, StoreError},
};

/// How far a row may stand from where its time would put it: queues are drained one after another, and clocks are set.
const SLACK_MS: i64 = 3_600_000;

/// Rows of one slice.
const SLICE: i64 = 16_384;

/// Scores that are read.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'s> {
    /// The model's name.
    pub model: &'s str,
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The moment after its last.
    pub to_ms: i64,
}

/// A score as it was given, while its row is at hand. What somebody edited reads as empty, or as no number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the schema, which describes them")]
pub struct GivenScore<'r> {
    pub time_ms: i64,
    pub lead: Option<&'r str>,
    pub version: &'r str,
    pub digest: &'r str,
    pub features: &'r str,
    pub score: f64,
    pub grade: &'r str,
}

/// A span that is being read.
#[derive(Debug)]
pub struct Reading<'s> {
    store: &'s Store,
    span: Scan<'s>,
    first: i64,
    /// The last row that has not been read.
    last: i64,
    rows: u64,
}

impl Store {
    /// Begins to read the scores of a span.
    pub fn reading<'s>(&'s self, span: Scan<'s>) -> Result<Reading<'s>, StoreError> {
        let (first, end) = self.seqs_of(span.from_ms, span.to_ms)?;
        let last = end.saturating_sub(1);
        let rows = last.saturating_sub(first).saturating_add(1).max(0).unsigned_abs();
        Ok(Reading { store: self, span, first, last, rows })
    }

    /// The first score that can be of a range of times, and the one after the last.
    pub(in crate::leadlog) fn seqs_of(&self, from_ms: i64, to_ms: i64) -> Result<(i64, i64), StoreError> {
        Ok((self.seq_at(from_ms.saturating_sub(SLACK_MS))?, self.seq_at(to_ms.saturating_add(SLACK_MS))?))
    }

    /// The first score of a time or later; behind the last where there is none.
    fn seq_at(&self, time_ms: i64) -> Result<i64, StoreError> {
        let ends = "SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) FROM scores";
        let (mut low, last): (i64, i64) =
            self.connection.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut high = last.saturating_add(1);
        let next = "SELECT seq, time_ms FROM scores WHERE seq >= ?1 ORDER BY seq LIMIT 1";
        let mut next = self.connection.prepare_cached(next)?;
        while low < high {
            let middle = low.midpoint(high);
            let found: Option<(i64, i64)> =
                next.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            match found {
                Some((seq, found_ms)) if seq < high && found_ms < time_ms => low = seq + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// What became of leads, as far as that had happened by `until_ms`.
    pub fn endings(&self, until_ms: i64) -> Result<Endings, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT lead, min(time_ms, coalesce(occurred_ms, time_ms)), coalesce(occurred_ms, time_ms),
                 coalesce(revision, 0), won, revenue, seq
             FROM outcomes WHERE lead IS NOT NULL",
        )?;
        let mut rows = statement.query([])?;
        let mut endings = Endings::default();
        while let Some(row) = rows.next()? {
            let lead = endings.key(row.get_ref(0)?.as_str().unwrap_or_default());
            endings.told.push(Told {
                lead,
                known_ms: row.get(1)?,
                at_ms: row.get(2)?,
                revision: row.get(3)?,
                won: row.get(4)?,
                revenue: row.get::<_, Option<f64>>(5)?.unwrap_or(f64::NAN),
                seq: row.get(6)?,
            });
        }
        endings.settle(until_ms);
        Ok(endings)
    }
}

impl Reading<'_> {
    /// Rows that it goes through, those of other models too.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that are yet to come.
    pub fn left(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1).max(0).unsigned_abs()
    }

    /// Reads the next slice, the newest first; false when there was none left.
    pub fn slice<E: From<StoreError>>(
        &mut self,
        mut each: impl FnMut(&GivenScore<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.left() == 0 {
            return Ok(false);
        }
        let from = self.last.saturating_sub(SLICE - 1).max(self.first);
        let sqlite = |error| E::from(StoreError::Sqlite(error));
        let mut statement = self.store.connection.prepare_cached(SCORES).map_err(sqlite)?;
        let range = params![from, self.last, self.span.model];
        let mut rows = statement.query(range).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let given = given(row).map_err(sqlite)?;
            if (self.span.from_ms..self.span.to_ms).contains(&given.time_ms) {
                each(&given)?;
            }
        }
        self.last = from - 1;
        Ok(true)
    }
}

const SCORES: &str = "SELECT time_ms, lead, version, digest, features, score, grade FROM scores
    WHERE seq BETWEEN ?1 AND ?2 AND model = ?3 ORDER BY seq DESC";

fn given<'r>(row: &'r Row<'_>) -> rusqlite::Result<GivenScore<'r>> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str().unwrap_or_default());
    Ok(GivenScore {
        time_ms: row.get(0)?,
        lead: row.get_ref(1)?.as_str_or_null().unwrap_or_default(),
        version: text(2)?,
        digest: text(3)?,
        features: text(4)?,
        score: row.get_ref(5)?.as_f64().unwrap_or(f64::NAN),
        grade: text(6)?,
    })
}

/// What became of leads. An id is kept as 64 bits of its hash: among a million leads two are taken for one once in 37 million
/// logs.
#[derive(Debug, Default)]
pub struct Endings {
    hasher: RandomState,
    /// By lead, and of each in the order in which they count.
    told: Vec<Told>,
    /// Where each lead's begin.
    starts: HashMap<u64, usize>,
}

/// One outcome.
#[derive(Debug)]
struct Told {
    lead: u64,
    /// Since when it was known, or true.
    known_ms: i64,
    /// When it happened.
    at_ms: i64,
    revision: i64,
    won: bool,
    /// Not a number where none was told.
    revenue: f64,
    /// The order in which they came.
    seq: i64,
}

/// What became of a lead after a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// Nothing that was told within the horizon.
    Open,
    /// It ended before the score was given, or just then.
    Before,
    /// Of what was told within the horizon, that of the highest revision, of those the last.
    Known {
        /// Won, or lost.
        won: bool,
        /// What it brought.
        revenue: Option<f64>,
    },
}

impl Endings {
    /// What a lead is known by.
    pub fn key(&self, lead: &str) -> u64 {
        self.hasher.hash_one(lead)
    }

    /// What became of the lead of a key that was scored then.
    pub fn after(&self, key: u64, scored_ms: i64, horizon_ms: i64) -> Ending {
        let start = self.starts.get(&key).copied().unwrap_or(self.told.len());
        let of = || self.told.iter().skip(start).take_while(|told| told.lead == key);
        if of().any(|told| told.known_ms <= scored_ms) {
            return Ending::Before;
        }
        let until = scored_ms.saturating_add(horizon_ms);
        match of().find(|told| told.at_ms <= until) {
            Some(told) => Ending::Known {
                won: told.won,
                revenue: Some(told.revenue).filter(|revenue| revenue.is_finite()),
            },
            None => Ending::Open,
        }
    }

    /// Puts them in the order in which they count, the rule of `labels.rs`.
    fn settle(&mut self, until_ms: i64) {
        self.told.sort_unstable_by_key(|told| (told.lead, told.seq));
        let (mut last, mut count) = (None, 0);
        self.told.retain(|told| {
            count = if last == Some(told.lead) { count + 1 } else { 1 };
            last = Some(told.lead);
            count <= MOST_OUTCOMES && told.at_ms <= until_ms
        });
        self.told.sort_unstable_by_key(|told| (told.lead, Reverse((told.revision, told.at_ms, told.seq))));
        let firsts = self.told.iter().enumerate().rev().map(|(place, told)| (told.lead, place));
        self.starts = firsts.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Outcome, Score, Value},
        leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord},
    };

    fn scored(time_ms: i64, model: &str, lead: Option<&str>) -> Entry {
        Entry::Score(ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: lead.map(Into::into),
            arm: Arm::Champion,
            model: Arc::new(ModelId { model: model.into(), version: "1".into(), digest: "ab".into() }),
            names: ["age".into()].into(),
            features: Packed::new(&[Value::Number(time_ms as f64)]),
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: 1,
            decision: Decision::Recorded,
            exposure: None,
            fell: None,
        })
    }

    fn told(time_ms: i64, lead: &str, won: bool) -> Outcome {
        Outcome { time_ms: Some(time_ms), ..Outcome::new(lead, won) }
    }

    fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(entries).unwrap();
        (folder, store)
    }

    /// The times of all that a span holds, as they are read.
    fn times(store: &Store, from_ms: i64, to_ms: i64) -> Vec<i64> {
        let mut reading = store.reading(Scan { model: "lead", from_ms, to_ms }).unwrap();
        let mut times = Vec::new();
        let mut each = |given: &GivenScore<'_>| {
            times.push(given.time_ms);
            Ok::<_, StoreError>(())
        };
        while reading.slice(&mut each).unwrap() {}
        assert_eq!(reading.left(), 0);
        times
    }

    #[test]
    fn a_span_is_read_from_its_end_without_other_models() {
        let hour = SLACK_MS;
        let mut entries: Vec<Entry> = (0..40_000).map(|n| scored(n * hour, "lead", Some("a"))).collect();
        entries.push(scored(5 * hour, "other", Some("a")));
        // Too late for its place, and still within the slack.
        entries.insert(8, scored(7 * hour - 60_000, "lead", None));
        let (_folder, store) = log(&entries);
        let check = |from: i64, to: i64, expected: &[i64]| assert_eq!(times(&store, from, to), expected);
        check(5 * hour, 8 * hour, &[7 * hour - 60_000, 7 * hour, 6 * hour, 5 * hour]);
        check(5 * hour, 5 * hour + 1, &[5 * hour]);
        check(5 * hour, 5 * hour, &[]);
        check(8 * hour, 5 * hour, &[]);
        check(-9, 1, &[0]);
        check(39_999 * hour, i64::MAX, &[39_999 * hour]);
        check(50_000 * hour, i64::MAX, &[]);
        assert_eq!(times(&store, i64::MIN, i64::MAX).len(), 40_001);
        // No more is gone through than the span and its slack.
        let rows = store.reading(Scan { model: "lead", from_ms: 5 * hour, to_ms: 8 * hour }).unwrap().rows();
        assert!((3..8).contains(&rows), "{rows}");
    }

    #[test]
    fn an_empty_log_and_one_with_gaps_are_read() {
        let (_folder, store) = log(&[]);
        assert_eq!(times(&store, i64::MIN, i64::MAX), [] as [i64; 0]);
        let entries: Vec<Entry> = (0..100).map(|n| scored(n * SLACK_MS, "lead", None)).collect();
        let (_folder, store) = log(&entries);
        store.connection.execute_batch("DELETE FROM scores WHERE seq BETWEEN 3 AND 97 OR seq = 1").unwrap();
        assert_eq!(times(&store, i64::MIN, i64::MAX), [99, 98, 97, 1].map(|n| n * SLACK_MS));
        assert_eq!(times(&store, 2 * SLACK_MS, 98 * SLACK_MS), [97 * SLACK_MS]);
    }

    #[test]
    fn what_somebody_edited_reads_as_nothing() {
        let (_folder, store) = log(&[scored(1, "lead", Some("a"))]);
        let edit = "UPDATE scores SET features = x'ff', lead = 7, score = 'high', grade = 9.5";
        store.connection.execute_batch(edit).unwrap();
        let mut seen = 0;
        let mut reading = store.reading(Scan { model: "lead", from_ms: 0, to_ms: 9 }).unwrap();
        let each = |given: &GivenScore<'_>| {
            assert_eq!((given.features, given.grade), ("", "9.5"));
            assert!(given.score.is_nan());
            seen += 1;
            Ok::<_, StoreError>(())
        };
        assert!(reading.slice(each).unwrap());
        assert_eq!(seen, 1);
    }

    #[test]
    fn an_error_ends_the_reading() {
        let (_folder, store) = log(&[scored(1, "lead", None)]);
        let mut reading = store.reading(Scan { model: "lead", from_ms: 0, to_ms: 9 }).unwrap();
        let refuse = |_: &GivenScore<'_>| Err(StoreError::Newer { found: 1, known: 0 });
        assert!(reading.slice(refuse).is_err());
    }

    #[test]
    fn of_what_was_told_within_the_horizon_the_highest_revision_counts() {
        let lost = Ending::Known { won: false, revenue: None };
        let won = Ending::Known { won: true, revenue: None };
        // Outcomes as they passed, each with when it happened and its revision; scored at 100, horizon 50.
        let check = |passed: &[(i64, Option<i64>, bool)], expected: Ending| {
            let outcome = |(n, (at, revision, won)): (i64, &(i64, Option<i64>, bool))| {
                let outcome = Outcome { revision: *revision, ..told(*at, "a", *won) };
                Entry::Outcome(OutcomeRecord { time_ms: 200 + n, route: "r".into(), outcome })
            };
            let entries: Vec<Entry> = (0..).zip(passed).map(outcome).collect();
            let (_folder, store) = log(&entries);
            let endings = store.endings(1_000).unwrap();
            assert_eq!(endings.after(endings.key("a"), 100, 50), expected, "{passed:?}");
            assert_eq!(endings.after(endings.key("b"), 100, 50), Ending::Open);
        };
        check(&[], Ending::Open);
        check(&[(120, None, true)], won);
        check(&[(150, None, false)], lost);
        check(&[(151, None, true)], Ending::Open);
        check(&[(100, None, true)], Ending::Before);
        check(&[(120, None, true), (99, None, false)], Ending::Before);
        check(&[(120, None, true), (130, None, false)], lost);
        check(&[(130, None, false), (120, None, true)], lost);
        check(&[(130, None, false), (130, None, true)], won);
        check(&[(120, Some(2), true), (130, Some(1), false)], won);
        check(&[(120, Some(1), true), (160, Some(2), false)], won);
        check(&[(1_001, None, true)], Ending::Open);
    }

    #[test]
    fn revenue_is_a_number_or_none() {
        for (revenue, expected) in [(Some(90.5), Some(90.5)), (None, None), (Some(f64::INFINITY), None)] {
            let outcome = Outcome { revenue, ..told(120, "a", true) };
            let (_folder, store) =
                log(&[Entry::Outcome(OutcomeRecord { time_ms: 200, route: "r".into(), outcome })]);
            let endings = store.endings(1_000).unwrap();
            let found = endings.after(endings.key("a"), 100, 50);
            assert_eq!(found, Ending::Known { won: true, revenue: expected });
        }
    }
}
