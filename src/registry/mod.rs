//! Registry: model versions on disk, and the ones that serve.
//!
//! The directory is the truth: whatever changes what is served changes files, and a watcher does the rest. Nothing on
//! disk is trusted before it has been checked, and nothing that went wrong there takes a serving version away.

mod deployment; // models/<model>/deployment.json: which version holds which slot
mod watch; // hints that something on disk may have changed
mod live; // the versions that serve, swapped whole

pub use self::{
    deployment::{Challenger, Deployment, DeploymentError},
    live::{Live, Models, Refusal, RefusalKind, Registry, Served},
    watch::{POLL, Watch},
};
