//! Real leads: the replay's events pass through the sidecar to a stand-in CRM.

use std::collections::BTreeMap;

use flate2::read::GzDecoder;
use leadwire::{
    lead::Value,
    registry::Version,
    score::{Encoding, Scratch},
};
use serde_json::Value as Json;

use crate::{
    goldens,
    support::{Running, Upstream, answer, created, shipped_model},
};

const EVENTS: usize = 2_000;

#[derive(serde::Deserialize)]
struct Line {
    body: Box<serde_json::value::RawValue>,
}

#[test]
fn every_lead_of_the_replay_is_scored_once_as_the_library_scores_it() {
    let Some(path) = goldens::path("replay/events.jsonl.gz") else { return };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(std::fs::File::open(path).unwrap()), &mut text)
        .unwrap();
    // A raw value is sent as it stands in the file, so that nothing here tidies it up.
    let body = |line: &str| serde_json::from_str::<Line>(line).unwrap().body.get().to_owned();
    let events = text.lines().map(|line| (serde_json::from_str::<Json>(line).unwrap(), body(line)));
    let events: Vec<(Json, String)> = events.take(EVENTS).collect();

    // The CRM gives each lead the id it has in the replay; the events come one at a time.
    let ids: Vec<String> =
        events.iter().map(|(event, _)| event["lead_id"].as_str().unwrap().to_owned()).collect();
    let creates: Vec<String> = events
        .iter()
        .zip(&ids)
        .filter(|((event, _), _)| event["type"] == "lead.created")
        .map(|(_, id)| id.clone())
        .collect();
    let given = std::sync::Mutex::new(creates.clone().into_iter());
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
            Encoding::Number { .. } => Value::Number(field(&feature.name).as_f64().unwrap()),
            _ => Value::Text(field(&feature.name).as_str().unwrap().to_owned().into()),
        };
        let values: Vec<Value<'_>> = model.features().iter().map(value).collect();
        let scored = model.score(|i| &values[i], &mut Scratch::default()).unwrap();
        (scored.score.probability(), scored.grade.to_string())
    }
}
