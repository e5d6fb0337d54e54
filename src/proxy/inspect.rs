//! Recognise, score, enrich: what happens to a body that was read. Synchronous, without I/O or locks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;

use super::snapshot::{Bound, Snapshot};
use crate::{
    config::Action,
    enrich::{Edits, Given},
    lead::{LeadId, Skip, Value},
    leadlog::Packed,
    recognise::{Candidates, Doc, Found, Route, Scratch as ReadScratch, Skipped},
    score::{Scored, Scratch as ScoreScratch},
    telemetry::{Stage, StageRecorder},
};

/// What a worker reuses from request to request.
#[derive(Debug, Default)]
pub struct Scratch {
    read: ReadScratch,
    score: ScoreScratch,
    values: Vec<Value<'static>>,
}

/// What was found in a request.
#[derive(Debug)]
pub struct Inspection {
    /// The route that took it.
    pub route: Arc<Route>,
    /// The leads in it, in the selector's order.
    pub leads: Vec<Judged>,
    /// Why no lead has a score; `None` where one has, or where the route does not score.
    pub skip: Option<Skip>,
    /// The request's body with scores in it, where the route asks for that.
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
    /// What the request tells of its fate.
    pub outcome: Option<(bool, Option<f64>)>,
}

/// One request, as inspecting it needs it.
pub struct Subject<'r> {
    /// What it is inspected with.
    pub snapshot: &'r Snapshot,
    /// The routes its path allows.
    pub candidates: &'r Candidates<'r>,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its body, whole.
    pub body: &'r [u8],
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
        caught.unwrap_or_else(|_| {
            *scratch = Scratch::default();
            self.candidates.likely().map_or(Ok(None), |route| Err(Skipped { route, reason: Skip::Panic }))
        })
    }

    fn run(&self, scratch: &mut Scratch, stages: &mut StageRecorder) -> Result<Option<Inspection>, Skipped> {
        let started = Instant::now();
        let Scratch { read, score, values: spare } = scratch;
        let mut values = reuse(std::mem::take(spare));
        let route = self.snapshot.recogniser.read(self.candidates, self.body, read, &mut values);
        let recognised = Instant::now();
        stages.record(Stage::Recognise, recognised - started);
        let Some(route) = route? else { return Ok(None) };
        let late = |now: Instant| now - started > self.snapshot.config.limits.deadline;
        if late(recognised) {
            return Err(Skipped { route, reason: Skip::Deadline });
        }
        let mut judge = Judge { snapshot: self.snapshot, route: &route, score, late: &late };
        let (leads, skip) = judge.leads(&read.leads, &values);
        let scored = Instant::now();
        stages.record(Stage::Score, scored - recognised);
        let signed = route.signed_by.as_ref().is_some_and(|name| self.headers.contains_key(name));
        let may_patch = skip.is_none() && !signed && (self.may_inject)(&route);
        let patched = if may_patch { self.patch(&route, &read.leads, &leads, &read.tape) } else { None };
        if may_patch {
            stages.record(Stage::Enrich, scored.elapsed());
        }
        *spare = reuse(values);
        Ok(Some(Inspection { route, leads, skip, patched, signed, took: started.elapsed() }))
    }

    /// The body with the score in it. Only requests with one lead are changed: were a batch accepted in part, it could
    /// not be sent again without the field.
    fn patch(
        &self,
        route: &Route,
        found: &[Found],
        leads: &[Judged],
        tape: &crate::recognise::Tape,
    ) -> Option<Vec<u8>> {
        let ([found], [Judged { scored: Some((scored, _)), .. }]) = (found, leads) else { return None };
        let model = self.snapshot.model(route)?;
        let doc = Doc::new(std::str::from_utf8(self.body).ok()?, tape);
        let mut edits = Edits::default();
        for target in &route.inject.request {
            if let Some(spot) = doc.spot(found.at, &target.at, found.item).ok()? {
                edits.push(spot, target, given(scored, model));
            }
        }
        if edits.is_empty() { None } else { edits.apply(self.body).ok() }
    }
}

/// What enrich writes of a score.
pub(super) fn given<'m>(scored: &Scored, model: &'m Bound) -> Given<'m> {
    Given { score: scored.score, grade: scored.grade, model: &model.id }
}

/// The vector's memory, for values that borrow from another body.
fn reuse<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    // Collecting an emptied vector into one of the same layout keeps its allocation.
    values.into_iter().map(|_| Value::Missing).collect()
}

/// Scores the leads of one request.
struct Judge<'j> {
    snapshot: &'j Snapshot,
    route: &'j Route,
    score: &'j mut ScoreScratch,
    late: &'j dyn Fn(Instant) -> bool,
}

impl Judge<'_> {
    /// All leads, and why none has a score where none has.
    fn leads(&mut self, found: &[Found], values: &[Value<'_>]) -> (Vec<Judged>, Option<Skip>) {
        let unscored = |found: &Found| Judged {
            item: found.item,
            id: found.id.clone(),
            scored: None,
            outcome: found.outcome,
        };
        let mut leads: Vec<Judged> = found.iter().map(unscored).collect();
        if self.route.action == Action::Outcome {
            return (leads, None);
        }
        let Some(model) = self.snapshot.model(self.route) else { return (leads, Some(Skip::NoModel)) };
        let mut first_skip = None;
        let mut any = false;
        let width = self.snapshot.recogniser.width().max(1);
        for (lead, values) in leads.iter_mut().zip(values.chunks(width)) {
            match self.one(model, values) {
                Ok(scored) => {
                    any = true;
                    lead.scored = Some((scored, Packed::new(values)));
                }
                Err(skip) => first_skip = first_skip.or(Some(skip)),
            }
        }
        // A lead past the deadline takes the whole request with it: half a batch is no answer.
        if (self.late)(Instant::now()) {
            leads.iter_mut().for_each(|lead| lead.scored = None);
            return (leads, Some(Skip::Deadline));
        }
        let skip = if any { None } else { first_skip.or(Some(Skip::Features)) };
        (leads, skip)
    }

    fn one(&mut self, model: &Bound, values: &[Value<'_>]) -> Result<Scored, Skip> {
        let version = &model.version.model;
        let value = |index| model.value(values, index);
        let is_change = matches!(self.route.action, Action::Update | Action::Upsert);
        let nothing_known = (0..version.features().len()).all(|index| value(index).is_missing());
        if nothing_known || is_change && version.missing_required(value).is_some() {
            return Err(Skip::Features);
        }
        version.score(value, self.score).map_err(|_| Skip::Score)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{
        config::Config,
        recognise::RequestHead,
        telemetry::{Latency, Metrics},
    };

    #[test]
    fn a_panic_is_a_reason_to_skip_and_the_next_request_is_inspected() {
        let yaml =
            "upstream: http://127.0.0.1:1\nroutes: [{name: r, method: [POST], path: /r, action: outcome}]";
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
                may_inject,
            };
            subject.inspect(&mut scratch, &mut stages).map(|found| found.map(|found| found.leads.len()))
        };
        let skipped = inspect(&|_| panic!("as a defect of ours would")).unwrap_err();
        assert_eq!((&*skipped.route.name, skipped.reason), ("r", Skip::Panic));
        assert_eq!(inspect(&|_| false).unwrap(), Some(1));
    }
}
