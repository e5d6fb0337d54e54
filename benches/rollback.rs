//! Rollback: from the order to the last answer of the version that leaves, under load, and what failed meanwhile.
//!
//! `LEADWIRE_BIN=target/release/leadwire cargo bench --profile dev --bench rollback -- --rounds 10`
//!
//! Each round starts a sidecar of its own whose champion is version 2 and whose champion before was version 1, keeps it busy
//! over as many connections as it is told, and orders a rollback: in turns by `POST /api/models/lead/rollback` and by
//! `leadwire rollout rollback`. Exits with 1 where a request failed, or where the last answer of version 2 came a second
//! after the order or later.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench that cannot be set up has failed"
)]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use support::{
    CONFIG, CREATE, Client, LEAD, Upstream, copy_folder, created, placed, post, ready, shipped_model,
    write_version,
};

/// Load before the order, and after it.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(2);

/// Longest time from an order to the last answer of the version that leaves.
const LIMIT: Duration = Duration::from_secs(1);

fn main() {
    let (rounds, connections) = (number("--rounds", 10), number("--connections", 16));
    println!("{connections} connections; from the order to the last answer of the version that leaves");
    let mut slow_or_failed = false;
    for round in 0..rounds {
        let way = if round % 2 == 0 { Way::Post } else { Way::Command };
        let told = play(way, connections);
        let Told { last, order, requests, failed, in_flight } = told;
        println!(
            "{:7} {last:>6.1?} until the last, order done in {order:>6.1?}, {in_flight} in flight, {requests} requests, {failed} failed",
            way.name()
        );
        slow_or_failed |= failed > 0 || last >= LIMIT;
    }
    std::process::exit(i32::from(slow_or_failed));
}

/// How a rollback is ordered.
#[derive(Clone, Copy)]
enum Way {
    Post,
    Command,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Post => "POST",
            Way::Command => "command",
        }
    }
}

/// What came of one round.
struct Told {
    /// From the order to the last answer of the old version.
    last: Duration,
    /// From the order to the word that it is done.
    order: Duration,
    requests: usize,
    failed: usize,
    /// Requests without an answer at the moment of the order.
    in_flight: usize,
}

fn play(way: Way, connections: usize) -> Told {
    let crm = Upstream::start(|_| created("00Q5e00000abcdEAAQ"));
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), crm.address);
    let (stop, failed, open) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut answers: Vec<(Instant, bool)> = Vec::new();
    let (mut ordered, mut done, mut in_flight) = (Instant::now(), Instant::now(), 0);
    thread::scope(|scope| {
        let load = || load(sidecar.listen, &stop, &failed, &open);
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(load)).collect();
        thread::sleep(BEFORE);
        (ordered, in_flight) = (Instant::now(), open.load(Relaxed));
        let refused = sidecar.roll_back(way).err();
        done = Instant::now();
        if refused.is_none() {
            thread::sleep(AFTER);
        }
        // Before anything else: clients that nobody stops go on for ever.
        stop.store(true, Relaxed);
        assert_eq!(refused, None);
        answers.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
    });
    let old = |(at, is_old): &(Instant, bool)| is_old.then_some(*at);
    let last = answers.iter().filter_map(old).max().unwrap();
    assert!(answers.iter().any(|(at, is_old)| *at > ordered && !is_old), "version 1 never answered");
    let (last, order) = (last.saturating_duration_since(ordered), done - ordered);
    Told { last, order, requests: answers.len(), failed: failed.load(Relaxed), in_flight }
}

/// One client after the other's answer: when each came, and whether version 2 gave it.
fn load(to: SocketAddr, stop: &AtomicBool, failed: &AtomicUsize, open: &AtomicUsize) -> Vec<(Instant, bool)> {
    let (mut client, mut answers) = (Client::connect(to), Vec::new());
    while !stop.load(Relaxed) {
        open.fetch_add(1, Relaxed);
        let answer =
            client.exchange("POST", CREATE, &[("content-type", "application/json")], LEAD.as_bytes());
        open.fetch_sub(1, Relaxed);
        let version = answer.header("x-lead-model");
        if answer.status() != 201 || version.is_none() {
            failed.fetch_add(1, Relaxed);
        }
        answers.push((Instant::now(), version == Some("lead/2")));
    }
    answers
}

fn number(name: &str, otherwise: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(otherwise, |number| number.parse().unwrap())
}

/// The binary, as a process of its own.
struct Sidecar {
    process: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
}

impl Sidecar {
    fn start(folder: &Path, upstream: SocketAddr) -> Self {
        let models = folder.join("models");
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(&models, "2");
        fs::write(models.join("lead/deployment.json"), r#"{"champion":"2","previous":"1"}"#).unwrap();
        let file = folder.join("leadwire.yaml");
        fs::write(&file, placed(CONFIG, upstream, folder)).unwrap();
        let mut command = Command::new(binary());
        command.args(["run", "--log", "json", "-c"]).arg(&file);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready: serde_json::Value = serde_json::from_str(&ready(&mut lines)).unwrap();
        // Its log is read, or it would wait for that.
        thread::spawn(move || lines.for_each(drop));
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self { listen: address("listen"), admin: address("admin"), process, file }
    }

    fn roll_back(&self, way: Way) -> Result<(), String> {
        match way {
            Way::Post => {
                let body = r#"{"why":"a bench","actor":"bench"}"#;
                let answer = post(self.admin, "/api/models/lead/rollback", body);
                if answer.status() == 200 { Ok(()) } else { Err(answer.text().to_owned()) }
            }
            Way::Command => {
                let mut command = Command::new(binary());
                command
                    .args(["rollout", "rollback", "lead", "--why", "a bench", "--actor", "bench", "-c"])
                    .arg(&self.file);
                let output = command.output().unwrap();
                let told = || Err(String::from_utf8_lossy(&output.stderr).into_owned());
                if output.status.success() { Ok(()) } else { told() }
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn binary() -> String {
    std::env::var("LEADWIRE_BIN").unwrap_or(env!("CARGO_BIN_EXE_leadwire").into())
}
