//! Whether the records are those that were written.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Checkpoint, Fault, Hash, Ledger, Record, Torn, file, root};

/// A ledger whose records follow from each other.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// How many records there are.
    pub size: u64,
    /// The hash that stands for all of them.
    pub root: Hash,
    /// How many of them, from the first, are those of the checkpoint; the others came later. Without a checkpoint nobody
    /// can tell whether records are missing at the end.
    pub sealed: Option<u64>,
    /// A record that is on its way, or was cut short by a crash.
    pub torn: Option<Torn>,
}

/// What is wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first record that is not what was written.
    #[error("{}:{}: record {seq}: {fault}", path.display(), seq + 1)]
    Record {
        /// The file.
        path: PathBuf,
        /// The record that is due there.
        seq: u64,
        /// What is wrong with what stands there.
        fault: Fault,
    },
    /// It lost records while a process had it open.
    #[error("{}: shorter than it was, when it held {records} records", path.display())]
    Shorter {
        /// The file.
        path: PathBuf,
        /// How many there were.
        records: u64,
    },
    /// It lost records since the checkpoint was made.
    #[error("{}: cut: it holds {found} records, and the checkpoint {expected}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// All hashes hold, and they are not those of the checkpoint.
    #[error("{}: written anew: its first {size} records are not those of the checkpoint", path.display())]
    Rewritten {
        /// The file.
        path: PathBuf,
        /// How many the checkpoint vouches for.
        size: u64,
    },
}

/// Checks every record, and whether those of the checkpoint are all there. The checkpoint's signature is another question:
/// [`Checkpoint::is_signed_by`]. Nothing is locked or repaired.
pub fn verify(state: &Path, checkpoint: Option<&Checkpoint>) -> Result<Verified, Broken> {
    let (records, torn) = file::look(state)?;
    let path = state.join(Ledger::FILE);
    checkpoint.map_or(Ok(()), |checkpoint| held(&records, checkpoint, &path))?;
    let sealed = checkpoint.map(|checkpoint| checkpoint.size);
    Ok(Verified { path, size: records.len() as u64, root: root(&records), sealed, torn })
}

fn held(records: &[Record], checkpoint: &Checkpoint, path: &Path) -> Result<(), Broken> {
    let Checkpoint { size, root: expected, .. } = *checkpoint;
    let (path, found) = (path.to_owned(), records.len() as u64);
    let first = usize::try_from(size).ok().and_then(|size| records.get(..size));
    match first {
        None => Err(Broken::Truncated { path, found, expected: size }),
        Some(first) if root(first) != expected => Err(Broken::Rewritten { path, size }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value as Json;

    use super::*;
    use crate::{
        goldens,
        ledger::{Event, Field, Kind, Proof, canonical, hex, merkle},
    };

    /// The golden's lines in a ledger of their own, changed.
    fn verified(golden: &Json, change: impl FnOnce(&mut Vec<String>)) -> Result<Verified, Broken> {
        let state = tempfile::tempdir().unwrap();
        let mut lines = lines(golden);
        change(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(state.path().join(Ledger::FILE), text).unwrap();
        verify(state.path(), None)
    }

    fn lines(golden: &Json) -> Vec<String> {
        let lines = golden["expected"]["jsonl"].as_array().unwrap();
        lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    fn golden() -> Option<Json> {
        goldens::json("goldens/mlops/audit_chain.json")
    }

    #[test]
    fn the_golden_records_are_read_and_hashed_as_they_were() {
        let Some(golden) = golden() else { return };
        let records: Vec<Record> = lines(&golden).iter().map(|line| Record::parse(line).unwrap()).collect();
        let expected = &golden["expected"];
        for (seq, record) in records.iter().enumerate() {
            let told = &expected["records"][seq];
            assert_eq!((record.seq, Json::from(record.ts())), (seq as u64, told["ts"].clone()));
            assert_eq!(serde_json::from_str::<Json>(record.line()).unwrap(), *told);
            assert_eq!(record.version.as_deref(), Some("12"));
        }
        for (size, root_of) in expected["root_by_size"].as_array().unwrap().iter().enumerate() {
            assert_eq!(*root_of, hex(&root(&records[..size])), "{size}");
        }
        let path = merkle::path(2, &records).unwrap();
        assert_eq!(expected["inclusion_leaf2_size5"], Json::from_iter(path.iter().map(|hash| hex(hash))));
        let proof = Proof::of(2, &records).unwrap();
        assert_eq!(proof.root(), Some(root(&records)));
        assert!(records[0].fields["data"] != Field::Integer(0) && records[0].kind == Kind::ModelRegistered);
    }

    #[test]
    fn the_golden_events_make_the_golden_lines() {
        let Some(golden) = golden() else { return };
        let expected = lines(&golden);
        let mut prev = [0; 32];
        for (seq, told) in golden["inputs"]["events"].as_array().unwrap().iter().enumerate() {
            let mut fields = canonical::of_json(told.clone()).unwrap();
            let mut text = |name: &str| fields.remove(name).unwrap().text().map(str::to_owned);
            let kind = Kind::parse(&text("type").unwrap());
            let (model, actor) = (text("model"), text("actor").unwrap());
            fields.remove("version");
            let event = Event { kind, model, version: Some("12".to_owned()), actor, fields };
            let ts = crate::ledger::millis(&format!("2026-11-22T08:0{seq}:00.000Z")).unwrap();
            let record = Record::seal(event, (seq as u64, &prev), ts).unwrap();
            prev = Record::parse(&expected[seq]).unwrap().hash;
            // The golden's version is a number and ours is a folder's name, and with it the hash is another.
            let same = |line: &str| {
                let mut fields = canonical::parse(line).unwrap();
                fields.remove("hash");
                canonical::text(&fields).unwrap().replace(r#""version":"12""#, r#""version":12"#)
            };
            assert_eq!(same(record.line()), same(&expected[seq]));
        }
    }

    #[test]
    fn the_first_record_that_was_altered_is_told() {
        let Some(golden) = golden() else { return };
        let at = golden["expected"]["tamper_at"].as_u64().unwrap();
        let first = |change: &dyn Fn(&mut Vec<String>)| match verified(&golden, |lines| change(lines)) {
            Err(Broken::Record { seq, fault, .. }) => Some((seq, fault)),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        };
        let altered =
            |lines: &mut Vec<String>| lines[at as usize] = lines[at as usize].replace("maria", "mario");
        assert_eq!(first(&altered), Some((at, Fault::Hash)));
        assert_eq!(first(&|lines| lines.swap(1, 2)), Some((1, Fault::Seq { expected: 1, found: 2 })));
        assert_eq!(first(&|lines| _ = lines.remove(0)), Some((0, Fault::Seq { expected: 0, found: 1 })));
        assert_eq!(
            first(&|lines| lines.insert(3, lines[2].clone())),
            Some((3, Fault::Seq { expected: 3, found: 2 }))
        );
        assert_eq!(first(&|lines| lines[4].push(' ')), Some((4, Fault::NotCanonical)));
        // Sealed anew, as somebody would who knows how: the next record still knows better.
        let sealed = |lines: &mut Vec<String>| {
            let record = Record::parse(&lines[2]).unwrap();
            let event = Event {
                kind: record.kind,
                model: record.model,
                version: record.version,
                actor: "mario".into(),
                fields: record.fields,
            };
            lines[2] = Record::seal(event, (2, &record.prev), record.ts_ms).unwrap().line().to_owned();
        };
        assert_eq!(first(&sealed), Some((3, Fault::Prev)));
        assert_eq!(first(&|lines| lines.truncate(2)), None, "a chain alone does not show it");
    }

    #[test]
    fn a_cut_or_a_ledger_written_anew_shows_against_a_checkpoint() {
        let write = |state: &Path, actors: &[&str]| {
            let mut ledger = Ledger::open(state).unwrap();
            let mut writing = ledger.lock().unwrap();
            actors.iter().for_each(|actor| _ = writing.append(Event::new(Kind::Paused, *actor), 0).unwrap());
        };
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(ours.path(), &["a", "b", "c"]);
        let kept = Checkpoint::of(&file::look(ours.path()).unwrap().0);
        write(ours.path(), &["d"]);
        let verified = verify(ours.path(), Some(&kept)).unwrap();
        assert_eq!((verified.size, verified.sealed, verified.torn), (4, Some(3), None));
        let file = ours.path().join(Ledger::FILE);
        let text = fs::read_to_string(&file).unwrap();
        let cut: Vec<&str> = text.lines().take(2).collect();
        fs::write(&file, cut.join("\n")).unwrap();
        let told = verify(ours.path(), Some(&kept)).unwrap_err().to_string();
        assert!(told.ends_with("cut: it holds 1 records, and the checkpoint 3"), "{told}");
        let torn = verify(ours.path(), None).unwrap().torn.unwrap();
        assert_eq!((torn.line, torn.bytes), (2, cut[1].len() as u64));
        write(other.path(), &["a", "b", "x", "d"]);
        let told = verify(other.path(), Some(&kept)).unwrap_err().to_string();
        assert!(told.ends_with("its first 3 records are not those of the checkpoint"), "{told}");
        let endless = Checkpoint { size: u64::MAX, ..kept };
        assert!(matches!(verify(other.path(), Some(&endless)), Err(Broken::Truncated { .. })));
        let nothing = verify(&other.path().join("absent"), None).unwrap();
        assert_eq!((nothing.size, nothing.root), (0, root(&[])));
    }
}
