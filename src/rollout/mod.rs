//! Rollout: how a version comes to serve, and how it leaves.
//!
//! A hash of a lead's key puts it into a bucket; a share of the buckets is the challenger's.

mod assign; // a lead's key -> its bucket -> its arm

pub use self::assign::{BUCKETS, Key, Split, bucket};
