//! Files that change under a sidecar, or while none runs, and what the ledger says of that.

use std::{fs, path::Path};

use leadwire::ledger::{self, Field, Ledger, Record};
use serde_json::{Value as Json, json};

use crate::support::{
    CONFIG, Client, Running, Upstream, answer, copy_folder, created, leadwire, placed, shipped_model, text,
    wait, write_changed, write_version,
};

fn records(folder: &Path) -> Vec<Record> {
    ledger::read(&folder.join("state")).unwrap()
}

/// Thresholds and configurations that changed, in short.
fn told(folder: &Path) -> Vec<String> {
    let told = |record: &Record| {
        let field = |name: &str| record.fields.get(name).and_then(Field::text).unwrap_or("-").to_owned();
        assert!(record.kind.as_str() != "config.changed" || record.actor == "file");
        match record.kind.as_str() {
            "threshold.changed" => Some(format!("{}: {} -> {}", field("key"), field("old"), field("new"))),
            "config.changed" => Some("configuration".to_owned()),
            _ => None,
        }
    };
    records(folder).iter().filter_map(told).collect()
}

#[test]
fn a_configuration_that_changed_is_recorded_with_its_thresholds_and_without_its_secrets() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "1"));
    let token = "0123456789abcdef-swordfish";
    let secret = |config: &str| format!("# swordfish\n{config}");
    let sidecar = Running::with(upstream.address, &secret(CONFIG), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let folder = sidecar.folder.path().to_owned();
    assert_eq!(told(&folder), ["configuration"], "what the first start found");

    let file = folder.join("swordfish");
    fs::write(&file, token).unwrap();
    let with_token = |config: &str| format!("admin_token: {}\n{}", file.display(), secret(config));
    let narrow = CONFIG.replace("window: 100", "window: 250").replace("drain: 30s", "drain: 90s");
    sidecar.reconfigure(upstream.address, &with_token(&narrow));
    let changed =
        ["configuration", "limits.drain: 30s -> 90s", "rollout.window: 100 -> 250", "configuration"];
    wait("the record", || told(&folder).len() == 4);
    assert_eq!(told(&folder), changed);
    sidecar.reconfigure(upstream.address, "limits: [");
    wait("the refusal", || sidecar.metric(r#"leadwire_config_reloads_total{result="refused"}"#) == 1.0);
    assert_eq!(told(&folder).len(), 4, "what was not taken is not recorded");

    let (_, kept) = sidecar.stop();
    fs::write(
        folder.join("leadwire.yaml"),
        placed(&with_token(&narrow.replace("act: true", "act: false")), upstream.address, &folder),
    )
    .unwrap();
    let sidecar = Running::of(kept);
    assert_eq!(told(&folder).split_off(4), ["rollout.act: true -> false", "configuration"]);
    let sidecar = sidecar.restart();
    assert_eq!(told(&folder).len(), 6, "nothing changed");
    let written = fs::read_to_string(folder.join("state").join(Ledger::FILE)).unwrap();
    assert!(!written.contains("swordfish"), "{written}");
    let last = records(&folder).pop().unwrap();
    let digests = ["before", "after"].map(|name| last.fields[name].text().unwrap().to_owned());
    assert!(digests[0] != digests[1] && digests.iter().all(|digest| digest.len() == 64));
    ledger::verify(&folder.join("state"), None).unwrap();
    drop(sidecar);
}

#[test]
fn another_artifact_behind_a_versions_name_is_recorded() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
    });
    let folder = sidecar.folder.path();
    let changed = || records(folder).into_iter().find(|record| record.kind.as_str() == "files.changed");
    assert!(changed().is_none());
    let beside = tempfile::tempdir().unwrap();
    write_changed(beside.path(), "1", |_| {});
    copy_folder(&beside.path().join("lead/1"), &folder.join("models/lead/1"));
    wait("the record", || changed().is_some());
    let record = changed().unwrap();
    assert_eq!((record.model.as_deref(), record.version.as_deref()), (Some("lead"), Some("1")));
    assert_ne!(record.fields["before"], record.fields["after"]);
    let sidecar = sidecar.restart();
    let all = records(sidecar.folder.path());
    assert_eq!(all.iter().filter(|record| record.kind.as_str() == "files.changed").count(), 1);
}

#[test]
fn what_a_trial_shows_is_told_on_the_command_line_and_over_the_network() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(models, "2");
        let slots = r#"{"champion":"1","challenger":{"version":"2","percent":50}}"#;
        fs::write(models.join("lead/deployment.json"), slots).unwrap();
    });
    let told: Json = serde_json::from_str(&sidecar.admin("/api/models/lead/verdict")).unwrap();
    let canary = &told["trials"][0];
    assert_eq!(
        (&canary["version"], &canary["slot"], &canary["percent"]),
        (&json!("2"), &json!("canary"), &json!(50))
    );
    assert_eq!((&told["next"]["act"], &told["next"]["detail"]), (&json!("hold"), &json!("nodata")), "{told}");
    let status = |path: &str| Client::connect(sidecar.admin).exchange("GET", path, &[], b"").status();
    assert_eq!(status("/api/models/absent/verdict"), 404);
    let config = sidecar.folder.path().join("leadwire.yaml");
    let run = |arguments: &[&str]| {
        leadwire(&[&["rollout", "-c", config.to_str().unwrap(), "verdict"], arguments].concat())
    };
    let output = run(&["lead"]);
    let said = text(&output.stdout);
    for expected in
        ["lead: champion 1\n  2 canary at 50%\n", "    quality     insufficient ", "\n  next: hold nodata: "]
    {
        assert!(said.contains(expected), "{said}{}", text(&output.stderr));
    }
    assert_eq!(output.status.code(), Some(0));
    let json: Json = serde_json::from_slice(&run(&["lead", "--json"]).stdout).unwrap();
    assert_eq!(json["trials"][0]["gate"], canary["gate"]);
    assert_eq!(run(&["absent"]).status.code(), Some(1));
    let refused =
        leadwire(&["rollout", "-c", config.to_str().unwrap(), "promote", "lead", "2", "--actor", "jo"]);
    assert!(text(&refused.stderr).contains("or an override: "), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("; only 0 wins among 0 leads"), "{}", text(&refused.stderr));
}
