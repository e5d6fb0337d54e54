//! `leadwire leads`: the log leaves as rows and as a copy, and leads leave it for good, with a sidecar at work.

use std::{
    fs,
    path::Path,
    process::Output,
    sync::atomic::{AtomicUsize, Ordering},
};

use leadwire::{
    leadlog::Store,
    ledger::{self, Kind},
};
use serde_json::{Value as Json, json};

use crate::support::{CREATE, Client, LEAD, Running, Upstream, created, leadwire, text, wait};

/// A sidecar before a CRM that numbers its leads.
fn start() -> Running {
    let next = AtomicUsize::new(0);
    Running::start(Upstream::start(move |_| created(&id(next.fetch_add(1, Ordering::Relaxed)))).address)
}

fn id(n: usize) -> String {
    format!("00Q-0000-{n:04}")
}

fn run(state: &Path, arguments: &[&str]) -> Output {
    leadwire(&[&["leads", "--state", state.to_str().unwrap()], arguments].concat())
}

/// What a command that succeeds says.
fn told(state: &Path, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn tell(sidecar: &Running, path: &str, body: &Json) {
    let (body, mut client) = (body.to_string(), Client::connect(sidecar.admin));
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", sidecar.admin);
    client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    let reply = client.receive();
    assert_eq!(reply.status(), 202);
}

/// The files below a directory that hold a text.
fn files_with(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path).unwrap().windows(needle.len()).any(|bytes| bytes == needle.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_lead_is_forgotten_everywhere_while_the_sidecar_works() {
    const LEADS: usize = 120;
    let sidecar = start();
    let state = sidecar.folder.path().join("state");
    let mut client = sidecar.client();
    let headers = [("Content-Type", "application/json")];
    for n in 0..LEADS {
        client.exchange("POST", CREATE, &headers, LEAD.as_bytes());
        tell(&sidecar, "/api/feedback", &json!({"lead": id(n), "verdict": "down", "note": "cold"}));
        tell(&sidecar, "/api/outcomes", &json!({"lead": id(n), "won": n % 3 == 0, "event": "e"}));
    }
    // Some of it is on its way yet.
    let gone = [id(7), id(60), id(LEADS - 1)];
    let said = told(&state, &["forget", &gone[0], "--dry-run"]);
    assert!(said.ends_with("would be removed\n"), "{said}");
    let said =
        told(&state, &["forget", &gone[0], &gone[1], &gone[2], "--actor", "jo", "--why", "ticket 4711"]);
    assert!(said.contains("\nno trace in "), "{said}");
    for lead in &gone {
        assert_eq!(files_with(&state, lead), Vec::<String>::new(), "{lead}");
    }
    assert!(!files_with(&state, &id(8)).is_empty());
    // What was in the queue does not come, and what comes later does.
    tell(&sidecar, "/api/feedback", &json!({"lead": id(7), "verdict": "up"}));
    let again = || Store::open_read_only(&state).unwrap().feedback_of(&id(7)).unwrap().len();
    wait("the lead comes back", || again() == 1);
    let said: Json =
        serde_json::from_str(&told(&state, &["forget", &id(7), "--actor", "jo", "--json"])).unwrap();
    let lead = &said["leads"][0];
    assert_eq!((&lead["rows"], &lead["tables"]), (&json!(1), &json!([["feedback", 1]])));
    assert!(lead["forgotten_before_ms"].is_i64());

    let (store, _folder) = sidecar.stop();
    for n in 0..LEADS {
        let lead = id(n);
        let rows = (
            store.scores_of(&lead).unwrap().len(),
            store.feedback_of(&lead).unwrap().len(),
            store.outcome_of(&lead).unwrap().is_some(),
        );
        let expected = if gone.contains(&lead) { (0, 0, false) } else { (1, 1, true) };
        assert_eq!(rows, expected, "{lead}");
    }
    for lead in &gone {
        assert_eq!(files_with(&state, lead), Vec::<String>::new(), "{lead}");
    }
    let tombs = told(&state, &["export", "--forgotten"]);
    let hashes: Vec<&str> = tombs.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!((tombs.lines().next(), hashes.len()), (Some("lead_sha256,time,time_ms,rows"), 3));
    let records = ledger::read(&state).unwrap();
    let noted: Vec<_> = records.iter().filter(|record| record.kind == Kind::LeadForgotten).collect();
    let known = |hash: Option<&str>| hash.is_some_and(|hash| hashes.contains(&hash));
    assert_eq!(noted.len(), 4);
    assert!(noted.iter().all(|record| record.actor == "jo" && known(record.fields["lead_sha256"].text())));
    assert_eq!(noted[0].fields["why"].text(), Some("ticket 4711"));
}

#[test]
fn rows_leave_as_csv_and_as_json_and_the_log_as_a_copy() {
    let sidecar = start();
    let state = sidecar.folder.path().join("state");
    for _ in 0..3 {
        sidecar.post(CREATE, LEAD);
    }
    tell(&sidecar, "/api/outcomes", &json!({"lead": id(1), "won": true, "revenue": 7.5}));
    let store = || Store::open_read_only(&state).unwrap();
    wait("all is written", || store().outcome_of(&id(1)).unwrap().is_some());

    let csv = told(&state, &["export", "--since", "1h"]);
    let names = "time,time_ms,route,lead,model,version,digest,arm,score,points,grade,features,latency_ns,decision,experiment,assigned,propensity,won,revenue,occurred,occurred_ms,revision";
    assert_eq!((csv.lines().next(), csv.lines().count()), (Some(names), 4));
    assert!(csv.contains(r#"{""age"":56.0,"#), "{csv}");
    let jsonl = told(&state, &["export", "--format", "jsonl"]);
    let mut rows: Vec<Json> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Those of one millisecond may be of different workers.
    rows.sort_by_key(|row| row["lead"].to_string());
    assert_eq!(rows.iter().map(|row| row["lead"].clone()).collect::<Vec<_>>(), [id(0), id(1), id(2)]);
    assert_eq!((&rows[0]["features"]["age"], &rows[0]["won"]), (&json!(56.0), &Json::Null));
    assert_eq!((&rows[1]["won"], &rows[1]["revenue"]), (&json!(true), &json!(7.5)));
    assert_eq!(told(&state, &["export", "--until", "2020-01-01"]).trim(), names);

    let out = sidecar.folder.path().join("out.csv");
    let path = out.to_str().unwrap();
    assert_eq!(told(&state, &["export", "--output", path]), format!("{path}: 3 rows\n"));
    assert_eq!(fs::read_to_string(&out).unwrap(), csv);

    let copy = sidecar.folder.path().join("leads.copy");
    let said = told(&state, &["backup", copy.to_str().unwrap()]);
    assert!(said.ends_with("bytes, read through and sound\n"), "{said}");
    let status: Json = serde_json::from_str(&told(&state, &["status", "--json"])).unwrap();
    assert_eq!(status["rows"][0], json!(["scores", 3]));

    let check = |state: &Path, arguments: &[&str], code: i32, expected: &str| {
        let output = run(state, arguments);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(code) && error.contains(expected), "{arguments:?}: {error}");
    };
    check(&state, &["backup", copy.to_str().unwrap()], 1, "is there already; a copy replaces nothing");
    check(&state, &["export", "--since", "soon"], 2, "expected 30d, 12h, 2026-11-22");
    check(&state, &["export", "--output", "/absent/out.csv"], 1, "/absent/out.csv: No such file");
    check(&state, &["forget"], 2, "<LEADS|--file <FILE>>");
    check(&state, &["forget", &id(1), "--actor", "jo", "--why", &id(1)], 1, "--why holds one of the ids");
    check(&sidecar.folder.path().join("models"), &["status"], 1, "unable to open database file");
    drop(sidecar);
}
