//! Names to addresses.

use std::{io, net::SocketAddr};

use crate::proxy::{alone::Dial, h1::Io};

/// Addresses of one name that are used.
const MOST: usize = 64;

/// Who knows.
#[derive(Debug)]
pub(super) enum Resolver {
    /// The system, on a thread of its own.
    System,
    /// Nobody is asked: connections are in memory.
    Dial(Dial),
    /// A test, for every name.
    #[cfg(test)]
    Fixed(std::rc::Rc<std::cell::RefCell<Vec<SocketAddr>>>),
}

impl Resolver {
    /// A connection that nobody has to be asked for.
    pub(super) fn dialled(&self) -> Option<Io> {
        match self {
            Resolver::Dial(dial) => Some(Io::Other(Box::new(dial.stream()))),
            _ => None,
        }
    }

    /// The addresses of a name.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Resolver::System => {
                tokio::net::lookup_host((host, port)).await.map(|found| found.take(MOST).collect())
            }
            Resolver::Dial(_) => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
            #[cfg(test)]
            Resolver::Fixed(addresses) => Ok(addresses.borrow().clone()),
        }
    }
}
