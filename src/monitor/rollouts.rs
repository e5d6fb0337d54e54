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
    time::Duration,
};

use arc_swap::ArcSwap;

use super::evidence::gather;
use crate::{
    config::Config,
    lead::TripReason,
    leadlog::Store,
    ledger::{self, Field},
    registry::{Live, Version},
    rollout::{
        Act, Action, Alarm, Decision, Desk, Done, Fault, Grounds, Guards, LEADWIRE, Life, Memory, ModelLife,
        Order, OrderError, Quality, Situation, Told, Trigger, decide, paired,
    },
    telemetry::{Metrics, now_ms},
};

/// How often guards and files are looked at.
const TURN: Duration = Duration::from_secs(1);

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
}

/// What is remembered of one model between two turns.
#[derive(Default)]
struct Trial {
    memory: Memory,
    due_ms: i64,
    last: Option<Decision>,
    /// Ours while this is open.
    lock: Option<File>,
}

impl Loop {
    fn new(sources: Sources) -> Self {
        Self { sources, trials: BTreeMap::new(), complaint: None }
    }

    fn turn(&mut self, now_ms: i64) {
        let config = self.sources.config.load_full();
        let told =
            self.look_at_all(&config, now_ms).map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        self.complain(told.err());
    }

    fn look_at_all(&mut self, config: &Config, now_ms: i64) -> Result<(), OrderError> {
        let desk = self.sources.desk.under(config)?;
        let records = ledger::read(&config.state)?;
        for (model, life) in Life::fold(&records).models() {
            self.look_at((model, life), (config, &desk), now_ms);
        }
        Ok(())
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
        if (faults.is_empty() && now_ms < trial.due_ms) || !trial.is_ours(&config.models.join(model)) {
            return;
        }
        let policy = &config.rollout;
        let is_on = life.experiment.is_some() || !life.shadows.is_empty();
        let evidence = is_on.then(|| {
            let store = Store::open_read_only(&config.state)?;
            gather(&store, (model, life), policy, &trial.memory, now_ms)
        });
        let evidence = match evidence.transpose() {
            Ok(evidence) => Some(evidence.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(
                    model,
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "nothing could be counted"
                );
                None
            }
        };
        let (evidence, faults) = (evidence.as_ref(), faults.as_slice());
        let decision = decide(&Situation { life, evidence, faults, policy, now_ms }, &mut trial.memory);
        let next = i64::try_from(trial.memory.next_look(policy).as_millis()).unwrap_or(i64::MAX);
        trial.due_ms = now_ms.saturating_add(next);
        let is_news = decision.is_news(trial.last.as_ref());
        if is_news {
            say(model, &decision);
        }
        let better = evidence.is_some_and(|evidence| {
            paired(&evidence.pairs.labelled, &policy.paired).ruling == Quality::Better
        });
        if let Some(action) = action(&decision).filter(|_| policy.act) {
            let order = Order {
                model: model.to_owned(),
                action,
                actor: LEADWIRE.to_owned(),
                why: decision.told.said.clone(),
            };
            let done = desk.carry_out(&order, &grounds(&decision, better), now_ms);
            self.sources.carried_out(&order, &decision, done, is_news);
            // The next step may be due at once.
            trial.due_ms = now_ms;
        }
        trial.last = Some(decision);
    }

    /// The model's live versions that failed beyond doubt.
    fn faults(&self, model: &str, life: &ModelLife) -> Vec<Fault> {
        let tripped = self.sources.guards.tripped().into_iter().filter(|(of, ..)| **of == *model);
        let mut faults: Vec<Fault> = tripped
            .map(|(_, version, trip)| {
                let trigger = match trip.reason {
                    TripReason::Score => Trigger::Score,
                    TripReason::Load => Trigger::Load,
                    TripReason::Poison | TripReason::Errors | TripReason::Deadline => Trigger::Guard,
                };
                let (minute, beside) = (trip.challenger, trip.champion);
                let said =
                    format!("its guard took {model}/{version} out of service: {}", trip.reason.as_str());
                let numbers = [
                    ("minute_leads", i64::from(minute.leads)),
                    ("minute_failed", i64::from(minute.failed)),
                    ("minute_late", i64::from(minute.late)),
                    ("minute_champion_leads", i64::from(beside.leads)),
                    ("minute_champion_failed", i64::from(beside.failed)),
                    ("minute_champion_late", i64::from(beside.late)),
                ];
                Fault { version: version.to_string(), trigger, told: Told::new(said, numbers) }
            })
            .collect();
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
                if let Some(error) = &done.unwritten {
                    let error = format!("{error:#}");
                    tracing::error!(model, error, "deployment.json cannot be written");
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
    fn is_ours(&mut self, folder: &Path) -> bool {
        if self.lock.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(folder.join(LOCK));
            self.lock = file.ok().filter(|file| file.try_lock().is_ok());
        }
        self.lock.is_some()
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

/// The order that a decision asks for; none where it holds.
fn action(decision: &Decision) -> Option<Action> {
    let version = || decision.version.clone();
    Some(match decision.act {
        Act::Hold(_) => return None,
        Act::Canary { percent } | Act::StepUp { percent } => Action::Canary(version(), Some(percent)),
        Act::Promote => Action::Promote(version()),
        Act::RollBack(_) => Action::Rollback { from: Some(version()), to: None },
        Act::Freeze => Action::Freeze,
        Act::Reject => Action::Reject(version()),
        Act::Ask(stage) => Action::Ask(version(), stage),
        Act::Archive => Action::Archive(version()),
    })
}

fn grounds(decision: &Decision, better: bool) -> Grounds {
    let trigger = match decision.act {
        Act::RollBack(trigger) => Some(trigger.as_str().to_owned()),
        _ => None,
    };
    let numbers =
        decision.numbers().iter().map(|(name, number)| ((*name).to_owned(), Field::Integer(*number)));
    Grounds { better, trigger, numbers: numbers.collect() }
}
