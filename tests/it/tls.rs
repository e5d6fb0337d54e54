//! https on both sides: who is spoken with, what is refused, and certificates that change under load.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use rustls::{
    ALL_VERSIONS, ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use crate::{
    support::{
        CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, answer, copy_folder, created, ready,
        shipped_model,
        tls::{Ca, Pair, TlsStream, accept, connect},
        wait,
    },
    upgrade::HANDSHAKE,
};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A CA, its files, and what a test says of them in the configuration.
struct Stage {
    ca: Ca,
    folder: TempDir,
}

impl Stage {
    fn set() -> Self {
        let stage = Self { ca: Ca::new("own"), folder: tempfile::tempdir().unwrap() };
        stage.write("ca.pem", &stage.ca.pem());
        stage
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// `cert` and `key` of a pair that is written to a folder of its own.
    fn pair(&self, name: &str, pair: &Pair) -> String {
        let folder = pair.write(&self.folder.path().join(name));
        format!("cert: {0}/tls.crt, key: {0}/tls.key", folder.display())
    }

    fn ca_file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// The shipped configuration behind TLS; `more` stands beside the pair.
    fn behind_tls(&self, more: &str) -> String {
        let pair = self.pair("server", &self.ca.issue(&["crm.test", "127.0.0.1"]));
        format!("tls: {{{pair}{more}}}\n{CONFIG}")
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.ca.client(ALL_VERSIONS, None)
    }
}

/// A configuration before an https upstream.
fn before_tls(config: &str, upstream_tls: &str) -> String {
    let config = config.replace("upstream: http:", "upstream: https:");
    format!("upstream_tls: {{{upstream_tls}}}\n{config}")
}

fn start(upstream: SocketAddr, config: &str) -> Running {
    Running::with(upstream, config, |models| copy_folder(&shipped_model(), &models.join("lead/1")))
}

/// An upstream that speaks TLS and says its name.
fn tls_upstream(config: Arc<ServerConfig>) -> Upstream {
    Upstream::start_over(move |stream| accept(&config, stream), |_| answer("200 OK", &[], "https"))
}

fn handshakes(sidecar: &Running, result: &str) -> f64 {
    sidecar.metric(&format!("leadwire_tls_handshakes_total{{result=\"{result}\"}}"))
}

fn reloads(sidecar: &Running, result: &str) -> f64 {
    sidecar.metric(&format!("leadwire_tls_reloads_total{{result=\"{result}\"}}"))
}

/// The status of an answer, if there is one: a refusal may come only after the client's end of the handshake.
fn ask(client: io::Result<Client<TlsStream>>) -> Option<u16> {
    let mut client = client.ok()?;
    client.stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
    Message::read(&mut client.stream, false).map(|reply| reply.status())
}

fn shown(sidecar: &Running, config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let client = connect(sidecar.listen, config, name).unwrap();
    client.stream.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn leads_are_scored_with_tls_on_both_sides() {
    let stage = Stage::set();
    let server = stage.ca.issue(&["127.0.0.1"]).server(ALL_VERSIONS);
    let upstream = Upstream::start_over(move |stream| accept(&server, stream), |_| created("00Q1"));
    let config = before_tls(&stage.behind_tls(""), &format!("ca: {}", stage.ca_file()));
    let sidecar = start(upstream.address, &config);
    let mut client = connect(sidecar.listen, &stage.client(), "crm.test").unwrap();
    for _ in 0..2 {
        let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
        assert!(reply.text().contains("Lead_Score__c"), "{}", reply.text());
    }
    let requests = upstream.requests();
    assert!(requests.iter().all(|request| request.header("host") == Some("crm.example.test")));
    assert_eq!((requests.len(), upstream.connections()), (2, 1), "connections to the CRM are kept");
    assert_eq!(handshakes(&sidecar, "full"), 1.0);
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let stage = Stage::set();
    let pairs = [&["crm.test", "127.0.0.1"][..], &["one.test", "two.test"], &["*.wild.test"]];
    let pairs = pairs.map(|names| stage.ca.issue(names));
    let [first, second, third] = ["a", "b", "c"];
    let config = format!(
        "tls: {{{}, others: [{{{}}}, {{{}}}]}}\n{CONFIG}",
        stage.pair(first, &pairs[0]),
        stage.pair(second, &pairs[1]),
        stage.pair(third, &pairs[2])
    );
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = start(upstream.address, &config);
    for (name, pair) in [("crm.test", 0), ("two.test", 1), ("any.wild.test", 2), ("127.0.0.1", 0)] {
        assert_eq!(shown(&sidecar, &stage.client(), name), pairs[pair].chain()[0].to_vec(), "{name}");
    }
    let error = connect(sidecar.listen, &stage.client(), "other.test").err().unwrap();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    wait("the refusal", || handshakes(&sidecar, "refused") == 1.0);
}

#[test]
fn an_upstream_that_is_not_who_it_should_be_gets_nothing() {
    let (stage, stranger) = (Stage::set(), Ca::new("another"));
    let ca = format!("ca: {}", stage.ca_file());
    let strict = format!("{ca}, min_version: 1.3");
    let good = stage.ca.issue(&["127.0.0.1"]);
    for (what, server, upstream_tls) in [
        ("the wrong name", stage.ca.issue(&["other.test"]).server(ALL_VERSIONS), &ca),
        ("expired", stage.ca.issue_until(&["127.0.0.1"], 2020).server(ALL_VERSIONS), &ca),
        ("an unknown CA", stranger.issue(&["127.0.0.1"]).server(ALL_VERSIONS), &ca),
        ("an old version", good.server(&[&TLS12]), &strict),
        ("a certificate is asked for", stage.ca.server_for_its_own(&good), &ca),
    ] {
        let upstream = tls_upstream(server);
        let sidecar = start(upstream.address, &before_tls(CONFIG, upstream_tls));
        let reply = sidecar.client().exchange("GET", "/", &[], b"");
        assert_eq!((reply.status(), reply.header("leadwire")), (502, Some("failed")), "{what}");
        assert_eq!(upstream.requests(), [], "{what}");
    }
    let plain = Upstream::start(|_| answer("200 OK", &[], "plain"));
    let sidecar = start(plain.address, &before_tls(CONFIG, &ca));
    let reply = sidecar.client().exchange("GET", "/", &[], b"");
    assert_eq!((reply.status(), reply.text()), (502, "{\"error\":\"no TLS with the upstream\"}\n"));
}

#[test]
fn the_log_says_why_an_upstream_is_not_spoken_with() {
    let (stage, stranger) = (Stage::set(), Ca::new("another"));
    let upstream = tls_upstream(stranger.issue(&["127.0.0.1"]).server(ALL_VERSIONS));
    let folder = stage.folder.path();
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nmodels: {0}/models\nstate: {0}/state\n\
         upstream: https://{1}\nupstream_tls: {{ca: {2}}}\n",
        folder.display(),
        upstream.address,
        stage.ca_file()
    );
    stage.write("leadwire.yaml", &text);
    let mut process = Command::new(env!("CARGO_BIN_EXE_leadwire"))
        .args(["run", "--log", "json", "--workers", "1", "-c"])
        .arg(folder.join("leadwire.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = ready(&mut lines);
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let mut client = Client::connect(ready["listen"].as_str().unwrap().parse().unwrap());
    assert_eq!(client.exchange("GET", "/?secret=word", &[], b"").status(), 502);
    let line = lines.find(|line| line.contains("no answer")).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(line.contains("invalid peer certificate: UnknownIssuer") && !line.contains("word"), "{line}");
}

#[test]
fn an_upstream_is_asked_for_by_name_and_shown_a_certificate() {
    let stage = Stage::set();
    let upstream = tls_upstream(stage.ca.server_for_its_own(&stage.ca.issue(&["crm.test"])));
    let pair = stage.pair("own", &stage.ca.issue(&["leadwire"]));
    let settings = format!("ca: {}, {pair}, server_name: crm.test", stage.ca_file());
    let sidecar = start(upstream.address, &before_tls(CONFIG, &settings));
    assert_eq!(sidecar.client().exchange("GET", "/", &[], b"").text(), "https");
}

#[test]
fn clients_show_a_certificate_where_they_have_to() {
    let (stage, stranger) = (Stage::set(), Ca::new("another"));
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let (own, foreign) = (stage.ca.issue(&["client"]), stranger.issue(&["client"]));
    for (client_auth, none, refused) in [("required", None, 2.0), ("optional", Some(200), 1.0)] {
        let more = format!(", client_ca: {}, client_auth: {client_auth}", stage.ca_file());
        let sidecar = start(upstream.address, &stage.behind_tls(&more));
        for version in [&TLS12, &TLS13] {
            for (pair, expected) in [(None, none), (Some(&own), Some(200)), (Some(&foreign), None)] {
                let config = stage.ca.client(&[version], pair);
                let status = ask(connect(sidecar.listen, &config, "crm.test"));
                assert_eq!(status, expected, "{client_auth} {version:?} {:?}", pair.is_some());
            }
        }
        wait("the refusals", || handshakes(&sidecar, "client_certificate") == 2.0 * refused);
    }
}

#[test]
fn an_old_client_is_refused_where_only_new_ones_are_spoken_with() {
    let stage = Stage::set();
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    for (least, old) in [("1.2", Some(200)), ("1.3", None)] {
        let sidecar = start(upstream.address, &stage.behind_tls(&format!(", min_version: {least}")));
        let ask = |version: &'static SupportedProtocolVersion| {
            ask(connect(sidecar.listen, &stage.ca.client(&[version], None), "crm.test"))
        };
        assert_eq!((ask(&TLS12), ask(&TLS13)), (old, Some(200)), "{least}");
        let refused = f64::from(u8::from(old.is_none()));
        wait("the refusal", || handshakes(&sidecar, "incompatible") == refused);
    }
}

#[test]
fn sessions_go_on_at_the_next_connection() {
    let stage = Stage::set();
    for version in [&TLS12, &TLS13] {
        let server = stage.ca.issue(&["127.0.0.1"]).server(&[version]);
        let kinds = Arc::new(Mutex::new(Vec::new()));
        let seen = kinds.clone();
        let upstream = Upstream::start_over(
            move |stream| {
                let mut stream = accept(&server, stream);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).unwrap();
                }
                seen.lock().unwrap().push(stream.conn.handshake_kind().unwrap());
                stream
            },
            |_| answer("200 OK", &[("Connection", "close")], "ok"),
        );
        let config = before_tls(&stage.behind_tls(""), &format!("ca: {}", stage.ca_file()));
        let sidecar = start(upstream.address, &config);
        let config = stage.ca.client(&[version], None);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = connect(sidecar.listen, &config, "crm.test").unwrap();
            assert_eq!(client.exchange("GET", "/", &[], b"").text(), "ok");
            assert_eq!(client.stream.get_ref().conn.handshake_kind(), Some(expected), "{version:?}");
        }
        assert_eq!(*kinds.lock().unwrap(), [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
        assert_eq!((handshakes(&sidecar, "full"), handshakes(&sidecar, "resumed")), (1.0, 1.0));
    }
}

/// What the kubelet does with a mounted secret: a new dated folder, a new link beside, and one rename.
fn swap_secret(mount: &Path, generation: usize, pair: &Pair) {
    let dated = format!("..2026_01_0{generation}");
    pair.write(&mount.join(&dated));
    symlink(&dated, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"].iter().filter(|_| generation == 1) {
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
}

#[test]
fn certificates_change_under_load_without_a_failed_request() {
    let stage = Stage::set();
    let mount = stage.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let pairs = [(); 3].map(|()| stage.ca.issue(&["crm.test"]));
    swap_secret(&mount, 1, &pairs[0]);
    let upstream = Upstream::start(|_| created("00Q1"));
    let tls = format!("tls: {{cert: {0}/tls.crt, key: {0}/tls.key}}", mount.display());
    let sidecar = start(upstream.address, &format!("{tls}\n{CONFIG}"));
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = |keeps: bool| {
        let config = stage.client();
        let mut client = connect(sidecar.listen, &config, "crm.test").unwrap();
        while !stop.load(Ordering::Relaxed) {
            if !keeps {
                client = connect(sidecar.listen, &config, "crm.test").unwrap();
            }
            let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
            assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let clients = [true, true, false, false].map(|keeps| scope.spawn(move || load(keeps)));
        for (generation, pair) in pairs.iter().enumerate().skip(1) {
            let so_far = sent.load(Ordering::Relaxed);
            wait("some traffic", || sent.load(Ordering::Relaxed) > so_far + 20);
            swap_secret(&mount, generation + 1, pair);
            let is_shown = || shown(&sidecar, &stage.client(), "crm.test") == pair.chain()[0].to_vec();
            wait("the new certificate", is_shown);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert_eq!((reloads(&sidecar, "taken"), reloads(&sidecar, "refused")), (2.0, 0.0));
    assert_eq!(upstream.requests().len(), sent.load(Ordering::Relaxed));
}

#[test]
fn what_does_not_fit_together_leaves_the_old_certificate() {
    let stage = Stage::set();
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let text = stage.behind_tls("");
    let sidecar = start(upstream.address, &text);
    let (old, config) = (shown(&sidecar, &stage.client(), "crm.test"), stage.client());
    let mut open = connect(sidecar.listen, &config, "crm.test").unwrap();
    let folder = stage.folder.path().join("server");
    let next = stage.ca.issue(&["crm.test"]);
    let writes: [(&str, &dyn Fn()); 4] = [
        ("another key", &|| fs::write(folder.join("tls.key"), &next.key).unwrap()),
        ("no certificate", &|| fs::write(folder.join("tls.crt"), "none").unwrap()),
        ("expired", &|| _ = stage.ca.issue_until(&["crm.test"], 2020).write(&folder)),
        ("no file", &|| fs::remove_file(folder.join("tls.crt")).unwrap()),
    ];
    let changes = || sidecar.metric(r#"leadwire_config_reloads_total{result="taken"}"#);
    for (count, (what, write)) in writes.iter().enumerate() {
        let refused = reloads(&sidecar, "refused");
        write();
        wait(what, || reloads(&sidecar, "refused") > refused);
        assert_eq!(shown(&sidecar, &config, "crm.test"), old, "{what}");
        let refused = reloads(&sidecar, "refused");
        // Two further looks, of which the first has surely ended; a configuration that says nothing of TLS is taken.
        for look in 1..=2 {
            sidecar.reconfigure(upstream.address, &format!("{text}# {count} {look}\n"));
            wait("a look", || changes() == (2 * count + look) as f64);
        }
        assert_eq!(reloads(&sidecar, "refused"), refused, "{what}: told once");
    }
    next.write(&folder);
    wait("the new certificate", || shown(&sidecar, &stage.client(), "crm.test") == next.chain()[0].to_vec());
    assert_eq!(reloads(&sidecar, "taken"), 1.0);
    assert_eq!(open.exchange("GET", "/", &[], b"").text(), "ok", "an open connection goes on");
}

#[test]
fn another_ca_for_the_upstream_is_taken_without_a_restart() {
    let (stage, next) = (Stage::set(), Ca::new("another"));
    let upstream = tls_upstream(next.issue(&["127.0.0.1"]).server(ALL_VERSIONS));
    let config = before_tls(CONFIG, &format!("ca: {}", stage.ca_file()));
    let sidecar = start(upstream.address, &config);
    let status = || sidecar.client().exchange("GET", "/", &[], b"").status();
    assert_eq!(status(), 502);
    stage.write("ca.pem", &next.pem());
    wait("the new CA", || status() == 200);
}

#[test]
fn a_configuration_comes_with_tls_or_is_refused_whole() {
    let stage = Stage::set();
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = start(upstream.address, CONFIG);
    let config = stage.behind_tls("");
    let folder = stage.folder.path().join("server");
    let key = fs::read(folder.join("tls.key")).unwrap();
    fs::remove_file(folder.join("tls.key")).unwrap();
    sidecar.reconfigure(upstream.address, &config);
    let changed =
        |result: &str| sidecar.metric(&format!("leadwire_config_reloads_total{{result=\"{result}\"}}"));
    wait("the refusal", || changed("refused") == 1.0);
    assert_eq!(sidecar.client().exchange("GET", "/", &[], b"").text(), "ok", "plain, as before");
    fs::write(folder.join("tls.key"), key).unwrap();
    sidecar.reconfigure(upstream.address, &format!("{config}\n"));
    wait("TLS", || changed("taken") == 1.0);
    assert_eq!(ask(connect(sidecar.listen, &stage.client(), "crm.test")), Some(200));
    let next = stage.ca.issue(&["crm.test"]);
    next.write(&folder);
    wait("the directory to be watched from then on", || {
        shown(&sidecar, &stage.client(), "crm.test") == next.chain()[0].to_vec()
    });
}

#[test]
fn an_expired_certificate_keeps_nobody_from_starting() {
    let stage = Stage::set();
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let other = stage.pair("other", &stage.ca.issue_until(&["other.test"], 2020));
    let config = stage.behind_tls(&format!(", others: [{{{other}}}]"));
    let folder = stage.folder.path().join("server");
    stage.ca.issue_until(&["crm.test"], 2020).write(&folder);
    let sidecar = start(upstream.address, &config);
    let error = connect(sidecar.listen, &stage.client(), "crm.test").err().unwrap();
    assert!(error.to_string().contains("expired"), "{error}");
    stage.ca.issue(&["crm.test"]).write(&folder);
    // The other one is still expired, which is nothing new.
    wait("a valid one", || ask(connect(sidecar.listen, &stage.client(), "crm.test")) == Some(200));
}

#[test]
fn who_does_not_shake_hands_is_cut_and_blocks_nobody() {
    let stage = Stage::set();
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let config = stage.behind_tls("").replace("head: 30s", "head: 1s");
    let sidecar = start(upstream.address, &config);
    let mut silent: Vec<Client> = (0..8).map(|_| sidecar.client()).collect();
    silent.iter_mut().for_each(|client| client.send(b"\x16\x03\x01\x02\x00"));
    let mut plain = sidecar.client();
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut rest = Vec::new();
    _ = plain.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "no answer in the clear");
    drop(sidecar.client());
    assert_eq!(ask(connect(sidecar.listen, &stage.client(), "crm.test")), Some(200));
    for client in &mut silent {
        assert_eq!(client.stream.read_to_end(&mut rest).unwrap_or(0), 0, "cut without a word");
    }
    let ends = || ["timeout", "not_tls", "closed", "full"].map(|result| handshakes(&sidecar, result));
    wait("every end to be counted", || ends() == [8.0, 1.0, 1.0, 1.0]);
    wait("all to be gone", || sidecar.metric("leadwire_connections ") == 0.0);
}

#[test]
fn a_tunnel_runs_through_tls_on_both_sides() {
    let stage = Stage::set();
    let server = stage.ca.issue(&["127.0.0.1"]).server(ALL_VERSIONS);
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    let upstream = Upstream::start_over(move |stream| accept(&server, stream), |_| agreed.into());
    let config = before_tls(&stage.behind_tls(""), &format!("ca: {}", stage.ca_file()));
    let sidecar = start(upstream.address, &config);
    let mut client = connect(sidecar.listen, &stage.client(), "crm.test").unwrap();
    client.send(HANDSHAKE.as_bytes());
    assert_eq!(Message::read_head(&mut client.stream).unwrap().status(), 101);
    let mut bytes = [0; 5];
    client.stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    // To this upstream, what goes the other way is a further request.
    client.send(b"ping\r\n\r\n");
    wait("the other way", || upstream.requests().last().is_some_and(|request| request.start == "ping"));
}

#[test]
fn a_drain_lets_requests_over_tls_finish() {
    let stage = Stage::set();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_| {
        _ = gone.lock().unwrap().recv();
        answer("200 OK", &[], "late")
    });
    let sidecar = start(upstream.address, &stage.behind_tls(""));
    let silent = sidecar.client();
    let mut client = connect(sidecar.listen, &stage.client(), "crm.test").unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait("the request", || upstream.connections() == 1);
    let started = Instant::now();
    let stopping = thread::spawn(move || drop(sidecar.stop()));
    go.send(()).unwrap();
    assert_eq!(client.receive().text(), "late");
    stopping.join().unwrap();
    assert!(started.elapsed().as_secs() < 15, "who never shakes hands holds up no drain");
    drop(silent);
    assert_eq!(client.stream.read_to_end(&mut Vec::new()).unwrap(), 0, "closed as TLS is closed");
}

#[test]
fn check_reads_certificates_and_keys() {
    let stage = Stage::set();
    let good = stage.ca.issue(&["crm.test"]);
    let (file, folder) = (stage.folder.path().join("leadwire.yaml"), stage.folder.path().join("server"));
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.join(name).display().to_string());
    let text = format!("upstream: http://127.0.0.1:1\nmodels: none\ntls: {{cert: {cert}, key: {key}}}\n");
    fs::write(&file, text).unwrap();
    let leadwire = |command: &str| {
        let mut leadwire = Command::new(env!("CARGO_BIN_EXE_leadwire"));
        let output = leadwire.args([command, "-c", file.to_str().unwrap()]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!told.contains(good.key.lines().nth(1).unwrap()), "nothing of a key: {told}");
        (output.status.code().unwrap(), told)
    };
    let check = |pair: &Pair| {
        pair.write(&folder);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        leadwire("check")
    };
    let with = |cert: &str, key: &str| Pair { cert: cert.to_owned(), key: key.to_owned() };
    let expired = stage.ca.issue_until(&["crm.test"], 2020);
    let broken = good.cert.replacen('M', "!", 3);
    for (pair, code, told) in [
        (good.clone(), 0, String::new()),
        (with(&good.cert, &expired.key), 2, format!("{key}: does not belong to the certificate in {cert}\n")),
        (with("", &good.key), 2, format!("{cert}: holds no certificate in PEM\n")),
        (with(&broken, &good.key), 2, format!("{cert}: broken PEM\n")),
        (
            with(&good.cert, &good.cert),
            2,
            format!("{key}: holds no private key in PEM, or only an encrypted one\n"),
        ),
    ] {
        assert_eq!(check(&pair), (code, told));
    }
    let (code, told) = check(&expired);
    assert!(code == 2 && told.starts_with(&format!("{cert}: expired ")), "{code} {told}");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (code, told) = check(&with(garbage, &good.key));
    assert!(code == 2 && told.starts_with(&format!("{cert}: not a certificate that can be used")), "{told}");
    let (code, told) = leadwire("run");
    assert!(code == 1 && told.contains("not a certificate that can be used"), "{code} {told}");
    good.write(&folder);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(leadwire("check"), (0, format!("warning: {key}: every user of the system can read it\n")));
}
