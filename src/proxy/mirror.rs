//! Mirror: copies of what routes take go to a second upstream as well, such as a staging CRM.
//!
//! Fire and forget. A copy has the client's own bytes, before a score is written into them, and goes over connections of
//! its own; its answer is read and dropped. What fails, stalls or does not fit into `mirror.bytes` is counted, and nothing
//! else comes of it: the live request neither waits for its copy nor knows of it. Copies that are on their way when a drain
//! ends are lost. Without `mirror` in the configuration nothing of this is touched.

use std::{cell::Cell, pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::Body as _;
use tokio::task::spawn_local;

use super::{
    body::Body,
    expiry::{Expired, Expiry},
    h1::Head,
    snapshot::Snapshot,
    upstream::{Pool, To, UpstreamError},
};
use crate::{config, telemetry::Mirrored};

/// What a copy takes beside its head and body: a task, and mostly a connection with its buffers.
const OVERHEAD: usize = 16 << 10;

/// Bytes of an answer that are read, so that its connection can be used again. A longer one is cheaper to cut.
const MOST_READ: usize = 1 << 20;

/// One worker's copies.
pub(super) struct Mirror {
    pool: Rc<Pool>,
    expiry: Rc<Expiry>,
    /// Workers that share the bytes.
    share: usize,
    /// Hundredths of a copy that have added up.
    due: Cell<u32>,
    /// Bytes of the copies on their way.
    in_flight: Cell<usize>,
}

impl Mirror {
    /// Nothing on its way yet.
    pub(super) fn new(pool: &Rc<Pool>, expiry: &Rc<Expiry>, share: usize) -> Self {
        let pool = Rc::clone(pool);
        Self { pool, expiry: Rc::clone(expiry), share, due: Cell::default(), in_flight: Cell::default() }
    }

    /// Copies a request that a route took and whose turn it is. `parts` have no hop-by-hop headers any more, and are as
    /// the client sent them otherwise.
    pub(super) fn copy(
        self: &Rc<Self>,
        parts: &Parts,
        spelt: Option<&Head>,
        body: &Body,
        snapshot: Arc<Snapshot>,
    ) {
        let Some(settings) = &snapshot.config.mirror else { return };
        let copied = body.copy().filter(|copied| self.fits(size(parts, copied), settings));
        let Some(body) = copied else { return snapshot.mirrored.count(Mirrored::Dropped) };
        let load = Load::new(self, size(parts, &body));
        spawn_local(load.run(Request::from_parts(parts.clone(), body), spelt.cloned(), snapshot));
    }

    /// Every n-th request: 40 percent are the third and the fifth of five.
    pub(super) fn is_due(&self, percent: u32) -> bool {
        let due = self.due.get() + percent;
        self.due.set(due % 100);
        due >= 100
    }

    fn fits(&self, size: usize, settings: &config::Mirror) -> bool {
        self.in_flight.get() + size <= settings.bytes / self.share
    }

    async fn send(
        &self,
        request: Request<Body>,
        spelt: Option<&Head>,
        snapshot: &Snapshot,
    ) -> Result<(), UpstreamError> {
        let Some(config::Mirror { upstream, timeout, .. }) = &snapshot.config.mirror else { return Ok(()) };
        let tls = snapshot.tls.mirror.as_ref();
        let to = To { upstream, tls, connect: *timeout, answer: *timeout, ..To::crm(snapshot) };
        let sent = self.expiry.within(*timeout, || true, async {
            let answer = self.pool.send(request, spelt, to).await?;
            discard(answer.into_body()).await
        });
        sent.await.unwrap_or_else(|Expired| Err(UpstreamError::AnswerTimeout))
    }
}

/// A copy on its way, whose bytes count until this is dropped.
struct Load {
    mirror: Rc<Mirror>,
    size: usize,
}

impl Load {
    fn new(mirror: &Rc<Mirror>, size: usize) -> Self {
        mirror.in_flight.set(mirror.in_flight.get() + size);
        Self { mirror: Rc::clone(mirror), size }
    }

    async fn run(self, request: Request<Body>, spelt: Option<Head>, snapshot: Arc<Snapshot>) {
        let sent = self.mirror.send(request, spelt.as_ref(), &snapshot).await;
        snapshot.mirrored.count(match &sent {
            Ok(()) => Mirrored::Sent,
            Err(UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout) => Mirrored::Timeout,
            Err(_) => Mirrored::Failed,
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "no answer from the mirror");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.mirror.in_flight.set(self.mirror.in_flight.get() - self.size);
    }
}

fn size(parts: &Parts, body: &Body) -> usize {
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let body = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX / 2);
    OVERHEAD + headers.sum::<usize>() + target + body
}

/// Reads an answer to its end, as far as that is worth it.
async fn discard(mut body: Body) -> Result<(), UpstreamError> {
    let mut read = 0;
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > MOST_READ {
            break;
        }
    }
    Ok(())
}
