//! Egress: clients that insist on https to their CRM, and take Leadwire for the proxy on the way.
//!
//! They say `CONNECT host:port`. For a host of `egress.hosts` Leadwire then stands in: it shows a certificate for that
//! name, reads the requests inside like any others, and sends them on to the host itself, whose own certificate is
//! checked. For another host bytes go both ways unread, or the client is refused. What fails before the answer to
//! `CONNECT` is told with a status; what fails after it ends the connection, as it would without a proxy.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use http::{Response, uri::Authority};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    body::Body,
    respond,
    snapshot::Snapshot,
    tls::Originate,
    upstream::{To, UpstreamError},
    worker::Worker,
};
use crate::{
    config::{Others, Upstream},
    telemetry::{Connect, RequestOutcome},
};

/// The host for which Leadwire stands in on a connection, in the CRM's place.
#[derive(Debug)]
pub(super) struct Via {
    upstream: Upstream,
    originate: Arc<Originate>,
}

impl Via {
    /// Where requests on the connection go.
    pub(super) fn to<'t>(&'t self, snapshot: &'t Snapshot) -> To<'t> {
        To { upstream: &self.upstream, tls: Some(&self.originate), ..To::crm(snapshot) }
    }
}

/// Who is asked for.
struct Target {
    host: String,
    port: u16,
}

/// What comes of a wish to be connected.
pub(super) enum Granted {
    /// Leadwire stands in for the host.
    Read(TlsAcceptor, Rc<Via>),
    /// The host, whose bytes nobody reads.
    Tunnel(TcpStream),
}

/// Why nothing comes of it.
enum Denied {
    /// Not a host and a port, or more than that.
    Odd,
    Refused,
    Failed(UpstreamError),
}

/// Grants a wish to be connected, or says why not. `plain` where the request is a head and nothing more.
pub(super) async fn connect(
    worker: &Worker,
    snapshot: &Snapshot,
    target: &[u8],
    is_plain: bool,
) -> Result<Granted, Response<Body>> {
    let granted = match Target::of(target).filter(|_| is_plain) {
        Some(target) => grant(worker, snapshot, &target).await,
        None => Err(Denied::Odd),
    };
    let end = match &granted {
        Ok(Granted::Read(..)) => Connect::Read,
        Ok(Granted::Tunnel(_)) => Connect::Tunnel,
        Err(Denied::Odd | Denied::Refused) => Connect::Refused,
        Err(Denied::Failed(_)) => Connect::Failed,
    };
    snapshot.connects.count(end);
    let outcome = if granted.is_ok() { RequestOutcome::Passed } else { RequestOutcome::Failed };
    snapshot.metrics(None).count(outcome);
    granted.map_err(|denied| match denied {
        Denied::Odd => respond::not_forwardable(),
        Denied::Refused => respond::not_connected(),
        Denied::Failed(error) => {
            tracing::warn!(%error, "no connection for a client");
            respond::failed(&error)
        }
    })
}

impl Target {
    /// A host and its port.
    fn of(target: &[u8]) -> Option<Self> {
        let authority = Authority::try_from(target).ok().filter(|known| !known.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().filter(|port| *port > 0 && !host.is_empty())?;
        Some(Self { host, port })
    }

    fn authority(&self) -> Option<Authority> {
        let Self { host, port } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{host}:{port}").parse().ok()
    }
}

async fn grant(worker: &Worker, snapshot: &Snapshot, target: &Target) -> Result<Granted, Denied> {
    let Some(egress) = &snapshot.config.egress else { return Err(Denied::Refused) };
    if egress.reads(&target.host, target.port) {
        let read = stand_in(snapshot, target);
        return read
            .ok_or_else(|| Denied::Failed(UpstreamError::Tls(std::io::Error::other("no certificate"))));
    }
    match egress.others {
        Others::Refuse => Err(Denied::Refused),
        Others::Tunnel => reach(worker, snapshot, target).await,
    }
}

fn stand_in(snapshot: &Snapshot, target: &Target) -> Option<Granted> {
    let (acceptor, originate) = match snapshot.tls.egress.as_ref()?.host(&target.host) {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(%error, "no certificate for a host");
            return None;
        }
    };
    let upstream = Upstream { authority: target.authority()?, port: target.port, tls: None, h2c: false };
    Some(Granted::Read(acceptor, Rc::new(Via { upstream, originate })))
}

/// Connects to a host whose bytes are not read.
async fn reach(worker: &Worker, snapshot: &Snapshot, target: &Target) -> Result<Granted, Denied> {
    let Target { host, port } = target;
    // Who is on this machine reaches its ports without us.
    let is_local = snapshot.config.listen.ip().to_canonical().is_loopback();
    let connected = worker.expiry.within(snapshot.config.limits.connect, || true, async {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
        let allowed: Vec<_> =
            found.iter().filter(|address| is_local || is_elsewhere(address.ip())).copied().collect();
        match allowed.is_empty() && !found.is_empty() {
            true => Ok(None),
            false => TcpStream::connect(allowed.as_slice()).await.map(Some),
        }
    });
    match connected.await {
        Err(_) => Err(Denied::Failed(UpstreamError::ConnectTimeout)),
        Ok(Err(error)) => Err(Denied::Failed(error.into())),
        Ok(Ok(None)) => Err(Denied::Refused),
        Ok(Ok(Some(stream))) => Ok(Granted::Tunnel(stream)),
    }
}

/// Whether an address is another machine's. Those of this one, and the link-local ones under which clouds tell secrets,
/// are not for clients that come over the network.
fn is_elsewhere(ip: IpAddr) -> bool {
    let is_link_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ip = ip.to_canonical();
    !(ip.is_loopback() || ip.is_unspecified() || is_link_local(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_from_the_network_do_not_reach_this_machine() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_elsewhere(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["10.0.0.1", "93.184.216.34", "2606:4700::1111", "::ffff:10.0.0.1"] {
            assert!(is_elsewhere(ip.parse().unwrap()), "{ip}");
        }
    }
}
