//! A lead is forgotten everywhere at once, and that is proved.
//!
//! The order: the ledger learns of it, the log gives up its rows, what stands beside the log is brought in and emptied, and
//! then every file of the state directory is looked through. Where the log still holds bytes of an id, it was written before
//! pages were overwritten, and is written anew. Records that wait in files are left out by the writer when it reads them
//! back, which takes a running sidecar. Whatever is left at the end is named, and is a failure.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    forget::{Removed, hash},
    spill::Spill,
    store::{Store, StoreError},
    trace::{Ids, Search, is_database},
};

/// Ids at once.
const MOST: usize = 10_000;

/// Leads to forget.
#[derive(Clone, Copy, Debug)]
pub struct Erasure<'e> {
    /// The directory of state.
    pub state: &'e Path,
    /// Their ids.
    pub leads: &'e [String],
    /// The moment, in milliseconds since 1970.
    pub now_ms: i64,
    /// Logs that were set aside because they could not be read are removed whole.
    pub aside: bool,
    /// How long others may keep the log for themselves, and a running sidecar what waits in files.
    pub patience: Duration,
}

/// Takes a lead's hash down in the ledger, before its rows are removed.
pub type Noted<'n> = &'n mut dyn FnMut(&str) -> Result<(), Box<dyn Error + Send + Sync>>;

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Nothing was done.
    pub dry_run: bool,
    /// Each lead.
    pub leads: Vec<ErasedLead>,
    /// Files of logs that were set aside.
    pub aside: Vec<PathBuf>,
    /// Files that were looked through, without a trace.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The log was written anew.
    pub rebuilt: bool,
}

/// One lead of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErasedLead {
    /// SHA-256 of its id, in hex.
    pub lead_sha256: String,
    /// Its rows, over all tables.
    pub rows: u64,
    /// Its rows by table, those without left out.
    pub tables: Vec<(&'static str, u64)>,
    /// When it was forgotten before, in milliseconds since 1970.
    pub forgotten_before_ms: Option<i64>,
}

/// A lead is not forgotten, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The log cannot be opened or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing to do, or too much.
    #[error("between 1 and {MOST} ids at once, and none of them empty")]
    Ids,
    /// The ids make no pattern.
    #[error("cannot look for these ids: {0}")]
    Pattern(String),
    /// Logs that were set aside cannot be cleaned row by row.
    #[error("{} cannot be cleaned row by row; --aside removes it whole", named(files))]
    Aside {
        /// Their files.
        files: Vec<PathBuf>,
    },
    /// The ledger did not take it.
    #[error("the ledger did not take it, and nothing was removed")]
    Ledger(#[source] Box<dyn Error + Send + Sync>),
    /// A file cannot be read or removed.
    #[error("cannot look through {}", path.display())]
    File {
        /// The file, or its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody reads an old state of the log.
    #[error(
        "the rows are removed, but another program reads the log and keeps old pages beside it; end it and forget once more"
    )]
    Busy,
    /// The rows are removed, but something of an id is left.
    #[error("the rows are removed, but an id still stands in {}{}", traces.join(", "), if *waits { "; what waits there is read back by a running sidecar: start it, and forget once more" } else { "" })]
    Traces {
        /// Files, or columns of the log.
        traces: Vec<String>,
        /// Records wait in a file.
        waits: bool,
    },
}

impl Erasure<'_> {
    /// A patience that suits a running sidecar.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// What would be removed.
    pub fn count(&self) -> Result<Erased, EraseError> {
        let store = self.opened()?;
        let leads = self.leads.iter().map(|lead| Ok(ErasedLead::new(lead, &store.count_of(lead)?)));
        Ok(Erased {
            dry_run: true,
            leads: leads.collect::<Result<_, StoreError>>()?,
            aside: self.set_aside()?,
            files: 0,
            bytes: 0,
            rebuilt: false,
        })
    }

    /// Removes the leads, and proves it. `tell` is given the bytes that were looked through.
    pub fn run(&self, note: Noted<'_>, tell: &mut dyn FnMut(u64)) -> Result<Erased, EraseError> {
        let names: Vec<&str> = self.leads.iter().map(String::as_str).collect();
        let ids = Ids::new(&names).map_err(|error| EraseError::Pattern(error.to_string()))?;
        let store = self.opened()?;
        let aside = self.set_aside()?;
        if !self.aside && !aside.is_empty() {
            return Err(EraseError::Aside { files: aside });
        }
        let mut leads = Vec::with_capacity(self.leads.len());
        for lead in self.leads {
            note(&hash(lead)).map_err(EraseError::Ledger)?;
            leads.push(ErasedLead::new(lead, &store.forget(lead, self.now_ms)?));
        }
        for path in &aside {
            fs::remove_file(path).map_err(|source| EraseError::File { path: path.clone(), source })?;
        }
        let mut proof = Proof { of: self, store, ids, rebuilt: false };
        let Search { files, bytes, .. } = proof.search(tell)?;
        Ok(Erased { dry_run: false, leads, aside, files, bytes, rebuilt: proof.rebuilt })
    }

    fn opened(&self) -> Result<Store, EraseError> {
        let is_fine = (1..=MOST).contains(&self.leads.len()) && !self.leads.iter().any(String::is_empty);
        if !is_fine {
            return Err(EraseError::Ids);
        }
        Ok(Store::open_to_remove(self.state, self.patience)?)
    }

    /// Files of logs, and of records that waited for them, that could not be read.
    fn set_aside(&self) -> Result<Vec<PathBuf>, EraseError> {
        let failed = |source| EraseError::File { path: self.state.to_owned(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(self.state).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(&format!("{}.corrupt-", Store::FILE)) {
                found.push(entry.path());
            }
        }
        // There are none where nothing ever had to wait.
        let waiting = fs::read_dir(self.state.join(Spill::FOLDER)).into_iter().flatten().flatten();
        let unread = waiting.map(|entry| entry.path());
        found.extend(unread.filter(|path| path.extension().is_some_and(|end| end == "unreadable")));
        found.sort();
        Ok(found)
    }
}

/// The search for what is left.
struct Proof<'p> {
    of: &'p Erasure<'p>,
    store: Store,
    ids: Ids<'p>,
    rebuilt: bool,
}

impl Proof<'_> {
    fn search(&mut self, tell: &mut dyn FnMut(u64)) -> Result<Search, EraseError> {
        let until = Instant::now() + self.of.patience;
        loop {
            if !self.store.checkpoint(self.of.patience)? {
                return Err(EraseError::Busy);
            }
            let failed = |source| EraseError::File { path: self.of.state.to_owned(), source };
            let search = self.ids.search(self.of.state, tell).map_err(failed)?;
            let (in_log, elsewhere): (Vec<&PathBuf>, _) =
                search.found.iter().partition(|path| is_database(path));
            let waits = elsewhere.iter().any(|path| self.waits(path));
            if waits && elsewhere.iter().all(|path| self.waits(path)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            let log = self.of.state.join(Store::FILE);
            if !self.rebuilt && (!in_log.is_empty() || self.ids.remain_in(&log).map_err(failed)?) {
                self.rebuild()?;
                continue;
            }
            let mut traces: Vec<String> = elsewhere.iter().map(|path| path.display().to_string()).collect();
            traces.extend(self.rows()?);
            if traces.is_empty() {
                return Ok(search);
            }
            return Err(EraseError::Traces { traces, waits });
        }
    }

    /// Whether a file is one in which records wait for the log.
    fn waits(&self, path: &Path) -> bool {
        path.starts_with(self.of.state.join(Spill::FOLDER))
    }

    fn rebuild(&mut self) -> Result<(), EraseError> {
        self.store.rebuild()?;
        self.rebuilt = true;
        Ok(())
    }

    /// The columns that hold an id. What the bytes showed beyond these are longer ids of others.
    fn rows(&self) -> Result<Vec<String>, StoreError> {
        let columns = self.store.rows_with(&self.ids)?;
        Ok(columns.into_iter().map(|(column, rows)| format!("{column} ({rows} rows)")).collect())
    }
}

impl ErasedLead {
    fn new(lead: &str, removed: &Removed) -> Self {
        Self {
            lead_sha256: hash(lead),
            rows: removed.rows(),
            tables: removed.tables.iter().copied().filter(|(_, rows)| *rows > 0).collect(),
            forgotten_before_ms: removed.before_ms,
        }
    }
}

fn named(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, removed) = if self.dry_run { ("would be ", "would be removed") } else { ("", "removed") };
        for lead in &self.leads {
            writeln!(f, "{lead} {removed}")?;
        }
        for file in &self.aside {
            writeln!(f, "{} {done}removed whole", file.display())?;
        }
        if !self.dry_run {
            let rebuilt = if self.rebuilt { "; the log was written anew" } else { "" };
            writeln!(f, "no trace in {} files, {} bytes{rebuilt}", self.files, self.bytes)?;
        }
        Ok(())
    }
}

/// `ca978112ca1b: 6 rows (scores 2, feedback 1), forgotten before`
impl fmt::Display for ErasedLead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.lead_sha256.get(..12).unwrap_or_default();
        let before = if self.forgotten_before_ms.is_some() { ", forgotten before" } else { "" };
        let tables: Vec<String> = self.tables.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
        let tables = if tables.is_empty() { String::new() } else { format!(" ({})", tables.join(", ")) };
        write!(f, "{short}{before}: {} rows{tables}", self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{Feedback, Verdict},
        leadlog::{Entry, FeedbackRecord, Queue, Told, Writer, fixture},
    };

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A log of many leads, whose first rows were deleted at a time when pages were not overwritten.
    fn log(leads: usize, id: impl Fn(usize) -> String) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let batch: Vec<Entry> =
            (0..leads).map(|n| Entry::Score(fixture::score(n as i64, &id(n * 7 % leads), "1"))).collect();
        store.write(&batch).unwrap();
        store.connection.pragma_update(None, "secure_delete", "off").unwrap();
        store.connection.execute("DELETE FROM scores WHERE seq % 3 = 0", []).unwrap();
        folder
    }

    fn erase(folder: &Path, leads: &[&str], aside: bool) -> Result<Erased, EraseError> {
        let leads: Vec<String> = leads.iter().map(ToString::to_string).collect();
        let erasure = Erasure { state: folder, leads: &leads, now_ms: 1_000_000, aside, patience: PATIENCE };
        erasure.run(&mut |_| Ok(()), &mut |_| {})
    }

    fn count(folder: &Path) -> u64 {
        Store::open_read_only(folder).unwrap().score_count().unwrap()
    }

    #[test]
    fn no_file_holds_the_id_afterwards_whatever_was_deleted_before() {
        for id in ["00Q-lead-", "L"] {
            let folder = log(3_000, |n| format!("{id}{n:04}"));
            let before = count(folder.path());
            for n in [14, 700, 2_999] {
                let lead = format!("{id}{n:04}");
                let rows = Store::open_read_only(folder.path()).unwrap().scores_of(&lead).unwrap().len();
                let erased = erase(folder.path(), &[&lead], false).unwrap();
                assert_eq!((erased.leads[0].rows, erased.leads.len()), (rows as u64, 1));
                assert!(erased.files >= 1);
                let file = fs::read(folder.path().join(Store::FILE)).unwrap();
                let found = memchr::memmem::find(&file, lead.as_bytes());
                assert_eq!(found, None, "{lead} {erased:?}");
            }
            assert!(count(folder.path()) >= before - 3);
        }
    }

    #[test]
    fn a_log_that_holds_nothing_of_a_short_id_is_not_written_anew() {
        for (id, rebuilt) in [("L0003", false), ("L0004", true)] {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::open(folder.path()).unwrap();
            let leads = (0..3_000).map(|n| Entry::Score(fixture::score(n, &format!("L{n:04}"), "1")));
            store.write(&leads.collect::<Vec<_>>()).unwrap();
            store.connection.pragma_update(None, "secure_delete", "off").unwrap();
            store.connection.execute("DELETE FROM scores WHERE lead = 'L0004'", []).unwrap();
            let erased = erase(folder.path(), &[id], false).unwrap();
            assert_eq!(
                (erased.rebuilt, count(folder.path())),
                (rebuilt, 2_999 - u64::from(!rebuilt)),
                "{id}"
            );
        }
    }

    #[test]
    fn longer_ids_that_hold_the_id_are_no_trace_and_stay() {
        let folder = log(1_000, |n| format!("00Q00000{n}"));
        let erased = erase(folder.path(), &["00Q000001"], false).unwrap();
        assert!(erased.rebuilt && erased.leads[0].rows <= 1);
        let store = Store::open_read_only(folder.path()).unwrap();
        let others: i64 = store
            .connection
            .query_row("SELECT count(*) FROM scores WHERE lead LIKE '00Q000001_%'", [], |row| row.get(0))
            .unwrap();
        assert!(others > 50, "{others}");
    }

    #[test]
    fn a_second_time_says_so_and_an_unknown_lead_is_no_failure() {
        let folder = log(30, |n| format!("00Q-lead-{n:04}"));
        let first = erase(folder.path(), &["00Q-lead-0001", "00Q-nobody"], false).unwrap();
        let second = erase(folder.path(), &["00Q-lead-0001"], false).unwrap();
        let told = |erased: &Erased| erased.leads.iter().map(ToString::to_string).collect::<Vec<_>>();
        let hash = &hash("00Q-lead-0001")[..12];
        assert_eq!(told(&first)[0], format!("{hash}: 1 rows (scores 1)"));
        assert!(told(&first)[1].ends_with(": 0 rows"));
        assert_eq!(told(&second), [format!("{hash}, forgotten before: 0 rows")]);
        let dry = Erasure {
            state: folder.path(),
            leads: &["00Q-lead-0003".to_owned()],
            now_ms: 5,
            aside: false,
            patience: PATIENCE,
        };
        let dry = dry.count().unwrap();
        assert!(dry.dry_run && dry.to_string().ends_with(": 1 rows (scores 1) would be removed\n"));
    }

    #[test]
    fn what_is_left_is_named() {
        let folder = log(30, |n| format!("00Q-lead-{n:04}"));
        let check = |leads: &[&str], aside: bool, expected: &str| {
            let error = format!("{:#}", anyhow::Error::from(erase(folder.path(), leads, aside).unwrap_err()));
            assert!(error.contains(expected), "{error}");
        };
        check(&[], false, "between 1 and 10000 ids");
        check(&[""], false, "between 1 and 10000 ids");
        let aside = folder.path().join("leads.sqlite.corrupt-1");
        fs::write(&aside, "00Q-lead-0003").unwrap();
        check(&["00Q-lead-0003"], false, "leads.sqlite.corrupt-1 cannot be cleaned row by row; --aside");
        assert_eq!(
            Store::open_read_only(folder.path()).unwrap().scores_of("00Q-lead-0003").unwrap().len(),
            1
        );
        let erased = erase(folder.path(), &["00Q-lead-0003"], true).unwrap();
        assert!(erased.aside == [aside.clone()] && !aside.exists());
        // In a file that somebody keeps there, and in what somebody wrote of another lead.
        fs::write(folder.path().join("export.csv"), "x,00Q-lead-0004,y").unwrap();
        check(&["00Q-lead-0004"], false, "export.csv");
        fs::remove_file(folder.path().join("export.csv")).unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let feedback = Feedback::new("00Q-lead-0007", Verdict::Down).noted(Some("same as 00Q-lead-0005"));
        let record = FeedbackRecord { time_ms: 1, source: "api".into(), feedback };
        store.write(&[Entry::Feedback(Box::new(record))]).unwrap();
        drop(store);
        check(&["00Q-lead-0005"], false, "an id still stands in feedback.note (1 rows)");
        // The ledger comes first: without it nothing is removed.
        let leads = ["00Q-lead-0010".to_owned()];
        let erasure =
            Erasure { state: folder.path(), leads: &leads, now_ms: 9, aside: false, patience: PATIENCE };
        let refused = erasure.run(&mut |_| Err("full".into()), &mut |_| {}).unwrap_err();
        assert!(matches!(refused, EraseError::Ledger(_)));
        assert_eq!(Store::open_read_only(folder.path()).unwrap().scores_of(&leads[0]).unwrap().len(), 1);
    }

    #[test]
    fn what_waits_in_files_is_left_out_when_it_is_read_back() {
        let folder = log(30, |n| format!("00Q-lead-{n:04}"));
        let write = |leads: &[&str]| {
            let queue = Queue::new(1, 1 << 20, metrics::Counter::noop());
            let told = Told::alone(["age".into()].into());
            let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
            leads.iter().for_each(|lead| queue.sender(0).send(Entry::Score(fixture::score(40, lead, "2"))));
            drop(writer);
        };
        let rows = |lead: &str| Store::open_read_only(folder.path()).unwrap().scores_of(lead).unwrap().len();
        let [gone, other] = ["00Q-lead-0003", "00Q-lead-0010"];
        assert_eq!((rows(gone), rows(other)), (1, 1));
        let locked = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
        locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
        write(&[gone, other]);
        locked.execute_batch("COMMIT").unwrap();
        drop(locked);
        let error = erase(folder.path(), &[gone], false).unwrap_err().to_string();
        assert!(error.contains("start it, and forget once more"), "{error}");
        write(&[]);
        let erased = erase(folder.path(), &[gone], false).unwrap();
        assert!(erased.leads[0].forgotten_before_ms.is_some());
        assert_eq!((rows(gone), rows(other)), (0, 2));
    }

    #[test]
    fn a_reader_of_an_old_state_is_waited_for_and_then_named() {
        let folder = log(30, |n| format!("00Q-lead-{n:04}"));
        let reader = Store::open_read_only(folder.path()).unwrap();
        let old = reader.connection.unchecked_transaction().unwrap();
        old.query_row("SELECT count(*) FROM scores", [], |row| row.get::<_, i64>(0)).unwrap();
        let error = erase(folder.path(), &["00Q-lead-0001"], false).unwrap_err();
        assert!(matches!(error, EraseError::Busy | EraseError::Store(_)), "{error:?}");
        drop(old);
        erase(folder.path(), &["00Q-lead-0001"], false).unwrap();
    }
}
