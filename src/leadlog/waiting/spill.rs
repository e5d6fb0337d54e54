//! Files in which records wait while SQLite cannot take them: `spill/<number>.log`, read in the order in which they were
//! written, each removed once all of it is in the lead log.
//!
//! How far the oldest file has been read stands in the lead log itself, and is written in the transaction that writes what
//! was read. So a process that is killed, at whatever point, neither loses a record that is in a file nor writes it twice.
//! Numbers are never used again, so that a place of old says nothing of a new file.
//!
//! What goes wrong: a file that cannot be written to the end is cut back to where it was, and the records stay with
//! whoever had them. A last line that a crash cut off was never promised, and is left out. A damaged line is left out and
//! counted as lost, and so are all of a file that cannot be read. A machine that loses power may lose what the system had
//! not put on the disk yet, as SQLite does too.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::store::StoreError;

/// A file's size from which on another one is begun.
const SEGMENT: u64 = 4 << 20;

/// Bytes that are read at once, and written in one transaction.
const PIECE: u64 = 1 << 20;

/// Files that the bound is shared by at least, so that dropping the oldest does not drop everything.
const SHARES: u64 = 8;

/// Files that wait, oldest first.
#[derive(Debug)]
pub(in crate::leadlog) struct Spill {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    /// The last one, while it grows.
    file: Option<File>,
    /// No number up to this is used again.
    last: i64,
    /// The file that is being read; it is not dropped meanwhile.
    reading: Option<i64>,
}

/// Files of earlier processes, oldest first.
#[derive(Debug)]
pub(in crate::leadlog) struct Found {
    folder: PathBuf,
    ids: Vec<i64>,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::leadlog) struct Segment {
    id: i64,
    /// What is before this is in the lead log.
    from: u64,
    /// What is behind this is no whole line.
    end: u64,
    /// Lines in between.
    records: u64,
}

/// How far the files have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::leadlog) struct Place {
    pub(in crate::leadlog) segment: i64,
    pub(in crate::leadlog) offset: u64,
}

/// What is to be read next.
#[derive(Clone, Debug)]
pub(in crate::leadlog) struct Chunk {
    file: PathBuf,
    from: u64,
    /// Its end, once it has been read.
    pub(in crate::leadlog) place: Place,
    /// Its lines.
    pub(in crate::leadlog) records: u64,
}

impl Spill {
    /// The directory's name in the state directory.
    pub(in crate::leadlog) const FOLDER: &'static str = "spill";

    /// Place in `state`, and the files that earlier processes left there. Nothing is created before there is something to
    /// write.
    pub(in crate::leadlog) fn new(state: &Path) -> (Self, Found) {
        let folder = state.join(Self::FOLDER);
        let mut ids = numbers(&folder);
        ids.sort_unstable();
        let last = ids.last().copied().unwrap_or(0);
        let found = Found { folder: folder.clone(), ids };
        (Self { folder, segments: VecDeque::new(), file: None, last, reading: None }, found)
    }

    /// Puts files of earlier processes before all others. Nothing may have been read yet.
    pub(in crate::leadlog) fn adopt(&mut self, older: Vec<Segment>) {
        older.into_iter().rev().for_each(|segment| self.segments.push_front(segment));
    }

    /// Whether records wait in files.
    pub(in crate::leadlog) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Records that wait.
    pub(in crate::leadlog) fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }

    /// Bytes that the files take.
    pub(in crate::leadlog) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// Goes on from where the lead log was when it was last written.
    pub(in crate::leadlog) fn resume(&mut self, place: Place) {
        self.last = self.last.max(place.segment);
        let path = self.path(place.segment);
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.id == place.segment) else {
            return;
        };
        if place.offset > segment.from {
            let after = count(&path, place.offset, segment.end).map_or(0, |(_, records)| records);
            (segment.from, segment.records) = (place.offset.min(segment.end), after);
        }
        self.remove_read();
    }

    /// Writes lines behind all others, where they fit into `bound` bytes, and returns how many older ones were dropped for
    /// them.
    pub(in crate::leadlog) fn append(
        &mut self,
        lines: &[u8],
        records: u64,
        (bound, now_ms): (u64, i64),
    ) -> Result<u64, StoreError> {
        let length = lines.len() as u64;
        if length > bound {
            return Err(StoreError::NoRoom);
        }
        let mut dropped = 0;
        while self.bytes() + length > bound {
            dropped += self.drop_oldest().ok_or(StoreError::NoRoom)?;
        }
        match (&self.file, self.segments.back_mut()) {
            (Some(file), Some(segment)) if segment.end < SEGMENT.min(bound / SHARES) => {
                grow(file, lines, segment.end).map_err(|source| unwritten(&self.folder, source))?;
                segment.end += length;
                segment.records += records;
            }
            _ => {
                let id = now_ms.max(self.last.saturating_add(2));
                self.file = Some(self.begin(id, lines)?);
                self.last = id;
                self.segments.push_back(Segment { id, from: 0, end: length, records });
            }
        }
        Ok(dropped)
    }

    /// Writes lines before all others.
    pub(in crate::leadlog) fn prepend(
        &mut self,
        lines: &[u8],
        records: u64,
        (bound, now_ms): (u64, i64),
    ) -> Result<(), StoreError> {
        let Some(first) = self.segments.front() else {
            return self.append(lines, records, (bound, now_ms)).map(|_| ());
        };
        // Numbers leave a gap before each, and what is put there is read before anything else gets there.
        let id = first.id - 1;
        if self.bytes() + lines.len() as u64 > bound || self.path(id).exists() {
            return Err(StoreError::NoRoom);
        }
        self.begin(id, lines)?;
        self.segments.push_front(Segment { id, from: 0, end: lines.len() as u64, records });
        Ok(())
    }

    /// What is to be read next. Until it is told to be done, it is not dropped.
    pub(in crate::leadlog) fn next(&mut self) -> Option<Chunk> {
        let Segment { id, from, end, records } = *self.segments.front()?;
        self.reading = Some(id);
        Some(Chunk { file: self.path(id), from, place: Place { segment: id, offset: end }, records })
    }

    /// A chunk is in the lead log, or lost.
    pub(in crate::leadlog) fn done(&mut self, chunk: &Chunk) {
        self.reading = None;
        let Some(segment) = self.segments.front_mut().filter(|segment| segment.id == chunk.place.segment)
        else {
            return;
        };
        segment.from = chunk.place.offset;
        segment.records = segment.records.saturating_sub(chunk.records);
        self.remove_read();
    }

    /// A chunk could not be written and will be asked for again.
    pub(in crate::leadlog) fn put_back(&mut self) {
        self.reading = None;
    }

    /// Removes files of which nothing is left to read.
    fn remove_read(&mut self) {
        while let Some(segment) = self.segments.front().filter(|segment| segment.from >= segment.end).copied()
        {
            if self.segments.len() == 1 {
                self.file = None;
            }
            self.segments.pop_front();
            self.remove(segment.id);
        }
    }

    /// Removes a file, or empties it: otherwise the next process would read it once more.
    fn remove(&self, id: i64) {
        let path = self.path(id);
        let removed = fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => File::create(&path).map(drop),
        });
        if let Err(error) = removed {
            tracing::error!(file = %path.display(), %error, "cannot remove a spill file that has been read");
        }
    }

    /// Removes the oldest file that is not being read, and says how many records that were.
    fn drop_oldest(&mut self) -> Option<u64> {
        let place = self.segments.iter().position(|segment| self.reading != Some(segment.id))?;
        let segment = self.segments.remove(place)?;
        if place == self.segments.len() {
            self.file = None;
        }
        self.remove(segment.id);
        Some(segment.records)
    }

    fn begin(&self, id: i64, lines: &[u8]) -> Result<File, StoreError> {
        let path = self.path(id);
        let begun = fs::create_dir_all(&self.folder)
            // They hold what the lead log holds.
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))
            .and_then(|file| file.write_all_at(lines, 0).map(|()| file));
        begun.map_err(|source| {
            if source.kind() != io::ErrorKind::AlreadyExists {
                _ = fs::remove_file(&path);
            }
            unwritten(&self.folder, source)
        })
    }

    fn path(&self, id: i64) -> PathBuf {
        path(&self.folder, id)
    }
}

impl Found {
    /// How much there is in them. All of it is read for that, which takes seconds where it is much.
    pub(in crate::leadlog) fn measure(self) -> Vec<Segment> {
        let measured = |id| {
            let file = path(&self.folder, id);
            match measure(&file) {
                Ok((end, records)) => Some(Segment { id, from: 0, end, records }),
                Err(error) => {
                    tracing::error!(file = %file.display(), %error, "cannot read a spill file; it is left alone");
                    None
                }
            }
        };
        self.ids.into_iter().filter_map(measured).collect()
    }
}

impl Chunk {
    /// Its lines, where they are many the first of them. The chunk is then what was read.
    pub(in crate::leadlog) fn read(&mut self) -> io::Result<Vec<u8>> {
        let file = File::open(&self.file)?;
        let length = self.place.offset.saturating_sub(self.from);
        let mut lines = read(&file, self.from, length.min(PIECE))?;
        match memchr::memrchr(b'\n', &lines) {
            Some(last) => lines.truncate(last + 1),
            // One line alone is longer.
            None => lines = read(&file, self.from, length)?,
        }
        self.place.offset = self.from + lines.len() as u64;
        self.records = memchr::memchr_iter(b'\n', &lines).count() as u64;
        Ok(lines)
    }

    /// Takes a file that cannot be read out of the way, for a person to look at.
    pub(in crate::leadlog) fn set_aside(&self) -> PathBuf {
        let aside = self.file.with_extension("unreadable");
        // Where that fails, the file is removed with the others that have been read.
        _ = fs::rename(&self.file, &aside);
        aside
    }
}

fn read(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// Appends to a file that is `end` long, or leaves it so long.
fn grow(file: &File, lines: &[u8], end: u64) -> io::Result<()> {
    file.write_all_at(lines, end).inspect_err(|_| {
        // What stands behind the end is not read by this process; the next one would read whole lines of it.
        _ = file.set_len(end);
    })
}

fn unwritten(folder: &Path, source: io::Error) -> StoreError {
    StoreError::Spill { folder: folder.display().to_string(), source }
}

fn path(folder: &Path, id: i64) -> PathBuf {
    folder.join(format!("{id:020}.log"))
}

/// The numbers of the files in a directory, which may be missing.
fn numbers(folder: &Path) -> Vec<i64> {
    let number = |name: &str| name.strip_suffix(".log")?.parse().ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect()
}

/// Where a file's last whole line ends, and how many lines it has.
fn measure(path: &Path) -> io::Result<(u64, u64)> {
    count(path, 0, u64::MAX)
}

/// Where the last whole line between two places ends, and how many lines there are between them.
fn count(path: &Path, from: u64, to: u64) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
    let (mut block, mut at, mut end, mut lines) = (vec![0; 64 << 10], from, from, 0);
    let mut file = file.take(to.saturating_sub(from));
    loop {
        let read = match file.read(&mut block)? {
            0 => return Ok((end, lines)),
            read => block.get(..read).unwrap_or_default(),
        };
        if let Some(last) = memchr::memrchr(b'\n', read) {
            end = at + last as u64 + 1;
            lines += memchr::memchr_iter(b'\n', read).count() as u64;
        }
        at += read.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: (u64, i64) = (1 << 20, 1_000);

    fn open(state: &Path) -> Spill {
        let (mut spill, found) = Spill::new(state);
        spill.adopt(found.measure());
        spill
    }

    fn files(state: &Path) -> Vec<String> {
        let folder = state.join(Spill::FOLDER);
        let mut files: Vec<_> = fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        files.sort();
        files
    }

    fn take(spill: &mut Spill) -> Option<String> {
        let mut chunk = spill.next()?;
        let lines = chunk.read().unwrap();
        spill.done(&chunk);
        Some(String::from_utf8(lines).unwrap())
    }

    #[test]
    fn what_is_written_first_is_read_first() {
        let state = tempfile::tempdir().unwrap();
        let mut spill = open(state.path());
        assert!(spill.is_empty() && files(state.path()).is_empty());
        spill.append(b"b\n", 1, ROOM).unwrap();
        spill.append(b"c\nd\n", 2, ROOM).unwrap();
        spill.prepend(b"a\n", 1, ROOM).unwrap();
        assert_eq!((spill.records(), spill.bytes(), files(state.path()).len()), (4, 8, 2));
        assert_eq!(take(&mut spill).as_deref(), Some("a\n"));
        let mut chunk = spill.next().unwrap();
        // What comes while it is read is read later.
        spill.append(b"e\n", 1, ROOM).unwrap();
        assert_eq!(chunk.read().unwrap(), b"b\nc\nd\n");
        spill.put_back();
        assert_eq!(take(&mut spill).as_deref(), Some("b\nc\nd\ne\n"));
        assert!(spill.is_empty() && files(state.path()).is_empty());
        spill.prepend(b"f\n", 1, ROOM).unwrap();
        assert_eq!(files(state.path()), ["00000000000000001002.log"], "no number twice");
    }

    #[test]
    fn another_process_goes_on_where_this_one_ended() {
        // Written, where the log had got to, what is left.
        let check = |written: &[&str], read: Option<(i64, u64)>, left: &[&str]| {
            let state = tempfile::tempdir().unwrap();
            let folder = state.path().join(Spill::FOLDER);
            fs::create_dir(&folder).unwrap();
            for (text, id) in written.iter().zip(1..) {
                fs::write(folder.join(format!("{id:020}.log")), text).unwrap();
            }
            fs::write(folder.join("notes.txt"), "a\n").unwrap();
            let mut spill = open(state.path());
            if let Some((segment, offset)) = read {
                spill.resume(Place { segment, offset });
            }
            let records: usize = left.iter().map(|text| text.lines().count()).sum();
            assert_eq!(spill.records(), records as u64, "{written:?} {read:?}");
            let found: Vec<String> = std::iter::from_fn(|| take(&mut spill)).collect();
            assert_eq!(
                found.iter().filter(|text| !text.is_empty()).collect::<Vec<_>>(),
                left,
                "{written:?} {read:?}"
            );
            assert_eq!(files(state.path()), ["notes.txt"]);
        };
        check(&[], None, &[]);
        check(&["a\nb\n", "c\n"], None, &["a\nb\n", "c\n"]);
        check(&["a\nb\n", "c\n"], Some((1, 2)), &["b\n", "c\n"]);
        check(&["a\nb\n", "c\n"], Some((1, 4)), &["c\n"]);
        check(&["a\nb\n", "c\n"], Some((2, 2)), &["a\nb\n"]);
        check(&["a\nb\n"], Some((9, 2)), &["a\nb\n"]);
        check(&["a\nb\n"], Some((1, 99)), &[]);
        check(&["a\nb"], None, &["a\n"]);
        check(&["a", "", "b\n"], None, &["b\n"]);
    }

    #[test]
    fn a_number_that_the_log_has_read_is_not_given_again() {
        let state = tempfile::tempdir().unwrap();
        let mut spill = open(state.path());
        spill.resume(Place { segment: 5_000, offset: 3 });
        spill.append(b"a\n", 1, ROOM).unwrap();
        assert_eq!(files(state.path()), ["00000000000000005002.log"]);
    }

    #[test]
    fn of_too_much_the_oldest_is_dropped_and_counted() {
        let state = tempfile::tempdir().unwrap();
        let mut spill = open(state.path());
        let room = (64, 1);
        let mut dropped = 0;
        for line in [
            "aaaaaaa\n",
            "bbbbbbb\n",
            "ccccccc\n",
            "ddddddd\n",
            "eeeeeee\n",
            "fffffff\n",
            "ggggggg\n",
            "hhhhhhh\n",
        ] {
            dropped += spill.append(line.as_bytes(), 1, room).unwrap();
        }
        assert_eq!((dropped, spill.bytes(), files(state.path()).len()), (0, 64, 8));
        let mut chunk = spill.next().unwrap();
        // What is being read stays, and the one behind it goes.
        assert_eq!(spill.append(b"iiiiiii\n", 1, room).unwrap(), 1);
        assert_eq!(chunk.read().unwrap(), b"aaaaaaa\n");
        spill.done(&chunk);
        assert_eq!(take(&mut spill).as_deref(), Some("ccccccc\n"));
        assert_eq!((spill.records(), spill.bytes()), (6, 48));
        assert!(matches!(spill.append(&[b'x'; 65], 1, room), Err(StoreError::NoRoom)));
        assert!(matches!(spill.append(b"a\n", 1, (0, 1)), Err(StoreError::NoRoom)));
        assert!(matches!(spill.prepend(&[b'x'; 60], 1, room), Err(StoreError::NoRoom)));
        assert_eq!(spill.records(), 6);
    }

    #[test]
    fn large_files_are_not_added_to() {
        let state = tempfile::tempdir().unwrap();
        let mut spill = open(state.path());
        let megabyte = [&[b'x'; (1 << 20) - 1][..], b"\n"].concat();
        for _ in 0..5 {
            spill.append(&megabyte, 1, (1 << 30, 1)).unwrap();
        }
        assert_eq!((files(state.path()).len(), spill.records()), (2, 5));
    }

    #[test]
    fn much_is_read_in_pieces_of_whole_lines() {
        let state = tempfile::tempdir().unwrap();
        let mut spill = open(state.path());
        let line = |length: usize| [&vec![b'x'; length - 1][..], b"\n"].concat();
        let lengths = [600 << 10, 600 << 10, 400 << 10, 3 << 20, 1];
        let lines: Vec<u8> = lengths.into_iter().flat_map(line).collect();
        spill.append(&lines, 5, (1 << 30, 1)).unwrap();
        let read: Vec<(usize, u64)> =
            std::iter::from_fn(|| Some((take(&mut spill)?.len(), spill.records()))).collect();
        assert_eq!(read, [(600 << 10, 4), (1_000 << 10, 2), ((3 << 20) + 1, 0)]);
        assert!(files(state.path()).is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(Spill::FOLDER), "a file where the directory should be").unwrap();
        let mut spill = open(state.path());
        let error = spill.append(b"a\n", 1, ROOM).unwrap_err();
        assert!(error.to_string().starts_with("cannot write to "), "{error}");
        assert!(spill.is_empty());
    }
}
