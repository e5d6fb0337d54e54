//! The recorded traffic of sixteen vendor SDKs, played again: the client sends the recorded request, the upstream answers
//! with the recorded response.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    sync::{Arc, Mutex},
};

use flate2::read::MultiGzDecoder;
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::{
    goldens, scoring,
    support::{Client, Message, Running, Upstream, write_small_model},
};

/// What stands between a request and its answer in the files.
pub const SEPARATOR: &[u8] = b"\r\n=====RESPONSE=====\r\n";

/// One recorded exchange.
pub struct Capture {
    /// `zoho_python/002-POST-Leads`
    pub name: String,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The response's bytes.
    pub response: Vec<u8>,
}

impl Capture {
    /// All of them, in order; `None` where the recordings are absent.
    pub fn all() -> Option<Vec<Self>> {
        let root = goldens::path("captures/crm")?;
        let entries = |folder: &Path| {
            let mut paths: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        };
        let folders = entries(&root).into_iter().filter(|path| path.is_dir());
        let files = folders.flat_map(|folder| entries(&folder.join("client")));
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "http"));
        Some(files.map(|file| Self::read(&file)).collect())
    }

    /// One of them; `None` where the recordings are absent.
    pub fn of(name: &str) -> Option<Self> {
        let (client, number) = name.split_once('/').unwrap();
        let folder = goldens::path("captures/crm")?.join(client).join("client");
        let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |file: &Path| file.file_name().unwrap().to_str().unwrap().starts_with(number);
        Some(Self::read(&files.find(|file| is_it(file)).unwrap()))
    }

    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let at = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR).unwrap();
        let client = file.parent().and_then(Path::parent).and_then(Path::file_name).unwrap();
        let name = Path::new(client).join(file.file_stem().unwrap()).display().to_string();
        Self { name, request: bytes[..at].to_vec(), response: bytes[at + SEPARATOR.len()..].to_vec() }
    }

    /// The request, parsed.
    pub fn sent(&self) -> Message {
        Message::parse(&self.request, false)
    }

    /// The answer, parsed.
    pub fn answered(&self) -> Message {
        Message::parse(&self.response, self.request.starts_with(b"HEAD "))
    }
}

/// A CRM that gives each request the answer it is told beforehand.
pub struct Stage {
    pub upstream: Upstream,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Stage {
    pub fn new() -> Self {
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let told = answer.clone();
        Self { upstream: Upstream::start(move |_| told.lock().unwrap().clone()), answer }
    }

    /// Sends a capture's request: what reached the CRM, and what came back.
    pub fn play(&self, sidecar: &Running, capture: &Capture) -> (Message, Message) {
        self.send(&capture.response, &mut sidecar.client(), &capture.request)
    }

    /// Sends a request that gets this answer.
    pub fn send(&self, answer: &[u8], client: &mut Client, request: &[u8]) -> (Message, Message) {
        *self.answer.lock().unwrap() = answer.to_vec();
        client.send(request);
        let mut reply = client.receive();
        while (100..200).contains(&reply.status()) {
            reply = client.receive();
        }
        (self.upstream.requests().pop().unwrap(), reply)
    }
}

#[test]
fn every_capture_passes_unharmed_where_no_route_is_configured() {
    let Some(captures) = Capture::all() else { return };
    assert!(captures.len() >= 110, "{} captures", captures.len());
    let stage = Stage::new();
    let sidecar = scoring::start(&stage.upstream, "  []");
    for capture in &captures {
        let (request, reply) = stage.play(&sidecar, capture);
        same(&request, &capture.sent(), &capture.name);
        same(&reply, &capture.answered(), &capture.name);
    }
}

/// Every byte but what belongs to one connection.
fn same(got: &Message, expected: &Message, name: &str) {
    assert_eq!(got.start, expected.start, "{name}");
    assert_eq!(got.end_to_end(), expected.end_to_end(), "{name}");
    assert!(got.body == expected.body && got.trailers == expected.trailers, "{name}: the body");
}

/// Behind the sidecar's own configuration: presets, and what the small model needs of the leads of every CRM.
pub fn with_presets(presets: &str) -> String {
    let person = match presets {
        // A change of Frappe's Python client holds the record's `name`.
        "frappe" => "/last_name",
        _ => {
            "/LastName, /lastName, /lastname, /last_name, /Last_Name, /hs_lead_name, /person_id, /contact_name, /email_from, /party, /name"
        }
    };
    format!(
        "listen: x\nupstream: x\nadmin: x\nmodels: x\nstate: x\npresets: [{presets}]\nlimits: {{deadline: 1s}}\n\
         features:\n  person: {{from: [{person}], type: category}}\n  \
         amount: {{from: [/AnnualRevenue, /annualrevenue, /revenue, /Annual_Revenue], type: number}}\n"
    )
}

/// A sidecar with presets and the small model.
pub fn start_presets(upstream: &Upstream, presets: &str) -> Running {
    Running::with(upstream.address, &with_presets(presets), write_small_model)
}

/// What is in the lead log, a line for each row: `ROUTE IDS`, `ROUTE won ID REVENUE`, `DEAL=LEAD`; sorted.
pub fn logged(sidecar: Running) -> Vec<String> {
    let (_, folder) = sidecar.stop();
    let log = Connection::open(folder.path().join("state/leads.sqlite")).unwrap();
    let rows = |query: &str| {
        let mut statement = log.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let mut lines = rows("SELECT route || ' ' || coalesce(lead, '?') FROM scores");
    lines.extend(rows(
        "SELECT route || iif(won, ' won ', ' lost ') || coalesce(lead, '?' || deal) || ' ' ||
         iif(revenue IS NULL, '-', printf('%g', revenue)) FROM outcomes",
    ));
    lines.extend(rows("SELECT deal || '=' || lead FROM aliases"));
    lines.sort();
    lines
}

/// One client's part of the table.
struct Expected<'t> {
    client: &'t str,
    presets: String,
    /// Number, what the answer and the metrics say, and the lines in the lead log.
    lines: Vec<(&'t str, &'t str, Vec<String>)>,
}

impl<'t> Expected<'t> {
    fn all(text: &'t str) -> Vec<Self> {
        let parts = text.split("\n\n").skip(1).map(|part| {
            let (head, lines) = part.split_once('\n').unwrap();
            let (client, presets) = head.split_once(' ').unwrap();
            Self { client, presets: presets.replace(' ', ", "), lines: lines.lines().map(line).collect() }
        });
        parts.collect()
    }
}

fn line(text: &str) -> (&str, &str, Vec<String>) {
    let (number, rest) = text.split_once(' ').unwrap();
    let mut facts = rest.split(" | ");
    let mut words = facts.next().unwrap().splitn(3, ' ');
    let route = words.next().unwrap();
    let ids = words.clone().nth(1).unwrap_or_default().split_whitespace();
    let mut logged: Vec<String> = ids.map(|id| format!("{route} {id}")).collect();
    logged.extend(facts.map(str::to_owned));
    let told = words.next().map_or(route, |outcome| &rest[..route.len() + 1 + outcome.len()]);
    (number, told, logged)
}

#[test]
fn every_capture_is_taken_scored_and_recorded_as_the_table_says() {
    let Some(captures) = Capture::all() else { return };
    let mut checked = 0;
    for Expected { client, presets, lines } in Expected::all(include_str!("../data/captures.txt")) {
        let stage = Stage::new();
        let sidecar = start_presets(&stage.upstream, &presets);
        let (mut told, mut expected) = (Vec::new(), Vec::new());
        let mut log = Vec::new();
        for (number, line, logged) in lines {
            let start = format!("{client}/{number}");
            let capture = captures.iter().find(|capture| capture.name.starts_with(&start)).unwrap();
            let before = counted(&sidecar);
            let (request, reply) = stage.play(&sidecar, capture);
            let sent = capture.sent();
            assert_eq!((&request.start, &request.trailers), (&sent.start, &sent.trailers), "{start}");
            assert!(request.body == sent.body, "{start}: the CRM got another body");
            enriched(&reply, &capture.answered(), &start);
            told.push(format!("{number} {}", taken(&before, &counted(&sidecar), &reply)));
            expected.push(format!("{number} {line}"));
            log.extend(logged);
            checked += 1;
        }
        assert_eq!(told, expected, "{client}");
        log.sort();
        assert_eq!(logged(sidecar), log, "{client}");
    }
    assert_eq!(checked, captures.len());
}

/// The routes' counters.
fn counted(sidecar: &Running) -> BTreeMap<String, String> {
    let text = sidecar.admin("/metrics");
    let lines = text.lines().filter_map(|line| line.strip_prefix("leadwire_requests_total{route=\""));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The route that counted a request, and the outcome that it and the answer tell; `-` for none.
fn taken(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, reply: &Message) -> String {
    let changed: Vec<&str> = after
        .iter()
        .filter(|(series, count)| before.get(*series) != Some(count))
        .map(|(series, _)| series.as_str())
        .collect();
    let [series] = changed.as_slice() else { panic!("{changed:?}") };
    let (route, outcome) = series.split_once("\",outcome=\"").unwrap();
    let outcome = outcome.trim_end_matches("\"}");
    let header = reply.header("leadwire");
    match (outcome, header) {
        ("passed", None) => "-".to_owned(),
        ("skipped", Some(header)) => format!("{route} {}", header.strip_prefix("skipped;reason=").unwrap()),
        (outcome, Some(header)) => {
            assert_eq!(outcome, header);
            format!("{route} {outcome}")
        }
        other => panic!("{other:?}"),
    }
}

/// The members that presets write into answers.
const MEMBERS: [&str; 8] = [
    "Lead_Score__c",
    "lead_score",
    "new_leadscore",
    "Lead_Score",
    "cLeadScore",
    "lead_score_c",
    "x_lead_score",
    "custom_lead_score",
];

/// Checks that an answer is the recorded one but for the score.
fn enriched(got: &Message, recorded: &Message, name: &str) {
    let is_scored = got.header("leadwire") == Some("scored");
    let changed = got.body != recorded.body;
    assert!(is_scored || !changed, "{name}: a body without a score in it changed");
    let headers = |message: &Message| {
        let ours = |name: &str| name == "leadwire" || is_scored && name.starts_with("x-lead-");
        let of_body = |name: &str| ["content-length", "content-encoding", "etag"].contains(&name);
        let mut headers = message.end_to_end();
        headers.retain(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !(ours(&name) || changed && of_body(&name))
        });
        headers
    };
    assert_eq!((&got.start, headers(got)), (&recorded.start, headers(recorded)), "{name}");
    if changed {
        assert_eq!(without_scores(got), without_scores(recorded), "{name}");
        let told = String::from_utf8(plain(got)).unwrap();
        assert!(MEMBERS.iter().any(|member| told.contains(&format!("\"{member}\":"))), "{name}: {told}");
    }
}

/// A body without its coding.
fn plain(message: &Message) -> Vec<u8> {
    match message.header("content-encoding") {
        Some("gzip") => {
            let mut plain = Vec::new();
            MultiGzDecoder::new(message.body.as_slice()).read_to_end(&mut plain).unwrap();
            plain
        }
        _ => message.body.clone(),
    }
}

fn without_scores(message: &Message) -> Json {
    fn take_out(json: &mut Json) {
        match json {
            Json::Object(members) => {
                members.retain(|name, _| !MEMBERS.contains(&name.as_str()));
                members.values_mut().for_each(take_out);
            }
            Json::Array(items) => items.iter_mut().for_each(take_out),
            _ => {}
        }
    }
    let mut json = serde_json::from_slice(&plain(message)).unwrap();
    take_out(&mut json);
    json
}

#[test]
fn crm_01_with_every_preset_on_the_crm_gets_what_was_sent() {
    let Some(captures) = Capture::all() else { return };
    let stage = Stage::new();
    let presets: Vec<&str> = leadwire::config::presets().map(|(name, _)| name).collect();
    let sidecar = start_presets(&stage.upstream, &presets.join(", "));
    for capture in &captures {
        let (request, reply) = stage.play(&sidecar, capture);
        let sent = capture.sent();
        assert_eq!(request.start, sent.start, "{}", capture.name);
        assert!(request.body == sent.body && request.trailers == sent.trailers, "{}", capture.name);
        // What a client offers to decode is narrowed to what is decoded here.
        let offers = |(name, _): &(String, String)| !name.eq_ignore_ascii_case("accept-encoding");
        let headers = |message: &Message| message.end_to_end().into_iter().filter(offers).collect::<Vec<_>>();
        assert_eq!(headers(&request), headers(&sent), "{}", capture.name);
        enriched(&reply, &capture.answered(), &capture.name);
    }
}
