//! Rollout: how a version comes to serve, and how it leaves.
//!
//! A hash of a lead's key puts it into a bucket; a share of the buckets is the challenger's. A guard beside it sees what
//! becomes of those leads and ends the trial at once where it must.

mod assign; // a lead's key -> its bucket -> its arm
mod guard; // what takes a challenger out of service at once

pub use self::{
    assign::{BUCKETS, Key, Split, bucket},
    guard::{Guard, Guards, Minute, Trip},
};
