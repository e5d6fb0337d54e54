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
    report::{Ledgered, Logged, Rollout, Summary},
    screen::{self, Frame, Screen},
    story::{self, Plot, Story},
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

/// What takes weeks beside a CRM, in seconds. On a machine that is busy with something else scoring may take its time.
const HURRY: [(&str, &str); 9] = [
    ("interval: 60s", "interval: 1s"),
    ("dwell: 24h", "dwell: 2s"),
    ("samples: 2000", "samples: 500"),
    ("window: 100", "window: 20"),
    ("cooldown: 1h", "cooldown: 0s"),
    ("min: 7d", "min: 2s"),
    ("mirrored: 20000", "mirrored: 500"),
    ("p99: 1ms", "p99: 1s"),
    ("deadline: 10ms", "deadline: 100ms"),
];

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
    /// A version's network.
    #[error("the demo's model: {0}")]
    Model(#[from] ModelError),
    /// A golden sample of a version.
    #[error("the demo's model: {0}")]
    Score(#[from] ScoreError),
    /// A version could not be written.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The sidecar refused an order, or did not answer.
    #[error("the sidecar did not take the order {verb:?}: {why}")]
    Order {
        /// The order.
        verb: String,
        /// What it said.
        why: String,
    },
}

/// What the sidecar stands in: a CRM, a model, and folders that go with this value.
pub struct Scene {
    config: Config,
    _crm: Crm,
    _folder: TempDir,
}

/// What was played; [`Played::summary`] needs the lead log's count and the ledger, which are whole once the sidecar has
/// stopped.
pub struct Played {
    tally: Tally,
    plot: Plot,
    stages: Vec<StageLatency>,
    seconds: f64,
}

impl Scene {
    /// Starts the CRM, and writes the first version and that it serves.
    pub fn set(options: &DemoOptions) -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new().prefix("leadwire-demo-").tempdir()?;
        let models = folder.path().join("models");
        model::write_first(&models)?;
        model::serve_first(&models)?;
        let crm = Crm::start()?;
        let config = config(folder.path(), crm.address, options.share())?;
        Ok(Self { config, _crm: crm, _folder: folder })
    }

    /// For the sidecar to start with: the shipped configuration in a hurry, before this CRM, with this model.
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
        let story = Story {
            admin,
            models: self.config.models.clone(),
            length: options.acts(),
            share: options.share(),
            began_ms: story::now_ms(),
        };
        let plot = story.follow();
        let (mut stop, mut end) = (pin!(stop), pin!(over(options.length)));
        let mut acts = pin!(story.play(plot.clone()));
        let mut is_played = false;
        let mut screen = Screen::new(options.json);
        let mut ticks = tokio::time::interval(screen::PERIOD);
        loop {
            tokio::select! {
                stopped = &mut stop => { stopped?; break }
                () = &mut end => break,
                done = &mut acts, if !is_played => { done?; is_played = true }
                _ = ticks.tick() => {
                    let (tally, stages, plot) =
                        (locked(&tally), told.borrow().clone(), plot.borrow().clone());
                    let elapsed = started.elapsed();
                    screen.show(&Frame { elapsed, listen, admin, tally: &tally, stages: &stages, plot: &plot })?;
                }
            }
        }
        // Asked while requests still flow: a worker hands its measurements over with the next one.
        let stages = latency::ask(admin).await.unwrap_or_else(|| told.borrow().clone());
        let elapsed = started.elapsed();
        traffic.stop().await;
        let plot = story.now().await.unwrap_or_else(|| plot.borrow().clone());
        let tally = locked(&tally);
        screen.show(&Frame { elapsed, listen, admin, tally: &tally, stages: &stages, plot: &plot })?;
        Ok(Played { tally, plot, stages, seconds: elapsed.as_secs_f64() })
    }
}

impl Played {
    /// Sums up, with what the lead log and the ledger hold.
    pub fn summary(self, lead_log: Logged, ledger: Ledgered) -> Summary {
        let Played { tally, plot, stages, seconds } = self;
        let rollout = Rollout {
            canary_leads: tally.beside,
            failing: tally.service("lead/3"),
            unreached: plot.unreached(),
            moves: plot.moves,
            trigger: plot.trigger,
            ledger,
        };
        Summary {
            leads: tally.leads,
            failed: tally.failed,
            unscored: tally.unscored,
            leads_per_second: tally.leads as f64 / seconds,
            seconds,
            scores: tally.all_scores(),
            rollout,
            grades: tally.grades,
            stages,
            lead_log,
        }
    }
}

/// The shipped file in a hurry, with the variables that put it into `folder` and before the CRM. The process's own
/// environment has no say.
fn config(folder: &Path, crm: SocketAddr, share: u32) -> Result<Config, DemoError> {
    let path = |name| folder.join(name).to_string_lossy().into_owned();
    let env = |name: &str| match name {
        "LEADWIRE_LISTEN" | "LEADWIRE_ADMIN" => Some("127.0.0.1:0".to_owned()),
        "LEADWIRE_UPSTREAM" => Some(format!("http://{crm}")),
        "LEADWIRE_MODELS" => Some(path("models")),
        "LEADWIRE_STATE" => Some(path("state")),
        _ => None,
    };
    let steps = CONFIG.replacen("steps: [10, 50, 100]", &format!("steps: [{share}, 100]"), 1);
    let text = HURRY.iter().fold(steps, |text, (shipped, ours)| text.replacen(shipped, ours, 1));
    Config::parse(&text, &env).map_err(DemoError::Config)
}

/// The configuration as the demo runs it.
#[cfg(test)]
pub(super) fn shipped_config() -> Config {
    config(Path::new("/nowhere"), "127.0.0.1:1".parse().unwrap(), 25).unwrap()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_in_a_hurry_is_found() {
        for (shipped, _) in HURRY {
            assert_eq!(CONFIG.matches(shipped).count(), 1, "{shipped}");
        }
        let config = shipped_config();
        assert_eq!(config.rollout.steps, [25, 100]);
        assert_eq!((config.rollout.samples, config.rollout.shadow.mirrored), (500, 500));
    }
}
