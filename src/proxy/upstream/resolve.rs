//! Names to addresses.

use std::{io, net::SocketAddr};

/// Addresses of one name that are used.
const MOST: usize = 64;

/// Who knows.
#[derive(Debug)]
pub(super) enum Resolver {
    /// The system, on a thread of its own.
    System,
    /// A test, for every name.
    #[cfg(test)]
    Fixed(std::rc::Rc<std::cell::RefCell<Vec<SocketAddr>>>),
}

impl Resolver {
    /// The addresses of a name.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Resolver::System => {
                tokio::net::lookup_host((host, port)).await.map(|found| found.take(MOST).collect())
            }
            #[cfg(test)]
            Resolver::Fixed(addresses) => Ok(addresses.borrow().clone()),
        }
    }
}
