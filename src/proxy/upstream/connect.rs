//! New connections.

use std::{cell::RefCell, io, pin::Pin, rc::Rc};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::spawn_local,
};

use super::{
    error::UpstreamError,
    http2::{Local, MAX_STREAMS, Most},
    line::Link,
    target::{To, Wants},
};
use crate::proxy::{
    body::Body,
    h1::{Broken, Io, Wire},
    worker::BUFFER,
};

/// Bytes of one answer in HTTP/2 that wait for a slow client. The connection's window holds that of all of them, so
/// that none stops the others.
#[expect(clippy::cast_possible_truncation, reason = "128 KiB")]
const WINDOW: u32 = BUFFER as u32;

/// A connection that something is spoken on.
pub(super) enum Spoken {
    Http1(Box<Wire>),
    Http2(http2::SendRequest<Body>, Most),
}

/// Connects to the link's address. A connection in HTTP/2 holds on to its link until it has ended.
pub(super) async fn connect(to: &To<'_>, wants: Wants, link: &Rc<Link>) -> Result<Spoken, UpstreamError> {
    if let Some(io) = link.dialled() {
        return Ok(Spoken::Http1(Box::new(Wire::new(io))));
    }
    let stream = TcpStream::connect(link.address.socket).await?;
    // An error here only costs latency.
    _ = stream.set_nodelay(true);
    match to.tls {
        Some(tls) => {
            let stream = tls.connect(stream, wants == Wants::Either).await.map_err(UpstreamError::Tls)?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => speak_http2(stream, link).await,
                _ => Ok(Spoken::Http1(Box::new(Wire::new(Io::Other(Box::new(stream)))))),
            }
        }
        None if to.upstream.tls.is_some() => {
            // What was meant to be secret is never sent in the clear, whoever made the snapshot.
            Err(UpstreamError::Tls(io::Error::other("not set up")))
        }
        None if wants == Wants::Http2 => speak_http2(stream, link).await,
        None => Ok(Spoken::Http1(Box::new(Wire::new(Io::Plain(stream))))),
    }
}

async fn speak_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    link: &Rc<Link>,
) -> Result<Spoken, UpstreamError> {
    let (sender, connection) = http2::Builder::new(Local)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW.saturating_mul(u32::try_from(MAX_STREAMS).unwrap_or(1)))
        .max_header_list_size(WINDOW)
        .max_send_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Broken::from)?;
    let connection = Rc::new(RefCell::new(connection));
    let ended = Rc::downgrade(&connection);
    let link = link.clone();
    spawn_local(async move {
        let run = std::future::poll_fn(|context| Pin::new(&mut *connection.borrow_mut()).poll(context));
        if let Err(error) = run.await {
            tracing::debug!(%error, "upstream connection ended");
        }
        drop((connection, link));
    });
    let most = move || {
        let connection = ended.upgrade();
        connection.map_or(0, |connection| {
            connection.try_borrow().map_or(0, |connection| connection.current_max_send_streams())
        })
    };
    Ok(Spoken::Http2(sender, Box::new(most)))
}
