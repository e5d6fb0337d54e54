//! A stream becomes blocks of whole rows.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

use super::cells;

/// Bytes of a block, but for a row that is longer: some 8,192 rows of a usual table.
pub(super) const BLOCK: usize = 1 << 20;
/// Bytes of a row at most. It has to be held whole.
pub(super) const MAX_ROW: usize = 16 << 20;

/// Why there is no further block.
#[derive(Debug)]
pub(super) enum BlockError {
    Read(io::Error),
    /// A row that does not end; where it starts.
    Long(u64),
}

/// Reads ahead no more than a block.
pub(super) struct Blocks<R> {
    input: R,
    /// Of the cells of CSV; none in JSON Lines.
    separator: Option<u8>,
    block: usize,
    /// The start of the next block.
    rest: Vec<u8>,
    /// Where in the input the next block starts.
    at: u64,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// `start` was read already, and stood at `at`.
    pub(super) fn new(start: Vec<u8>, at: u64, input: R, separator: Option<u8>) -> Self {
        Self { input, separator, block: BLOCK, rest: start, at, ended: false }
    }

    /// The same in blocks of another size.
    #[cfg(test)]
    fn of(self, block: usize) -> Self {
        Self { block, ..self }
    }

    /// The next block; `None` at the end.
    fn read(&mut self) -> Result<Option<Vec<u8>>, BlockError> {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut size = self.block;
        while !self.ended {
            let missing = size.saturating_sub(bytes.len());
            bytes.reserve_exact(missing);
            let read = self.input.by_ref().take(missing as u64).read_to_end(&mut bytes);
            self.ended = read.map_err(BlockError::Read)? < missing;
            if self.ended {
                break;
            }
            let end = self.rows_end(&bytes);
            if end > 0 {
                self.rest = bytes.get(end..).unwrap_or_default().to_vec();
                bytes.truncate(end);
                break;
            }
            if bytes.len() >= MAX_ROW {
                return Err(BlockError::Long(self.at));
            }
            size = bytes.len() + self.block;
        }
        self.at += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Where the last row that is whole ends; 0 without one.
    fn rows_end(&self, bytes: &[u8]) -> usize {
        // A line feed ends a row wherever no quotes are, and in JSON they always do.
        let Some(separator) = self.separator.filter(|_| memchr(b'"', bytes).is_some()) else {
            return memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        };
        let (mut end, mut found) = (0, Vec::new());
        loop {
            let record = cells::record(bytes, end, separator, &mut found);
            if record.next == bytes.len() {
                let whole = record.closed && bytes.last() == Some(&b'\n');
                return if whole { bytes.len() } else { end };
            }
            end = record.next;
        }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = Result<Vec<u8>, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let (Some((first, rest)), Some(slot)) = (self.0.split_first(), into.first_mut()) else {
                return Ok(0);
            };
            (*slot, self.0) = (*first, rest);
            Ok(1)
        }
    }

    fn check(text: &str, separator: Option<u8>, block: usize, expected: &[&str]) {
        let blocks = Blocks::new(Vec::new(), 0, Slow(text.as_bytes()), separator).of(block);
        let blocks: Vec<String> = blocks.map(|block| String::from_utf8(block.unwrap()).unwrap()).collect();
        assert_eq!(blocks, expected);
        let (start, rest) = text.as_bytes().split_at(text.len() / 2);
        let blocks = Blocks::new(start.to_vec(), 0, rest, separator).of(block);
        assert_eq!(blocks.map(|block| block.unwrap()).collect::<Vec<_>>().concat(), text.as_bytes());
    }

    #[test]
    fn blocks_hold_whole_rows() {
        check("", Some(b','), 4, &[]);
        check("a\nb\nc", Some(b','), 4, &["a\nb\n", "c"]);
        check("a\nb\nc\n", Some(b','), 5, &["a\nb\n", "c\n"]);
        check("long row\nb\n", Some(b','), 3, &["long row\n", "b\n"]);
        check("\"a\nb\"\nc,\"\n\"\n", Some(b','), 7, &["\"a\nb\"\n", "c,\"\n\"\n"]);
        check("\"a\nb\"\nc;\"\n\"\n", Some(b';'), 7, &["\"a\nb\"\n", "c;\"\n\"\n"]);
        check("\"a\n\n\nb", Some(b','), 3, &["\"a\n\n\nb"]);
        check("\"a\nb\n", None, 4, &["\"a\n", "b\n"]);
    }

    #[test]
    fn a_row_without_an_end_is_an_error_and_not_a_heap_of_memory() {
        let start = b"a\n".to_vec();
        let mut blocks = Blocks::new(start, 7, io::repeat(b'x'), Some(b','));
        assert_eq!(blocks.next().unwrap().unwrap(), b"a\n");
        assert!(matches!(blocks.next(), Some(Err(BlockError::Long(9)))));
    }

    #[test]
    fn an_input_that_fails_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let mut blocks = Blocks::new(b"a\n".to_vec(), 0, Broken, Some(b','));
        assert!(matches!(blocks.next(), Some(Err(BlockError::Read(_)))));
    }
}
