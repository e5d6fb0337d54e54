//! The lead log's writer is killed, again and again, with its file locked or not: what it said was safe is in the log,
//! once.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use leadwire::{
    lead::{Arm, Grade, ModelId, Score, Value},
    leadlog::{Decision, Entry, Packed, Queue, ScoreRecord, Store, Told, Writer},
    telemetry::LeadLogMetrics,
};
use metrics::{Counter, Gauge};
use rusqlite::Connection;

use crate::support::{wait, wait_within};

/// How often it is killed where nothing else is said.
const KILLS: u32 = 40;

/// Records that one process writes at most.
const MOST: u64 = 4_000;

/// Longest time for all that waits in files.
const LONG: Duration = Duration::from_secs(120);

const FOLDER: &str = "LEADWIRE_KILLED_FOLDER";
const TURN: &str = "LEADWIRE_KILLED_TURN";

/// `LEADWIRE_KILLS=200 cargo test --test it killed` kills more often. The process that is killed is this test too.
#[test]
fn what_a_killed_writer_called_safe_is_in_the_log_once() {
    if let (Ok(folder), Ok(turn)) = (std::env::var(FOLDER), std::env::var(TURN)) {
        return write_until_killed(Path::new(&folder), &turn);
    }
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let kills = std::env::var("LEADWIRE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut seed, mut promised, mut waited) = (1, 0, 0);
    for turn in 0..kills {
        let before = rows(folder.path());
        let safe = kill_once(folder.path(), turn, &mut seed);
        promised = promised.max(before + safe);
        waited += u32::from(files(folder.path()) > 0);
    }
    let queue = Queue::new(1, 1 << 20, Counter::noop());
    let writer = Writer::start(folder.path(), queue, Told::alone([].into())).unwrap();
    wait_within(LONG, "what waited in files", || files(folder.path()) == 0);
    drop(writer);
    let log = Connection::open(folder.path().join(Store::FILE)).unwrap();
    let found: String = log.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
    // Each lead is called <turn>-<number>: no number may be missing before the last of its turn, none may come twice.
    let gaps = "SELECT count(*) FROM (
        SELECT substr(lead, 1, instr(lead, '-')) AS turn, count(*) AS records, count(DISTINCT lead) AS leads,
            max(CAST(substr(lead, instr(lead, '-') + 1) AS INTEGER)) + 1 AS sent
        FROM scores GROUP BY 1) WHERE records <> sent OR leads <> sent";
    let turns: u32 = log.query_row(gaps, [], |row| row.get(0)).unwrap();
    assert_eq!(turns, 0, "turns with a record lost or doubled");
    let total = rows(folder.path());
    assert!(total >= promised, "{total} of {promised} that were safe");
    assert!(waited > 0 && total > u64::from(kills), "some were killed while records waited in files");
    println!("{kills} kills, {total} records, {promised} promised, {waited} times with records in files");
}

/// Starts a writer and kills it at some point; the greatest number of records that it called safe.
fn kill_once(folder: &Path, turn: u32, seed: &mut u64) -> u64 {
    let enough = random(seed) % (MOST / 2);
    let locked = (turn % 3 == 1).then(|| {
        let other = Connection::open(folder.join(Store::FILE)).unwrap();
        other.busy_timeout(Duration::from_secs(5)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    });
    let (mut child, said, reader) = start(folder, turn);
    if let Some(other) = locked {
        // Every other time the file is free again before the end, so that it is killed while it catches up.
        wait("records that are safe in files", || said.safe.load(Relaxed) >= enough);
        if turn % 2 == 1 {
            other.execute_batch("COMMIT").unwrap();
        }
        finish(&mut child, seed);
    } else {
        wait("records in the log", || said.written.load(Relaxed) >= enough);
        finish(&mut child, seed);
    }
    reader.join().unwrap();
    said.safe.load(Relaxed)
}

/// What the process said last, and at most: records that are in the log, and those that are there or in files.
#[derive(Default)]
struct Said {
    written: AtomicU64,
    safe: AtomicU64,
}

fn finish(child: &mut Child, seed: &mut u64) {
    for _ in 0..random(seed) % 3_000_000 {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The process, and what it last said.
fn start(folder: &Path, turn: u32) -> (Child, Arc<Said>, JoinHandle<()>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::what_a_killed_writer_called_safe_is_in_the_log_once", "--nocapture"])
        .envs([(FOLDER, folder.to_str().unwrap()), (TURN, &turn.to_string())])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = Arc::new(Said::default());
    let (lines, told) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&said));
    let read = move || {
        for line in lines.map_while(Result::ok) {
            let numbers: Vec<u64> = line.split(' ').map_while(|number| number.parse().ok()).collect();
            if let [written, waiting, dropped] = numbers[..] {
                assert_eq!(dropped, 0);
                told.written.fetch_max(written, Relaxed);
                told.safe.fetch_max(written + waiting, Relaxed);
            }
        }
    };
    (child, said, std::thread::spawn(read))
}

/// What the killed process does: it writes, and says how many records are written, wait in files and are lost.
fn write_until_killed(folder: &Path, turn: &str) {
    let counters = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
    let [written, waiting, dropped] = &counters;
    let metrics = LeadLogMetrics {
        written: Counter::from_arc(Arc::clone(written)),
        dropped: Counter::from_arc(Arc::clone(dropped)),
        spill_records: Gauge::from_arc(Arc::clone(waiting)),
        ..LeadLogMetrics::noop()
    };
    let queue = Queue::new(1, 64 << 10, metrics.dropped.clone());
    let opened = Arc::new(AtomicU64::new(u64::MAX));
    let unmatched = Gauge::from_arc(Arc::clone(&opened));
    let told = Told { metrics, unmatched, ..Told::alone(["age".into()].into()) };
    let _writer = Writer::start(folder, queue.clone(), told).unwrap();
    let (sender, mut out) = (queue.sender(0), std::io::stdout());
    // Before the log is open, nobody knows how much of the files it has.
    let mut say = || {
        if opened.load(Relaxed) != u64::MAX {
            say(&counters, &mut out);
        }
    };
    for number in 0..MOST {
        while queue.bytes() > 48 << 10 {
            std::thread::yield_now();
            say();
        }
        sender.send(score(format!("{turn}-{number}")));
        if number % 16 == 0 {
            say();
        }
    }
    loop {
        std::thread::park_timeout(Duration::from_millis(1));
        say();
    }
}

/// Written first: a record goes from the files to the log, so it is never told of twice.
fn say([written, waiting, dropped]: &[Arc<AtomicU64>; 3], out: &mut impl Write) {
    let written = written.load(Relaxed);
    let waiting = f64::from_bits(waiting.load(Relaxed));
    writeln!(out, "{written} {waiting} {}", dropped.load(Relaxed)).unwrap();
}

fn score(lead: String) -> Entry {
    let id = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
    Entry::Score(ScoreRecord {
        time_ms: 1,
        route: "lead.create".into(),
        lead: Some(lead.into()),
        arm: Arm::Champion,
        model: Arc::new(id),
        names: ["age".into()].into(),
        features: Packed::new(&[Value::Number(56.0)]),
        score: Score::new(0.1).unwrap(),
        grade: Grade::A,
        latency_ns: 900,
        decision: Decision::Headers,
        exposure: None,
        fell: None,
    })
}

fn rows(folder: &Path) -> u64 {
    Store::open_read_only(folder).unwrap().score_count().unwrap()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("spill")).map_or(0, Iterator::count)
}

/// splitmix64
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
