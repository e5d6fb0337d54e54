//! A client's HTTP/1 connection: one request after the other.
//!
//! A request that no route could take is relayed: its head goes on line by line, nobody looks into it. All others become
//! maps and go through the pipeline.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{Method, StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio_rustls::TlsAcceptor;

use super::{
    answer::{Added, BodyChanged, STALE},
    body::Body,
    connection::{Answering, Connections, First, Listened, Pulse},
    egress::{self, Granted, Via},
    h1::{
        Begun, Changes, Client, Ending, Framing, Head, HeadLimits, Io, NoRequest, Refusal, Role, Target,
        Wire, Writer, says_chunked,
    },
    pipeline::Exchange,
    respond,
    snapshot::Snapshot,
    upstream::{Answered, Call, Lease, To, UpstreamError},
    worker::{BUFFER, MAX_HEADERS, Worker},
};
use crate::{
    recognise::Fits,
    telemetry::{HttpVersion, RequestOutcome, Stage},
};

/// More of an answer than this is not taken from the CRM before the client has it.
const AHEAD: usize = 64 << 10;

/// How long a connection that ends may take for that.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the head of an answer may be.
pub(super) const HEAD: HeadLimits = HeadLimits { fields: MAX_HEADERS, bytes: BUFFER };

/// A client's connection.
pub(super) struct Session {
    client: Client,
    request: Head,
    answer: Head,
    worker: Rc<Worker>,
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    /// The host that requests go to instead of the CRM.
    via: Option<Rc<Via>>,
}

/// A connection that goes on inside TLS, as if this were the host that its client asked for.
pub(super) struct StoodIn {
    pub(super) wire: Wire,
    pub(super) tls: TlsAcceptor,
    pub(super) via: Rc<Via>,
}

/// What becomes of a connection behind an answer.
enum Next {
    Request,
    End,
    /// It has left HTTP; this is the CRM's side.
    Tunnel(Box<Wire>, Option<Lease>),
    StandIn(TlsAcceptor, Rc<Via>),
}

/// The client is gone, or its answer broke off: there is nothing left to say.
struct Gone;

impl Session {
    pub(super) fn new(wire: Wire, worker: &Rc<Worker>, pulse: &Arc<Pulse>, via: Option<Rc<Via>>) -> Self {
        Self {
            client: Client::new(wire, pulse),
            request: Head::default(),
            answer: Head::default(),
            worker: Rc::clone(worker),
            connections: Rc::clone(&worker.connections),
            pulse: Arc::clone(pulse),
            via,
        }
    }

    /// Answers requests until the client has no more, or is told that there will be no more. What it returns goes on inside
    /// TLS.
    #[expect(
        clippy::manual_async_fn,
        reason = "what is taken by an async function stands in its future twice"
    )]
    pub(super) fn run(mut self) -> impl Future<Output = Option<StoodIn>> {
        async move {
            let guard = self.client.guard();
            loop {
                match self.next().await {
                    Ok(()) => {}
                    Err(NoRequest::End) => break,
                    Err(NoRequest::Refused(refusal)) => {
                        tracing::debug!(%refusal, "no request");
                        if refusal == Refusal::TooLarge {
                            self.connections.refused_head(HttpVersion::Http1);
                        }
                        self.refuse(refusal.status()).await;
                        break;
                    }
                }
                let framing = Framing::of_request(&self.request);
                let has_body = framing != Ok(Framing::NONE);
                let answering = Answering::new(&self.pulse, &self.worker.expiry, has_body);
                match self.serve(framing).await {
                    Ok(Next::Request) => self.client.settle(),
                    Ok(Next::End) => break,
                    Ok(Next::Tunnel(upstream, _lease)) => {
                        tunnel(self.client, upstream, self.pulse).await;
                        return None;
                    }
                    Ok(Next::StandIn(tls, via)) => {
                        return Some(StoodIn { wire: self.client.into_wire()?, tls, via });
                    }
                    Err(Gone) => return None,
                }
                drop(answering);
            }
            drop(guard);
            _ = self.worker.expiry.within(FAREWELL, || true, self.client.end()).await;
            None
        }
    }

    /// Waits for a request. Who is told to end while nothing has come of one has no more.
    async fn next(&mut self) -> Result<(), NoRequest> {
        let limits = &self.worker.snapshot().config.limits;
        let limits = HeadLimits { fields: limits.headers, bytes: limits.head_size };
        let Self { client, request, connections, .. } = self;
        std::future::poll_fn(|context| {
            let polled = client.poll_head(context, request, limits);
            match polled.is_pending() && connections.is_draining() && client.is_silent() {
                true => Poll::Ready(Err(NoRequest::End)),
                false => polled,
            }
        })
        .await
    }

    async fn serve(&mut self, framing: Result<Framing, Refusal>) -> Result<Next, Gone> {
        let started = Instant::now();
        let worker = Rc::clone(&self.worker);
        let snapshot = worker.snapshot();
        let next = match framing {
            Ok(framing) => self.pass(framing, &snapshot).await,
            Err(refusal) => Ok(self.refused(&refusal, &snapshot).await),
        };
        worker.stages.borrow_mut().record(Stage::Total, started.elapsed());
        next
    }

    async fn pass(&mut self, framing: Framing, snapshot: &Snapshot) -> Result<Next, Gone> {
        let method = self.request.method();
        let fits = match self.request.target() {
            Target::Odd => None,
            // Whether a CRM cuts it off, nobody knows here. On a route that would be a way past it, so it is refused there.
            Target::Fragment(path) | Target::Plain(path) => Some(snapshot.recogniser.fits(method, path)),
        };
        // HTTP/2 has heads of its own, so nothing is relayed to it as it stands.
        let is_ours = snapshot.config.upstream.h2c || !matches!(fits, Some(None));
        if method == "CONNECT" && snapshot.config.egress.is_some() && self.via.is_none() {
            return Box::pin(self.connect(framing, snapshot)).await;
        }
        match self.wish(framing) {
            Some(protocol) => Box::pin(self.upgrade(&protocol, snapshot)).await,
            None if is_ours => {
                let read = self.request.request(&mut self.worker.target.borrow_mut());
                let mut parts = match read {
                    Ok(parts) => parts,
                    Err(refusal) => return Ok(self.refused(&refusal, snapshot).await),
                };
                let fits = fits.as_ref().and_then(Option::as_ref);
                // Elsewhere, so that connections whose requests nobody looks into are no larger for it.
                Box::pin(self.consult(framing, snapshot, fits, &mut parts)).await
            }
            None => self.relay(framing, snapshot).await,
        }
    }

    /// Passes a request on that nobody looks into.
    async fn relay(&mut self, framing: Framing, snapshot: &Snapshot) -> Result<Next, Gone> {
        let mut body = body(self.client.begin(framing, false));
        let Self { client, request, answer, worker, via, .. } = self;
        let write = |out: &mut Vec<u8>| {
            let mut writer = Writer(out);
            writer.request_line(request.method(), request.target_bytes());
            writer.passed(request, framing);
            host(&mut writer, request, via, snapshot);
            writer.end(Ending::Open);
        };
        let call = Call {
            write: &write,
            body: &mut body,
            framing,
            method: request.method(),
            client: request.is_1_1.then_some(&*client),
            upgrades: false,
        };
        let started = Instant::now();
        let called = worker.pool.call(call, answer, &to(via, snapshot)).await;
        worker.stages.borrow_mut().record(Stage::Upstream, started.elapsed());
        match called {
            Ok(answered) => {
                snapshot.metrics(None).count(RequestOutcome::Passed);
                self.pass_answer(answered).await
            }
            Err(error) => self.fail(&error, snapshot).await,
        }
    }

    /// The CRM's answer, as it came.
    async fn pass_answer(&mut self, answered: Answered) -> Result<Next, Gone> {
        let framing = answered.framing;
        let (framing, ending) = (outward(framing, self.request.is_1_1), self.ending(framing));
        let answer = &self.answer;
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(answer.status, Some(answer.reason()));
            writer.passed(answer, framing);
            if framing == Framing::Chunked && !answer.says(Role::TransferEncoding, "chunked") {
                writer.chunked();
            }
            writer.end(ending);
        });
        self.send(answered.into_body(), framing == Framing::Chunked).await?;
        Ok(self.after(ending))
    }

    /// Takes a request through the pipeline; `fits` are the routes for its path, where those have been looked for, and `parts`
    /// its line, which may be used up.
    async fn consult(
        &mut self,
        framing: Framing,
        snapshot: &Snapshot,
        fits: Option<&Fits<'_>>,
        parts: &mut Parts,
    ) -> Result<Next, Gone> {
        let waits = self.request.is_1_1 && self.request.says(Role::Expect, "100-continue");
        let mut body = body(self.client.begin(framing, waits));
        let is_head = parts.method == Method::HEAD;
        let answer = std::mem::take(&mut self.answer);
        let spelt = Some((&self.request, framing));
        let exchange = Exchange::new(&self.worker, snapshot, self.via.as_deref(), spelt);
        let exchange = exchange.with(answer, fits);
        let response = exchange.run(parts, &mut body).await;
        let (answer, added) = exchange.answer();
        self.answer = answer;
        match added {
            Some(added) => self.give_changed(response, &added, is_head).await,
            None => self.give(response, is_head).await,
        }
    }

    /// The CRM's answer with the headers that were added, and perhaps with another body.
    async fn give_changed(
        &mut self,
        response: http::Response<Body>,
        added: &Added,
        is_head: bool,
    ) -> Result<Next, Gone> {
        let (parts, body) = response.into_parts();
        let head = &self.answer;
        let has_body = !is_head && !matches!(head.status.as_u16(), 204 | 304);
        let length = body.size_hint().exact().filter(|_| has_body);
        let framing = match length {
            _ if !has_body => Framing::NONE,
            _ if head.says(Role::TransferEncoding, "chunked") => Framing::Chunked,
            // Coded in another way, it has no length.
            _ if head.is_coded() => Framing::UntilClose,
            length => length.map_or(Framing::UntilClose, Framing::Exact),
        };
        let (framing, ending) = (outward(framing, self.request.is_1_1), self.ending(framing));
        let without = if parts.extensions.get::<BodyChanged>().is_some() { &STALE[..] } else { &[] };
        let changes = Changes { added, without, length };
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(head.status, Some(head.reason()));
            writer.changed(head, framing, &changes);
            match framing {
                Framing::Exact(length) if has_body && !head.has(Role::ContentLength) => {
                    writer.length(length);
                }
                Framing::Chunked if !head.says(Role::TransferEncoding, "chunked") => writer.chunked(),
                _ => {}
            }
            writer.end(ending);
        });
        let body = if has_body { body } else { Body::empty() };
        self.send(body, framing == Framing::Chunked).await?;
        Ok(self.after(ending))
    }

    /// An answer that is not spelt.
    async fn give(&mut self, response: http::Response<Body>, is_head: bool) -> Result<Next, Gone> {
        let (parts, body) = response.into_parts();
        let has_body = !is_head && !matches!(parts.status.as_u16(), 204 | 304);
        let said =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let framing = match body.size_hint().exact() {
            _ if !has_body => Framing::NONE,
            _ if says_chunked(&parts.headers) => Framing::Chunked,
            // Coded in another way, it has no length.
            _ if parts.headers.contains_key(header::TRANSFER_ENCODING) => Framing::UntilClose,
            known => said.or(known).map_or(Framing::UntilClose, Framing::Exact),
        };
        let (framing, ending) = (outward(framing, self.request.is_1_1), self.ending(framing));
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(parts.status, None);
            writer.map(&parts.headers, None, framing);
            if has_body {
                writer.framing(framing, &parts.headers, true);
            }
            writer.end(ending);
        });
        if has_body {
            self.send(body, framing == Framing::Chunked).await?;
        } else {
            self.send(Body::empty(), false).await?;
        }
        Ok(self.after(ending))
    }

    /// An answer of our own to a request that no upstream sees, or that got none.
    async fn fail(&mut self, error: &UpstreamError, snapshot: &Snapshot) -> Result<Next, Gone> {
        tracing::warn!(%error, "no answer");
        snapshot.metrics(None).count(RequestOutcome::Failed);
        let is_head = self.request.method() == "HEAD";
        self.give(respond::failed(error), is_head).await
    }

    /// Refuses and counts a request that cannot be passed on.
    async fn refused(&mut self, refusal: &Refusal, snapshot: &Snapshot) -> Next {
        snapshot.metrics(None).count(RequestOutcome::Failed);
        self.refuse(refusal.status()).await;
        Next::End
    }

    async fn refuse(&mut self, status: StatusCode) {
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(status, None);
            writer.line(b"Content-Length", b"0");
            writer.end(Ending::Close);
        });
        // Who sends such heads may be gone.
        _ = std::future::poll_fn(|context| self.client.poll_write(context)).await;
    }

    /// Sends an answer's body as it comes.
    async fn send(&self, mut body: Body, chunked: bool) -> Result<(), Gone> {
        let client = &self.client;
        client.answers();
        self.pulse.answers();
        let mut ended = false;
        std::future::poll_fn(|context| {
            loop {
                let mut waits = false;
                let mut broke_off = false;
                while !ended && client.unsent() < AHEAD {
                    let frame = match Pin::new(&mut body).poll_frame(context) {
                        Poll::Ready(frame) => {
                            self.pulse.moved();
                            frame
                        }
                        Poll::Pending => {
                            waits = true;
                            break;
                        }
                    };
                    let frame = match frame.transpose() {
                        Ok(frame) => frame,
                        Err(error) => {
                            tracing::debug!(%error, "an answer broke off");
                            broke_off = true;
                            break;
                        }
                    };
                    let trailers = match frame.map(http_body::Frame::into_data) {
                        Some(Ok(data)) => {
                            client.write(|out| Writer(out).data(&data, chunked));
                            continue;
                        }
                        Some(Err(frame)) => frame.into_trailers().ok(),
                        None => None,
                    };
                    ended = true;
                    if chunked {
                        client.write(|out| Writer(out).last_chunk(trailers.as_ref()));
                    }
                }
                // What came before an answer broke off is given on as far as it goes at once.
                let written = client.poll_write(context);
                if broke_off {
                    return Poll::Ready(Err(Gone));
                }
                if written.is_pending() {
                    body.poll_upload(context);
                }
                client.recycle();
                std::task::ready!(written).map_err(|_| Gone)?;
                match waits {
                    _ if ended => return Poll::Ready(Ok(())),
                    true => return Poll::Pending,
                    false => {}
                }
            }
        })
        .await
    }

    /// What an answer that is framed so says of the connection.
    fn ending(&self, framing: Framing) -> Ending {
        let head = &self.request;
        // A request that said both is answered, but nothing behind it is believed.
        let is_framed_twice = head.has(Role::TransferEncoding) && head.has(Role::ContentLength);
        // Nor is a request waited for behind one that the answer did not wait for.
        if self.connections.is_draining() || is_framed_twice || !self.client.is_body_done() {
            return Ending::Close;
        }
        match head.is_1_1 {
            true if head.says(Role::Connection, "close") => Ending::Close,
            true => Ending::Open,
            false if matches!(framing, Framing::Exact(_)) && head.says(Role::Connection, "keep-alive") => {
                Ending::KeepAlive
            }
            false => Ending::Close,
        }
    }

    fn after(&self, ending: Ending) -> Next {
        match ending {
            Ending::Open | Ending::KeepAlive if self.client.is_body_done() => Next::Request,
            _ => Next::End,
        }
    }

    /// The protocol that a request asks for, if it does. One with a body, or to no path, is a request like any other: a
    /// handshake has neither, and nothing that carries a lead gets past by asking. h2c is not passed on: behind it the client
    /// would speak HTTP/2 with the CRM, past everything that recognises leads.
    fn wish(&self, framing: Framing) -> Option<Vec<u8>> {
        let head = &self.request;
        let protocol = head.values(Role::Upgrade).next()?;
        let is_handshake = framing == Framing::NONE && head.origin_form().is_some();
        let is_h2 = |word: &[u8]| word.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"));
        let is_h2c = head.words(Role::Upgrade).any(is_h2);
        let asks = head.is_1_1 && is_handshake && !is_h2c && head.says(Role::Connection, "upgrade");
        asks.then(|| protocol.to_vec())
    }

    /// Asks the CRM to leave HTTP. Where it does not agree, its answer is one like any other.
    async fn upgrade(&mut self, protocol: &[u8], snapshot: &Snapshot) -> Result<Next, Gone> {
        let mut body = body(self.client.begin(Framing::NONE, false));
        let Self { client, request, answer, worker, via, .. } = self;
        let write = |out: &mut Vec<u8>| {
            let mut writer = Writer(out);
            writer.request_line(request.method(), request.origin_form().unwrap_or(b"/"));
            writer.passed(request, Framing::NONE);
            host(&mut writer, request, via, snapshot);
            writer.line(b"Upgrade", protocol);
            writer.end(Ending::Upgrade);
        };
        let (method, client) = (request.method(), Some(&*client));
        let (framing, body) = (Framing::NONE, &mut body);
        let call = Call { write: &write, body, framing, method, client, upgrades: true };
        let started = Instant::now();
        let called = worker.pool.call(call, answer, &to(via, snapshot)).await;
        worker.stages.borrow_mut().record(Stage::Upstream, started.elapsed());
        let answered = match called {
            Ok(answered) => answered,
            Err(error) => return self.fail(&error, snapshot).await,
        };
        snapshot.metrics(None).count(RequestOutcome::Passed);
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            return self.pass_answer(answered).await;
        }
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(answer.status, Some(answer.reason()));
            writer.passed(answer, Framing::NONE);
            answer.values(Role::Upgrade).for_each(|protocol| writer.line(b"Upgrade", protocol));
            writer.end(Ending::Upgrade);
        });
        let (wire, lease) = answered.into_wire();
        Ok(Next::Tunnel(wire, Some(lease)))
    }

    /// Answers `CONNECT`.
    async fn connect(&mut self, framing: Framing, snapshot: &Snapshot) -> Result<Next, Gone> {
        _ = self.client.begin(framing, false);
        let (target, is_plain) = (self.request.target_bytes(), framing == Framing::NONE);
        let next = match egress::connect(&self.worker, snapshot, target, is_plain).await {
            Ok(Granted::Read(tls, via)) => Next::StandIn(tls, via),
            Ok(Granted::Tunnel(stream)) => {
                // An error here only costs latency.
                _ = stream.set_nodelay(true);
                Next::Tunnel(Box::new(Wire::new(Io::Plain(stream))), None)
            }
            Err(answer) => return self.give(answer, false).await,
        };
        self.client.write(|out| {
            let mut writer = Writer(out);
            writer.status_line(StatusCode::OK, None);
            writer.end(Ending::Open);
        });
        std::future::poll_fn(|context| self.client.poll_write(context)).await.map_err(|_| Gone)?;
        Ok(next)
    }
}

/// HTTP/1.0 may leave the host out, HTTP/1.1 may not.
fn host(writer: &mut Writer<'_>, request: &Head, via: &Option<Rc<Via>>, snapshot: &Snapshot) {
    if !request.is_1_1 && !request.has(Role::Host) {
        writer.line(b"Host", to(via, snapshot).upstream.authority.as_str().as_bytes());
    }
}

/// Where a request goes.
fn to<'t>(via: &'t Option<Rc<Via>>, snapshot: &'t Snapshot) -> To<'t> {
    via.as_ref().map_or_else(|| To::crm(snapshot), |via| via.to(snapshot))
}

/// The framing of an answer on its way to the client: chunks stand in for an end that only the connection tells, and the
/// other way round for who knows no chunks.
fn outward(framing: Framing, is_1_1: bool) -> Framing {
    match framing {
        Framing::Exact(_) => framing,
        Framing::Chunked | Framing::UntilClose if is_1_1 => Framing::Chunked,
        Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
    }
}

fn body(begun: Begun) -> Body {
    match begun {
        Begun::Empty => Body::empty(),
        Begun::Whole(bytes) => Body::full(bytes),
        Begun::Comes(body) => Body::Client(body),
    }
}

/// Carries bytes both ways, unread, until either side closes, or nothing moves for longer than it may.
async fn tunnel(client: Client, mut upstream: Box<Wire>, pulse: Arc<Pulse>) {
    let tunnelled = async {
        std::future::poll_fn(|context| client.poll_write(context)).await?;
        let Some(mut client) = client.into_wire() else { return Ok(()) };
        upstream.io.write_all(&client.input).await?;
        client.io.write_all(&upstream.input).await?;
        pulse.leaves();
        let mut client = TokioIo::new(Listened::new(client.io, First::default(), pulse));
        copy_bidirectional(&mut client, &mut upstream.io).await.map(drop)
    };
    if let Err(error) = tunnelled.await {
        tracing::debug!(%error, "tunnel ended");
    }
}
