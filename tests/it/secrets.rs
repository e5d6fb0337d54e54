//! Nothing of a secret, and nothing personal but declared features, leaves the request: with every preset on, with the
//! log at its most talkative, and with everything going wrong.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use leadwire::{
    config::Config,
    leadlog::Store,
    proxy::{Recording, Snapshot, rehearse},
    registry::Version,
    telemetry::Metrics,
};
use regex::bytes::Regex;

use crate::{
    captures::{Capture, SEPARATOR},
    scoring,
    support::{Client, Upstream, answer, shipped_model, wait},
};

const WORD: &str = "Unspeakable";

/// Every exchange: the recorded ones, and logins and webhooks that nobody recorded.
fn exchanges() -> Option<Vec<Capture>> {
    let mut all: Vec<Capture> = Capture::all()?.into_iter().map(|capture| poisoned(&capture)).collect();
    let login = format!(r#"{{"id":1,"method":"common.db.login","params":["me",{{"password":"{WORD}1"}}]}}"#);
    let session = format!(r#"{{"id":1,"result":[1,"{WORD}2"]}}"#);
    let jsonrpc =
        format!(r#"{{"params":{{"service":"common","db":"d","login":"me","password":"{WORD}3"}}}}"#);
    let google = format!(r#"{{"google_key":"{WORD}4","user_column_data":[]}}"#);
    for (name, path, body) in [
        ("tryton login", "/lab/rpc/", login),
        ("odoo login", "/jsonrpc", jsonrpc),
        ("google ads", "/services/data/v61.0/sobjects/Lead", google),
    ] {
        let head = format!(
            "POST {path}?api_token={WORD}5 HTTP/1.1\r\nHost: crm\r\nContent-Type: application/json\r\n"
        );
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
        let cookie = format!("a={WORD}6");
        let response =
            answer("200 OK", &[("Set-Cookie", &cookie), ("Content-Type", "application/json")], &session);
        all.push(Capture { name: name.into(), request, response });
    }
    Some(all)
}

/// The exchange with every secret of it replaced by the word.
fn poisoned(capture: &Capture) -> Capture {
    let Capture { name, request, response } = capture;
    Capture { name: name.clone(), request: message(request), response: message(response) }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = bytes.split_at(end);
    let replace = |text: &[u8], pattern: &str| {
        let with = format!("${{1}}{WORD}${{2}}");
        Regex::new(pattern).unwrap().replace_all(text, with.as_bytes()).into_owned()
    };
    let headers =
        "authorization|cookie|set-cookie|x-api-key|x-api-token|x-hmac-authorization|espo-authorization";
    let head = replace(head, &format!(r"(?im)^((?:{headers}):)[^\r]*()"));
    let head = replace(&head, r"([?&]api_token=)[^& ]*()");
    let mut new = body.to_vec();
    for pattern in [
        r#"("args": ?\["[^"]*", ?\d+, ?")[^"]*(")"#,
        r#"("args": ?\["[^"]*", ?"[^"]*", ?")[^"]*(")"#,
        r#"("(?:password|session_id)": ?")[^"]*(")"#,
        "(<sessionId>)[^<]*(</sessionId>)",
        "(<value><string>)admin(</string></value>)",
    ] {
        new = replace(&new, pattern);
    }
    let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
    let (was, is) = (length(body), length(&new));
    let head = String::from_utf8(head).unwrap().replace(&was, &is).replace(&was.to_lowercase(), &is);
    [head.into_bytes(), new].concat()
}

/// E-mail addresses, phone numbers and names of people in the captures.
fn personal(exchanges: &[Capture]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let names = r#""(?i:(?:first|last)_?name|contact_name|lead_name|mobile_?no|fullname)": ?"([^"]{4,})""#;
    for pattern in [r"([\w.+-]+@example\.test)", r"(\+971[\d ]{4,})", names] {
        let pattern = Regex::new(pattern).unwrap();
        for capture in exchanges {
            for matched in pattern.captures_iter(&capture.request) {
                found.insert(String::from_utf8(matched[1].to_vec()).unwrap());
            }
        }
    }
    found
}

/// Every preset, with features that all those leads have.
fn every_preset() -> String {
    let presets = leadwire::config::presets().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    let amounts = "[/age__c, /AnnualRevenue, /annualrevenue, /expected_revenue, /value/amount, /revenue, /numemployees]";
    scoring::config("  []")
        .replace("presets: []", &format!("presets: [{presets}]"))
        .replace("deadline: 10ms", "deadline: 1s")
        .replace("[/age__c, /age]", amounts)
}

/// The binary as it is run, with a log that says all it can.
struct Process {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("leadwire.yaml"), every_preset()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
            .args(["run", "--workers", "1", "-c"])
            .arg(folder.path().join("leadwire.yaml"))
            .env("LEADWIRE_LISTEN", "127.0.0.1:0")
            .env("LEADWIRE_UPSTREAM", format!("http://{upstream}"))
            .env("LEADWIRE_ADMIN", "127.0.0.1:0")
            .env("LEADWIRE_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models"))
            .env("LEADWIRE_STATE", folder.path().join("state"))
            .env("LEADWIRE_LOG", "trace")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, listen: nowhere, admin: nowhere, folder };
        wait("the ports", || process.log().contains(" ready "));
        (process.listen, process.admin) = (process.port("listen="), process.port("admin="));
        process
    }

    /// What the line that says `ready` tells of a port.
    fn port(&self, key: &str) -> SocketAddr {
        let log = self.log();
        let (_, after) = log.split_once(key).unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What the client gets for these bytes; it sends no more after them.
    fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = Client::connect(self.listen);
        client.send(bytes);
        _ = client.stream.get_ref().shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        // A reset is an answer too.
        _ = std::io::Read::read_to_end(&mut client.stream, &mut reply);
        reply
    }

    fn admin(&self, path: &str) -> Vec<u8> {
        Client::connect(self.admin).exchange("GET", path, &[], b"").body
    }

    /// Drains; what it leaves on disk.
    fn stop(mut self) -> (Vec<(PathBuf, Vec<u8>)>, tempfile::TempDir) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let mut files = Vec::new();
        read_all(folder.path(), &mut files);
        (files, folder)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn read_all(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_all(&path, files),
            false => files.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
}

/// Fails where one of the words stands in the bytes.
fn without(words: &BTreeSet<String>, bytes: &[u8], place: &str) {
    for word in words {
        let at = bytes.windows(word.len()).position(|window| window == word.as_bytes());
        let around = at.map(|at| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(120)..bytes.len().min(at + 80)]).into_owned()
        });
        assert!(around.is_none(), "{word:?} in {place}: {around:?}");
    }
}

#[test]
fn no_secret_and_nothing_personal_is_logged_counted_or_stored() {
    let Some(exchanges) = exchanges() else { return };
    let told = Arc::<Mutex<Vec<u8>>>::default();
    let (answers, silent) = (told.clone(), Arc::new(AtomicBool::new(false)));
    let is_silent = silent.clone();
    let upstream = Upstream::start(move |_| match is_silent.load(Ordering::SeqCst) {
        true => Vec::new(),
        false => answers.lock().unwrap().clone(),
    });
    let process = Process::start(upstream.address);
    let poisoned = |bytes: &[u8]| bytes.windows(WORD.len()).any(|window| window == WORD.as_bytes());
    let count = exchanges.iter().filter(|one| poisoned(&one.request)).count();
    assert!(count > 80, "{count} requests carry a secret");
    let mut words = personal(&exchanges);
    assert!(words.len() > 20, "{words:?}");
    words.insert(WORD.to_owned());
    for capture in &exchanges {
        told.lock().unwrap().clone_from(&capture.response);
        assert!(process.send(&capture.request).starts_with(b"HTTP/1.1 "), "{}", capture.name);
    }
    let refusal = answer("400 Bad Request", &[], &format!("[{{\"message\":\"{WORD}\"}}]"));
    told.lock().unwrap().clone_from(&refusal);
    for Capture { request, .. } in &exchanges {
        process.send(request);
        // Broken off, garbled, and no HTTP at all.
        process.send(&request[..request.len() - request.len() / 8]);
        process.send(&String::from_utf8_lossy(request).replace(['}', '>'], "\u{1}").into_bytes());
        process.send(&[b"\x00".as_slice(), request].concat());
    }
    silent.store(true, Ordering::SeqCst);
    for Capture { request, .. } in &exchanges {
        let reply = process.send(request);
        without(&words, &reply, "the answer of a sidecar whose CRM is down");
    }
    let file = process.folder.path().join("leadwire.yaml");
    std::fs::write(&file, every_preset().replace("limits:", "limit:")).unwrap();
    wait("the refusal", || process.log().contains("configuration refused"));
    for path in ["/metrics", "/api/latency", "/api/models", "/version", "/ready"] {
        without(&words, &process.admin(path), path);
    }
    let (files, folder) = process.stop();
    let store = Store::open_read_only(&folder.path().join("state")).unwrap();
    assert!(store.score_count().unwrap() > 30, "{} scores", store.score_count().unwrap());
    for (path, bytes) in &files {
        without(&words, bytes, &path.display().to_string());
    }
    let size = |name: &str| files.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.len();
    assert!(size("log") > 10_000 && size("state/leads.sqlite") > 10_000, "they were written");
    let log = String::from_utf8_lossy(&files.iter().find(|(path, _)| path.ends_with("log")).unwrap().1)
        .into_owned();
    assert!(log.contains("no answer"), "faults were logged");
}

#[test]
fn a_rehearsal_shows_no_secret() {
    let Some(exchanges) = exchanges() else { return };
    let config = Config::parse(&every_preset(), &|_| None).unwrap();
    let version = Arc::new(Version::load(&shipped_model()).unwrap());
    let snapshot = Arc::new(Snapshot::new(Arc::new(config), &[version], &Metrics::default()).unwrap());
    let words = BTreeSet::from([WORD.to_owned()]);
    let mut starred = 0;
    for Capture { name, request, response } in &exchanges {
        let recording = Recording::parse(&[request, SEPARATOR, response].concat());
        let told = rehearse(&snapshot, &recording.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap();
        let (text, json) = (told.to_string(), serde_json::to_string(&told).unwrap());
        without(&words, text.as_bytes(), name);
        without(&words, json.as_bytes(), name);
        starred += usize::from(text.contains("***"));
    }
    assert!(starred > 50, "{starred} with something to hide");
}
