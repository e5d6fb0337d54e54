//! Where the output goes: standard output, or a file that is there only when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

use super::BatchError;

/// An open output.
pub(super) enum Sink {
    Stdout(io::Stdout),
    /// Written beside its place and renamed in at the end; left out on the way, nothing is there.
    Beside {
        path: PathBuf,
        file: NamedTempFile,
    },
    /// Something that cannot be renamed over: a pipe, a device.
    Direct {
        path: PathBuf,
        file: File,
    },
}

impl Sink {
    /// Opens a file, or standard output. A file that is there stays until the new one is whole.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, BatchError> {
        let Some(path) = path else { return Ok(Sink::Stdout(io::stdout())) };
        Self::file(path).map_err(failed(path))
    }

    fn file(path: &Path) -> io::Result<Self> {
        // A link's target is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&path)?;
            return Ok(Sink::Direct { path, file });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // What is wrong with the folder, before an error names a temporary file that nobody asked for.
        fs::metadata(folder)?;
        let mut builder = Builder::new();
        // As a file that is simply created; temporary ones are their owner's alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.prefix(".scoring-").tempfile_in(folder)?;
        Ok(Sink::Beside { path, file })
    }

    /// The file that is not in its place yet.
    pub(super) fn unfinished(&self) -> Option<&Path> {
        match self {
            Sink::Beside { file, .. } => Some(file.path()),
            Sink::Stdout(_) | Sink::Direct { .. } => None,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BatchError> {
        match self {
            Sink::Stdout(stdout) => stdout.write_all(bytes).map_err(BatchError::Stdout),
            Sink::Beside { path, file } => file.write_all(bytes).map_err(failed(path)),
            Sink::Direct { path, file } => file.write_all(bytes).map_err(failed(path)),
        }
    }

    /// Everything is written: a file takes its place.
    pub(super) fn finish(self) -> Result<(), BatchError> {
        match self {
            Sink::Stdout(mut stdout) => stdout.flush().map_err(BatchError::Stdout),
            Sink::Beside { path, file } => {
                let placed = file.as_file().sync_all().and_then(|()| Ok(file.persist(&path)?));
                placed.map(drop).map_err(failed(&path))
            }
            Sink::Direct { .. } => Ok(()),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BatchError {
    move |reason| BatchError::Output { path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path, text: &str) -> Result<(), BatchError> {
        let mut sink = Sink::open(Some(path))?;
        sink.write(text.as_bytes())?;
        sink.finish()
    }

    #[test]
    fn a_file_is_there_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let names =
            || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"half").unwrap();
        assert!(!path.exists());
        drop(sink);
        assert!(names().is_empty(), "nothing is left beside it");
        written(&path, "old").unwrap();
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        sink.finish().unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names()), ("new", vec!["out.csv".into()]));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["out.csv", "link.csv"].map(|name| folder.path().join(name));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        written(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;

        written(Path::new("/dev/null"), "text").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("absent/out.csv"), folder.path().to_owned()] {
            let error = format!("{:#}", anyhow::Error::from(written(&path, "").unwrap_err()));
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            assert!(error.matches("os error").count() == 1 && !error.contains(".scoring-"), "{error}");
        }
    }
}
