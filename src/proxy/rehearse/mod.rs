//! Rehearse: one recorded exchange, taken through everything that a real one meets but the network.
//!
//! The request is planned, scored and written to by the proxy's own [`Exchange`]; in the CRM's place stands what was
//! recorded of its answer. What is told beside that is asked of the same recogniser and the same verdict.

mod recording; // bytes -> request and answer
mod diff; // what changed, line by line
mod report; // what is told

use std::{cell::RefCell, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use metrics::Counter;

use self::{
    diff::{Message, unified},
    report::{BodyRead, Considered, FeatureRead, Lead, Rules, Verdict as Told},
};
pub use self::{
    recording::{Recording, RecordingError},
    report::Rehearsal,
};
use super::{
    answer::Heard,
    body::{Body, Read},
    inspect::{Inspection, Judged},
    pipeline::{Exchange, Plan},
    shadow::Shadows,
    snapshot::Snapshot,
    upstream::UpstreamError,
    verdict::Verdict,
    worker::{Shared, Worker},
};
use crate::{
    lead::Value,
    leadlog::{Known, Queue},
    recognise::{Answer, Found, Masked, RequestHead, Route, Scratch, View, decode},
    score::ReasonScratch,
    telemetry::{Latency, Metrics},
};

/// Takes a recorded exchange through a configuration and its models. Nothing is sent, remembered or recorded.
pub fn rehearse(snapshot: &Arc<Snapshot>, recording: &Recording) -> std::io::Result<Rehearsal> {
    let metrics = Metrics::default();
    let shared = Shared {
        snapshot: Arc::new(ArcSwap::new(snapshot.clone())),
        latency: Arc::new(Latency::default()),
        queue: Queue::new(1, 1, Counter::noop()),
        known: Arc::new(Known::new(0, Duration::ZERO)),
        shadows: Shadows::new(1, Counter::noop()),
        connections: metrics.connections,
        handshakes: metrics.handshakes,
        upstream: metrics.upstream,
        workers: 1,
    };
    let worker = Worker::new(&shared, 0);
    let rehearsal = Stage { worker: &worker, snapshot, recording };
    tokio::runtime::Builder::new_current_thread().build().map(|runtime| runtime.block_on(rehearsal.play()))
}

/// The CRM's part: it takes what is sent, and answers as it was recorded.
#[derive(Debug, Default)]
pub(super) struct StandIn {
    sent: RefCell<Vec<(Parts, Vec<u8>)>>,
    answer: Option<Response<Vec<u8>>>,
}

impl StandIn {
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let body = match body.read(usize::MAX).await {
            Read::Whole(whole) => whole.bytes.to_vec(),
            Read::TooLarge(_) | Read::Slow(_) | Read::Broken => return Err(UpstreamError::BrokenBody),
        };
        self.sent.borrow_mut().push((parts, body));
        Ok(self.answer.clone().unwrap_or_default().map(Body::full))
    }
}

/// Who plays, and what.
struct Stage<'s> {
    worker: &'s Worker,
    snapshot: &'s Snapshot,
    recording: &'s Recording,
}

/// What the recogniser makes of the request: the leads as they were found, each with its values.
#[derive(Default)]
struct Reading {
    body: Option<BodyRead>,
    considered: Vec<(Arc<Route>, Option<usize>)>,
    values: Vec<Vec<Value<'static>>>,
}

impl Stage<'_> {
    async fn play(&self) -> Rehearsal {
        let Recording { request, response } = self.recording;
        let (parts, body) = (request.clone().into_parts().0, request.body().clone());
        let stand_in = StandIn { sent: RefCell::default(), answer: response.clone() };
        let exchange = Exchange::new(self.worker, self.snapshot, None, None).rehearsed(&stand_in);
        // One after the other, since each takes a place among those that are scored at once.
        let answered = exchange.run(&mut parts.clone(), &mut Body::full(body.clone())).await;
        let plan = exchange.plan(&parts, &mut Body::full(body)).await;
        let masked = Masked(&self.snapshot.config.masks);
        let mut told = self.told(plan).await;
        told.request = format!("{} {}", request.method(), masked.target(request.uri()));
        told.sent = stand_in.sent.borrow().first().map(|(parts, body)| {
            let target = |uri| format!("{} {}", parts.method, masked.target(uri));
            let before =
                Message { start: target(request.uri()), headers: request.headers(), body: request.body() };
            let after = Message { start: target(&parts.uri), headers: &parts.headers, body };
            unified(masked, (&before, "received"), (&after, "sent"))
        });
        if let Some(response) = response {
            told.answered = self.answered(response, answered, &mut told.verdict).await;
        }
        told
    }

    /// What the client gets; the answer's own `Leadwire` header says what came of the request.
    async fn answered(
        &self,
        recorded: &Response<Vec<u8>>,
        answered: Response<Body>,
        verdict: &mut Told,
    ) -> Option<String> {
        let (parts, body) = answered.into_parts();
        let Read::Whole(body) = body.read(usize::MAX).await else { return None };
        let start = |status: StatusCode| format!("HTTP/1.1 {}", status.as_str());
        let before =
            Message { start: start(recorded.status()), headers: recorded.headers(), body: recorded.body() };
        let after = Message { start: start(parts.status), headers: &parts.headers, body: &body.bytes };
        if let Some(said) = parts.headers.get(crate::enrich::LEADWIRE).and_then(|value| value.to_str().ok()) {
            *verdict = Told::of_header(said);
        }
        Some(unified(Masked(&self.snapshot.config.masks), (&before, "answered"), (&after, "given on")))
    }

    async fn told(&self, plan: Plan<'_>) -> Rehearsal {
        let reading = self.read();
        let mut told = Rehearsal { body: reading.body.clone(), ..Rehearsal::default() };
        let taken = match &plan {
            Plan::Skip(skipped) => Some(skipped.route.clone()),
            Plan::Judge(inspection, ..) => Some(inspection.route.clone()),
            Plan::Pass | Plan::Broken(_) => None,
        };
        told.routes =
            reading.considered.iter().map(|entry| self.considered(entry, taken.as_deref())).collect();
        match plan {
            Plan::Pass | Plan::Broken(_) => {}
            Plan::Skip(skipped) => told.verdict = Told::skipped(skipped.reason),
            Plan::Judge(inspection, ..) => self.judged(&inspection, &reading, &mut told).await,
        }
        told
    }

    fn considered(&self, (route, denied): &(Arc<Route>, Option<usize>), taken: Option<&Route>) -> Considered {
        let is_taken = taken.is_some_and(|taken| taken.index == route.index);
        let predicates = self.snapshot.config.routes.get(route.index).map(|route| &route.when);
        let failed = denied.and_then(|index| predicates?.get(index)).map(ToString::to_string);
        Considered { name: route.name.to_string(), path: route.path.to_string(), taken: is_taken, failed }
    }

    /// What the recogniser reads, asked as the proxy asks it.
    fn read(&self) -> Reading {
        let request = &self.recording.request;
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let head = RequestHead { method, path: uri.path(), query: uri.query(), headers };
        let recogniser = &self.snapshot.recogniser;
        let mut reading = Reading { considered: recogniser.considered(head, None), ..Reading::default() };
        let Some(candidates) = recogniser.candidates(head) else { return reading };
        let (mut decoded, mut made, mut scratch) = (Vec::new(), String::new(), Scratch::default());
        let mut view = View::json("");
        if candidates.needs_body() {
            let limit = self.snapshot.config.limits.body;
            let Ok(body) = decode(headers, request.body(), limit, &mut decoded) else { return reading };
            let Ok(Some(viewed)) = candidates.view(body, &mut made) else { return reading };
            reading.body = Some(BodyRead::new(headers, request.body().len(), viewed.mode()));
            view = viewed;
        }
        let mut values = Vec::new();
        let read = recogniser.read(&candidates, view, &mut scratch, &mut values);
        if candidates.needs_body() && scratch.tape.scan(view.text()).is_ok() {
            reading.considered = recogniser.considered(head, Some(view.doc(&scratch.tape)));
        }
        if let Ok(Some(_)) = read {
            reading.values = records(&scratch.leads, &values, recogniser.width());
        }
        reading
    }

    async fn judged(&self, inspection: &Inspection, reading: &Reading, told: &mut Rehearsal) {
        let route = inspection.route.clone();
        told.model = self.snapshot.model(&route).map(|slots| slots.champion.id.to_string());
        told.verdict = match inspection.skip {
            Some(reason) => Told::skipped(reason),
            None if inspection.leads.is_empty() => Told::passed(),
            None => Told::scored(),
        };
        let limits = &self.snapshot.config.limits;
        let response = self.recording.response.clone();
        told.supposed = response.is_none();
        let response = response.unwrap_or_default().map(Body::full);
        let Some(heard) = Heard::listen(response, None, &route, limits, self.worker).await else { return };
        let nothing = HeaderMap::new();
        // Where no answer was recorded, one is supposed that accepts all.
        let answer = match told.supposed {
            true => Answer { status: StatusCode::OK, headers: &nothing, doc: None },
            false => heard.answer(),
        };
        let notes = &inspection.notes;
        told.rules = Rules::new(route.outcomes(notes, answer), route.aliases(notes, answer))
            .with_feedback(&route.feedback(notes, answer));
        let verdict = Verdict { worker: self.worker, snapshot: self.snapshot, inspection, injected: false };
        let accepted = verdict.accepted(answer);
        for (index, lead) in verdict.inspection.leads.iter().enumerate() {
            let taken = accepted.iter().find(|taken| std::ptr::eq(taken.lead, lead));
            let values = reading.values.get(index).map(Vec::as_slice).unwrap_or_default();
            let mut shown = self.lead(&route, lead, values);
            shown.id = shown.id.or_else(|| taken.and_then(|taken| taken.id.as_deref()).map(str::to_owned));
            let is_judged = !told.supposed && lead.scored.is_some();
            shown.accepted = is_judged.then_some(taken.is_some());
            told.leads.push(shown);
        }
    }

    fn lead(&self, route: &Route, lead: &Judged, values: &[Value<'static>]) -> Lead {
        let model = self.snapshot.model(route).map(|slots| &slots.champion);
        let specs = model.map(|model| model.version.model.features()).unwrap_or_default();
        let configured = self.snapshot.config.features.iter().enumerate();
        let mut features: Vec<FeatureRead> = configured
            .map(|(index, feature)| {
                let spec = specs.iter().find(|spec| *spec.name == *feature.name);
                FeatureRead::new(&feature.name, values.get(index), (spec, model.is_none()))
            })
            .collect();
        let is_mapped = |name: &str| self.snapshot.config.features.iter().any(|known| *known.name == *name);
        let unmapped = specs.iter().filter(|spec| !is_mapped(&spec.name));
        features.extend(unmapped.map(FeatureRead::unmapped));
        let mut shown =
            Lead { item: lead.item, id: lead.id.as_deref().map(str::to_owned), features, ..Lead::default() };
        if let (Some((scored, packed)), Some(model)) = (&lead.scored, model) {
            let values: Vec<Value<'_>> = packed.values().collect();
            shown.score = Some(scored.score.probability());
            shown.points = Some(scored.score.points());
            shown.grade = Some(scored.grade.as_str());
            shown.reasons = model.reasons(&values, &mut ReasonScratch::default());
        }
        shown
    }
}

/// The values of each record that the lead objects speak of.
fn records(found: &[Found], values: &[Value<'_>], width: usize) -> Vec<Vec<Value<'static>>> {
    let mut records = Vec::new();
    for (found, values) in found.iter().zip(values.chunks(width.max(1))) {
        let owned: Vec<Value<'static>> = values.iter().cloned().map(Value::into_owned).collect();
        records.extend(std::iter::repeat_n(owned, 1 + found.more_ids.len()));
    }
    records
}
