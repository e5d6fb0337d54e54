//! The desk where orders are carried out, on disk: judged under the ledger's lock, recorded, and only then written into
//! `deployment.json`, which the sidecar follows.
//!
//! Killed between the two, the file is behind the ledger, and [`Desk::settle`] brings it up. A person may edit the file
//! as well: that is an order too, and the next settling, or the next order, records it as an override. A rollback waits for
//! nothing: where the ledger cannot be written, the file is written all the same, with what is to be recorded in it.

use std::path::{Path, PathBuf};

use super::{
    life::{Life, ModelLife},
    orders::{Admitted, Bench, Grounds, LEADWIRE, Order, Refused, Said, coming},
    slots::{self, FILE, Standing, Takeover},
};
use crate::{
    config::{Config, Rollout},
    ledger::{self, Event, Kind, Ledger, LedgerError, Record, Writing},
    registry::{
        self, Deployment, DeploymentError, DeploymentFile, KeyError, Late, Trust, Version, VersionError,
    },
};

/// Where orders are carried out.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The directory of models.
    pub models: PathBuf,
    /// The directory of the ledger.
    pub state: PathBuf,
    /// Who may sign versions.
    pub trust: Trust,
    /// What is asked for.
    pub policy: Rollout,
}

/// What came of an order.
#[derive(Debug)]
pub struct Done {
    /// Who holds which slot now; `None` where no order or file ever said.
    pub deployment: Option<Deployment>,
    /// The last record about the model.
    pub seq: Option<u64>,
    /// What happened, in lines such as `lead/4: shadow -> canary 10%`.
    pub said: Vec<String>,
    /// Why a rollback took effect without its record, which follows.
    pub late: Option<LedgerError>,
    /// Why `deployment.json` does not say so yet. What was recorded takes effect when it can be written; of a rollback, the
    /// caller should act on `deployment` at once.
    pub unwritten: Option<DeploymentError>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no such model.
    #[error("no model {model:?} in {}", models.display())]
    Unknown {
        /// What was asked for.
        model: String,
        /// Where.
        models: PathBuf,
    },
    /// The ledger cannot be read or written, so nothing may change.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The slots cannot be read or written.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// A version that was put into a slot by hand would not serve.
    #[error("{model}/{version}, put into deployment.json by hand, would not serve: {reason}")]
    Admission {
        /// The model.
        model: String,
        /// The version.
        version: String,
        /// The file and what is wrong with it.
        reason: String,
    },
    /// A key of `model_keys` cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What settling found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// File and ledger agreed.
    Agreed,
    /// The file was behind the ledger, and is not any more.
    Rebuilt,
    /// A person edited the file, and the ledger has it now.
    Override,
    /// A rollback that could not be recorded is recorded.
    Late,
}

impl Desk {
    /// The desk over two directories, without keys and with the usual policy: see [`Desk::under`].
    pub fn at(models: &Path, state: &Path) -> Self {
        let (models, state) = (models.to_owned(), state.to_owned());
        Self { models, state, trust: Trust::default(), policy: Rollout::default() }
    }

    /// The desk of a configuration.
    pub fn of(config: &Config) -> Result<Self, KeyError> {
        Self::at(&config.models, &config.state).under(config)
    }

    /// The same directories, with the keys and the policy of a configuration.
    pub fn under(&self, config: &Config) -> Result<Self, KeyError> {
        let (trust, policy) = (Trust::load(&config.model_keys)?, config.rollout.clone());
        Ok(Self { models: self.models.clone(), state: self.state.clone(), trust, policy })
    }

    /// Judges an order, records it, and puts it into effect.
    pub fn carry_out(&self, order: &Order, grounds: &Grounds, now_ms: i64) -> Result<Done, OrderError> {
        let model = self.model(&order.model)?;
        DeploymentFile::is_ours(&model)?;
        match self.recorded(&model, order, grounds, now_ms) {
            Err(OrderError::Ledger(error)) if order.action.is_rollback() => {
                self.at_once(&model, order, (grounds, now_ms), error)
            }
            done => done,
        }
    }

    /// Has a record and the file say who serves, before a new version's folder comes: without them the highest version
    /// serves. Returns the model's life then; `None` where there is no version yet, nor a folder.
    pub fn seat(&self, model: &str, now_ms: i64) -> Result<Option<ModelLife>, OrderError> {
        let folder = self.models.join(model);
        if registry::is_name(model) && registry::versions(&folder, None).is_empty() {
            return Ok(None);
        }
        let folder = self.model(model)?;
        DeploymentFile::is_ours(&folder)?;
        let mut ledger = Ledger::open(&self.state)?;
        let mut writing = ledger.lock()?;
        self.settled(&mut writing, (model, &folder), now_ms)?;
        if slots::life(writing.records(), model).champion.is_none() {
            for event in self.first(model, &slots::life(writing.records(), model))? {
                writing.append(event, now_ms)?;
            }
            self.settled(&mut writing, (model, &folder), now_ms)?;
        }
        Ok(Some(slots::life(writing.records(), model)))
    }

    /// Brings a model's file and the ledger together: records what a person put into the file, and puts into the file what
    /// was recorded.
    pub fn settle(&self, model: &str, now_ms: i64) -> Result<Settled, OrderError> {
        self.settle_from(&ledger::read(&self.state)?, model, now_ms)
    }

    /// The same for each model in the directory, by name; under no name, why there is no ledger to settle by.
    pub fn settle_all(&self, now_ms: i64) -> Vec<(String, Result<Settled, OrderError>)> {
        let records = match ledger::read(&self.state) {
            Ok(records) => records,
            Err(error) => return vec![(String::new(), Err(error.into()))],
        };
        let models = registry::folders(&self.models).unwrap_or_default();
        let settled = |model: &str| (model.to_owned(), self.settle_from(&records, model, now_ms));
        models.iter().map(|model| settled(model)).collect()
    }

    fn settle_from(&self, records: &[Record], model: &str, now_ms: i64) -> Result<Settled, OrderError> {
        let folder = self.model(model)?;
        // Most often there is nothing to do, and nothing to lock for.
        let file = DeploymentFile::read(&folder)?;
        if slots::standing(records, model, file.as_ref()) == Standing::Agrees {
            return Ok(Settled::Agreed);
        }
        let mut ledger = Ledger::open(&self.state)?;
        self.settled(&mut ledger.lock()?, (model, &folder), now_ms)
    }

    fn recorded(
        &self,
        folder: &Path,
        order: &Order,
        grounds: &Grounds,
        now_ms: i64,
    ) -> Result<Done, OrderError> {
        let model = order.model.as_str();
        let mut ledger = Ledger::open(&self.state)?;
        let mut writing = ledger.lock()?;
        match self.settled(&mut writing, (model, folder), now_ms) {
            // A file that cannot be read, or says what cannot be, is no reason to go on serving what must go.
            Err(OrderError::Deployment(_) | OrderError::Admission { .. }) if order.action.is_rollback() => {}
            settled => _ = settled?,
        }
        let before = DeploymentFile::read(folder).ok().flatten();
        let mut events = Vec::new();
        let mut life = slots::life(writing.records(), model);
        if life.champion.is_none() {
            events = self.first(model, &life)?;
            life = followed((model, life), &events, now_ms);
        }
        let admit = |version: &str| self.admit(model, version);
        let bench = Bench { order, life: &life, policy: &self.policy, grounds, admit: &admit, now_ms };
        events.extend(bench.judge()?);
        for event in &events {
            writing.append(event.clone(), now_ms)?;
        }
        let records = writing.records();
        let (deployment, applied) = (slots::life(records, model).deployment(), slots::last(records, model));
        let seq = applied.as_ref().map(|last| last.seq);
        let unwritten = deployment.clone().and_then(|deployment| {
            DeploymentFile { deployment, applied, late: None }.write(folder, before.as_ref()).err()
        });
        Ok(Done { deployment, seq, said: said(&events), late: None, unwritten })
    }

    /// A rollback, past a ledger that cannot be written.
    fn at_once(
        &self,
        folder: &Path,
        order: &Order,
        (grounds, now_ms): (&Grounds, i64),
        error: LedgerError,
    ) -> Result<Done, OrderError> {
        let model = order.model.as_str();
        let file = DeploymentFile::read(folder).ok().flatten();
        let life = match &file {
            // What serves is what the file says.
            Some(file) => {
                let cause = Event::new(Kind::Override, FILE).model(model);
                let known = slots::life(&ledger::read(&self.state).unwrap_or_default(), model);
                let events = Takeover::new((model, known.clone()), (&cause, now_ms), &|_| None);
                followed((model, known), &events.to(&file.deployment, None), now_ms)
            }
            None => slots::life(&ledger::read(&self.state).unwrap_or_default(), model),
        };
        let admit = |version: &str| self.admit(model, version);
        let bench = Bench { order, life: &life, policy: &self.policy, grounds, admit: &admit, now_ms };
        let events = bench.judge()?;
        let deployment = followed((model, life), &events, now_ms).deployment();
        let late = late(order, &events, now_ms);
        let unwritten = deployment.clone().and_then(|deployment| {
            let applied = file.as_ref().and_then(|file| file.applied.clone());
            DeploymentFile { deployment, applied, late }.write(folder, file.as_ref()).err()
        });
        Ok(Done { deployment, seq: None, said: said(&events), late: Some(error), unwritten })
    }

    /// Brings file and ledger together, under the ledger's lock.
    fn settled(
        &self,
        writing: &mut Writing<'_>,
        (model, folder): (&str, &Path),
        now_ms: i64,
    ) -> Result<Settled, OrderError> {
        let file = DeploymentFile::read(folder)?;
        match slots::standing(writing.records(), model, file.as_ref()) {
            Standing::Agrees => Ok(Settled::Agreed),
            Standing::Unsealed(wanted) => {
                // Only what ties it to the ledger is missing. Where the file is not ours to write, it does without.
                _ = wanted.write(folder, file.as_ref());
                Ok(Settled::Agreed)
            }
            Standing::Behind(wanted) => {
                wanted.write(folder, file.as_ref())?;
                Ok(Settled::Rebuilt)
            }
            Standing::Edited => {
                self.overridden(writing, model, file.as_ref(), now_ms)?;
                self.seal(folder, (model, writing.records()), file.as_ref());
                Ok(Settled::Override)
            }
            Standing::Late(late) => {
                self.caught_up(writing, (model, &late), file.as_ref(), now_ms)?;
                self.seal(folder, (model, writing.records()), file.as_ref());
                Ok(Settled::Late)
            }
        }
    }

    /// Records what a person put into the file.
    fn overridden(
        &self,
        writing: &mut Writing<'_>,
        model: &str,
        file: Option<&DeploymentFile>,
        now_ms: i64,
    ) -> Result<(), OrderError> {
        let Some(DeploymentFile { deployment, .. }) = file else { return Ok(()) };
        let digests = self.admitted(model, deployment)?;
        let life = slots::life(writing.records(), model);
        let mut cause = Event::new(Kind::Override, FILE).model(model).with("new", slots::told(deployment));
        if let Some(old) = life.deployment() {
            cause = cause.with("old", slots::told(&old));
        }
        let digest = |version: &str| {
            digests.iter().find(|(known, _)| known == version).map(|(_, digest)| digest.clone())
        };
        let events = Takeover::new((model, life), (&cause, now_ms), &digest).to(deployment, None);
        for event in events {
            writing.append(event, now_ms)?;
        }
        Ok(())
    }

    /// Records a rollback that took effect without.
    fn caught_up(
        &self,
        writing: &mut Writing<'_>,
        (model, late): (&str, &Late),
        file: Option<&DeploymentFile>,
        now_ms: i64,
    ) -> Result<(), OrderError> {
        let Some(DeploymentFile { deployment, .. }) = file else { return Ok(()) };
        let life = slots::life(writing.records(), model);
        let cause = slots::late_cause(model, late);
        let digest = |version: &str| Some(self.admit(model, version).ok()?.digest);
        let takeover = Takeover::new((model, life), (&cause, now_ms), &digest);
        for event in takeover.to(deployment, Some(&late.version)) {
            writing.append(event, now_ms)?;
        }
        Ok(())
    }

    /// The digests of the versions that a file puts into slots, all of which must be fit to serve.
    fn admitted(&self, model: &str, deployment: &Deployment) -> Result<Vec<(String, String)>, OrderError> {
        let Deployment { champion, challenger, shadows, .. } = deployment;
        let challenger = challenger.iter().map(|challenger| &challenger.version);
        let versions = [champion].into_iter().chain(challenger).chain(shadows);
        let admitted = versions.map(|version| match self.admit(model, version) {
            Ok(admitted) => Ok((version.to_string(), admitted.digest)),
            Err(reason) => {
                let [model, version] = [model.to_owned(), version.to_string()];
                Err(OrderError::Admission { model, version, reason })
            }
        });
        admitted.collect()
    }

    /// Writes the number and hash of the last record into a file whose slots it carries out. Without them the next look
    /// only takes longer to see that nothing changed.
    fn seal(&self, folder: &Path, (model, records): (&str, &[Record]), file: Option<&DeploymentFile>) {
        let Some(file) = file else { return };
        let previous = slots::life(records, model).previous().map(Into::into);
        let deployment = Deployment { previous, ..file.deployment.clone() };
        let sealed = DeploymentFile { deployment, applied: slots::last(records, model), late: None };
        if let Err(error) = sealed.write(folder, Some(file)) {
            tracing::debug!(model, "not sealed: {:#}", anyhow::Error::from(error));
        }
    }

    /// How a model begins that no record gives a champion: with the one that serves, the highest that loads.
    fn first(&self, model: &str, life: &ModelLife) -> Result<Vec<Event>, OrderError> {
        let trust = self.trust.clone();
        let load = move |folder: &Path| Version::load_trusted(folder, &trust);
        let (champion, _) = registry::champion(&self.models, model, load).map_err(|refusals| {
            let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            Refused(format!("{model} has no version that would serve: {}", reasons.join("; ")))
        })?;
        let event = |kind| Event::new(kind, LEADWIRE).model(model).version(&*champion.id.version);
        let digest = &*champion.id.digest;
        let moved = event(Kind::StateChanged).with("from", "trained").with("to", "production");
        // Whoever was to record both may have been killed between them.
        let is_known = life.digest(&champion.id.version) == Some(digest);
        let registered = (!is_known).then(|| event(Kind::ModelRegistered).with("digest", digest));
        let moved = moved.with("override", 1).with("reason", "served before the first order");
        Ok(registered.into_iter().chain([moved.with("digest", digest)]).collect())
    }

    /// A version's digest, if it would serve.
    fn admit(&self, model: &str, version: &str) -> Result<Admitted, String> {
        if !registry::is_name(version) {
            return Err(format!("{version:?} is not the name of a version's folder"));
        }
        let loaded = Version::load_trusted(&self.models.join(model).join(version), &self.trust);
        let loaded = loaded.map_err(|error: VersionError| format!("{:#}", anyhow::Error::from(error)))?;
        Ok(Admitted { digest: loaded.id.digest.to_string(), golden: loaded.manifest.golden.len() })
    }

    /// A model's folder. Its name goes into a path, so it must not climb out.
    pub fn model(&self, model: &str) -> Result<PathBuf, OrderError> {
        let folder = self.models.join(model);
        match registry::is_name(model) && folder.is_dir() {
            true => Ok(folder),
            false => Err(OrderError::Unknown { model: model.to_owned(), models: self.models.clone() }),
        }
    }
}

/// A life after events that have no record yet.
fn followed((model, life): (&str, ModelLife), events: &[Event], now_ms: i64) -> ModelLife {
    let mut all = Life::from([(model.to_owned(), life)]);
    events.iter().for_each(|event| all.apply(&coming(event, 0, now_ms)));
    all.model(model).cloned().unwrap_or_default()
}

/// What is left to be recorded of a rollback.
fn late(order: &Order, events: &[Event], now_ms: i64) -> Option<Late> {
    let cause = events.first()?;
    Some(Late {
        kind: cause.kind.as_str().to_owned(),
        version: cause.version.clone()?,
        actor: order.actor.clone(),
        why: order.why.clone(),
        at_ms: now_ms,
    })
}

fn said(events: &[Event]) -> Vec<String> {
    let news = events.iter().map(Said).filter(Said::is_news);
    news.map(|said| said.to_string()).collect()
}

#[cfg(test)]
mod tests;
