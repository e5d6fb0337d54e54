//! `leadwire retrain`: leads become a version that has met the champion, whatever happens on the way.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use leadwire::{
    app,
    config::Config,
    lead::{Arm, Grade, ModelId, Outcome, Score, Value},
    leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord, Store},
    ledger,
    registry::{Deployment, Trust, Version},
    stats,
    train::{
        GatePolicy, Progress, RetrainOptions, RetrainReport,
        retrain::{self, Hands, Job, Recorded, RetrainError, Stand},
    },
};

use crate::support::{leadwire, text};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: RetrainOptions,
}

const CONFIG: &str = "
listen: 127.0.0.1:0
upstream: http://127.0.0.1:1
admin: 127.0.0.1:0
models: MODELS
state: STATE
features:
  budget: {from: [/budget], type: number}
  size: {from: [/size], type: number}
  channel: {from: [/channel], type: category}
routes: []
";

const HOUR: i64 = 3_600_000;
/// 2026-11-02.
const NOW: i64 = 1_793_577_600_000;

/// A place with leads of two ages: in old ones the budget tells who converts, in new ones the size.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        fs::write(place.path("old.csv"), leads(0, 3000, false)).unwrap();
        fs::write(place.path("new.csv"), leads(3000, 4000, true)).unwrap();
        // As the old ones, a little later.
        fs::write(place.path("same.csv"), leads(3000, 4000, false)).unwrap();
        let named = |name: &str| place.path(name).display().to_string();
        let config = CONFIG.replace("MODELS", &named("models")).replace("STATE", &named("state"));
        fs::write(place.path("leadwire.yaml"), config).unwrap();
        place
    }

    /// With a champion that was trained on the old leads.
    fn with_champion() -> Self {
        let place = Self::new();
        place.train_champion();
        place
    }

    fn train_champion(&self) {
        let out = self.path("models/lead").display().to_string();
        let data = self.path("old.csv").display().to_string();
        let line =
            ["train", "--data", &data, "--target", "won", "--time", "day", "--kind", "linear", "--out", &out];
        let trained = leadwire(&line);
        assert!(trained.status.success(), "{}", text(&trained.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn line(&self, data: &str, more: &[&str]) -> Vec<String> {
        let named = |name: &str| self.path(name).display().to_string();
        let (data, config) = (named(data), named("leadwire.yaml"));
        let line =
            ["lead", "-c", &config, "--data", &data, "--target", "won", "--time", "day", "--kind", "linear"];
        let trials: &[&str] = if more.contains(&"--trials") { &[] } else { &["--trials", "0"] };
        line.iter().chain(trials).chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn run(&self, data: &str, more: &[&str]) -> Output {
        let line = self.line(data, more);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        leadwire(&[&["retrain", "--who", "jo"], line.as_slice()].concat())
    }

    fn options(&self, data: &str, more: &[&str]) -> RetrainOptions {
        Line::parse_from(["retrain".to_owned()].into_iter().chain(self.line(data, more))).options
    }

    fn config(&self) -> Config {
        Config::load(&self.path("leadwire.yaml")).unwrap()
    }

    fn spawn(&self, data: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
        command.args(["retrain", "--who", "jo"]).args(self.line(data, &[]));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Versions must be signed from now on; signs one with the key's file.
    fn signed(&self) -> impl Fn(&str) {
        let [key, models] = ["key.pem", "models"].map(|name| self.path(name).display().to_string());
        let public = leadwire(&["models", "keygen", "--out", &key]);
        let line = format!("{}model_keys: [{}]\n", CONFIG.trim_start(), text(&public.stdout).trim());
        let placed =
            line.replace("MODELS", &models).replace("STATE", &self.path("state").display().to_string());
        fs::write(self.path("leadwire.yaml"), placed).unwrap();
        move |version| {
            let done = leadwire(&["models", "--models", &models, "sign", version, "--key", &key]);
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
    }

    /// What the ledger holds, as `kind version`.
    fn told(&self) -> Vec<String> {
        let records = ledger::read(&self.path("state")).unwrap();
        let told = |record: &ledger::Record| {
            let to = record.fields.get("to").and_then(|field| field.text()).map(|to| format!(" {to}"));
            let version = record.version.clone().map(|version| format!(" {version}"));
            format!("{}{}{}", record.kind.as_str(), version.unwrap_or_default(), to.unwrap_or_default())
        };
        records.iter().map(told).collect()
    }

    fn slots(&self) -> Deployment {
        Deployment::read(&self.path("models/lead")).unwrap().unwrap()
    }

    fn versions(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("models/lead"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            // What a kill left of a folder on its way is hidden, and nobody looks at it.
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

/// Leads day by day, a dozen each.
fn leads(from: u32, count: u32, is_new: bool) -> String {
    let mut csv = "day,budget,size,channel,won\n".to_owned();
    for i in from..from + count {
        let (budget, size, web) = (noise(i, 1), noise(i, 2), noise(i, 3).is_multiple_of(3));
        let telling = if is_new { size } else { budget };
        let won = telling + noise(i, 4) > 120;
        let channel = if web { "web" } else { "phone" };
        writeln!(csv, "{},{budget},{size},{channel},{}", i / 12, u8::from(won)).unwrap();
    }
    csv
}

/// 0 to 99, by the finisher of MurmurHash3.
fn noise(row: u32, salt: u32) -> u32 {
    let mut hash = row.wrapping_mul(8).wrapping_add(salt);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    (hash ^ hash >> 16) % 100
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.path().display().to_string();
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => _ = found.insert(name, fs::read(entry.path()).unwrap()),
        }
    }
    found
}

#[test]
fn what_is_better_is_registered_and_scores_along() {
    let place = Place::with_champion();
    let done = place.run("new.csv", &["--why", "sales changed"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    assert!(text(&done.stdout).ends_with("lead/2 is a shadow\n"), "{}", text(&done.stdout));
    let slots = place.slots();
    assert_eq!((&*slots.champion, slots.shadows.len(), &*slots.shadows[0]), ("1", 1, "2"));
    assert_eq!(
        place.told(),
        [
            "retrain.requested",
            "retrain.started",
            "model.registered 1",
            "state.changed 1 production",
            "model.registered 2",
            "gate.passed 2",
            "state.changed 2 validated",
            "shadow.started 2",
            "state.changed 2 shadow",
        ]
    );
    let records = ledger::read(&place.path("state")).unwrap();
    let gate = records.iter().find(|record| record.kind.as_str() == "gate.passed").unwrap();
    assert_eq!((gate.actor.as_str(), gate.fields["reason"].text()), ("jo", Some("sales changed")));
    assert!(gate.fields["quality_gain_e6"].integer().unwrap() > 20_000, "{gate:?}");
    let folder = place.path("models/lead/2");
    let version = Version::load(&folder).unwrap();
    let verdict = version.manifest.gate.unwrap();
    assert!(verdict.passed && verdict.champion == "1" && verdict.positives >= 150, "{verdict:?}");
    assert!(!version.manifest.segments.is_empty());
    let card = fs::read_to_string(folder.join("model-card.md")).unwrap();
    for part in [
        "# lead/2",
        "## Data",
        "## Quality",
        "## Lift",
        "## What moves the score",
        "## Segments",
        "## The gate",
        "## Limits",
    ] {
        assert!(card.contains(part), "{part} in {card}");
    }
    let newest = "## Quality\n\nOn 796 newest leads, which neither it nor its calibration saw.";
    assert!(card.contains(newest) && card.contains("## Segments\n\nOn the same newest leads.\n"), "{card}");
    let on = version.manifest.judged_on.unwrap();
    assert_eq!((&*on.metrics, &*on.segments), ("validation rows", "newest rows"));
    assert!(!card.contains(place.folder.path().to_str().unwrap()), "no path of this machine");
    assert!(fs::read_to_string(folder.join("reliability.svg")).unwrap().starts_with("<svg"));
    assert!(!place.path("state/retrain/lead/steps.json").exists());
    // While it is on trial, another must wait.
    let waits = place.run("same.csv", &[]);
    assert_eq!(waits.status.code(), Some(1));
    assert!(text(&waits.stderr).contains("lead waits: version 2 is a shadow"), "{}", text(&waits.stderr));
    assert_eq!(place.versions(), ["1", "2"]);
}

#[test]
fn what_is_no_better_is_rejected_and_never_serves() {
    let place = Place::with_champion();
    let done = place.run("same.csv", &["--json"]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["passed"], &report["id"]), (&false.into(), &"lead/2".into()));
    let told = place.told();
    assert_eq!(told[4..], ["model.registered 2", "gate.failed 2", "state.changed 2 rejected"]);
    let slots = place.slots();
    assert_eq!((&*slots.champion, slots.shadows.len()), ("1", 0));
    assert!(!Version::load(&place.path("models/lead/2")).unwrap().manifest.gate.unwrap().passed);
    // As good as it is enough where a person says so, who hears that it is another try.
    let nobody = place.run("same.csv", &["--mode", "not-worse"]);
    assert!(text(&nobody.stderr).contains("a person's decision"), "{}", text(&nobody.stderr));
    let done = place.run("same.csv", &["--mode", "not-worse", "--why", "a refresh"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    assert_eq!(&*place.slots().shadows[0], "3");
    let again = "  note: this is comparison 2 on these very leads: of 2 versions that are worse by 0.005";
    assert!(text(&done.stdout).contains(again), "{}", text(&done.stdout));
    let records = ledger::read(&place.path("state")).unwrap();
    let counted: Vec<_> =
        records.iter().filter_map(|record| record.fields.get("comparisons")?.integer()).collect();
    assert_eq!(counted, [1, 2]);
}

/// The champion was fitted and calibrated on leads up to day 199.
#[test]
fn leads_that_the_champion_knows_are_left_out_or_told_of() {
    let place = Place::with_champion();
    let check = |from, count, rows: u64, seen: Option<u64>, note: &str| {
        fs::write(place.path("some.csv"), leads(from, count, false)).unwrap();
        let done = place.run("some.csv", &["--dry-run", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let gate = &report["gate"];
        assert_eq!((gate["rows"].as_u64(), gate["holdout"]["seen"].as_u64()), (Some(rows), seen), "{gate}");
        let told = gate["holdout"]["notes"][0].as_str().unwrap_or_default();
        assert!(told.starts_with(note) && told.is_empty() == note.is_empty(), "{told}");
    };
    check(1000, 4000, 800, Some(0), "");
    check(0, 2940, 540, Some(0), "540 of the 588 newest leads are newer");
    check(
        0,
        2700,
        540,
        Some(240),
        "version 1 was fitted or calibrated on leads up to 199: on 240 of these 540",
    );
    let done = place.run("some.csv", &[]);
    let note = "  note: version 1 was fitted or calibrated on leads up to 199";
    assert!(text(&done.stdout).contains(note), "{}", text(&done.stdout));
    let records = ledger::read(&place.path("state")).unwrap();
    let gate = records.iter().find(|record| record.kind.as_str() == "gate.failed").unwrap();
    assert_eq!(gate.fields["seen"].integer(), Some(240));
    assert!(gate.fields["notes"].text().unwrap().starts_with(note.trim_start_matches("  note: ")));
    let version = Version::load(&place.path("models/lead/2")).unwrap();
    assert_eq!(version.manifest.gate.unwrap().holdout.unwrap().seen, Some(240));
    assert_eq!(version.manifest.lineage.snapshot.unwrap().seen_until.as_deref(), Some("179"));
    let card = fs::read_to_string(place.path("models/lead/2/model-card.md")).unwrap();
    assert!(card.contains("Note: version 1 was fitted or calibrated on leads up to 199"), "{card}");
}

/// Leads of whom the budget and one channel tell who converts; `seen` is what the table has of them, by their place in it.
fn told_by_channel(from: u32, count: u32, seen: impl Fn(u32, u32, bool) -> (u32, bool)) -> String {
    let mut csv = "day,budget,size,channel,won\n".to_owned();
    for i in from..from + count {
        let (budget, is_fair) = seen(i - from, noise(i, 1), noise(i, 3).is_multiple_of(3));
        let channel = if is_fair { "fair" } else { ["web", "phone"][(i % 2) as usize] };
        let won = budget + noise(i, 4) > 120 || (is_fair && noise(i, 5) < 70);
        writeln!(csv, "{},{budget},{},{channel},{}", i / 12, noise(i, 2), u8::from(won)).unwrap();
    }
    csv
}

impl Place {
    /// The AUC of the champion's scores on the last rows of a table, as `leadwire score` gives them.
    fn served(&self, csv: &str, rows: usize) -> f64 {
        let (header, leads) = csv.split_once('\n').unwrap();
        let leads: Vec<&str> = leads.lines().collect();
        let leads = &leads[leads.len() - rows..];
        let (file, models) = (self.path("newest.csv"), self.path("models").display().to_string());
        fs::write(&file, [&[header], leads].concat().join("\n") + "\n").unwrap();
        let file = file.display().to_string();
        let line = ["score", "--model", "lead", "--models", &models, "--version", "1", "--input", &file];
        let done = leadwire(&line);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let scored = text(&done.stdout);
        let place = scored.lines().next().unwrap().split(',').position(|name| name == "score").unwrap();
        let scores = scored.lines().skip(1).map(|line| line.split(',').nth(place).unwrap().parse().unwrap());
        let labels: Vec<bool> = leads.iter().map(|lead| lead.ends_with(",1")).collect();
        stats::auc(&scores.collect::<Vec<f64>>(), &labels).unwrap()
    }
}

/// What the new leads train is nothing to the champion: it reads a column that was constant there, a word that was rare,
/// or what training was told to leave out.
#[test]
fn the_champion_is_judged_as_it_is_served() {
    let place = Place::new();
    fs::write(place.path("old.csv"), told_by_channel(0, 3000, |_, budget, is_fair| (budget, is_fair)))
        .unwrap();
    place.train_champion();
    const OLD: u32 = 3204;
    let constant =
        told_by_channel(3000, 4000, |at, budget, is_fair| (if at < OLD { 50 } else { budget }, is_fair));
    let rare = told_by_channel(3000, 4000, |at, budget, is_fair| (budget, is_fair && at >= OLD));
    let plain = told_by_channel(3000, 4000, |_, budget, is_fair| (budget, is_fair));
    for (csv, more, left_out) in [
        (constant, &[][..], "left out: `budget` is always the same"),
        (rare, &[], ""),
        (plain, &["--drop", "budget,channel"], ""),
    ] {
        fs::write(place.path("some.csv"), &csv).unwrap();
        let done = place.run("some.csv", &[&["--dry-run"], more].concat());
        assert!(text(&done.stdout).contains(left_out), "{}{}", text(&done.stdout), text(&done.stderr));
        let done = place.run("some.csv", &[&["--dry-run", "--json"], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let gate = &report["gate"];
        assert_eq!((&gate["passed"], gate["holdout"].get("notes")), (&false.into(), None), "{gate}");
        let checks = gate["checks"].as_array().unwrap();
        let quality = checks.iter().find(|check| check["name"] == "quality").unwrap();
        let champion = quality["numbers"]["champion_auc"].as_f64().unwrap();
        let served = place.served(&csv, usize::try_from(gate["rows"].as_u64().unwrap()).unwrap());
        assert!((champion - served).abs() < 1e-9 && champion > 0.8, "{champion} {served} {more:?}");
    }
}

#[test]
fn a_champion_without_its_columns_is_no_champion_to_compare_with() {
    let place = Place::with_champion();
    let new = fs::read_to_string(place.path("new.csv")).unwrap();
    let without: String = new
        .lines()
        .map(|line| line.split(',').enumerate().filter(|(at, _)| *at != 1 && *at != 3))
        .map(|cells| cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    fs::write(place.path("some.csv"), without).unwrap();
    let done = place.run("some.csv", &[]);
    let told = "error: version 1 reads budget, channel, which these leads do not have";
    assert!(done.status.code() == Some(1) && text(&done.stderr).contains(told), "{}", text(&done.stderr));
    assert!(!text(&done.stderr).contains("fitting"), "{}", text(&done.stderr));
    assert_eq!(
        (place.versions(), place.told().last().unwrap().as_str()),
        (vec!["1".to_owned()], "retrain.failed")
    );
    // Where somebody knows better it goes on, and whoever looks later is told.
    let done = place.run("some.csv", &["--force"]);
    let note = "  note: version 1 reads budget, channel, which these leads do not have: it is scored without";
    assert!(text(&done.stdout).contains(note), "{}{}", text(&done.stdout), text(&done.stderr));
    let gate = Version::load(&place.path("models/lead/2")).unwrap().manifest.gate.unwrap();
    assert!(note.ends_with(gate.holdout.unwrap().notes[0].split_once(", and").unwrap().0), "on record");
}

#[test]
fn the_number_of_a_version_that_is_gone_is_not_used_again() {
    let place = Place::with_champion();
    assert_eq!(place.run("same.csv", &[]).status.code(), Some(1));
    fs::remove_dir_all(place.path("models/lead/2")).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let done = place.run("new.csv", more);
        assert!(text(&done.stdout).contains("\nlead/3 "), "{}{}", text(&done.stdout), text(&done.stderr));
    }
    assert_eq!(place.versions(), ["1", "3"]);
}

#[test]
fn what_the_gate_asks_for_is_the_configurations() {
    let place = Place::with_champion();
    let file = place.path("leadwire.yaml");
    let asked = "rollout: {p99: 1ms, training: {gain: 0.01, alpha: 0.02, margin: 0.9, slowdown: 3}}\n";
    let base = fs::read_to_string(&file).unwrap();
    fs::write(&file, base.clone() + asked).unwrap();
    let done = place.run("new.csv", &[]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("rollout.training.margin: must be"), "{}", text(&done.stderr));
    fs::write(&file, base + &asked.replace("margin: 0.9", "margin: 0.1")).unwrap();
    let check = |more: &[&str], expected: &str| {
        let done = place.run("new.csv", &[&["--dry-run"], more].concat());
        assert!(text(&done.stdout).contains(expected), "{}{}", text(&done.stdout), text(&done.stderr));
    };
    check(&[], "asked for is at least +0.010 with p below 0.02");
    check(&[], "allowed are 3 times as long, or 1ms");
    check(&["--mode", "not-worse", "--why", "a refresh"], "asked for is the interval above -0.100");
}

#[test]
fn versions_go_where_the_configuration_says() {
    let place = Place::with_champion();
    let out = place.path("elsewhere/lead").display().to_string();
    let done = place.run("new.csv", &["--out", &out]);
    assert_eq!(done.status.code(), Some(2));
    let told = "for '--out <FOLDER>': versions go where `models` of the configuration says";
    assert!(text(&done.stderr).contains(told), "{}", text(&done.stderr));
    assert!(!text(&leadwire(&["retrain", "--help"]).stdout).contains("--out"));
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let place = Place::with_champion();
    let before = files(place.folder.path());
    let done = place.run("new.csv", &["--dry-run"]);
    assert!(text(&done.stdout).ends_with("lead/2 would be a shadow\n"), "{}", text(&done.stderr));
    assert!(files(place.folder.path()) == before);
}

#[test]
fn the_first_version_serves() {
    let place = Place::new();
    let done = place.run("old.csv", &[]);
    assert!(
        text(&done.stdout).ends_with("lead/1 is the first version, and serves\n"),
        "{}",
        text(&done.stderr)
    );
    assert_eq!(&*place.slots().champion, "1");
    let again = place.run("old.csv", &[]);
    assert!(text(&again.stderr).contains("nothing is new: version 1"), "{}", text(&again.stderr));
    assert_eq!(place.told().last().unwrap(), "retrain.failed");
}

#[test]
fn what_cannot_be_judged_is_refused_with_its_reason() {
    let place = Place::with_champion();
    let config = place.path("leadwire.yaml").display().to_string();
    let data = place.path("new.csv").display().to_string();
    let line = ["retrain", "lead", "-c", &config, "--data", &data, "--target", "won", "--kind", "linear"];
    let done = leadwire(&line);
    assert!(
        text(&done.stderr).contains("name the column of their time with --time, and leave --valid out"),
        "{}",
        text(&done.stderr)
    );
    fs::write(place.path("models/lead/1/weights.safetensors"), "broken").unwrap();
    let done = place.run("new.csv", &[]);
    assert!(text(&done.stderr).contains("error: the champion: "), "{}", text(&done.stderr));
    assert_eq!(place.versions(), ["1"]);
}

#[test]
fn what_ranks_too_well_stops_unless_somebody_vouches_for_its_columns() {
    let place = Place::with_champion();
    let mut csv = "day,budget,size,channel,won\n".to_owned();
    for i in 3000..7000 {
        let (budget, size) = (noise(i, 1), noise(i, 2));
        writeln!(csv, "{},{budget},{size},web,{}", i / 12, u8::from(budget + size > 120)).unwrap();
    }
    fs::write(place.path("leaks.csv"), csv).unwrap();
    let done = place.run("leaks.csv", &[]);
    assert_eq!((done.status.code(), place.versions()), (Some(1), vec!["1".to_owned()]));
    let told = "error: leakage: a validation AUC of 1.000";
    assert!(text(&done.stderr).contains(told), "{}", text(&done.stderr));
    let vouched = text(&done.stderr).rsplit_once("--allow-leakage ").unwrap().1.split(' ').next().unwrap();
    let done = place.run("leaks.csv", &["--allow-leakage", vouched]);
    assert!(text(&done.stdout).contains("\nnote: an AUC of 1.000"), "{}", text(&done.stderr));
    let steps = text(&done.stderr);
    assert!(!steps.contains("fitting") && steps.contains("calibrating"), "fitted before: {steps}");
    let (data, out) = (place.path("leaks.csv").display().to_string(), place.path("other/lead"));
    let out = out.display().to_string();
    let train =
        ["train", "--data", &data, "--target", "won", "--time", "day", "--kind", "linear", "--out", &out];
    let done = leadwire(&train);
    assert!(text(&done.stderr).contains(told) && !place.path("other").exists(), "{}", text(&done.stderr));
}

/// Whatever the desk refuses, once; or the slots as they stand from then on, until all is mended.
struct Broken<'b> {
    at: &'b str,
    moved: Option<Stand>,
    policy: GatePolicy,
    now_ms: Cell<i64>,
    is_mended: Cell<bool>,
    heard: RefCell<Vec<String>>,
    steps: RefCell<Vec<String>>,
}

impl<'b> Broken<'b> {
    fn at(at: &'b str) -> Self {
        let (is_mended, heard, steps) = (Cell::new(false), RefCell::default(), RefCell::default());
        let (policy, now_ms) = (GatePolicy::default(), Cell::new(NOW));
        Self { at, moved: None, policy, now_ms, is_mended, heard, steps }
    }

    fn pass(&self, step: &str) -> anyhow::Result<()> {
        self.heard.borrow_mut().push(step.to_owned());
        match step == self.at && self.moved.is_none() && !self.is_mended.get() {
            true => Err(anyhow::anyhow!("killed")),
            false => Ok(()),
        }
    }

    fn stand(&self) -> Stand {
        let is_there = self.heard.borrow().iter().any(|heard| heard == self.at);
        match &self.moved {
            Some(moved) if is_there && !self.is_mended.get() => moved.clone(),
            _ => Stand { champion: Some("1".into()), on_trial: Vec::new() },
        }
    }

    fn run(&self, place: &Place) -> Result<Vec<String>, RetrainError> {
        let report = self.go(place, &place.options("new.csv", &[]))?;
        Ok([self.steps.take(), report.said].concat())
    }

    fn go(&self, place: &Place, options: &RetrainOptions) -> Result<RetrainReport, RetrainError> {
        let config = place.config();
        let hands = Hands {
            stand: &|| Ok(self.stand()),
            seat: &|| self.pass("seat"),
            judged: &|version, outcome| {
                let said = vec![format!("judged {version}")];
                self.pass("judged").map(|()| Recorded { passed: outcome.passed(), said })
            },
            shadow: &|version| self.pass("shadow").map(|()| vec![format!("shadow {version}")]),
            record: &|event| self.pass(event.kind.as_str()),
        };
        let job = Job {
            options,
            models: &config.models,
            state: &config.state,
            trust: &Trust::default(),
            actor: "jo",
            trigger: "manual",
            live: ["budget", "size", "channel"].map(String::from).into(),
            policy: self.policy.clone(),
            now_ms: self.now_ms.get(),
        };
        self.steps.take();
        let mut progress = |going: Progress<'_>| {
            if let Progress::Step(step) = going {
                self.steps.borrow_mut().push(step.to_owned());
            }
        };
        retrain::run(&job, &hands, &mut progress)
    }
}

#[test]
fn a_run_that_was_broken_off_is_taken_up() {
    for (at, versions, again) in [
        (
            "seat",
            vec!["1"],
            "reading leads, calibrating, comparing with the champion, registering, judged 2, shadow 2",
        ),
        (
            "judged",
            vec!["1", "2"],
            "reading leads, calibrating, comparing with the champion, registering, judged 2, shadow 2",
        ),
        (
            "shadow",
            vec!["1", "2"],
            "reading leads, calibrating, comparing with the champion, registering, judged 2, shadow 2",
        ),
    ] {
        let place = Place::with_champion();
        let broken = Broken::at(at);
        let error = broken.run(&place).unwrap_err().to_string();
        assert!(error.ends_with(": killed"), "{error}");
        assert_eq!(place.versions(), versions, "{at}");
        broken.is_mended.set(true);
        assert_eq!(broken.run(&place).unwrap().join(", "), again, "{at}");
        assert_eq!(place.versions(), ["1", "2"], "{at}");
    }
}

/// A moment to be killed at.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// A step begins.
    Step(&'static str),
    /// The ledger is not to be had, so that nothing is registered yet.
    Locked,
    /// The version is on disk.
    Written,
    /// The ledger holds this.
    Told(&'static str),
}

/// Runs until then, and kills it; whether all was done already.
fn killed(place: &Place, moment: Moment) -> bool {
    let mut child = place.spawn("new.csv");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut hear = |step: &str| assert!(lines.any(|line| line == step), "{moment:?}");
    let see = |is_there: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_there() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{moment:?}");
        }
    };
    match moment {
        Moment::Step(step) => hear(step),
        Moment::Locked => {
            hear("comparing with the champion");
            let ledger = fs::File::open(place.path("state/ledger.jsonl")).unwrap();
            ledger.lock().unwrap();
            hear("registering");
            child.kill().unwrap();
        }
        Moment::Written => see(&|| place.path("models/lead/2/manifest.json").exists()),
        Moment::Told(kind) => {
            see(&|| fs::read_to_string(place.path("state/ledger.jsonl")).unwrap_or_default().contains(kind));
        }
    }
    _ = child.kill();
    child.wait().unwrap();
    let is_shadow = place.told().iter().any(|kind| kind == "state.changed 2 shadow");
    is_shadow && !place.path("state/retrain/lead/steps.json").exists()
}

#[test]
fn a_process_that_is_killed_leaves_what_the_next_one_ends() {
    let steps = ["reading leads", "fitting", "calibrating", "comparing with the champion", "registering"];
    let told = ["model.registered", "gate.passed", "shadow.started"].map(Moment::Told);
    let moments = steps.map(Moment::Step).into_iter().chain([Moment::Locked, Moment::Written]).chain(told);
    for moment in moments {
        let place = Place::with_champion();
        let is_over = killed(&place, moment);
        let again = place.run("new.csv", &[]);
        let said = [text(&again.stdout), text(&again.stderr)].concat();
        match is_over {
            true => assert!(said.contains("lead waits: version 2 is a shadow"), "{moment:?} {said}"),
            false => assert!(said.contains("\nlead/2 is a shadow\n"), "{moment:?} {said}"),
        }
        if !is_over
            && matches!(moment, Moment::Step("comparing with the champion" | "registering") | Moment::Locked)
        {
            assert!(!said.contains("\nfitting\n") && said.contains("going on with a run"), "{said}");
        }
        assert_eq!(place.versions(), ["1", "2"], "{moment:?}");
        assert_eq!((&*place.slots().champion, &*place.slots().shadows), ("1", &["2".into()][..]));
        assert!(!place.path("state/retrain/lead/steps.json").exists(), "{moment:?}");
        ledger::verify(&place.path("state"), None).unwrap();
        let told = place.told();
        // A cause may be told twice, where what it led to was not on record yet.
        for once in [
            "model.registered 1",
            "model.registered 2",
            "state.changed 2 validated",
            "state.changed 2 shadow",
        ] {
            assert_eq!(told.iter().filter(|kind| *kind == once).count(), 1, "{moment:?} {told:?}");
        }
    }
}

#[test]
fn what_must_be_signed_waits_for_its_signature() {
    let place = Place::with_champion();
    let sign = place.signed();
    let refused = place.run("new.csv", &[]);
    assert!(text(&refused.stderr).contains("error: the champion: "), "{}", text(&refused.stderr));
    sign("lead/1");
    let waits = |reason: &str| {
        let done = place.run("new.csv", &[]);
        assert_eq!(done.status.code(), Some(1));
        let told = format!("error: lead/2 waits for its signature: {reason}");
        assert!(text(&done.stderr).contains(&told), "{}", text(&done.stderr));
        assert_eq!((place.versions(), place.slots().shadows.len()), (vec!["1".into(), "2".into()], 0));
        assert_eq!(place.told().last().unwrap(), "retrain.failed");
    };
    waits("missing, and `model_keys` asks for one");
    fs::write(place.path("models/lead/2/manifest.sig"), "ab".repeat(64)).unwrap();
    waits("none of the `model_keys` signed this manifest");
    sign("lead/2");
    let done = place.run("new.csv", &[]);
    assert!(text(&done.stdout).ends_with("lead/2 is a shadow\n"), "{}", text(&done.stderr));
    assert!(!text(&done.stderr).contains("fitting"), "{}", text(&done.stderr));
    assert_eq!((place.versions(), &*place.slots().shadows[0]), (vec!["1".into(), "2".into()], "2"));
}

#[test]
fn a_first_version_waits_for_its_signature_too() {
    let place = Place::new();
    let sign = place.signed();
    for _ in 0..2 {
        let waits = place.run("old.csv", &[]);
        assert!(text(&waits.stderr).contains("lead/1 waits for its signature"), "{}", text(&waits.stderr));
    }
    sign("lead/1");
    let done = place.run("old.csv", &[]);
    let last = "lead/1 is the first version, and serves\n";
    assert!(text(&done.stdout).ends_with(last), "{}{}", text(&done.stdout), text(&done.stderr));
    assert_eq!((place.versions(), &*place.slots().champion), (vec!["1".to_owned()], "1"));
}

#[test]
fn slots_that_move_meanwhile_stop_the_run_and_lose_nothing() {
    let champion = |version: &str| Stand { champion: Some(version.to_owned()), on_trial: Vec::new() };
    let trial = Stand { on_trial: vec![("9".to_owned(), "is a shadow".to_owned())], ..champion("1") };
    let moved = "lead: the champion was version 1 when this began and is version 7 now";
    for (at, slots, expected, versions) in [
        ("retrain.started", champion("7"), moved, vec!["1"]),
        ("retrain.started", trial.clone(), "lead waits: version 9 is a shadow", vec!["1"]),
        ("judged", champion("7"), moved, vec!["1", "2"]),
        ("judged", trial, "lead waits: version 9 is a shadow", vec!["1", "2"]),
    ] {
        let place = Place::with_champion();
        let broken = Broken { moved: Some(slots), ..Broken::at(at) };
        let error = broken.run(&place).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(!broken.heard.borrow().iter().any(|heard| heard == "shadow"), "{at}");
        assert_eq!(place.versions(), versions, "{at}");
        broken.is_mended.set(true);
        // What was fitted is at hand.
        let steps = broken.run(&place).unwrap();
        assert_eq!((&*steps[1], steps.last().unwrap().as_str()), ("calibrating", "shadow 2"), "{at}");
        assert_eq!(place.versions(), ["1", "2"], "{at}");
    }
}

/// 900 leads within 90 days before [`NOW`], of which every third converted.
fn log(state: &Path) {
    let names: Arc<[Arc<str>]> = ["budget", "size", "channel"].map(Arc::from).into();
    let lead = |n: u32| {
        let (time_ms, won) = (NOW - i64::from(900 - n) * HOUR * 12 / 5, n.is_multiple_of(3));
        let (budget, id): (_, Box<str>) = (noise(n, 1) + 40 * u32::from(won), format!("{n}").into());
        let channel = Value::Text(["web", "phone"][n as usize % 2].into());
        let values = [Value::Number(budget.into()), Value::Number(noise(n, 2).into()), channel];
        let model = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
        let scored = ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: Some(id.clone()),
            arm: Arm::Champion,
            model: model.into(),
            names: names.clone(),
            features: Packed::new(&values),
            score: Score::new(0.5).unwrap(),
            grade: Grade::B,
            latency_ns: 900,
            decision: Decision::Headers,
            exposure: None,
            fell: None,
        };
        let outcome = Outcome::new(&*id, true);
        let outcome = OutcomeRecord { time_ms: time_ms + HOUR, route: "r".into(), outcome };
        [Some(Entry::Score(scored)), won.then_some(Entry::Outcome(outcome))]
    };
    let entries: Vec<Entry> = (0..900).flat_map(lead).flatten().collect();
    Store::open(state).unwrap().write(&entries).unwrap();
}

#[test]
fn a_run_over_the_lead_log_is_taken_up_though_time_passes() {
    const TAKEN_UP: &str = "leads as of 2026-11-02T00:00:00Z, when the run began that was broken off";
    const DROPPED: &str =
        "a run over other leads or options was broken off, and is dropped; version 2 of it stays";
    let check = |hours: i64, more: &[&str], note: &str| {
        let place = Place::with_champion();
        log(&place.path("state"));
        let config = place.path("leadwire.yaml").display().to_string();
        let line = ["retrain", "lead", "-c", &config, "--from-log", "--horizon", "10d", "--kind", "linear"];
        let options = |more: &[&str]| {
            Line::parse_from([&line[..], &["--min-rows", "100", "--trials", "0"], more].concat()).options
        };
        let broken = Broken::at("judged");
        broken.go(&place, &options(&[])).unwrap_err();
        broken.is_mended.set(true);
        broken.now_ms.set(NOW + hours * HOUR);
        let report = broken.go(&place, &options(more)).unwrap();
        let told = report.notes.join("; ");
        assert!(told.contains(note), "{hours} {more:?} {told}");
        let is_fitted_anew = broken.steps.borrow().iter().any(|step| step == "fitting");
        let (anew, id) = if note == TAKEN_UP { (false, "lead/2") } else { (true, "lead/3") };
        assert_eq!((is_fitted_anew, &*report.id), (anew, id), "{hours} {more:?}");
    };
    check(24, &[], TAKEN_UP);
    check(24, &["--since", "119d"], DROPPED);
    check(24 * 8, &[], DROPPED);
}

#[test]
fn a_trigger_asks_for_the_whole_as_one_function() {
    let place = Place::with_champion();
    let options = place.options("new.csv", &["--why", "euribor3m drifted"]);
    let report = app::retrain(&place.config(), &options, ("leadwire", "drift"), &mut |_| {}).unwrap();
    assert!(report.passed, "{report}");
    let records = ledger::read(&place.path("state")).unwrap();
    let asked = records.iter().find(|record| record.kind.as_str() == "retrain.requested").unwrap();
    let field = |name: &str| asked.fields.get(name).and_then(|field| field.text());
    assert_eq!((asked.actor.as_str(), field("trigger")), ("leadwire", Some("drift")));
    // What asks for a person is not a machine's to ask for.
    let options = place.options("same.csv", &["--mode", "not-worse", "--why", "drift", "--who", "leadwire"]);
    let error = app::retrain(&place.config(), &options, ("leadwire", "drift"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("a person's decision"), "{error}");
}

#[test]
fn two_at_once_are_one_too_many() {
    let place = Place::with_champion();
    let folder = place.path("state/retrain/lead");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let options = place.options("new.csv", &[]);
    let error =
        app::retrain(&place.config(), &options, ("jo", "manual"), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "lead is being retrained by another process");
}

#[test]
fn a_manifest_does_not_hang_on_how_busy_the_machine_was() {
    let manifest = |policy: GatePolicy, last: &str| {
        let place = Place::with_champion();
        let steps = Broken { policy, ..Broken::at("nothing") }.run(&place).unwrap();
        assert_eq!(steps.last().unwrap(), last);
        fs::read(place.path("models/lead/2/manifest.json")).unwrap()
    };
    let never = GatePolicy { slowdown: 0.0, fast: Duration::ZERO, ..GatePolicy::default() };
    assert!(manifest(GatePolicy::default(), "shadow 2") == manifest(never, "judged 2"));
}

#[test]
fn the_same_leads_and_seed_give_the_same_bytes() {
    let bytes = || {
        let place = Place::with_champion();
        assert!(place.run("new.csv", &[]).status.success());
        let folder = place.path("models/lead/2");
        let names = ["weights.safetensors", "manifest.json", "model-card.md", "reliability.svg"];
        names.map(|name| fs::read(folder.join(name)).unwrap())
    };
    assert!(bytes() == bytes());
}
