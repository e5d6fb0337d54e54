//! Everything that takes more than one room, a disk or a network.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod support; // a raw client, a raw upstream, a sidecar between them
mod goldens; // reference data

mod tidy; // the house rules
mod transparent;
mod trials; // traffic that is not ours
mod scoring; // traffic that is
mod connections; // how many, and how long without a request
mod upstream; // the CRM's side: bounds, what is sent again, HTTP/2
mod limits; // what takes too long or is too much
mod http2; // many requests on one connection
mod frames; // its frames, one by one
mod upgrade; // connections that leave HTTP
mod tls; // https on both sides
mod egress; // clients that take the sidecar for their proxy
mod mirror; // copies for a second upstream
mod smuggling; // requests with two readings
mod faults; // whatever goes wrong, the CRM's answer comes through
mod chaos; // all of that at once
mod resilience; // the sidecar's own files and ports fail, and traffic goes on
mod reload; // configuration and models change under load
mod rollout; // versions on trial: who answers whom, who scores along, and what ends a trial
mod content; // leads in bodies that are not plain JSON
mod views; // recorded bodies, as JSON
mod replay; // real leads
mod captures; // the recorded traffic of vendors' SDKs
mod secrets; // nothing of them leaves the request
mod rehearse; // recorded exchanges, without the network
mod crm; // what every CRM's traffic asks for
mod guides; // what the guides to presets say
mod cli; // what people and scripts see
mod orders; // versions are moved, and by whom
mod retrain; // and made anew
mod search; // with settings that are looked for
mod journal; // changed files in the ledger
mod ledger; // who changed what, and whether that still stands
mod killed; // the lead log, whatever happens to its process
mod investigate; // why a lead got its score
mod told; // what people and programs tell of leads
mod leads; // the lead log leaves, and leads leave it
mod report; // what became of the leads
mod bare; // model files of other libraries, from the command line
mod import; // models of other libraries become versions
mod batch; // tables, from the command line
mod counterfactual; // the log's leads with another version, from the command line
mod watch; // files on disk change under a running process
mod demo; // the binary plays every part itself
mod splice; // properties of what is written into bodies
mod fuzz; // corpora, replayed
