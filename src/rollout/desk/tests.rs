//! Orders on real files, step by step, with everything that can go wrong between two of them.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    ledger::{Broken, Field, verify},
    registry::fixture,
    rollout::{Action, Asked, fixture::HOUR},
};

/// A desk over five versions of `lead`, of which 3 serves.
struct Office {
    folder: TempDir,
    desk: Desk,
    hours: i64,
}

impl Office {
    fn new() -> Self {
        let office = Self::without_slots();
        office.place(r#"{"champion":"3"}"#);
        office
    }

    fn without_slots() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        for version in ["1", "2", "3", "4", "5"] {
            // Each another artifact.
            fixture::write(&models, "lead", version, 0.1 * version.parse::<f32>().unwrap());
        }
        let desk = Desk::at(&models, &folder.path().join("state"));
        Self { folder, desk, hours: 1 }
    }

    fn lead(&self) -> PathBuf {
        self.desk.models.join("lead")
    }

    fn place(&self, text: &str) {
        fs::write(self.lead().join("deployment.json"), text).unwrap();
    }

    fn file(&self) -> DeploymentFile {
        DeploymentFile::read(&self.lead()).unwrap().unwrap()
    }

    fn records(&self) -> Vec<Record> {
        ledger::read(&self.desk.state).unwrap()
    }

    fn settle(&self) -> Result<Settled, OrderError> {
        self.desk.settle("lead", self.hours * HOUR)
    }

    /// `ACTOR VERB [VERSION] [NAME=VALUE ..]`; what was said, or why not.
    fn give(&self, words: &str) -> Result<String, String> {
        let done = self.carry_out(words).map_err(|error| error.to_string())?;
        assert!(done.late.is_none() && done.unwritten.is_none(), "{done:?}");
        Ok(done.said.join("\n"))
    }

    fn carry_out(&self, words: &str) -> Result<Done, OrderError> {
        let mut words = words.split(' ');
        let (actor, verb) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let mut asked = Asked { actor, ..Asked::default() };
        for word in words {
            let value = || Some(word.split_once('=').unwrap().1.to_owned());
            match word.split('=').next().unwrap() {
                "why" => asked.why = value().unwrap(),
                "step" => asked.step = value(),
                "percent" => asked.percent = Some(value().unwrap().parse().unwrap()),
                "to" => asked.to = value(),
                "from" => asked.from = value(),
                "override" => asked.is_override = true,
                version => asked.version = Some(version.to_owned()),
            }
        }
        let order = asked.order("lead", verb)?;
        self.desk.carry_out(&order, &Grounds::default(), self.hours * HOUR)
    }

    /// Gives all of these orders, which must be carried out.
    fn all(&self, orders: &[&str]) {
        orders.iter().for_each(|order| _ = self.give(order).unwrap_or_else(|why| panic!("{order}: {why}")));
    }

    /// Champion, challenger with its percent, shadows and previous.
    fn slots(&self) -> String {
        slots(&self.file().deployment)
    }
}

fn slots(deployment: &Deployment) -> String {
    let Deployment { champion, challenger, shadows, previous } = deployment;
    let challenger = challenger.as_ref().map(|held| format!("{}:{}", held.version, held.percent));
    let or_none = |slot: Option<&str>| slot.unwrap_or("-").to_owned();
    format!("{champion} {} {shadows:?} {}", or_none(challenger.as_deref()), or_none(previous.as_deref()))
}

/// From a folder to production, and back.
const STORY: [&str; 12] = [
    "jo shadow 4",
    "maria approve 4 step=canary why=sound",
    "jo canary 4",
    "jo shadow 5",
    "jo canary 4 percent=50",
    "jo pause",
    "jo resume",
    "maria approve 4 step=production override why=urgent",
    "jo promote 4",
    "jo rollback why=bad",
    "maria clear 4 why=mended",
    "jo archive 4",
];

/// Hours since the line before, who orders what, and what comes of it: `=>` what was done, `!!` why it was not.
const ORDERS: &str = r#"
    +0h jo canary 4 !! lead/4 is trained and cannot be a canary; next: `leadwire rollout shadow lead 4`
    +0h jo promote 4 !! lead/4 is trained and cannot be promoted: it is no canary; next: `leadwire rollout shadow lead 4`
    +0h jo shadow 3 !! lead/3 has been in production for 0 seconds and cannot be a shadow; it serves already
    +0h jo shadow ../4 !! lead/../4 would not serve: "../4" is not the name of a version's folder
    +0h jo rollback why=x !! lead/3 has been in production for 0 seconds; there is nothing to go back to: no version served before it
    +0h jo resume !! lead is neither paused nor frozen
    +0h jo shadow 4 => lead/4: model.registered / lead/4: trained -> validated / lead/4: validated -> shadow
    +0h jo shadow 4 !! lead/4 has been in shadow for 0 seconds and cannot be a shadow; next: `leadwire rollout canary lead 4`
    +72h jo canary 4 !! lead/4 has been in shadow for 3 days; a canary needs an approval: {approve}
    +0h maria approve 4 step=canary !! approve needs a reason: say why
    +0h jo approve 4 step=canary why=mine !! lead/4 was brought in by jo; somebody else must approve it
    +0h maria approve 4 step=production why=x !! lead/4 has been in shadow for 3 days and cannot be approved so: production is that a canary serves all; next: `leadwire rollout canary lead 4`
    +0h maria approve 4 step=canary why=sound => lead/4: approved for canary
    +72h jo canary 4 !! lead/4 has been in shadow for 6 days; a canary needs an approval: {approve}
    +0h maria approve 4 step=canary why=sound => lead/4: approved for canary
    +0h maria deny 4 step=canary why=doubts => lead/4: denied for canary
    +0h jo canary 4 !! lead/4 has been in shadow for 6 days; a canary needs an approval: {approve}
    +0h maria approve 4 step=canary why=sound => lead/4: approved for canary
    +71h jo canary 4 => lead/4: shadow -> canary 10%
    +0h jo canary 4 percent=10 !! lead/4 has been in canary for 0 seconds and cannot go from 10% to 10%; next: `leadwire rollout promote lead 4`
    +0h jo shadow 5 => lead/5: model.registered / lead/5: trained -> validated / lead/5: validated -> shadow
    +0h maria approve 5 step=canary why=sound => lead/5: approved for canary
    +1h jo canary 5 !! lead/5 must wait: lead/4 has been in canary for 60 minutes, and a model has one canary at a time
    +1h jo canary 4 => lead/4: canary -> canary 50%
    +1h jo canary 4 percent=20 => lead/4: canary -> canary 20%
    +0h jo pause => lead: paused
    +0h jo pause !! lead is paused already
    +2h jo canary 4 !! lead/4 cannot rise: lead has been paused for 2 hours; `leadwire rollout resume lead` lets it go on
    +0h jo canary 4 percent=5 => lead/4: canary -> canary 5%
    +0h jo resume => lead: resumed
    +0h jo canary 4 percent=100 !! lead/4 has been in canary for 0 seconds and cannot answer all leads as a canary: that is production; next: `leadwire rollout promote lead 4`
    +0h jo canary 4 percent=99 => lead/4: canary -> canary 99%
    +0h jo canary 4 !! lead/4 has been in canary for 0 seconds and is at 99%, and there is no step above; next: `leadwire rollout promote lead 4`
    +0h jo promote 4 !! lead/4 has been in canary for 0 seconds; production needs to know that it is better, or an override: `leadwire rollout approve lead 4 production --override --why ...`
    +0h maria approve 4 step=production override why=urgent => lead/4: approved for production
    +0h jo promote 4 => lead/4: canary -> production / lead/3: production -> standby
    +0h jo rollback !! rollback needs a reason: say why
    +0h jo rollback to=2 why=x !! lead/2 is trained; only the last champions can serve again without a canary: 3
    +0h jo rollback from=2 why=x !! lead/2 is trained and is not live, so it cannot be rolled back; next: `leadwire rollout shadow lead 2`
    +0h jo rollback why=bad => lead/4: production -> quarantined / lead/3: standby -> production
    +5h jo shadow 4 !! lead/4 has been quarantined for 5 hours and cannot be a shadow; next: `leadwire rollout clear lead 4 --why ...`
    +0h jo clear 4 why=mended => lead/4: quarantined -> validated
    +0h jo shadow 4 => lead/4: validated -> shadow
    +0h maria approve 4 step=canary why=again => lead/4: approved for canary
    +0h jo canary 4 !! lead/4 must wait 19 hours: the same artifact went into quarantine, and has rested for 5 hours
    +20h jo canary 4 => lead/4: shadow -> canary 10%
    +0h jo rollback from=5 why=slow => lead/5: shadow -> quarantined
    +0h jo rollback why=bad => lead/4: canary -> quarantined
    +0h jo archive 3 !! lead/3 has been in production for 25 hours and cannot be archived: it is live, or archived already; it serves already
    +0h jo archive 4 => lead/4: quarantined -> archived
    +0h jo unshadow 4 !! lead/4 has been archived for 0 seconds and cannot be withdrawn: it is no shadow; another version may follow it
"#;

#[test]
fn orders_are_carried_out_or_refused_with_what_is_missing() {
    let mut office = Office::new();
    let approve = "`leadwire rollout approve lead 4 canary --why ...`";
    for line in ORDERS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (hours, line) = line.split_once("h ").unwrap();
        office.hours += hours.parse::<i64>().unwrap();
        let (order, expected) = match line.split_once(" => ") {
            Some((order, done)) => (order, Ok(done.replace(" / ", "\n"))),
            None => line
                .split_once(" !! ")
                .map(|(order, why)| (order, Err(why.replace("{approve}", approve))))
                .unwrap(),
        };
        let before = (office.records().len(), office.file());
        assert_eq!(office.give(order), expected, "{order}");
        if expected.is_err() && before.0 > 0 {
            assert_eq!((office.records().len(), office.file()), before, "{order}");
        }
        assert_eq!(office.settle().unwrap(), Settled::Agreed, "{order}");
        let life = slots::life(&office.records(), "lead");
        assert_eq!(office.slots(), slots_of(&life), "{order}");
    }
    assert_eq!(office.slots(), "3 - [] -");
    verify(&office.desk.state, None).unwrap();
    let unknown = Asked { actor: "jo".into(), ..Asked::default() }.order("../lead", "pause").unwrap();
    let told = office.desk.carry_out(&unknown, &Grounds::default(), 0).unwrap_err();
    assert!(matches!(told, OrderError::Unknown { .. }), "{told}");
}

fn slots_of(life: &ModelLife) -> String {
    slots(&life.deployment().unwrap())
}

#[test]
fn wherever_an_order_is_cut_off_the_ledger_says_what_serves() {
    let office = Office::without_slots();
    office.place(r#"{"champion":"3","previous":"2"}"#);
    assert_eq!(office.settle().unwrap(), Settled::Override);
    let (ledger, deployment) = (office.desk.state.join(Ledger::FILE), office.lead().join("deployment.json"));
    for order in STORY {
        let (old_ledger, old_file) = (fs::read(&ledger).unwrap_or_default(), fs::read(&deployment).unwrap());
        office.give(order).unwrap_or_else(|why| panic!("{order}: {why}"));
        let (new_ledger, new_file) = (fs::read(&ledger).unwrap(), office.file());
        let ends = new_ledger.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end + 1);
        let appended = ends.filter(|end| *end > old_ledger.len());
        // Cut behind every record, and within the next one.
        for end in appended.flat_map(|end| [end, (end + 9).min(new_ledger.len())]) {
            fs::write(&ledger, &new_ledger[..end]).unwrap();
            fs::write(&deployment, &old_file).unwrap();
            office.settle().unwrap();
            let life = slots::life(&office.records(), "lead");
            assert_eq!(office.slots(), slots_of(&life), "{order}, cut at {end}");
            assert_eq!(office.settle().unwrap(), Settled::Agreed, "{order}, cut at {end}");
        }
        // Everything is recorded, and nothing is in effect.
        fs::write(&ledger, &new_ledger).unwrap();
        fs::write(&deployment, &old_file).unwrap();
        office.settle().unwrap();
        assert_eq!(office.file(), new_file, "{order}");
        fs::remove_file(&deployment).unwrap();
        assert_eq!(office.settle().unwrap(), Settled::Rebuilt, "{order}");
        assert_eq!(office.file(), new_file, "{order}");
    }
    assert_eq!(office.slots(), "3 - [\"5\"] 2");
}

#[test]
fn without_a_ledger_the_highest_version_serves_and_nothing_is_written() {
    let office = Office::without_slots();
    assert_eq!(office.settle().unwrap(), Settled::Agreed);
    assert!(!office.desk.state.exists() && !office.lead().join("deployment.json").exists());
    office.all(&["jo pause"]);
    assert_eq!(office.slots(), "5 - [] -", "the first order says who served before it");
    let told: Vec<String> = office.records().iter().map(|record| record.kind.as_str().to_owned()).collect();
    assert_eq!(told, ["model.registered", "state.changed", "paused"]);
    fs::remove_dir_all(office.lead()).unwrap();
    fs::create_dir(office.lead()).unwrap();
    let empty = Office { desk: Desk::at(&office.desk.models, &office.folder.path().join("other")), ..office };
    let told = empty.give("jo pause").unwrap_err();
    assert!(told.starts_with("lead has no version that would serve"), "{told}");
}

#[test]
fn a_hand_edit_is_recorded_as_an_override() {
    let office = Office::new();
    assert_eq!(office.settle().unwrap(), Settled::Override, "the first one is the operator's word too");
    for (text, expected) in [
        (r#"{"champion":"2"}"#, "2 - [] 3"),
        (
            r#"{"champion":"2","challenger":{"version":"4","percent":12},"shadows":["5","1"]}"#,
            "2 4:12 [\"5\", \"1\"] 3",
        ),
        (r#"{"champion":"4","challenger":{"version":"2","percent":50},"shadows":["1"]}"#, "4 2:50 [\"1\"] 3"),
        (r#"{"champion":"1","shadows":["4"],"previous":"5"}"#, "1 - [\"4\"] 5"),
        (r#"{"champion":"1","challenger":{"version":"4","percent":0}}"#, "1 4:0 [] 5"),
        (r#"{"champion":"1"}"#, "1 - [] 5"),
    ] {
        let count = office.records().len();
        office.place(text);
        assert_eq!(office.settle().unwrap(), Settled::Override, "{text}");
        assert_eq!(office.slots(), expected, "{text}");
        let records = office.records();
        let (cause, moves) = records[count..].split_first().unwrap();
        assert_eq!((cause.kind.clone(), cause.actor.as_str()), (Kind::Override, "file"), "{text}");
        assert!(matches!(
            (cause.fields.get("old"), cause.fields.get("new")),
            (Some(Field::Map(_)), Some(Field::Map(_)))
        ));
        assert!(moves.iter().all(|record| record.fields["override"] == Field::Integer(1)), "{text}");
        assert_eq!(office.settle().unwrap(), Settled::Agreed, "{text}");
        assert_eq!(office.records().len(), records.len(), "told once: {text}");
    }
    // What is written without the ledger's number, and says the same, is no order.
    office.place(r#"{"champion":"1"}"#);
    let count = office.records().len();
    assert_eq!((office.settle().unwrap(), office.records().len()), (Settled::Agreed, count));
    assert_eq!(office.file().applied.unwrap().seq, count as u64 - 1);
    // An order takes a hand edit in first.
    office.place(r#"{"champion":"2"}"#);
    office.all(&["jo pause"]);
    assert_eq!(office.slots(), "2 - [] 1");
    // The numbers of an earlier file do not make an edit of today an old file.
    let text = fs::read_to_string(office.lead().join("deployment.json")).unwrap();
    office.place(&text.replace(r#""champion":"2""#, r#""champion":"5""#));
    assert_eq!((office.settle().unwrap(), office.slots()), (Settled::Override, "5 - [] 1".to_owned()));
    // With the ledger gone, the file is all there is.
    fs::remove_file(office.desk.state.join(Ledger::FILE)).unwrap();
    assert_eq!((office.settle().unwrap(), office.slots()), (Settled::Override, "5 - [] 1".to_owned()));
    verify(&office.desk.state, None).unwrap();
}

#[test]
fn a_hand_edit_that_would_not_serve_is_not_recorded_and_blocks_all_but_rollbacks() {
    let office = Office::new();
    office.all(&["jo shadow 4", "maria approve 4 step=canary why=x", "jo canary 4"]);
    let count = office.records().len();
    fs::write(office.lead().join("5/weights.safetensors"), "broken").unwrap();
    office.place(r#"{"champion":"5"}"#);
    for told in
        [office.settle().map(|_| String::new()).map_err(|error| error.to_string()), office.give("jo pause")]
    {
        let told = told.unwrap_err();
        assert!(told.starts_with("lead/5, put into deployment.json by hand, would not serve: "), "{told}");
    }
    assert_eq!(office.records().len(), count);
    office.place("{");
    assert!(office.give("jo pause").unwrap_err().ends_with("deployment.json is not a deployment"));
    assert_eq!(office.give("jo rollback why=bad").unwrap(), "lead/4: canary -> quarantined");
    assert_eq!(office.slots(), "3 - [] -");
}

#[test]
fn a_version_must_be_the_artifact_that_was_approved() {
    let office = Office::new();
    office.all(&["jo shadow 4", "maria approve 4 step=canary why=x"]);
    fs::remove_dir_all(office.lead().join("4")).unwrap();
    fixture::write(&office.desk.models, "lead", "4", 0.9);
    let told = office.give("jo canary 4").unwrap_err();
    assert!(told.starts_with("lead/4 is not the artifact that is known by this name (digest "), "{told}");
    assert!(told.ends_with("; give the new one a version of its own"), "{told}");
    fs::remove_file(office.lead().join("4/weights.safetensors")).unwrap();
    assert!(office.give("jo canary 4").unwrap_err().starts_with("lead/4 would not serve: "));
}

#[test]
fn a_rollback_goes_to_a_champion_that_still_loads() {
    let office = Office::new();
    for text in [r#"{"champion":"1"}"#, r#"{"champion":"2"}"#, r#"{"champion":"4"}"#] {
        office.place(text);
        office.settle().unwrap();
    }
    fs::write(office.lead().join("2/weights.safetensors"), "broken").unwrap();
    assert!(office.give("jo rollback to=2 why=x").unwrap_err().contains("there is nothing to go back to: "));
    assert_eq!(
        office.give("jo rollback why=x").unwrap(),
        "lead/4: production -> quarantined\nlead/1: standby -> production"
    );
    assert_eq!(office.slots(), "1 - [] 2");
}

#[test]
fn going_back_behind_the_champion_ends_the_trial_too() {
    let office = Office::new();
    office.place(r#"{"champion":"3","challenger":{"version":"4","percent":10},"previous":"2"}"#);
    let told = office.give("jo rollback to=2 why=x").unwrap();
    let expected =
        ["lead/3: production -> quarantined", "lead/2: standby -> production", "lead/4: canary -> validated"];
    assert_eq!(told, expected.join("\n"));
    assert_eq!(office.slots(), "2 - [] -");
}

#[test]
fn an_automatic_rollback_waits_for_the_last_one_and_a_persons_does_not() {
    let mut office = Office::new();
    office.place(r#"{"champion":"3","challenger":{"version":"4","percent":10},"previous":"2"}"#);
    let order = |actor: &str| Order {
        model: "lead".to_owned(),
        action: Action::Rollback { from: None, to: None },
        actor: actor.to_owned(),
        why: "3 windows in a row".to_owned(),
    };
    let grounds = Grounds {
        better: false,
        trigger: Some("windows".to_owned()),
        numbers: [("p99_ns".to_owned(), 7.into()), ("reason".to_owned(), "not this one".into())].into(),
        found: None,
    };
    let give = |office: &Office, actor| office.desk.carry_out(&order(actor), &grounds, office.hours * HOUR);
    assert_eq!(give(&office, LEADWIRE).unwrap().said, ["lead/4: canary -> quarantined"]);
    let cause = office.records().into_iter().find(|record| record.kind == Kind::RollbackAuto).unwrap();
    let field = |name: &str| cause.fields.get(name).cloned();
    assert_eq!((field("trigger"), field("p99_ns")), (Some("windows".into()), Some(7.into())));
    assert_eq!(field("reason"), Some("3 windows in a row".into()));
    let told = give(&office, LEADWIRE).unwrap_err().to_string();
    assert_eq!(
        told,
        "lead/3 stays: the last automatic rollback was 0 seconds ago, and a person must look before another"
    );
    office.hours += 1;
    assert_eq!(give(&office, LEADWIRE).unwrap().said.len(), 2);
    assert_eq!(office.slots(), "2 - [] -");
}

#[test]
fn a_rollback_does_not_wait_for_a_ledger_that_fails() {
    for (story, expected) in [(&STORY[..3], "3 - [] -"), (&STORY[..9], "3 - [\"5\"] -")] {
        let office = Office::new();
        office.all(story);
        let (ledger, aside) = (office.desk.state.join(Ledger::FILE), office.folder.path().join("aside"));
        let count = office.records().len();
        fs::rename(&ledger, &aside).unwrap();
        fs::create_dir(&ledger).unwrap();
        assert!(matches!(office.carry_out("jo pause"), Err(OrderError::Ledger(_))));
        let done = office.carry_out("jo rollback why=bad").unwrap();
        assert!(done.late.is_some() && done.unwritten.is_none() && done.seq.is_none(), "{done:?}");
        assert_eq!((office.slots(), office.file().late.is_some()), (expected.to_owned(), true));
        assert!(matches!(office.settle(), Err(OrderError::Ledger(_))));
        fs::remove_dir(&ledger).unwrap();
        fs::rename(&aside, &ledger).unwrap();
        assert_eq!(office.settle().unwrap(), Settled::Late);
        let records = office.records();
        let cause = &records[count];
        assert_eq!(
            (cause.kind.clone(), cause.actor.as_str(), cause.version.as_deref()),
            (Kind::RollbackManual, "jo", Some("4"))
        );
        assert_eq!(
            (&cause.fields["late"], &cause.fields["reason"]),
            (&Field::Integer(1), &Field::from("bad"))
        );
        let life = slots::life(&records, "lead");
        assert_eq!(
            (life.state("4"), slots_of(&life)),
            (super::super::State::Quarantined, expected.to_owned())
        );
        assert_eq!((office.settle().unwrap(), office.file().late), (Settled::Agreed, None));
        assert!(life.quarantined.len() == 1, "{life:?}");
    }
}

#[test]
fn where_nothing_can_be_written_the_caller_is_told_what_must_serve() {
    let office = Office::new();
    office.all(&STORY[..3]);
    let file = office.lead().join("deployment.json");
    fs::remove_file(&file).unwrap();
    fs::create_dir_all(file.join("in the way")).unwrap();
    let done = office.carry_out("jo rollback why=bad").unwrap();
    assert!(matches!(done.unwritten, Some(DeploymentError::Write { .. })), "{done:?}");
    assert_eq!(slots(&done.deployment.unwrap()), "3 - [] -");
    assert!(matches!(
        office.carry_out("jo pause"),
        Err(OrderError::Deployment(DeploymentError::Read { .. }))
    ));
    fs::remove_dir_all(&file).unwrap();
    assert_eq!((office.settle().unwrap(), office.slots()), (Settled::Rebuilt, "3 - [] -".to_owned()));
}

#[test]
fn a_file_that_is_a_link_is_somebody_elses() {
    let office = Office::new();
    let (file, aside) = (office.lead().join("deployment.json"), office.lead().join("..data"));
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink("..data", &file).unwrap();
    let told = office.carry_out("jo rollback why=bad").unwrap_err();
    assert!(matches!(told, OrderError::Deployment(DeploymentError::Write { .. })), "{told}");
    // It is followed, and recorded, all the same.
    for (text, expected) in
        [(r#"{"champion":"2"}"#, Settled::Override), (r#"{"champion":"3"}"#, Settled::Override)]
    {
        fs::write(&aside, text).unwrap();
        assert_eq!((office.settle().unwrap(), office.settle().unwrap()), (expected, Settled::Agreed));
        assert!(file.is_symlink() && fs::read_to_string(&file).unwrap() == text);
    }
}

#[test]
fn a_broken_ledger_is_not_written_on() {
    let office = Office::new();
    office.all(&STORY[..3]);
    let path = office.desk.state.join(Ledger::FILE);
    let text = fs::read_to_string(&path).unwrap().replace("sound", "unsound");
    fs::write(&path, &text).unwrap();
    let told = office.carry_out("jo pause").unwrap_err();
    assert!(matches!(told, OrderError::Ledger(LedgerError::Broken(Broken::Record { .. }))), "{told}");
    let done = office.carry_out("jo rollback why=bad").unwrap();
    assert_eq!(done.said, ["lead/4: canary -> validated"].map(|_| "lead/4: canary -> quarantined"));
    assert_eq!((office.slots(), fs::read_to_string(&path).unwrap()), ("3 - [] -".to_owned(), text));
}

#[test]
fn orders_given_at_once_are_carried_out_one_after_the_other() {
    let office = Office::new();
    office.all(&["jo shadow 4"]);
    let give = |order: &str| (0..10).filter(|_| office.give(order).is_ok()).count();
    let counts = std::thread::scope(|scope| {
        let threads =
            ["jo pause", "jo resume", "ed pause", "ed resume"].map(|order| scope.spawn(move || give(order)));
        threads.map(|thread| thread.join().unwrap())
    });
    let records = office.records();
    let count = |kind: Kind| records.iter().filter(|record| record.kind == kind).count();
    assert_eq!((count(Kind::Paused), count(Kind::Resumed)), (counts[0] + counts[2], counts[1] + counts[3]));
    assert!(count(Kind::Paused) - count(Kind::Resumed) <= 1, "each found what the other had done");
    verify(&office.desk.state, None).unwrap();
    assert_eq!((office.settle().unwrap(), office.slots()), (Settled::Agreed, "3 - [\"4\"] -".to_owned()));
}

#[test]
fn a_retrained_version_comes_behind_a_champion_that_is_named_first() {
    let office = Office::without_slots();
    fs::remove_dir_all(office.lead().join("5")).unwrap();
    let life = office.desk.seat("lead", HOUR).unwrap().unwrap();
    assert_eq!((life.champion.as_deref(), office.slots()), (Some("4"), "4 - [] -".to_owned()));
    let records = office.records().len();
    office.desk.seat("lead", HOUR).unwrap();
    assert_eq!(office.records().len(), records, "it is seated already");
    // Killed between the two records, it goes on with the second.
    let path = office.desk.state.join(Ledger::FILE);
    let first = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned() + "\n";
    fs::write(&path, first).unwrap();
    fs::remove_file(office.lead().join("deployment.json")).unwrap();
    office.desk.seat("lead", HOUR).unwrap();
    let kinds: Vec<Kind> = office.records().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::ModelRegistered, Kind::StateChanged]);
    // Now the highest version is another, and the champion stays.
    fixture::write(&office.desk.models, "lead", "5", 0.9);
    let judge = |version: &str, passed| {
        let action = Action::Judge { version: version.into(), passed };
        let order = Order { model: "lead".into(), action, actor: "jo".into(), why: "drift".into() };
        let grounds =
            Grounds { numbers: [("gain_e6".to_owned(), 30_000.into())].into(), ..Grounds::default() };
        let done = office.desk.carry_out(&order, &grounds, HOUR).map_err(|error| error.to_string())?;
        Ok::<_, String>(done.said.join(", "))
    };
    assert_eq!(judge("5", true).unwrap(), "lead/5: model.registered, lead/5: trained -> validated");
    assert_eq!(judge("3", false).unwrap(), "lead/3: model.registered, lead/3: trained -> rejected");
    assert!(judge("5", true).unwrap_err().contains("only a trained version goes through the gate"));
    assert!(judge("9", true).unwrap_err().contains("lead/9 would not serve"));
    let passed = office.records().into_iter().find(|record| record.kind == Kind::GatePassed).unwrap();
    let field = |name: &str| passed.fields.get(name).cloned();
    assert_eq!((field("gate"), field("gain_e6")), (Some("training".into()), Some(30_000.into())));
    assert_eq!(office.slots(), "4 - [] -");
    office.all(&["jo shadow 5"]);
    assert_eq!(office.slots(), "4 - [\"5\"] -");
}

#[test]
fn where_there_is_no_version_nobody_is_seated() {
    let office = Office::without_slots();
    assert_eq!(office.desk.seat("other", HOUR).unwrap(), None);
    assert!(office.desk.seat("../lead", HOUR).is_err());
    assert_eq!(office.records(), []);
}
