//! The way into the lead log: memory, then files, in the order in which records were sent.
//!
//! Mostly there are no files, and the writer takes records straight from the queues. Once one of these is more than half
//! full, or a batch could not be written, records go into files (see `spill`), and the writer reads these before it turns to
//! the queues again: rows stay in the order of time. What the log may not keep of a feature is taken
//! out before a record gets anywhere.
//!
//! Where files cannot be written either, what has been taken out of the queues stays in memory, at most a batch and a
//! block of records, and then the queues drop their oldest. Each record is thus written, waiting, or counted as dropped.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    lines::Encoder,
    private::{Private, Rules},
    queue::Queue,
    record::Entry,
    spill::{Chunk, Found, Place, Segment, Spill},
    store::StoreError,
};
use crate::telemetry::{LeadLogMetrics, now_ms};

/// Records in one transaction.
pub(in crate::leadlog) const BATCH: usize = 4_096;

/// Records that go into a file at once.
const BLOCK: usize = 1_024;

/// Blocks that go into files before the writer gets its turn.
const BLOCKS: usize = 32;

/// What waits, in memory and in files.
#[derive(Debug)]
pub(in crate::leadlog) struct Inlet {
    queue: Queue,
    private: Private,
    rules: Arc<ArcSwap<Rules>>,
    /// Older than what is in the files: a batch that neither the log nor a file took.
    early: Vec<Entry>,
    spill: Spill,
    /// Younger than what is in the files: a block that no file took.
    late: Vec<Entry>,
    encoder: Encoder,
    lines: Vec<u8>,
    metrics: LeadLogMetrics,
    /// The last batch could not be written.
    is_stuck: bool,
    /// No key could be had; it has been told.
    keyless: bool,
}

impl Inlet {
    /// With the files that earlier processes left, which are to be adopted before anything is taken.
    pub(in crate::leadlog) fn new(
        state: &Path,
        queue: Queue,
        rules: Arc<ArcSwap<Rules>>,
        metrics: LeadLogMetrics,
    ) -> (Self, Found) {
        let (spill, found) = Spill::new(state);
        let inlet = Self {
            queue,
            private: Private::new(state),
            rules,
            early: Vec::new(),
            spill,
            late: Vec::new(),
            encoder: Encoder::default(),
            lines: Vec::new(),
            metrics,
            is_stuck: false,
            keyless: false,
        };
        (inlet, found)
    }

    /// Takes over what earlier processes left in files.
    pub(in crate::leadlog) fn adopt(&mut self, older: Vec<Segment>) {
        self.spill.adopt(older);
        self.tell();
    }

    /// Goes on from where the lead log was when it was last written.
    pub(in crate::leadlog) fn resume(&mut self, place: Place) {
        self.spill.resume(place);
        self.tell();
    }

    /// What comes next: records, or where they are to be read. Either [`Inlet::done`] or [`Inlet::give_back`] follows.
    pub(in crate::leadlog) fn take(&mut self, batch: &mut Vec<Entry>) -> Option<Chunk> {
        if !self.early.is_empty() {
            batch.append(&mut self.early);
            return None;
        }
        if let Some(chunk) = self.spill.next() {
            return Some(chunk);
        }
        batch.append(&mut self.late);
        self.drain(BATCH, batch);
        None
    }

    /// What was taken is in the log: `written` records, but for `lost` that could not be read.
    pub(in crate::leadlog) fn done(&mut self, chunk: Option<&Chunk>, written: usize, lost: u64) {
        self.is_stuck = false;
        if let Some(chunk) = chunk {
            self.spill.done(chunk);
            self.tell();
        }
        self.metrics.written.increment(written as u64);
        self.metrics.dropped.increment(lost);
    }

    /// What was taken could not be written. It goes first the next time.
    pub(in crate::leadlog) fn give_back(&mut self, chunk: Option<&Chunk>, batch: &mut Vec<Entry>) {
        self.is_stuck = true;
        if chunk.is_some() {
            self.spill.put_back();
            batch.clear();
        } else if self.prepend(batch).is_ok() {
            batch.clear();
        } else {
            self.early.append(batch);
        }
    }

    /// Makes room in the queues where that is needed, or empties them altogether, by putting records into files.
    pub(in crate::leadlog) fn relieve(&mut self, all: bool) -> Result<(), StoreError> {
        // Files that the writer gets on with are no reason: the queues wait behind them, and get their turn the sooner.
        let is_pressed = self.is_stuck || !self.late.is_empty() || self.queue.is_half_full();
        if !(is_pressed || all) || self.bound() == 0 {
            return Ok(());
        }
        for _ in 0..BLOCKS {
            if self.late.is_empty() {
                let mut block = std::mem::take(&mut self.late);
                self.drain(BLOCK, &mut block);
                self.late = block;
            }
            if self.late.is_empty() {
                break;
            }
            self.append_late()?;
        }
        Ok(())
    }

    /// Saves what is still in memory, and counts as lost what cannot be saved.
    pub(in crate::leadlog) fn close(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        if !early.is_empty() && self.prepend(&early).is_ok() {
            early.clear();
        }
        while self.queue.depth() + self.late.len() > 0 && self.bound() > 0 && self.relieve(true).is_ok() {}
        let lost = early.len() + self.late.len() + self.queue.depth();
        self.late.clear();
        self.drain(usize::MAX, &mut early);
        self.queue.lose(lost);
        if lost > 0 {
            tracing::error!(lost, "records could neither be written nor kept for later");
        }
    }

    /// Whether the queues are all that may hold records.
    pub(in crate::leadlog) fn is_direct(&self) -> bool {
        self.spill.is_empty() && self.early.is_empty() && self.late.is_empty()
    }

    /// Whether nothing waits anywhere.
    pub(in crate::leadlog) fn is_empty(&self) -> bool {
        self.is_direct() && self.queue.depth() == 0
    }

    fn append_late(&mut self) -> Result<(), StoreError> {
        let records = self.encode_late();
        let dropped = self.spill.append(&self.lines, records, (self.bound(), now_ms()))?;
        self.late.clear();
        self.metrics.spilled.increment(records);
        self.metrics.dropped.increment(dropped);
        self.tell();
        Ok(())
    }

    fn encode_late(&mut self) -> u64 {
        let Self { late, lines, encoder, .. } = self;
        lines.clear();
        late.iter().for_each(|entry| encoder.write(entry, lines));
        late.len() as u64
    }

    fn prepend(&mut self, batch: &[Entry]) -> Result<(), StoreError> {
        self.lines.clear();
        batch.iter().for_each(|entry| self.encoder.write(entry, &mut self.lines));
        let records = batch.len() as u64;
        self.spill.prepend(&self.lines, records, (self.bound(), now_ms()))?;
        self.metrics.spilled.increment(records);
        self.tell();
        Ok(())
    }

    /// Takes records out of the queues, without what the log may not keep.
    fn drain(&mut self, most: usize, batch: &mut Vec<Entry>) {
        let refreshed = self.private.refresh(&self.rules);
        let keyless = refreshed.is_err();
        if let Err(error) = refreshed
            && !self.keyless
        {
            tracing::error!(%error, file = Private::FILE, "no key for hashes: features to be hashed are not kept at all");
        }
        self.keyless = keyless;
        let before = batch.len();
        self.queue.drain(most, batch);
        batch.iter_mut().skip(before).for_each(|entry| self.private.apply(entry));
        // Workers' queues are drained one after another.
        batch.sort_by_key(Entry::time_ms);
    }

    fn bound(&self) -> u64 {
        self.rules.load().log.spill
    }

    fn tell(&self) {
        self.metrics.spill_records.set(self.spill.records() as f64);
        self.metrics.spill_bytes.set(self.spill.bytes() as f64);
    }
}
