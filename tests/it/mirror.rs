//! A second upstream gets copies of what routes take, and whatever it does, nobody notices.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Mutex,
    thread,
};

use rustls::ALL_VERSIONS;

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, answer, copy_folder, created, leadwire,
    shipped_model, text,
    tls::{Ca, accept},
    wait,
};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn crm() -> Upstream {
    Upstream::start(|_| created("00Q1"))
}

/// The shipped configuration with a mirror.
fn start(crm: &Upstream, mirror: &str) -> Running {
    let config = format!("mirror: {{{mirror}}}\n{CONFIG}");
    Running::with(crm.address, &config, |models| copy_folder(&shipped_model(), &models.join("lead/1")))
}

fn url(mirror: SocketAddr) -> String {
    format!("upstream: http://{mirror}")
}

/// Creates so many leads on one connection, and so by one worker; each is scored as without a mirror.
fn create(sidecar: &Running, leads: usize, body: &str) -> Client {
    let mut client = sidecar.client();
    for _ in 0..leads {
        let reply = client.exchange("POST", CREATE, &[JSON], body.as_bytes());
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    }
    client
}

fn copies(sidecar: &Running, result: &str) -> f64 {
    sidecar.metric(&format!("leadwire_mirror_total{{result=\"{result}\"}}"))
}

fn wait_for(sidecar: &Running, result: &str, count: f64) {
    wait(&format!("{count} copies to be {result}"), || copies(sidecar, result) >= count);
    assert_eq!(copies(sidecar, result), count, "{result}");
}

/// A mirror that does something to each connection and keeps it open until `Stalled` is dropped.
struct Stalled {
    address: SocketAddr,
    _go: std::sync::mpsc::Sender<()>,
}

fn stalled(say: &'static [u8]) -> Stalled {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let streams: Mutex<Vec<_>> = Mutex::default();
        for mut stream in listener.incoming().map_while(Result::ok) {
            _ = stream.write_all(say);
            streams.lock().unwrap().push(stream);
            if gone.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                return;
            }
        }
    });
    Stalled { address, _go: go }
}

#[test]
fn a_copy_is_what_the_client_sent_and_nothing_else_is_copied() {
    let (crm, mirror) = (crm(), Upstream::start(|_| answer("500 Oops", &[], "whatever")));
    let config =
        CONFIG.replace("      request: []\n", "      request: [{at: /Lead_Score__c, value: points}]\n");
    assert_ne!(config, CONFIG);
    let config = format!("mirror: {{{}}}\n{config}", url(mirror.address));
    let sidecar = Running::with(crm.address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let headers = [
        JSON,
        ("Authorization", "Bearer of-the-client"),
        ("X-Lead-Score", "99"),
        ("Connection", "X-Mine"),
        ("X-Mine", "1"),
    ];
    let reply = sidecar.client().exchange("POST", &format!("{CREATE}?a=b"), &headers, LEAD.as_bytes());
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    assert_eq!(sidecar.client().exchange("GET", "/anything", &[], b"").status(), 201);
    wait_for(&sidecar, "sent", 1.0);
    assert!(crm.requests()[0].text().contains("Lead_Score__c"), "the CRM gets the score");
    let copy = mirror.request();
    assert_eq!((copy.start.as_str(), copy.text()), (&*format!("POST {CREATE}?a=b HTTP/1.1"), LEAD));
    let header = |name| copy.header(name);
    assert_eq!(header("authorization"), Some("Bearer of-the-client"));
    assert_eq!([header("host"), header("x-lead-score")], [Some("crm.example.test"), Some("99")]);
    assert_eq!([header("x-mine"), header("connection")], [None, None]);
}

#[test]
fn as_many_are_copied_as_are_asked_for() {
    for (percent, expected) in [(0, 0.0), (50, 3.0), (70, 4.0), (100, 6.0)] {
        let (crm, mirror) = (crm(), Upstream::start(|_| answer("200 OK", &[], "ok")));
        let sidecar = start(&crm, &format!("{}, percent: {percent}", url(mirror.address)));
        create(&sidecar, 6, LEAD);
        wait_for(&sidecar, "sent", expected);
        assert_eq!(mirror.requests().len() as f64, expected, "{percent}");
        assert!(mirror.connections() <= 6 && copies(&sidecar, "failed") == 0.0, "{percent}");
    }
}

#[test]
fn a_mirror_that_is_not_there_or_breaks_off_is_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rude = Upstream::start(|_| Vec::new());
    let odd = Upstream::start(|_| b"SSH-2.0-OpenSSH\r\n\r\n".to_vec());
    let short = Upstream::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec());
    let short_and_closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let cut = short_and_closed.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in short_and_closed.incoming().map_while(Result::ok) {
            let mut head = [0; 64];
            _ = stream.read(&mut head);
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
        }
    });
    for address in [closed, rude.address, odd.address, cut] {
        let crm = crm();
        let sidecar = start(&crm, &url(address));
        create(&sidecar, 2, LEAD);
        wait_for(&sidecar, "failed", 2.0);
        assert_eq!(crm.requests().len(), 2);
    }
    let crm = crm();
    let sidecar = start(&crm, &format!("{}, timeout: 100ms", url(short.address)));
    create(&sidecar, 1, LEAD);
    wait_for(&sidecar, "timeout", 1.0);
}

#[test]
fn a_mirror_that_stalls_delays_nothing_and_is_given_up() {
    let (crm, mirror) = (crm(), stalled(b""));
    let sidecar = start(&crm, &format!("{}, timeout: 200ms", url(mirror.address)));
    create(&sidecar, 8, LEAD);
    assert_eq!(crm.requests().len(), 8);
    wait_for(&sidecar, "timeout", 8.0);
    // What was given up takes no room any more.
    create(&sidecar, 8, LEAD);
    wait_for(&sidecar, "timeout", 16.0);
    assert_eq!(copies(&sidecar, "dropped"), 0.0);
}

#[test]
fn copies_that_do_not_fit_are_dropped() {
    let (crm, mirror) = (crm(), stalled(b""));
    // Each of the two workers has half of it.
    let sidecar = start(&crm, &format!("{}, timeout: 10m, bytes: 1MiB", url(mirror.address)));
    let long =
        LEAD.replace("housemaid\"", &format!("housemaid\",\"Description\":\"{}\"", "x".repeat(200_000)));
    let client = create(&sidecar, 5, &long);
    assert_eq!(copies(&sidecar, "dropped"), 3.0, "two of 200 KB fit into 512 KiB");
    drop(client);
    assert_eq!(crm.requests().len(), 5);
}

#[test]
fn a_body_that_is_not_held_is_not_copied() {
    let (crm, mirror) = (crm(), Upstream::start(|_| answer("200 OK", &[], "ok")));
    let sidecar = start(&crm, &url(mirror.address));
    let reply = sidecar.post(CREATE, &format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)));
    assert_eq!(reply.header("leadwire"), Some("skipped;reason=body"));
    wait_for(&sidecar, "dropped", 1.0);
    assert!(mirror.requests().is_empty());
}

#[test]
fn an_answer_without_end_is_cut() {
    let crm = crm();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        Message::read(&mut std::io::BufReader::new(stream.try_clone().unwrap()), false).unwrap();
        let length = 1_u64 << 30;
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).unwrap();
        let (mut sent, piece) = (0_u64, vec![b'x'; 64 << 10]);
        while sent < length && stream.write_all(&piece).is_ok() {
            sent += piece.len() as u64;
        }
        sent
    });
    let sidecar = start(&crm, &url(address));
    create(&sidecar, 1, LEAD);
    wait_for(&sidecar, "sent", 1.0);
    let sent = sent.join().unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[test]
fn an_https_mirror_must_be_who_it_says() {
    let (ca, stranger) = (Ca::new("own"), Ca::new("stranger"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let mirror_of = |ca: &Ca| {
        let server = ca.issue(&["127.0.0.1"]).server(ALL_VERSIONS);
        Upstream::start_over(move |stream| accept(&server, stream), |_| answer("200 OK", &[], "ok"))
    };
    for (mirror, result) in [(mirror_of(&ca), "sent"), (mirror_of(&stranger), "failed")] {
        let crm = crm();
        let keys = format!("upstream: 'https://{}', ca: '{}'", mirror.address, file.display());
        let sidecar = start(&crm, &keys);
        create(&sidecar, 1, LEAD);
        wait_for(&sidecar, result, 1.0);
        assert_eq!(mirror.requests().len(), usize::from(result == "sent"));
    }
}

#[test]
fn check_reads_the_mirrors_ca() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leadwire.yaml");
    let config = "upstream: http://crm\nmirror: {upstream: 'https://staging', ca: none.pem}\nmodels: none\n";
    std::fs::write(&file, config).unwrap();
    let checked = leadwire(&["check", "-c", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("none.pem: cannot be read"), "{}", text(&checked.stderr));
}

#[test]
fn a_mirror_comes_and_goes_with_the_configuration() {
    let (crm, mirror) = (crm(), Upstream::start(|_| answer("200 OK", &[], "ok")));
    let sidecar = Running::start(crm.address);
    create(&sidecar, 1, LEAD);
    let reloads = |count| {
        wait("a reload", || sidecar.metric("leadwire_config_reloads_total{result=\"taken\"}") >= count);
    };
    sidecar.reconfigure(crm.address, &format!("mirror: {{{}}}\n{CONFIG}", url(mirror.address)));
    reloads(1.0);
    create(&sidecar, 1, LEAD);
    wait_for(&sidecar, "sent", 1.0);
    sidecar.reconfigure(crm.address, CONFIG);
    reloads(2.0);
    create(&sidecar, 1, LEAD);
    assert_eq!((crm.requests().len(), mirror.requests().len()), (3, 1));
}
