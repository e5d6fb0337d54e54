//! A ledger and a lead log filled by hand, and what is said of them.

use std::sync::Arc;

use super::*;
use crate::{
    config::Rollout,
    lead::{Arm, Assignment, Exposure, Grade, KeyKind, ModelId, Outcome, Score, Slot},
    leadlog::{Decision, Entry, LiveScore, OutcomeRecord, Packed, ScoreRecord, ShadowRecord},
    ledger::{Event, Kind, Ledger},
    rollout::{Act, Decision as Decided, decide},
};

/// Leads, every fifth of which is won; odd ones are the canary's.
const LEADS: i64 = 4200;
/// When each of them has had its time to convert.
const NOW_MS: i64 = 40 * 86_400_000;

/// Version 1 serves, and 2 is a canary at 50% since a millisecond ago when the first lead comes.
fn place() -> (tempfile::TempDir, Desk) {
    let folder = tempfile::tempdir().unwrap();
    let [models, state] = ["models", "state"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(models.join("lead")).unwrap();
    let mut ledger = Ledger::open(&state).unwrap();
    let mut writing = ledger.lock().unwrap();
    for (at_ms, version, to) in
        [(0, "1", "production"), (1, "2", "validated"), (2, "2", "shadow"), (3, "2", "canary")]
    {
        let moved = Event::new(Kind::StateChanged, "jo").model("lead").version(version).with("to", to);
        let moved = moved.with("override", i64::from(version == "1")).with("pct", 50);
        writing.append(moved, at_ms).unwrap();
    }
    let desk = Desk { policy: Rollout::default(), ..Desk::at(&models, &state) };
    (folder, desk)
}

fn id(version: &str) -> Arc<ModelId> {
    Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() })
}

/// A lead that either version scored and one of them answered, and its end.
fn lead(n: i64, (champion, challenger): (f32, f32)) -> Vec<Entry> {
    let (name, time_ms) = (n.to_string(), 4 + n);
    let is_new = n % 2 == 1;
    let (arm, live, other, slot) = match is_new {
        true => (Arm::Challenger, challenger, champion, Slot::Champion),
        false => (Arm::Champion, champion, challenger, Slot::Challenger),
    };
    let (answered, aside) = if is_new { ("2", "1") } else { ("1", "2") };
    let probability = |score: f32| Score::new(score).unwrap();
    let assignment = Assignment { experiment: "2".into(), bucket: 7, key: KeyKind::Email };
    let grade = |score: f32| if score > 0.4 { Grade::A } else { Grade::D };
    let mut entries = vec![
        Entry::Score(ScoreRecord {
            time_ms,
            route: "r".into(),
            lead: Some(name.as_str().into()),
            arm,
            model: id(answered),
            names: [].into(),
            features: Packed::new(&[]),
            // Alike on both sides: how scores are spread is not the question here.
            score: probability(0.5),
            grade: Grade::A,
            latency_ns: 1000,
            decision: Decision::Headers,
            exposure: Some(Box::new(Exposure { assignment, arm, propensity: 0.5 })),
            fell: None,
        }),
        Entry::Shadow(Box::new(ShadowRecord {
            time_ms,
            lead: Some(name.as_str().into()),
            model: id(aside),
            slot,
            live: LiveScore {
                model: id(answered),
                score: probability(live),
                grade: grade(live),
                latency_ns: 500,
            },
            score: Ok((probability(other), grade(other))),
            latency_ns: 1000,
        })),
    ];
    if n % 5 == 0 {
        let outcome = Outcome::new(name, true);
        entries.push(Entry::Outcome(OutcomeRecord { time_ms: time_ms + 10_000, route: "r".into(), outcome }));
    }
    entries
}

/// The canary knows what will be won, and the champion less so.
fn fill(desk: &Desk) {
    let scores = |n: i64| if n % 5 == 0 { (0.5, 0.8) } else { (0.2, 0.05) };
    let entries: Vec<Entry> = (0..LEADS).flat_map(|n| lead(n, scores(n))).collect();
    Store::open(&desk.state).unwrap().write(&entries).unwrap();
}

fn promote(version: &str) -> Order {
    let (model, actor, why) = ("lead".to_owned(), "jo".to_owned(), String::new());
    Order { model, action: Action::Promote(version.to_owned()), actor, why }
}

/// What the loop would do at its first look.
fn decided(desk: &Desk) -> Decided {
    let life = life(desk, "lead").unwrap();
    let evidence = evidence(desk, ("lead", &life), NOW_MS).unwrap();
    let policy = &desk.policy;
    let now = Situation { life: &life, evidence: Some(&evidence), faults: &[], policy, now_ms: NOW_MS };
    decide(&now, &mut Memory::default())
}

#[test]
fn a_persons_order_rests_on_the_numbers_that_a_decision_does() {
    let (_folder, desk) = place();
    fill(&desk);
    let decided = decided(&desk);
    assert_eq!(decided.act, Act::Promote { better: true }, "{}", decided.told.said);
    let (_, recorded) = decided.order("lead").unwrap();
    let given = grounds(&desk, &promote("2"), NOW_MS);
    assert!(given.better);
    assert_eq!(given.numbers, recorded.numbers);
    assert_eq!(given.found.as_deref(), Some(decided.told.said.as_str()));
    for (name, expected) in [
        ("leads", LEADS),
        ("positives", LEADS / 5),
        ("graded", LEADS),
        ("benefit_leads", LEADS / 2),
        ("benefit_conversions", LEADS / 10),
        ("benefit_difference_e6", 0),
    ] {
        assert_eq!(given.numbers.get(name), Some(&expected.into()), "{name}");
    }
    assert!(given.numbers.contains_key("benefit_low_e6") && given.numbers.contains_key("benefit_high_e6"));
    assert_eq!(grounds(&desk, &promote("9"), NOW_MS), Grounds::default(), "no canary");
    let pause = Order { action: Action::Pause, ..promote("2") };
    assert_eq!(grounds(&desk, &pause, NOW_MS), Grounds::default());
}

#[test]
fn a_verdict_tells_what_a_decision_would_rest_on() {
    let (_folder, desk) = place();
    fill(&desk);
    let told = verdict(&desk, "lead", NOW_MS).unwrap();
    let decided = decided(&desk);
    assert_eq!((told.next.act, &told.next.numbers), ("promote", &decided.told.numbers));
    assert_eq!((told.uncounted.as_ref(), told.champion.as_deref()), (None, Some("1")));
    let [tried] = told.trials.as_slice() else { panic!("{told}") };
    assert_eq!((tried.version.as_str(), tried.slot, tried.percent), ("2", "canary", Some(50)));
    let rulings: Vec<_> = tried.verdicts.iter().map(|finding| (finding.name, finding.ruling)).collect();
    let expected = [
        ("window", "pass"),
        ("shares", "pass"),
        ("shift", "pass"),
        ("harm", "undecided"),
        ("benefit", "undecided"),
        ("quality", "better"),
        ("auc", "undecided"),
    ];
    assert_eq!(rulings, expected);
    assert!(tried.gate.iter().all(|check| check.ruling == "pass"), "{told}");
    let text = told.to_string();
    for expected in [
        "lead: champion 1\n  2 canary at 50%\n",
        "    quality     better       better on the same 4,200 leads, 840 of them won",
        "    shares      pass         the canary got 50.00% of 4,200 leads at 50%, as it should\n",
        "    grades      pass         0 of 4,200 leads change grade\n",
        "\n  next: promote: golden samples hold; ",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert_eq!(ledger::read(&desk.state).unwrap().len(), 4, "nothing is recorded");
}

#[test]
fn a_shadow_is_judged_by_its_operation_and_its_quality() {
    let (_folder, desk) = place();
    let moved = Event::new(Kind::StateChanged, "jo").model("lead").version("2");
    let moved = moved.with("to", "shadow").with("override", 1);
    Ledger::open(&desk.state).unwrap().lock().unwrap().append(moved, 3).unwrap();
    fill(&desk);
    let told = verdict(&desk, "lead", NOW_MS).unwrap();
    let [tried] = told.trials.as_slice() else { panic!("{told}") };
    let rulings: Vec<_> = tried.verdicts.iter().map(|finding| (finding.name, finding.ruling)).collect();
    // Four scores are not spread as the champion's are.
    assert_eq!((tried.slot, rulings), ("shadow", vec![("operation", "fail"), ("quality", "better")]));
    assert_eq!((told.next.act, told.next.detail.as_deref()), ("hold", Some("operation")), "{told}");
}

#[test]
fn a_lead_log_that_cannot_be_read_speaks_for_nothing_and_is_told() {
    let (_folder, desk) = place();
    std::fs::create_dir_all(desk.state.join(Store::FILE)).unwrap();
    let given = grounds(&desk, &promote("2"), NOW_MS);
    assert!(!given.better && given.numbers.is_empty());
    assert!(given.found.unwrap().starts_with("nothing could be counted: "));
    let told = verdict(&desk, "lead", NOW_MS).unwrap();
    assert_eq!((told.trials.len(), told.next.detail.as_deref()), (0, Some("unmeasured")));
    assert!(told.to_string().contains("\n  nothing could be counted: "), "{told}");
    let unknown = verdict(&desk, "absent", NOW_MS).unwrap_err();
    assert!(matches!(unknown, OrderError::Unknown { .. }), "{unknown}");
}
