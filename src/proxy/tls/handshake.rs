//! What became of a client's handshake.

use std::io;

use rustls::{Error, HandshakeKind, InvalidMessage};
use tokio_rustls::server::TlsStream;

use crate::telemetry::Handshake;

/// Of one that ended well.
pub(in crate::proxy) fn success<S>(stream: &TlsStream<S>) -> Handshake {
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => Handshake::Resumed,
        _ => Handshake::Full,
    }
}

/// Whether both sides chose HTTP/2 in it.
pub(in crate::proxy) fn agreed_on_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(super::sides::HTTP2)
}

/// Of one that did not.
pub(in crate::proxy) fn failure(error: &io::Error) -> Handshake {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Handshake::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Handshake::Incompatible,
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Handshake::ClientCertificate,
        Some(Error::AlertReceived(_)) => Handshake::Refused,
        Some(_) => Handshake::Failed,
        // The system's own: the connection broke, or ended.
        None => Handshake::Closed,
    }
}
