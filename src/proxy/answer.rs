//! The upstream's answer to a request with leads: was each accepted, under which id, and what is written into it.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, response::Parts};

use super::{
    body::{Body, Read},
    inspect::{Inspection, Judged, given},
    snapshot::{Bound, Snapshot},
    worker::Worker,
};
use crate::{
    config::BodyTarget,
    enrich::{self, Edits},
    lead::{LeadId, Outcome, Skip},
    leadlog::{Decision, Entry, OutcomeRecord, ScoreRecord},
    recognise::{Answer, At, Doc, Kind, Route, Tape},
    telemetry::{RequestOutcome, Stage},
};

/// An answer, with its body as far as the route needs it.
pub(super) struct Heard {
    parts: Parts,
    body: Body,
    /// The body's bytes, where it is JSON that was read whole; `tape` is its scan.
    json: Option<Bytes>,
    tape: Tape,
}

impl Heard {
    /// Takes in an answer; `None` where its body breaks off while it is read.
    pub(super) async fn listen(answer: Response<Body>, route: &Route, limit: usize) -> Option<Self> {
        let (parts, body) = answer.into_parts();
        let mut heard = Self { parts, body: Body::empty(), json: None, tape: Tape::default() };
        let encoded = heard.parts.headers.contains_key(header::CONTENT_ENCODING);
        if encoded || !route.needs_answer() || !heard.parts.status.is_success() {
            heard.body = body;
            return Some(heard);
        }
        match body.read(limit).await {
            Read::Broken => return None,
            Read::TooLarge(body) => heard.body = body,
            Read::Whole(whole) => {
                let text = std::str::from_utf8(&whole.bytes);
                let is_json = text.is_ok_and(|text| heard.tape.scan(text).is_ok());
                heard.json = is_json.then(|| whole.bytes.clone());
                heard.body = Body::Whole(whole);
            }
        }
        Some(heard)
    }

    /// Whether every lead that was scored was also accepted.
    pub(super) fn accepts(&self, route: &Route, leads: &[Judged]) -> bool {
        leads.iter().all(|lead| route.accepted(self.answer(), lead.item))
    }

    /// Whether the refusal can be the injected field's fault: a client error that is not about who asks or how often, or
    /// an answer at 2xx that tells of an error.
    pub(super) fn is_refusal(&self) -> bool {
        let other_reason = matches!(self.parts.status.as_u16(), 401 | 408 | 425 | 429);
        self.parts.status.is_success() || self.parts.status.is_client_error() && !other_reason
    }

    fn answer(&self) -> Answer<'_, '_> {
        Answer { status: self.parts.status, headers: &self.parts.headers, doc: self.doc() }
    }

    fn doc(&self) -> Option<Doc<'_, '_>> {
        let text = std::str::from_utf8(self.json.as_deref()?).ok()?;
        Some(Doc::new(text, &self.tape))
    }
}

/// An inspected request on its way back.
pub(super) struct Verdict<'v> {
    pub(super) worker: &'v Worker,
    pub(super) snapshot: &'v Snapshot,
    pub(super) inspection: Inspection,
    /// The CRM stored a score of ours.
    pub(super) injected: bool,
}

impl Verdict<'_> {
    /// Writes the scores of accepted leads into the answer, records them, and counts the request.
    pub(super) fn deliver(self, mut heard: Heard) -> Response<Body> {
        let route = self.inspection.route.clone();
        let metrics = self.snapshot.metrics(Some(&route));
        enrich::remove_spoofed(&mut heard.parts.headers, &route.inject.headers);
        let accepted: Vec<(&Judged, Option<LeadId>)> = self.accepted(&heard);
        self.record_outcomes(&accepted);
        let model = self.snapshot.model(&route);
        let scored: Vec<_> = accepted.iter().filter(|(lead, _)| lead.scored.is_some()).collect();
        let (Some(model), false) = (model, scored.is_empty()) else {
            match self.inspection.skip.or(self.was_scored().then_some(Skip::Refused)) {
                Some(reason) => {
                    metrics.skip(reason);
                    heard.parts.headers.insert(enrich::LEADWIRE, enrich::skipped(reason));
                }
                None => metrics.count(RequestOutcome::Passed),
            }
            return Response::from_parts(heard.parts, heard.body);
        };
        metrics.count(RequestOutcome::Scored);
        let leads: Vec<&Judged> = scored.iter().map(|(lead, _)| *lead).collect();
        let patched = self.patch(&heard, &leads, model);
        let decision = self.decision(patched.is_some(), &route);
        for (lead, id) in scored {
            self.record_score(lead, id.clone(), model, decision);
        }
        // The scores of a batch fit in no header.
        if let [Judged { scored: Some((scored, _)), .. }] = leads.as_slice() {
            enrich::write(&mut heard.parts.headers, &route.inject.headers, given(scored, model));
        }
        heard.parts.headers.insert(enrich::LEADWIRE, enrich::SCORED);
        heard.finish(patched)
    }

    fn accepted(&self, heard: &Heard) -> Vec<(&Judged, Option<LeadId>)> {
        let route = &self.inspection.route;
        let accepted = self.inspection.leads.iter().filter(|lead| route.accepted(heard.answer(), lead.item));
        accepted
            .map(|lead| (lead, lead.id.clone().or_else(|| route.answered_id(heard.answer(), lead.item))))
            .collect()
    }

    fn was_scored(&self) -> bool {
        self.inspection.leads.iter().any(|lead| lead.scored.is_some())
    }

    fn decision(&self, patched: bool, route: &Route) -> Decision {
        match (self.injected, patched, route.inject.headers.is_empty()) {
            (true, _, _) => Decision::Request,
            (_, true, _) => Decision::Response,
            (_, _, false) => Decision::Headers,
            _ => Decision::Recorded,
        }
    }

    /// The answer's body with the scores in it, where the route asks for that and the body can take it.
    fn patch(&self, heard: &Heard, leads: &[&Judged], model: &Bound) -> Option<Vec<u8>> {
        let targets = &self.inspection.route.inject.response;
        if targets.is_empty() || self.inspection.signed {
            return None;
        }
        let started = Instant::now();
        let doc = heard.doc()?;
        let mut edits = Edits::default();
        for lead in leads {
            let Some((scored, _)) = &lead.scored else { continue };
            for target in targets {
                let spot = item_of(doc, target, lead.item)
                    .and_then(|from| doc.spot(from, &target.at, lead.item).ok()?);
                if let Some(spot) = spot {
                    edits.push(spot, target, given(scored, model));
                }
            }
        }
        let patched = if edits.is_empty() { None } else { edits.apply(heard.json.as_ref()?).ok() };
        self.worker.stages.borrow_mut().record(Stage::Enrich, started.elapsed());
        patched
    }

    fn record_score(&self, lead: &Judged, id: Option<LeadId>, model: &Bound, decision: Decision) {
        let Some((scored, features)) = &lead.scored else { return };
        model.scores.record(f64::from(scored.score.probability()));
        self.worker.log.send(Entry::Score(ScoreRecord {
            time_ms: now_ms(),
            route: self.inspection.route.name.clone(),
            lead: id,
            arm: model.arm,
            model: Arc::clone(&model.id),
            names: Arc::clone(&self.snapshot.names),
            features: features.clone(),
            score: scored.score,
            grade: scored.grade,
            latency_ns: u64::try_from(self.inspection.took.as_nanos()).unwrap_or(u64::MAX),
            decision,
        }));
    }

    fn record_outcomes(&self, accepted: &[(&Judged, Option<LeadId>)]) {
        for (lead, id) in accepted {
            let (Some((won, revenue)), Some(id)) = (lead.outcome, id) else { continue };
            let outcome = Outcome { lead: id.clone(), won, revenue };
            let route = self.inspection.route.name.clone();
            self.worker.log.send(Entry::Outcome(OutcomeRecord { time_ms: now_ms(), route, outcome }));
        }
    }
}

impl Heard {
    fn finish(mut self, patched: Option<Vec<u8>>) -> Response<Body> {
        match (patched, self.body) {
            (Some(patched), Body::Whole(whole)) => {
                body_changed(&mut self.parts.headers, patched.len());
                Response::from_parts(self.parts, Body::Whole(whole.with(patched)))
            }
            (_, body) => Response::from_parts(self.parts, body),
        }
    }
}

/// Where a target's pointer starts: at the root if it says itself which item it means or if there is just one, else at the
/// lead's item of the answer's array.
fn item_of(doc: Doc<'_, '_>, target: &BodyTarget, item: Option<usize>) -> Option<At> {
    match item {
        Some(index) if !target.at.has_item() => match doc.kind(Doc::ROOT) {
            Some(Kind::Array) => doc.elements(Doc::ROOT).nth(index),
            _ => None,
        },
        _ => Some(Doc::ROOT),
    }
}

/// Corrects what a head says about a body of which bytes were changed.
pub(super) fn body_changed(headers: &mut HeaderMap, length: usize) {
    if headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    for name in DIGESTS {
        headers.remove(name);
    }
}

/// Headers that vouch for the bytes of a body.
const DIGESTS: [HeaderName; 5] = [
    header::ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
