//! The record of every change, as an auditor checks it from the command line and reads it over the admin listener.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use leadwire::ledger::{Event, Field, Kind, Ledger};
use serde_json::Value as Json;

use crate::support::{
    CONFIG, Client, Running, Upstream, copy_folder, created, leadwire, shipped_model, text,
};

/// A directory of state with twelve records about two models.
fn twelve(state: &Path) -> PathBuf {
    let mut ledger = Ledger::open(state).unwrap();
    let mut writing = ledger.lock().unwrap();
    for n in 0..12 {
        let model = if n % 3 == 0 { "renewal" } else { "lead" };
        let event = Event::new(Kind::CanaryRamped, "jo@example.com").model(model).version("4").with("pct", n);
        writing.append(event.with("auc_e6", Field::micro(0.8)), i64::from(n) * 3_600_000).unwrap();
    }
    state.join(Ledger::FILE)
}

fn run(state: &Path, arguments: &[&str]) -> Output {
    leadwire(&[&["ledger", "--state", state.to_str().unwrap()], arguments].concat())
}

/// What it printed, which must be fine.
fn fine(state: &Path, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What it complained of.
fn refused(state: &Path, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(1)));
    text(&output.stderr).to_owned()
}

#[test]
fn records_are_shown_by_model_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    assert_eq!(fine(state, &["show"]), "", "no ledger yet");
    twelve(state);
    let shown = fine(state, &["show"]);
    assert_eq!(shown.lines().count(), 12);
    let first =
        "0  1970-01-01T00:00:00.000Z  canary.ramped       renewal/4  jo@example.com  auc_e6=800000 pct=0";
    assert_eq!(shown.lines().next(), Some(first));
    assert_eq!(fine(state, &["show", "--model", "renewal"]).lines().count(), 4);
    assert_eq!(fine(state, &["show", "--since", "1970-01-01T10:00:00Z"]).lines().count(), 2);
    assert_eq!(fine(state, &["show", "--since", "1970-01-02"]), "");
    let json = fine(state, &["show", "--json"]);
    assert_eq!(json, fs::read_to_string(state.join(Ledger::FILE)).unwrap());
    assert_eq!(run(state, &["show", "--since", "yesterday"]).status.code(), Some(2));
    assert_eq!(run(state, &["verify", "--proof", "x"]).status.code(), Some(2), "a proof of what?");
    assert_eq!(leadwire(&["ledger", "show", "-c", "absent.yaml"]).status.code(), Some(2));
}

#[test]
fn the_configuration_names_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("kept");
    let file = folder.path().join("leadwire.yaml");
    fs::write(&file, CONFIG.replace("\nstate: state\n", &format!("\nstate: {}\n", state.display()))).unwrap();
    twelve(&state);
    let output = leadwire(&["ledger", "verify", "-c", file.to_str().unwrap()]);
    let expected =
        "ledger.jsonl: 12 records, chain intact; compare with a checkpoint to exclude truncation\n";
    assert!(text(&output.stdout).ends_with(expected), "{}", text(&output.stderr));
}

#[test]
fn what_was_altered_is_found_and_what_was_cut_only_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let file = twelve(&state);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, other, public) = (path("key.pem"), path("other.pem"), path("key.pub"));
    let keygen = |key: &str| text(&leadwire(&["models", "keygen", "--out", key]).stdout).to_owned();
    fs::write(&public, keygen(&key)).unwrap();
    keygen(&other);
    let kept = path("checkpoint.json");
    let exported = fine(&state, &["export", "--checkpoint", &kept, "--key", &key]);
    assert!(exported.starts_with(&format!("{kept}: 12 records, root ")), "{exported}");
    let compare = ["verify", "--checkpoint", &kept, "--key", &public];
    let said = fine(&state, &compare);
    let sealed = "12 records, chain intact; the first 12 are those of the checkpoint, which the key signed\n";
    assert!(said.ends_with(sealed), "{said}");
    let said = fine(&state, &compare[..3]);
    assert!(said.ends_with("of the checkpoint, whose signature was not checked (--key)\n"), "{said}");

    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let put = |text: &str| fs::write(&file, text).unwrap();
    let ended = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let check = |told: &str| {
        for arguments in [&["verify"], &["export"], &["show"]] {
            let said = refused(&state, arguments);
            assert!(said.ends_with(&format!("{told}\n")), "{said}");
        }
    };
    put(&whole.replace(r#""pct":5"#, r#""pct":50"#));
    check("ledger.jsonl:6: record 5: altered: its content does not have its hash");
    put(&ended(&[&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat()));
    check("ledger.jsonl:4: record 3: record 4 stands where record 3 is due");
    put(&ended(&lines[..9]));
    let said = fine(&state, &["verify"]);
    assert!(
        said.contains("9 records, chain intact; compare with a checkpoint to exclude truncation"),
        "{said}"
    );
    let said = refused(&state, &compare);
    assert!(said.ends_with("ledger.jsonl: cut: it holds 9 records, and the checkpoint 12\n"), "{said}");
    put(&whole[..whole.len() - 5]);
    let said = fine(&state, &["verify"]);
    assert!(said.contains("11 records, chain intact") && said.contains(" a crash cut short"), "{said}");

    put(&whole);
    fine(&state, &["export", "--checkpoint", &kept, "--key", &other]);
    assert!(refused(&state, &compare).ends_with("checkpoint.json: not signed by this key\n"));
    fine(&state, &["export", "--checkpoint", &kept]);
    assert!(refused(&state, &compare).ends_with("checkpoint.json: not signed by this key\n"));
}

#[test]
fn one_record_is_proven_to_whoever_has_only_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    twelve(&state);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (kept, proof) = (path("checkpoint.json"), path("proof.json"));
    fs::write(&kept, fine(&state, &["export"])).unwrap();
    fs::write(&proof, fine(&state, &["export", "--proof", "7"])).unwrap();
    let nowhere = folder.path().join("nowhere");
    let verify = ["verify", "--checkpoint", &kept, "--proof", &proof];
    let said = fine(&nowhere, &verify);
    assert!(said.starts_with("7  1970-01-01T07:00:00.000Z  canary.ramped  "), "{said}");
    assert!(said.ends_with("among the 12 records of the checkpoint\n"), "{said}");
    let text = fs::read_to_string(&proof).unwrap();
    fs::write(&proof, text.replace(r#""pct":7"#, r#""pct":8"#)).unwrap();
    assert!(refused(&nowhere, &verify).contains("its content does not have its hash"));
    let mut ledger = Ledger::open(&state).unwrap();
    ledger.lock().unwrap().append(Event::new(Kind::Paused, "jo"), 0).unwrap();
    fs::write(&proof, fine(&state, &["export", "--proof", "7"])).unwrap();
    assert!(refused(&nowhere, &verify).ends_with("does not lead to the checkpoint's root\n"));
    assert_eq!(refused(&state, &["export", "--proof", "13"]), "error: no record 13; the ledger holds 13\n");
}

#[test]
fn the_admin_listener_tells_records_and_what_is_wrong_with_them() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        twelve(&models.parent().unwrap().join("state"));
    });
    let records = |query: &str| {
        let told: Json = serde_json::from_str(&sidecar.admin(&format!("/api/ledger{query}"))).unwrap();
        let seqs = told["records"].as_array().unwrap().iter().map(|record| record["seq"].as_u64().unwrap());
        (told["size"].as_u64().unwrap(), seqs.collect::<Vec<_>>())
    };
    // The last is the configuration's, which the start recorded.
    for (query, expected) in [
        ("", (0..13).collect::<Vec<_>>()),
        ("?model=renewal", vec![0, 3, 6, 9]),
        ("?after=9", vec![10, 11, 12]),
        ("?model=lead&after=2&limit=2", vec![4, 5]),
        ("?limit=99999999999", (0..13).collect()),
        ("?model=absent", vec![]),
    ] {
        assert_eq!(records(query), (13, expected), "{query}");
    }
    let status = |query: &str| {
        Client::connect(sidecar.admin).exchange("GET", &format!("/api/ledger{query}"), &[], b"").status()
    };
    assert_eq!(["?limit=-1", "?since=1", "?after=x"].map(status), [400, 400, 400]);
    let file = sidecar.folder.path().join("state").join(Ledger::FILE);
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("jo@", "ed@")).unwrap();
    assert_eq!(status(""), 500);
    let told = sidecar.admin("/api/ledger");
    assert!(told.contains("record 0: altered") && !told.contains("ed@"), "{told}");
}
