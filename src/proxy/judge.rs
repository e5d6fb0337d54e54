//! Scoring the leads of one request: one alone as it comes, several in one batched forward of each arm.
//!
//! While a model has a challenger, each lead is assigned to an arm by who it is. A challenger that cannot score a lead, for
//! whatever reason, leaves it to the champion: the CRM sees a score, and the lead stays in its arm.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use http::HeaderName;

use super::{
    bound::Bound,
    inspect::Judged,
    slots::{Slots, Trial},
    snapshot::Snapshot,
};
use crate::{
    config::{Action, Field},
    lead::{Arm, ArmOutcome, Sides, Skip, TripReason, Value},
    leadlog::{Known, Memory, Packed},
    recognise::{Found, Headers, Route, ascii},
    rollout::Key,
    score::{Batch, ReasonScratch, ScoreError, Scored, Scratch},
    telemetry::now_ms,
};

/// What may tell a request from any other.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What scoring reuses from request to request.
#[derive(Debug, Default)]
pub(super) struct JudgeScratch {
    score: Scratch,
    batch: Batch,
    reasons: ReasonScratch,
    packed: Vec<u8>,
    /// Leads that nothing told but the request, so far.
    strangers: u64,
}

/// Scores the leads of one request.
pub(super) struct Judge<'j> {
    pub(super) snapshot: &'j Snapshot,
    pub(super) known: &'j Known,
    pub(super) route: &'j Route,
    pub(super) headers: &'j dyn Headers,
    pub(super) scratch: &'j mut JudgeScratch,
    pub(super) late: &'j dyn Fn(Instant) -> bool,
    /// When all had a score that were to have one.
    pub(super) done: Option<Instant>,
}

impl Judge<'_> {
    /// All leads, and why none has a score where none has.
    pub(super) fn leads(&mut self, found: &[Found], values: &[Value<'_>]) -> (Vec<Judged>, Option<Skip>) {
        if matches!(self.route.action, Action::Outcome | Action::Read) {
            return (Vec::new(), None);
        }
        let (width, features) = (self.snapshot.recogniser.width(), self.snapshot.names.len());
        let (mut leads, mut values) = records(found, values.chunks(width.max(1)));
        let Some(slots) = self.snapshot.model(self.route) else { return (leads, Some(Skip::NoModel)) };
        // Asked once: another worker may take it out of service at any moment, and no lead may fall between the arms.
        let challenger = slots.trial.as_ref().and_then(Trial::live);
        if let Some(trial) = &slots.trial {
            self.assign((slots, trial), challenger.is_some(), &mut leads, &values);
        }
        if width > features {
            // Who a lead is stands behind what it is, and no model reads it.
            values.iter_mut().for_each(|values| *values = values.get(..features).unwrap_or_default());
        }
        if slots.champion.version.poison.is_out() {
            leads.iter_mut().for_each(|lead| lead.outcome = ArmOutcome::Out);
            return (leads, Some(Skip::Poisoned));
        }
        let blamed = challenger.map(|challenger| self.challenge(challenger, &mut leads, &values));
        let skipped = self.score(&slots.champion, Arm::Champion, &mut leads, &values);
        // A lead past the deadline takes the whole request with it: half a batch is no answer.
        let done = Instant::now();
        self.done = Some(done);
        let late = (self.late)(done);
        if let Some(trial) = &slots.trial {
            let late = late.then(|| blamed.unwrap_or_default().arms());
            leads.iter_mut().for_each(|lead| tally(trial, lead, late.as_ref()));
        }
        if late {
            leads.iter_mut().for_each(|lead| lead.scored = None);
            return (leads, Some(Skip::Deadline));
        }
        let any = leads.iter().any(|lead| lead.scored.is_some());
        (leads, if any { None } else { skipped.or(Some(Skip::Features)) })
    }

    /// Assigns each lead to an arm. What is remembered of one holds: it may have been created with an address that a change
    /// of it does not repeat. After its values stand its addresses.
    fn assign(
        &mut self,
        (slots, trial): (&Slots, &Trial),
        is_live: bool,
        leads: &mut [Judged],
        values: &[&[Value<'_>]],
    ) {
        let (now, features) = (now_ms(), self.snapshot.names.len());
        for (lead, values) in leads.iter_mut().zip(values) {
            let known = lead.id.as_deref().and_then(|id| self.known.find(&slots.champion.id.model, id, now));
            let before = known.as_ref().and_then(|memory| memory.assignment.as_ref());
            let text = |place: usize| match values.get(features + place) {
                Some(Value::Text(text)) => Some(&**text),
                _ => None,
            };
            let key = || {
                let id = lead.id.as_deref().map(Key::id);
                let told =
                    id.or_else(|| text(0).and_then(Key::email)).or_else(|| text(1).and_then(Key::phone));
                told.unwrap_or_else(|| self.stranger())
            };
            let exposure = trial.expose(before, key);
            if is_live {
                lead.arm = exposure.arm;
            }
            lead.exposure = Some(Box::new(exposure));
        }
    }

    /// What stands for a lead that has nothing to be told by.
    fn stranger(&mut self) -> Key<'static> {
        self.scratch.strangers = self.scratch.strangers.wrapping_add(1);
        let named = self.headers.first(&REQUEST_ID).and_then(ascii);
        Key::request(named.map_or_else(|| self.scratch.strangers.to_string(), str::to_owned))
    }

    /// Lets the challenger score the leads of its arm. Those that it does not are the champion's then. Returns whose fault
    /// it is if the request is late in the end.
    fn challenge(&mut self, challenger: &Bound, leads: &mut [Judged], values: &[&[Value<'_>]]) -> Blamed {
        let was_late = (self.late)(Instant::now());
        let scored =
            catch_unwind(AssertUnwindSafe(|| self.score(challenger, Arm::Challenger, leads, values)));
        let panicked = scored.is_err();
        if panicked {
            let strangers = self.scratch.strangers;
            *self.scratch = JudgeScratch { strangers, ..JudgeScratch::default() };
        }
        for lead in leads.iter_mut().filter(|lead| lead.arm == Arm::Challenger) {
            if panicked {
                lead.scored = None;
            }
            if lead.scored.is_none() {
                let why = if panicked { Skip::Panic } else { lead.unfit.unwrap_or(Skip::Deadline) };
                (lead.arm, lead.fell) = (Arm::Champion, Some(why));
                lead.reasons.clear();
            }
        }
        match (was_late, (self.late)(Instant::now())) {
            (true, _) => Blamed::Neither,
            (false, true) => Blamed::Challenger,
            (false, false) => Blamed::Champion,
        }
    }

    /// Scores the leads that are an arm's. Returns why the first of those without a score has none.
    fn score(
        &mut self,
        model: &Bound,
        arm: Arm,
        leads: &mut [Judged],
        values: &[&[Value<'_>]],
    ) -> Option<Skip> {
        match (leads, values) {
            ([lead], [values]) if lead.arm == arm => {
                lead.unfit = self.alone(model, lead, values).err();
                lead.unfit
            }
            ([_], _) => None,
            (leads, values) => self.together(model, arm, leads, values),
        }
    }

    fn alone(&mut self, model: &Bound, lead: &mut Judged, values: &[Value<'_>]) -> Result<(), Skip> {
        let memory = self.memory(model, lead);
        let values = self.whole(model, memory.as_ref(), values)?;
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

    /// Scores the leads of an arm in one batched forward.
    fn together(
        &mut self,
        model: &Bound,
        arm: Arm,
        leads: &mut [Judged],
        values: &[&[Value<'_>]],
    ) -> Option<Skip> {
        let with_reasons = self.route.inject.writes(Field::Reasons, false);
        let version = &model.version.model;
        let mut first_skip = None;
        let mut taken: Vec<(usize, Packed)> = Vec::with_capacity(leads.len());
        self.scratch.batch.clear();
        for (index, (lead, values)) in leads.iter_mut().zip(values).enumerate() {
            if lead.arm != arm {
                continue;
            }
            // Reasons take as long as the scores of dozens of leads.
            if (with_reasons || index % 64 == 63) && (self.late)(Instant::now()) {
                return first_skip;
            }
            let memory = self.memory(model, lead);
            match self.whole(model, memory.as_ref(), values) {
                Err(skip) => {
                    lead.unfit = Some(skip);
                    first_skip = first_skip.or(Some(skip));
                }
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
        let give = |scored: Result<Scored, ScoreError>| {
            let Some((index, packed)) = taken.next() else { return };
            let Some(lead) = leads.get_mut(index) else { return };
            lead.unfit = scored.is_err().then_some(Skip::Score);
            first_skip = first_skip.or(lead.unfit);
            lead.scored = scored.ok().map(|scored| (scored, packed));
        };
        model.blamed(|| version.score_batch(&mut self.scratch.batch, give));
        first_skip
    }

    /// What is known of a lead whose id the request holds; its last score is noted.
    fn memory(&self, model: &Bound, lead: &mut Judged) -> Option<Memory> {
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
            if self.lacks(model, memory, &values) {
                return Err(Skip::Features);
            }
        }
        let required = version.missing_required(|index| model.told(&values, index));
        if required.is_some() || says_nothing(&values) { Err(Skip::Features) } else { Ok(values) }
    }
}

impl Judge<'_> {
    /// Whether the model reads what the lead had when it was last scored, and what the lead log did not keep.
    fn lacks(&self, model: &Bound, memory: &Memory, values: &[Value<'_>]) -> bool {
        // Mostly all is known: only what a restart took is not.
        memory.unknown().any(|name| {
            let place = self.snapshot.names.iter().position(|other| other == name);
            place.is_some_and(|place| matches!(values.get(place), Some(Value::Missing)) && model.reads(place))
        })
    }
}

/// Whose part of a batch took the request past the deadline.
#[derive(Clone, Copy, Debug, Default)]
enum Blamed {
    /// It was late before, or nobody else was there.
    #[default]
    Neither,
    Champion,
    Challenger,
}

impl Blamed {
    /// What the leads of either arm count as. Were both late whoever was slow, no challenger would ever look worse.
    fn arms(self) -> Sides<ArmOutcome> {
        let (champion, challenger) = match self {
            Blamed::Neither => (ArmOutcome::Late, ArmOutcome::Late),
            Blamed::Champion => (ArmOutcome::Late, ArmOutcome::Out),
            Blamed::Challenger => (ArmOutcome::Out, ArmOutcome::Late),
        };
        Sides { champion, challenger }
    }
}

/// Counts what became of a lead in the arm that it was assigned to; `late` is given where the request is. A score that is
/// no number is the challenger's fault only where the champion has one of the same lead: else whoever sends nonsense could
/// end every trial.
fn tally(trial: &Trial, lead: &mut Judged, late: Option<&Sides<ArmOutcome>>) {
    let Some(exposure) = &lead.exposure else { return };
    lead.outcome = match (exposure.arm, lead.fell, late) {
        (_, Some(why), _) => outcome(why),
        (Arm::Challenger, None, _) if lead.arm == Arm::Champion => ArmOutcome::Out,
        (Arm::Champion, _, Some(late)) => late.champion,
        (Arm::Challenger, _, Some(late)) => late.challenger,
        (_, None, None) => lead.unfit.map_or(ArmOutcome::Scored, outcome),
    };
    trial.count(exposure.arm, lead.outcome);
    if lead.fell == Some(Skip::Score) && lead.scored.is_some() {
        trial.trip(TripReason::Score);
    }
}

/// What a lead without a score counts as.
fn outcome(skip: Skip) -> ArmOutcome {
    match skip {
        Skip::Features => ArmOutcome::Features,
        Skip::Deadline => ArmOutcome::Late,
        _ => ArmOutcome::Failed,
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
        sync::Arc,
        time::Duration,
    };

    use http::{HeaderMap, Method};

    use super::*;
    use crate::{
        config::Config,
        lead::{Assignment, KeyKind},
        recognise::{Recogniser, RequestHead},
        registry::{Challenger, Served, Version, fixture},
        rollout::{Guards, bucket},
        telemetry::Metrics,
    };

    fn load(root: &Path, version: &str) -> Arc<Version> {
        Arc::new(Version::load(&fixture::write(root, "lead", version, 0.5)).unwrap())
    }

    const CONFIG: &str = "upstream: http://127.0.0.1:1\nroutes: [{name: r, method: [POST], path: /r, action: create, \
         inject: {headers: {X-R: reasons}}}]\nfeatures: {budget: {from: [/b], type: number}}";

    fn serving(version: &Arc<Version>) -> Snapshot {
        let config = Arc::new(Config::parse(CONFIG, &|_| None).unwrap());
        Snapshot::new(config, &[Arc::clone(version)], &Metrics::default()).unwrap()
    }

    /// Version 1, and version 2 of another weight on trial with a share of the leads.
    fn on_trial(root: &Path, weight: f32, percent: f64, guards: &Guards) -> Snapshot {
        let version = |name: &str, weight| {
            let folder = root.join("lead").join(name);
            let folder = if folder.exists() { folder } else { fixture::write(root, "lead", name, weight) };
            Arc::new(Version::load(&folder).unwrap())
        };
        let mut served = Served::of("1".into(), version("1", 0.5));
        served.challenger = Some(version("2", weight));
        served.deployment.challenger = Some(Challenger { version: "2".into(), percent });
        let config = Arc::new(Config::parse(CONFIG, &|_| None).unwrap());
        Snapshot::serving(config, vec![Arc::new(served)], guards, &Metrics::default()).unwrap()
    }

    /// Lets something befall the challenger whenever it works.
    fn trouble(snapshot: &mut Snapshot, trouble: impl Fn() + Send + Sync + 'static) {
        let trial = Arc::get_mut(&mut snapshot.models[0]).unwrap().trial.as_mut().unwrap();
        trial.challenger.as_mut().unwrap().trouble.0 = Some(Box::new(trouble));
    }

    /// Leads of these budgets, each under an address of its own.
    fn judged(
        snapshot: &Snapshot,
        budgets: &[f64],
        scratch: &mut JudgeScratch,
    ) -> (Vec<Judged>, Option<Skip>) {
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let found = vec![Found::default(); budgets.len()];
        let lead = |(place, budget): (usize, &f64)| {
            [Value::Number(*budget), Value::Text(format!("{place}@example.com").into()), Value::Missing]
        };
        let values: Vec<Value<'_>> = budgets.iter().enumerate().flat_map(lead).collect();
        let (known, late) = (&Known::new(0, Duration::ZERO), &|_| false);
        let mut judge =
            Judge { snapshot, known, route: &route, headers: &headers, scratch, late, done: None };
        judge.leads(&found, &values)
    }

    fn one(snapshot: &Snapshot, budget: f64) -> (Arm, ArmOutcome, Option<Skip>) {
        let (leads, skip) = judged(snapshot, &[budget], &mut JudgeScratch::default());
        assert_eq!(leads[0].exposure.as_ref().unwrap().arm, Arm::Challenger);
        assert_eq!(leads[0].scored.is_none(), skip.is_some());
        (leads[0].arm, leads[0].outcome, skip)
    }

    fn reason(guards: &Guards) -> Option<TripReason> {
        guards.tripped().first().map(|(_, _, trip)| trip.reason)
    }

    #[test]
    fn a_batch_goes_to_both_arms_and_each_scores_as_if_it_were_alone() {
        let root = tempfile::tempdir().unwrap();
        let [trial, old, new] =
            [50.0, 0.0, 100.0].map(|percent| on_trial(root.path(), 0.25, percent, &Guards::default()));
        let budgets: Vec<f64> = (0..200).map(f64::from).collect();
        let scratch = &mut JudgeScratch::default();
        let [(mixed, skip), (champions, _), (challengers, _)] =
            [trial, old, new].map(|snapshot| judged(&snapshot, &budgets, scratch));
        assert_eq!(skip, None);
        let mut counts = [0; 2];
        for ((lead, champion), challenger) in mixed.iter().zip(&champions).zip(&challengers) {
            assert_eq!((champion.arm, challenger.arm), (Arm::Champion, Arm::Challenger));
            let expected = if lead.arm == Arm::Champion { champion } else { challenger };
            let score = |lead: &Judged| lead.scored.as_ref().unwrap().0;
            assert_eq!(score(lead), score(expected));
            let exposure = lead.exposure.as_ref().unwrap();
            assert_eq!((exposure.arm, exposure.propensity), (lead.arm, 0.5));
            assert_eq!(exposure.assignment.key, KeyKind::Email);
            assert_eq!(lead.outcome, ArmOutcome::Scored);
            counts[lead.arm as usize] += 1;
        }
        assert!(counts.iter().all(|count| (70..=130).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_challenger_whose_score_is_no_number_is_out_at_once() {
        let (root, guards) = (tempfile::tempdir().unwrap(), Guards::default());
        let snapshot = on_trial(root.path(), 1e37, 100.0, &guards);
        assert_eq!(one(&snapshot, 7.0), (Arm::Challenger, ArmOutcome::Scored, None));
        // Too much for the champion as well, so the challenger is not to blame.
        assert_eq!(one(&snapshot, 1e300), (Arm::Champion, ArmOutcome::Failed, Some(Skip::Score)));
        assert_eq!(reason(&guards), None);
        assert_eq!(one(&snapshot, 1e6), (Arm::Champion, ArmOutcome::Failed, None));
        assert_eq!(reason(&guards), Some(TripReason::Score));
        assert_eq!(one(&snapshot, 7.0), (Arm::Champion, ArmOutcome::Out, None));
        let next = on_trial(root.path(), 1e37, 50.0, &guards);
        let (leads, _) = judged(&next, &[7.0; 50], &mut JudgeScratch::default());
        assert!(leads.iter().all(|lead| lead.arm == Arm::Champion), "in the next snapshot too");
    }

    #[test]
    fn a_challenger_that_panics_costs_no_lead_its_score() {
        let (root, guards) = (tempfile::tempdir().unwrap(), Guards::default());
        let mut snapshot = on_trial(root.path(), 0.25, 50.0, &guards);
        trouble(&mut snapshot, || panic!("as a defect of the model would"));
        let scratch = &mut JudgeScratch::default();
        for round in 0..4 {
            let (leads, skip) = judged(&snapshot, &[7.0; 50], scratch);
            assert_eq!(skip, None);
            for lead in leads {
                assert!(lead.arm == Arm::Champion && lead.scored.is_some());
                let expected = match lead.exposure.unwrap().arm {
                    Arm::Champion => ArmOutcome::Scored,
                    Arm::Challenger if round < 3 => ArmOutcome::Failed,
                    Arm::Challenger => ArmOutcome::Out,
                };
                assert_eq!(lead.outcome, expected, "{round}");
            }
        }
        assert_eq!(reason(&guards), Some(TripReason::Poison));
    }

    #[test]
    fn a_lead_past_the_deadline_counts_as_late_in_its_arm() {
        let (root, guards) = (tempfile::tempdir().unwrap(), Guards::default());
        let snapshot = on_trial(root.path(), 0.25, 50.0, &guards);
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let mut answered = 0;
        for n in 0..500 {
            let (known, scratch) = (&Known::new(0, Duration::ZERO), &mut JudgeScratch::default());
            let late = &|_: Instant| true;
            let mut judge = Judge {
                snapshot: &snapshot,
                known,
                route: &route,
                headers: &headers,
                scratch,
                late,
                done: None,
            };
            let values = [Value::Number(7.0), Value::Text(format!("{n}@b").into()), Value::Missing];
            let (leads, skip) = judge.leads(&[Found::default()], &values);
            assert_eq!((skip, leads[0].scored.is_none()), (Some(Skip::Deadline), true));
            assert_eq!(leads[0].outcome, ArmOutcome::Late);
            answered += u32::from(leads[0].arm == Arm::Challenger);
        }
        // Both arms are late, so the challenger is not to blame.
        assert!((150..350).contains(&answered) && reason(&guards).is_none(), "{answered}");
    }

    /// The outcomes in both arms of a batch that the clock finds late once it was asked so often.
    fn late_after(snapshot: &Snapshot, asked: u32) -> Sides<Vec<ArmOutcome>> {
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let calls = std::cell::Cell::new(0);
        let late = &|_: Instant| calls.replace(calls.get() + 1) >= asked;
        let (known, scratch) = (&Known::new(0, Duration::ZERO), &mut JudgeScratch::default());
        let mut judge =
            Judge { snapshot, known, route: &route, headers: &headers, scratch, late, done: None };
        let lead =
            |n: u32| [Value::Number(7.0), Value::Text(format!("{n}@example.com").into()), Value::Missing];
        let values: Vec<Value<'_>> = (0..40).flat_map(lead).collect();
        let (leads, skip) = judge.leads(&vec![Found::default(); 40], &values);
        assert_eq!(skip, Some(Skip::Deadline));
        let of = |arm: Arm| {
            let leads = leads.iter().filter(|lead| lead.exposure.as_ref().unwrap().arm == arm);
            let mut outcomes: Vec<_> = leads.map(|lead| lead.outcome).collect();
            outcomes.dedup();
            outcomes
        };
        Sides { champion: of(Arm::Champion), challenger: of(Arm::Challenger) }
    }

    #[test]
    fn only_the_arm_that_made_a_batch_late_is_charged_with_it() {
        use ArmOutcome::{Late, Out};
        let (root, guards) = (tempfile::tempdir().unwrap(), Guards::default());
        let mut snapshot = on_trial(root.path(), 0.25, 50.0, &guards);
        // Where reasons are asked for, the clock is looked at for every lead.
        let config = Config::parse(&CONFIG.replace("reasons", "points"), &|_| None).unwrap();
        snapshot.recogniser = Recogniser::with_identity(&config);
        let check = |asked: u32, champion: ArmOutcome, challenger: ArmOutcome| {
            let outcomes = late_after(&snapshot, asked);
            assert_eq!(
                (outcomes.champion, outcomes.challenger),
                (vec![champion], vec![challenger]),
                "{asked}"
            );
        };
        check(0, Late, Late);
        check(2, Late, Out);
        for _ in 0..40 {
            check(1, Out, Late);
            if reason(&guards).is_some() {
                break;
            }
        }
        assert_eq!(reason(&guards), Some(TripReason::Deadline));
    }

    #[test]
    fn leads_of_a_champion_that_is_out_count_as_scored_in_no_arm() {
        let root = tempfile::tempdir().unwrap();
        let mut snapshot = on_trial(root.path(), 0.25, 50.0, &Guards::default());
        let slots = Arc::get_mut(&mut snapshot.models[0]).unwrap();
        slots.champion.trouble.0 = Some(Box::new(|| panic!("as a defect of the model would")));
        let budgets = [7.0; 40];
        for _ in 0..3 {
            let scratch = &mut JudgeScratch::default();
            catch_unwind(AssertUnwindSafe(|| judged(&snapshot, &budgets, scratch).1)).unwrap_err();
        }
        let (leads, skip) = judged(&snapshot, &budgets, &mut JudgeScratch::default());
        assert_eq!(skip, Some(Skip::Poisoned));
        assert!(leads.iter().all(|lead| lead.exposure.is_some() && lead.outcome == ArmOutcome::Out));
    }

    #[test]
    fn a_challenger_that_is_not_there_or_does_not_fit_keeps_nobody_from_serving() {
        let (root, guards) = (tempfile::tempdir().unwrap(), Guards::default());
        let version = load(root.path(), "1");
        let mut served = Served::of("1".into(), version);
        served.deployment.challenger = Some(Challenger { version: "2".into(), percent: 100.0 });
        let config = Arc::new(Config::parse(CONFIG, &|_| None).unwrap());
        let serving = |served: Served<Version>, config: &Arc<Config>| {
            Snapshot::serving(config.clone(), vec![Arc::new(served)], &guards, &Metrics::default())
        };
        let absent = serving(served, &config).unwrap();
        assert_eq!(one(&absent, 7.0), (Arm::Champion, ArmOutcome::Out, None));
        // Of another model, whose required feature nothing maps.
        let other = Version::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lead/1")).unwrap();
        let mut served = Served::of("1".into(), load(root.path(), "3"));
        served.challenger = Some(Arc::new(other.clone()));
        served.shadows = vec![Arc::new(other)];
        served.deployment.challenger = Some(Challenger { version: "1".into(), percent: 100.0 });
        let misfit = serving(served, &config).unwrap();
        assert_eq!(one(&misfit, 7.0), (Arm::Champion, ArmOutcome::Out, None));
        assert_eq!(misfit.models[0].along(Arm::Champion).count(), 0);
        assert_eq!(reason(&guards), None);
    }

    #[test]
    fn a_lead_is_told_by_its_id_its_address_its_number_and_else_by_the_request() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = on_trial(root.path(), 0.25, 50.0, &Guards::default());
        let known = Arc::new(Known::new(8, Duration::from_secs(60)));
        let place = |id: Option<&str>, email: &str, phone: &str, request: Option<&str>| {
            let mut headers = HeaderMap::new();
            request.map(|id| headers.insert("x-request-id", id.parse().unwrap()));
            let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
            let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
            let found = Found { id: id.map(Into::into), ..Found::default() };
            let text = |text: &str| {
                if text.is_empty() { Value::Missing } else { Value::Text(text.to_owned().into()) }
            };
            let (scratch, late) = (&mut JudgeScratch::default(), &|_| false);
            let mut judge = Judge {
                snapshot: &snapshot,
                known: &known,
                route: &route,
                headers: &headers,
                scratch,
                late,
                done: None,
            };
            let values = [Value::Number(7.0), text(email), text(phone)];
            let assignment =
                judge.leads(&[found], &values).0[0].exposure.as_ref().unwrap().assignment.clone();
            (assignment.key, assignment.bucket)
        };
        let bucket = |key: &str| bucket("lead:2", key);
        let (email, phone) = ("Maria@example.com", "+49 151 123456");
        assert_eq!(place(Some("L7"), email, phone, None), (KeyKind::Id, bucket("L7")));
        assert_eq!(place(None, email, phone, None), (KeyKind::Email, bucket("maria@example.com")));
        assert_eq!(place(None, "n/a", phone, None), (KeyKind::Phone, bucket("49151123456")));
        assert_eq!(place(None, "", "", Some("r-9")), (KeyKind::Request, bucket("r-9")));
        assert_eq!(place(None, "", "12", None), (KeyKind::Request, bucket("1")));
        // What is remembered of the same experiment holds.
        let remember = |experiment: &str| {
            let (bucket, key) = (4_321, KeyKind::Email);
            let memory = Memory {
                time_ms: now_ms(),
                model: snapshot.models[0].champion.id.clone(),
                score: crate::lead::Score::new(0.5).unwrap(),
                grade: crate::lead::Grade::A,
                names: snapshot.names.clone(),
                features: Packed::new(&[]),
                assignment: Some(Assignment { experiment: experiment.into(), bucket, key }),
            };
            known.pen().remember("L7", &memory.seen());
        };
        remember("2");
        assert_eq!(place(Some("L7"), email, phone, None), (KeyKind::Email, 4_321));
        remember("1");
        assert_eq!(place(Some("L7"), email, phone, None), (KeyKind::Id, bucket("L7")));
    }

    #[test]
    fn a_change_is_not_completed_by_what_the_log_did_not_keep() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = std::fs::read_to_string(shipped.join("config/leadwire.yaml")).unwrap();
        let config = Arc::new(Config::parse(&config, &|_| Some(String::new())).unwrap());
        // As shipped, but that the age may be missing.
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lead/1");
        std::fs::create_dir_all(&folder).unwrap();
        for file in std::fs::read_dir(shipped.join("models/lead/1")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let manifest = folder.join("manifest.json");
        let mut edited: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        edited["schema"]["features"][0]["required"] = false.into();
        std::fs::write(&manifest, edited.to_string()).unwrap();
        let version = Arc::new(Version::load(&folder).unwrap());
        let snapshot = Snapshot::new(config, &[version], &Metrics::default()).unwrap();
        let model = &snapshot.models[0].champion;
        let headers = HeaderMap::new();
        let path = "/services/data/v61.0/sobjects/Lead/00Q1";
        let head = RequestHead { method: &Method::PATCH, path, query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let known = Known::new(0, Duration::ZERO);
        let (known, route, headers) = (&known, &route, &headers);
        let (scratch, late, done) = (&mut JudgeScratch::default(), &|_| false, None);
        let judge = Judge { snapshot: &snapshot, known, route, headers, scratch, late, done };
        // Only the job changes; the log told all else but for the age, which is not required.
        let value = |name: &str, given: &str| {
            if name == given { Value::Text("student".into()) } else { Value::Missing }
        };
        let values = |given: &str| -> Vec<Value<'_>> {
            snapshot.names.iter().map(|name| value(name, given).into_owned()).collect()
        };
        // In the age's place stands what was withheld.
        let memory = |unknown: &str| {
            let name = |name: &Arc<str>| if **name == *"age" { unknown.into() } else { Arc::clone(name) };
            let names: Arc<[Arc<str>]> = snapshot.names.iter().map(name).collect();
            let value = |name: &Arc<str>| {
                (name.to_string(), if **name == *unknown { serde_json::Value::Null } else { 1.into() })
            };
            let told: serde_json::Map<_, _> = names.iter().map(value).collect();
            Memory {
                time_ms: now_ms(),
                model: model.id.clone(),
                score: crate::lead::Score::new(0.5).unwrap(),
                grade: crate::lead::Grade::A,
                features: Packed::of_json(&told, &names),
                names,
                assignment: None,
            }
        };
        let check = |unknown: &str, given: &str, expected: Option<Skip>| {
            let (memory, values) = (memory(unknown), values(given));
            assert_eq!(judge.whole(model, Some(&memory), &values).err(), expected, "{unknown} {given}");
        };
        check("a feature of old", "job", None);
        check("age", "job", Some(Skip::Features));
        check("age", "age", None);
    }

    /// Why the lead of a request has no score. What `late` does, it does between score and reasons.
    fn judge(snapshot: &Snapshot, late: &dyn Fn(Instant) -> bool) -> Option<Skip> {
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = snapshot.recogniser.candidates(head).unwrap().likely().unwrap();
        let (known, scratch) = (&Known::new(0, Duration::ZERO), &mut JudgeScratch::default());
        let mut judge =
            Judge { snapshot, known, route: &route, headers: &headers, scratch, late, done: None };
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
