//! A request's way through: match, read, inspect, forward, judge the answer.

use std::{rc::Rc, sync::Arc, time::Instant};

use http::{HeaderMap, Request, Response, Uri, Version, request::Parts};
use hyper::body::Incoming;

use super::{
    answer::{Heard, Reply, body_changed},
    body::{Body, Read, Whole},
    egress::{self, Via},
    hop,
    inspect::{Inspection, Subject},
    rehearse::StandIn,
    respond,
    snapshot::Snapshot,
    upgrade::Wish,
    upstream::{Lease, To, UpstreamError},
    verdict::Verdict,
    worker::{Place, Worker},
};
use crate::{
    enrich,
    lead::Skip,
    recognise::{Candidates, Redact, RequestHead, Route, Skipped, offer},
    telemetry::{RequestOutcome, Stage},
};

impl Worker {
    /// Answers one request, from the CRM or from the host that it came for.
    pub(super) async fn serve(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        via: Option<Rc<Via>>,
    ) -> Response<Body> {
        let started = Instant::now();
        let snapshot = self.snapshot();
        let exchange = Exchange { worker: &self, snapshot: &snapshot, via: via.as_deref(), stand_in: None };
        let answer = match Wish::of(&mut request) {
            None if via.is_none() && egress::is_asked(&request, &snapshot) => {
                egress::connect(Rc::clone(&self), &snapshot, request).await
            }
            None => {
                let (parts, body) = request.into_parts();
                exchange.run(parts, Body::Streamed(body)).await
            }
            Some(wish) => {
                let answer = wish.ask(&exchange, Rc::clone(&self), request.map(Body::Streamed)).await;
                exchange.finish(None, answer, |_| RequestOutcome::Passed)
            }
        };
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
}

/// What a route makes of a request before it is forwarded.
pub(super) enum Plan<'w> {
    /// Not ours.
    Pass(Body),
    /// Ours, without a score.
    Skip(Skipped, Body),
    /// Leads were found in it.
    Judge(Box<Inspection>, Body, Place<'w>),
    /// The client broke off its body.
    Broken(Option<Arc<Route>>),
}

impl Exchange<'_> {
    pub(super) async fn run(&self, mut parts: Parts, body: Body) -> Response<Body> {
        if parts.uri.path().is_empty() {
            self.snapshot.metrics(None).count(RequestOutcome::Failed);
            return respond::not_forwardable();
        }
        if !hop::is_framed_once(&parts.headers) {
            self.snapshot.metrics(None).count(RequestOutcome::Failed);
            return respond::framed_oddly();
        }
        let plan = self.plan(&parts, body).await;
        hop::strip(&mut parts.headers);
        parts.version = Version::HTTP_11;
        if parts.uri.authority().is_some() {
            parts.uri = origin_form(&parts.uri);
        }
        self.mirror(&parts, &plan);
        match plan {
            Plan::Broken(route) => {
                self.snapshot.metrics(route.as_deref()).count(RequestOutcome::Failed);
                respond::broken_request()
            }
            Plan::Pass(body) => {
                let answer = self.forward(Request::from_parts(parts, body)).await;
                self.finish(None, answer, |_| RequestOutcome::Passed)
            }
            Plan::Skip(Skipped { route, reason }, body) => {
                enrich::remove_spoofed(&mut parts.headers, &route.inject.headers);
                let answer = self.forward(Request::from_parts(parts, body)).await;
                self.skip(&route, reason, answer)
            }
            Plan::Judge(inspection, body, _place) => self.judge(parts, *inspection, body).await,
        }
    }

    /// What is made of a request before anything is sent.
    pub(super) async fn plan(&self, parts: &Parts, body: Body) -> Plan<'_> {
        let Parts { method, uri, headers, .. } = parts;
        let head = RequestHead { method, path: uri.path(), query: uri.query(), headers };
        let Some(candidates) = self.snapshot.recogniser.candidates(head) else { return Plan::Pass(body) };
        if let Err(skipped) = candidates.precheck() {
            return Plan::Skip(skipped, body);
        }
        let Some(place) = self.worker.place(&self.snapshot.config.limits) else {
            return match candidates.likely() {
                Some(route) => Plan::Skip(Skipped { route, reason: Skip::Overload }, body),
                None => Plan::Pass(body),
            };
        };
        if !candidates.needs_body() {
            return plan(self.inspect(&candidates, headers, b""), body, place);
        }
        let whole = match body.read(self.snapshot.config.limits.body).await {
            Read::Broken => return Plan::Broken(candidates.likely()),
            Read::TooLarge(body) => {
                return match candidates.likely() {
                    Some(route) => Plan::Skip(Skipped { route, reason: Skip::Body }, body),
                    None => Plan::Pass(body),
                };
            }
            Read::Whole(whole) => whole,
        };
        let inspected = self.inspect(&candidates, headers, &whole.bytes);
        plan(inspected, Body::Whole(whole), place)
    }

    fn inspect(
        &self,
        candidates: &Candidates<'_>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Option<Inspection>, Skipped> {
        let may_inject = |route: &Route| !route.inject.request.is_empty() && !self.snapshot.is_paused(route);
        let (snapshot, known) = (self.snapshot, &*self.worker.known);
        let subject = Subject { snapshot, candidates, headers, body, known, may_inject: &may_inject };
        subject.inspect(&mut self.worker.scratch.borrow_mut(), &mut self.worker.stages.borrow_mut())
    }

    /// Copies what a route took for the mirror, if there is one.
    fn mirror(&self, parts: &Parts, plan: &Plan<'_>) {
        if let Some(_) = self.snapshot.config.mirror
            && let Plan::Skip(_, body) | Plan::Judge(_, body, _) = plan
            && self.stand_in.is_none()
        {
            self.worker.mirror.copy(parts, body, self.worker.snapshot());
        }
    }

    /// Sends a request to where it belongs.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        match self.via {
            None => self.worker.pool.send(request, To::crm(self.snapshot)).await,
            Some(via) => via.pool.send(request, via.to(self.snapshot)).await,
        }
    }

    async fn forward(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let started = Instant::now();
        let sent = match self.stand_in {
            None => self.send(request).await.map(leased),
            Some(stand_in) => stand_in.send(request).await,
        };
        self.worker.stages.borrow_mut().record(Stage::Upstream, started.elapsed());
        let mut response = sent?;
        hop::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
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
                response.headers_mut().insert(enrich::LEADWIRE, enrich::skipped(reason));
                response
            }
            failed => self.finish(Some(route), failed, |_| RequestOutcome::Skipped),
        }
    }

    async fn judge(&self, mut parts: Parts, mut inspection: Inspection, body: Body) -> Response<Body> {
        let route = inspection.route.clone();
        enrich::remove_spoofed(&mut parts.headers, &route.inject.headers);
        if route.needs_answer() {
            offer(&mut parts.headers);
        }
        let (heard, injected) = match (inspection.patched.take(), body) {
            (Some(patched), Body::Whole(whole)) => {
                self.hear_injected(parts, whole, patched, &inspection).await
            }
            (_, body) => (self.hear(Request::from_parts(parts, body), &route).await, false),
        };
        match heard {
            Ok(heard) => {
                let verdict = Verdict { worker: self.worker, snapshot: self.snapshot, inspection, injected };
                verdict.deliver(heard)
            }
            Err(error) => self.finish(Some(&route), Err(error), |_| RequestOutcome::Failed),
        }
    }

    /// Sends the request with scores in its body. Where the CRM refuses that, the original is sent once in its place; if
    /// that is accepted, the field was at fault, and the route's injection pauses. After a time-out or a broken
    /// connection nothing is sent again: the write may have happened.
    async fn hear_injected(
        &self,
        parts: Parts,
        whole: Whole,
        patched: Vec<u8>,
        inspection: &Inspection,
    ) -> (Result<Heard, UpstreamError>, bool) {
        let Inspection { route, leads, .. } = inspection;
        let mut changed = parts.clone();
        body_changed(&mut changed.headers, patched.len());
        let injected = Body::Whole(whole.clone().with(patched));
        let first = self.hear(Request::from_parts(changed, injected), route).await;
        match first.as_ref().map_or(Reply::Unknown, |heard| heard.reply(route, leads)) {
            Reply::Unknown => return (first, true),
            Reply::Accepted => {
                self.snapshot.injected(route);
                return (first, true);
            }
            Reply::Refused => {}
        }
        let second = self.hear(Request::from_parts(parts, Body::Whole(whole)), route).await;
        if second.as_ref().is_ok_and(|heard| heard.reply(route, leads) == Reply::Accepted) {
            let rests = self.snapshot.refused(route);
            tracing::warn!(request = %Redact(Some(route)), rests, "the CRM refused the injected field");
        }
        (second, false)
    }

    async fn hear(&self, request: Request<Body>, route: &Route) -> Result<Heard, UpstreamError> {
        let response = self.forward(request).await?;
        let limit = self.snapshot.config.limits.body;
        Heard::listen(response, route, limit).await.ok_or(UpstreamError::BrokenBody)
    }
}

fn leased((response, lease): (Response<Incoming>, Lease)) -> Response<Body> {
    response.map(|incoming| Body::leased(incoming, lease))
}

fn plan<'w>(inspected: Result<Option<Inspection>, Skipped>, body: Body, place: Place<'w>) -> Plan<'w> {
    match inspected {
        Ok(None) => Plan::Pass(body),
        Err(skipped) => Plan::Skip(skipped, body),
        Ok(Some(inspection)) => Plan::Judge(Box::new(inspection), body, place),
    }
}

/// Only the path and the query, as a server expects them.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}
