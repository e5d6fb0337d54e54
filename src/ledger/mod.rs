//! Ledger: who changed what, when and why, in an order that nobody can alter unseen.
//!
//! `<state>/ledger.jsonl` holds one record a line, in canonical JSON. Each record carries the hash of the one before it, so
//! that a change of any record shows in itself or in the next one; a cut at the end shows only against a checkpoint that
//! was kept elsewhere. A record is on disk before what it tells takes effect. Whatever fails here is an error to the
//! caller, and the file ends with the last whole record again.

mod event; // what happened: a kind, a version, an actor, fields
mod canonical; // one way to write it, so that it has one hash
mod record; // an event in its place in the chain
mod merkle; // one hash over all records, and the way from one record to it
mod file; // the records on disk: locked, read, appended to
mod checkpoint; // what to keep elsewhere
mod verify; // whether the records are those that were written
mod report; // `leadwire ledger`

pub use self::{
    canonical::{Fault, MAX_LINE},
    checkpoint::{Checkpoint, CheckpointError, Proof},
    event::{Event, Field, Fields, Kind},
    file::{Ledger, LedgerError, Torn, Writing, read},
    merkle::root,
    record::{Record, millis},
    report::{Keys, LedgerCommand, ReportError, Told, run},
    verify::{Broken, Verified, verify},
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a hash reads like.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] writes, and nothing else.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_as_they_are_written() {
        assert_eq!(hex(&[0, 0x1f, 0xab]), "001fab");
        assert_eq!(unhex::<3>("001fab"), Some([0, 0x1f, 0xab]));
        for wrong in ["001FAB", "001fa", "001fabcd", "001fag", "", "00 1fa"] {
            assert_eq!(unhex::<3>(wrong), None, "{wrong}");
        }
    }
}
