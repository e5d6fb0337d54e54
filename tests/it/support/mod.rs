//! A raw client, a raw upstream and a sidecar between them: bytes in, bytes out, nothing in between that could tidy up.

pub mod chaos;
mod command;
pub mod http2;
mod model;
pub mod tls;
mod upstream;
mod wire;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use leadwire::{
    app::{Options, Sidecar},
    config::Config,
    leadlog::Store,
};
use tempfile::TempDir;

pub use self::{
    command::{leadwire, ready, text},
    model::write_small_model,
    upstream::{Upstream, answer, created},
    wire::{Client, Message, post},
};

/// The shipped configuration.
pub const CONFIG: &str = include_str!("../../../config/leadwire.yaml");

/// A lead as the replay sends them; scores .0x with the shipped model.
pub const LEAD: &str = r#"{"LastName":"Lead00000","Company":"[not provided]","LeadSource":"Phone","Status":"Open - Not Contacted","age__c":56.0,"campaign__c":1.0,"pdays__c":999.0,"previous__c":0.0,"emp_var_rate__c":1.1,"cons_price_idx__c":93.994,"cons_conf_idx__c":-36.4,"euribor3m__c":4.857,"nr_employed__c":5191.0,"job__c":"housemaid","marital__c":"married","education__c":"basic.4y","default__c":"no","housing__c":"no","loan__c":"no","contact__c":"telephone","month__c":"may","day_of_week__c":"mon","poutcome__c":"nonexistent"}"#;

pub const CREATE: &str = "/services/data/v61.0/sobjects/Lead";

/// A sidecar in this process, with its files in a directory of its own.
pub struct Running {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
    sidecar: Option<Sidecar>,
}

impl Running {
    /// The shipped configuration and model in front of `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::with(upstream, CONFIG, |models| copy_folder(&shipped_model(), &models.join("lead/1")))
    }

    /// Another configuration; `set_up` fills the directory of models.
    pub fn with(upstream: SocketAddr, config: &str, set_up: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        set_up(&models);
        let file = folder.path().join("leadwire.yaml");
        std::fs::write(&file, placed(config, upstream, folder.path())).unwrap();
        Self::of(folder)
    }

    /// A sidecar of what stands in a directory.
    pub fn of(folder: TempDir) -> Self {
        let file = folder.path().join("leadwire.yaml");
        let config = Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let places = ["models", "state"].map(|name| folder.path().join(name));
        assert_eq!([&config.models, &config.state], places.each_ref());
        let options = Options { file: Some(file), workers: Some(2), poll: Duration::from_secs(3600) };
        let sidecar = Sidecar::start(config, &options).unwrap();
        Self { listen: sidecar.listen, admin: sidecar.admin, folder, sidecar: Some(sidecar) }
    }

    /// Drains, and starts another with the same files.
    pub fn restart(self) -> Self {
        let (_, folder) = self.stop();
        Self::of(folder)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.listen)
    }

    /// Posts JSON to `path` on a connection of its own.
    pub fn post(&self, path: &str, body: &str) -> Message {
        self.client().exchange("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// The body of an admin endpoint.
    pub fn admin(&self, path: &str) -> String {
        let reply = Client::connect(self.admin).exchange("GET", path, &[], b"");
        String::from_utf8(reply.body).unwrap()
    }

    /// The value of one line of /metrics; 0 where there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Rewrites the configuration's file.
    pub fn reconfigure(&self, upstream: SocketAddr, config: &str) {
        std::fs::write(
            self.folder.path().join("leadwire.yaml"),
            placed(config, upstream, self.folder.path()),
        )
        .unwrap();
    }

    /// Drains, and opens the lead log that was flushed.
    pub fn stop(mut self) -> (Store, TempDir) {
        self.sidecar.take().unwrap().stop();
        let store = Store::open_read_only(&self.folder.path().join("state")).unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (store, folder)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.stop();
        }
    }
}

/// The configuration with the addresses and directories of one test.
pub fn placed(config: &str, upstream: SocketAddr, folder: &Path) -> String {
    let values = [
        ("listen: ", "127.0.0.1:0".to_owned()),
        ("upstream: https:", format!("//{upstream}")),
        ("upstream: h2c:", format!("//{upstream}")),
        ("upstream: ", format!("http://{upstream}")),
        ("admin: ", "127.0.0.1:0".to_owned()),
        ("models: ", folder.join("models").display().to_string()),
        ("state: ", folder.join("state").display().to_string()),
    ];
    let line = |line: &str| match values.iter().find(|(key, _)| line.starts_with(key)) {
        Some((key, value)) => format!("{key}{value}\n"),
        None => format!("{line}\n"),
    };
    // A busy machine is no reason to skip; the test of the deadline sets its own.
    config.replace("deadline: 10ms", "deadline: 1s").lines().map(line).collect()
}

/// models/lead/1 of this repository.
pub fn shipped_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lead/1")
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The shipped model as another version whose scores differ.
pub fn write_version(models: &Path, version: &str) {
    write_changed(models, version, |_| {});
}

/// The same with a change to what its manifest says.
pub fn write_changed(models: &Path, version: &str, change: impl FnOnce(&mut leadwire::registry::Manifest)) {
    let original = leadwire::registry::Version::load(&shipped_model()).unwrap();
    let mut manifest = original.manifest.clone();
    manifest.version = version.to_owned();
    manifest.calibration = leadwire::score::Calibration::Platt { a: 1.0, b: 2.0 };
    change(&mut manifest);
    let weights = std::fs::read(shipped_model().join(leadwire::registry::WEIGHTS)).unwrap();
    let model = leadwire::score::Model::new(manifest.spec(), &weights).unwrap();
    let mut scratch = leadwire::score::Scratch::default();
    for golden in &mut manifest.golden {
        let missing = leadwire::lead::Value::Missing;
        let values: Vec<_> = model
            .features()
            .iter()
            .map(|feature| golden.features.get(&feature.name).map(|v| v.value()))
            .collect();
        let scored = model.score(|i| values[i].as_ref().unwrap_or(&missing), &mut scratch).unwrap();
        golden.score = scored.score.probability();
    }
    let files = [(leadwire::registry::WEIGHTS, weights.as_slice())];
    leadwire::registry::write(&models.join("lead").join(version), &manifest, &files).unwrap();
}

/// Waits until `done`, at most half a minute.
pub fn wait(what: &str, done: impl Fn() -> bool) {
    wait_within(Duration::from_secs(30), what, done);
}

/// Waits until `done`, at most so long.
pub fn wait_within(limit: Duration, what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
