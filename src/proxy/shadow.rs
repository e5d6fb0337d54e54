//! Versions that score along: shadows, and during a canary the arm that did not answer, so that both are always known for the
//! same lead.
//!
//! A worker pushes what it scored into a bounded queue and never waits; one thread scores it again and sends what comes of
//! it to the lead log. Where a model has nobody to score along, nothing is pushed: there is no queue then, and the thread
//! sleeps. What fails here costs the request nothing, for it has its answer: a full queue drops the newest and counts it, a
//! panic is caught and counts against its version, but for the one that answered already, and a slow version only makes the
//! queue full.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use metrics::Counter;

use super::{bound::Bound, slots::Slots};
use crate::{
    lead::{Arm, LeadId, ShadowError, Slot, Value},
    leadlog::{Entry, LiveScore, Packed, Sender, ShadowRecord},
    score::{Scored, Scratch},
};

/// How long the thread rests where nothing waits. Polling instead of waking spares every request a system call.
const PAUSE: Duration = Duration::from_millis(50);

/// The same before anything was pushed, and once nothing came for long: it is woken then, unless that was just as it went to
/// rest.
const IDLE: Duration = Duration::from_secs(1);

/// Pauses without work before the long rests: five seconds.
const PAUSES: u32 = 100;

/// How long it goes on at the end; what waits then is lost and counted.
const LAST: Duration = Duration::from_secs(1);

/// The way to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shadows(Arc<Way>);

#[derive(Debug)]
struct Way {
    /// Made with the first lead.
    queue: OnceLock<ArrayQueue<ShadowJob>>,
    capacity: usize,
    dropped: Counter,
    /// Who sleeps until there is a queue.
    thread: OnceLock<Thread>,
    /// It rests for long and wants to be woken.
    is_resting: AtomicBool,
}

/// A lead that was scored, for others to score.
#[derive(Debug)]
pub(super) struct ShadowJob {
    /// The versions of that moment.
    pub(super) slots: Arc<Slots>,
    /// When it got its score, in milliseconds since 1970.
    pub(super) time_ms: i64,
    pub(super) lead: Option<LeadId>,
    /// The arm that answered.
    pub(super) arm: Arm,
    pub(super) scored: Scored,
    /// As they were scored.
    pub(super) features: Packed,
}

impl Shadows {
    /// Leads that may wait at most where nobody says otherwise: at 20,000 a second, half of one.
    pub const CAPACITY: usize = 8_192;

    /// A queue of `capacity` leads; `dropped` counts those that do not fit.
    pub fn new(capacity: usize, dropped: Counter) -> Self {
        let (queue, thread, capacity) = (OnceLock::new(), OnceLock::new(), capacity.max(1));
        let is_resting = AtomicBool::new(false);
        Self(Arc::new(Way { queue, capacity, dropped, thread, is_resting }))
    }

    /// Leaves a lead to the thread, or drops it where too many wait.
    pub(super) fn push(&self, job: ShadowJob) {
        let queue = self.0.queue.get().unwrap_or_else(|| self.begin());
        if queue.push(job).is_err() {
            self.0.dropped.increment(1);
        }
        // Mostly it does not, and a look costs nothing.
        if self.0.is_resting.load(Ordering::Relaxed) && self.0.is_resting.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn begin(&self) -> &ArrayQueue<ShadowJob> {
        let queue = self.0.queue.get_or_init(|| ArrayQueue::new(self.0.capacity));
        self.wake();
        queue
    }

    fn wake(&self) {
        self.0.thread.get().into_iter().for_each(Thread::unpark);
    }
}

/// The running thread. Dropping it stops it, once it has scored what waits, within a second.
#[derive(Debug)]
pub struct ShadowScorer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ShadowScorer {
    /// Starts to score what `shadows` holds; the records go to `log`.
    pub fn start(shadows: &Shadows, log: Sender) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (way, told) = (Arc::clone(&shadows.0), Arc::clone(&stop));
        let scorer =
            Scorer { log, way, stop: told, until: None, scratch: Scratch::default(), values: 0, leads: 0 };
        let run = move || {
            // Whoever pushes first wakes it.
            _ = scorer.way.thread.set(std::thread::current());
            scorer.run();
        };
        let thread = Some(std::thread::Builder::new().name("shadows".into()).spawn(run)?);
        Ok(Self { stop, thread })
    }
}

impl Drop for ShadowScorer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has been printed.
            _ = thread.join();
        }
    }
}

struct Scorer {
    log: Sender,
    way: Arc<Way>,
    stop: Arc<AtomicBool>,
    /// The end, once it was told to stop.
    until: Option<Instant>,
    scratch: Scratch,
    /// Values of the last lead: the next one mostly has as many.
    values: usize,
    /// Leads so far: each version goes first in its turn, for whoever goes later finds the caches warm.
    leads: usize,
}

/// A version that scores a lead, and what came of it.
struct Turn<'j> {
    /// `None` of the one that answered: it is there for its time.
    slot: Option<Slot>,
    bound: &'j Bound,
    scored: Option<Result<Scored, ShadowError>>,
    /// What that took, in nanoseconds.
    ns: u64,
}

impl Scorer {
    fn run(mut self) {
        let way = Arc::clone(&self.way);
        let mut pauses = 0;
        loop {
            // Read before the queue is: what was pushed before the stop is then surely seen.
            let is_stopping = self.is_stopping();
            let queue = way.queue.get();
            match queue.and_then(ArrayQueue::pop) {
                Some(job) => {
                    pauses = 0;
                    self.lead(&job);
                }
                None if is_stopping => return,
                None if queue.is_none() => std::thread::park_timeout(IDLE),
                None => {
                    pauses = PAUSES.min(pauses + 1);
                    // What is pushed from now on wakes it.
                    way.is_resting.store(pauses == PAUSES, Ordering::Relaxed);
                    std::thread::park_timeout(rest(pauses));
                }
            }
        }
    }

    fn is_stopping(&mut self) -> bool {
        if self.stop.load(Ordering::Acquire) {
            self.until = self.until.or_else(|| Some(Instant::now() + LAST));
        }
        self.until.is_some()
    }

    /// Scores a lead by each version in turn. One alone may take long, so each is asked for only while there is time; what was
    /// said by then is told.
    fn lead(&mut self, job: &ShadowJob) {
        let mut values = Vec::with_capacity(self.values);
        values.extend(job.features.values());
        (self.values, self.leads) = (values.len(), self.leads.wrapping_add(1));
        let mut turns = turns(job, &values);
        // All may be out of service by now.
        if turns.len() < 2 {
            return;
        }
        let first = self.leads % turns.len();
        turns.rotate_left(first);
        // The end of one is the beginning of the next: to read the clock takes a tenth of what scoring does.
        let mut started = Instant::now();
        for turn in turns.iter_mut().filter(|turn| turn.scored.is_none()) {
            if self.is_stopping() && self.until.is_some_and(|until| started >= until) {
                break;
            }
            turn.scored = Some(self.score(turn, &values));
            let ended = Instant::now();
            turn.ns = u64::try_from((ended - started).as_nanos()).unwrap_or(u64::MAX);
            started = ended;
        }
        self.tell(job, &turns);
    }

    /// The one that answered is there for its time: a panic here is no reason to take it out of service.
    fn score(&mut self, turn: &Turn<'_>, values: &[Value<'_>]) -> Result<Scored, ShadowError> {
        let (bound, scratch) = (turn.bound, &mut self.scratch);
        let work = || bound.version.model.score(|index| bound.value(values, index), scratch);
        let run = || if turn.slot.is_some() { bound.blamed(work) } else { bound.unblamed(work) };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(scored) => scored.map_err(|_| ShadowError::Score),
            Err(_) => {
                self.scratch = Scratch::default();
                Err(ShadowError::Panic)
            }
        }
    }

    /// Counts what each version said, and sends it to the lead log beside the answer that was given. Without the time that
    /// this took there is nothing to compare with; a lead of which anything is left out counts as dropped.
    fn tell(&self, job: &ShadowJob, turns: &[Turn<'_>]) {
        if turns.iter().any(|turn| turn.scored.is_none()) {
            self.way.dropped.increment(1);
        }
        let live = turns.iter().find(|turn| turn.slot.is_none() && turn.scored.is_some());
        let Some(live_ns) = live.map(|live| live.ns) else { return };
        let (live, score, grade) = (&job.slots.of(job.arm).id, job.scored.score, job.scored.grade);
        for Turn { slot, bound, scored, ns } in turns {
            let (Some(slot), Some(scored)) = (*slot, *scored) else { continue };
            job.slots.count_along(slot, scored.err());
            if let (Slot::Shadow, Ok(scored)) = (slot, scored) {
                bound.scores.record(scored.score);
            }
            self.log.send(Entry::Shadow(Box::new(ShadowRecord {
                time_ms: job.time_ms,
                lead: job.lead.clone(),
                model: Arc::clone(&bound.id),
                slot,
                live: LiveScore { model: Arc::clone(live), score, grade, latency_ns: live_ns },
                score: scored.map(|scored| (scored.score, scored.grade)),
                latency_ns: *ns,
            })));
        }
    }
}

/// The version that answered and those that score along. One that requires what the lead lacks and what the first does without
/// has no score; none is asked for.
fn turns<'j>(job: &'j ShadowJob, values: &[Value<'_>]) -> Vec<Turn<'j>> {
    let live = job.slots.of(job.arm);
    let lacks =
        |bound: &Bound| bound.version.model.missing_required(|index| bound.told(values, index)).is_some();
    let along = job.slots.along(job.arm).map(|(slot, bound)| {
        let scored = (lacks(bound) && !lacks(live)).then_some(Err(ShadowError::Features));
        Turn { slot: Some(slot), bound, scored, ns: 0 }
    });
    std::iter::once(Turn { slot: None, bound: live, scored: None, ns: 0 }).chain(along).collect()
}

/// How long to rest after so many pauses in a row.
fn rest(pauses: u32) -> Duration {
    if pauses < PAUSES { PAUSE } else { IDLE }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Mutex,
            atomic::AtomicU64,
            mpsc::{Receiver, channel},
        },
    };

    use super::*;
    use crate::{
        config::Config,
        leadlog::{Queue, Store, Told, Writer},
        proxy::Snapshot,
        registry::{Served, Version, fixture},
        rollout::Guards,
        score::Scratch,
        telemetry::Metrics,
    };

    /// Version 1 serves, version 2 is its shadow, and `trouble` befalls that one.
    fn slots(root: &Path, trouble: impl Fn() + Send + Sync + 'static) -> Arc<Slots> {
        let mut slots = beside(root, &["2"]);
        Arc::get_mut(&mut slots).unwrap().shadows_mut()[0].trouble.0 = Some(Box::new(trouble));
        slots
    }

    /// Version 1 serves, and has shadows.
    fn beside(root: &Path, shadows: &[&str]) -> Arc<Slots> {
        let version =
            |name, weight| Arc::new(Version::load(&fixture::write(root, "lead", name, weight)).unwrap());
        let mut served = Served::of("1".into(), version("1", 0.5));
        served.shadows = shadows.iter().map(|shadow| version(shadow, 0.25)).collect();
        let yaml = "upstream: http://127.0.0.1:1\nfeatures: {budget: {from: [/b], type: number}}";
        let config = Arc::new(Config::parse(yaml, &|_| None).unwrap());
        let snapshot =
            Snapshot::serving(config, vec![Arc::new(served)], &Guards::default(), &Metrics::default());
        snapshot.unwrap().models.remove(0)
    }

    /// What the thread runs, without one.
    fn scorer(shadows: Shadows, log: Sender) -> Scorer {
        let (way, stop, scratch) = (shadows.0, Arc::default(), Scratch::default());
        Scorer { log, way, stop, until: None, scratch, values: 0, leads: 0 }
    }

    /// The lead that was the `n`-th to be scored.
    fn job(slots: &Arc<Slots>, n: u32) -> ShadowJob {
        let value = Value::Number(n.into());
        let scored = slots
            .champion
            .version
            .model
            .score(|index| if index == 0 { &value } else { &Value::Missing }, &mut Scratch::default());
        ShadowJob {
            slots: Arc::clone(slots),
            time_ms: n.into(),
            lead: Some(n.to_string().into()),
            arm: Arm::Champion,
            scored: scored.unwrap(),
            features: Packed::new(&[value]),
        }
    }

    /// Lead, the score it got, the shadow's, and why there is none.
    type Compared = (String, f64, Option<f64>, Option<String>);

    /// A thread with room for so many leads, and a lead log.
    struct Bench {
        folder: tempfile::TempDir,
        shadows: Shadows,
        dropped: Arc<AtomicU64>,
        scorer: ShadowScorer,
        writer: Writer,
    }

    impl Bench {
        fn start(capacity: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let queue = Queue::new(1, 1 << 20, Counter::noop());
            let writer = Writer::start(folder.path(), queue.clone(), Told::alone([].into())).unwrap();
            let dropped = Arc::new(AtomicU64::new(0));
            let shadows = Shadows::new(capacity, Counter::from_arc(Arc::clone(&dropped)));
            let scorer = ShadowScorer::start(&shadows, queue.aside()).unwrap();
            Self { folder, shadows, dropped, scorer, writer }
        }

        /// What the log has in the end, and how many leads were dropped.
        fn stop(self) -> (Vec<Compared>, u64) {
            drop(self.scorer);
            drop(self.writer);
            let log = rusqlite::Connection::open(self.folder.path().join(Store::FILE)).unwrap();
            let mut rows = log
                .prepare("SELECT lead, live_score, score, error FROM shadow_scores WHERE slot = 'shadow' AND version = '2' AND live_version = '1' ORDER BY seq")
                .unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            let rows = rows.unwrap().collect::<Result<_, _>>().unwrap();
            (rows, self.dropped.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn both_scores_of_a_lead_stand_together() {
        let (root, bench) = (tempfile::tempdir().unwrap(), Bench::start(9));
        let slots = slots(root.path(), || {});
        (0..3).for_each(|n| bench.shadows.push(job(&slots, n)));
        let (rows, dropped) = bench.stop();
        assert_eq!((rows.len(), dropped), (3, 0));
        for (n, (lead, live, score, error)) in rows.into_iter().enumerate() {
            let logit = |weight: f64| weight * ((n as f64 - 10.0) / 5.0 + 2.0);
            let expected = |weight: f64| 1.0 / (1.0 + (-logit(weight)).exp());
            assert_eq!((lead, error), (n.to_string(), None));
            assert!((live - expected(0.5)).abs() < 1e-6 && (score.unwrap() - expected(0.25)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_shadow_that_panics_is_told_of_until_it_is_taken_out() {
        let (root, bench) = (tempfile::tempdir().unwrap(), Bench::start(9));
        let slots = slots(root.path(), || panic!("as a defect of the model would"));
        (0..5).for_each(|n| bench.shadows.push(job(&slots, n)));
        let (rows, dropped) = bench.stop();
        let errors: Vec<_> = rows.iter().map(|(_, _, score, error)| (*score, error.as_deref())).collect();
        assert_eq!((errors, dropped), (vec![(None, Some("panic")); 3], 0));
    }

    #[test]
    fn a_panic_of_the_version_that_answered_takes_nobody_out_of_service() {
        let (root, bench) = (tempfile::tempdir().unwrap(), Bench::start(9));
        let mut slots = slots(root.path(), || {});
        let champion = &mut Arc::get_mut(&mut slots).unwrap().champion;
        champion.trouble.0 = Some(Box::new(|| panic!("as a defect of the model would")));
        let version = Arc::clone(&champion.version);
        (0..5).for_each(|n| bench.shadows.push(job(&slots, n)));
        let (rows, dropped) = bench.stop();
        assert!(
            rows.len() == 5 && rows.iter().all(|(_, _, score, error)| score.is_some() && error.is_none())
        );
        assert!(dropped == 0 && !version.poison.is_out());
    }

    #[test]
    fn once_its_time_is_over_no_further_version_is_asked() {
        let root = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let slots = slots(root.path(), move || _ = count.fetch_add(1, Ordering::Relaxed));
        let dropped = Arc::new(AtomicU64::new(0));
        let shadows = Shadows::new(1, Counter::from_arc(Arc::clone(&dropped)));
        let mut scorer = scorer(shadows, Queue::new(1, 9_999, Counter::noop()).aside());
        let mut check = |until: Option<Instant>, expected: (u64, u64)| {
            scorer.until = until;
            scorer.lead(&job(&slots, 1));
            assert_eq!((asked.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)), expected);
        };
        check(None, (1, 0));
        check(Some(Instant::now() + Duration::from_secs(60)), (2, 0));
        check(Some(Instant::now()), (2, 1));
    }

    #[test]
    fn what_was_said_before_the_end_is_told() {
        let (root, dropped) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(0)));
        let slots = beside(root.path(), &["2", "3"]);
        let (queue, job) = (Queue::new(1, 1 << 20, Counter::noop()), job(&slots, 1));
        let scorer = scorer(Shadows::new(1, Counter::from_arc(Arc::clone(&dropped))), queue.aside());
        // The one that answered, and both shadows.
        let check = |said: [bool; 3], expected: (u64, u64)| {
            let mut turns = turns(&job, &[]);
            assert_eq!(turns.len(), said.len());
            for (turn, said) in turns.iter_mut().zip(said) {
                turn.scored = said.then_some(Ok(job.scored));
            }
            let depth = queue.depth();
            dropped.store(0, Ordering::Relaxed);
            scorer.tell(&job, &turns);
            let told = (queue.depth() - depth, dropped.load(Ordering::Relaxed));
            assert_eq!((told.0 as u64, told.1), expected, "{said:?}");
        };
        check([true, true, true], (2, 0));
        check([true, true, false], (1, 1));
        check([true, false, false], (0, 1));
        check([false, true, true], (0, 1));
        check([false, false, false], (0, 1));
    }

    #[test]
    fn each_version_scores_a_lead_once_and_goes_first_in_its_turn() {
        let root = tempfile::tempdir().unwrap();
        let asked: Arc<Mutex<Vec<u32>>> = Arc::default();
        let note = |name| {
            let asked = Arc::clone(&asked);
            Some(Box::new(move || asked.lock().unwrap().push(name)) as Box<dyn Fn() + Send + Sync>)
        };
        let mut slots = beside(root.path(), &["2", "3"]);
        let bound = Arc::get_mut(&mut slots).unwrap();
        bound.champion.trouble.0 = note(1);
        bound.shadows_mut()[0].trouble.0 = note(2);
        bound.shadows_mut()[1].trouble.0 = note(3);
        let queue = Queue::new(1, 1 << 20, Counter::noop());
        let mut scorer = scorer(Shadows::new(1, Counter::noop()), queue.aside());
        for expected in [[2, 3, 1], [3, 1, 2], [1, 2, 3], [2, 3, 1]] {
            scorer.lead(&job(&slots, 1));
            assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), expected);
        }
        assert_eq!(queue.depth(), 8, "each shadow has its record");
        for shadow in Arc::get_mut(&mut slots).unwrap().shadows_mut() {
            (0..3).for_each(|_| _ = shadow.version.poison.panicked(1));
        }
        scorer.lead(&job(&slots, 1));
        assert!(asked.lock().unwrap().is_empty() && queue.depth() == 8, "nobody scores along");
    }

    #[test]
    fn it_rests_for_long_once_nothing_comes_and_is_woken_once() {
        let pauses = |pauses| (rest(pauses), rest(pauses) == IDLE);
        assert_eq!((pauses(1), pauses(PAUSES)), ((PAUSE, false), (IDLE, true)));
        let (root, shadows) = (tempfile::tempdir().unwrap(), Shadows::new(9, Counter::noop()));
        let slots = slots(root.path(), || {});
        shadows.push(job(&slots, 1));
        _ = shadows.0.thread.set(std::thread::current());
        shadows.0.is_resting.store(true, Ordering::Relaxed);
        shadows.push(job(&slots, 2));
        assert!(!shadows.0.is_resting.load(Ordering::Relaxed));
        // Returns at once, for this thread was woken.
        std::thread::park();
    }

    #[test]
    fn a_slow_shadow_fills_the_queue_and_what_does_not_fit_is_dropped_and_counted() {
        let (root, bench) = (tempfile::tempdir().unwrap(), Bench::start(2));
        let (begins, begun) = channel();
        let (go, told): (_, Receiver<()>) = channel();
        let (begins, told) = (Mutex::new(begins), Mutex::new(told));
        let slots = slots(root.path(), move || {
            begins.lock().unwrap().send(()).unwrap();
            // Fails once the other end is gone.
            _ = told.lock().unwrap().recv();
        });
        bench.shadows.push(job(&slots, 0));
        begun.recv().unwrap();
        // The worker is never held up: here it would be for ever.
        (1..8).for_each(|n| bench.shadows.push(job(&slots, n)));
        drop(go);
        let (rows, dropped) = bench.stop();
        let leads: Vec<_> = rows.iter().map(|(lead, ..)| lead.as_str()).collect();
        assert_eq!((leads, dropped), (vec!["0", "1", "2"], 5));
    }

    #[test]
    fn nobody_scores_along_where_there_is_nobody() {
        let root = tempfile::tempdir().unwrap();
        let version = Arc::new(Version::load(&fixture::write(root.path(), "lead", "1", 0.5)).unwrap());
        let yaml = |share| {
            format!(
                "upstream: http://127.0.0.1:1\nrollout: {{shadow: {{share: {share}}}}}\n\
                 features: {{budget: {{from: [/b], type: number}}}}"
            )
        };
        let config = |share: u32| Arc::new(Config::parse(&yaml(share), &|_| None).unwrap());
        let alone = Snapshot::new(config(100), &[Arc::clone(&version)], &Metrics::default()).unwrap();
        assert!(!alone.models[0].is_mirrored(Some("a"), 1));
        let mirrored = |share: u32| {
            let mut served = Served::of("1".into(), Arc::clone(&version));
            served.shadows = vec![Arc::clone(&version)];
            let (guards, metrics) = (Guards::default(), Metrics::default());
            let snapshot =
                Snapshot::serving(config(share), vec![Arc::new(served)], &guards, &metrics).unwrap();
            (0..1_000).filter(|n: &u32| snapshot.models[0].is_mirrored(Some(&n.to_string()), 1)).count()
        };
        assert_eq!(mirrored(100), 1_000);
        assert!((150..=250).contains(&mirrored(20)), "a share of the leads, always the same");
        assert_eq!(mirrored(20), mirrored(20));
    }
}
