//! Looks after the versions on trial: each second for what must not wait, and each `rollout.interval` for the rest.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;

use super::evidence::gather;
use crate::{
    config::Config,
    lead::Evidence,
    leadlog::{Seen, Store},
    ledger::{self, Ledger},
    registry::{Live, Version},
    rollout::{
        Act, Alarm, Decision, Desk, Done, Fault, Guards, Life, Memory, ModelLife, Order, OrderError,
        Situation, Told, Trigger, decide,
    },
    telemetry::{Metrics, now_ms},
};

/// How often guards and files are looked at.
const TURN: Duration = Duration::from_secs(1);

/// How soon an order that failed is given again, in milliseconds.
const RETRY_MS: i64 = 10_000;

/// Held while a process looks after a model, so that replicas which share a directory do not do so twice.
const LOCK: &str = ".rollout.lock";

/// What the thread looks at, and whom it tells.
pub struct Sources {
    /// The configuration of this moment.
    pub config: Arc<ArcSwap<Config>>,
    /// Where orders are carried out.
    pub desk: Desk,
    /// The versions in service.
    pub live: Live<Version>,
    /// The challengers that went out of service by themselves.
    pub guards: Arc<Guards>,
    /// Where it counts what it does.
    pub metrics: Arc<Metrics>,
    /// Has what serves follow the files at once.
    pub look: Box<dyn Fn() + Send>,
}

/// The running thread. Dropping it ends it after the turn it is in.
#[derive(Debug)]
pub struct Rollouts {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rollouts {
    /// Starts to look after every model.
    pub fn start(sources: Sources) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut loop_) = (Arc::clone(&stop), Loop::new(sources));
        let run = move || {
            while !told.load(Ordering::Acquire) {
                loop_.turn(now_ms());
                std::thread::park_timeout(TURN);
            }
        };
        let thread = Some(std::thread::Builder::new().name("rollouts".into()).spawn(run)?);
        Ok(Self { stop, thread })
    }
}

impl Drop for Rollouts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has been printed.
            _ = thread.join();
        }
    }
}

struct Loop {
    sources: Sources,
    trials: BTreeMap<String, Trial>,
    /// What kept it from looking at the last turn, so that it is told once.
    complaint: Option<String>,
    /// What the ledger tells, and its file's length and time when it was read.
    known: (Option<(u64, SystemTime)>, Arc<Life>),
}

/// What is remembered of one model between two turns.
#[derive(Default)]
struct Trial {
    memory: Memory,
    /// What has been read of the lead log.
    seen: Seen,
    due_ms: i64,
    /// When an order that failed is given again.
    retry_ms: i64,
    last: Option<Decision>,
    /// It was told that no lock can be made.
    is_told: bool,
    /// Ours while this is open.
    lock: Option<File>,
}

impl Loop {
    fn new(sources: Sources) -> Self {
        Self { sources, trials: BTreeMap::new(), complaint: None, known: Default::default() }
    }

    fn turn(&mut self, now_ms: i64) {
        let config = self.sources.config.load_full();
        let told =
            self.look_at_all(&config, now_ms).map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        self.complain(told.err());
    }

    fn look_at_all(&mut self, config: &Config, now_ms: i64) -> Result<(), OrderError> {
        let desk = self.sources.desk.under(config)?;
        let file = std::fs::metadata(config.state.join(Ledger::FILE)).ok();
        let stamp = file.and_then(|file| Some((file.len(), file.modified().ok()?)));
        let mut unreadable = None;
        if stamp.is_none() || self.known.0 != stamp {
            match ledger::read(&config.state) {
                Ok(records) => self.known = (stamp, Arc::new(Life::fold(&records))),
                // What was known goes on: what must leave does not wait for a ledger to be mended.
                Err(error) => unreadable = Some(error),
            }
        }
        let life = Arc::clone(&self.known.1);
        for (model, life) in life.models() {
            self.look_at((model, life), (config, &desk), now_ms);
        }
        unreadable.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Says what keeps it from looking, once.
    fn complain(&mut self, error: Option<String>) {
        if let Some(error) = error.as_ref().filter(|error| self.complaint.as_ref() != Some(error)) {
            tracing::error!(error, "nobody looks after rollouts");
        }
        self.complaint = error;
    }

    fn look_at(&mut self, (model, life): (&str, &ModelLife), (config, desk): (&Config, &Desk), now_ms: i64) {
        let faults = self.faults(model, life);
        let trial = self.trials.entry(model.to_owned()).or_default();
        let is_urgent = !faults.is_empty() && now_ms >= trial.retry_ms;
        if !(is_urgent || now_ms >= trial.due_ms) || !trial.is_ours(model, &config.models.join(model)) {
            return;
        }
        let policy = &config.rollout;
        let situation = Situation { life, evidence: None, faults: &faults, policy, now_ms };
        // What failed beyond doubt leaves before anything is counted, which takes its time.
        let decision = decide(&situation, &mut trial.memory.clone());
        let decision = if is_urgent && matches!(decision.act, Act::RollBack(_)) {
            trial.retry_ms = now_ms.saturating_add(RETRY_MS);
            decision
        } else if now_ms >= trial.due_ms {
            let evidence = trial.count((model, life), config, now_ms);
            decide(&Situation { evidence: evidence.as_ref(), ..situation }, &mut trial.memory)
        } else {
            return;
        };
        let is_news = decision.is_news(trial.last.as_ref());
        if is_news {
            say(model, &decision);
        }
        if let Some((order, grounds)) = decision.order(model).filter(|_| policy.act) {
            let done = desk.carry_out(&order, &grounds, now_ms);
            if done.is_ok() {
                // What comes next may be due at once.
                (trial.due_ms, trial.retry_ms) = (now_ms, now_ms);
            }
            self.sources.carried_out(&order, &decision, done, is_news);
        }
        trial.last = Some(decision);
    }

    /// The model's live versions that failed beyond doubt.
    fn faults(&self, model: &str, life: &ModelLife) -> Vec<Fault> {
        let mut faults = self.sources.guards.faults(model);
        if let Some(served) = self.sources.live.model(model) {
            let out = served.slots().map(|(_, version)| version).filter(|version| version.poison.is_out());
            for version in out.map(|version| &version.id.version) {
                let is_known = faults.iter().any(|fault| fault.version == **version);
                if !is_known && life.versions.contains_key(&**version) {
                    let said = format!("{model}/{version} panicked three times within a minute");
                    let (version, trigger) = (version.to_string(), Trigger::Guard);
                    faults.push(Fault { version, trigger, told: Told::new(said, []) });
                }
            }
        }
        faults
    }
}

impl Sources {
    /// Tells what came of an order of ours, and has it take effect.
    fn carried_out(&self, order: &Order, decision: &Decision, done: Result<Done, OrderError>, is_news: bool) {
        let model = order.model.as_str();
        match done {
            Ok(done) => {
                self.metrics.rollout_done(model, order.action.as_str());
                done.said.iter().for_each(|line| tracing::info!(model, "{line}"));
                if let Some(error) = done.unwritten {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::error!(model, error, "deployment.json cannot be written");
                    if let Some(deployment) = done.deployment.filter(|_| order.action.is_rollback()) {
                        self.live.obey(model, deployment);
                    }
                }
                (self.look)();
            }
            Err(error) if is_news => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(model, version = decision.version, error, "what was decided cannot be done");
            }
            Err(_) => {}
        }
    }
}

impl Trial {
    /// Whether no other process looks after the model. Where no lock can be made, nobody can write slots either.
    fn is_ours(&mut self, model: &str, folder: &Path) -> bool {
        if self.lock.is_some() {
            return true;
        }
        match OpenOptions::new().create(true).append(true).open(folder.join(LOCK)) {
            Ok(file) => self.lock = file.try_lock().is_ok().then_some(file),
            Err(error) if !std::mem::replace(&mut self.is_told, true) => {
                let folder = folder.display();
                tracing::warn!(model, %error, "nobody looks after its rollouts: {folder} cannot be written");
            }
            Err(_) => {}
        }
        self.lock.is_some()
    }

    /// What the lead log knows of what is on trial; `None` where nothing can be counted. Sets when to look again: counting
    /// takes a twentieth of the time at most, however long the log is.
    fn count(&mut self, (model, life): (&str, &ModelLife), config: &Config, now_ms: i64) -> Option<Evidence> {
        let (policy, started) = (&config.rollout, Instant::now());
        let is_on = life.experiment.is_some() || !life.shadows.is_empty();
        let Self { memory, seen, .. } = self;
        let counted = if is_on {
            let store = Store::open_read_only(&config.state);
            store.and_then(|store| gather((&store, seen), (model, life), policy, memory, now_ms))
        } else {
            *seen = Seen::default();
            Ok(Evidence::default())
        };
        let evidence = match counted {
            Ok(evidence) => Some(evidence),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(model, error, "nothing could be counted");
                None
            }
        };
        let pause = self.memory.next_look(policy).max(20 * started.elapsed());
        self.due_ms = now_ms.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        evidence
    }
}

fn say(model: &str, decision: &Decision) {
    let Decision { act, version, alarm, told } = decision;
    let (act, why) = (format!("{act:?}"), &told.said);
    match alarm {
        Alarm::None => tracing::info!(model, version, act, "{why}"),
        Alarm::Warning => tracing::warn!(model, version, act, "{why}"),
        Alarm::Critical => tracing::error!(model, version, act, "{why}"),
    }
}
