//! Scoring the leads of one request: one alone as it comes, several in one batched forward.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{
    bound::Bound,
    inspect::{Judged, now_ms},
    snapshot::Snapshot,
};
use crate::{
    config::{Action, Field},
    lead::{Skip, Value},
    leadlog::{Known, Memory, Packed},
    recognise::{Found, Route},
    score::{Batch, ReasonScratch, Scored, Scratch},
};

/// What scoring reuses from request to request.
#[derive(Debug, Default)]
pub(super) struct JudgeScratch {
    score: Scratch,
    batch: Batch,
    reasons: ReasonScratch,
    packed: Vec<u8>,
}

/// Scores the leads of one request.
pub(super) struct Judge<'j> {
    pub(super) snapshot: &'j Snapshot,
    pub(super) known: &'j Known,
    pub(super) route: &'j Route,
    pub(super) scratch: &'j mut JudgeScratch,
    pub(super) late: &'j dyn Fn(Instant) -> bool,
}

impl Judge<'_> {
    /// All leads, and why none has a score where none has.
    pub(super) fn leads(&mut self, found: &[Found], values: &[Value<'_>]) -> (Vec<Judged>, Option<Skip>) {
        if matches!(self.route.action, Action::Outcome | Action::Read) {
            return (Vec::new(), None);
        }
        let values = values.chunks(self.snapshot.recogniser.width().max(1));
        let (mut leads, values) = records(found, values);
        let Some(model) = self.snapshot.model(self.route) else { return (leads, Some(Skip::NoModel)) };
        if model.version.poison.is_out() {
            return (leads, Some(Skip::Poisoned));
        }
        let skipped = match (leads.as_mut_slice(), values.as_slice()) {
            ([lead], [values]) => self.alone(model, lead, values).err(),
            (leads, values) => self.together(model, leads, values),
        };
        // A lead past the deadline takes the whole request with it: half a batch is no answer.
        if (self.late)(Instant::now()) {
            leads.iter_mut().for_each(|lead| lead.scored = None);
            return (leads, Some(Skip::Deadline));
        }
        let any = leads.iter().any(|lead| lead.scored.is_some());
        (leads, if any { None } else { skipped.or(Some(Skip::Features)) })
    }

    fn alone(&mut self, model: &Bound, lead: &mut Judged, values: &[Value<'_>]) -> Result<(), Skip> {
        let memory = self.memory(model, lead);
        let values = self.whole(model, memory.as_deref(), values)?;
        let scored = model.blamed(|| -> Result<Scored, Skip> {
            let network = &model.version.model;
            let scored = network.score(|index| model.value(&values, index), &mut self.scratch.score);
            let scored = scored.map_err(|_| Skip::Score)?;
            if self.route.inject.writes(Field::Reasons, true) && !(self.late)(Instant::now()) {
                lead.reasons = model.reasons(&values, &mut self.scratch.reasons);
            }
            Ok(scored)
        })?;
        lead.scored = Some((scored, Packed::by(&values, &mut self.scratch.packed)));
        Ok(())
    }

    /// Scores several leads in one batched forward. Returns why the first of those without a score has none.
    fn together(&mut self, model: &Bound, leads: &mut [Judged], values: &[&[Value<'_>]]) -> Option<Skip> {
        let with_reasons = self.route.inject.writes(Field::Reasons, false);
        let version = &model.version.model;
        let mut first_skip = None;
        let mut taken: Vec<(usize, Packed)> = Vec::with_capacity(leads.len());
        self.scratch.batch.clear();
        for (index, (lead, values)) in leads.iter_mut().zip(values).enumerate() {
            // Reasons take as long as the scores of dozens of leads.
            if (with_reasons || index % 64 == 63) && (self.late)(Instant::now()) {
                return first_skip;
            }
            let memory = self.memory(model, lead);
            match self.whole(model, memory.as_deref(), values) {
                Err(skip) => first_skip = first_skip.or(Some(skip)),
                Ok(values) => {
                    let JudgeScratch { batch, reasons, .. } = &mut *self.scratch;
                    model.blamed(|| {
                        version.push(|feature| model.value(&values, feature), batch);
                        if with_reasons {
                            lead.reasons = model.reasons(&values, reasons);
                        }
                    });
                    taken.push((index, Packed::by(&values, &mut self.scratch.packed)));
                }
            }
        }
        let mut taken = taken.into_iter();
        let give = |scored| {
            let Some((index, packed)) = taken.next() else { return };
            match (scored, leads.get_mut(index)) {
                (Ok(scored), Some(lead)) => lead.scored = Some((scored, packed)),
                _ => first_skip = first_skip.or(Some(Skip::Score)),
            }
        };
        model.blamed(|| version.score_batch(&mut self.scratch.batch, give));
        first_skip
    }

    /// What is known of a lead whose id the request holds; its last score is noted.
    fn memory(&self, model: &Bound, lead: &mut Judged) -> Option<Arc<Memory>> {
        let memory = self.known.find(&model.id.model, lead.id.as_deref()?, now_ms())?;
        lead.previous = Some(memory.score);
        Some(memory)
    }

    /// The values to score. A change holds only some of a lead's; what was last seen of the lead has the others. Without
    /// that a change is scored only if it holds all that the model requires: a score of imputed values would take the
    /// place of a better one.
    fn whole<'v>(
        &self,
        model: &Bound,
        memory: Option<&'v Memory>,
        values: &'v [Value<'v>],
    ) -> Result<Cow<'v, [Value<'v>]>, Skip> {
        let version = &model.version.model;
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is for one lifetime only")]
        let says_nothing = |values: &[Value<'_>]| model.all(values, |value| value.is_missing());
        if !matches!(self.route.action, Action::Update | Action::Upsert) {
            return if says_nothing(values) { Err(Skip::Features) } else { Ok(Cow::Borrowed(values)) };
        }
        // A change that only clears is a change.
        if model.all(values, |value| matches!(value, Value::Missing)) {
            return Err(Skip::Features);
        }
        let mut values = Cow::Borrowed(values);
        if let Some(memory) = memory {
            memory.complete(&self.snapshot.names, values.to_mut());
        }
        let required = version.missing_required(|index| model.told(&values, index));
        if required.is_some() || says_nothing(&values) { Err(Skip::Features) } else { Ok(values) }
    }
}

/// The records of the lead objects, each with its values. An object may speak of several; each is scored for itself, since
/// of each something else may be known.
fn records<'v, 'a>(
    found: &[Found],
    values: impl Iterator<Item = &'v [Value<'a>]>,
) -> (Vec<Judged>, Vec<&'v [Value<'a>]>) {
    let mut records = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    for (found, values) in found.iter().zip(values) {
        records.0.push(Judged::unscored(found, found.id.clone()));
        records.1.push(values);
        for id in &found.more_ids {
            records.0.push(Judged::unscored(found, Some(id.clone())));
            records.1.push(values);
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        path::Path,
        time::Duration,
    };

    use http::{HeaderMap, Method};

    use super::*;
    use crate::{
        config::Config,
        recognise::RequestHead,
        registry::{Version, fixture},
        telemetry::Metrics,
    };

    fn load(root: &Path, version: &str) -> Arc<Version> {
        Arc::new(Version::load(&fixture::write(root, "lead", version, 0.5)).unwrap())
    }

    fn serving(version: &Arc<Version>) -> Snapshot {
        let yaml = "upstream: http://127.0.0.1:1\nroutes: [{name: r, method: [POST], path: /r, action: create, \
             inject: {headers: {X-R: reasons}}}]\nfeatures: {budget: {from: [/b], type: number}}";
        let config = Arc::new(Config::parse(yaml, &|_| None).unwrap());
        Snapshot::new(config, &[Arc::clone(version)], &Metrics::default()).unwrap()
    }

    /// Why the lead of a request has no score. What `late` does, it does between score and reasons.
    fn judge(snapshot: &Snapshot, late: &dyn Fn(Instant) -> bool) -> Option<Skip> {
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let (known, scratch) = (&Known::new(0, Duration::ZERO), &mut JudgeScratch::default());
        let mut judge = Judge { snapshot, known, route: &route, scratch, late };
        judge.leads(&[Found::default()], &[Value::Number(17.0)]).1
    }

    fn panic(snapshot: &Snapshot) {
        let panics = |_| panic!("as a defect of the model would");
        catch_unwind(AssertUnwindSafe(|| judge(snapshot, &panics))).unwrap_err();
    }

    #[test]
    fn a_version_that_panics_again_and_again_is_taken_out_of_service() {
        let root = tempfile::tempdir().unwrap();
        let version = load(root.path(), "1");
        let (first, on_time) = (serving(&version), |_| false);
        for _ in 0..2 {
            panic(&first);
            assert_eq!(judge(&first, &on_time), None, "one in a while is no reason");
        }
        let second = serving(&version);
        panic(&second);
        for snapshot in [first, second, serving(&version)] {
            assert_eq!(judge(&snapshot, &on_time), Some(Skip::Poisoned), "in every snapshot");
        }
        for fresh in [load(root.path(), "2"), Arc::new(Version::load(&root.path().join("lead/1")).unwrap())] {
            assert_eq!(judge(&serving(&fresh), &on_time), None, "one that is loaded anew serves");
        }
    }

    #[test]
    fn a_panic_elsewhere_counts_against_no_version() {
        let root = tempfile::tempdir().unwrap();
        let version = load(root.path(), "1");
        let snapshot = serving(&version);
        let after = |calls: u32| {
            let called = std::cell::Cell::new(0);
            move |_| {
                called.set(called.get() + 1);
                if called.get() > calls { panic!("as a defect of ours would") } else { false }
            }
        };
        for _ in 0..9 {
            // The second call comes when the scores are there.
            let late = after(1);
            catch_unwind(AssertUnwindSafe(|| judge(&snapshot, &late))).unwrap_err();
        }
        assert!(!version.poison.is_out());
    }
}
