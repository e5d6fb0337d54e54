//! Meanwhile: versions change places, configurations come that are good or bad, and the admin listener is asked.

use std::{fs, net::SocketAddr, path::PathBuf};

use crate::support::{CONFIG, Client, placed};

/// The shipped configuration, but for scores that also go into requests and for short waits.
pub fn config() -> String {
    let mut config = CONFIG.to_owned();
    for (shipped, ours) in [
        ("request: []", "request: [{at: /Lead_Score__c, value: points}]"),
        ("answer: 60s", "answer: 4s"),
        ("pause: 10m", "pause: 1s"),
    ] {
        assert!(config.contains(shipped), "{shipped}");
        config = config.replacen(shipped, ours, 1);
    }
    config
}

/// Whoever changes the files of a sidecar.
pub struct Disturber {
    /// Holds `leadwire.yaml`, and `models/lead` with the versions 1 and 2.
    pub folder: PathBuf,
    pub upstream: SocketAddr,
    pub admin: SocketAddr,
}

impl Disturber {
    /// The next disturbance; nothing of what is served may break by it.
    pub fn step(&self, number: u64) {
        match number % 8 {
            0 => self.deploy(r#"{"champion":"2","previous":"1"}"#),
            1 => self.configure(&config().replace("limits:", "limit:")),
            2 => self.configure(&config().replace("drain: 30s", "drain: 20s")),
            3 => self.deploy(r#"{"champion":"1","previous":"2"}"#),
            4 => self.deploy("{"),
            5 => self.deploy(r#"{"champion":"9"}"#),
            6 => self.configure("["),
            _ => self.configure(&config()),
        }
        for path in ["/metrics", "/api/latency", "/api/models", "/ready"] {
            let answer = Client::connect(self.admin).exchange("GET", path, &[], b"");
            assert_eq!(answer.status(), 200, "{path}");
        }
    }

    /// By renaming, as deployments come.
    fn deploy(&self, text: &str) {
        let file = self.folder.join("models/lead/deployment.json");
        let beside = self.folder.join("deployment.json");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &file).unwrap();
    }

    /// In place, as editors write.
    fn configure(&self, text: &str) {
        let text = placed(text, self.upstream, &self.folder);
        fs::write(self.folder.join("leadwire.yaml"), text).unwrap();
    }
}
