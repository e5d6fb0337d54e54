//! The upstream's answer to a request with leads: was each accepted, under which id, and what is written into it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
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
    lead::{LeadId, Skip},
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

    /// What the CRM said to the write of one lead.
    pub(super) fn reply(&self, route: &Route, leads: &[Judged]) -> Reply {
        let answer = self.answer();
        if leads.iter().all(|lead| route.accepted(answer, lead.item)) {
            return Reply::Accepted;
        }
        let status = self.parts.status;
        let other_reason = matches!(status.as_u16(), 401 | 408 | 425 | 429);
        // A success whose body could not be read may have stored the lead.
        let refused = status.is_success() && self.json.is_some() || status.is_client_error() && !other_reason;
        if refused { Reply::Refused } else { Reply::Unknown }
    }

    /// Looks the whole body over, so it is made once for all leads.
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

/// What the CRM said to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is stored.
    Accepted,
    /// It is not, and what was written is the reason: a client error that is not about who asks or how often, or an
    /// answer at 2xx that tells of an error.
    Refused,
    /// It may or may not be stored.
    Unknown,
}

/// What becomes of an answer.
#[derive(Default)]
struct Outcome {
    /// What is written into its head, where a lead has a score.
    written: Option<HeaderMap>,
    /// Why none has.
    skip: Option<Skip>,
    patched: Option<Vec<u8>>,
}

impl Verdict<'_> {
    /// Writes the scores of accepted leads into the answer, records them, and counts the request. A panic on the way
    /// leaves the answer as it is.
    pub(super) fn deliver(self, mut heard: Heard) -> Response<Body> {
        let weighed = catch_unwind(AssertUnwindSafe(|| self.weigh(&heard)));
        let Outcome { written, skip, patched } =
            weighed.unwrap_or_else(|_| Outcome { skip: Some(Skip::Panic), ..Outcome::default() });
        let route = &self.inspection.route;
        let metrics = self.snapshot.metrics(Some(route));
        let headers = &mut heard.parts.headers;
        match (written, skip) {
            (Some(written), _) => {
                metrics.count(RequestOutcome::Scored);
                headers.extend(written);
                headers.insert(enrich::LEADWIRE, enrich::SCORED);
            }
            (None, Some(reason)) => {
                metrics.skip(reason);
                headers.insert(enrich::LEADWIRE, enrich::skipped(reason));
            }
            (None, None) => {
                metrics.count(RequestOutcome::Passed);
                headers.insert(enrich::LEADWIRE, enrich::PASSED);
            }
        }
        heard.finish(patched)
    }

    fn weigh(&self, heard: &Heard) -> Outcome {
        let accepted = self.accepted(heard);
        self.record_outcomes(heard);
        let leads: Vec<&Judged> =
            accepted.iter().map(|(lead, _)| *lead).filter(|lead| lead.scored.is_some()).collect();
        let route = &self.inspection.route;
        let (Some(model), [first, others @ ..]) = (self.snapshot.model(route), leads.as_slice()) else {
            let was_scored = self.inspection.leads.iter().any(|lead| lead.scored.is_some());
            let skip = self.inspection.skip.or(was_scored.then_some(Skip::Refused));
            return Outcome { skip, ..Outcome::default() };
        };
        let patched = self.patch(heard, &leads, model);
        let mut written = HeaderMap::new();
        // The scores of a batch fit in no header.
        if others.is_empty()
            && let Some(given) = given(first, model)
        {
            enrich::write(&mut written, &route.inject.headers, given);
        }
        let decision = self.decision(patched.is_some());
        for (lead, id) in &accepted {
            self.record_score(lead, id.clone(), model, decision);
        }
        Outcome { written: Some(written), skip: None, patched }
    }

    fn accepted(&self, heard: &Heard) -> Vec<(&Judged, Option<LeadId>)> {
        let route = &self.inspection.route;
        let answer = heard.answer();
        let accepted = self.inspection.leads.iter().filter(|lead| route.accepted(answer, lead.item));
        accepted
            .map(|lead| (lead, lead.id.clone().or_else(|| route.answered_id(answer, lead.item))))
            .collect()
    }

    fn decision(&self, patched: bool) -> Decision {
        match (self.injected, patched, self.inspection.route.inject.headers.is_empty()) {
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
            let Some(given) = given(lead, model) else { continue };
            for target in targets {
                let spot = item_of(doc, target, lead.item)
                    .and_then(|from| doc.spot(from, &target.at, lead.item).ok()?);
                if let Some(spot) = spot {
                    edits.push(spot, target, given);
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

    fn record_outcomes(&self, heard: &Heard) {
        let route = &self.inspection.route;
        for outcome in route.outcomes(&self.inspection.notes, heard.answer()) {
            let route = route.name.clone();
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
