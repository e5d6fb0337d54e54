//! A copy of the whole log, made while a sidecar writes it.
//!
//! SQLite rebuilds the log into a new file within one transaction (`VACUUM INTO`): the copy is of one moment, the writer goes
//! on, and what was deleted before is not in the copy, not even in pages that wait to be used again. The copy is made beside
//! its place, read through, and only then given its name; whatever fails leaves nothing behind. A file that is there is never
//! replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    retention::used,
    store::{Store, StoreError},
};

/// How often a copy on its way is looked at.
const BETWEEN: Duration = Duration::from_millis(200);

/// There is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something has that name.
    #[error("{}: is there already; a copy replaces nothing", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite cannot make it.
    #[error("cannot copy to {}: {reason}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The copy is no sound database.
    #[error("the copy is not sound, and was removed: {reason}")]
    Unsound {
        /// What SQLite found.
        reason: String,
    },
}

impl Store {
    /// Copies the log to a new file, and says how many bytes that are. `tell` is given the bytes so far and the most that
    /// they can come to.
    pub fn backup(&self, file: &Path, mut tell: impl FnMut(u64, u64) + Send) -> Result<u64, BackupError> {
        let failed = |source| BackupError::Write { path: file.to_owned(), source };
        if fs::symlink_metadata(file).is_ok() {
            return Err(BackupError::Exists { path: file.to_owned() });
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::metadata(folder).map_err(failed)?;
        // Its owner's alone, as befits what is in it.
        let beside = tempfile::Builder::new().prefix(".leads-backup-").tempfile_in(folder).map_err(failed)?;
        let most = used(&self.connection)?;
        self.copy(beside.path(), |bytes| tell(bytes, most))
            .map_err(|error| BackupError::Copy { path: file.to_owned(), reason: error.to_string() })?;
        check(beside.path())?;
        beside.as_file().sync_all().map_err(failed)?;
        let bytes = beside.as_file().metadata().map_err(failed)?.len();
        match beside.persist_noclobber(file) {
            Ok(_) => Ok(bytes),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists { path: file.to_owned() })
            }
            Err(error) => Err(failed(error.error)),
        }
    }

    fn copy(&self, into: &Path, mut tell: impl FnMut(u64) + Send) -> Result<(), rusqlite::Error> {
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                // Dropping the other end is what ends this.
                while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(BETWEEN) {
                    tell(fs::metadata(into).map_or(0, |file| file.len()));
                }
            });
            let copied = self.connection.execute("VACUUM INTO ?1", [into.to_string_lossy()]);
            drop(done);
            _ = watch.join();
            copied.map(drop)
        })
    }
}

/// Reads a copy through.
fn check(file: &Path) -> Result<(), BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let check = || -> Result<String, rusqlite::Error> {
        let copy = Connection::open_with_flags(file, flags)?;
        copy.pragma_query_value(None, "integrity_check", |row| row.get(0))
    };
    match check() {
        Ok(told) if told == "ok" => Ok(()),
        Ok(reason) => Err(BackupError::Unsound { reason }),
        Err(error) => Err(BackupError::Unsound { reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leadlog::{Entry, Queue, Told, Writer, fixture};

    fn score(n: i64) -> Entry {
        Entry::Score(fixture::score(n, &format!("L{n}"), "1"))
    }

    #[test]
    fn a_copy_is_whole_while_a_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let first: Vec<Entry> = (0..5_000).map(score).collect();
        store.write(&first).unwrap();
        drop(store);
        let queue = Queue::new(1, 1 << 27, metrics::Counter::noop());
        let told = Told::alone(["age".into()].into());
        let writer = Writer::start(folder.path(), queue.clone(), told).unwrap();
        let file = folder.path().join("copy/backup.sqlite");
        fs::create_dir(folder.path().join("copy")).unwrap();
        let bytes = std::thread::scope(|scope| {
            let sender = queue.sender(0);
            scope.spawn(move || (5_000..20_000).for_each(|n| sender.send(score(n))));
            Store::open_read_only(folder.path()).unwrap().backup(&file, |_, _| {}).unwrap()
        });
        drop(writer);
        assert_eq!(fs::metadata(&file).unwrap().len(), bytes);
        // It is a lead log, of one moment: no row is missing before the last.
        let copies = folder.path().join("copy");
        fs::rename(&file, copies.join(Store::FILE)).unwrap();
        let copy = Store::open(&copies).unwrap();
        let (count, last): (i64, i64) = copy
            .connection
            .query_row("SELECT count(*), max(time_ms) FROM scores", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert!(count >= 5_000 && count == last + 1, "{count} {last}");
        let names = fs::read_dir(&copies).unwrap().map(|entry| entry.unwrap().file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with(".leads")).count();
        assert_eq!(left, 0, "nothing is left beside it");
        assert_eq!(Store::open_read_only(folder.path()).unwrap().score_count().unwrap(), 20_000);
    }

    #[test]
    fn a_copy_replaces_nothing_and_leaves_nothing_when_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let check = |file: &Path, expected: &str| {
            let before = fs::read_dir(folder.path()).unwrap().count();
            let error = format!("{:#}", anyhow::Error::from(store.backup(file, |_, _| {}).unwrap_err()));
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
        };
        let taken = folder.path().join("taken");
        fs::write(&taken, "something else").unwrap();
        check(&taken, "is there already; a copy replaces nothing");
        assert_eq!(fs::read_to_string(&taken).unwrap(), "something else");
        check(&folder.path().join("absent/copy"), "No such file");
        let noise = folder.path().join("noise");
        fs::write(&noise, "x".repeat(9_000)).unwrap();
        let error = super::check(&noise).unwrap_err().to_string();
        assert!(error.starts_with("the copy is not sound, and was removed: "), "{error}");
    }
}
