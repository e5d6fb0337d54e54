//! What has been done of a retraining: a folder `<state>/retrain/<model>/` under a lock, with a file of the steps and the
//! fitted model. A folder that cannot be read is begun anew: it holds nothing that cannot be made again.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::run::RetrainError;
use crate::{
    registry::{self, Search},
    score::{Kind, Schema},
    train::{Candidate, publish::STUDY},
};

const STEPS: &str = "steps.json";
const MODEL: &str = "fitted";
const LOCK: &str = "lock";

/// The work on one model.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    pub(super) steps: Steps,
    _lock: File,
}

/// A process that was killed as it began another (git, for the commit) leaves the lock to it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// After this long, in milliseconds, leads as of then are too old to go on with: another run would bring newer ones.
const STALE_MS: i64 = 7 * 86_400_000;

/// What is done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Steps {
    /// What was asked for, and when: the lead log is read as of then, or the run would never find its leads again.
    pub(super) asked: Asked,
    /// Says what is trained from what: another key is another run.
    pub(super) key: String,
    /// The model was fitted.
    pub(super) fitted: Option<Kept>,
    /// A version of this name and digest is on its way to the disk, or on it.
    pub(super) written: Option<Written>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// A digest of the options.
    pub(super) options: String,
    /// Milliseconds since 1970.
    pub(super) now_ms: i64,
}

/// A fitted model, without its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) schema: Schema,
    /// The file's name in a version's folder.
    pub(super) file: String,
    /// SHA-256 of the file.
    pub(super) digest: String,
    pub(super) network: String,
    /// The best of every family that was tried.
    pub(super) candidates: Vec<Candidate>,
    /// The search, where there was one.
    pub(super) search: Option<Search>,
}

impl Kept {
    /// Of the one that was kept, on validation leads.
    pub(super) fn auc(&self) -> f64 {
        let own = self.candidates.iter().filter(|candidate| candidate.network == self.network);
        own.map(|candidate| candidate.auc).fold(0.0, f64::max)
    }
}

/// A version on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) version: String,
    /// Of its manifest.
    pub(super) digest: String,
}

impl Work {
    /// Takes the work on a model, for this process alone.
    pub(super) fn open(state: &Path, model: &str) -> Result<Self, RetrainError> {
        let folder = state.join("retrain").join(model);
        let failed = |reason| RetrainError::Work { path: folder.clone(), reason };
        fs::create_dir_all(&folder).map_err(failed)?;
        let options = File::options().create(true).append(true).open(folder.join(LOCK)).map_err(failed)?;
        let since = Instant::now();
        loop {
            match options.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(RetrainError::Busy { model: model.to_owned() }),
                Err(TryLockError::Error(reason)) => return Err(failed(reason)),
            }
        }
        let text = fs::read(folder.join(STEPS)).unwrap_or_default();
        let steps = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Self { folder, steps, _lock: options })
    }

    /// When the run began that was broken off, where the same is asked for again.
    pub(super) fn began_ms(&self, asked: &Asked) -> Option<i64> {
        let before = &self.steps.asked;
        let age = asked.now_ms.saturating_sub(before.now_ms);
        (before.options == asked.options && (0..STALE_MS).contains(&age)).then_some(before.now_ms)
    }

    /// Begins a run, or goes on with the one that was broken off; what another one left is dropped. Says what was found.
    pub(super) fn begin(&mut self, key: &str, asked: Asked) -> Result<Option<String>, RetrainError> {
        let Steps { key: before, fitted, written, .. } = &self.steps;
        let is_same = before == key;
        let found = match (is_same, fitted, written) {
            (true, None, None) if self.study().exists() => {
                Some("going on with a run that was broken off in its search".to_owned())
            }
            (true, None, None) => None,
            (true, _, Some(_)) => Some("going on with a run that was broken off at its version".to_owned()),
            (true, Some(_), None) => Some("going on with a run that was broken off after fitting".to_owned()),
            // A search that may be of use goes on by itself, and another stays where it is.
            (false, None, None) => None,
            (false, _, written) => {
                let stays =
                    written.as_ref().map(|written| format!("; version {} of it stays", written.version));
                let dropped = "a run over other leads or options was broken off, and is dropped";
                Some(format!("{dropped}{}", stays.unwrap_or_default()))
            }
        };
        if !is_same {
            self.steps = Steps { asked, key: key.to_owned(), ..Steps::default() };
            self.save()?;
        }
        Ok(found)
    }

    /// The journal of the search.
    pub(super) fn study(&self) -> PathBuf {
        self.folder.join(STUDY)
    }

    /// The fitted model's bytes, where they are whole.
    pub(super) fn fitted(&self) -> Option<(Kept, Vec<u8>)> {
        let kept = self.steps.fitted.clone()?;
        let bytes = registry::read(&self.folder, MODEL, registry::MAX_FILE).ok()?;
        (registry::sha256(&bytes) == kept.digest).then_some((kept, bytes))
    }

    /// Keeps a fitted model.
    pub(super) fn keep(&mut self, kept: Kept, bytes: &[u8]) -> Result<(), RetrainError> {
        self.put(MODEL, bytes)?;
        self.steps.fitted = Some(kept);
        self.save()
    }

    /// Remembers a version before it is written.
    pub(super) fn writes(&mut self, written: Written) -> Result<(), RetrainError> {
        self.steps.written = Some(written);
        self.save()
    }

    /// The run is over: nothing of it is needed any more. The folder stays, for its lock.
    pub(super) fn end(self) {
        for name in [STEPS, MODEL, STUDY] {
            _ = fs::remove_file(self.folder.join(name));
        }
    }

    fn save(&self) -> Result<(), RetrainError> {
        let text = serde_json::to_vec(&self.steps).map_err(|error| self.failed(STEPS, error.into()))?;
        self.put(STEPS, &text)
    }

    /// Written beside and renamed in.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), RetrainError> {
        let written = tempfile::NamedTempFile::new_in(&self.folder).and_then(|mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(self.folder.join(name)).map_err(io::Error::from)
        });
        written.map(drop).map_err(|reason| self.failed(name, reason))
    }

    fn failed(&self, name: &str, reason: io::Error) -> RetrainError {
        RetrainError::Work { path: self.folder.join(name), reason }
    }
}
