//! Orders to move versions, from the command line and over the admin listener, with and without a sidecar at work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use leadwire::{
    leadlog::Store,
    ledger::{self, Ledger, Record},
    registry::{Deployment, DeploymentFile},
    rollout::{Desk, Settled},
};
use serde_json::{Value as Json, json};

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, copy_folder, created, leadwire, placed,
    shipped_model, text, wait, write_version,
};

/// `models/lead` with versions 1, which serves, and 2.
fn set_up(models: &Path) {
    copy_folder(&shipped_model(), &models.join("lead/1"));
    write_version(models, "2");
    fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
}

/// A configuration on disk, with the directories it names beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        set_up(&folder.path().join("models"));
        let config = placed(CONFIG, ([127, 0, 0, 1], 1).into(), folder.path());
        fs::write(folder.path().join("leadwire.yaml"), config).unwrap();
        Self { folder }
    }

    fn config(&self) -> String {
        self.folder.path().join("leadwire.yaml").to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        leadwire(&[&["rollout", "-c", &self.config()], arguments].concat())
    }
}

fn state(folder: &Path) -> PathBuf {
    folder.join("state")
}

fn slots(folder: &Path) -> Option<Deployment> {
    Deployment::read(&folder.join("models/lead")).unwrap()
}

/// What the records say of models, without what differs from run to run.
fn told(folder: &Path) -> Vec<String> {
    let told = |record: &Record| {
        let Record { kind, model, version, actor, fields, .. } = record;
        let fields = fields.iter().filter(|(name, _)| *name != "expires_ms");
        format!("{} {model:?} {version:?} {actor} {:?}", kind.as_str(), fields.collect::<Vec<_>>())
    };
    let records = ledger::read(&state(folder)).unwrap();
    records.iter().filter(|record| record.model.is_some()).map(told).collect()
}

fn post(sidecar: &Running, path: &str, headers: &[(&str, &str)], body: &str) -> Message {
    let mut client = Client::connect(sidecar.admin);
    let mut head = format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    client.send(format!("{head}\r\n{body}").as_bytes());
    client.receive()
}

/// An order over the API; status and answer.
fn order(sidecar: &Running, verb: &str, body: &Json) -> (u16, Json) {
    let host = sidecar.admin.to_string();
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    let reply = post(sidecar, &format!("/api/models/lead/{verb}"), &headers, &body.to_string());
    (reply.status(), serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn the_command_line_and_the_api_end_in_the_same_files() {
    let place = Place::new();
    // As a sidecar leaves it: what speaks for a promotion is counted in it.
    Store::open(&state(place.folder.path())).unwrap();
    let cli = |arguments: &[&str], expected: &str| {
        let output = place.run(arguments);
        assert_eq!(text(&output.stdout), expected, "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    };
    let as_jo = |arguments: &[&'static str]| [arguments, &["--actor", "jo"]].concat();
    let began = "lead/2: model.registered\nlead/2: trained -> validated\nlead/2: validated -> shadow\n";
    cli(&as_jo(&["shadow", "lead", "2"]), began);
    cli(
        &["approve", "lead", "2", "canary", "--why", "sound", "--actor", "maria"],
        "lead/2: approved for canary\n",
    );
    cli(&as_jo(&["canary", "lead", "2", "25"]), "lead/2: shadow -> canary 25%\n");
    cli(&as_jo(&["pause", "lead"]), "lead: paused\n");
    cli(&as_jo(&["resume", "lead"]), "lead: resumed\n");
    cli(
        &["approve", "lead", "2", "production", "--override", "--why", "urgent", "--actor", "maria"],
        "lead/2: approved for production\n",
    );
    cli(&as_jo(&["promote", "lead", "2"]), "lead/2: canary -> production\nlead/1: production -> standby\n");
    cli(
        &as_jo(&["rollback", "lead", "--why", "bad"]),
        "lead/2: production -> quarantined\nlead/1: standby -> production\n",
    );
    cli(&as_jo(&["clear", "lead", "2", "--why", "mended"]), "lead/2: quarantined -> validated\n");

    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, set_up);
    let api = |verb: &str, body: Json| {
        let (status, answer) = order(&sidecar, verb, &body);
        assert_eq!(status, 200, "{verb}: {answer}");
    };
    api("shadow", json!({"actor": "jo", "version": "2"}));
    api("approve", json!({"actor": "maria", "version": "2", "step": "canary", "why": "sound"}));
    api("canary", json!({"actor": "jo", "version": "2", "percent": 25}));
    api("pause", json!({"actor": "jo"}));
    api("resume", json!({"actor": "jo"}));
    api(
        "approve",
        json!({"actor": "maria", "version": "2", "step": "production", "override": true, "why": "urgent"}),
    );
    api("promote", json!({"actor": "jo", "version": "2"}));
    let model = || sidecar.post(CREATE, LEAD).header("x-lead-model").map(str::to_owned);
    wait("the promoted version", || model().as_deref() == Some("lead/2"));
    api("rollback", json!({"actor": "jo", "why": "bad"}));
    wait("the old version", || model().as_deref() == Some("lead/1"));
    api("clear", json!({"actor": "jo", "version": "2", "why": "mended"}));

    assert_eq!(told(place.folder.path()), told(sidecar.folder.path()));
    assert_eq!(slots(place.folder.path()), slots(sidecar.folder.path()));
    let status: Json = serde_json::from_str(&sidecar.admin("/api/rollouts")).unwrap();
    let offline: Json = serde_json::from_slice(&place.run(&["status", "--json"]).stdout).unwrap();
    for status in [status, offline] {
        let lead = &status["rollouts"][0];
        assert_eq!((&lead["champion"], &lead["challenger"]), (&json!("1"), &Json::Null));
        assert_eq!((&lead["versions"][0]["state"], &lead["notes"]), (&json!("validated"), &json!([])));
    }
    let verified = leadwire(&["ledger", "verify", "-c", &place.config()]);
    assert_eq!(verified.status.code(), Some(0));
}

#[test]
fn status_is_told_in_words() {
    let place = Place::new();
    let status = |expected: &str| {
        let output = place.run(&["status"]);
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    };
    let unrecorded = "  deployment.json was written by hand; the sidecar, or the next order, records it\n";
    status(&format!("lead: champion 1\n  2  trained\n  1  trained\n{unrecorded}"));
    fs::remove_file(place.folder.path().join("models/lead/deployment.json")).unwrap();
    status("lead: champion 2\n  2  production\n  1  trained\n");
    assert_eq!(place.run(&["shadow", "lead", "1", "--actor", "jo"]).status.code(), Some(0));
    assert_eq!(
        place.run(&["approve", "lead", "1", "canary", "--actor", "ed", "--why", "all\nfine"]).status.code(),
        Some(0)
    );
    let output = place.run(&["status", "lead"]);
    let told = text(&output.stdout).to_owned();
    for expected in [
        "lead: champion 2, shadows 1\n",
        "\n  1  shadow for ",
        r"canary granted by ed, holds for ",
        r": all\nfine",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(place.run(&["status", "absent"]).status.code(), Some(1));
    assert!(!place.folder.path().join("models/lead/.deployment").exists());
}

#[test]
fn what_may_not_be_is_refused_with_a_sentence() {
    let place = Place::new();
    let refused = |arguments: &[&str], code: i32, expected: &str| {
        let output = place.run(arguments);
        assert_eq!((text(&output.stdout), output.status.code()), ("", Some(code)), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    };
    refused(
        &["canary", "lead", "2", "--actor", "jo"],
        1,
        "lead/2 is trained and cannot be a canary; next: `leadwire rollout shadow lead 2`",
    );
    refused(&["rollback", "lead", "--actor", "jo"], 1, "rollback needs a reason");
    refused(&["pause", "lead", "--actor", "leadwire"], 1, "cannot give orders");
    refused(&["pause", "absent", "--actor", "jo"], 1, "no model \"absent\" in ");
    refused(&["canary", "lead", "2", "0", "--actor", "jo"], 2, "0 is not in 1..=99");
    refused(
        &["approve", "lead", "2", "moon", "--actor", "jo"],
        2,
        "[possible values: canary, ramp, production]",
    );
    assert_eq!(leadwire(&["rollout", "status", "-c", "absent.yaml"]).status.code(), Some(2));

    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, set_up);
    for (verb, body, status, expected) in [
        ("canary", json!({"actor": "jo", "version": "2"}), 409, "lead/2 is trained and cannot be a canary"),
        ("canary", json!({"actor": "jo"}), 400, "canary needs a version"),
        ("canary", json!({"version": "2"}), 400, "cannot give orders"),
        ("freeze", json!({"actor": "jo"}), 400, "nothing is called \"freeze\""),
        ("pause", json!({"actor": "jo", "force": true}), 422, "unknown field `force`"),
    ] {
        let (got, answer) = order(&sidecar, verb, &body);
        assert!(
            got == status && answer["error"].as_str().unwrap().contains(expected),
            "{verb} {got} {answer}"
        );
    }
    let host = sidecar.admin.to_string();
    let status = |path: &str, host: &str, kind: &str| {
        post(&sidecar, path, &[("Host", host), ("Content-Type", kind)], r#"{"actor":"jo"}"#).status()
    };
    assert_eq!(status("/api/models/absent/pause", &host, "application/json"), 404);
    assert_eq!(status("/api/models/..%2Flead/pause", &host, "application/json"), 404);
    assert_eq!(
        status("/api/models/lead/pause", &host, "text/plain"),
        415,
        "as another site's page may send it"
    );
    assert_eq!(status("/api/models/lead/pause", "rebound.example.com", "application/json"), 403);
    assert_eq!(status("/api/models/lead/pause", "localhost", "application/json"), 200);
}

#[test]
fn orders_over_the_api_take_the_token_where_there_is_one() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let token = tempfile::tempdir().unwrap();
    let file = token.path().join("token");
    fs::write(&file, "0123456789abcdef").unwrap();
    let config = format!("admin_token: {}\n{CONFIG}", file.display());
    let sidecar = Running::with(upstream.address, &config, set_up);
    let status = |authorization: &str| {
        let headers = [
            ("Host", "admin.example.com"),
            ("Content-Type", "application/json"),
            ("Authorization", authorization),
        ];
        post(&sidecar, "/api/models/lead/pause", &headers, r#"{"actor":"jo"}"#).status()
    };
    assert_eq!(["Bearer wrong", "Bearer 0123456789abcdef"].map(status), [401, 200]);
}

#[test]
fn a_sidecar_records_what_was_edited_by_hand() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, set_up);
    let overrides = || {
        let records = ledger::read(&state(sidecar.folder.path())).unwrap();
        records.iter().filter(|record| record.kind.as_str() == "override" && record.actor == "file").count()
    };
    assert_eq!(overrides(), 1, "the slots it found at its start");
    let lead = sidecar.folder.path().join("models/lead");
    fs::write(lead.join("deployment.json"), r#"{"champion":"2"}"#).unwrap();
    wait("the override", || overrides() == 2);
    let model = || sidecar.post(CREATE, LEAD).header("x-lead-model").map(str::to_owned);
    wait("the version", || model().as_deref() == Some("lead/2"));
    wait("the ledger's number", || DeploymentFile::read(&lead).unwrap().unwrap().applied.is_some());
    assert_eq!(slots(sidecar.folder.path()).unwrap().previous.as_deref(), Some("1"));
}

/// A process that is killed between the record and its effect, again and again, leaves nothing that the next one does not
/// mend.
#[test]
fn a_killed_order_is_carried_out_whole_or_not_at_all() {
    let place = Place::new();
    let folder = place.folder.path();
    let desk = Desk::at(&folder.join("models"), &state(folder));
    assert_eq!(desk.settle("lead", 1).unwrap(), Settled::Override);
    let file = state(folder).join(Ledger::FILE);
    let length = || fs::metadata(&file).unwrap().len();
    let mut cut_short = 0;
    for turn in 0..24 {
        let verb = if turn % 2 == 0 { "shadow" } else { "unshadow" };
        let before = length();
        let arguments = ["rollout", "-c", &place.config(), verb, "lead", "2", "--actor", "jo"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // At once after the first record, after the last one, or somewhere between.
        let enough = before + 1 + turn * 60;
        while length() < enough && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        cut_short += usize::from(!child.wait().unwrap().success());
        desk.settle("lead", 1).unwrap();
        ledger::verify(&state(folder), None).unwrap();
        assert_eq!(desk.settle("lead", 1).unwrap(), Settled::Agreed);
        let status: Json = serde_json::from_slice(&place.run(&["status", "--json"]).stdout).unwrap();
        let lead = &status["rollouts"][0];
        let is_shadow = lead["shadows"] == json!(["2"]);
        assert_eq!(
            lead["versions"][0]["state"] == "shadow",
            is_shadow,
            "file and ledger say the same: {lead}"
        );
    }
    assert!(cut_short > 0, "some were killed before their end");
}

/// The system refuses to let files grow, as on a full disk.
#[test]
fn on_a_full_disk_orders_are_refused_and_a_rollback_is_recorded_later() {
    let place = Place::new();
    let folder = place.folder.path();
    for order in [&["shadow", "lead", "2"][..], &["approve", "lead", "2", "canary"], &["canary", "lead", "2"]]
    {
        let actor = if order[0] == "approve" { "maria" } else { "jo" };
        let output = place.run(&[order, &["--actor", actor, "--why", "sound"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let file = state(folder).join(Ledger::FILE);
    let before = fs::read(&file).unwrap();
    let full = |order: &str| {
        // Files may not grow beyond half a kibibyte: the deployment's fits, the ledger's does not.
        let script =
            "trap '' XFSZ; ulimit -f 1; exec \"$0\" rollout -c \"$1\" \"$2\" lead --actor jo --why bad";
        let arguments = ["-c", script, env!("CARGO_BIN_EXE_leadwire"), &place.config(), order];
        Command::new("sh").args(arguments).output().unwrap()
    };
    let paused = full("pause");
    assert_eq!(paused.status.code(), Some(1));
    assert!(text(&paused.stderr).contains("cannot write "), "{}", text(&paused.stderr));
    assert!(text(&paused.stderr).contains("ledger.jsonl: File too large"), "{}", text(&paused.stderr));
    let rolled_back = full("rollback");
    assert_eq!(text(&rolled_back.stdout), "lead/2: canary -> quarantined\n", "{}", text(&rolled_back.stderr));
    assert!(text(&rolled_back.stderr).starts_with("warning: not recorded yet: cannot write "));
    assert_eq!(rolled_back.status.code(), Some(0));
    assert_eq!((fs::read(&file).unwrap() == before, slots(folder)), (true, Some(Deployment::of("1".into()))));
    let status = place.run(&["status"]);
    assert!(text(&status.stdout).ends_with("  a rollback took effect and waits to be recorded\n"));

    let desk = Desk::at(&folder.join("models"), &state(folder));
    assert_eq!(desk.settle("lead", 1).unwrap(), Settled::Late);
    let records = ledger::read(&state(folder)).unwrap();
    let late = records.iter().find(|record| record.kind.as_str() == "rollback.manual").unwrap();
    assert_eq!((late.fields["late"].integer(), late.fields["reason"].text()), (Some(1), Some("bad")));
    assert_eq!(slots(folder), Some(Deployment::of("1".into())));
}
