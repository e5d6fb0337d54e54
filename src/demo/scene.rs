//! All of it together: set the scene, play, sum up.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    crm::Crm,
    draw::Draw,
    latency::{self, StageLatency},
    model,
    options::DemoOptions,
    report::{Logged, Summary},
    screen::{self, Frame, Screen},
    tally::Tally,
    traffic::Traffic,
};
use crate::{
    config::{Config, Problems},
    registry::VersionError,
    score::{ModelError, ScoreError},
};

/// The shipped configuration.
const CONFIG: &str = include_str!("../../config/leadwire.yaml");
/// Every run sends the same leads.
const SEED: u64 = 7;

/// The demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or a socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The shipped configuration, under this environment.
    #[error("the demo's configuration: {0}")]
    Config(Problems),
    /// The embedded manifest.
    #[error("the demo's model: {0}")]
    Manifest(String),
    /// The second version's network.
    #[error("the demo's model: {0}")]
    Model(#[from] ModelError),
    /// A golden sample of the second version.
    #[error("the demo's model: {0}")]
    Score(#[from] ScoreError),
    /// The second version could not be written.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// What the sidecar stands in: a CRM, a model, and folders that go with this value.
pub struct Scene {
    config: Config,
    _crm: Crm,
    _folder: TempDir,
}

/// What was played; [`Played::summary`] needs the lead log's count, which is known once the sidecar has stopped.
pub struct Played {
    tally: Tally,
    stages: Vec<StageLatency>,
    seconds: f64,
}

impl Scene {
    /// Starts the CRM and writes the first version.
    pub fn set() -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new().prefix("leadwire-demo-").tempdir()?;
        model::write_first(&folder.path().join("models"))?;
        let crm = Crm::start()?;
        let config = config(folder.path(), crm.address)?;
        Ok(Self { config, _crm: crm, _folder: folder })
    }

    /// For the sidecar to start with: the shipped configuration, before this CRM, with this model.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Sends leads to the sidecar at `listen` for as long as the options say or until `stop` resolves, and waits for all
    /// answers.
    pub fn play(
        &self,
        options: &DemoOptions,
        listen: SocketAddr,
        admin: SocketAddr,
        stop: impl Future<Output = io::Result<()>>,
    ) -> Result<Played, DemoError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.playing(options, listen, admin, stop))
    }

    async fn playing(
        &self,
        options: &DemoOptions,
        listen: SocketAddr,
        admin: SocketAddr,
        stop: impl Future<Output = io::Result<()>>,
    ) -> Result<Played, DemoError> {
        let manifest = model::first()?;
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let told = latency::follow(admin);
        let started = Instant::now();
        let draw = |client| Draw::new(&manifest, &self.config.features, SEED + u64::from(client));
        let traffic = Traffic::start(listen, options.rate, &tally, draw);
        let (mut stop, mut end) = (pin!(stop), pin!(over(options.length)));
        let mut swap = pin!(self.swap(options.swap_after(), &tally));
        let mut swapped = false;
        let mut screen = Screen::new(options.json);
        let mut ticks = tokio::time::interval(screen::PERIOD);
        loop {
            tokio::select! {
                stopped = &mut stop => { stopped?; break }
                () = &mut end => break,
                done = &mut swap, if !swapped => { done?; swapped = true }
                _ = ticks.tick() => {
                    let (tally, stages) = (locked(&tally), told.borrow().clone());
                    let elapsed = started.elapsed();
                    screen.show(&Frame { elapsed, listen, admin, tally: &tally, stages: &stages })?;
                }
            }
        }
        // Asked while requests still flow: a worker hands its measurements over with the next one.
        let stages = latency::ask(admin).await.unwrap_or_else(|| told.borrow().clone());
        let elapsed = started.elapsed();
        traffic.stop().await;
        let tally = locked(&tally);
        screen.show(&Frame { elapsed, listen, admin, tally: &tally, stages: &stages })?;
        Ok(Played { tally, stages, seconds: elapsed.as_secs_f64() })
    }

    /// Drops the second version into the watched folder; the sidecar's watch does the rest.
    async fn swap(&self, after: Duration, tally: &Mutex<Tally>) -> Result<(), DemoError> {
        tokio::time::sleep(after).await;
        let models = self.config.models.clone();
        tally.lock().unwrap_or_else(PoisonError::into_inner).write_begins(Instant::now());
        tokio::task::spawn_blocking(move || model::write_second(&models)).await.map_err(io::Error::from)?
    }
}

impl Played {
    /// Sums up, with what the lead log holds.
    pub fn summary(self, lead_log: Logged) -> Summary {
        let Played { tally, stages, seconds } = self;
        Summary {
            leads: tally.leads,
            failed: tally.failed,
            unscored: tally.unscored,
            leads_per_second: tally.leads as f64 / seconds,
            seconds,
            scores: tally.all_scores(),
            swap: tally.swap(),
            grades: tally.grades,
            stages,
            lead_log,
        }
    }
}

/// The shipped file, with the variables that put it into `folder` and before the CRM. The process's own environment has
/// no say.
fn config(folder: &Path, crm: SocketAddr) -> Result<Config, DemoError> {
    let path = |name| folder.join(name).to_string_lossy().into_owned();
    let env = |name: &str| match name {
        "LEADWIRE_LISTEN" | "LEADWIRE_ADMIN" => Some("127.0.0.1:0".to_owned()),
        "LEADWIRE_UPSTREAM" => Some(format!("http://{crm}")),
        "LEADWIRE_MODELS" => Some(path("models")),
        "LEADWIRE_STATE" => Some(path("state")),
        _ => None,
    };
    Config::parse(CONFIG, &env).map_err(DemoError::Config)
}

/// The configuration as the demo runs it.
#[cfg(test)]
pub(super) fn shipped_config() -> Config {
    config(Path::new("/nowhere"), "127.0.0.1:1".parse().unwrap()).unwrap()
}

fn locked(tally: &Mutex<Tally>) -> Tally {
    tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn over(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}
