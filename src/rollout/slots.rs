//! `deployment.json` against the ledger: which of them is behind, and what must be recorded where a person's hand was in it.
//!
//! Pure, like the orders: records and the file go in, and what to do comes out.

use super::{
    life::{Life, ModelLife},
    orders::coming,
    state::State,
};
use crate::{
    ledger::{Event, Field, Fields, Kind, Record},
    registry::{Applied, Challenger, Deployment, DeploymentFile, Late},
};

/// The actor of what was done by editing a file.
pub(super) const FILE: &str = "file";

/// How a model's file stands to its records.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// They say the same, or neither says anything.
    Agrees,
    /// The slots are the same, and the file does not say which record they carry out.
    Unsealed(DeploymentFile),
    /// Records came after it was written: this is what it should be.
    Behind(DeploymentFile),
    /// A person wrote it, or nobody ever recorded it.
    Edited,
    /// A rollback is in it that could not be recorded.
    Late(Late),
}

/// What became of one model after these records; nothing where none names it.
pub(super) fn life(records: &[Record], model: &str) -> ModelLife {
    let about = records.iter().filter(|record| record.model.as_deref() == Some(model));
    Life::fold(about).model(model).cloned().unwrap_or_default()
}

/// The last record about a model.
pub(super) fn last(records: &[Record], model: &str) -> Option<Applied> {
    let record = records.iter().rfind(|record| record.model.as_deref() == Some(model))?;
    Some(Applied { seq: record.seq, hash: hex(record) })
}

/// Which of them holds.
pub(super) fn standing(records: &[Record], model: &str, file: Option<&DeploymentFile>) -> Standing {
    let wanted = life(records, model).deployment();
    let applied = last(records, model);
    let sealed = |deployment| DeploymentFile { deployment, applied: applied.clone(), late: None };
    match (wanted, file) {
        (None, None) => Standing::Agrees,
        (Some(wanted), None) => Standing::Behind(sealed(wanted)),
        (_, Some(DeploymentFile { late: Some(late), .. })) => Standing::Late(late.clone()),
        (None, Some(_)) => Standing::Edited,
        (Some(wanted), Some(file)) if agree(&file.deployment, &wanted) => match file.applied == applied {
            true => Standing::Agrees,
            // Another replica's ledger seals it: two that wrote their own each time would never end.
            false if is_foreign(records, file) => Standing::Agrees,
            false => Standing::Unsealed(sealed(wanted)),
        },
        (Some(wanted), Some(file)) => match was(records, model, file) {
            true => Standing::Behind(sealed(wanted)),
            false => Standing::Edited,
        },
    }
}

/// Whether the file names a record that this ledger does not have.
fn is_foreign(records: &[Record], file: &DeploymentFile) -> bool {
    let known = |Applied { seq, hash }: &Applied| {
        records.iter().any(|record| record.seq == *seq && hex(record) == *hash)
    };
    file.applied.as_ref().is_some_and(|applied| !known(applied))
}

/// Whether the file is what some earlier record made of it.
fn was(records: &[Record], model: &str, file: &DeploymentFile) -> bool {
    let Some(Applied { seq, hash }) = &file.applied else { return false };
    let at = records.iter().position(|record| record.seq == *seq && hex(record) == *hash);
    let then = at.and_then(|at| life(records.get(..=at)?, model).deployment());
    then.is_some_and(|then| agree(&file.deployment, &then))
}

/// Whether a file's slots are those of the ledger. What a person leaves out of a file is not said.
fn agree(file: &Deployment, ledger: &Deployment) -> bool {
    let share = |challenger: &Option<Challenger>| {
        challenger.as_ref().map(|challenger| (challenger.version.clone(), whole(challenger.percent)))
    };
    let shadows = |deployment: &Deployment| {
        let mut shadows = deployment.shadows.clone();
        shadows.sort_unstable();
        shadows
    };
    file.champion == ledger.champion
        && share(&file.challenger) == share(&ledger.challenger)
        && shadows(file) == shadows(ledger)
        && (file.previous.is_none() || file.previous == ledger.previous)
}

/// Records hold whole percents.
fn whole(percent: f64) -> u32 {
    // 0 to 100, as it was read.
    percent.round() as u32
}

fn hex(record: &Record) -> String {
    record.hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a record says of slots.
pub(super) fn told(deployment: &Deployment) -> Fields {
    let Deployment { champion, challenger, shadows, previous } = deployment;
    let mut fields = Fields::from([("champion".to_owned(), Field::from(&**champion))]);
    if let Some(Challenger { version, percent }) = challenger {
        fields.insert("challenger".to_owned(), (&**version).into());
        fields.insert("pct".to_owned(), whole(*percent).into());
    }
    if !shadows.is_empty() {
        fields.insert("shadows".to_owned(), shadows.join(" ").into());
    }
    previous.iter().for_each(|version| _ = fields.insert("previous".to_owned(), (&**version).into()));
    fields
}

/// How slots come to be what a file says they are: the moves, as events, each past the guards.
pub(super) struct Takeover<'a> {
    model: &'a str,
    actor: &'a str,
    now_ms: i64,
    digest: &'a dyn Fn(&str) -> Option<String>,
    life: ModelLife,
    events: Vec<Event>,
}

impl<'a> Takeover<'a> {
    /// From this life on; `digest` knows versions by theirs.
    pub(super) fn new(
        (model, life): (&'a str, ModelLife),
        (cause, now_ms): (&'a Event, i64),
        digest: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self { model, actor: &cause.actor, now_ms, digest, life, events: vec![cause.clone()] }
    }

    /// The events, the cause first. `fallen` goes into quarantine where it is live.
    pub(super) fn to(mut self, slots: &Deployment, fallen: Option<&str>) -> Vec<Event> {
        if let Some(fallen) = fallen.filter(|fallen| self.life.state(fallen).is_live()) {
            self.put(fallen, State::Quarantined, None);
        }
        let challenger = slots.challenger.as_ref().map(|challenger| &*challenger.version);
        let stays = |version: &str| {
            *slots.champion == *version
                || challenger == Some(version)
                || slots.shadows.iter().any(|shadow| **shadow == *version)
        };
        let live = self.life.experiment.iter().map(|experiment| experiment.version.clone());
        let live: Vec<String> = live.chain(self.life.shadows.clone()).collect();
        live.iter()
            .filter(|version| !stays(version))
            .for_each(|version| self.put(version, State::Validated, None));
        if self.life.champion.as_deref() != Some(&slots.champion) {
            self.put(&slots.champion, State::Production, None);
        }
        if let Some(previous) = slots.previous.as_deref().filter(|version| !stays(version))
            && self.life.previous() != Some(previous)
        {
            self.put(previous, State::Standby, None);
        }
        for shadow in &slots.shadows {
            if !self.life.shadows.iter().any(|known| **known == **shadow) {
                self.put(shadow, State::Shadow, None);
            }
        }
        if let Some(Challenger { version, percent }) = &slots.challenger {
            let percent = whole(*percent);
            let now = self.life.experiment.as_ref().map(|experiment| &*experiment.version);
            if now != Some(version) || self.life.step().map(|step| step.percent) != Some(percent) {
                self.put(version, State::Canary, Some(percent));
            }
        }
        self.events
    }

    fn put(&mut self, version: &str, to: State, percent: Option<u32>) {
        let from = self.life.state(version);
        let event = Event::new(Kind::StateChanged, self.actor).model(self.model).version(version);
        let mut event = event.with("from", from.as_str()).with("to", to.as_str()).with("override", 1);
        if let Some(percent) = percent {
            event = event.with("pct", percent);
        }
        if let Some(digest) = (self.digest)(version) {
            event = event.with("digest", digest);
        }
        let mut life = Life::from([(self.model.to_owned(), std::mem::take(&mut self.life))]);
        life.apply(&coming(&event, 0, self.now_ms));
        self.life = life.model(self.model).cloned().unwrap_or_default();
        self.events.push(event);
    }
}

/// What a rollback that came late is recorded as.
pub(super) fn late_cause(model: &str, late: &Late) -> Event {
    // The file may have been written by anybody, so it names no other kind.
    let is_auto = late.kind == Kind::RollbackAuto.as_str();
    let kind = if is_auto { Kind::RollbackAuto } else { Kind::RollbackManual };
    let event = Event::new(kind, &*late.actor).model(model).version(&*late.version);
    event.with("reason", &*late.why).with("late", 1).with("at_ms", late.at_ms)
}
