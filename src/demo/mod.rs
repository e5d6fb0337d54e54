//! Demo: the sidecar at work, with nothing to install.
//!
//! One process plays every part: a stand-in CRM, the real sidecar before it with the shipped configuration, and
//! clients whose leads are drawn from the model's own baseline. Meanwhile a second version rises from shadow over canary
//! to champion, and a third one fails and is taken back. Everything listens on loopback and lives in a temporary
//! folder. `app` starts the sidecar itself; this room knows it by its two addresses, as any client would.

mod options; // the command line
mod crm; // a stand-in, shaped like Salesforce
mod model; // the version the binary carries, its successor, and one that fails
mod draw; // leads out of a baseline
mod traffic; // connections that keep to a schedule
mod tally; // what the answers said
mod api; // the admin listener's client
mod latency; // percentiles, asked of the admin listener
mod story; // the rollout, act by act
mod text; // numbers for people
mod screen; // a panel on a terminal, lines elsewhere
mod report; // the summary
mod scene; // all of it together

pub use self::{
    latency::StageLatency,
    options::DemoOptions,
    report::{Ledgered, Logged, Rollout, Service, Summary},
    scene::{DemoError, Played, Scene},
    story::Move,
};
