//! What a database's file still holds of rows that are gone: free pages, and room within others. Of an id that is so short
//! that it stands in numbers everywhere, only bytes that belong to no row tell anything.
//!
//! The pages are read as <https://www.sqlite.org/fileformat2.html> lays them out. One that is not laid out so, and one that
//! continues a long row, is looked at whole: at worst something is found that is none.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use regex::bytes::Regex;

/// Bytes of the file's header, which stands before what the first page holds.
const HEADER: usize = 100;

/// Bytes that room within a page may have without being listed as free.
const FRAGMENT: usize = 3;

/// Whether one of the ids stands in bytes of a database that belong to no row. `shortest` is the length of the shortest.
pub(in crate::leadlog) fn holds(file: &Path, ids: &Regex, shortest: usize) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let size = match number(&header, 16, 2) {
        Some(1) => 1 << 16,
        Some(size) if size >= 512 => size,
        _ => return Ok(true),
    };
    let free = match free_pages(&mut file, size, number(&header, 32, 4).unwrap_or(0)) {
        // The file is being written: the list is longer than the file is yet.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
        free => free?,
    };
    let mut page = vec![0; size];
    file.seek(SeekFrom::Start(0))?;
    for count in 1.. {
        match file.read_exact(&mut page) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let room =
            if free.contains(&count) { None } else { room(&page, if count == 1 { HEADER } else { 0 }) };
        let found = match room {
            None => ids.is_match(&page),
            Some(room) => {
                (room.has_fragments && shortest <= FRAGMENT)
                    || room
                        .ranges
                        .into_iter()
                        .filter_map(|range| page.get(range))
                        .any(|room| ids.is_match(room))
            }
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The pages that hold nothing: a list of lists, each of which is a page too.
fn free_pages(file: &mut (impl Read + Seek), size: usize, first: usize) -> io::Result<HashSet<usize>> {
    let (mut free, mut list, mut page) = (HashSet::new(), first, vec![0; size]);
    while list > 0 && free.insert(list) {
        file.seek(SeekFrom::Start((list as u64 - 1) * size as u64))?;
        file.read_exact(&mut page)?;
        let count = number(&page, 4, 4).unwrap_or(0).min(size / 4);
        free.extend((0..count).filter_map(|place| number(&page, 8 + 4 * place, 4)));
        list = number(&page, 0, 4).unwrap_or(0);
    }
    Ok(free)
}

/// What belongs to no cell of a tree's page.
struct Room {
    ranges: Vec<Range<usize>>,
    has_fragments: bool,
}

/// `None` where the page is none of a tree, or is not laid out as one.
fn room(page: &[u8], start: usize) -> Option<Room> {
    let head = match page.get(start)? {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return None,
    };
    let cells = number(page, start + 3, 2)?;
    let content = match number(page, start + 5, 2)? {
        0 => 1 << 16,
        content => content,
    };
    let pointers = start + head + 2 * cells;
    let mut ranges: Vec<_> = std::iter::once(pointers..content).collect();
    let mut block = number(page, start + 1, 2)?;
    while block > 0 {
        let next = number(page, block, 2)?;
        ranges.push(block..block + number(page, block + 2, 2)?);
        // They are listed in their order.
        if next > 0 && next <= block {
            return None;
        }
        block = next;
    }
    let is_sound = ranges.iter().all(|range| range.start <= range.end && range.end <= page.len());
    is_sound.then_some(Room { ranges, has_fragments: *page.get(start + 7)? > 0 })
}

/// A number of so many bytes, the highest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn check(statements: &str, id: &str, expected: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Connection::open(&path).unwrap();
        log.execute_batch("PRAGMA secure_delete = fast; CREATE TABLE leads (id TEXT, more BLOB); CREATE INDEX ids ON leads (id)")
            .unwrap();
        log.execute_batch(statements).unwrap();
        log.close().unwrap();
        let found = holds(&path, &Regex::new(id).unwrap(), id.len()).unwrap();
        assert_eq!(found, expected, "{id} after {statements}");
    }

    #[test]
    fn only_what_belongs_to_no_row_is_looked_at() {
        // Ids in their order: what is inserted between others moves these, and leaves bytes of them behind.
        let many = "WITH RECURSIVE n (n) AS (SELECT 1001 UNION ALL SELECT n + 1 FROM n LIMIT 2000)
            INSERT INTO leads SELECT 'id' || n, zeroblob(20) FROM n;";
        let off = "PRAGMA secure_delete = off;";
        check("", "id1077", false);
        check(many, "id1077", false);
        // Room within pages, and whole pages that are free.
        check(&format!("{many} {off} DELETE FROM leads WHERE id = 'id1077'"), "id1077", true);
        check(&format!("{many} {off} DELETE FROM leads WHERE id = 'id1077'"), "id1078", false);
        check(&format!("{many} {off} DELETE FROM leads"), "id2003", true);
        check(&format!("{many} {off} DELETE FROM leads; VACUUM"), "id2003", false);
        check(&format!("{many} PRAGMA secure_delete = on; DELETE FROM leads"), "id2003", false);
        // What continues a long row may be anybody's.
        check("INSERT INTO leads VALUES ('a', zeroblob(9000) || 'id77')", "id77", true);
    }

    #[test]
    fn whatever_a_file_holds_it_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let check = |size: [u8; 2], fill: u8, expected: Option<bool>| {
            let mut file = vec![fill; 4_096];
            file[16..18].copy_from_slice(&size);
            file[32..36].fill(0);
            std::fs::write(&path, file).unwrap();
            let found = holds(&path, &Regex::new("id77").unwrap(), 4);
            assert_eq!(found.ok(), expected, "{size:?} {fill}");
        };
        (0..=255).for_each(|fill| check([4, 0], fill, Some(false)));
        // Pages of no size: nothing is known of any byte.
        check([0, 0], 0, Some(true));
        std::fs::write(&path, "short").unwrap();
        assert!(holds(&path, &Regex::new("id77").unwrap(), 4).is_err());
    }
}
