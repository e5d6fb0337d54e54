//! A connection in use.

use std::rc::Rc;

use http::StatusCode;

use super::{http2::Stream, line::Link};
use crate::proxy::h1::{Outgoing, Wire};

/// What one request holds of a connection.
pub(super) enum Held {
    /// All of it; and since when it was idle, unless it is new. It is passed from hand to hand, so it lies elsewhere.
    Http1 { wire: Box<Wire>, link: Rc<Link>, since: Option<u64> },
    /// A stream among others.
    Http2(Stream),
}

impl Link {
    /// What an answer says of the address: behind a gateway that has nobody to ask, others may do better. A CRM's own
    /// 500 is often an answer to what was asked.
    pub(super) fn answered(&self, status: StatusCode) {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.failed();
            }
            _ => self.address.succeeded(),
        }
    }
}

/// A connection in HTTP/1 whose answer is being read. Where this is dropped before its end, the connection is closed.
#[derive(Debug)]
pub(in crate::proxy) struct Lease(Rc<Link>);

impl Lease {
    pub(super) fn new(link: Rc<Link>) -> Self {
        Self(link)
    }

    /// Gives the connection back, where another request may follow on it.
    pub(in crate::proxy) fn release(self, outgoing: Outgoing) {
        if let Some(line) = self.0.line()
            && let Some(wire) = outgoing.reusable()
        {
            line.give_back(wire, self.0);
        }
    }
}
