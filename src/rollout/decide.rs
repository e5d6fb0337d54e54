//! What to do next about one model.
//!
//! Pure: the ledger's past, counts, faults, configuration and the time go in, one decision comes out, and the small memory
//! of a loop that looks again and again is passed along. Where several things could be done, safety goes first: a version
//! that fails leaves, shares that are off are frozen, and only then does anything move up. What cannot be told holds.

use std::time::Duration;

use super::{
    decision::{Act, Alarm, Decision, Hold, Trigger},
    gate::Case,
    life::{Experiment, ModelLife, Ruling, StepSpan},
    state::State,
    told::{Told, e6, grouped, long},
    verdict::{self, ConversionRuling, Operation, Quality, WindowVerdict},
};
use crate::{
    config::{Rollout, Stage},
    lead::{Evidence, Pairs, StepCounts},
};

/// Windows in a row that fail before a canary is rolled back.
const FAILING: u32 = 3;
/// Looks in a row without a measurement before somebody is told.
const UNMEASURED: u32 = 4;
/// How soon after a look without a measurement the next one is.
const RETRY: Duration = Duration::from_secs(10);

/// All that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What became of the model's versions.
    pub life: &'a ModelLife,
    /// What was counted; `None` where it could not be.
    pub evidence: Option<&'a Evidence>,
    /// Live versions that failed beyond doubt.
    pub faults: &'a [Fault],
    /// What is asked for.
    pub policy: &'a Rollout,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

/// A live version failed in a way that needs no counting.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The version.
    pub version: String,
    /// How.
    pub trigger: Trigger,
    /// In words and numbers.
    pub told: Told,
}

/// What a loop remembers between two looks. After a restart it starts over: a window or two are seen again at worst.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The step that the rest is about, by its record.
    step: Option<u64>,
    /// Windows in a row that failed.
    failing: u32,
    /// Looks in a row without a measurement.
    unmeasured: u32,
    /// The end of the last window that was judged.
    judged_ms: i64,
    /// The step's ranking was judged.
    is_ranked: bool,
}

impl Memory {
    /// Where the next window begins: windows do not overlap, so nothing that went wrong counts twice.
    pub fn window_from_ms(&self, step: &StepSpan) -> i64 {
        if self.step == Some(step.seq) { self.judged_ms } else { step.from_ms }
    }

    /// When to look again.
    pub fn next_look(&self, policy: &Rollout) -> Duration {
        if self.unmeasured > 0 { RETRY.min(policy.interval) } else { policy.interval }
    }

    fn follow(&mut self, step: &StepSpan) {
        if self.step != Some(step.seq) {
            *self = Self {
                step: Some(step.seq),
                judged_ms: step.from_ms,
                unmeasured: self.unmeasured,
                ..Self::default()
            };
        }
    }
}

/// The next thing to do about a model.
pub fn decide(now: &Situation<'_>, memory: &mut Memory) -> Decision {
    let mut held = Vec::new();
    for decision in now.faults.iter().filter_map(|fault| now.fault(fault)) {
        match decision.act {
            Act::Hold(_) => held.push(decision),
            _ => return decision,
        }
    }
    let Some(evidence) = now.evidence else {
        return held.into_iter().next().unwrap_or_else(|| now.unmeasured(memory));
    };
    memory.unmeasured = 0;
    if let Some(experiment) = &now.life.experiment {
        let canary = Canary { now, experiment, evidence };
        held.push(canary.decide(memory));
    }
    held.extend(now.life.shadows.iter().map(|shadow| now.shadow(shadow, evidence)));
    held.extend(now.outdated());
    let next = held.into_iter().min_by_key(Decision::rank);
    next.unwrap_or_else(|| Decision::hold(Hold::Idle, "", Told::new("nothing is on trial", [])))
}

/// How a person answered.
enum Consent {
    /// Nobody has to be asked, or the answer was yes.
    Given { is_override: bool },
    /// Nobody was asked yet.
    Open,
    /// No answer yet.
    Asked,
    /// The answer was no.
    Refused,
}

impl Consent {
    /// The decision, once a person has agreed to it where one must.
    fn then(&self, stage: Stage, decision: Decision) -> Decision {
        let act = match self {
            Consent::Given { .. } => return decision,
            Consent::Open => Act::Ask(stage),
            Consent::Asked => Act::Hold(Hold::Approval),
            Consent::Refused => Act::Hold(Hold::Denied),
        };
        Decision::new(act, &decision.version, decision.told)
    }
}

impl Situation<'_> {
    /// What becomes of a version that failed beyond doubt; `None` where it is not live any more.
    fn fault(&self, fault: &Fault) -> Option<Decision> {
        let (version, told) = (fault.version.as_str(), fault.told.clone());
        match self.life.state(version) {
            State::Canary | State::Shadow => Some(self.roll_back(version, fault.trigger, told)),
            State::Production if self.life.former.is_empty() => {
                Some(Decision::hold(Hold::Alone, version, told))
            }
            State::Production => Some(self.roll_back(version, fault.trigger, told)),
            _ => None,
        }
    }

    /// A rollback, unless one more would be ping-pong. A shadow answers nobody, so it may always leave.
    fn roll_back(&self, version: &str, trigger: Trigger, told: Told) -> Decision {
        let life = self.life.versions.get(version);
        let answers = self.life.state(version) != State::Shadow;
        let is_spent = life.is_some_and(|life| life.automatic > 0);
        let is_recent = self.life.rolled_back_ms.is_some_and(|last| !self.passed(last, self.policy.cooldown));
        let act = match answers {
            true if is_spent => Act::Hold(Hold::Spent),
            true if is_recent => Act::Hold(Hold::Cooldown),
            _ => Act::RollBack(trigger),
        };
        Decision::new(act, version, told)
    }

    fn unmeasured(&self, memory: &mut Memory) -> Decision {
        memory.unmeasured = memory.unmeasured.saturating_add(1);
        let looks = memory.unmeasured;
        let version = self.life.experiment.as_ref().map_or("", |experiment| experiment.version.as_str());
        let said = format!("nothing could be measured, {looks} times in a row");
        let told = Told::new(said, [("looks", i64::from(looks))]);
        let alarm = if looks >= UNMEASURED { Alarm::Warning } else { Alarm::None };
        Decision { alarm, ..Decision::hold(Hold::Unmeasured, version, told) }
    }

    /// What comes of a shadow.
    fn shadow(&self, version: &str, evidence: &Evidence) -> Decision {
        let policy = &self.policy.shadow;
        let since = self.life.versions.get(version).and_then(|life| life.shadow_ms).unwrap_or(self.now_ms);
        let pairs = evidence.shadows.iter().find(|(shadow, _)| &**shadow == version);
        let Some((_, pairs)) = pairs else {
            return Decision::hold(Hold::NoData, version, Told::new("it has scored nothing yet", []));
        };
        if self.life.paused_ms.is_some() {
            return Decision::hold(Hold::Paused, version, Told::new("a person paused the rollout", []));
        }
        if !self.passed(since, policy.min) {
            let said = format!("a shadow runs for {} at least", long(policy.min));
            return Decision::hold(Hold::Young, version, Told::new(said, []));
        }
        let quality = verdict::paired(&pairs.labelled, &self.policy.paired);
        if quality.ruling == Quality::Worse {
            return Decision::new(Act::Reject, version, quality.told());
        }
        let mut decision = self.first_step(version, pairs);
        let is_open = matches!(quality.ruling, Quality::Undecided | Quality::Insufficient);
        if is_open && self.passed(since, policy.max) && matches!(decision.act, Act::Hold(_) | Act::Ask(_)) {
            decision.alarm = decision.alarm.max(Alarm::Warning);
            decision.told.said = format!(
                "{}; after {} the verdict is open: {}",
                decision.told.said,
                long(policy.max),
                quality.told().said
            );
        }
        decision
    }

    /// Whether a shadow gets its first share.
    fn first_step(&self, version: &str, pairs: &Pairs) -> Decision {
        if let Some(running) = &self.life.experiment {
            let said = format!("version {} is on trial, one at a time", running.version);
            return Decision::hold(Hold::Busy, version, Told::new(said, []));
        }
        let fell = self.life.digest(version).and_then(|digest| self.life.quarantined.get(digest));
        if fell.is_some_and(|fell| !self.passed(*fell, self.policy.redigest)) {
            let said = format!("the same artifact was rolled back within {}", long(self.policy.redigest));
            return Decision::hold(Hold::Quarantine, version, Told::new(said, []));
        }
        let consent = self.consent(version, Stage::Canary);
        let told = match (verdict::operation(pairs, self.policy), &consent) {
            (Operation::Pass(told), _) => told,
            // The reason for an override is the approver's, and stands in the ledger.
            (Operation::Fail(told) | Operation::Waiting(told), Consent::Given { is_override: true }) => told,
            (Operation::Fail(told), _) => {
                let hold = Decision::hold(Hold::Operation, version, told);
                return Decision { alarm: Alarm::Warning, ..hold };
            }
            (Operation::Waiting(told), _) => return Decision::hold(Hold::Samples, version, told),
        };
        let percent = self.policy.steps.first().copied().unwrap_or(100).min(99);
        consent.then(Stage::Canary, Decision::new(Act::Canary { percent }, version, told))
    }

    fn consent(&self, version: &str, stage: Stage) -> Consent {
        let granted = self.life.granted(version, stage, self.now_ms);
        let stands = |actor: &str| !self.policy.four_eyes || !self.life.trained(version, actor);
        if let Some(approval) = granted.filter(|approval| stands(&approval.actor)) {
            return Consent::Given { is_override: approval.is_override };
        }
        if !self.policy.approvals.contains(&stage) {
            return Consent::Given { is_override: false };
        }
        match self.life.asked(version, stage) {
            Some(asked) if asked.ruling == Ruling::Denied => Consent::Refused,
            Some(asked)
                if asked.ruling == Ruling::Requested
                    && !self.passed(asked.at_ms, self.policy.approval_expiry) =>
            {
                Consent::Asked
            }
            _ => Consent::Open,
        }
    }

    /// A former champion that stood by for long enough. The one before the champion stays: it is the way back.
    fn outdated(&self) -> Option<Decision> {
        let waited = self.life.versions.iter().find(|(version, life)| {
            life.state == State::Standby
                && self.life.previous() != Some(version.as_str())
                && self.passed(life.since_ms, self.policy.standby)
        });
        let said = format!("it stood by for {}", long(self.policy.standby));
        waited.map(|(version, _)| Decision::new(Act::Archive, version, Told::new(said, [])))
    }

    fn passed(&self, since_ms: i64, time: Duration) -> bool {
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.saturating_sub(since_ms) >= time
    }
}

/// A running canary.
struct Canary<'a> {
    now: &'a Situation<'a>,
    experiment: &'a Experiment,
    evidence: &'a Evidence,
}

impl Canary<'_> {
    fn decide(&self, memory: &mut Memory) -> Decision {
        let Some(step) = self.experiment.steps.last() else {
            return self.hold(Hold::NoData, Told::new("the canary has no share", []));
        };
        memory.follow(step);
        let nothing = StepCounts { seq: step.seq, percent: step.percent, ..StepCounts::default() };
        let counts = self.evidence.steps.iter().find(|counts| counts.seq == step.seq).unwrap_or(&nothing);
        let window = self.window(counts, memory);
        if memory.failing >= FAILING
            && let WindowVerdict::Fail(told) = &window
        {
            return self.roll_back(Trigger::Windows, told.clone());
        }
        if self.now.life.frozen_ms.is_some() {
            let said = "shares are frozen until a person has looked; the results since are not to be used";
            return self.hold(Hold::Frozen, Told::new(said, []));
        }
        let shares = verdict::shares(counts);
        if shares.is_off {
            return Decision::new(Act::Freeze, &self.experiment.version, shares.told());
        }
        if let Some(decision) = self.harm(counts) {
            return decision;
        }
        match window {
            WindowVerdict::Pass => self.after_pass(step, counts, memory),
            WindowVerdict::NoData(told) => self.hold(Hold::NoData, told),
            WindowVerdict::Breach(told) => self.hold(Hold::Breach, told),
            WindowVerdict::Fail(told) => self.hold(Hold::Failing, told),
        }
    }

    /// The verdict on what came since the last window. Too little leaves the window open.
    fn window(&self, counts: &StepCounts, memory: &mut Memory) -> WindowVerdict {
        let window = &self.evidence.window;
        let policy = self.now.policy;
        if window.from_ms < memory.judged_ms {
            return WindowVerdict::NoData(Told::new("the window reaches back into one that was judged", []));
        }
        let ruling = verdict::window(window, counts.arms.challenger.leads, policy);
        match &ruling {
            WindowVerdict::NoData(_) => return ruling,
            WindowVerdict::Fail(_) => memory.failing += 1,
            WindowVerdict::Pass | WindowVerdict::Breach(_) => memory.failing = 0,
        }
        memory.judged_ms = window.to_ms;
        ruling
    }

    /// What takes a canary back whatever its windows say.
    fn harm(&self, counts: &StepCounts) -> Option<Decision> {
        let policy = self.now.policy;
        let shift = verdict::shift(&counts.scores).filter(|psi| verdict::is_shifted(*psi));
        if let Some(psi) = shift.filter(|_| !self.experiment.is_override) {
            let said =
                format!("the canary's scores are spread differently from the champion's: PSI {psi:.2}");
            return Some(self.roll_back(Trigger::Shift, Told::new(said, [("psi_e6", e6(psi))])));
        }
        let conversion = verdict::conversion(self.experiment.sound(&self.evidence.steps), &policy.harm);
        if conversion.ruling == ConversionRuling::Lower {
            return Some(self.roll_back(Trigger::Harm, conversion.told()));
        }
        let quality = verdict::paired(&self.evidence.pairs.labelled, &policy.paired);
        (quality.ruling == Quality::Worse).then(|| self.roll_back(Trigger::Worse, quality.told()))
    }

    /// A window has passed: is the step over, and what is the next one?
    fn after_pass(&self, step: &StepSpan, counts: &StepCounts, memory: &mut Memory) -> Decision {
        let (policy, scored) = (self.now.policy, counts.arms.challenger.scored);
        if self.now.life.paused_ms.is_some() {
            return self.hold(Hold::Paused, Told::new("a person paused the rollout", []));
        }
        if !self.now.passed(step.from_ms, policy.dwell) {
            let said = format!("a step lasts for {} at least", long(policy.dwell));
            return self.hold(Hold::Young, Told::new(said, []));
        }
        if scored < policy.samples {
            let said = format!("{} of {} leads in this step", grouped(scored), grouped(policy.samples));
            return self.hold(Hold::Samples, Told::new(said, []));
        }
        // The interval holds for many wins only, and a step has one look: it is not spent on nothing.
        let pairs = &self.evidence.pairs;
        let auc = pairs.auc.filter(|_| pairs.labelled.positives >= policy.paired.reject);
        let auc = auc.filter(|_| !std::mem::replace(&mut memory.is_ranked, true));
        if let Some(auc) = auc.filter(|auc| auc.upper < 0.0) {
            let said = format!("AUC is lower by {:.4}, and by {:.4} at least", -auc.difference, -auc.upper);
            let numbers = [("auc_difference_e6", e6(auc.difference)), ("upper_e6", e6(auc.upper))];
            return self.roll_back(Trigger::Auc, Told::new(said, numbers));
        }
        match policy.steps.iter().find(|percent| **percent > step.percent && **percent < 100) {
            Some(percent) => self.step_up(*percent, counts),
            None => self.promote(),
        }
    }

    fn step_up(&self, percent: u32, counts: &StepCounts) -> Decision {
        let version = self.experiment.version.as_str();
        let consent = self.now.consent(version, Stage::Ramp);
        let said = format!("{} leads scored at {}%", grouped(counts.arms.challenger.scored), counts.percent);
        let told = Told::new(said, [("pct", i64::from(percent))]);
        consent.then(Stage::Ramp, Decision::new(Act::StepUp { percent }, version, told))
    }

    fn promote(&self) -> Decision {
        let version = self.experiment.version.as_str();
        let consent = self.now.consent(version, Stage::Production);
        let is_override = matches!(consent, Consent::Given { is_override: true });
        let case = Case::of(self.experiment, self.evidence, is_override, self.now.policy);
        if !case.gate.is_passed() {
            return self.hold(Hold::Gate, case.gate.told());
        }
        let (better, told) = (case.gate.is_better(), case.told());
        consent.then(Stage::Production, Decision::new(Act::Promote { better }, version, told))
    }

    fn roll_back(&self, trigger: Trigger, told: Told) -> Decision {
        self.now.roll_back(&self.experiment.version, trigger, told)
    }

    fn hold(&self, why: Hold, told: Told) -> Decision {
        Decision::hold(why, &self.experiment.version, told)
    }
}

#[cfg(test)]
mod tests;
