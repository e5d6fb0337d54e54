//! A request on a connection in HTTP/2, and what may be sent again on another.

use std::{cell::Cell, io, rc::Rc};

use h2::Reason;
use http::{Request, Response};
use http_body::Body as _;
use hyper::client::conn::TrySendError;

use super::{
    error::UpstreamError,
    form,
    http2::Stream,
    lease::Held,
    line::Line,
    pool::Pool,
    send::MOST,
    target::{To, Wants},
};
use crate::{
    proxy::{
        body::{Body, Taken},
        h1::Broken,
    },
    telemetry::Retry,
};

/// How far a body has been taken, where it is not at hand.
type Sent = Option<Rc<Cell<Taken>>>;

impl Pool {
    /// Sends a request on a stream and waits for the answer's head.
    pub(super) async fn over_http2(
        &self,
        mut stream: Stream,
        line: &Rc<Line>,
        request: Request<Body>,
        to: &To<'_>,
    ) -> Result<Response<Body>, UpstreamError> {
        let (head, body) = request.into_parts();
        let (body, sent) = body.watched();
        let mut request = Request::from_parts(head, body);
        // A slow upload is no slow answer: the upstream's time starts when it has everything.
        let is_sent = || sent.as_ref().is_none_or(|sent| sent.get() == Taken::Whole);
        let mut again = 0;
        loop {
            form::as_http2(&mut request, to)?;
            // What may have to be sent again after it was written.
            let spare = form::copy(&request);
            let answer = self.common.expiry.within(to.answer, is_sent, stream.send(request)).await;
            let failed = match answer {
                Ok(Ok(response)) => {
                    stream.answered();
                    stream.link().answered(response.status());
                    return Ok(response.map(|incoming| Body::leased(incoming, stream)));
                }
                Ok(Err(failed)) => failed,
                Err(_) => {
                    stream.failed();
                    return Err(UpstreamError::AnswerTimeout);
                }
            };
            let (why, next) = once_more(&stream, failed, spare, (&sent, again))?;
            self.common.metrics.retried(why);
            (request, again) = (next, again + 1);
            stream = match line.connection(Wants::Http2, to).await? {
                Held::Http2(stream) => stream,
                Held::Http1 { .. } => return Err(Broken::Closed.into()),
            };
        }
    }
}

/// What is sent again and why, or why nothing is.
fn once_more(
    stream: &Stream,
    mut failed: TrySendError<Request<Body>>,
    spare: Option<Request<Body>>,
    (sent, again): (&Sent, u32),
) -> Result<(Retry, Request<Body>), UpstreamError> {
    if let Some(unsent) = failed.take_message()
        && again < MOST
    {
        stream.retire();
        return Ok((Retry::Unsent, unsent));
    }
    if sent.as_ref().is_some_and(|sent| sent.get() == Taken::Broken) {
        return Err(UpstreamError::BrokenRequest);
    }
    let error = failed.into_error();
    let was_refused = refusal(&error);
    if was_refused == Some(Refusal::Connection) {
        stream.retire();
    }
    match spare {
        Some(spare) if was_refused.is_some() && again < MOST => Ok((Retry::Refused, spare)),
        Some(spare) if again == 0 && is_broken(&error) && may_repeat(stream, &spare) => {
            stream.retire();
            Ok((Retry::Broken, spare))
        }
        // Who turns a request away is there, and says so.
        _ if was_refused.is_some() => Err(Broken::from(error).into()),
        _ => {
            stream.failed();
            Err(Broken::from(error).into())
        }
    }
}

/// Whether a request does no harm twice, and the connection was good once.
fn may_repeat(stream: &Stream, request: &Request<Body>) -> bool {
    stream.idle_for().is_some() && form::is_safe(request.method()) && request.body().is_end_stream()
}

/// What the other side will not process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// This request.
    Stream,
    /// This one and all that follow.
    Connection,
}

/// Whether the other side says that it has not looked at the request.
fn refusal(error: &hyper::Error) -> Option<Refusal> {
    let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    match () {
        () if !error.is_remote() => None,
        () if error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) => Some(Refusal::Stream),
        // Streams that it still answers do not end with this error.
        () if error.is_go_away() => Some(Refusal::Connection),
        () => None,
    }
}

/// Whether the connection ended, rather than that something else than an answer came.
fn is_broken(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let is_io = |source: &&(dyn std::error::Error + 'static)| {
        source.is::<io::Error>() || source.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_io)
    };
    error.is_incomplete_message() || error.is_closed() || source.as_ref().is_some_and(is_io)
}
