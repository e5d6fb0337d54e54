//! A request that came over HTTP/2 becomes one that an HTTP/1.1 server reads in just one way (RFC 9113, section 8).
//!
//! The library has refused already what no request may hold: names that are not lower case, `Transfer-Encoding` and others of
//! one connection, control characters, lengths that differ from the body's. What is left is refused here, with an answer.

use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts};

use super::h1::LONGEST;
use crate::config::Limits;

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// More headers, or longer ones, than the limits allow.
    Large,
    /// What is asked for is no path.
    Path,
    /// It is for two hosts, or for no host's name.
    Host,
    /// Its body would be longer than signed numbers count.
    Length,
}

/// How much of a head is read at most, as HTTP/2 counts it. More than the limit, so that what is over that gets our own
/// answer, and is counted.
pub(super) fn most(limits: &Limits) -> u32 {
    u32::try_from(limits.head_size.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// Rewrites a head. The body's framing follows from its length, or from there being none.
pub(super) fn downgrade(parts: &mut Parts, limits: &Limits) -> Result<(), Odd> {
    if parts.headers.len() > limits.headers || size(&parts.uri, &parts.headers) > limits.head_size {
        return Err(Odd::Large);
    }
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let is_star = parts.method == Method::OPTIONS && parts.uri.path() == "*";
    if !parts.uri.path().starts_with('/') && !is_star {
        return Err(Odd::Path);
    }
    host(parts)?;
    join_cookies(&mut parts.headers);
    only_one_length(&mut parts.headers)
}

/// As it would be written in HTTP/1.1, but for the request line's few other words.
fn size(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

/// The authority becomes `Host`; where both are there, they must agree.
fn host(parts: &mut Parts) -> Result<(), Odd> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Odd::Host);
    }
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    if authority.as_str().contains('@') {
        return Err(Odd::Host);
    }
    match host {
        Some(host) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {}
        Some(_) => return Err(Odd::Host),
        None => {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Odd::Host)?;
            parts.headers.insert(header::HOST, host);
        }
    }
    Ok(())
}

/// HTTP/2 may send each cookie in a line of its own, HTTP/1.1 may not (section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let joined = lines.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The same length said twice is said once.
fn only_one_length(headers: &mut HeaderMap) -> Result<(), Odd> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > LONGEST) { Err(Odd::Length) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;
    use crate::config::Config;

    fn limits() -> Limits {
        let text = "upstream: http://crm\nlimits: {headers: 16, head_size: 8KiB}";
        Config::parse(text, &|_| None).unwrap().limits
    }

    /// The head after it, one header a line in order of their names, or why it is refused.
    fn check(method: &str, uri: &str, before: &[(&str, &str)], expected: Result<&str, Odd>) {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in before {
            request = request.header(HeaderName::try_from(*name).unwrap(), *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let found = downgrade(&mut parts, &limits()).map(|()| {
            let mut lines: Vec<String> = parts
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            lines.sort_unstable();
            lines.join("\n")
        });
        assert_eq!(found.as_deref(), expected.as_deref(), "{method} {uri} {before:?}");
    }

    #[test]
    fn a_head_is_rewritten_or_refused() {
        check("GET", "http://crm/a", &[("accept", "*/*")], Ok("accept: */*\nhost: crm"));
        check("GET", "https://crm:8443/", &[("host", "CRM:8443")], Ok("host: CRM:8443"));
        check("GET", "/a", &[("host", "crm")], Ok("host: crm"));
        check("GET", "/a", &[], Ok(""));
        check("GET", "http://crm/", &[("host", "other")], Err(Odd::Host));
        check("GET", "/", &[("host", "crm"), ("host", "crm")], Err(Odd::Host));
        check("GET", "http://user@crm/", &[], Err(Odd::Host));
        check("OPTIONS", "*", &[("host", "crm")], Ok("host: crm"));
        check("GET", "*", &[("host", "crm")], Err(Odd::Path));
        check("CONNECT", "crm:443", &[], Ok(""));
        check(
            "GET",
            "/",
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c")],
            Ok("cookie: a=1; b=2; c"),
        );
        check("GET", "/", &[("cookie", "a=1; b=2")], Ok("cookie: a=1; b=2"));
        check("POST", "/", &[("content-length", "5"), ("content-length", "5")], Ok("content-length: 5"));
        let length = |text| [("content-length", text)];
        check("POST", "/", &length("9223372036854775807"), Ok("content-length: 9223372036854775807"));
        check("POST", "/", &length("9223372036854775808"), Err(Odd::Length));
    }

    #[test]
    fn a_head_has_its_limits() {
        let names: Vec<String> = (0..17).map(|index| format!("x-{index:02}")).collect();
        let mut many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        check("GET", "/", &many, Err(Odd::Large));
        many.pop();
        check(
            "GET",
            "/",
            &many,
            Ok(&names[..16].iter().map(|name| format!("{name}: v")).collect::<Vec<_>>().join("\n")),
        );
        let long = "v".repeat(8 << 10);
        check("GET", "/", &[("x", &long)], Err(Odd::Large));
        check("GET", &format!("/{}", "p".repeat(8 << 10)), &[], Err(Odd::Large));
    }
}
