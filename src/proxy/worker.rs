//! Workers: one thread each, with its own runtime, listener, connections and scratch memory.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Waker,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{LocalSet, spawn_local},
};

use super::{bind::Listeners, expiry::Expiry, inspect::Scratch, snapshot::Snapshot, upstream::Pool};
use crate::{
    leadlog::{Known, Queue, Sender},
    telemetry::{Latency, StageRecorder},
};

/// Most of a message that is held at a time, and so the longest head. hyper's 400 KiB on both sides of both connections
/// would be most of the process's memory.
pub(super) const BUFFER: usize = 128 << 10;

/// Headers of one message; hyper's own limit of 100 is below what some answers carry.
pub(super) const MAX_HEADERS: usize = 512;

/// A worker that is told to stop goes on as usual until nobody has connected for this long, and at most ten times as
/// long. What has reached its sockets by then is known to the runtime; closing them earlier would reset it.
const QUIET: Duration = Duration::from_millis(20);

/// What workers share: the current snapshot, and where their numbers and records go.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Swapped whole when configuration or models change.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The stages' histograms.
    pub latency: Arc<Latency>,
    /// The way to the lead log; one lane for each worker.
    pub queue: Queue,
    /// The last score of each lead.
    pub known: Arc<Known>,
}

/// The running workers.
#[derive(Debug)]
pub struct Proxy {
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Proxy {
    /// Starts one worker for each listener.
    pub fn start(listeners: Listeners, shared: &Shared) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut workers = Vec::new();
        for (index, socket) in listeners.sockets.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, stopped) = (shared.clone(), stopped.clone());
            let run = move || {
                let worker = Rc::new(Worker::new(&shared, index));
                LocalSet::new().block_on(&runtime, worker.run(socket, stopped));
            };
            workers.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(run)?);
        }
        Ok(Self { workers, stop })
    }

    /// Accepts no more connections, lets open requests finish within `limits.drain`, and returns when all is done.
    pub fn drain(self) {
        self.stop.send_replace(true);
        for worker in self.workers {
            // A worker that panicked has said so; the others still drain.
            _ = worker.join();
        }
    }
}

/// One worker's state. Nothing in it is shared with other threads but what [`Shared`] holds.
pub(super) struct Worker {
    snapshots: RefCell<arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    pub(super) pool: Rc<Pool>,
    expiry: Rc<Expiry>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) stages: RefCell<StageRecorder>,
    pub(super) log: Sender,
    pub(super) known: Arc<Known>,
    connections: RefCell<Connections>,
    draining: Cell<bool>,
    /// A connection ended.
    left: Notify,
}

/// A client's connection.
struct Open {
    worker: Rc<Worker>,
    slot: usize,
}

impl Open {
    async fn serve(self, stream: TcpStream) {
        let worker = self.worker.clone();
        let service = service_fn(move |request| {
            let worker = worker.clone();
            async move { Ok::<_, Infallible>(worker.serve(request).await) }
        });
        let mut builder = http1::Builder::new();
        // Transparent: names keep their case, ours are written as documented, and no header is added.
        builder.preserve_header_case(true).title_case_headers(true).auto_date_header(false);
        builder.half_close(true).pipeline_flush(true).max_buf_size(BUFFER).max_headers(MAX_HEADERS);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut told = false;
        let ended = std::future::poll_fn(|context| {
            // Polled before it is told to end, so that a request which has arrived is seen.
            let mut polled = connection.as_mut().poll(context);
            if polled.is_pending() && self.worker.draining.get() && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
                polled = connection.as_mut().poll(context);
            }
            if polled.is_pending() {
                self.worker.wait(self.slot, context.waker());
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
        self.worker.leave(self.slot);
    }
}

/// The open connections' wakers, so that draining reaches those that are idle.
#[derive(Default)]
struct Connections {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Connections {
    fn open(&self) -> usize {
        self.wakers.len() - self.free.len()
    }
}

impl Worker {
    /// A worker that serves nothing yet.
    pub(super) fn new(shared: &Shared, index: usize) -> Self {
        let expiry = Rc::new(Expiry::default());
        Self {
            snapshots: RefCell::new(arc_swap::Cache::new(shared.snapshot.clone())),
            pool: Rc::new(Pool::new(expiry.clone())),
            expiry,
            scratch: RefCell::default(),
            stages: RefCell::new(shared.latency.recorder()),
            log: shared.queue.sender(index),
            known: shared.known.clone(),
            connections: RefCell::default(),
            draining: Cell::new(false),
            left: Notify::new(),
        }
    }

    /// The configuration and models of this moment.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow_mut().load().clone()
    }

    async fn run(self: Rc<Self>, socket: std::net::TcpListener, mut stopped: watch::Receiver<bool>) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "worker cannot listen"),
        };
        spawn_local(self.expiry.clone().tick());
        {
            let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
            loop {
                tokio::select! {
                    accepted = listener.accept() => self.clone().accepted(accepted).await,
                    _ = &mut stop => break,
                }
            }
        }
        self.clone().accept_the_last(&listener).await;
        drop(listener);
        self.drain().await;
    }

    async fn accepted(self: Rc<Self>, accepted: std::io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => self.spawn(stream),
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Whoever connected before the stop is served.
    async fn accept_the_last(self: Rc<Self>, listener: &TcpListener) {
        let latest = Instant::now() + 10 * QUIET;
        while let Ok(Ok((stream, _))) = tokio::time::timeout(QUIET, listener.accept()).await {
            self.clone().spawn(stream);
            if Instant::now() > latest {
                return;
            }
        }
    }

    /// Serves a connection. It counts as open from here on, not only once its task runs.
    fn spawn(self: Rc<Self>, stream: TcpStream) {
        // An error here only costs latency.
        _ = stream.set_nodelay(true);
        let open = Open { slot: self.enter(), worker: self };
        spawn_local(open.serve(stream));
    }

    fn enter(&self) -> usize {
        let mut connections = self.connections.borrow_mut();
        connections.free.pop().unwrap_or_else(|| {
            connections.wakers.push(None);
            connections.wakers.len() - 1
        })
    }

    fn wait(&self, slot: usize, waker: &Waker) {
        match self.connections.borrow_mut().wakers.get_mut(slot) {
            Some(Some(known)) if known.will_wake(waker) => {}
            Some(known) => *known = Some(waker.clone()),
            None => {}
        }
    }

    fn leave(&self, slot: usize) {
        let mut connections = self.connections.borrow_mut();
        if let Some(waker) = connections.wakers.get_mut(slot) {
            *waker = None;
        }
        connections.free.push(slot);
        self.left.notify_one();
    }

    /// Tells every connection to end after its current request, and waits for that as long as the limits allow.
    async fn drain(&self) {
        self.draining.set(true);
        for waker in self.connections.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
        let limit = self.snapshot().config.limits.drain;
        let all_ended = async {
            while self.connections.borrow().open() > 0 {
                self.left.notified().await;
            }
        };
        if tokio::time::timeout(limit, all_ended).await.is_err() {
            let open = self.connections.borrow().open();
            tracing::warn!(open, "drain took too long; connections are cut");
        }
    }
}
