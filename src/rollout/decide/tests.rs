//! Tables of decisions: what became of a model, what was counted, and what follows.

use super::*;
use crate::{
    lead::{AucDifference, Cohort, Histogram, Labelled, Sides, Traffic, Window},
    rollout::fixture::{HOUR, history},
};

/// Version 3 serves, 2 did before, and 4 is a shadow since hour 2.
const SHADOW: &str = "
    0 ops model.registered 2 digest=d2
    0 ops state.changed 2 to=production override=1
    0 ops model.registered 3 digest=d3
    0 ops state.changed 3 to=production override=1
    1 ada model.registered 4 digest=d4
    1 ada state.changed 4 to=validated
    2 ops state.changed 4 to=shadow
";
/// And then a canary at 10% since hour 172, by record 8.
const CANARY: &str = "172 leadwire state.changed 4 to=canary pct=10\n";
const FIFTY: &str = "200 leadwire state.changed 4 to=canary pct=50\n";

fn traffic(leads: u64, errors: u64) -> Traffic {
    Traffic { leads, scored: leads - errors, errors, p99_ns: 9000, ..Traffic::default() }
}

/// Pairs that run well, and are better by `mean`.
fn pairs(mean: f64) -> Pairs {
    let expected = Sides { champion: 400.0, challenger: 400.0 };
    let labelled = Labelled { leads: 5000, positives: 400, mean, squares: 200.0, expected };
    Pairs {
        mirrored: 30_000,
        p99_ns: Sides { champion: 9000, challenger: 9000 },
        labelled,
        ..Pairs::default()
    }
}

/// A canary in its step `seq` that does as well as the champion, over the hour before `hours`.
fn healthy(seq: u64, percent: u32, hours: i64) -> Evidence {
    let arms = Sides { champion: traffic(900, 0), challenger: traffic(100, 0) };
    let cohort = |leads| Cohort { leads, matured: 0, conversions: 0 };
    let cohorts = Sides {
        champion: cohort(300 * u64::from(100 - percent)),
        challenger: cohort(300 * u64::from(percent)),
    };
    let step = StepCounts {
        seq,
        percent,
        arms: Sides { champion: traffic(27_000, 0), challenger: traffic(3000, 0) },
        cohorts,
        ..StepCounts::default()
    };
    Evidence {
        window: Window { from_ms: (hours - 1) * HOUR, to_ms: hours * HOUR, arms },
        steps: vec![step],
        pairs: pairs(0.02),
        shadows: vec![("4".into(), pairs(0.02)), ("5".into(), pairs(0.02))],
    }
}

/// The decision after these records with this evidence, in short.
#[track_caller]
fn check(records: &str, hours: i64, evidence: &Evidence, faults: &[Fault], expected: &str) {
    let policy = Rollout { approvals: vec![Stage::Canary], ..Rollout::default() };
    let life = history(records);
    let now =
        Situation { life: &life, evidence: Some(evidence), faults, policy: &policy, now_ms: hours * HOUR };
    assert_eq!(short(&decide(&now, &mut Memory::default())), expected);
}

fn short(decision: &Decision) -> String {
    let alarm = match decision.alarm {
        Alarm::None => "",
        Alarm::Warning => " !",
        Alarm::Critical => " !!",
    };
    format!("{} {:?}{alarm}", decision.version, decision.act)
}

#[test]
fn a_shadow_waits_asks_and_gets_its_share() {
    let grant = "180 ops approval.granted 4 step=canary digest=d4 expires_ms=1440000000\n";
    let ask = "180 leadwire approval.requested 4 step=canary\n";
    for (more, hours, expected) in [
        ("", 100, "4 Hold(Young)"),
        ("", 171, "4 Ask(Canary)"),
        (ask, 200, "4 Hold(Approval)"),
        // Nobody answered in 72 hours: ask again.
        (ask, 252, "4 Ask(Canary)"),
        (grant, 200, "4 Canary { percent: 10 }"),
        // The approval is expired; or of another artifact; or by who trained the version.
        (grant, 400, "4 Ask(Canary)"),
        (&grant.replace("d4", "d5"), 200, "4 Ask(Canary)"),
        (&grant.replace("ops", "ada"), 200, "4 Ask(Canary)"),
        ("180 ops approval.denied 4 step=canary\n", 200, "4 Hold(Denied)"),
        (&format!("{grant}190 ops paused\n"), 200, "4 Hold(Paused)"),
        (&format!("{grant}190 x state.changed 9 to=canary pct=1\n"), 200, "9 Hold(Young)"),
    ] {
        check(&format!("{SHADOW}{more}"), hours, &healthy(0, 10, hours), &[], expected);
    }
    // The same artifact fell 23 hours before, as another version.
    let fell = format!(
        "{SHADOW}{grant}178 x model.registered 8 digest=d4\n178 x state.changed 8 to=quarantined override=1\n"
    );
    check(&fell, 201, &healthy(0, 10, 201), &[], "4 Hold(Quarantine)");
    check(&fell, 202, &healthy(0, 10, 202), &[], "4 Canary { percent: 10 }");
}

#[test]
fn a_shadow_is_judged_by_what_it_scored() {
    let with = |pairs: Pairs| Evidence { shadows: vec![("4".into(), pairs)], ..Evidence::default() };
    let grant = "180 ops approval.granted 4 step=canary digest=d4";
    let granted = format!("{SHADOW}{grant}\n");
    let overridden = format!("{SHADOW}{grant} override=1 reason=known\n");
    check(SHADOW, 200, &Evidence::default(), &[], "4 Hold(NoData)");
    check(
        &granted,
        200,
        &with(Pairs { mirrored: 10, labelled: Labelled::default(), ..pairs(0.0) }),
        &[],
        "4 Hold(Samples)",
    );
    let failing = with(Pairs { errors: 1, ..pairs(0.0) });
    check(&granted, 200, &failing, &[], "4 Hold(Operation) !");
    check(&overridden, 200, &failing, &[], "4 Canary { percent: 10 }");
    // Worse is rejected, approved or not; but not before it was there for a week.
    check(&overridden, 200, &with(pairs(-0.02)), &[], "4 Reject !");
    check(SHADOW, 100, &with(pairs(-0.02)), &[], "4 Hold(Young)");
    // An open verdict does not keep it from a canary, and is told after two weeks.
    check(&granted, 200, &with(pairs(0.0)), &[], "4 Canary { percent: 10 }");
    check(SHADOW, 2 + 14 * 24, &with(pairs(0.0)), &[], "4 Ask(Canary) !");
    check(SHADOW, 2 + 14 * 24, &with(pairs(0.02)), &[], "4 Ask(Canary)");
}

#[test]
fn a_canary_climbs_when_a_step_is_over() {
    let canary = format!("{SHADOW}{CANARY}");
    let fifty = format!("{canary}{FIFTY}");
    check(&canary, 195, &healthy(8, 10, 195), &[], "4 Hold(Young)");
    check(&canary, 196, &healthy(8, 10, 196), &[], "4 StepUp { percent: 50 }");
    check(&format!("{canary}180 ops paused\n"), 196, &healthy(8, 10, 196), &[], "4 Hold(Paused)");
    let mut few = healthy(8, 10, 196);
    few.steps[0].arms.challenger.scored = 1999;
    check(&canary, 196, &few, &[], "4 Hold(Samples)");
    check(&fifty, 230, &healthy(9, 50, 230), &[], "4 Promote { better: true }");
    // Without "better" it takes an override.
    let open = Evidence { pairs: pairs(0.0), ..healthy(9, 50, 230) };
    check(&fifty, 230, &open, &[], "4 Hold(Gate)");
    let grant = "210 ops approval.granted 4 step=production digest=d4";
    check(&format!("{fifty}{grant}\n"), 230, &open, &[], "4 Hold(Gate)");
    check(
        &format!("{fifty}{grant} override=1 reason=board\n"),
        230,
        &open,
        &[],
        "4 Promote { better: false }",
    );
}

#[test]
fn approvals_stand_before_every_stage_that_asks_for_them() {
    let policy = Rollout { approvals: vec![Stage::Ramp, Stage::Production], ..Rollout::default() };
    let ramp = "180 ops approval.granted 4 step=ramp digest=d4\n";
    let production = "210 ops approval.granted 4 step=production digest=d4\n";
    for (records, hours, seq, percent, expected) in [
        (format!("{SHADOW}{CANARY}"), 196, 8, 10, "4 Ask(Ramp)"),
        (format!("{SHADOW}{CANARY}{ramp}"), 196, 8, 10, "4 StepUp { percent: 50 }"),
        (format!("{SHADOW}{CANARY}{FIFTY}"), 230, 9, 50, "4 Ask(Production)"),
        // The ramp's approval was used up by the ramp.
        (format!("{SHADOW}{CANARY}{ramp}{FIFTY}"), 230, 10, 50, "4 Ask(Production)"),
        (format!("{SHADOW}{CANARY}{FIFTY}{production}"), 230, 9, 50, "4 Promote { better: true }"),
    ] {
        let (life, evidence) = (history(&records), healthy(seq, percent, hours));
        let (now_ms, faults) = (hours * HOUR, &[]);
        let now = Situation { life: &life, evidence: Some(&evidence), faults, policy: &policy, now_ms };
        assert_eq!(short(&decide(&now, &mut Memory::default())), expected, "{records}");
    }
}

#[test]
fn evidence_takes_a_canary_back() {
    let canary = format!("{SHADOW}{CANARY}");
    let case = |edit: &dyn Fn(&mut Evidence), expected: &str| {
        let mut evidence = healthy(8, 10, 190);
        edit(&mut evidence);
        check(&canary, 190, &evidence, &[], expected);
        // A pause keeps nothing bad in service.
        if expected.contains('!') {
            check(&format!("{canary}180 ops paused\n"), 190, &evidence, &[], expected);
        }
    };
    let harmed = |champion: u64, challenger: u64| {
        move |evidence: &mut Evidence| {
            let cohort = |leads, conversions| Cohort { leads, matured: leads, conversions };
            evidence.steps[0].cohorts =
                Sides { champion: cohort(27_000, champion), challenger: cohort(3000, challenger) };
        }
    };
    case(&harmed(2160, 150), "4 RollBack(Harm) !!");
    case(&harmed(2160, 240), "4 Hold(Young)");
    case(&harmed(2160, 300), "4 Hold(Young)");
    case(&|evidence| evidence.pairs = pairs(-0.02), "4 RollBack(Worse) !!");
    let moved = |evidence: &mut Evidence| {
        (0..1000).for_each(|lead| evidence.steps[0].scores.champion.add_bin(lead % 100, 1));
        (0..1000).for_each(|lead| evidence.steps[0].scores.challenger.add_bin(500 + lead % 100, 1));
    };
    case(&moved, "4 RollBack(Shift) !!");
    let mut evidence = healthy(8, 10, 190);
    moved(&mut evidence);
    // A person who answered for the shift before the canary has explained it.
    let explained = "171 ops approval.granted 4 step=canary digest=d4 override=1 reason=recalibrated\n";
    check(
        &format!("{SHADOW}{explained}{CANARY}"),
        190,
        &Evidence { steps: vec![StepCounts { seq: 9, ..evidence.steps[0].clone() }], ..evidence.clone() },
        &[],
        "4 Hold(Young)",
    );
    evidence.steps[0].scores.champion = Histogram::default();
    check(&canary, 190, &evidence, &[], "4 Hold(Young)");
    case(
        &|evidence| {
            evidence.steps[0].cohorts.champion.leads = 8800;
            evidence.steps[0].cohorts.challenger.leads = 1200;
        },
        "4 Freeze !!",
    );
    case(&|evidence| evidence.window.arms.challenger = traffic(0, 0), "4 Hold(NoData)");
    case(&|evidence| evidence.steps.clear(), "4 Hold(Young)");
    case(
        &|evidence| evidence.window.arms = Sides { champion: traffic(900, 90), challenger: traffic(100, 10) },
        "4 Hold(Breach) !",
    );
    case(&|evidence| evidence.window.from_ms = 0, "4 Hold(NoData)");
}

#[test]
fn a_freeze_hides_results_and_nothing_else() {
    let frozen = format!("{SHADOW}{CANARY}180 leadwire frozen 4\n");
    let mut harmed = healthy(8, 10, 190);
    harmed.pairs = pairs(-0.02);
    harmed.steps[0].cohorts.challenger.leads = 0;
    check(&frozen, 190, &harmed, &[], "4 Hold(Frozen)");
    check(&frozen, 190, &healthy(8, 10, 190), &[fault("4")], "4 RollBack(Score) !!");
    // After a person let it go on, the step that was off counts for nothing.
    let resumed = format!("{frozen}185 ops resumed 4\n");
    let cohort = |leads, conversions| Cohort { leads, matured: leads, conversions };
    let mut evidence = healthy(10, 10, 190);
    let spoilt = Sides { champion: cohort(27_000, 2160), challenger: cohort(9000, 90) };
    evidence.steps.insert(0, StepCounts { seq: 8, percent: 10, cohorts: spoilt, ..StepCounts::default() });
    check(&resumed, 190, &evidence, &[], "4 Hold(Young)");
}

fn fault(version: &str) -> Fault {
    Fault { version: version.into(), trigger: Trigger::Score, told: Told::new("a score is no number", []) }
}

#[test]
fn a_fault_takes_its_version_out_but_never_plays_ping_pong() {
    let canary = format!("{SHADOW}{CANARY}");
    let recent = "199 x rollback.auto 9 trigger=harm\n199 x state.changed 9 to=quarantined override=1\n";
    let spent = "173 x rollback.auto 4 trigger=harm\n173 x state.changed 4 to=quarantined\n\
         174 x state.changed 4 to=validated\n175 x state.changed 4 to=canary pct=10 override=1\n";
    let champion_fell =
        format!("{SHADOW}190 x rollback.auto 3 trigger=load\n190 x state.changed 3 to=quarantined\n");
    for (records, version, hours, expected) in [
        (canary.as_str(), "4", 200, "4 RollBack(Score) !!"),
        (SHADOW, "4", 200, "4 RollBack(Score) !!"),
        // The champion: the one before it takes over.
        (SHADOW, "3", 200, "3 RollBack(Score) !!"),
        // Not live any more, or never heard of.
        (SHADOW, "2", 100, "4 Hold(Young)"),
        (SHADOW, "77", 100, "4 Hold(Young)"),
        // The model was rolled back less than an hour ago; a shadow may leave all the same.
        (&format!("{canary}{recent}"), "4", 199, "4 Hold(Cooldown) !!"),
        (&format!("{canary}{recent}"), "4", 200, "4 RollBack(Score) !!"),
        (&format!("{SHADOW}{recent}"), "4", 199, "4 RollBack(Score) !!"),
        // Once is enough for a version.
        (&format!("{canary}{spent}"), "4", 200, "4 Hold(Spent) !!"),
        // A rollback that was recorded and never carried out is none.
        (&format!("{canary}199 x rollback.auto 4 trigger=harm\n"), "4", 199, "4 RollBack(Score) !!"),
        // Version 2 took over, and fails too: nobody is left.
        (&champion_fell, "2", 190, "2 Hold(Alone) !!"),
        (&champion_fell, "2", 200, "2 Hold(Alone) !!"),
        (&champion_fell, "3", 100, "4 Hold(Young)"),
    ] {
        check(records, hours, &healthy(8, 10, hours), &[fault(version)], expected);
    }
    // With two former champions the second fall within an hour waits for a person.
    let three = format!(
        "{SHADOW}5 x state.changed 7 to=production override=1\n190 x rollback.auto 7\n190 x state.changed 7 to=quarantined\n"
    );
    check(&three, 190, &healthy(8, 10, 190), &[fault("3")], "3 Hold(Cooldown) !!");
    check(&three, 191, &healthy(8, 10, 191), &[fault("3")], "3 RollBack(Score) !!");
}

#[test]
fn three_windows_in_a_row_fail_a_canary() {
    let life = history(&format!("{SHADOW}{CANARY}"));
    let policy = Rollout::default();
    let run = |looks: &str| {
        let mut memory = Memory::default();
        let looks = looks.bytes().enumerate().map(|(look, kind)| {
            let hours = 174 + look as i64;
            let mut evidence = healthy(8, 10, hours);
            let challenger = &mut evidence.window.arms.challenger;
            match kind {
                b'f' => *challenger = traffic(200, 40),
                b'-' => *challenger = traffic(30, 30),
                b'b' => {
                    evidence.window.arms = Sides { champion: traffic(900, 90), challenger: traffic(100, 10) }
                }
                _ => {}
            }
            let step = life.step().unwrap();
            // A window that saw too little goes on.
            evidence.window.from_ms = memory.window_from_ms(step);
            let evidence = (kind != b'?').then_some(&evidence);
            let now = Situation { life: &life, evidence, faults: &[], policy: &policy, now_ms: hours * HOUR };
            let decision = decide(&now, &mut memory);
            let pause = memory.next_look(&policy).as_secs();
            let letter = match decision.act {
                Act::Hold(Hold::Failing) => "F",
                Act::Hold(Hold::NoData) => "-",
                Act::Hold(Hold::Breach) => "B",
                Act::Hold(Hold::Young) => ".",
                Act::Hold(Hold::Unmeasured) if decision.alarm == Alarm::Warning => "!",
                Act::Hold(Hold::Unmeasured) => "?",
                Act::RollBack(Trigger::Windows) => "R",
                other => panic!("{other:?}"),
            };
            assert_eq!(pause, if kind == b'?' { 10 } else { 60 });
            letter
        });
        looks.collect::<String>()
    };
    for (looks, expected) in [
        ("fff", "FFR"),
        ("ff.ff.ff", "FF.FF.FF"),
        // Silence is neither good nor bad.
        ("ff---f", "FF---R"),
        ("f-f-.-f", "F-F-.-F"),
        ("ffbff", "FFBFF"),
        ("--------------------", "--------------------"),
        ("????.????", "???!.???!"),
        ("ff?f", "FF?R"),
    ] {
        assert_eq!(run(looks), expected, "{looks}");
    }
}

#[test]
fn ranking_is_judged_once_at_the_end_of_a_step() {
    let life = history(&format!("{SHADOW}{CANARY}"));
    let policy = Rollout { approvals: vec![Stage::Ramp], ..Rollout::default() };
    let mut memory = Memory::default();
    let mut look = |hours: i64, upper: f64| {
        let mut evidence = healthy(8, 10, hours);
        evidence.pairs.auc = Some(AucDifference { difference: upper - 0.02, upper });
        let now = Situation {
            life: &life,
            evidence: Some(&evidence),
            faults: &[],
            policy: &policy,
            now_ms: hours * HOUR,
        };
        short(&decide(&now, &mut memory))
    };
    assert_eq!(look(180, -0.01), "4 Hold(Young)");
    assert_eq!(look(196, 0.01), "4 Ask(Ramp)");
    // Looked at every day, a bound for one look would be crossed some day.
    assert_eq!(look(197, -0.01), "4 Ask(Ramp)");
    memory = Memory::default();
    let mut look = |hours: i64, upper: f64| {
        let mut evidence = healthy(8, 10, hours);
        evidence.pairs.auc = Some(AucDifference { difference: upper - 0.02, upper });
        let now = Situation {
            life: &life,
            evidence: Some(&evidence),
            faults: &[],
            policy: &policy,
            now_ms: hours * HOUR,
        };
        short(&decide(&now, &mut memory))
    };
    assert_eq!(look(196, -0.01), "4 RollBack(Auc) !!");
}

#[test]
fn ranking_waits_for_enough_wins() {
    let life = history(&format!("{SHADOW}{CANARY}"));
    let policy = Rollout { approvals: vec![Stage::Ramp], ..Rollout::default() };
    let mut memory = Memory::default();
    let mut look = |hours: i64, positives: u64, auc: Option<AucDifference>| {
        let mut evidence = healthy(8, 10, hours);
        (evidence.pairs.auc, evidence.pairs.labelled.positives) = (auc, positives);
        let now = Situation {
            life: &life,
            evidence: Some(&evidence),
            faults: &[],
            policy: &policy,
            now_ms: hours * HOUR,
        };
        short(&decide(&now, &mut memory))
    };
    let worse = Some(AucDifference { difference: -0.03, upper: -0.01 });
    assert_eq!(look(196, 400, None), "4 Ask(Ramp)");
    assert_eq!(look(197, policy.paired.reject - 1, worse), "4 Ask(Ramp)");
    // Neither look was one at the ranking.
    assert_eq!(look(198, policy.paired.reject, worse), "4 RollBack(Auc) !!");
}

#[test]
fn former_champions_are_put_away_but_for_the_last() {
    let records = "
        0 x state.changed 1 to=production override=1
        1 x state.changed 2 to=production override=1
        2 x state.changed 3 to=production override=1
    ";
    check(records, 700, &Evidence::default(), &[], " Hold(Idle)");
    check(records, 721, &Evidence::default(), &[], "1 Archive");
    check(
        &format!("{records}721 x state.changed 1 to=archived\n"),
        9000,
        &Evidence::default(),
        &[],
        " Hold(Idle)",
    );
}

#[test]
fn the_same_hold_is_news_once() {
    let hold = |why, version: &str, leads| Decision::hold(why, version, Told::new("", [("leads", leads)]));
    let last = hold(Hold::NoData, "4", 10);
    assert!(last.is_news(None));
    assert!(!hold(Hold::NoData, "4", 20).is_news(Some(&last)));
    assert!(hold(Hold::Young, "4", 10).is_news(Some(&last)));
    assert!(hold(Hold::NoData, "5", 10).is_news(Some(&last)));
}
