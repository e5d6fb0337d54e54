//! A request's way through: match, read, inspect, forward, judge the answer.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Instant,
};

use http::{Request, Response, Uri, Version, request::Parts};
use hyper::body::Incoming;

use super::{
    answer::{Added, Heard, Reply, Said, body_changed},
    body::{Body, Read, Whole},
    connection::Pulse,
    downgrade::{Odd, downgrade},
    egress::Via,
    h1::{Broken, Framing, Head},
    hop,
    inspect::{Inspection, Subject},
    rehearse::StandIn,
    respond,
    snapshot::Snapshot,
    upstream::{Spelt, To, UpstreamError},
    verdict::Verdict,
    worker::{Place, Worker},
};
use crate::{
    enrich,
    lead::Skip,
    recognise::{Candidates, Fits, Headers, Redact, RequestHead, Route, Skipped, is_readable, offer},
    telemetry::{HttpVersion, RequestOutcome, Stage},
};

impl Worker {
    /// Answers one request of a stream of HTTP/2.
    pub(super) async fn serve(&self, request: Request<Incoming>, pulse: &Arc<Pulse>) -> Response<Body> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let snapshot = self.snapshot();
        let exchange = Exchange::new(self, &snapshot, None, None);
        let answer = exchange.run(&mut parts, &mut Body::received(body, pulse)).await;
        self.stages.borrow_mut().record(Stage::Total, started.elapsed());
        answer
    }
}

/// One request under one snapshot.
pub(super) struct Exchange<'w> {
    pub(super) worker: &'w Worker,
    pub(super) snapshot: &'w Snapshot,
    /// The host that it goes to instead of the CRM.
    pub(super) via: Option<&'w Via>,
    /// Who takes the CRM's part in a rehearsal.
    pub(super) stand_in: Option<&'w StandIn>,
    /// How the client spelt its headers.
    spelt: Option<&'w Head>,
    /// And framed its body.
    framing: Framing,
    /// A map was made of them; it may be empty by now.
    is_mapped: Cell<bool>,
    /// How the CRM spelt those of its last answer, where `is_apart`.
    answer: RefCell<Head>,
    /// What is given has no headers but those; what is added to them stands in `added`.
    is_apart: Cell<bool>,
    added: RefCell<Added>,
    /// The routes for the request's path, where those have been looked for.
    fits: Option<&'w Fits<'w>>,
}

/// What a route makes of a request before it is forwarded.
pub(super) enum Plan<'w> {
    /// Not ours.
    Pass,
    /// Ours, without a score.
    Skip(Skipped),
    /// Leads were found in it.
    Judge(Box<Inspection>, Place<'w>),
    /// The client broke off its body.
    Broken(Option<Arc<Route>>),
}

impl<'w> Exchange<'w> {
    /// A request whose head stood like `spelt`, with a body framed so, for the CRM or for the host that it came for.
    pub(super) fn new(
        worker: &'w Worker,
        snapshot: &'w Snapshot,
        via: Option<&'w Via>,
        spelt: Option<(&'w Head, Framing)>,
    ) -> Self {
        let (answer, added) = (RefCell::default(), RefCell::default());
        let (is_mapped, is_apart) = (Cell::new(false), Cell::new(false));
        let (spelt, framing) = spelt.unzip();
        let (stand_in, framing, fits) = (None, framing.unwrap_or(Framing::NONE), None);
        Self { worker, snapshot, via, stand_in, spelt, framing, is_mapped, answer, is_apart, added, fits }
    }

    /// The same with a head whose memory is used again, and the routes for the request's path.
    pub(super) fn with(self, answer: Head, fits: Option<&'w Fits<'w>>) -> Self {
        Self { answer: RefCell::new(answer), fits, ..self }
    }

    /// The same with `stand_in` in the CRM's place.
    pub(super) fn rehearsed(self, stand_in: &'w StandIn) -> Self {
        Self { stand_in: Some(stand_in), ..self }
    }

    /// The head of the CRM's answer as it stood, and the headers that are added to it; `None` where what was given has
    /// all of its headers itself.
    pub(super) fn answer(self) -> (Head, Option<Added>) {
        let added = self.is_apart.get().then(|| self.added.into_inner());
        (self.answer.into_inner(), added)
    }

    /// The answer to a request, whose `parts` become what is sent and may be used up, as its body is. Where its headers are
    /// `spelt`, they may stand there only.
    pub(super) async fn run(&self, parts: &mut Parts, body: &mut Body) -> Response<Body> {
        if parts.version == Version::HTTP_2
            && let Err(odd) = downgrade(parts, &self.snapshot.config.limits)
        {
            return self.refuse(odd);
        }
        if parts.uri.path().is_empty() {
            self.snapshot.metrics(None).count(RequestOutcome::Failed);
            return respond::not_forwardable();
        }
        let plan = self.plan(parts, body).await;
        hop::strip(&mut parts.headers);
        // What the client speaks is what an upstream is asked to speak, where it can choose.
        if parts.version != Version::HTTP_2 {
            parts.version = Version::HTTP_11;
        }
        if parts.uri.authority().is_some() {
            parts.uri = origin_form(&parts.uri);
        }
        self.mirror(parts, body, &plan);
        match plan {
            Plan::Broken(route) => {
                self.snapshot.metrics(route.as_deref()).count(RequestOutcome::Failed);
                respond::broken_request()
            }
            Plan::Pass => {
                let answer = self.forward(parts, body, false).await;
                self.finish(None, answer, |_| RequestOutcome::Passed)
            }
            Plan::Skip(Skipped { route, reason }) => {
                let answer = match self.adapt(parts, &route, false) {
                    Ok(is_changed) => self.forward(parts, body, is_changed).await,
                    Err(error) => Err(error),
                };
                self.skip(&route, reason, answer)
            }
            Plan::Judge(inspection, _place) => self.judge(parts, inspection, body).await,
        }
    }

    /// Answers a request over HTTP/2 that cannot be passed on.
    fn refuse(&self, odd: Odd) -> Response<Body> {
        self.snapshot.metrics(None).count(RequestOutcome::Failed);
        match odd {
            Odd::Large => {
                self.worker.connections.refused_head(HttpVersion::Http2);
                respond::head_too_large()
            }
            Odd::Path => respond::not_forwardable(),
            Odd::Host => respond::not_one_host(),
            Odd::Length => respond::not_one_length(),
        }
    }

    /// What is made of a request before anything is sent. As much of its body as has to be is read.
    pub(super) async fn plan(&self, parts: &Parts, body: &mut Body) -> Plan<'_> {
        let Parts { method, uri, .. } = parts;
        let headers = self.headers(parts);
        let head = RequestHead { method, path: uri.path(), query: uri.query(), headers };
        let candidates = match self.fits {
            Some(fits) => Candidates::of(*fits, head),
            None => self.snapshot.recogniser.candidates(head),
        };
        let Some(candidates) = candidates else { return Plan::Pass };
        if let Err(skipped) = candidates.precheck() {
            return Plan::Skip(skipped);
        }
        let unread = |reason| match candidates.likely() {
            Some(route) => Plan::Skip(Skipped { route, reason }),
            None => Plan::Pass,
        };
        let limits = &self.snapshot.config.limits;
        let Some(place) = self.worker.place(limits) else { return unread(Skip::Overload) };
        if !candidates.needs_body() {
            return plan(self.inspect(&candidates, headers, b""), place);
        }
        let (read, reason) =
            match body.take().read_within(limits.body, &self.worker.expiry, limits.read).await {
                Read::Broken => return Plan::Broken(candidates.likely()),
                Read::TooLarge(read) => (read, Some(Skip::Body)),
                Read::Slow(read) => (read, Some(Skip::Slow)),
                Read::Whole(whole) => (Body::Whole(whole), None),
            };
        *body = read;
        match (reason, &*body) {
            (None, Body::Whole(whole)) => plan(self.inspect(&candidates, headers, &whole.bytes), place),
            (reason, _) => unread(reason.unwrap_or(Skip::Body)),
        }
    }

    fn inspect(
        &self,
        candidates: &Candidates<'_>,
        headers: &dyn Headers,
        body: &[u8],
    ) -> Result<Option<Inspection>, Skipped> {
        let may_inject = |route: &Route| !route.inject.request.is_empty() && !self.snapshot.is_paused(route);
        let (snapshot, known) = (self.snapshot, &*self.worker.known);
        let subject = Subject { snapshot, candidates, headers, body, known, may_inject: &may_inject };
        subject.inspect(&mut self.worker.scratch.borrow_mut(), &mut self.worker.stages.borrow_mut())
    }

    /// Copies what a route took for the mirror, if there is one.
    fn mirror(&self, parts: &mut Parts, body: &Body, plan: &Plan<'_>) {
        if let Some(settings) = &self.snapshot.config.mirror
            && matches!(plan, Plan::Skip(_) | Plan::Judge(..))
            && self.stand_in.is_none()
            && self.worker.mirror.is_due(settings.percent)
            && self.fill(parts).is_ok()
        {
            let snapshot = Arc::clone(&self.worker.snapshot());
            self.worker.mirror.copy(parts, self.spelt, body, snapshot);
        }
    }

    /// Where a request belongs.
    fn to(&self) -> To<'_> {
        self.via.map_or_else(|| To::crm(self.snapshot), |via| via.to(self.snapshot))
    }

    /// Sends a request, `is_changed` where its headers are not those that the client sent; `parts` and `body` may be used up.
    async fn forward(
        &self,
        parts: &mut Parts,
        body: &mut Body,
        is_changed: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let (started, to) = (Instant::now(), self.to());
        self.is_apart.set(false);
        let sent = match (self.stand_in, self.spelt) {
            (Some(stand_in), _) => stand_in.send(Request::from_parts(used(parts), body.take())).await,
            (None, Some(head)) if !to.upstream.h2c => {
                let framing = (!is_changed).then_some(self.framing);
                self.call(Spelt { parts, head, framing }, body, &to).await
            }
            (None, spelt) => {
                self.fill(parts)?;
                let request = Request::from_parts(used(parts), body.take());
                // Elsewhere, so that requests in HTTP/1 are no larger for it.
                Box::pin(self.worker.pool.send(request, spelt, to)).await
            }
        };
        self.worker.stages.borrow_mut().record(Stage::Upstream, started.elapsed());
        let mut response = sent?;
        if !self.is_apart.get() {
            hop::strip(response.headers_mut());
        }
        Ok(response)
    }

    /// From a client in HTTP/1 to whom speaks HTTP/1: no map is made of the answer's headers but where a route looks at
    /// them.
    async fn call(
        &self,
        spelt: Spelt<'_>,
        body: &mut Body,
        to: &To<'_>,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut head = self.answer.take();
        let answered = self.worker.pool.send_spelt(spelt, body, &mut head, to).await;
        let status = head.status;
        self.answer.replace(head);
        let mut response = Response::new(answered?.into_body());
        *response.status_mut() = status;
        self.is_apart.set(true);
        Ok(response)
    }

    /// The headers of the CRM's answer, where they are kept apart from what is added.
    fn said(&self) -> Option<Said<'_>> {
        self.is_apart.get().then(|| Said(self.answer.borrow()))
    }

    /// Adds headers to an answer, in the place of those with their names.
    fn add(&self, response: &mut Response<Body>, added: Added) {
        if self.is_apart.get() {
            self.added.replace(added);
        } else {
            added.into_iter().for_each(|(name, value)| _ = response.headers_mut().insert(name, value));
        }
    }

    /// The head that a request's headers still stand in.
    fn unmapped(&self) -> Option<&'w Head> {
        self.spelt.filter(|_| !self.is_mapped.get())
    }

    /// A request's headers.
    fn headers<'p>(&self, parts: &'p Parts) -> &'p dyn Headers
    where
        'w: 'p,
    {
        match self.unmapped() {
            Some(head) => head,
            None => &parts.headers,
        }
    }

    /// Makes a map of a request's headers, for whoever changes or keeps them.
    fn fill(&self, parts: &mut Parts) -> Result<(), UpstreamError> {
        if let Some(head) = self.unmapped() {
            parts.headers = head.map().map_err(Broken::Head)?;
            self.is_mapped.set(true);
            hop::strip(&mut parts.headers);
        }
        Ok(())
    }

    /// Takes from a request the headers that only Leadwire may write, and, where the answer is read, what it accepts that
    /// cannot be. Whether its headers differ now.
    fn adapt(&self, parts: &mut Parts, route: &Route, reads: bool) -> Result<bool, UpstreamError> {
        let ours = &route.inject.headers;
        let is_as_it_was = |head: &Head| {
            let is_spoofed = head.lines().any(|(_, name, _)| enrich::is_ours(name, ours));
            !is_spoofed && (!reads || is_readable(head))
        };
        if self.unmapped().is_some_and(is_as_it_was) {
            return Ok(false);
        }
        self.fill(parts)?;
        let is_changed = enrich::remove_spoofed(&mut parts.headers, ours);
        Ok(is_changed | (reads && offer(&mut parts.headers)))
    }

    /// Counts a request and turns a missing answer into one.
    fn finish(
        &self,
        route: Option<&Route>,
        answer: Result<Response<Body>, UpstreamError>,
        outcome: impl FnOnce(&mut Response<Body>) -> RequestOutcome,
    ) -> Response<Body> {
        let metrics = self.snapshot.metrics(route);
        match answer {
            Ok(mut response) => {
                metrics.count(outcome(&mut response));
                response
            }
            Err(error) => {
                // What answers now is not spelt as the CRM spelt what broke off.
                self.is_apart.set(false);
                tracing::warn!(request = %Redact(route), %error, "no answer");
                metrics.count(RequestOutcome::Failed);
                respond::failed(&error)
            }
        }
    }

    fn skip(
        &self,
        route: &Route,
        reason: Skip,
        answer: Result<Response<Body>, UpstreamError>,
    ) -> Response<Body> {
        match answer {
            Ok(mut response) => {
                self.snapshot.metrics(Some(route)).skip(reason);
                self.add(&mut response, vec![(enrich::LEADWIRE, enrich::skipped(reason))]);
                response
            }
            failed => self.finish(Some(route), failed, |_| RequestOutcome::Skipped),
        }
    }

    async fn judge(
        &self,
        parts: &mut Parts,
        mut inspection: Box<Inspection>,
        body: &mut Body,
    ) -> Response<Body> {
        let (patched, route) = (inspection.patched.take(), &inspection.route);
        let is_changed = match self.adapt(parts, route, route.needs_answer()) {
            Ok(is_changed) => is_changed,
            Err(error) => return self.finish(Some(route), Err(error), |_| RequestOutcome::Failed),
        };
        let (heard, injected) = match (patched, body) {
            (Some(patched), Body::Whole(whole)) => {
                let whole = std::mem::take(whole);
                // Elsewhere, so that requests which keep their bodies are no larger for it.
                Box::pin(self.hear_injected(parts, whole, patched, &inspection)).await
            }
            (_, body) => (self.hear(parts, body, is_changed, route).await, false),
        };
        match heard {
            Ok(heard) => {
                let (worker, snapshot) = (self.worker, self.snapshot);
                let verdict = Verdict { worker, snapshot, inspection: &inspection, injected };
                let (mut response, added) = verdict.deliver(heard);
                self.add(&mut response, added);
                response
            }
            Err(error) => self.finish(Some(route), Err(error), |_| RequestOutcome::Failed),
        }
    }

    /// Sends the request with scores in its body. Where the CRM refuses that, the original is sent once in its place; if
    /// that is accepted, the field was at fault, and the route's injection pauses. After a time-out or a broken
    /// connection nothing is sent again: the write may have happened.
    async fn hear_injected(
        &self,
        parts: &mut Parts,
        whole: Whole,
        patched: Vec<u8>,
        inspection: &Inspection,
    ) -> (Result<Heard<'_>, UpstreamError>, bool) {
        let Inspection { route, leads, .. } = inspection;
        if let Err(error) = self.fill(parts) {
            return (Err(error), false);
        }
        let mut changed = parts.clone();
        body_changed(&mut changed.headers, patched.len());
        let mut injected = Body::Whole(whole.clone().with(patched));
        let first = self.hear(&mut changed, &mut injected, true, route).await;
        match first.as_ref().map_or(Reply::Unknown, |heard| heard.reply(route, leads)) {
            Reply::Unknown => return (first, true),
            Reply::Accepted => {
                self.snapshot.injected(route);
                return (first, true);
            }
            Reply::Refused => {}
        }
        // The second may need its connection.
        drop(first);
        let second = self.hear(parts, &mut Body::Whole(whole), true, route).await;
        if second.as_ref().is_ok_and(|heard| heard.reply(route, leads) == Reply::Accepted) {
            let rests = self.snapshot.refused(route);
            tracing::warn!(request = %Redact(Some(route)), rests, "the CRM refused the injected field");
        }
        (second, false)
    }

    async fn hear(
        &self,
        parts: &mut Parts,
        body: &mut Body,
        is_changed: bool,
        route: &Route,
    ) -> Result<Heard<'_>, UpstreamError> {
        let response = self.forward(parts, body, is_changed).await?;
        let limits = &self.snapshot.config.limits;
        let heard = Heard::listen(response, self.said(), route, limits, self.worker).await;
        heard.ok_or(UpstreamError::BrokenBody)
    }
}

/// The parts themselves; empty ones take their place.
fn used(parts: &mut Parts) -> Parts {
    std::mem::replace(parts, Request::new(()).into_parts().0)
}

fn plan(inspected: Result<Option<Inspection>, Skipped>, place: Place<'_>) -> Plan<'_> {
    match inspected {
        Ok(None) => Plan::Pass,
        Err(skipped) => Plan::Skip(skipped),
        Ok(Some(inspection)) => Plan::Judge(Box::new(inspection), place),
    }
}

/// Only the path and the query, as a server expects them; the root where there is no path.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('?') { format!("/{target}").parse() } else { target.parse() };
    target.unwrap_or_else(|_| Uri::from_static("/"))
}
