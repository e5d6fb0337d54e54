//! What becomes of an answer: scores of accepted leads go into it, and everything it tells is recorded.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use http::{Response, StatusCode};
use http_body::Body as _;

use super::{
    answer::{Added, Heard},
    body::Body,
    inspect::{Inspection, Judged, given},
    shadow::ShadowJob,
    slots::Slots,
    snapshot::Snapshot,
    worker::Worker,
};
use crate::{
    config::{Action, BodyTarget},
    enrich::{self, Edits, Given},
    lead::{ArmOutcome, LeadId, Skip, Spot},
    leadlog::{
        AliasRecord, Decision, Entry, ExposureRecord, FeedbackRecord, Memory, MemoryRef, OutcomeRecord,
        ScoreRecord,
    },
    recognise::{Answer, At, Doc, Kind},
    telemetry::{RequestOutcome, Stage, now_ms},
};

/// An inspected request on its way back.
pub(super) struct Verdict<'v> {
    pub(super) worker: &'v Worker,
    pub(super) snapshot: &'v Snapshot,
    pub(super) inspection: &'v Inspection,
    /// The CRM stored a score of ours.
    pub(super) injected: bool,
}

/// What becomes of an answer.
#[derive(Default)]
struct Outcome {
    /// What is written into its head, where a lead has a score.
    written: Option<Added>,
    /// Why none has.
    skip: Option<Skip>,
    patched: Option<Vec<u8>>,
}

/// A lead that the CRM accepted.
pub(super) struct Accepted<'l> {
    pub(super) lead: &'l Judged,
    pub(super) id: Option<LeadId>,
    place: Option<Place>,
}

/// Where in an answer the score of a record goes.
struct Place {
    /// Where pointers start that do not say themselves which item they mean.
    from: Option<At>,
    /// What `{i}` stands for.
    item: Option<usize>,
}

impl Verdict<'_> {
    /// Writes the scores of accepted leads into the answer, records them, and counts the request; the answer, and the
    /// headers that are to be added to it. A panic on the way leaves the answer as it is.
    pub(super) fn deliver(self, heard: Heard<'_>) -> (Response<Body>, Added) {
        let weighed = catch_unwind(AssertUnwindSafe(|| self.weigh(&heard)));
        let Outcome { written, skip, patched } =
            weighed.unwrap_or_else(|_| Outcome { skip: Some(Skip::Panic), ..Outcome::default() });
        let metrics = self.snapshot.metrics(Some(&self.inspection.route));
        let told = match (&written, skip) {
            (Some(_), _) => {
                metrics.count(RequestOutcome::Scored);
                enrich::SCORED
            }
            (None, Some(reason)) => {
                metrics.skip(reason);
                enrich::skipped(reason)
            }
            (None, None) => {
                metrics.count(RequestOutcome::Passed);
                enrich::PASSED
            }
        };
        let mut added = written.unwrap_or_default();
        added.push((enrich::LEADWIRE, told));
        (heard.finish(patched, self.worker), added)
    }

    fn weigh(&self, heard: &Heard<'_>) -> Outcome {
        let answer = heard.answer();
        self.record_rules(answer);
        let route = &self.inspection.route;
        if route.action == Action::Read {
            return self.show(heard, answer);
        }
        let slots = self.snapshot.model(route);
        if let Some(slots) = slots.filter(|slots| slots.trial.is_some()) {
            self.record_unscored(answer, slots);
        }
        let accepted = self.accepted(answer);
        let (Some(slots), true) = (slots, !accepted.is_empty()) else {
            let was_scored = self.inspection.leads.iter().any(|lead| lead.scored.is_some());
            let unknown = heard.unread.unwrap_or(Skip::Refused);
            let skip = self.inspection.skip.or(was_scored.then_some(unknown));
            return Outcome { skip, ..Outcome::default() };
        };
        // Each of them has a score.
        let given: Vec<Given<'_>> = accepted.iter().filter_map(|lead| given(lead.lead, slots)).collect();
        let placed =
            accepted.iter().zip(&given).filter_map(|(lead, given)| Some((lead.place.as_ref()?, *given)));
        let patched = self.patch(heard, answer.doc, placed);
        let decision = self.decision(patched.is_some());
        let written = self.headers(&given);
        for lead in accepted {
            self.record_score(lead, slots, decision);
        }
        Outcome { written: Some(written), skip: None, patched }
    }

    /// The last known scores of the records that a read answers with.
    fn show(&self, heard: &Heard<'_>, answer: Answer<'_, '_>) -> Outcome {
        let (route, now) = (&self.inspection.route, now_ms());
        let known = route.records(&self.inspection.notes, answer).into_iter().filter_map(|record| {
            let memory = self.worker.known.find(&route.model, &record.id, now)?;
            Some((Place { from: Some(record.at), item: record.item }, memory))
        });
        let known: Vec<(Place, Memory)> = known.collect();
        if known.is_empty() {
            return Outcome { skip: heard.unread, ..Outcome::default() };
        }
        let given: Vec<Given<'_>> = known.iter().map(|(_, memory)| remembered(memory)).collect();
        let placed = known.iter().zip(&given).map(|((place, _), given)| (place, *given));
        let patched = self.patch(heard, answer.doc, placed);
        let written = self.headers(&given);
        Outcome { written: Some(written), skip: None, patched }
    }

    /// The leads with a score that the CRM accepted.
    pub(super) fn accepted(&self, answer: Answer<'_, '_>) -> Vec<Accepted<'_>> {
        self.taken(answer, |lead| lead.scored.is_some())
    }

    /// Those of some leads that the CRM accepted.
    fn taken(&self, answer: Answer<'_, '_>, wanted: impl Fn(&Judged) -> bool) -> Vec<Accepted<'_>> {
        let route = &self.inspection.route;
        let wanted = self.inspection.leads.iter().filter(|lead| wanted(lead));
        let pairs = route.pairs(&self.inspection.notes, answer);
        let accepted = wanted.filter_map(|lead| {
            // Without a share in the answer a lead has no id and gets nothing written; the write as a whole may be accepted,
            // unless the answer says that only a part of it was.
            let share = pairs.of(lead.item, lead.key.as_deref());
            let is_left_out = share.is_err() && answer.status == StatusCode::MULTI_STATUS;
            if is_left_out || !route.accepted(answer, share.unwrap_or(None)) {
                return None;
            }
            let answered = || share.ok().and_then(|item| route.answered_id(answer, item));
            let id = lead.id.clone().or_else(answered);
            let place =
                share.ok().map(|item| Place { from: answer.doc.and_then(|doc| item_of(doc, item)), item });
            Some(Accepted { lead, id, place })
        });
        accepted.collect()
    }

    fn decision(&self, patched: bool) -> Decision {
        match (self.injected, patched, self.inspection.route.inject.headers.is_empty()) {
            (true, _, _) => Decision::Request,
            (_, true, _) => Decision::Response,
            (_, _, false) => Decision::Headers,
            _ => Decision::Recorded,
        }
    }

    /// The headers of the answer: of one score, or of several where the route allows so many.
    fn headers(&self, given: &[Given<'_>]) -> Added {
        let inject = &self.inspection.route.inject;
        if given.len() <= inject.max_items { enrich::headers(&inject.headers, given) } else { Vec::new() }
    }

    /// The answer's body with scores in it, where the route asks for that and the body can take it.
    fn patch<'g>(
        &self,
        heard: &Heard<'_>,
        doc: Option<Doc<'_, '_>>,
        placed: impl Iterator<Item = (&'g Place, Given<'g>)>,
    ) -> Option<Vec<u8>> {
        let targets = &self.inspection.route.inject.response;
        if targets.is_empty() || self.inspection.signed {
            return None;
        }
        let started = Instant::now();
        let Some(body) = heard.writable() else {
            // Where there is no body, none was meant to be written to.
            if !heard.body.is_end_stream() {
                self.snapshot.metrics(Some(&self.inspection.route)).injection_skipped();
            }
            return None;
        };
        let doc = doc?;
        let mut edits = Edits::default();
        for (place, given) in placed {
            for target in targets {
                if let Some(spot) = spot(doc, target, place) {
                    edits.push(spot, target, given);
                }
            }
        }
        let patched = if edits.is_empty() { None } else { edits.apply(body).ok() };
        self.worker.stages.borrow_mut().record(Stage::Enrich, started.elapsed());
        patched
    }

    fn record_score(&self, lead: Accepted<'_>, slots: &Arc<Slots>, decision: Decision) {
        let Accepted { lead, id, .. } = lead;
        let Some((scored, features)) = &lead.scored else { return };
        let (model, time_ms) = (slots.of(lead.arm), now_ms());
        model.scores.record(scored.score);
        if slots.is_mirrored(id.as_deref(), time_ms) {
            let (slots, lead, arm) = (Arc::clone(slots), id.clone(), lead.arm);
            let features = features.clone();
            self.worker.shadows.push(ShadowJob { slots, time_ms, lead, arm, scored: *scored, features });
        }
        if let Some(id) = &id {
            let seen = MemoryRef {
                time_ms,
                score: scored.score,
                grade: scored.grade,
                model: &model.id,
                names: &self.snapshot.names,
                features,
                assignment: lead.exposure.as_ref().map(|exposure| &exposure.assignment),
            };
            self.worker.pen.borrow_mut().remember(id, &seen);
        }
        let exposure = lead.exposure.clone();
        let fell = exposure.as_ref().filter(|exposure| exposure.arm != lead.arm).map(|_| lead.outcome);
        self.worker.log.send(Entry::Score(ScoreRecord {
            time_ms,
            route: self.inspection.route.name.clone(),
            lead: id,
            arm: lead.arm,
            model: Arc::clone(&model.id),
            names: Arc::clone(&self.snapshot.names),
            features: features.clone(),
            score: scored.score,
            grade: scored.grade,
            latency_ns: u64::try_from(self.inspection.took.as_nanos()).unwrap_or(u64::MAX),
            decision,
            exposure,
            fell,
        }));
    }

    /// Leads that met an experiment and have no score belong to their arm all the same.
    fn record_unscored(&self, answer: Answer<'_, '_>, slots: &Slots) {
        let time_ms = now_ms();
        for Accepted { lead, id, .. } in self.taken(answer, |lead| lead.scored.is_none()) {
            let Some(exposure) = lead.exposure.clone() else { continue };
            let is_miss = matches!(lead.outcome, ArmOutcome::Failed | ArmOutcome::Late);
            if id.is_some() || is_miss {
                let (model, outcome) = (Arc::clone(&slots.champion.id.model), lead.outcome);
                let record = ExposureRecord { time_ms, lead: id, model, exposure, outcome };
                self.worker.log.send(Entry::Exposure(record));
            }
        }
    }

    /// What became of leads, which deals they became, and what people said of their scores.
    fn record_rules(&self, answer: Answer<'_, '_>) {
        let Inspection { route, notes, .. } = self.inspection;
        if notes.is_empty() {
            return;
        }
        let time_ms = now_ms();
        for alias in route.aliases(notes, answer) {
            self.worker.log.send(Entry::Alias(AliasRecord { time_ms, alias }));
        }
        for outcome in route.outcomes(notes, answer) {
            let route = route.name.clone();
            self.worker.log.send(Entry::Outcome(OutcomeRecord { time_ms, route, outcome }));
        }
        for feedback in route.feedback(notes, answer) {
            self.snapshot.feedback.count(&feedback);
            let record = FeedbackRecord { time_ms, source: route.name.clone(), feedback };
            self.worker.log.send(Entry::Feedback(Box::new(record)));
        }
    }
}

/// What enrich writes of a lead that was scored before.
fn remembered(memory: &Memory) -> Given<'_> {
    let Memory { score, grade, model, .. } = memory;
    Given { score: *score, grade: *grade, model, reasons: &[], trend: None }
}

/// Where pointers start that do not say themselves which item they mean: at the root where there is just one, else at the
/// item of the answer's array.
fn item_of(doc: Doc<'_, '_>, item: Option<usize>) -> Option<At> {
    match (item, doc.kind(Doc::ROOT)) {
        (Some(index), Some(Kind::Array)) => doc.elements(Doc::ROOT).nth(index),
        (Some(_), _) => None,
        (None, _) => Some(Doc::ROOT),
    }
}

/// Where a target's value goes; `None` where the answer has no such place.
fn spot(doc: Doc<'_, '_>, target: &BodyTarget, place: &Place) -> Option<Spot> {
    let from = if target.at.has_item() { Doc::ROOT } else { place.from? };
    doc.spot(from, &target.at, place.item).ok()?
}
