//! Configuration and models change under load: what is good is taken in place, what is not changes nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use leadwire::registry::{keygen, sign};

use crate::support::{
    CONFIG, CREATE, LEAD, Running, Upstream, answer, copy_folder, created, shipped_model, wait, write_version,
};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

#[test]
fn a_good_configuration_is_taken_and_a_bad_one_leaves_the_old() {
    let (first, second) =
        (Upstream::start(|_| answer("200 OK", &[], "1")), Upstream::start(|_| created("00Q2")));
    let sidecar = Running::start(first.address);
    assert_eq!(sidecar.client().exchange("GET", "/", &[], b"").text(), "1");
    sidecar.reconfigure(second.address, &CONFIG.replace("X-Lead-Score: points", "X-Other: points"));
    wait("the new upstream", || sidecar.client().exchange("GET", "/", &[], b"").text() != "1");
    let reply = sidecar.post(CREATE, LEAD);
    assert!(reply.header("x-other").is_some() && reply.header("x-lead-score").is_none());

    let refused = || sidecar.metric(r#"leadwire_config_reloads_total{result="refused"}"#);
    let unmapped = CONFIG.replace("  age:", "  years:");
    for (count, bad) in [CONFIG.replace("limits:", "limit:"), "[".to_owned(), unmapped].iter().enumerate() {
        sidecar.reconfigure(first.address, bad);
        wait("the refusal", || refused() == count as f64 + 1.0);
        assert!(sidecar.post(CREATE, LEAD).header("x-other").is_some(), "the old configuration serves");
    }
    assert_eq!(sidecar.metric(r#"leadwire_config_reloads_total{result="taken"}"#), 1.0);
    let so_far = first.requests().len();
    sidecar.post(CREATE, LEAD);
    assert_eq!(first.requests().len(), so_far, "nothing goes to the old upstream any more");
}

#[test]
fn a_new_version_takes_over_under_load_without_a_failed_request() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::start(upstream.address);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let mut client = sidecar.client();
        let mut answers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let reply = client.exchange("POST", CREATE, &JSON, LEAD.as_bytes());
            assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
            let model = reply.header("x-lead-model").unwrap().to_owned();
            answers.push((model, reply.header("x-lead-score").unwrap().to_owned()));
            sent.fetch_add(1, Ordering::Relaxed);
        }
        answers
    };
    let answers: Vec<Vec<(String, String)>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        wait("some traffic", || sent.load(Ordering::Relaxed) > 100);
        write_version(&sidecar.folder.path().join("models"), "2");
        let is_two = || sidecar.post(CREATE, LEAD).header("x-lead-model") == Some("lead/2");
        wait("the new version", is_two);
        let so_far = sent.load(Ordering::Relaxed);
        wait("more traffic", || sent.load(Ordering::Relaxed) > so_far + 100);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for mut answers in answers {
        let last = answers.last().unwrap().clone();
        assert_eq!(last.0, "lead/2");
        assert!(
            answers.is_sorted_by_key(|(model, _)| model.clone()),
            "no answer by the old version after one by the new"
        );
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), 2, "each version gives this lead one score: {answers:?}");
    }
}

#[test]
fn a_deployment_moves_back_to_an_older_version() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, CONFIG, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(models, "2");
    });
    let model = || sidecar.post(CREATE, LEAD).header("x-lead-model").map(str::to_owned);
    assert_eq!(model().as_deref(), Some("lead/2"), "without a deployment the highest version answers");
    std::fs::write(
        sidecar.folder.path().join("models/lead/deployment.json"),
        r#"{"champion":"1","previous":"2"}"#,
    )
    .unwrap();
    wait("the older version", || model().as_deref() == Some("lead/1"));
}

#[test]
fn once_keys_are_configured_only_signed_versions_are_taken_and_the_old_one_serves_on() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::start(upstream.address);
    let model = || sidecar.post(CREATE, LEAD).header("x-lead-model").map(str::to_owned);
    assert_eq!(model().as_deref(), Some("lead/1"));
    let models = sidecar.folder.path().join("models");
    let key = sidecar.folder.path().join("key.pem");
    let public = keygen(&key).unwrap();
    sidecar.reconfigure(upstream.address, &format!("model_keys: [{public}]\n{CONFIG}"));
    let refusals = || sidecar.admin("/api/models");
    wait("the unsigned version", || refusals().contains("manifest.sig: missing"));
    assert_eq!(model().as_deref(), Some("lead/1"), "it serves on from memory");

    write_version(&models, "2");
    wait("the second refusal", || refusals().matches("manifest.sig: missing").count() == 2);
    let other = sidecar.folder.path().join("other.pem");
    keygen(&other).unwrap();
    sign(&models.join("lead/2"), &other).unwrap();
    wait("the wrong key", || refusals().contains("none of the"));
    assert_eq!(model().as_deref(), Some("lead/1"));
    sign(&models.join("lead/2"), &key).unwrap();
    wait("the signed version", || model().as_deref() == Some("lead/2"));
}
