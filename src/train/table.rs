//! A table of past leads as it was read: CSV, JSON lines or the lead log, all as texts by column.
//!
//! A text is kept once for all rows that have it, so a table costs four bytes a cell beside its different texts. What a
//! column is, is decided later, by the rows that train.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value as Json;

use super::{
    TrainError,
    columns::shown,
    format::{self, Form},
};
use crate::{
    lead::{self, FeatureType, Value},
    leadlog,
};

/// More are no columns but keys that hold data, and each costs memory for every row.
const MOST_COLUMNS: usize = 4096;

/// Longest line of JSON in bytes.
const LONGEST: u64 = 16 << 20;

/// The code of a cell without a value. No table has as many texts.
pub(super) const MISSING: u32 = u32::MAX;

/// Columns of texts, and where each row stood.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Texts>,
    places: HashMap<String, usize>,
    files: Vec<PathBuf>,
    /// File and line of each row.
    rows: Vec<(usize, u64)>,
    /// Holds leads as they were scored: what it does not have, they did not have either.
    scored: bool,
}

/// One column.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) name: String,
    /// The different texts, in the order in which they came.
    pub(super) words: Vec<String>,
    /// Codes of those that say that there is no value.
    markers: Vec<u32>,
    places: HashMap<String, u32>,
    codes: Vec<u32>,
    /// Texts are words, whatever they look like: the source knows types.
    pub(super) quoted: bool,
    /// Holds objects or lists.
    pub(super) nested: bool,
    /// Values that the lead log may not keep stood here.
    pub(super) withheld: bool,
    /// `true` and `false` are JSON's own, no words.
    truths: bool,
}

impl Table {
    /// Reads the files of one table, in the order of their names: the command line's makes no difference.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, TrainError> {
        let mut files = files.to_vec();
        files.sort_by_key(|file| (file.file_name().map(ToOwned::to_owned), file.clone()));
        let (mut table, mut seen) = (Self::default(), HashSet::new());
        for file in files {
            // Its rows would stand on both sides of the split. A file that is not there is told of when it is read.
            if file.canonicalize().is_ok_and(|place| !seen.insert(place)) {
                return Err(TrainError::data(&file, "is given twice".into()));
            }
            table.read_file(&file)?;
        }
        Ok(table)
    }

    /// An empty one of the lead log, called so in errors.
    pub(super) fn of(source: &Path) -> Self {
        Self { files: vec![source.into()], scored: true, ..Self::default() }
    }

    /// Some rows, in this order, and all columns but one.
    pub(super) fn only(&self, rows: &[usize], without: &str) -> Self {
        let wanted = self.columns.iter().filter(|column| column.name != without);
        let columns: Vec<Texts> = wanted.map(|column| column.only(rows)).collect();
        let places = columns.iter().zip(0..).map(|(column, place)| (column.name.clone(), place)).collect();
        let rows = rows.iter().filter_map(|row| self.rows.get(*row).copied()).collect();
        Self { columns, places, files: self.files.clone(), rows, scored: self.scored }
    }

    /// The column of a feature, for whoever reads it as leads are read.
    pub(super) fn feature(&self, name: &str) -> Option<&Texts> {
        self.column(name).ok()
    }

    /// Whether it is not known what the leads have of a feature.
    pub(super) fn lacks(&self, name: &str) -> bool {
        self.feature(name).map_or(!self.scored, |column| column.nested || column.withheld)
    }

    /// The first file, for errors that are of no single one.
    pub(super) fn path(&self) -> &Path {
        self.files.first().map(PathBuf::as_path).unwrap_or(Path::new("no file"))
    }

    /// The names of the files, without their folders.
    pub(super) fn source(&self) -> String {
        let name = |file: &PathBuf| super::publish::file_name(file);
        self.files.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// How many leads.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// In the order of their names.
    pub(super) fn columns(&self) -> Vec<&Texts> {
        let mut columns: Vec<&Texts> = self.columns.iter().collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        columns
    }

    /// A column that somebody named.
    pub(super) fn column(&self, name: &str) -> Result<&Texts, TrainError> {
        let found = self.places.get(name).and_then(|place| self.columns.get(*place));
        found.ok_or_else(|| TrainError::data(self.path(), format!("column `{name}` is missing")))
    }

    /// A cell that cannot be used.
    pub(super) fn refuse(&self, row: usize, column: &str, reason: &'static str) -> TrainError {
        let (file, line) = self.rows.get(row).copied().unwrap_or_default();
        TrainError::cell(self.files.get(file).map_or(self.path(), PathBuf::as_path), line, column, reason)
    }

    /// Adds a row of the lead log, whose texts are words. `false` where it is no object of plain values.
    pub(super) fn push_scored(&mut self, features: &str) -> Result<bool, TrainError> {
        let Ok(object) = serde_json::from_str::<serde_json::Map<String, Json>>(features) else {
            return Ok(false);
        };
        for (name, value) in &object {
            let place = self.place(name)?;
            if leadlog::is_withheld(value) {
                self.columns.get_mut(place).into_iter().for_each(|column| column.withheld = true);
            } else {
                self.set(place, value, true);
            }
        }
        self.rows.push((0, self.rows.len() as u64 + 1));
        Ok(true)
    }

    fn read_file(&mut self, file: &Path) -> Result<(), TrainError> {
        let (form, reader) = format::open(file)?;
        self.files.push(file.to_owned());
        match form {
            Form::Lines => self.read_lines(file, reader),
            Form::Csv { separator } => self.read_csv(file, format::csv(separator, reader)),
        }
    }

    fn read_csv(&mut self, file: &Path, mut reader: csv::Reader<impl Read>) -> Result<(), TrainError> {
        let header = format::header(file, &mut reader)?;
        self.check_alike(file, &header)?;
        let places: Vec<usize> = header.iter().map(|name| self.place(name)).collect::<Result<_, _>>()?;
        let mut record = csv::ByteRecord::new();
        let unreadable = |reason| TrainError::Csv { file: file.into(), reason };
        while reader.read_byte_record(&mut record).map_err(unreadable)? {
            let line = record.position().map_or(0, csv::Position::line);
            let row = self.rows.len();
            for (place, cell) in places.iter().zip(&record) {
                let Some(column) = self.columns.get_mut(*place) else { continue };
                column.set(row, format::cell(file, line, &column.name, cell)?);
            }
            self.rows.push((self.files.len() - 1, line));
        }
        Ok(())
    }

    /// Files of one table have the same columns, in whatever order.
    fn check_alike(&self, file: &Path, header: &[String]) -> Result<(), TrainError> {
        if self.files.len() == 1 {
            return Ok(());
        }
        let names: BTreeSet<&str> = header.iter().map(String::as_str).collect();
        let other = |name: &&str| !self.places.contains_key(*name);
        if let Some(column) = self.columns.iter().find(|column| !names.contains(column.name.as_str())) {
            return Err(TrainError::data(file, format!("column `{}` is missing", column.name)));
        }
        match names.iter().find(|name| other(name)) {
            Some(name) => Err(TrainError::data(file, format!("column `{name}` stands in no file before it"))),
            None => Ok(()),
        }
    }

    fn read_lines(&mut self, file: &Path, mut reader: impl BufRead) -> Result<(), TrainError> {
        let refuse =
            |number: u64, reason: &str| Err(TrainError::data(file, format!("line {number}: {reason}")));
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            let length = read.map_err(|reason| TrainError::data(file, reason.to_string()))?;
            if length == 0 {
                return Ok(());
            }
            number += 1;
            if length as u64 == LONGEST {
                return refuse(number, "longer than 16 MiB");
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Members(members) = match serde_json::from_slice(&line) {
                Ok(members) => members,
                // What is wrong with it may hold values.
                Err(error) if error.is_data() => return refuse(number, "no JSON object"),
                Err(error) => return refuse(number, &format!("not JSON from column {} on", error.column())),
            };
            for (name, value) in &members {
                let place = self.place(name)?;
                if self.columns.get(place).is_some_and(|column| column.codes.len() > self.rows.len()) {
                    return refuse(number, &format!("key `{}` stands twice", shown(name)));
                }
                self.set(place, value, false);
            }
            self.rows.push((self.files.len() - 1, number));
        }
    }

    /// The place of a column, which is new the first time.
    fn place(&mut self, name: &str) -> Result<usize, TrainError> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        if self.columns.len() == MOST_COLUMNS {
            return Err(TrainError::data(self.path(), format!("more than {MOST_COLUMNS} columns")));
        }
        self.columns.push(Texts { name: name.to_owned(), ..Texts::default() });
        self.places.insert(name.to_owned(), self.columns.len() - 1);
        Ok(self.columns.len() - 1)
    }

    /// Gives the row that is being read a value.
    fn set(&mut self, column: usize, value: &Json, quoted: bool) {
        let row = self.rows.len();
        let Some(column) = self.columns.get_mut(column) else { return };
        match value {
            Json::Null => {}
            Json::Bool(yes) => {
                column.truths = true;
                column.set(row, if *yes { "true" } else { "false" });
            }
            Json::Number(number) => column.set(row, &number.to_string()),
            // As it was scored: also a `none`, and with its spaces.
            Json::String(text) if quoted => {
                column.quoted = true;
                _ = column.put(row, text);
            }
            Json::String(text) => column.set(row, text.trim()),
            Json::Array(_) | Json::Object(_) => column.nested = true,
        }
    }
}

impl Texts {
    /// The place of the row's text among the words; [`MISSING`] where it has none, or a marker.
    pub(super) fn code(&self, row: usize) -> u32 {
        Some(self.raw_code(row)).filter(|code| !self.markers.contains(code)).unwrap_or(MISSING)
    }

    fn raw_code(&self, row: usize) -> u32 {
        self.codes.get(row).copied().unwrap_or(MISSING)
    }

    /// The row's text, whatever it says.
    fn raw(&self, row: usize) -> Option<&str> {
        self.words.get(self.raw_code(row) as usize).map(String::as_str)
    }

    /// The row's value as it is read from a lead; `none` may be a word like any other there.
    pub(super) fn value(&self, row: usize, kind: FeatureType) -> Value<'_> {
        match self.raw(row) {
            None => Value::Missing,
            Some("true") if self.truths && kind == FeatureType::Category => Value::Boolean(true),
            Some("false") if self.truths && kind == FeatureType::Category => Value::Boolean(false),
            Some(text) => lead::read_text(text.into(), kind),
        }
    }

    fn only(&self, rows: &[usize]) -> Self {
        let Self { nested, withheld, truths, .. } = *self;
        let mut some = Self { name: self.name.clone(), nested, withheld, truths, ..Self::default() };
        for (row, from) in rows.iter().enumerate() {
            self.raw(*from).into_iter().for_each(|text| _ = some.put(row, text));
        }
        some
    }

    /// The row's text.
    pub(super) fn word(&self, row: usize) -> Option<&str> {
        self.words.get(self.code(row) as usize).map(String::as_str)
    }

    /// How many of the rows have each word.
    pub(super) fn counts(&self, rows: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.words.len()];
        for row in rows {
            counts.get_mut(self.code(*row) as usize).into_iter().for_each(|count| *count += 1);
        }
        counts
    }

    fn set(&mut self, row: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        let code = self.put(row, text);
        if lead::is_no_value(text) && !self.markers.contains(&code) {
            self.markers.push(code);
        }
    }

    fn put(&mut self, row: usize, text: &str) -> u32 {
        let code = match self.places.get(text) {
            Some(code) => *code,
            None => {
                let code = self.words.len() as u32;
                self.words.push(text.to_owned());
                self.places.insert(text.to_owned(), code);
                code
            }
        };
        self.codes.resize(row + 1, MISSING);
        self.codes.last_mut().into_iter().for_each(|last| *last = code);
        code
    }
}

/// The members of an object as they stand there; a map would keep the last of two with one name.
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
pub(super) fn texts<T: AsRef<str>>(name: &str, cells: &[T]) -> Texts {
    let mut texts = Texts { name: name.into(), ..Texts::default() };
    cells.iter().enumerate().for_each(|(row, cell)| texts.set(row, cell.as_ref()));
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of one table, by their names.
    fn read_table(files: &[(&str, &str)]) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
        files.iter().zip(&paths).for_each(|((_, text), path)| std::fs::write(path, text).unwrap());
        Table::read(&paths).map_err(|error| error.to_string())
    }

    /// Cells by row, columns in the order of their names, `.` for none.
    fn check(files: &[(&str, &str)], names: &str, expected: &[&str]) {
        let table = read_table(files).unwrap();
        let columns = table.columns();
        assert_eq!(columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(" "), names);
        let row =
            |row| columns.iter().map(|column| column.word(row).unwrap_or(".")).collect::<Vec<_>>().join(" ");
        assert_eq!((0..table.rows()).map(row).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn csv_and_json_lines_become_texts() {
        check(
            &[("a.csv", "b,a\n1, x \n,NaN\nN/A,None\n2,\"x,y\"\n")],
            "a b",
            &["x 1", ". .", ". .", "x,y 2"],
        );
        let lines =
            "{\"b\":1,\"a\":\" x \"}\n\n{\"c\":true,\"b\":null}\n{\"b\":2.50,\"a\":\"null\",\"d\":[1]}\n";
        check(&[("a.jsonl", lines)], "a b c d", &["x 1 . .", ". . true .", ". 2.5 . ."]);
        assert!(read_table(&[("a", lines)]).unwrap().columns()[3].nested);
        check(&[("a", "\u{feff}{\"a\":1}\r\n{\"b\":\"x\"}\r\n")], "a b", &["1 .", ". x"]);
        check(&[("a", "a;b\r\n1,5;\"x\r\ny;\"\r\n;z\r\n")], "a b", &["1,5 x\r\ny;", ". z"]);
        check(&[("a", "a\tb\r1\t\u{a0}x\r")], "a b", &["1 x"]);
        check(&[("a", "\u{feff}a,b\n1,2\n")], "a b", &["1 2"]);
    }

    #[test]
    fn a_file_stands_in_a_table_once() {
        let error = read_table(&[("a.csv", "x\n1\n"), ("b.csv", "x\n1\n"), ("./a.csv", "x\n1\n")]).err();
        assert!(error.is_some_and(|error| error.ends_with("a.csv: is given twice")));
    }

    #[test]
    fn a_text_is_read_as_a_lead_brings_it() {
        use FeatureType::{Boolean, Category, Number};
        let text = |text: &'static str| Value::Text(text.into());
        let check = |table: &Table, column: &str, kind, expected: &[Value<'_>]| {
            // Some rows of it, the last first, are read alike.
            let rows: Vec<usize> = (0..table.rows()).rev().collect();
            let some = table.only(&rows, "won");
            let read = |table: &Table, row| table.feature(column).unwrap().value(row, kind).into_owned();
            for (row, at) in rows.into_iter().enumerate() {
                assert_eq!(
                    (&read(table, at), &read(&some, row)),
                    (&expected[at], &expected[at]),
                    "{column} {at}"
                );
            }
            assert!(some.feature("won").is_none());
        };
        let csv =
            read_table(&[("a", "n,w,b,won\n\"1,200\",None,Yes,1\n,,,0\n$5, web ,off,1\nNA,true,2,0\n")])
                .unwrap();
        check(
            &csv,
            "n",
            Number,
            &[Value::Number(1200.0), Value::Missing, Value::Number(5.0), Value::Missing],
        );
        check(&csv, "w", Category, &[text("None"), Value::Missing, text("web"), text("true")]);
        check(
            &csv,
            "b",
            Boolean,
            &[Value::Boolean(true), Value::Missing, Value::Boolean(false), Value::Missing],
        );
        let lines = "{\"w\":true,\"n\":1}\n{\"w\":false,\"n\":null}\n{\"n\":\"2\",\"o\":{}}\n";
        let lines = read_table(&[("a", lines)]).unwrap();
        check(&lines, "w", Category, &[Value::Boolean(true), Value::Boolean(false), Value::Missing]);
        check(&lines, "w", Number, &[Value::Missing, Value::Missing, Value::Missing]);
        check(&lines, "n", Number, &[Value::Number(1.0), Value::Missing, Value::Number(2.0)]);
        assert!(lines.lacks("o") && lines.lacks("absent") && !lines.lacks("w"));
        let mut log = Table::of(Path::new("log"));
        for row in [r#"{"n":1.0,"w":"none","h":null}"#, r#"{"n":2.5,"w":" web"}"#] {
            assert!(log.push_scored(row).unwrap());
        }
        check(&log, "n", Number, &[Value::Number(1.0), Value::Number(2.5)]);
        check(&log, "w", Category, &[text("none"), text(" web")]);
        // Such leads were scored without it.
        assert!(log.lacks("h") && !log.lacks("absent"));
    }

    #[test]
    fn what_the_log_may_not_keep_is_marked() {
        let mut table = Table::of(Path::new("log"));
        for row in
            [r#"{"a":1.0,"b":"hash:0123456789abcdef","c":null,"d":" None"}"#, r#"{"b":"y","d":"hash: no"}"#]
        {
            assert!(table.push_scored(row).unwrap());
        }
        assert!(!table.push_scored("[1]").unwrap(), "somebody edited it");
        let told: Vec<_> = table.columns().iter().map(|c| (&*c.name, c.withheld, c.quoted)).collect();
        assert_eq!(told, [("a", false, false), ("b", true, true), ("c", true, false), ("d", false, true)]);
        assert_eq!(table.columns()[3].word(0), Some(" None"), "a lead brought that word");
        let rows = [0, 1];
        let reason = crate::train::kinds::Kind::of(table.columns()[1], &rows, false).err().unwrap();
        assert_eq!(reason.note("b").note, "is not kept by the lead log as it was");
    }

    #[test]
    fn files_of_one_table_are_read_in_the_order_of_their_names() {
        check(&[("2.csv", "a,b\n3,4\n"), ("1.csv", "b,a\n2,1\n")], "a b", &["1 2", "3 4"]);
        check(&[("2.csv", "a,b\n3,4\n"), ("1.jsonl", "{\"a\":1,\"b\":2}")], "a b", &["1 2", "3 4"]);
        assert_eq!(read_table(&[("2", "a\n1\n"), ("1", "a\n")]).unwrap().source(), "1, 2");
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8], expected: &str| {
            let path = folder.path().join("a");
            std::fs::write(&path, bytes).unwrap();
            let error = Table::read(&[path]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(b"a,city\n1,x\n2,K\xf6ln\n", "line 3, column `city`: not UTF-8");
        refused(b"a,stra\xdfe\n1,x\n", "column 2: its name is not UTF-8");
        refused(b"\xff\xfea\0,\0", "is UTF-16; a table is");
        refused(b"PK\x03\x04\0\0", "is a spreadsheet or an archive");
        refused(b"{\"a\":\"K\xf6ln\"}\n", "line 1: not JSON");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let refused = |files: &[(&str, &str)], expected: &str| {
            let error = read_table(files).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused(&[("a", "a,b\n1\n")], "line: 2");
        refused(&[("a", "x,a,b,a\n")], "column 4: has the name of column 2, `a`");
        refused(&[("a", "x,,b,\n")], "column 4: has no name, as column 2 has none");
        refused(&[("a", "[{\"a\":1},\n{\"a\":2}]")], "is one list in JSON, not an object on each line");
        refused(&[("a", "<?xml version=\"1.0\"?>")], "is XML; a table is CSV or JSON lines, in UTF-8");
        refused(&[("a", "{\"a\":1}\n{\"a\":1,\"b\":2,\"a\":3}")], "line 2: key `a` stands twice");
        refused(&[("a", "{\"a\":1}\n{\"a\":secret}")], "line 2: not JSON from column 6 on");
        refused(&[("a", "{\"a\":1}\n[1]\n")], "line 2: no JSON object");
        refused(&[("a", "{\"a\":1}\n{\"a\":")], "line 2: not JSON from column 5 on");
        refused(&[("1", "a,b\n1,2\n"), ("2", "a\n1\n")], "2: column `b` is missing");
        refused(&[("1", "a\n1\n"), ("2", "a,b\n1,2\n")], "2: column `b` stands in no file before it");
        let many: String = (0..5000).map(|i| format!("{{\"k{i}\":1}}\n")).collect();
        refused(&[("a", &many)], "more than 4096 columns");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST as usize));
        refused(&[("a", &long)], "line 1: longer than 16 MiB");
        assert!(Table::read(&["absent.csv".into()]).unwrap_err().to_string().starts_with("absent.csv: "));
    }
}
