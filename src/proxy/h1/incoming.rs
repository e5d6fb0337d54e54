//! A client's connection, and the body of the request that is on it.

use std::{
    cell::RefCell,
    io,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Frame;

use super::{
    Broken,
    framing::{Decoder, Framing, Piece},
    head::{Head, HeadLimits, Parsed},
    io::Wire,
};
use crate::proxy::connection::Pulse;

/// A client's connection. Its request's body and its answer are read and written in turn by one task, each as far as it
/// goes, so that neither waits for the other.
#[derive(Clone, Debug)]
pub(crate) struct Client(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    wire: Wire,
    body: Decoder,
    /// It waits to be told to send its body.
    waits: bool,
    /// Its answer goes out: whoever reads the body does not write any more.
    is_answered: bool,
    /// Nobody answers any more, so that its body is not read any further; and who waits for more of that.
    is_abandoned: bool,
    reader: Option<Waker>,
    /// Hears what comes and goes.
    pulse: Arc<Pulse>,
}

/// What came instead of a request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client is done.
    End,
    /// No request of HTTP/1, or one that is too long.
    Refused(super::Refusal),
}

impl Client {
    pub(crate) fn new(wire: Wire, pulse: &Arc<Pulse>) -> Self {
        let (body, pulse) = (Decoder::new(Framing::NONE), Arc::clone(pulse));
        let inner =
            Inner { wire, body, waits: false, is_answered: false, is_abandoned: false, reader: None, pulse };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// The next request's head.
    pub(crate) fn poll_head(
        &self,
        context: &mut Context<'_>,
        head: &mut Head,
        limits: HeadLimits,
    ) -> Poll<Result<(), NoRequest>> {
        let mut inner = self.0.borrow_mut();
        loop {
            if !inner.wire.input.is_empty() {
                inner.pulse.heard();
                match head.take_request(&mut inner.wire.input, limits) {
                    Ok(Parsed::Head) => return Poll::Ready(Ok(())),
                    Ok(Parsed::Partly) => {}
                    Err(refusal) => return Poll::Ready(Err(NoRequest::Refused(refusal))),
                }
            }
            match std::task::ready!(inner.wire.poll_read(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(NoRequest::End)),
                Ok(_) => {}
            }
        }
    }

    /// Whether nothing of another request has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.borrow().wire.input.is_empty()
    }

    /// A request's head has come, and this is the framing of its body. One that is there whole is taken out.
    pub(crate) fn begin(&self, framing: Framing, waits: bool) -> Begun {
        let mut inner = self.0.borrow_mut();
        inner.wire.begin();
        (inner.waits, inner.is_answered) = (waits, false);
        inner.body = Decoder::new(framing);
        let Inner { wire, body, pulse, .. } = &mut *inner;
        let begun = match framing {
            Framing::Exact(0) => Begun::Empty,
            Framing::Exact(length) if wire.input.len() as u64 >= length => {
                match body.decode(&mut wire.input) {
                    Ok(Piece::Data(bytes)) => Begun::Whole(bytes),
                    _ => Begun::Empty,
                }
            }
            _ => return Begun::Comes(ClientBody { client: self.clone(), framing }),
        };
        wire.rest();
        pulse.received();
        begun
    }

    /// Whether the request's body has been read to its end, so that another request may follow.
    pub(crate) fn is_body_done(&self) -> bool {
        self.0.borrow().body.is_done()
    }

    /// An answer follows, so nobody tells the client any more to send its body.
    pub(crate) fn answers(&self) {
        let mut inner = self.0.borrow_mut();
        (inner.waits, inner.is_answered) = (false, true);
    }

    /// Ends the reading of a body by whoever has it, when this is dropped.
    pub(crate) fn guard(&self) -> Guard {
        Guard(Rc::downgrade(&self.0))
    }

    /// Lets `write` add to what goes out.
    pub(crate) fn write<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write(self.0.borrow_mut().wire.output())
    }

    /// Whether anything waits to be sent.
    pub(crate) fn is_behind(&self) -> bool {
        self.0.borrow().wire.is_behind()
    }

    /// How much waits to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.0.borrow().wire.unsent()
    }

    /// Sends what waits.
    pub(crate) fn poll_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        let written = inner.wire.poll_write(context);
        inner.pulse.wrote(written.is_pending());
        written
    }

    /// What has been sent is forgotten.
    pub(crate) fn recycle(&self) {
        self.0.borrow_mut().wire.recycle();
    }

    /// Memory that only one message needed is given back.
    pub(crate) fn settle(&self) {
        self.0.borrow_mut().wire.settle();
    }

    /// The connection itself, once no body is read from it.
    pub(crate) fn into_wire(self) -> Option<Wire> {
        Some(Rc::try_unwrap(self.0).ok()?.into_inner().wire)
    }

    /// Ends it. What has been sent is not lost because the client still sends.
    pub(crate) async fn end(self) {
        /// What a client still sends is read and dropped, as far as this.
        const LINGER: usize = 256 << 10;
        let is_silent = self.is_silent() && self.is_body_done();
        let Some(mut wire) = self.into_wire() else { return };
        if tokio::io::AsyncWriteExt::shutdown(&mut wire.io).await.is_err() || is_silent {
            return;
        }
        let mut read = 0;
        std::future::poll_fn(|context| {
            loop {
                wire.input.clear();
                match std::task::ready!(wire.poll_read(context)) {
                    Ok(more) if more > 0 && read < LINGER => read += more,
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

/// The end of whoever answers a client.
pub(crate) struct Guard(Weak<RefCell<Inner>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(inner) = self.0.upgrade() else { return };
        let mut inner = inner.borrow_mut();
        inner.is_abandoned = true;
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }
}

/// A request's body, as far as it is known when its head has come.
#[derive(Debug)]
pub(crate) enum Begun {
    Empty,
    Whole(Bytes),
    Comes(ClientBody),
}

/// A request's body that is still coming.
#[derive(Debug)]
pub(crate) struct ClientBody {
    client: Client,
    framing: Framing,
}

impl ClientBody {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut inner = self.client.0.borrow_mut();
        let Inner { wire, body, waits, pulse, is_answered, is_abandoned, reader } = &mut *inner;
        if *is_abandoned {
            return Poll::Ready(Some(Err(Broken::Closed)));
        }
        loop {
            match body.decode(&mut wire.input) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Piece::End) => {
                    pulse.received();
                    return Poll::Ready(None);
                }
                Ok(Piece::More) => {}
                Err(_) => return Poll::Ready(Some(Err(Broken::Misframed))),
            }
            if std::mem::take(waits) {
                wire.output().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !*is_answered
                && wire.is_behind()
                && let Poll::Ready(Err(error)) = wire.poll_write(context)
            {
                return Poll::Ready(Some(Err(error.into())));
            }
            let read = wire.poll_read(context);
            if read.is_pending() && !reader.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *reader = Some(context.waker().clone());
            }
            match std::task::ready!(read) {
                Ok(0) => return Poll::Ready(Some(Err(Broken::Closed))),
                Ok(_) => pulse.moved(),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.client.is_body_done()
    }

    /// Bytes that are left, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.client.0.borrow().body.left().filter(|_| self.framing != Framing::Chunked)
    }
}
