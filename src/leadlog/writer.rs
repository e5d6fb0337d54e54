//! The writer thread: queues to SQLite, in batches. Traffic never depends on it: a log that cannot be opened or written is
//! tried again while records wait in the queues. Where few wait, it counts what it has written for the sketches, a slice of
//! some milliseconds at a time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use metrics::Gauge;

use super::{
    counted::Counted,
    known::Known,
    queue::Queue,
    record::Entry,
    store::{Store, StoreError},
};
use crate::config::Config;

/// How long a record waits before it is committed. Polling instead of waking spares every request a system call.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a log that cannot be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Records in one transaction.
const BATCH: usize = 4_096;

/// Scores and changed leads that are counted between two batches; some milliseconds.
const SLICE: usize = 256;

/// With fewer records in a batch there is time to count.
const SHORT: usize = BATCH / 4;

/// Tries at shutdown before what is left is counted as lost.
const LAST_TRIES: usize = 10;

/// What the thread tells others.
#[derive(Clone, Debug)]
pub struct Told {
    /// Is given the last scores of the log once it is open.
    pub known: Arc<Known>,
    /// The names of the features, in the configuration's order.
    pub names: Arc<[Arc<str>]>,
    /// Outcomes of deals that no conversion has linked to a lead yet.
    pub unmatched: Gauge,
    /// Says how long a lead has to convert.
    pub config: Arc<ArcSwap<Config>>,
}

/// The running thread. Dropping it flushes and stops.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts to drain `queue` into the log in `folder`. Whatever is wrong with the folder or the log is logged and tried
    /// again; the error is the thread's.
    pub fn start(folder: &Path, queue: Queue, told: Told) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let run = Run {
            folder: folder.to_owned(),
            queue,
            told,
            stop: stop.clone(),
            store: None,
            batch: Vec::new(),
            failing: false,
            counting: Counting { wanted: true, failing: false, horizon_ms: 0 },
        };
        let thread = std::thread::Builder::new().name("leadlog".into()).spawn(move || run.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has been printed; there is nothing left to flush.
            _ = thread.join();
        }
    }
}

/// What the thread holds.
struct Run {
    folder: PathBuf,
    queue: Queue,
    told: Told,
    stop: Arc<AtomicBool>,
    /// None until it could be opened.
    store: Option<Store>,
    batch: Vec<Entry>,
    failing: bool,
    counting: Counting,
}

/// Whether there is something to count, as far as the thread knows.
struct Counting {
    wanted: bool,
    failing: bool,
    /// Of the last slice; another one has every lead labelled anew.
    horizon_ms: i64,
}

impl Run {
    fn run(mut self) {
        let mut tries_left = LAST_TRIES;
        loop {
            // Read before draining: what was pushed before the stop is then surely seen.
            let stopping = self.stop.load(Ordering::Acquire);
            match self.write() {
                Ok(0) if stopping => return,
                Ok(written) => {
                    let counted = !stopping && written < SHORT && self.count(written);
                    if written == 0 && !counted {
                        std::thread::park_timeout(PAUSE);
                    }
                }
                Err(error) => {
                    self.complain(error);
                    tries_left -= usize::from(stopping);
                    let left = self.batch.len() + self.queue.depth();
                    if stopping && (left == 0 || tries_left == 0) {
                        return self.queue.lose(left);
                    }
                    let pause = if stopping || self.store.is_some() { PAUSE * 5 } else { RETRY };
                    std::thread::park_timeout(pause);
                }
            }
        }
    }

    /// Writes one batch, and says how many records that were. Without a store records stay in the queue, which drops
    /// its oldest when it is full.
    fn write(&mut self) -> Result<usize, StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let store = self.store.insert(open(&self.folder)?);
                self.told.recall(store)?;
                store
            }
        };
        self.queue.drain(BATCH, &mut self.batch);
        // Workers' queues are drained one after another.
        self.batch.sort_by_key(Entry::time_ms);
        if !self.batch.is_empty()
            && let Err(error) = store.write(&self.batch)
        {
            if error.is_corrupt() {
                self.store = None;
                set_aside(&self.folder, &error)?;
            }
            return Err(error);
        }
        let written = self.batch.len();
        let tells = |entry: &Entry| matches!(entry, Entry::Outcome(_) | Entry::Alias(_));
        let any_told = self.batch.iter().any(tells);
        // They are committed: what fails from here on must not write them once more.
        self.batch.clear();
        if any_told {
            self.told.unmatched.set(store.unmatched()? as f64);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("lead log: writing again");
        }
        Ok(written)
    }

    /// Counts a slice of what was written, and says whether there is more. Sketches that lag behind are no reason to keep
    /// records waiting; what cannot be counted now is counted after the next batch.
    fn count(&mut self, written: usize) -> bool {
        let horizon_ms =
            i64::try_from(self.told.config.load().rollout.horizon.as_millis()).unwrap_or(i64::MAX);
        self.counting.wanted |= written > 0 || self.counting.horizon_ms != horizon_ms;
        let Some(store) = self.store.as_mut().filter(|_| self.counting.wanted) else { return false };
        self.counting.horizon_ms = horizon_ms;
        match store.count(SLICE, horizon_ms) {
            Ok(Counted { done, .. }) => (self.counting.wanted, self.counting.failing) = (!done, false),
            Err(error) => {
                self.counting.wanted = false;
                if !std::mem::replace(&mut self.counting.failing, true) {
                    tracing::warn!(%error, "leads cannot be counted for the report; it is tried again");
                }
            }
        }
        self.counting.wanted
    }

    fn complain(&mut self, error: StoreError) {
        if !std::mem::replace(&mut self.failing, true) {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                error,
                "cannot write the lead log; records wait in memory and the oldest are dropped"
            );
        }
    }
}

impl Told {
    fn recall(&self, store: &Store) -> Result<(), StoreError> {
        for memory in store.recall(self.known.capacity(), &self.names)? {
            self.known.remember(memory);
        }
        self.unmatched.set(store.unmatched()? as f64);
        Ok(())
    }
}

/// Opens the log; a file that is not one makes room for a new one.
fn open(folder: &Path) -> Result<Store, StoreError> {
    match Store::open(folder) {
        Err(error) if error.is_corrupt() => {
            set_aside(folder, &error)?;
            Store::open(folder)
        }
        opened => opened,
    }
}

fn set_aside(folder: &Path, error: &StoreError) -> Result<(), StoreError> {
    let file = Store::set_aside(folder)?;
    tracing::error!(%error, file = %file.display(), "the lead log is no database; it was set aside and a new one begun");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Outcome, Score, Value},
        leadlog::{Decision, OutcomeRecord, Packed, ScoreRecord},
    };

    fn told() -> Told {
        let known = Arc::new(Known::new(64, Duration::from_secs(1)));
        let config = Config::parse("upstream: http://127.0.0.1:1", &|_| None).unwrap();
        let config = Arc::new(ArcSwap::from_pointee(config));
        Told { known, names: ["age".into()].into(), unmatched: Gauge::noop(), config }
    }

    fn score(lead: &str) -> Entry {
        let id = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
        Entry::Score(ScoreRecord {
            time_ms: 1,
            route: "lead.create".into(),
            lead: Some(lead.into()),
            arm: Arm::Champion,
            model: Arc::new(id),
            names: ["age".into()].into(),
            features: Packed::new(&[Value::Number(56.0)]),
            score: Score::new(0.1).unwrap(),
            grade: Grade::A,
            latency_ns: 900,
            decision: Decision::Headers,
            exposure: None,
            fell: None,
        })
    }

    #[test]
    fn every_record_sent_before_the_stop_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(2, 1_000, metrics::Counter::noop());
        let writer = Writer::start(folder.path(), queue.clone(), told()).unwrap();
        for i in 0..500 {
            queue.sender(i % 2).send(score(&format!("L{i}")));
        }
        drop(writer);
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(store.score_count().unwrap(), 500);
        let found = store.scores_of("L7").unwrap();
        assert_eq!(
            (found.len(), found[0].features.as_str(), found[0].score as f32),
            (1, r#"{"age":56.0}"#, 0.1)
        );
    }

    #[test]
    fn what_was_scored_before_the_start_is_known() {
        let folder = tempfile::tempdir().unwrap();
        for told in [told(), told()] {
            let queue = Queue::new(1, 10, metrics::Counter::noop());
            let known = told.known.clone();
            let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
            queue.sender(0).send(score("a"));
            drop(writer);
            let Some(found) = known.find("lead", "a", 2) else { continue };
            let values: Vec<Value<'_>> = found.features.values().collect();
            assert_eq!((found.score.probability(), values), (0.1, vec![Value::Number(56.0)]));
            return;
        }
        panic!("the second start knows nothing of the first");
    }

    #[test]
    fn of_more_leads_than_there_is_room_for_the_last_are_known_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let at = |(lead, time): (&str, i64)| match score(lead) {
            Entry::Score(record) => Entry::Score(ScoreRecord { time_ms: time, ..record }),
            other => other,
        };
        // The last two are of one lead and one moment: the one that was written last is the one that counts.
        let mut entries = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("e", 5)].map(at);
        if let Some(Entry::Score(last)) = entries.last_mut() {
            last.grade = Grade::D;
        }
        store.write(&entries).unwrap();
        let names = told().names;
        let times = |most| -> Vec<i64> {
            store.recall(most, &names).unwrap().iter().map(|memory| memory.time_ms).collect()
        };
        assert_eq!((times(6), times(2)), (vec![1, 2, 3, 4, 5, 5], vec![5, 5]));
        let known = Arc::new(Known::new(4, Duration::from_secs(1)));
        Told { known: known.clone(), ..told() }.recall(&store).unwrap();
        assert_eq!(known.find("lead", "e", 5).map(|found| found.grade), Some(Grade::D));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let dropped = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let queue = Queue::new(1, 10, metrics::Counter::from_arc(dropped.clone()));
        for i in 0..25 {
            queue.sender(0).send(score(&i.to_string()));
        }
        assert_eq!((dropped.load(Ordering::Relaxed), queue.depth()), (15, 10));
        let mut batch = Vec::new();
        queue.drain(1, &mut batch);
        assert!(matches!(&batch[0], Entry::Score(record) if record.lead.as_deref() == Some("15")));
    }

    #[test]
    fn a_locked_file_delays_records_and_loses_none_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, 100, metrics::Counter::noop());
        let writer = Writer::start(folder.path(), queue.clone(), told()).unwrap();
        let is_there = || Store::open_read_only(folder.path()).is_ok_and(|store| store.score_count().is_ok());
        while !is_there() {
            std::thread::yield_now();
        }
        let other = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        queue.sender(0).send(score("waits"));
        assert!(Store::open_read_only(folder.path()).unwrap().scores_of("waits").unwrap().is_empty());
        other.execute_batch("COMMIT").unwrap();
        drop(writer);
        assert_eq!(Store::open_read_only(folder.path()).unwrap().scores_of("waits").unwrap().len(), 1);
    }

    #[test]
    fn what_is_written_is_counted_when_there_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, 10_000, metrics::Counter::noop());
        (0..600).for_each(|lead| queue.sender(0).send(score(&lead.to_string())));
        let told = told();
        let config = Arc::clone(&told.config);
        let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
        let is_counted = |leads: u64| {
            let reader = Store::open_read_only(folder.path());
            reader.is_ok_and(|reader| {
                reader.score_count().is_ok_and(|count| count == leads)
                    && reader.uncounted().is_ok_and(|left| left == 0)
            })
        };
        while !is_counted(600) {
            std::thread::yield_now();
        }
        queue.sender(0).send(score("one more"));
        while !is_counted(601) {
            std::thread::yield_now();
        }
        // A new horizon is followed though nothing is written.
        let text = "upstream: http://127.0.0.1:1\nrollout: {horizon: 7d}";
        config.store(Arc::new(Config::parse(text, &|_| None).unwrap()));
        let horizon = || Store::open_read_only(folder.path()).unwrap().counted_horizon().unwrap();
        while horizon() != Some(7 * 86_400_000) {
            std::thread::yield_now();
        }
        drop(writer);
    }

    #[test]
    fn a_log_that_turns_corrupt_is_set_aside_and_no_record_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let file = folder.path().join(Store::FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        // The header stays, every page behind it turns to noise.
        bytes.iter_mut().skip(4_096).for_each(|byte| *byte = 0xa5);
        std::fs::write(&file, bytes).unwrap();
        let queue = Queue::new(1, 100, metrics::Counter::noop());
        queue.sender(0).send(score("kept"));
        drop(Writer::start(folder.path(), queue, told()).unwrap());
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(store.scores_of("kept").unwrap().len(), 1);
        assert!(folder.path().join("leads.sqlite.corrupt-1").exists());
    }

    #[test]
    fn a_count_that_fails_writes_no_record_twice() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let file = folder.path().join(Store::FILE);
        let root = "SELECT rootpage FROM sqlite_master WHERE name = 'outcomes_unmatched'";
        let log = rusqlite::Connection::open(&file).unwrap();
        let page: u32 = log.query_row(root, [], |row| row.get(0)).unwrap();
        let page = page as usize;
        log.close().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        // Only the count reads this index: the outcome below is a lead's.
        bytes[(page - 1) * 4_096..page * 4_096].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
        let queue = Queue::new(1, 100, metrics::Counter::noop());
        let (time_ms, route, outcome) = (1, "lead.update".into(), Outcome::new("a", true));
        queue.sender(0).send(Entry::Outcome(OutcomeRecord { time_ms, route, outcome }));
        drop(Writer::start(folder.path(), queue, told()).unwrap());
        let log = rusqlite::Connection::open(&file).unwrap();
        let rows: i64 =
            log.query_row("SELECT count(won) FROM outcomes NOT INDEXED", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_log_that_cannot_be_opened_at_the_end_is_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("state");
        std::fs::write(&blocked, "a file where the directory should be").unwrap();
        let lost = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let queue = Queue::new(1, 10, metrics::Counter::from_arc(lost.clone()));
        (0..25).for_each(|i| queue.sender(0).send(score(&i.to_string())));
        drop(Writer::start(&blocked, queue, told()).unwrap());
        assert_eq!(lost.load(Ordering::Relaxed), 25, "15 that did not fit, and 10 at the end");
    }
}
