//! Where in a head everything stands: its bytes once, and places in them.

use std::{fmt, mem::MaybeUninit, ops::Range};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::framing::Refusal;
use crate::{proxy::hop::names_header, recognise::Headers};

/// Headers that mean something to whoever passes them on; all others are [`Role::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Other,
    Connection,
    ContentLength,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Te,
    TransferEncoding,
    Upgrade,
}

/// A header's place in its head.
#[derive(Clone, Copy, Debug)]
struct Field {
    role: Role,
    /// Where its name starts, its name's length, where its value starts, its value's length. A head is shorter than 4 GiB.
    name: u32,
    name_length: u32,
    value: u32,
    value_length: u32,
}

/// A head of a request or an answer, without the empty line.
#[derive(Clone, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// Of a request its method and its target, one behind the other: known to be text, so that nobody has to look again.
    line: String,
    /// How long the method is.
    method: usize,
    /// Of an answer.
    reason: Range<usize>,
    /// Of an answer.
    pub(crate) status: StatusCode,
    /// HTTP/1.0 where this is false.
    pub(crate) is_1_1: bool,
}

/// Not what stands in it: headers hold secrets.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head of {} headers", self.fields.len())
    }
}

/// What a request asks for.
pub(crate) enum Target<'h> {
    /// A path, as nearly all requests have it; the query is cut off.
    Plain(&'h str),
    /// A path with a fragment, which no request has: what stands before it. As a [`Uri`] it would lose that.
    Fragment(&'h str),
    /// Anything else: `*`, a whole URL, an authority, or a path with bytes that a URL has no place for.
    Odd,
}

/// What a head may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) fields: usize,
    pub(crate) bytes: usize,
}

impl HeadLimits {
    /// The head's length, once it is whole; `held` bytes have come.
    fn length(self, parsed: httparse::Status<usize>, held: usize) -> Result<Option<usize>, Refusal> {
        match parsed {
            httparse::Status::Complete(length) if length <= self.bytes => Ok(Some(length)),
            httparse::Status::Partial if held < self.bytes => Ok(None),
            _ => Err(Refusal::TooLarge),
        }
    }
}

/// What is at the start of a buffer.
pub(crate) enum Parsed {
    /// A whole head, which has been taken out.
    Head,
    /// The start of one.
    Partly,
}

impl Head {
    /// Takes a request's head out of `input`. `self` is overwritten, its memory used again.
    pub(crate) fn take_request(
        &mut self,
        input: &mut BytesMut,
        limits: HeadLimits,
    ) -> Result<Parsed, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let space = fields.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
        let parsed = request.parse_with_uninit_headers(input, space).map_err(Refusal::from)?;
        let Some(length) = limits.length(parsed, input.len())? else { return Ok(Parsed::Partly) };
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        let base = input.as_ptr() as usize;
        self.line.clear();
        self.line.extend([method, target]);
        self.method = method.len();
        self.is_1_1 = request.version == Some(1);
        self.status = StatusCode::OK;
        read_fields(&mut self.fields, base, request.headers);
        self.keep(input, length);
        Ok(Parsed::Head)
    }

    /// Takes an answer's head out of `input`.
    pub(crate) fn take_answer(
        &mut self,
        input: &mut BytesMut,
        limits: HeadLimits,
    ) -> Result<Parsed, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut []);
        let space = fields.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
        let config = httparse::ParserConfig::default();
        let parsed =
            config.parse_response_with_uninit_headers(&mut answer, input, space).map_err(Refusal::from)?;
        let Some(length) = limits.length(parsed, input.len())? else { return Ok(Parsed::Partly) };
        let base = input.as_ptr() as usize;
        self.reason = range(base, answer.reason.unwrap_or_default().as_bytes());
        self.is_1_1 = answer.version == Some(1);
        self.status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| Refusal::Head)?;
        read_fields(&mut self.fields, base, answer.headers);
        self.keep(input, length);
        Ok(Parsed::Head)
    }

    fn keep(&mut self, input: &mut BytesMut, length: usize) {
        // Copied, as it is short: sharing the buffer would cost more, and keep it from being used again.
        self.bytes.clear();
        self.bytes.extend_from_slice(input.get(..length).unwrap_or_default());
        input.advance(length);
    }

    /// A request's method.
    pub(crate) fn method(&self) -> &str {
        self.line.get(..self.method).unwrap_or_default()
    }

    /// An answer's reason, as it stood.
    pub(crate) fn reason(&self) -> &[u8] {
        self.bytes.get(self.reason.clone()).unwrap_or_default()
    }

    /// A request's target, as it stood.
    pub(crate) fn target_bytes(&self) -> &[u8] {
        self.target_text().as_bytes()
    }

    fn target_text(&self) -> &str {
        self.line.get(self.method..).unwrap_or_default()
    }

    /// A request's target.
    pub(crate) fn target(&self) -> Target<'_> {
        let text = self.target_text();
        if !text.starts_with('/') {
            return Target::Odd;
        }
        let path = || {
            let end = text.bytes().position(|byte| matches!(byte, b'?' | b'#'));
            end.and_then(|end| text.get(..end)).unwrap_or(text)
        };
        // Each look is at all bytes, many at a time.
        let any = |is: fn(u8) -> bool| text.bytes().fold(false, |any, byte| any | is(byte));
        match () {
            () if any(|byte| byte == b'#') => Target::Fragment(path()),
            () if any(|byte| !byte.is_ascii_graphic()) => Target::Odd,
            () if any(|byte| byte == b'?') => Target::Plain(path()),
            () => Target::Plain(text),
        }
    }

    /// The target from its path on, as a server expects it; `None` where it has no path.
    pub(crate) fn origin_form(&self) -> Option<&[u8]> {
        let target = self.target_bytes();
        if target.starts_with(b"/") {
            return Some(target);
        }
        let behind_scheme = memchr::memmem::find(target, b"://")? + 3;
        let ends_authority = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
        let path = target.get(behind_scheme..)?.iter().position(ends_authority)?;
        target.get(behind_scheme + path..).filter(|path| path.starts_with(b"/"))
    }

    /// Every header's kind, name and value, in the order in which they stood.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Role, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.role, field.name(&self.bytes), field.value(&self.bytes)))
    }

    /// The values of one kind of header.
    pub(crate) fn values(&self, role: Role) -> impl Iterator<Item = &[u8]> {
        let of_kind = self.fields.iter().filter(move |field| field.role == role);
        of_kind.map(|field| field.value(&self.bytes))
    }

    /// Whether a header of this kind stands in it.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.fields.iter().any(|field| field.role == role)
    }

    /// Whether the body is coded for its transfer.
    pub(crate) fn is_coded(&self) -> bool {
        self.values(Role::TransferEncoding).any(|value| !is_identity(value))
    }

    /// Whether one of the comma-separated words of a header is this.
    pub(crate) fn says(&self, role: Role, word: &str) -> bool {
        self.words(role).any(|known| known.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The comma-separated words of a header.
    pub(crate) fn words(&self, role: Role) -> impl Iterator<Item = &[u8]> {
        self.values(role).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The headers as a map, with one length at most, and none beside a transfer coding, which goes before it.
    pub(crate) fn map(&self) -> Result<HeaderMap, Refusal> {
        let mut map = HeaderMap::with_capacity(self.fields.len() + 4);
        let bytes = Bytes::copy_from_slice(&self.bytes);
        let mut has_length = self.has(Role::TransferEncoding);
        for field in &self.fields {
            let Some(value) = field.understood(&bytes, &mut has_length) else { continue };
            let name = match field.role {
                Role::ContentLength => header::CONTENT_LENGTH,
                Role::Host => header::HOST,
                _ => HeaderName::from_bytes(field.name(&self.bytes)).map_err(|_| Refusal::Head)?,
            };
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value));
            map.append(name, value.map_err(|_| Refusal::Head)?);
        }
        Ok(map)
    }

    /// A request's line, for whoever looks into it. Its headers are looked up where they stand. `last` is the last target that
    /// was read: mostly it is the same, and to compare takes less than to read.
    pub(crate) fn request(&self, last: &mut Uri) -> Result<http::request::Parts, Refusal> {
        // Should a map be made of them after all, it takes them.
        let is_long = |field: &Field| field.name_length > u32::from(u16::MAX);
        if self.target_bytes().contains(&b'#') || self.fields.iter().any(is_long) {
            return Err(Refusal::Head);
        }
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(self.method().as_bytes()).map_err(|_| Refusal::Head)?;
        let known = last.path_and_query().filter(|_| last.authority().is_none());
        if known.is_none_or(|known| known.as_str() != self.target_text()) {
            *last = Uri::try_from(self.target_bytes()).map_err(|_| Refusal::Head)?;
        }
        parts.uri = last.clone();
        Ok(parts)
    }

    /// Whether a header of this name belongs to the connection, so that whoever passes the others on leaves it out (RFC 9110,
    /// section 7.6.1).
    pub(crate) fn strips(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        match role(name) {
            Role::Connection | Role::KeepAlive | Role::ProxyConnection | Role::Upgrade => true,
            Role::Te => !self.values(Role::Te).next().is_some_and(is_trailers),
            Role::Host | Role::ContentLength | Role::TransferEncoding => false,
            Role::Expect | Role::Http2Settings | Role::Other => {
                self.named().any(|word| word.eq_ignore_ascii_case(name))
            }
        }
    }

    /// The headers that `Connection` names.
    pub(super) fn named(&self) -> impl Iterator<Item = &[u8]> {
        self.words(Role::Connection).filter(|word| names_header(word))
    }
}

/// As [`Head::map`] has them.
impl Headers for Head {
    fn each<'h>(&'h self, name: &HeaderName, found: &mut dyn FnMut(&'h [u8])) {
        let wanted = name.as_str().as_bytes();
        let mut has_length = *name == header::CONTENT_LENGTH && self.has(Role::TransferEncoding);
        for field in &self.fields {
            // Nearly all are of another length, and need not be looked at.
            if field.name_length as usize == wanted.len()
                && is_word(field.name(&self.bytes), wanted)
                && let Some(value) = field.understood(&self.bytes, &mut has_length)
            {
                found(value);
            }
        }
    }
}

/// A length that is said several times in one line, said once.
pub(super) fn first_word(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// Whether a `TE` says something that holds beyond the connection.
pub(super) fn is_trailers(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"trailers")
}

/// Whether a transfer coding is the one that codes nothing, which few read any more.
pub(super) fn is_identity(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"identity")
}

/// Headers that any configuration allows.
pub(crate) const MAX_FIELDS: usize = 1_024;

impl Field {
    fn name<'h>(&self, bytes: &'h [u8]) -> &'h [u8] {
        let start = self.name as usize;
        bytes.get(start..start + self.name_length as usize).unwrap_or_default()
    }

    fn value<'h>(&self, bytes: &'h [u8]) -> &'h [u8] {
        let start = self.value as usize;
        bytes.get(start..start + self.value_length as usize).unwrap_or_default()
    }

    /// Its value; `None` where it is left out of account: a length behind another, or one that a coding goes before, and a
    /// coding that codes nothing.
    fn understood<'h>(&self, bytes: &'h [u8], has_length: &mut bool) -> Option<&'h [u8]> {
        let value = self.value(bytes);
        match self.role {
            Role::ContentLength if std::mem::replace(has_length, true) => None,
            Role::ContentLength => Some(first_word(value)),
            Role::TransferEncoding if is_identity(value) => None,
            _ => Some(value),
        }
    }
}

fn read_fields(fields: &mut Vec<Field>, base: usize, parsed: &[httparse::Header<'_>]) {
    fields.clear();
    let place = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(base) as u32;
    fields.extend(parsed.iter().map(|header| Field {
        role: role(header.name.as_bytes()),
        name: place(header.name.as_bytes()),
        name_length: header.name.len() as u32,
        value: place(header.value),
        value_length: header.value.len() as u32,
    }));
}

fn range(base: usize, part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(base);
    if part.is_empty() { 0..0 } else { start..start + part.len() }
}

/// What a header is, told by its length before anything is compared.
fn role(name: &[u8]) -> Role {
    match name.len() {
        2 if is_word(name, b"te") => Role::Te,
        4 if is_word(name, b"host") => Role::Host,
        6 if is_word(name, b"expect") => Role::Expect,
        7 if is_word(name, b"upgrade") => Role::Upgrade,
        10 if is_word(name, b"connection") => Role::Connection,
        10 if is_word(name, b"keep-alive") => Role::KeepAlive,
        14 if is_word(name, b"content-length") => Role::ContentLength,
        14 if is_word(name, b"http2-settings") => Role::Http2Settings,
        16 if is_word(name, b"proxy-connection") => Role::ProxyConnection,
        17 if is_word(name, b"transfer-encoding") => Role::TransferEncoding,
        _ => Role::Other,
    }
}

/// Whether a name is this word in lower case. All bytes are looked at, many at a time, which takes a third of what it takes
/// to stop at the first that is another.
#[inline(always)]
fn is_word(name: &[u8], word: &[u8]) -> bool {
    let odd = |odd, (byte, wanted): (&u8, &u8)| odd | (byte.to_ascii_lowercase() ^ wanted);
    name.len() == word.len() && name.iter().zip(word).fold(0, odd) == 0
}
