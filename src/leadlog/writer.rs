//! The writer thread: queues to SQLite, in batches. Traffic never depends on it: whatever is wrong with the log, it is
//! tried again while records wait in memory and in files.
//!
//! Where few wait, it counts what it has written for the sketches, a slice of some milliseconds at a time, and forgets what is
//! too old.
//!
//! A second thread puts records into files when too many wait, since the first may hang in a call to SQLite for as long as
//! a disk does.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use metrics::Gauge;

use super::{
    counts::counted::Counted,
    gone::forget::{Gone, hash},
    kept::retention::Retention,
    kept::store::{Store, StoreError},
    known::Known,
    private::Rules,
    record::Entry,
    waiting::inlet::{BATCH, Inlet},
    waiting::lines::Decoder,
    waiting::queue::Queue,
    waiting::spill::{Chunk, Found},
};
use crate::{
    config::Log,
    telemetry::{LeadLogMetrics, now_ms},
};

/// How long a record waits before it is committed. Polling instead of waking spares every request a system call.
const PAUSE: Duration = Duration::from_millis(20);

/// How often the queues are looked at for being too full.
const LOOK: Duration = Duration::from_millis(50);

/// How long a log that cannot be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How long a log that cannot be written is left alone.
const PATIENCE: Duration = Duration::from_millis(100);

/// Tries to read a file before it is given up.
const TRIES: usize = 20;

/// How long it is tried at the end before what is left waits in files for the next start.
const LAST: Duration = Duration::from_secs(2);

/// Scores and changed leads that are counted between two batches; some milliseconds. Its fixed part costs as much as some
/// hundred leads.
const SLICE: usize = 1_024;

/// How long nothing is counted once everything has been.
const REST: Duration = Duration::from_secs(1);

/// How often it is told that what is too old cannot be removed: one table may fail, and the next one not.
const TELL: Duration = Duration::from_secs(3_600);

/// With fewer records in a batch there is time to count.
const SHORT: usize = BATCH / 4;

/// What the threads go by, and what they tell others.
#[derive(Clone, Debug)]
pub struct Told {
    /// Is given the last scores of the log once it is open.
    pub known: Arc<Known>,
    /// The names of the features, in the configuration's order.
    pub names: Arc<[Arc<str>]>,
    /// Outcomes of deals that no conversion has linked to a lead yet.
    pub unmatched: Gauge,
    /// What becomes of records.
    pub metrics: LeadLogMetrics,
    /// What the log keeps. It may be replaced at any time.
    pub rules: Arc<ArcSwap<Rules>>,
}

impl Told {
    /// For a log beside which nothing else runs: everything is kept, and nobody counts.
    pub fn alone(names: Arc<[Arc<str>]>) -> Self {
        let known = Arc::new(Known::new(0, Duration::ZERO));
        let log = Log { keep: Duration::MAX, size: u64::MAX, ..Log::default() };
        let rules = Arc::new(ArcSwap::from_pointee(Rules { log, ..Rules::default() }));
        let metrics = LeadLogMetrics::noop();
        Self { known, names, unmatched: Gauge::noop(), metrics, rules }
    }
}

/// The running threads. Dropping it flushes and stops.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    /// Starts to drain `queue` into the log in `folder`. Whatever is wrong with the folder or the log is logged and tried
    /// again; the error is a thread's.
    pub fn start(folder: &Path, queue: Queue, told: Told) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (inlet, found) = Inlet::new(folder, queue, told.rules.clone(), told.metrics.clone());
        let inlet = Arc::new(Mutex::new(inlet));
        let relief = Relief { inlet: inlet.clone(), stop: stop.clone(), failing: false };
        let run = Run::new(folder, inlet, told, stop.clone());
        let mut writer = Self { stop, threads: Vec::new() };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        writer.threads.push(thread("leadlog").spawn(move || run.run(found))?);
        writer.threads.push(thread("leadlog-spill").spawn(move || relief.run())?);
        Ok(writer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A panic in the thread has been printed; there is nothing left to flush.
            _ = thread.join();
        }
    }
}

/// The thread that puts records into files when too many wait in memory.
struct Relief {
    inlet: Arc<Mutex<Inlet>>,
    stop: Arc<AtomicBool>,
    failing: bool,
}

impl Relief {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let relieved = lock(&self.inlet).relieve(false);
            match relieved {
                Ok(()) => self.failing = false,
                Err(error) if !std::mem::replace(&mut self.failing, true) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::error!(
                        error,
                        "records wait in memory only; the oldest are dropped when it is full"
                    );
                }
                Err(_) => {}
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

/// What the writing thread holds.
struct Run {
    folder: PathBuf,
    inlet: Arc<Mutex<Inlet>>,
    told: Told,
    stop: Arc<AtomicBool>,
    /// None until it could be opened.
    store: Option<Store>,
    /// Whether the log has said how far the files have been read.
    resumed: bool,
    /// Whether it has said what it knows of leads.
    recalled: bool,
    batch: Vec<Entry>,
    decoder: Decoder,
    retention: Retention,
    /// When it was last told that what is too old stays.
    stuck: Option<Instant>,
    failing: bool,
    counting: Counting,
}

/// Whether there is something to count, as far as the thread knows.
struct Counting {
    wanted: bool,
    failing: bool,
    /// Of the last slice; another one has every lead labelled anew.
    horizon_ms: i64,
    /// When everything had been counted; nothing is for a while then.
    rested: Option<Instant>,
}

impl Run {
    fn new(folder: &Path, inlet: Arc<Mutex<Inlet>>, told: Told, stop: Arc<AtomicBool>) -> Self {
        Self {
            folder: folder.to_owned(),
            inlet,
            told,
            stop,
            store: None,
            resumed: false,
            recalled: false,
            batch: Vec::new(),
            decoder: Decoder::default(),
            retention: Retention::default(),
            stuck: None,
            failing: false,
            counting: Counting { wanted: true, failing: false, horizon_ms: 0, rested: None },
        }
    }

    fn run(mut self, found: Found) {
        // Not under the lock: it may take a while, and the other thread is needed meanwhile.
        let older = found.measure();
        lock(&self.inlet).adopt(older);
        let mut ends = None;
        loop {
            // Read before draining: what was pushed before the stop is then surely seen.
            let stopping = self.stop.load(Ordering::Acquire);
            let is_over = stopping && *ends.get_or_insert_with(|| Instant::now() + LAST) <= Instant::now();
            let pause = match self.write() {
                _ if is_over => return lock(&self.inlet).close(),
                Ok(0) if stopping => return,
                Ok(written) if stopping || written >= BATCH || !lock(&self.inlet).is_direct() => continue,
                Ok(written) => {
                    let begun = Instant::now();
                    let is_more = written < SHORT && self.count(written);
                    let took = begun.elapsed();
                    self.forget();
                    // Half of the time at the most, so that others get at the log, and at the processor. While records come,
                    // they are better written many at a time.
                    if is_more && written == 0 { took.min(PAUSE) } else { PAUSE }
                }
                Err(error) => {
                    self.complain(error);
                    let is_done = lock(&self.inlet).is_empty();
                    if stopping && is_done {
                        return;
                    }
                    if stopping || self.store.is_some() { PATIENCE } else { RETRY }
                }
            };
            std::thread::park_timeout(pause);
        }
    }

    /// Writes one batch, and says how many records that were.
    fn write(&mut self) -> Result<usize, StoreError> {
        self.open()?;
        let Some(store) = &mut self.store else { return Ok(0) };
        let mut batch = std::mem::take(&mut self.batch);
        let mut chunk = lock(&self.inlet).take(&mut batch);
        let lost = chunk.as_mut().map_or(0, |chunk| read(chunk, &mut self.decoder, &mut batch));
        let place = chunk.as_ref().map(|chunk| chunk.place);
        let is_nothing = batch.is_empty() && place.is_none();
        let written = if is_nothing { Ok(()) } else { store.write_from(&batch, place) };
        if let Err(error) = written {
            lock(&self.inlet).give_back(chunk.as_ref(), &mut batch);
            self.batch = batch;
            return Err(self.doubt(error));
        }
        lock(&self.inlet).done(chunk.as_ref(), batch.len(), lost);
        // They are committed: what fails from here on must not write them once more.
        let tells = |entry: &Entry| matches!(entry, Entry::Outcome(_) | Entry::Alias(_));
        let (any_told, records) = (batch.iter().any(tells), batch.len());
        batch.clear();
        self.batch = batch;
        if any_told {
            self.told.unmatched.set(store.unmatched()? as f64);
        }
        self.told.forget(store)?;
        if std::mem::take(&mut self.failing) {
            tracing::info!("lead log: writing again");
        }
        Ok(records.max(usize::from(!is_nothing)))
    }

    /// Opens the log where that is still to be done, and learns what it has to tell: first how far the files have been
    /// read, without which nothing may be read from them.
    fn open(&mut self) -> Result<(), StoreError> {
        if self.store.is_none() {
            self.store = Some(open(&self.folder)?);
            self.recalled = false;
        }
        let Some(store) = &self.store else { return Ok(()) };
        if !self.resumed {
            match store.place() {
                Ok(place) => place.into_iter().for_each(|place| lock(&self.inlet).resume(place)),
                Err(error) => return Err(self.doubt(error)),
            }
            self.resumed = true;
        }
        // Once, whatever comes of it: records can be written all the same.
        if !std::mem::replace(&mut self.recalled, true) {
            self.told.recall(store)?;
        }
        Ok(())
    }

    /// A log that is no database any more makes room for a new one.
    fn doubt(&mut self, error: StoreError) -> StoreError {
        if error.is_corrupt() {
            self.store = None;
            if let Err(error) = set_aside(&self.folder, &error) {
                return error;
            }
        }
        error
    }

    /// Counts a slice of what was written, and says whether there is more. Sketches that lag behind are no reason to keep
    /// records waiting; what cannot be counted now is counted after the next batch.
    fn count(&mut self, written: usize) -> bool {
        let horizon = self.told.rules.load().horizon.as_millis();
        let horizon_ms = i64::try_from(horizon).unwrap_or(i64::MAX);
        self.counting.wanted |= written > 0 || self.counting.horizon_ms != horizon_ms;
        // A slice costs nearly as much for one lead as for all of it.
        let rests = self.counting.rested.is_some_and(|since| since.elapsed() < REST);
        let Some(store) = self.store.as_mut().filter(|_| self.counting.wanted && !rests) else {
            return false;
        };
        self.counting.horizon_ms = horizon_ms;
        match store.count(SLICE, horizon_ms) {
            Ok(Counted { done, .. }) => {
                (self.counting.wanted, self.counting.failing) = (!done, false);
                self.counting.rested = done.then(Instant::now);
            }
            Err(error) => {
                self.counting.wanted = false;
                if !std::mem::replace(&mut self.counting.failing, true) {
                    tracing::warn!(%error, "leads cannot be counted for the report; it is tried again");
                }
            }
        }
        self.counting.wanted
    }

    /// Removes a little of what is too old, while nothing else is to be done.
    fn forget(&mut self) {
        let Some(store) = &self.store else { return };
        let log = self.told.rules.load().log;
        match self.retention.step(store, &log, now_ms()) {
            Ok(removed) => self.told.metrics.expired.increment(removed),
            Err(error) if self.stuck.is_none_or(|since| since.elapsed() >= TELL) => {
                self.stuck = Some(Instant::now());
                tracing::error!(%error, "what is too old cannot be removed from the lead log; it is tried again");
            }
            Err(_) => {}
        }
    }

    fn complain(&mut self, error: StoreError) {
        if !std::mem::replace(&mut self.failing, true) {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                error,
                "cannot write the lead log; records wait in files, or in memory where that fails too"
            );
        }
    }
}

impl Told {
    /// Takes leads that were forgotten on request out of the table of known leads.
    fn forget(&self, store: &mut Store) -> Result<(), StoreError> {
        let Gone { leads, since_ms } = store.lately_forgotten(now_ms())?;
        if !leads.is_empty() {
            let gone: HashMap<_, _> = leads.into_iter().collect();
            let is_gone =
                |lead: &str, time_ms: i64| gone.get(&hash(lead)).is_some_and(|until| time_ms <= *until);
            self.known.forget(since_ms, is_gone);
        }
        Ok(())
    }

    fn recall(&self, store: &Store) -> Result<(), StoreError> {
        let mut pen = self.known.pen();
        for (lead, memory) in store.recall(self.known.capacity(), &self.names)? {
            pen.remember(&lead, &memory.seen());
        }
        self.unmatched.set(store.unmatched()? as f64);
        Ok(())
    }
}

/// A thread that panicked with the lock in its hands left records where they were.
fn lock(inlet: &Mutex<Inlet>) -> MutexGuard<'_, Inlet> {
    inlet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a file. A process that has no file handle left for the moment is no reason to lose what waits in it.
fn patiently(chunk: &mut Chunk) -> io::Result<Vec<u8>> {
    for _ in 1..TRIES {
        match chunk.read() {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                std::thread::sleep(PATIENCE);
            }
            read => return read,
        }
    }
    chunk.read()
}

/// Reads a file's records, and says how many could not be.
fn read(chunk: &mut Chunk, decoder: &mut Decoder, batch: &mut Vec<Entry>) -> u64 {
    let lines = match patiently(chunk) {
        Ok(lines) => lines,
        Err(error) => {
            let (file, records) = (chunk.set_aside(), chunk.records);
            tracing::error!(file = %file.display(), %error, records, "cannot read records that waited in a file; they are lost");
            return records;
        }
    };
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut damaged = 0;
    for line in lines {
        match decoder.read(line) {
            Some(entry) => batch.push(entry),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::error!(damaged, "records that waited in a file are damaged and lost");
    }
    damaged
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

    const ROOM: u64 = 1 << 20;

    fn told() -> Told {
        let known = Arc::new(Known::new(64, Duration::from_secs(1)));
        Told { known, ..Told::alone(["age".into()].into()) }
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
        let queue = Queue::new(2, ROOM, metrics::Counter::noop());
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
            let queue = Queue::new(1, ROOM, metrics::Counter::noop());
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
            store.recall(most, &names).unwrap().iter().map(|(_, memory)| memory.time_ms).collect()
        };
        assert_eq!((times(6), times(2)), (vec![1, 2, 3, 4, 5, 5], vec![5, 5]));
        let known = Arc::new(Known::new(4, Duration::from_secs(1)));
        Told { known: known.clone(), ..told() }.recall(&store).unwrap();
        assert_eq!(known.find("lead", "e", 5).map(|found| found.grade), Some(Grade::D));
    }

    #[test]
    fn a_locked_file_delays_records_and_loses_none_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
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
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
        (0..600).for_each(|lead| queue.sender(0).send(score(&lead.to_string())));
        let told = told();
        let rules = Arc::clone(&told.rules);
        let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
        let is_counted = |leads: u64| {
            let reader = Store::open_read_only(folder.path());
            reader.is_ok_and(|reader| {
                let written = reader.score_count().is_ok_and(|count| count == leads);
                written && reader.uncounted().is_ok_and(|left| left == 0)
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
        rules.store(Arc::new(Rules { horizon: Duration::from_millis(7), ..(**rules.load()).clone() }));
        let horizon = || Store::open_read_only(folder.path()).unwrap().counted_horizon().unwrap();
        while horizon() != Some(7) {
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
        bytes.iter_mut().skip(8_192).for_each(|byte| *byte = 0xa5);
        std::fs::write(&file, bytes).unwrap();
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
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
        let size: i64 = log.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
        let (page, size) = (page as usize, size as usize);
        log.close().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        // Only the count reads this index: the outcome below is a lead's.
        bytes[(page - 1) * size..page * size].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
        let (time_ms, route, outcome) = (1, "lead.update".into(), Outcome::new("a", true));
        queue.sender(0).send(Entry::Outcome(OutcomeRecord { time_ms, route, outcome }));
        drop(Writer::start(folder.path(), queue, told()).unwrap());
        let log = rusqlite::Connection::open(&file).unwrap();
        let rows: i64 =
            log.query_row("SELECT count(won) FROM outcomes NOT INDEXED", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn rows_that_cannot_be_removed_are_no_log_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
        let told = told();
        let (inlet, _) = Inlet::new(folder.path(), queue.clone(), told.rules.clone(), told.metrics.clone());
        let mut run = Run::new(folder.path(), Arc::new(Mutex::new(inlet)), told, Arc::default());
        run.write().unwrap();
        run.store.as_ref().unwrap().connection.execute_batch("DROP TABLE misses").unwrap();
        (0..20).for_each(|_| run.forget());
        assert!(run.stuck.is_some() && !run.failing);
        queue.sender(0).send(score("a"));
        assert_eq!(run.write().unwrap(), 1);
    }

    #[test]
    fn a_log_that_cannot_be_opened_at_the_end_is_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("state");
        std::fs::write(&blocked, "a file where the directory should be").unwrap();
        let lost = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let queue = Queue::new(1, 10 * score("10").size(), metrics::Counter::from_arc(lost.clone()));
        (0..25).for_each(|i| queue.sender(0).send(score(&i.to_string())));
        drop(Writer::start(&blocked, queue, told()).unwrap());
        assert_eq!(lost.load(Ordering::Relaxed), 25, "15 that did not fit, and 10 at the end");
    }
    /// The counters, to be read.
    fn counted() -> (LeadLogMetrics, impl Fn() -> [u64; 3]) {
        let counters = [(); 3].map(|()| Arc::new(std::sync::atomic::AtomicU64::new(0)));
        let [written, spilled, dropped] =
            [0, 1, 2].map(|i: usize| metrics::Counter::from_arc(counters[i].clone()));
        let metrics = LeadLogMetrics { written, spilled, dropped, ..LeadLogMetrics::noop() };
        (metrics, move || [0, 1, 2].map(|i: usize| counters[i].load(Ordering::Relaxed)))
    }

    fn leads(folder: &Path) -> Vec<String> {
        let log = rusqlite::Connection::open(folder.join(Store::FILE)).unwrap();
        let mut leads = log.prepare("SELECT lead FROM scores ORDER BY seq").unwrap();
        leads.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder.join("spill")).map_or(0, Iterator::count)
    }

    #[test]
    fn while_the_log_is_locked_records_wait_in_files_and_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let other = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (metrics, counts) = counted();
        // Room for 100 records: ten times as many come.
        let queue = Queue::new(1, 100 * score("100").size(), metrics.dropped.clone());
        let told = Told { metrics, ..told() };
        let writer = Writer::start(folder.path(), queue.clone(), told.clone()).unwrap();
        let sender = queue.sender(0);
        for number in numbers(0..1_000) {
            while queue.is_half_full() {
                std::thread::yield_now();
            }
            sender.send(score(&number));
        }
        let [written, spilled, dropped] = counts();
        assert_eq!((written, dropped), (0, 0));
        // The rest is in the queue, and in what the writer has taken out of it.
        assert!(spilled >= 500 && files(folder.path()) > 0, "{spilled}");
        drop(writer);
        assert_eq!(counts(), [0, 1_000, 0], "what was left in memory went into files at the end");
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(leads(folder.path()).len(), 0);
        // The next process writes what it finds before anything else.
        queue.sender(0).send(score("1000"));
        drop(Writer::start(folder.path(), queue, told).unwrap());
        assert_eq!(leads(folder.path()), numbers(0..1_001));
        assert_eq!((counts(), files(folder.path())), ([1_001, 1_000, 0], 0));
    }

    #[test]
    fn where_no_files_may_be_the_oldest_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let other = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (metrics, counts) = counted();
        let queue = Queue::new(1, 100 * score("100").size(), metrics.dropped.clone());
        let told = Told { metrics, ..told() };
        let rules = told.rules.load_full();
        let log = Log { spill: 0, ..rules.log };
        told.rules.store(Arc::new(Rules { log, ..(*rules).clone() }));
        let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
        let sender = queue.sender(0);
        numbers(0..1_000).iter().for_each(|number| sender.send(score(number)));
        other.execute_batch("COMMIT").unwrap();
        drop(writer);
        let [written, spilled, dropped] = counts();
        assert_eq!((written + dropped, spilled, files(folder.path())), (1_000, 0, 0));
        assert!(dropped > 0 && written >= 90, "{written} {dropped}");
        assert_eq!(leads(folder.path()).len() as u64, written);
    }

    #[test]
    fn a_damaged_record_costs_itself_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, counts) = counted();
        let told = Told { metrics: metrics.clone(), ..told() };
        let queue = Queue::new(1, ROOM, metrics.dropped.clone());
        numbers(0..5).iter().for_each(|number| queue.sender(0).send(score(number)));
        let (mut inlet, _) = Inlet::new(folder.path(), queue.clone(), told.rules.clone(), metrics);
        inlet.relieve(true).unwrap();
        let file = std::fs::read_dir(folder.path().join("spill")).unwrap().next().unwrap().unwrap().path();
        let mut text = std::fs::read(&file).unwrap();
        let third = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 20;
        text[third] ^= 1;
        // The last one is cut off, as by a crash in the middle of a write.
        text.truncate(text.len() - 9);
        std::fs::write(&file, text).unwrap();
        drop(Writer::start(folder.path(), queue, told).unwrap());
        assert_eq!(leads(folder.path()), ["0", "1", "3"]);
        assert_eq!((counts(), files(folder.path())), ([3, 5, 1], 0));
    }

    #[test]
    fn what_the_log_may_not_keep_is_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(Store::FILE)).unwrap();
        let queue = Queue::new(1, ROOM, metrics::Counter::noop());
        let told = told();
        let features = [("age".into(), crate::config::Logged::Hash)].into();
        told.rules.store(Arc::new(Rules { features, ..(**told.rules.load()).clone() }));
        queue.sender(0).send(score("a"));
        // There is no log, so it goes into a file at the end.
        drop(Writer::start(folder.path(), queue.clone(), told.clone()).unwrap());
        let file = std::fs::read_dir(folder.path().join("spill")).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("hash:") && !text.contains("56.0"), "{text}");
        std::fs::remove_dir(folder.path().join(Store::FILE)).unwrap();
        drop(Writer::start(folder.path(), queue.clone(), told.clone()).unwrap());
        let stored = Store::open_read_only(folder.path()).unwrap().scores_of("a").unwrap();
        assert!(stored[0].features.starts_with(r#"{"age":"hash:"#), "{}", stored[0].features);
        // After a restart the lead is known, its age is not.
        drop(Writer::start(folder.path(), queue, told.clone()).unwrap());
        let found = told.known.find("lead", "a", 2).unwrap();
        let values: Vec<Value<'_>> = found.features.values().collect();
        assert_eq!(
            (values, found.unknown().collect::<Vec<_>>()),
            (vec![Value::Missing], vec![&"age".into()])
        );
    }
}
