//! Real leads: the replay's events pass through the sidecar to a stand-in CRM.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use leadwire::{
    lead::Value,
    leadlog::{Days, Horizon, Store, Tally},
    registry::Version,
    score::{Encoding, Scratch},
    stats,
};
use serde_json::{Value as Json, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    goldens, scoring,
    support::{Running, Upstream, answer, created, shipped_model, wait},
};

const EVENTS: usize = 2_000;

#[derive(serde::Deserialize)]
struct Line {
    body: Box<serde_json::value::RawValue>,
}

/// All events, parsed, each with its body as it stands in the file: nothing here tidies it up.
pub fn events() -> Option<Vec<(Json, String)>> {
    let path = goldens::path("replay/events.jsonl.gz")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(std::fs::File::open(path).unwrap()), &mut text)
        .unwrap();
    let body = |line: &str| serde_json::from_str::<Line>(line).unwrap().body.get().to_owned();
    Some(text.lines().map(|line| (serde_json::from_str::<Json>(line).unwrap(), body(line))).collect())
}

#[test]
fn every_lead_of_the_replay_is_scored_once_as_the_library_scores_it() {
    let Some(events) = events() else { return };
    let events: Vec<(Json, String)> = events.into_iter().take(EVENTS).collect();

    // The CRM gives each lead the id it has in the replay; the events come one at a time.
    let ids: Vec<String> =
        events.iter().map(|(event, _)| event["lead_id"].as_str().unwrap().to_owned()).collect();
    let creates: Vec<String> = events
        .iter()
        .zip(&ids)
        .filter(|((event, _), _)| event["type"] == "lead.created")
        .map(|(_, id)| id.clone())
        .collect();
    let given = Mutex::new(creates.clone().into_iter());
    let upstream = Upstream::start(move |request| match request.start.starts_with("POST") {
        true => created(&given.lock().unwrap().next().unwrap()),
        false => answer("204 No Content", &[], ""),
    });
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    let mut scores = BTreeMap::new();
    for ((event, body), id) in events.iter().zip(&ids) {
        let (method, path) = (event["method"].as_str().unwrap(), event["path"].as_str().unwrap());
        let reply = client.exchange(method, path, &[("Content-Type", "application/json")], body.as_bytes());
        if event["type"] == "lead.created" {
            assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
            scores.insert(id.clone(), reply.header("x-lead-score").unwrap().parse::<u8>().unwrap());
        } else {
            assert_eq!((reply.status(), reply.header("leadwire")), (204, Some("skipped;reason=features")));
        }
    }

    let requests = upstream.requests();
    assert_eq!(requests.len(), EVENTS);
    for ((_, body), request) in events.iter().zip(&requests) {
        assert_eq!(request.text(), body, "every byte is as sent");
    }
    assert_eq!(scores.len(), creates.len());
    let (store, _folder) = sidecar.stop();
    assert_eq!(store.score_count().unwrap() as usize, creates.len(), "the lead log holds them all");
    let library = Library::new();
    for ((event, _), id) in events.iter().zip(&ids).filter(|((event, _), _)| event["type"] == "lead.created")
    {
        let [row] = store.scores_of(id).unwrap().try_into().unwrap();
        let (expected, grade) = library.score(&event["body"]);
        assert_eq!((row.score as f32, row.grade.as_str()), (expected, grade.as_str()), "{id}");
        assert_eq!(scores[id], (expected * 100.0).round() as u8);
    }
    let outcomes = events.iter().zip(&ids).filter(|((event, _), _)| event["type"] == "lead.outcome");
    for ((event, _), id) in outcomes {
        let outcome = store.outcome_of(id).unwrap().unwrap_or_else(|| panic!("{event}"));
        assert_eq!(outcome.route, "lead.update");
    }
}

/// Routes whose outcomes say in headers which event of which revision they are, and when it happened.
const ROUTES: &str = r#"
  - name: lead.create
    method: [POST]
    path: /services/data/{version}/sobjects/Lead
    id: {from: response, at: /id}
    action: create
  - name: lead.update
    method: [PATCH]
    path: /services/data/{version}/sobjects/Lead/{id}
    id: {from: "path:id"}
    action: update
outcomes:
  - &told {route: lead.update, when: [{at: /IsConverted, eq: true}], label: 1, event: "header:X-Event", revision: "header:X-Revision", time: "header:X-Time"}
  - {route: lead.update, when: [{at: /IsConverted, eq: false}], label: 0, event: "header:X-Event", revision: "header:X-Revision", time: "header:X-Time"}
"#;

/// Every checkpoint of the whole replay: late, doubled, corrected and out-of-order outcomes end in the right labels.
#[test]
fn the_whole_replay_ends_with_the_expected_labels_and_metrics() {
    let (Some(events), Some(expected)) = (events(), goldens::json("replay/expected.json")) else { return };
    let given = Arc::<Mutex<String>>::default();
    let next = given.clone();
    let upstream = Upstream::start(move |request| match request.start.starts_with("POST") {
        true => created(&next.lock().unwrap()),
        false => answer("204 No Content", &[], ""),
    });
    let config = library_features(&scoring::config(&ROUTES.replace("&told ", "")));
    let sidecar = Running::with(upstream.address, &config, library_version);
    let log = || rusqlite::Connection::open(sidecar.folder.path().join("state/leads.sqlite")).unwrap();
    let mut client = sidecar.client();
    let (mut created, mut outcomes) = (BTreeMap::new(), HashSet::new());
    let mut events = events.into_iter().peekable();
    for checkpoint in expected["checkpoints"].as_array().unwrap() {
        let at = checkpoint["at"].as_str().unwrap();
        while let Some((event, body)) = events.next_if(|(event, _)| event["t"].as_str().unwrap() <= at) {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            *given.lock().unwrap() = text("lead_id");
            let revision = event["revision"].to_string();
            let mut headers = vec![("Content-Type", "application/json")];
            let (id, time) = (text("event_id"), text("outcome_time"));
            if event["type"] == "lead.outcome" {
                headers.extend([("X-Event", &*id), ("X-Revision", &*revision), ("X-Time", &*time)]);
                outcomes.insert((text("lead_id"), id.clone()));
            } else {
                created.insert(text("lead_id"), millis(&text("t")));
            }
            let reply = client.exchange(&text("method"), &text("path"), &headers, body.as_bytes());
            assert!(reply.status() < 300, "{event}");
        }
        let count = |table: &str| {
            let query = format!("SELECT count(*) FROM {table}");
            log().query_row(&query, [], |row| row.get::<_, u32>(0)).unwrap_or(0) as usize
        };
        wait("the lead log", || count("scores") == created.len() && count("outcomes") == outcomes.len());
        check(&log(), created.len(), checkpoint);
    }
    assert_eq!(events.next(), None);
    let (store, folder) = sidecar.stop();
    drop(store);
    let state = folder.path().join("state");
    back_in_time(&state, &created);
    let last = expected["checkpoints"].as_array().unwrap().last().unwrap();
    check_sketches(&state, last);
    check_report(&state, last);
}

/// Gives every score and outcome the time it had in the replay, and has them counted anew.
fn back_in_time(state: &Path, created: &BTreeMap<String, i64>) {
    let log = rusqlite::Connection::open(state.join(Store::FILE)).unwrap();
    log.execute_batch("BEGIN").unwrap();
    let mut score = log.prepare("UPDATE scores SET time_ms = ?2 WHERE lead = ?1").unwrap();
    created.iter().for_each(|(lead, time_ms)| assert_eq!(score.execute((lead, time_ms)).unwrap(), 1));
    log.execute_batch(
        "UPDATE outcomes SET time_ms = occurred_ms;
         DELETE FROM counted; DELETE FROM counted_to; DELETE FROM sketches; DELETE FROM recount; COMMIT",
    )
    .unwrap();
}

/// The sketches of all days, merged, say what the rows say.
fn check_sketches(state: &Path, expected: &Json) {
    // A thousand years: the checkpoints know no horizon.
    let horizon = Horizon { ms: 1_000 * 365 * 86_400_000, now_ms: i64::MAX };
    let mut store = Store::open(state).unwrap();
    while !store.count(1_000, horizon.ms).unwrap().done {}
    let days = Days { model: "lead", version: None, from: i64::MIN, to: i64::MAX };
    let cohorts = store.cohorts_of(&days, horizon).unwrap();
    assert!(cohorts.len() > 400, "{} days", cohorts.len());
    let mut tally = Tally::default();
    cohorts.iter().for_each(|day| tally.merge(&day.tally));
    let total = tally.total();
    let counts =
        json!([total.scored, total.won + total.lost, total.scored - total.won - total.lost, total.won]);
    let keys = ["leads", "with_outcome", "pending", "positives"];
    assert_eq!(counts, json!(keys.map(|key| &expected[key])));
    let known = tally.known();
    let (auc, bound) = known.auc().unwrap();
    let number = |key: &str| expected[key].as_f64().unwrap();
    assert!((auc - number("auc_known")).abs() <= bound && bound < 0.01, "{auc} {bound}");
    assert!((known.brier() - number("brier_known")).abs() < 1e-6);
    let mean = (known.positive_sum + known.negative_sum) / known.leads() as f64;
    assert!((mean - number("mean_score_known")).abs() < 1e-6);
}

/// The command line says the same.
fn check_report(state: &Path, expected: &Json) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.args(["report", "--json", "--since", "2008-01-01", "--by", "month", "--state"]).arg(state);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let [model] = &report["models"].as_array().unwrap()[..] else { panic!("{report}") };
    let matured = &model["matured"];
    // A thousand years from then are not over.
    assert_eq!((&model["provisional"]["leads"], matured), (&expected["leads"], &Json::Null));
    assert_eq!(model["provisional"]["conversions"], expected["positives"]);
    assert_eq!(model["provisional"]["known"], expected["with_outcome"]);
    assert!(model["notices"][0].as_str().unwrap().starts_with("No day has matured yet"));
}

fn millis(text: &str) -> i64 {
    let time = OffsetDateTime::parse(text, &Rfc3339).unwrap();
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap()
}

/// What the log says at a checkpoint.
fn check(log: &rusqlite::Connection, leads: usize, expected: &Json) {
    let mut query = log.prepare("SELECT score, won FROM labelled_scores").unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, f64>(0)?, row.get::<_, bool>(1)?))).unwrap();
    let (scores, won): (Vec<f64>, Vec<bool>) = rows.map(Result::unwrap).unzip();
    let positives = won.iter().filter(|won| **won).count();
    let counts = json!([leads, won.len(), leads - won.len(), positives]);
    let keys = ["leads", "with_outcome", "pending", "positives"];
    assert_eq!(counts, json!(keys.map(|key| &expected[key])), "{expected}");
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let got = [stats::auc(&scores, &won).unwrap(), stats::brier(&scores, &won), mean];
    for (got, key) in got.into_iter().zip(["auc_known", "brier_known", "mean_score_known"]) {
        // Scores are recorded as f32.
        assert!((got - expected[key].as_f64().unwrap()).abs() < 1e-6, "{key}: {got}, {expected}");
    }
}

/// The library's columns have no names of their own.
fn library_features(config: &str) -> String {
    let bank = bank();
    let mut config = config.to_owned();
    for (index, name) in bank["features"].as_array().unwrap().iter().enumerate() {
        config = config.replace(&format!("\n  {}:", name.as_str().unwrap()), &format!("\n  f{index}:"));
    }
    config
}

fn bank() -> Json {
    goldens::json("goldens/encoders.json").unwrap()["bank"].take()
}

/// The golden LightGBM model as version 1, imported.
fn library_version(models: &Path) {
    let bank = bank();
    let names: Vec<&str> =
        bank["features"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let feature = |(index, name): (usize, &&str)| match &bank["categorical_vocab"][*name] {
        Json::Null => json!({"name": format!("f{index}"), "type": "number"}),
        words => json!({"name": format!("f{index}"), "type": "category", "vocabulary": words}),
    };
    let features: Vec<Json> = names.iter().enumerate().map(feature).collect();
    let folder = models.parent().unwrap();
    let (schema, sample) = (folder.join("schema.json"), folder.join("sample.csv"));
    std::fs::write(&schema, json!({"features": features}).to_string()).unwrap();
    let mut rows = (0..names.len()).map(|index| format!("f{index}")).collect::<Vec<_>>().join(",");
    let mut reader = csv::Reader::from_path(goldens::path("data/bank/valid.csv").unwrap()).unwrap();
    let header = reader.headers().unwrap().clone();
    let place = |name: &&str| header.iter().position(|column| column == *name).unwrap();
    let places: Vec<usize> = names.iter().map(place).collect();
    for row in reader.records().take(500) {
        let row = row.unwrap();
        let cells: Vec<&str> = places.iter().map(|place| &row[*place]).collect();
        write!(rows, "\n{}", cells.join(",")).unwrap();
    }
    std::fs::write(&sample, rows).unwrap();
    let file = goldens::path("goldens/models/lgb_bank_cat.txt").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.arg("import").arg(file).arg("--sample").arg(sample).arg("--schema").arg(schema);
    let output = command.arg("--out").arg(models.join("lead")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The shipped model, fed from the parsed event: another way to the features than the recogniser's.
struct Library(Version);

impl Library {
    fn new() -> Self {
        Self(Version::load(&shipped_model()).unwrap())
    }

    fn score(&self, body: &Json) -> (f32, String) {
        let model = &self.0.model;
        let field = |name: &str| &body[format!("{}__c", name.replace('.', "_"))];
        let value = |feature: &leadwire::score::FeatureSpec| match feature.encoding {
            Encoding::Number { .. } | Encoding::Piecewise { .. } => {
                Value::Number(field(&feature.name).as_f64().unwrap())
            }
            _ => Value::Text(field(&feature.name).as_str().unwrap().to_owned().into()),
        };
        let values: Vec<Value<'_>> = model.features().iter().map(value).collect();
        let scored = model.score(|i| &values[i], &mut Scratch::default()).unwrap();
        (scored.score.probability(), scored.grade.to_string())
    }
}
