//! Investigations of a real lead log, scored by real versions.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{
    lead::{Alias, Arm, Feedback as Said, FeedbackReason, Grade, Outcome, Score, Slot, Value, Verdict},
    leadlog::{
        AliasRecord, Decision, Entry, FeedbackRecord, LiveScore, OutcomeRecord, Packed, ScoreRecord,
        ShadowRecord, Store,
    },
    monitor::rescore::Rescorer,
    registry::{self, Manifest, Version, WEIGHTS, fixture},
    rollout::Desk,
};

const DAY: i64 = 86_400_000;

/// When everybody asks.
const NOW: i64 = 1_000 * DAY;

/// Models and a lead log in one folder.
struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    fn new(weights: &[(&str, f32)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (version, weight) in weights {
            fixture::write(folder.path(), "lead", version, *weight);
        }
        let store = Store::open(folder.path()).unwrap();
        Self { folder, store }
    }

    /// Version 1, trained on budgets of 0 to 20, mostly from the web.
    fn one() -> Self {
        Self::new(&[("1", 0.5)])
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn write(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.store.write(&entries.into_iter().collect::<Vec<_>>()).unwrap();
    }

    fn version(&self, version: &str) -> Version {
        Version::load(&self.root().join("lead").join(version)).unwrap()
    }

    /// A lead with a budget and a channel, as a version scores it.
    fn scored(&self, version: &str, time_ms: i64, lead: &str, values: &[Value<'_>; 2]) -> Entry {
        let version = self.version(version);
        let id = Arc::new(version.id.clone());
        let scored = Rescorer::new(Arc::new(version)).score_values(values).unwrap();
        Entry::Score(ScoreRecord {
            time_ms,
            route: "lead.create".into(),
            lead: Some(lead.into()),
            arm: Arm::Champion,
            model: id,
            names: ["budget".into(), "channel".into()].into(),
            features: Packed::new(values),
            score: scored.score,
            grade: scored.grade,
            latency_ns: 900,
            decision: Decision::Response,
            exposure: None,
            fell: None,
        })
    }

    fn ask(&self, ask: &Ask) -> Result<Investigation, InvestigateError> {
        investigate(&Desk::at(self.root(), self.root()), ask, NOW)
    }

    fn told(&self, lead: &str) -> Investigation {
        self.ask(&Ask::of(lead)).unwrap()
    }
}

fn web(budget: f64) -> [Value<'static>; 2] {
    [Value::Number(budget), Value::Text("web".into())]
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// What people read, whichever way.
fn all(told: &Investigation) -> [String; 3] {
    [told.to_string(), told.to_html(), serde_json::to_string(told).unwrap()]
}

#[test]
fn each_cause_has_its_rule() {
    let check = |scores: &[(&str, [Value<'_>; 2])], cause: CauseKind, evidence: &str| {
        let mut place = Place::new(&[("1", 0.5), ("2", -0.25)]);
        let times = (1..).map(|n| NOW - 100 * DAY + n);
        let entries: Vec<Entry> = times
            .zip(scores)
            .map(|(time, (version, values))| place.scored(version, time, "a", values))
            .collect();
        place.write(entries);
        let told = place.told("a");
        let finding = told.findings.iter().find(|finding| finding.kind == cause).unwrap();
        assert_eq!(
            (told.cause, finding.evidence.first().map(String::as_str)),
            (cause, Some(evidence)),
            "{told}"
        );
        assert!(told.scores.iter().all(|scoring| scoring.recomputed.equal == Some(true)));
        assert_eq!(
            told.steps.iter().map(|step| step.step).collect::<Vec<_>>(),
            ["received", "history", "recomputed", "compared", "drift", "answered"]
        );
    };
    let one = |values| [("1", values)];
    check(&one(web(2.0)), CauseKind::AsTrained, "- budget: low");
    // Both words weigh the same, so it makes no difference which it is; none at all does.
    check(
        &one([Value::Number(10.0), text("phone")]),
        CauseKind::AsTrained,
        "nothing about this lead stands out",
    );
    check(
        &one(web(25.0)),
        CauseKind::UnseenValue,
        "budget is 25: above the most in training, 20; with 10, which is typical, the score moves by -19.3",
    );
    check(
        &one([Value::Number(10.0), text("mail")]),
        CauseKind::AsTrained,
        "nothing about this lead stands out",
    );
    check(&[("1", web(12.0)), ("1", web(2.0))], CauseKind::InputChanged, "budget: 12 -> 2, -21.9 points");
    check(&[("1", web(12.0)), ("2", web(12.0))], CauseKind::ModelChanged, "version 1 -> 2, -41.5 points");
    check(&[("1", web(12.0)), ("1", web(12.01))], CauseKind::AsTrained, "+ budget: high");
    // The model weighs more, and what is lost in rounding is taken from it.
    check(&[("1", web(12.0)), ("2", web(2.0))], CauseKind::ModelChanged, "version 1 -> 2, -41.4 points");
}

#[test]
fn data_that_is_missing_comes_before_what_changed() {
    let mut place = Place::one();
    let mut manifest = fixture::manifest("lead", "3", 0.5);
    manifest.schema.features[0].required = false;
    // A missing budget is a column of its own, of the same weight as all others.
    registry::write(&place.root().join("lead/3"), &manifest, &[(WEIGHTS, &fixture::weights(0.5))]).unwrap();
    let entries =
        [place.scored("3", 1, "a", &web(10.0)), place.scored("3", 2, "a", &[Value::Missing, text("web")])];
    place.write(entries);
    let told = place.told("a");
    assert_eq!(told.cause, CauseKind::DataMissing);
    let evidence = "budget is missing, 100.0% of the leads in training had one; with 10, which is typical, the score moves by -8.7";
    assert_eq!(told.findings[1].evidence, [evidence]);
    assert!(
        told.answer.starts_with(&format!("The score is 82 points, grade A; {evidence}.")),
        "{}",
        told.answer
    );
    let besides = told.findings.iter().filter(|finding| finding.holds).map(|finding| finding.kind);
    assert_eq!(besides.collect::<Vec<_>>(), [CauseKind::DataMissing, CauseKind::InputChanged]);
}

#[test]
fn a_score_that_its_version_does_not_give_is_said_first() {
    let mut place = Place::one();
    let Entry::Score(mut record) = place.scored("1", 1, "a", &web(10.0)) else { panic!("a score") };
    record.score = Score::new(0.25).unwrap();
    record.grade = Grade::C;
    place.write([Entry::Score(record)]);
    let told = place.told("a");
    assert_eq!((told.cause, told.scores[0].recomputed.equal), (CauseKind::NotReproduced, Some(false)));
    assert_eq!(told.findings[0].evidence, ["version 1 gives 0.7311 for these features, 0.2500 was recorded"]);
    let step = &told.steps[2];
    assert_eq!((step.done, &*step.note), (true, "0 of 1 equal to the bit, 1 differ"));
}

#[test]
fn what_cannot_be_done_leaves_the_rest_alone() {
    let mut place = Place::one();
    let entries = [place.scored("1", NOW - 2, "a", &web(10.0)), place.scored("1", NOW - 1, "a", &web(5.0))];
    place.write(entries);
    fixture::write(place.root(), "lead", "2", 0.25);
    std::fs::remove_dir_all(place.root().join("lead/1")).unwrap();
    let told = place.told("a");
    let why = "lead/1 is not among the models any more";
    let undone: Vec<_> =
        told.steps.iter().filter(|step| !step.done).map(|step| (step.step, &*step.note)).collect();
    assert_eq!(undone, [("recomputed", why), ("compared", why), ("drift", why)]);
    assert_eq!(told.scores[1].recomputed.why.as_deref(), Some(why));
    let budget = &told.features[0];
    assert_eq!((&*budget.feature, &budget.value, budget.effect), ("budget", &Json::from(5.0), None));
    assert!(
        told.to_string().contains("It cannot be told what moved it: lead/1 is not among the models any more")
    );
}

#[test]
fn a_folder_that_holds_another_version_by_now_is_not_taken_for_the_one_that_scored() {
    let mut place = Place::one();
    let entry = place.scored("1", 1, "a", &web(10.0));
    place.write([entry]);
    std::fs::remove_dir_all(place.root().join("lead/1")).unwrap();
    fixture::write(place.root(), "lead", "1", 0.25);
    let why = place.told("a").scores[0].recomputed.why.clone().unwrap();
    assert!(why.starts_with("lead/1 has digest ") && why.contains(" now, the score was given by "), "{why}");
}

#[test]
fn what_the_log_may_not_keep_is_no_value() {
    let mut place = Place::one();
    let Entry::Score(record) = place.scored("1", 1, "a", &web(10.0)) else { panic!("a score") };
    // As the writer puts it.
    let features = Packed::new(&[Value::Number(10.0), text("hash:0123456789abcdef")]);
    place.write([Entry::Score(ScoreRecord { features, ..record })]);
    let told = place.told("a");
    let why = "feature `channel` is not kept in the log";
    assert_eq!(
        (told.scores[0].recomputed.equal, told.scores[0].recomputed.why.as_deref()),
        (None, Some(why))
    );
    let channel = told.features.iter().find(|feature| feature.feature == "channel").unwrap();
    assert_eq!((channel.seen.state, &channel.value), ("withheld", &Json::from("(not kept)")));
    assert_eq!(told.cause, CauseKind::AsTrained);
    assert!(all(&told).iter().all(|text| !text.contains("0123456789abcdef")));
}

#[test]
fn protected_features_are_never_shown() {
    let mut place = Place::one();
    let entries = [
        place.scored("1", 1, "a", &[Value::Number(10.0), text("phone")]),
        place.scored("1", 2, "a", &[Value::Number(4_711.0), text("phone")]),
    ];
    place.write(entries);
    assert!(all(&place.told("a")).iter().all(|text| text.contains("4711")));
    // What a later version protects is not shown of an earlier one's scores either.
    let mut manifest = fixture::manifest("lead", "2", 0.5);
    manifest.schema.features[0].protected = true;
    registry::write(&place.root().join("lead/2"), &manifest, &[(WEIGHTS, &fixture::weights(0.5))]).unwrap();
    let told = place.told("a");
    assert_eq!((told.hidden, told.features.len()), (1, 1));
    assert_eq!(told.change.as_ref().unwrap().parts[0].kind, PartKind::Hidden);
    for text in all(&told) {
        assert!(!text.contains("4711") && !text.contains("budget"), "{text}");
    }
}

#[test]
fn whatever_stands_in_a_field_stays_plain_text() {
    let mut place = Place::one();
    let hostile = "</td><script>alert(1)</script>\u{1b}[2J\n\u{202e}";
    let mut entries = vec![
        place.scored("1", 1, hostile, &web(10.0)),
        place.scored("1", 2, hostile, &[Value::Number(10.0), text(hostile)]),
    ];
    let said = Said { reason: Some(FeedbackReason::BadData), ..Said::new(hostile, Verdict::Down) };
    let feedback = said.by(Some(hostile)).noted(Some(hostile));
    entries.push(Entry::Feedback(Box::new(FeedbackRecord { time_ms: 3, source: hostile.into(), feedback })));
    if let Entry::Score(record) = &mut entries[1] {
        record.route = hostile.into();
    }
    place.write(entries);
    let [text, html, json] = all(&place.told(hostile));
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
    for shown in [&text, &html] {
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
    }
    assert!(serde_json::from_str::<Json>(&json).unwrap()["scores"][1]["changed"][0]["feature"] == "channel");
    assert!(!json.contains('\u{1b}') && text.contains("What people said"));
}

#[test]
fn peers_had_their_time_and_count_once() {
    let mut place = Place::one();
    let old = NOW - 60 * DAY;
    let mut entries = vec![place.scored("1", NOW - DAY, "a", &web(10.0))];
    let outcome = |time_ms, lead: &str, won| {
        let outcome = Outcome { revenue: Some(90.5), ..Outcome::new(lead, won) };
        Entry::Outcome(OutcomeRecord { time_ms, route: "lead.update".into(), outcome })
    };
    // Ten of the same grade, twice each, three of which convert, one too late; two of another grade.
    for n in 0..10 {
        let lead = format!("b{n}");
        entries.extend([
            place.scored("1", old, &lead, &web(9.0)),
            place.scored("1", old + n, &lead, &web(10.5)),
        ]);
    }
    entries.extend([
        outcome(old + DAY, "b0", true),
        outcome(old + DAY, "b1", true),
        outcome(old + 31 * DAY, "b2", true),
    ]);
    entries.extend((0..2).map(|n| place.scored("1", old, &format!("c{n}"), &web(-10.0))));
    // Scored after it was closed: the score before that counts.
    entries.extend([
        place.scored("1", old + 2 * DAY, "b0", &web(0.0)),
        place.scored("1", NOW - 29 * DAY, "late", &web(10.0)),
    ]);
    entries.push(outcome(NOW - DAY / 2, "a", true));
    entries.sort_by_key(|entry| if let Entry::Score(record) = entry { record.time_ms } else { 0 });
    place.write(entries);
    let told = place.told("a");
    let counts = |of: Converted| (of.leads, of.conversions);
    assert_eq!((counts(told.peers.grade), counts(told.peers.band)), ((10, 2), (10, 2)), "{told}");
    let [low, high] = told.peers.grade.interval.unwrap();
    assert!((0.05..0.06).contains(&low) && (0.5..0.52).contains(&high), "Wilson: {low} {high}");
    assert_eq!(
        (told.outcome.state, told.outcome.revenue, told.outcome.after_ms),
        ("won", Some(90.5), Some(DAY / 2))
    );
    assert!(
        told.answer
            .ends_with("2 converted (20.0%, 95% interval 5.7% to 51.0%); this one was won on 1972-09-26.")
    );
    let recent = place.ask(&Ask { days: 1, ..Ask::of("a") }).unwrap();
    assert_eq!(recent.peers.grade.leads, 0);
    assert!(recent.answer.contains("No lead of grade B has had its time yet"));
}

#[test]
fn the_week_before_is_held_against_training() {
    // Leads of the week with budgets as in training, or far beyond.
    let check = |leads: i64, budget: fn(i64) -> f64, level: Option<&str>, cause: CauseKind| {
        let mut place = Place::one();
        let mut entries: Vec<Entry> = (0..leads)
            .map(|n| {
                let channel = if n % 5 < 3 { "web" } else { "phone" };
                place.scored(
                    "1",
                    NOW - 6 * DAY + n,
                    &format!("b{n}"),
                    &[Value::Number(budget(n)), text(channel)],
                )
            })
            .collect();
        entries.push(place.scored("1", NOW, "a", &web(2.0)));
        entries.insert(0, place.scored("1", NOW - 8 * DAY, "old", &web(500.0)));
        place.write(entries);
        let told = place.told("a");
        assert_eq!((told.drift.rows, told.cause), (leads.unsigned_abs() + 1, cause));
        let budget = told.drift.features.iter().find(|moved| moved.feature == "budget");
        assert_eq!(budget.map(|moved| moved.level), level, "{:?}", told.drift);
    };
    check(100, |_| 15.0, None, CauseKind::AsTrained);
    check(600, |n| (n % 20) as f64 + 0.5, Some("steady"), CauseKind::AsTrained);
    check(600, |_| 15.0, Some("critical"), CauseKind::DriftedFeature);
    check(300, |_| 15.0, Some("warning"), CauseKind::AsTrained);
}

#[test]
fn the_scores_that_are_compared_can_be_chosen() {
    let mut place = Place::one();
    let entries: Vec<Entry> =
        (1..=250).map(|n| place.scored("1", n * 10, "a", &web((n % 20) as f64))).collect();
    place.write(entries);
    let at = |at_ms, against_ms| {
        let told = place.ask(&Ask { at_ms, against_ms, ..Ask::of("a") }).unwrap();
        let time = |place: usize| told.scores[place].time_ms;
        (time(told.at), told.against.map(time), told.scores.len(), told.has_older)
    };
    assert_eq!(at(None, None), (2_500, Some(2_490), 100, true));
    assert_eq!(at(Some(2_205), None), (2_200, Some(2_190), 100, true));
    assert_eq!(at(Some(505), None), (500, Some(490), 102, true));
    assert_eq!(at(Some(505), Some(15)), (500, Some(10), 103, true));
    assert_eq!(at(Some(15), Some(2_500)), (10, Some(2_500), 101, true));
    assert_eq!(at(None, Some(i64::MAX)), (2_500, None, 100, true));
    let error = place.ask(&Ask { at_ms: Some(5), ..Ask::of("a") }).unwrap_err().to_string();
    assert_eq!(error, "lead \"a\" had no score yet at 1970-01-01 00:00:00 UTC");
}

#[test]
fn a_lead_is_found_by_either_form_of_its_id_and_by_its_deal() {
    let mut place = Place::one();
    let (short, long) = ("001A0000006Vm9u", "001A0000006Vm9uIAC");
    let entries = [
        place.scored("1", 1, short, &web(10.0)),
        place.scored("1", 2, long, &web(5.0)),
        place.scored("1", 3, "lead-17", &web(5.0)),
        Entry::Alias(AliasRecord { time_ms: 4, alias: Alias { lead: long.into(), deal: "deal-1".into() } }),
    ];
    place.write(entries);
    for asked in [short, long, "deal-1"] {
        let told = place.told(asked);
        assert_eq!((told.ids.as_slice(), told.scores.len()), (&[long.to_owned(), short.to_owned()][..], 2));
        assert_eq!(told.via_deal.is_some(), asked == "deal-1");
    }
    let told = |ask: Ask| place.ask(&ask).unwrap_err().to_string();
    assert_eq!(told(Ask::of("lead-18")), "no score of lead \"lead-18\" in the lead log; near it: lead-17");
    assert_eq!(told(Ask::of("zebra")), "no score of lead \"zebra\" in the lead log");
    assert_eq!(told(Ask::of("")), "no score of lead \"\" in the lead log");
    let other = Ask { model: Some("deal".into()), ..Ask::of(short) };
    assert_eq!(told(other), format!("no score of lead {short:?} by model \"deal\"; there are some by lead"));
}

#[test]
fn what_others_said_stands_beside_the_score_and_the_last_complaint_begins_the_list() {
    let mut place = Place::one();
    let Entry::Score(record) = place.scored("1", 5, "a", &web(10.0)) else { panic!("a score") };
    let live =
        LiveScore { model: record.model.clone(), score: record.score, grade: record.grade, latency_ns: 1 };
    let shadow = ShadowRecord {
        time_ms: 5,
        lead: record.lead.clone(),
        model: Arc::new(crate::lead::ModelId { version: "2".into(), ..(*record.model).clone() }),
        slot: Slot::Shadow,
        live,
        score: Ok((Score::new(0.12).unwrap(), Grade::D)),
        latency_ns: 1,
    };
    let said = |time_ms, verdict| {
        let feedback = Said::new("a", verdict);
        Entry::Feedback(Box::new(FeedbackRecord { time_ms, source: FeedbackRecord::API.into(), feedback }))
    };
    place.write([
        Entry::Score(record),
        Entry::Shadow(Box::new(shadow)),
        said(7, Verdict::Down),
        said(8, Verdict::Down),
        said(9, Verdict::Up),
    ]);
    let told = place.told("a");
    let opinion = &told.scores[0].shadows[0];
    assert_eq!((&*opinion.version, opinion.points, opinion.grade.as_deref()), ("2", Some(12), Some("D")));
    assert_eq!((told.feedback.len(), told.steps[0].step, told.steps[0].at_ms), (3, "received", 8));
    assert!(told.to_string().contains("shadow 2: 12 D"));
}

#[test]
fn a_manifest_that_is_read_for_what_it_protects_may_be_broken() {
    let mut place = Place::one();
    let entry = place.scored("1", 1, "a", &web(10.0));
    place.write([entry]);
    std::fs::create_dir(place.root().join("lead/9")).unwrap();
    std::fs::write(place.root().join("lead/9/manifest.json"), "{").unwrap();
    assert_eq!(place.told("a").features.len(), 2);
    assert!(Manifest::parse(b"{").is_err());
}
