//! Chaos: a CRM that breaks in every way, clients that compare every byte, and somebody who changes files meanwhile.
//!
//! What request number n is, what the CRM answers and what it does wrong follow from a seed and n alone, so both ends know
//! what should come through without telling each other.

mod script; // number -> request, answer, fault
mod http; // messages from peers who may break off
mod crm; // takes requests, compares, breaks
mod client; // sends them, and compares the answers
mod tally; // what went wrong
mod disturb; // files change, the admin listener is asked

pub use self::{
    client::run,
    crm::Crm,
    disturb::{Disturber, config},
    script::{Fault, Script},
    tally::Tally,
};
