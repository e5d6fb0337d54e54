//! Hints that something on disk may have changed.
//!
//! Directories are watched, never files: inotify follows a link to the file behind it, so a watch on a Kubernetes
//! ConfigMap's file goes deaf at the first swap, while its directory sees every rename of `..data`. No event is
//! filtered by name, and none is trusted: each only says "look again". A poll says the same when no event comes, be it
//! for want of watches, on a network file system, or because a watched directory was itself replaced.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::deployment::folders;

/// How often to look where nothing says so.
pub const POLL: Duration = Duration::from_secs(30);

/// Quiet for this long, and a burst of events is over: copying a folder or swapping a ConfigMap takes several.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that is never quiet still gets a look this often.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches the models' directories and those of files. Dropping it stops the watch.
#[derive(Debug)]
pub struct Watch {
    signals: SyncSender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `look` on a thread of its own: at once, after something may have changed below `models` (two levels: models
    /// and versions) or in the directory of one of `files`, and every `poll` in any case. Which files these are is asked
    /// before and after each look, since a look may change it.
    pub fn start(
        models: &Path,
        files: impl Fn() -> Vec<PathBuf> + Send + 'static,
        poll: Duration,
        look: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        // One waiting signal says as much as a thousand.
        let (signals, received) = sync_channel(1);
        let mut watched = Watched::new(models, Box::new(files), signals.clone());
        let thread = thread::Builder::new()
            .name("watch".into())
            .spawn(move || run(&received, &mut watched, poll, look))?;
        Ok(Self { signals, thread: Some(thread) })
    }

    /// What makes it look now, without waiting for the end of a burst.
    pub fn now(&self) -> impl Fn() + Send + Sync + 'static {
        let signals = self.signals.clone();
        // Where another signal waits, a look is on its way.
        move || _ = signals.try_send(Signal::Now)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Fails only if the thread is gone already.
        _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

#[derive(Debug, PartialEq)]
enum Signal {
    Changed,
    Now,
    Stop,
}

fn run(signals: &Receiver<Signal>, watched: &mut Watched, poll: Duration, mut look: impl FnMut()) {
    loop {
        // New directories first: what is written into them from here on is seen, what was written before is read.
        watched.arm();
        look();
        if watched.arm() {
            // What changed in these before they were watched, nobody told.
            look();
        }
        match signals.recv_timeout(poll) {
            Ok(Signal::Changed) if settle(signals) => {}
            Ok(Signal::Now) => {}
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits for the end of a burst; false when told to stop.
fn settle(signals: &Receiver<Signal>) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match signals.recv_timeout(QUIET) {
            Ok(Signal::Changed) => {}
            Ok(Signal::Now) => return true,
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// The directories under watch.
struct Watched {
    models: PathBuf,
    files: Box<dyn Fn() -> Vec<PathBuf> + Send>,
    /// None where the system has no watches left; the poll goes on alone.
    watcher: Option<RecommendedWatcher>,
    /// Each directory's device and inode, to know when another one has taken its path.
    armed: HashMap<PathBuf, (u64, u64)>,
    complained: bool,
}

impl Watched {
    fn new(models: &Path, files: Box<dyn Fn() -> Vec<PathBuf> + Send>, signals: SyncSender<Signal>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if is_hint(&event) {
                _ = signals.try_send(Signal::Changed);
            }
        });
        let mut watched = Self {
            models: models.to_owned(),
            files,
            watcher: None,
            armed: HashMap::new(),
            complained: false,
        };
        match watcher {
            Ok(watcher) => watched.watcher = Some(watcher),
            Err(error) => watched.complain(Path::new("anything"), &error),
        }
        watched
    }

    /// Watches every directory that is there now, those that were there before as well: the kernel forgets a watch
    /// with its directory, and a new directory may even get the old one's inode. Whether one is new.
    fn arm(&mut self) -> bool {
        let Some(mut watcher) = self.watcher.take() else { return false };
        let mut is_new = false;
        let mut before = std::mem::take(&mut self.armed);
        for directory in self.directories() {
            let Ok(metadata) = fs::metadata(&directory) else { continue };
            let inode = (metadata.dev(), metadata.ino());
            let known = before.remove(&directory);
            if known.is_some_and(|old| old != inode) {
                _ = watcher.unwatch(&directory);
            }
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    is_new |= known != Some(inode);
                    self.armed.insert(directory, inode);
                }
                Err(error) => self.complain(&directory, &error),
            }
        }
        for gone in before.keys() {
            _ = watcher.unwatch(gone);
        }
        self.watcher = Some(watcher);
        is_new
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        let below = |directory: &Path| -> Vec<PathBuf> {
            let names = folders(directory).unwrap_or_default();
            names.iter().map(|name| directory.join(&**name)).collect()
        };
        let models = below(&self.models);
        let versions: Vec<_> = models.iter().flat_map(|model| below(model)).collect();
        let files = (self.files)();
        files
            .iter()
            .map(|file| directory_of(file))
            .chain([self.models.clone()])
            .chain(models)
            .chain(versions)
            .collect()
    }

    fn complain(&mut self, path: &Path, error: &notify::Error) {
        // A directory that vanished while we looked is no reason to complain.
        if matches!(error.kind, notify::ErrorKind::PathNotFound) || self.complained {
            return;
        }
        self.complained = true;
        tracing::warn!(path = %path.display(), %error, "cannot watch; changes are seen by polling only");
    }
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reading is an event too: our own look must not lead to the next one. Errors are hints, since they may stand for lost
/// events.
fn is_hint(event: &notify::Result<Event>) -> bool {
    !matches!(event, Ok(Event { kind: EventKind::Access(_), .. }))
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn our_own_reading_is_no_hint() {
        let event = |kind| is_hint(&Ok(Event::new(kind)));
        assert!(!event(EventKind::Access(AccessKind::Any)));
        assert!(event(EventKind::Modify(ModifyKind::Name(RenameMode::To))) && event(EventKind::Other));
        assert!(is_hint(&Err(notify::Error::generic("queue overflow"))));
    }
}
