//! HTTP/2 on a client's connection (RFC 9113). Its requests go the same way as others; here stands what is different:
//! there are many at a time, and each is watched and cut on its own.
//!
//! What breaks the rules of frames is answered by the library with the code that the RFC names: a stream is reset, or the
//! connection told GOAWAY. It also bounds what costs little to send: streams that are reset as soon as they are opened,
//! headers that go on and on.
//!
//! No pings are sent to find out whether a peer is still there: that would read the clock at every frame. A peer that has
//! vanished is found by `limits.stall`, `limits.idle` and the kernel's keep-alive.

use std::{cell::RefCell, convert::Infallible, future::Future, pin::pin, rc::Rc, sync::Arc, time::Duration};

use http_body::Body as _;
use hyper::{Request, body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use tokio::task::spawn_local;

use super::{
    Reply,
    listened::{First, Listened, Stream},
    pulse::{Answering, Busy, Pulse},
    table::{Open, Watch},
};
use crate::{
    config::Limits,
    proxy::{downgrade, worker::Worker},
};

/// Requests at once on one connection; what browsers and most clients expect at least.
const STREAMS: u32 = 100;

/// What a client may send of one request's body before it is taken, and of all of them together. The second bounds the
/// memory that one connection can fill.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;

/// What of an answer waits to be sent.
const SEND_BUFFER: usize = 64 << 10;

/// How long a connection that is cut may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers a connection's requests until it ends, is cut, or is told to end.
pub(super) async fn serve<S: Stream>(open: Open, stream: S, first: First, worker: Rc<Worker>) {
    let (pulse, expiry) = (Arc::clone(&open.0.pulse), Rc::clone(&worker.expiry));
    pulse.has_no_heads();
    let streams = Streams::default();
    let builder = builder(streams.clone(), &worker.snapshot().config.limits);
    let io = Listened::new(stream, first, Arc::clone(&pulse));
    let connections = Rc::clone(&open.0.connections);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = Busy::new(&pulse, &worker.expiry);
        let stream = Arc::new(Pulse::new(worker.expiry.now()));
        let answering = Answering::new(&stream, &worker.expiry, !request.body().is_end_stream());
        streams.next.replace(Some(Watch::new(&connections, stream)));
        let worker = Rc::clone(&worker);
        async move {
            let answer = worker.serve(request, answering.pulse()).await;
            answering.answered();
            Ok::<_, Infallible>(answer.map(|body| Reply { body, answering, _busy: Some(busy) }))
        }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    match open.run(connection.as_mut(), http2::Connection::graceful_shutdown).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "client connection ended"),
        None => {
            connection.as_mut().graceful_shutdown();
            _ = expiry.within(FAREWELL, || true, connection).await;
        }
    }
}

fn builder(streams: Streams, limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder.max_concurrent_streams(STREAMS);
    builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_send_buf_size(SEND_BUFFER).auto_date_header(false);
    builder.max_header_list_size(downgrade::most(limits));
    builder
}

/// Runs each request as a task of its own. The sweep cuts one by ending its task, which resets its stream.
#[derive(Clone, Default)]
struct Streams {
    /// The watch of the request whose task comes next: hyper makes the one right after the other.
    next: Rc<RefCell<Option<Watch>>>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let watch = self.next.take();
        spawn_local(async move {
            match watch {
                Some(watch) => _ = watch.unless_cut(pin!(future)).await,
                None => future.await,
            }
        });
    }
}
