//! A recorded exchange: a request's bytes and, after a line that says so, its answer's.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use crate::proxy::worker::MAX_HEADERS;

/// What stands between the request and its answer.
const SEPARATOR: &[u8] = b"\r\n=====RESPONSE=====\r\n";

/// A recorded exchange. Bodies are without chunk framing; their codings are left.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What the client sent.
    pub(super) request: Request<Vec<u8>>,
    /// What the CRM answered, where that was recorded.
    pub(super) response: Option<Response<Vec<u8>>>,
}

/// The bytes are no recorded exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The request's head.
    #[error("not a request as HTTP/1.1 has it: {0}")]
    Request(httparse::Error),
    /// The answer's head.
    #[error("what follows the line =====RESPONSE===== is not an answer as HTTP/1.1 has it: {0}")]
    Response(httparse::Error),
    /// A head without its empty line.
    #[error("a head has no end: an empty line closes it")]
    Head,
    /// A name or value that is none.
    #[error("a head's method, target or header cannot be read")]
    Field,
    /// Chunks that are none.
    #[error("a chunked body breaks off")]
    Chunks,
}

impl Recording {
    /// Reads `GET /path HTTP/1.1`, headers, an empty line, a body; then, after a line `=====RESPONSE=====`, the answer alike.
    /// A body ends where its part ends, whatever Content-Length says: files are edited by hand.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordingError> {
        let at = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let (request, response) = match at.and_then(|at| bytes.split_at_checked(at)) {
            Some((request, response)) => (request, response.get(SEPARATOR.len()..)),
            None => (bytes, None),
        };
        let request = self::request(request)?;
        let response = response.map(|bytes| self::response(bytes, request.method())).transpose()?;
        Ok(Self { request, response })
    }
}

fn request(bytes: &[u8]) -> Result<Request<Vec<u8>>, RecordingError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut fields);
    let end = match head.parse(bytes).map_err(RecordingError::Request)? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial => return Err(RecordingError::Head),
    };
    let method = head.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let uri: Option<Uri> = head.path.and_then(|path| path.parse().ok());
    let mut request = Request::default();
    *request.method_mut() = method.ok_or(RecordingError::Field)?;
    *request.uri_mut() = uri.ok_or(RecordingError::Field)?;
    *request.headers_mut() = headers(head.headers)?;
    *request.body_mut() = body(request.headers_mut(), bytes.get(end..).unwrap_or_default())?;
    Ok(request)
}

fn response(mut bytes: &[u8], method: &Method) -> Result<Response<Vec<u8>>, RecordingError> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut fields);
        let end = match head.parse(bytes).map_err(RecordingError::Response)? {
            httparse::Status::Complete(end) => end,
            httparse::Status::Partial => return Err(RecordingError::Head),
        };
        bytes = bytes.get(end..).unwrap_or_default();
        let status =
            head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(RecordingError::Field)?;
        // `100 Continue` comes before the answer.
        if status.is_informational() {
            continue;
        }
        let mut response = Response::default();
        *response.status_mut() = status;
        *response.headers_mut() = headers(head.headers)?;
        let has_body = *method != Method::HEAD && !matches!(status.as_u16(), 204 | 304);
        if has_body {
            *response.body_mut() = body(response.headers_mut(), bytes)?;
        }
        return Ok(response);
    }
}

fn headers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, RecordingError> {
    let mut headers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| RecordingError::Field)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| RecordingError::Field)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn body(headers: &mut HeaderMap, bytes: &[u8]) -> Result<Vec<u8>, RecordingError> {
    let coding = headers.get(header::TRANSFER_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    if coding.eq_ignore_ascii_case(b"chunked") {
        return chunks(bytes);
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Ok(bytes.to_vec())
}

fn chunks(mut bytes: &[u8]) -> Result<Vec<u8>, RecordingError> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(bytes) else {
            return Err(RecordingError::Chunks);
        };
        if size == 0 {
            return Ok(body);
        }
        let size = usize::try_from(size).map_err(|_| RecordingError::Chunks)?;
        let chunk = bytes.get(start..).and_then(|rest| rest.split_at_checked(size));
        let (chunk, rest) = chunk.ok_or(RecordingError::Chunks)?;
        body.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n").ok_or(RecordingError::Chunks)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read() {
        for (bytes, expected) in [
            ("GET /a?b HTTP/1.1\r\n\r\n", "GET /a?b [] "),
            ("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}", "POST /a [2] {}"),
            ("POST /a HTTP/1.1\nHost: x\n\n{}", "POST /a [] {}"),
            (
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
                "POST /a [] abcd",
            ),
            (
                "POST /a HTTP/1.1\r\n\r\n{}\r\n=====RESPONSE=====\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n[17]",
                "POST /a [] {} 201 [17]",
            ),
            (
                "GET /a HTTP/1.1\r\n\r\n\r\n=====RESPONSE=====\r\nHTTP/1.1 204 No Content\r\n\r\n",
                "GET /a []  204 ",
            ),
        ] {
            let Recording { request, response } = Recording::parse(bytes.as_bytes()).unwrap();
            let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
            let length = request.headers().get("content-length").map_or("", |value| value.to_str().unwrap());
            let mut told =
                format!("{} {} [{length}] {}", request.method(), request.uri(), text(request.body()));
            if let Some(response) = response {
                told.push_str(&format!(" {} {}", response.status().as_str(), text(response.body())));
            }
            assert_eq!(told, expected, "{bytes}");
        }
    }

    #[test]
    fn what_is_no_exchange_is_refused() {
        for (bytes, expected) in [
            ("", RecordingError::Head),
            ("GET /a HTTP/1.1\r\nHost: x\r\n", RecordingError::Head),
            ("{}\r\n\r\n", RecordingError::Request(httparse::Error::Token)),
            (
                "GET /a HTTP/1.1\r\n\r\n\r\n=====RESPONSE=====\r\n{}",
                RecordingError::Response(httparse::Error::Version),
            ),
            (
                "GET /a HTTP/1.1\r\n\r\n\r\n=====RESPONSE=====\r\nHTTP/1.1 100 Continue\r\n\r\n",
                RecordingError::Head,
            ),
            ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", RecordingError::Chunks),
            (
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
                RecordingError::Chunks,
            ),
            ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd", RecordingError::Chunks),
        ] {
            assert_eq!(Recording::parse(bytes.as_bytes()).map(|_| ()), Err(expected), "{bytes}");
        }
    }
}
