//! TLS on both sides: towards the clients, and towards the CRM.
//!
//! What is spoken with is made of files, and made anew when these change. Connections keep what they started with. Each
//! side has its own digest, so that a new certificate for the clients costs no connection to the CRM; a changed side
//! starts without the sessions of the one before, which were agreed on under other certificates and CAs.

mod error; // what is wrong with a file
mod files; // the files, as they are now
mod name; // the certificate for the name a client asks for
mod own_ca; // who signs for hosts that are stood in for
mod stand_in; // certificates for them
mod sides; // files to what is spoken with
mod handshake; // what became of one

pub use self::{
    error::TlsError,
    files::{TlsDigests, TlsFiles},
    own_ca::{is_missing, make_missing},
    sides::TlsSides,
};
pub(super) use self::{
    handshake::{agreed_on_http2, failure, success},
    sides::Originate,
};
