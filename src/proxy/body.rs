//! Bodies on their way through: streamed, or whole where they were read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    h1::{Broken, ClientBody, Outgoing},
    upstream::Lease,
};

/// A request's or an answer's body.
#[derive(Debug)]
pub(super) enum Body {
    /// A client's, as it comes in.
    Client(ClientBody),
    /// An answer's, as it comes in; the upstream connection is given back at the end.
    Upstream(Box<Outgoing>, Lease),
    /// An answer's whose connection has been given back.
    Ended,
    /// Read whole.
    Whole(Whole),
    /// Too large to be read whole: what was read, then the rest.
    Resumed(Option<Bytes>, Box<Body>),
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
    /// Nothing.
    pub(super) fn empty() -> Self {
        Body::Whole(Whole::default())
    }

    /// These bytes.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Whole(Whole { bytes: bytes.into(), trailers: None })
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
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match this {
            Body::Client(body) => body.poll_frame(context),
            Body::Upstream(outgoing, _) => {
                let frame = std::task::ready!(outgoing.poll_frame(context));
                if outgoing.is_done()
                    && let Body::Upstream(outgoing, lease) = std::mem::replace(this, Body::Ended)
                {
                    lease.release(*outgoing);
                }
                Poll::Ready(frame)
            }
            Body::Ended => Poll::Ready(None),
            Body::Whole(Whole { bytes, .. }) if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Body::Whole(Whole { trailers, .. }) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
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
            Body::Whole(Whole { bytes, trailers }) => bytes.is_empty() && trailers.is_none(),
            Body::Resumed(read, rest) => read.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Body::Client(body) => body.left(),
            Body::Upstream(outgoing, _) => outgoing.left(),
            Body::Ended => Some(0),
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
