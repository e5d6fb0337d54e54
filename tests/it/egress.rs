//! Clients that insist on https take Leadwire for their proxy: it stands in for some hosts, and for no others.

use std::{
    fs,
    io::{self, Read},
    net::{Shutdown, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Instant,
};

use rustls::{ALL_VERSIONS, ClientConfig};
use tempfile::TempDir;

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Running, Upstream, answer, copy_folder, created, leadwire, shipped_model,
    text,
    tls::{Ca, TlsStream, accept, shake_hands, trusting},
    wait,
};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A host that speaks https, a CRM that must not be asked, and the files of both CAs.
struct Stage {
    host: Upstream,
    crm: Upstream,
    folder: TempDir,
}

impl Stage {
    fn set() -> Self {
        let ca = Ca::new("of the host");
        Self::of(&ca, &ca)
    }

    /// A host whose certificate is of one CA, and a configuration that trusts another.
    fn of(ca: &Ca, trusted: &Ca) -> Self {
        let server = ca.issue(&["localhost", "127.0.0.1"]).server(ALL_VERSIONS);
        let host = Upstream::start_over(move |stream| accept(&server, stream), |_| created("00Q1"));
        let crm = Upstream::start(|_| answer("200 OK", &[], "the CRM"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hosts.pem"), trusted.pem()).unwrap();
        Self { host, crm, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `name` and the host's port.
    fn target(&self, name: &str) -> String {
        format!("{name}:{}", self.host.address.port())
    }

    fn config(&self, hosts: &str, more: &str) -> String {
        let [ca, cert, key] = ["hosts.pem", "ca/own.crt", "ca/own.key"].map(|name| self.file(name));
        format!(
            "upstream_tls: {{ca: '{ca}'}}\n\
             egress: {{hosts: [{hosts}], ca: {{cert: '{cert}', key: '{key}'}}{more}}}\n{CONFIG}"
        )
    }

    /// Stands in for `localhost` with the host's port.
    fn start(&self, more: &str) -> Running {
        let config = self.config(&format!("'{}'", self.target("localhost")), more);
        Running::with(self.crm.address, &config, |models| {
            copy_folder(&shipped_model(), &models.join("lead/1"));
        })
    }

    /// A client that trusts the own CA.
    fn client(&self) -> Arc<ClientConfig> {
        trusting(&fs::read_to_string(self.file("ca/own.crt")).unwrap())
    }
}

/// Asks for a connection; the status, and what is there then.
fn ask(listen: SocketAddr, target: &str) -> (u16, Client) {
    ask_in("HTTP/1.1", listen, target)
}

fn ask_in(version: &str, listen: SocketAddr, target: &str) -> (u16, Client) {
    let mut client = Client::connect(listen);
    client.send(format!("CONNECT {target} {version}\r\nHost: {target}\r\n\r\n").as_bytes());
    let mut head = Vec::new();
    // Byte by byte, as what follows is for TLS.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let status = text(&head).split(' ').nth(1).unwrap().parse().unwrap();
    (status, client)
}

/// A client with TLS inside of such a connection.
fn inside(
    listen: SocketAddr,
    target: &str,
    name: &str,
    tls: &Arc<ClientConfig>,
) -> io::Result<Client<TlsStream>> {
    let (status, client) = ask(listen, target);
    assert_eq!(status, 200, "{target}");
    shake_hands(client.stream.into_inner(), tls, name)
}

fn connects(sidecar: &Running, result: &str) -> f64 {
    sidecar.metric(&format!("leadwire_connect_total{{result=\"{result}\"}}"))
}

fn handshakes(sidecar: &Running, result: &str) -> f64 {
    sidecar.metric(&format!("leadwire_tls_handshakes_total{{result=\"{result}\"}}"))
}

#[test]
fn leads_inside_of_https_are_scored_and_go_to_their_host() {
    let stage = Stage::set();
    let sidecar = stage.start("");
    let target = stage.target("LocalHost");
    let mut client = inside(sidecar.listen, &target, "localhost", &stage.client()).unwrap();
    for _ in 0..2 {
        let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
        assert!(reply.header("x-lead-score").is_some() && reply.text().contains("Lead_Score__c"));
    }
    let asked = stage.host.requests();
    assert_eq!((asked.len(), stage.host.connections(), stage.crm.requests().len()), (2, 1, 0));
    assert_eq!((asked[0].text(), asked[0].header("host")), (LEAD, Some("crm.example.test")));
    assert_eq!([connects(&sidecar, "read"), handshakes(&sidecar, "full")], [1.0, 1.0]);
    let routed = |name: &str| sidecar.metric(&format!("leadwire_requests_total{{route={name}"));
    assert_eq!(routed(r#""lead.create",outcome="scored"}"#), 2.0);
    assert_eq!(routed(r#""unmatched",outcome="passed"}"#), 1.0, "the CONNECT itself");
    // On the connection itself requests go to the CRM as ever.
    assert_eq!(sidecar.client().exchange("GET", "/", &[], b"").text(), "the CRM");
    let (client, sessions) = (stage.client(), ["full", "resumed"]);
    for session in sessions {
        let mut again = inside(sidecar.listen, &target, "localhost", &client).unwrap();
        assert_eq!(again.exchange("GET", "/", &[], b"").status(), 201);
        wait(session, || handshakes(&sidecar, "full") == 2.0);
    }
    assert_eq!(handshakes(&sidecar, "resumed"), 1.0);
}

#[test]
fn an_address_is_stood_in_for_like_a_name() {
    let stage = Stage::set();
    let target = stage.target("127.0.0.1");
    let sidecar = Running::with(stage.crm.address, &stage.config(&format!("'{target}'"), ""), |_| {});
    let mut client = inside(sidecar.listen, &target, "127.0.0.1", &stage.client()).unwrap();
    assert_eq!(client.exchange("GET", "/", &[], b"").status(), 201);
}

#[test]
fn pythons_older_http_client_is_understood() {
    let stage = Stage::set();
    let sidecar = stage.start("");
    let (status, client) = ask_in("HTTP/1.0", sidecar.listen, &stage.target("localhost"));
    assert_eq!(status, 200);
    let mut client = shake_hands(client.stream.into_inner(), &stage.client(), "localhost").unwrap();
    for _ in 0..2 {
        let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    }
}

#[test]
fn the_ca_is_made_once_and_its_key_is_nobodys_business() {
    let stage = Stage::set();
    let read = || ["ca/own.crt", "ca/own.key"].map(|name| fs::read_to_string(stage.file(name)).unwrap());
    let sidecar = stage.start("");
    let mode = fs::metadata(stage.file("ca/own.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (before, client) = (read(), stage.client());
    let sidecar = sidecar.restart();
    assert_eq!(read(), before);
    inside(sidecar.listen, &stage.target("localhost"), "localhost", &client).unwrap();
}

#[test]
fn a_host_that_is_not_who_it_should_be_gets_nothing() {
    let stage = Stage::of(&Ca::new("stranger"), &Ca::new("trusted"));
    let sidecar = stage.start("");
    let mut client =
        inside(sidecar.listen, &stage.target("localhost"), "localhost", &stage.client()).unwrap();
    let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
    assert_eq!((reply.status(), reply.header("leadwire")), (502, Some("failed")));
    assert!(stage.host.requests().is_empty() && stage.crm.requests().is_empty());
}

#[test]
fn a_client_that_does_not_trust_the_ca_or_asks_for_another_name_gets_nothing() {
    let stage = Stage::set();
    let sidecar = stage.start("");
    let target = stage.target("localhost");
    let stranger = trusting(&Ca::new("another").pem());
    assert!(inside(sidecar.listen, &target, "localhost", &stranger).is_err());
    wait("the refusal", || handshakes(&sidecar, "refused") == 1.0);
    assert!(inside(sidecar.listen, &target, "other.test", &stage.client()).is_err());
    wait("the failure", || handshakes(&sidecar, "failed") == 1.0);
    let (_, mut plain) = ask(sidecar.listen, &target);
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait("plain HTTP to be turned away", || handshakes(&sidecar, "not_tls") == 1.0);
    assert!(stage.host.requests().is_empty());
    wait("all to be gone", || sidecar.metric("leadwire_connections ") == 0.0);
}

#[test]
fn other_hosts_are_reached_unread() {
    let stage = Stage::set();
    let sidecar = stage.start(", others: tunnel");
    let other = Upstream::start(|_| created("00Q2"));
    let (status, mut client) = ask(sidecar.listen, &other.address.to_string());
    assert_eq!(status, 200);
    let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
    assert_eq!((reply.status(), reply.header("leadwire")), (201, None));
    // By another name than the one that is read, TLS goes through to the host itself.
    let hosts = trusting(&fs::read_to_string(stage.file("hosts.pem")).unwrap());
    let mut direct = inside(sidecar.listen, &stage.target("127.0.0.1"), "127.0.0.1", &hosts).unwrap();
    assert_eq!(direct.exchange("POST", CREATE, &JSON, LEAD.as_bytes()).header("leadwire"), None);
    assert_eq!(connects(&sidecar, "tunnel"), 2.0);
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the other end's close comes through");
}

#[test]
fn what_is_not_granted_is_told() {
    let stage = Stage::set();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let check = |sidecar: &Running, target: &str, expected: u16| {
        let (status, _) = ask(sidecar.listen, target);
        assert_eq!(status, expected, "{target}");
    };
    let sidecar = stage.start(", others: refuse");
    check(&sidecar, &stage.target("127.0.0.1"), 403);
    for target in ["localhost", "localhost:0", "localhost:65536", "a@localhost:443", ":443"] {
        check(&sidecar, target, 400);
    }
    assert_eq!(connects(&sidecar, "read") + connects(&sidecar, "tunnel"), 0.0);
    drop(sidecar);
    let sidecar = stage.start(", others: tunnel");
    check(&sidecar, &closed, 502);
    assert_eq!(connects(&sidecar, "failed"), 1.0);
    drop(sidecar);
    let sidecar = Running::start(stage.crm.address);
    check(&sidecar, &stage.target("localhost"), 400);
}

#[test]
fn inside_of_a_connection_there_is_no_other() {
    let stage = Stage::set();
    let sidecar = stage.start("");
    let target = stage.target("localhost");
    let mut client = inside(sidecar.listen, &target, "localhost", &stage.client()).unwrap();
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes());
    assert_eq!(client.receive().status(), 400);
}

#[test]
fn a_drain_ends_what_is_read_once_its_request_is_answered() {
    let stage = Stage::set();
    let sidecar = stage.start("");
    let target = stage.target("localhost");
    let mut idle = inside(sidecar.listen, &target, "localhost", &stage.client()).unwrap();
    assert_eq!(idle.exchange("GET", "/", &[], b"").status(), 201);
    assert_eq!(sidecar.metric("leadwire_connections "), 1.0, "one connection is counted once");
    let started = Instant::now();
    drop(sidecar);
    assert!(started.elapsed().as_secs() < 20, "nobody waits for `limits.drain`");
    let mut rest = Vec::new();
    assert!(idle.stream.read_to_end(&mut rest).is_ok() && rest.is_empty());
}

/// What `leadwire check` says of a CA for `hosts`, made of `cert` and `key`.
fn checked(hosts: &str, cert: &str, key: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, pem) in [("ca.crt", cert), ("ca.key", key)] {
        if !pem.is_empty() {
            fs::write(path(name), pem).unwrap();
        }
    }
    fs::write(path("roots.pem"), Ca::new("any").pem()).unwrap();
    let shown = |name: &str| path(name).display().to_string();
    let config = format!(
        "upstream: http://crm\nmodels: none\nupstream_tls: {{ca: '{}'}}\n\
         egress: {{hosts: [{hosts}], ca: {{cert: '{}', key: '{}'}}}}\n",
        shown("roots.pem"),
        shown("ca.crt"),
        shown("ca.key"),
    );
    fs::write(path("leadwire.yaml"), config).unwrap();
    let output = leadwire(&["check", "-c", &shown("leadwire.yaml")]);
    let made = Path::new(&shown("ca.key")).exists();
    assert_eq!(made, !key.is_empty(), "check makes nothing");
    (output.status.code(), text(&output.stderr).to_owned())
}

#[test]
fn check_looks_at_the_ca() {
    let ca = Ca::new("own");
    let (leaf, other) = (ca.issue(&["a.test"]), ca.issue(&["b.test"]));
    assert_eq!(checked("a.test", "", "").0, Some(0), "it is made at the start");
    assert_eq!(checked("a.test, '*.b.test'", &ca.pem(), &ca.key()).0, Some(0));
    for (cert, key, expected) in [
        (&leaf.cert, &leaf.key, "ca.crt: not the certificate of a CA"),
        (&ca.pem(), &other.key, "ca.key: does not belong to the certificate in"),
        (&ca.pem(), &String::new(), "ca.key: cannot be read"),
        (&"no PEM".to_owned(), &other.key, "ca.crt: holds no certificate in PEM"),
    ] {
        let (code, told) = checked("a.test", cert, key);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(expected), "{told} should say {expected}");
    }
    let stage = Stage::set();
    drop(stage.start(""));
    let [cert, key] = ["ca/own.crt", "ca/own.key"].map(|name| fs::read_to_string(stage.file(name)).unwrap());
    assert_eq!(checked("localhost", &cert, &key).0, Some(0));
    for hosts in ["evil.test", "localhost, '10.0.0.1'"] {
        let (code, told) = checked(hosts, &cert, &key);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("ca.crt: may not sign for "), "{told}");
    }
}
