//! Connections that become something else, mostly WebSockets: once the CRM has agreed, bytes go both ways unread.
//!
//! h2c is not passed on: behind it the client would speak HTTP/2 with the CRM, past everything that recognises leads.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, task::spawn_local};

use super::{
    body::Body,
    connection::Open,
    hop,
    pipeline::{Exchange, origin_form},
    upstream::{Lease, UpstreamError},
    worker::Worker,
};

/// A client's wish to speak another protocol.
pub(super) struct Wish {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Wish {
    /// What a request asks for, if it does. One with a body, or to no path, is a request like any other: a handshake has
    /// neither, and nothing that carries a lead gets past by asking.
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let protocol = request.headers().get(header::UPGRADE)?.clone();
        let names_it = || names_upgrade(request.headers());
        let is_h2c = || protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"h2c");
        let is_handshake = request.body().is_end_stream() && !request.uri().path().is_empty();
        if request.version() != Version::HTTP_11 || !is_handshake || is_h2c() || !names_it() {
            return None;
        }
        let client = hyper::upgrade::on(request);
        Some(Self { protocol, client })
    }

    /// Asks the CRM. Where it agrees, a tunnel between the two connections stays open until either side closes it; where it
    /// does not, its answer is one like any other.
    pub(super) async fn ask(
        self,
        exchange: &Exchange<'_>,
        worker: Rc<Worker>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        hop::strip(request.headers_mut());
        if request.uri().authority().is_some() {
            *request.uri_mut() = origin_form(request.uri());
        }
        announce(request.headers_mut(), self.protocol);
        let (mut response, lease) = exchange.send(request).await?;
        *response.version_mut() = Version::HTTP_11;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            hop::strip(response.headers_mut());
            return Ok(response.map(|incoming| Body::leased(incoming, lease)));
        }
        let protocol = response.headers_mut().remove(header::UPGRADE);
        let upstream = hyper::upgrade::on(&mut response);
        let tunnel = Tunnel {
            _open: Open::new(&worker.connections, worker.expiry.now()).keep(),
            _lease: lease,
            client: self.client,
            upstream,
        };
        spawn_local(tunnel.run());
        hop::strip(response.headers_mut());
        protocol.into_iter().for_each(|protocol| announce(response.headers_mut(), protocol));
        Ok(response.map(|_| Body::empty()))
    }
}

/// Two connections that have left HTTP. It counts as an open connection, so a drain waits for it as long as it may.
struct Tunnel {
    _open: Open,
    _lease: Lease,
    client: OnUpgrade,
    upstream: OnUpgrade,
}

impl Tunnel {
    async fn run(self) {
        let tunnelled = async {
            let io = |upgraded: Upgraded| TokioIo::new(upgraded);
            let (mut client, mut upstream) = (io(self.client.await?), io(self.upstream.await?));
            Ok::<_, Box<dyn std::error::Error>>(copy_bidirectional(&mut client, &mut upstream).await?)
        };
        if let Err(error) = tunnelled.await {
            tracing::debug!(%error, "tunnel ended");
        }
    }
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::CONNECTION).iter();
    let mut tokens = tokens.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn announce(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}
