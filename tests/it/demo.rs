//! The demo as its user runs it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use serde_json::Value;

fn leadwire() -> Command {
    Command::new(env!("CARGO_BIN_EXE_leadwire"))
}

#[test]
fn scores_swaps_and_logs_without_a_failure() {
    let output = leadwire().args(["demo", "--for", "6s", "--rate", "100", "--json"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
    // On a machine that is too busy for the deadline, some go on unscored; they are counted apart.
    let (scored, unscored) = (count("/leads").unwrap(), count("/unscored").unwrap());
    assert!(scored > 100 && scored > unscored, "{summary}");
    assert_eq!((count("/failed"), count("/lead_log/scores")), (Some(0), Some(scored)), "{summary}");
    assert_eq!(summary["swap"]["from"], "lead/1", "{summary}");
    assert_eq!((&summary["swap"]["to"], count("/swap/failed")), (&"lead/2".into(), Some(0)), "{summary}");
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
