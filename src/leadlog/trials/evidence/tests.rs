//! Each rule with its cases, and look by look what one reading gives.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    lead::{
        Arm, ArmOutcome, Assignment, Exposure, Grade, KeyKind, Labelled, ModelId, Outcome, Score,
        ShadowError, Slot, Traffic,
    },
    leadlog::{
        Decision, Entry, ExposureRecord, LiveScore, OnCanary, OutcomeRecord, Packed, ScoreRecord,
        ShadowRecord,
    },
};

const HORIZON: Horizon = Horizon { ms: 100, now_ms: 1_000 };

/// Version 2 answers some leads of version 1 in one step, and its pairs count since a time.
fn canary(pairs_ms: i64, from_ms: i64, to_ms: Option<i64>) -> OnTrial {
    let steps = vec![OnStep { seq: 7, percent: 10, from_ms, to_ms }];
    let canary = Some(OnCanary { version: "2".into(), pairs_ms, steps });
    OnTrial { model: "lead".into(), champion: "1".into(), canary, shadows: Vec::new() }
}

/// All that the log tells, read at once.
fn whole(store: &Store, of: &OnTrial, window_ms: i64, horizon: Horizon) -> Evidence {
    Seen::default().look(store, of, window_ms, horizon).unwrap()
}

/// The same of one step.
fn step(store: &Store, from_ms: i64, to_ms: i64) -> StepCounts {
    whole(store, &canary(0, from_ms, Some(to_ms)), 0, HORIZON).steps.remove(0)
}

fn id(version: &str) -> Arc<ModelId> {
    Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() })
}

fn exposure(arm: Arm, key: KeyKind) -> Box<Exposure> {
    let assignment = Assignment { experiment: "2".into(), bucket: 7, key };
    Box::new(Exposure { assignment, arm, propensity: 0.5 })
}

/// A lead that was assigned to one arm and answered by another.
fn score(time_ms: i64, lead: &str, (assigned, arm): (Arm, Arm), score: f32) -> ScoreRecord {
    ScoreRecord {
        time_ms,
        route: "r".into(),
        lead: Some(lead.into()),
        arm,
        model: id(if arm == Arm::Champion { "1" } else { "2" }),
        names: [].into(),
        features: Packed::new(&[]),
        score: Score::new(score).unwrap(),
        grade: Grade::B,
        latency_ns: 1_000,
        decision: Decision::Headers,
        exposure: Some(exposure(assigned, KeyKind::Email)),
        fell: (assigned != arm).then_some(ArmOutcome::Failed),
    }
}

fn unscored(time_ms: i64, lead: Option<&str>, arm: Arm, outcome: ArmOutcome) -> Entry {
    let (lead, exposure) = (lead.map(Into::into), exposure(arm, KeyKind::Id));
    Entry::Exposure(ExposureRecord { time_ms, lead, model: "lead".into(), exposure, outcome })
}

fn won(time_ms: i64, lead: &str, won: bool) -> Entry {
    Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome: Outcome::new(lead, won) })
}

fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.write(entries).unwrap();
    (folder, store)
}

const OLD: (Arm, Arm) = (Arm::Champion, Arm::Champion);
const NEW: (Arm, Arm) = (Arm::Challenger, Arm::Challenger);
const FELL: (Arm, Arm) = (Arm::Challenger, Arm::Champion);

#[test]
fn leads_count_by_the_arm_that_they_were_assigned_to() {
    let stranger = ScoreRecord {
        exposure: Some(exposure(Arm::Challenger, KeyKind::Request)),
        ..score(4, "s", NEW, 0.9)
    };
    let other = ScoreRecord { exposure: None, ..score(4, "o", OLD, 0.9) };
    let (_folder, store) = log(&[
        Entry::Score(score(1, "a", OLD, 0.25)),
        Entry::Score(score(2, "b", NEW, 0.5)),
        Entry::Score(score(3, "c", FELL, 0.75)),
        Entry::Score(stranger),
        Entry::Score(other),
        unscored(5, Some("d"), Arm::Challenger, ArmOutcome::Late),
        unscored(6, None, Arm::Champion, ArmOutcome::Failed),
        unscored(7, Some("e"), Arm::Champion, ArmOutcome::Features),
        Entry::Score(score(8, "b", NEW, 1.0)),
        Entry::Score(score(90, "z", NEW, 0.5)),
    ]);
    let of_step = step(&store, 0, 90);
    let Sides { champion, challenger } = of_step.arms.clone();
    let counts = |of: &Traffic| (of.leads, of.scored, of.errors, of.late);
    assert_eq!((counts(&champion), counts(&challenger)), ((2, 1, 1, 0), (4, 2, 1, 1)));
    assert_eq!((champion.p99_ns, challenger.p99_ns), (0, 0), "the time of a request is no version's");
    let answers = of_step.scores;
    assert_eq!((answers.champion.total(), answers.challenger.total()), (1, 2));
    assert_eq!((answers.champion.bins()[256], answers.challenger.bins()[1023]), (1, 1));
    assert_eq!(step(&store, 9, 10).arms, Sides::default());
    let cohorts = of_step.cohorts;
    assert_eq!((cohorts.champion.leads, cohorts.challenger.leads), (2, 3), "scored or not, each once");
    assert_eq!((of_step.seq, of_step.percent), (7, 10));
    let window = whole(&store, &canary(0, 0, None), 0, Horizon { now_ms: 90, ..HORIZON }).window;
    assert_eq!((window.from_ms, window.to_ms, window.arms), (0, 90, of_step.arms));
}

#[test]
fn a_conversion_counts_once_it_is_settled_and_only_within_the_horizon() {
    let check = |exposed: i64, outcomes: &[(i64, bool)], expected: (u64, u64)| {
        let mut entries = vec![Entry::Score(score(exposed, "a", NEW, 0.5))];
        entries.extend(outcomes.iter().map(|(time, is_won)| won(*time, "a", *is_won)));
        entries.push(Entry::Score(score(exposed + 1, "a", NEW, 0.5)));
        let (_folder, store) = log(&entries);
        let cohort = step(&store, 0, 1_000).cohorts.challenger;
        assert_eq!(cohort.leads, 1);
        assert_eq!((cohort.matured, cohort.conversions), expected, "{exposed} {outcomes:?}");
    };
    check(500, &[], (1, 0));
    check(500, &[(550, true)], (1, 1));
    check(500, &[(600, true)], (1, 1));
    check(500, &[(601, true)], (1, 0));
    check(500, &[(501, true)], (1, 1));
    check(500, &[(550, true), (700, true)], (1, 1));
    check(500, &[(550, true), (700, false)], (1, 1));
    check(500, &[(550, false), (590, true), (601, false)], (1, 1));
    // Closed before anybody scored it, or as it was scored.
    check(500, &[(499, true)], (0, 0));
    check(500, &[(500, true)], (0, 0));
    check(500, &[(499, false), (550, true)], (0, 0));
    check(500, &[(550, false)], (1, 0));
    check(500, &[(550, true), (560, false)], (1, 0));
    check(900, &[(950, true)], (1, 1));
    check(901, &[(950, true)], (0, 0));
}

#[test]
fn a_label_goes_by_when_it_happened_and_by_the_highest_revision() {
    let told = |time_ms: i64, occurred_ms: i64, revision: Option<i64>, won: bool| {
        let outcome = Outcome { time_ms: Some(occurred_ms), revision, ..Outcome::new("a", won) };
        Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
    };
    let check = |outcomes: Vec<Entry>, expected: (u64, u64)| {
        let met = [
            Entry::Score(score(500, "a", NEW, 0.5)),
            shadow(500, "a", Slot::Champion, (0.5, Grade::B), Ok((0.25, Grade::C))),
        ];
        let (_folder, store) = log(&met.into_iter().chain(outcomes).collect::<Vec<_>>());
        let told = whole(&store, &canary(0, 0, None), 0, HORIZON);
        let cohort = told.steps[0].cohorts.challenger;
        assert_eq!((cohort.leads, cohort.matured, cohort.conversions), (1, expected.0, expected.1));
        let labelled = told.pairs.labelled;
        assert_eq!((labelled.leads, labelled.positives), expected, "pairs go by the same");
    };
    check(vec![told(800, 550, None, true)], (1, 1));
    check(vec![told(800, 550, None, true), told(801, 700, Some(9), false)], (1, 1));
    check(vec![told(550, 550, Some(2), true), told(560, 560, Some(1), false)], (1, 1));
    check(vec![told(550, 450, None, true)], (0, 0));
    check(vec![told(499, 550, None, true)], (0, 0));
    check(vec![told(800, 601, None, true)], (1, 0));
}

#[test]
fn each_arm_takes_the_time_of_its_version_whoever_answered() {
    use Grade::B;
    let timed = |time_ms, slot, live_ns, latency_ns| {
        let Entry::Shadow(mut record) = shadow(time_ms, "a", slot, (0.5, B), Ok((0.5, B))) else {
            panic!("a shadow's record")
        };
        (record.live.latency_ns, record.latency_ns) = (live_ns, latency_ns);
        Entry::Shadow(record)
    };
    let failed = shadow(12, "a", Slot::Challenger, (0.5, B), Err(ShadowError::Features));
    let check = |entries: &[Entry], expected: (u64, u64)| {
        let (_folder, store) = log(entries);
        let arms = step(&store, 10, 20).arms;
        assert_eq!((arms.champion.p99_ns, arms.challenger.p99_ns), expected);
    };
    check(&[timed(10, Slot::Challenger, 30, 50)], (30, 50));
    check(&[timed(10, Slot::Champion, 50, 30)], (30, 50));
    check(&[timed(10, Slot::Challenger, 30, 50), timed(11, Slot::Champion, 90, 20), failed], (30, 90));
    // Before and after it, and of a version that is no arm.
    check(&[timed(9, Slot::Champion, 1, 1), timed(20, Slot::Champion, 1, 1)], (0, 0));
    check(&[timed(10, Slot::Shadow, 30, 50)], (0, 0));
}

#[test]
fn only_the_first_exposure_counts() {
    let (_folder, mut store) = log(&[unscored(10, Some("a"), Arm::Champion, ArmOutcome::Features)]);
    store.write(&[Entry::Score(score(20, "a", NEW, 0.5))]).unwrap();
    let cohorts = step(&store, 0, 15).cohorts;
    assert_eq!((cohorts.champion.leads, cohorts.challenger.leads), (1, 0));
    assert_eq!(step(&store, 15, 90).cohorts, Sides::default());
}

/// The champion said `live` and the challenger `other`, or the other way round where `slot` is the champion's.
fn shadow(
    time_ms: i64,
    lead: &str,
    slot: Slot,
    live: (f32, Grade),
    other: Result<(f32, Grade), ShadowError>,
) -> Entry {
    let probability = |score: f32| Score::new(score).unwrap();
    let (model, answered) = if slot == Slot::Champion { ("1", "2") } else { ("2", "1") };
    Entry::Shadow(Box::new(ShadowRecord {
        time_ms,
        lead: Some(lead.into()),
        model: id(model),
        slot,
        live: LiveScore { model: id(answered), score: probability(live.0), grade: live.1, latency_ns: 500 },
        score: other.map(|(score, grade)| (probability(score), grade)),
        latency_ns: 1_000,
    }))
}

#[test]
fn pairs_are_of_both_versions_whichever_answered() {
    use Grade::{A, B, C, D};
    let (old, new) = ((0.25, C), (0.5, B));
    let (_folder, store) = log(&[
        shadow(1, "early", Slot::Shadow, old, Ok(new)),
        // Of an earlier trial.
        shadow(2, "a", Slot::Shadow, (0.75, A), Ok((0.75, A))),
        shadow(10, "a", Slot::Shadow, old, Ok(new)),
        shadow(11, "b", Slot::Champion, (0.5, B), Ok((0.5, B))),
        shadow(12, "c", Slot::Challenger, (0.125, D), Ok((0.75, A))),
        shadow(13, "a", Slot::Shadow, old, Ok((0.125, D))),
        shadow(14, "d", Slot::Shadow, old, Err(ShadowError::Score)),
        shadow(15, "d", Slot::Shadow, old, Err(ShadowError::Panic)),
        shadow(16, "d", Slot::Shadow, old, Err(ShadowError::Features)),
        shadow(17, "d", Slot::Champion, old, Err(ShadowError::Panic)),
        shadow(18, "edited", Slot::Shadow, old, Ok(new)),
        shadow(950, "e", Slot::Shadow, old, Ok(new)),
        won(60, "a", true),
        won(61, "b", true),
        won(960, "e", true),
    ]);
    let edited = "UPDATE shadow_scores SET score = NULL WHERE lead = 'edited'";
    store.connection.execute(edited, []).unwrap();
    let of = OnTrial { shadows: vec![("2".into(), 10)], ..canary(10, 0, None) };
    let Evidence { pairs, shadows, .. } = whole(&store, &of, 0, HORIZON);
    assert_eq!(shadows, [("2".into(), pairs.clone())], "a shadow's count as a canary's");
    let counts = (pairs.mirrored, pairs.errors, pairs.non_finite, pairs.missing);
    assert_eq!(counts, (8, 2, 1, 1));
    assert_eq!((pairs.graded(), pairs.changed(), pairs.grades[2][1], pairs.grades[3][0]), (5, 4, 2, 1));
    assert_eq!((pairs.scores.champion.bins()[128], pairs.scores.challenger.bins()[768]), (1, 1));
    // The time of each version, whoever answered: four rows are the challenger's, one the champion's.
    assert!(pairs.p99_ns.champion >= 990 && pairs.p99_ns.challenger >= 990);
    let Labelled { leads, positives, mean, expected, .. } = &pairs.labelled;
    assert_eq!((*leads, *positives, expected.champion, expected.challenger), (3, 2, 0.875, 1.75));
    let c = (1.0f64 - 0.125).ln() - (1.0f64 - 0.75).ln();
    let expected = (0.5f64.ln() - 0.25f64.ln() - c) / 3.0;
    assert!((mean - expected).abs() < 1e-12, "{mean} {expected}");
    assert_eq!(pairs.auc, None, "one that lost is too few");
    let none = OnTrial { shadows: vec![("3".into(), 10)], canary: None, ..of };
    assert_eq!(whole(&store, &none, 0, HORIZON).shadows, [("3".into(), Pairs::default())]);
}

/// What a look may find: what it is, when it was beside the look's own time, of which lead, and either of two ways.
type Event = (u8, i64, u8, bool);

fn entry((kind, time_ms, lead, way): Event) -> Entry {
    use Grade::{A, B};
    let lead = format!("l{lead}");
    let points = f32::from(kind) / 8.0 + time_ms as f32 / 1_000.0;
    let (arm, slot) = if way { (OLD, Slot::Challenger) } else { (NEW, Slot::Champion) };
    match kind {
        0 => Entry::Score(score(time_ms, &lead, arm, points)),
        1 => Entry::Score(score(time_ms, &lead, FELL, points)),
        2 => unscored(time_ms, Some(&lead), arm.0, if way { ArmOutcome::Late } else { ArmOutcome::Failed }),
        3 => shadow(time_ms, &lead, slot, (points, A), Ok((0.5, B))),
        4 => shadow(time_ms, &lead, Slot::Shadow, (0.5, A), Ok((points, if way { A } else { B }))),
        5 => shadow(time_ms, &lead, slot, (0.5, A), Err(ShadowError::Panic)),
        _ => won(time_ms, &lead, way),
    }
}

/// Looks one after the other: whether the window was judged, and what was written by then.
fn any_looks() -> impl Strategy<Value = Vec<(bool, Vec<Event>)>> {
    let event = (0..7_u8, -30..6_i64, 0..5_u8, any::<bool>());
    prop::collection::vec((any::<bool>(), prop::collection::vec(event, 0..8)), 1..6)
}

proptest! {
    // Each case is a log of its own.
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn look_by_look_it_is_what_one_reading_gives(looks in any_looks()) {
        let (_folder, mut store) = log(&[]);
        let mut of = canary(80, 95, Some(115));
        of.canary.as_mut().unwrap().steps.push(OnStep { seq: 8, percent: 50, from_ms: 115, to_ms: None });
        of.shadows.push(("2".into(), 100));
        let (mut seen, mut window_ms) = (Seen::default(), 95);
        for ((is_judged, events), now_ms) in looks.into_iter().zip((100..).step_by(10)) {
            // Some were scored before the last look, and some after this one began.
            let at = |(kind, after, lead, way): Event| entry((kind, now_ms + after, lead, way));
            store.write(&events.into_iter().map(at).collect::<Vec<_>>()).unwrap();
            let horizon = Horizon { ms: 10, now_ms };
            seen.settled = None;
            let evidence = seen.look(&store, &of, window_ms, horizon).unwrap();
            prop_assert_eq!(evidence, whole(&store, &of, window_ms, horizon));
            window_ms = if is_judged { now_ms } else { window_ms };
        }
    }
}

/// Leads of either arm in the canary's step.
fn leads(seen: &mut Seen, store: &Store, of: &OnTrial) -> (u64, u64) {
    let Sides { champion, challenger } = &seen.look(store, of, 0, HORIZON).unwrap().steps[0].arms;
    (champion.leads, challenger.leads)
}

#[test]
fn a_row_that_is_removed_stays_counted_and_one_that_takes_its_number_counts() {
    let (_folder, mut store) =
        log(&[Entry::Score(score(11, "a", OLD, 0.5)), Entry::Score(score(12, "b", NEW, 0.5))]);
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    assert_eq!(leads(&mut seen, &store, &of), (1, 1));
    store.forget("a", 50).unwrap();
    assert_eq!(leads(&mut seen, &store, &of), (1, 1), "it is not read again");
    store.write(&[Entry::Score(score(13, "c", NEW, 0.5))]).unwrap();
    assert_eq!(leads(&mut seen, &store, &of), (1, 2));
    // The last row goes, and then there is another of the same number.
    store.forget("c", 50).unwrap();
    store.write(&[Entry::Score(score(14, "d", OLD, 0.5)), Entry::Score(score(15, "e", OLD, 0.5))]).unwrap();
    assert_eq!(leads(&mut seen, &store, &of), (2, 1), "all that is there is read again");
    store.forget("e", 50).unwrap();
    assert_eq!(leads(&mut seen, &store, &of), (1, 1));
    // The other has the time of the one that went, too.
    store.forget("d", 50).unwrap();
    store.write(&[Entry::Score(score(14, "f", NEW, 0.5))]).unwrap();
    assert_eq!(leads(&mut seen, &store, &of), (0, 2));
}

#[test]
fn what_else_is_asked_is_read_from_its_beginning() {
    let entries = (10..30).map(|n| Entry::Score(score(n, &n.to_string(), NEW, 0.5)));
    let (_folder, store) = log(&entries.collect::<Vec<_>>());
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    assert_eq!(leads(&mut seen, &store, &of), (0, 20));
    // The step was over before the last rows came.
    assert_eq!(leads(&mut seen, &store, &canary(0, 10, Some(25))), (0, 15));
    let other = OnTrial { model: "other".into(), ..of.clone() };
    assert_eq!(leads(&mut seen, &store, &other), (0, 0));
}

#[test]
fn a_window_goes_on_or_is_followed_by_the_next() {
    let (_folder, mut store) = log(&[]);
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    let mut check = |written: std::ops::Range<i64>, (from_ms, now_ms), expected: u64| {
        let rows: Vec<_> = written.map(|n| Entry::Score(score(n, &n.to_string(), NEW, 0.5))).collect();
        store.write(&rows).unwrap();
        let horizon = Horizon { now_ms, ..HORIZON };
        let window = seen.look(&store, &of, from_ms, horizon).unwrap().window;
        assert_eq!((window.from_ms, window.to_ms), (from_ms, now_ms));
        assert_eq!(window.arms.challenger.leads, expected, "{from_ms} {now_ms}");
    };
    // The last rows came while it was looked at.
    check(10..21, (10, 20), 10);
    check(21..22, (10, 22), 12);
    check(22..26, (22, 25), 3);
    check(26..30, (25, 40), 5);
    // Neither the same nor the next, as of a clock that was set back.
    check(0..0, (10, 20), 10);
    check(0..0, (20, 15), 0);
    check(0..0, (12, 14), 2);
}

#[test]
fn what_fails_on_its_way_counts_nothing_twice() {
    let first: Vec<_> = (0..3).map(|n| Entry::Score(score(11, &n.to_string(), OLD, 0.5))).collect();
    let (_folder, mut store) = log(&first);
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    assert_eq!(leads(&mut seen, &store, &of), (3, 0));
    // It is looked whether all stands, and labels are counted last.
    for (n, table) in ["misses", "shadow_scores", "exposures"].into_iter().enumerate() {
        store.write(&[Entry::Score(score(20, table, OLD, 0.5))]).unwrap();
        let rename = |from: &str, to: &str| {
            store.connection.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
        };
        rename(table, "gone");
        seen.settled = None;
        assert!(seen.look(&store, &of, 0, HORIZON).is_err());
        rename("gone", table);
        store.forget(&n.to_string(), 50).unwrap();
        assert_eq!(leads(&mut seen, &store, &of), (n as u64 + 4, 0), "what was read is kept");
    }
}

#[test]
fn what_fails_half_counted_is_read_again_and_labels_stay() {
    let (_folder, mut store) = log(&[Entry::Score(score(11, "a", OLD, 0.5))]);
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    assert_eq!(leads(&mut seen, &store, &of), (1, 0));
    let shadow = shadow(12, "b", Slot::Champion, (0.5, Grade::B), Ok((0.25, Grade::C)));
    store.write(&[Entry::Score(score(12, "b", NEW, 0.5)), shadow]).unwrap();
    let edit = |time: &str| {
        store.connection.execute_batch(&format!("UPDATE shadow_scores SET live_score = {time}")).unwrap();
    };
    edit("'no number'");
    assert!(seen.look(&store, &of, 0, HORIZON).is_err());
    assert!(seen.settled.is_some());
    edit("0.5");
    assert_eq!(leads(&mut seen, &store, &of), (1, 1));
}

#[test]
fn a_running_step_ends_now() {
    let (_folder, store) =
        log(&[Entry::Score(score(11, "a", OLD, 0.5)), Entry::Score(score(30, "b", OLD, 0.5))]);
    let mut seen = Seen::default();
    let mut check = |now_ms: i64, expected: (u64, u64)| {
        seen.settled = None;
        let step = seen
            .look(&store, &canary(0, 10, None), 0, Horizon { now_ms, ..HORIZON })
            .unwrap()
            .steps
            .remove(0);
        assert_eq!((step.arms.champion.leads, step.cohorts.champion.leads), expected, "{now_ms}");
    };
    // The second is of a clock that had jumped ahead.
    check(20, (2, 1));
    check(30, (2, 1));
    check(31, (2, 2));
}

#[test]
fn what_is_counted_whole_stays_for_a_while_where_that_took_long() {
    let (_folder, mut store) = log(&[Entry::Score(score(11, "a", OLD, 0.5))]);
    let (of, mut seen) = (canary(0, 10, None), Seen::default());
    assert_eq!(leads(&mut seen, &store, &of), (1, 0));
    store.write(&[Entry::Score(score(12, "b", OLD, 0.5))]).unwrap();
    let mut check = |due: Instant, ms: i64, expected: (u64, u64)| {
        seen.settled.as_mut().unwrap().due = due;
        let step = seen.look(&store, &of, 0, Horizon { ms, ..HORIZON }).unwrap().steps.remove(0);
        assert_eq!((step.arms.champion.leads, step.cohorts.champion.leads), expected);
        store.write(&[Entry::Score(score(12, &format!("{ms} {expected:?}"), OLD, 0.5))]).unwrap();
    };
    let later = Instant::now() + std::time::Duration::from_secs(3_600);
    check(later, HORIZON.ms, (2, 1));
    check(Instant::now(), HORIZON.ms, (3, 3));
    check(later, HORIZON.ms, (4, 3));
    // Of another horizon it tells nothing.
    check(later, HORIZON.ms + 1, (5, 5));
}
