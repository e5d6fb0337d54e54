//! HTTP/1 on the wire, both sides of it: heads as they stood, bodies as they come.
//!
//! Written for a proxy: what nobody looks at is passed on as it came, with its names' case and its headers' order, and
//! never becomes a map. What is passed on is written anew line by line, so that whatever was read is the only way to read
//! it; what could be read in two ways is refused.

mod spare; // memory that connections borrow
mod io; // a connection, plain or TLS, and what was read ahead
mod head; // where in a head everything stands
mod framing; // where a body ends
mod write; // heads and frames that go out
mod incoming; // a client's connection and the body on it
mod outgoing; // a request on its way to the CRM, and its answer
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::head::Parsed;
pub(super) use self::{
    framing::{Broken, Framing, LONGEST, Refusal},
    head::{Head, HeadLimits, Role, Target},
    incoming::{Begun, Client, ClientBody, NoRequest},
    io::{Io, Wire},
    outgoing::Outgoing,
    write::{Changes, Ending, Writer, says_chunked},
};
