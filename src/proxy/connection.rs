//! Clients' connections: served, counted, cut where they wait for too long, and told to end at the drain.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::TlsAcceptor;

use super::{
    expiry::{Expired, Expiry},
    h1::Io,
    session::Session,
    tls,
    worker::Worker,
};
use crate::{
    config::Limits,
    telemetry::{ConnectionMetrics, Cut, Handshake},
};

/// How long a drain waits for handshakes. Who has not shaken hands has sent nothing that could be lost.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// The open connections of one worker.
pub(super) struct Connections {
    slots: RefCell<Slots>,
    draining: Cell<bool>,
    /// A connection ended.
    left: Notify,
    metrics: ConnectionMetrics,
}

#[derive(Default)]
struct Slots {
    open: Vec<Option<Slot>>,
    free: Vec<usize>,
}

struct Slot {
    /// Wakes the connection's task, so that those are reached that are idle.
    waker: Option<Waker>,
    pulse: Arc<Pulse>,
}

/// What a connection is at. Only its own thread looks at it; hyper wants it to be `Send`.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Requests whose answer has not ended.
    in_flight: AtomicU32,
    /// The tick since when it waits: for a request, or for the rest of a head.
    since: AtomicU64,
    /// Something of a head has come.
    in_head: AtomicBool,
    /// The sweep has seen that, and `since` is when.
    seen: AtomicBool,
    cut: AtomicBool,
}

impl Connections {
    pub(super) fn new(metrics: ConnectionMetrics) -> Self {
        Self { slots: RefCell::default(), draining: Cell::new(false), left: Notify::new(), metrics }
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        let slots = self.slots.borrow();
        slots.open.len() - slots.free.len()
    }

    /// Waits until there are fewer than so many.
    pub(super) async fn fewer_than(&self, most: usize) {
        while self.open() >= most {
            self.left.notified().await;
        }
    }

    /// Whether they are told to end.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells every connection to end after its current request.
    pub(super) fn tell_all_to_end(&self) {
        self.draining.set(true);
        for slot in self.slots.borrow().open.iter().flatten() {
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Cuts those that wait for longer than they may.
    pub(super) fn sweep(&self, now: u64, limits: &Limits) {
        for slot in self.slots.borrow().open.iter().flatten() {
            if let Some(reason) = slot.pulse.overdue(now, limits) {
                slot.pulse.cut.store(true, Relaxed);
                self.metrics.cut(reason);
                slot.waker.iter().for_each(Waker::wake_by_ref);
            }
        }
    }

    fn wait(&self, slot: usize, waker: &Waker) {
        if let Some(Some(slot)) = self.slots.borrow_mut().open.get_mut(slot)
            && !slot.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            slot.waker = Some(waker.clone());
        }
    }
}

impl Pulse {
    /// Looks in every now and then; why the connection is to be cut, if it is.
    fn overdue(&self, now: u64, limits: &Limits) -> Option<Cut> {
        if self.in_flight.load(Relaxed) > 0 || self.cut.load(Relaxed) {
            return None;
        }
        let in_head = self.in_head.load(Relaxed);
        if in_head && !self.seen.swap(true, Relaxed) {
            self.since.store(now, Relaxed);
        }
        let (limit, reason) = if in_head { (limits.head, Cut::Head) } else { (limits.idle, Cut::Idle) };
        (now.saturating_sub(self.since.load(Relaxed)) > Expiry::ticks(limit)).then_some(reason)
    }

    /// Something came.
    pub(super) fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.in_head.store(true, Relaxed);
        }
    }
}

/// A request that is being answered, until the end of the answer's body.
pub(super) struct Answering {
    pulse: Arc<Pulse>,
    expiry: Rc<Expiry>,
}

impl Answering {
    pub(super) fn new(pulse: &Arc<Pulse>, expiry: &Rc<Expiry>) -> Self {
        pulse.in_flight.fetch_add(1, Relaxed);
        pulse.in_head.store(false, Relaxed);
        pulse.seen.store(false, Relaxed);
        Self { pulse: Arc::clone(pulse), expiry: Rc::clone(expiry) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.pulse.since.store(self.expiry.now(), Relaxed);
        self.pulse.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A client's connection, which counts as open until this is dropped.
pub(super) struct Open {
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    slot: usize,
}

impl Open {
    /// One more, at tick `now`.
    pub(super) fn new(connections: &Rc<Connections>, now: u64) -> Self {
        let pulse = Arc::new(Pulse { since: AtomicU64::new(now), ..Pulse::default() });
        let mut slots = connections.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.open.push(None);
            slots.open.len() - 1
        });
        if let Some(free) = slots.open.get_mut(slot) {
            *free = Some(Slot { waker: None, pulse: Arc::clone(&pulse) });
        }
        connections.metrics.opened();
        Self { connections: Rc::clone(connections), pulse, slot }
    }

    /// Shakes hands first, no longer than a head may take. Nobody waits for that but the client.
    pub(super) async fn secure(self, stream: TcpStream, tls: TlsAcceptor, worker: Rc<Worker>) {
        let (limit, expiry) = (worker.snapshot().config.limits.head, &worker.expiry);
        // Not a connection without a request yet, so the sweep leaves it alone.
        let shaking = Answering::new(&self.pulse, expiry);
        let shaken = expiry.within(LAST_HANDSHAKE, || self.connections.draining.get(), tls.accept(stream));
        let shaken = expiry.within(limit, || true, shaken).await.flatten();
        drop(shaking);
        let end = match &shaken {
            Ok(Ok(stream)) => tls::success(stream),
            Ok(Err(error)) => tls::failure(error),
            Err(Expired) => Handshake::Timeout,
        };
        worker.handshakes.count(end);
        match shaken {
            Ok(Ok(stream)) => self.serve(Io::Tls(Box::new(stream.into())), worker).await,
            Ok(Err(error)) => tracing::debug!(%error, result = end.as_str(), "no TLS connection"),
            Err(Expired) => tracing::debug!(result = end.as_str(), "no TLS connection"),
        }
    }

    /// Answers its requests until it ends, is cut, or is told to end.
    pub(super) async fn serve(self, io: Io, worker: Rc<Worker>) {
        let mut session = pin!(Session::new(io, &worker, &self.pulse).run());
        std::future::poll_fn(|context| {
            if self.pulse.cut.load(Relaxed) {
                return Poll::Ready(());
            }
            let polled = session.as_mut().poll(context);
            if polled.is_pending() {
                self.connections.wait(self.slot, context.waker());
            }
            polled
        })
        .await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut slots = self.connections.slots.borrow_mut();
        if let Some(slot) = slots.open.get_mut(self.slot) {
            *slot = None;
        }
        slots.free.push(self.slot);
        self.connections.metrics.closed();
        self.connections.left.notify_one();
    }
}
