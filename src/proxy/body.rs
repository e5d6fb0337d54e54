//! Bodies on their way through: streamed, or whole where they were read.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::upstream::Lease;

/// A request's or an answer's body.
#[derive(Debug)]
pub(super) enum Body {
    /// As it comes in.
    Streamed(Incoming),
    /// As it comes in; the upstream connection is given back at the end.
    Leased(Incoming, Lease),
    /// Read whole.
    Whole(Whole),
    /// Too large to be read whole: what was read, then the rest.
    Resumed(Option<Bytes>, Box<Body>),
    /// Tells how far it has been taken.
    Watched(Box<Body>, Rc<Cell<Taken>>),
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
    /// What followed a chunked body.
    trailers: Option<HeaderMap>,
}

/// What reading a body gave.
pub(super) enum Read {
    /// All of it.
    Whole(Whole),
    /// More than the limit; nothing is lost.
    TooLarge(Body),
    /// The sender broke off.
    Broken,
}

impl Body {
    /// An answer's body. One that is empty is never polled, so its connection is given back at once.
    pub(super) fn leased(incoming: Incoming, mut lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.release();
        }
        Body::Leased(incoming, lease)
    }

    /// The same body, and how far it has been taken. One that is at hand is not watched: it is taken.
    pub(super) fn watched(self) -> (Self, Option<Rc<Cell<Taken>>>) {
        if self.is_end_stream() || matches!(self, Body::Whole(_)) {
            return (self, None);
        }
        let taken = Rc::<Cell<Taken>>::default();
        (Body::Watched(Box::new(self), taken.clone()), Some(taken))
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

    /// Reads the body whole if it is at most `limit` bytes long.
    pub(super) async fn read(mut self, limit: usize) -> Read {
        if self.size_hint().lower() > limit as u64 {
            return Read::TooLarge(self);
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await
        {
            let Ok(frame) = frame else { return Read::Broken };
            match frame.into_data() {
                // A body that comes in one piece is not copied.
                Ok(data) if first.is_empty() && all.is_empty() => first = data,
                Ok(data) => {
                    all.extend_from_slice(&std::mem::take(&mut first));
                    all.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            if first.len() + all.len() > limit {
                let read = if all.is_empty() { first } else { all.freeze() };
                return Read::TooLarge(Body::Resumed(Some(read), Box::new(self)));
            }
        }
        Read::Whole(Whole { bytes: if all.is_empty() { first } else { all.freeze() }, trailers })
    }
}

impl Whole {
    /// The same framing around other bytes.
    pub(super) fn with(self, bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), ..self }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Body::Streamed(incoming) => Pin::new(incoming).poll_frame(context),
            Body::Leased(incoming, lease) => {
                let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(context));
                if frame.is_none() || incoming.is_end_stream() {
                    lease.release();
                }
                Poll::Ready(frame)
            }
            Body::Whole(Whole { bytes, .. }) if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Body::Whole(Whole { trailers, .. }) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Body::Watched(body, taken) => {
                let frame = std::task::ready!(Pin::new(&mut **body).poll_frame(context));
                match &frame {
                    Some(Err(_)) => taken.set(Taken::Broken),
                    None => taken.set(Taken::Whole),
                    Some(Ok(_)) if body.is_end_stream() => taken.set(Taken::Whole),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
            Body::Resumed(read, rest) => match read.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(&mut **rest).poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Streamed(incoming) | Body::Leased(incoming, _) => incoming.is_end_stream(),
            Body::Whole(Whole { bytes, trailers }) => bytes.is_empty() && trailers.is_none(),
            Body::Watched(body, _) => body.is_end_stream(),
            Body::Resumed(read, rest) => read.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Streamed(incoming) | Body::Leased(incoming, _) => incoming.size_hint(),
            Body::Watched(body, _) => body.size_hint(),
            Body::Whole(Whole { bytes, .. }) => SizeHint::with_exact(bytes.len() as u64),
            Body::Resumed(read, rest) => {
                let (read, rest) = (read.as_ref().map_or(0, Bytes::len) as u64, rest.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + read);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + read);
                }
                hint
            }
        }
    }
}
