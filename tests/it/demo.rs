//! The demo as its user runs it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use serde_json::Value;

fn leadwire() -> Command {
    Command::new(env!("CARGO_BIN_EXE_leadwire"))
}

/// Plays it; nothing is said but the summary.
fn played(length: &str, rate: &str) -> Value {
    let output = leadwire().args(["demo", "--for", length, "--rate", rate, "--json"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What holds however far a run came: nothing failed, and whatever was scored is counted and logged once.
fn check_counts(summary: &Value) {
    let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
    // On a machine that is too busy for the deadline, some go on unscored; they are counted apart.
    let (scored, unscored) = (count("/leads").unwrap(), count("/unscored").unwrap());
    assert!(scored > 100 && scored > unscored, "{summary}");
    assert_eq!((count("/failed"), count("/lead_log/scores")), (Some(0), Some(scored)), "{summary}");
    let sum = |value: &Value| {
        let numbers: Vec<u64> = match value {
            Value::Array(items) => items.iter().filter_map(Value::as_u64).collect(),
            Value::Object(members) => members.values().filter_map(Value::as_u64).collect(),
            _ => Vec::new(),
        };
        numbers.iter().sum::<u64>()
    };
    assert_eq!([sum(&summary["scores"]), sum(&summary["grades"])], [scored; 2], "{summary}");
    let stages = summary["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    assert_eq!(names, ["recognise", "score", "enrich", "upstream", "total"]);
    // The last measurements are on their way when the admin listener is asked.
    assert!(stages.iter().all(|stage| stage["count"].as_u64() > Some(scored / 2)), "{summary}");
    assert_eq!(summary["rollout"]["ledger"]["broken"], Value::Null, "{summary}");
}

/// `lead/2 shadow -> canary 50% by leadwire`
fn moves(rollout: &Value) -> Vec<String> {
    let moves = rollout["moves"].as_array().unwrap().iter();
    let told = |moved: &Value| {
        let text = |name: &str| moved[name].as_str().unwrap().to_owned();
        let share = moved["percent"].as_u64().map(|percent| format!(" {percent}%")).unwrap_or_default();
        let [version, from, to, actor] = ["version", "from", "to", "actor"].map(text);
        format!("{version} {from} -> {to}{share} by {actor}")
    };
    moves.map(told).collect()
}

#[test]
fn a_version_rises_and_a_bad_one_goes_back_without_a_failure() {
    let summary = played("25s", "300");
    check_counts(&summary);
    let rollout = &summary["rollout"];
    let expected = [
        "lead/1 trained -> production by file",
        "lead/2 trained -> validated by demo",
        "lead/2 validated -> shadow by demo",
        "lead/2 shadow -> canary 50% by leadwire",
        "lead/2 canary -> production by leadwire",
        "lead/1 production -> standby by leadwire",
        "lead/3 trained -> canary 50% by file",
        "lead/3 canary -> quarantined by leadwire",
    ];
    assert_eq!(moves(rollout), expected, "{summary:#}");
    assert_eq!(rollout["unreached"], Value::Array(Vec::new()), "{summary:#}");
    assert!(rollout["canary_leads"].as_u64() >= Some(500), "{summary:#}");
    assert_eq!(rollout["trigger"], "score", "{summary:#}");
    if let Some(failing) = rollout["failing"].as_object() {
        assert_eq!((&failing["version"], &failing["failed"]), (&"lead/3".into(), &0.into()));
    }
    let lines: Vec<&str> =
        rollout["ledger"]["lines"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let tells = |words: [&str; 2]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["approval.granted", "a demo has no outcomes to wait for"],
        ["promoted", "lead/2"],
        ["rollback.auto", "trigger=score"],
    ] {
        assert!(tells(words), "{words:?} in {lines:#?}");
    }
}

#[test]
fn a_run_with_few_leads_says_what_it_did_not_reach() {
    let summary = played("4s", "60");
    check_counts(&summary);
    let unreached = summary["rollout"]["unreached"].as_array().unwrap();
    assert!(unreached.contains(&"the rollback".into()), "{summary:#}");
    assert_eq!(moves(&summary["rollout"])[0], "lead/1 trained -> production by file");
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let root = tempfile::tempdir().unwrap();
    let mut demo = leadwire()
        .args(["demo", "--rate", "100"])
        .env("TMPDIR", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("leads"), "{line}");
    let sent = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains("one for each scored answer"), "{rest}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "the temporary folder is removed");
}
