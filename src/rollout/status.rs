//! How models stand, told to people and scripts. Nothing is locked, repaired or loaded for that.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    desk::{Desk, OrderError},
    life::{ModelLife, Ruling},
    orders::span,
    slots::{self, Standing},
};
use crate::{
    ledger::{self, Record},
    registry::{self, Deployment, DeploymentFile},
};

/// One model.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub model: String,
    /// Who serves, as `deployment.json` says, or else the ledger, or else the highest version.
    pub champion: Option<String>,
    /// Who is on trial.
    pub challenger: Option<Trial>,
    /// Who scores along.
    pub shadows: Vec<String>,
    /// Who served before.
    pub previous: Option<String>,
    /// `paused` or `frozen`, where nothing may move up.
    pub held: Option<&'static str>,
    /// Every version on disk or in the ledger, the highest first.
    pub versions: Vec<Stand>,
    /// What people were asked and said, and what is not used up.
    pub approvals: Vec<Word>,
    /// What does not fit together.
    pub notes: Vec<String>,
    #[serde(skip)]
    now_ms: i64,
}

/// A canary.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The version.
    pub version: String,
    /// Its share of the leads.
    pub percent: f64,
    /// Since when it has this share.
    pub since_ms: Option<i64>,
}

/// Where a version stands.
#[derive(Clone, Debug, Serialize)]
pub struct Stand {
    /// The version.
    pub version: String,
    /// Its state.
    pub state: &'static str,
    /// Since when, where a record says so.
    pub since_ms: Option<i64>,
}

/// A person's word on a transition.
#[derive(Clone, Debug, Serialize)]
pub struct Word {
    /// The version.
    pub version: String,
    /// The transition.
    pub step: &'static str,
    /// `asked`, `granted`, `overridden` or `denied`.
    pub ruling: &'static str,
    /// Who asked or answered.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Until when it holds.
    pub expires_ms: Option<i64>,
}

/// Every model in the directory, or one.
pub fn statuses(desk: &Desk, only: Option<&str>, now_ms: i64) -> Result<Vec<Status>, OrderError> {
    let records = ledger::read(&desk.state)?;
    let mut models = registry::folders(&desk.models).unwrap_or_default();
    models.sort_unstable();
    models.retain(|model| only.is_none_or(|only| only == &**model));
    if let (Some(only), []) = (only, models.as_slice()) {
        return Err(OrderError::Unknown { model: only.to_owned(), models: desk.models.clone() });
    }
    Ok(models.iter().map(|model| Status::of(&desk.models.join(&**model), model, &records, now_ms)).collect())
}

impl Status {
    fn of(folder: &Path, model: &str, records: &[Record], now_ms: i64) -> Self {
        let mut notes = Vec::new();
        let file = DeploymentFile::read(folder).unwrap_or_else(|error| {
            notes.push(format!("{:#}", anyhow::Error::from(error)));
            None
        });
        notes.extend(note(&slots::standing(records, model, file.as_ref())));
        let found: Vec<String> = registry::versions(folder, None).iter().map(ToString::to_string).collect();
        let mut life = slots::life(records, model);
        if life.champion.is_none() && file.is_none() {
            life = ModelLife::unwritten(found.iter().map(String::as_str));
        }
        let slots = file.map(|file| file.deployment).or_else(|| life.deployment());
        let (champion, challenger, shadows, previous) = match slots {
            Some(Deployment { champion, challenger, shadows, previous }) => {
                (Some(champion), challenger, shadows, previous)
            }
            None => (None, None, Vec::new(), None),
        };
        let since_ms = life.step().map(|step| step.from_ms);
        let known = life.versions.keys().filter(|version| !found.contains(version));
        let versions = found.iter().chain(known).map(|version| Stand::of(&life, version)).collect();
        Self {
            model: model.to_owned(),
            champion: champion.map(|version| version.to_string()),
            challenger: challenger.map(|challenger| Trial {
                version: challenger.version.to_string(),
                percent: challenger.percent,
                since_ms,
            }),
            shadows: shadows.iter().map(ToString::to_string).collect(),
            previous: previous.map(|version| version.to_string()),
            held: life.paused_ms.map(|_| "paused").or(life.frozen_ms.map(|_| "frozen")),
            versions,
            approvals: words(&life),
            notes,
            now_ms,
        }
    }
}

impl Stand {
    fn of(life: &ModelLife, version: &str) -> Self {
        let since_ms = life.versions.get(version).map(|life| life.since_ms).filter(|since| *since > 0);
        Self { version: version.to_owned(), state: life.state(version).as_str(), since_ms }
    }
}

fn words(life: &ModelLife) -> Vec<Word> {
    let word = |approval: &super::Approval| Word {
        version: approval.version.clone(),
        step: approval.stage.as_str(),
        ruling: match approval.ruling {
            Ruling::Requested => "asked",
            Ruling::Granted if approval.is_override => "overridden",
            Ruling::Granted => "granted",
            Ruling::Denied => "denied",
        },
        actor: approval.actor.clone(),
        why: approval.reason.clone(),
        expires_ms: approval.expires_ms,
    };
    life.approvals.iter().map(word).collect()
}

fn note(standing: &Standing) -> Option<String> {
    let told = match standing {
        Standing::Agrees | Standing::Unsealed(_) => return None,
        Standing::Behind(_) => {
            "deployment.json is behind the ledger; the sidecar, or the next order, brings it up"
        }
        Standing::Edited => "deployment.json was written by hand; the sidecar, or the next order, records it",
        Standing::Late(_) => "a rollback took effect and waits to be recorded",
    };
    Some(told.to_owned())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |since: Option<i64>| match since {
            Some(since) => format!(" for {}", span(self.now_ms.saturating_sub(since))),
            None => String::new(),
        };
        write!(f, "{}: champion {}", self.model, self.champion.as_deref().unwrap_or("none"))?;
        if let Some(Trial { version, percent, since_ms }) = &self.challenger {
            write!(f, ", challenger {version} at {percent}%{}", ago(*since_ms))?;
        }
        if !self.shadows.is_empty() {
            write!(f, ", shadows {}", self.shadows.join(" "))?;
        }
        self.previous.iter().try_for_each(|previous| write!(f, ", previous {previous}"))?;
        self.held.iter().try_for_each(|held| write!(f, ", {held}"))?;
        writeln!(f)?;
        for Stand { version, state, since_ms } in &self.versions {
            writeln!(f, "  {version}  {state}{}", ago(*since_ms))?;
        }
        for Word { version, step, ruling, actor, why, expires_ms } in &self.approvals {
            let left = expires_ms.map(|expires| expires.saturating_sub(self.now_ms));
            let left = match left {
                Some(left) if left <= 0 => ", expired".to_owned(),
                Some(left) => format!(", holds for {}", span(left)),
                None => String::new(),
            };
            let why = if why.is_empty() { String::new() } else { format!(": {}", why.escape_debug()) };
            writeln!(f, "  {version}  {step} {ruling} by {}{left}{why}", actor.escape_debug())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}
