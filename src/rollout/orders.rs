//! Orders: what a person, or Leadwire itself, wants done about a model, and whether that may be done.
//!
//! Pure: an order and a model's life go in, and the events come out that the ledger must hold before anything changes; or
//! a refusal that says where the version stands and what would be needed.

use std::fmt;

use super::{
    life::{Change, ModelLife, details},
    state::{Move, State, may},
};
use crate::{
    config::{Rollout, Stage},
    ledger::{Event, Field, Fields, Kind},
};

/// The actor of what Leadwire does by itself.
pub const LEADWIRE: &str = "leadwire";
/// Each shadow costs as much computing as the champion.
const MAX_SHADOWS: usize = 3;

/// Who wants what done to which model, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The model.
    pub model: String,
    /// What.
    pub action: Action,
    /// Who: a person's name or address, or [`LEADWIRE`].
    pub actor: String,
    /// Why, in the actor's words.
    pub why: String,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A version that was trained has come through the training gate, or has not.
    Judge {
        /// Which.
        version: String,
        /// Whether it has.
        passed: bool,
    },
    /// The version scores along.
    Shadow(String),
    /// It does not any more, for no fault of its own.
    Unshadow(String),
    /// It does not any more, because it is worse.
    Reject(String),
    /// A person is asked for leave.
    Ask(String, Stage),
    /// A person gives it; as an override it stands in for evidence that is not there.
    Approve(String, Stage, Leave),
    /// A person refuses it.
    Deny(String, Stage),
    /// The version answers a share of the leads: so many percent, or the next step.
    Canary(String, Option<u32>),
    /// It serves all.
    Promote(String),
    /// Nothing moves up until a person says so.
    Pause,
    /// The same, because what is measured cannot be trusted.
    Freeze,
    /// It goes on.
    Resume,
    /// A version leaves at once, into quarantine.
    Rollback {
        /// Which; the challenger without it, or the champion where there is no challenger.
        from: Option<String>,
        /// Who serves then; without it the champion, or the one before it.
        to: Option<String>,
    },
    /// It may be tried again.
    Clear(String),
    /// It is put away.
    Archive(String),
}

/// What an approval rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Evidence.
    Approval,
    /// A person's word alone.
    Override,
}

/// What speaks for an order beside its reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grounds {
    /// It was shown that the version is better than the champion.
    pub better: bool,
    /// What led to it, such as `"harm"`.
    pub trigger: Option<String>,
    /// Counts and rates, for the record.
    pub numbers: Fields,
    /// What was found, or why nothing was, in words: told where it is not enough.
    pub found: Option<String>,
}

/// A version that was loaded and checked, as one that serves would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The digest of its manifest.
    pub digest: String,
    /// Golden samples, all of which score as they must.
    pub golden: usize,
}

/// An order that may not be carried out, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What an order is judged by.
pub(super) struct Bench<'a> {
    pub(super) order: &'a Order,
    pub(super) life: &'a ModelLife,
    pub(super) policy: &'a Rollout,
    pub(super) grounds: &'a Grounds,
    /// Loads a version and checks all of it.
    pub(super) admit: &'a dyn Fn(&str) -> Result<Admitted, String>,
    pub(super) now_ms: i64,
}

impl Action {
    /// As the command line has it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Judge { .. } => "judge",
            Action::Shadow(_) => "shadow",
            Action::Unshadow(_) => "unshadow",
            Action::Reject(_) => "reject",
            Action::Ask(..) => "ask",
            Action::Approve(..) => "approve",
            Action::Deny(..) => "deny",
            Action::Canary(..) => "canary",
            Action::Promote(_) => "promote",
            Action::Pause => "pause",
            Action::Freeze => "freeze",
            Action::Resume => "resume",
            Action::Rollback { .. } => "rollback",
            Action::Clear(_) => "clear",
            Action::Archive(_) => "archive",
        }
    }

    /// Whether it takes something out of service, and so waits for nothing.
    pub fn is_rollback(&self) -> bool {
        matches!(self, Action::Rollback { .. })
    }

    /// Whether a person must say why: what overrules a judgement is worth nothing without a reason.
    fn needs_reason(&self) -> bool {
        match self {
            Action::Approve(..) | Action::Deny(..) | Action::Rollback { .. } | Action::Clear(_) => true,
            Action::Judge { .. } | Action::Shadow(_) | Action::Unshadow(_) => false,
            Action::Reject(_) | Action::Ask(..) => false,
            Action::Canary(..) | Action::Promote(_) | Action::Archive(_) => false,
            Action::Pause | Action::Freeze | Action::Resume => false,
        }
    }
}

impl Order {
    fn is_automatic(&self) -> bool {
        self.actor == LEADWIRE
    }

    /// An event of this order.
    fn event(&self, kind: Kind) -> Event {
        let event = Event::new(kind, &*self.actor).model(&*self.model);
        if self.why.is_empty() { event } else { event.with("reason", &*self.why) }
    }
}

impl Bench<'_> {
    /// What the ledger must hold for the order, causes before moves.
    pub(super) fn judge(&self) -> Result<Vec<Event>, Refused> {
        let Order { action, actor, why, .. } = self.order;
        if actor.is_empty() {
            return Err(Refused("an order needs an actor: who gives it".to_owned()));
        }
        if action.needs_reason() && why.trim().is_empty() {
            return Err(Refused(format!("{} needs a reason: say why", action.as_str())));
        }
        match action {
            Action::Judge { version, passed } => self.judge_trained(version, *passed),
            Action::Shadow(version) => self.shadow(version),
            Action::Unshadow(version) => {
                let moved = self.moved(version, Move::Withdraw)?;
                Ok(vec![if why.is_empty() { moved } else { moved.with("reason", &**why) }])
            }
            Action::Reject(version) => self.caused(Kind::ShadowRejected, version, Move::Reject),
            Action::Clear(version) => self.caused(Kind::Cleared, version, Move::Clear),
            Action::Archive(version) => self.caused(Kind::Archived, version, Move::Archive),
            Action::Ask(version, stage) => self.ask(version, *stage),
            Action::Approve(version, stage, leave) => self.approve(version, *stage, *leave),
            Action::Deny(version, stage) => self.deny(version, *stage),
            Action::Canary(version, percent) => self.canary(version, *percent),
            Action::Promote(version) => self.promote(version),
            Action::Rollback { from, to } => self.roll_back(from.as_deref(), to.as_deref()),
            Action::Pause | Action::Freeze | Action::Resume => self.hold(action),
        }
    }

    /// The record by which a trained version becomes known, the gate's numbers, and where it stands then.
    fn judge_trained(&self, version: &str, passed: bool) -> Result<Vec<Event>, Refused> {
        let (kind, step) =
            if passed { (Kind::GatePassed, Move::Pass) } else { (Kind::GateFailed, Move::Fail) };
        let moved = self.moved(version, step)?;
        let admitted = self.admitted(version)?;
        let mut events = self.registered(version, &admitted);
        let judged = self.cause(kind).version(version).with("gate", "training");
        events.push(judged.with("golden", admitted.golden as u64));
        events.push(moved.with("digest", admitted.digest));
        Ok(events)
    }

    fn shadow(&self, version: &str) -> Result<Vec<Event>, Refused> {
        let (state, shadows) = (self.life.state(version), &self.life.shadows);
        let admitted = self.admitted(version)?;
        let mut events = self.registered(version, &admitted);
        // Whoever brings a version in by hand vouches for it as far as its own samples go.
        let passes = state == State::Trained;
        if passes {
            let passed = self.order.event(Kind::GatePassed).version(version);
            events.push(passed.with("gate", "admission").with("golden", admitted.golden as u64));
            events.push(self.moved(version, Move::Pass)?);
        }
        let from = if passes { State::Validated } else { state };
        let to = may(from, Move::Shadow).map_err(|_| self.refuse(version, "cannot be a shadow"))?;
        if shadows.len() >= MAX_SHADOWS {
            let (model, first) = (&self.order.model, shadows.first().map_or("", String::as_str));
            let full =
                format!("{model} has {} shadows, as many as can score along; withdraw one", shadows.len());
            return Err(Refused(format!("{full}: `leadwire rollout unshadow {model} {first}`")));
        }
        events.push(self.cause(Kind::ShadowStarted).version(version));
        events.push(self.transfer(version, from, to).with("digest", admitted.digest));
        Ok(events)
    }

    /// A first share, a greater one, or a smaller one.
    fn canary(&self, version: &str, percent: Option<u32>) -> Result<Vec<Event>, Refused> {
        let now = match self.life.state(version) {
            State::Canary => self.life.step().map_or(0, |step| step.percent),
            State::Shadow => 0,
            _ => return Err(self.refuse(version, "cannot be a canary")),
        };
        let next = self.policy.steps.iter().copied().find(|step| *step > now && *step < 100);
        let Some(percent) = percent.or(next) else {
            return Err(self.refuse(version, &format!("is at {now}%, and there is no step above")));
        };
        if percent == 100 {
            return Err(self.refuse(version, "cannot answer all leads as a canary: that is production"));
        }
        if !(1..=99).contains(&percent) || percent == now {
            return Err(self.refuse(version, &format!("cannot go from {now}% to {percent}%")));
        }
        let (stage, step) = if now == 0 { (Stage::Canary, Move::Canary) } else { (Stage::Ramp, Move::Ramp) };
        let mut moved = self.moved(version, step)?.with("pct", percent);
        if percent > now {
            self.may_rise(version)?;
            self.is_approved(version, stage)?;
        }
        if now == 0 {
            self.is_alone(version)?;
            let admitted = self.admitted(version)?;
            self.is_rested(version, &admitted.digest)?;
            moved = moved.with("digest", admitted.digest);
        }
        let ramped = self.cause(Kind::CanaryRamped).version(version).with("pct", percent);
        Ok(vec![ramped, moved])
    }

    fn promote(&self, version: &str) -> Result<Vec<Event>, Refused> {
        let moved = self.moved(version, Move::Promote)?;
        self.may_rise(version)?;
        self.is_approved(version, Stage::Production)?;
        let granted = self.life.granted(version, Stage::Production, self.now_ms);
        let overridden = granted.is_some_and(|approval| approval.is_override);
        if !self.grounds.better && !overridden {
            let ask = self.command("approve", version, "production --override --why ...");
            let needs = format!("production needs to know that it is better, or an override: {ask}");
            let found = self.grounds.found.iter().map(|found| format!("; {found}"));
            return Err(Refused(format!("{}; {needs}{}", self.standing(version), found.collect::<String>())));
        }
        let admitted = self.admitted(version)?;
        let mut promoted = self.cause(Kind::Promoted).version(version);
        if overridden {
            promoted = promoted.with("override", 1);
        }
        let mut events = vec![promoted, moved.with("digest", admitted.digest)];
        if let Some(champion) = &self.life.champion {
            let superseded = self.order.event(Kind::Superseded).version(champion);
            events.push(superseded.with("by", version));
            events.push(self.transfer(champion, State::Production, State::Standby));
        }
        Ok(events)
    }

    /// Out of service, at once. Nothing here asks the evidence: that is what the order's reason is for.
    fn roll_back(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<Event>, Refused> {
        let life = self.life;
        let challenger = life.experiment.as_ref().map(|experiment| experiment.version.as_str());
        let champion = life.champion.as_deref();
        // To go back behind the champion, the champion must go.
        let behind = to.is_some_and(|to| Some(to) != champion);
        let from = from.or(if behind { champion } else { challenger.or(champion) });
        let Some(from) = from else {
            return Err(Refused(format!(
                "{} serves no version; there is nothing to roll back",
                self.order.model
            )));
        };
        if may(life.state(from), Move::RollBack).is_err() {
            return Err(self.refuse(from, "is not live, so it cannot be rolled back"));
        }
        self.is_cool(from)?;
        let mut events = Vec::new();
        let target = if champion == Some(from) { Some(self.target(from, to)?) } else { None };
        let kind = if self.order.is_automatic() { Kind::RollbackAuto } else { Kind::RollbackManual };
        let cause = self.cause(kind).version(from);
        events.push(match target {
            Some(target) => cause.with("to", target),
            None => cause,
        });
        events.push(self.fallen(from));
        if let Some(target) = target {
            events.push(self.transfer(target, life.state(target), State::Production));
        }
        // A trial against a champion that is gone says nothing any more.
        if let Some(challenger) = challenger.filter(|challenger| target.is_some() && *challenger != from) {
            events.push(self.transfer(challenger, State::Canary, State::Validated).with("override", 1));
        }
        Ok(events)
    }

    /// Into quarantine, and with it whatever has the same digest.
    fn fallen(&self, version: &str) -> Event {
        let event = self.transfer(version, self.life.state(version), State::Quarantined);
        let known = self.life.digest(version).map(str::to_owned);
        match known.or_else(|| Some((self.admit)(version).ok()?.digest)) {
            Some(digest) => event.with("digest", digest),
            None => event,
        }
    }

    /// Who serves after the champion: a former one that still loads.
    fn target(&self, from: &str, to: Option<&str>) -> Result<&str, Refused> {
        let former = &self.life.former;
        if let Some(to) = to.filter(|to| !former.iter().any(|former| former == to)) {
            let known = if former.is_empty() { "none".to_owned() } else { former.join(", ") };
            let needs = format!("only the last champions can serve again without a canary: {known}");
            return Err(Refused(format!("{}; {needs}", self.standing(to))));
        }
        let wanted = former.iter().filter(|former| to.is_none_or(|to| to == *former));
        let mut refusals = Vec::new();
        for version in wanted {
            match (self.admit)(version) {
                Ok(_) => return Ok(version),
                Err(reason) => refusals.push(reason),
            }
        }
        let why = match refusals.as_slice() {
            [] => "no version served before it".to_owned(),
            refusals => refusals.join("; "),
        };
        Err(Refused(format!("{}; there is nothing to go back to: {why}", self.standing(from))))
    }

    fn ask(&self, version: &str, stage: Stage) -> Result<Vec<Event>, Refused> {
        self.can_be_asked(version, stage)?;
        Ok(vec![self.cause(Kind::ApprovalRequested).version(version).with("step", stage.as_str())])
    }

    fn approve(&self, version: &str, stage: Stage, leave: Leave) -> Result<Vec<Event>, Refused> {
        self.can_be_asked(version, stage)?;
        let actor = &self.order.actor;
        if self.order.is_automatic() {
            return Err(Refused("an approval is a person's word".to_owned()));
        }
        if self.policy.four_eyes && self.life.trained(version, actor) {
            let version = self.name(version);
            return Err(Refused(format!(
                "{version} was brought in by {actor}; somebody else must approve it"
            )));
        }
        let admitted = self.admitted(version)?;
        let mut events = self.registered(version, &admitted);
        let lasts = i64::try_from(self.policy.approval_expiry.as_millis()).unwrap_or(i64::MAX);
        let granted = self.order.event(Kind::ApprovalGranted).version(version).with("step", stage.as_str());
        let granted =
            granted.with("digest", admitted.digest).with("expires_ms", self.now_ms.saturating_add(lasts));
        events.push(match leave {
            Leave::Approval => granted,
            Leave::Override => granted.with("override", 1),
        });
        Ok(events)
    }

    fn deny(&self, version: &str, stage: Stage) -> Result<Vec<Event>, Refused> {
        self.can_be_asked(version, stage)?;
        Ok(vec![self.order.event(Kind::ApprovalDenied).version(version).with("step", stage.as_str())])
    }

    fn hold(&self, action: &Action) -> Result<Vec<Event>, Refused> {
        let ModelLife { paused_ms, frozen_ms, .. } = *self.life;
        let (kind, moot) = match action {
            Action::Pause => (Kind::Paused, paused_ms.is_some().then_some("is paused already")),
            Action::Freeze => (Kind::Frozen, frozen_ms.is_some().then_some("is frozen already")),
            _ => {
                let goes_on = paused_ms.is_none() && frozen_ms.is_none();
                (Kind::Resumed, goes_on.then_some("is neither paused nor frozen"))
            }
        };
        match moot {
            None => Ok(vec![self.cause(kind)]),
            Some(moot) => Err(Refused(format!("{} {moot}", self.order.model))),
        }
    }

    /// A cause and the one move that follows from it.
    fn caused(&self, kind: Kind, version: &str, step: Move) -> Result<Vec<Event>, Refused> {
        let moved = self.moved(version, step)?;
        Ok(vec![self.cause(kind).version(version), moved])
    }

    /// The event that gives the order's reason and what speaks for it.
    fn cause(&self, kind: Kind) -> Event {
        let mut event = self.order.event(kind);
        let Grounds { trigger, numbers, .. } = self.grounds;
        // What the record itself says goes first.
        let numbers = numbers.iter().map(|(name, field)| (name.clone(), field.clone()));
        event.fields = numbers.chain(event.fields).collect();
        match trigger {
            Some(trigger) => event.with("trigger", &**trigger),
            None => event,
        }
    }

    /// A move that the table allows.
    fn moved(&self, version: &str, step: Move) -> Result<Event, Refused> {
        let from = self.life.state(version);
        let to = may(from, step).map_err(|why| {
            let told = why.to_string();
            let told = told.strip_prefix(&format!("a version in {from} ")).unwrap_or(&told);
            self.refuse(version, told)
        })?;
        Ok(self.transfer(version, from, to))
    }

    fn transfer(&self, version: &str, from: State, to: State) -> Event {
        let event =
            Event::new(Kind::StateChanged, &*self.order.actor).model(&*self.order.model).version(version);
        event.with("from", from.as_str()).with("to", to.as_str())
    }

    /// The record by which a version becomes known, where there is none yet.
    fn registered(&self, version: &str, admitted: &Admitted) -> Vec<Event> {
        let event = || Event::new(Kind::ModelRegistered, &*self.order.actor).model(&*self.order.model);
        match self.life.digest(version) {
            Some(_) => Vec::new(),
            None => vec![event().version(version).with("digest", &*admitted.digest)],
        }
    }

    /// The version as it is on disk, which must be the one that is known.
    fn admitted(&self, version: &str) -> Result<Admitted, Refused> {
        let admitted = (self.admit)(version)
            .map_err(|reason| Refused(format!("{} would not serve: {reason}", self.name(version))))?;
        match self.life.digest(version) {
            Some(known) if known != admitted.digest => {
                let [known, now] =
                    [known, &admitted.digest].map(|digest| digest.chars().take(12).collect::<String>());
                let version = self.name(version);
                let told = format!(
                    "{version} is not the artifact that is known by this name (digest {now}, not {known})"
                );
                Err(Refused(format!("{told}; give the new one a version of its own")))
            }
            _ => Ok(admitted),
        }
    }

    fn may_rise(&self, version: &str) -> Result<(), Refused> {
        let ModelLife { paused_ms, frozen_ms, .. } = *self.life;
        let (held, since) = match (paused_ms, frozen_ms) {
            (Some(since), _) => ("paused", since),
            (None, Some(since)) => ("frozen", since),
            (None, None) => return Ok(()),
        };
        let (model, version) = (&self.order.model, self.name(version));
        let since = self.since(since);
        Err(Refused(format!(
            "{version} cannot rise: {model} has been {held}{since}; `leadwire rollout resume {model}` lets it go on"
        )))
    }

    fn is_approved(&self, version: &str, stage: Stage) -> Result<(), Refused> {
        if !self.policy.approvals.contains(&stage) || self.life.granted(version, stage, self.now_ms).is_some()
        {
            return Ok(());
        }
        let what = match stage {
            Stage::Canary => "a canary",
            Stage::Ramp => "a greater share",
            Stage::Production => "production",
        };
        let ask = self.command("approve", version, &format!("{} --why ...", stage.as_str()));
        Err(Refused(format!("{}; {what} needs an approval: {ask}", self.standing(version))))
    }

    fn is_alone(&self, version: &str) -> Result<(), Refused> {
        match &self.life.experiment {
            Some(other) if other.version != version => {
                let (version, other) = (self.name(version), self.standing(&other.version));
                Err(Refused(format!("{version} must wait: {other}, and a model has one canary at a time")))
            }
            _ => Ok(()),
        }
    }

    /// What was rolled back may not be tried again at once, under whatever name.
    fn is_rested(&self, version: &str, digest: &str) -> Result<(), Refused> {
        let lasts = i64::try_from(self.policy.redigest.as_millis()).unwrap_or(i64::MAX);
        match self.life.quarantined.get(digest) {
            Some(fell) if self.now_ms < fell.saturating_add(lasts) => {
                let left = span(fell.saturating_add(lasts).saturating_sub(self.now_ms));
                let fell = self.since(*fell);
                let version = self.name(version);
                Err(Refused(format!(
                    "{version} must wait {left}: the same artifact went into quarantine, and has rested{fell}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn is_cool(&self, version: &str) -> Result<(), Refused> {
        let lasts = i64::try_from(self.policy.cooldown.as_millis()).unwrap_or(i64::MAX);
        // A shadow answers nobody, so it may always leave.
        let answers = self.life.state(version) != State::Shadow;
        match self.life.rolled_back_ms {
            Some(last)
                if self.order.is_automatic() && answers && self.now_ms < last.saturating_add(lasts) =>
            {
                let (version, last) = (self.name(version), span(self.now_ms.saturating_sub(last)));
                let told = format!("{version} stays: the last automatic rollback was {last} ago");
                Err(Refused(format!("{told}, and a person must look before another")))
            }
            _ => Ok(()),
        }
    }

    fn can_be_asked(&self, version: &str, stage: Stage) -> Result<(), Refused> {
        let (needed, what) = match stage {
            Stage::Canary => (State::Shadow, "the canary of a shadow"),
            Stage::Ramp => (State::Canary, "the next step of a canary"),
            Stage::Production => (State::Canary, "that a canary serves all"),
        };
        match self.life.state(version) == needed {
            true => Ok(()),
            false => {
                Err(self.refuse(version, &format!("cannot be approved so: {} is {what}", stage.as_str())))
            }
        }
    }

    /// `lead/4 has been in shadow for 3 days and cannot be promoted: ...; next: ...`
    fn refuse(&self, version: &str, what: &str) -> Refused {
        let run = |verb, more| format!("next: {}", self.command(verb, version, more));
        let next = match self.life.state(version) {
            State::Trained | State::Validated => run("shadow", ""),
            State::Shadow => run("canary", ""),
            State::Canary => run("promote", ""),
            State::Production => "it serves already".to_owned(),
            State::Standby => {
                let model = &self.order.model;
                format!("next: `leadwire rollout rollback {model} --to {version} --why ...`")
            }
            State::Quarantined => run("clear", "--why ..."),
            State::Rejected | State::Archived => "another version may follow it".to_owned(),
        };
        Refused(format!("{} and {what}; {next}", self.standing(version)))
    }

    fn command(&self, verb: &str, version: &str, more: &str) -> String {
        let between = if more.is_empty() { "" } else { " " };
        format!("`leadwire rollout {verb} {} {version}{between}{more}`", self.order.model)
    }

    /// `lead/4 has been in shadow for 3 days`
    fn standing(&self, version: &str) -> String {
        let life = self.life.versions.get(version).filter(|life| life.since_ms > 0);
        let (name, state) = (self.name(version), self.life.state(version));
        let within = match state {
            State::Shadow | State::Canary | State::Production | State::Standby => "in ",
            _ => "",
        };
        match life {
            Some(life) => format!("{name} has been {within}{state}{}", self.since(life.since_ms)),
            None => format!("{name} is {within}{state}"),
        }
    }

    fn since(&self, ms: i64) -> String {
        format!(" for {}", span(self.now_ms.saturating_sub(ms)))
    }

    fn name(&self, version: &str) -> String {
        format!("{}/{version}", self.order.model)
    }
}

/// `3 days`, in the largest unit that is not zero.
pub fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What an event does to a version, for people: `lead/4: shadow -> canary 10%`. Empty where it says nothing of its own.
impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { kind, model, version, fields, .. } = self.0;
        let text = |name| fields.get(name).and_then(Field::text).unwrap_or_default();
        write!(f, "{}", model.as_deref().unwrap_or_default())?;
        version.iter().try_for_each(|version| write!(f, "/{version}"))?;
        match kind {
            Kind::StateChanged => {
                write!(f, ": {} -> {}", text("from"), text("to"))?;
                let percent = fields.get("pct").and_then(Field::integer);
                percent.map_or(Ok(()), |percent| write!(f, " {percent}%"))
            }
            Kind::ApprovalGranted => write!(f, ": approved for {}", text("step")),
            Kind::ApprovalDenied => write!(f, ": denied for {}", text("step")),
            Kind::ApprovalRequested => write!(f, ": approval asked for {}", text("step")),
            other => write!(f, ": {}", other.as_str()),
        }
    }
}

/// An event, told to people.
pub(super) struct Said<'a>(pub(super) &'a Event);

impl Said<'_> {
    /// Whether it is more than the cause of a move that is told anyway.
    pub(super) fn is_news(&self) -> bool {
        use Kind::{
            ApprovalDenied, ApprovalGranted, ApprovalRequested, Frozen, ModelRegistered, Paused, Resumed,
            StateChanged,
        };
        let kind = &self.0.kind;
        [ModelRegistered, StateChanged, Paused, Resumed, Frozen].contains(kind)
            || [ApprovalGranted, ApprovalDenied, ApprovalRequested].contains(kind)
    }
}

/// An event that has no record yet, as far as it bears on a version's life.
pub(super) fn coming(event: &Event, seq: u64, now_ms: i64) -> Change<'_> {
    Change {
        seq,
        ts_ms: now_ms,
        kind: event.kind.as_str(),
        model: event.model.as_deref(),
        version: event.version.as_deref(),
        actor: &event.actor,
        fields: details(&event.fields),
    }
}
