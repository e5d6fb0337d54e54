//! From the lead log to the report.

use std::{path::Path, sync::Arc};

use serde_json::Value as Json;

use super::*;
use crate::{
    goldens,
    lead::{Arm, Feedback as Said, Grade, ModelId, Outcome, Score, Verdict},
    leadlog::{Decision, Entry, FeedbackRecord, OutcomeRecord, Packed, ScoreRecord},
};

const DAY: i64 = dates::DAY_MS;

/// Thirty days, and day 100 has just begun.
const HORIZON: Horizon = Horizon { ms: 30 * DAY, now_ms: 100 * DAY };

fn score(time_ms: i64, lead: &str, version: &str, score: f32) -> Entry {
    let grade = [Grade::D, Grade::C, Grade::B, Grade::A][(score * 3.99) as usize];
    Entry::Score(ScoreRecord {
        time_ms,
        route: "lead.create".into(),
        lead: Some(lead.into()),
        arm: Arm::Champion,
        model: Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() }),
        names: [].into(),
        features: Packed::new(&[]),
        score: Score::new(score).unwrap(),
        grade,
        latency_ns: 1,
        decision: Decision::Headers,
        exposure: None,
        fell: None,
    })
}

fn told(time_ms: i64, lead: &str, won: bool, revenue: Option<f64>) -> Entry {
    let outcome = Outcome { revenue, ..Outcome::new(lead, won) };
    Entry::Outcome(OutcomeRecord { time_ms, route: "lead.update".into(), outcome })
}

fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.write(entries).unwrap();
    while !store.count(1_000, HORIZON.ms).unwrap().done {}
    (folder, store)
}

fn asked(by: By) -> Asked<'static> {
    Asked::new(None, (Since::Day(0), None), by, HORIZON)
}

fn only(store: &Store, by: By) -> ModelReport {
    let [model] = report(store, &asked(by)).unwrap().models.try_into().unwrap();
    model
}

/// Of each day's 20 leads those with the higher scores convert; `version` 2 from day 40 on.
fn busy() -> Vec<Entry> {
    let mut entries = Vec::new();
    for day in 0..100 {
        let version = if day < 40 { "1" } else { "2" };
        for n in 0..20i64 {
            let (lead, time_ms) = (format!("{day}-{n}"), day * DAY + n);
            entries.push(score(time_ms, &lead, version, n as f32 / 20.0));
            let closed = time_ms + (1 + n) * DAY;
            if closed < HORIZON.now_ms {
                let won = n > 16 || n == day % 20;
                entries.push(told(closed, &lead, won, won.then_some(100.0 + n as f64)));
            }
        }
    }
    entries
}

#[test]
fn matured_days_are_official_and_the_rest_is_provisional() {
    let (_folder, store) = log(&busy());
    let model = only(&store, By::Version);
    let (matured, provisional) = (model.matured.unwrap(), model.provisional.unwrap());
    // Days 0 to 69 are over: three of 20 each day, and one more on all days but those whose one is among them.
    assert_eq!((matured.leads, matured.known, matured.conversions), (1_400, 1_400, 210 + 61));
    assert_eq!(matured.rate, 271.0 / 1_400.0);
    assert!(matured.wilson95[0] < matured.rate && matured.rate < matured.wilson95[1]);
    assert!(matured.auc.unwrap() > 0.85 && matured.auc_error.unwrap() < 0.01, "{matured:?}");
    assert_eq!(provisional.leads, 600);
    assert!(provisional.known < 600 && provisional.conversions > 0, "{provisional:?}");
    let versions: Vec<_> = model
        .versions
        .iter()
        .map(|of| (&*of.version, of.matured.is_some(), of.provisional.is_some()))
        .collect();
    assert_eq!(versions, [("1", true, false), ("2", true, true)]);
    let periods: Vec<_> = model.periods.iter().map(|of| (&*of.period, of.leads, of.matured)).collect();
    assert_eq!(periods, [("1", 800, 800), ("2", 1_200, 600)]);
    assert_eq!(model.periods[1].so_far, provisional.conversions);
    let delays = model.delays.unwrap();
    assert_eq!((delays.wins, delays.late), (271, 0.0));
    assert!(delays.median_days >= 18.0 && delays.p90_days <= 20.0, "{delays:?}");
    let money = model.revenue.unwrap();
    assert!((money.per_lead - money.total / 1_400.0).abs() < 1e-9);
    let [low, high] = money.interval95.unwrap();
    assert!(low < money.per_lead && money.per_lead < high, "{money:?}");
    assert_eq!(money.untold, Some(0));
}

#[test]
fn deciles_fall_and_grades_add_up() {
    let (_folder, store) = log(&busy());
    let parts = only(&store, By::Week).parts.unwrap();
    assert!(parts.matured);
    assert_eq!(parts.deciles.iter().map(|part| part.leads).sum::<u64>(), 1_400);
    assert_eq!(parts.grades.iter().map(|part| part.leads).sum::<u64>(), 1_400);
    assert_eq!(parts.grades.iter().map(|part| &*part.name).collect::<String>(), "ABCD");
    assert_eq!(
        (parts.deciles.len(), parts.deciles[0].rate, parts.deciles[0].from_score),
        (10, 1.0, Some(921.0 / 1024.0))
    );
    assert!(parts.lift > 5.0 && parts.trend_z < -10.0 && parts.warning().is_none(), "{parts:?}");
    assert!((parts.top_leads - 0.3).abs() < 1e-9 && parts.top_conversions > 0.8, "{parts:?}");
}

#[test]
fn before_any_day_has_matured_the_report_warns() {
    let recent: Vec<Entry> = busy().into_iter().filter(|entry| time_ms(entry) >= 75 * DAY).collect();
    let (_folder, store) = log(&recent);
    let model = only(&store, By::Week);
    assert!(
        model.matured.is_none()
            && model.delays.is_none()
            && model.estimate.is_none()
            && model.revenue.is_none()
    );
    assert_eq!(model.notices[0], IMMATURE);
    assert!(!model.parts.unwrap().matured);
    let text = report(&store, &asked(By::Week)).unwrap().to_string();
    assert!(text.contains("No day has matured yet") && widest(&text) <= 80, "{text}");
    // Nothing at all is no failure.
    let (_folder, empty) = log(&[]);
    let report = report(&empty, &asked(By::Week)).unwrap();
    assert!(report.models.is_empty() && report.to_string().contains("No lead has been counted"));
    assert!(report.to_html().contains("No lead has been counted"));
}

fn time_ms(entry: &Entry) -> i64 {
    match entry {
        Entry::Score(record) => record.time_ms,
        Entry::Outcome(record) => record.time_ms,
        _ => 0,
    }
}

#[test]
fn scores_that_rank_the_wrong_way_are_flagged() {
    let upside_down: Vec<Entry> = (0..2_000)
        .flat_map(|n| {
            let (lead, won) = (n.to_string(), n % 20 < 3);
            [score(n, &lead, "1", (n % 20) as f32 / 20.0), told(n + DAY, &lead, won, None)]
        })
        .collect();
    let mut entries = upside_down;
    entries.sort_by_key(time_ms);
    let (_folder, store) = log(&entries);
    let model = only(&store, By::Week);
    assert!(model.notices[0].contains("out of order"), "{:?}", model.notices);
    assert!(model.parts.unwrap().inversions.iter().any(|pair| pair.clear));
    assert_eq!(model.revenue, None, "no revenue was told");
    let flat: Vec<Entry> = (0..2_000i64)
        .flat_map(|n| {
            let lead = n.to_string();
            [score(n, &lead, "1", 0.5), told(DAY + n, &lead, n % 5 == 0, None)]
        })
        .collect();
    let mut entries = flat;
    entries.sort_by_key(time_ms);
    let (_folder, store) = log(&entries);
    let model = only(&store, By::Week);
    assert!(model.notices[0].contains("do not convert more often"), "{:?}", model.notices);
}

/// Section 8 of the statistics: delays are exponential with a mean of 12 days, and a lead in ten converts.
#[test]
fn what_is_still_to_come_is_estimated_from_how_it_came() {
    let mut entries = Vec::new();
    for day in 0..100i64 {
        for n in 0..100i64 {
            let (lead, time_ms) = (format!("{day}-{n}"), day * DAY + n * DAY / 100);
            entries.push(score(time_ms, &lead, "1", 0.5));
            // Spread over the days so that each has its share of the early and the late.
            let share = (f64::from(((day * 37 + n * 11) % 1_000) as i32) + 0.5) / 1_000.0;
            let won_ms = time_ms + (-(1.0 - share).ln() * 12.0 * DAY as f64) as i64;
            if n % 10 == 0 && won_ms < HORIZON.now_ms {
                entries.push(told(won_ms, &lead, true, None));
            }
        }
    }
    entries.sort_by_key(time_ms);
    let (_folder, store) = log(&entries);
    let model = only(&store, By::Week);
    let (matured, estimate) = (model.matured.unwrap(), model.estimate.unwrap());
    let so_far = estimate.conversions as f64 / estimate.leads as f64;
    assert!((matured.rate - 0.092).abs() < 0.003, "within the horizon: {}", matured.rate);
    assert!(so_far < 0.07 && (estimate.rate - matured.rate).abs() < 0.012, "{so_far} {estimate:?}");
    assert!(estimate.left_out > 0 && estimate.leads + estimate.left_out == 3_000);
    // How they come is known from all matured days, though none of those is asked for.
    let recent = Asked { from: 80, ..asked(By::Week) };
    let recent = &report(&store, &recent).unwrap().models[0];
    assert!(recent.matured.is_none() && recent.estimate.is_some() && recent.delays.is_some());
    let delays = model.delays.unwrap();
    assert!(delays.late > 0.05 && delays.late < 0.1, "those after the horizon are told: {delays:?}");
}

#[test]
fn agrees_with_the_golden_of_the_buckets_as_far_as_bins_can_tell() {
    let Some(golden) = goldens::json("goldens/mlops/buckets.json") else { return };
    let (inputs, expected) = (&golden["inputs"], &golden["expected"]);
    let list = |name: &str| inputs[name].as_array().unwrap();
    let mut entries = Vec::new();
    for (n, value) in list("score").iter().enumerate() {
        let (lead, time_ms) = (n.to_string(), n as i64);
        entries.push(score(time_ms, &lead, "1", value.as_f64().unwrap() as f32));
        let converted = &list("converted")[n];
        let won = converted.as_bool().unwrap_or_else(|| converted.as_f64() == Some(1.0));
        entries.push(told(DAY + time_ms, &lead, won, list("revenue")[n].as_f64()));
    }
    entries.sort_by_key(time_ms);
    let (_folder, store) = log(&entries);
    let model = only(&store, By::Week);
    let (parts, money) = (model.parts.unwrap(), model.revenue.unwrap());
    let near = |found: f64, name: &str, by: f64| {
        let expected = expected[name].as_f64().unwrap();
        assert!((found - expected).abs() <= by * expected.abs(), "{name}: {found}, {expected}");
    };
    near(parts.lift, "lift_decile1", 0.05);
    near(parts.top_conversions, "gain_top_30pct", 0.03);
    near(parts.trend_z, "cochran_armitage_z", 0.03);
    near(money.per_lead, "revenue_per_lead", 1e-6);
    for (part, row) in parts.deciles.iter().zip(expected["deciles"].as_array().unwrap()) {
        assert!((part.leads as f64 - row[1].as_f64().unwrap()).abs() < 20.0, "{part:?}, {row}");
    }
}

#[test]
fn what_people_said_stands_beside_and_changes_no_label() {
    let (folder, store) = log(&busy());
    let before = only(&store, By::Week);
    drop(store);
    let said = |lead: &str, verdict| {
        let feedback = Said::new(lead, verdict);
        Entry::Feedback(Box::new(FeedbackRecord { time_ms: 99 * DAY, source: "api".into(), feedback }))
    };
    let mut store = Store::open(folder.path()).unwrap();
    store
        .write(&[said("10-19", Verdict::Down), said("11-19", Verdict::Up), said("11-2", Verdict::Down)])
        .unwrap();
    while !store.count(1_000, HORIZON.ms).unwrap().done {}
    let after = only(&store, By::Week);
    let of = |grade: &str, up, down| Feedback { version: "1".into(), grade: grade.into(), up, down };
    assert_eq!(after.feedback, [of("A", 1, 1), of("D", 0, 1)]);
    // As text, in which what cannot be told equals itself.
    let told = |model: &ModelReport| serde_json::to_string(model).unwrap();
    assert_eq!(told(&ModelReport { feedback: Vec::new(), ..after }), told(&before));
}

#[test]
fn the_text_fits_a_terminal_and_the_page_holds_no_script() {
    let mut entries = busy();
    let feedback = Said::new("10-19", Verdict::Down);
    entries.push(Entry::Feedback(Box::new(FeedbackRecord {
        time_ms: 99 * DAY,
        source: "api".into(),
        feedback,
    })));
    let (_folder, store) = log(&entries);
    for by in [By::Version, By::Week, By::Month, By::Day] {
        let report = report(&store, &asked(by)).unwrap();
        let text = report.to_string();
        assert!(widest(&text) <= 80, "{text}");
        let page = report.to_html();
        assert!(!page.contains("<script") && !page.contains("NaN") && page.ends_with("</html>\n"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), page.matches("<desc").count());
    }
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

#[test]
fn the_keys_of_the_json_are_stable() {
    let (_folder, store) = log(&busy());
    let json = serde_json::to_value(report(&store, &asked(By::Month)).unwrap()).unwrap();
    let keys = |of: &Json| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let model = &json["models"][0];
    assert_eq!(keys(&json), "from horizon_days models to uncounted");
    assert_eq!(
        keys(model),
        "delays estimate feedback matured model notices parts periods provisional revenue versions"
    );
    assert_eq!(
        keys(&model["matured"]),
        "auc auc_error brier calibration conversions ece known leads observed_over_expected rate revenue wilson95"
    );
    assert_eq!(keys(&model["periods"][0]), "conversions leads matured period rate revenue so_far wilson95");
    assert_eq!(
        keys(&model["parts"]),
        "deciles grades inversions lift matured top_conversions top_leads trend_z"
    );
    assert_eq!(
        keys(&model["parts"]["deciles"][0]),
        "conversions from_score leads name rate revenue share wilson95"
    );
    assert_eq!(keys(&model["delays"]), "late median_days p75_days p90_days wins");
    assert_eq!(keys(&model["revenue"]), "interval95 per_lead per_lead_cut total untold");
    assert_eq!(json["models"][0]["periods"][0]["period"], "1970-01");
}

/// What the command prints, or why it does not.
fn ran(folder: &Path, change: impl FnOnce(&mut ReportOptions)) -> Result<String, String> {
    let mut options = ReportOptions {
        model: None,
        since: Since::Day(0),
        until: None,
        by: By::Week,
        json: false,
        html: None,
    };
    change(&mut options);
    run(&options, folder, None, HORIZON.now_ms).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

#[test]
fn the_command_counts_what_is_left_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ran(folder.path(), |_| {}).unwrap_err().ends_with("no lead log there"));
    assert!(!folder.path().join(Store::FILE).exists(), "nothing is made");
    Store::open(folder.path()).unwrap().write(&busy()).unwrap();
    let text = ran(folder.path(), |_| {}).unwrap();
    assert!(text.contains("1,400 leads, 271 converted") && !text.contains("not counted yet"), "{text}");
    let unknown = ran(folder.path(), |options| options.model = Some("other".into())).unwrap_err();
    assert_eq!(unknown, "no lead of model \"other\" has been counted; there are lead");
    let json: Json =
        serde_json::from_str(&ran(folder.path(), |options| options.json = true).unwrap()).unwrap();
    assert_eq!(json["models"][0]["matured"]["leads"], 1_400);
    let file = folder.path().join("report.html");
    let told = ran(folder.path(), |options| options.html = Some(file.clone())).unwrap();
    assert_eq!(told.trim_end(), file.display().to_string());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<!doctype html>"));
    let nowhere =
        ran(folder.path(), |options| options.html = Some(folder.path().join("no/report.html"))).unwrap_err();
    assert!(nowhere.starts_with("cannot write "), "{nowhere}");
    // Days in the wrong order are no days.
    let none = ran(folder.path(), |options| options.until = Some(Since::Day(-9))).unwrap();
    assert!(none.contains("No lead was scored in these days"), "{none}");
}

#[test]
fn a_log_that_another_process_holds_is_reported_as_far_as_it_was_counted() {
    let (folder, mut store) = log(&busy());
    store.write(&[score(99 * DAY, "new", "2", 0.5)]).unwrap();
    let other = rusqlite::Connection::open(folder.path().join(Store::FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = ran(folder.path(), |_| {}).unwrap();
    assert!(text.contains("1 scores are in the lead log and not counted yet"), "{text}");
}
