//! A request on its way to its answer's head, and what may be sent again.
//!
//! Three things may: what was never written; what the other side says it has not processed, as HTTP/2 lets it (RFC 9113,
//! section 8.7); and a request without a body that changes nothing, once, where a connection that was idle turns out to
//! be broken. Nothing else is, as it may have been processed.

use std::{cell::Cell, io, rc::Rc};

use h2::Reason;
use http::{Request, Response};
use http_body::Body as _;
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    error::UpstreamError,
    form,
    lease::{Held, Lease},
    pool::Pool,
    target::To,
};
use crate::{
    proxy::body::{Body, Taken},
    telemetry::Retry,
};

/// A connection that was idle for so many ticks may have been closed by the other side meanwhile. Below it, no request
/// is copied for the case that it was.
const STALE: u64 = 3;

/// How often a request is sent again.
const MOST: u32 = 3;

/// How far a body has been taken, where it is not at hand.
type Sent = Option<Rc<Cell<Taken>>>;

impl Pool {
    /// Sends a request and waits for the answer's head. It has a `Host`, and its version is what the client spoke.
    pub(in crate::proxy) async fn send(
        &self,
        request: Request<Body>,
        to: To<'_>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let (line, wants) = (self.line(&to), to.wants(&request));
        let (head, body) = request.into_parts();
        let (body, sent) = body.watched();
        let mut request = Request::from_parts(head, body);
        // A slow upload is no slow answer: the upstream's time starts when it has everything.
        let is_sent = || sent.as_ref().is_none_or(|sent| sent.get() == Taken::Whole);
        let mut again = 0;
        loop {
            let mut held = line.connection(wants, &to).await?;
            held.fit(&mut request, &to)?;
            let spare = spare(&held, &request);
            let answer = self.common.expiry.within(to.answer, is_sent, held.exchange(request)).await;
            let failed = match answer {
                Ok(Ok(response)) => {
                    held.answered(response.status());
                    return Ok((response, Lease::new(held)));
                }
                Ok(Err(failed)) => failed,
                Err(_) => {
                    held.failed();
                    return Err(UpstreamError::AnswerTimeout);
                }
            };
            let (why, next) = once_more(&held, failed, spare, (&sent, again))?;
            self.common.metrics.retried(why);
            (request, again) = (next, again + 1);
        }
    }
}

/// A copy of what may have to be sent again after it was written. A connection that was in use a moment ago is not
/// worth one, as long as it carries nothing else.
fn spare(held: &Held, request: &Request<Body>) -> Option<Request<Body>> {
    let is_worth_it = match held {
        Held::Http1 { .. } => {
            held.idle_for().is_some_and(|idle| idle >= STALE)
                && form::is_safe(request.method())
                && request.body().is_end_stream()
        }
        Held::Http2(_) => true,
    };
    if is_worth_it { form::copy(request) } else { None }
}

/// What is sent again and why, or why nothing is.
fn once_more(
    held: &Held,
    mut failed: TrySendError<Request<Body>>,
    spare: Option<Request<Body>>,
    (sent, again): (&Sent, u32),
) -> Result<(Retry, Request<Body>), UpstreamError> {
    if let Some(unsent) = failed.take_message()
        && (held.idle_for().is_some() || matches!(held, Held::Http2(_)) && again < MOST)
    {
        held.retire();
        return Ok((Retry::Unsent, unsent));
    }
    if sent.as_ref().is_some_and(|sent| sent.get() == Taken::Broken) {
        return Err(UpstreamError::BrokenRequest);
    }
    let error = failed.into_error();
    let was_refused = refusal(&error);
    if was_refused == Some(Refusal::Connection) {
        held.retire();
    }
    match spare {
        Some(spare) if was_refused.is_some() && again < MOST => Ok((Retry::Refused, spare)),
        Some(spare) if again == 0 && is_broken(&error) && may_repeat(held, &spare) => {
            held.retire();
            Ok((Retry::Broken, spare))
        }
        // Who turns a request away is there, and says so.
        _ if was_refused.is_some() => Err(error.into()),
        _ => {
            held.failed();
            Err(error.into())
        }
    }
}

/// Whether a request does no harm twice, and the connection was good once.
fn may_repeat(held: &Held, request: &Request<Body>) -> bool {
    held.idle_for().is_some() && form::is_safe(request.method()) && request.body().is_end_stream()
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
