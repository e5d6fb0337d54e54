//! Everything that takes more than one room, a disk or a network.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod watch;
mod splice; // properties of what is written into bodies
mod fuzz; // corpora, replayed
