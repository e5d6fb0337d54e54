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
    score::{Batch, ReasonScratch, Scratch},
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
        let Bound { version, .. } = model;
        let scored = version.model.score(|index| model.value(&values, index), &mut self.scratch.score);
        let scored = scored.map_err(|_| Skip::Score)?;
        if self.route.inject.writes(Field::Reasons, true) && !(self.late)(Instant::now()) {
            lead.reasons = model.reasons(&values, &mut self.scratch.reasons);
        }
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
                    version.push(|feature| model.value(&values, feature), &mut self.scratch.batch);
                    taken.push((index, Packed::by(&values, &mut self.scratch.packed)));
                    if with_reasons {
                        lead.reasons = model.reasons(&values, &mut self.scratch.reasons);
                    }
                }
            }
        }
        let mut taken = taken.into_iter();
        version.score_batch(&mut self.scratch.batch, |scored| {
            let Some((index, packed)) = taken.next() else { return };
            match (scored, leads.get_mut(index)) {
                (Ok(scored), Some(lead)) => lead.scored = Some((scored, packed)),
                _ => first_skip = first_skip.or(Some(Skip::Score)),
            }
        });
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
