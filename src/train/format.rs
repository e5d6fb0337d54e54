//! What a file is: CSV by the separator of its header, or JSON lines; and what it is instead.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{TrainError, columns::shown};
use crate::lead::separator;

/// Looked at to tell what it is; a longer header is cut there.
const START: usize = 64 << 10;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How files begin that are no tables.
const FOREIGN: [(&[u8], &str); 10] = [
    (b"PK\x03\x04", "a spreadsheet or an archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet"),
    (b"\x1f\x8b", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3", "a database"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"<?xml", "XML"),
    (b"<!", "XML or HTML"),
];

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object on each line.
    Lines,
    /// A header, and cells between separators.
    Csv { separator: u8 },
}

/// Opens a file and looks at its start.
pub(super) fn open(file: &Path) -> Result<(Form, BufReader<File>), TrainError> {
    let unreadable = |reason: std::io::Error| TrainError::data(file, reason.to_string());
    let mut reader = BufReader::with_capacity(START, File::open(file).map_err(unreadable)?);
    let start = reader.fill_buf().map_err(unreadable)?;
    let marked = start.starts_with(BOM);
    let form = form(start.strip_prefix(BOM).unwrap_or(start)).map_err(|what| {
        TrainError::data(file, format!("is {what}; a table is CSV or JSON lines, in UTF-8"))
    })?;
    reader.consume(if marked { BOM.len() } else { 0 });
    Ok((form, reader))
}

/// The form of what begins so; `Err` says what it is instead.
fn form(start: &[u8]) -> Result<Form, &'static str> {
    let text = start.trim_ascii_start();
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| text.starts_with(magic)) {
        return Err(what);
    }
    match text {
        [b'{', ..] => Ok(Form::Lines),
        // A column may be called `[1]`.
        [b'[', rest @ ..] if rest.trim_ascii_start().starts_with(b"{") => {
            Err("one list in JSON, not an object on each line")
        }
        _ => Ok(Form::Csv { separator: separator(text) }),
    }
}

/// Reads cells, without blanks around them.
pub(super) fn csv<R: Read>(separator: u8, reader: R) -> csv::Reader<R> {
    csv::ReaderBuilder::new().delimiter(separator).trim(csv::Trim::All).from_reader(reader)
}

/// The names of the columns, each once.
pub(super) fn header<R: Read>(file: &Path, reader: &mut csv::Reader<R>) -> Result<Vec<String>, TrainError> {
    let unreadable = |reason| TrainError::Csv { file: file.into(), reason };
    let header = reader.byte_headers().map_err(unreadable)?;
    let mut names: Vec<String> = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let refuse = |reason: &str| TrainError::data(file, format!("column {}: {reason}", place + 1));
        let name = std::str::from_utf8(name).map_err(|_| refuse("its name is not UTF-8"))?.trim();
        if let Some(first) = names.iter().position(|known| known == name) {
            let first = first + 1;
            return Err(refuse(&match name {
                "" => format!("has no name, as column {first} has none"),
                _ => format!("has the name of column {first}, `{}`", shown(name)),
            }));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// A cell's text.
pub(super) fn cell<'c>(file: &Path, line: u64, column: &str, cell: &'c [u8]) -> Result<&'c str, TrainError> {
    let refuse = |_| TrainError::cell(file, line, column, "not UTF-8; save the file in that encoding");
    Ok(std::str::from_utf8(cell).map_err(refuse)?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_start() {
        let check = |start: &str, expected: Result<Form, &str>| {
            assert_eq!(form(start.as_bytes()), expected, "{start:?}");
        };
        let csv = |separator| Ok(Form::Csv { separator });
        check("a,b\n1;2;3\n", csv(b','));
        check("a;b\n1,5;2,5\n", csv(b';'));
        check("a\tb,c\td\n", csv(b'\t'));
        check("\n\na|b\r\n1,2,3", csv(b'|'));
        check("\"a,b,c\";\"d\n,,,\";e\n", csv(b';'));
        check("\"a \"\",,,\"\"\";b;c\n", csv(b';'));
        check("screen 15\";b\n,,,,", csv(b';'));
        check("a\n1,2\n", csv(b','));
        check("", csv(b','));
        check("[1],a b\n", csv(b','));
        check(" {\"a\":1}\n", Ok(Form::Lines));
        check("[\n {\"a\":1}]", Err("one list in JSON, not an object on each line"));
        check("<?xml version=\"1.0\"?>", Err("XML"));
        check("PK\u{3}\u{4}", Err("a spreadsheet or an archive"));
        assert_eq!(form(b"\xff\xfea\0"), Err("UTF-16"));
    }
}
