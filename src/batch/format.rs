//! CSV or JSON Lines.

use std::path::Path;

use clap::ValueEnum;

/// The form of a table. What goes out has the form of what came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Cells between separators, with a header (RFC 4180).
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl Format {
    /// By a file's ending; `None` for one that says nothing.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
            _ => None,
        }
    }

    /// By the first byte that is not blank.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
        if text.first() == Some(&b'{') { Format::Jsonl } else { Format::Csv }
    }
}

/// What spreadsheets put before UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_ending_or_first_byte() {
        let by_path = |path: &str| Format::of_path(Path::new(path));
        assert_eq!(by_path("a/leads.CSV"), Some(Format::Csv));
        assert_eq!(["b.jsonl", "b.ndjson", "b.json"].map(by_path), [Some(Format::Jsonl); 3]);
        assert_eq!(["leads", "leads.txt", ".csv"].map(by_path), [None; 3]);
        for (bytes, expected) in [
            ("\u{feff} \n{\"a\":1}", Format::Jsonl),
            ("{", Format::Jsonl),
            ("", Format::Csv),
            ("[1]", Format::Csv),
            ("a,b\n{,}\n", Format::Csv),
        ] {
            assert_eq!(Format::of_bytes(bytes.as_bytes()), expected, "{bytes}");
        }
    }
}
