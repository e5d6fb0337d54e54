//! Errors become answers, here and nowhere else.

use http::{HeaderValue, Response, StatusCode, header};

use super::{body::Body, upstream::UpstreamError};
use crate::enrich;

/// `502` or `504` with `{"error":"…"}`; `400` where the client's own body broke off.
pub(super) fn failed(error: &UpstreamError) -> Response<Body> {
    answer(error.status(), error.summary())
}

/// `400`: the client broke off its own body.
pub(super) fn broken_request() -> Response<Body> {
    answer(StatusCode::BAD_REQUEST, "the request's body broke off")
}

/// `400`: no path to forward to, as in `CONNECT host:port`.
pub(super) fn not_forwardable() -> Response<Body> {
    answer(StatusCode::BAD_REQUEST, "not a request to a path")
}

/// `400`: a length that some would read as another.
pub(super) fn not_one_length() -> Response<Body> {
    answer(StatusCode::BAD_REQUEST, "not a length that everybody can count")
}

/// `400`: for two hosts at once, or for somebody at a host.
pub(super) fn not_one_host() -> Response<Body> {
    answer(StatusCode::BAD_REQUEST, "not a request to one host")
}

/// `431`: a head over `limits.headers` or `limits.head_size`.
pub(super) fn head_too_large() -> Response<Body> {
    answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large")
}

/// `403`: a host that clients are not connected to.
pub(super) fn not_connected() -> Response<Body> {
    answer(StatusCode::FORBIDDEN, "not a host that clients are connected to")
}

fn answer(status: StatusCode, text: &str) -> Response<Body> {
    let body = format!("{{\"error\":\"{text}\"}}\n");
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(enrich::LEADWIRE, enrich::FAILED);
    response
}
