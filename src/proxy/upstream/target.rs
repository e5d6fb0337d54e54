//! Where requests go.

use std::{sync::Arc, time::Duration};

use http::{Request, Version, header, uri::Authority};

use crate::{
    config::Upstream,
    proxy::{body::Body, snapshot::Snapshot, tls::Originate},
};

/// Where a request is sent, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct To<'t> {
    pub(in crate::proxy) upstream: &'t Upstream,
    pub(in crate::proxy) tls: Option<&'t Arc<Originate>>,
    /// Longest wait for a connection.
    pub(in crate::proxy) connect: Duration,
    /// Longest wait for the answer's head.
    pub(in crate::proxy) answer: Duration,
    /// Connections at most, of all workers.
    pub(in crate::proxy) most: usize,
    /// How long what the name resolved to is taken for granted.
    pub(in crate::proxy) resolve: Duration,
}

impl<'t> To<'t> {
    /// The CRM.
    pub(in crate::proxy) fn crm(snapshot: &'t Snapshot) -> Self {
        let (upstream, limits) = (&snapshot.config.upstream, &snapshot.config.limits);
        Self {
            upstream,
            tls: snapshot.tls.upstream.as_ref(),
            connect: limits.connect,
            answer: limits.answer,
            most: limits.upstream,
            resolve: limits.resolve,
        }
    }

    /// What a request has to be spoken in. Where TLS lets both sides choose, what the client speaks is offered: a request
    /// in HTTP/1.1 goes on in it, with its headers as they are written.
    pub(super) fn wants(&self, request: &Request<Body>) -> Wants {
        match self.upstream {
            // Only a wish to leave HTTP still has this header, and HTTP/2 knows no such wish.
            Upstream { h2c: true, .. } if request.headers().contains_key(header::UPGRADE) => Wants::Http1,
            Upstream { h2c: true, .. } => Wants::Http2,
            Upstream { tls: Some(_), .. } if request.version() == Version::HTTP_2 => Wants::Either,
            _ => Wants::Http1,
        }
    }
}

/// What a request has to be spoken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Http1,
    Http2,
    /// HTTP/2 where the other side speaks it.
    Either,
}

/// What is at the other end of a line.
#[derive(Debug)]
pub(super) struct Target {
    authority: Authority,
    port: u16,
    tls: Option<Arc<Originate>>,
    h2c: bool,
}

impl Target {
    pub(super) fn new(to: &To<'_>) -> Self {
        let Upstream { authority, port, h2c, .. } = to.upstream;
        Self { authority: authority.clone(), port: *port, tls: to.tls.cloned(), h2c: *h2c }
    }

    pub(super) fn is(&self, to: &To<'_>) -> bool {
        let same_tls = self.tls.as_ref().map(Arc::as_ptr) == to.tls.map(Arc::as_ptr);
        let Upstream { authority, port, h2c, .. } = to.upstream;
        // Nearly always they are one and the same text, and to compare names takes case by case.
        let same_authority =
            || std::ptr::eq(self.authority.as_str(), authority.as_str()) || self.authority == *authority;
        same_tls && self.port == *port && self.h2c == *h2c && same_authority()
    }
}
