//! Whatever goes wrong, the CRM's answer comes through with its original bytes, and the miss is counted with its reason.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    scoring::start,
    support::{
        CONFIG, CREATE, Client, LEAD, Running, Upstream, answer, copy_folder, created, shipped_model, wait,
    },
};

const ID: &str = "00Q8d0000000000001";

/// Sends a request that must not be scored: the upstream gets it as sent, the client gets the upstream's answer.
fn check_skipped(
    sidecar: &Running,
    upstream: &Upstream,
    headers: &[(&str, &str)],
    body: &[u8],
    reason: &str,
) {
    let series = format!(r#"leadwire_skipped_total{{route="lead.create",reason="{reason}"}}"#);
    let before = sidecar.metric(&series);
    let reply = sidecar.client().exchange("POST", CREATE, headers, body);
    let request = upstream.requests().pop().unwrap();
    assert_eq!(request.body, body, "{reason}");
    assert_eq!(
        (reply.status(), reply.text()),
        (201, r#"{"id":"00Q8d0000000000001","success":true,"errors":[]}"#)
    );
    assert_eq!(reply.header("leadwire"), Some(format!("skipped;reason={reason}").as_str()));
    assert_eq!(reply.header("x-lead-score"), None);
    assert_eq!(sidecar.metric(&series), before + 1.0, "{reason} is counted");
}

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

#[test]
fn what_cannot_be_read_goes_on_as_it_came() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let skipped = |headers: &[(&str, &str)], body: &[u8], reason| {
        check_skipped(&sidecar, &upstream, headers, body, reason);
    };
    skipped(&JSON, b"{\"age__c\": 56,", "parse");
    skipped(&JSON, b"\xff\xfe{}", "parse");
    skipped(&JSON, b"", "parse");
    skipped(&JSON, &["[".repeat(2000), "]".repeat(2000)].concat().into_bytes(), "parse");
    skipped(&JSON, b"{\"age__c\":56,\"age__c\":57}", "duplicate");
    skipped(&JSON, b"[1,2]", "no_lead");
    skipped(&JSON, b"{\"LastName\":\"x\"}", "features");
    skipped(&[("Content-Type", "multipart/form-data; boundary=x")], b"--x--", "content");
    skipped(&[("Content-Type", "multipart/mixed; boundary=x")], b"--x", "parse");
    skipped(&[("Content-Type", "text/xml")], b"<!DOCTYPE a><a/>", "parse");
    skipped(&[("Content-Type", "application/x-www-form-urlencoded")], b"age__c=1&age__c=2", "duplicate");
    skipped(&[("Content-Type", "text/csv")], b"age__c\n1,2\n", "parse");
    skipped(&[("Content-Type", "text/csv")], b"age__c\n", "no_lead");
    skipped(
        &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
        b"\x1f\x8b\x08",
        "encoding",
    );
    skipped(
        &[("Content-Type", "application/json"), ("Content-Encoding", "zstd")],
        LEAD.as_bytes(),
        "encoding",
    );
    let large = format!("{{\"Description\":\"{}\"}}", "x".repeat(1 << 20));
    skipped(&JSON, large.as_bytes(), "body");
    skipped(&[], b"not json at all", "parse");
    skipped(&JSON, format!("[{}{{}}]", "{},".repeat(1_000)).as_bytes(), "too_many");
}

#[test]
fn a_large_chunked_body_goes_on_whole() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    client
        .send(format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    let chunk = vec![b' '; 64 << 10];
    for _ in 0..40 {
        client.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.receive().header("leadwire"), Some("skipped;reason=body"));
    assert_eq!(upstream.request().body.len(), 40 * chunk.len());
}

#[test]
fn a_deadline_that_passed_is_a_reason_to_skip() {
    let upstream = Upstream::start(|_| created(ID));
    let records = [LEAD].repeat(1_000).join(",");
    let routes = r#"
  - name: lead.create
    method: [POST]
    path: /services/data/{version}/sobjects/Lead
    leads: $.records[*]
    id: {from: response, at: /id}
    action: create
"#;
    let config = crate::scoring::config(routes).replace("deadline: 10ms", "deadline: 100us");
    let sidecar = Running::with(upstream.address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    check_skipped(&sidecar, &upstream, &JSON, format!("{{\"records\":[{records}]}}").as_bytes(), "deadline");
}

#[test]
fn an_upstream_that_is_not_there_gives_502_and_one_that_is_silent_504() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = Running::start(gone);
    for (method, path, body) in [("GET", "/", ""), ("POST", CREATE, LEAD)] {
        let reply = sidecar.client().exchange(method, path, &JSON, body.as_bytes());
        let text = "{\"error\":\"cannot connect to the upstream\"}\n";
        assert_eq!((reply.status(), reply.text(), reply.header("leadwire")), (502, text, Some("failed")));
    }
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="lead.create",outcome="failed"}"#), 1.0);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = CONFIG.replace("answer: 60s", "answer: 200ms");
    let sidecar = Running::with(silent.local_addr().unwrap(), &config, |_| {});
    let reply = sidecar.post(CREATE, LEAD);
    assert_eq!((reply.status(), reply.header("leadwire")), (504, Some("failed")));
    let (mut stream, _) = silent.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut seen = Vec::new();
    _ = std::io::Read::read_to_end(&mut stream, &mut seen);
    let sent = String::from_utf8(seen).unwrap();
    assert_eq!(sent.matches("POST ").count(), 1, "a write is not sent twice");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_an_answer() {
    for part in ["", "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"id\":"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sidecar = Running::start(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut stream = std::io::BufReader::new(listener.accept().unwrap().0);
            crate::support::Message::read(&mut stream, false).unwrap();
            stream.get_mut().write_all(part.as_bytes()).unwrap();
        });
        let reply = sidecar.post(CREATE, LEAD);
        assert_eq!((reply.status(), reply.header("leadwire")), (502, Some("failed")));
        assert_eq!(sidecar.stop().0.score_count().unwrap(), 0, "nobody knows whether the lead was taken");
    }
}

/// What is done to the model's folder, and whether the version that served goes on.
type Kill = (&'static str, fn(&Path));

const KILLS: [Kill; 7] = [
    ("deleted", |folder| fs::remove_dir_all(folder).unwrap()),
    ("weights deleted", |folder| fs::remove_file(folder.join("weights.safetensors")).unwrap()),
    ("weights truncated", |folder| truncate(&folder.join("weights.safetensors"))),
    ("manifest truncated", |folder| truncate(&folder.join("manifest.json"))),
    ("NaN weights", |folder| {
        spoil(folder, |weights| weights.iter_mut().rev().take(4).for_each(|byte| *byte = 0xff));
    }),
    ("wrong digest", |folder| {
        let manifest = folder.join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        let digest = leadwire::registry::sha256(&fs::read(folder.join("weights.safetensors")).unwrap());
        fs::write(&manifest, text.replace(&digest, &"0".repeat(64))).unwrap();
    }),
    ("golden samples off", |folder| {
        spoil(folder, |weights| {
            let end = weights.len();
            weights[end - 4..].copy_from_slice(&9.0_f32.to_le_bytes());
        });
    }),
];

fn truncate(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

/// Changes the weights and makes the manifest's digest fit.
fn spoil(folder: &Path, change: fn(&mut [u8])) {
    let (weights, manifest) = (folder.join("weights.safetensors"), folder.join("manifest.json"));
    let mut bytes = fs::read(&weights).unwrap();
    let before = leadwire::registry::sha256(&bytes);
    change(&mut bytes);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&weights, &bytes).unwrap();
    fs::write(&manifest, text.replace(&before, &leadwire::registry::sha256(&bytes))).unwrap();
}

#[test]
fn killing_the_model_under_load_changes_no_answer() {
    for (what, kill) in KILLS {
        let upstream = Upstream::start(|_| created(ID));
        let sidecar = Running::start(upstream.address);
        let mut client = sidecar.client();
        let mut post = || client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
        let good = post();
        assert_eq!(good.header("leadwire"), Some("scored"));
        kill(&sidecar.folder.path().join("models/lead/1"));
        let started = Instant::now();
        let refused = || sidecar.admin("/api/models").contains("\"reason\":");
        while !refused() && started.elapsed() < Duration::from_millis(1_500) {
            assert_eq!(post(), good, "{what}");
        }
        assert_eq!(post(), good, "{what}: the old version keeps serving");
        // Weights alone are not looked at again: the manifest stands for them, and the good copy is in memory.
        assert_eq!(refused(), !matches!(what, "weights deleted" | "weights truncated"), "{what}");
    }
}

#[test]
fn starting_with_a_killed_model_passes_every_lead_on() {
    for (what, kill) in KILLS {
        let upstream = Upstream::start(|_| created(ID));
        let sidecar = Running::with(upstream.address, CONFIG, |models| {
            copy_folder(&shipped_model(), &models.join("lead/1"));
            kill(&models.join("lead/1"));
        });
        check_skipped(&sidecar, &upstream, &JSON, LEAD.as_bytes(), "no_model");
        let models = sidecar.admin("/api/models");
        assert!(models.contains("\"models\":[]"), "{what}: {models}");
        assert_eq!(models.contains("\"reason\":"), what != "deleted", "{what}: {models}");
        assert!(sidecar.admin("/ready").contains("true"), "{what}: the CRM can be reached");
    }
}

#[test]
fn open_requests_finish_when_the_process_is_told_to_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Running::start(listener.local_addr().unwrap());
    let address = sidecar.listen;
    let (mut busy, mut idle) = (sidecar.client(), sidecar.client());
    busy.send(
        format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{LEAD}", LEAD.len())
            .as_bytes(),
    );
    let (stream, _) = listener.accept().unwrap();
    let mut stream = std::io::BufReader::new(stream);
    crate::support::Message::read(&mut stream, false).unwrap();
    let stopping = std::thread::spawn(move || sidecar.stop());
    wait("the listener to close", || std::net::TcpStream::connect(address).is_err());
    assert!(!stopping.is_finished(), "the open request is waited for");
    stream.get_mut().write_all(&created(ID)).unwrap();
    let reply = busy.receive();
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    let (store, _folder) = stopping.join().unwrap();
    assert_eq!(store.scores_of(ID).unwrap().len(), 1, "its score is in the log");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut idle.stream, &mut rest).unwrap();
    assert!(rest.is_empty(), "idle connections are closed");
}

#[test]
fn connections_made_before_the_stop_are_served() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let request =
        format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{LEAD}", LEAD.len());
    let mut clients: Vec<Client> = (0..40).map(|_| sidecar.client()).collect();
    clients.iter_mut().for_each(|client| client.send(request.as_bytes()));
    let (store, _folder) = sidecar.stop();
    for client in &mut clients {
        assert_eq!(client.receive().header("leadwire"), Some("scored"));
    }
    assert_eq!(store.scores_of(ID).unwrap().len(), 40);
}

#[test]
fn a_slow_upload_is_no_slow_answer() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "all of it"));
    let config = CONFIG.replace("answer: 60s", "answer: 100ms");
    let sidecar = Running::with(upstream.address, &config, |_| {});
    let mut client = sidecar.client();
    client.send(b"PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    for byte in b"abcdefgh" {
        std::thread::park_timeout(Duration::from_millis(100));
        client.send(&[*byte]);
    }
    assert_eq!(client.receive().text(), "all of it");
}

#[test]
fn a_message_may_have_more_headers_than_most() {
    let upstream = Upstream::start(|_| {
        let headers: Vec<(String, String)> = (0..300).map(|i| (format!("X-{i}"), i.to_string())).collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        answer("200 OK", &headers, "ok")
    });
    let sidecar = Running::start(upstream.address);
    let headers: Vec<(String, String)> = (0..300).map(|i| (format!("X-{i}"), i.to_string())).collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let reply = sidecar.client().exchange("GET", "/", &headers, b"");
    assert_eq!((reply.header("x-299"), upstream.request().header("x-299")), (Some("299"), Some("299")));
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_is_replaced() {
    let upstream = Upstream::start(|request| match request.start.contains("/bye") {
        true => answer("200 OK", &[("Connection", "close")], "bye"),
        false => answer("200 OK", &[], "ok"),
    });
    let sidecar = Running::start(upstream.address);
    let mut client: Client = sidecar.client();
    for path in ["/", "/bye", "/", "/bye", "/"] {
        assert_eq!(client.exchange("GET", path, &[], b"").status(), 200);
    }
}

#[test]
fn the_admin_listener_tells_health_and_hides_nothing_behind_the_crms_port() {
    let upstream = Upstream::start(|_| answer("404 Not Found", &[], "the CRM's own"));
    let sidecar = start(&upstream, "  - {name: r, method: [POST], path: /r, action: create}");
    for path in ["/live", "/ready", "/metrics", "/version", "/api/latency", "/api/models"] {
        assert_eq!(Client::connect(sidecar.admin).exchange("GET", path, &[], b"").status(), 200, "{path}");
        assert_eq!(sidecar.client().exchange("GET", path, &[], b"").text(), "the CRM's own", "{path}");
    }
    assert!(sidecar.admin("/api/latency").contains("\"p9999_us\""));
    assert_eq!(Client::connect(sidecar.admin).exchange("GET", "/nothing", &[], b"").status(), 404);
}
