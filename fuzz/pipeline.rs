//! A client's connection from its first byte to the upstream's last, with nothing left out but the network.
//!
//! The input is four letters and what a client sends: the first letter picks a configuration, the second how the bytes
//! arrive, the others how the stand-in for the CRM behaves, one request after the other.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use leadwire::{
    config::Config,
    proxy::{Snapshot, serve_alone},
    registry::{Version, WEIGHTS},
    telemetry::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::{JoinHandle, LocalSet, spawn_local, yield_now},
};

use super::strict::{Message, answer, head, request};

const SHIPPED: &str = include_str!("../config/leadwire.yaml");

/// Two routes of every kind that a body can be, with scores in requests and answers.
const ROUTES: &str = r#"
upstream: http://127.0.0.1:8069
limits: {body: 1KiB, known: 0, deadline: 1s, head: 1s, idle: 1s, answer: 200ms, pause: 1s, refusals: 2}
routes:
  - {name: one, method: [POST], path: /one, leads: $, id: {from: response, at: /id}, action: create, model: lead,
     inject: {headers: {X-S: score, X-R: reasons}, request: [{at: /Lead_Score__c, value: points}], response: [{at: /s, value: points}]}}
  - {name: each, method: [PUT], path: "/each/{id}", leads: "$.records[*]", id: {from: request, at: /Id}, action: upsert, model: lead,
     inject: {headers: {X-S: score}, request: [{at: /Lead_Score__c, value: score}], response: [{at: '/{i}/s', value: grade}]}}
  - {name: read, method: [GET], path: "/each/{id}", leads: $, id: {from: "path:id"}, action: read, model: lead,
     inject: {response: [{at: /s, value: points}]}}
  - {name: told, method: [PATCH], path: "/each/{id}", leads: $, id: {from: "path:id"}, action: outcome}
outcomes:
  - {route: told, when: [{at: /Status, eq: won}], label: 1}
"#;

/// What requests can be served with.
static CONFIGS: LazyLock<Vec<Arc<Config>>> = LazyLock::new(|| {
    let shipped = SHIPPED.replace("head: 30s", "head: 1s").replace("idle: 10m", "idle: 1s");
    let shipped = shipped.replace("answer: 60s", "answer: 200ms").replace("deadline: 10ms", "deadline: 1s");
    let injecting = shipped.replace("request: []", "request: [{at: /Lead_Score__c, value: points}]");
    let every = shipped.replace(
        "presets: [salesforce]",
        "presets: [salesforce, hubspot, dynamics, odoo, zoho, pipedrive, suitecrm, espocrm, frappe, tryton]",
    );
    let features = SHIPPED.split_once("\nfeatures:").and_then(|(_, rest)| rest.split_once("\n# When "));
    let (features, _) = features.expect("features, and then outcomes");
    let none = "upstream: http://127.0.0.1:8069\nlimits: {head: 1s, idle: 1s, answer: 200ms}".to_owned();
    let texts = [none, shipped, injecting, every, format!("{ROUTES}\nfeatures:{features}")];
    let parse = |text: &String| Config::parse(text, &|_| None).expect("the configurations are valid");
    texts.iter().map(|text| Arc::new(parse(text))).collect()
});

static VERSION: LazyLock<Arc<Version>> = LazyLock::new(|| {
    let manifest = include_bytes!("../models/lead/1/manifest.json");
    let weights = include_bytes!("../models/lead/1/weights.safetensors");
    let version = Version::from_parts("lead/1".as_ref(), manifest, |name| match name {
        WEIGHTS => Ok(weights.to_vec()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    });
    Arc::new(version.expect("the shipped version"))
});

/// Whatever a client sends, what the upstream gets has one reading, and is what the client sent; each answer is given to the
/// request it belongs to, and the connection ends.
pub fn pipeline(data: &[u8]) {
    let Some((letters, sent)) = data.split_first_chunk::<4>() else { return };
    let config = CONFIGS[usize::from(letters[0]) % CONFIGS.len()].clone();
    let versions: &[_] = if config.routes.is_empty() { &[] } else { std::slice::from_ref(&*VERSION) };
    let snapshot = Snapshot::new(config.clone(), versions, &Metrics::default()).expect("the version fits");
    let crm = Rc::new(StandIn { acts: [letters[2], letters[3]], seen: RefCell::default() });
    let got = run(exchange(Arc::new(snapshot), crm.clone(), Arrival::of(letters[1]), sent));
    let seen = crm.seen.take();
    assert_eq!(seen.wrong, None, "the upstream got something else than HTTP");
    let injects = config.routes.iter().any(|route| !route.inject.request.is_empty());
    Told { injects, acts: crm.acts, sent, seen }.check(&got);
}

/// No exchange takes longer than this by the clock, which stands still while anything can be done.
const LONGEST: Duration = Duration::from_secs(60);

/// A client that says nothing stays so long, longer than every limit.
const PATIENCE: Duration = Duration::from_secs(5);

fn run<T>(exchange: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let bounded = async { tokio::time::timeout(LONGEST, exchange).await.expect("the connection never ends") };
    LocalSet::new().block_on(&runtime.expect("a runtime without a network"), bounded)
}

/// How the client's bytes arrive.
struct Arrival {
    /// So many at once.
    piece: usize,
    /// It says so at once when it sends nothing more.
    ends: bool,
}

impl Arrival {
    fn of(letter: u8) -> Self {
        let piece = [usize::MAX, 1, 7, 64][usize::from(letter & 3)];
        Self { piece, ends: letter & 4 == 0 }
    }
}

async fn exchange(snapshot: Arc<Snapshot>, crm: Rc<StandIn>, arrival: Arrival, sent: &[u8]) -> Vec<u8> {
    let (client, ours) = tokio::io::duplex(1 << 16);
    let (mut from, mut to) = tokio::io::split(client);
    let talks: Rc<RefCell<Vec<JoinHandle<()>>>> = Rc::default();
    let (dialling, dialled) = (crm, talks.clone());
    let dial = move || {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        dialled.borrow_mut().push(spawn_local(dialling.clone().talk(theirs)));
        ours
    };
    let sending = async {
        for piece in sent.chunks(arrival.piece.min(sent.len()).max(1)) {
            if to.write_all(piece).await.is_err() {
                break;
            }
            yield_now().await;
        }
        // Otherwise it stays, and what is open then shows; a body that never ends is waited for as long as the client stays.
        if !arrival.ends {
            tokio::time::sleep(PATIENCE).await;
        }
        _ = to.shutdown().await;
    };
    let mut got = Vec::new();
    let (_, _, ()) = tokio::join!(sending, from.read_to_end(&mut got), serve_alone(snapshot, ours, dial));
    _ = to.shutdown().await;
    let talks = talks.take();
    for talk in talks {
        talk.await.expect("the stand-in does not panic");
    }
    got
}

/// The CRM's part.
struct StandIn {
    acts: [u8; 2],
    seen: RefCell<Seen>,
}

/// What reached the CRM.
#[derive(Default)]
struct Seen {
    requests: Vec<Message>,
    /// The last one has not come to its end.
    partly: bool,
    /// What came once the last one had left HTTP.
    tunnel: Option<Vec<u8>>,
    wrong: Option<&'static str>,
}

/// What becomes of a connection.
enum Then {
    Stays,
    Ends,
    Tunnel,
}

const CREATED: &str = r#"{"id":"00Q8d0000000000001","success":true,"errors":[]}"#;
const REFUSED: &str = r#"[{"message":"No such column","errorCode":"INVALID_FIELD"}]"#;

impl StandIn {
    async fn talk(self: Rc<Self>, mut stream: DuplexStream) {
        let mut bytes = Vec::new();
        while let Ok(then) = self.hear(&mut bytes, &mut stream).await {
            match then {
                Then::Stays => {}
                Then::Ends => return,
                Then::Tunnel => {
                    _ = stream.write_all(b"other").await;
                    _ = stream.shutdown().await;
                    _ = stream.read_to_end(&mut bytes).await;
                    self.seen.borrow_mut().tunnel = Some(bytes);
                    return;
                }
            }
        }
    }

    /// Takes one request and answers it.
    async fn hear(&self, bytes: &mut Vec<u8>, stream: &mut DuplexStream) -> Result<Then, ()> {
        let wrong = |wrong| self.seen.borrow_mut().wrong = Some(wrong);
        let (mut place, mut then) = (None, None);
        loop {
            if place.is_none()
                && let Some((part, _)) = head(bytes).map_err(wrong)?
            {
                let here = self.seen.borrow().requests.len();
                self.note(here, part, true);
                place = Some(here);
                if self.act(here) == EARLY {
                    then = Some(self.answer(here, stream).await);
                }
            }
            if let (Some(here), Some((whole, used))) = (place, request(bytes).map_err(wrong)?) {
                bytes.drain(..used);
                self.note(here, whole, false);
                return Ok(match then {
                    Some(then) => then,
                    None => self.answer(here, stream).await,
                });
            }
            if stream.read_buf(bytes).await.unwrap_or_default() == 0 {
                return Err(());
            }
        }
    }

    fn note(&self, place: usize, request: Message, partly: bool) {
        let mut seen = self.seen.borrow_mut();
        seen.requests.truncate(place);
        seen.requests.push(request);
        seen.partly = partly;
    }

    fn act(&self, place: usize) -> u8 {
        self.acts[place % 2].wrapping_sub(b'a') % ACTS
    }

    async fn answer(&self, place: usize, stream: &mut DuplexStream) -> Then {
        let request = self.seen.borrow().requests[place].clone();
        let (bytes, then) = self.script(place, &request);
        // Whoever has hung up gets nothing.
        if self.act(place) == SLOWLY {
            for byte in bytes {
                _ = stream.write_all(&[byte]).await;
                yield_now().await;
            }
        } else {
            _ = stream.write_all(&bytes).await;
        }
        if matches!(then, Then::Stays) && request.is_last() { Then::Ends } else { then }
    }

    fn script(&self, place: usize, request: &Message) -> (Vec<u8>, Then) {
        let is_head = request.start[0] == "HEAD";
        let whole = |status: &str, fields: &str, body: &str| {
            let head =
                format!("HTTP/1.1 {status}\r\nX-Seq: {place}\r\nContent-Type: application/json\r\n{fields}");
            let body = if is_head { "" } else { body };
            [head.as_bytes(), b"\r\n", body.as_bytes()].concat()
        };
        let length = |body: &str| format!("Content-Length: {}\r\n", body.len());
        let created = || whole("201 Created", &length(CREATED), CREATED);
        let chunks = format!("7\r\n{}\r\n{:x}\r\n{}\r\n", &CREATED[..7], CREATED.len() - 7, &CREATED[7..]);
        match self.act(place) {
            CREATES | EARLY | SLOWLY => (created(), Then::Stays),
            CHUNKS => (whole("200 OK", "Transfer-Encoding: chunked\r\n", &(chunks + "0\r\n\r\n")), Then::Stays),
            TRAILS => (
                whole("200 OK", "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n", &(chunks + "0\r\nX-T: 1\r\n\r\n")),
                Then::Stays,
            ),
            CLOSES => (whole("200 OK", "Connection: close\r\n", CREATED), Then::Ends),
            REFUSES if contains(&request.body, b"Lead_Score__c") => {
                (whole("400 Bad Request", &length(REFUSED), REFUSED), Then::Stays)
            }
            REFUSES => (created(), Then::Stays),
            EMPTY => (whole("204 No Content", "", ""), Then::Stays),
            TALKS_NONSENSE => (b"nonsense\r\n\r\n".to_vec(), Then::Ends),
            HANGS_UP => (Vec::new(), Then::Ends),
            BREAKS_OFF => (whole("200 OK", "Content-Length: 99\r\n", CREATED), Then::Ends),
            AGREES if !request.values("upgrade").is_empty() => (
                format!("HTTP/1.1 101 Switching Protocols\r\nX-Seq: {place}\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
                    .into_bytes(),
                Then::Tunnel,
            ),
            AGREES => ([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), created()].concat(), Then::Stays),
            // Never, so that the time runs out.
            _ => (Vec::new(), Then::Stays),
        }
    }
}

/// How the stand-in behaves.
const ACTS: u8 = 13;
const CREATES: u8 = 0;
const CHUNKS: u8 = 1;
const TRAILS: u8 = 2;
const CLOSES: u8 = 3;
const REFUSES: u8 = 4;
const EMPTY: u8 = 5;
const TALKS_NONSENSE: u8 = 6;
const HANGS_UP: u8 = 7;
const BREAKS_OFF: u8 = 8;
const EARLY: u8 = 9;
const SLOWLY: u8 = 10;
const AGREES: u8 = 11;

/// What was sent, and what came of it.
struct Told<'s> {
    injects: bool,
    acts: [u8; 2],
    sent: &'s [u8],
    seen: Seen,
}

impl Told<'_> {
    fn check(&self, got: &[u8]) {
        let answers = self.answers(got);
        let mut answers = answers.as_slice();
        let (mut rest, mut next) = (self.sent, 0);
        // As far as the client's own bytes have one reading.
        while let Ok(Some((sent, used))) = request(rest) {
            rest = &rest[used..];
            let first = next;
            next = self.taken(&sent, first, answers);
            let Some((answer, later)) = answers.split_first() else {
                let is_open = next > first || next < self.seen.requests.len();
                return assert!(!is_open || self.is_cut(), "no answer to {:?}", sent.start);
            };
            answers = later;
            let is_its_own = answer.is_none_or(|place| place + 1 == next && next > first);
            assert!(is_its_own, "{answer:?} is no answer to {:?}, which is {first}..{next}", sent.start);
            if let Some(tunnel) = self.seen.tunnel.as_ref().filter(|_| next == self.seen.requests.len()) {
                return assert!(rest.starts_with(tunnel), "something else went through the tunnel");
            }
        }
        // hyper takes a bare LF for an end of line.
        let has_bare_lf =
            rest.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || rest[at - 1] != b'\r'));
        if !has_bare_lf && request(rest) == Ok(None) && head(rest) == Ok(None) {
            assert_eq!(next, self.seen.requests.len(), "a request that nobody sent");
        }
    }

    /// Where those requests end that a request from `first` on became: none or one, or two where the first was refused for
    /// what was written into it, or was lost and changes nothing.
    fn taken(&self, sent: &Message, first: usize, answers: &[Option<usize>]) -> usize {
        let may_repeat = self.injects || matches!(sent.start[0].as_str(), "GET" | "HEAD" | "OPTIONS");
        let most = first + 1 + usize::from(may_repeat);
        // What is answered with is the last; what a later request is answered with is not its.
        let most = match (answers.first(), answers.iter().flatten().next()) {
            (Some(Some(place)), _) => most.min(place + 1),
            (_, Some(place)) => most.min(*place),
            (_, None) => most,
        };
        let is_same =
            |place: usize| self.seen.requests.get(place).is_some_and(|seen| self.is_same(sent, seen, place));
        (first..most).find(|place| !is_same(*place)).unwrap_or(most.max(first))
    }

    /// The places of the requests that were answered, in order; none for an answer that is the sidecar's own.
    fn answers(&self, mut got: &[u8]) -> Vec<Option<usize>> {
        let (mut places, mut last) = (Vec::new(), None);
        while !got.is_empty() {
            let Ok(Some((start, _))) = head(got) else {
                panic!("no answer: {:?}", String::from_utf8_lossy(got))
            };
            let place = start.values("x-seq").first().map(|place| {
                let place = std::str::from_utf8(place).expect("a number");
                place.parse::<usize>().expect("a number")
            });
            let is_head = place.is_some_and(|place| self.seen.requests[place].start[0] == "HEAD");
            let read = answer(got, is_head).unwrap_or_else(|wrong| panic!("{wrong}: {start:?}"));
            let own_to_head =
                place.is_none() && read.as_ref().is_none_or(|(own, _)| !own.body.starts_with(b"{"));
            let Some((_, used)) = read.filter(|_| !own_to_head).or_else(|| answer(got, own_to_head).ok()?)
            else {
                assert!(self.is_cut(), "an answer is cut: {:?}", String::from_utf8_lossy(got));
                places.push(place);
                break;
            };
            got = &got[used..];
            if start.start[1] == "100" {
                continue;
            }
            assert!(place.is_none() || place > last, "an answer is given twice, or too late");
            last = place.or(last);
            places.push(place);
            if start.start[1] == "101" {
                assert_eq!(got, b"other", "something else came out of the tunnel");
                break;
            }
        }
        places
    }

    /// Whether the stand-in breaks answers off, or gives them before it knows whether the request is one.
    fn is_cut(&self) -> bool {
        self.acts.iter().any(|act| matches!(act.wrapping_sub(b'a') % ACTS, BREAKS_OFF | EARLY))
    }

    /// Whether the upstream saw what the client sent, but for what belongs to a connection or is declared.
    fn is_same(&self, sent: &Message, seen: &Message, place: usize) -> bool {
        let is_partly = self.seen.partly && place + 1 == self.seen.requests.len();
        sent.start[0] == seen.start[0]
            && path(&sent.start[1]) == seen.start[1]
            && seen.start[2] == "HTTP/1.1"
            && headers_match(sent, seen)
            && (is_partly || sent.body == seen.body || self.injects && is_injected(&sent.body, &seen.body))
            && (is_partly || seen.trailers.iter().all(|(name, value)| is_trailer(sent, name, value)))
    }
}

/// Trailers that no `Trailer` header announces may be left out; none is added.
fn is_trailer(sent: &Message, name: &str, value: &[u8]) -> bool {
    sent.trailers.iter().any(|(known, of)| known.eq_ignore_ascii_case(name) && of == value)
}

/// The target without the authority; a path that is left out is the root.
fn path(target: &str) -> std::borrow::Cow<'_, str> {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return target.into();
    };
    match rest.find(['/', '?']).map_or("/", |at| &rest[at..]) {
        query if query.starts_with('?') => format!("/{query}").into(),
        path => path.into(),
    }
}

/// Headers that are of one connection, ours, or about the length of a body.
const OURS: [&str; 15] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "accept-encoding",
    "leadwire",
    "x-s",
    "x-r",
    "x-lead-score",
    "x-lead-grade",
    "x-lead-model",
];

/// Every header that is not one of those, or named by `Connection`, is there with its values.
fn headers_match(sent: &Message, seen: &Message) -> bool {
    let hop = sent.values("connection").join(&b','.to_owned()).to_ascii_lowercase();
    let is_kept = |name: &str| {
        let name = name.to_ascii_lowercase();
        !OURS.contains(&name.as_str()) && !contains(&hop, name.as_bytes())
    };
    let kept = sent.headers.iter().filter(|(name, _)| is_kept(name));
    let kept = kept.map(|(name, _)| name).all(|name| sent.values(name) == seen.values(name));
    kept && seen
        .headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        // HTTP/1.0 may leave the host out, HTTP/1.1 may not.
        .all(|(name, _)| !sent.values(name).is_empty() || name == "Host" && sent.start[2] == "HTTP/1.0")
}

/// Whether a value stands in the body that was not there before. Where one was, or the body was coded, it is another body.
fn is_injected(sent: &[u8], seen: &[u8]) -> bool {
    let same_start = sent.iter().zip(seen).take_while(|(sent, seen)| sent == seen).count();
    let same_end = sent.iter().rev().zip(seen.iter().rev()).take_while(|(sent, seen)| sent == seen).count();
    let is_coded = sent.starts_with(b"\x1f\x8b");
    let is_spliced = same_start + same_end >= sent.len() && contains(seen, b"\"Lead_Score__c\":");
    is_coded || contains(sent, b"Lead_Score") || contains(sent, b"\\u") || is_spliced
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
