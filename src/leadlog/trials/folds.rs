//! Rows of trials, counted one by one: read once, and what they add up to takes the same memory however many they are.

use std::hash::{DefaultHasher, Hash, Hasher};

use hdrhistogram::Histogram as Latencies;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    store::{Store, StoreError},
    trial::{OnCanary, OnStep, Versus, side, sides, text},
};
use crate::lead::{Grade, Histogram, Pairs, ShadowError, Sides, Traffic};

/// Rows of one statement, whether they count or not, so that the writer's changes flow back into the file however long a
/// first reading takes.
const SLICE: i64 = 65_536;

/// A table whose rows are numbered in the order in which they were written. Its conditions know the model as `?1`, the
/// experiment as `?2`, and the first moment as `?3`.
pub(in crate::leadlog) struct Table {
    name: &'static str,
    index: &'static str,
    /// The rows that may count, as far as the index tells.
    indexed: &'static str,
    columns: &'static str,
    counts: &'static str,
    /// What tells two rows apart that have the same number and time.
    whose: &'static str,
}

/// What was asked of either arm, and what it answered.
pub(in crate::leadlog) const SCORES: Table = Table {
    name: "scores",
    index: "scores_experiment",
    indexed: "model = ?1 AND experiment = ?2 AND time_ms >= ?3",
    columns: "time_ms, assigned, arm = assigned, fell = 'failed', score",
    counts: "model = ?1 AND experiment = ?2 AND time_ms >= ?3 AND key <> 'request'",
    whose: "lead",
};

/// What was asked of either arm in vain.
pub(in crate::leadlog) const MISSES: Table = Table {
    name: "misses",
    index: "misses_experiment",
    indexed: "model = ?1 AND experiment = ?2 AND time_ms >= ?3",
    columns: "time_ms, arm, outcome = 'failed', outcome = 'late'",
    counts: "model = ?1 AND experiment = ?2 AND time_ms >= ?3",
    whose: "arm",
};

/// What versions said beside the one that answered. The index begins with the version, and the few that there are stand in
/// it: each is found from the one before.
pub(in crate::leadlog) const SHADOW_SCORES: Table = Table {
    name: "shadow_scores",
    index: "shadow_scores_version",
    indexed: "model = ?1 AND time_ms >= ?3 AND version IN (
        WITH RECURSIVE versions (version) AS (
            SELECT min(version) FROM shadow_scores WHERE model = ?1
            UNION ALL
            SELECT (SELECT min(version) FROM shadow_scores WHERE model = ?1 AND version > versions.version)
            FROM versions WHERE versions.version IS NOT NULL)
        SELECT version FROM versions)",
    columns:
        "time_ms, version, live_version, slot <> 'shadow', live_score, score, live_grade, grade, live_ns,
        latency_ns, error",
    counts: "model = ?1 AND time_ms >= ?3",
    whose: "lead",
};

impl Table {
    /// The last row, of those up to a number.
    fn last_to(&self, store: &Store, seq: i64) -> Result<Option<Last>, StoreError> {
        let Self { name, whose, .. } = self;
        let statement =
            format!("SELECT seq, time_ms, {whose} FROM {name} WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1");
        let last = |row: &Row<'_>| {
            let mut whose = DefaultHasher::new();
            row.get::<_, Option<String>>(2)?.hash(&mut whose);
            Ok(Last { seq: row.get(0)?, time_ms: row.get(1)?, whose: whose.finish() })
        };
        Ok(store.connection.prepare_cached(&statement)?.query_row([seq], last).optional()?)
    }

    /// The last row.
    pub(in crate::leadlog) fn last(&self, store: &Store) -> Result<Option<Last>, StoreError> {
        self.last_to(store, i64::MAX)
    }

    /// The number of the first row that may count, and how many there are.
    fn found(&self, store: &Store, range: &Range<'_>) -> Result<(Option<i64>, i64), StoreError> {
        let Self { name, index, indexed, .. } = self;
        let found = format!("SELECT min(seq), count(*) FROM {name} INDEXED BY {index} WHERE {indexed}");
        let Range { model, experiment, from_ms } = range;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(store.connection.prepare_cached(&found)?.query_row(params![model, experiment, from_ms], row)?)
    }

    /// The rows after `?4` up to `?5` that count, in any order.
    fn rows(&self, by: By) -> String {
        let Self { name, index, indexed, columns, counts, .. } = self;
        let way = match by {
            By::Number => "NOT INDEXED WHERE".to_owned(),
            By::Index => format!("INDEXED BY {index} WHERE {indexed} AND"),
        };
        format!("SELECT {columns} FROM {name} {way} {counts} AND seq > ?4 AND seq <= ?5")
    }
}

/// How rows are found.
#[derive(Clone, Copy, Debug)]
enum By {
    /// All that are there, one after the other.
    Number,
    /// Few among many.
    Index,
}

/// Which rows are read.
pub(in crate::leadlog) struct Range<'r> {
    pub(in crate::leadlog) model: &'r str,
    pub(in crate::leadlog) experiment: Option<&'r str>,
    pub(in crate::leadlog) from_ms: i64,
}

/// The last row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::leadlog) struct Last {
    seq: i64,
    time_ms: i64,
    /// A hash, for whoever is forgotten is named nowhere.
    whose: u64,
}

/// How far a table has been read: its last row then.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct Reached(Option<Last>);

impl Reached {
    /// Whether that row is still there. Numbers are given again only where the last rows of a table were removed.
    pub(in crate::leadlog) fn stands(&self, store: &Store, table: &Table) -> Result<bool, StoreError> {
        let Some(reached) = &self.0 else { return Ok(true) };
        Ok(table.last_to(store, reached.seq)?.as_ref() == Some(reached))
    }

    /// Reads what was written since, or from the first row that counts, up to the row that was the last.
    pub(in crate::leadlog) fn read(
        &mut self,
        store: &Store,
        (table, range): (&Table, &Range<'_>),
        last: Option<Last>,
        mut count: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(end) = last.as_ref().map(|last| last.seq) else { return Ok(()) };
        let (mut read, slice, by) = match &self.0 {
            Some(reached) => (reached.seq, SLICE, By::Number),
            None => match table.found(store, range)? {
                (None, _) => (end, SLICE, By::Number),
                // As soon over as a slice, and beside a busy model far sooner than all slices.
                (Some(first), SLICE..) => (first.saturating_sub(1), SLICE, By::Number),
                (Some(first), _) => (first.saturating_sub(1), i64::MAX, By::Index),
            },
        };
        let mut statement = store.connection.prepare_cached(&table.rows(by))?;
        let Range { model, experiment, from_ms } = range;
        while read < end {
            let to = read.saturating_add(slice).min(end);
            let mut rows = statement.query(params![model, experiment, from_ms, read, to])?;
            while let Some(row) = rows.next()? {
                count(row)?;
            }
            read = to;
        }
        self.0 = last;
        Ok(())
    }
}

/// A row of `shadow_scores`.
pub(in crate::leadlog) struct Along<'r> {
    time_ms: i64,
    version: &'r str,
    live_version: &'r str,
    /// An arm that did not answer said it.
    is_arms: bool,
    live_score: f64,
    score: Option<f64>,
    grades: Option<(Grade, Grade)>,
    ns: (u64, u64),
    error: Option<&'r str>,
}

impl<'r> TryFrom<&'r Row<'_>> for Along<'r> {
    type Error = StoreError;

    fn try_from(row: &'r Row<'_>) -> Result<Self, StoreError> {
        let grade = |column| Ok::<_, StoreError>(Grade::parse(text(row, column)?));
        Ok(Self {
            time_ms: row.get(0)?,
            version: text(row, 1)?,
            live_version: text(row, 2)?,
            is_arms: row.get(3)?,
            live_score: row.get(4)?,
            score: row.get(5)?,
            grades: grade(6)?.zip(grade(7)?),
            ns: (nanoseconds(row, 8)?, nanoseconds(row, 9)?),
            error: Some(text(row, 10)?).filter(|error| !error.is_empty()),
        })
    }
}

/// A canary, as far as it has been read.
#[derive(Debug)]
pub(in crate::leadlog) struct CanaryFold {
    version: String,
    pub(in crate::leadlog) window: WindowFold,
    pub(in crate::leadlog) steps: Vec<StepFold>,
}

impl CanaryFold {
    pub(in crate::leadlog) fn new(canary: &OnCanary, (from_ms, to_ms): (i64, i64)) -> Self {
        let (now, next) = (Arms::default(), Arms::default());
        let window = WindowFold { from_ms, to_ms, now, next };
        Self {
            version: canary.version.clone(),
            window,
            steps: canary.steps.iter().map(StepFold::new).collect(),
        }
    }

    /// Those that an arm at `time_ms` counts for.
    fn arms(&mut self, time_ms: i64) -> impl Iterator<Item = &mut Arms> {
        let steps = self.steps.iter_mut().filter(move |step| step.holds(time_ms)).map(|step| &mut step.arms);
        steps.chain(self.window.at(time_ms))
    }

    /// `time_ms, assigned, arm = assigned, fell = 'failed', score`
    pub(in crate::leadlog) fn scored(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let (time_ms, arm) = (row.get(0)?, text(row, 1)?);
        let (own, failed) = (is(row, 2)?, is(row, 3)?);
        let traffic = Traffic { leads: 1, scored: own.into(), errors: failed.into(), ..Traffic::default() };
        self.arms(time_ms).for_each(|arms| arms.count(arm, &traffic));
        if own {
            let score = row.get(4)?;
            for step in self.steps.iter_mut().filter(|step| step.holds(time_ms)) {
                side(&mut step.scores, arm).into_iter().for_each(|scores| scores.count(score));
            }
        }
        Ok(())
    }

    /// `time_ms, arm, outcome = 'failed', outcome = 'late'`
    pub(in crate::leadlog) fn missed(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let (time_ms, arm) = (row.get(0)?, text(row, 1)?);
        let (errors, late) = (is(row, 2)?.into(), is(row, 3)?.into());
        let traffic = Traffic { leads: 1, errors, late, ..Traffic::default() };
        self.arms(time_ms).for_each(|arms| arms.count(arm, &traffic));
        Ok(())
    }

    /// The time that the champion and the challenger took for the same lead, on the same thread. The time of a request would
    /// be one for all leads of a batch, whichever version scored them.
    pub(in crate::leadlog) fn timed(&mut self, row: &Along<'_>) {
        let is_challengers = row.version == self.version;
        if row.is_arms && row.error.is_none() && (is_challengers || row.live_version == self.version) {
            let ns = sides(is_challengers, row.ns);
            self.arms(row.time_ms).for_each(|arms| arms.ns.record(ns));
        }
    }
}

/// A step of a canary.
#[derive(Debug)]
pub(in crate::leadlog) struct StepFold {
    from_ms: i64,
    to_ms: i64,
    arms: Arms,
    scores: Sides<Histogram>,
}

impl StepFold {
    /// While it runs, what a clock that had jumped ahead wrote counts as soon as it is read; its leads are of the cohort only
    /// once that time has come.
    fn new(step: &OnStep) -> Self {
        let (from_ms, to_ms) = (step.from_ms, step.to_ms.unwrap_or(i64::MAX));
        Self { from_ms, to_ms, arms: Arms::default(), scores: Sides::default() }
    }

    fn holds(&self, time_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&time_ms)
    }

    /// What either arm was asked, and the scores that its own version gave.
    pub(in crate::leadlog) fn counted(&self) -> (Sides<Traffic>, Sides<Histogram>) {
        (self.arms.counted(), self.scores.clone())
    }
}

/// A canary's window, and what came after it: rows are written while it is looked at.
#[derive(Debug)]
pub(in crate::leadlog) struct WindowFold {
    from_ms: i64,
    to_ms: i64,
    now: Arms,
    next: Arms,
}

impl WindowFold {
    /// Goes on to a later end, or to the window that follows; false where it is neither. Of a row that comes from the time
    /// after the next look, of a clock that was wrong, no more is known than that it is of the next window.
    pub(in crate::leadlog) fn moves(&mut self, (from_ms, to_ms): (i64, i64)) -> bool {
        let next = std::mem::take(&mut self.next);
        match (from_ms == self.from_ms, from_ms == self.to_ms) {
            (true, _) => self.now.add(&next),
            (false, true) => self.now = next,
            (false, false) => return false,
        }
        let goes_on = to_ms >= self.to_ms;
        (self.from_ms, self.to_ms) = (from_ms, to_ms);
        goes_on
    }

    fn at(&mut self, time_ms: i64) -> Option<&mut Arms> {
        let arms = if time_ms < self.to_ms { &mut self.now } else { &mut self.next };
        (time_ms >= self.from_ms).then_some(arms)
    }

    /// From when to when, and what either arm was asked.
    pub(in crate::leadlog) fn counted(&self) -> (i64, i64, Sides<Traffic>) {
        (self.from_ms, self.to_ms, self.now.counted())
    }
}

/// What both arms were asked, and their time. The time of a whole request is not in the log.
#[derive(Debug, Default)]
struct Arms {
    traffic: Sides<Traffic>,
    ns: Times,
}

impl Arms {
    fn count(&mut self, arm: &str, traffic: &Traffic) {
        side(&mut self.traffic, arm).into_iter().for_each(|own| own.add(traffic));
    }

    fn add(&mut self, other: &Self) {
        self.traffic.add(&other.traffic, Traffic::add);
        self.ns.add(&other.ns);
    }

    fn counted(&self) -> Sides<Traffic> {
        let Sides { champion, challenger } = self.traffic.clone();
        let p99 = self.ns.p99();
        Sides {
            champion: Traffic { p99_ns: p99.champion, ..champion },
            challenger: Traffic { p99_ns: p99.challenger, ..challenger },
        }
    }
}

/// Two versions on the same leads, whichever of them answered.
#[derive(Debug)]
pub(in crate::leadlog) struct PairsFold {
    champion: String,
    challenger: String,
    since_ms: i64,
    counted: Pairs,
    ns: Times,
}

impl PairsFold {
    pub(in crate::leadlog) fn new(of: Versus<'_>) -> Self {
        let Versus { champion, challenger, since_ms, .. } = of;
        let (champion, challenger) = (champion.to_owned(), challenger.to_owned());
        Self { champion, challenger, since_ms, counted: Pairs::default(), ns: Times::default() }
    }

    /// Counts a row of the challenger where the champion answered, or the other way round.
    pub(in crate::leadlog) fn count(&mut self, row: &Along<'_>) {
        let is_of = |version: &str, live: &str| row.version == version && row.live_version == live;
        let is_challengers = is_of(&self.challenger, &self.champion);
        if row.time_ms < self.since_ms || !(is_challengers || is_of(&self.champion, &self.challenger)) {
            return;
        }
        match (row.error, row.score) {
            (Some(error), _) if is_challengers => self.failed(error),
            // Where the champion fails beside a challenger that answered, nothing is to be told of the challenger.
            (Some(_), _) | (None, None) => {}
            (None, Some(score)) => {
                self.scored(row, sides(is_challengers, (row.live_score, score)), is_challengers);
            }
        }
    }

    fn failed(&mut self, error: &str) {
        let pairs = &mut self.counted;
        pairs.mirrored += 1;
        pairs.missing += u64::from(error == ShadowError::Features.as_str());
        pairs.errors += u64::from(error != ShadowError::Features.as_str());
        pairs.non_finite += u64::from(error == ShadowError::Score.as_str());
    }

    fn scored(&mut self, row: &Along<'_>, scores: Sides<f64>, is_challengers: bool) {
        let pairs = &mut self.counted;
        pairs.mirrored += 1;
        pairs.scores.champion.count(scores.champion);
        pairs.scores.challenger.count(scores.challenger);
        self.ns.record(sides(is_challengers, row.ns));
        if let Some((live, other)) = row.grades {
            let grades = sides(is_challengers, (live as usize, other as usize));
            let row = pairs.grades.get_mut(grades.champion);
            let cell = row.and_then(|row| row.get_mut(grades.challenger));
            cell.into_iter().for_each(|cell| *cell += 1);
        }
    }

    /// What the rows say, without labels.
    pub(in crate::leadlog) fn counted(&self) -> Pairs {
        Pairs { p99_ns: self.ns.p99(), ..self.counted.clone() }
    }
}

/// How long both versions took.
#[derive(Debug)]
struct Times(Sides<Latencies<u64>>);

impl Default for Times {
    fn default() -> Self {
        Self(Sides { champion: latencies(), challenger: latencies() })
    }
}

impl Times {
    fn record(&mut self, ns: Sides<u64>) {
        self.0.champion.saturating_record(ns.champion);
        self.0.challenger.saturating_record(ns.challenger);
    }

    fn add(&mut self, other: &Self) {
        // All have the same bounds, and then it cannot fail.
        _ = self.0.champion.add(&other.0.champion);
        _ = self.0.challenger.add(&other.0.challenger);
    }

    /// The 99th percentiles; 0 where nothing was timed.
    fn p99(&self) -> Sides<u64> {
        let p99 = |times: &Latencies<u64>| if times.is_empty() { 0 } else { times.value_at_quantile(0.99) };
        Sides { champion: p99(&self.0.champion), challenger: p99(&self.0.challenger) }
    }
}

/// Up to a minute, to two digits.
fn latencies() -> Latencies<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that fit each other")]
    Latencies::new_with_bounds(1, 60_000_000_000, 2).expect("bounds fit")
}

/// A comparison, which is null where there is nothing to compare.
fn is(row: &Row<'_>, column: usize) -> Result<bool, StoreError> {
    Ok(row.get::<_, Option<bool>>(column)?.unwrap_or_default())
}

fn nanoseconds(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    const RANGE: Range<'static> = Range { model: "lead", experiment: Some("2"), from_ms: 10 };

    /// Misses of a model at 10, with these numbers.
    fn write(store: &Store, model: &str, numbers: impl Iterator<Item = i64>) {
        store.connection.execute_batch("BEGIN").unwrap();
        for seq in numbers {
            let row = "INSERT INTO misses VALUES (?1, 10, ?2, '2', 'champion', 'late')";
            store.connection.prepare_cached(row).unwrap().execute(params![seq, model]).unwrap();
        }
        store.connection.execute_batch("COMMIT").unwrap();
    }

    /// How many rows count that were not read yet.
    fn read(reached: &mut Reached, store: &Store) -> usize {
        let (last, mut counted) = (MISSES.last(store).unwrap(), 0);
        let count = |_: &Row<'_>| {
            counted += 1;
            Ok(())
        };
        reached.read(store, (&MISSES, &RANGE), last, count).unwrap();
        counted
    }

    /// What a statement has done.
    fn steps(store: &Store, by: By, status: StatementStatus) -> i32 {
        store.connection.prepare_cached(&MISSES.rows(by)).unwrap().get_status(status)
    }

    #[test]
    fn a_first_reading_finds_few_rows_beside_many_by_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        write(&store, "busy", 1..=9_999);
        write(&store, "lead", 10_000..10_020);
        write(&store, "busy", 10_020..20_000);
        write(&store, "lead", 20_000..20_005);
        let mut reached = Reached::default();
        assert_eq!(read(&mut reached, &store), 25);
        let by_index = steps(&store, By::Index, StatementStatus::VmStep);
        assert!((25..1_000).contains(&by_index), "{by_index} for 25 rows");
        assert_eq!(steps(&store, By::Number, StatementStatus::VmStep), 0);
        // What came since is read through.
        write(&store, "lead", 20_005..20_010);
        assert_eq!(read(&mut reached, &store), 5);
        assert_eq!(steps(&store, By::Number, StatementStatus::Run), 1);
        assert_eq!(steps(&store, By::Index, StatementStatus::Run), 1);
    }

    #[test]
    fn a_slice_is_of_all_rows_and_each_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut reached = Reached::default();
        write(&store, "busy", 1..2);
        assert_eq!(read(&mut reached, &store), 0);
        // Between them are none, as where others were removed.
        let apart = [2, SLICE, SLICE + 1, SLICE + 2, 2 * SLICE + 1, 2 * SLICE + 2, 4 * SLICE];
        write(&store, "lead", apart.into_iter());
        write(&store, "busy", 5 * SLICE..5 * SLICE + 1);
        assert_eq!(read(&mut reached, &store), apart.len());
        assert_eq!(steps(&store, By::Number, StatementStatus::Run), 5, "one for each slice");
        assert_eq!(read(&mut reached, &store), 0);
        // Too many for the index.
        write(&store, "lead", 6 * SLICE..7 * SLICE);
        assert_eq!(read(&mut Reached::default(), &store), apart.len() + SLICE as usize);
        assert_eq!(steps(&store, By::Index, StatementStatus::Run), 0);
    }
}
