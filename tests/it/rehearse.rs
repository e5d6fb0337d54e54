//! `leadwire check --try`: what would become of recorded exchanges.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value as Json;

use crate::{
    captures::{Capture, SEPARATOR},
    scoring, support,
    support::{CONFIG, CREATE, LEAD, created, text},
};

fn rehearse(config: &str, bytes: &[u8], more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (file, recording) = (folder.path().join("leadwire.yaml"), folder.path().join("one.http"));
    std::fs::write(&file, config).unwrap();
    std::fs::write(&recording, bytes).unwrap();
    let mut command = command(&file);
    command.arg("--try").arg(&recording).args(more).output().unwrap()
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.env("LEADWIRE_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models"));
    command.args(["check", "-c"]).arg(config);
    command
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer hush\r\n\r\n{body}"
    )
    .into_bytes()
}

fn with_answer(request: &[u8], answer: &[u8]) -> Vec<u8> {
    [request, SEPARATOR, answer].concat()
}

#[test]
fn what_would_be_written_is_what_the_proxy_writes() {
    let upstream = support::Upstream::start(|_| created("00Q1"));
    let sidecar = support::Running::start(upstream.address);
    let reply = sidecar.post(CREATE, LEAD);
    let recording = with_answer(&post(CREATE, LEAD), &created("00Q1"));
    let output = rehearse(CONFIG, &recording, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let lead = &told["leads"][0];
    assert_eq!(lead["points"].to_string(), reply.header("x-lead-score").unwrap());
    assert_eq!(lead["grade"], reply.header("x-lead-grade").unwrap());
    assert_eq!((&lead["id"], &lead["accepted"]), (&"00Q1".into(), &true.into()));
    assert!(!lead["reasons"].as_array().unwrap().is_empty());
    let answered = told["answered"].as_str().unwrap();
    for name in ["x-lead-score", "x-lead-grade", "x-lead-model", "leadwire"] {
        let line = format!("\n+{name}: {}\n", reply.header(name).unwrap());
        assert!(answered.contains(&line), "{answered}");
    }
    assert!(answered.contains(&format!("\n+  \"Lead_Score__c\":{}\n", lead["points"])), "{answered}");
    assert_eq!(told["sent"], "", "the CRM gets what the client sent");
}

#[test]
fn the_exit_code_and_the_first_line_say_what_came_of_it() {
    let not_json = post(CREATE, "{");
    let refused = with_answer(&post(CREATE, LEAD), &support::answer("400 Bad Request", &[], "[]"));
    let convert = scoring::config(
        "  - {name: convert, method: [POST], path: '/convert/{kind}', action: outcome, when: [{at: /kind, eq: lead}]}",
    ) + "outcomes: [{route: convert, id: /id, label: 1, revenue: /amount}]\n";
    let inject = scoring::config(
        "  - {name: a, method: [POST], path: /a, action: create, inject: {request: [{at: /s, value: points}]}}",
    );
    for (config, recording, code, expected) in [
        (
            CONFIG,
            post(CREATE, LEAD),
            0,
            vec!["sobjects/Lead: scored\n", "route   lead.create", "no answer recorded"],
        ),
        (
            CONFIG,
            post(CREATE, "{}"),
            1,
            vec![": skipped, reason features\n", "age is missing, and required of updates\n"],
        ),
        (CONFIG, not_json, 1, vec![": skipped, reason parse\n"]),
        (CONFIG, refused, 1, vec![": skipped, reason refused\n", ", not accepted\n"]),
        (
            CONFIG,
            post("/elsewhere?api_token=hush", "{}"),
            1,
            vec!["/elsewhere?api_token=***: not on a route", "no route has this method and path"],
        ),
        (
            convert.as_str(),
            post("/convert/x", r#"{"kind":"deal"}"#),
            1,
            vec![": not on a route", "not     convert /convert/{kind}: does not hold: /kind eq \"lead\"\n"],
        ),
        (
            convert.as_str(),
            post("/convert/x", r#"{"kind":"lead","id":"7","amount":"1,200.50"}"#),
            0,
            vec![": passed, nothing to score\n", "outcome: lead 7 won, revenue 1200.5\n"],
        ),
        (inject.as_str(), post("/a", LEAD), 0, vec!["the CRM gets\n--- received\n+++ sent\n", "\n+  \"s\":"]),
        (CONFIG, b"nothing".to_vec(), 2, vec![]),
    ] {
        let output = rehearse(config, &recording, &[]);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{told}{}", text(&output.stderr));
        expected.iter().for_each(|line| assert!(told.contains(line), "{line:?} in {told}"));
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn a_bad_configuration_and_an_absent_file_exit_with_2_and_standard_input_is_read() {
    assert_eq!(rehearse("upstream: nowhere", &post("/", ""), &[]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leadwire.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let absent = command(&file).args(["--try", "absent.http"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(2));
    assert!(text(&absent.stderr).starts_with("error: absent.http: "), "{}", text(&absent.stderr));
    let piped = command(&file).args(["--try", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut piped = piped.unwrap();
    std::io::Write::write_all(&mut piped.stdin.take().unwrap(), &post(CREATE, LEAD)).unwrap();
    let output = piped.wait_with_output().unwrap();
    assert!(text(&output.stdout).contains(": scored\n"), "{}", text(&output.stdout));
}

#[test]
fn captures_are_told_by_route_body_leads_and_rules() {
    let Some(captures) = Capture::all() else { return };
    let presets: Vec<&str> = leadwire::config::presets().map(|(name, _)| name).collect();
    let config = scoring::config("  []").replace("presets: []", &format!("presets: {presets:?}"));
    for (name, expected) in [
        ("forms_curl/002", vec!["of json in gzip\n", "lead 1"]),
        ("forms_curl/001", vec!["of form\n", "lead 1"]),
        ("frappe_python/001", vec!["of form-json\n", "lead 1"]),
        ("node_odoo/002", vec!["of xmlrpc\n", "lead 1"]),
        ("node_odoo/003", vec!["of xmlrpc\n", "lead 1"]),
        ("sf_simple_salesforce/007", vec!["lead 5 at index 4"]),
        ("odoo_odoorpc/007", vec!["outcome: lead 1045 won\n"]),
        ("espo_python/004", vec!["alias: lead 65x became deal op1\n"]),
        ("node_jsforce/015", vec!["of xml\n", "alias: lead 00Q5e000000001070AA became deal 006x\n"]),
    ] {
        let capture = captures.iter().find(|capture| capture.name.starts_with(name)).unwrap();
        let output = rehearse(&config, &with_answer(&capture.request, &capture.response), &[]);
        let told = text(&output.stdout);
        expected.iter().for_each(|line| assert!(told.contains(line), "{name}: {line:?} in {told}"));
    }
}
