//! The writer thread: queues to SQLite, in batches.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    queue::Queue,
    store::{Store, StoreError},
};

/// How long a record waits before it is committed. Polling instead of waking spares every request a system call.
const PAUSE: Duration = Duration::from_millis(20);

/// Records in one transaction.
const BATCH: usize = 4_096;

/// Tries at shutdown before what is left is counted as lost.
const LAST_TRIES: usize = 10;

/// The running thread. Dropping it flushes and stops.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the log in `folder` and starts to drain `queue` into it.
    pub fn start(folder: &Path, queue: Queue) -> Result<Self, StoreError> {
        let store = Store::open(folder)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread =
            std::thread::Builder::new().name("leadlog".into()).spawn(move || run(store, &queue, &stopped));
        let thread =
            thread.map_err(|source| StoreError::Folder { folder: folder.display().to_string(), source })?;
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

fn run(mut store: Store, queue: &Queue, stop: &AtomicBool) {
    let mut batch = Vec::new();
    let mut tries_left = LAST_TRIES;
    let mut failing = false;
    loop {
        // Read before draining: what was pushed before the stop is then surely seen.
        let stopping = stop.load(Ordering::Acquire);
        queue.drain(BATCH, &mut batch);
        if batch.is_empty() {
            if stopping {
                return;
            }
            std::thread::park_timeout(PAUSE);
            continue;
        }
        match store.write(&batch) {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("lead log: writing again");
                }
                batch.clear();
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "lead log: cannot write; records wait in memory and the oldest are dropped");
                }
                tries_left -= usize::from(stopping);
                if tries_left == 0 {
                    queue.lose(batch.len() + queue.depth());
                    return;
                }
                std::thread::park_timeout(PAUSE * 5);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Entry;
    use super::*;
    use crate::{
        lead::{Arm, Grade, ModelId, Score, Value},
        leadlog::{Decision, Packed, ScoreRecord},
    };

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
        })
    }

    #[test]
    fn every_record_sent_before_the_stop_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(2, 1_000, metrics::Counter::noop());
        let writer = Writer::start(folder.path(), queue.clone()).unwrap();
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
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let dropped = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let queue = Queue::new(1, 10, metrics::Counter::from_arc(dropped.clone()));
        for i in 0..25 {
            queue.sender(0).send(score(&i.to_string()));
        }
        assert_eq!((dropped.load(Ordering::Relaxed), queue.depth(), queue.pushed()), (15, 10, 25));
        let mut batch = Vec::new();
        queue.drain(1, &mut batch);
        assert!(matches!(&batch[0], Entry::Score(record) if record.lead.as_deref() == Some("15")));
    }

    #[test]
    fn a_locked_file_delays_records_and_loses_none_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(1, 100, metrics::Counter::noop());
        let writer = Writer::start(folder.path(), queue.clone()).unwrap();
        let other = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        queue.sender(0).send(score("waits"));
        assert!(Store::open_read_only(folder.path()).unwrap().scores_of("waits").unwrap().is_empty());
        other.execute_batch("COMMIT").unwrap();
        drop(writer);
        assert_eq!(Store::open_read_only(folder.path()).unwrap().scores_of("waits").unwrap().len(), 1);
    }
}
