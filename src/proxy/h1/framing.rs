//! Where a body ends (RFC 9112, section 6), and what may not be passed on because two servers could disagree about that.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::head::{Head, Role};

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; none where there is no body.
    Exact(u64),
    /// In chunks, and trailers behind them.
    Chunked,
    /// As long as the connection. Answers only.
    UntilClose,
}

/// A message that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not HTTP/1, or names, values or lines are not as they must be.
    #[error("not an HTTP/1 head")]
    Head,
    /// A version that is not spoken.
    #[error("not a version that is spoken")]
    Version,
    /// More headers than are allowed, or longer ones.
    #[error("too many headers, or too long ones")]
    TooLarge,
    /// Two servers could disagree about where the body ends.
    #[error("not a framing that is passed on")]
    Framing,
}

impl Refusal {
    /// What the client gets for such a request.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::Head | Refusal::Framing => StatusCode::BAD_REQUEST,
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

impl From<httparse::Error> for Refusal {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Refusal::TooLarge,
            httparse::Error::Version => Refusal::Version,
            _ => Refusal::Head,
        }
    }
}

impl Framing {
    /// Nothing.
    pub(crate) const NONE: Framing = Framing::Exact(0);

    /// Of a request.
    pub(crate) fn of_request(head: &Head) -> Result<Self, Refusal> {
        if !head.has(Role::TransferEncoding) {
            return Ok(Framing::Exact(length(head)?.unwrap_or(0)));
        }
        // HTTP/1.0 knows no codings, and of several lines some read just one: whoever is behind may read another message.
        if !head.is_1_1 || head.values(Role::TransferEncoding).count() > 1 || !is_chunked(head)? {
            return Err(Refusal::Framing);
        }
        Ok(Framing::Chunked)
    }

    /// Of the answer to a request of this method.
    pub(crate) fn of_answer(head: &Head, is_head: bool) -> Result<Self, Refusal> {
        if is_head || head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304) {
            return Ok(Framing::NONE);
        }
        if head.has(Role::TransferEncoding) {
            return Ok(if is_chunked(head)? { Framing::Chunked } else { Framing::UntilClose });
        }
        Ok(length(head)?.map_or(Framing::UntilClose, Framing::Exact))
    }
}

/// The longest body. Whoever behind counts in signed numbers of 64 bits would read a longer one otherwise.
pub(in crate::proxy) const LONGEST: u64 = i64::MAX.cast_unsigned();

/// The length that is said, once or several times alike.
fn length(head: &Head) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for value in head.values(Role::ContentLength) {
        // Nearly always it is one number.
        let said = match digits(value) {
            Some(said) => said,
            None => alike(value).ok_or(Refusal::Framing)?,
        };
        if said > LONGEST || length.replace(said).is_some_and(|before| before != said) {
            return Err(Refusal::Framing);
        }
    }
    Ok(length)
}

/// What all words of a list say.
fn alike(value: &[u8]) -> Option<u64> {
    let mut words = value.split(|byte| *byte == b',').map(|word| digits(word.trim_ascii()));
    let first = words.next()??;
    words.all(|word| word == Some(first)).then_some(first)
}

/// A number of digits and nothing else.
pub(super) fn digits(word: &[u8]) -> Option<u64> {
    let add = |sum: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if word.is_empty() { None } else { word.iter().try_fold(0, add) }
}

/// Whether the last coding is chunked. Said twice, or with another behind it, it is refused.
fn is_chunked(head: &Head) -> Result<bool, Refusal> {
    let mut words = head.words(Role::TransferEncoding);
    let found = words.any(|word| word.eq_ignore_ascii_case(b"chunked"));
    if found && words.next().is_some() { Err(Refusal::Framing) } else { Ok(found) }
}

/// What comes of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Nothing more is at hand.
    More,
}

/// A body that is not framed as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misframed;

/// A message that did not come whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection ended.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// No head of an answer.
    #[error(transparent)]
    Head(Refusal),
    /// A body that is not framed as it must be.
    #[error("a body is not framed as it must be")]
    Misframed,
    /// HTTP/2 went wrong.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    /// The request's own body did not come whole.
    #[error("the request's body broke off")]
    Request,
}

/// Reads a body out of what comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Exact(u64),
    /// A chunk's size comes.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// Longest line of a chunk's size with its extensions, which are dropped.
const MAX_SIZE_LINE: usize = 4 << 10;

/// Longest trailers, and most of them.
const MAX_TRAILERS: usize = 16 << 10;
const MAX_TRAILER_FIELDS: usize = 64;

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Exact(0) => State::Done,
            Framing::Exact(length) => State::Exact(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether everything has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// The bytes that are left, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.0 {
            State::Exact(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The connection has ended. Whether the body may end here.
    pub(crate) fn close(&mut self) -> Result<(), Misframed> {
        match self.0 {
            State::UntilClose | State::Done => {
                self.0 = State::Done;
                Ok(())
            }
            _ => Err(Misframed),
        }
    }

    /// What the start of `input` holds.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, Misframed> {
        loop {
            match self.0 {
                State::Done => return Ok(Piece::End),
                _ if input.is_empty() => return Ok(Piece::More),
                State::UntilClose => return Ok(Piece::Data(input.split().freeze())),
                State::Exact(left) => {
                    let data = take(input, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::Done } else { State::Exact(left) };
                    return Ok(Piece::Data(data));
                }
                State::Chunk(left) => {
                    let data = take(input, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                State::ChunkEnd => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.advance(2);
                        self.0 = State::Size;
                    }
                    None if input.first() == Some(&b'\r') => return Ok(Piece::More),
                    _ => return Err(Misframed),
                },
                State::Size => match size_line(input)? {
                    None => return Ok(Piece::More),
                    Some(0) => self.0 = State::Trailers,
                    Some(size) => self.0 = State::Chunk(size),
                },
                State::Trailers => return self.trailers(input),
            }
        }
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Piece, Misframed> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.0 = State::Done;
            return Ok(Piece::End);
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        match httparse::parse_headers(input, &mut fields) {
            Ok(httparse::Status::Complete((length, fields))) => {
                let trailers = trailers(fields)?;
                input.advance(length);
                self.0 = State::Done;
                Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) })
            }
            Ok(httparse::Status::Partial) if input.len() < MAX_TRAILERS => Ok(Piece::More),
            _ => Err(Misframed),
        }
    }
}

/// Trailers, without those that would say something about the framing or the connection.
fn trailers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Misframed> {
    let forbidden = |name: &HeaderName| {
        use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
        [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE].contains(name)
    };
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Misframed)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Misframed)?;
        if !forbidden(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// At most `most` bytes of the input.
fn take(input: &mut BytesMut, most: u64) -> Bytes {
    let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    input.split_to(length).freeze()
}

/// Takes a chunk's size and its extensions, once the line is whole.
fn size_line(input: &mut BytesMut) -> Result<Option<u64>, Misframed> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() < MAX_SIZE_LINE { Ok(None) } else { Err(Misframed) };
    };
    let line = input.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Misframed)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at_checked(digits).ok_or(Misframed)?;
    // Extensions are dropped; a bare CR in them may end the line for somebody else.
    let is_extension = matches!(rest.trim_ascii_start().first(), None | Some(b';'));
    if size.is_empty()
        || size.len() > 16
        || !is_extension
        || rest.contains(&b'\r')
        || line.len() > MAX_SIZE_LINE
    {
        return Err(Misframed);
    }
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    input.advance(end + 1);
    size.map(Some).ok_or(Misframed)
}
