//! `leadwire replay`: the log's leads with another version, from the command line.

use std::{fs, sync::Arc};

use leadwire::{
    lead::{Arm, Outcome, Value},
    leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord, Store},
    registry::{Plain, Version},
    score::Scratch,
    telemetry::now_ms,
};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{copy_folder, leadwire, shipped_model, text, write_version};

const DAY: i64 = 86_400_000;

/// The shipped version, which scored its own golden samples in the last days, and another one.
struct Scene {
    folder: TempDir,
    leads: usize,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (models, state) = (folder.path().join("models"), folder.path().join("state"));
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(&models, "2");
        let yaml = format!(
            "upstream: http://127.0.0.1:1\nmodels: {}\nstate: {}\n",
            models.display(),
            state.display()
        );
        fs::write(folder.path().join("leadwire.yaml"), yaml).unwrap();
        let entries = scores();
        let leads = entries.len() / 2;
        Store::open(&state).unwrap().write(&entries).unwrap();
        Self { folder, leads }
    }

    /// Standard output, standard error and the exit code.
    fn replay(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        let file = self.path("leadwire.yaml");
        let output = leadwire(&[&["replay", "-c", &file], arguments].concat());
        (text(&output.stdout).to_owned(), text(&output.stderr).to_owned(), output.status.code())
    }

    fn json(&self, arguments: &[&str]) -> Json {
        let (out, error, code) = self.replay(&[arguments, &["--json"]].concat());
        assert_eq!((error.as_str(), code), ("", Some(0)));
        serde_json::from_str(&out).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Every golden sample as a lead that was scored and has ended.
fn scores() -> Vec<Entry> {
    let version = Version::load(&shipped_model()).unwrap();
    let names: Arc<[Arc<str>]> =
        version.model.features().iter().map(|spec| spec.name.as_str().into()).collect();
    let (id, mut scratch) = (Arc::new(version.id.clone()), Scratch::default());
    let (mut entries, begin) = (Vec::new(), now_ms() - 20 * DAY);
    for (n, golden) in (0..).zip(&version.manifest.golden) {
        let value = |name: &Arc<str>| golden.features.get(&**name).map_or(Value::Missing, Plain::value);
        let values: Vec<Value<'_>> = names.iter().map(value).collect();
        if version.model.missing_required(|i| &values[i]).is_some() {
            continue; // on the wire it is passed on without a score
        }
        let scored = version.model.score(|i| &values[i], &mut scratch).unwrap();
        let (time_ms, lead) = (begin + n * 60_000, format!("00Q{n:015}"));
        entries.push(Entry::Score(ScoreRecord {
            time_ms,
            route: "lead.create".into(),
            lead: Some(lead.as_str().into()),
            arm: Arm::Champion,
            model: Arc::clone(&id),
            names: Arc::clone(&names),
            features: Packed::new(&values),
            score: scored.score,
            grade: scored.grade,
            latency_ns: 1,
            decision: Decision::Response,
            exposure: None,
            fell: None,
        }));
        let outcome = Outcome::new(lead, n % 3 == 0);
        entries.push(Entry::Outcome(OutcomeRecord {
            time_ms: time_ms + DAY,
            route: "lead.update".into(),
            outcome,
        }));
    }
    entries
}

#[test]
fn the_version_that_gave_the_scores_changes_nothing() {
    let scene = Scene::new();
    let told = scene.json(&["--with", "1"]);
    let leads = Json::from(scene.leads);
    assert!(scene.leads >= 8);
    assert_eq!((&told["leads"], &told["own"], &told["own_same"]), (&leads, &leads, &leads));
    assert_eq!((&told["changed_scores"], &told["changed_grades"]), (&Json::from(0), &Json::from(0)));
    assert_eq!((&told["movers"], &told["version"]), (&Json::Array(Vec::new()), &Json::from("lead/1")));
}

#[test]
fn another_version_is_told_in_text_json_and_a_page() {
    let scene = Scene::new();
    let told = scene.json(&["--with", "2", "--movers", "3", "--capacity", "2"]);
    assert_eq!(told["changed_scores"], scene.leads);
    assert_eq!((told["movers"].as_array().unwrap().len(), &told["calls"]["capacity"]), (3, &Json::from(2)));
    // The samples were scored within the horizon, so none has matured.
    assert_eq!((&told["provisional"]["leads"], &told["matured"]["leads"]), (&scene.leads.into(), &0.into()));
    let folder = scene.path("models/lead/2");
    let by_path = scene.json(&["--with", &folder, "--movers", "3", "--capacity", "2"]);
    for key in ["version", "digest", "grade_changes", "movers", "calls", "provisional"] {
        assert_eq!(by_path[key], told[key], "by its path");
    }

    let (out, error, code) = scene.replay(&["--with", "2"]);
    assert_eq!((error.as_str(), code), ("", Some(0)));
    let first = format!("lead/2 on {} leads of lead, ", scene.leads);
    assert!(out.starts_with(&first), "{out}");
    assert!(out.contains(" leads change grade (") && out.contains("leads that move most\n"), "{out}");

    let page = scene.path("page.html");
    assert_eq!(scene.replay(&["--with", "2", "--html", &page]), (String::new(), String::new(), Some(0)));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("leads change grade"));
}

#[test]
fn what_cannot_be_replayed_says_so_with_the_right_exit_code() {
    let scene = Scene::new();
    let check = |arguments: &[&str], code: i32, said: &str| {
        let (out, error, exit) = scene.replay(arguments);
        assert_eq!((out.as_str(), exit), ("", Some(code)), "{error}");
        assert!(error.contains(said), "{error}");
    };
    check(&["--with", "7"], 1, "error: no version \"7\" in ");
    check(&["--with", "1", "--until", "2d", "--since", "3d"], 1, "holds no score of \"lead\" in that time");
    check(&["--with", "1", "--since", "soon"], 2, "expected 30d, 12h, 2026-11-22 or 2026-11-22T08:03:00Z");
    check(&["--with", "1", "--html", &scene.path("absent/page.html")], 1, "absent/page.html");
    check(&[], 2, "--with <VERSION>");
    fs::remove_dir_all(scene.path("state")).unwrap();
    check(&["--with", "1"], 1, "error: lead log: unable to open database file");
    fs::write(scene.path("leadwire.yaml"), "upstrem: x\n").unwrap();
    check(&["--with", "1"], 2, "upstream");
}
