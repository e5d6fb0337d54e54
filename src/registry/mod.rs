//! Registry: model versions on disk.
//!
//! A version is a folder `models/<model>/<version>/` with a manifest and the files it names. It is written once, beside
//! its place and renamed in, and never changed. It is read as hostile input: nothing serves whose digests, names, shapes
//! or golden samples do not hold.

mod manifest; // what a version says of itself
mod version; // a folder -> a checked, compiled model; and back
#[cfg(test)]
pub(crate) mod fixture; // a small version, for tests of every room

pub use self::{
    manifest::{Background, Baseline, Golden, Histogram, Lineage, Manifest, Metrics, Plain},
    version::{MANIFEST, Version, VersionError, WEIGHTS, sha256, write},
};
