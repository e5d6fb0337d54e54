//! Clients' connections: HTTP/1.1 or HTTP/2, counted, cut where they wait for too long, and told to end at the drain.
//!
//! A plain connection speaks HTTP/2 if it begins with its preface, one over TLS if that was agreed on in the handshake. What
//! a connection does wrong ends with it: requests that are on their way on others go on.

mod table; // who is open
mod pulse; // what they are at
mod listened; // what goes over them
mod http2; // many requests at a time

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use self::pulse::Busy;
pub(super) use self::{
    listened::{First, Listened, Stream},
    pulse::{Answering, Pulse},
    table::{Connections, Open},
};
use super::{
    body::Body,
    egress::Via,
    expiry::Expired,
    h1::{Broken, Io, Wire},
    session::{Session, StoodIn},
    tls,
    worker::Worker,
};
use crate::telemetry::{Handshake, HttpVersion};

/// How long a drain waits for handshakes. Who has not shaken hands has sent nothing that could be lost.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

impl Open {
    /// Shakes hands first, no longer than a head may take. Nobody waits for that but the client.
    pub(super) async fn secure<S: Stream>(
        self,
        stream: S,
        tls: TlsAcceptor,
        worker: Rc<Worker>,
        via: Option<Rc<Via>>,
    ) {
        let (limit, expiry) = (worker.snapshot().config.limits.head, &worker.expiry);
        // Not a connection without a request yet, so the sweep leaves it alone.
        let shaking = Busy::new(&self.0.pulse, expiry);
        let is_draining = || self.0.connections.draining.get();
        let shaken = expiry.within(LAST_HANDSHAKE, is_draining, tls.accept(stream));
        let shaken = expiry.within(limit, || true, shaken).await.flatten();
        drop(shaking);
        let end = match &shaken {
            Ok(Ok(stream)) => tls::success(stream),
            Ok(Err(error)) => tls::failure(error),
            Err(Expired) => Handshake::Timeout,
        };
        worker.handshakes.count(end);
        match shaken {
            Ok(Ok(stream)) => {
                let first = First { is_http2: tls::agreed_on_http2(&stream), ..First::default() };
                self.serve(Io::Other(Box::new(stream)), first, worker, via).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, result = end.as_str(), "no TLS connection"),
            Err(Expired) => tracing::debug!(result = end.as_str(), "no TLS connection"),
        }
    }

    /// Speaks what the client's first bytes are.
    pub(super) async fn listen(self, mut stream: TcpStream, worker: Rc<Worker>) {
        let (watch, mut first) = (&self.0, First::default());
        let is_chosen = std::future::poll_fn(|context| {
            if watch.pulse.is_cut() {
                return Poll::Ready(false);
            }
            if first.poll(&mut stream, &watch.pulse, context).is_ready() {
                return Poll::Ready(true);
            }
            if first.bytes.is_empty() && watch.connections.draining.get() {
                return Poll::Ready(false);
            }
            watch.wait(context.waker());
            Poll::Pending
        });
        if is_chosen.await {
            self.serve(Io::Plain(stream), first, worker, None).await;
        }
    }

    /// Speaks HTTP/1 over anything.
    pub(super) async fn over(self, io: Io, worker: Rc<Worker>) {
        self.serve(io, First::default(), worker, None).await;
    }

    /// Serves what is inside; requests go to the CRM, or `via` to another host.
    async fn serve(self, io: Io, first: First, worker: Rc<Worker>, via: Option<Rc<Via>>) {
        if first.is_http2 {
            self.0.connections.metrics.speaks(HttpVersion::Http2);
            // Elsewhere, so that a connection of the other kind is no larger for it.
            return Box::pin(http2::serve(self, io, first, worker)).await;
        }
        self.0.connections.metrics.speaks(HttpVersion::Http1);
        let session = Session::new(Wire::with(io, &first.bytes), &worker, &self.0.pulse, via);
        drop(first);
        let running = pin!(session.run());
        if let Some(Some(granted)) = self.0.unless_cut(running).await {
            let StoodIn { wire, tls, via } = granted;
            let first = First { bytes: wire.input.freeze(), is_http2: false };
            let stream = TokioIo::new(Listened::new(wire.io, first, Arc::clone(&self.0.pulse)));
            Box::pin(self.secure(stream, tls, worker, Some(via))).await;
        }
    }

    /// Polls a connection to its end; `None` where it is cut before. At the drain it is told to end, once.
    async fn run<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        tell: impl Fn(Pin<&mut C>),
    ) -> Option<C::Output> {
        let mut told = false;
        std::future::poll_fn(|context| {
            if self.0.pulse.is_cut() {
                return Poll::Ready(None);
            }
            // Polled before it is told to end, so that a request which has arrived is seen.
            let mut polled = connection.as_mut().poll(context);
            let is_draining = self.0.connections.draining.get();
            if polled.is_pending() && is_draining && !std::mem::replace(&mut told, true) {
                tell(connection.as_mut());
                polled = connection.as_mut().poll(context);
            }
            if polled.is_pending() {
                self.0.wait(context.waker());
            }
            polled.map(Some)
        })
        .await
    }
}

/// An answer's body that says how it goes on and when it has ended.
struct Reply {
    body: Body,
    answering: Answering,
    /// Keeps the connection from being idle where `answering` is only about one stream of it.
    _busy: Option<Busy>,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.answering.moved();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
