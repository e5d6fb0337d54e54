//! A stream that tells its connection's pulse what goes over it, and the choice of the protocol by its first bytes.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at first. Nearly every head fits, so that the choice costs no system call.
const FIRST: usize = 4096;

/// What a connection is made of: plain, or TLS over it. Each has its own code, so that the plain one pays nothing.
pub(in crate::proxy) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The first bytes of a connection.
#[derive(Debug, Default)]
pub(in crate::proxy) struct First {
    /// What was read. It is read again from here.
    pub(super) bytes: Bytes,
    /// The client speaks HTTP/2.
    pub(super) is_http2: bool,
}

impl First {
    /// Reads until the bytes differ from HTTP/2's preface, or are the whole of it. A connection that ends or breaks before
    /// is HTTP/1's to end.
    pub(super) fn poll(
        &mut self,
        stream: &mut (impl Stream + ?Sized),
        pulse: &Pulse,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let mut room = [MaybeUninit::uninit(); FIRST];
            let mut read = ReadBuf::uninit(&mut room);
            let ended = ready!(Pin::new(&mut *stream).poll_read(context, &mut read)).is_err();
            let read = read.filled();
            if ended || read.is_empty() {
                return Poll::Ready(());
            }
            pulse.heard();
            self.bytes = match &*self.bytes {
                [] => Bytes::copy_from_slice(read),
                before => [before, read].concat().into(),
            };
            let compared = self.bytes.len().min(PREFACE.len());
            if self.bytes.get(..compared) != PREFACE.get(..compared) {
                return Poll::Ready(());
            }
            if compared == PREFACE.len() {
                self.is_http2 = true;
                return Poll::Ready(());
            }
        }
    }
}

/// A stream that says when something comes or goes.
pub(in crate::proxy) struct Listened<S> {
    io: TokioIo<S>,
    /// What was read to choose the protocol.
    first: Bytes,
    /// What comes without a request on its way begins a head, as in HTTP/1.
    has_heads: bool,
    pulse: Arc<Pulse>,
}

impl<S: Stream> Listened<S> {
    pub(in crate::proxy) fn new(stream: S, first: First, pulse: Arc<Pulse>) -> Self {
        let First { bytes, is_http2 } = first;
        Self { io: TokioIo::new(stream), first: bytes, has_heads: !is_http2, pulse }
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        self.pulse.wrote(polled.is_pending());
    }
}

impl<S: Stream> Read for Listened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let fits = self.first.len().min(buffer.remaining());
            buffer.put_slice(self.first.get(..fits).unwrap_or_default());
            self.first.advance(fits);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() && self.has_heads {
            self.pulse.heard();
        }
        read
    }
}

impl<S: Stream> Write for Listened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.pulse.flushed(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(&polled);
        polled
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Sends the pieces one by one, each after the one before was looked at; how many it took to decide, and for what.
    async fn check(pieces: &[&[u8]], expected: (usize, bool)) {
        let (mut client, mut server) = tokio::io::duplex(1 << 16);
        let (mut first, pulse) = (First::default(), Pulse::new(0));
        for (taken, piece) in pieces.iter().enumerate() {
            client.write_all(piece).await.unwrap();
            let decided = std::future::poll_fn(|context| {
                Poll::Ready(first.poll(&mut server, &pulse, context).is_ready())
            });
            if decided.await {
                assert_eq!((taken + 1, first.is_http2), expected, "{pieces:?}");
                assert_eq!(*first.bytes, *pieces[..=taken].concat(), "nothing is lost");
                return;
            }
        }
        panic!("undecided: {pieces:?}");
    }

    #[tokio::test]
    async fn the_first_byte_that_differs_decides() {
        check(&[b"GET / HTTP/1.1\r\n"], (1, false)).await;
        check(&[b"P", b"O"], (2, false)).await;
        check(&[b"PRI", b" * HTTP/1.1\r\n"], (2, false)).await;
        check(&[PREFACE], (1, true)).await;
        check(&[&[PREFACE, b"\0\0\0\x04"].concat()], (1, true)).await;
        let bytes: Vec<&[u8]> = PREFACE.chunks(1).collect();
        check(&bytes, (PREFACE.len(), true)).await;
        check(&[b"\0"], (1, false)).await;
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_http_1s_to_end() {
        for sent in [b"".as_slice(), b"PRI * "] {
            let (mut client, mut server) = tokio::io::duplex(64);
            client.write_all(sent).await.unwrap();
            drop(client);
            let mut first = First::default();
            std::future::poll_fn(|context| first.poll(&mut server, &Pulse::new(0), context)).await;
            assert_eq!((&*first.bytes, first.is_http2), (sent, false));
        }
    }
}
