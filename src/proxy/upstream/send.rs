//! A request on its way to its answer's head, and what may be sent again.
//!
//! Three things may: what was never written; what the other side says it has not processed, as HTTP/2 lets it (RFC 9113,
//! section 8.7); and a request without a body that changes nothing, once, where a connection that was idle turns out to
//! be broken. Nothing else is, as it may have been processed.

use std::{cell::Cell, pin::pin, rc::Rc};

use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;

use super::{
    error::UpstreamError,
    form,
    lease::{Held, Lease},
    line::{Line, Link},
    pool::Pool,
    target::{To, Wants},
};
use crate::{
    proxy::{
        body::Body,
        h1::{Broken, Client, Ending, Framing, Head, Outgoing, Refusal, Role, Wire, Writer},
        session::HEAD,
    },
    telemetry::Retry,
};

/// How often a request is sent again.
pub(super) const MOST: u32 = 3;

/// A request in HTTP/1.
pub(in crate::proxy) struct Call<'c> {
    /// Writes its head.
    pub(in crate::proxy) write: &'c dyn Fn(&mut Vec<u8>),
    /// It may be used up.
    pub(in crate::proxy) body: &'c mut Body,
    pub(in crate::proxy) framing: Framing,
    pub(in crate::proxy) method: &'c str,
    /// Who is told what the CRM says before its answer.
    pub(in crate::proxy) client: Option<&'c Client>,
    /// It asks to leave HTTP, so that the CRM may agree.
    pub(in crate::proxy) upgrades: bool,
}

/// A request of a client in HTTP/1, on its way in HTTP/1.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Spelt<'s> {
    /// What it says now; its headers only where they differ.
    pub(in crate::proxy) parts: &'s Parts,
    /// How it stood.
    pub(in crate::proxy) head: &'s Head,
    /// How the body is framed, where the two do not differ: then it goes on as it stood.
    pub(in crate::proxy) framing: Option<Framing>,
}

impl Spelt<'_> {
    fn write(self, out: &mut Vec<u8>, framing: Framing, to: &To<'_>) {
        let Self { parts, head, framing: as_it_stood } = self;
        let mut writer = Writer(out);
        writer.request_line(parts.method.as_str(), target(parts));
        match as_it_stood {
            Some(framing) => writer.passed(head, framing),
            None => {
                writer.map(&parts.headers, Some(head), framing);
                writer.framing(framing, &parts.headers, false);
            }
        }
        // HTTP/1.0 may leave it out, HTTP/1.1 may not.
        if !head.is_1_1 && !head.has(Role::Host) {
            writer.line(b"Host", to.upstream.authority.as_str().as_bytes());
        }
        writer.end(Ending::Open);
    }
}

/// An answer in HTTP/1 whose head has come.
#[derive(Debug)]
pub(in crate::proxy) struct Answered {
    pub(in crate::proxy) framing: Framing,
    outgoing: Outgoing,
    lease: Lease,
}

impl Answered {
    /// The answer's body. The connection is given back at its end, so at once where that has come.
    pub(in crate::proxy) fn into_body(self) -> Body {
        let Self { mut outgoing, lease, .. } = self;
        let bytes = outgoing.at_hand();
        if outgoing.is_done() {
            lease.release(outgoing);
            return bytes.map_or_else(Body::empty, Body::full);
        }
        Body::Upstream(Box::new(outgoing), lease)
    }

    /// The connection, once both sides have left HTTP, and its place.
    pub(in crate::proxy) fn into_wire(self) -> (Box<Wire>, Lease) {
        (self.outgoing.into_wire(), self.lease)
    }
}

impl Pool {
    /// Sends a request of a client in HTTP/1 to whom speaks HTTP/1, and waits for the answer's head, which is left in
    /// `answer`.
    pub(in crate::proxy) async fn send_spelt(
        &self,
        spelt: Spelt<'_>,
        body: &mut Body,
        answer: &mut Head,
        to: &To<'_>,
    ) -> Result<Answered, UpstreamError> {
        let framing = spelt.framing.unwrap_or_else(|| framing(&spelt.parts.headers, body));
        let write = |out: &mut Vec<u8>| spelt.write(out, framing, to);
        let method = spelt.parts.method.as_str();
        let call = Call { write: &write, body, framing, method, client: None, upgrades: false };
        self.call(call, answer, to).await
    }

    /// Sends a request whose head is a map, spelt as it was in `spelling`, and waits for the answer's head. The request has a
    /// `Host`, and its version is what the client spoke.
    pub(in crate::proxy) async fn send(
        &self,
        mut request: Request<Body>,
        spelling: Option<&Head>,
        to: To<'_>,
    ) -> Result<Response<Body>, UpstreamError> {
        let (line, wants) = (self.line(&to), to.wants(&request));
        let (wire, link, since) = match line.connection(wants, &to).await? {
            Held::Http1 { wire, link, since } => (wire, link, since),
            Held::Http2(stream) => {
                return Box::pin(self.over_http2(stream, &line, request, &to)).await;
            }
        };
        form::as_http1(&mut request);
        let (parts, mut body) = request.into_parts();
        let framing = framing(&parts.headers, &body);
        let write = |out: &mut Vec<u8>| {
            if let Some(head) = spelling {
                return Spelt { parts: &parts, head, framing: None }.write(out, framing, &to);
            }
            let mut writer = Writer(out);
            writer.request_line(parts.method.as_str(), target(&parts));
            writer.lower(&parts.headers, framing);
            writer.framing(framing, &parts.headers, false);
            writer.end(Ending::Open);
        };
        let call = Call {
            write: &write,
            body: &mut body,
            framing,
            method: parts.method.as_str(),
            client: None,
            upgrades: false,
        };
        let mut head = Head::default();
        let answered = line.over_http1((wire, link, since), call, &mut head, &to).await?;
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.map().map_err(Broken::Head)?;
        Ok(response.map(|()| answered.into_body()))
    }

    /// Sends a request in HTTP/1 and waits for the answer's head, which is left in `answer`.
    pub(in crate::proxy) async fn call(
        &self,
        call: Call<'_>,
        answer: &mut Head,
        to: &To<'_>,
    ) -> Result<Answered, UpstreamError> {
        let line = self.line(to);
        match line.connection(Wants::Http1, to).await? {
            Held::Http1 { wire, link, since } => line.over_http1((wire, link, since), call, answer, to).await,
            Held::Http2(_) => Err(Broken::Head(Refusal::Version).into()),
        }
    }
}

impl Line {
    /// Sends a request on a connection in HTTP/1, and again on others where that does no harm.
    async fn over_http1(
        self: &Rc<Self>,
        (mut wire, mut link, mut since): (Box<Wire>, Rc<Link>, Option<u64>),
        call: Call<'_>,
        answer: &mut Head,
        to: &To<'_>,
    ) -> Result<Answered, UpstreamError> {
        let Call { write, body, framing, method, client, upgrades } = call;
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS") && body.is_end_stream();
        wire.begin();
        write(wire.output());
        let mut outgoing = Outgoing::new(wire, body, framing, !is_safe);
        // A slow upload is no slow answer: the upstream's time starts when it has everything.
        let sent = Cell::new(false);
        let mut again = 0;
        loop {
            let head = {
                let head = pin!(outgoing.head(answer, HEAD, &sent, client));
                self.common.expiry.within(to.answer, || sent.get(), head).await
            };
            let Ok(head) = head else {
                link.failed();
                return Err(UpstreamError::AnswerTimeout);
            };
            let broken = match head {
                Ok(()) if answer.status == StatusCode::SWITCHING_PROTOCOLS && upgrades => break,
                Ok(()) if answer.status == StatusCode::SWITCHING_PROTOCOLS => Broken::Head(Refusal::Head),
                Ok(()) if answer.status.is_informational() => {
                    client.into_iter().for_each(|client| inform(client, answer));
                    continue;
                }
                Ok(()) => break,
                Err(Broken::Request) => return Err(UpstreamError::BrokenRequest),
                Err(broken) => broken,
            };
            let why = match outgoing.was_sent() {
                _ if since.is_none() || again == MOST => None,
                false => Some(Retry::Unsent),
                true => (is_safe && again == 0).then_some(Retry::Broken),
            };
            let Some(why) = why.filter(|_| outgoing.may_go_again()) else {
                link.failed();
                return Err(broken.into());
            };
            self.common.metrics.retried(why);
            let Held::Http1 { wire, link: next, since: idle } = self.connection(Wants::Http1, to).await?
            else {
                return Err(broken.into());
            };
            outgoing = outgoing.again(wire);
            sent.set(false);
            (link, since, again) = (next, idle, again + 1);
        }
        link.answered(answer.status);
        let framing = Framing::of_answer(answer, method == "HEAD").map_err(Broken::Head)?;
        let goes_on = match answer.is_1_1 {
            true => !answer.says(Role::Connection, "close"),
            false => answer.says(Role::Connection, "keep-alive"),
        };
        outgoing.answered(framing, goes_on);
        Ok(Answered { framing, outgoing, lease: Lease::new(link) })
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

fn target(parts: &Parts) -> &[u8] {
    parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes()
}

/// How a request's body is sent: as its head says, else as much as there is.
fn framing(headers: &HeaderMap, body: &Body) -> Framing {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    said.or(body.size_hint().exact()).map_or(Framing::Chunked, Framing::Exact)
}
