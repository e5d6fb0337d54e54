//! What to do next about one model.
//!
//! Pure: the ledger's past, counts, faults, configuration and the time go in, one decision comes out, and the small memory
//! of a loop that looks again and again is passed along. Where several things could be done, safety goes first: a version
//! that fails leaves, shares that are off are frozen, and only then does anything move up. What cannot be told holds.

use std::time::Duration;

use super::{
    gate::gate,
    life::{Experiment, ModelLife, Ruling, StepSpan},
    state::State,
    told::{Numbers, Told, e6, grouped, long},
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

/// Why a version is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A score was no number, or outside 0..=1.
    Score,
    /// Its files could not be loaded, or do not match their digest any more.
    Load,
    /// Its guard saw it fail too often within a minute, or panic.
    Guard,
    /// It did worse than the champion in three windows in a row.
    Windows,
    /// Its scores are spread differently.
    Shift,
    /// Fewer leads convert.
    Harm,
    /// It is worse on the same leads.
    Worse,
    /// It ranks matured leads worse.
    Auc,
    /// A person said so.
    Person,
}

impl Trigger {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Score => "score",
            Trigger::Load => "load",
            Trigger::Guard => "guard",
            Trigger::Windows => "windows",
            Trigger::Shift => "shift",
            Trigger::Harm => "harm",
            Trigger::Worse => "worse",
            Trigger::Auc => "auc",
            Trigger::Person => "person",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Hold(Hold),
    /// The shadow answers its first share.
    Canary {
        /// The share.
        percent: u32,
    },
    /// The canary answers more.
    StepUp {
        /// The share.
        percent: u32,
    },
    /// The canary serves all.
    Promote,
    /// The version leaves, into quarantine: the champion answers everything, or the one before it if it was the champion.
    RollBack(Trigger),
    /// Shares stay what they are, and nothing is concluded, until a person has looked.
    Freeze,
    /// The shadow is worse, and leaves.
    Reject,
    /// A person is asked for leave.
    Ask(Stage),
    /// A former champion is put away.
    Archive,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// There is nothing on trial.
    Idle,
    /// Nothing could be counted.
    Unmeasured,
    /// Too few leads came since the last look.
    NoData,
    /// The last window failed, but not yet enough of them.
    Failing,
    /// An objective is missed, and not for sure by the canary's fault.
    Breach,
    /// Shares are frozen.
    Frozen,
    /// A person paused it.
    Paused,
    /// The step or the shadow has not lasted long enough.
    Young,
    /// Too few leads were scored.
    Samples,
    /// The shadow does not run as it should.
    Operation,
    /// Another canary runs.
    Busy,
    /// The same artifact was rolled back not long ago.
    Quarantine,
    /// A person was asked and has not answered.
    Approval,
    /// A person said no.
    Denied,
    /// The gate before production is not passed.
    Gate,
    /// It should be rolled back, but the model was, automatically, not long ago: a person must look.
    Cooldown,
    /// It should be rolled back, but was once before, automatically: a person must look.
    Spent,
    /// The champion fails and nobody can take its place: the lesser evil serves.
    Alone,
}

/// Who should hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Nobody.
    None,
    /// Whoever looks after the model, in office hours.
    Warning,
    /// Somebody, now.
    Critical,
}

/// What is to be done, about whom, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What.
    pub act: Act,
    /// About which version; empty where there is none.
    pub version: String,
    /// Who should hear of it.
    pub alarm: Alarm,
    /// Why, in words and numbers.
    pub told: Told,
}

impl Decision {
    fn new(act: Act, version: &str, told: Told) -> Self {
        let alarm = match act {
            Act::RollBack(_) | Act::Freeze | Act::Hold(Hold::Cooldown | Hold::Spent | Hold::Alone) => {
                Alarm::Critical
            }
            Act::Reject | Act::Hold(Hold::Breach) => Alarm::Warning,
            _ => Alarm::None,
        };
        Self { act, version: version.to_owned(), alarm, told }
    }

    fn hold(why: Hold, version: &str, told: Told) -> Self {
        Self::new(Act::Hold(why), version, told)
    }

    /// What goes first: safety, then what must wait for a person, then whatever moves.
    fn rank(&self) -> u8 {
        match (self.act, self.alarm) {
            (Act::RollBack(_) | Act::Freeze, _) => 0,
            (_, Alarm::Critical) => 1,
            (Act::Hold(_), _) => 3,
            _ => 2,
        }
    }

    /// Whether it is another one than the last: a loop that holds for the same reason for days says so once.
    pub fn is_news(&self, last: Option<&Decision>) -> bool {
        last.is_none_or(|last| (last.act, &last.version, last.alarm) != (self.act, &self.version, self.alarm))
    }

    /// The numbers it rests on.
    pub fn numbers(&self) -> &Numbers {
        &self.told.numbers
    }
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
enum Leave {
    /// Nobody has to be asked, or the answer was yes.
    Given { is_override: bool },
    /// Nobody was asked yet.
    Open,
    /// No answer yet.
    Asked,
    /// The answer was no.
    Refused,
}

impl Leave {
    /// The decision, once a person has agreed to it where one must.
    fn then(&self, stage: Stage, decision: Decision) -> Decision {
        let act = match self {
            Leave::Given { .. } => return decision,
            Leave::Open => Act::Ask(stage),
            Leave::Asked => Act::Hold(Hold::Approval),
            Leave::Refused => Act::Hold(Hold::Denied),
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
        let leave = self.leave(version, Stage::Canary);
        let told = match (verdict::operation(pairs, self.policy), &leave) {
            (Operation::Pass(told), _) => told,
            // The reason for an override is the approver's, and stands in the ledger.
            (Operation::Fail(told) | Operation::Waiting(told), Leave::Given { is_override: true }) => told,
            (Operation::Fail(told), _) => {
                let hold = Decision::hold(Hold::Operation, version, told);
                return Decision { alarm: Alarm::Warning, ..hold };
            }
            (Operation::Waiting(told), _) => return Decision::hold(Hold::Samples, version, told),
        };
        let percent = self.policy.steps.first().copied().unwrap_or(100).min(99);
        leave.then(Stage::Canary, Decision::new(Act::Canary { percent }, version, told))
    }

    fn leave(&self, version: &str, stage: Stage) -> Leave {
        let granted = self.life.granted(version, stage, self.now_ms);
        let stands = |actor: &str| !self.policy.four_eyes || !self.life.trained(version, actor);
        if let Some(approval) = granted.filter(|approval| stands(&approval.actor)) {
            return Leave::Given { is_override: approval.is_override };
        }
        if !self.policy.approvals.contains(&stage) {
            return Leave::Given { is_override: false };
        }
        match self.life.asked(version, stage) {
            Some(asked) if asked.ruling == Ruling::Denied => Leave::Refused,
            Some(asked)
                if asked.ruling == Ruling::Requested
                    && !self.passed(asked.at_ms, self.policy.approval_expiry) =>
            {
                Leave::Asked
            }
            _ => Leave::Open,
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
        let sound = self.evidence.steps.iter().filter(|counts| !self.is_spoilt(counts.seq));
        let conversion = verdict::conversion(sound, &policy.harm);
        if conversion.ruling == ConversionRuling::Lower {
            return Some(self.roll_back(Trigger::Harm, conversion.told()));
        }
        let quality = verdict::paired(&self.evidence.pairs.labelled, &policy.paired);
        (quality.ruling == Quality::Worse).then(|| self.roll_back(Trigger::Worse, quality.told()))
    }

    fn is_spoilt(&self, seq: u64) -> bool {
        self.experiment.steps.iter().any(|step| step.seq == seq && step.spoilt)
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
        let ranked = std::mem::replace(&mut memory.is_ranked, true);
        if let Some(auc) = self.evidence.pairs.auc.filter(|auc| !ranked && auc.upper < 0.0) {
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
        let leave = self.now.leave(version, Stage::Ramp);
        let said = format!("{} leads scored at {}%", grouped(counts.arms.challenger.scored), counts.percent);
        let told = Told::new(said, [("pct", i64::from(percent))]);
        leave.then(Stage::Ramp, Decision::new(Act::StepUp { percent }, version, told))
    }

    fn promote(&self) -> Decision {
        let version = self.experiment.version.as_str();
        let leave = self.now.leave(version, Stage::Production);
        let is_override = matches!(leave, Leave::Given { is_override: true });
        // A version serves only once its golden samples came out as they should.
        let gate = gate(true, &self.evidence.pairs, is_override, self.now.policy);
        if !gate.is_passed() {
            return self.hold(Hold::Gate, gate.told());
        }
        leave.then(Stage::Production, Decision::new(Act::Promote, version, gate.told()))
    }

    fn roll_back(&self, trigger: Trigger, told: Told) -> Decision {
        self.now.roll_back(&self.experiment.version, trigger, told)
    }

    fn hold(&self, why: Hold, told: Told) -> Decision {
        Decision::hold(why, &self.experiment.version, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::{AucDifference, Cohort, Histogram, Labelled, Sides, Traffic, Window},
        rollout::fixture::{HOUR, history},
    };

    /// Version 3 serves, 2 did before, and 4 is a shadow since hour 2.
    const SHADOW: &str = "
        0 ops model.registered 2 digest=d2
        0 ops state.changed 2 to=production override=1
        0 ops model.registered 3 digest=d3
        0 ops state.changed 3 to=production override=1
        1 ada model.registered 4 digest=d4
        1 ada state.changed 4 to=validated
        2 ops state.changed 4 to=shadow
    ";
    /// And then a canary at 10% since hour 172, by record 8.
    const CANARY: &str = "172 leadwire state.changed 4 to=canary pct=10\n";
    const FIFTY: &str = "200 leadwire state.changed 4 to=canary pct=50\n";

    fn traffic(leads: u64, errors: u64) -> Traffic {
        Traffic { leads, scored: leads - errors, errors, p99_ns: 9000, ..Traffic::default() }
    }

    /// Pairs that run well, and are better by `mean`.
    fn pairs(mean: f64) -> Pairs {
        let expected = Sides { champion: 400.0, challenger: 400.0 };
        let labelled = Labelled { leads: 5000, positives: 400, mean, squares: 200.0, expected };
        Pairs {
            mirrored: 30_000,
            p99_ns: Sides { champion: 9000, challenger: 9000 },
            labelled,
            ..Pairs::default()
        }
    }

    /// A canary in its step `seq` that does as well as the champion, over the hour before `hours`.
    fn healthy(seq: u64, percent: u32, hours: i64) -> Evidence {
        let arms = Sides { champion: traffic(900, 0), challenger: traffic(100, 0) };
        let cohort = |leads| Cohort { leads, matured: 0, conversions: 0 };
        let cohorts = Sides {
            champion: cohort(300 * u64::from(100 - percent)),
            challenger: cohort(300 * u64::from(percent)),
        };
        let step = StepCounts {
            seq,
            percent,
            arms: Sides { champion: traffic(27_000, 0), challenger: traffic(3000, 0) },
            cohorts,
            ..StepCounts::default()
        };
        Evidence {
            window: Window { from_ms: (hours - 1) * HOUR, to_ms: hours * HOUR, arms },
            steps: vec![step],
            pairs: pairs(0.02),
            shadows: vec![("4".into(), pairs(0.02)), ("5".into(), pairs(0.02))],
        }
    }

    /// The decision after these records with this evidence, in short.
    #[track_caller]
    fn check(records: &str, hours: i64, evidence: &Evidence, faults: &[Fault], expected: &str) {
        let policy = Rollout { approvals: vec![Stage::Canary], ..Rollout::default() };
        let life = history(records);
        let now = Situation {
            life: &life,
            evidence: Some(evidence),
            faults,
            policy: &policy,
            now_ms: hours * HOUR,
        };
        assert_eq!(short(&decide(&now, &mut Memory::default())), expected);
    }

    fn short(decision: &Decision) -> String {
        let alarm = match decision.alarm {
            Alarm::None => "",
            Alarm::Warning => " !",
            Alarm::Critical => " !!",
        };
        format!("{} {:?}{alarm}", decision.version, decision.act)
    }

    #[test]
    fn a_shadow_waits_asks_and_gets_its_share() {
        let grant = "180 ops approval.granted 4 step=canary digest=d4 expires_ms=1440000000\n";
        let ask = "180 leadwire approval.requested 4 step=canary\n";
        for (more, hours, expected) in [
            ("", 100, "4 Hold(Young)"),
            ("", 171, "4 Ask(Canary)"),
            (ask, 200, "4 Hold(Approval)"),
            // Nobody answered in 72 hours: ask again.
            (ask, 252, "4 Ask(Canary)"),
            (grant, 200, "4 Canary { percent: 10 }"),
            // The approval is expired; or of another artifact; or by who trained the version.
            (grant, 400, "4 Ask(Canary)"),
            (&grant.replace("d4", "d5"), 200, "4 Ask(Canary)"),
            (&grant.replace("ops", "ada"), 200, "4 Ask(Canary)"),
            ("180 ops approval.denied 4 step=canary\n", 200, "4 Hold(Denied)"),
            (&format!("{grant}190 ops paused\n"), 200, "4 Hold(Paused)"),
            (&format!("{grant}190 x state.changed 9 to=canary pct=1\n"), 200, "9 Hold(Young)"),
        ] {
            check(&format!("{SHADOW}{more}"), hours, &healthy(0, 10, hours), &[], expected);
        }
        // The same artifact fell 23 hours before, as another version.
        let fell = format!(
            "{SHADOW}{grant}178 x model.registered 8 digest=d4\n178 x state.changed 8 to=quarantined override=1\n"
        );
        check(&fell, 201, &healthy(0, 10, 201), &[], "4 Hold(Quarantine)");
        check(&fell, 202, &healthy(0, 10, 202), &[], "4 Canary { percent: 10 }");
    }

    #[test]
    fn a_shadow_is_judged_by_what_it_scored() {
        let with = |pairs: Pairs| Evidence { shadows: vec![("4".into(), pairs)], ..Evidence::default() };
        let grant = "180 ops approval.granted 4 step=canary digest=d4";
        let granted = format!("{SHADOW}{grant}\n");
        let overridden = format!("{SHADOW}{grant} override=1 reason=known\n");
        check(SHADOW, 200, &Evidence::default(), &[], "4 Hold(NoData)");
        check(
            &granted,
            200,
            &with(Pairs { mirrored: 10, labelled: Labelled::default(), ..pairs(0.0) }),
            &[],
            "4 Hold(Samples)",
        );
        let failing = with(Pairs { errors: 1, ..pairs(0.0) });
        check(&granted, 200, &failing, &[], "4 Hold(Operation) !");
        check(&overridden, 200, &failing, &[], "4 Canary { percent: 10 }");
        // Worse is rejected, approved or not; but not before it was there for a week.
        check(&overridden, 200, &with(pairs(-0.02)), &[], "4 Reject !");
        check(SHADOW, 100, &with(pairs(-0.02)), &[], "4 Hold(Young)");
        // An open verdict does not keep it from a canary, and is told after two weeks.
        check(&granted, 200, &with(pairs(0.0)), &[], "4 Canary { percent: 10 }");
        check(SHADOW, 2 + 14 * 24, &with(pairs(0.0)), &[], "4 Ask(Canary) !");
        check(SHADOW, 2 + 14 * 24, &with(pairs(0.02)), &[], "4 Ask(Canary)");
    }

    #[test]
    fn a_canary_climbs_when_a_step_is_over() {
        let canary = format!("{SHADOW}{CANARY}");
        let fifty = format!("{canary}{FIFTY}");
        check(&canary, 195, &healthy(8, 10, 195), &[], "4 Hold(Young)");
        check(&canary, 196, &healthy(8, 10, 196), &[], "4 StepUp { percent: 50 }");
        check(&format!("{canary}180 ops paused\n"), 196, &healthy(8, 10, 196), &[], "4 Hold(Paused)");
        let mut few = healthy(8, 10, 196);
        few.steps[0].arms.challenger.scored = 1999;
        check(&canary, 196, &few, &[], "4 Hold(Samples)");
        check(&fifty, 230, &healthy(9, 50, 230), &[], "4 Promote");
        // Without "better" it takes an override.
        let open = Evidence { pairs: pairs(0.0), ..healthy(9, 50, 230) };
        check(&fifty, 230, &open, &[], "4 Hold(Gate)");
        let grant = "210 ops approval.granted 4 step=production digest=d4";
        check(&format!("{fifty}{grant}\n"), 230, &open, &[], "4 Hold(Gate)");
        check(&format!("{fifty}{grant} override=1 reason=board\n"), 230, &open, &[], "4 Promote");
    }

    #[test]
    fn approvals_stand_before_every_stage_that_asks_for_them() {
        let policy = Rollout { approvals: vec![Stage::Ramp, Stage::Production], ..Rollout::default() };
        let ramp = "180 ops approval.granted 4 step=ramp digest=d4\n";
        let production = "210 ops approval.granted 4 step=production digest=d4\n";
        for (records, hours, seq, percent, expected) in [
            (format!("{SHADOW}{CANARY}"), 196, 8, 10, "4 Ask(Ramp)"),
            (format!("{SHADOW}{CANARY}{ramp}"), 196, 8, 10, "4 StepUp { percent: 50 }"),
            (format!("{SHADOW}{CANARY}{FIFTY}"), 230, 9, 50, "4 Ask(Production)"),
            // The ramp's approval was used up by the ramp.
            (format!("{SHADOW}{CANARY}{ramp}{FIFTY}"), 230, 10, 50, "4 Ask(Production)"),
            (format!("{SHADOW}{CANARY}{FIFTY}{production}"), 230, 9, 50, "4 Promote"),
        ] {
            let (life, evidence) = (history(&records), healthy(seq, percent, hours));
            let (now_ms, faults) = (hours * HOUR, &[]);
            let now = Situation { life: &life, evidence: Some(&evidence), faults, policy: &policy, now_ms };
            assert_eq!(short(&decide(&now, &mut Memory::default())), expected, "{records}");
        }
    }

    #[test]
    fn evidence_takes_a_canary_back() {
        let canary = format!("{SHADOW}{CANARY}");
        let case = |edit: &dyn Fn(&mut Evidence), expected: &str| {
            let mut evidence = healthy(8, 10, 190);
            edit(&mut evidence);
            check(&canary, 190, &evidence, &[], expected);
            // A pause keeps nothing bad in service.
            if expected.contains('!') {
                check(&format!("{canary}180 ops paused\n"), 190, &evidence, &[], expected);
            }
        };
        let harmed = |champion: u64, challenger: u64| {
            move |evidence: &mut Evidence| {
                let cohort = |leads, conversions| Cohort { leads, matured: leads, conversions };
                evidence.steps[0].cohorts =
                    Sides { champion: cohort(27_000, champion), challenger: cohort(3000, challenger) };
            }
        };
        case(&harmed(2160, 150), "4 RollBack(Harm) !!");
        case(&harmed(2160, 240), "4 Hold(Young)");
        case(&harmed(2160, 300), "4 Hold(Young)");
        case(&|evidence| evidence.pairs = pairs(-0.02), "4 RollBack(Worse) !!");
        let moved = |evidence: &mut Evidence| {
            (0..1000).for_each(|lead| evidence.steps[0].scores.champion.add_bin(lead % 100, 1));
            (0..1000).for_each(|lead| evidence.steps[0].scores.challenger.add_bin(500 + lead % 100, 1));
        };
        case(&moved, "4 RollBack(Shift) !!");
        let mut evidence = healthy(8, 10, 190);
        moved(&mut evidence);
        // A person who answered for the shift before the canary has explained it.
        let explained = "171 ops approval.granted 4 step=canary digest=d4 override=1 reason=recalibrated\n";
        check(
            &format!("{SHADOW}{explained}{CANARY}"),
            190,
            &Evidence { steps: vec![StepCounts { seq: 9, ..evidence.steps[0].clone() }], ..evidence.clone() },
            &[],
            "4 Hold(Young)",
        );
        evidence.steps[0].scores.champion = Histogram::default();
        check(&canary, 190, &evidence, &[], "4 Hold(Young)");
        case(
            &|evidence| {
                evidence.steps[0].cohorts.champion.leads = 8800;
                evidence.steps[0].cohorts.challenger.leads = 1200;
            },
            "4 Freeze !!",
        );
        case(&|evidence| evidence.window.arms.challenger = traffic(0, 0), "4 Hold(NoData)");
        case(&|evidence| evidence.steps.clear(), "4 Hold(Young)");
        case(
            &|evidence| {
                evidence.window.arms = Sides { champion: traffic(900, 90), challenger: traffic(100, 10) }
            },
            "4 Hold(Breach) !",
        );
        case(&|evidence| evidence.window.from_ms = 0, "4 Hold(NoData)");
    }

    #[test]
    fn a_freeze_hides_results_and_nothing_else() {
        let frozen = format!("{SHADOW}{CANARY}180 leadwire frozen 4\n");
        let mut harmed = healthy(8, 10, 190);
        harmed.pairs = pairs(-0.02);
        harmed.steps[0].cohorts.challenger.leads = 0;
        check(&frozen, 190, &harmed, &[], "4 Hold(Frozen)");
        check(&frozen, 190, &healthy(8, 10, 190), &[fault("4")], "4 RollBack(Score) !!");
        // After a person let it go on, the step that was off counts for nothing.
        let resumed = format!("{frozen}185 ops resumed 4\n");
        let cohort = |leads, conversions| Cohort { leads, matured: leads, conversions };
        let mut evidence = healthy(10, 10, 190);
        let spoilt = Sides { champion: cohort(27_000, 2160), challenger: cohort(9000, 90) };
        evidence
            .steps
            .insert(0, StepCounts { seq: 8, percent: 10, cohorts: spoilt, ..StepCounts::default() });
        check(&resumed, 190, &evidence, &[], "4 Hold(Young)");
    }

    fn fault(version: &str) -> Fault {
        Fault {
            version: version.into(),
            trigger: Trigger::Score,
            told: Told::new("a score is no number", []),
        }
    }

    #[test]
    fn a_fault_takes_its_version_out_but_never_plays_ping_pong() {
        let canary = format!("{SHADOW}{CANARY}");
        let recent = "199 x rollback.auto 9 trigger=harm\n";
        let champion_fell =
            format!("{SHADOW}190 x rollback.auto 3 trigger=load\n190 x state.changed 3 to=quarantined\n");
        for (records, version, hours, expected) in [
            (canary.as_str(), "4", 200, "4 RollBack(Score) !!"),
            (SHADOW, "4", 200, "4 RollBack(Score) !!"),
            // The champion: the one before it takes over.
            (SHADOW, "3", 200, "3 RollBack(Score) !!"),
            // Not live any more, or never heard of.
            (SHADOW, "2", 100, "4 Hold(Young)"),
            (SHADOW, "77", 100, "4 Hold(Young)"),
            // The model was rolled back less than an hour ago; a shadow may leave all the same.
            (&format!("{canary}{recent}"), "4", 199, "4 Hold(Cooldown) !!"),
            (&format!("{canary}{recent}"), "4", 200, "4 RollBack(Score) !!"),
            (&format!("{SHADOW}{recent}"), "4", 199, "4 RollBack(Score) !!"),
            // Once is enough for a version.
            (&format!("{canary}173 x rollback.auto 4 trigger=harm\n"), "4", 200, "4 Hold(Spent) !!"),
            // Version 2 took over, and fails too: nobody is left.
            (&champion_fell, "2", 190, "2 Hold(Alone) !!"),
            (&champion_fell, "2", 200, "2 Hold(Alone) !!"),
            (&champion_fell, "3", 100, "4 Hold(Young)"),
        ] {
            check(records, hours, &healthy(8, 10, hours), &[fault(version)], expected);
        }
        // With two former champions the second fall within an hour waits for a person.
        let three = format!(
            "{SHADOW}5 x state.changed 7 to=production override=1\n190 x rollback.auto 7\n190 x state.changed 7 to=quarantined\n"
        );
        check(&three, 190, &healthy(8, 10, 190), &[fault("3")], "3 Hold(Cooldown) !!");
        check(&three, 191, &healthy(8, 10, 191), &[fault("3")], "3 RollBack(Score) !!");
    }

    #[test]
    fn three_windows_in_a_row_fail_a_canary() {
        let life = history(&format!("{SHADOW}{CANARY}"));
        let policy = Rollout::default();
        let run = |looks: &str| {
            let mut memory = Memory::default();
            let looks = looks.bytes().enumerate().map(|(look, kind)| {
                let hours = 174 + look as i64;
                let mut evidence = healthy(8, 10, hours);
                let challenger = &mut evidence.window.arms.challenger;
                match kind {
                    b'f' => *challenger = traffic(200, 40),
                    b'-' => *challenger = traffic(30, 30),
                    b'b' => {
                        evidence.window.arms =
                            Sides { champion: traffic(900, 90), challenger: traffic(100, 10) }
                    }
                    _ => {}
                }
                let step = life.step().unwrap();
                // A window that saw too little goes on.
                evidence.window.from_ms = memory.window_from_ms(step);
                let evidence = (kind != b'?').then_some(&evidence);
                let now =
                    Situation { life: &life, evidence, faults: &[], policy: &policy, now_ms: hours * HOUR };
                let decision = decide(&now, &mut memory);
                let pause = memory.next_look(&policy).as_secs();
                let letter = match decision.act {
                    Act::Hold(Hold::Failing) => "F",
                    Act::Hold(Hold::NoData) => "-",
                    Act::Hold(Hold::Breach) => "B",
                    Act::Hold(Hold::Young) => ".",
                    Act::Hold(Hold::Unmeasured) if decision.alarm == Alarm::Warning => "!",
                    Act::Hold(Hold::Unmeasured) => "?",
                    Act::RollBack(Trigger::Windows) => "R",
                    other => panic!("{other:?}"),
                };
                assert_eq!(pause, if kind == b'?' { 10 } else { 60 });
                letter
            });
            looks.collect::<String>()
        };
        for (looks, expected) in [
            ("fff", "FFR"),
            ("ff.ff.ff", "FF.FF.FF"),
            // Silence is neither good nor bad.
            ("ff---f", "FF---R"),
            ("f-f-.-f", "F-F-.-F"),
            ("ffbff", "FFBFF"),
            ("--------------------", "--------------------"),
            ("????.????", "???!.???!"),
            ("ff?f", "FF?R"),
        ] {
            assert_eq!(run(looks), expected, "{looks}");
        }
    }

    #[test]
    fn ranking_is_judged_once_at_the_end_of_a_step() {
        let life = history(&format!("{SHADOW}{CANARY}"));
        let policy = Rollout { approvals: vec![Stage::Ramp], ..Rollout::default() };
        let mut memory = Memory::default();
        let mut look = |hours: i64, upper: f64| {
            let mut evidence = healthy(8, 10, hours);
            evidence.pairs.auc = Some(AucDifference { difference: upper - 0.02, upper });
            let now = Situation {
                life: &life,
                evidence: Some(&evidence),
                faults: &[],
                policy: &policy,
                now_ms: hours * HOUR,
            };
            short(&decide(&now, &mut memory))
        };
        assert_eq!(look(180, -0.01), "4 Hold(Young)");
        assert_eq!(look(196, 0.01), "4 Ask(Ramp)");
        // Looked at every day, a bound for one look would be crossed some day.
        assert_eq!(look(197, -0.01), "4 Ask(Ramp)");
        memory = Memory::default();
        let mut look = |hours: i64, upper: f64| {
            let mut evidence = healthy(8, 10, hours);
            evidence.pairs.auc = Some(AucDifference { difference: upper - 0.02, upper });
            let now = Situation {
                life: &life,
                evidence: Some(&evidence),
                faults: &[],
                policy: &policy,
                now_ms: hours * HOUR,
            };
            short(&decide(&now, &mut memory))
        };
        assert_eq!(look(196, -0.01), "4 RollBack(Auc) !!");
    }

    #[test]
    fn former_champions_are_put_away_but_for_the_last() {
        let records = "
            0 x state.changed 1 to=production override=1
            1 x state.changed 2 to=production override=1
            2 x state.changed 3 to=production override=1
        ";
        check(records, 700, &Evidence::default(), &[], " Hold(Idle)");
        check(records, 721, &Evidence::default(), &[], "1 Archive");
        check(
            &format!("{records}721 x state.changed 1 to=archived\n"),
            9000,
            &Evidence::default(),
            &[],
            " Hold(Idle)",
        );
    }

    #[test]
    fn the_same_hold_is_news_once() {
        let hold =
            |why, version: &str, leads| Decision::hold(why, version, Told::new("", [("leads", leads)]));
        let last = hold(Hold::NoData, "4", 10);
        assert!(last.is_news(None));
        assert!(!hold(Hold::NoData, "4", 20).is_news(Some(&last)));
        assert!(hold(Hold::Young, "4", 10).is_news(Some(&last)));
        assert!(hold(Hold::NoData, "5", 10).is_news(Some(&last)));
    }
}
