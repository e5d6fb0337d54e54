//! Histories and what they come to.

use super::*;
use crate::rollout::fixture::{HOUR, fold, history};

/// From a folder to a canary at 50%.
const RISE: &str = "
    0 ops model.registered 3 digest=d3
    0 ops state.changed 3 to=production override=1
    1 ada model.registered 4 digest=d4
    1 ada gate.passed 4
    1 ada state.changed 4 from=trained to=validated
    2 ops shadow.started 4
    2 ops state.changed 4 from=validated to=shadow
    170 leadwire approval.requested 4 step=canary
    171 ops approval.granted 4 step=canary digest=d4 expires_ms=900000000 reason=good
    172 leadwire canary.ramped 4 pct=10
    172 leadwire state.changed 4 from=shadow to=canary pct=10
    200 leadwire state.changed 4 from=canary to=canary pct=50
";

/// Champion, challenger with its percent, shadows and previous after these records and those of [`RISE`].
fn slots(more: &str) -> String {
    let life = history(&format!("{RISE}{more}"));
    let challenger = life.experiment.as_ref().zip(life.step());
    let challenger = challenger.map(|(experiment, step)| format!("{}:{}", experiment.version, step.percent));
    let slot = |slot: Option<&str>| slot.unwrap_or("-").to_owned();
    let (champion, previous) = (slot(life.champion.as_deref()), slot(life.previous()));
    format!("{champion} {} {:?} {previous}", slot(challenger.as_deref()), life.shadows)
}

#[test]
fn records_move_versions_between_slots() {
    for (more, expected) in [
        ("", "3 4:50 [] -"),
        ("300 x state.changed 4 to=production", "4 - [] 3"),
        // The champion that is superseded is told of twice, and moves once.
        ("300 x state.changed 4 to=production\n300 x state.changed 3 to=standby", "4 - [] 3"),
        ("300 x rollback.auto 4 trigger=harm\n300 x state.changed 4 to=quarantined", "3 - [] -"),
        // A champion falls: the one before it serves, also where its own record is missing.
        ("300 x state.changed 4 to=production\n301 x state.changed 4 to=quarantined", "3 - [] -"),
        (
            "300 x state.changed 4 to=production\n301 x state.changed 4 to=quarantined\n\
             301 x state.changed 3 to=production",
            "3 - [] -",
        ),
        ("300 x state.changed 5 to=shadow\n301 x state.changed 6 to=shadow", "3 4:50 [\"5\", \"6\"] -"),
        ("300 x state.changed 5 to=shadow\n301 x state.changed 5 to=validated", "3 4:50 [] -"),
        // The later of two claims to a slot holds.
        ("300 x state.changed 5 to=canary pct=1", "3 5:1 [] -"),
        // Standby again, then archived: it cannot come back.
        (
            "300 x state.changed 4 to=production\n301 x state.changed 3 to=archived\n\
             302 x state.changed 5 to=production",
            "5 - [] 4",
        ),
    ] {
        assert_eq!(slots(more), expected, "{more}");
    }
}

#[test]
fn a_life_says_since_when_and_by_which_record() {
    let life = history(RISE);
    let four = &life.versions["4"];
    assert_eq!((four.state, four.since_ms, four.seq), (State::Canary, 200 * HOUR, Some(12)));
    assert_eq!((four.shadow_ms, four.trained_by.as_deref()), (Some(2 * HOUR), Some("ada")));
    assert!(life.trained("4", "ada") && !life.trained("4", "ops") && !life.trained("9", "ada"));
    let spans = &life.experiment.as_ref().unwrap().steps;
    let spans: Vec<_> = spans.iter().map(|s| (s.seq, s.percent, s.from_ms / HOUR, s.to_ms)).collect();
    assert_eq!(spans, [(11, 10, 172, Some(200 * HOUR)), (12, 50, 200, None)]);
    assert_eq!((life.state("9"), life.digest("4"), life.seq), (State::Trained, Some("d4"), Some(12)));
    let deployment = life.deployment().unwrap();
    assert_eq!((&*deployment.champion, deployment.challenger.unwrap().percent), ("3", 50.0));
}

#[test]
fn an_approval_is_bound_and_spent() {
    let granted = |more: &str, stage, hours: i64| {
        history(&format!("{RISE}{more}")).granted("4", stage, hours * HOUR).is_some()
    };
    let grant = "300 ops approval.granted 4 step=production digest=d4 expires_ms=1440000000";
    for (more, stage, hours, expected) in [
        // The canary's was used up when the canary began.
        ("".to_owned(), Stage::Canary, 172, false),
        (grant.to_owned(), Stage::Production, 301, true),
        (grant.to_owned(), Stage::Production, 400, false),
        (grant.to_owned(), Stage::Ramp, 301, false),
        (grant.replace("d4", "d5"), Stage::Production, 301, false),
        (format!("{grant}\n301 ops approval.denied 4 step=production"), Stage::Production, 301, false),
        (format!("{grant}\n301 x model.registered 4 digest=other"), Stage::Production, 301, false),
        (format!("{grant}\n301 x state.changed 4 to=quarantined"), Stage::Production, 301, false),
        (format!("{grant}\n301 x state.changed 4 to=canary pct=60"), Stage::Production, 301, true),
        (format!("{grant}\n301 x state.changed 4 to=production"), Stage::Production, 301, false),
    ] {
        assert_eq!(granted(&more, stage, hours), expected, "{more}");
    }
    let asked = history("1 x approval.requested 4 step=canary");
    assert_eq!(asked.asked("4", Stage::Canary).unwrap().ruling, Ruling::Requested);
    assert!(asked.granted("4", Stage::Canary, 0).is_none());
}

#[test]
fn a_freeze_spoils_the_step_and_a_pause_does_not() {
    let steps = |more: &str| {
        let life = history(&format!("{RISE}{more}"));
        let steps = life.experiment.as_ref().unwrap().steps.iter();
        let steps: Vec<_> = steps.map(|step| (step.percent, step.spoilt, step.from_ms / HOUR)).collect();
        (life.paused_ms.is_some(), life.frozen_ms.is_some(), steps)
    };
    let (ten, fifty) = ((10, false, 172), (50, false, 200));
    assert_eq!(steps("210 x paused"), (true, false, vec![ten, fifty]));
    assert_eq!(steps("210 x paused\n211 x resumed"), (false, false, vec![ten, fifty]));
    assert_eq!(steps("210 x frozen"), (false, true, vec![ten, (50, true, 200)]));
    let anew = vec![ten, (50, true, 200), (50, false, 212)];
    assert_eq!(steps("210 x frozen\n212 x resumed"), (false, false, anew));
    assert_eq!(history(&format!("{RISE}210 x frozen\n211 x state.changed 4 to=quarantined")).frozen_ms, None);
}

#[test]
fn rollbacks_and_quarantines_are_remembered() {
    let fall = "300 x rollback.auto 4 trigger=harm\n300 x state.changed 4 to=quarantined";
    let life = history(&format!("{RISE}{fall}\n301 ops state.changed 4 to=validated"));
    assert_eq!((life.rolled_back_ms, life.quarantined.get("d4")), (Some(300 * HOUR), Some(&(300 * HOUR))));
    assert_eq!((life.versions["4"].automatic, life.state("4")), (1, State::Validated));
    let by_hand =
        history(&format!("{RISE}300 ops rollback.manual 4\n300 ops state.changed 4 to=quarantined"));
    assert_eq!((by_hand.rolled_back_ms, by_hand.versions["4"].automatic), (None, 0));
    let alone = history(&format!("{RISE}300 x rollback.auto 4 trigger=harm"));
    assert_eq!((alone.rolled_back_ms, alone.versions["4"].automatic), (None, 0), "no move came of it");
}

#[test]
fn of_a_rollback_that_was_cut_off_the_version_serves_that_it_names() {
    let rise = "1 x state.changed a to=production override=1\n2 x state.changed b to=production override=1\n\
         3 x state.changed c to=production override=1\n";
    let fall = |to: &str| {
        history(&format!("{rise}4 ops rollback.manual c{to}\n4 ops state.changed c to=quarantined"))
    };
    assert_eq!(fall("").champion.as_deref(), Some("b"));
    assert_eq!(fall(" to=a").champion.as_deref(), Some("a"));
    assert_eq!(fall(" to=z").champion.as_deref(), Some("b"), "never served");
}

#[test]
fn what_does_not_fit_is_told() {
    for (line, expected) in [
        ("300 x state.changed 4 to=limbo", "record 13: no state is called \"limbo\""),
        ("300 x state.changed - to=shadow", "record 13: state.changed names no version"),
        ("300 x state.changed 9 to=production", "record 13: 9 cannot go from trained to production"),
        ("300 x state.changed 9 to=production override=1", ""),
        ("300 x approval.granted 4 step=moon", "record 13: no transition is called \"moon\""),
        ("300 x some.news 4 pct=7", ""),
    ] {
        let life = fold(&format!("{RISE}{line}"));
        let told: Vec<_> = life.oddities.iter().map(ToString::to_string).collect();
        assert_eq!(told.join("\n"), expected, "{line}");
    }
}

#[test]
fn a_fourth_shadow_takes_the_place_of_the_first() {
    let shadows = ["5", "6", "7", "8"].map(|version| format!("300 x state.changed {version} to=shadow\n"));
    assert_eq!(slots(&shadows.concat()), "3 4:50 [\"6\", \"7\", \"8\"] -");
    assert_eq!(history(&format!("{RISE}{}", shadows.concat())).state("5"), State::Validated);
}

/// Every version is in the slot that its state says, and in no other.
fn consistent(life: &ModelLife) {
    for (version, VersionLife { state, .. }) in &life.versions {
        let holds = |slot: Option<&str>| slot == Some(version.as_str());
        assert_eq!(holds(life.champion.as_deref()), *state == State::Production, "{version} {life:?}");
        let challenger = life.experiment.as_ref().map(|experiment| experiment.version.as_str());
        assert_eq!(holds(challenger), *state == State::Canary, "{version} {life:?}");
        let shadows = life.shadows.iter().filter(|shadow| *shadow == version).count();
        assert_eq!(shadows, usize::from(*state == State::Shadow), "{version} {life:?}");
        let former = life.former.iter().filter(|former| *former == version).count();
        assert!(former <= usize::from(*state == State::Standby), "{version} {life:?}");
    }
    assert!(life.former.len() <= FORMER && life.shadows.len() <= SHADOWS);
    assert!(life.experiment.as_ref().is_none_or(|experiment| !experiment.steps.is_empty()));
}

proptest::proptest! {
    #[test]
    fn whatever_was_written_every_slot_has_one_version(
        moves in proptest::collection::vec((0_usize..6, 0_usize..13, 0_i64..120), 0..60),
    ) {
        let others = ["paused", "frozen", "resumed", "rollback.auto"];
        let line = |(version, what, percent): &(usize, usize, i64)| match State::ALL.get(*what) {
            Some(state) => format!("1 x state.changed v{version} to={state} pct={percent}\n"),
            None => format!("1 x {} v{version}\n", others[what - State::ALL.len()]),
        };
        consistent(&history(&moves.iter().map(line).collect::<String>()));
    }
}

#[test]
fn without_records_the_highest_version_serves() {
    let life = ModelLife::unwritten(["10", "9", "2"]);
    assert_eq!((life.champion.as_deref(), life.state("10")), (Some("10"), State::Production));
    assert_eq!((life.state("9"), life.previous(), life.seq), (State::Trained, None, None));
    assert_eq!(ModelLife::unwritten([]).deployment(), None);
}
