//! Listeners: one socket per worker on the same port, bound before anything runs.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// After how long without a byte the kernel asks whether a peer is still there, and how long it waits for each of a few
/// answers. Connections have that from their listener, so that it costs them nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(15);

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// Bound listeners on one address.
#[derive(Debug)]
pub struct Listeners {
    /// The address, with the port the system chose where 0 was asked for.
    pub address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Binds `workers` sockets that share `address`; the kernel spreads connections over them.
    pub fn bind(address: SocketAddr, workers: usize) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        // Shared ports let a second process join silently; a plain bind first finds out whether somebody is there.
        drop(bound(address).map_err(failed)?);
        let first = shared(address).map_err(failed)?;
        let address = first.local_addr().map_err(failed)?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(shared(address).map_err(failed)?);
        }
        Ok(Self { address, sockets })
    }
}

/// A socket that has the address for itself and does not listen: whom it accepted would be reset when it goes.
fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn shared(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_ANSWER))?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_asks_after_peers_that_have_vanished() {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let _client = std::net::TcpStream::connect(listeners.address).unwrap();
        let listener = &listeners.sockets[0];
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
    }

    #[test]
    fn the_look_at_a_port_accepts_nobody() {
        let look = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = look.local_addr().unwrap().as_socket().unwrap();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn workers_share_a_port_and_strangers_do_not() {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(listeners.sockets.len(), 3);
        let ports = listeners.sockets.iter().map(|socket| socket.local_addr().unwrap().port());
        assert!(ports.into_iter().all(|port| port == listeners.address.port()));
        let error = Listeners::bind(listeners.address, 1).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}", listeners.address)), "{error}");
    }
}
