//! Connections to the CRM: one pool per worker, last used first.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, header, uri::Authority};
use http_body::Body as _;
use tokio::net::TcpStream;

use super::{
    body::Body,
    expiry::Expiry,
    h1::{Broken, Client, Ending, Framing, Head, Io, Link, Outgoing, Refusal, Role, Writer},
    session::HEAD,
    snapshot::Snapshot,
    tls::Originate,
};
use crate::config::{Limits, Upstream};

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
    Broken(Broken),
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
    idle: RefCell<Vec<(Link, u64)>>,
    /// Raised when the target changes, so that connections to the old one are not kept.
    generation: Cell<u64>,
    target: RefCell<Option<Target>>,
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

/// A request to the CRM.
pub(super) struct Call<'c> {
    /// Writes its head.
    pub(super) write: &'c dyn Fn(&mut Vec<u8>),
    pub(super) body: Body,
    pub(super) framing: Framing,
    pub(super) method: &'c str,
    /// Who is told what the CRM says before its answer.
    pub(super) client: Option<&'c Client>,
    /// It asks to leave HTTP, so that the CRM may agree.
    pub(super) upgrades: bool,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) framing: Framing,
    outgoing: Outgoing,
    lease: Lease,
}

impl Answered {
    /// The answer's body. The connection is given back at its end.
    pub(super) fn into_body(self) -> Body {
        let Self { outgoing, lease, .. } = self;
        if outgoing.is_done() {
            lease.release(outgoing);
            return Body::empty();
        }
        Body::Upstream(Box::new(outgoing), lease)
    }

    /// The connection, once both sides have left HTTP.
    pub(super) fn into_link(self) -> Link {
        self.outgoing.into_link()
    }
}

/// Where a connection in use comes from.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pool: Rc<Pool>,
    generation: u64,
}

impl Lease {
    /// Gives the connection back, where another request may follow on it.
    pub(super) fn release(&self, outgoing: Outgoing) {
        let Some(link) = outgoing.reusable() else { return };
        let mut idle = self.pool.idle.borrow_mut();
        if self.generation == self.pool.generation.get() && idle.len() < MAX_IDLE {
            idle.push((link, self.pool.expiry.now()));
        }
    }
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(expiry: Rc<Expiry>) -> Self {
        Self { expiry, ..Self::default() }
    }

    /// Sends a request whose head is a map, spelt as it was in `spelling`, and waits for the answer's, which is left in
    /// `answer`.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: Request<Body>,
        spelling: Option<&Head>,
        answer: &mut Head,
        snapshot: &Snapshot,
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let framing = framing(&parts.headers, &body);
        let write = |out: &mut Vec<u8>| {
            let mut writer = Writer(out);
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            writer.request_line(parts.method.as_str(), target.as_bytes());
            writer.map(&parts.headers, spelling, framing);
            writer.framing(framing, &parts.headers, false);
            writer.end(Ending::Open);
        };
        let method = parts.method.as_str();
        let call = Call { write: &write, body, framing, method, client: None, upgrades: false };
        let answered = self.call(call, answer, snapshot).await?;
        let mut response = Response::new(());
        *response.status_mut() = answer.status;
        *response.headers_mut() =
            answer.map().map_err(|refusal| UpstreamError::Broken(Broken::Head(refusal)))?;
        Ok(response.map(|()| answered.into_body()))
    }

    /// Sends a request and waits for the answer's head. On a connection that was idle, one that was not sent at all, or that
    /// may be sent twice and had no answer, is sent once more; beyond that nothing is tried twice.
    pub(super) async fn call(
        self: &Rc<Self>,
        call: Call<'_>,
        answer: &mut Head,
        snapshot: &Snapshot,
    ) -> Result<Answered, UpstreamError> {
        let (upstream, limits) = (&snapshot.config.upstream, &snapshot.config.limits);
        let tls = snapshot.tls.upstream.as_ref();
        self.aim(upstream, tls);
        let Call { write, body, framing, method, client, upgrades } = call;
        let idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let pooled = self.take_idle();
        let mut reused = pooled.is_some();
        let mut link = match pooled {
            Some(link) => link,
            None => self.connect(upstream, tls, limits).await?,
        };
        write(link.output());
        let mut outgoing = Outgoing::new(link, body, framing);
        // A slow upload is no slow answer: the upstream's time starts when it has everything.
        let sent = Cell::new(false);
        loop {
            let head = outgoing.head(answer, HEAD, &sent, client);
            let head = self.expiry.within(limits.answer, || sent.get(), head).await;
            match head.map_err(|_| UpstreamError::AnswerTimeout)? {
                Err(Broken::Request) => return Err(UpstreamError::BrokenRequest),
                Err(_) if std::mem::take(&mut reused) && outgoing.may_go_again(idempotent) => {
                    let link = self.connect(upstream, tls, limits).await?;
                    outgoing = outgoing.again(link, idempotent).map_err(UpstreamError::Broken)?;
                    sent.set(false);
                }
                Err(broken) => return Err(UpstreamError::Broken(broken)),
                Ok(()) if answer.status == StatusCode::SWITCHING_PROTOCOLS && !upgrades => {
                    return Err(UpstreamError::Broken(Broken::Head(Refusal::Head)));
                }
                Ok(())
                    if answer.status.is_informational()
                        && answer.status != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    client.into_iter().for_each(|client| inform(client, answer));
                }
                Ok(()) => break,
            }
        }
        let framing = Framing::of_answer(answer, method == "HEAD");
        let framing = framing.map_err(|refusal| UpstreamError::Broken(Broken::Head(refusal)))?;
        let goes_on = match answer.is_1_1 {
            true => !answer.says(Role::Connection, "close"),
            false => answer.says(Role::Connection, "keep-alive"),
        };
        outgoing.answered(framing, goes_on);
        let lease = Lease { pool: self.clone(), generation: self.generation.get() };
        Ok(Answered { framing, outgoing, lease })
    }

    async fn connect(
        &self,
        upstream: &Upstream,
        tls: Option<&Arc<Originate>>,
        limits: &Limits,
    ) -> Result<Link, UpstreamError> {
        let connected = self.expiry.within(limits.connect, || true, connect(upstream, tls)).await;
        connected.map_err(|_| UpstreamError::ConnectTimeout)?
    }

    fn aim(&self, upstream: &Upstream, tls: Option<&Arc<Originate>>) {
        if !self.target.borrow().as_ref().is_some_and(|target| target.is(upstream, tls)) {
            self.target.replace(Some(Target::new(upstream, tls)));
            self.generation.set(self.generation.get() + 1);
            self.idle.borrow_mut().clear();
        }
    }

    /// The connection used last that can take a request now; closed and old ones are thrown away on the way.
    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let oldest = self.expiry.now().saturating_sub(Expiry::ticks(MAX_IDLE_TIME));
        let kept = idle.partition_point(|(_, used)| *used < oldest);
        idle.drain(..kept);
        while let Some((mut link, _)) = idle.pop() {
            if link.is_quiet() {
                link.begin();
                return Some(link);
            }
        }
        None
    }
}

/// What the CRM says before its answer.
fn inform(client: &Client, head: &Head) {
    client.write(|out| {
        let mut writer = Writer(out);
        writer.status_line(head.status, Some(head.reason()));
        writer.passed(head, Framing::NONE);
        writer.end(Ending::Open);
    });
}

/// How a request's body is sent: as its head says, else as much as there is.
fn framing(headers: &http::HeaderMap, body: &Body) -> Framing {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    said.or(body.size_hint().exact()).map_or(Framing::Chunked, Framing::Exact)
}

async fn connect(upstream: &Upstream, tls: Option<&Arc<Originate>>) -> Result<Link, UpstreamError> {
    let stream = TcpStream::connect((upstream.host(), upstream.port)).await?;
    // An error here only costs latency.
    _ = stream.set_nodelay(true);
    match tls {
        Some(tls) => {
            let stream = tls.connect(stream).await.map_err(UpstreamError::Tls)?;
            Ok(Link::new(Io::Tls(Box::new(stream.into()))))
        }
        None if upstream.tls.is_none() => Ok(Link::new(Io::Plain(stream))),
        // What was meant to be secret is never sent in the clear, whoever made the snapshot.
        None => Err(UpstreamError::Tls(io::Error::other("not set up"))),
    }
}
