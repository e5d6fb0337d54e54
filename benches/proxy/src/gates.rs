//! What one request costs where nothing is left to chance: system calls and instructions of a worker that serves one kept
//! connection. Each figure is the difference between a short and a long run over the requests between them, so that start,
//! warming up and end fall out. What goes by time falls out by thread: only the worker's own calls and instructions
//! count, not those of the threads that write the lead log, watch files and serve the admin listener. The worker's own
//! tick, ten times a second, is left in: the longer a request takes under the tool, the more of it, still under a
//! hundredth of a call.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command},
};

use anyhow::Context;
use serde::Serialize;

use super::{
    load::Client,
    order,
    peers::{Leadwire, Place, check, free, listens, shipped, terminate},
    usage::{Tree, threads},
    wire::Asked,
};

/// Most system calls of a request: wait, read, write on the client's side and on the upstream's.
const CALLS: f64 = 6.0;

/// What a tick adds, and no more.
const SLACK: f64 = 0.05;

/// Calls that no request makes: a lock that is waited for, a wake-up by eventfd, a timer of the kernel's, memory asked of
/// the kernel.
const NEVER: [&str; 6] = ["futex", "read", "write", "timerfd_settime", "mmap", "madvise"];

/// What is asked, how it is called, the most instructions it may take, and how few it should.
const CASES: [Case; 2] = [
    Case { asked: Asked::Case, name: "pass-through", most: 10_000.0, goal: 32_000.0, stretch: 24_000.0 },
    Case { asked: Asked::Lead, name: "score + inject", most: 50_000.0, goal: 46_000.0, stretch: 34_000.0 },
];

struct Case {
    asked: Asked,
    name: &'static str,
    /// A change that takes more fails; one that takes less lowers this.
    most: f64,
    goal: f64,
    stretch: f64,
}

/// Requests of the short run and of the long one.
const TRACED: [u64; 2] = [500, 2_500];
const COUNTED: [u64; 2] = [2_000, 6_000];

/// Requests after which nothing is run for the first time.
const FEW: u64 = 500;

/// One figure, and whether it is what it has to be.
#[derive(Serialize)]
pub struct Gate {
    pub case: &'static str,
    pub measures: &'static str,
    pub value: f64,
    pub most: f64,
    /// What it should be.
    pub goal: f64,
    /// What prototypes have reached.
    pub stretch: f64,
    /// What it is made of.
    pub detail: String,
    pub passes: bool,
}

impl Gate {
    pub fn told(&self) -> String {
        let Self { case, measures, value, most, goal, stretch, detail, passes } = self;
        let verdict = if *passes { "ok" } else { "TOO MANY" };
        format!("| {case} | {measures} | {value:.1} | {verdict} | {most} | {goal} | {stretch} | {detail} |")
    }
}

/// Measures all that can be; what cannot is said and left out.
pub fn run(program: &Path, place: &Place<'_>) -> anyhow::Result<Vec<Gate>> {
    let mut gates = Vec::new();
    let has_strace = works("strace", &["-o", "/dev/null"]);
    let has_valgrind = works("valgrind", &["--tool=none"]);
    for case in &CASES {
        let run = Run { program, place, case };
        if has_strace {
            gates.push(run.calls()?);
        }
        if has_valgrind {
            gates.push(run.instructions()?);
        }
    }
    Ok(gates)
}

/// Symbols of the program that a start and requests of either kind run, and whether every request of a kind does.
pub fn run_symbols(program: &Path, place: &Place<'_>) -> anyhow::Result<BTreeMap<String, bool>> {
    let mut symbols = BTreeMap::new();
    for case in &CASES {
        let calls = |requests| {
            let texts = Run { program, place, case }.callgrind(requests, &["--demangle=no"])?;
            anyhow::Ok(order::calls(&texts, program))
        };
        let (few, twice) = (calls(FEW)?, calls(2 * FEW)?);
        for (symbol, calls) in twice {
            let grown = calls.saturating_sub(few.get(&symbol).copied().unwrap_or(0));
            *symbols.entry(symbol).or_default() |= grown >= FEW;
        }
    }
    Ok(symbols)
}

/// Whether a tool is there and allowed to do its work.
fn works(tool: &str, arguments: &[&str]) -> bool {
    let output = Command::new(tool).args(arguments).arg("true").output();
    let works = output.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("{tool} is not installed or not allowed to work here: what it counts is not checked");
    }
    works
}

/// Runs of one kind of request.
struct Run<'r> {
    program: &'r Path,
    place: &'r Place<'r>,
    case: &'r Case,
}

impl Run<'_> {
    fn calls(&self) -> anyhow::Result<Gate> {
        let [short, long] = TRACED;
        let (before, after) = (self.trace(short)?, self.trace(long)?);
        let each = |name: &str| {
            let of = |calls: &BTreeMap<String, u64>| calls.get(name).copied().unwrap_or(0) as f64;
            (of(&after) - of(&before)) / (long - short) as f64
        };
        let value: f64 = after.keys().map(|name| each(name)).sum();
        let detail: Vec<String> = after
            .keys()
            .filter(|name| each(name).abs() >= 0.005)
            .map(|name| format!("{name} {:.2}", each(name)))
            .collect();
        anyhow::ensure!(value >= 1.0, "no calls of the worker's in what strace wrote");
        let passes = value <= CALLS + SLACK && NEVER.iter().all(|name| each(name) < SLACK);
        let (case, detail) = (self.case.name, detail.join(", "));
        Ok(Gate {
            case,
            measures: "system calls",
            value,
            most: CALLS,
            goal: CALLS,
            stretch: CALLS,
            detail,
            passes,
        })
    }

    /// The worker's system calls by name.
    fn trace(&self, requests: u64) -> anyhow::Result<BTreeMap<String, u64>> {
        let file = self.place.folder.join("trace");
        let tool = ["strace", "-f", "-qq", "-s", "0", "-o"].map(OsString::from);
        let worker = self.serve(&[&tool[..], &[file.clone().into()]].concat(), requests)?;
        let (text, worker) = (fs::read_to_string(file)?, worker.to_string());
        let mut calls = BTreeMap::new();
        for line in text.lines() {
            let call = line.strip_prefix(&worker).map(str::trim_start);
            // The rest are signals, ends, and second halves of calls that were told in two lines.
            if let Some((name, _)) = call.and_then(|call| call.split_once('('))
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                *calls.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(calls)
    }

    fn instructions(&self) -> anyhow::Result<Gate> {
        let [short, long] = COUNTED;
        let (before, after) = (self.count(short)?, self.count(long)?);
        let each = |of: fn(&Counted) -> u64| (of(&after) as f64 - of(&before) as f64) / (long - short) as f64;
        let (value, log) = (each(|counted| counted.worker), each(|counted| counted.lead_log));
        anyhow::ensure!(value >= 1_000.0, "no requests in what callgrind wrote");
        let detail = format!("and {log:.0} of the lead log's thread");
        let Case { name: case, most, goal, stretch, .. } = *self.case;
        Ok(Gate { case, measures: "instructions", value, most, goal, stretch, detail, passes: value <= most })
    }

    fn count(&self, requests: u64) -> anyhow::Result<Counted> {
        Counted::read(&self.callgrind(requests, &["--separate-threads=yes"])?)
    }

    /// What callgrind writes of so many requests.
    fn callgrind(&self, requests: u64, options: &[&str]) -> anyhow::Result<Vec<String>> {
        let folder = self.place.folder.join("counted");
        fs::create_dir_all(&folder)?;
        let mut tool: Vec<OsString> = ["valgrind", "--tool=callgrind"].map(OsString::from).into();
        tool.extend(options.iter().map(OsString::from));
        let mut out = OsString::from("--callgrind-out-file=");
        out.push(folder.join("out"));
        tool.push(out);
        self.serve(&tool, requests)?;
        let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry?.path());
        let texts = fs::read_dir(&folder)?.map(read).collect::<Result<_, _>>()?;
        fs::remove_dir_all(&folder)?;
        Ok(texts)
    }

    /// Starts the program under a tool, asks so often, and stops it; the id of its worker thread.
    fn serve(&self, tool: &[OsString], requests: u64) -> anyhow::Result<u32> {
        let listen = free()?;
        // A folder of its own, since Leadwire watches it: what a tool wrote there about its reads it would read again.
        let folder = self.place.folder.join("leadwire");
        fs::create_dir_all(&folder)?;
        let place = Place { folder: &folder, upstream: self.place.upstream, admin: free()? };
        let command = Leadwire { workers: 1, deadline: "1s", models: shipped()?, changes: &[] }.command(
            self.program,
            &place,
            listen,
        )?;
        let (name, rest) = tool.split_first().context("no tool")?;
        eprintln!("{}: {requests} requests under {}", self.case.name, name.display());
        let log = self.place.folder.join("log");
        let mut under = Command::new(name);
        under.args(rest).arg(command.get_program()).args(command.get_args());
        under.env("LEADWIRE_LOG", "warn").stderr(fs::File::create(&log)?);
        let mut child = Stopped(under.spawn().with_context(|| format!("cannot start {}", name.display()))?);
        let told = || format!("it said:\n{}", fs::read_to_string(&log).unwrap_or_default());
        let worker = self.ask(&mut child, listen, requests).with_context(told)?;
        let status = child.stop()?;
        anyhow::ensure!(status.success(), "{status}, {}", told());
        // The next run starts with an empty lead log too.
        fs::remove_dir_all(folder)?;
        Ok(worker)
    }

    fn ask(&self, child: &mut Stopped, listen: SocketAddr, requests: u64) -> anyhow::Result<u32> {
        listens(listen, &mut child.0)?;
        let mut client = Client::connect(listen, self.case.asked)?;
        for _ in 0..requests {
            client.ask()?;
        }
        let answer = String::from_utf8_lossy(client.ask()?).into_owned();
        check(&answer, self.case.asked == Asked::Lead)?;
        child.worker()
    }
}

/// A process that is stopped in any case.
struct Stopped(Child);

impl Stopped {
    /// The one that serves: under strace its child, under valgrind the process itself.
    fn served(&self) -> anyhow::Result<u32> {
        Tree(self.0.id()).processes()?.last().copied().context("no process")
    }

    fn worker(&self) -> anyhow::Result<u32> {
        let threads = threads(self.served()?)?;
        let worker = threads.into_iter().find(|(_, name)| name == "worker-0");
        Ok(worker.context("no thread is called worker-0")?.0)
    }

    fn stop(mut self) -> anyhow::Result<std::process::ExitStatus> {
        terminate(self.served()?);
        Ok(self.0.wait()?)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Ok(served) = self.served() {
                terminate(served);
            }
            _ = self.0.wait();
        }
    }
}

/// Instructions of a whole run.
struct Counted {
    worker: u64,
    lead_log: u64,
}

impl Counted {
    /// Callgrind writes a file for each thread, without its name: the one that runs SQLite writes the lead log, and of
    /// the others the busiest is the worker.
    fn read(texts: &[String]) -> anyhow::Result<Self> {
        let mut counted = Self { worker: 0, lead_log: 0 };
        for text in texts {
            let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
            let total: u64 = totals.map_or(Ok(0), |total| total.trim().parse())?;
            if text.contains("sqlite3") {
                counted.lead_log += total;
            } else {
                counted.worker = counted.worker.max(total);
            }
        }
        Ok(counted)
    }
}
