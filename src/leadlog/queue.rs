//! Queues from the workers to the writer: one each, so that workers share nothing.

use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use metrics::Counter;

use super::record::Entry;

/// Records a worker may be ahead of the writer: at 20,000 leads/s over two workers, most of a second.
pub const CAPACITY: usize = 8_192;

/// All queues. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    lanes: Arc<[Lane]>,
    dropped: Counter,
}

/// One sender's queue, made where it has something to say for the first time or before.
#[derive(Debug)]
struct Lane {
    queue: OnceLock<ArrayQueue<Entry>>,
    capacity: usize,
}

/// One worker's end, or that of the thread beside them.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: Queue,
    lane: usize,
}

impl Queue {
    /// `workers` queues of `capacity` records each; `dropped` counts what is lost.
    pub fn new(workers: usize, capacity: usize, dropped: Counter) -> Self {
        let capacity = capacity.max(1);
        let empty = || Lane { queue: OnceLock::new(), capacity };
        let lanes = (0..workers).map(|_| Lane { queue: ArrayQueue::new(capacity).into(), capacity });
        // The last takes no memory before somebody uses it.
        Self { lanes: lanes.chain([empty()]).collect(), dropped }
    }

    /// The end for worker `lane`.
    pub fn sender(&self, lane: usize) -> Sender {
        Sender { queue: self.clone(), lane }
    }

    /// The end for a thread that is no worker; there is one such.
    pub fn aside(&self) -> Sender {
        self.sender(self.lanes.len() - 1)
    }

    /// Records waiting.
    pub fn depth(&self) -> usize {
        self.queues().map(ArrayQueue::len).sum()
    }

    fn queues(&self) -> impl Iterator<Item = &ArrayQueue<Entry>> {
        self.lanes.iter().filter_map(|lane| lane.queue.get())
    }

    /// Counts records that could not be written.
    pub(super) fn lose(&self, records: usize) {
        self.dropped.increment(records as u64);
    }

    /// Moves up to `most` waiting records into `batch`, the oldest of each worker first.
    pub(super) fn drain(&self, most: usize, batch: &mut Vec<Entry>) {
        for lane in self.queues() {
            while batch.len() < most {
                match lane.pop() {
                    Some(entry) => batch.push(entry),
                    None => break,
                }
            }
        }
    }
}

impl Sender {
    /// Queues a record without waiting. A full queue drops its oldest record, and counts it.
    pub fn send(&self, entry: Entry) {
        let Some(Lane { queue, capacity }) = self.queue.lanes.get(self.lane) else { return };
        if queue.get_or_init(|| ArrayQueue::new(*capacity)).force_push(entry).is_some() {
            self.queue.dropped.increment(1);
        }
    }
}
