//! Connections to the CRM: one pool per worker over hyper's bare connections, last used first.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, uri::Authority};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    alone::Dial,
    body::{Body, Taken},
    connection::Stream,
    expiry::Expiry,
    snapshot::Snapshot,
    tls::Originate,
    worker::{BUFFER, MAX_HEADERS},
};
use crate::config::Upstream;

/// Idle connections a worker keeps. A CRM's clients rarely hold more than this many requests open at a time.
const MAX_IDLE: usize = 256;

/// The upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection.
    #[error("cannot connect to the upstream: {0}")]
    Connect(#[from] io::Error),
    /// A connection, but no TLS: mostly, the upstream is not who it should be.
    #[error("no TLS with the upstream: {0}")]
    Tls(io::Error),
    /// No connection within `limits.connect`.
    #[error("connecting to the upstream took too long")]
    ConnectTimeout,
    /// No answer within `limits.answer`.
    #[error("the upstream took too long to answer")]
    AnswerTimeout,
    /// The connection broke, or what came was not HTTP.
    #[error("the upstream's answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The connection broke while the answer's body was read.
    #[error("the upstream's answer broke off")]
    BrokenBody,
    /// The client broke off the request's body, or framed it wrongly.
    #[error("the request's body broke off")]
    BrokenRequest,
}

impl UpstreamError {
    /// What the client gets instead of an answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            UpstreamError::Connect(_)
            | UpstreamError::Tls(_)
            | UpstreamError::Broken(_)
            | UpstreamError::BrokenBody => StatusCode::BAD_GATEWAY,
            UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
            UpstreamError::BrokenRequest => StatusCode::BAD_REQUEST,
        }
    }

    /// The same without details of the network, for the client.
    pub(super) fn summary(&self) -> &'static str {
        match self {
            UpstreamError::Connect(_) => "cannot connect to the upstream",
            UpstreamError::Tls(_) => "no TLS with the upstream",
            UpstreamError::ConnectTimeout => "connecting to the upstream took too long",
            UpstreamError::AnswerTimeout => "the upstream took too long to answer",
            UpstreamError::Broken(_) | UpstreamError::BrokenBody => "the upstream's answer broke off",
            UpstreamError::BrokenRequest => "the request's body broke off",
        }
    }
}

/// Idle for longer, a connection is not used again: servers close theirs after five seconds and up, and a request that
/// crosses that on its way is lost.
const MAX_IDLE_TIME: Duration = Duration::from_secs(4);

/// One worker's connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    expiry: Rc<Expiry>,
    /// With the tick of their last use, the latest at the end.
    idle: RefCell<Vec<(http1::SendRequest<Body>, u64)>>,
    /// Raised when the target changes, so that connections to the old one are not kept.
    generation: Cell<u64>,
    target: RefCell<Option<Target>>,
    /// Makes connections where there is no network.
    dial: Option<Dial>,
}

/// Where connections go, and what is spoken on them.
#[derive(Debug)]
struct Target {
    authority: Authority,
    port: u16,
    tls: Option<Arc<Originate>>,
}

impl Target {
    fn new(upstream: &Upstream, tls: Option<&Arc<Originate>>) -> Self {
        Self { authority: upstream.authority.clone(), port: upstream.port, tls: tls.cloned() }
    }

    fn is(&self, upstream: &Upstream, tls: Option<&Arc<Originate>>) -> bool {
        let same_tls = self.tls.as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr);
        same_tls && self.port == upstream.port && self.authority == upstream.authority
    }
}

/// A connection in use. Given back when the answer's body has ended; closed when it is dropped before.
#[derive(Debug)]
pub(super) struct Lease {
    sender: Option<http1::SendRequest<Body>>,
    pool: Rc<Pool>,
    generation: u64,
}

impl Lease {
    /// Gives the connection back.
    pub(super) fn release(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        let mut idle = self.pool.idle.borrow_mut();
        if self.generation == self.pool.generation.get() && !sender.is_closed() && idle.len() < MAX_IDLE {
            idle.push((sender, self.pool.expiry.now()));
        }
    }
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(expiry: Rc<Expiry>) -> Self {
        Self { expiry, ..Self::default() }
    }

    /// The same without a network.
    pub(super) fn dialled(expiry: Rc<Expiry>, dial: Dial) -> Self {
        Self { dial: Some(dial), ..Self::new(expiry) }
    }

    /// Sends a request and waits for the answer's head. A pooled connection that turns out closed before anything of the
    /// request was written is replaced; beyond that nothing is tried twice.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: Request<Body>,
        snapshot: &Snapshot,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let (upstream, limits) = (&snapshot.config.upstream, &snapshot.config.limits);
        let tls = snapshot.tls.upstream.as_ref();
        self.aim(upstream, tls);
        let (head, body) = request.into_parts();
        let (body, sent) = body.watched();
        let mut request = Request::from_parts(head, body);
        // A slow upload is no slow answer: the upstream's time starts when it has everything.
        let is_sent = || sent.as_ref().is_none_or(|sent| sent.get() == Taken::Whole);
        loop {
            let pooled = self.take_idle();
            let reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => {
                    let connect = self.connect(upstream, tls);
                    let connected = self.expiry.within(limits.connect, || true, connect).await;
                    connected.map_err(|_| UpstreamError::ConnectTimeout)??
                }
            };
            let answer = self.expiry.within(limits.answer, is_sent, sender.try_send_request(request)).await;
            match answer.map_err(|_| UpstreamError::AnswerTimeout)? {
                Ok(response) => {
                    let lease =
                        Lease { sender: Some(sender), pool: self.clone(), generation: self.generation.get() };
                    return Ok((response, lease));
                }
                Err(mut failed) => match failed.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None if sent.is_some_and(|sent| sent.get() == Taken::Broken) => {
                        return Err(UpstreamError::BrokenRequest);
                    }
                    None => return Err(failed.into_error().into()),
                },
            }
        }
    }

    fn aim(&self, upstream: &Upstream, tls: Option<&Arc<Originate>>) {
        if !self.target.borrow().as_ref().is_some_and(|target| target.is(upstream, tls)) {
            self.target.replace(Some(Target::new(upstream, tls)));
            self.generation.set(self.generation.get() + 1);
            self.idle.borrow_mut().clear();
        }
    }

    async fn connect(
        &self,
        upstream: &Upstream,
        tls: Option<&Arc<Originate>>,
    ) -> Result<http1::SendRequest<Body>, UpstreamError> {
        match &self.dial {
            None => connect(upstream, tls).await,
            Some(dial) => speak(dial.stream()).await,
        }
    }

    /// The connection used last that can take a request now; closed and old ones are thrown away on the way.
    fn take_idle(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.idle.borrow_mut();
        let oldest = self.expiry.now().saturating_sub(Expiry::ticks(MAX_IDLE_TIME));
        let kept = idle.partition_point(|(_, used)| *used < oldest);
        idle.drain(..kept);
        while idle.last().is_some_and(|(sender, _)| sender.is_closed()) {
            idle.pop();
        }
        let ready = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.remove(ready).0)
    }
}

async fn connect(
    upstream: &Upstream,
    tls: Option<&Arc<Originate>>,
) -> Result<http1::SendRequest<Body>, UpstreamError> {
    let stream = TcpStream::connect((upstream.host(), upstream.port)).await?;
    // An error here only costs latency.
    _ = stream.set_nodelay(true);
    match tls {
        Some(tls) => speak(tls.connect(stream).await.map_err(UpstreamError::Tls)?).await,
        None if upstream.tls.is_none() => speak(stream).await,
        // What was meant to be secret is never sent in the clear, whoever made the snapshot.
        None => Err(UpstreamError::Tls(io::Error::other("not set up"))),
    }
}

async fn speak(stream: impl Stream) -> Result<http1::SendRequest<Body>, UpstreamError> {
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(BUFFER)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}
