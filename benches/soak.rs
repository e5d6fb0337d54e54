//! Soak: a million requests between clients that compare every byte and a CRM that breaks in every way, through a sidecar of
//! its own process whose files change meanwhile. What is sent, answered and broken is that of `tests/it/chaos.rs`.
//!
//! `LEADWIRE_BIN=target/release/leadwire cargo bench --profile dev --bench soak -- --requests 1000000`
//!
//! Without LEADWIRE_BIN it runs the binary of its own profile. Half of the time the sidecar's disk is full: its files may not
//! grow. Where libfaketime is installed (`apt-get install libfaketime`), its clock jumps by hours and days, forth and back.
//! Exits with 1 where something was altered or lost, or where memory grew by more than a twentieth after the first half.
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
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use support::{
    chaos::{Crm, Disturber, Script, Tally, config, run},
    copy_folder, placed, ready, shipped_model, wait_within, write_version,
};

/// Connections at once.
const CLIENTS: usize = 64;

/// Longest time between two disturbances; past it something hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What libfaketime is called where apt puts it; the one for programs with threads.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// How far off the sidecar's clock is, in turns.
const CLOCKS: [&str; 5] = ["+0", "+1h", "-1d", "+3d", "-2h"];

/// Disturbances, and looks at the process, in the whole run.
const STEPS: u64 = 200;

fn main() {
    let script = Script {
        seed: number("--seed", 1),
        count: number("--requests", 20_000),
        largest: 2 << 20,
        silent: 20_000,
    };
    let crm = Crm::start(script);
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), crm.address);
    let disturber =
        Disturber { folder: folder.path().to_owned(), upstream: crm.address, admin: sidecar.admin };
    let (tally, started) = (&*crm.tally, Instant::now());
    let mut memory = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| run(script, sidecar.listen, tally, CLIENTS));
        for step in 1..=STEPS {
            let milestone = script.count * step / STEPS;
            wait_within(PATIENCE, "more requests", || tally.done.load(Relaxed) >= milestone);
            disturber.step(step);
            sidecar.set_clock(step);
            if step % (STEPS / 4) == 0 {
                sidecar.fill_disk((step * 4 / STEPS) % 2 == 1);
            }
            memory.push(sidecar.memory_kib());
            if step % (STEPS / 20) == 0 {
                let (time, wrongs) = (started.elapsed().as_secs(), tally.wrongs.load(Relaxed));
                println!(
                    "{milestone} requests, {time} s, {} KiB, {wrongs} altered or lost",
                    sidecar.memory_kib()
                );
            }
        }
    });
    let is_flat = report(&script, tally, &sidecar, &memory);
    println!("in {} s", started.elapsed().as_secs());
    let is_good = tally.verdict().is_empty() && is_flat;
    drop(sidecar);
    std::process::exit(i32::from(!is_good));
}

/// Tells what came of it. Whether memory stayed flat.
fn report(script: &Script, tally: &Tally, sidecar: &Sidecar, memory: &[u64]) -> bool {
    println!("{}{}", tally.report(), tally.verdict().join("\n"));
    let [tenth, half, whole] = [10, 50, 100].map(|percent| memory[memory.len() * percent / 100 - 1]);
    let is_flat = whole as f64 <= half as f64 * 1.05;
    let verdict = if is_flat { "flat" } else { "grows" };
    println!(
        "memory: {tenth} KiB at 10%, {half} at 50%, {whole} at 100%, {} at most: {verdict}",
        sidecar.peak_kib()
    );
    println!("processor: {:.1} us a request", sidecar.cpu_seconds() * 1e6 / script.count as f64);
    is_flat
}

fn number(name: &str, otherwise: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(otherwise, |number| number.parse().unwrap())
}

/// The binary, as a process of its own.
struct Sidecar {
    process: Child,
    /// Tells how far off its clock is; none without libfaketime.
    clock: Option<PathBuf>,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Sidecar {
    fn start(folder: &Path, upstream: SocketAddr) -> Self {
        let models = folder.join("models");
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(&models, "2");
        let file = folder.join("leadwire.yaml");
        fs::write(&file, placed(&config(), upstream, folder)).unwrap();
        let binary = std::env::var("LEADWIRE_BIN").unwrap_or(env!("CARGO_BIN_EXE_leadwire").into());
        // Past its limit a file gives an error, as a full disk does, instead of a signal.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", &binary, "run", "--log", "json", "-c"]);
        let clock = fake_clock(folder, &mut command);
        let mut process = command.arg(&file).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready: serde_json::Value = serde_json::from_str(&ready(&mut lines)).unwrap();
        // Its log is read, or it would wait for that.
        thread::spawn(move || lines.for_each(drop));
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self { listen: address("listen"), admin: address("admin"), process, clock }
    }

    /// Takes its clock elsewhere, forth and back.
    fn set_clock(&self, step: u64) {
        if let Some(clock) = &self.clock {
            fs::write(clock, format!("{}\n", CLOCKS[step as usize % CLOCKS.len()])).unwrap();
        }
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    /// From now on its files may not grow, or may again.
    fn fill_disk(&self, is_full: bool) {
        let limit = if is_full { "--fsize=4096:unlimited" } else { "--fsize=unlimited" };
        let pid = self.process.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, limit]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit of util-linux is needed");
    }
}

/// Has a command see the clock that a file tells, which this returns. Only the time of day: a monotonic clock does not jump.
fn fake_clock(folder: &Path, command: &mut Command) -> Option<PathBuf> {
    let Some(library) = FAKETIME.into_iter().find(|library| Path::new(library).exists()) else {
        println!("libfaketime is not installed: the clock does not jump");
        return None;
    };
    let clock = folder.join("clock");
    fs::write(&clock, "+0\n").unwrap();
    // A second's cache: without it the file is read at each look at the clock.
    let settings = [
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_CACHE_DURATION", "1"),
    ];
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock).envs(settings);
    println!("the clock jumps");
    Some(clock)
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
