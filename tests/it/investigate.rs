//! "Why did this lead get 12?", asked on the command line and over the admin listener, of traffic that passed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use leadwire::{
    lead::{Arm, Grade, Score, Value},
    leadlog::{Decision, Entry, Packed, ScoreRecord, Store},
    registry::Version,
    score::Calibration,
};
use serde_json::{Value as Json, json};

use crate::{
    replay,
    support::{
        CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, answer, copy_folder, created, leadwire,
        post, shipped_model, text, wait, write_changed,
    },
};

const ID: &str = "00Q8d0000000000001";
const OTHER: &str = "00Q8d0000000099999";

/// Version 1 serves, version 2 gives more.
fn set_up(models: &Path) {
    set_up_beside(models, 1.5);
}

/// Version 1 serves, the logits of version 2 lie elsewhere.
fn set_up_beside(models: &Path, b: f64) {
    copy_folder(&shipped_model(), &models.join("lead/1"));
    write_changed(models, "2", |manifest| manifest.calibration = Calibration::Platt { a: 1.0, b });
    fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
}

/// A CRM that gives new leads this id.
fn crm(next: &Arc<Mutex<String>>) -> Upstream {
    let next = Arc::clone(next);
    Upstream::start(move |request| match request.start.starts_with("POST") {
        true => created(&next.lock().unwrap()),
        false => answer("204 No Content", &[], ""),
    })
}

/// Asks over the admin listener, under a name.
fn get(sidecar: &Running, path: &str, headers: &[(&str, &str)]) -> Message {
    let mut head = format!("GET {path} HTTP/1.1\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut client = Client::connect(sidecar.admin);
    client.send(format!("{head}\r\n").as_bytes());
    client.receive()
}

fn json_of(sidecar: &Running, path: &str) -> (u16, Json) {
    let reply = get(sidecar, path, &[("Host", "localhost")]);
    (reply.status(), serde_json::from_slice(&reply.body).unwrap())
}

/// Changes a lead in the CRM.
fn update(sidecar: &Running, id: &str, body: &str) {
    let json = [("Content-Type", "application/json")];
    let reply = sidecar.client().exchange("PATCH", &format!("{CREATE}/{id}"), &json, body.as_bytes());
    assert_eq!((reply.status(), reply.header("leadwire")), (204, Some("scored")));
}

/// Scores of one millisecond cannot be told apart by their time.
fn next_millisecond() {
    let millis = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let now = millis();
    wait("the next millisecond", || millis() > now);
}

/// Has another version serve, and waits until it does: another lead tells.
fn serve(sidecar: &Running, version: &str) {
    let file = sidecar.folder.path().join("models/lead/deployment.json");
    fs::write(file, json!({"champion": version}).to_string()).unwrap();
    let served = format!("lead/{version}");
    wait("the version", || sidecar.post(CREATE, LEAD).header("x-lead-model") == Some(&served));
}

/// `leadwire investigate` beside a sidecar.
fn ask(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let config = folder.join("leadwire.yaml");
    leadwire(&[&["investigate", "-c", config.to_str().unwrap()], arguments].concat())
}

/// Workers hand their records over each in its own time, and a complaint may come before the scores.
fn is_all_there(told: &Json) -> bool {
    told["feedback"][0]["who"] == "ada" && told["scores"].as_array().is_some_and(|scores| scores.len() == 3)
}

#[test]
fn a_complaint_is_answered_on_the_command_line_and_over_the_api() {
    let next = Arc::new(Mutex::new(ID.to_owned()));
    let upstream = crm(&next);
    let sidecar = Running::with(upstream.address, CONFIG, set_up);
    assert_eq!(sidecar.post(CREATE, LEAD).header("x-lead-model"), Some("lead/1"));
    let changed = r#"{"campaign__c":9.0,"contact__c":"cellular"}"#;
    next_millisecond();
    update(&sidecar, ID, changed);
    *next.lock().unwrap() = OTHER.to_owned();
    serve(&sidecar, "2");
    update(&sidecar, ID, r#"{"campaign__c":9.0}"#);
    let complaint = json!({"lead": ID, "verdict": "down", "reason": "wrong_score_low", "who": "ada", "note": "<b>call</b>"});
    assert_eq!(post(sidecar.admin, "/api/feedback", &complaint.to_string()).status(), 202);
    let path = format!("/api/leads/{ID}");
    wait("the complaint", || is_all_there(&json_of(&sidecar, &path).1));

    let (status, told) = json_of(&sidecar, &path);
    assert_eq!(
        (status, &told["model"], &told["cause"]),
        (200, &json!("lead"), &json!("model_changed")),
        "{told:#}"
    );
    let scores = told["scores"].as_array().unwrap();
    assert!(scores.iter().all(|score| score["recomputed"]["equal"] == true), "{told:#}");
    let steps = told["steps"].as_array().unwrap();
    let done: Vec<_> =
        steps.iter().map(|step| (step["step"].as_str().unwrap(), step["done"] == true)).collect();
    let expected = [
        ("received", true),
        ("history", true),
        ("recomputed", true),
        ("compared", true),
        ("drift", false),
        ("answered", true),
    ];
    assert_eq!(done, expected, "too few leads to tell of drift");
    assert_eq!(steps[0]["note"], "a person's complaint");
    // Against the first: the lead's own part and the model's add up.
    let first = scores[0]["time_ms"].as_i64().unwrap();
    let (_, told) = json_of(&sidecar, &format!("{path}?against={first}&days=30"));
    let tenths = |value: &Json| (value.as_f64().unwrap() * 10.0).round() as i64;
    let change = &told["change"];
    let parts: i64 = change["parts"].as_array().unwrap().iter().map(|part| tenths(&part["points"])).sum();
    assert_eq!(parts, tenths(&change["after"]) - tenths(&change["before"]), "{change:#}");
    let named: Vec<_> =
        change["parts"].as_array().unwrap().iter().map(|part| part["feature"].clone()).collect();
    for name in [json!("campaign"), json!("contact"), Json::Null] {
        assert!(named.contains(&name), "{change:#}");
    }

    // The command line reads beside the sidecar.
    let folder = sidecar.folder.path();
    let output = ask(folder, &[ID]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.starts_with(&format!("Lead {ID}: ")), "{}", text(&output.stderr));
    for part in ["Suggested cause: the model changed", "version 1 -> 2", "wrong_score_low", "all "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let output = ask(folder, &["--json", "--against", &first.to_string(), ID]);
    let same: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(same["change"], told["change"]);
    let page = folder.join("report.html");
    assert!(ask(folder, &["--html", page.to_str().unwrap(), ID]).status.success());
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("&lt;b&gt;call&lt;/b&gt;") && !html.contains("<b>") && html.contains("<svg"));
}

#[test]
fn what_is_not_known_is_said_and_a_persons_data_is_not_shown_to_any_page() {
    let upstream = crm(&Arc::new(Mutex::new(ID.to_owned())));
    let sidecar = Running::with(upstream.address, CONFIG, set_up);
    let path = |id: &str| format!("/api/leads/{id}");
    let status = |path: &str, host: &str| get(&sidecar, path, &[("Host", host)]).status();
    sidecar.post(CREATE, LEAD);
    wait("the lead log", || status(&path(ID), "localhost") == 200);
    assert_eq!(status(&path(ID), "rebound.example.com"), 403);
    assert_eq!(status(&path(ID), "127.0.0.1"), 200);
    // Of the two forms of the id either is found.
    assert_eq!(json_of(&sidecar, &path(&ID[..15])).0, if ID.len() == 18 { 404 } else { 200 });
    let (code, told) = json_of(&sidecar, &path("00Q8d0000000000009"));
    let unknown = format!("no score of lead \"00Q8d0000000000009\" in the lead log; near it: {ID}");
    assert_eq!((code, &told["error"]), (404, &json!(unknown)));
    for (query, expected) in [
        ("?model=deal", 404),
        ("?at=2001-01-01", 404),
        ("?at=tomorrow", 400),
        ("?days=0", 400),
        ("?since=1", 400),
        ("?at=2099-01-01T00:00:00Z&days=7", 200),
    ] {
        assert_eq!(status(&(path(ID) + query), "localhost"), expected, "{query}");
    }
    let folder = sidecar.folder.path();
    let output = ask(folder, &["00Q8d0000000000009"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), &*format!("error: {unknown}\n")));
    assert_eq!(ask(folder, &[ID, "--at", "tomorrow"]).status.code(), Some(2));
    assert_eq!(ask(folder, &[ID, "--days", "0"]).status.code(), Some(2));
}

/// Leads of a table, three in ten of cities that too few others are from.
fn leads_of_cities() -> Vec<(String, usize)> {
    let city = |n: usize| match n % 10 {
        0..3 => format!("village {}", n / 3),
        other => format!("city {}", other % 4),
    };
    (0..1_000).map(|n| (city(n), n * 37 % 90)).collect()
}

/// Words that are too rare for a version to know are counted in training as they are in traffic.
#[test]
fn leads_like_those_of_training_have_not_moved() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name).display().to_string();
    let row = |(city, age): &(String, usize)| {
        let won = usize::from(age * 7 % 90 < 30);
        format!("{city},{age}.5,{won}\n")
    };
    let rows: String = leads_of_cities().iter().map(row).collect();
    fs::write(named("leads.csv"), format!("city,age,won\n{rows}")).unwrap();
    let (data, out) = (named("leads.csv"), named("models/lead"));
    let trained = leadwire(&["train", "--data", &data, "--target", "won", "--kind", "linear", "--out", &out]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let version = Version::load(&folder.path().join("models/lead/1")).unwrap();
    let score = |(n, (city, age)): (usize, (String, usize))| {
        Entry::Score(ScoreRecord {
            time_ms: 1_793_577_600_000 + n as i64,
            route: "lead.create".into(),
            lead: Some(format!("00Q{n:012}").into()),
            arm: Arm::Champion,
            model: version.id.clone().into(),
            names: ["city".into(), "age".into()].into(),
            features: Packed::new(&[Value::Text(city.into()), Value::Number(age as f64 + 0.5)]),
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: 1,
            decision: Decision::Recorded,
            exposure: None,
            fell: None,
        })
    };
    let entries: Vec<Entry> = leads_of_cities().into_iter().enumerate().map(score).collect();
    Store::open(&folder.path().join("state")).unwrap().write(&entries).unwrap();
    let config = format!(
        "listen: 127.0.0.1:0\nupstream: http://127.0.0.1:1\nadmin: 127.0.0.1:0\nmodels: {}\nstate: {}\nroutes: []\n",
        named("models"),
        named("state")
    );
    fs::write(named("leadwire.yaml"), config).unwrap();
    let output = ask(folder.path(), &["00Q000000000999", "--json"]);
    let told: Json =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let moved = told["drift"]["features"].as_array().unwrap();
    assert_eq!(moved.len(), 2, "{:#}", told["drift"]);
    for feature in moved {
        assert!(feature["raw"].as_f64().unwrap() < 0.02, "{feature:#}");
    }
}

#[test]
fn with_a_token_a_lead_is_shown_to_its_bearer() {
    let upstream = crm(&Arc::new(Mutex::new(ID.to_owned())));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let config = format!("admin_token: {}\n{CONFIG}", token.display());
    let sidecar = Running::with(upstream.address, &config, set_up);
    sidecar.post(CREATE, LEAD);
    let status = |bearer: &str| {
        let headers = [("Host", "admin.example.com"), ("Authorization", bearer)];
        get(&sidecar, &format!("/api/leads/{ID}"), &headers).status()
    };
    wait("the lead log", || status("Bearer 0123456789abcdef") == 200);
    assert_eq!(status("Bearer wrong"), 401);
}

#[test]
fn what_the_log_may_not_keep_is_not_made_up() {
    let upstream = crm(&Arc::new(Mutex::new(ID.to_owned())));
    let logged = |config: &str, feature: &str, policy: &str| {
        let line = config.lines().find(|line| line.starts_with(&format!("  {feature}: {{"))).unwrap();
        config.replacen(line, &line.replacen('}', &format!(", log: {policy}}}"), 1), 1)
    };
    let config = logged(&logged(CONFIG, "marital", "hash"), "housing", "drop");
    let sidecar = Running::with(upstream.address, &config, set_up);
    assert_eq!(sidecar.post(CREATE, LEAD).header("leadwire"), Some("scored"));
    let path = format!("/api/leads/{ID}");
    wait("the lead log", || json_of(&sidecar, &path).0 == 200);
    let (_, told) = json_of(&sidecar, &path);
    let why = "feature `housing` is not kept in the log";
    assert_eq!(told["scores"][0]["recomputed"], json!({"equal": null, "score": null, "why": why}));
    let features = told["features"].as_array().unwrap().iter();
    let withheld: Vec<_> =
        features.filter(|feature| feature["value"] == "(not kept)").map(|f| &f["feature"]).collect();
    assert_eq!((withheld.len(), told["cause"] == "as_trained"), (2, true), "{told:#}");
    assert!(!told.to_string().contains("hash:"), "{told:#}");
}

/// Events of the replay that pass: eleven weeks of leads.
const EVENTS: usize = 8_000;

/// A lead of the replay: recomputed, compared, held against the leads of its week, and with peers that had their time.
#[test]
fn a_lead_of_the_replay_is_looked_into() {
    let Some(events) = replay::events() else { return };
    let next = Arc::<Mutex<String>>::default();
    let upstream = crm(&next);
    let sidecar = Running::with(upstream.address, CONFIG, |models| set_up_beside(models, -0.3));
    let mut client = sidecar.client();
    let (mut best, mut times) = ((0, String::new()), BTreeMap::new());
    for (place, (event, body)) in events.iter().take(EVENTS).enumerate() {
        let word = |key: &str| event[key].as_str().unwrap().to_owned();
        let id = word("lead_id");
        *next.lock().unwrap() = id.clone();
        let json = [("Content-Type", "application/json")];
        let reply = client.exchange(&word("method"), &word("path"), &json, body.as_bytes());
        let is_score = event["type"] == "lead.created";
        let points = reply.header("x-lead-score").map_or(0, |points| points.parse::<u8>().unwrap());
        // Of the last days.
        if place > EVENTS - 300 && points > best.0 {
            best = (points, id.clone());
        }
        times.entry((id, is_score)).or_insert_with(|| word("t"));
    }
    let (_, last) = best;
    update(&sidecar, &last, r#"{"campaign__c":7.0,"poutcome__c":"failure","previous__c":1.0}"#);
    *next.lock().unwrap() = OTHER.to_owned();
    serve(&sidecar, "2");
    update(&sidecar, &last, r#"{"campaign__c":7.0}"#);
    let complaint = json!({"lead": last, "verdict": "down", "reason": "wrong_score_low", "who": "ada"});
    assert_eq!(post(sidecar.admin, "/api/feedback", &complaint.to_string()).status(), 202);
    let (_store, folder) = sidecar.stop();
    date(folder.path(), &times);

    let output = ask(folder.path(), &[&last, "--json"]);
    let told: Json =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(told["scores"].as_array().unwrap().iter().all(|score| score["recomputed"]["equal"] == true));
    assert!(told["peers"]["grade"]["leads"].as_u64() > Some(100), "{:#}", told["peers"]);
    assert!(told["drift"]["rows"].as_u64() >= Some(400), "{:#}", told["drift"]);
    assert_eq!(told["steps"].as_array().unwrap().iter().filter(|step| step["done"] == true).count(), 6);
    let at = told["scores"][0]["time_ms"].to_string();
    let output = ask(folder.path(), &[&last, "--against", &at]);
    assert!(output.status.success());
    // For the guide: `cargo test --test it replay_is_looked -- --nocapture`.
    println!("{}", text(&output.stdout));
}

/// Dates the log as the events were, the last of them a day ago: they passed within seconds.
fn date(folder: &Path, times: &BTreeMap<(String, bool), String>) {
    let mut log = rusqlite::Connection::open(folder.join("state/leads.sqlite")).unwrap();
    let transaction = log.transaction().unwrap();
    let newest = times.values().max().unwrap();
    for ((id, is_score), time) in times {
        let table = if *is_score { "scores" } else { "outcomes" };
        let sql = format!(
            "UPDATE {table} SET time_ms = CAST((unixepoch('now', '-1 day') + unixepoch(?2) - unixepoch(?3)) * 1000 AS INTEGER)
             WHERE lead = ?1 AND seq = (SELECT min(seq) FROM {table} WHERE lead = ?1)"
        );
        transaction.execute(&sql, [id, time, newest]).unwrap();
    }
    transaction.commit().unwrap();
}
