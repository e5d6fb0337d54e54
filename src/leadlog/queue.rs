//! Queues from the workers to the writer: one each, so that workers share nothing.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use metrics::Counter;

use super::record::Entry;

/// Records a worker may be ahead of the writer: at 20,000 leads/s over two workers, most of a second.
pub const CAPACITY: usize = 8_192;

/// All queues. Cheap to clone. They take memory for what waits in them, not for all that could.
#[derive(Clone, Debug)]
pub struct Queue {
    lanes: Arc<[SegQueue<Entry>]>,
    capacity: usize,
    dropped: Counter,
}

/// One worker's end, or that of a thread beside them.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: Queue,
    lane: usize,
}

impl Queue {
    /// `workers` queues of `capacity` records each, and two more aside; `dropped` counts what is lost.
    pub fn new(workers: usize, capacity: usize, dropped: Counter) -> Self {
        let lanes = (0..workers + 2).map(|_| SegQueue::new()).collect();
        Self { lanes, capacity: capacity.max(1), dropped }
    }

    /// The end for worker `lane`.
    pub fn sender(&self, lane: usize) -> Sender {
        Sender { queue: self.clone(), lane }
    }

    /// The end for the thread of the shadows, which is no worker.
    pub fn aside(&self) -> Sender {
        self.sender(self.lanes.len() - 2)
    }

    /// The end for the thread of the admin listener, which is none either.
    pub fn admin(&self) -> Sender {
        self.sender(self.lanes.len() - 1)
    }

    /// Records waiting.
    pub fn depth(&self) -> usize {
        self.lanes.iter().map(SegQueue::len).sum()
    }

    /// Counts records that could not be written.
    pub(super) fn lose(&self, records: usize) {
        self.dropped.increment(records as u64);
    }

    /// Moves up to `most` waiting records into `batch`, the oldest of each worker first.
    pub(super) fn drain(&self, most: usize, batch: &mut Vec<Entry>) {
        for lane in self.lanes.iter() {
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
        let Some(lane) = self.queue.lanes.get(self.lane) else { return };
        // Nobody else adds to this lane, so it does not grow in between.
        if lane.len() >= self.queue.capacity && lane.pop().is_some() {
            self.queue.dropped.increment(1);
        }
        lane.push(entry);
    }
}
