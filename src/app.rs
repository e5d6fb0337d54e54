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
use tokio::sync::oneshot;

use crate::{
    admin::{self, Admin, Token},
    config::Config,
    demo::{DemoOptions, Logged, Scene, Summary},
    lead::ModelId,
    leadlog::{self, Queue, Store, Writer},
    proxy::{Listeners, Proxy, Shared, Snapshot, check_features},
    registry::{Live, Refusal, Registry, Version, Watch},
    telemetry::{Latency, Metrics},
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
        Self { file: None, workers: None, poll: crate::registry::POLL }
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
    watch: Watch,
    writer: Writer,
    admin_thread: JoinHandle<()>,
    admin_stop: oneshot::Sender<()>,
}

impl Sidecar {
    /// Binds every port, loads what there is to load, and starts. Models may be missing; an address, the state directory
    /// or the token may not.
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
        let queue = Queue::new(workers, leadlog::CAPACITY, metrics.leadlog_dropped.clone());
        let writer = Writer::start(&config.state, queue.clone())?;
        let (models, poll) = (config.models.clone(), options.poll);
        let mut control = Control::new(config, options.file.clone(), metrics.clone())?;
        let shared =
            Shared { snapshot: control.snapshot.clone(), latency: latency.clone(), queue: queue.clone() };
        let draining = Arc::new(AtomicBool::new(false));
        let (live, refusals) = (control.live.clone(), control.refusals.clone());
        let state = Admin { metrics, latency, queue, live, refusals, draining: draining.clone(), token };
        control.look();
        let watch = Watch::start(&models, options.file.as_deref(), poll, move || control.look())
            .context("cannot watch for changes")?;
        let (admin_stop, stop) = oneshot::channel();
        let admin_thread = serve_admin(admin_socket, state, stop)?;
        let proxy = Proxy::start(listeners, &shared)?;
        tracing::info!(%listen, %admin, workers, "ready");
        Ok(Self { listen, admin, proxy, draining, watch, writer, admin_thread, admin_stop })
    }

    /// Stops being ready, finishes open requests, writes what waits for the lead log, and ends.
    pub fn stop(self) {
        tracing::info!("draining");
        self.draining.store(true, Ordering::Release);
        self.proxy.drain();
        drop(self.watch);
        drop(self.writer);
        // The admin listener goes last, so that probes see the drain. A closed channel means it ended before.
        _ = self.admin_stop.send(());
        _ = self.admin_thread.join();
        tracing::info!("stopped");
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
    /// The file's text as last read, so that each change is told once.
    text: Option<String>,
    metrics: Arc<Metrics>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    refusals: Arc<ArcSwap<Vec<Refusal>>>,
}

impl Control {
    fn new(config: Config, file: Option<PathBuf>, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let snapshot = Snapshot::new(Arc::new(config.clone()), &[], &metrics)?;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let registry = registry(config.clone());
        let live = registry.live();
        let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let (snapshot, refusals) = (Arc::new(ArcSwap::from_pointee(snapshot)), Arc::default());
        Ok(Self { registry, live, config, file, text, metrics, snapshot, refusals })
    }

    /// Looks at everything again.
    fn look(&mut self) {
        self.look_at_config();
        for refusal in self.registry.look() {
            tracing::error!(model = %refusal.model, kind = refusal.kind.as_str(), "refused: {refusal}");
            self.metrics.model_refused(&refusal.model, refusal.kind.as_str());
        }
        self.refusals.store(Arc::new(self.registry.refusals()));
        let config = self.config.load_full();
        if !self.snapshot.load().serves(&config, &self.champions()) {
            self.swap(&config);
        }
    }

    fn champions(&self) -> Vec<Arc<Version>> {
        self.live.models().values().map(|served| served.champion.clone()).collect()
    }

    /// Puts a configuration in service with the versions that serve; false, with a log line, where they do not fit.
    fn swap(&self, config: &Arc<Config>) -> bool {
        let champions = self.champions();
        match Snapshot::new(config.clone(), &champions, &self.metrics) {
            Ok(snapshot) => {
                self.snapshot.store(Arc::new(snapshot));
                let serving: Vec<String> = champions.iter().map(|version| version.id.to_string()).collect();
                tracing::info!(models = serving.join(" "), "serving");
                true
            }
            Err(error) => {
                tracing::error!(%error, "refused; what served keeps serving");
                false
            }
        }
    }

    fn look_at_config(&mut self) {
        let Some(file) = &self.file else { return };
        let text = match std::fs::read_to_string(file) {
            Ok(text) if self.text.as_ref() == Some(&text) => return,
            Ok(text) => text,
            // Between deletion and rename there is no file; the next look finds it.
            Err(error) => {
                return tracing::warn!(file = %file.display(), %error, "cannot read the configuration");
            }
        };
        let parsed = Config::parse(&text, &|name| std::env::var(name).ok());
        self.text = Some(text);
        let taken = match parsed {
            Ok(config) => self.take(&Arc::new(config)),
            Err(problems) => {
                tracing::error!("configuration refused; the old one stays:\n{}", problems.in_file(file));
                false
            }
        };
        let counter = if taken { &self.metrics.config_reloads } else { &self.metrics.config_refused };
        counter.increment(1);
    }

    fn take(&self, config: &Arc<Config>) -> bool {
        if !self.swap(config) {
            return false;
        }
        let old = self.config.swap(config.clone());
        let fixed =
            |config: &Config| (config.listen, config.admin, config.models.clone(), config.state.clone());
        if fixed(&old) != fixed(config) || old.admin_token != config.admin_token {
            tracing::warn!(
                "changes of listen, admin, admin_token, models and state take effect at the next start"
            );
        }
        tracing::info!(routes = config.routes.len(), "configuration taken");
        true
    }
}

/// The versions under the configuration's directory. One that the configuration cannot feed is refused like a broken one.
fn registry(config: Arc<ArcSwap<Config>>) -> Registry<Version> {
    let models = config.load().models.clone();
    Registry::new(&models, move |folder: &Path| -> Result<Version, LoadError> {
        let version = Version::load(folder)?;
        check_features(&version, &config.load())?;
        Ok(version)
    })
}

/// The champions that would serve under a configuration, and what would be refused.
pub fn look_at_models(config: &Config) -> (Vec<ModelId>, Vec<Refusal>) {
    let mut registry = registry(Arc::new(ArcSwap::from_pointee(config.clone())));
    let refused = registry.look();
    let champions = registry.live().models().values().map(|served| served.champion.id.clone()).collect();
    (champions, refused)
}

/// A version cannot serve.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Version(#[from] crate::registry::VersionError),
    #[error(transparent)]
    Features(#[from] crate::proxy::BindModelError),
}

/// Returns when the process is told to stop, by SIGTERM or Ctrl-C.
pub fn until_signal() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(signalled())?)
}

async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Plays the demo around a sidecar of its own, stops it, and compares its lead log with what clients were told.
pub fn demo(options: &DemoOptions) -> anyhow::Result<Summary> {
    let scene = Scene::set()?;
    let config = scene.config();
    let state = config.state.clone();
    let workers = Some(DEMO_WORKERS);
    let sidecar = Sidecar::start(config, &Options { workers, ..Options::default() })?;
    let played = scene.play(options, sidecar.listen, sidecar.admin, signalled());
    sidecar.stop();
    let scores = Store::open_read_only(&state)?.score_count()?;
    Ok(played?.summary(Logged { scores }))
}

/// Clients and CRM take a core each, and a laptop should stay cool.
const DEMO_WORKERS: usize = 2;
