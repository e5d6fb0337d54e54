//! The records on disk.
//!
//! Several processes may write, each under the file's lock: whoever has it reads what the others appended, and only then
//! appends. A record is on disk before [`Writing::append`] returns. A write that fails is cut off again; one that was cut
//! short by a crash is cut off by whoever takes the lock next, since nothing that it tells can have taken effect.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Broken, Event, Fault, MAX_LINE, Record};

/// A change is some hundred bytes; a file beyond this is another one.
const MAX_FILE: u64 = 256 << 20;
/// Nobody holds the lock longer than a disk takes to write. A process that is stopped under it must not stop all others.
const PATIENCE: Duration = Duration::from_secs(5);

/// The record of every change.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    records: Vec<Record>,
    /// Where the last whole record ends.
    end: u64,
    torn: Option<Torn>,
}

/// The beginning of a record whose writer did not live to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The line it stood on; the first is 1.
    pub line: u64,
    /// How much of it there was.
    pub bytes: u64,
}

/// Why there is no ledger, or no record of an event.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file or its directory cannot be made, opened or locked.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process keeps the lock.
    #[error("{}: locked by another process for {} s", path.display(), PATIENCE.as_secs())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// What stands there is not what was written.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The event cannot be put into a record.
    #[error("{kind} cannot be recorded: {fault}")]
    Event {
        /// What happened.
        kind: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The disk is full, or fails. The file ends as it did before.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Ledger {
    /// The file's name in the directory of state.
    pub const FILE: &'static str = "ledger.jsonl";

    /// Opens the ledger in the directory of state, or begins one. A torn last line is cut off, and told.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let path = state.join(Self::FILE);
        fs::create_dir_all(state).map_err(|source| LedgerError::Open { path: path.clone(), source })?;
        let mut ledger = Self { path, records: Vec::new(), end: 0, torn: None };
        ledger.lock()?;
        Ok(ledger)
    }

    /// Takes the file for this writer alone, and reads what others appended.
    pub fn lock(&mut self) -> Result<Writing<'_>, LedgerError> {
        let file = self.locked()?;
        if let Some(torn) = self.follow(&file)? {
            tracing::warn!(
                file = %self.path.display(), line = torn.line, bytes = torn.bytes,
                "cut off a record that was not written to its end; nothing it tells has taken effect"
            );
            cut(&file, self.end).map_err(|source| LedgerError::Write { path: self.path.clone(), source })?;
            self.torn = Some(torn);
        }
        Ok(Writing { ledger: self, file })
    }

    /// Every record, as of the last time the file was open.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What was cut off, if anything was.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The file, opened anew each time: it may have been moved away meanwhile.
    fn locked(&self) -> Result<File, LedgerError> {
        let failed = |source| LedgerError::Open { path: self.path.clone(), source };
        let file = open(&self.path).map_err(failed)?;
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                    return Err(LedgerError::Busy { path: self.path.clone() });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Reads on from the last record that is known.
    fn follow(&mut self, mut file: &File) -> Result<Option<Torn>, Broken> {
        let unreadable = |source| Broken::File { path: self.path.clone(), source };
        let length = file.metadata().map_err(unreadable)?.len();
        if length < self.end {
            let records = self.records.len() as u64;
            return Err(Broken::Shorter { path: self.path.clone(), records });
        }
        file.seek(SeekFrom::Start(self.end)).map_err(unreadable)?;
        let mut reading = Reading { path: &self.path, records: &mut self.records, end: &mut self.end };
        reading.all(BufReader::new(file.take(MAX_FILE)), length)
    }
}

/// The ledger under its lock, which ends with this.
#[derive(Debug)]
pub struct Writing<'a> {
    ledger: &'a mut Ledger,
    file: File,
}

impl Writing<'_> {
    /// Every record.
    pub fn records(&self) -> &[Record] {
        &self.ledger.records
    }

    /// Writes an event behind all others. It is on disk when this returns.
    pub fn append(&mut self, event: Event, now_ms: i64) -> Result<&Record, LedgerError> {
        let Ledger { records, end, path, .. } = &mut *self.ledger;
        let kind = event.kind.as_str().to_owned();
        let (seq, prev) = records.last().map_or((0, [0; 32]), |last| (last.seq + 1, last.hash));
        let sealed = Record::seal(event, (seq, &prev), now_ms);
        let record = sealed.map_err(|fault| LedgerError::Event { kind, fault })?;
        let line = format!("{}\n", record.line());
        let written = whole(&self.file, *end, |mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_data()
        });
        written.map_err(|source| LedgerError::Write { path: path.clone(), source })?;
        *end += line.len() as u64;
        Ok(records.push_mut(record))
    }
}

/// Every record in the directory of state, read without the lock and without repairs. A missing file is an empty ledger;
/// a last line without its end is on its way, or torn.
pub fn read(state: &Path) -> Result<Vec<Record>, LedgerError> {
    Ok(look(state)?.0)
}

/// [`read`], and what stands behind the last whole record.
pub(super) fn look(state: &Path) -> Result<(Vec<Record>, Option<Torn>), Broken> {
    let path = state.join(Ledger::FILE);
    let mut records = Vec::new();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((records, None)),
        Err(source) => return Err(Broken::File { path, source }),
    };
    let length = file.metadata().map_err(|source| Broken::File { path: path.clone(), source })?.len();
    let mut reading = Reading { path: &path, records: &mut records, end: &mut 0 };
    let torn = reading.all(BufReader::new(file.take(MAX_FILE)), length)?;
    Ok((records, torn))
}

/// Records on their way in.
struct Reading<'a> {
    path: &'a Path,
    records: &'a mut Vec<Record>,
    end: &'a mut u64,
}

impl Reading<'_> {
    /// Reads records up to the end, and tells what is left behind the last one.
    fn all(&mut self, mut file: impl BufRead, length: u64) -> Result<Option<Torn>, Broken> {
        let unreadable = |source| Broken::File { path: self.path.to_owned(), source };
        if length > MAX_FILE {
            return Err(unreadable(ErrorKind::FileTooLarge.into()));
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            // One byte for the line's end, and one that tells a line that is too long.
            let most = MAX_LINE as u64 + 2;
            let read = file.by_ref().take(most).read_until(b'\n', &mut line).map_err(unreadable)?;
            let ended = line.pop_if(|last| *last == b'\n').is_some();
            if read == 0 {
                return Ok(None);
            }
            match self.one(&line) {
                Ok(record) if ended => self.records.push(record),
                Err(fault) if ended && !is_blank(&line) => return Err(self.broken(fault)),
                // It may be the last, of which not all has reached the disk.
                _ if file.fill_buf().map_err(unreadable)?.is_empty() && line.len() <= MAX_LINE => {
                    return Ok(Some(Torn { line: self.records.len() as u64 + 1, bytes: read as u64 }));
                }
                Ok(_) => return Err(self.broken(Fault::Long)),
                Err(fault) => return Err(self.broken(fault)),
            }
            *self.end += read as u64;
        }
    }

    fn one(&self, line: &[u8]) -> Result<Record, Fault> {
        if line.len() > MAX_LINE {
            return Err(Fault::Long);
        }
        let text = str::from_utf8(line).map_err(|error| Fault::Json(error.to_string()))?;
        let record = Record::parse(text)?;
        record.follows(self.records.last())?;
        Ok(record)
    }

    fn broken(&self, fault: Fault) -> Broken {
        Broken::Record { path: self.path.to_owned(), seq: self.records.len() as u64, fault }
    }
}

/// Whether blocks of a line never reached the disk: JSON has no zeros.
fn is_blank(line: &[u8]) -> bool {
    line.contains(&0)
}

/// Opens the file for reading and appending; a new one is on disk in its directory when this returns.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let file = options.create(true).open(path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(file)
}

/// Does a write, and undoes what there is of it where it fails.
fn whole(file: &File, end: u64, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    write(file).inspect_err(|_| {
        // If this fails too, the next lock finds a torn line and cuts it.
        _ = cut(file, end);
    })
}

fn cut(file: &File, end: u64) -> io::Result<()> {
    file.set_len(end)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Kind;

    fn paused(actor: &str) -> Event {
        Event::new(Kind::Paused, actor).model("lead")
    }

    fn appended(ledger: &mut Ledger, actor: &str) -> Record {
        ledger.lock().unwrap().append(paused(actor), 0).unwrap().clone()
    }

    #[test]
    fn two_writers_make_one_chain() {
        let state = tempfile::tempdir().unwrap();
        let write = |actor: &'static str| {
            let state = state.path().to_owned();
            move || {
                let mut ledger = Ledger::open(&state).unwrap();
                (0..50).for_each(|_| _ = appended(&mut ledger, actor));
            }
        };
        let writers = ["a", "b", "c"].map(|actor| thread::spawn(write(actor)));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let records = read(state.path()).unwrap();
        assert_eq!(records.len(), 150);
        let mut ledger = Ledger::open(state.path()).unwrap();
        assert_eq!((ledger.records(), ledger.torn()), (records.as_slice(), None));
        assert_eq!(ledger.lock().unwrap().records(), records);
        for actor in ["a", "b", "c"] {
            assert_eq!(records.iter().filter(|record| record.actor == actor).count(), 50);
        }
    }

    #[test]
    fn a_write_that_a_crash_cut_short_is_cut_off_wherever_it_ended() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(Ledger::FILE);
        let mut ledger = Ledger::open(state.path()).unwrap();
        appended(&mut ledger, "first");
        let before = fs::read(&path).unwrap();
        appended(&mut ledger, "second, who wrote as the power failed");
        let after = fs::read(&path).unwrap();
        for end in before.len()..after.len() {
            fs::write(&path, &after[..end]).unwrap();
            assert_eq!(read(state.path()).unwrap().len(), 1, "a reader repairs nothing");
            assert_eq!(fs::metadata(&path).unwrap().len(), end as u64);
            let mut ledger = Ledger::open(state.path()).unwrap();
            let torn = Torn { line: 2, bytes: (end - before.len()) as u64 };
            assert_eq!(ledger.torn(), (torn.bytes > 0).then_some(torn));
            assert_eq!(fs::read(&path).unwrap(), before);
            assert_eq!(appended(&mut ledger, "third").seq, 1);
            assert_eq!(read(state.path()).unwrap().len(), 2);
        }
        // A block in the middle that never reached the disk.
        let mut blank = after.clone();
        blank[before.len() + 10..before.len() + 90].fill(0);
        fs::write(&path, &blank).unwrap();
        assert_eq!(Ledger::open(state.path()).unwrap().torn().map(|torn| torn.line), Some(2));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_writer_sees_what_another_left_torn() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(state.path()).unwrap();
        appended(&mut ledger, "first");
        let path = state.path().join(Ledger::FILE);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"actor\":\"se").unwrap();
        assert_eq!(appended(&mut ledger, "third").seq, 1);
        assert_eq!(ledger.torn(), Some(Torn { line: 2, bytes: 12 }));
        assert_eq!(read(state.path()).unwrap(), ledger.records());
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_as_it_was() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(state.path()).unwrap();
        appended(&mut ledger, "first");
        let path = state.path().join(Ledger::FILE);
        let before = fs::read(&path).unwrap();
        let file = open(&path).unwrap();
        for part in [&b""[..], b"{", b"{\"actor\":\"a whole line\"}\n"] {
            let full = |mut file: &File| {
                file.write_all(part)?;
                Err(ErrorKind::StorageFull.into())
            };
            let failed = whole(&file, before.len() as u64, full).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::StorageFull);
            assert_eq!(fs::read(&path).unwrap(), before);
        }
        let error = ledger.lock().unwrap().append(paused("x").with("ts", 1), 0).unwrap_err();
        assert_eq!(error.to_string(), r#"paused cannot be recorded: "ts" is no name for a field"#);
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(appended(&mut ledger, "second").seq, 1);
    }

    #[test]
    fn nothing_is_written_behind_what_is_broken() {
        let check = |spoil: &dyn Fn(&str) -> String, expected: &str| {
            let state = tempfile::tempdir().unwrap();
            let path = state.path().join(Ledger::FILE);
            let mut ledger = Ledger::open(state.path()).unwrap();
            ["a", "b", "c"].iter().for_each(|actor| _ = appended(&mut ledger, actor));
            let spoilt = spoil(&fs::read_to_string(&path).unwrap());
            fs::write(&path, &spoilt).unwrap();
            let errors = [Ledger::open(state.path()).map(|_| ()), read(state.path()).map(|_| ())];
            for error in errors {
                let error = error.unwrap_err().to_string();
                assert!(error.ends_with(expected), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), spoilt);
        };
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let altered = "altered: its content does not have its hash";
        check(&|text| text.replace("\"b\"", "\"x\""), &format!("ledger.jsonl:2: record 1: {altered}"));
        check(&|text| text.replace("\"c\"", "\"x\""), &format!("ledger.jsonl:3: record 2: {altered}"));
        let swapped = |text: &str| {
            let lines = lines(text);
            format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1])
        };
        check(&swapped, "record 2 stands where record 1 is due");
        check(&|text| lines(text)[1..].join("\n") + "\n", "record 1 stands where record 0 is due");
        check(
            &|text| text.replace('\n', "\n\n"),
            "ledger.jsonl:2: record 1: not JSON: EOF while parsing a value at line 1 column 0",
        );
        check(&|text| format!("{text}{}", "x".repeat(MAX_LINE + 1)), "record 3: longer than 65536 bytes");
        check(&|text| format!("{text}{}\n", "\0".repeat(MAX_LINE + 1)), "record 3: longer than 65536 bytes");
        check(&|text| format!("\0\n{text}"), "record 0: not JSON: expected value at line 1 column 1");
    }

    #[test]
    fn a_ledger_that_shrank_or_changed_under_its_writer_is_told() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(Ledger::FILE);
        let mut ledger = Ledger::open(state.path()).unwrap();
        ["a", "b"].iter().for_each(|actor| _ = appended(&mut ledger, actor));
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        fs::write(&path, format!("{first}\n")).unwrap();
        let told = ledger.lock().unwrap_err().to_string();
        assert!(told.ends_with("ledger.jsonl: shorter than it was, when it held 2 records"), "{told}");
        // Rewritten from the second record on, and gone on from there.
        let mut other = Ledger::open(state.path()).unwrap();
        ["B", "c"].iter().for_each(|actor| _ = appended(&mut other, actor));
        let told = ledger.lock().unwrap_err().to_string();
        assert!(told.ends_with("record 2: does not follow from the record before it"), "{told}");
    }

    #[test]
    fn what_is_no_file_is_told() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read(&state.path().join("absent")).unwrap(), []);
        fs::create_dir(state.path().join(Ledger::FILE)).unwrap();
        assert!(matches!(Ledger::open(state.path()), Err(LedgerError::Open { .. })));
        assert!(matches!(read(state.path()), Err(LedgerError::Broken(Broken::File { .. }))));
        assert!(matches!(Ledger::open(Path::new("/proc/leadwire")), Err(LedgerError::Open { .. })));
        // A hole takes no room on disk.
        let state = tempfile::tempdir().unwrap();
        File::create(state.path().join(Ledger::FILE)).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(read(state.path()), Err(LedgerError::Broken(Broken::File { .. }))));
    }
}
