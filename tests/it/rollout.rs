//! Versions on trial, through the real proxy: who answers whom, who scores along, and what ends a trial at once.

use std::path::Path;

use leadwire::{
    lead::{Pairs, StepCounts},
    leadlog::{Horizon, OnCanary, OnStep, OnTrial, Seen, Store},
    rollout::bucket,
    score::Encoding,
};

use crate::support::{
    CONFIG, CREATE, LEAD, Message, Running, Upstream, answer, copy_folder, created, shipped_model, wait,
    write_changed, write_version,
};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The CRM's id of the lead that comes with `<n>@example.com`.
fn id(n: u32) -> String {
    format!("00Q8d{n:013}")
}

fn email(n: u32) -> String {
    format!("{n}@example.com")
}

/// The lead under an address of its own.
fn lead(n: u32) -> String {
    LEAD.replacen('{', &format!(r#"{{"Email":"{}","#, email(n)), 1)
}

/// Leads whose address falls into these buckets of challenger 2.
fn leads_in(buckets: std::ops::Range<u16>) -> impl Iterator<Item = u32> {
    (0..).filter(move |n| buckets.contains(&bucket("lead:2", &email(*n))))
}

/// A CRM that stores every lead under the id of its address, and takes every change.
fn crm() -> Upstream {
    Upstream::start(|request| {
        let number = |text: &str| {
            let (before, _) = text.split_once("@example.com")?;
            before.rsplit('"').next()?.parse().ok()
        };
        match request.start.split(' ').next() {
            Some("PATCH") => answer("204 No Content", &[], ""),
            _ if request.start.contains("/composite/") => {
                let leads = request.text().split("Email").filter_map(number);
                let stored = leads.map(|n| format!(r#"{{"id":"{}","success":true,"errors":[]}}"#, id(n)));
                answer("200 OK", &[JSON], &format!("[{}]", stored.collect::<Vec<_>>().join(",")))
            }
            _ => created(&number(request.text()).map_or_else(|| "00QX".to_owned(), id)),
        }
    })
}

fn deploy(models: &Path, deployment: &str) {
    let beside = models.join("lead/.deployment.json");
    std::fs::write(&beside, deployment).unwrap();
    std::fs::rename(beside, models.join("lead/deployment.json")).unwrap();
}

fn canary(percent: u32) -> String {
    format!(r#"{{"champion":"1","challenger":{{"version":"2","percent":{percent}}}}}"#)
}

/// The shipped configuration, but that nobody looks after the trial: what requests do by themselves is seen alone.
fn config() -> String {
    assert!(CONFIG.contains("act: true"));
    CONFIG.replace("act: true", "act: false")
}

/// The shipped model as version 1, one whose scores differ as version 2, and who holds which slot.
fn start(upstream: &Upstream, deployment: &str) -> Running {
    Running::with(upstream.address, &config(), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(models, "2");
        deploy(models, deployment);
    })
}

/// The version that answered.
fn version(reply: &Message) -> String {
    assert_eq!(reply.header("leadwire"), Some("scored"));
    reply.header("x-lead-model").unwrap().to_owned()
}

fn create(sidecar: &Running, n: u32) -> String {
    version(&sidecar.post(CREATE, &lead(n)))
}

fn update(sidecar: &Running, n: u32) -> String {
    let path = format!("{CREATE}/{}", id(n));
    version(&sidecar.client().exchange("PATCH", &path, &[JSON], LEAD.as_bytes()))
}

/// All that the log tells of version 2 beside version 1, as of one step.
fn counted(store: &Store) -> (StepCounts, Pairs) {
    let steps = vec![OnStep { seq: 1, percent: 50, from_ms: 0, to_ms: None }];
    let canary = Some(OnCanary { version: "2".into(), pairs_ms: 0, steps });
    let of = OnTrial { model: "lead".into(), champion: "1".into(), canary, shadows: Vec::new() };
    // After all that was written, and no label is settled.
    let end = Horizon { ms: i64::MAX, now_ms: i64::MAX };
    let mut told = Seen::default().look(store, &of, 0, end).unwrap();
    (told.steps.remove(0), told.pairs)
}

#[test]
fn a_canary_answers_its_share_of_the_leads_and_the_same_ones_each_time() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(10));
    let expected = |n: u32, end: u16| if bucket("lead:2", &email(n)) < end { "lead/2" } else { "lead/1" };
    for n in (0..200).chain(0..50) {
        assert_eq!(create(&sidecar, n), expected(n, 1_000), "{n}");
    }
    let challenger = r#"leadwire_arm_total{model="lead",arm="challenger",outcome="scored"}"#;
    let share = sidecar.metric(challenger) / 250.0;
    assert!((0.05..0.16).contains(&share), "{share}");
    deploy(&sidecar.folder.path().join("models"), &canary(50));
    let probe = leads_in(4_000..5_000).next().unwrap();
    wait("the larger share", || create(&sidecar, probe) == "lead/2");
    for n in 0..100 {
        assert_eq!(create(&sidecar, n), expected(n, 5_000), "{n}");
    }
    let metrics = sidecar.admin("/api/models");
    assert!(metrics.contains(r#""slot":"challenger""#), "{metrics}");
    let (store, _folder) = sidecar.stop();
    let (StepCounts { cohorts, arms: traffic, .. }, pairs) = counted(&store);
    assert_eq!(cohorts.champion.leads + cohorts.challenger.leads, if probe < 200 { 200 } else { 201 });
    assert_eq!(traffic.challenger.leads, traffic.challenger.scored);
    assert!(traffic.champion.p99_ns > 0 && traffic.challenger.p99_ns > 0);
    // Whoever did not answer scored along.
    assert_eq!(pairs.mirrored, traffic.champion.leads + traffic.challenger.leads);
    assert_eq!((pairs.errors, pairs.graded()), (0, pairs.mirrored));
}

#[test]
fn a_lead_that_was_created_by_its_address_stays_in_its_arm_under_its_id_and_after_a_restart() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(10));
    // By its id it would be the champion's.
    let moves = |n: &u32| bucket("lead:2", &id(*n)) >= 1_000;
    let n = leads_in(0..1_000).find(moves).unwrap();
    assert_eq!((create(&sidecar, n).as_str(), update(&sidecar, n).as_str()), ("lead/2", "lead/2"));
    let sidecar = sidecar.restart();
    assert_eq!(update(&sidecar, n), "lead/2");
    // Another experiment begins with what is known by then: the id.
    let (store, folder) = sidecar.stop();
    let rows = store.scores_of(&id(n)).unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let assigned = (row.experiment.as_deref(), row.assigned.as_deref(), row.key.as_deref());
        assert_eq!(assigned, (Some("2"), Some("challenger"), Some("email")));
        assert_eq!(row.bucket, Some(bucket("lead:2", &email(n)).into()));
        assert_eq!((row.arm.as_str(), row.propensity, row.fell), ("challenger", Some(0.1), None));
    }
    let kept = std::fs::read(folder.path().join("state").join(Store::FILE)).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains(&email(n)), "the address is kept nowhere");
}

#[test]
fn a_lead_that_only_its_request_tells_gets_an_arm_and_counts_for_none() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(50));
    let seen: std::collections::BTreeSet<String> = (0..20)
        .map(|n| {
            let headers = [JSON, ("X-Request-Id", &*format!("request-{n}"))];
            let reply = sidecar.client().exchange("POST", CREATE, &headers, LEAD.as_bytes());
            let expected =
                if bucket("lead:2", &format!("request-{n}")) < 5_000 { "lead/2" } else { "lead/1" };
            assert_eq!(version(&reply), expected);
            expected.to_owned()
        })
        .collect();
    assert_eq!(seen.len(), 2);
    let (store, _folder) = sidecar.stop();
    let rows = store.scores_of("00QX").unwrap();
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| row.key.as_deref() == Some("request")));
    let (step, _) = counted(&store);
    assert_eq!((step.cohorts, step.arms.champion.leads), Default::default());
}

#[test]
fn a_batch_goes_to_both_arms() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(50));
    let (new, old) = (leads_in(0..5_000).take(3), leads_in(5_000..10_000).take(3));
    let leads: Vec<u32> = new.zip(old).flat_map(|(new, old)| [new, old]).collect();
    let record = |n: &u32| lead(*n).replacen('{', r#"{"attributes":{"type":"Lead"},"#, 1);
    let records = leads.iter().map(record).collect::<Vec<_>>().join(",");
    let reply =
        sidecar.post("/services/data/v61.0/composite/sobjects", &format!(r#"{{"records":[{records}]}}"#));
    assert_eq!(version(&reply), "lead/2,lead/1,lead/2,lead/1,lead/2,lead/1");
    let points: Vec<&str> = reply.header("x-lead-score").unwrap().split(',').collect();
    assert!(points[0] == points[2] && points[1] == points[3] && points[0] != points[1], "{points:?}");
    let (store, _folder) = sidecar.stop();
    for (place, n) in leads.iter().enumerate() {
        let [row] = store.scores_of(&id(*n)).unwrap().try_into().unwrap();
        assert_eq!(row.version, if place % 2 == 0 { "2" } else { "1" });
        assert_eq!(Some(&row.arm), row.assigned.as_ref());
    }
}

#[test]
fn what_a_shadow_says_stands_beside_what_was_answered_and_changes_nothing() {
    let upstream = crm();
    let alone = start(&upstream, r#"{"champion":"1"}"#);
    let sidecar = start(&upstream, r#"{"champion":"1","shadows":["2"]}"#);
    for n in 0..20 {
        let [without, with] = [&alone, &sidecar].map(|sidecar| sidecar.post(CREATE, &lead(n)));
        assert_eq!(without.body, with.body);
        assert_eq!(without.header("x-lead-score"), with.header("x-lead-score"));
        assert_eq!(version(&with), "lead/1");
    }
    assert_eq!(alone.metric("leadwire_shadow_dropped_total"), 0.0);
    let (store, folder) = sidecar.stop();
    let (_, pairs) = counted(&store);
    assert_eq!((pairs.mirrored, pairs.graded(), pairs.errors), (20, 20, 0));
    assert_eq!((pairs.scores.champion.total(), pairs.scores.challenger.total()), (20, 20));
    assert!(pairs.p99_ns.champion > 0 && pairs.p99_ns.challenger > 0);
    let log = rusqlite::Connection::open(folder.path().join("state").join(Store::FILE)).unwrap();
    let alike = "SELECT count(*) FROM shadow_scores JOIN scores USING (lead)
        WHERE live_score = scores.score AND live_grade = scores.grade AND live_version = scores.version
        AND shadow_scores.time_ms = scores.time_ms AND slot = 'shadow' AND experiment IS NULL";
    let alike: u32 = log.query_row(alike, [], |row| row.get(0)).unwrap();
    assert_eq!(alike, 20);
    let (store, _folder) = alone.stop();
    assert_eq!(counted(&store).1.mirrored, 0);
}

/// The guard's trips for a reason.
fn trips(sidecar: &Running, reason: &str) -> f64 {
    sidecar.metric(&format!(r#"leadwire_guard_trips_total{{model="lead",reason="{reason}"}}"#))
}

#[test]
fn a_challenger_whose_score_is_no_number_is_out_at_once_and_no_request_fails() {
    let upstream = crm();
    let sidecar = Running::with(upstream.address, &config(), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        // An age of 80 is still a number, one of a million is none.
        write_changed(models, "2", |manifest| {
            let age = manifest.schema.features.iter_mut().find(|feature| feature.name == "age").unwrap();
            let Encoding::Number { sd, .. } = &mut age.encoding else { panic!("age is no number") };
            *sd = 1e-34;
        });
        deploy(models, &canary(100));
    });
    assert_eq!(create(&sidecar, 1), "lead/2");
    let odd = lead(2).replace("56.0", "1000000");
    assert_eq!(version(&sidecar.post(CREATE, &odd)), "lead/1", "the champion answers for it");
    for n in 3..20 {
        assert_eq!(create(&sidecar, n), "lead/1");
    }
    assert_eq!(trips(&sidecar, "score"), 1.0);
    let models = sidecar.admin("/api/models");
    assert!(models.contains(r#""percent":100.0"#) && models.contains(r#""tripped":"score""#), "{models}");
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="lead.create",outcome="scored"}"#), 19.0);
    assert_eq!(sidecar.metric(r#"leadwire_arm_total{model="lead",arm="challenger",outcome="out"}"#), 17.0);
    let (store, _folder) = sidecar.stop();
    let [row] = store.scores_of(&id(2)).unwrap().try_into().unwrap();
    let told = (row.arm.as_str(), row.assigned.as_deref(), row.fell.as_deref());
    assert_eq!(told, ("champion", Some("challenger"), Some("failed")), "it stays in its arm");
    let traffic = counted(&store).0.arms.challenger;
    assert_eq!((traffic.leads, traffic.scored, traffic.errors), (19, 1, 1));
}

#[test]
fn a_challenger_whose_files_turn_bad_is_out_at_once_though_it_is_in_memory() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(100));
    assert_eq!(create(&sidecar, 1), "lead/2");
    let two = sidecar.folder.path().join("models/lead/2");
    std::fs::write(two.join("manifest.json"), "{}").unwrap();
    wait("the champion", || create(&sidecar, 2) == "lead/1");
    assert_eq!(trips(&sidecar, "load"), 1.0);
    // Another artifact in the slot is another trial.
    write_version(&sidecar.folder.path().join("models"), "3");
    let next = canary(100).replace("\"2\"", "\"3\"");
    deploy(&sidecar.folder.path().join("models"), &next);
    wait("the next challenger", || create(&sidecar, 3) == "lead/3");
}

#[test]
fn a_lead_without_a_score_belongs_to_its_arm_all_the_same() {
    let upstream = crm();
    let sidecar = start(&upstream, &canary(50));
    let change = format!("{CREATE}/{}", id(7));
    let reply = sidecar.client().exchange("PATCH", &change, &[JSON], br#"{"Status":"Working"}"#);
    assert_eq!(reply.header("leadwire"), Some("skipped;reason=features"));
    let (store, _folder) = sidecar.stop();
    let (StepCounts { cohorts, arms, .. }, _) = counted(&store);
    let expected = if bucket("lead:2", &id(7)) < 5_000 { (0, 1) } else { (1, 0) };
    assert_eq!((cohorts.champion.leads, cohorts.challenger.leads), expected);
    assert_eq!(arms, Default::default(), "nothing was asked of a version");
}
