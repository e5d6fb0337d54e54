//! Hop-by-hop headers (RFC 9110, section 7.6.1): they belong to one connection and are not forwarded.
//!
//! `Transfer-Encoding` stays: hyper frames by it, so a chunked body stays chunked.

use http::{HeaderMap, HeaderName, header};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes hop-by-hop headers, and those that `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    // One scan of the names: nearly all messages have none of these, or just `Connection`.
    let is_hop = |name: &HeaderName| {
        *name == header::CONNECTION
            || *name == header::TE
            || *name == header::UPGRADE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
    };
    if !headers.keys().any(is_hop) {
        return;
    }
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named.flat_map(|value| value.split(',')).filter_map(named_header).collect();
    let wants_trailers =
        headers.get(header::TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named.iter().filter(|name| **name != header::TE) {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    if !wants_trailers {
        headers.remove(header::TE);
    }
}

/// Whether the message says in one line, once, and last, that it is chunked, if it has a transfer coding at all. hyper goes by
/// the last line alone; whoever reads the others may read another message (RFC 9112, section 6.1).
pub(super) fn is_framed_once(headers: &HeaderMap) -> bool {
    if headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_some() {
        return false;
    }
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = codings.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.position(chunked).is_none_or(|_| codings.next().is_none())
}

/// A header that a `Connection` value names. `close` and `keep-alive` name none, and what frames or routes the message
/// is not the sender's to remove.
fn named_header(token: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(token.trim()).ok()?;
    let kept = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_TYPE];
    (name != "close" && !kept.contains(&name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[(&str, &str)], after: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        strip(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, after);
    }

    #[test]
    fn what_belongs_to_the_connection_goes_and_the_rest_stays() {
        check(&[("host", "a"), ("accept", "*/*")], &["accept", "host"]);
        check(&[("connection", "keep-alive"), ("keep-alive", "5"), ("accept", "*/*")], &["accept"]);
        check(&[("connection", "X-Mine, close"), ("x-mine", "1"), ("x-other", "2")], &["x-other"]);
        check(&[("connection", "upgrade"), ("upgrade", "websocket"), ("te", "gzip")], &[]);
        check(&[("te", "trailers"), ("connection", "te"), ("trailer", "x")], &["te", "trailer"]);
        check(
            &[("connection", "content-length, host"), ("content-length", "1"), ("host", "a")],
            &["content-length", "host"],
        );
        check(
            &[("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked")],
            &["transfer-encoding"],
        );
    }
}
