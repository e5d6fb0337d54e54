//! Recognise: bytes become leads.
//!
//! A route takes a request by method, path and predicates; its selector finds the lead objects in the body, and the
//! feature map reads their features. Once the CRM has answered, the same route says whether the write was accepted and
//! under which id. Pure: no I/O, no clock.

mod scan; // bytes -> tape, one strict pass
mod shape; // a body like an earlier one
mod doc; // walking in a scanned body
mod keys; // a small set of names
mod paths; // a path -> the templates it fits
mod routes; // method and path -> candidates
mod select; // RFC 9535 selectors -> lead objects
mod coerce; // the forms a value arrives in
mod time; // the forms a time arrives in
mod headers; // headers, in a map or in a head
mod place; // one value of a head or a body
mod predicate; // conditions on head and body
mod fields; // the feature map, in one pass over an object
mod content; // a body of any form -> JSON
mod request; // all of it: a request's leads
mod answer; // accepted? refused? under which id?
mod rules; // what became of leads, and which deals they became
mod redact; // what may be said of a request

pub use self::{
    answer::{Answer, Pairs, Unpaired},
    coerce::read,
    content::{Mode, View, decode, decodes, is_readable, offer},
    doc::{At, Doc, Duplicate},
    headers::{Headers, ascii, content_type},
    redact::{Masked, Redact},
    request::{Found, Recogniser, Scratch, Skipped},
    routes::{Candidates, Fits, RequestHead, Route},
    rules::{Notes, Record},
    scan::{Kind, Malformed, Node, Tape},
    time::millis as time_ms,
};

#[cfg(test)]
mod tests;
