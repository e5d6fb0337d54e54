//! Recognise, score, enrich: what happens to a body that was read. Synchronous, without I/O or locks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    judge::{Judge, JudgeScratch},
    slots::Slots,
    snapshot::Snapshot,
};
use crate::{
    enrich::{Edits, Given},
    lead::{Arm, ArmOutcome, Exposure, LeadId, Reason, Score, Skip, Trend, Value},
    leadlog::{Known, Packed},
    recognise::{Candidates, Duplicate, Found, Headers, Notes, Route, Scratch as ReadScratch, Skipped, View},
    score::Scored,
    telemetry::{Stage, StageRecorder},
};

/// What a worker reuses from request to request.
#[derive(Debug, Default)]
pub struct Scratch {
    read: ReadScratch,
    judge: JudgeScratch,
    values: Vec<Value<'static>>,
    decoded: Vec<u8>,
    view: String,
}

impl Scratch {
    /// Gives memory back that only an unusually large body needs.
    fn trim(&mut self) {
        const KEPT: usize = 1 << 20;
        self.read.trim();
        if self.decoded.capacity() > KEPT {
            self.decoded = Vec::new();
        }
        if self.view.capacity() > KEPT {
            self.view = String::new();
        }
    }
}

/// What was found in a request.
#[derive(Debug)]
pub struct Inspection {
    /// The route that took it.
    pub route: Arc<Route>,
    /// The leads in it, in the selector's order.
    pub leads: Vec<Judged>,
    /// What the route's rules read of the request.
    pub notes: Notes,
    /// Why no lead has a score; `None` where one has, or where the route does not score.
    pub skip: Option<Skip>,
    /// The request's body with scores in it, without any coding, where the route asks for that.
    pub patched: Option<Vec<u8>>,
    /// Bodies must not change, because a header signs them.
    pub signed: bool,
    /// Time spent.
    pub took: Duration,
}

/// One lead of a request.
#[derive(Debug)]
pub struct Judged {
    /// Its index in the request's array.
    pub item: Option<usize>,
    /// Its id, where the request holds it.
    pub id: Option<LeadId>,
    /// Its score, and the features it was computed from.
    pub scored: Option<(Scored, Packed)>,
    /// The score it had before, where that is remembered.
    pub previous: Option<Score>,
    /// Why, where the route writes that.
    pub reasons: Vec<Reason>,
    /// What tells which item of the answer belongs to it.
    pub key: Option<Box<str>>,
    /// Whose score it has or is to have.
    pub arm: Arm,
    /// Its arm by assignment, while the model has a challenger.
    pub exposure: Option<Box<Exposure>>,
    /// What became of it there.
    pub outcome: ArmOutcome,
    /// Why the last version that was to answer gave no score.
    pub(super) unfit: Option<Skip>,
    /// Why the champion answers for the challenger.
    pub(super) fell: Option<Skip>,
}

/// One request, as inspecting it needs it.
pub struct Subject<'r> {
    /// What it is inspected with.
    pub snapshot: &'r Snapshot,
    /// The routes its path allows.
    pub candidates: &'r Candidates<'r>,
    /// Its headers.
    pub headers: &'r dyn Headers,
    /// Its body, whole.
    pub body: &'r [u8],
    /// What is known of leads.
    pub known: &'r Known,
    /// Whether the route's scores may go into the request's body.
    pub may_inject: &'r dyn Fn(&Route) -> bool,
}

impl Subject<'_> {
    /// Inspects the body. A panic in here is a reason to skip like any other.
    pub fn inspect(
        &self,
        scratch: &mut Scratch,
        stages: &mut StageRecorder,
    ) -> Result<Option<Inspection>, Skipped> {
        let caught = catch_unwind(AssertUnwindSafe(|| self.run(scratch, stages)));
        scratch.trim();
        caught.unwrap_or_else(|_| {
            *scratch = Scratch::default();
            self.skipped(Skip::Panic)
        })
    }

    fn skipped(&self, reason: Skip) -> Result<Option<Inspection>, Skipped> {
        self.candidates.likely().map_or(Ok(None), |route| Err(Skipped { route, reason }))
    }

    fn run(&self, scratch: &mut Scratch, stages: &mut StageRecorder) -> Result<Option<Inspection>, Skipped> {
        let started = Instant::now();
        let Scratch { read, judge, values: spare, decoded, view } = scratch;
        let view = if self.candidates.needs_body() {
            let limit = self.snapshot.config.limits.body;
            let body = match self.candidates.decode(self.body, limit, decoded) {
                Ok(body) => body,
                Err(reason) => return self.skipped(reason),
            };
            let Some(view) = self.candidates.view(body, view)? else { return Ok(None) };
            view
        } else {
            View::json("")
        };
        let mut values = reuse(std::mem::take(spare));
        let route = self.snapshot.recogniser.read(self.candidates, view, read, &mut values);
        let recognised = Instant::now();
        stages.record(Stage::Recognise, recognised - started);
        let Some(route) = route? else { return Ok(None) };
        let late = |now: Instant| now - started > self.snapshot.config.limits.deadline;
        if late(recognised) {
            return Err(Skipped { route, reason: Skip::Deadline });
        }
        let Subject { snapshot, known, .. } = *self;
        let headers = self.headers;
        let mut judge =
            Judge { snapshot, known, route: &route, headers, scratch: judge, late: &late, done: None };
        let (leads, skip) = judge.leads(&read.leads, &values);
        let scored = judge.done.unwrap_or_else(Instant::now);
        stages.record(Stage::Score, scored - recognised);
        let signed = route.signed_by.as_ref().is_some_and(|name| self.headers.has(name));
        let may_patch = skip.is_none() && !signed && (self.may_inject)(&route);
        let patched = match may_patch {
            true => self.patch(&route, read, &leads, view),
            false => Ok(None),
        };
        // Which of two members the CRM reads, nobody can say.
        let Ok(patched) = patched else { return Err(Skipped { route, reason: Skip::Duplicate }) };
        let ended = if may_patch { Instant::now() } else { scored };
        if may_patch {
            stages.record(Stage::Enrich, ended - scored);
        }
        *spare = reuse(values);
        let notes = std::mem::take(&mut read.notes);
        Ok(Some(Inspection { route, leads, notes, skip, patched, signed, took: ended - started }))
    }

    /// The body with the score in it. Only a lead that stands alone, or alone in its list, is changed: were a batch accepted
    /// in part, it could not be sent again without the field.
    fn patch(
        &self,
        route: &Route,
        read: &ReadScratch,
        leads: &[Judged],
        view: View<'_>,
    ) -> Result<Option<Vec<u8>>, Duplicate> {
        let ([found], [lead]) = (read.leads.as_slice(), leads) else { return Ok(None) };
        let doc = view.doc(&read.tape);
        if found.item.is_some() && !doc.is_only_element(found.at) {
            return Ok(None);
        }
        let given = self.snapshot.model(route).and_then(|slots| given(lead, slots));
        let Some(given) = given else { return Ok(None) };
        let Some(body) = view.in_place() else {
            self.snapshot.metrics(Some(route)).injection_skipped();
            return Ok(None);
        };
        let mut edits = Edits::default();
        for target in &route.inject.request {
            if let Some(spot) = doc.spot(found.at, &target.at, found.item)? {
                edits.push(spot, target, given);
            }
        }
        Ok(if edits.is_empty() { None } else { edits.apply(body.as_bytes()).ok() })
    }
}

impl Judged {
    /// A lead under one of its ids.
    pub(super) fn unscored(found: &Found, id: Option<LeadId>) -> Self {
        let Found { item, key, .. } = found;
        Self {
            item: *item,
            id,
            key: key.clone(),
            scored: None,
            previous: None,
            reasons: Vec::new(),
            arm: Arm::Champion,
            exposure: None,
            outcome: ArmOutcome::Scored,
            unfit: None,
            fell: None,
        }
    }
}

/// What enrich writes of a lead; `None` without a score.
pub(super) fn given<'m>(lead: &'m Judged, slots: &'m Slots) -> Option<Given<'m>> {
    let (scored, _) = lead.scored.as_ref()?;
    Some(Given {
        score: scored.score,
        grade: scored.grade,
        model: &slots.of(lead.arm).id,
        reasons: &lead.reasons,
        trend: lead.previous.map(|previous| Trend::between(previous, scored.score)),
    })
}

/// The vector's memory, for values that borrow from another body.
fn reuse<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    // Collecting an emptied vector into one of the same layout keeps its allocation.
    values.into_iter().map(|_| Value::Missing).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::{
        config::Config,
        recognise::RequestHead,
        registry::fixture,
        telemetry::{Latency, Metrics},
    };

    /// How many reasons a request's leads got, on a route that injects so.
    fn reasons(inject: &str, body: &[u8]) -> Vec<usize> {
        let root = tempfile::tempdir().unwrap();
        let version = crate::registry::Version::load(&fixture::write(root.path(), "lead", "1", 0.5)).unwrap();
        let yaml = format!(
            "upstream: http://127.0.0.1:1\nlimits: {{deadline: 1s}}\nroutes: [{{name: r, method: [POST], path: /r, action: create, \
             leads: '$[*]', inject: {inject}}}]\nfeatures: {{budget: {{from: [/b], type: number}}}}"
        );
        let config = Config::parse(&yaml, &|_| None).unwrap();
        let snapshot = Snapshot::new(Arc::new(config), &[Arc::new(version)], &Metrics::default()).unwrap();
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let candidates = &snapshot.recogniser.candidates(head).unwrap();
        let (snapshot, headers, may_inject) = (&snapshot, &headers, &|_: &Route| false);
        let known = &Known::new(0, Duration::ZERO);
        let subject = Subject { snapshot, candidates, headers, body, known, may_inject };
        let found = subject.inspect(&mut Scratch::default(), &mut Latency::default().recorder()).unwrap();
        found.unwrap().leads.iter().map(|lead| lead.reasons.len()).collect()
    }

    #[test]
    fn reasons_are_looked_for_only_where_they_are_written() {
        let (one, two) = (br#"[{"b":17}]"#.as_slice(), br#"[{"b":17},{"b":3}]"#.as_slice());
        assert_eq!(reasons("{headers: {X-S: score, X-M: model}}", one), [0]);
        assert_eq!(reasons("{headers: {X-R: reasons}}", one), [1]);
        assert_eq!(reasons("{headers: {X-R: reasons}}", two), [0, 0], "a batch fits in no header");
        assert_eq!(reasons("{response: [{at: '/{i}/r', value: reasons}]}", two), [1, 1]);
        assert_eq!(reasons("{request: [{at: /r, value: reasons}]}", one), [1]);
        assert_eq!(reasons("{request: [{at: /r, value: reasons}]}", two), [0, 0], "batches are not injected");
    }

    #[test]
    fn a_panic_is_a_reason_to_skip_and_the_next_request_is_inspected() {
        let yaml = "upstream: http://127.0.0.1:1\nlimits: {deadline: 1s}\nroutes: [{name: r, method: [POST], path: /r, action: outcome}]\n\
             outcomes: [{route: r, id: /id, label: 1}]";
        let config = Config::parse(yaml, &|_| None).unwrap();
        let snapshot = Snapshot::new(Arc::new(config), &[], &Metrics::default()).unwrap();
        let (headers, mut scratch) = (HeaderMap::new(), Scratch::default());
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let candidates = snapshot.recogniser.candidates(head).unwrap();
        let mut stages = Latency::default().recorder();
        let mut inspect = |may_inject: &dyn Fn(&Route) -> bool| {
            let subject = Subject {
                snapshot: &snapshot,
                candidates: &candidates,
                headers: &headers,
                body: b"{}",
                known: &Known::new(0, Duration::ZERO),
                may_inject,
            };
            subject.inspect(&mut scratch, &mut stages).map(|found| found.map(|found| found.leads.len()))
        };
        let skipped = inspect(&|_| panic!("as a defect of ours would")).unwrap_err();
        assert_eq!((&*skipped.route.name, skipped.reason), ("r", Skip::Panic));
        assert_eq!(inspect(&|_| false).unwrap(), Some(0));
    }
}
