//! What must hold for any bytes. The fuzz targets call these, and `tests/it/fuzz.rs` replays the corpora through them.
//!
//! Each check panics when it fails. Where it can it compares with serde_json, which shares no code with the scanner.

mod pipeline; // a connection from end to end
mod strict; // HTTP with one reading

use std::{collections::HashSet, fmt, io, path::Path, sync::LazyLock};

pub use self::pipeline::pipeline;
use http::{HeaderMap, Method, StatusCode};
use leadwire::{
    config::{Action, BodyTarget, Config, Field, Format, Pointer, Step},
    enrich::{Edits, Given},
    lead::{Grade, ModelId, Outcome, Score, Skip, Spot, Trend, Value as Feature},
    recognise::{Answer, Doc, Recogniser, RequestHead, Scratch, Skipped, Tape, View},
    registry::{Version, VersionError, WEIGHTS, sha256},
    score::trees::{Link, NoObjective, TreeError, TreeScratch, Trees},
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Any text is a configuration that compiles, or a list of problems that says where they are.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, &|_| None) {
        Ok(config) => {
            let recogniser = Recogniser::new(&config);
            assert_eq!(recogniser.width(), config.features.len());
            if let [route] = config.routes.as_slice()
                && let Some(method) = route.methods.first()
                && route.when.is_empty()
                && route.action != Action::Read
            {
                let path = filled(&route.path);
                let headers = HeaderMap::new();
                let head = RequestHead { method, path: &path, headers: &headers, query: None };
                assert!(recogniser.candidates(head).is_some(), "{path} does not reach its route");
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            // A carriage return alone ends a line in YAML, and the parser counts some of them twice.
            let lines = 1 + text.matches('\n').count() + 2 * text.matches('\r').count();
            for problem in problems.iter() {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "nowhere: {problem:?}");
                assert!(!problem.message.is_empty(), "says nothing: {problem:?}");
            }
        }
    }
}

/// A path that the template matches.
fn filled(template: &str) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str("00Q1");
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    path + rest
}

const RECOGNISED: &str = r#"
upstream: http://127.0.0.1:8069
routes:
  - {name: one, method: [POST], path: /one, content: json, leads: $, id: {from: request, at: /id}, action: create, model: lead}
  - {name: some, method: [POST], path: /some, content: json, leads: "$.records[?@.type=='Lead']", action: create, model: lead}
  - {name: odd, method: [POST], path: /odd, content: json, leads: "$.records[1::2]", action: create, model: lead}
  - {name: auto, method: [POST], path: /auto, leads: $, action: create, model: lead}
  - {name: form, method: [POST], path: /form, content: form, leads: $, action: create, model: lead}
  - {name: form-json, method: [POST], path: /form-json, content: "form-json:data", leads: $, action: create, model: lead}
  - {name: csv, method: [POST], path: /csv, content: csv, leads: "$[*]", action: create, model: lead}
  - {name: batch, method: [POST], path: /batch, content: multipart-batch, leads: "$[*].body", action: create, model: lead}
  - {name: xmlrpc, method: [POST], path: /xmlrpc, content: xmlrpc, leads: "$.params[*]", action: create, model: lead}
  - {name: xml, method: [POST], path: /xml, content: xml, leads: $.Lead, action: create, model: lead}
features:
  age: {from: [/age], type: number}
  amount: {from: [/amount/decimal, /amount], type: number}
  opt_in: {from: [/opt_in], type: boolean}
  phone: {from: [/phones/1/kind], type: category}
  source: {from: [/LeadSource], type: category}
"#;

static RECOGNISER: LazyLock<Recogniser> = LazyLock::new(|| {
    Recogniser::new(&Config::parse(RECOGNISED, &|_| None).expect("the configuration above is valid"))
});

/// Whatever is read from a body is what serde_json reads there; a body is skipped only for a reason that holds. Before a NUL
/// stands another body, which was read before.
pub fn recognise(data: &[u8]) {
    let nul = data.iter().position(|byte| *byte == 0);
    let (before, data) = nul.map_or((data, data), |nul| (&data[..nul], &data[nul + 1..]));
    check_route("/one", (before, data), |root| vec![root]);
    check_route("/some", (before, data), |root| {
        let records = match &root["records"] {
            Value::Array(items) => items.iter().collect(),
            Value::Object(members) => members.values().collect(),
            _ => Vec::new(),
        };
        records.into_iter().filter(|record| record["type"] == "Lead").collect()
    });
    check_route("/odd", (before, data), |root| {
        root["records"].as_array().into_iter().flatten().skip(1).step_by(2).collect()
    });
}

fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(without_mark(text))
}

/// One byte order mark is allowed.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A letter for the mode, then a body: it becomes JSON of bounded size, or is skipped.
pub fn content(data: &[u8]) {
    let Some((path, _, body)) = by_mode(data) else { return };
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::POST, path, headers: &headers, query: None };
    let candidates = RECOGNISER.candidates(head).expect("the path is a route's");
    let mut made = "left over".to_owned();
    match candidates.view(body, &mut made) {
        Err(skipped) => check_unread(skipped.reason, path, body),
        Ok(view) => {
            let view = view.expect("a route reads any body");
            assert!(view.text().len() <= 16 * body.len() + (64 << 10), "{path}: {}", view.text().len());
            // What is in place, or was taken out of a field, is the sender's own JSON, or is none.
            if view.in_place().is_none() && path != "/form-json" {
                let read = serde_json::from_str::<serde::de::IgnoredAny>(view.text());
                let error = read.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.is_empty() || error.contains("recursion"), "{path}: {error}");
            }
        }
    }
    let declared = ["text/xml", "text/csv", "multipart/mixed; boundary=b", "text/plain", "application/json"];
    for content_type in declared {
        _ = View::of(Some(content_type), body, &mut made);
    }
}

/// A letter for the mode, then a body: whatever is read from it is what serde_json reads in its view.
pub fn differential(data: &[u8]) {
    if let Some((path, select, body)) = by_mode(data) {
        check_route(path, (body, body), select);
    }
}

type Select = fn(&Value) -> Vec<&Value>;

fn by_mode(data: &[u8]) -> Option<(&'static str, Select, &[u8])> {
    let (mode, body) = data.split_first()?;
    let (path, select): (_, Select) = match mode {
        b'a' => ("/auto", |root| vec![root]),
        b'j' => ("/one", |root| vec![root]),
        b'f' => ("/form", |root| vec![root]),
        b'd' => ("/form-json", |root| vec![root]),
        b'c' => ("/csv", |root| root.as_array().into_iter().flatten().collect()),
        b'b' => ("/batch", |root| {
            root.as_array().into_iter().flatten().filter_map(|part| part.get("body")).collect()
        }),
        b'r' => ("/xmlrpc", |root| root["params"].as_array().into_iter().flatten().collect()),
        b'x' => ("/xml", |root| root.get("Lead").into_iter().collect()),
        _ => return None,
    };
    Some((path, select, body))
}

/// No view was made: of JSON there always is one, of everything else one of these reasons holds.
fn check_unread(reason: Skip, path: &str, body: &[u8]) {
    let is_text = std::str::from_utf8(body).is_ok();
    match reason {
        Skip::Parse => assert!(!is_text || !matches!(path, "/one" | "/form" | "/form-json"), "{path}"),
        Skip::Content => assert!(matches!(path, "/form-json" | "/batch" | "/xmlrpc" | "/auto"), "{path}"),
        Skip::Duplicate => assert_eq!(path, "/form-json"),
        Skip::Body => assert!(body.len() > 1 << 10, "{path}: a small body grew too large"),
        reason => panic!("{path}: {reason:?}"),
    }
}

fn check_route(path: &str, (before, data): (&[u8], &[u8]), select: impl Fn(&Value) -> Vec<&Value>) {
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::POST, path, headers: &headers, query: None };
    let candidates = RECOGNISER.candidates(head).expect("the path is a route's");
    let (mut scratch, mut values) = (Scratch::default(), Vec::new());
    let mut made = String::new();
    let view = match candidates.view(data, &mut made) {
        Ok(view) => view.expect("a route reads any body"),
        Err(skipped) => return check_unread(skipped.reason, path, data),
    };
    let oracle = parse(view.text()).map_err(|error| error.to_string());
    let read = RECOGNISER.read(&candidates, view, &mut scratch, &mut values);
    // The same by what was learnt of the body before: its shape, and where its features stand.
    let (mut learnt, mut again, mut made_before) = (Scratch::default(), Vec::new(), String::new());
    if let Ok(Some(before)) = candidates.view(before, &mut made_before) {
        (0..2).for_each(|_| _ = RECOGNISER.read(&candidates, before, &mut learnt, &mut again));
    }
    let reason = |skipped: Skipped| skipped.reason;
    for _ in 0..2 {
        again.clear();
        let read_again = RECOGNISER.read(&candidates, view, &mut learnt, &mut again).map_err(reason);
        assert_eq!(
            read_again.map(|route| route.is_some()),
            read.clone().map(|route| route.is_some()).map_err(reason)
        );
        if let Ok(Some(_)) = read {
            assert_eq!((&again, &learnt.leads), (&values, &scratch.leads), "{path}: by what was learnt");
        }
    }
    let root = match (&oracle, &read) {
        (Ok(root), _) => root,
        (Err(_), Err(skipped)) if skipped.reason == Skip::Parse => return,
        // The scanner keeps numbers as text, so it takes 1e999; and serde_json counts depth one level earlier.
        (Err(error), _) => {
            return assert!(error.contains("out of range") || error.contains("recursion"), "read: {error}");
        }
    };
    let leads: Vec<&Value> = select(root).into_iter().flat_map(objects).collect();
    match read {
        Ok(None) => panic!("{path}: no route took it"),
        Err(skipped) => match skipped.reason {
            Skip::NoLead => assert!(leads.is_empty(), "{path}: missed {leads:?}"),
            Skip::Duplicate => {
                assert!(has_duplicates(view.text().as_bytes()), "{path}: no key stands twice");
            }
            Skip::TooMany => assert!(leads.len() > 1_000, "{path}: {} leads", leads.len()),
            reason => panic!("{path}: {reason:?} for well-formed JSON"),
        },
        Ok(Some(_)) => {
            assert_eq!(scratch.leads.len(), leads.len(), "{path}");
            assert_eq!(values.len(), leads.len() * RECOGNISER.width(), "{path}");
            for (lead, values) in leads.iter().zip(values.chunks(RECOGNISER.width())) {
                check_lead(lead, values);
            }
            if let ("/one", [found]) = (path, scratch.leads.as_slice()) {
                check_id(found.id.as_deref(), root.pointer("/id"));
            }
        }
    }
}

/// A list counts as its items.
fn objects(selected: &Value) -> Vec<&Value> {
    match selected {
        Value::Object(_) => vec![selected],
        Value::Array(items) => items.iter().filter(|item| item.is_object()).collect(),
        _ => Vec::new(),
    }
}

fn check_lead(lead: &Value, values: &[Feature<'_>]) {
    // By name, as the configuration sorts them.
    let [age, amount, opt_in, phone, source] = values else { panic!("{} values", values.len()) };
    let at = |pointer: &str| lead.pointer(pointer).unwrap_or(&Value::Null);
    check_number(age, number(at("/age")));
    check_number(amount, number(at("/amount/decimal")).or_else(|| number(at("/amount"))));
    check_category(source, at("/LeadSource"));
    check_category(phone, at("/phones/1/kind"));
    let expected = boolean(at("/opt_in")).map_or(Feature::Missing, Feature::Boolean);
    let is_empty = |json: Option<&Value>| json.is_some_and(|json| json.is_null() || json == "");
    match opt_in {
        Feature::Cleared => assert!(is_empty(lead.pointer("/opt_in")), "{:?} is cleared", at("/opt_in")),
        read => assert_eq!(*read, expected, "{:?}", at("/opt_in")),
    }
}

fn number(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let text = text.trim();
            let grouped = text.contains(',');
            let digits = text.replace(',', "");
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte));
            let number = digits.parse().ok().filter(|number: &f64| plain && number.is_finite())?;
            (!grouped || in_threes(text)).then_some(number)
        }
        Value::Object(_) if json["__class__"] == "Decimal" && !json["decimal"].is_object() => {
            number(&json["decimal"])
        }
        _ => None,
    }
}

/// `-12,000,000.5`: up to three digits, then groups of just three.
fn in_threes(text: &str) -> bool {
    let whole = text.split('.').next().unwrap_or_default().trim_start_matches(['-', '+']);
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.split(',');
    groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && digits(first))
        && groups.all(|group| group.len() == 3 && digits(group))
        && digits(fraction)
}

fn check_number(read: &Feature<'_>, expected: Option<f64>) {
    match (read, expected) {
        (Feature::Missing | Feature::Cleared, None) => {}
        // serde_json may be off in the last digit.
        (Feature::Number(read), Some(expected)) => {
            assert!((read - expected).abs() <= expected.abs() * 4.0 * f64::EPSILON, "{read} {expected}");
        }
        other => panic!("{other:?}"),
    }
}

fn check_category(read: &Feature<'_>, json: &Value) {
    match (read, json) {
        (Feature::Text(text), Value::String(expected)) => assert!(text == expected && !text.is_empty()),
        (Feature::Text(text), Value::Number(expected)) => {
            check_number(&Feature::Number(text.parse().expect("a number's text")), expected.as_f64());
        }
        (Feature::Boolean(yes), Value::Bool(expected)) => assert_eq!(yes, expected),
        (Feature::Text(text), Value::Object(_)) => assert_eq!(Some(&**text), date(json).as_deref()),
        (Feature::Missing | Feature::Cleared, Value::String(text)) => {
            assert!(text.is_empty(), "{text:?} is missing");
        }
        (Feature::Missing | Feature::Cleared, Value::Number(_) | Value::Bool(_)) => {
            panic!("{json} is missing")
        }
        (Feature::Missing | Feature::Cleared, _) => {}
        other => panic!("{other:?}"),
    }
}

/// A date of Tryton's as ISO 8601 has it.
fn date(json: &Value) -> Option<String> {
    let part = |name: &str| json[name].as_u64();
    let day = format!("{:04}-{:02}-{:02}", part("year")?, part("month")?, part("day")?);
    match json["__class__"].as_str()? {
        "date" => Some(day),
        "datetime" => {
            Some(format!("{day}T{:02}:{:02}:{:02}", part("hour")?, part("minute")?, part("second")?))
        }
        _ => None,
    }
}

fn boolean(json: &Value) -> Option<bool> {
    let of_word = |word: &str| match word {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    };
    match json {
        Value::Bool(yes) => Some(*yes),
        Value::Number(number) => of_word(&number.as_u64()?.to_string()),
        Value::String(text) => of_word(&text.trim().to_ascii_lowercase()),
        _ => None,
    }
}

fn check_id(read: Option<&str>, json: Option<&Value>) {
    match (read, json) {
        (Some(read), Some(Value::String(id))) => assert!(read == id && !id.is_empty()),
        (Some(read), Some(Value::Number(id))) => {
            check_number(&Feature::Number(read.parse().expect("a number's text")), id.as_f64());
        }
        (None, Some(Value::String(id))) => assert!(id.is_empty(), "{id:?} is no id"),
        (None, Some(Value::Number(id))) => panic!("{id} is no id"),
        (None, _) => {}
        other => panic!("{other:?}"),
    }
}

/// `p/path/to/member`, a line break, a body: the value stands at the member afterwards, and every other byte where it
/// stood. The first letter says what is written: points, score, grade, model, reasons or trend.
pub fn splice(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((target, body)) = text.split_once('\n') else { return };
    let mut chars = target.chars();
    let field = match chars.next() {
        Some('p') => Field::Points,
        Some('s') => Field::Score,
        Some('g') => Field::Grade,
        Some('m') => Field::Model,
        Some('r') => Field::Reasons,
        Some('t') => Field::Trend,
        _ => return,
    };
    let (Ok(pointer), Ok(root)) = (Pointer::parse(chars.as_str()), parse(body)) else { return };
    let mut tape = Tape::default();
    if let Err(error) = tape.scan(body) {
        panic!("{error}, and serde_json reads it");
    }
    match Doc::new(body, &tape).spot(Doc::ROOT, &pointer, None) {
        Err(_) => assert!(has_duplicates(body.as_bytes()), "no key stands twice"),
        Ok(None) => {
            let object = parent(&pointer).and_then(|object| root.pointer(&object)?.as_object());
            assert!(object.is_none(), "an object was missed");
        }
        Ok(Some(spot)) => check_splice(body, root, &pointer, spot, field),
    }
}

fn check_splice(body: &str, mut root: Value, pointer: &Pointer, spot: Spot, field: Field) {
    let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
    let score = Score::new(0.73).expect("a probability");
    let given = Given { score, grade: Grade::B, model: &model, reasons: &[], trend: Some(Trend::Steady) };
    let target = BodyTarget { at: pointer.clone(), value: field, format: Format::default() };
    let mut edits = Edits::default();
    edits.push(spot.clone(), &target, given);
    let patched = edits.apply(body.as_bytes()).expect("one edit overlaps with none");
    let patched = String::from_utf8(patched).expect("text spliced into text");

    let (before, after) = match spot {
        Spot::Replace(range) => (&body[..range.start], &body[range.end..]),
        Spot::Add { at, .. } => (&body[..at], &body[at..]),
    };
    assert!(patched.len() > before.len() + after.len(), "{patched}");
    assert!(patched.starts_with(before) && patched.ends_with(after), "{patched}");

    let written = match field {
        Field::Points => Value::from(73),
        Field::Score => serde_json::from_str("0.73").expect("a number"),
        Field::Grade => Value::from("B"),
        Field::Model => Value::from("lead/3"),
        Field::Reasons => Value::from(""),
        Field::Trend => Value::from("steady"),
    };
    let object = parent(pointer).and_then(|object| root.pointer_mut(&object)?.as_object_mut());
    let members = object.expect("a place in an object");
    let Some(Step::Key(key)) = pointer.steps.last() else { panic!("a place without a name") };
    members.insert(key.to_string(), written);
    assert_eq!(parse(&patched).expect("still JSON"), root);
    Tape::default().scan(&patched).expect("still JSON to the scanner");
}

/// Where the object stands that the pointer's last step names a member of. Without an array, `{i}` is no step.
fn parent(pointer: &Pointer) -> Option<String> {
    let (Step::Key(_), path) = pointer.steps.split_last()? else { return None };
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.replace('~', "~0").replace('/', "~1")),
        Step::Item => None,
    });
    Some(keys.map(|key| format!("/{key}")).collect())
}

static RULES: LazyLock<Recogniser> = LazyLock::new(|| {
    let text = include_str!("../tests/data/rules.yaml");
    Recogniser::new(&Config::parse(text, &|_| None).expect("the rules are valid"))
});

/// Where a body of rules' checks may go; the input's first letter counts from `a`.
const RULED: [(Method, &str); 16] = [
    (Method::POST, "/lab/rpc/"),
    (Method::POST, "/jsonrpc"),
    (Method::POST, "/services/data/v59.0/composite/sobjects"),
    (Method::POST, "/services/data/v59.0/composite"),
    (Method::GET, "/services/data/v59.0/sobjects/Lead/00Q1"),
    (Method::GET, "/services/data/v59.0/query"),
    (Method::PATCH, "/services/data/v59.0/sobjects/Opportunity/0061"),
    (Method::POST, "/crm/v3/objects/contacts/batch/create"),
    (Method::POST, "/api/data/v9.2/leads"),
    (Method::POST, "/api/data/v9.2/leads(7)/Microsoft.Dynamics.CRM.QualifyLead"),
    (Method::POST, "/api/data/v9.2/WinOpportunity"),
    (Method::POST, "/crm/v8/Leads/41/actions/convert"),
    (Method::POST, "/api/v1/Lead/action/convert"),
    (Method::PUT, "/api/v1/Opportunity/op1"),
    (Method::POST, "/events"),
    (Method::POST, "/services/data/v59.0/query/"),
];

/// No lead, outcome, alias or record beyond these, and no id that is longer.
const MOST: usize = 1_000;
const LONGEST: usize = 255;

/// A letter for the path, a request's body, a zero byte, the answer's body: what rules make of them is bounded, and a deal
/// is won where serde_json says so.
pub fn rules(data: &[u8]) {
    let Some((letter, bodies)) = data.split_first() else { return };
    let Some((method, path)) = RULED.get(usize::from(letter.wrapping_sub(b'a'))) else { return };
    let split = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len());
    let (body, answer) = bodies.split_at(split);
    let headers = HeaderMap::new();
    let head = RequestHead { method, path, headers: &headers, query: Some("q=1") };
    let Some(candidates) = RULES.candidates(head) else { return };
    let (mut scratch, mut values) = (Scratch::default(), Vec::new());
    let mut made = String::new();
    let view = match candidates.needs_body() {
        true => candidates.view(body, &mut made).ok().flatten(),
        false => Some(View::json("")),
    };
    let Some(view) = view else { return };
    let Ok(Some(route)) = RULES.read(&candidates, view, &mut scratch, &mut values) else { return };
    let ids = scratch.leads.iter().flat_map(|lead| lead.id.iter().chain(&lead.more_ids));
    let lengths: Vec<usize> = ids.map(|id| id.len()).collect();
    assert!(scratch.leads.len() <= MOST && lengths.len() <= 2 * MOST, "{} leads", scratch.leads.len());
    assert!(lengths.iter().all(|length| (1..=LONGEST).contains(length)));

    let answer = std::str::from_utf8(answer.strip_prefix(&[0]).unwrap_or_default()).unwrap_or_default();
    let mut tape = Tape::default();
    let doc = tape.scan(answer).is_ok().then(|| Doc::new(answer, &tape));
    let answer = Answer { status: StatusCode::OK, headers: &headers, doc };
    let pairs = route.pairs(&scratch.notes, answer);
    for lead in &scratch.leads {
        let Ok(item) = pairs.of(lead.item, lead.key.as_deref()) else { continue };
        assert!(!(route.accepted(answer, item) && route.is_refused(answer, item)), "accepted and refused");
        _ = route.answered_id(answer, item);
    }
    let outcomes = route.outcomes(&scratch.notes, answer);
    assert!(outcomes.len() <= MOST && outcomes.iter().all(is_bounded), "{} outcomes", outcomes.len());
    assert!(route.aliases(&scratch.notes, answer).len() <= MOST);
    assert!(route.feedback(&scratch.notes, answer).len() <= MOST);
    assert!(route.records(&scratch.notes, answer).len() <= MOST);
    if &*route.name == "espo.deal"
        && let Ok(text) = std::str::from_utf8(body)
        && let Ok(Value::Object(deal)) = parse(text)
        && !has_duplicates(body)
    {
        let is_won = |stage: &Value| stage == "Closed Won";
        let expected = deal.get("stage").filter(|stage| is_won(stage) || *stage == "Closed Lost");
        let told: Vec<bool> = outcomes.iter().map(|outcome| outcome.won).collect();
        assert_eq!(told, expected.map(is_won).into_iter().collect::<Vec<_>>(), "{deal:?}");
    }
}

fn is_bounded(outcome: &Outcome) -> bool {
    let event = outcome.event.as_deref().map_or(1, str::len);
    [outcome.lead.len(), event].iter().all(|length| (1..=LONGEST).contains(length))
        && outcome.revenue.is_none_or(f64::is_finite)
}

/// A manifest, a zero byte, weights: loaded or refused, and what is loaded is written and loaded again as it was. No
/// fuzzer finds a digest, so they are also tried with the right one.
pub fn manifest(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (manifest, weights) = data.split_at(split);
    let weights = weights.strip_prefix(&[0]).unwrap_or_default();
    check_version(manifest, weights);
    if let Ok(Value::Object(mut json)) = serde_json::from_slice(manifest) {
        json.insert("files".into(), serde_json::json!({ WEIGHTS: sha256(weights) }));
        check_version(Value::Object(json).to_string().as_bytes(), weights);
    }
}

fn check_version(manifest: &[u8], weights: &[u8]) {
    let load = |manifest: &[u8]| -> Result<Version, VersionError> {
        Version::from_parts(Path::new("lead/1"), manifest, |name| match name {
            WEIGHTS => Ok(weights.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    };
    match load(manifest) {
        Err(error) => assert!(error.to_string().starts_with("lead/1"), "{error} names no file"),
        Ok(version) => {
            let bytes = version.manifest.to_bytes().expect("it was read from JSON");
            let again = load(&bytes).expect("what was loaded loads again");
            assert_eq!(again.manifest, version.manifest);
        }
    }
}

/// Any bytes are a LightGBM model that scores, or are refused with a reason.
pub fn lightgbm(data: &[u8]) {
    check_trees(Trees::lightgbm(data, NoObjective::Identity));
    check_trees(Trees::read(data));
}

/// The same for XGBoost, as JSON and as UBJ.
pub fn xgboost(data: &[u8]) {
    check_trees(Trees::xgboost_json(data));
    check_trees(Trees::xgboost_ubj(data));
}

/// What was loaded scores a lead twice alike, one at a time as in a batch, and its predictions are what its link can say.
fn check_trees(read: Result<Trees, TreeError>) {
    let trees = match read {
        Ok(trees) => trees,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // XGBoost's files only claim how many features there are.
    if trees.features() > 1 << 12 {
        return;
    }
    let mut scratch = TreeScratch::default();
    for x in [0.0, -1.5, 1e30, f64::NAN] {
        let lead = vec![x; trees.features()];
        let mut raw = vec![0.0; trees.classes()];
        let mut batch = raw.clone();
        trees.raw(&lead, &mut scratch, &mut raw).expect("a row of the model's width");
        trees.raw_batch(&lead, &mut scratch, &mut batch).expect("a row of the model's width");
        let bits = |scores: &[f64]| scores.iter().map(|score| score.to_bits()).collect::<Vec<u64>>();
        if trees.features() > 0 {
            assert_eq!(bits(&raw), bits(&batch));
        }
        let mut leaves = vec![0; trees.trees()];
        trees.leaves(&lead, &mut scratch, &mut leaves).expect("as many as there are trees");
        let mut predicted = raw.clone();
        trees.predict(&lead, &mut scratch, &mut predicted).expect("a row of the model's width");
        let probability = matches!(trees.link(), Link::Sigmoid(_) | Link::SingleSigmoid);
        let wrong = |p: &f64| probability && !p.is_nan() && !(0.0..=1.0).contains(p);
        assert!(!predicted.iter().any(wrong), "{predicted:?} of {raw:?}");
    }
}

/// Whether a key stands twice in any object, escapes undone.
fn has_duplicates(json: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(json) else { return false };
    serde_json::from_str(without_mark(text)).is_ok_and(|Repeats(found)| found)
}

struct Repeats(bool);

impl<'de> Deserialize<'de> for Repeats {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(FindRepeats).map(Repeats)
    }
}

struct FindRepeats;

impl<'de> Visitor<'de> for FindRepeats {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let (mut keys, mut found) = (HashSet::new(), false);
        while let Some((key, Repeats(inside))) = map.next_entry::<String, Repeats>()? {
            found |= inside | !keys.insert(key);
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(Repeats(inside)) = seq.next_element()? {
            found |= inside;
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}
