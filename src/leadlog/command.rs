//! `leadwire leads`: options in, text out. It works on the files, whether or not a sidecar runs.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::{
    gone::erase::{EraseError, Erasure, Noted},
    kept::backup::BackupError,
    kept::store::{Store, StoreError},
    told::export::{ExportError, Span},
    trials::trial::Horizon,
};
use crate::{config::Moment, lead::id_forms, telemetry::Progress};

/// Take the lead log's rows out, copy it, look at it, and remove leads from it.
#[derive(Clone, Debug, Subcommand)]
pub enum LeadsCommand {
    /// Print one row for each score, with what became of its lead.
    Export(ExportOptions),
    /// Copy the log to a new file; a running sidecar goes on writing it.
    Backup {
        /// The copy. A file that is there is not replaced.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print how much there is of what.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove leads from every file of the state directory, and prove it.
    Forget(ForgetOptions),
}

/// What is exported, how and where to.
#[derive(Clone, Debug, Args)]
pub struct ExportOptions {
    /// Only scores from then on: 30d, 12h, 2026-11-22 or 2026-11-22T08:03:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only scores before then.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,
    /// Where they go; standard output without it. The file is there only when it is whole.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the hashes of leads that were forgotten instead, so that earlier exports can be cleaned.
    #[arg(long, conflicts_with_all = ["since", "until"])]
    forgotten: bool,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Commas, with a line of names before the rows.
    #[default]
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

/// Who is forgotten, and why.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(true).args(["leads", "file"])))]
pub struct ForgetOptions {
    /// Record ids, as the CRM writes them.
    leads: Vec<String>,
    /// A file with more of them, one a line.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Why; it stands in the ledger, so it must not say who.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
    /// Who asks; $USER without it.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Remove logs whole that were set aside because they could not be read.
    #[arg(long)]
    aside: bool,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum LeadsError {
    /// The log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A copy.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A removal.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// Standard output.
    #[error(transparent)]
    Stdout(#[from] io::Error),
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger cannot be changed later.
    #[error("{0} holds one of the ids, and the ledger keeps it for good; say it otherwise")]
    Telling(&'static str),
    /// Nobody is named who asks.
    #[error("name who asks: --actor NAME")]
    Nobody,
}

/// Someone to be forgotten, for the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting<'f> {
    /// SHA-256 of the id, in hex.
    pub lead_sha256: &'f str,
    /// Why.
    pub why: &'f str,
    /// Who asks.
    pub actor: &'f str,
}

/// A log, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct LogPlace<'s> {
    /// The directory that holds it.
    pub state: &'s Path,
    /// How long a lead has to convert, in milliseconds; as it was last counted without it.
    pub horizon_ms: Option<i64>,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

impl LogPlace<'_> {
    /// When a label is settled. Nobody who is not told the horizon says that a lead is lost before it is over.
    fn horizon(&self, store: &Store) -> Result<Horizon, StoreError> {
        let ms = match self.horizon_ms {
            Some(ms) => ms,
            None => store.counted_horizon()?.unwrap_or(i64::MAX),
        };
        Ok(Horizon { ms, now_ms: self.now_ms })
    }
}

/// Takes a removal down in the ledger, before it is done.
pub type Ledgered<'l> =
    &'l mut dyn FnMut(Forgetting<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs a subcommand on the log in the directory of state. What it has to say goes to `out`.
pub fn run(
    command: &LeadsCommand,
    place: &LogPlace<'_>,
    ledger: Ledgered<'_>,
    out: &mut dyn Write,
) -> Result<(), LeadsError> {
    let LogPlace { state, now_ms, .. } = *place;
    match command {
        LeadsCommand::Export(options) => options.run(&Store::open_read_only(state)?, place, out),
        LeadsCommand::Backup { file, json } => {
            let mut progress = Progress::new(*json);
            let bytes = Store::open_read_only(state)?.backup(file, |bytes, most| {
                progress.tell(bytes as f64 / most.max(1) as f64, || format!("{bytes} of {most} bytes"));
            })?;
            drop(progress);
            if *json {
                writeln!(out, "{}", json!({"file": file, "bytes": bytes}))?;
            } else {
                writeln!(out, "{}: {bytes} bytes, read through and sound", file.display())?;
            }
            Ok(())
        }
        LeadsCommand::Status { json } => {
            let status = Store::open_read_only(state)?.status(state)?;
            if *json {
                writeln!(out, "{}", serde_json::to_string(&status).map_err(io::Error::from)?)?;
            } else {
                write!(out, "{status}")?;
            }
            Ok(())
        }
        LeadsCommand::Forget(options) => options.run(state, now_ms, ledger, out),
    }
}

impl ExportOptions {
    fn run(&self, store: &Store, place: &LogPlace<'_>, out: &mut dyn Write) -> Result<(), LeadsError> {
        let horizon = place.horizon(store)?;
        let Some(path) = &self.output else {
            // The progress would stand between rows on a terminal.
            let mut out = BufWriter::new(out);
            self.write(store, horizon, &mut out, &mut Progress::new(true)).map_err(stdout)?;
            return Ok(out.flush()?);
        };
        let failed = |source| LeadsError::File { path: path.clone(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::metadata(folder).map_err(failed)?;
        // Its owner's alone, as befits what is in it.
        let mut file = tempfile::Builder::new().prefix(".leads-").tempfile_in(folder).map_err(failed)?;
        let rows = self.write(store, horizon, &mut BufWriter::new(&mut file), &mut Progress::new(false))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(writeln!(out, "{}: {rows} rows", path.display())?)
    }

    fn write(
        &self,
        store: &Store,
        horizon: Horizon,
        out: &mut dyn Write,
        progress: &mut Progress,
    ) -> Result<u64, ExportError> {
        let mut rows = Rows::new(self.format, out);
        if self.forgotten {
            let tombs = store.forgotten()?;
            tombs.iter().try_for_each(|tomb| rows.write(tomb))?;
            rows.end(&["lead_sha256", "time", "time_ms", "rows"])?;
            return Ok(tombs.len() as u64);
        }
        let at = |moment: Option<Moment>, open| moment.map_or(open, |moment| moment.ms(horizon.now_ms));
        let span = Span { from_ms: at(self.since, i64::MIN), to_ms: at(self.until, i64::MAX) };
        let mut count = 0;
        let written = store.export(span, horizon, |row, share| {
            match self.format {
                ExportFormat::Csv => rows.write(&row)?,
                // A row that somebody edited has no features that can be read.
                ExportFormat::Jsonl => rows.write(&row.with_features(|text| {
                    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default()
                }))?,
            }
            count += 1;
            progress.tell(share, || format!("{count} rows"));
            Ok(())
        })?;
        rows.end(&super::told::export::COLUMNS)?;
        Ok(written)
    }
}

/// A reader that has seen enough is no failure, and told by the error itself.
fn stdout(error: ExportError) -> LeadsError {
    match error {
        ExportError::Taker(error) => LeadsError::Stdout(error),
        other => other.into(),
    }
}

/// Writes rows of one kind.
enum Rows<'o> {
    Csv { to: Box<csv::Writer<&'o mut dyn Write>>, any: bool },
    Jsonl(&'o mut dyn Write),
}

impl<'o> Rows<'o> {
    fn new(format: ExportFormat, out: &'o mut dyn Write) -> Self {
        match format {
            ExportFormat::Csv => Self::Csv { to: Box::new(csv::Writer::from_writer(out)), any: false },
            ExportFormat::Jsonl => Self::Jsonl(out),
        }
    }

    fn write(&mut self, row: &impl Serialize) -> io::Result<()> {
        match self {
            Self::Csv { to, any } => {
                *any = true;
                to.serialize(row).map_err(io_error)
            }
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, row)?;
                to.write_all(b"\n")
            }
        }
    }

    /// Without rows, a table still has its names.
    fn end(self, names: &[&str]) -> io::Result<()> {
        match self {
            Self::Csv { mut to, any } => {
                if !any {
                    to.write_record(names).map_err(io_error)?;
                }
                to.flush()
            }
            Self::Jsonl(to) => to.flush(),
        }
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

impl ForgetOptions {
    fn run(
        &self,
        state: &Path,
        now_ms: i64,
        ledger: Ledgered<'_>,
        out: &mut dyn Write,
    ) -> Result<(), LeadsError> {
        let leads = self.all()?;
        let (aside, patience) = (self.aside, Erasure::PATIENCE);
        let erasure = Erasure { state, leads: &leads, now_ms, aside, patience };
        let erased = if self.dry_run {
            erasure.count()?
        } else {
            let actor = self.actor.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
            self.check(&leads, &actor)?;
            let mut progress = Progress::new(self.json);
            let note: Noted<'_> =
                &mut |lead_sha256| ledger(Forgetting { lead_sha256, why: &self.why, actor: &actor });
            // What there is to look through is known only at the end.
            erasure.run(note, &mut |bytes| progress.tell(0.0, || format!("looked through {bytes} bytes")))?
        };
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&erased).map_err(io::Error::from)?)?;
        } else {
            write!(out, "{erased}")?;
        }
        Ok(())
    }

    /// The ids of the command line and of the file, each once.
    fn all(&self) -> Result<Vec<String>, LeadsError> {
        let mut leads = self.leads.clone();
        if let Some(path) = &self.file {
            let failed = |source| LeadsError::File { path: path.clone(), source };
            let text = fs::read_to_string(path).map_err(failed)?;
            leads.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        // One record may have been seen under either form of its id.
        let mut leads: Vec<String> = leads.iter().flat_map(|id| id_forms(id)).collect();
        leads.sort();
        leads.dedup();
        Ok(leads)
    }

    /// What goes into the ledger stays there.
    fn check(&self, leads: &[String], actor: &str) -> Result<(), LeadsError> {
        let tells = |text: &str| leads.iter().any(|lead| text.contains(lead.as_str()) && lead.len() > 2);
        match () {
            () if actor.is_empty() => Err(LeadsError::Nobody),
            () if tells(&self.why) => Err(LeadsError::Telling("--why")),
            () if tells(actor) => Err(LeadsError::Telling("--actor")),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_is_forgotten_under_both_forms_of_its_id() {
        let leads = vec!["001A0000006Vm9uIAC".to_owned(), "7".to_owned(), "7".to_owned()];
        let (file, actor, why) = (None, None, String::new());
        let options = ForgetOptions { leads, file, why, actor, aside: false, dry_run: true, json: false };
        assert_eq!(options.all().unwrap(), ["001A0000006Vm9u", "001A0000006Vm9uIAC", "7"]);
    }
}
