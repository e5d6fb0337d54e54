//! Heads and frames that go out, line by line.
//!
//! A header that nobody touched keeps the case of its name and its place; one of ours is written in Title-Case.

use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    framing::{Framing, digits},
    head::{Head, Role, first_word, is_identity, is_trailers},
};

/// What is said of the connection behind a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes on, as it does without a word.
    Open,
    /// It goes on, which HTTP/1.0 has to be told.
    KeepAlive,
    /// It ends.
    Close,
    /// It becomes something else.
    Upgrade,
}

/// What is changed in a head that is passed on otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Changes<'c> {
    /// Headers that take the place of those with their names.
    pub(crate) added: &'c [(HeaderName, HeaderValue)],
    /// Names of further headers that are left out.
    pub(crate) without: &'c [HeaderName],
    /// The length that is said where one is said.
    pub(crate) length: Option<u64>,
}

/// Writes into a buffer.
pub(crate) struct Writer<'o>(pub(crate) &'o mut Vec<u8>);

impl Writer<'_> {
    /// `GET /path HTTP/1.1`
    pub(crate) fn request_line(&mut self, method: &str, target: &[u8]) {
        self.put(method.as_bytes());
        self.put(b" ");
        self.put(target);
        self.put(b" HTTP/1.1\r\n");
    }

    /// `HTTP/1.1 200 OK`
    pub(crate) fn status_line(&mut self, status: StatusCode, reason: Option<&[u8]>) {
        let reason = reason.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes());
        self.put(b"HTTP/1.1 ");
        self.put(status.as_str().as_bytes());
        self.put(b" ");
        self.put(reason);
        self.put(b"\r\n");
    }

    /// The headers of a head that nobody changed, without those that belong to its connection or its framing.
    pub(crate) fn passed(&mut self, head: &Head, framing: Framing) {
        self.passed_but(head, framing, |_| false, None);
    }

    /// The same with changes.
    pub(crate) fn changed(&mut self, head: &Head, framing: Framing, changes: &Changes<'_>) {
        let Changes { added, without, length } = *changes;
        let is_replaced = |spelt: &[u8]| {
            let is_it = |name: &HeaderName| spelt.eq_ignore_ascii_case(name.as_str().as_bytes());
            added.iter().any(|(name, _)| is_it(name)) || without.iter().any(is_it)
        };
        self.passed_but(head, framing, is_replaced, length);
        added.iter().for_each(|(name, value)| self.titled(name, value));
    }

    fn passed_but(
        &mut self,
        head: &Head,
        framing: Framing,
        is_left_out: impl Fn(&[u8]) -> bool,
        length: Option<u64>,
    ) {
        // Once, as there may be many headers and many words; mostly there is nothing to collect.
        let named: Vec<&[u8]> = head.named().collect();
        let mut has_length = false;
        for (role, name, mut value) in head.lines() {
            let is_passed = match role {
                Role::Other | Role::Expect | Role::Host => {
                    let is_named = named.iter().any(|word| word.eq_ignore_ascii_case(name));
                    !is_named && !is_left_out(name)
                }
                Role::Te => is_trailers(value),
                // Said several times alike, it is passed on once.
                Role::ContentLength => {
                    value = first_word(value);
                    matches!(framing, Framing::Exact(_)) && !std::mem::replace(&mut has_length, true)
                }
                Role::TransferEncoding => framing == Framing::Chunked && !is_identity(value),
                Role::Connection
                | Role::Http2Settings
                | Role::KeepAlive
                | Role::ProxyConnection
                | Role::Upgrade => false,
            };
            if !is_passed {
                continue;
            }
            match length.filter(|length| role == Role::ContentLength && digits(value) != Some(*length)) {
                Some(length) => self.number(name, length),
                None => self.line(name, value),
            }
        }
    }

    /// The headers of a map, spelt as in the head that it was made of. Those of framing are [`Writer::framing`]'s.
    pub(crate) fn map(&mut self, map: &HeaderMap, spelling: Option<&Head>, framing: Framing) {
        let mut spelling = spelling.map(Spelling::new);
        for (name, value) in map {
            if !is_framing(name, framing) {
                continue;
            }
            match spelling.as_mut().and_then(|spelling| spelling.of(name)) {
                Some(spelt) => self.line(spelt, value.as_bytes()),
                None => self.titled(name, value),
            }
        }
    }

    /// The headers of a map that came over HTTP/2, where names are in lower case.
    pub(crate) fn lower(&mut self, map: &HeaderMap, framing: Framing) {
        for (name, value) in map.iter().filter(|(name, _)| is_framing(name, framing)) {
            self.line(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    /// The header that frames the body, where the map has none for it.
    pub(crate) fn framing(&mut self, framing: Framing, map: &HeaderMap, even_zero: bool) {
        match framing {
            Framing::Exact(length)
                if (length > 0 || even_zero) && !map.contains_key(http::header::CONTENT_LENGTH) =>
            {
                self.length(length);
            }
            Framing::Chunked if !says_chunked(map) => self.chunked(),
            _ => {}
        }
    }

    /// Says how long the body is.
    pub(crate) fn length(&mut self, length: u64) {
        self.number(b"Content-Length", length);
    }

    /// Says that the body comes in chunks.
    pub(crate) fn chunked(&mut self) {
        self.put(b"Transfer-Encoding: chunked\r\n");
    }

    /// Ends a head, and says what comes of the connection.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.put(match ending {
            Ending::Open => b"\r\n",
            Ending::KeepAlive => b"Connection: keep-alive\r\n\r\n",
            Ending::Close => b"Connection: close\r\n\r\n",
            Ending::Upgrade => b"Connection: Upgrade\r\n\r\n",
        });
    }

    /// A piece of a body.
    pub(crate) fn data(&mut self, data: &[u8], chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            _ = write!(self.0, "{:X}\r\n", data.len());
        }
        self.put(data);
        if chunked {
            self.put(b"\r\n");
        }
    }

    /// The end of a body in chunks.
    pub(crate) fn last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.put(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            self.line(name.as_str().as_bytes(), value.as_bytes());
        }
        self.put(b"\r\n");
    }

    /// One header.
    pub(crate) fn line(&mut self, name: &[u8], value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 4);
        self.put(name);
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
    }

    /// One header that says a number.
    fn number(&mut self, name: &[u8], number: u64) {
        self.put(name);
        _ = write!(self.0, ": {number}\r\n");
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// One of our headers.
    fn titled(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (start, name) = (self.0.len(), name.as_str().as_bytes());
        self.put(name);
        let title = self.0.get_mut(start..).unwrap_or_default();
        let mut starts_word = true;
        for byte in title {
            if starts_word {
                byte.make_ascii_uppercase();
            }
            starts_word = *byte == b'-';
        }
        self.put(b": ");
        self.put(value.as_bytes());
        self.put(b"\r\n");
    }
}

/// Whether a map says that the body comes in chunks.
pub(crate) fn says_chunked(map: &HeaderMap) -> bool {
    let lines = map.get_all(http::header::TRANSFER_ENCODING).iter();
    let mut words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Whether a header of a map is written: all but those of another framing.
fn is_framing(name: &HeaderName, framing: Framing) -> bool {
    match *name {
        http::header::CONTENT_LENGTH => matches!(framing, Framing::Exact(_)),
        http::header::TRANSFER_ENCODING => framing == Framing::Chunked,
        _ => true,
    }
}

/// How a head spelt its names. Asked for in about their order, so the next one is mostly the right one.
struct Spelling<'h> {
    head: &'h Head,
    next: usize,
}

impl<'h> Spelling<'h> {
    fn new(head: &'h Head) -> Self {
        Self { head, next: 0 }
    }

    fn of(&mut self, name: &HeaderName) -> Option<&'h [u8]> {
        let is_it = |(_, (_, spelt, _)): &(usize, (Role, &[u8], &[u8]))| {
            spelt.eq_ignore_ascii_case(name.as_str().as_bytes())
        };
        let lines = || self.head.lines().enumerate();
        let (index, (_, spelt, _)) =
            lines().skip(self.next).find(is_it).or_else(|| lines().take(self.next).find(is_it))?;
        self.next = index + 1;
        Some(spelt)
    }
}
