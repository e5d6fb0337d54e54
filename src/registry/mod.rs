//! Registry: model versions on disk, and the ones that serve.
//!
//! A version is a folder `models/<model>/<version>/` with a manifest and the files it names. It is written once, beside
//! its place and renamed in, and never changed. It is read as hostile input: nothing serves whose digests, names, shapes
//! or golden samples do not hold, and nothing that goes wrong on disk takes a serving version away. The directory is the
//! truth: whatever changes what is served changes files, and a watcher does the rest.

mod quality; // how good it was shown to be, part by part and against the champion
mod manifest; // what a version says of itself
mod poison; // versions that panic
mod version; // a folder -> a checked, compiled model; and back
mod trust; // who may sign a version
mod deployment; // models/<model>/deployment.json: which version holds which slot
mod watch; // hints that something on disk may have changed
mod live; // the versions that serve, swapped whole
mod report; // what stands on disk, told to people and scripts
#[cfg(test)]
pub(crate) mod fixture; // a small version, for tests of every room
#[cfg(test)]
mod tree_tests; // versions of LightGBM and XGBoost

pub use self::{
    deployment::{Applied, Challenger, Deployment, DeploymentError, DeploymentFile, Late},
    live::{Live, Models, Refusal, RefusalKind, Registry, Served, champion},
    manifest::{
        Background, Baseline, ColumnNote, Golden, Histogram, Imported, JudgedOn, Lineage, Manifest, Metrics,
        Plain, Program, Search, Snapshot,
    },
    poison::Poison,
    quality::{GateCheck, GateMode, GateVerdict, Holdout, Segment},
    report::{Diff, ModelsOptions, ReportError, Told, diff, run as models},
    trust::{KeyError, SIGNATURE, Trust, keygen, private_key, public_key, sign},
    version::{MANIFEST, Version, VersionError, WEIGHTS, hex, sha256, write, write_with},
    watch::{POLL, Watch},
};
pub(crate) use self::{
    deployment::{folders, is_name, versions},
    report::{Table, thousands},
    version::{MAX_FILE, read},
};
