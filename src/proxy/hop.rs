//! Hop-by-hop headers (RFC 9110, section 7.6.1): they belong to one connection and are not forwarded.
//!
//! `Transfer-Encoding` stays: bodies are framed by it, so a chunked one stays chunked.

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
    for name in &named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    if !wants_trailers {
        headers.remove(header::TE);
    }
}

/// A header that a `Connection` value names.
fn named_header(token: &str) -> Option<HeaderName> {
    HeaderName::try_from(Some(token.trim()).filter(|word| names_header(word.as_bytes()))?).ok()
}

/// Whether a word of `Connection` names a header that is to go for it. Some words belong to the connection anyway, and what frames
/// or routes the message is not the sender's to remove.
pub(super) fn names_header(word: &[u8]) -> bool {
    const OTHERS: [&[u8]; 8] = [
        b"keep-alive",
        b"close",
        b"upgrade",
        b"te",
        b"host",
        b"content-length",
        b"content-type",
        b"transfer-encoding",
    ];
    !word.is_empty() && !OTHERS.iter().any(|other| word.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::proxy::h1::{Head, HeadLimits, Parsed};

    fn check(before: &[(&str, &str)], after: &[&str]) {
        let mut headers = HeaderMap::new();
        let mut text = String::from("GET / HTTP/1.1\r\n");
        for (name, value) in before {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            text += &format!("{name}: {value}\r\n");
        }
        let (mut head, mut input) = (Head::default(), BytesMut::from(format!("{text}\r\n").as_str()));
        let limits = HeadLimits { fields: 8, bytes: 400 };
        assert!(matches!(head.take_request(&mut input, limits), Ok(Parsed::Head)));
        let mut left: Vec<HeaderName> = headers.keys().filter(|name| !head.strips(name)).cloned().collect();
        strip(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        left.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        assert_eq!((&*names, &*left.iter().map(HeaderName::as_str).collect::<Vec<_>>()), (after, after));
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
