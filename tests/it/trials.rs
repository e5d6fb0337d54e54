//! Whole trials, looked after by the sidecar itself: what is good rises step by step, what is bad leaves, and the ledger
//! tells both.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use leadwire::{
    ledger::{self, Record},
    registry::Version,
    score::Encoding,
};

use crate::support::{
    CONFIG, CREATE, LEAD, Message, Running, Upstream, copy_folder, created, post, shipped_model, wait,
    write_changed,
};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// The shipped configuration in a hurry.
fn config() -> String {
    let mut config = CONFIG.to_owned();
    for (shipped, ours) in [
        ("interval: 60s", "interval: 1s"),
        ("dwell: 24h", "dwell: 1s"),
        ("samples: 2000", "samples: 500"),
        ("steps: [10, 50, 100]", "steps: [50, 100]"),
        ("min: 7d", "min: 1s"),
        ("max: 14d", "max: 1h"),
        ("mirrored: 20000", "mirrored: 300"),
        // A busy machine is no reason to hold.
        ("p99: 1ms", "p99: 1s"),
    ] {
        assert!(config.contains(shipped), "{shipped}");
        config = config.replacen(shipped, ours, 1);
    }
    config
}

/// A sidecar with the shipped model as version 1, and others beside it.
struct Sidecar {
    running: Running,
    _crm: Upstream,
    /// Leads so far; each has an address and an id of its own.
    leads: AtomicU32,
}

impl Sidecar {
    fn start(others: impl FnOnce(&Path)) -> Self {
        let stored = AtomicU32::new(0);
        let crm = Upstream::start(move |_| created(&format!("00Q{:015}", stored.fetch_add(1, Relaxed))));
        let running = Running::with(crm.address, &config(), |models| {
            copy_folder(&shipped_model(), &models.join("lead/1"));
            others(models);
        });
        Self { running, _crm: crm, leads: AtomicU32::new(0) }
    }

    /// Sends so many leads; all are scored. How many of them the version answered.
    fn send(&self, count: u32, version: &str) -> u32 {
        let mut client = self.running.client();
        let answered = (0..count).filter(|_| {
            let n = self.leads.fetch_add(1, Relaxed);
            let lead = LEAD.replacen('{', &format!(r#"{{"Email":"{n}@example.com","#), 1);
            let lead = if n % 20 == 19 { lead.replace("56.0", "95.0") } else { lead };
            let reply = client.exchange("POST", CREATE, &JSON, lead.as_bytes());
            assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
            reply.header("x-lead-model") == Some(version)
        });
        answered.count() as u32
    }

    /// Sends leads until something is so.
    fn send_until(&self, what: &str, is_so: impl Fn() -> bool) {
        wait(what, || {
            self.send(50, "");
            is_so()
        });
    }

    fn order(&self, verb: &str, body: &str) -> Message {
        post(self.running.admin, &format!("/api/models/lead/{verb}"), body)
    }

    fn ordered(&self, verb: &str, body: &str) {
        let answer = self.order(verb, body);
        assert_eq!(answer.status(), 200, "{verb}: {}", answer.text());
    }

    fn records(&self) -> Vec<Record> {
        ledger::read(&self.running.folder.path().join("state")).unwrap()
    }

    /// What the ledger says of versions' ways: `lead/2 shadow -> canary`.
    fn moves(&self) -> Vec<String> {
        let records = self.records();
        let moves = records.iter().filter(|record| record.kind.as_str() == "state.changed");
        let text = |record: &Record, name: &str| record.fields[name].text().unwrap().to_owned();
        moves
            .map(|record| {
                let version = record.version.as_deref().unwrap();
                format!("{version} {} -> {}", text(record, "from"), text(record, "to"))
            })
            .collect()
    }

    fn tells(&self, kind: &str) -> bool {
        self.records().iter().any(|record| record.kind.as_str() == kind)
    }

    fn deployment(&self) -> serde_json::Value {
        let file = self.running.folder.path().join("models/lead/deployment.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

#[test]
fn a_shadow_becomes_a_canary_with_leave_and_serves_all_with_more_of_it() {
    let sidecar = Sidecar::start(|models| {
        // Nearly the same scores: what is spread differently is held back.
        let calibration = Version::load(&shipped_model()).unwrap().manifest.calibration;
        write_changed(models, "2", |manifest| manifest.calibration = calibration);
        // Without it the highest version would serve.
        std::fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
    });
    sidecar.ordered("shadow", r#"{"version":"2","actor":"ci"}"#);
    sidecar.send_until("a question for leave", || sidecar.tells("approval.requested"));
    assert_eq!(sidecar.send(50, "lead/2"), 0, "a shadow answers nobody");
    sidecar.ordered(
        "approve",
        r#"{"version":"2","step":"canary","actor":"maria","why":"a week without a failure"}"#,
    );
    sidecar.send_until("the first step", || sidecar.tells("canary.ramped"));
    wait("the canary", || sidecar.send(50, "lead/2") > 0);
    let answered = sidecar.send(600, "lead/2");
    assert!((200..400).contains(&answered), "{answered} of 600 at 50%");
    let refused = sidecar.order("promote", r#"{"version":"2","actor":"maria","why":"it looks good"}"#);
    assert_eq!(refused.status(), 409);
    assert!(refused.text().contains("needs to know that it is better, or an override"), "{}", refused.text());
    assert!(!sidecar.tells("promoted"), "nothing shows that it is better");
    sidecar.ordered(
        "approve",
        r#"{"version":"2","step":"production","override":true,"actor":"maria","why":"new fields"}"#,
    );
    sidecar.send_until("the last step", || sidecar.tells("promoted"));
    wait("version 2", || sidecar.send(20, "lead/2") == 20);
    let expected = [
        "1 trained -> production",
        "2 trained -> validated",
        "2 validated -> shadow",
        "2 shadow -> canary",
        "2 canary -> production",
        "1 production -> standby",
    ];
    assert_eq!(sidecar.moves(), expected);
    let deployment = sidecar.deployment();
    assert_eq!((&deployment["champion"], &deployment["previous"]), (&"2".into(), &"1".into()));
    sidecar.ordered("rollback", r#"{"actor":"maria","why":"sales complain"}"#);
    wait("version 1", || sidecar.send(20, "lead/1") == 20);
    assert_eq!(sidecar.moves().split_off(6), ["2 production -> quarantined", "1 standby -> production"]);
}

#[test]
fn a_bad_challenger_goes_back_by_itself_and_stays_away() {
    let sidecar = Sidecar::start(|models| {
        // Of whoever is older than 74 the score is no number.
        write_changed(models, "2", |manifest| {
            let age = manifest.schema.features.iter_mut().find(|feature| feature.name == "age").unwrap();
            let Encoding::Number { sd, .. } = &mut age.encoding else { panic!("age is no number") };
            *sd = 1e-37;
            manifest.golden.retain(|golden| {
                golden.features.get("age").is_some_and(
                    |age| matches!(age.value(), leadwire::lead::Value::Number(age) if age < 74.0),
                )
            });
        });
        let slots = r#"{"champion":"1","challenger":{"version":"2","percent":50}}"#;
        std::fs::write(models.join("lead/deployment.json"), slots).unwrap();
    });
    sidecar.send_until("the rollback", || sidecar.tells("rollback.auto"));
    assert_eq!(sidecar.send(100, "lead/2"), 0);
    let records = sidecar.records();
    let rollback = records.iter().find(|record| record.kind.as_str() == "rollback.auto").unwrap();
    assert_eq!(rollback.fields["trigger"].text(), Some("score"));
    assert_eq!(rollback.actor, "leadwire");
    assert_eq!(sidecar.moves().last().map(String::as_str), Some("2 canary -> quarantined"));
    // The record is written first.
    wait("its slot", || sidecar.deployment()["challenger"].is_null());
    for (verb, body) in
        [("shadow", r#"{"version":"2","actor":"ci"}"#), ("canary", r#"{"version":"2","actor":"ci"}"#)]
    {
        let refused = sidecar.order(verb, body);
        assert_eq!(refused.status(), 409, "{}", refused.text());
        assert!(refused.text().contains("quarantine"), "{}", refused.text());
    }
    let verified = ledger::verify(&sidecar.running.folder.path().join("state"), None).unwrap();
    assert_eq!(verified.size, sidecar.records().len() as u64);
}

#[test]
fn a_rollback_takes_effect_though_its_file_cannot_be_written() {
    let sidecar = Sidecar::start(|models| {
        write_changed(models, "2", |_| {});
        let slots = r#"{"champion":"1","challenger":{"version":"2","percent":50}}"#;
        std::fs::write(models.join("lead/deployment.json"), slots).unwrap();
    });
    assert!(sidecar.send(40, "lead/2") > 0);
    let file = sidecar.running.folder.path().join("models/lead/deployment.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    sidecar.ordered("rollback", r#"{"actor":"maria","why":"odd grades"}"#);
    wait("the champion alone", || sidecar.send(40, "lead/2") == 0);
    std::fs::remove_dir_all(&file).unwrap();
    wait("the file", || file.is_file());
    assert_eq!(sidecar.deployment()["challenger"], serde_json::Value::Null);
    assert_eq!(sidecar.send(100, "lead/1"), 100);
}
