//! Wiring: bind, spawn, watch, drain. The one place where rooms meet.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    admin::{self, Admin, Look, Token},
    config::{Config, Rollout},
    demo::{DemoOptions, Ledgered, Logged, Scene, Summary},
    lead::{ModelId, TripReason},
    leadlog::{self, Known, Queue, Rules, Store, Told, Writer},
    ledger::{self, Field, Fields, Keys, Ledger, LedgerCommand},
    monitor::{Journal, Rollouts, Sources},
    proxy::{
        self, BindModelError, Listeners, Proxy, Recording, Rehearsal, ShadowScorer, Shadows, Shared,
        Snapshot, TlsDigests, TlsError, TlsFiles, TlsSides, check_features, is_missing, make_missing,
    },
    registry::{
        self, Holdout, KeyError, Live, Refusal, RefusalKind, Registry, Served, Trust, Version, VersionError,
        Watch,
    },
    rollout::{self, Action, Desk, Grounds, Guards, Life, Order, Settled, State},
    telemetry::{Latency, Metrics, now_ms},
    train::{
        GatePolicy, Progress, RetrainOptions, RetrainReport,
        retrain::{self, Hands, Job, Outcome, Recorded, Stand},
    },
};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration's file, to be watched for changes.
    pub file: Option<PathBuf>,
    /// Worker threads; one for each core without it.
    pub workers: Option<usize>,
    /// How often files are looked at where no event says so.
    pub poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { file: None, workers: None, poll: registry::POLL }
    }
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// Where the CRM's clients connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    proxy: Proxy,
    draining: Arc<AtomicBool>,
    threads: Threads,
    admin_thread: JoinHandle<()>,
    admin_stop: oneshot::Sender<()>,
}

/// The threads beside the traffic. They end in this order: what comes first gives work to those below, and what only
/// counts comes last, so that a long count keeps no record from the lead log.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their ends")]
struct Threads {
    watch: Watch,
    scorer: ShadowScorer,
    writer: Writer,
    rollouts: Rollouts,
}

impl Sidecar {
    /// Binds every port, loads what there is to load, and starts. Models may be missing, and so may a place for the lead
    /// log; an address, the token, certificates and keys may not.
    pub fn start(config: Config, options: &Options) -> anyhow::Result<Self> {
        let workers = options
            .workers
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1);
        let listeners = Listeners::bind(config.listen, workers)?;
        let admin_socket = std::net::TcpListener::bind(config.admin)
            .with_context(|| format!("cannot listen on {}", config.admin))?;
        let (listen, admin) = (listeners.address, admin_socket.local_addr()?);
        let token = config.admin_token.as_deref().map(Token::load).transpose()?;
        let (metrics, latency) = (Arc::new(Metrics::default()), Arc::new(Latency::default()));
        let Books { queue, known, shadows, writer, scorer, rules } = Books::open(&config, workers, &metrics)?;
        let (models, poll) = (config.models.clone(), options.poll);
        let mut control = Control::new(config, options.file.clone(), metrics.clone(), rules)?;
        let served = control.served_by();
        let shared = Shared {
            snapshot: served.snapshot.clone(),
            latency: latency.clone(),
            queue: queue.clone(),
            known: known.clone(),
            shadows,
            connections: metrics.connections.clone(),
            handshakes: metrics.handshakes.clone(),
            upstream: metrics.upstream.clone(),
            workers,
        };
        let draining = Arc::new(AtomicBool::new(false));
        control.look();
        let watched = control.watched();
        let watch = Watch::start(&models, watched, poll, move || control.look())
            .context("cannot watch for changes")?;
        let rollouts = Rollouts::start(served.sources(&metrics, watch.now()))?;
        let ServedBy { config, desk, live, guards, refusals, .. } = served;
        let (told, look) = (draining.clone(), Look::new(watch.now()));
        let state = Admin {
            metrics,
            latency,
            queue,
            known,
            live,
            guards,
            refusals,
            desk,
            config,
            look,
            draining: told,
            token,
        };
        let (admin_stop, stop) = oneshot::channel();
        let admin_thread = serve_admin(admin_socket, state, stop)?;
        let proxy = Proxy::start(listeners, &shared)?;
        tracing::info!(%listen, %admin, workers, "ready");
        let threads = Threads { watch, scorer, writer, rollouts };
        Ok(Self { listen, admin, proxy, draining, threads, admin_thread, admin_stop })
    }

    /// Stops being ready, finishes open requests, writes what waits for the lead log, and ends.
    pub fn stop(self) {
        tracing::info!("draining");
        self.draining.store(true, Ordering::Release);
        self.proxy.drain();
        drop(self.threads);
        // The admin listener goes last, so that probes see the drain. A closed channel means it ended before.
        _ = self.admin_stop.send(());
        _ = self.admin_thread.join();
        tracing::info!("stopped");
    }
}

/// Where scores are kept: in memory, in the lead log, and on their way to either.
struct Books {
    queue: Queue,
    known: Arc<Known>,
    shadows: Shadows,
    writer: Writer,
    scorer: ShadowScorer,
    rules: Arc<ArcSwap<Rules>>,
}

impl Books {
    fn open(config: &Config, workers: usize, metrics: &Metrics) -> anyhow::Result<Self> {
        let queue = Queue::new(workers, leadlog::CAPACITY, metrics.leadlog.dropped.clone());
        let known = Arc::new(Known::new(config.limits.known, config.limits.known_age));
        let names = config.features.iter().map(|feature| feature.name.clone()).collect();
        let rules = Arc::new(ArcSwap::from_pointee(Rules::from(config)));
        let told = Told {
            known: known.clone(),
            names,
            unmatched: metrics.outcomes_unmatched.clone(),
            metrics: metrics.leadlog.clone(),
            rules: rules.clone(),
        };
        let writer = Writer::start(&config.state, queue.clone(), told)?;
        let shadows = Shadows::new(Shadows::CAPACITY, metrics.shadow_dropped.clone());
        let scorer = ShadowScorer::start(&shadows, queue.aside())?;
        Ok(Self { queue, known, shadows, writer, scorer, rules })
    }
}

/// What [`Control`] keeps in step, for others to read.
struct ServedBy {
    snapshot: Arc<ArcSwap<Snapshot>>,
    config: Arc<ArcSwap<Config>>,
    desk: Desk,
    live: Live<Version>,
    guards: Arc<Guards>,
    refusals: Arc<ArcSwap<Vec<Refusal>>>,
}

impl ServedBy {
    fn sources(&self, metrics: &Arc<Metrics>, look: impl Fn() + Send + 'static) -> Sources {
        Sources {
            config: self.config.clone(),
            desk: self.desk.clone(),
            live: self.live.clone(),
            guards: self.guards.clone(),
            metrics: metrics.clone(),
            look: Box::new(look),
        }
    }
}

fn serve_admin(
    socket: std::net::TcpListener,
    state: Admin,
    stop: oneshot::Receiver<()>,
) -> anyhow::Result<JoinHandle<()>> {
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = async move {
        let listener = tokio::net::TcpListener::from_std(socket)?;
        admin::serve(listener, state, async { _ = stop.await }).await
    };
    let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
        if let Err(error) = runtime.block_on(run) {
            tracing::error!(%error, "the admin listener ended");
        }
    })?;
    Ok(thread)
}

/// Keeps the snapshot in step with the files. Whatever is wrong with one, what served keeps serving.
struct Control {
    registry: Registry<Version>,
    live: Live<Version>,
    config: Arc<ArcSwap<Config>>,
    file: Option<PathBuf>,
    /// The file's text as last read, so that each change is told once. None before the first look, which reads the file
    /// again, since it may have changed after it was parsed.
    text: Option<String>,
    /// The digest of the file whose configuration serves; None until that is known.
    taken: Option<String>,
    /// Valid, and refused for the sake of the versions that serve. It may fit versions that are yet to come.
    candidate: Option<Arc<Config>>,
    desk: Desk,
    /// Where changed files are recorded.
    journal: Journal,
    /// Why deployments and ledger did not come together at the last look, so that each reason is told once.
    unsettled: Vec<String>,
    /// What takes challengers out of service at once.
    guards: Arc<Guards>,
    tls: TlsSides,
    /// The certificates and keys as last looked at, so that each change is told once.
    tls_digests: TlsDigests,
    metrics: Arc<Metrics>,
    /// What the lead log keeps.
    log_rules: Arc<ArcSwap<Rules>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    refusals: Arc<ArcSwap<Vec<Refusal>>>,
}

impl Control {
    fn new(
        config: Config,
        file: Option<PathBuf>,
        metrics: Arc<Metrics>,
        log_rules: Arc<ArcSwap<Rules>>,
    ) -> anyhow::Result<Self> {
        make_ca(&config)?;
        let files = TlsFiles::read(&config);
        let (tls, tls_digests) = (files.build(&TlsSides::default())?, files.digests());
        // Whoever does not check certificates goes on; not to start would stop everybody.
        files
            .untimely(&TlsSides::default())
            .iter()
            .for_each(|error| tracing::warn!(%error, "a certificate is not valid now"));
        warn_of_exposed(&files);
        let snapshot = Snapshot::new(Arc::new(config.clone()), &[], &metrics)?.with_tls(tls.clone());
        let (models, desk) = (config.models.clone(), Desk::at(&config.models, &config.state));
        let config = Arc::new(ArcSwap::from_pointee(config));
        let registry = registry(&models, config.clone());
        let live = registry.live();
        let (snapshot, refusals) = (Arc::new(ArcSwap::from_pointee(snapshot)), Arc::default());
        let (text, taken, candidate, guards) = (None, None, None, Arc::default());
        let journal = Journal::new(desk.state.clone());
        Ok(Self {
            registry,
            live,
            config,
            file,
            text,
            taken,
            candidate,
            desk,
            journal,
            unsettled: Vec::new(),
            guards,
            tls,
            tls_digests,
            metrics,
            log_rules,
            snapshot,
            refusals,
        })
    }

    fn served_by(&self) -> ServedBy {
        ServedBy {
            snapshot: self.snapshot.clone(),
            config: self.config.clone(),
            desk: self.desk.clone(),
            live: self.live.clone(),
            guards: self.guards.clone(),
            refusals: self.refusals.clone(),
        }
    }

    /// The files whose directories are watched beside the models'.
    fn watched(&self) -> impl Fn() -> Vec<PathBuf> + Send + 'static {
        let (file, config) = (self.file.clone(), self.config.clone());
        move || {
            let config = config.load();
            file.iter().cloned().chain(TlsFiles::names(&config).map(Path::to_owned)).collect()
        }
    }

    /// Looks at everything again.
    fn look(&mut self) {
        self.look_at_config();
        self.look_at_models();
        self.look_at_tls();
        let config = self.config.load_full();
        if !self.snapshot.load().serves(&config, &self.served(), &self.tls)
            && let Err(error) = self.swap(&config, &self.tls)
        {
            tracing::error!(%error, "refused; what served keeps serving");
        }
        self.journal.look(&config, self.taken.as_deref(), &self.live, now_ms());
    }

    /// Brings every deployment and the ledger together. Where that fails, what the files say is served all the same.
    fn settle(&mut self) {
        let settled = match self.desk.under(&self.config.load()) {
            Ok(desk) => desk.settle_all(now_ms()),
            Err(error) => vec![(String::new(), Err(error.into()))],
        };
        let mut unsettled = Vec::new();
        for (model, settled) in settled {
            let done = match settled {
                Ok(Settled::Agreed) => continue,
                Ok(Settled::Rebuilt) => "deployment.json was behind the ledger; rebuilt",
                Ok(Settled::Override) => "deployment.json was edited by hand; recorded",
                Ok(Settled::Late) => "a rollback that came before its record is recorded",
                Err(error) => {
                    unsettled.push(format!("{model} {:#}", anyhow::Error::from(error)));
                    continue;
                }
            };
            tracing::info!(model, "{done}");
        }
        for reason in unsettled.iter().filter(|reason| !self.unsettled.contains(reason)) {
            tracing::warn!("deployments and ledger do not agree: {}", reason.trim_start());
        }
        self.unsettled = unsettled;
    }

    fn look_at_models(&mut self) {
        self.settle();
        for refusal in self.registry.look() {
            tracing::error!(model = %refusal.model, kind = refusal.kind.as_str(), "refused: {refusal}");
            self.metrics.model_refused(&refusal.model, refusal.kind.as_str());
        }
        self.refusals.store(Arc::new(self.registry.refusals()));
        self.look_at_challengers();
    }

    /// A challenger that cannot be loaded any more is out of service at once, though its model is still in memory. One that
    /// holds the slot no longer leaves its guard behind.
    fn look_at_challengers(&self) {
        let models = self.live.models();
        let challenger = |model: &str| models.get(model)?.deployment.challenger.as_ref();
        self.guards
            .retain(|model, version| challenger(model).is_some_and(|known| *known.version == *version));
        for Refusal { model, version, kind, .. } in self.registry.refusals() {
            let Some(version) = version.filter(|_| kind == RefusalKind::Version) else { continue };
            let Some(served) = models.get(&model) else { continue };
            let digest = served.challenger.as_ref().map(|challenger| &challenger.id.digest);
            let is_challenger = challenger(&model).is_some_and(|known| known.version == version);
            if is_challenger && self.guards.of(&model, &version, digest).trip(TripReason::Load, now_ms()) {
                self.metrics.trial(&model).tripped(TripReason::Load);
                tracing::error!(%model, %version, "challenger taken out of service: it cannot be loaded");
            }
        }
    }

    /// Certificates and keys change on their own. What does not fit together, or is not valid now, leaves the old ones.
    fn look_at_tls(&mut self) {
        let config = self.config.load_full();
        let files = TlsFiles::read(&config);
        if files.digests() == self.tls_digests {
            return;
        }
        self.tls_digests = files.digests();
        match timely(&files, &self.tls) {
            Ok(tls) => {
                self.tls = tls;
                warn_of_exposed(&files);
                self.metrics.tls_reloads.increment(1);
                tracing::info!("certificates and keys taken");
            }
            Err(error) => {
                self.metrics.tls_refused.increment(1);
                tracing::error!(%error, "certificates and keys refused; the old ones stay");
            }
        }
    }

    fn served(&self) -> Vec<Arc<Served<Version>>> {
        self.live.models().values().cloned().collect()
    }

    /// Puts a configuration in service with the versions that serve, unless they do not fit.
    fn swap(&self, config: &Arc<Config>, tls: &TlsSides) -> Result<(), BindModelError> {
        let served = self.served();
        let slot = |served: &Arc<Served<Version>>| -> Vec<String> {
            served.slots().map(|(slot, version)| format!("{}:{}", version.id, slot.as_str())).collect()
        };
        let serving: Vec<String> = served.iter().flat_map(slot).collect();
        let snapshot = Snapshot::serving(config.clone(), served, &self.guards, &self.metrics)?;
        let snapshot = snapshot.with_tls(tls.clone());
        snapshot.inherit_pauses(&self.snapshot.load());
        self.snapshot.store(Arc::new(snapshot));
        tracing::info!(models = serving.join(" "), "serving");
        Ok(())
    }

    fn look_at_config(&mut self) {
        let Some(file) = &self.file else { return };
        let text = match std::fs::read_to_string(file) {
            Ok(text) if self.text.as_ref() == Some(&text) => return self.try_candidate(),
            Ok(text) => text,
            // Between deletion and rename there is no file; the next look finds it.
            Err(error) => {
                return tracing::warn!(file = %file.display(), %error, "cannot read the configuration");
            }
        };
        let parsed = Config::parse(&text, &|name| std::env::var(name).ok());
        let is_first = self.text.replace(text).is_none();
        self.candidate = None;
        let taken = match parsed {
            Ok(config) => self.take_or_keep(Arc::new(config)),
            Err(problems) => {
                tracing::error!("configuration refused; the old one stays:\n{}", problems.in_file(file));
                false
            }
        };
        match taken {
            // Most likely what the process started with.
            true if is_first => {}
            true => self.metrics.config_reloads.increment(1),
            false => self.metrics.config_refused.increment(1),
        }
    }

    /// Whether the configuration serves now. One that does not fit the versions on disk is tried again at every look.
    fn take_or_keep(&mut self, config: Arc<Config>) -> bool {
        match self.take(&config) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "configuration refused until models and certificates fit it; the old one stays");
                self.candidate = Some(config);
                false
            }
        }
    }

    fn try_candidate(&mut self) {
        // Told when it was refused; told again when it is taken.
        if let Some(config) = self.candidate.clone()
            && self.take(&config).is_ok()
        {
            self.candidate = None;
            self.metrics.config_reloads.increment(1);
        }
    }

    fn take(&mut self, config: &Arc<Config>) -> Result<(), TakeError> {
        let (tls, tls_digests) = self.tls_of(config)?;
        let old = match self.swap(config, &tls) {
            Ok(()) => self.config.swap(config.clone()),
            Err(error) if !self.fits_disk(config) => return Err(error.into()),
            Err(_) => self.take_with_versions(config, &tls)?,
        };
        (self.tls, self.tls_digests) = (tls, tls_digests);
        if old.model_keys != config.model_keys {
            self.registry.reload();
        }
        if Rules::from(&*old) != Rules::from(&**config) {
            self.log_rules.store(Arc::new(Rules::from(&**config)));
        }
        let fixed = |config: &Config| {
            let Config { listen, admin, limits, .. } = config;
            (*listen, *admin, config.models.clone(), config.state.clone(), limits.known, limits.known_age)
        };
        if fixed(&old) != fixed(config) || old.admin_token != config.admin_token {
            tracing::warn!(
                "changes of listen, admin, admin_token, models, state and limits.known take effect at the next start"
            );
        }
        self.taken = self.text.as_ref().map(|text| registry::sha256(text.as_bytes()));
        tracing::info!(routes = config.routes.len(), "configuration taken");
        Ok(())
    }

    /// What a configuration is spoken with. Where it says nothing new of that, files that are broken just now are no
    /// reason to refuse it.
    fn tls_of(&self, config: &Config) -> Result<(TlsSides, TlsDigests), TlsError> {
        let old = self.config.load();
        let mirror = |config: &Config| config.mirror.as_ref().and_then(|mirror| mirror.upstream.tls.clone());
        if old.tls == config.tls
            && old.upstream.tls == config.upstream.tls
            && mirror(&old) == mirror(config)
            && old.egress == config.egress
        {
            return Ok((self.tls.clone(), self.tls_digests));
        }
        make_ca(config)?;
        let files = TlsFiles::read(config);
        let tls = timely(&files, &self.tls)?;
        warn_of_exposed(&files);
        Ok((tls, files.digests()))
    }

    /// Whether each model that serves has a version on disk to serve under a configuration.
    fn fits_disk(&self, config: &Config) -> bool {
        let folder = &self.config.load().models;
        let mut registry = registry(folder, Arc::new(ArcSwap::from_pointee(config.clone())));
        registry.look();
        let found = registry.live().models();
        self.live.models().keys().all(|model| found.contains_key(model))
    }

    /// Takes a configuration together with versions that were refused under the old one, which it returns.
    fn take_with_versions(
        &mut self,
        config: &Arc<Config>,
        tls: &TlsSides,
    ) -> Result<Arc<Config>, BindModelError> {
        let old = self.config.swap(config.clone());
        self.look_at_models();
        // Fails only if the disk has changed since it was asked.
        self.swap(config, tls).inspect_err(|_| self.config.store(old.clone()))?;
        Ok(old)
    }
}

/// What is spoken with from now on, unless a new certificate is not valid now.
fn timely(files: &TlsFiles<'_>, before: &TlsSides) -> Result<TlsSides, TlsError> {
    match files.untimely(before).into_iter().next() {
        Some(error) => Err(error),
        None => files.build(before),
    }
}

/// Makes the CA for egress where there is none.
fn make_ca(config: &Config) -> Result<(), TlsError> {
    if let Some(egress) = &config.egress
        && make_missing(egress)?
    {
        let cert = egress.ca.cert.display();
        tracing::info!(%cert, "a CA for egress was made; clients must be told to trust it");
    }
    Ok(())
}

fn warn_of_exposed(files: &TlsFiles<'_>) {
    for key in files.exposed() {
        tracing::warn!(key = %key.display(), "every user of the system can read this private key");
    }
}

/// What is wrong with certificates, keys and CAs, and which keys every user of the system can read.
pub fn look_at_tls(config: &Config) -> (Vec<TlsError>, Vec<PathBuf>) {
    let mut config = config.clone();
    // What the start makes is no mistake while it is missing.
    config.egress.take_if(|egress| is_missing(&egress.ca));
    let files = TlsFiles::read(&config);
    (files.problems(), files.exposed().into_iter().map(Path::to_owned).collect())
}

/// The versions under a directory. One that the configuration cannot feed is refused like a broken one.
fn registry(models: &Path, config: Arc<ArcSwap<Config>>) -> Registry<Version> {
    Registry::new(models, move |folder: &Path| -> Result<Version, LoadError> {
        let config = config.load();
        let version = Version::load_trusted(folder, &Trust::load(&config.model_keys)?)?;
        check_features(&version, &config)?;
        Ok(version)
    })
}

/// The champions that would serve under a configuration, and what would be refused.
pub fn look_at_models(config: &Config) -> (Vec<ModelId>, Vec<Refusal>) {
    let mut registry = registry(&config.models, Arc::new(ArcSwap::from_pointee(config.clone())));
    let refused = registry.look();
    let champions = registry.live().models().values().map(|served| served.champion.id.clone()).collect();
    (champions, refused)
}

/// Takes a recorded exchange through a configuration and its models, without a network.
pub fn rehearse(mut config: Config, recording: &Recording) -> anyhow::Result<Rehearsal> {
    // The first request of a process is no measure of time.
    config.limits.deadline = Duration::from_secs(10);
    let config = Arc::new(config);
    let mut registry = registry(&config.models, Arc::new(ArcSwap::new(config.clone())));
    registry.look();
    let models = registry.live().models();
    let champions: Vec<Arc<Version>> = models.values().map(|served| served.champion.clone()).collect();
    let snapshot = Snapshot::new(config, &champions, &Metrics::default())?;
    Ok(proxy::rehearse(&Arc::new(snapshot), recording)?)
}

/// A configuration does not fit what is on disk.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Models(#[from] BindModelError),
}

/// A version cannot serve.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Features(#[from] BindModelError),
}

/// Retrains a model of a configuration, for a person or for a trigger that fired. `trigger` is `manual`, `schedule` or
/// `drift`.
pub fn retrain(
    config: &Config,
    options: &RetrainOptions,
    (actor, trigger): (&str, &str),
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<RetrainReport> {
    let desk = Desk::of(config)?;
    let model = options.model.as_str();
    let order =
        |action| Order { model: model.to_owned(), action, actor: actor.to_owned(), why: options.why.clone() };
    let carry_out = |action, grounds: Grounds| -> anyhow::Result<Vec<String>> {
        let done = desk.carry_out(&order(action), &grounds, now_ms())?;
        done.unwritten.map_or(Ok(done.said), |error| Err(error.into()))
    };
    let state = |version: &str| -> anyhow::Result<State> {
        let life = Life::fold(&ledger::read(&desk.state)?);
        Ok(life.model(model).map_or(State::Trained, |life| life.state(version)))
    };
    let hands = Hands {
        stand: &|| stand(&desk, model),
        seat: &|| Ok(desk.seat(model, now_ms()).map(|_| ())?),
        judged: &|version, outcome| match state(version)? {
            State::Trained => {
                let passed = outcome.passed();
                let action = Action::Judge { version: version.to_owned(), passed };
                let grounds = Grounds { numbers: numbers(outcome), ..Grounds::default() };
                carry_out(action, grounds).map(|said| Recorded { passed, said })
            }
            // A run before came so far.
            state => Ok(Recorded { passed: state != State::Rejected, said: Vec::new() }),
        },
        shadow: &|version| match state(version)? {
            State::Validated => carry_out(Action::Shadow(version.to_owned()), Grounds::default()),
            _ => Ok(Vec::new()),
        },
        record: &|event| Ok(Ledger::open(&desk.state)?.lock()?.append(event, now_ms()).map(|_| ())?),
    };
    let job = Job {
        options,
        models: &config.models,
        state: &config.state,
        trust: &desk.trust,
        actor,
        trigger,
        live: config.features.iter().map(|feature| feature.name.to_string()).collect(),
        policy: policy(config),
        now_ms: now_ms(),
    };
    Ok(retrain::run(&job, &hands, progress)?)
}

/// What the training gate asks for under a configuration.
fn policy(config: &Config) -> GatePolicy {
    let Rollout { p99, training, .. } = &config.rollout;
    GatePolicy {
        min_gain: training.gain,
        alpha: training.alpha,
        margin: training.margin,
        positives: training.positives,
        ece: training.ece,
        segment_loss: training.segment,
        slowdown: training.slowdown,
        fast: *p99,
        ..GatePolicy::default()
    }
}

/// Who serves and who is on trial, by the slots as they stand.
fn stand(desk: &Desk, model: &str) -> anyhow::Result<Stand> {
    if !desk.models.join(model).is_dir() {
        return Ok(Stand::default());
    }
    let Some(status) = rollout::statuses(desk, Some(model), now_ms())?.pop() else {
        return Ok(Stand::default());
    };
    let canary = status.challenger.iter();
    let canary =
        canary.map(|trial| (trial.version.clone(), format!("answers {}% of the leads", trial.percent)));
    let shadows = status.shadows.iter().map(|version| (version.clone(), "is a shadow".to_owned()));
    Ok(Stand { champion: status.champion, on_trial: canary.chain(shadows).collect() })
}

/// A verdict as a record holds it: `quality_gain_e6`, and the names of the checks that failed.
fn numbers(Outcome { verdict, latency }: &Outcome<'_>) -> Fields {
    let mut fields = Fields::from([
        ("mode".to_owned(), verdict.mode.as_str().into()),
        ("champion".to_owned(), verdict.champion.clone().into()),
        ("rows".to_owned(), verdict.rows.into()),
        ("positives".to_owned(), verdict.positives.into()),
    ]);
    if let Some(Holdout { digest, seen, comparisons, notes }) = &verdict.holdout {
        fields.insert("holdout".to_owned(), digest.as_str().into());
        fields.insert("comparisons".to_owned(), (*comparisons).into());
        fields.extend(seen.map(|seen| ("seen".to_owned(), seen.into())));
        if !notes.is_empty() {
            fields.insert("notes".to_owned(), notes.join("; ").into());
        }
    }
    for check in &verdict.checks {
        let named =
            |(name, number): (&String, &f64)| (format!("{}_{name}_e6", check.name), Field::micro(*number));
        fields.extend(check.numbers.iter().map(named));
    }
    let failed = verdict.failed().chain(Some(*latency).filter(|latency| !latency.passed));
    let failed: Vec<&str> = failed.map(|check| check.name.as_str()).collect();
    if !failed.is_empty() {
        fields.insert("failed".to_owned(), failed.join(" ").into());
    }
    fields.extend(latency.numbers.iter().map(|(name, nanos)| (name.clone(), (*nanos as i64).into())));
    fields
}

/// SIGTERM and Ctrl-C, heard from [`Signals::install`] on.
#[derive(Debug)]
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the place of the system's handlers, which end the process where it stands.
    pub fn install() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(context);
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Returns when the process is told to stop.
    pub fn wait(&mut self) {
        let Self { runtime, terminate, interrupt } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
    }

    /// Ends the process with exit code 1 when it is told to stop once more: whoever says so twice does not want to wait
    /// for the drain.
    pub fn exit_at_next(mut self) -> std::io::Result<()> {
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            self.wait();
            tracing::warn!("told to stop again; open requests are cut off");
            std::process::exit(1);
        })?;
        Ok(())
    }
}

/// Plays the demo around a sidecar of its own, stops it, compares its lead log with what clients were told, and checks its
/// ledger.
pub fn demo(options: &DemoOptions) -> anyhow::Result<Summary> {
    let scene = Scene::set(options)?;
    let config = scene.config();
    let state = config.state.clone();
    let workers = Some(DEMO_WORKERS);
    let sidecar = Sidecar::start(config, &Options { workers, ..Options::default() })?;
    let played = scene.play(options, sidecar.listen, sidecar.admin, signalled());
    sidecar.stop();
    let scores = Store::open_read_only(&state)?.score_count()?;
    Ok(played?.summary(Logged { scores }, ledgered(&state)?))
}

fn ledgered(state: &Path) -> anyhow::Result<Ledgered> {
    if let Err(broken) = ledger::verify(state, None) {
        return Ok(Ledgered { lines: Vec::new(), broken: Some(broken.to_string()) });
    }
    let show = LedgerCommand::Show { model: None, since: None, json: false };
    let shown = ledger::run(&show, state, &Keys::default())?;
    Ok(Ledgered { lines: shown.lines().map(str::to_owned).collect(), broken: None })
}

async fn signalled() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Clients and CRM take a core each, and a laptop should stay cool.
const DEMO_WORKERS: usize = 2;
