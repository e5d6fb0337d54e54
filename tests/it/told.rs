//! What people and other programs tell of leads over the admin listener, with a sidecar at work.

use leadwire::leadlog::StoredFeedback;
use serde_json::{Value as Json, json};

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, answer, copy_folder, created, shipped_model,
    wait,
};

/// A request to the admin listener; status and answer.
fn post(sidecar: &Running, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Json) {
    let mut client = Client::connect(sidecar.admin);
    let mut head = format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    client.send(format!("{head}\r\n{body}").as_bytes());
    let reply: Message = client.receive();
    (reply.status(), serde_json::from_slice(&reply.body).unwrap())
}

fn tell(sidecar: &Running, path: &str, body: &Json) -> (u16, Json) {
    let host = sidecar.admin.to_string();
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    post(sidecar, path, &headers, &body.to_string())
}

#[test]
fn a_verdict_and_an_outcome_that_are_told_are_in_the_lead_log() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::start(upstream.address);
    sidecar.post(CREATE, LEAD);
    let verdict = json!({"lead": "00Q1", "verdict": "down", "reason": "wrong_score_high", "who": "ada", "note": "a\nstudent"});
    let (status, told) = tell(&sidecar, "/api/feedback", &verdict);
    let time_ms = told["recorded"]["time_ms"].as_i64().unwrap();
    let mut recorded = verdict.clone();
    (recorded["note"], recorded["time_ms"]) = ("a student".into(), time_ms.into());
    assert_eq!((status, &told), (202, &json!({"recorded": recorded})));
    let outcome = json!({"lead": "00Q1", "won": true, "revenue": 900.5, "event": "e1", "revision": 2, "time": "2026-11-02T10:20:30Z"});
    let (status, told) = tell(&sidecar, "/api/outcomes", &outcome);
    assert_eq!((status, &told["recorded"]["occurred_ms"]), (202, &json!(1_793_614_830_000_i64)));
    let counted = |verdict: &str, reason: &str| {
        sidecar.metric(&format!(r#"leadwire_feedback_total{{verdict="{verdict}",reason="{reason}"}}"#))
    };
    assert_eq!((counted("down", "wrong_score_high"), counted("up", "none")), (1.0, 0.0));
    let (store, _folder) = sidecar.stop();
    let stored = StoredFeedback {
        time_ms,
        source: "api".into(),
        verdict: "down".into(),
        reason: Some("wrong_score_high".into()),
        who: Some("ada".into()),
        note: Some("a student".into()),
    };
    assert_eq!(store.feedback_of("00Q1").unwrap(), [stored]);
    let label = store.outcome_of("00Q1").unwrap().unwrap();
    assert_eq!((label.route.as_str(), label.won, label.revenue), ("api", true, Some(900.5)));
    let counts = store.feedback_counts(0, i64::MAX).unwrap();
    assert_eq!(counts.iter().map(|count| (count.up, count.down)).collect::<Vec<_>>(), [(0, 1)]);
}

#[test]
fn what_cannot_be_taken_is_refused_and_says_why() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, |_| {});
    let host = sidecar.admin.to_string();
    let ours = [("Host", host.as_str()), ("Content-Type", "application/json")];
    let check = |path: &str, headers: &[(&str, &str)], body: &str, expected: (u16, &str)| {
        let (status, told) = post(&sidecar, path, headers, body);
        let error = told["error"].as_str().unwrap_or_default();
        assert!(status == expected.0 && error.contains(expected.1), "{status} {error}");
    };
    let good = r#"{"lead":"a","verdict":"up"}"#;
    check("/api/feedback", &ours, r#"{"lead":"a","verdict":"up","mood":1}"#, (422, "unknown field `mood`"));
    check(
        "/api/feedback",
        &ours,
        r#"{"lead":"a","verdict":"up","reason":"mood"}"#,
        (422, "reason: is none of"),
    );
    check("/api/feedback", &ours, r#"{"lead":7,"verdict":"up"}"#, (422, "lead: invalid type"));
    check("/api/feedback", &ours, r#"{"lead":"a""#, (400, ""));
    check("/api/outcomes", &ours, r#"{"lead":"a"}"#, (422, "missing field `won`"));
    // Seconds.
    let seconds = r#"{"lead":"a","won":true,"time":1763800000}"#;
    check("/api/outcomes", &ours, seconds, (422, "time: is no time between 2000 and 2100"));
    check("/api/outcomes", &ours, r#"{"lead":"a","won":true,"revenue":1e999}"#, (400, "number out of range"));
    let long = format!(r#"{{"lead":"a","verdict":"up","note":"{}"}}"#, "x".repeat(20_000));
    check("/api/feedback", &ours, &long, (413, ""));
    // A page of another site can send no JSON unasked, and none under this machine's name.
    check("/api/feedback", &ours[..1], good, (415, ""));
    let rebound = [("Host", "rebound.example.com"), ("Content-Type", "application/json")];
    check("/api/feedback", &rebound, good, (403, "address or localhost"));
    check("/api/outcomes", &rebound, r#"{"lead":"a","won":true}"#, (403, "address or localhost"));
    let (store, _folder) = sidecar.stop();
    assert_eq!((store.feedback_of("a").unwrap(), store.outcome_of("a").unwrap()), (vec![], None));
}

#[test]
fn a_verdict_in_a_field_of_the_crm_is_recorded_and_is_no_outcome() {
    let upstream = Upstream::start(|request| match request.start.starts_with("PATCH") {
        true => answer("204 No Content", &[], ""),
        false => created("00Q1"),
    });
    let rule = "feedback:\n  - route: lead.update\n    verdict: {at: /LW_Verdict__c, up: [Good], down: [Wrong]}\n    \
                reason: {at: /LW_Reason__c, not_a_lead: [Student]}\n    note: /LW_Comment__c\n";
    let sidecar = Running::with(upstream.address, &format!("{CONFIG}\n{rule}"), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    sidecar.post(CREATE, LEAD);
    let body = r#"{"LW_Verdict__c":"Wrong","LW_Reason__c":"Student","LW_Comment__c":"writes a thesis"}"#;
    let path = format!("{CREATE}/00Q1");
    let headers = [("Content-Type", "application/json")];
    let reply = sidecar.client().exchange("PATCH", &path, &headers, body.as_bytes());
    assert_eq!(reply.status(), 204);
    let series = r#"leadwire_feedback_total{verdict="down",reason="not_a_lead"}"#;
    wait("the verdict is counted", || sidecar.metric(series) == 1.0);
    let (store, _folder) = sidecar.stop();
    let said = store.feedback_of("00Q1").unwrap();
    let told: Vec<_> = said
        .iter()
        .map(|said| (&*said.source, &*said.verdict, said.reason.as_deref(), said.note.as_deref()))
        .collect();
    assert_eq!(told, [("lead.update", "down", Some("not_a_lead"), Some("writes a thesis"))]);
    assert_eq!(store.outcome_of("00Q1").unwrap(), None);
    let scores = store.scores_of("00Q1").unwrap();
    assert!(!scores.is_empty() && scores.iter().all(|score| !score.features.contains("thesis")));
}
