//! Clients' connections: served, counted, cut where they wait for too long, and told to end at the drain.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::{
    body::Body,
    egress::Via,
    expiry::{Expired, Expiry},
    tls,
    worker::{BUFFER, MAX_HEADERS, Worker},
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
struct Pulse {
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
    fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.in_head.store(true, Relaxed);
        }
    }
}

/// A request that is being answered, until the end of the answer's body.
struct Answering {
    pulse: Arc<Pulse>,
    expiry: Rc<Expiry>,
}

impl Answering {
    fn new(pulse: &Arc<Pulse>, expiry: &Rc<Expiry>) -> Self {
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

    /// It has left HTTP, so nobody waits for a request on it.
    pub(super) fn keep(self) -> Self {
        self.pulse.in_flight.fetch_add(1, Relaxed);
        self
    }

    /// Shakes hands first, no longer than a head may take. Nobody waits for that but the client.
    pub(super) async fn secure<S: Stream>(
        self,
        stream: S,
        tls: TlsAcceptor,
        worker: Rc<Worker>,
        via: Option<Rc<Via>>,
    ) {
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
            Ok(Ok(stream)) => self.serve(stream, worker, via).await,
            Ok(Err(error)) => tracing::debug!(%error, result = end.as_str(), "no TLS connection"),
            Err(Expired) => tracing::debug!(result = end.as_str(), "no TLS connection"),
        }
    }

    /// Answers its requests until it ends, is cut, or is told to end. They go to the CRM, or `via` to another host.
    pub(super) async fn serve<S: Stream>(self, stream: S, worker: Rc<Worker>, via: Option<Rc<Via>>) {
        let (pulse, expiry) = (Arc::clone(&self.pulse), Rc::clone(&worker.expiry));
        let service = service_fn(move |request| {
            let answering = Answering::new(&pulse, &expiry);
            let (worker, via) = (Rc::clone(&worker), via.clone());
            async move {
                let answer = worker.serve(request, via).await;
                Ok::<_, Infallible>(answer.map(|body| Reply { body, _answering: answering }))
            }
        });
        let mut builder = http1::Builder::new();
        // Transparent: names keep their case, ours are written as documented, and no header is added.
        builder.preserve_header_case(true).title_case_headers(true).auto_date_header(false);
        // Flushed one by one: where flushes are gathered, hyper drops its answer to a head that is no HTTP.
        builder.half_close(true).max_buf_size(BUFFER).max_headers(MAX_HEADERS);
        let io = Listened { io: TokioIo::new(stream), pulse: Arc::clone(&self.pulse) };
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        let mut told = false;
        let ended = std::future::poll_fn(|context| {
            if self.pulse.cut.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            // Polled before it is told to end, so that a request which has arrived is seen.
            let mut polled = connection.as_mut().poll(context);
            if polled.is_pending() && self.connections.draining.get() && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
                polled = connection.as_mut().poll(context);
            }
            if polled.is_pending() {
                self.connections.wait(self.slot, context.waker());
            }
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "client connection ended");
        }
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

/// An answer's body that says when it has ended.
struct Reply {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a connection is made of: plain, or TLS over it. Each has its own code, so that the plain one pays nothing.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A stream that says when something comes.
struct Listened<S> {
    io: TokioIo<S>,
    pulse: Arc<Pulse>,
}

impl<S: Stream> Read for Listened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.pulse.heard();
        }
        read
    }
}

impl<S: Stream> Write for Listened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
