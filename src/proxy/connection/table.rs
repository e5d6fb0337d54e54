//! A worker's open connections: counted, looked over, and woken where they are to end.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

use tokio::sync::Notify;

use super::pulse::{Bounds, Pulse};
use crate::{
    config::Limits,
    telemetry::{ConnectionMetrics, HttpVersion},
};

/// The open connections of one worker, and what HTTP/2 streams there are on them.
pub(in crate::proxy) struct Connections {
    slots: RefCell<Slots>,
    open: Cell<usize>,
    pub(super) draining: Cell<bool>,
    /// A connection ended.
    left: Notify,
    pub(super) metrics: ConnectionMetrics,
}

#[derive(Default)]
struct Slots {
    taken: Vec<Option<Slot>>,
    free: Vec<usize>,
}

struct Slot {
    /// Wakes the task, so that those are reached that are idle.
    waker: Option<Waker>,
    pulse: Arc<Pulse>,
}

impl Connections {
    pub(in crate::proxy) fn new(metrics: ConnectionMetrics) -> Self {
        let (slots, left) = (RefCell::default(), Notify::new());
        Self { slots, open: Cell::new(0), draining: Cell::new(false), left, metrics }
    }

    /// How many there are.
    pub(in crate::proxy) fn open(&self) -> usize {
        self.open.get()
    }

    /// Waits until there are fewer than so many.
    pub(in crate::proxy) async fn fewer_than(&self, most: usize) {
        while self.open() >= most {
            self.left.notified().await;
        }
    }

    /// Whether they are told to end.
    pub(in crate::proxy) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells every connection to end after its current requests.
    pub(in crate::proxy) fn tell_all_to_end(&self) {
        self.draining.set(true);
        for slot in self.slots.borrow().taken.iter().flatten() {
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Cuts those that wait for longer than they may.
    pub(in crate::proxy) fn sweep(&self, now: u64, limits: &Limits) {
        let bounds = Bounds::of(limits);
        for slot in self.slots.borrow().taken.iter().flatten() {
            if let Some(reason) = slot.pulse.overdue(now, &bounds) {
                slot.pulse.cut();
                self.metrics.cut(reason);
                slot.waker.iter().for_each(Waker::wake_by_ref);
            }
        }
    }

    /// Counts a head that was answered with 431.
    pub(in crate::proxy) fn refused_head(&self, version: HttpVersion) {
        self.metrics.head_refused(version);
    }
}

/// A place in the table, given back when this is dropped.
pub(in crate::proxy) struct Watch {
    pub(super) connections: Rc<Connections>,
    pub(super) pulse: Arc<Pulse>,
    slot: usize,
}

impl Watch {
    pub(super) fn new(connections: &Rc<Connections>, pulse: Arc<Pulse>) -> Self {
        let mut slots = connections.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.taken.push(None);
            slots.taken.len() - 1
        });
        if let Some(free) = slots.taken.get_mut(slot) {
            *free = Some(Slot { waker: None, pulse: Arc::clone(&pulse) });
        }
        Self { connections: Rc::clone(connections), pulse, slot }
    }

    /// Has this task woken when the connection is to be cut or to end.
    pub(super) fn wait(&self, waker: &Waker) {
        if let Some(Some(slot)) = self.connections.slots.borrow_mut().taken.get_mut(self.slot)
            && !slot.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            slot.waker = Some(waker.clone());
        }
    }

    /// The future's output; `None` where the sweep cuts it.
    pub(super) async fn unless_cut<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            if self.pulse.is_cut() {
                return Poll::Ready(None);
            }
            let polled = future.as_mut().poll(context).map(Some);
            if polled.is_pending() {
                self.wait(context.waker());
            }
            polled
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut slots = self.connections.slots.borrow_mut();
        if let Some(slot) = slots.taken.get_mut(self.slot) {
            *slot = None;
        }
        slots.free.push(self.slot);
    }
}

/// A client's connection, which counts as open until this is dropped.
pub(in crate::proxy) struct Open(pub(super) Watch);

impl Open {
    /// One more, at tick `now`.
    pub(in crate::proxy) fn new(connections: &Rc<Connections>, now: u64) -> Self {
        connections.metrics.opened();
        connections.open.set(connections.open.get() + 1);
        Self(Watch::new(connections, Arc::new(Pulse::new(now))))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        connections.open.set(connections.open.get() - 1);
        connections.metrics.closed();
        connections.left.notify_one();
    }
}
