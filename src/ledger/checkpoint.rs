//! What to keep elsewhere, so that nobody can cut the ledger or write it anew unseen: how many records there are, the hash
//! that stands for them, and where wanted a signature. A [`Proof`] shows to somebody without the ledger that one record is
//! among those of a checkpoint.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Hash, Record, canonical, hex, merkle, unhex};

/// A checkpoint is three members, a proof a record and some hashes.
const MAX_BYTES: u64 = 128 << 10;

/// So many records, and the hash that stands for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// How many records.
    pub size: u64,
    /// RFC 6962's root over them.
    #[serde(with = "in_hex")]
    pub root: Hash,
    /// Ed25519, over both.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_in_hex")]
    pub signature: Option<[u8; 64]>,
}

/// A record, and the hashes that lead from it to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The record.
    pub record: Record,
    /// How many records the root stands for.
    pub size: u64,
    /// The nearest first.
    pub path: Vec<Hash>,
}

/// Why a checkpoint or a proof was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a {what}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Checkpoint {
    /// All of these records.
    pub fn of(records: &[Record]) -> Self {
        Self { size: records.len() as u64, root: merkle::root(records), signature: None }
    }

    /// The same with a signature.
    pub fn signed(self, key: &SigningKey) -> Self {
        Self { signature: Some(key.sign(self.message().as_bytes()).to_bytes()), ..self }
    }

    /// Whether it carries a signature by this key.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let verifies =
            |bytes| key.verify_strict(self.message().as_bytes(), &Signature::from_bytes(bytes)).is_ok();
        self.signature.as_ref().is_some_and(verifies)
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = read(path)?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map_err(|error| format_error(path, "checkpoint", &error))
    }

    /// Writes a file beside its place, and renames it in.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::File { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            let mut beside = tempfile::Builder::new().prefix(".checkpoint-").tempfile_in(folder)?;
            writeln!(beside, "{}", serde_json::to_string(self)?)?;
            #[cfg(unix)]
            beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            beside.as_file().sync_all()?;
            beside.persist(path)?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// What is signed. The first line keeps the signature from meaning anything else.
    fn message(&self) -> String {
        format!("leadwire ledger checkpoint\n{}\n{}\n", self.size, hex(&self.root))
    }
}

impl Proof {
    /// That record `seq` is among these; `None` if it is not.
    pub fn of(seq: u64, records: &[Record]) -> Option<Self> {
        let record = records.get(usize::try_from(seq).ok()?)?.clone();
        Some(Self { record, size: records.len() as u64, path: merkle::path(seq, records)? })
    }

    /// The root that the record leads to; `None` if it leads nowhere. A proof shows something where this is the root of a
    /// checkpoint of the same size.
    pub fn root(&self) -> Option<Hash> {
        merkle::climb(self.record.hash, (self.record.seq, self.size), &self.path)
    }

    /// Reads a file. The record's own hash holds then.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = read(path)?;
        serde_json::from_slice(&bytes).map_err(|error| format_error(path, "proof", &error))
    }
}

/// A proof as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    record: serde_json::Value,
    size: u64,
    path: Vec<String>,
}

impl Serialize for Proof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = serde_json::from_str(self.record.line()).map_err(serde::ser::Error::custom)?;
        let path = self.path.iter().map(|hash| hex(hash)).collect();
        Written { record, size: self.size, path }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { record, size, path } = Written::deserialize(deserializer)?;
        let line = canonical::of_json(record).and_then(|fields| canonical::text(&fields));
        let record = line.and_then(|line| Record::parse(&line)).map_err(D::Error::custom)?;
        let path: Option<Vec<Hash>> = path.iter().map(|hash| unhex(hash)).collect();
        let path = path.ok_or_else(|| D::Error::custom("path holds what is no SHA-256 in hex"))?;
        Ok(Self { record, size, path })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| CheckpointError::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn format_error(path: &Path, what: &'static str, error: &serde_json::Error) -> CheckpointError {
    CheckpointError::Format { path: path.to_owned(), what, reason: error.to_string() }
}

mod in_hex {
    use super::{Deserialize, Deserializer, Hash, Serializer, hex, unhex};

    pub(super) fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).ok_or_else(|| serde::de::Error::custom("expected 32 bytes in hex"))
    }
}

mod maybe_in_hex {
    use super::{Deserialize, Deserializer, Serialize, Serializer, hex, unhex};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<[u8; 64]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| hex(bytes)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 64]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).map(Some).ok_or_else(|| serde::de::Error::custom("expected 64 bytes in hex"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::{Event, Kind};

    fn records(count: u64) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for seq in 0..count {
            let prev = records.last().map_or([0; 32], |record| record.hash);
            records
                .push(Record::seal(Event::new(Kind::Paused, "jö").with("n", seq), (seq, &prev), 0).unwrap());
        }
        records
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_its_signature_holds_for_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.json");
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let plain = Checkpoint::of(&records(3));
        let signed = plain.clone().signed(&key);
        for checkpoint in [&plain, &signed] {
            checkpoint.write(&path).unwrap();
            assert_eq!(Checkpoint::read(&path).unwrap(), *checkpoint);
        }
        let signs = |checkpoint: &Checkpoint, key: &SigningKey| checkpoint.is_signed_by(&key.verifying_key());
        assert!(signs(&signed, &key) && !signs(&signed, &other) && !signs(&plain, &key));
        let larger = Checkpoint { size: 4, ..signed.clone() };
        let another = Checkpoint { root: [0; 32], ..signed };
        assert!(!signs(&larger, &key) && !signs(&another, &key));
        assert!(plain.write(&folder.path().join("absent/x")).is_err());
    }

    #[test]
    fn a_proof_holds_for_its_record_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proof.json");
        let records = records(6);
        let proof = Proof::of(4, &records).unwrap();
        assert_eq!((proof.root(), Proof::of(6, &records)), (Some(merkle::root(&records)), None));
        let text = serde_json::to_string_pretty(&proof).unwrap();
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Proof::read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(&text), Ok(proof.clone()));
        for (from, to, expected) in [
            ("\"n\": 4", "\"n\": 5", "does not have its hash"),
            ("\"n\": 4", "\"n\": 4.5", "holds a fraction"),
            ("\"size\"", "\"length\"", "unknown field `length`"),
            ("\"path\": [\n    \"", "\"path\": [\n    \"x", "no SHA-256"),
        ] {
            let told = read(&text.replace(from, to)).unwrap_err();
            assert!(told.contains("proof.json is not a proof") && told.contains(expected), "{told}");
        }
        let larger = Proof { size: 7, ..proof };
        assert_ne!(larger.root(), Some(merkle::root(&records)));
    }

    #[test]
    fn what_is_no_checkpoint_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.json");
        let root = "0".repeat(64);
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "missing field `size`"),
            (&format!(r#"{{"size":-1,"root":"{root}"}}"#), "invalid value"),
            (r#"{"size":1,"root":"00"}"#, "expected 32 bytes in hex"),
            (&format!(r#"{{"size":1,"root":"{root}","signature":"00"}}"#), "expected 64 bytes in hex"),
            (&format!(r#"{{"size":1,"root":"{root}","by":"jo"}}"#), "unknown field `by`"),
        ] {
            fs::write(&path, text).unwrap();
            let told = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(
                told.contains("checkpoint.json is not a checkpoint") && told.contains(expected),
                "{told}"
            );
        }
        assert!(matches!(Checkpoint::read(folder.path()), Err(CheckpointError::File { .. })));
    }
}
