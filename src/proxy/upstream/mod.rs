//! Upstream: connections to the CRM and whatever else is spoken to, from the pool to the answer's head.
//!
//! Every worker has a pool of its own, and in it a line to each target: connections that wait for a request, places for
//! new ones, the addresses its name stands for and how they are doing. A request that finds a connection costs nothing
//! of that. What cannot be sent is told as an [`UpstreamError`]; what may have been processed is never sent twice.

mod target; // where requests go
mod pool; // a line to each target
mod line; // its connections and its places
mod address; // what its name stands for, and in which order
mod health; // when an address is left out
mod resolve; // names to addresses
mod connect; // new connections
mod http2; // those that carry many requests
mod form; // one request in HTTP/1.1 and in HTTP/2
mod send; // a request to its answer's head, and what may be sent again
mod streams; // the same over HTTP/2
mod lease; // a connection in use
mod error; // why there is no answer
#[cfg(test)]
mod tests;

pub(super) use self::{
    error::UpstreamError,
    http2::Stream,
    lease::Lease,
    pool::Pool,
    send::{Answered, Call, Spelt},
    target::To,
};
