//! One client's connection without a network: the proxy's own code from the client's first byte to the upstream's last,
//! over streams in memory, so that a test sees every byte and a paused clock decides every time-out.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use metrics::Counter;
use tokio::{
    io::DuplexStream,
    task::{JoinHandle, spawn_local},
};

use super::{
    connection::Open,
    expiry::TICK,
    h1::Io,
    shadow::Shadows,
    snapshot::Snapshot,
    upstream::Pool,
    worker::{Shared, Worker},
};
use crate::{
    leadlog::{Known, Queue},
    telemetry::{Latency, Metrics},
};

/// Makes the connections to the upstream.
pub(super) struct Dial(Box<dyn Fn() -> DuplexStream>);

impl Dial {
    pub(super) fn stream(&self) -> DuplexStream {
        (self.0)()
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// Leads whose last score is remembered.
const KNOWN: usize = 64;

/// Serves `client` until it ends, as a worker serves one that it accepted; `dial` gives our end of each connection to the
/// upstream. Nothing is recorded. Runs inside a [`tokio::task::LocalSet`].
pub async fn serve_alone(
    snapshot: Arc<Snapshot>,
    client: DuplexStream,
    dial: impl Fn() -> DuplexStream + 'static,
) {
    let metrics = Metrics::default();
    let shared = Shared {
        snapshot: Arc::new(ArcSwap::new(snapshot)),
        latency: Arc::new(Latency::default()),
        queue: Queue::new(1, 1, Counter::noop()),
        known: Arc::new(Known::new(KNOWN, Duration::from_secs(3600))),
        shadows: Shadows::new(1, Counter::noop()),
        connections: metrics.connections,
        handshakes: metrics.handshakes,
        upstream: metrics.upstream,
        workers: 1,
    };
    let mut worker = Worker::new(&shared, 0);
    worker.pool = Rc::new(Pool::dialled(worker.expiry.clone(), shared.upstream, Dial(Box::new(dial))));
    let worker = Rc::new(worker);
    let open = Open::new(&worker.connections, worker.expiry.now());
    let ticks = worker.expiry.clone().tick(async || tokio::time::sleep(TICK).await);
    let endless = [spawn_local(ticks), spawn_local(worker.clone().sweep())];
    open.over(Io::Other(Box::new(client)), worker).await;
    endless.iter().for_each(JoinHandle::abort);
}
