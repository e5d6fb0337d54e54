//! Where the cells of a CSV record stand.
//!
//! The csv crate unquotes and copies; here every byte leaves as it came, so only places are looked for. Records and cells
//! are those of that crate (a test compares), but for a carriage return without a line feed, which ends no record here.

use std::borrow::Cow;

use memchr::memchr;

/// One cell's bytes, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) start: usize,
    pub(super) end: usize,
    quotes: Quotes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// None that mean anything.
    None,
    /// One before, one behind, none between.
    Around,
    /// Doubled ones inside, or text behind the closing one.
    Within,
}

/// One record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) start: usize,
    /// Before the line's end.
    pub(super) end: usize,
    /// After it; as `end` where the bytes end without one.
    pub(super) next: usize,
    /// Whether the last cell's quote is closed.
    pub(super) closed: bool,
}

/// Finds the record at `start` and its cells, which stand between `separator`s.
pub(super) fn record(bytes: &[u8], start: usize, separator: u8, cells: &mut Vec<Cell>) -> Record {
    cells.clear();
    let mut at = start;
    loop {
        let (mut cell, closed) = cell(bytes, at, separator);
        at = cell.end;
        let more = bytes.get(at) == Some(&separator);
        let next = if more { at } else { (at + 1).min(bytes.len()) };
        if !more && next > at && cell.end > cell.start && bytes.get(at - 1) == Some(&b'\r') {
            cell.end -= 1;
        }
        cells.push(cell);
        if !more {
            return Record { start, end: cell.end, next, closed };
        }
        at += 1;
    }
}

/// The cell at `start`, and whether its quote is closed.
fn cell(bytes: &[u8], start: usize, separator: u8) -> (Cell, bool) {
    if bytes.get(start) != Some(&b'"') {
        return (Cell { start, end: plain_end(bytes, start, separator), quotes: Quotes::None }, true);
    }
    let (mut at, mut quotes) = (start + 1, Quotes::Around);
    loop {
        let Some(quote) = bytes.get(at..).and_then(|rest| memchr(b'"', rest)) else {
            return (Cell { start, end: bytes.len(), quotes: Quotes::Within }, false);
        };
        at += quote + 1;
        match bytes.get(at) {
            Some(b'"') => {
                quotes = Quotes::Within;
                at += 1;
            }
            None | Some(b'\n') => return (Cell { start, end: at, quotes }, true),
            Some(next) if *next == separator => return (Cell { start, end: at, quotes }, true),
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => {
                return (Cell { start, end: at + 1, quotes }, true);
            }
            Some(_) => {
                let end = plain_end(bytes, at, separator);
                return (Cell { start, end, quotes: Quotes::Within }, true);
            }
        }
    }
}

/// The next separator or line feed, or the end. Most cells are shorter than eight bytes, and so one look at a whole number
/// finds it; calling for a search that is fast over long texts takes three times as long.
fn plain_end(bytes: &[u8], mut at: usize, separator: u8) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // Marks each byte that is zero; above the lowest, others may be marked too.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let found = zeros(word ^ (ONES * u64::from(separator))) | zeros(word ^ (ONES * u64::from(b'\n')));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte == separator || *byte == b'\n').unwrap_or(rest.len())
}

impl Cell {
    /// The cell's text, unquoted, without blanks around it; `text` starts at `start` of the bytes that were looked at.
    pub(super) fn text<'a>(&self, text: &'a str, start: usize) -> Cow<'a, str> {
        let place = self.start.saturating_sub(start)..self.end.saturating_sub(start);
        let raw = text.get(place).unwrap_or_default();
        match self.quotes {
            Quotes::None => Cow::Borrowed(raw.trim_ascii()),
            Quotes::Around => {
                Cow::Borrowed(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default().trim_ascii())
            }
            Quotes::Within => Cow::Owned(unquoted(raw).trim_ascii().to_owned()),
        }
    }
}

/// What a cell with quotes inside means: doubled ones are one, and behind the closing one all is text.
fn unquoted(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.strip_prefix('"').unwrap_or(raw);
    while let Some((before, after)) = rest.split_once('"') {
        text.push_str(before);
        let Some(doubled) = after.strip_prefix('"') else {
            rest = after;
            break;
        };
        text.push('"');
        rest = doubled;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(text: &str, separator: u8) -> Vec<Vec<String>> {
        let (mut at, mut cells, mut found) = (0, Vec::new(), Vec::new());
        while at < text.len() {
            let record = record(text.as_bytes(), at, separator, &mut cells);
            assert!(record.next > at && record.start == at && record.end <= record.next);
            at = record.next;
            // The csv crate leaves blank lines out.
            if record.end > record.start {
                found.push(cells.iter().map(|cell| cell.text(text, 0).into_owned()).collect());
            }
        }
        found
    }

    #[test]
    fn cells_are_found_in_every_form() {
        let check = |text: &str, expected: &[&[&str]]| assert_eq!(records(text, b','), expected, "{text:?}");
        check("a,b\nc,d", &[&["a", "b"], &["c", "d"]]);
        check("a,,\r\n\r\n\n,\r\n", &[&["a", "", ""], &["", ""]]);
        check("\"a,b\", \"c\" ,\"d\ne\"\r\nx\n", &[&["a,b", "\"c\"", "d\ne"], &["x"]]);
        check("\"say \"\"hi\"\"\",\"\",\"\"\"\"\n", &[&["say \"hi\"", "", "\""]]);
        check("\"a\"b\"\",c\n", &[&["ab\"\"", "c"]]);
        check("\" a \",\tb\t\n", &[&["a", "b"]]);
        check("é,ü\n", &[&["é", "ü"]]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_seen() {
        let closed = |text: &str| record(text.as_bytes(), 0, b',', &mut Vec::new()).closed;
        assert_eq!(
            ["\"a", "a,\"b\nc", "\"a\"\"", "\"a\"", "a\"b", "\""].map(closed),
            [false, false, false, true, true, false]
        );
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(separator in "[,;\t|]", text in "[ab\",\n é]{0,40}|(([ab ]{0,3}|\"([a,\n]|\"\"){0,3}\")[,\n]){0,8}") {
            let text = text.replace(',', &separator);
            let mut reader = ::csv::ReaderBuilder::new()
                .delimiter(separator.as_bytes()[0]).has_headers(false).flexible(true).trim(::csv::Trim::None).from_reader(text.as_bytes());
            let trimmed = |record: ::csv::StringRecord| {
                record.iter().map(|cell| cell.trim_ascii().to_owned()).collect::<Vec<_>>()
            };
            let theirs: Vec<Vec<String>> = reader.records().map(|record| trimmed(record.unwrap())).collect();
            prop_assert_eq!(records(&text, separator.as_bytes()[0]), theirs);
        }
    }
}
