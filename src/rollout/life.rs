//! What became of every version, folded from the ledger's records.
//!
//! `state.changed` moves a version; the records before it say why, and are folded for what they leave behind:
//! approvals, pauses, quarantines, the time of the last rollback. A cause whose move never came changes nothing. What
//! does not fit is told as an oddity and still applied, for a sidecar must be able to start from any ledger: where two
//! versions claim a slot, the later record has it.

use std::collections::BTreeMap;

use super::state::{Move, State, may};
use crate::{
    config::Stage,
    lead::StepCounts,
    ledger::{Field, Fields, Record},
    registry::{Challenger, Deployment},
};

/// Former champions that may serve again without a new canary.
const FORMER: usize = 3;
/// As many as a deployment has room for.
const SHADOWS: usize = 3;

/// One record, as far as it bears on a version's life.
#[derive(Clone, Debug)]
pub struct Change<'r> {
    /// Its number in the ledger.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970.
    pub ts_ms: i64,
    /// Such as `"state.changed"`.
    pub kind: &'r str,
    /// Whose life.
    pub model: Option<&'r str>,
    /// Which of its versions.
    pub version: Option<&'r str>,
    /// Who did it.
    pub actor: &'r str,
    /// What else it says, by name.
    pub fields: Vec<(&'r str, Detail<'r>)>,
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail<'r> {
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(&'r str),
}

/// Every model's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    models: BTreeMap<String, ModelLife>,
    /// Records that do not fit what came before them.
    pub oddities: Vec<Oddity>,
}

/// A record that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {reason}")]
pub struct Oddity {
    /// The record.
    pub seq: u64,
    /// What does not fit.
    pub reason: String,
}

/// One model's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelLife {
    /// Every version that a record names.
    pub versions: BTreeMap<String, VersionLife>,
    /// Who serves.
    pub champion: Option<String>,
    /// Who served before, the latest first; at most three, none of them in quarantine or archived.
    pub former: Vec<String>,
    /// The canary that runs.
    pub experiment: Option<Experiment>,
    /// Who scores along, the earliest first.
    pub shadows: Vec<String>,
    /// Asked for, granted or denied, and not used up.
    pub approvals: Vec<Approval>,
    /// Since when a person holds everything, if so.
    pub paused_ms: Option<i64>,
    /// Since when shares are frozen, if they are.
    pub frozen_ms: Option<i64>,
    /// The last automatic rollback.
    pub rolled_back_ms: Option<i64>,
    /// What went into quarantine, by digest, and when last.
    pub quarantined: BTreeMap<String, i64>,
    /// The last record about this model.
    pub seq: Option<u64>,
    /// Why a version is about to leave: the last record of a rollback, until the move that carries it out.
    cause: Option<Cause>,
}

/// A rollback that was recorded, and not yet its move.
#[derive(Clone, Debug, PartialEq)]
struct Cause {
    version: String,
    /// Who serves then.
    to: Option<String>,
    is_automatic: bool,
}

/// One version's life.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionLife {
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since_ms: i64,
    /// The record that says so, where one does.
    pub seq: Option<u64>,
    /// The digest of its manifest, where a record says it.
    pub digest: Option<String>,
    /// Who registered it.
    pub trained_by: Option<String>,
    /// When it last began to be a shadow.
    pub shadow_ms: Option<i64>,
    /// How often it was rolled back automatically.
    pub automatic: u32,
}

/// A canary.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The challenger.
    pub version: String,
    /// A person answered for it where its time as a shadow did not.
    pub is_override: bool,
    /// Its steps so far, the running one last. Never empty.
    pub steps: Vec<StepSpan>,
}

/// A stretch of time with one share.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpan {
    /// The record that began it.
    pub seq: u64,
    /// The challenger's share.
    pub percent: u32,
    /// When it began.
    pub from_ms: i64,
    /// When it ended; `None` while it runs.
    pub to_ms: Option<i64>,
    /// Its leads did not arrive in the arms as they should: nothing may be concluded from it.
    pub spoilt: bool,
}

/// A person's leave to make one transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Of this version.
    pub version: String,
    /// Of exactly this artifact.
    pub digest: Option<String>,
    /// The transition.
    pub stage: Stage,
    /// How it was answered.
    pub ruling: Ruling,
    /// Who asked or answered.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at_ms: i64,
    /// Until when it holds, where the record says so.
    pub expires_ms: Option<i64>,
    /// It stands in for evidence that is not there.
    pub is_override: bool,
}

/// How an approval was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Not yet.
    Requested,
    /// Yes.
    Granted,
    /// No.
    Denied,
}

impl Life {
    /// Folds records, which come in the ledger's order: `Life::fold(ledger.records())`.
    pub fn fold<'r>(changes: impl IntoIterator<Item: Into<Change<'r>>>) -> Self {
        let mut life = Self::default();
        changes.into_iter().for_each(|change| life.apply(&change.into()));
        life
    }

    /// One more record.
    pub fn apply(&mut self, change: &Change<'_>) {
        let Some(model) = change.model else { return };
        let life = self.models.entry(model.to_owned()).or_default();
        life.seq = Some(change.seq);
        let told = life.apply(change);
        self.oddities.extend(told.err().map(|reason| Oddity { seq: change.seq, reason }));
    }

    /// One model's life; `None` where no record names it.
    pub fn model(&self, model: &str) -> Option<&ModelLife> {
        self.models.get(model)
    }

    /// The models that a record names.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelLife)> {
        self.models.iter().map(|(name, life)| (name.as_str(), life))
    }
}

impl<const N: usize> From<[(String, ModelLife); N]> for Life {
    /// Lives as they are known, to be told on.
    fn from(models: [(String, ModelLife); N]) -> Self {
        Self { models: models.into(), oddities: Vec::new() }
    }
}

impl ModelLife {
    /// The life of a model that no record names: the highest of its versions, which comes first, serves.
    pub fn unwritten<'v>(versions: impl IntoIterator<Item = &'v str>) -> Self {
        let mut life = Self::default();
        for version in versions {
            let state = if life.champion.is_none() { State::Production } else { State::Trained };
            life.champion.get_or_insert_with(|| version.to_owned());
            life.versions.insert(version.to_owned(), VersionLife { state, ..VersionLife::default() });
        }
        life
    }

    /// Where a version stands; one that no record names is trained.
    pub fn state(&self, version: &str) -> State {
        self.versions.get(version).map_or(State::Trained, |life| life.state)
    }

    /// The digest of a version's manifest, where a record says it.
    pub fn digest(&self, version: &str) -> Option<&str> {
        self.versions.get(version)?.digest.as_deref()
    }

    /// Who served before the champion.
    pub fn previous(&self) -> Option<&str> {
        self.former.first().map(String::as_str)
    }

    /// The canary's running step.
    pub fn step(&self) -> Option<&StepSpan> {
        self.experiment.as_ref()?.steps.last()
    }

    /// The slots, as `deployment.json` has them; `None` without a champion.
    pub fn deployment(&self) -> Option<Deployment> {
        let challenger = self.experiment.as_ref().zip(self.step());
        Some(Deployment {
            champion: self.champion.as_deref()?.into(),
            challenger: challenger.map(|(experiment, step)| Challenger {
                version: experiment.version.as_str().into(),
                percent: f64::from(step.percent),
            }),
            shadows: self.shadows.iter().map(|shadow| shadow.as_str().into()).collect(),
            previous: self.previous().map(Into::into),
        })
    }

    /// The approval of a transition that holds: granted for this very artifact, and not expired.
    pub fn granted(&self, version: &str, stage: Stage, now_ms: i64) -> Option<&Approval> {
        let approval = self.asked(version, stage)?;
        let is_bound = approval.digest.as_deref() == self.digest(version);
        let holds = approval.expires_ms.is_none_or(|expires| now_ms < expires);
        (approval.ruling == Ruling::Granted && is_bound && holds).then_some(approval)
    }

    /// The last word on a transition, whatever it was.
    pub fn asked(&self, version: &str, stage: Stage) -> Option<&Approval> {
        self.approvals.iter().find(|approval| approval.version == version && approval.stage == stage)
    }

    /// Whether this person registered the version.
    pub fn trained(&self, version: &str, actor: &str) -> bool {
        self.versions.get(version).and_then(|life| life.trained_by.as_deref()) == Some(actor)
    }

    fn apply(&mut self, change: &Change<'_>) -> Result<(), String> {
        match change.kind {
            "paused" => self.paused_ms = Some(change.ts_ms),
            "frozen" => self.freeze(change),
            "resumed" => self.resume(change),
            "state.changed" => return self.transfer(change),
            "model.registered" => self.register(change)?,
            "approval.requested" => return self.approve(change, Ruling::Requested),
            "approval.granted" => return self.approve(change, Ruling::Granted),
            "approval.denied" => return self.approve(change, Ruling::Denied),
            "rollback.auto" | "rollback.manual" => {
                self.version(change)?;
                let version = change.version.unwrap_or_default().to_owned();
                let to = change.text("to").map(str::to_owned);
                self.cause = Some(Cause { version, to, is_automatic: change.kind == "rollback.auto" });
            }
            _ => {}
        }
        Ok(())
    }

    fn version(&mut self, change: &Change<'_>) -> Result<&mut VersionLife, String> {
        let version = change.version.ok_or_else(|| format!("{} names no version", change.kind))?;
        Ok(self.versions.entry(version.to_owned()).or_default())
    }

    fn register(&mut self, change: &Change<'_>) -> Result<(), String> {
        let life = self.version(change)?;
        life.trained_by = Some(change.actor.to_owned());
        life.digest = change.text("digest").map(str::to_owned);
        if life.seq.is_none() {
            (life.since_ms, life.seq) = (change.ts_ms, Some(change.seq));
        }
        Ok(())
    }

    fn freeze(&mut self, change: &Change<'_>) {
        self.frozen_ms = Some(change.ts_ms);
        if let Some(step) = self.experiment.as_mut().and_then(|experiment| experiment.steps.last_mut()) {
            step.spoilt = true;
        }
    }

    /// After a freeze the step begins anew: what was counted in it is worth nothing.
    fn resume(&mut self, change: &Change<'_>) {
        self.paused_ms = None;
        if self.frozen_ms.take().is_some()
            && let Some(experiment) = &mut self.experiment
            && let Some(percent) = experiment.steps.last().map(|step| step.percent)
        {
            experiment.begin(change, percent);
        }
    }

    fn approve(&mut self, change: &Change<'_>, ruling: Ruling) -> Result<(), String> {
        self.version(change)?;
        let stage = change.text("step").unwrap_or_default();
        let stage = Stage::parse(stage).ok_or_else(|| format!("no transition is called {stage:?}"))?;
        let version = change.version.unwrap_or_default();
        let digest = change.text("digest").or_else(|| self.digest(version)).map(str::to_owned);
        self.approvals.retain(|approval| approval.version != version || approval.stage != stage);
        self.approvals.push(Approval {
            version: version.to_owned(),
            digest,
            stage,
            ruling,
            actor: change.actor.to_owned(),
            reason: change.text("reason").unwrap_or_default().to_owned(),
            at_ms: change.ts_ms,
            expires_ms: change.integer("expires_ms"),
            is_override: change.integer("override") == Some(1),
        });
        Ok(())
    }

    /// A version moves, and with it what else is in its slot.
    fn transfer(&mut self, change: &Change<'_>) -> Result<(), String> {
        let to = change.text("to").unwrap_or_default();
        let to = State::parse(to).ok_or_else(|| format!("no state is called {to:?}"))?;
        let life = self.version(change)?;
        let from = life.state;
        if let Some(digest) = change.text("digest") {
            life.digest = Some(digest.to_owned());
        }
        let version = change.version.unwrap_or_default();
        let cause = self.cause.take_if(|cause| cause.version == version && to == State::Quarantined);
        // A shadow that leaves changes nothing for anyone, so it is no ping-pong.
        if cause.as_ref().is_some_and(|cause| cause.is_automatic) && from != State::Shadow {
            self.version(change)?.automatic += 1;
            self.rolled_back_ms = Some(change.ts_ms);
        }
        if let Some(to) = cause.and_then(|cause| cause.to) {
            // Whom the order names goes first, though the move of its own may not have been written.
            self.former.sort_by_key(|former| *former != to);
        }
        self.leave(version, from, to, change);
        self.enter(version, to, change);
        self.spend(version, from, to);
        let known = Move::ALL.iter().any(|step| may(from, *step) == Ok(to)) || from == to;
        match known || change.integer("override") == Some(1) {
            true => Ok(()),
            false => Err(format!("{version} cannot go from {from} to {to}")),
        }
    }

    /// Takes a version out of its slot. A champion's place is taken at once by the one before it.
    fn leave(&mut self, version: &str, from: State, to: State, change: &Change<'_>) {
        self.former.retain(|former| former != version);
        self.shadows.retain(|shadow| shadow != version);
        if to != State::Canary {
            self.experiment.take_if(|experiment| experiment.version == version);
            self.frozen_ms.take_if(|_| from == State::Canary);
        }
        if to != State::Production && self.champion.as_deref() == Some(version) {
            self.champion = None;
            if to != State::Standby && !self.former.is_empty() {
                let previous = self.former.remove(0);
                self.set(&previous, State::Production, change);
                self.champion = Some(previous);
            }
        }
    }

    /// Puts a version in its new slot. Whoever is in it makes room.
    fn enter(&mut self, version: &str, to: State, change: &Change<'_>) {
        self.set(version, to, change);
        match to {
            State::Shadow => {
                self.shadows.push(version.to_owned());
                if self.shadows.len() > SHADOWS {
                    let first = self.shadows.remove(0);
                    self.set(&first, State::Validated, change);
                }
            }
            State::Canary => self.ramp(version, change),
            State::Production => {
                let former = self.champion.replace(version.to_owned()).filter(|former| former != version);
                if let Some(former) = former {
                    self.set(&former, State::Standby, change);
                    self.stand_by(former);
                }
            }
            State::Standby => self.stand_by(version.to_owned()),
            State::Quarantined => {
                if let Some(digest) = self.digest(version).map(str::to_owned) {
                    self.quarantined.insert(digest, change.ts_ms);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, version: &str, state: State, change: &Change<'_>) {
        let life = self.versions.entry(version.to_owned()).or_default();
        if state == State::Shadow && life.state != State::Shadow {
            life.shadow_ms = Some(change.ts_ms);
        }
        (life.state, life.since_ms, life.seq) = (state, change.ts_ms, Some(change.seq));
    }

    fn stand_by(&mut self, version: String) {
        self.former.retain(|former| *former != version);
        self.former.insert(0, version);
        self.former.truncate(FORMER);
    }

    fn ramp(&mut self, version: &str, change: &Change<'_>) {
        let percent =
            change.integer("pct").and_then(|percent| u32::try_from(percent).ok()).unwrap_or(0).min(100);
        match &mut self.experiment {
            Some(experiment) if experiment.version == version => experiment.begin(change, percent),
            other => {
                let approval =
                    self.approvals.iter().find(|a| a.version == version && a.stage == Stage::Canary);
                let is_override = approval.is_some_and(|approval| approval.is_override);
                let mut experiment =
                    Experiment { version: version.to_owned(), is_override, steps: Vec::new() };
                experiment.begin(change, percent);
                let displaced = other.replace(experiment);
                if let Some(displaced) = displaced {
                    self.set(&displaced.version, State::Validated, change);
                }
            }
        }
    }

    /// A transition uses up its approval; a version that goes out of service loses all.
    fn spend(&mut self, version: &str, from: State, to: State) {
        let used = match (from, to) {
            (State::Canary, State::Canary) => Stage::Ramp,
            (_, State::Canary) => Stage::Canary,
            (_, State::Production) => Stage::Production,
            (_, State::Shadow | State::Trained | State::Validated) => return,
            _ => return self.approvals.retain(|approval| approval.version != version),
        };
        self.approvals.retain(|approval| approval.version != version || approval.stage != used);
    }
}

impl Experiment {
    /// Of the counts of its steps, those whose leads arrived in the arms as they should.
    pub fn sound<'c>(&self, counts: &'c [StepCounts]) -> impl Iterator<Item = &'c StepCounts> + Clone {
        let is_spoilt = |seq| self.steps.iter().any(|step| step.seq == seq && step.spoilt);
        counts.iter().filter(move |counts| !is_spoilt(counts.seq))
    }

    fn begin(&mut self, change: &Change<'_>, percent: u32) {
        if let Some(last) = self.steps.last_mut() {
            last.to_ms = Some(change.ts_ms);
        }
        let (seq, from_ms) = (change.seq, change.ts_ms);
        self.steps.push(StepSpan { seq, percent, from_ms, to_ms: None, spoilt: false });
    }
}

impl Default for VersionLife {
    fn default() -> Self {
        Self {
            state: State::Trained,
            since_ms: 0,
            seq: None,
            digest: None,
            trained_by: None,
            shadow_ms: None,
            automatic: 0,
        }
    }
}

impl<'r> From<&'r Record> for Change<'r> {
    fn from(record: &'r Record) -> Self {
        Self {
            seq: record.seq,
            ts_ms: record.ts_ms,
            kind: record.kind.as_str(),
            model: record.model.as_deref(),
            version: record.version.as_deref(),
            actor: &record.actor,
            fields: details(&record.fields),
        }
    }
}

/// What a record's fields say that bears on a life.
pub(super) fn details(fields: &Fields) -> Vec<(&str, Detail<'_>)> {
    let detail = |(name, field)| match field {
        &Field::Integer(integer) => Some((name, Detail::Integer(integer))),
        Field::Text(text) => Some((name, Detail::Text(text))),
        Field::Map(_) => None,
    };
    fields.iter().map(|(name, field)| (name.as_str(), field)).filter_map(detail).collect()
}

impl Change<'_> {
    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|(field, detail)| match detail {
            Detail::Text(text) if *field == name => Some(*text),
            _ => None,
        })
    }

    /// A field that is a whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.fields.iter().find_map(|(field, detail)| match detail {
            Detail::Integer(integer) if *field == name => Some(*integer),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
