//! Bytes to tape: one strict pass over a JSON text (RFC 8259).
//!
//! The tape is a flat list of nodes with byte offsets. Selectors, pointers, features and splices all work on it, so a
//! body is read once however many of them there are. Strictness matters more than speed here: what this scanner accepts
//! must be read alike by every JSON parser, or the scorer and the CRM could see different leads.

use std::ops::Range;

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`: its children are pairs of a `Key` and a value.
    Object,
    /// `[…]`
    Array,
    /// A member's name.
    Key,
    /// Text.
    String,
    /// A number, kept as its text.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// One value or member name, by its place in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Whether a string or key holds escapes.
    pub escaped: bool,
    /// First byte; of strings and keys, the first after the opening quote.
    pub start: u32,
    /// Past the last byte; of strings and keys, the closing quote.
    pub end: u32,
    /// Index of the node after this one and all its children.
    pub next: u32,
}

impl Node {
    /// The bytes of the value, quotes included.
    pub fn span(&self) -> Range<usize> {
        let quote = usize::from(matches!(self.kind, Kind::String | Kind::Key));
        self.start as usize - quote..self.end as usize + quote
    }
}

/// The body is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not well-formed JSON at byte {at}")]
pub struct Malformed {
    /// Where reading stopped.
    pub at: usize,
}

/// As deep as serde_json goes.
const MAX_DEPTH: usize = 128;

/// The nodes of one body in the order they stand. Reused from body to body, so that reading allocates nothing.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    open: Vec<u32>,
}

impl Tape {
    /// The nodes of the last body scanned; the root is the first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Forgets the last body.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.open.clear();
    }

    /// Reads `text`, after its byte order mark where it has one.
    pub fn scan(&mut self, text: &str) -> Result<(), Malformed> {
        let bytes = text.as_bytes();
        self.clear();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed { at: 0 });
        }
        if self.nodes.capacity() == 0 {
            // Enough for most answers, so that a tape for just one need not grow.
            self.nodes.reserve((bytes.len() / 16).min(64));
        }
        let mut at = white(bytes, if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 });
        // The container that the next value stands in; `Null` for the text itself.
        let mut inside = Kind::Null;
        loop {
            if inside == Kind::Object {
                at = self.key(bytes, at)?;
            }
            match self.value(bytes, at)? {
                (next, None) => at = next,
                (next, Some(entered)) => {
                    (at, inside) = (next, entered);
                    continue;
                }
            }
            // Leaves every container that ends here.
            loop {
                if inside != Kind::Null
                    && let Some(next) = behind(bytes, at, b',')
                {
                    break at = next;
                }
                at = white(bytes, at);
                match (bytes.get(at), inside) {
                    (Some(b','), Kind::Object | Kind::Array) => break at = white(bytes, at + 1),
                    (Some(b'}'), Kind::Object) | (Some(b']'), Kind::Array) => {
                        (at, inside) = (self.leave(at + 1), self.innermost());
                    }
                    (None, Kind::Null) => return Ok(()),
                    _ => return Err(Malformed { at }),
                }
            }
        }
    }

    /// Reads a scalar or an empty container, or enters a container, whose kind it gives.
    #[inline(always)]
    fn value(&mut self, bytes: &[u8], at: usize) -> Result<(usize, Option<Kind>), Malformed> {
        if bytes.get(at) == Some(&b'"') {
            return Ok((self.string(bytes, at, Kind::String)?, None));
        }
        let end = match bytes.get(at) {
            Some(b'-' | b'0'..=b'9') => self.scalar(Kind::Number, at, number(bytes, at)?),
            Some(b'{') => return self.container(bytes, at, (Kind::Object, b'}')),
            Some(b'[') => return self.container(bytes, at, (Kind::Array, b']')),
            Some(b't') => self.scalar(Kind::True, at, word(bytes, at, b"true")?),
            Some(b'f') => self.scalar(Kind::False, at, word(bytes, at, b"false")?),
            Some(b'n') => self.scalar(Kind::Null, at, word(bytes, at, b"null")?),
            _ => return Err(Malformed { at }),
        };
        Ok((end, None))
    }

    /// Enters a container, and leaves it at once if it is empty.
    fn container(
        &mut self,
        bytes: &[u8],
        at: usize,
        (kind, end): (Kind, u8),
    ) -> Result<(usize, Option<Kind>), Malformed> {
        if self.open.len() == MAX_DEPTH {
            return Err(Malformed { at });
        }
        self.open.push(self.nodes.len() as u32);
        self.scalar(kind, at, at);
        let first = white(bytes, at + 1);
        let is_empty = bytes.get(first) == Some(&end);
        Ok(if is_empty { (self.leave(first + 1), None) } else { (first, Some(kind)) })
    }

    /// Reads `"name":`; returns the offset of the value.
    #[inline(always)]
    fn key(&mut self, bytes: &[u8], at: usize) -> Result<usize, Malformed> {
        if bytes.get(at) != Some(&b'"') {
            return Err(Malformed { at });
        }
        let end = self.string(bytes, at, Kind::Key)?;
        match behind(bytes, end, b':') {
            Some(value) => Ok(value),
            None => colon(bytes, white(bytes, end)),
        }
    }

    #[inline(always)]
    fn string(&mut self, bytes: &[u8], quote: usize, kind: Kind) -> Result<usize, Malformed> {
        let first = plain_end(bytes, quote + 1);
        let (end, escaped) = match bytes.get(first) {
            Some(b'"') => (first, false),
            _ => (escaped_end(bytes, first)?, true),
        };
        self.push(Node { kind, escaped, start: quote as u32 + 1, end: end as u32, next: 0 });
        Ok(end + 1)
    }

    #[inline(always)]
    fn scalar(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        self.push(Node { kind, escaped: false, start: start as u32, end: end as u32, next: 0 });
        end
    }

    #[inline(always)]
    fn push(&mut self, node: Node) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { next, ..node });
    }

    /// Closes the innermost container, whose last byte is before `end`.
    fn leave(&mut self, end: usize) -> usize {
        let next = self.nodes.len() as u32;
        if let Some(node) = self.open.pop().and_then(|top| self.nodes.get_mut(top as usize)) {
            node.end = end as u32;
            node.next = next;
        }
        end
    }

    fn innermost(&self) -> Kind {
        let container = self.open.last().and_then(|top| self.nodes.get(*top as usize));
        container.map_or(Kind::Null, |container| container.kind)
    }
}

/// The offset of the next byte that is not white space.
fn white(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The offset of what follows the `mark` at `at` behind no white space or one space, as most writers have it. `None` for
/// any other form, which takes a closer look.
#[inline(always)]
fn behind(bytes: &[u8], at: usize, mark: u8) -> Option<usize> {
    let [first, second, third] = bytes.get(at..)?.first_chunk::<3>()?;
    match (*second, *third) {
        _ if *first != mark => None,
        (b' ', ..=b' ') | (..b' ', _) => None,
        (b' ', _) => Some(at + 2),
        _ => Some(at + 1),
    }
}

/// The offset of what follows the colon at `at`.
fn colon(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    if bytes.get(at) == Some(&b':') { Ok(white(bytes, at + 1)) } else { Err(Malformed { at }) }
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, Malformed> {
    let end = at + word.len();
    if bytes.get(at..end) == Some(word) { Ok(end) } else { Err(Malformed { at }) }
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn number(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(sign))?;
    }
    Ok(at)
}

fn digits(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at > start { Ok(at) } else { Err(Malformed { at }) }
}

/// Offset of the first byte from `at` that is no plain character of a string, or the end.
#[inline(always)]
fn plain_end(bytes: &[u8], at: usize) -> usize {
    // Most strings are no longer than this.
    let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) else {
        return plain_end_of_long(bytes, at);
    };
    let both = u128::from_le_bytes(*chunk);
    let first = special_bytes(both as u64);
    if first != 0 {
        return at + first.trailing_zeros() as usize / 8;
    }
    let second = special_bytes((both >> 64) as u64);
    if second != 0 {
        return at + 8 + second.trailing_zeros() as usize / 8;
    }
    plain_end_of_long(bytes, at + 16)
}

#[inline(never)]
fn plain_end_of_long(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_bytes(u64::from_le_bytes(*chunk));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        at += 1;
    }
    at
}

/// Offset of the closing quote, from the first byte that is none and not plain.
#[cold]
fn escaped_end(bytes: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at = plain_end(bytes, escape(bytes, at)?),
            _ => return Err(Malformed { at }),
        }
    }
}

/// The high bit of each byte that is a quote, a backslash or a control character. Bytes above a true hit may be marked
/// wrongly (the subtraction borrows), so only the lowest mark counts.
#[inline(always)]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Changing places with 0x20, the quote comes next to the control characters, and one subtraction finds both.
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & HIGHS
}

/// Checks the escape at `at`; the offset after it. A `\u` escape of half a surrogate pair is refused, since parsers
/// disagree on what it means.
fn escape(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(bytes, at + 2)? {
            0xd800..=0xdbff if bytes.get(at + 6..at + 8) == Some(b"\\u") => match hex(bytes, at + 8)? {
                0xdc00..=0xdfff => Ok(at + 12),
                _ => Err(Malformed { at: at + 6 }),
            },
            0xd800..=0xdfff => Err(Malformed { at }),
            _ => Ok(at + 6),
        },
        _ => Err(Malformed { at }),
    }
}

fn hex(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let digits = bytes.get(at..at + 4).ok_or(Malformed { at })?;
    digits.iter().try_fold(0, |value, byte| {
        char::from(*byte).to_digit(16).map(|digit| value * 16 + digit).ok_or(Malformed { at })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        Tape::default().scan(text).is_ok()
    }

    #[test]
    fn accepts_and_refuses_as_serde_json_does() {
        let cases = [
            "{}",
            "[]",
            " { } ",
            "[1,2]",
            "[1,]",
            "[,1]",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "0",
            "-0",
            "00",
            "01",
            "-",
            "1.",
            ".5",
            "1.5",
            "1e2",
            "1e",
            "1E+2",
            "1e+",
            "+1",
            "0x1",
            "NaN",
            "-1.5e-3",
            "\"\"",
            "\"a",
            "\"\\n\"",
            "\"\\x\"",
            "\"\\u0041\"",
            "\"\\u00g1\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"tab\there\"",
            "true",
            "tru",
            "truex",
            "null",
            "nul",
            "false",
            "",
            " ",
            "{} {}",
            "[[]",
            "[]]",
            "{\"a\":[{\"b\":null}]}",
            "\"12345678\\\"90\"",
            "\"\u{7f}é漢😀\"",
            "[1 2]",
            "{\"a\":}",
        ];
        for case in cases {
            assert_eq!(accepts(case), serde_json::from_str::<serde_json::Value>(case).is_ok(), "{case:?}");
        }
    }

    #[test]
    fn white_space_is_passed_over_wherever_it_may_stand_and_nothing_else_is() {
        let nodes = |text: &str| {
            let mut tape = Tape::default();
            tape.scan(text).map_err(|malformed| malformed.at)?;
            let shown = |node: &Node| (node.kind, text[node.start as usize..node.end as usize].to_owned());
            let scalars = tape.nodes().iter().filter(|node| !matches!(node.kind, Kind::Object | Kind::Array));
            Ok::<_, usize>(scalars.map(shown).collect::<Vec<_>>())
        };
        let parts = ["", "{", "\"a\"", ":", "1", ",", "\"b\"", ":", "[", "\"c\"", ",", "2", "]", "}", ""];
        let plain = nodes(&parts.concat());
        for white in [" ", "  ", "\n", " \r\n\t "] {
            assert_eq!(nodes(&parts.join(white)), plain, "{white:?}");
            for place in 1..parts.len() {
                let text = [parts[..place].concat(), white.to_owned(), parts[place..].concat()].concat();
                assert_eq!(nodes(&text), plain, "{text:?}");
                // Of the same length, and seen where it stands.
                let odd = text.replacen(white, &"\u{c}".repeat(white.len()), 1);
                assert_eq!(nodes(&odd), Err(parts[..place].concat().len()), "{odd:?}");
            }
        }
    }

    #[test]
    fn skips_a_byte_order_mark_and_stops_at_the_depth_limit() {
        assert!(accepts("\u{feff}{}"));
        assert!(accepts(&("[".repeat(128) + &"]".repeat(128))));
        assert!(!accepts(&("[".repeat(129) + &"]".repeat(129))));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_as_serde_json_judges_it(text in r#"[\[\]{}",:0-9eE.\-tfnu\\ a\u{e9}]{0,24}"#) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok() );
        }

        #[test]
        fn strings_end_where_they_end(content in "[ -~é]{0,40}") {
            let text = serde_json::to_string(&content).unwrap();
            let mut tape = Tape::default();
            tape.scan(&text).unwrap();
            prop_assert_eq!(tape.nodes()[0].end as usize, text.len() - 1);
        }
    }
}
