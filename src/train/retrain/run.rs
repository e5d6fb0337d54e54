//! The steps of a retraining.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    compare::Newest,
    report::RetrainReport,
    work::{Asked, Kept, Work, Written},
};
use crate::{
    ledger::{self, Event, Kind, Record},
    registry::{self, GateCheck, GateMode, GateVerdict, MANIFEST, Trust, Version, VersionError, WEIGHTS},
    train::{
        GatePolicy, InputOptions, Progress, SearchOptions, TrainError, TrainOptions,
        command::{self, Chosen},
        dataset::Dataset,
        family::TREES_FILE,
        input::{self, Prepared},
        publish::{self, Artefact, Draft},
        times,
    },
};

/// Settings that are tried where nobody says how many.
const TRIALS: usize = 50;

/// What the card calls the leads that the gate looked at.
const NEWEST: &str = "newest leads, which neither it nor its calibration saw";

/// Train a model anew on newer leads, compare it with the champion, and have it score along if it is better.
#[derive(Clone, Debug, Args)]
pub struct RetrainOptions {
    /// The model.
    #[arg(value_name = "MODEL", default_value = "lead")]
    pub model: String,
    /// The leads, and what to train.
    #[command(flatten)]
    pub train: TrainOptions,
    /// What is asked for: a gain by the margin, or that it is not worse; that takes a person, and a reason.
    #[arg(long, value_enum, default_value_t = ModeChoice::Gain)]
    pub mode: ModeChoice,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub why: String,
    /// Who asks; $USER without it, but where it is only not to be worse.
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Everything up to the gate's verdict, and nothing is written or recorded.
    #[arg(long)]
    pub dry_run: bool,
    /// Though another version is on trial, nothing is new, or the leads lack what the champion reads.
    #[arg(long)]
    pub force: bool,
}

/// What the gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeChoice {
    /// Better by the margin, and not by chance.
    Gain,
    /// Not worse.
    NotWorse,
}

/// What is to be done, where, and for whom.
#[derive(Clone, Debug)]
pub struct Job<'j> {
    /// As they were given; the model's folder is taken from below.
    pub options: &'j RetrainOptions,
    /// The directory of models.
    pub models: &'j Path,
    /// The directory of state.
    pub state: &'j Path,
    /// Who may sign versions.
    pub trust: &'j Trust,
    /// Who asks.
    pub actor: &'j str,
    /// What led to it: `manual`, `schedule` or `drift`.
    pub trigger: &'j str,
    /// The features that live leads have.
    pub live: BTreeSet<String>,
    /// What the gate asks for; the mode is the options'.
    pub policy: GatePolicy,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

/// The desk, as far as it is needed.
pub struct Hands<'h> {
    /// How the model stands. Nothing changes.
    pub stand: &'h dyn Fn() -> anyhow::Result<Stand>,
    /// Has the slots say who serves, before and after a new version comes.
    pub seat: &'h dyn Fn() -> anyhow::Result<()>,
    /// Records a version and its verdict, unless that is done.
    pub judged: &'h dyn Fn(&str, &Outcome<'_>) -> anyhow::Result<Recorded>,
    /// Has a version score along, unless it does; what was said.
    pub shadow: &'h dyn Fn(&str) -> anyhow::Result<Vec<String>>,
    /// Records an event.
    pub record: &'h dyn Fn(Event) -> anyhow::Result<()>,
}

/// What the gate found.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'o> {
    /// The verdict.
    pub verdict: &'o GateVerdict,
    /// Whether scoring is fast enough, which is not in the verdict: no two runs measure the same.
    pub latency: &'o GateCheck,
}

impl Outcome<'_> {
    /// Whether the version may be tried.
    pub fn passed(&self) -> bool {
        self.verdict.passed && self.latency.passed
    }
}

/// What the desk made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whether the version may be tried, as it is on record: a run that was broken off may have measured another time.
    pub passed: bool,
    /// What was said.
    pub said: Vec<String>,
}

impl fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hands")
    }
}

/// How a model stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Who serves.
    pub champion: Option<String>,
    /// The versions that are on trial, each with words such as `is a shadow`.
    pub on_trial: Vec<(String, String)>,
}

/// Why a retraining came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RetrainError {
    /// Reading, fitting, or writing the version.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The champion cannot be loaded, so there is nothing to compare with.
    #[error("the champion: {0}")]
    Champion(VersionError),
    /// Another version is on trial.
    #[error("{model} waits: {}; a second trial at once would tell nothing of either; --force goes on all the same", on_trial.join(", "))]
    Trial {
        /// The model.
        model: String,
        /// What is on trial.
        on_trial: Vec<String>,
    },
    /// Another version serves than when the run began.
    #[error(
        "{model}: the champion was {} when this began and is {} now, so the comparison is void; what was fitted is kept: \
         run it again", told(before.as_ref()), told(now.as_ref())
    )]
    Moved {
        /// The model.
        model: String,
        /// The champion that it was compared with, or was to be.
        before: Option<String>,
        /// Who serves now.
        now: Option<String>,
    },
    /// Another process retrains the model.
    #[error("{model} is being retrained by another process")]
    Busy {
        /// The model.
        model: String,
    },
    /// Nothing newer than what was trained on can be set apart.
    #[error(
        "the gate needs the newest leads: name the column of their time with --time{}, and leave --valid out",
        like.as_ref().map(|name| format!(" (`{name}` looks like one)")).unwrap_or_default()
    )]
    NoHoldout {
        /// The one column that looks like times.
        like: Option<String>,
    },
    /// The champion was trained on the same leads.
    #[error(
        "nothing is new: version {champion} was trained on the very same leads; --force goes on all the same"
    )]
    NothingNew {
        /// The champion.
        champion: String,
    },
    /// The leads lack columns that the champion reads.
    #[error(
        "version {champion} reads {names}, which these leads do not have: without them it looks worse than it is, and what is no \
         better passes; add the columns (--drop keeps them from training only). If live leads lack them too, --force goes on \
         all the same"
    )]
    Absent {
        /// The champion.
        champion: String,
        /// The columns.
        names: String,
    },
    /// Whoever trains does not sign.
    #[error(
        "{id} waits for its signature: {reason}. Look at it, have `leadwire models sign {id} --key FILE` sign it, and run this \
         again: it goes on from here"
    )]
    Unsigned {
        /// `model/version`.
        id: String,
        /// What is wrong with the signature.
        reason: &'static str,
    },
    /// Not worse is a person's decision.
    #[error("--mode not-worse is a person's decision: say who with --who and why with --why")]
    Nobody,
    /// The work folder.
    #[error("{}: {reason}", path.display())]
    Work {
        /// The folder or file.
        path: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// The ledger or the slots.
    #[error("{step}: {reason:#}")]
    Desk {
        /// What was to be done.
        step: &'static str,
        /// Why it was not.
        reason: anyhow::Error,
    },
}

/// Retrains a model. In a dry run everything up to the verdict.
pub fn run(
    job: &Job<'_>,
    hands: &Hands<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<RetrainReport, RetrainError> {
    let options = job.options;
    let is_named = options.who.is_some() && is_person(job.actor);
    if options.mode == ModeChoice::NotWorse && (options.why.trim().is_empty() || !is_named) {
        return Err(RetrainError::Nobody);
    }
    // First the lock: what serves may change while another run goes on.
    let work = if options.dry_run { None } else { Some(Work::open(job.state, &options.model)?) };
    let stand = (hands.stand)().map_err(desk("looking at the slots"))?;
    let mut run = Run { job, hands, progress, work, stand };
    run.alone(&run.stand)?;
    run.record(Kind::RetrainRequested, |event| {
        event.with("trigger", job.trigger).with("mode", run_mode(options.mode).as_str())
    })?;
    run.all().inspect_err(|error| {
        // The error itself is what the caller must hear of.
        let failed =
            |event: Event| event.with("why", error.to_string().chars().take(1000).collect::<String>());
        _ = run.record(Kind::RetrainFailed, failed);
    })
}

/// `version 3`
fn told(champion: Option<&String>) -> String {
    champion.map_or_else(|| "none".to_owned(), |version| format!("version {version}"))
}

fn is_person(actor: &str) -> bool {
    !actor.is_empty() && actor != "leadwire"
}

pub(super) fn run_mode(mode: ModeChoice) -> GateMode {
    match mode {
        ModeChoice::Gain => GateMode::Gain,
        ModeChoice::NotWorse => GateMode::NotWorse,
    }
}

fn desk(step: &'static str) -> impl Fn(anyhow::Error) -> RetrainError {
    move |reason| RetrainError::Desk { step, reason }
}

/// A retraining on its way.
pub(super) struct Run<'r> {
    pub(super) job: &'r Job<'r>,
    pub(super) hands: &'r Hands<'r>,
    progress: &'r mut dyn FnMut(Progress<'_>),
    /// None in a dry run.
    pub(super) work: Option<Work>,
    pub(super) stand: Stand,
}

/// A fitted model, its bytes, and the journal of its search.
type Fitted = (Kept, Vec<u8>, Option<Vec<u8>>);

impl Run<'_> {
    fn all(&mut self) -> Result<RetrainReport, RetrainError> {
        let options = self.options();
        self.step("reading leads");
        let (asked, mut notes) = self.asked(&options);
        let prepared = input::prepare(&options.input, options.seed, (&self.job.options.model, asked.now_ms))?;
        let newest = Newest::of(&prepared)?;
        let champion = self.champion()?;
        if let Some(champion) = &champion {
            self.is_new(champion, &prepared)?;
            self.is_fair(champion, newest)?;
        }
        notes.extend(self.begin(&options, &prepared, asked)?);
        self.alone(&self.stand)?;
        let (kept, bytes, study) = self.fitted(&options, &prepared)?;
        notes.extend(command::too_good(kept.auc(), &prepared.told.strongest, &options.input)?);
        let artefact = Artefact {
            kind: kept.kind,
            objective: None,
            schema: kept.schema,
            name: file(&kept.file),
            bytes: &bytes,
        };
        self.step("calibrating");
        let searched = (kept.search.clone(), study.as_deref());
        let draft = publish::draft(command::origin(&options, &prepared, searched), artefact)?;
        let mut draft = self.unused(draft)?;
        let metrics = draft.manifest.metrics;
        let judged = self.judge(&options, &mut draft, champion.as_ref(), newest)?;
        let id = format!("{}/{}", self.job.options.model, draft.manifest.version);
        let mut report = RetrainReport {
            model: self.job.options.model.clone(),
            id,
            dry_run: self.job.options.dry_run,
            champion: champion.as_ref().map(|champion| champion.id.version.to_string()),
            input: prepared.told.clone(),
            network: kept.network,
            candidates: kept.candidates,
            search: kept.search,
            metrics,
            gate: None,
            latency: None,
            passed: true,
            golden: draft.manifest.golden.len(),
            notes,
            said: Vec::new(),
        };
        report.judged(judged);
        if !self.job.options.dry_run {
            self.register(&options, &draft, newest.leads, &mut report)?;
        }
        Ok(report)
    }

    /// Under a number that no version ever had: the folder of one may be gone, but the ledger knows it.
    fn unused<'a>(&self, draft: Draft<'a>) -> Result<Draft<'a>, RetrainError> {
        let records = self.records()?;
        let others = records.iter().filter_map(|record| record.version.as_ref()).filter(|version| {
            // What this run wrote may go on under its name.
            Some(version.as_str()) != self.own()
        });
        let last = others.filter_map(|version| version.parse::<u64>().ok()).max();
        let next = last.and_then(|last| last.checked_add(1));
        let drafted = draft.manifest.version.parse::<u64>().ok();
        match next.filter(|next| drafted.is_some_and(|drafted| drafted < *next)) {
            Some(next) => Ok(draft.numbered(&next.to_string())),
            None => Ok(draft),
        }
    }

    /// The options of training, into the model's folder.
    fn options(&self) -> TrainOptions {
        let out = self.job.models.join(&self.job.options.model);
        let train = self.job.options.train.clone();
        let search = SearchOptions { trials: train.search.trials.or(Some(TRIALS)), ..train.search };
        TrainOptions { out, search, ..train }
    }

    /// What is asked for, as of now; or as of when it was first asked for, by a run that was broken off.
    fn asked(&self, options: &TrainOptions) -> (Asked, Vec<String>) {
        // What may leak is a person's word, which changes no lead.
        let input = InputOptions { allow_leakage: Vec::new(), ..options.input.clone() };
        let text = format!("{:?}", TrainOptions { input, ..options.clone() });
        let asked = Asked { options: registry::sha256(text.as_bytes()), now_ms: self.job.now_ms };
        let began = self.work.as_ref().and_then(|work| work.began_ms(&asked));
        match began.filter(|_| options.input.log.from_log) {
            Some(now_ms) => {
                let note =
                    format!("leads as of {}, when the run began that was broken off", times::told(now_ms));
                (Asked { now_ms, ..asked }, vec![note])
            }
            None => (asked, Vec::new()),
        }
    }

    pub(super) fn step(&mut self, name: &str) {
        (self.progress)(Progress::Step(name));
    }

    /// Records an event of the retraining itself; nothing in a dry run.
    fn record(&self, kind: Kind, with: impl FnOnce(Event) -> Event) -> Result<(), RetrainError> {
        let options = self.job.options;
        if options.dry_run {
            return Ok(());
        }
        let event = Event::new(kind, self.job.actor).model(&*options.model);
        let event = if options.why.is_empty() { event } else { event.with("reason", &*options.why) };
        (self.hands.record)(with(event)).map_err(desk("recording"))
    }

    /// Refuses to go on while another version than its own is on trial.
    fn alone(&self, stand: &Stand) -> Result<(), RetrainError> {
        let others = stand.on_trial.iter().filter(|(version, _)| Some(version.as_str()) != self.own());
        let on_trial: Vec<String> =
            others.map(|(version, words)| format!("version {version} {words}")).collect();
        match on_trial.is_empty() || self.job.options.force {
            true => Ok(()),
            false => Err(RetrainError::Trial { model: self.job.options.model.clone(), on_trial }),
        }
    }

    /// Refuses to go on where the slots have moved since the run began: fitting takes its time.
    pub(super) fn still(&self) -> Result<(), RetrainError> {
        let now = (self.hands.stand)().map_err(desk("looking at the slots"))?;
        self.alone(&now)?;
        if now.champion == self.stand.champion {
            return Ok(());
        }
        let (model, before) = (self.job.options.model.clone(), self.stand.champion.clone());
        Err(RetrainError::Moved { model, before, now: now.champion })
    }

    /// What the ledger tells of the model.
    pub(super) fn records(&self) -> Result<Vec<Record>, RetrainError> {
        let records =
            ledger::read(self.job.state).map_err(|error| desk("reading the ledger")(error.into()))?;
        let own = |record: &Record| record.model.as_ref() == Some(&self.job.options.model);
        Ok(records.into_iter().filter(own).collect())
    }

    /// The version that this run, or the one that it goes on with, wrote.
    pub(super) fn own(&self) -> Option<&str> {
        Some(self.work.as_ref()?.steps.written.as_ref()?.version.as_str())
    }

    fn champion(&self) -> Result<Option<Version>, RetrainError> {
        let Some(name) = &self.stand.champion else { return Ok(None) };
        let folder = self.job.models.join(&self.job.options.model).join(name);
        // The first version, of a run that was broken off, comes forward before that is on record, and before it is signed.
        let is_first = |version: Version| version.manifest.gate.is_none();
        if self.own() == Some(name) && Version::load(&folder).is_ok_and(is_first) {
            return Ok(None);
        }
        Version::load_trusted(&folder, self.job.trust).map(Some).map_err(RetrainError::Champion)
    }

    fn is_new(&self, champion: &Version, prepared: &Prepared) -> Result<(), RetrainError> {
        let known = champion.manifest.lineage.snapshot.as_ref().map(|snapshot| &snapshot.digest);
        match known == Some(&prepared.snapshot.digest) && !self.job.options.force {
            true => Err(RetrainError::NothingNew { champion: champion.id.version.to_string() }),
            false => Ok(()),
        }
    }

    /// Goes on with what a run that was broken off left.
    fn begin(
        &mut self,
        options: &TrainOptions,
        prepared: &Prepared,
        asked: Asked,
    ) -> Result<Option<String>, RetrainError> {
        let key = key(options, prepared);
        let found = self.work.as_mut().map(|work| work.begin(&key, asked)).transpose()?.flatten();
        let snapshot = &prepared.snapshot;
        self.record(Kind::RetrainStarted, |event| {
            let event = event.with("snapshot", &*snapshot.digest).with("rows", snapshot.rows);
            let event = event.with("positives", snapshot.positives).with("seed", options.seed.to_string());
            found.iter().fold(event, |event, found| event.with("found", &**found))
        })?;
        Ok(found)
    }

    /// The model that ranks best, fitted now or before.
    fn fitted(&mut self, options: &TrainOptions, prepared: &Prepared) -> Result<Fitted, RetrainError> {
        if let Some((kept, bytes)) = self.work.as_ref().and_then(Work::fitted) {
            let study = self.work.as_ref().and_then(|work| std::fs::read(work.study()).ok());
            return Ok((kept, bytes, study));
        }
        self.step("fitting");
        let study = self.work.as_ref().map(Work::study);
        let Chosen { best, candidates, search, journal } =
            command::choose(options, prepared, study.as_deref(), self.progress)?;
        let kept = Kept {
            kind: best.kind,
            schema: best.schema,
            file: best.name.to_owned(),
            digest: registry::sha256(&best.bytes),
            network: best.candidate.network.to_string(),
            candidates,
            search,
        };
        if let Some(work) = &mut self.work {
            work.keep(kept.clone(), &best.bytes)?;
        }
        Ok((kept, best.bytes, journal))
    }

    /// Writes the version, has it recorded, and has it score along where it may.
    fn register(
        &mut self,
        options: &TrainOptions,
        draft: &Draft<'_>,
        holdout: &Dataset,
        report: &mut RetrainReport,
    ) -> Result<(), RetrainError> {
        self.still()?;
        self.step("registering");
        // Without slots the highest version serves, and that would be the new one.
        if report.champion.is_some() {
            (self.hands.seat)().map_err(desk("naming the champion"))?;
        }
        let version = self.written(options, draft, holdout)?;
        report.id = format!("{}/{version}", report.model);
        report.golden = self.loaded(&options.out.join(&version), &report.id)?;
        match (report.gate.as_ref(), report.latency.as_ref()) {
            (Some(verdict), Some(latency)) => {
                let outcome = Outcome { verdict, latency };
                let recorded = (self.hands.judged)(&version, &outcome).map_err(desk("recording the gate"))?;
                report.passed = recorded.passed;
                report.said.extend(recorded.said);
            }
            _ => (self.hands.seat)().map_err(desk("naming the champion"))?,
        }
        if report.passed && report.gate.is_some() {
            self.still()?;
            report.said.extend((self.hands.shadow)(&version).map_err(desk("having it score along"))?);
        }
        if let Some(work) = self.work.take() {
            work.end();
        }
        Ok(())
    }

    /// How many golden samples hold in what was written, loaded as whatever serves is.
    fn loaded(&self, folder: &Path, id: &str) -> Result<usize, RetrainError> {
        match Version::load_trusted(folder, self.job.trust) {
            Ok(version) => Ok(version.manifest.golden.len()),
            Err(VersionError::Signature { reason, .. }) => {
                Err(RetrainError::Unsigned { id: id.to_owned(), reason })
            }
            Err(error) => Err(TrainError::from(error).into()),
        }
    }

    /// The version on disk: the one that a run before wrote, if it is this very one, or a new one.
    fn written(
        &mut self,
        options: &TrainOptions,
        draft: &Draft<'_>,
        holdout: &Dataset,
    ) -> Result<String, RetrainError> {
        let Some(work) = &mut self.work else { return Ok(draft.manifest.version.clone()) };
        if let Some(before) = &work.steps.written {
            let manifest = options.out.join(&before.version).join(MANIFEST);
            let digest = registry::sha256(&draft.numbered(&before.version).manifest_bytes(&options.out)?);
            let found = std::fs::read(manifest).is_ok_and(|bytes| registry::sha256(&bytes) == before.digest);
            if found && digest == before.digest {
                return Ok(before.version.clone());
            }
        }
        let (version, digest) =
            (draft.manifest.version.clone(), registry::sha256(&draft.manifest_bytes(&options.out)?));
        work.writes(Written { version: version.clone(), digest })?;
        draft.write(&options.out, holdout, NEWEST)?;
        Ok(version)
    }
}

/// The file of a fitted model.
fn file(name: &str) -> &'static str {
    if name == TREES_FILE { TREES_FILE } else { WEIGHTS }
}

/// The same leads, options and program fit the same model.
fn key(options: &TrainOptions, prepared: &Prepared) -> String {
    let TrainOptions { seed, kind, calibration, grades, search, .. } = options;
    let Prepared { train, valid, snapshot, .. } = prepared;
    let (columns, program) = (&options.input.columns, publish::program());
    let parts = [train.digest(), valid.digest(), snapshot.digest.clone()].join(" ");
    let text =
        format!("{program:?} {parts} {seed} {kind:?} {calibration:?} {grades:?} {columns:?} {search:?}");
    registry::sha256(text.as_bytes())
}
