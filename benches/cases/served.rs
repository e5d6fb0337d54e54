//! The path of one lead, whole and in parts.

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header};
use leadwire::{
    config::{BodyTarget, Config, Field, Format, Pointer},
    enrich::{Edits, Given},
    lead::{Grade, Score, Value},
    leadlog::Known,
    proxy::{Scratch as InspectScratch, Snapshot, Subject},
    recognise::{Candidates, Doc, Recogniser, RequestHead, Scratch as ReadScratch, View},
    registry::Version,
    score::{Model, Scratch as ScoreScratch},
    telemetry::{Latency, Metrics},
};

use super::Case;

const BODY: &[u8] = include_bytes!("lead.json");
const PATH: &str = "/services/data/v64.0/sobjects/Lead";

/// The shipped configuration, but for scores that go into the request: the costlier way.
fn config() -> Config {
    let shipped = include_str!("../../config/leadwire.yaml");
    let injecting = shipped.replace("request: []", "request: [{at: /Lead_Score__c, value: points}]");
    assert_ne!(shipped, injecting, "the shipped configuration has no `request: []` to replace");
    let mut config = Config::parse(&injecting, &|_| None).expect("the shipped configuration is valid");
    // Under valgrind a lead takes longer than a CRM would wait.
    config.limits.deadline = Duration::from_secs(60);
    config
}

fn version() -> Version {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lead/1");
    Version::load(&folder).expect("the shipped version loads")
}

/// Cases live as long as the process, and so does what they read.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("score: lead/1, values to score", 1, || {
            let (lead, mut memory) = Lead::warm();
            move || {
                black_box(lead.scored(&mut memory));
            }
        }),
        Case::new("recognise: body bytes to values", 1, || {
            let (lead, mut memory) = Lead::warm();
            move || lead.read(&mut memory)
        }),
        Case::new("splice: score to patched body", 1, || {
            let (lead, mut memory) = Lead::warm();
            let scored = lead.scored(&mut memory);
            move || {
                black_box(lead.patched(&memory, black_box(scored)));
            }
        }),
        Case::new("recognise + score: body bytes to score", 1, || {
            let (lead, mut memory) = Lead::warm();
            move || {
                lead.read(&mut memory);
                black_box(lead.scored(&mut memory));
            }
        }),
        Case::new("recognise + score + splice: body bytes to patched body", 1, || {
            let (lead, mut memory) = Lead::warm();
            move || {
                lead.read(&mut memory);
                let scored = lead.scored(&mut memory);
                black_box(lead.patched(&memory, scored));
            }
        }),
        Case::new("inspect: path, head and body to record and patched body", 1, inspect),
    ]
}

/// What the parts share.
struct Lead {
    recogniser: &'static Recogniser,
    candidates: Candidates<'static>,
    model: Model,
    version: Version,
    /// For each feature of the model its place among the configuration's.
    places: Vec<usize>,
    target: BodyTarget,
}

/// What one part reuses from run to run.
#[derive(Default)]
struct Memory {
    read: ReadScratch,
    score: ScoreScratch,
    values: Vec<Value<'static>>,
}

impl Lead {
    fn new() -> Self {
        let (config, version) = (config(), version());
        let model = version.model.clone();
        let place = |name: &str| config.features.iter().position(|feature| *feature.name == *name);
        let places = model.features().iter().map(|spec| place(&spec.name).expect("mapped")).collect();
        let recogniser = kept(Recogniser::new(&config));
        let candidates = recogniser.candidates(head(kept(headers()))).expect("the path is a route's");
        let at = Pointer::parse("/Lead_Score__c").expect("a pointer");
        let target = BodyTarget { at, value: Field::Points, format: Format::default() };
        Self { recogniser, candidates, model, version, places, target }
    }

    /// With memory that holds the body's values.
    fn warm() -> (Self, Memory) {
        let (lead, mut memory) = (Self::new(), Memory::default());
        lead.read(&mut memory);
        (lead, memory)
    }

    fn read(&self, memory: &mut Memory) {
        memory.values.clear();
        let Memory { read, values, .. } = memory;
        let view = View::json(std::str::from_utf8(black_box(BODY)).expect("text"));
        let route = self.recogniser.read(&self.candidates, view, read, values);
        assert!(matches!(route, Ok(Some(_))), "{route:?}");
    }

    fn scored(&self, memory: &mut Memory) -> (Score, Grade) {
        let Memory { score, values, .. } = memory;
        let value =
            |i: usize| self.places.get(i).and_then(|place| values.get(*place)).unwrap_or(&Value::Missing);
        let scored = self.model.score(value, score).expect("finite");
        (scored.score, scored.grade)
    }

    fn patched(&self, memory: &Memory, (score, grade): (Score, Grade)) -> Vec<u8> {
        let text = std::str::from_utf8(BODY).expect("text");
        let doc = Doc::new(text, &memory.read.tape);
        let spot = doc.spot(Doc::ROOT, &self.target.at, None).expect("no duplicates").expect("an object");
        let mut edits = Edits::default();
        let given = Given { score, grade, model: &self.version.id, reasons: &[], trend: None };
        edits.push(spot, &self.target, given);
        edits.apply(BODY).expect("one edit")
    }
}

fn head(headers: &HeaderMap) -> RequestHead<'_> {
    RequestHead { method: &Method::POST, path: black_box(PATH), headers, query: None }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::AUTHORIZATION, HeaderValue::from_static("Bearer 00D")),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
    ])
}

/// Everything that happens to a request between its bytes and the upstream: routing, the parts above, the packed record
/// for the lead log, clocks and histograms.
fn inspect() -> impl FnMut() {
    let metrics = Metrics::default();
    let snapshot = Snapshot::new(Arc::new(config()), &[Arc::new(version())], &metrics);
    let snapshot = kept(snapshot.expect("the shipped version fits the shipped configuration"));
    let headers = kept(headers());
    let known = kept(Known::new(65_536, Duration::from_secs(86_400)));
    let mut stages = Latency::default().recorder();
    let mut scratch = InspectScratch::default();
    move || {
        let candidates = snapshot.recogniser.candidates(head(headers)).expect("the path is a route's");
        let body = black_box(BODY);
        let may_inject = &|_: &_| true;
        let subject = Subject { snapshot, candidates: &candidates, headers, body, known, may_inject };
        let inspected = subject.inspect(&mut scratch, &mut stages);
        let found = inspected.ok().flatten().expect("a lead");
        assert!(found.patched.is_some() && found.leads.iter().all(|lead| lead.scored.is_some()));
        black_box(found);
    }
}
