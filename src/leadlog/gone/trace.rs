//! Proof that leads are gone: every file of the state directory is looked through for their ids, as they are and as JSON
//! writes them.
//!
//! Ids of fewer than eight bytes stand everywhere, in digests and in numbers. Of those, what is no database is searched for
//! whole words, and a database row by row, and where it holds no row.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use regex::bytes::{Regex, RegexBuilder};

use super::{
    residue,
    store::{Store, StoreError},
};

/// The least bytes of an id that means something wherever it stands.
const LONG: usize = 8;

/// How much of a file is looked at at once.
const PIECE: usize = 1 << 20;

/// Room for a pattern of many ids.
const PATTERN: usize = 256 << 20;

/// Columns that hold ids: another one that contains this one is no trace.
const IDS: [&str; 3] = ["lead", "deal", "event"];

/// What was looked through, and where something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::leadlog) struct Search {
    /// Files that were looked through.
    pub(in crate::leadlog) files: u64,
    /// Their bytes.
    pub(in crate::leadlog) bytes: u64,
    /// Those that hold an id.
    pub(in crate::leadlog) found: Vec<PathBuf>,
}

/// Ids to look for.
#[derive(Debug)]
pub(in crate::leadlog) struct Ids<'i> {
    ids: Vec<&'i str>,
    /// Of the long ones.
    anywhere: Option<Regex>,
    /// Of the short ones.
    words: Option<Regex>,
    /// The same wherever they stand.
    bare: Option<Regex>,
    longest: usize,
    piece: usize,
}

impl<'i> Ids<'i> {
    /// The error is that of ids that make no pattern: there are too many.
    pub(in crate::leadlog) fn new(ids: &[&'i str]) -> Result<Self, regex::Error> {
        let (long, short): (Vec<&str>, Vec<&str>) = ids.iter().partition(|id| id.len() >= LONG);
        let longest = ids.iter().map(|id| escaped(id).len()).max().unwrap_or(0);
        Ok(Self {
            ids: ids.to_vec(),
            anywhere: pattern(&long, "")?,
            words: pattern(&short, r"(?-u:\b)")?,
            bare: pattern(&short, "")?,
            longest,
            piece: PIECE,
        })
    }

    /// Whether a short one stands in bytes of a database that belong to no row; its rows are asked one by one.
    pub(in crate::leadlog) fn remain_in(&self, database: &Path) -> io::Result<bool> {
        let Some(bare) = &self.bare else { return Ok(false) };
        let shortest = self.ids.iter().map(|id| id.len()).min().unwrap_or(0);
        residue::holds(database, bare, shortest)
    }

    /// Looks through all files of a directory. One that vanishes meanwhile holds nothing.
    pub(in crate::leadlog) fn search(&self, folder: &Path, tell: &mut dyn FnMut(u64)) -> io::Result<Search> {
        let mut search = Search::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                match fs::symlink_metadata(&path) {
                    Ok(of) if of.is_dir() => folders.push(path),
                    Ok(of) if of.is_file() => self.look(path, &mut search, tell)?,
                    // A link's target is somebody else's; pipes and sockets keep nothing.
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        search.found.sort();
        Ok(search)
    }

    fn look(&self, path: PathBuf, search: &mut Search, tell: &mut dyn FnMut(u64)) -> io::Result<()> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        search.files += 1;
        let before = search.bytes;
        let mut read = |bytes: u64| {
            search.bytes = before + bytes;
            tell(search.bytes);
        };
        if self.stand_in(file, is_database(&path), &mut read)? {
            search.found.push(path);
        }
        Ok(())
    }

    /// Whether one stands in what is read.
    fn stand_in(
        &self,
        mut file: impl Read,
        is_database: bool,
        read: &mut dyn FnMut(u64),
    ) -> io::Result<bool> {
        let words = self.words.as_ref().filter(|_| !is_database);
        let (mut piece, mut kept, mut bytes) = (vec![0; self.piece + self.longest + 1], 0, 0);
        let mut is_first = true;
        loop {
            let more = file.read(piece.get_mut(kept..).unwrap_or_default())?;
            let held = piece.get(..kept + more).unwrap_or_default();
            bytes += more as u64;
            read(bytes);
            // Words at either end are looked at with what stands around them.
            let is_whole = |found: regex::bytes::Match<'_>| {
                (is_first || found.start() > 0) && (more == 0 || found.end() < held.len())
            };
            let found = self.anywhere.as_ref().is_some_and(|ids| ids.is_match(held))
                || words.is_some_and(|ids| ids.find_iter(held).any(is_whole));
            if found || more == 0 {
                return Ok(found);
            }
            // The end is looked at once more with what follows it.
            let length = held.len();
            kept = length.min(self.longest + 1);
            is_first &= kept == length;
            piece.copy_within(length - kept..length, 0);
        }
    }
}

/// Any of these, as it is or as JSON writes it; `None` for none.
fn pattern(ids: &[&str], edge: &str) -> Result<Option<Regex>, regex::Error> {
    if ids.is_empty() {
        return Ok(None);
    }
    let forms = ids.iter().flat_map(|id| {
        let json = escaped(id);
        let differs = json != **id;
        std::iter::once((*id).to_owned()).chain(differs.then_some(json))
    });
    let any: Vec<String> = forms.map(|form| regex::escape(&form)).collect();
    let text = format!("{edge}(?:{}){edge}", any.join("|"));
    RegexBuilder::new(&text).size_limit(PATTERN).build().map(Some)
}

/// What JSON makes of a text, without the quotes.
fn escaped(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// Whether a file is the lead log's own.
pub(in crate::leadlog) fn is_database(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| [Store::FILE, "leads.sqlite-wal", "leads.sqlite-shm"].contains(&&*name))
}

impl Store {
    /// The columns that hold one of the ids, each with the number of its rows.
    pub(in crate::leadlog) fn rows_with(&self, ids: &Ids<'_>) -> Result<Vec<(String, u64)>, StoreError> {
        let mut columns = self.connection.prepare(
            "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c
             WHERE t.type = 'table' AND c.type = 'TEXT' ORDER BY 1, 2",
        )?;
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for (table, column) in columns {
            let mut rows = 0;
            for id in &ids.ids {
                rows += self.rows_of((&table, &column), id)?;
            }
            if rows > 0 {
                found.push((format!("{table}.{column}"), rows));
            }
        }
        Ok(found)
    }

    fn rows_of(&self, (table, column): (&str, &str), id: &str) -> Result<u64, StoreError> {
        let holds = if IDS.contains(&column) || id.len() < LONG {
            format!("{column} = ?1 OR instr({column}, '\"' || ?2 || '\"') > 0")
        } else {
            format!("instr({column}, ?1) > 0 OR instr({column}, ?2) > 0")
        };
        let count = format!("SELECT count(*) FROM {table} WHERE {holds}");
        let rows: i64 = self.connection.query_row(&count, [id, &escaped(id)], |row| row.get(0))?;
        Ok(rows.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let check = |id: &str, text: &[u8], expected: bool| {
            let found = Ids::new(&[id]).unwrap().stand_in(text, false, &mut |_| {}).unwrap();
            assert_eq!(found, expected, "{id}");
        };
        check("00Q0000001", b"\x0700Q0000001champion", true);
        check("00Q0000001", b"00Q0000002", false);
        check("00Q0000001", b"", false);
        check("lead \"\n8\"", br#"{"lead":"lead \"\n8\""}"#, true);
        check("a.b.c.d.e", b"aXbXcXdXe", false);
        // Short ones as whole words only.
        check("17", b"lead 17, 2026", true);
        check("17", b"17", true);
        check("17", b"lead 171 and 217", false);
        check("17", b"", false);
    }

    #[test]
    fn an_id_is_found_over_the_edge_of_pieces() {
        for id in ["00Q0000001", "Q17"] {
            let ids = Ids { piece: 50, ..Ids::new(&[id, "a-much-longer-one"]).unwrap() };
            for at in 0..200 {
                let mut text = vec![b' '; 220];
                text[at..at + id.len()].copy_from_slice(id.as_bytes());
                assert!(ids.stand_in(text.as_slice(), false, &mut |_| {}).unwrap(), "{id} {at}");
                let longer = format!("x{id}x");
                text[at..at + longer.len()].copy_from_slice(longer.as_bytes());
                let found = ids.stand_in(text.as_slice(), false, &mut |_| {}).unwrap();
                assert_eq!(found, id.len() >= LONG, "{longer} {at}");
            }
        }
    }

    #[test]
    fn every_file_of_a_directory_is_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("spill/deep")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ledger.jsonl", "nothing 17a");
        write("leads.sqlite", "17 stands everywhere in a database");
        write("spill/deep/1.log", "xx00Q0000001xx");
        let ids = Ids::new(&["00Q0000001", "17"]).unwrap();
        let mut told = 0;
        let search = ids.search(folder.path(), &mut |bytes| told = bytes).unwrap();
        assert_eq!(search.found, [folder.path().join("spill/deep/1.log")]);
        assert_eq!((search.files, search.bytes, told), (3, 59, 59));
        assert!(Ids::new(&[]).unwrap().search(&folder.path().join("absent"), &mut |_| {}).is_err());
    }
}
