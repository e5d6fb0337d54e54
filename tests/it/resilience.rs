//! The sidecar's own files and ports fail, and traffic goes on.

use std::{
    fs::{create_dir, remove_dir_all, remove_file, write},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use leadwire::{
    app::{Options, Sidecar},
    config::Config,
    leadlog::Store,
};

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Running, Upstream, copy_folder, created, ready, shipped_model, wait,
    write_version,
};

const ID: &str = "00Q8d0000000000001";

/// What is in the lead log's way, and how that ends.
type Obstacle = (&'static str, fn(&Path), fn(&Path));

const OBSTACLES: [Obstacle; 4] = [
    (
        "a file in the directory's place",
        |state| write(state, "").unwrap(),
        |state| remove_file(state).unwrap(),
    ),
    (
        "a directory in the file's place",
        |state| std::fs::create_dir_all(state.join(Store::FILE)).unwrap(),
        |state| remove_dir_all(state).unwrap(),
    ),
    (
        "a later schema",
        |state| {
            create_dir(state).unwrap();
            let log = rusqlite::Connection::open(state.join(Store::FILE)).unwrap();
            log.pragma_update(None, "user_version", 99).unwrap();
        },
        |state| remove_file(state.join(Store::FILE)).unwrap(),
    ),
    (
        "no database",
        |state| {
            create_dir(state).unwrap();
            write(state.join(Store::FILE), "noise".repeat(2_000)).unwrap();
        },
        |state| {
            let aside = state.join("leads.sqlite.corrupt-1");
            wait("the file to be set aside", || aside.exists());
            assert_eq!(std::fs::read_to_string(aside).unwrap(), "noise".repeat(2_000));
        },
    ),
];

#[test]
fn a_lead_log_that_cannot_be_opened_keeps_no_lead_from_its_score() {
    for (what, block, clear) in OBSTACLES {
        let upstream = Upstream::start(|_| created(ID));
        let sidecar = Running::with(upstream.address, CONFIG, |models| {
            copy_folder(&shipped_model(), &models.join("lead/1"));
            block(&models.with_file_name("state"));
        });
        let reply = sidecar.post(CREATE, LEAD);
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")), "{what}");
        assert!(sidecar.admin("/ready").contains("true"), "{what}");
        let state = sidecar.folder.path().join("state");
        clear(&state);
        let scores = || Store::open_read_only(&state).and_then(|store| store.scores_of(ID));
        wait(what, || scores().is_ok_and(|scores| scores.len() == 1));
        assert_eq!(sidecar.metric("leadwire_leadlog_dropped_total"), 0.0, "{what}");
    }
}

#[test]
fn half_a_request_on_the_admin_port_does_not_hold_the_process() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let mut half = Client::connect(sidecar.admin);
    half.send(b"GET /live HTTP/1.1\r\nHos");
    // Connections are accepted in order, so the first one is open when a later one has its answer.
    assert!(sidecar.admin("/live").contains("true"));
    let stopping = std::thread::spawn(move || drop(sidecar));
    wait("the end", || stopping.is_finished());
}

#[test]
fn every_version_is_listed_with_its_slot_and_one_that_is_not_loaded_is_not() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::with(upstream.address, CONFIG, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(models, "2");
        write_version(models, "3");
        let slots =
            r#"{"champion":"1","challenger":{"version":"9","percent":5},"shadows":["2"],"previous":"3"}"#;
        write(models.join("lead/deployment.json"), slots).unwrap();
    });
    let told: serde_json::Value = serde_json::from_str(&sidecar.admin("/api/models")).unwrap();
    let slots = told["models"].as_array().unwrap().iter();
    let slots: Vec<_> = slots.map(|told| (told["version"].as_str(), told["slot"].as_str())).collect();
    let pairs = [("1", "champion"), ("2", "shadow"), ("3", "previous")];
    assert_eq!(slots, pairs.map(|(version, slot)| (Some(version), Some(slot))));
    let info = |version, slot| format!(r#"model="lead",version="{version}",slot="{slot}""#);
    let metrics = sidecar.admin("/metrics");
    for (version, slot) in pairs {
        assert!(metrics.contains(&info(version, slot)), "{metrics}");
    }
}

/// Version 2, with one feature under another name.
fn write_renamed(models: &Path, feature: &str, name: &str) {
    let beside = tempfile::tempdir_in(models.parent().unwrap()).unwrap();
    write_version(beside.path(), "2");
    let manifest = beside.path().join("lead/2/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    write(&manifest, text.replace(&format!("\"{feature}\""), &format!("\"{name}\""))).unwrap();
    std::fs::rename(beside.path().join("lead/2"), models.join("lead/2")).unwrap();
}

#[test]
fn a_configuration_and_a_version_that_only_fit_each_other_are_taken_together_in_either_order() {
    for version_first in [true, false] {
        let upstream = Upstream::start(|_| created(ID));
        let sidecar = Running::start(upstream.address);
        let models = sidecar.folder.path().join("models");
        let reloads =
            |result| sidecar.metric(&format!(r#"leadwire_config_reloads_total{{result="{result}"}}"#));
        let model = || sidecar.post(CREATE, LEAD).header("x-lead-model").map(str::to_owned);
        let reconfigure = || sidecar.reconfigure(upstream.address, &CONFIG.replace("  age:", "  years:"));
        if version_first {
            write_renamed(&models, "age", "years");
            wait("the version's refusal", || sidecar.admin("/api/models").contains("\"reason\":"));
            assert_eq!(model().as_deref(), Some("lead/1"));
            reconfigure();
        } else {
            reconfigure();
            wait("the configuration's refusal", || reloads("refused") == 1.0);
            assert_eq!(model().as_deref(), Some("lead/1"));
            write_renamed(&models, "age", "years");
        }
        wait("both", || model().as_deref() == Some("lead/2"));
        assert_eq!((reloads("taken"), reloads("refused")), (1.0, f64::from(u8::from(!version_first))));
        assert!(!sidecar.admin("/api/models").contains("\"reason\":"));
    }
}

#[test]
fn a_configuration_that_changed_while_the_process_started_is_taken() {
    let (first, second) = (Upstream::start(|_| created("1")), Upstream::start(|_| created("2")));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leadwire.yaml");
    let text = |upstream: &Upstream| {
        let folder = folder.path().display();
        format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://{}\nmodels: {folder}\nstate: {folder}\n",
            upstream.address
        )
    };
    write(&file, text(&first)).unwrap();
    let config = Config::load(&file).unwrap();
    write(&file, text(&second)).unwrap();
    let sidecar = Sidecar::start(config, &Options { file: Some(file), ..Options::default() }).unwrap();
    let mut client = Client::connect(sidecar.listen);
    assert!(client.exchange("GET", "/", &[], b"").text().contains("\"2\""));
    drop(client);
    sidecar.stop();
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_leadwire"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--log", "json", "--workers", "1"])
        .env("LEADWIRE_UPSTREAM", format!("http://{}", silent.local_addr().unwrap()))
        .envs([("LEADWIRE_LISTEN", "127.0.0.1:0"), ("LEADWIRE_ADMIN", "127.0.0.1:0")])
        .env("LEADWIRE_STATE", folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = ready(&mut lines);
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let mut client = Client::connect(ready["listen"].as_str().unwrap().parse().unwrap());
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let _open = silent.accept().unwrap();
    let terminate = || Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(terminate().success());
    lines.find(|line| line.contains("draining")).unwrap();
    let told = Instant::now();
    assert!(terminate().success());
    assert_eq!(process.wait().unwrap().code(), Some(1));
    assert!(told.elapsed() < Duration::from_secs(10), "limits.drain is 30 s: {:?}", told.elapsed());
}
