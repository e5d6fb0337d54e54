//! Bodies on their way through: streamed, or whole where they were read.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    connection::Pulse,
    expiry::Expiry,
    h1::{Broken, ClientBody, Outgoing},
    upstream::{Lease, Stream},
};

/// A request's or an answer's body.
#[derive(Debug)]
pub(super) enum Body {
    /// A client's, as it comes in.
    Client(ClientBody),
    /// A client's in HTTP/2, as it comes in; its stream hears how it goes on.
    Received(Incoming, Arc<Pulse>),
    /// An answer's, as it comes in; the upstream connection is given back at the end.
    Upstream(Box<Outgoing>, Lease),
    /// An answer's whose connection has been given back.
    Ended,
    /// An answer's in HTTP/2, as it comes in; its stream is reset where it is dropped before its end.
    Leased(Incoming, #[expect(dead_code, reason = "dropping it is what counts")] Stream),
    /// Tells how far it has been taken.
    Watched(Box<Body>, Rc<Cell<Taken>>),
    /// Read whole.
    Whole(Whole),
    /// Too large or too slow to be read whole: what was read, then the rest.
    Resumed(Option<Bytes>, Box<Body>),
}

/// How far a body has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Taken {
    /// Not to its end.
    #[default]
    Partly,
    /// To its end.
    Whole,
    /// Its sender broke it off, or framed it wrongly.
    Broken,
}

/// A body that was read whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    /// The bytes, without framing.
    pub(super) bytes: Bytes,
    /// What followed a chunked body. Apart, as hardly any body has them and every body is passed from hand to hand.
    trailers: Option<Box<HeaderMap>>,
}

/// What reading a body gave.
pub(super) enum Read {
    /// All of it.
    Whole(Whole),
    /// More than the limit; nothing is lost.
    TooLarge(Body),
    /// Not all of it within the time; nothing is lost.
    Slow(Body),
    /// The sender broke off.
    Broken,
}

impl Body {
    /// A request's body in HTTP/2.
    pub(super) fn received(incoming: Incoming, pulse: &Arc<Pulse>) -> Self {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::Received(incoming, Arc::clone(pulse))
    }

    /// An answer's body in HTTP/2.
    pub(super) fn leased(incoming: Incoming, stream: Stream) -> Self {
        Body::Leased(incoming, stream)
    }

    /// The same body, and how far it has been taken. One that is at hand is not watched: it is taken.
    pub(super) fn watched(self) -> (Self, Option<Rc<Cell<Taken>>>) {
        if self.is_end_stream() || matches!(self, Body::Whole(_)) {
            return (self, None);
        }
        let taken = Rc::<Cell<Taken>>::default();
        (Body::Watched(Box::new(self), taken.clone()), Some(taken))
    }

    /// Goes on with the request of which this is the answer's body, while nobody takes the answer.
    pub(super) fn poll_upload(&mut self, context: &mut Context<'_>) {
        match self {
            Body::Upstream(outgoing, _) => outgoing.poll_upload(context),
            Body::Resumed(_, rest) => rest.poll_upload(context),
            _ => {}
        }
    }

    /// Nothing.
    pub(super) fn empty() -> Self {
        Body::Whole(Whole::default())
    }

    /// These bytes.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Whole(Whole { bytes: bytes.into(), trailers: None })
    }

    /// The same bytes once more, where all of them are at hand.
    pub(super) fn copy(&self) -> Option<Self> {
        match self {
            Body::Whole(whole) => Some(Body::Whole(whole.clone())),
            body => body.is_end_stream().then(Body::empty),
        }
    }

    /// Takes the body; nothing takes its place.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Body::empty())
    }

    /// Reads the body whole if it is at most `limit` bytes long.
    pub(super) async fn read(self, limit: usize) -> Read {
        if let Body::Whole(whole) = self {
            return whole.read(limit);
        }
        let mut reading = Reading::new(self);
        let end = reading.run(limit).await;
        reading.end(end)
    }

    /// The same, if it also comes within `time`.
    pub(super) async fn read_within(self, limit: usize, expiry: &Expiry, time: Duration) -> Read {
        if let Body::Whole(whole) = self {
            return whole.read(limit);
        }
        // Elsewhere, so that requests whose bodies came with their heads are no larger for it.
        Box::pin(async move {
            let mut reading = Reading::new(self);
            let end = expiry.within(time, || true, reading.run(limit)).await;
            reading.end(end.unwrap_or(End::Slow))
        })
        .await
    }
}

/// A body that is being read.
struct Reading {
    body: Body,
    /// The first piece, while it is the only one. A body that comes in one piece is not copied.
    first: Bytes,
    all: BytesMut,
    trailers: Option<HeaderMap>,
}

/// How reading ended.
#[derive(Clone, Copy)]
enum End {
    Whole,
    TooLarge,
    Slow,
    Broken,
}

impl Reading {
    fn new(body: Body) -> Self {
        Self { body, first: Bytes::new(), all: BytesMut::new(), trailers: None }
    }

    async fn run(&mut self, limit: usize) -> End {
        if self.body.size_hint().lower() > limit as u64 {
            return End::TooLarge;
        }
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await
        {
            let Ok(frame) = frame else { return End::Broken };
            match frame.into_data() {
                Ok(data) if self.first.is_empty() && self.all.is_empty() => self.first = data,
                Ok(data) => {
                    self.all.extend_from_slice(&std::mem::take(&mut self.first));
                    self.all.extend_from_slice(&data);
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
            if self.first.len() + self.all.len() > limit {
                return End::TooLarge;
            }
        }
        End::Whole
    }

    fn end(self, end: End) -> Read {
        let Self { body, first, all, trailers } = self;
        let bytes = if all.is_empty() { first } else { all.freeze() };
        let resumed = |bytes: Bytes| match bytes.is_empty() {
            true => body,
            false => Body::Resumed(Some(bytes), Box::new(body)),
        };
        match end {
            End::Broken => Read::Broken,
            End::TooLarge => Read::TooLarge(resumed(bytes)),
            // Nothing follows trailers.
            End::Slow if trailers.is_none() => Read::Slow(resumed(bytes)),
            End::Whole | End::Slow => Read::Whole(Whole { bytes, trailers: trailers.map(Box::new) }),
        }
    }
}

impl Whole {
    fn read(self, limit: usize) -> Read {
        if self.bytes.len() > limit { Read::TooLarge(Body::Whole(self)) } else { Read::Whole(self) }
    }

    /// What followed a chunked body.
    #[cfg(test)]
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// The same framing around other bytes.
    pub(super) fn with(self, bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), ..self }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match this {
            Body::Client(body) => body.poll_frame(context),
            Body::Received(incoming, pulse) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
                if frame.is_none() || incoming.is_end_stream() {
                    pulse.received();
                } else {
                    pulse.moved();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::from)))
            }
            Body::Upstream(outgoing, _) => {
                let frame = ready!(outgoing.poll_frame(context));
                if outgoing.is_done()
                    && let Body::Upstream(outgoing, lease) = std::mem::replace(this, Body::Ended)
                {
                    lease.release(*outgoing);
                }
                Poll::Ready(frame)
            }
            Body::Ended => Poll::Ready(None),
            Body::Leased(incoming, _) => Pin::new(incoming)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(Broken::from))),
            Body::Watched(body, taken) => {
                let frame = ready!(Pin::new(&mut **body).poll_frame(context));
                match &frame {
                    Some(Err(_)) => taken.set(Taken::Broken),
                    None => taken.set(Taken::Whole),
                    Some(Ok(_)) if body.is_end_stream() => taken.set(Taken::Whole),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
            Body::Whole(Whole { bytes, .. }) if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Body::Whole(Whole { trailers, .. }) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Body::Resumed(read, rest) => match read.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(&mut **rest).poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Client(body) => body.is_end_stream(),
            Body::Upstream(outgoing, _) => outgoing.is_done(),
            Body::Ended => true,
            Body::Received(incoming, _) | Body::Leased(incoming, _) => incoming.is_end_stream(),
            Body::Watched(body, _) => body.is_end_stream(),
            Body::Whole(Whole { bytes, trailers }) => bytes.is_empty() && trailers.is_none(),
            Body::Resumed(read, rest) => read.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Body::Client(body) => body.left(),
            Body::Upstream(outgoing, _) => outgoing.left(),
            Body::Ended => Some(0),
            Body::Received(incoming, _) | Body::Leased(incoming, _) => return incoming.size_hint(),
            Body::Watched(body, _) => return body.size_hint(),
            // Nothing can follow a body that is framed by its length.
            Body::Whole(Whole { trailers: Some(_), .. }) => None,
            Body::Whole(Whole { bytes, .. }) => Some(bytes.len() as u64),
            Body::Resumed(read, rest) => {
                let read = read.as_ref().map_or(0, Bytes::len) as u64;
                let mut hint = SizeHint::new();
                hint.set_lower(rest.size_hint().lower() + read);
                if let Some(upper) = rest.size_hint().upper() {
                    hint.set_upper(upper + read);
                }
                return hint;
            }
        };
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
