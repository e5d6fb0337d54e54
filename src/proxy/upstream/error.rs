//! Why there is no answer.

use std::io;

use http::StatusCode;

use crate::proxy::h1::Broken;

/// The upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum UpstreamError {
    /// No connection.
    #[error("cannot connect to the upstream: {0}")]
    Connect(#[from] io::Error),
    /// A connection, but no TLS: mostly, the upstream is not who it should be.
    #[error("no TLS with the upstream: {0}")]
    Tls(io::Error),
    /// No connection within `limits.connect`.
    #[error("connecting to the upstream took too long")]
    ConnectTimeout,
    /// As many connections as may be are open, and none became free within `limits.connect`.
    #[error("no connection to the upstream became free")]
    Full,
    /// The request names no host that HTTP/2 could ask for.
    #[error("the request names no host, or several")]
    BadHost,
    /// No answer within `limits.answer`.
    #[error("the upstream took too long to answer")]
    AnswerTimeout,
    /// The connection broke, or what came was not HTTP.
    #[error("the upstream's answer broke off: {0}")]
    Broken(#[from] Broken),
    /// The connection broke while the answer's body was read.
    #[error("the upstream's answer broke off")]
    BrokenBody,
    /// The client broke off the request's body, or framed it wrongly.
    #[error("the request's body broke off")]
    BrokenRequest,
}

impl UpstreamError {
    /// What the client gets instead of an answer.
    pub(in crate::proxy) fn status(&self) -> StatusCode {
        match self {
            UpstreamError::Connect(_)
            | UpstreamError::Tls(_)
            | UpstreamError::Broken(_)
            | UpstreamError::BrokenBody => StatusCode::BAD_GATEWAY,
            UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
            UpstreamError::Full => StatusCode::SERVICE_UNAVAILABLE,
            UpstreamError::BrokenRequest | UpstreamError::BadHost => StatusCode::BAD_REQUEST,
        }
    }

    /// The same without details of the network, for the client.
    pub(in crate::proxy) fn summary(&self) -> &'static str {
        match self {
            UpstreamError::Connect(_) => "cannot connect to the upstream",
            UpstreamError::Tls(_) => "no TLS with the upstream",
            UpstreamError::ConnectTimeout => "connecting to the upstream took too long",
            UpstreamError::Full => "no connection to the upstream became free",
            UpstreamError::BadHost => "the request names no host, or several",
            UpstreamError::AnswerTimeout => "the upstream took too long to answer",
            UpstreamError::Broken(_) | UpstreamError::BrokenBody => "the upstream's answer broke off",
            UpstreamError::BrokenRequest => "the request's body broke off",
        }
    }
}
