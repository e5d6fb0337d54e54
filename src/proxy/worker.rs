//! Workers: one thread each, with its own runtime, listener, connections and scratch memory.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::Uri;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{LocalSet, spawn_local},
};

use super::{
    answer::Slate,
    bind::Listeners,
    connection::{Connections, Open},
    expiry::{Expiry, tell_ticks},
    inspect::Scratch,
    mirror::Mirror,
    shadow::Shadows,
    snapshot::Snapshot,
    upstream::Pool,
};
use crate::{
    config::Limits,
    leadlog::{Known, Pen, Queue, Sender},
    telemetry::{ConnectionMetrics, HandshakeMetrics, Latency, StageRecorder, UpstreamMetrics},
};

/// The longest head of an answer, and what waits of one in HTTP/2.
pub(super) const BUFFER: usize = 128 << 10;

/// Headers of one answer. For requests, `limits` says both.
pub(super) const MAX_HEADERS: usize = 512;

/// A worker that is told to stop goes on as usual until nobody has connected for a tick or two, and accepts nobody once ten
/// times this long is over. What has reached its sockets by then is known to the runtime; closing them earlier would reset it.
const QUIET: Duration = Duration::from_millis(20);

/// How often connections are looked over for those to cut; twice a second, with the tick that it takes longer.
const SWEEP: Duration = Duration::from_millis(400);

/// How long nobody is accepted after that has failed, but for the tick that it takes longer.
const PAUSE: Duration = Duration::from_millis(50);

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
    /// The way to the versions that score along.
    pub shadows: Shadows,
    /// Counts connections.
    pub connections: ConnectionMetrics,
    /// Counts their TLS handshakes.
    pub handshakes: HandshakeMetrics,
    /// Counts connections to upstreams.
    pub upstream: UpstreamMetrics,
    /// Workers among which the kernel spreads connections.
    pub workers: usize,
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
        let ticks: Vec<_> = listeners.sockets.iter().map(|_| Arc::new(Notify::new())).collect();
        let told: Vec<_> = ticks.iter().map(Arc::downgrade).collect();
        // First, as workers that are told to stop wait for ticks.
        std::thread::Builder::new().name("ticks".into()).spawn(move || tell_ticks(&told))?;
        for (index, (socket, ticks)) in listeners.sockets.into_iter().zip(ticks).enumerate() {
            // With timers it would ask the clock twice whenever it waits.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let (shared, stopped) = (shared.clone(), stopped.clone());
            let run = move || {
                let worker = Rc::new(Worker::new(&shared, index));
                // A task like the others: what is waited for here is looked at whenever anything happens.
                let tasks = LocalSet::new();
                let run = tasks.spawn_local(worker.run(socket, stopped, ticks));
                // A panic in it has been printed, and ends the worker.
                _ = tasks.block_on(&runtime, run);
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

/// The snapshot that workers share, as one of them sees it.
struct Snapshots {
    shared: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    /// The same, counted by this worker alone: the other count would go from processor to processor with every request.
    own: Rc<Own>,
}

/// A snapshot as a worker's requests hold it.
#[derive(Debug)]
pub(super) struct Own(Arc<Snapshot>);

impl std::ops::Deref for Own {
    type Target = Arc<Snapshot>;

    fn deref(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

/// One worker's state. Nothing in it is shared with other threads but what [`Shared`] holds.
pub(super) struct Worker {
    snapshots: RefCell<Snapshots>,
    pub(super) pool: Rc<Pool>,
    pub(super) mirror: Rc<Mirror>,
    pub(super) expiry: Rc<Expiry>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) slate: RefCell<Slate>,
    /// The last target that was looked into.
    pub(super) target: RefCell<Uri>,
    pub(super) stages: RefCell<StageRecorder>,
    pub(super) log: Sender,
    pub(super) known: Arc<Known>,
    pub(super) pen: RefCell<Pen>,
    pub(super) shadows: Shadows,
    pub(super) connections: Rc<Connections>,
    pub(super) handshakes: HandshakeMetrics,
    /// Workers among which the kernel spreads connections.
    share: usize,
    /// Requests on routes, from their head to their answer's.
    judging: Cell<usize>,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub(super) fn new(shared: &Shared, index: usize) -> Self {
        let expiry = Rc::new(Expiry::default());
        let share = shared.workers.max(1);
        let pool = Rc::new(Pool::new(expiry.clone(), shared.upstream.clone(), share));
        Self {
            snapshots: RefCell::new(Snapshots {
                own: Rc::new(Own(shared.snapshot.load_full())),
                shared: arc_swap::Cache::new(shared.snapshot.clone()),
            }),
            mirror: Rc::new(Mirror::new(&pool, &expiry, share)),
            pool,
            expiry,
            scratch: RefCell::default(),
            slate: RefCell::default(),
            target: RefCell::default(),
            stages: RefCell::new(shared.latency.recorder()),
            log: shared.queue.sender(index),
            known: shared.known.clone(),
            pen: RefCell::new(shared.known.pen()),
            shadows: shared.shadows.clone(),
            connections: Rc::new(Connections::new(shared.connections.clone())),
            handshakes: shared.handshakes.clone(),
            share,
            judging: Cell::new(0),
        }
    }

    /// The configuration and models of this moment.
    pub(super) fn snapshot(&self) -> Rc<Own> {
        let Snapshots { shared, own } = &mut *self.snapshots.borrow_mut();
        let current = shared.load();
        if !Arc::ptr_eq(current, own) {
            *own = Rc::new(Own(Arc::clone(current)));
        }
        Rc::clone(own)
    }

    /// A place for one more request whose body is held and scored; `None` where there are as many as `limits` allow.
    pub(super) fn place(&self, limits: &Limits) -> Option<Place<'_>> {
        let taken = self.judging.get();
        (taken < limits.in_flight.div_ceil(self.share)).then(|| {
            self.judging.set(taken + 1);
            Place(&self.judging)
        })
    }

    async fn run(
        self: Rc<Self>,
        socket: std::net::TcpListener,
        mut stopped: watch::Receiver<bool>,
        ticks: Arc<Notify>,
    ) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "worker cannot listen"),
        };
        spawn_local(self.expiry.clone().tick(async move || ticks.notified().await));
        spawn_local(self.clone().sweep());
        {
            let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
            loop {
                tokio::select! {
                    accepted = self.accept(&listener) => self.clone().accepted(accepted).await,
                    _ = &mut stop => break,
                }
            }
        }
        self.clone().accept_the_last(&listener).await;
        drop(listener);
        self.drain().await;
    }

    /// The next connection, once there is room for it. Until then those that connect wait in the kernel's queue.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
        let most = self.snapshot().config.limits.connections.div_ceil(self.share);
        self.connections.fewer_than(most).await;
        listener.accept().await
    }

    /// Cuts clients' connections on which nothing happens for too long, and sees to those to upstreams; runs as long as the
    /// worker.
    pub(super) async fn sweep(self: Rc<Self>) {
        loop {
            self.expiry.sleep(SWEEP).await;
            let limits = &self.snapshot().config.limits;
            self.connections.sweep(self.expiry.now(), limits);
            self.pool.sweep(limits.resolve);
        }
    }

    async fn accepted(self: Rc<Self>, accepted: std::io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => self.spawn(stream),
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                self.expiry.sleep(PAUSE).await;
            }
        }
    }

    /// Whoever connected before the stop is served.
    async fn accept_the_last(self: Rc<Self>, listener: &TcpListener) {
        let latest = Instant::now() + 10 * QUIET;
        while let Ok(Ok((stream, _))) = self.expiry.within(QUIET, || true, listener.accept()).await {
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
        let open = Open::new(&self.connections, self.expiry.now());
        match self.snapshot().tls.clients.clone() {
            None => spawn_local(open.listen(stream, self)),
            Some(tls) => spawn_local(open.secure(stream, tls, self, None)),
        };
    }

    /// Tells every connection to end after its current request, and waits for that as long as the limits allow.
    async fn drain(&self) {
        self.connections.tell_all_to_end();
        let limit = self.snapshot().config.limits.drain;
        if self.expiry.within(limit, || true, self.connections.fewer_than(1)).await.is_err() {
            tracing::warn!(open = self.connections.open(), "drain took too long; connections are cut");
        }
    }
}

/// A request's place among those that are scored at once; free again when this is dropped.
pub(super) struct Place<'w>(&'w Cell<usize>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
