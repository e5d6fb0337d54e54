//! A connection, plain or TLS, and what was read ahead of it.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::spare::{FIRST, borrow_input, borrow_output, return_input, return_output};
use crate::proxy::connection::Stream;

/// What is read at once at most.
const MOST: usize = 64 << 10;

/// What a connection is made of, on either side.
pub(crate) enum Io {
    Plain(TcpStream),
    /// TLS over whatever it is.
    Other(Box<dyn Stream>),
}

impl std::fmt::Debug for Io {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Io::Plain(_) => "Plain",
            Io::Other(_) => "Other",
        })
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Io::Other(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Other(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // A socket has nothing to flush.
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Other(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Other(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A connection with a buffer on either side, for as long as something stands in it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) io: Io,
    /// Read, but not used yet.
    pub(crate) input: BytesMut,
    /// What is asked for at once, grown where reads fill it.
    room: usize,
    /// The input's memory is more than what is kept.
    has_grown: bool,
    output: Vec<u8>,
    written: usize,
    has_sent: bool,
    /// TLS holds something back that was written.
    needs_flush: bool,
}

impl Wire {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            room: FIRST,
            has_grown: false,
            output: Vec::new(),
            written: 0,
            has_sent: false,
            needs_flush: false,
        }
    }

    /// A connection of which something was read already.
    pub(crate) fn with(io: Io, read: &[u8]) -> Self {
        Self { input: BytesMut::from(read), ..Self::new(io) }
    }

    /// Reads more. Zero bytes are the other side's end.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A little is not worth a read of its own, and a new piece of memory is not worth a little.
        if self.input.capacity() - self.input.len() < self.room / 4 {
            if self.input.is_empty() && self.room == FIRST {
                borrow_input(&mut self.input);
            }
            // What came in small pieces is kept together, in more memory than any of them asked for.
            self.has_grown |= !self.input.is_empty();
            self.input.reserve(self.room);
        }
        let room = self.input.capacity() - self.input.len();
        let Poll::Ready(read) = pin!(self.io.read_buf(&mut self.input)).poll(context) else {
            self.rest();
            return Poll::Pending;
        };
        let read = read?;
        if read == room && self.room < MOST {
            self.room *= 2;
        }
        Poll::Ready(Ok(read))
    }

    /// Holds no memory to read into while nothing comes. In the midst of what comes in large pieces it does.
    pub(crate) fn rest(&mut self) {
        if self.input.is_empty() && self.room == FIRST && self.input.capacity() > 0 {
            match std::mem::take(&mut self.has_grown) {
                true => self.input = BytesMut::new(),
                false => return_input(&mut self.input),
            }
        }
    }

    /// Where to put what goes out; [`Wire::poll_write`] sends it.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = borrow_output();
        }
        &mut self.output
    }

    /// How much waits to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether anything waits to be sent, here or in TLS.
    pub(crate) fn is_behind(&self) -> bool {
        self.unsent() > 0 || self.needs_flush
    }

    /// Forgets what was sent: another message begins.
    pub(crate) fn begin(&mut self) {
        self.output.clear();
        self.written = 0;
        self.has_sent = false;
    }

    /// Makes room for more of the same message, so that one that is taken slowly does not pile up.
    pub(crate) fn recycle(&mut self) {
        if self.unsent() == 0 || self.written >= FIRST {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Gives the memory back of what was sent.
    pub(crate) fn spend(&mut self) {
        return_output(&mut self.output);
        self.written = 0;
    }

    /// Gives memory back: a message has ended.
    pub(crate) fn settle(&mut self) {
        self.spend();
        if self.room > FIRST && self.input.is_empty() {
            self.input = BytesMut::new();
            (self.room, self.has_grown) = (FIRST, false);
        }
        self.rest();
    }

    /// Sends everything that waits.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match std::task::ready!(Pin::new(&mut self.io).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
            (self.has_sent, self.needs_flush) = (true, true);
        }
        if self.needs_flush {
            std::task::ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether anything of this message has been sent.
    pub(crate) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Whether an idle connection is still open and silent. Of one that is not, something may be lost by the question.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let (mut context, mut byte) = (Context::from_waker(Waker::noop()), [0]);
        let mut asked = || Pin::new(&mut self.io).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        self.input.is_empty() && asked().is_pending()
    }
}
