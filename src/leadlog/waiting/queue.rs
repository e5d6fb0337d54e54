//! Queues from the workers to the writer: one each, so that workers share nothing. They are bounded by bytes, since
//! records differ in size: a worker adds to one counter of its own, whoever takes records out adds to another.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crossbeam_queue::SegQueue;
use metrics::Counter;

use super::record::Entry;

/// Bytes that may wait in all queues together: some 15,000 records, at 20,000 leads/s most of a second.
pub const CAPACITY: u64 = 8 << 20;

/// What each queue has room for, however many there are.
const LEAST: u64 = 1 << 20;

/// All queues. Cheap to clone. They take memory for what waits in them, not for all that could.
#[derive(Clone, Debug)]
pub struct Queue {
    lanes: Arc<[Lane]>,
    /// Of each lane, in bytes.
    capacity: u64,
    dropped: Counter,
}

/// One worker's queue. Sizes are summed up on either side, each sum in a cache line that only its own side writes.
#[derive(Debug, Default)]
struct Lane {
    entries: SegQueue<Entry>,
    sent: Sum,
    taken: Sum,
}

/// Bytes, since the start.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sum(AtomicU64);

/// One worker's end, or that of the threads beside them.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: Queue,
    lane: usize,
}

impl Queue {
    /// A queue for each of the `workers`, and one more aside. They have room for `capacity` bytes together, but each for
    /// as many as `capacity` or 1 MiB, whichever is less. `dropped` counts records that are lost.
    pub fn new(workers: usize, capacity: u64, dropped: Counter) -> Self {
        let lanes: Arc<[Lane]> = (0..=workers).map(|_| Lane::default()).collect();
        let share = capacity / lanes.len() as u64;
        Self { lanes, capacity: share.max(capacity.min(LEAST)), dropped }
    }

    /// The end for worker `lane`.
    pub fn sender(&self, lane: usize) -> Sender {
        Sender { queue: self.clone(), lane }
    }

    /// The end that threads share which are no workers.
    pub fn aside(&self) -> Sender {
        self.sender(self.lanes.len() - 1)
    }

    /// Records waiting.
    pub fn depth(&self) -> usize {
        self.lanes.iter().map(|lane| lane.entries.len()).sum()
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// Whether a worker is close to losing records.
    pub(in crate::leadlog) fn is_half_full(&self) -> bool {
        self.lanes.iter().any(|lane| lane.bytes() > self.capacity / 2)
    }

    /// Counts records that could not be written.
    pub(in crate::leadlog) fn lose(&self, records: usize) {
        self.dropped.increment(records as u64);
    }

    /// Moves up to `most` waiting records into `batch`, the oldest of each worker first.
    pub(in crate::leadlog) fn drain(&self, most: usize, batch: &mut Vec<Entry>) {
        for lane in self.lanes.iter() {
            while batch.len() < most {
                match lane.take() {
                    Some((entry, _)) => batch.push(entry),
                    None => break,
                }
            }
        }
    }
}

impl Lane {
    /// What lies between the two sums. They are read one after the other, so it is a moment's guess.
    fn bytes(&self) -> u64 {
        self.sent.0.load(Relaxed).saturating_sub(self.taken.0.load(Relaxed))
    }

    /// The oldest record and its size.
    fn take(&self) -> Option<(Entry, u64)> {
        let entry = self.entries.pop()?;
        let size = entry.size();
        self.taken.0.fetch_add(size, Relaxed);
        Some((entry, size))
    }
}

impl Sender {
    /// Queues a record without waiting. A full queue drops its oldest records, and counts them.
    pub fn send(&self, entry: Entry) {
        let Some(lane) = self.queue.lanes.get(self.lane) else { return };
        let size = entry.size();
        // Added before the record is there to be taken, so that the sums are never the wrong way round for long.
        let sent = lane.sent.0.fetch_add(size, Relaxed).wrapping_add(size);
        let mut waiting = sent.saturating_sub(lane.taken.0.load(Relaxed));
        while waiting > self.queue.capacity {
            let Some((_, size)) = lane.take() else { break };
            waiting = waiting.saturating_sub(size);
            self.queue.dropped.increment(1);
        }
        lane.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lead::Alias, leadlog::AliasRecord};

    fn alias(lead: &str) -> Entry {
        Entry::Alias(AliasRecord { time_ms: 1, alias: Alias { lead: lead.into(), deal: "d".into() } })
    }

    fn leads(queue: &Queue) -> Vec<String> {
        let mut batch = Vec::new();
        queue.drain(usize::MAX, &mut batch);
        let lead = |entry: &Entry| match entry {
            Entry::Alias(record) => record.alias.lead.to_string(),
            other => panic!("{other:?}"),
        };
        batch.iter().map(lead).collect()
    }

    fn check(capacity: u64, sent: &[&str], kept: &[&str]) {
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue::new(1, capacity, Counter::from_arc(Arc::clone(&dropped)));
        let sender = queue.sender(0);
        sent.iter().for_each(|lead| sender.send(alias(lead)));
        let expected: u64 = kept.iter().map(|lead| alias(lead).size()).sum();
        assert_eq!((queue.depth(), queue.bytes()), (kept.len(), expected));
        assert_eq!(leads(&queue), kept);
        assert_eq!((queue.bytes(), dropped.load(Relaxed)), (0, (sent.len() - kept.len()) as u64));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let one = alias("a").size();
        check(3 * one, &["a", "b", "c"], &["a", "b", "c"]);
        check(3 * one, &["a", "b", "c", "d", "e"], &["c", "d", "e"]);
        check(3 * one - 1, &["a", "b", "c"], &["b", "c"]);
        // A large one takes the place of several, and one that is larger than the queue is alone in it.
        let large = "x".repeat(usize::try_from(one).unwrap());
        check(3 * one, &["a", "b", "c", &large], &["c", &large]);
        check(one, &["a", &large, "b"], &["b"]);
        check(1, &["a", "b"], &["b"]);
    }

    #[test]
    fn many_workers_have_room_for_a_second_each() {
        let room = |workers, capacity| Queue::new(workers, capacity, Counter::noop()).capacity;
        assert_eq!((room(1, CAPACITY), room(3, CAPACITY), room(63, CAPACITY)), (4 << 20, 2 << 20, LEAST));
        assert_eq!(room(1, 100), 100);
    }

    #[test]
    fn what_is_half_full_says_so() {
        let one = alias("a").size();
        let queue = Queue::new(1, 4 * one, Counter::noop());
        let halves = [false, false, true, true].map(|expected| {
            queue.aside().send(alias("a"));
            queue.is_half_full() == expected
        });
        assert_eq!(halves, [true; 4]);
    }

    #[test]
    fn sums_agree_when_both_sides_are_done() {
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue::new(2, 20_000, Counter::from_arc(Arc::clone(&dropped)));
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let senders = [0, 1, 2, 2].map(|lane| {
                let sender = queue.sender(lane);
                scope.spawn(move || (0..5_000).for_each(|i| sender.send(alias(&"x".repeat(i % 50)))))
            });
            while senders.iter().any(|sender| !sender.is_finished()) {
                queue.drain(taken.len() + 100, &mut taken);
            }
        });
        queue.drain(usize::MAX, &mut taken);
        assert_eq!((queue.depth(), queue.bytes()), (0, 0));
        assert_eq!(taken.len() as u64 + dropped.load(Relaxed), 20_000);
    }
}
