//! Proxy: the network around the pure rooms.
//!
//! Every worker is one thread with its own runtime, listener (SO_REUSEPORT), upstream connections, scratch memory and
//! histograms; workers share nothing but the current [`Snapshot`] and, without a lock, what is known of leads. A request
//! that no route could take is relayed with nothing buffered. One that matches is buffered, inspected and forwarded, and
//! its answer is judged; whatever goes wrong on that way, the original bytes are forwarded.

mod snapshot; // configuration and models, swapped whole
mod bound; // a model's features among the configuration's
mod slots; // a model's versions: who answers, who scores along
mod rest; // injections that the CRM refused
mod tls; // https on both sides
mod bind; // listeners
mod worker; // thread, accept, drain
mod h1; // HTTP/1 on the wire
mod connection; // clients' connections, from accept to end
mod session; // a client's HTTP/1 connection, request after request
mod pipeline; // a request's way through
mod inspect; // recognise, score, enrich: synchronous
mod judge; // the leads of one request get their scores
mod answer; // the CRM's answer, read as far as needed
mod verdict; // what is written into it, and what is recorded
mod shadow; // versions that score along, off the request path
mod upstream; // connections to the CRM
mod egress; // clients that take us for their proxy
mod mirror; // copies for a second upstream
mod expiry; // coarse time-outs
mod body; // bodies, streamed or whole
mod hop; // hop-by-hop headers
mod downgrade; // heads that came over HTTP/2
mod respond; // errors become answers, in one place
mod rehearse; // a recorded exchange, without the network
mod alone; // one connection, without the network

pub use self::{
    alone::serve_alone,
    bind::{BindError, Listeners},
    bound::{BindModelError, check_features},
    inspect::{Inspection, Judged, Scratch, Subject},
    rehearse::{Recording, RecordingError, Rehearsal, rehearse},
    shadow::{ShadowScorer, Shadows},
    snapshot::Snapshot,
    tls::{TlsDigests, TlsError, TlsFiles, TlsSides, is_missing, make_missing},
    worker::{Proxy, Shared},
};
