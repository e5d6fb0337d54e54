//! Bytes to tape: one strict pass over a JSON text (RFC 8259).
//!
//! The tape is a flat list of nodes with byte offsets. Selectors, pointers, features and splices all work on it, so a
//! body is read once however many of them there are. Strictness matters more than speed here: what this scanner accepts
//! must be read alike by every JSON parser, or the scorer and the CRM could see different leads.

use std::ops::Range;

use wide::u8x16;

use super::shape::{GUESSED, Guess, Shape};

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
    const NONE: Self = Self { kind: Kind::Object, escaped: false, start: 0, end: 0, next: 0 };

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
    /// Those of the last body, then some of earlier ones: to write over a node is less than to add one.
    nodes: Vec<Node>,
    count: usize,
    open: Open,
    /// The number of the shape that the last body has; 0 for none.
    shape: u64,
}

/// The containers that are open while a tape is written. Kept in memory, as they are asked for less often than anything else.
#[derive(Debug, Default)]
struct Open {
    depth: usize,
    /// The innermost one. Until it is closed, its `next` says which one it stands in.
    innermost: u32,
}

impl Tape {
    /// The nodes of the last body scanned; the root is the first.
    pub fn nodes(&self) -> &[Node] {
        self.nodes.get(..self.count).unwrap_or_default()
    }

    /// Whether it holds memory that only an unusually large body needs, one that was malformed included.
    pub fn is_large(&self) -> bool {
        self.nodes.len() > 65_536
    }

    /// Forgets the last body.
    pub fn clear(&mut self) {
        (self.count, self.shape) = (0, 0);
        self.open = Open::default();
    }

    /// The number of the shape that the last body has, where it was read by one; else 0.
    pub(super) fn shape(&self) -> u64 {
        self.shape
    }

    /// Reads `text`, after its byte order mark where it has one.
    pub fn scan(&mut self, text: &str) -> Result<(), Malformed> {
        self.read(text, &[]).map(|_| ())
    }

    /// The same of a text that may well have this shape, which learns from it.
    pub(super) fn scan_like(&mut self, shape: &mut Shape, text: &str) -> Result<(), Malformed> {
        let guessed = self.read(text, shape.guesses())?;
        self.shape = shape.judge(guessed, self.nodes(), text.as_bytes());
        Ok(())
    }

    /// Reads a text; the containers in it that were guessed, or `None` where some guess was wrong.
    fn read(&mut self, text: &str, guesses: &[Guess]) -> Result<Option<usize>, Malformed> {
        let bytes = text.as_bytes();
        self.clear();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed { at: 0 });
        }
        if self.nodes.is_empty() {
            // Enough for most answers, so that a tape for just one need not grow.
            self.nodes.resize((bytes.len() / 16).min(64), Node::NONE);
        }
        let start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut pen = Pen { nodes: &mut self.nodes, count: 0, open: &mut self.open, guesses, guessed: 0 };
        pen.text(bytes, start).map_err(|at| Malformed { at: at as usize })?;
        let guessed = (pen.guesses.len() == pen.count).then_some(pen.guessed);
        self.count = pen.count;
        Ok(guessed)
    }
}

/// The tape while it is written. Offsets are of 32 bits, which spares a look at whether their sums wrap around; an error
/// is the offset where reading stopped. What is common is inlined into one loop, and nothing that is called from there
/// takes the pen: so all of it stays in registers.
struct Pen<'t> {
    nodes: &'t mut Vec<Node>,
    count: usize,
    open: &'t mut Open,
    /// For each node what is expected of it; nothing any more once that was wrong.
    guesses: &'t [Guess],
    /// Containers that ended where they were expected to.
    guessed: usize,
}

/// Where a value is to be read, and the container that it stands in; `Null` for the text itself.
type Next = (u32, Kind);

impl Pen<'_> {
    /// Reads the whole text, values one after another. What stands between them mostly has one form,
    /// `": ` or `, ` with or without the space; any other is found where a value or a name is missing.
    fn text(&mut self, bytes: &[u8], mut at: u32) -> Result<(), u32> {
        let mut inside = Kind::Null;
        loop {
            match chunk::<17>(bytes, at) {
                Some([b'"', first @ ..]) => {
                    at = self.string(bytes, (at + 1, plain_end(bytes, at + 1, first)), Kind::String)?;
                }
                _ => match self.other(bytes, (at, inside))? {
                    (end, None) => at = end,
                    (_, Some(next)) => {
                        (at, inside) = next;
                        continue;
                    }
                },
            }
            if inside == Kind::Object {
                if let Some(value) = self.guessed(bytes, (at, b',')) {
                    at = value;
                    continue;
                }
                if let Some(quote) = next_name(bytes, at) {
                    at = self.key(bytes, quote)?;
                    continue;
                }
            }
            match self.close(bytes, (at, inside))? {
                Some(next) => (at, inside) = next,
                None => return Ok(()),
            }
        }
    }

    /// Reads any value: its end, or what is to be read next, within a container or behind white space.
    #[inline(always)]
    fn other(&mut self, bytes: &[u8], (at, inside): Next) -> Result<(u32, Option<Next>), u32> {
        let end = match byte(bytes, at) {
            Some(b'-' | b'0'..=b'9') => self.scalar(Kind::Number, at, number(bytes, at)?),
            Some(b'"') => self.string(bytes, (at + 1, long_plain_end(bytes, at + 1)), Kind::String)?,
            Some(b't') => self.scalar(Kind::True, at, word(bytes, at, b"true")?),
            Some(b'f') => self.scalar(Kind::False, at, word(bytes, at, b"false")?),
            Some(b'n') => self.scalar(Kind::Null, at, word(bytes, at, b"null")?),
            Some(b'{') => return self.enter(bytes, (at, Kind::Object), b'}'),
            Some(b'[') => return self.enter(bytes, (at, Kind::Array), b']'),
            Some(b' ' | b'\n' | b'\r' | b'\t') => return Ok((at, Some((white(bytes, at), inside)))),
            _ => return Err(at),
        };
        Ok((end, None))
    }

    /// Enters the container at `at`, and leaves it at once if it is empty.
    #[inline(always)]
    fn enter(&mut self, bytes: &[u8], (at, kind): Next, end: u8) -> Result<(u32, Option<Next>), u32> {
        if self.open.depth == MAX_DEPTH {
            return Err(at);
        }
        let (this, outer) = (self.count, self.open.innermost);
        let first = white(bytes, self.scalar(kind, at, at) + 1);
        self.nodes.get_mut(this).into_iter().for_each(|node| node.next = outer);
        *self.open = Open { innermost: this as u32, depth: self.open.depth + 1 };
        match kind {
            _ if byte(bytes, first) == Some(end) => Ok((self.leave(first + 1), None)),
            Kind::Object if let Some(value) = self.guessed(bytes, (at, b'{')) => {
                Ok((at, Some((value, kind))))
            }
            Kind::Object => Ok((at, Some((self.key(bytes, quote(bytes, first)?)?, kind)))),
            _ => Ok((at, Some((first, kind)))),
        }
    }

    /// Leaves every container that ends at `at`, behind a value. `None` at the end of the text.
    #[inline(always)]
    fn close(&mut self, bytes: &[u8], (mut at, mut inside): Next) -> Result<Option<Next>, u32> {
        loop {
            match (byte(bytes, at), inside) {
                (Some(b','), Kind::Object) => {
                    let value = match self.guessed(bytes, (at, b',')) {
                        Some(value) => value,
                        None => self.key(bytes, quote(bytes, at + 1)?)?,
                    };
                    return Ok(Some((value, inside)));
                }
                (Some(b','), Kind::Array) => return Ok(Some((white(bytes, at + 1), inside))),
                (Some(b'}'), Kind::Object) | (Some(b']'), Kind::Array) => {
                    (at, inside) = (self.leave(at + 1), self.inside());
                }
                (Some(b' ' | b'\n' | b'\r' | b'\t'), _) => at = white(bytes, at),
                (None, Kind::Null) => return Ok(None),
                _ => return Err(at),
            }
        }
    }

    /// Reads what was guessed to stand at `at`, a brace or a comma, whichever may stand there, and a name; returns the offset
    /// of the value.
    #[inline(always)]
    fn guessed(&mut self, bytes: &[u8], (at, first): (u32, u8)) -> Option<u32> {
        let guess = self.guesses.get(self.count).filter(|guess| guess.begins_with(first))?;
        let is_right = match chunk::<GUESSED>(bytes, at) {
            Some(text) => guess.is_in(text),
            None => guess.is_in(&rest(bytes, at)),
        };
        if !is_right {
            return None;
        }
        let (start, end) = (at + u32::from(guess.start), at + u32::from(guess.end));
        self.push(Node { kind: Kind::Key, escaped: false, start, end, next: 0 });
        Some(at + u32::from(guess.length))
    }

    /// Reads `"name":`; returns the offset of the value, or of white space before it.
    #[inline(always)]
    fn key(&mut self, bytes: &[u8], quote: u32) -> Result<u32, u32> {
        self.guesses = &[];
        let (start, first) = (quote + 1, chunk(bytes, quote + 1));
        let plain =
            first.map_or_else(|| long_plain_end(bytes, start), |first| plain_end(bytes, start, first));
        let end = self.string(bytes, (start, plain), Kind::Key)?;
        match chunk(bytes, end) {
            Some([b':', space]) => Ok(end + 1 + u32::from(*space == b' ')),
            _ => colon(bytes, end),
        }
    }

    /// Reads a string or a name that is plain up to `end`; returns the offset behind its closing quote.
    #[inline(always)]
    fn string(&mut self, bytes: &[u8], (start, mut end): (u32, u32), kind: Kind) -> Result<u32, u32> {
        let mut escaped = false;
        if byte(bytes, end) != Some(b'"') {
            (end, escaped) = (escaped_end(bytes, end)?, true);
        }
        self.push(Node { kind, escaped, start, end, next: 0 });
        Ok(end + 1)
    }

    #[inline(always)]
    fn scalar(&mut self, kind: Kind, start: u32, end: u32) -> u32 {
        self.push(Node { kind, escaped: false, start, end, next: 0 });
        end
    }

    #[inline(always)]
    fn push(&mut self, node: Node) {
        let node = Node { next: self.count as u32 + 1, ..node };
        match self.nodes.get_mut(self.count) {
            Some(place) => *place = node,
            None => grow(self.nodes, (node.kind, node.escaped), node.start, node.end),
        }
        self.count += 1;
    }

    /// Closes the innermost container, whose last byte is before `end`.
    #[inline(always)]
    fn leave(&mut self, end: u32) -> u32 {
        let this = self.open.innermost as usize;
        let mut kind = Kind::Null;
        if let Some(node) = self.nodes.get_mut(this) {
            (node.end, self.open.innermost) = (end, node.next);
            (node.next, kind) = (self.count as u32, node.kind);
        }
        match self.guesses.get(this) {
            Some(guess) if guess.is_of(kind, self.count) => self.guessed += 1,
            _ => self.guesses = &[],
        }
        self.open.depth -= 1;
        end
    }

    /// The container that is open now.
    #[inline(always)]
    fn inside(&self) -> Kind {
        match self.nodes.get(self.open.innermost as usize) {
            Some(node) if self.open.depth > 0 => node.kind,
            _ => Kind::Null,
        }
    }
}

#[cold]
#[inline(never)]
fn grow(nodes: &mut Vec<Node>, (kind, escaped): (Kind, bool), start: u32, end: u32) {
    let next = nodes.len() as u32 + 1;
    nodes.push(Node { kind, escaped, start, end, next });
    nodes.resize(nodes.capacity(), Node::NONE);
}

#[inline(always)]
fn byte(bytes: &[u8], at: u32) -> Option<u8> {
    bytes.get(at as usize).copied()
}

#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: u32) -> Option<&[u8; N]> {
    bytes.get(at as usize..at as usize + N)?.first_chunk()
}

/// The offset of the next byte that is not white space.
fn white(bytes: &[u8], mut at: u32) -> u32 {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = byte(bytes, at) {
        at += 1;
    }
    at
}

/// The offset of the next name's quote behind a comma, or a comma and a space. `None` for any other form, which takes a
/// closer look.
#[inline(always)]
fn next_name(bytes: &[u8], at: u32) -> Option<u32> {
    const SPACED: u32 = u32::from_le_bytes(*b", \"\0");
    const CLOSE: u32 = u32::from_le_bytes(*b",\"\0\0");
    match u32::from_le_bytes(*chunk(bytes, at)?) {
        spaced if spaced & 0xff_ffff == SPACED => Some(at + 2),
        close if close & 0xffff == CLOSE => Some(at + 1),
        _ => None,
    }
}

/// The offset behind the colon behind white space.
#[cold]
#[inline(never)]
fn colon(bytes: &[u8], at: u32) -> Result<u32, u32> {
    let at = white(bytes, at);
    if byte(bytes, at) == Some(b':') { Ok(at + 1) } else { Err(at) }
}

/// The offset of the quote behind white space.
#[inline(never)]
fn quote(bytes: &[u8], at: u32) -> Result<u32, u32> {
    let at = white(bytes, at);
    if byte(bytes, at) == Some(b'"') { Ok(at) } else { Err(at) }
}

fn word(bytes: &[u8], at: u32, word: &[u8]) -> Result<u32, u32> {
    let end = at + word.len() as u32;
    if bytes.get(at as usize..end as usize) == Some(word) { Ok(end) } else { Err(at) }
}

/// The end of a number: in one look where that is plain and shorter than sixteen bytes.
#[inline(always)]
fn number(bytes: &[u8], start: u32) -> Result<u32, u32> {
    match chunk(bytes, start).and_then(plain_number) {
        Some(length) => Ok(start + length),
        None => any_number(bytes, start),
    }
}

/// The length of a number that has no exponent and no zero in front, and ends within sixteen bytes.
#[inline(always)]
fn plain_number(text: &[u8; 16]) -> Option<u32> {
    let sign = u32::from(text[0] == b'-');
    let others = other_than_digits(*text) >> sign;
    let whole = others.trailing_zeros();
    let (first, behind) = (text.get(sign as usize)?, text.get((sign + whole) as usize)?);
    if whole == 0 || *first == b'0' && whole > 1 {
        return None;
    }
    let fraction = if *behind == b'.' { (others >> (whole + 1)).trailing_zeros() + 1 } else { 0 };
    let length = sign + whole + fraction;
    let is_end = !matches!(text.get(length as usize)?, b'e' | b'E');
    (fraction != 1 && is_end).then_some(length)
}

/// A bit for each byte that is no digit.
#[inline(always)]
fn other_than_digits(bytes: [u8; 16]) -> u32 {
    let above = u8x16::new(bytes) - u8x16::splat(b'0');
    !above.min(u8x16::splat(9)).simd_eq(above).to_bitmask() & 0xffff
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
#[inline(never)]
fn any_number(bytes: &[u8], start: u32) -> Result<u32, u32> {
    let mut at = start + u32::from(byte(bytes, start) == Some(b'-'));
    at = match byte(bytes, at) {
        Some(b'0') => at + 1,
        _ => digits(bytes, at)?,
    };
    if byte(bytes, at) == Some(b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = byte(bytes, at) {
        let sign = matches!(byte(bytes, at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + u32::from(sign))?;
    }
    Ok(at)
}

fn digits(bytes: &[u8], start: u32) -> Result<u32, u32> {
    let mut at = start;
    while let Some(b'0'..=b'9') = byte(bytes, at) {
        at += 1;
    }
    if at > start { Ok(at) } else { Err(at) }
}

/// Offset of the first byte from `at` that is no plain character of a string, or the end. `first` is what stands there;
/// most strings are no longer.
#[inline(always)]
fn plain_end(bytes: &[u8], at: u32, first: &[u8; 16]) -> u32 {
    let special = special_bytes(*first);
    if special == 0 { long_plain_end(bytes, at + 16) } else { at + special.trailing_zeros() }
}

#[inline(never)]
fn long_plain_end(bytes: &[u8], mut at: u32) -> u32 {
    while let Some(sixteen) = chunk(bytes, at) {
        let special = special_bytes(*sixteen);
        if special != 0 {
            return at + special.trailing_zeros();
        }
        at += 16;
    }
    plain_end_of_rest(bytes, at)
}

/// The same for less than sixteen bytes.
#[cold]
#[inline(never)]
fn plain_end_of_rest(bytes: &[u8], at: u32) -> u32 {
    at + special_bytes(rest(bytes, at)).trailing_zeros()
}

/// What is left from `at`, filled up with zeros.
#[cold]
#[inline(never)]
fn rest<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    let mut filled = [0; N];
    let rest = bytes.get(at as usize..).unwrap_or_default();
    filled.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    filled
}

/// Offset of the closing quote, from the first byte that is not plain.
#[cold]
#[inline(never)]
fn escaped_end(bytes: &[u8], mut at: u32) -> Result<u32, u32> {
    loop {
        match byte(bytes, at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at = long_plain_end(bytes, escape(bytes, at)?),
            _ => return Err(at),
        }
    }
}

/// A bit for each byte that is a quote, a backslash or a control character.
#[inline(always)]
fn special_bytes(bytes: [u8; 16]) -> u32 {
    let bytes = u8x16::new(bytes);
    // With this bit turned, a quote stands right behind the control characters, and nothing else does.
    let turned = bytes ^ u8x16::splat(0x02);
    let control_or_quote = turned.min(u8x16::splat(0x20)).simd_eq(turned);
    (control_or_quote | bytes.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// Checks the escape at `at`; the offset after it. A `\u` escape of half a surrogate pair is refused, since parsers
/// disagree on what it means.
fn escape(bytes: &[u8], at: u32) -> Result<u32, u32> {
    match byte(bytes, at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(bytes, at + 2)? {
            0xd800..=0xdbff if chunk(bytes, at + 6) == Some(b"\\u") => match hex(bytes, at + 8)? {
                0xdc00..=0xdfff => Ok(at + 12),
                _ => Err(at + 6),
            },
            0xd800..=0xdfff => Err(at),
            _ => Ok(at + 6),
        },
        _ => Err(at),
    }
}

fn hex(bytes: &[u8], at: u32) -> Result<u32, u32> {
    let digits = chunk::<4>(bytes, at).ok_or(at)?;
    digits
        .iter()
        .try_fold(0, |value, byte| char::from(*byte).to_digit(16).map(|digit| value * 16 + digit).ok_or(at))
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

    #[test]
    fn a_malformed_text_leaves_no_nodes_and_its_memory_is_seen() {
        for (text, is_large) in [
            ("[1,2".to_owned(), false),
            ("[1".repeat(100), false),
            ("[".to_owned() + &"1,".repeat(70_000), true),
        ] {
            let mut tape = Tape::default();
            assert!(tape.scan(&text).is_err());
            assert_eq!((tape.nodes(), tape.is_large()), ([].as_slice(), is_large));
            tape.scan("[7]").unwrap();
            assert_eq!(tape.nodes().len(), 2);
        }
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
