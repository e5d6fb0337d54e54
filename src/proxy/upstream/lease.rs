//! A connection in use.

use std::rc::Rc;

use http::{Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};

use super::{error::UpstreamError, form, http2::Stream, line::Link, target::To};
use crate::proxy::body::Body;

/// What one request holds of a connection.
#[derive(Debug)]
pub(super) enum Held {
    /// All of it; and since when it was idle, unless it is new.
    Http1 { sender: http1::SendRequest<Body>, link: Rc<Link>, since: Option<u64> },
    /// A stream among others.
    Http2(Stream),
}

impl Held {
    /// Brings a request into the form that is spoken.
    pub(super) fn fit(&self, request: &mut Request<Body>, to: &To<'_>) -> Result<(), UpstreamError> {
        match self {
            Held::Http1 { .. } => {
                form::as_http1(request);
                Ok(())
            }
            Held::Http2(_) => form::as_http2(request, to),
        }
    }

    /// Sends it.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Held::Http1 { sender, .. } => sender.try_send_request(request).await,
            Held::Http2(stream) => stream.send(request).await,
        }
    }

    /// For how many ticks the connection was idle; `None` where it has answered nothing yet.
    pub(super) fn idle_for(&self) -> Option<u64> {
        match self {
            Held::Http1 { link, since, .. } => since.map(|since| link.now().saturating_sub(since)),
            Held::Http2(stream) => stream.idle_for(),
        }
    }

    /// What an answer says of the address: behind a gateway that has nobody to ask, others may do better. A CRM's own
    /// 500 is often an answer to what was asked.
    pub(super) fn answered(&self, status: StatusCode) {
        if let Held::Http2(stream) = self {
            stream.answered();
        }
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.link().failed();
            }
            _ => self.link().address.succeeded(),
        }
    }

    /// There was no answer in time, or the connection broke. Nobody else is to use it.
    pub(super) fn failed(&self) {
        self.retire();
        self.link().failed();
    }

    /// The connection takes no further requests.
    pub(super) fn retire(&self) {
        if let Held::Http2(stream) = self {
            stream.retire();
        }
    }

    fn link(&self) -> &Link {
        match self {
            Held::Http1 { link, .. } => link,
            Held::Http2(stream) => stream.link(),
        }
    }
}

/// A connection in use. Given back when the answer's body has ended; where it is dropped before, one in HTTP/1.1 is
/// closed, and a stream of HTTP/2 is reset.
#[derive(Debug)]
pub(in crate::proxy) struct Lease(Option<Held>);

impl Lease {
    pub(super) fn new(held: Held) -> Self {
        Self(Some(held))
    }

    /// Gives the connection back.
    pub(in crate::proxy) fn release(&mut self) {
        if let Some(Held::Http1 { sender, link, .. }) = self.0.take()
            && let Some(line) = link.line()
        {
            line.give_back(sender, link);
        }
    }
}
