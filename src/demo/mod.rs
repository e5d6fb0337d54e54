//! Demo: the sidecar at work, with nothing to install.
//!
//! One process plays every part: a stand-in CRM, the real sidecar before it with the shipped configuration, and
//! clients whose leads are drawn from the model's own baseline. Half-way a second version is dropped into the watched
//! folder, and what clients see of the swap is measured. Everything listens on loopback and lives in a temporary
//! folder. `app` starts the sidecar itself; this room knows it by its two addresses, as any client would.

mod options; // the command line
mod crm; // a stand-in, shaped like Salesforce
mod model; // the version the binary carries, and its successor
mod draw; // leads out of a baseline
mod traffic; // connections that keep to a schedule
mod tally; // what the answers said
mod latency; // percentiles, asked of the admin listener
mod text; // numbers for people
mod screen; // a panel on a terminal, lines elsewhere
mod report; // the summary
mod scene; // all of it together

pub use self::{
    latency::StageLatency,
    options::DemoOptions,
    report::{Logged, Summary, Swap},
    scene::{DemoError, Played, Scene},
};
