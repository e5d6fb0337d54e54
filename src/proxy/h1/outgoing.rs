//! A request on its way to the CRM, and the answer that comes back.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::{
    Broken,
    framing::{Decoder, Framing, Piece},
    head::{Head, HeadLimits, Parsed},
    incoming::Client,
    io::Wire,
    write::Writer,
};
use crate::proxy::body::Body;

/// A request on a connection to the CRM. The rest of its body is sent while its answer is read.
#[derive(Debug)]
pub(crate) struct Outgoing {
    wire: Box<Wire>,
    /// What is left of the request's body.
    body: Option<Body>,
    is_chunked: bool,
    /// Everything that is sent stands in the wire's output, so that it can be sent again.
    is_whole: bool,
    /// Once all of it was sent, it is not sent again.
    goes_once: bool,
    answer: Decoder,
    /// Something of an answer came.
    is_heard: bool,
    /// The connection can carry another request when this one is done.
    goes_on: bool,
}

impl Outgoing {
    /// Starts a request whose head has been written into the wire's output, where `body` follows it, which is taken. One that
    /// `goes_once` holds no memory for what was sent while it waits for its answer.
    pub(crate) fn new(mut wire: Box<Wire>, body: &mut Body, framing: Framing, goes_once: bool) -> Self {
        let is_chunked = framing == Framing::Chunked;
        let (mut left, mut is_whole) = (None, true);
        match body.take() {
            Body::Whole(whole) if !is_chunked => wire.output().extend_from_slice(&whole.bytes),
            body if body.is_end_stream() && !is_chunked => {}
            body => (left, is_whole) = (Some(body), false),
        }
        let answer = Decoder::new(Framing::NONE);
        Self { wire, body: left, is_chunked, is_whole, goes_once, answer, is_heard: false, goes_on: true }
    }

    /// The same request on another connection; only where [`Outgoing::may_go_again`].
    pub(crate) fn again(mut self, mut wire: Box<Wire>) -> Self {
        wire.begin();
        wire.output().append(self.wire.output());
        Self { wire, ..self }
    }

    /// Whether all of it is at hand, and nothing of an answer came.
    pub(crate) fn may_go_again(&self) -> bool {
        self.is_whole && !self.is_heard
    }

    /// Whether anything of it was sent.
    pub(crate) fn was_sent(&self) -> bool {
        self.wire.has_sent()
    }

    /// Waits for the next head, informational ones among them. `sent` is set as soon as the whole request has been sent,
    /// and what waits for `client` goes out meanwhile.
    pub(crate) async fn head(
        &mut self,
        head: &mut Head,
        limits: HeadLimits,
        sent: &Cell<bool>,
        client: Option<&Client>,
    ) -> Result<(), Broken> {
        let mut unsendable = None;
        std::future::poll_fn(|context| {
            if let Some(client) = client.filter(|client| client.is_behind()) {
                // Where the client is gone, the answer finds that out.
                _ = client.poll_write(context);
            }
            if !sent.get() && unsendable.is_none() {
                match self.poll_send(context) {
                    Poll::Ready(Ok(())) => sent.set(true),
                    Poll::Ready(Err(broken @ Broken::Request)) => return Poll::Ready(Err(broken)),
                    // It may have answered before it stopped reading.
                    Poll::Ready(Err(broken)) => unsendable = Some(broken),
                    Poll::Pending => {}
                }
            }
            let heard = std::task::ready!(self.poll_head(context, head, limits));
            Poll::Ready(heard.map_err(|broken| unsendable.take().unwrap_or(broken)))
        })
        .await
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        head: &mut Head,
        limits: HeadLimits,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if !self.wire.input.is_empty() {
                match head.take_answer(&mut self.wire.input, limits) {
                    Ok(Parsed::Head) => return Poll::Ready(Ok(())),
                    Ok(Parsed::Partly) => {}
                    Err(refusal) => return Poll::Ready(Err(Broken::Head(refusal))),
                }
            }
            match std::task::ready!(self.wire.poll_read(context)) {
                Ok(0) => return Poll::Ready(Err(Broken::Closed)),
                Ok(_) => self.is_heard = true,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// The answer's body is framed so, and its head says whether the connection goes on behind it.
    pub(crate) fn answered(&mut self, framing: Framing, goes_on: bool) {
        self.answer = Decoder::new(framing);
        self.goes_on = goes_on && framing != Framing::UntilClose;
    }

    /// Sends what is left of the request.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        /// More than this is not taken from the client before it has been sent.
        const AHEAD: usize = 64 << 10;
        loop {
            let mut waits = false;
            while self.wire.unsent() < AHEAD
                && let Some(body) = &mut self.body
            {
                let frame = match Pin::new(body).poll_frame(context) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        waits = true;
                        break;
                    }
                };
                self.wire.recycle();
                let mut writer = Writer(self.wire.output());
                let trailers = match frame.transpose().map_err(|_| Broken::Request)? {
                    Some(frame) => match frame.into_data() {
                        Ok(data) => {
                            writer.data(&data, self.is_chunked);
                            continue;
                        }
                        Err(frame) => frame.into_trailers().ok(),
                    },
                    None => None,
                };
                if self.is_chunked {
                    writer.last_chunk(trailers.as_ref());
                }
                self.body = None;
            }
            std::task::ready!(self.wire.poll_write(context))?;
            match self.body {
                None => {
                    if self.goes_once {
                        self.wire.spend();
                        self.is_whole = false;
                    }
                    return Poll::Ready(Ok(()));
                }
                Some(_) if waits => return Poll::Pending,
                Some(_) => {}
            }
        }
    }

    /// Sends what is left of the request beside its answer.
    pub(crate) fn poll_upload(&mut self, context: &mut Context<'_>) {
        if (self.body.is_some() || self.wire.is_behind())
            && let Poll::Ready(Err(_)) = self.poll_send(context)
        {
            // The answer is what counts now; the request cannot be finished.
            self.body = None;
            self.goes_on = false;
        }
    }

    /// The next frame of the answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.poll_upload(context);
        loop {
            match self.answer.decode(&mut self.wire.input) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(_) => return Poll::Ready(Some(Err(Broken::Misframed))),
            }
            match std::task::ready!(self.wire.poll_read(context)) {
                Ok(0) => {
                    self.goes_on = false;
                    if self.answer.close().is_err() {
                        return Poll::Ready(Some(Err(Broken::Closed)));
                    }
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// The rest of the answer's body, where all of it has come and its length was said.
    pub(crate) fn at_hand(&mut self) -> Option<Bytes> {
        let left = self.answer.left().filter(|left| *left <= self.wire.input.len() as u64)?;
        match self.answer.decode(&mut self.wire.input) {
            Ok(Piece::Data(data)) if data.len() as u64 == left => Some(data),
            _ => None,
        }
    }

    /// Whether the answer has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.answer.is_done()
    }

    /// Bytes of the answer's body that are left, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.answer.left()
    }

    /// The connection, where another request may follow on it.
    pub(crate) fn reusable(self) -> Option<Box<Wire>> {
        let is_sent = self.body.is_none() && !self.wire.is_behind();
        let mut wire = self.wire;
        wire.settle();
        (self.goes_on && is_sent && self.answer.is_done() && wire.input.is_empty()).then_some(wire)
    }

    /// The connection as it is, for whatever follows HTTP.
    pub(crate) fn into_wire(self) -> Box<Wire> {
        self.wire
    }
}
