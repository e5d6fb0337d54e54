//! One request in HTTP/1.1 and in HTTP/2: `Host` is `:authority`, and a cookie may be split.

use http::{
    HeaderValue, Method, Request, Uri, Version, header,
    uri::{Authority, Parts, Scheme},
};

use super::{error::UpstreamError, target::To};
use crate::proxy::{body::Body, pipeline::origin_form};

/// As HTTP/1.1 writes it.
pub(super) fn as_http1(request: &mut Request<Body>) {
    if let Some(authority) = request.uri().authority().cloned() {
        *request.uri_mut() = origin_form(request.uri());
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(header::HOST, host);
        }
    }
    if request.version() == Version::HTTP_2 {
        join_cookies(request);
        *request.version_mut() = Version::HTTP_11;
    }
}

/// RFC 9113, section 8.2.3: HTTP/2 may split the pairs, HTTP/1.1 has one line of them.
fn join_cookies(request: &mut Request<Body>) {
    let cookies = request.headers().get_all(header::COOKIE);
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let pairs: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&pairs.join(&b"; "[..])) {
        joined.set_sensitive(true);
        request.headers_mut().insert(header::COOKIE, joined);
    }
}

/// As HTTP/2 writes it. What belongs to one connection of HTTP/1.1 alone is left out by hyper.
pub(super) fn as_http2(request: &mut Request<Body>, to: &To<'_>) -> Result<(), UpstreamError> {
    *request.version_mut() = Version::HTTP_2;
    if request.uri().authority().is_some() {
        return Ok(());
    }
    let authority = host(request)?.unwrap_or_else(|| to.upstream.authority.clone());
    let path = request.uri().path_and_query().cloned();
    let mut parts = Parts::default();
    parts.scheme = Some(if to.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = path;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| UpstreamError::BadHost)?;
    request.headers_mut().remove(header::HOST);
    Ok(())
}

/// The host that the client asked for. HTTP/2 has room for one, without a user's name.
fn host(request: &Request<Body>) -> Result<Option<Authority>, UpstreamError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return Ok(None) };
    let authority = Authority::try_from(host.as_bytes()).ok();
    let authority = authority.filter(|host| hosts.next().is_none() && !host.as_str().contains('@'));
    authority.map(Some).ok_or(UpstreamError::BadHost)
}

/// Whether a request changes nothing, so that it does no harm twice (RFC 9110, section 9.2.1). TRACE is left out: nobody
/// needs it.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The same request once more, where all of it is at hand.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Upstream;

    fn upstream() -> Upstream {
        Upstream { authority: "crm:8069".parse().unwrap(), port: 8069, tls: None, h2c: true }
    }

    fn to(upstream: &Upstream) -> To<'_> {
        let second = Duration::from_secs(1);
        To { upstream, tls: None, connect: second, answer: second, most: 1, resolve: second }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn told(request: &Request<Body>) -> String {
        let headers: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        format!("{:?} {} {}", request.version(), request.uri(), headers.join(" ")).trim_end().to_owned()
    }

    fn check(uri: &str, headers: &[(&str, &str)], expected: Option<&str>) {
        let mut request = request(uri, headers);
        let formed = as_http2(&mut request, &to(&upstream()));
        assert_eq!(formed.ok().map(|()| told(&request)).as_deref(), expected, "{uri} {headers:?}");
    }

    #[test]
    fn host_becomes_authority() {
        check("/a?b=c", &[("host", "me:1"), ("x", "y")], Some("HTTP/2.0 http://me:1/a?b=c x=y"));
        check("/a", &[], Some("HTTP/2.0 http://crm:8069/a"));
        check("http://me/a", &[("x", "y")], Some("HTTP/2.0 http://me/a x=y"));
        check("/a", &[("host", "a"), ("host", "b")], None);
        check("/a", &[("host", "user@a")], None);
        check("/a", &[("host", "a/b")], None);
        check("/a", &[("host", "")], None);
    }

    #[test]
    fn what_was_http_2_becomes_http_1_and_back() {
        let mut request = request("http://me:1/a?b", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        *request.version_mut() = Version::HTTP_2;
        as_http1(&mut request);
        assert_eq!(told(&request), "HTTP/1.1 /a?b cookie=a=1; b=2 x=y host=me:1");
        as_http1(&mut request);
        as_http2(&mut request, &to(&upstream())).unwrap();
        assert_eq!(told(&request), "HTTP/2.0 http://me:1/a?b cookie=a=1; b=2 x=y");
    }

    #[test]
    fn a_request_is_copied_where_its_body_is_at_hand() {
        let mut whole = request("/a", &[("x", "y")]).map(|_| Body::full("body"));
        *whole.method_mut() = Method::PUT;
        let copied = copy(&whole).unwrap();
        assert_eq!((copied.method(), told(&copied)), (&Method::PUT, told(&whole)));
        let (watched, _) = Body::Resumed(Some("part".into()), Box::new(Body::full("rest"))).watched();
        assert!(copy(&whole.map(|_| watched)).is_none());
    }
}
