//! `leadwire ledger`: options in, text out.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use ed25519_dalek::{SigningKey, VerifyingKey};

use super::{
    Broken, Checkpoint, CheckpointError, Field, LedgerError, Proof, Record, Verified, hex, millis, read,
    verify,
};

/// Read, check and seal the record of every change.
#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    /// Print what happened, the oldest first.
    Show {
        /// Only what happened to this model.
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Only what happened from then on: 2026-11-22, or 2026-11-22T08:03:00Z.
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<i64>,
        /// Print the records as they are written, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Check every record; exit code 1 at the first that is not what was written.
    Verify {
        /// A checkpoint that was kept elsewhere: its records must all be there.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The public key that must have signed the checkpoint: a file of 32 bytes in hex, or PEM.
        #[arg(long, value_name = "FILE", requires = "checkpoint")]
        key: Option<PathBuf>,
        /// Check that this proof's record is among those of the checkpoint instead; the ledger is not needed for that.
        #[arg(long, value_name = "FILE", requires = "checkpoint")]
        proof: Option<PathBuf>,
    },
    /// Print a checkpoint of all records, to be kept elsewhere.
    Export {
        /// Write it to this file instead.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Private key that signs it: ed25519 as PKCS#8 PEM, as `leadwire models keygen` makes.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Print the proof that this record is among those of the checkpoint.
        #[arg(long, value_name = "SEQ")]
        proof: Option<u64>,
    },
}

/// Keys by what they are for.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Signs what is exported.
    pub sign: Option<SigningKey>,
    /// Must have signed what is compared with.
    pub check: Option<VerifyingKey>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The ledger cannot be read, or is not what was written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The same, when it is checked.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A checkpoint or a proof cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no such record to prove.
    #[error("no record {seq}; the ledger holds {size}")]
    Nothing {
        /// What was asked for.
        seq: u64,
        /// How many there are.
        size: u64,
    },
    /// The checkpoint was signed by somebody else, or by nobody.
    #[error("{}: not signed by this key", path.display())]
    Unsigned {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The proof shows nothing.
    #[error("{}: does not lead to the checkpoint's root", path.display())]
    Unproven {
        /// The proof.
        path: PathBuf,
    },
    /// The report is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What a subcommand has to say, for standard output.
pub type Told = String;

/// Runs a subcommand on the ledger in the directory of state. `keys` are those that the command names.
pub fn run(command: &LedgerCommand, state: &Path, keys: &Keys) -> Result<Told, ReportError> {
    match command {
        LedgerCommand::Show { model, since, json } => {
            let wanted = |record: &&Record| {
                model.as_ref().is_none_or(|model| record.model.as_ref() == Some(model))
                    && since.is_none_or(|since| record.ts_ms >= since)
            };
            let records = read(state)?;
            let lines = records.iter().filter(wanted);
            Ok(lines
                .map(|record| if *json { format!("{}\n", record.line()) } else { told(record) })
                .collect())
        }
        LedgerCommand::Verify { checkpoint, proof, .. } => {
            let kept = checkpoint.as_deref().map(|path| kept(path, keys)).transpose()?;
            match (proof, &kept) {
                (Some(proof), Some(kept)) => proven(proof, kept),
                _ => Ok(verdict(&verify(state, kept.as_ref())?, kept.as_ref(), keys)),
            }
        }
        LedgerCommand::Export { checkpoint, proof, .. } => {
            export(&read(state)?, (checkpoint.as_deref(), *proof), keys)
        }
    }
}

/// A checkpoint that may be compared with.
fn kept(path: &Path, keys: &Keys) -> Result<Checkpoint, ReportError> {
    let checkpoint = Checkpoint::read(path)?;
    match &keys.check {
        Some(key) if !checkpoint.is_signed_by(key) => Err(ReportError::Unsigned { path: path.to_owned() }),
        _ => Ok(checkpoint),
    }
}

fn proven(path: &Path, kept: &Checkpoint) -> Result<Told, ReportError> {
    let proof = Proof::read(path)?;
    if proof.size != kept.size || proof.root() != Some(kept.root) {
        return Err(ReportError::Unproven { path: path.to_owned() });
    }
    Ok(format!("{}among the {} records of the checkpoint\n", told(&proof.record), kept.size))
}

/// `state/ledger.jsonl: 12 records, chain intact; ...`
fn verdict(verified: &Verified, kept: Option<&Checkpoint>, keys: &Keys) -> Told {
    let Verified { path, size, sealed, .. } = verified;
    let mut told = format!("{}: {size} records, chain intact; ", path.display());
    told += &match sealed {
        None => "compare with a checkpoint to exclude truncation".to_owned(),
        Some(sealed) => format!("the first {sealed} are those of the checkpoint"),
    };
    told += match (kept.is_some_and(|kept| kept.signature.is_some()), &keys.check) {
        (_, Some(_)) => ", which the key signed",
        (true, None) => ", whose signature was not checked (--key)",
        (false, None) => "",
    };
    if let Some(torn) = verified.torn {
        let bytes = torn.bytes;
        told +=
            &format!("; {bytes} bytes behind them are a record on its way, or one that a crash cut short");
    }
    told + "\n"
}

fn export(
    records: &[Record],
    (file, proof): (Option<&Path>, Option<u64>),
    keys: &Keys,
) -> Result<Told, ReportError> {
    let proof = proof
        .map(|seq| Proof::of(seq, records).ok_or(ReportError::Nothing { seq, size: records.len() as u64 }));
    let proof = proof.transpose()?;
    let mut checkpoint = Checkpoint::of(records);
    if let Some(key) = &keys.sign {
        checkpoint = checkpoint.signed(key);
    }
    file.map_or(Ok(()), |file| checkpoint.write(file))?;
    Ok(match (proof, file) {
        (Some(proof), _) => serde_json::to_string(&proof)? + "\n",
        (None, None) => serde_json::to_string(&checkpoint)? + "\n",
        (None, Some(file)) => {
            format!("{}: {} records, root {}\n", file.display(), checkpoint.size, hex(&checkpoint.root))
        }
    })
}

/// `3  2026-11-22T08:03:00.000Z  state.changed  lead/12  jo  from=shadow pct=10 to=canary`
fn told(record: &Record) -> String {
    let subject = match (&record.model, &record.version) {
        (Some(model), Some(version)) => format!("{}/{}", word(model), word(version)),
        (Some(model), None) => word(model),
        (None, _) => "-".to_owned(),
    };
    let kind = word(record.kind.as_str());
    let mut line = format!("{}  {}  {kind:<18}  {subject}  {}", record.seq, record.ts(), word(&record.actor));
    for (index, (name, field)) in record.fields.iter().enumerate() {
        let between = if index == 0 { "  " } else { " " };
        // A `String` takes everything.
        _ = write!(line, "{between}{}={}", word(name), value(field));
    }
    line + "\n"
}

fn value(field: &Field) -> String {
    match field {
        Field::Text(text) => word(text),
        Field::Integer(number) => number.to_string(),
        Field::Map(fields) => {
            serde_json::to_string(fields).map_or_else(|_| String::new(), |json| shown(&json))
        }
    }
}

/// Text as it is, or in quotes where it is more than a word.
fn word(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-+@/:,%".contains(c));
    if plain { text.to_owned() } else { shown(&serde_json::Value::from(text).to_string()) }
}

/// JSON without what a terminal would act on: JSON escapes controls below 32 alone, and a right-to-left mark turns a line
/// around.
fn shown(json: &str) -> String {
    let harmless = |c: char| c == ' ' || c.is_alphanumeric() || c.is_ascii_graphic();
    let char = |c: char| if harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    json.chars().map(char).collect()
}

/// A day, or a time with or without milliseconds, in UTC.
fn time(text: &str) -> Result<i64, &'static str> {
    let forms = [text.to_owned(), format!("{text}T00:00:00.000Z"), text.replace('Z', ".000Z")];
    forms.iter().find_map(|text| millis(text)).ok_or("expected 2026-11-22, or 2026-11-22T08:03:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, Kind};

    #[test]
    fn records_read_as_one_line_that_does_nothing_to_a_terminal() {
        let event = || Event::new(Kind::StateChanged, "jo@example.com");
        for (event, expected) in [
            (event(), "state.changed       -  jo@example.com"),
            (event().model("lead"), "state.changed       lead  jo@example.com"),
            (
                event().model("lead").version("12").with("to", "canary").with("pct", 10),
                "state.changed       lead/12  jo@example.com  pct=10 to=canary",
            ),
            (event().with("why", "two words, ünïcode"), r#"jo@example.com  why="two words, ünïcode""#),
            (event().with("why", ""), r#"why="""#),
            (event().with("why", "\u{1b}[2J\n\u{9b}\u{202e}"), r#"why="\u001b[2J\n\u{9b}\u{202e}""#),
            (event().with("old", super::super::Fields::from([("a".into(), 1.into())])), r#"old={"a":1}"#),
            (Event::new(Kind::Other("x\ty".into()), "a b"), r#""x\ty"              -  "a b""#),
        ] {
            let record = Record::seal(event, (3, &[0; 32]), 0).unwrap();
            let line = told(&record);
            assert!(line.starts_with("3  1970-01-01T00:00:00.000Z  "), "{line}");
            assert!(line.ends_with(&format!("{expected}\n")), "{line}");
        }
    }

    #[test]
    fn times_are_days_or_seconds() {
        for (text, expected) in [
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-02T00:00:01Z", Some(86_401_000)),
            ("1970-01-02T00:00:01.002Z", Some(86_401_002)),
            ("1970-01-02T00:00:01", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok(), expected, "{text}");
        }
    }
}
