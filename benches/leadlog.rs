//! The lead log under a flood: how many leads are written of those that were scored, and what happens to requests, memory
//! and records while the log's file is locked.
//!
//! `LEADWIRE_BIN=target/release/leadwire cargo bench --profile dev --bench leadlog -- --seconds 60 --rate 20000`
//!
//! A sidecar of its own process scores batches of leads; `--rate` says how many leads a second are sent, in batches of
//! `--batch` (1 to 200) over `--connections`. First for `--seconds`. Then for 5 seconds, `--stall` seconds in which this
//! process holds the write lock of the log's file, and as long as it takes until nothing waits any more. Exits with 1 where
//! a record was dropped or is missing in the end, where a request failed, or where nothing had to wait in files.
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
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use support::{CONFIG, Client, LEAD, Message, copy_folder, placed, ready, shipped_model};

const COLLECTION: &str = "/services/data/v61.0/composite/sobjects";

/// Before the file is locked.
const BEFORE: Duration = Duration::from_secs(5);

/// Longest time until all that waited is written.
const CATCH_UP: Duration = Duration::from_secs(120);

fn main() {
    let load = Load {
        rate: number("--rate", 20_000),
        batch: number("--batch", 100).clamp(1, 200),
        connections: number("--connections", 8).max(1),
    };
    let (seconds, stall) = (number("--seconds", 60), number("--stall", 10));
    let folder = tempfile::tempdir().unwrap();
    let crm = crm();
    let sidecar = Sidecar::start(folder.path(), crm);
    println!("{} leads/s in batches of {} over {} connections", load.rate, load.batch, load.connections);
    let mut sent = load.run(&sidecar, "flood", || thread::sleep(Duration::from_secs(seconds)));
    sidecar.tell(sent);
    sent += load.run(&sidecar, "before", || thread::sleep(BEFORE));
    let log = rusqlite::Connection::open(folder.path().join("state/leads.sqlite")).unwrap();
    log.busy_timeout(Duration::from_secs(10)).unwrap();
    log.execute_batch("BEGIN IMMEDIATE").unwrap();
    sent += load.run(&sidecar, "locked", || thread::sleep(Duration::from_secs(stall)));
    sidecar.tell(sent);
    log.execute_batch("COMMIT").unwrap();
    sent += load.run(&sidecar, "after", || sidecar.catch_up());
    sidecar.settle(sent);
    sidecar.tell(sent);
    let [written, spilled, dropped, ..] = sidecar.counts();
    let bytes = fs::metadata(folder.path().join("state/leads.sqlite")).unwrap().len();
    println!("{} bytes of leads.sqlite a lead", bytes / written.max(1));
    std::process::exit(i32::from(written != sent || dropped > 0 || (stall > 0 && spilled == 0)));
}

/// What is sent.
struct Load {
    /// Leads a second.
    rate: u64,
    /// Leads in a request.
    batch: u64,
    connections: u64,
}

impl Load {
    /// Sends until `over` returns; the leads that were accepted.
    fn run(&self, sidecar: &Sidecar, what: &str, over: impl FnOnce()) -> u64 {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let started = Instant::now();
        let cpu = sidecar.cpu_seconds();
        let times = thread::scope(|scope| {
            let client = || self.client(sidecar.listen, &stop, &sent);
            let clients: Vec<_> = (0..self.connections).map(|_| scope.spawn(client)).collect();
            over();
            stop.store(true, Relaxed);
            let mut all = Histogram::<u64>::new(3).unwrap();
            clients.into_iter().for_each(|client| all.add(client.join().unwrap()).unwrap());
            all
        });
        let (sent, took) = (sent.load(Relaxed), started.elapsed().as_secs_f64());
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
        println!(
            "{what:7} {took:5.1} s, {sent} leads ({:.0}/s), request p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; sidecar {:.2} CPU s, {} MiB",
            sent as f64 / took,
            ms(0.5),
            ms(0.99),
            ms(1.0),
            sidecar.cpu_seconds() - cpu,
            sidecar.memory_kib() >> 10
        );
        sent
    }

    /// One connection's share, on time: a request that is late is sent at once, and none is left out.
    fn client(&self, to: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Histogram<u64> {
        let record = LEAD.replacen('{', r#"{"attributes":{"type":"Lead"},"#, 1);
        let records = vec![record; usize::try_from(self.batch).unwrap()].join(",");
        let body = format!(r#"{{"allOrNone":false,"records":[{records}]}}"#);
        let between = Duration::from_secs_f64((self.batch * self.connections) as f64 / self.rate as f64);
        let (mut client, mut times) = (Client::connect(to), Histogram::<u64>::new(3).unwrap());
        let mut due = Instant::now();
        while !stop.load(Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += between;
            let began = Instant::now();
            let headers = [("content-type", "application/json")];
            let answer = client.exchange("POST", COLLECTION, &headers, body.as_bytes());
            times.record(u64::try_from(began.elapsed().as_nanos()).unwrap()).unwrap();
            assert_eq!((answer.status(), answer.header("leadwire")), (200, Some("scored")));
            sent.fetch_add(self.batch, Relaxed);
        }
        times
    }
}

/// A CRM that takes every lead and gives each an id of its own.
fn crm() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(|| serve(stream));
        }
    });
    address
}

fn serve(stream: TcpStream) {
    static LEADS: AtomicU64 = AtomicU64::new(0);
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream, false) {
        let leads = memchr::memmem::find_iter(&request.body, br#""attributes""#).count() as u64;
        let first = LEADS.fetch_add(leads, Relaxed);
        let ids = first..first + leads;
        let items: Vec<String> =
            ids.map(|id| format!(r#"{{"id":"00Q{id:015}","success":true,"errors":[]}}"#)).collect();
        let body = format!("[{}]", items.join(","));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.get_mut().write_all([head, body].concat().as_bytes()).is_err() {
            return;
        }
    }
}

/// The binary, as a process of its own.
struct Sidecar {
    process: Child,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Sidecar {
    fn start(folder: &Path, upstream: SocketAddr) -> Self {
        copy_folder(&shipped_model(), &folder.join("models/lead/1"));
        let file = folder.join("leadwire.yaml");
        fs::write(&file, placed(CONFIG, upstream, folder)).unwrap();
        let binary = std::env::var("LEADWIRE_BIN").unwrap_or(env!("CARGO_BIN_EXE_leadwire").into());
        let mut command = Command::new(binary);
        command.args(["run", "--log", "json", "-c"]).arg(&file);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready: serde_json::Value = serde_json::from_str(&ready(&mut lines)).unwrap();
        // Its log is read, or it would wait for that.
        thread::spawn(move || lines.for_each(drop));
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self { listen: address("listen"), admin: address("admin"), process }
    }

    /// Records written, spilled, dropped, and waiting in files and in memory.
    fn counts(&self) -> [u64; 5] {
        let answer = Client::connect(self.admin).exchange("GET", "/metrics", &[], b"");
        let value = |name: &str| {
            let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
        };
        [
            "leadwire_leadlog_written_total",
            "leadwire_leadlog_spilled_total",
            "leadwire_leadlog_dropped_total",
            "leadwire_leadlog_spill_records",
            "leadwire_queue_depth",
        ]
        .map(value)
    }

    fn tell(&self, sent: u64) {
        let [written, spilled, dropped, in_files, in_memory] = self.counts();
        println!(
            "        sent {sent}, written {written}, spilled {spilled}, dropped {dropped}, waiting {in_files} in files and {in_memory} in memory"
        );
    }

    /// Until nothing waits in files.
    fn catch_up(&self) {
        self.until(|[_, _, _, in_files, _]| in_files == 0);
    }

    /// Until all is written or lost.
    fn settle(&self, sent: u64) {
        self.until(|[written, _, dropped, ..]| written + dropped >= sent);
    }

    fn until(&self, done: impl Fn([u64; 5]) -> bool) {
        let end = Instant::now() + CATCH_UP;
        while !done(self.counts()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(otherwise, |number| number.parse().unwrap())
}
