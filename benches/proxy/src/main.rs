//! What the proxy costs beside nginx, HAProxy and Envoy, in one run: `benches/proxy/run`, which fetches and builds what is
//! missing. `--quick` takes a minute instead of six, `--gates` checks system calls and instructions only, `--beside FILE`
//! sets another build of Leadwire beside this one. `docs/performance.md` says what the rows mean.
//!
//! Client and upstream are threads of this process, proxies processes of their own with two workers. Contenders take turns
//! within each round, and a ratio is taken round by round. CPU time is the kernel's account of a contender's threads.

mod gates;
mod goals;
mod load;
mod order;
mod peers;
mod report;
mod rounds;
mod usage;
mod wire;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser;

use load::Client;
use peers::{Place, Programs};
use report::Report;
use rounds::Length;
use wire::Asked;

#[derive(Parser)]
#[command(about = "CPU time, latency and memory of the proxy beside nginx, HAProxy and Envoy")]
struct Options {
    /// A minute instead of six.
    #[arg(long)]
    quick: bool,
    /// System calls and instructions of one request instead; fails where there are more than there may be.
    #[arg(long)]
    gates: bool,
    /// Write .cargo/order.ld instead, which tells the linker what to lay side by side.
    #[arg(long)]
    order: bool,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// The Leadwire to measure; `benches/proxy/run` builds one where none is named.
    #[arg(long, value_name = "FILE")]
    bin: PathBuf,
    /// Another one, to set beside it.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let folder = tempfile::tempdir()?;
    let place = Place { folder: folder.path(), upstream: load::upstream()?, admin: peers::free()? };
    if options.order {
        order::write(&options.bin.canonicalize()?, &place)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.gates { gates(&options, &place) } else { compare(&options, &place) }
}

fn gates(options: &Options, place: &Place<'_>) -> anyhow::Result<ExitCode> {
    let gates = gates::run(&options.bin, place)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&gates)?);
    } else {
        println!("| one kept connection, one worker | counted | a request | | at most | goal | stretch | |");
        println!("|---|---|---|---|---|---|---|---|");
        gates.iter().for_each(|gate| println!("{}", gate.told()));
    }
    let passes = gates.iter().all(|gate| gate.passes);
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(options: &Options, place: &Place<'_>) -> anyhow::Result<ExitCode> {
    let length = if options.quick { Length::QUICK } else { Length::FULL };
    let programs = Programs {
        leadwire: options.bin.clone(),
        beside: options.beside.clone(),
        nginx: found("NGINX", "nginx"),
        haproxy: found("HAPROXY", "haproxy"),
        envoy: found("ENVOY", "envoy"),
    };
    let contenders = place.start(&programs)?;
    // First, while idle is idle.
    let memory = rounds::memory(&contenders)?;
    let series = rounds::cpu(&contenders, length)?;
    let paced = rounds::paced(&contenders, Client::connect(place.upstream, Asked::Case)?, length)?;
    let mut report = Report {
        machine: machine(),
        versions: versions(&programs),
        rounds: length.rounds,
        rows: series.iter().flat_map(|series| report::rows(&contenders, series)).collect(),
        latency: report::latency(&contenders, &paced),
        real_time: paced.real_time,
        lead_log: report::lead_log(&contenders)?,
        memory: report::memory(&contenders, &memory),
        goals: Vec::new(),
    };
    report.goals = goals::goals(&report);
    let text = if options.json { serde_json::to_string_pretty(&report)? } else { report.markdown() };
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// A program that a variable or the path names; says so where neither does.
fn found(variable: &str, name: &str) -> Option<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    // Servers stand where users' paths seldom lead.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = named.into_iter().chain(folders.map(|folder| folder.join(name))).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("{name} is neither on the path nor in ${variable}: goes on without it");
    }
    found
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (model, kernel) =
        (model.map_or("a processor", |(_, model)| model), read("/proc/sys/kernel/osrelease"));
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

/// What each program says of itself.
fn versions(programs: &Programs) -> Vec<String> {
    let said = |program: &Path, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        // The first word with a dot between digits.
        let number =
            |word: &&str| word.split('.').take(2).all(|part| part.ends_with(|c: char| c.is_ascii_digit()));
        let words = text.split([' ', '/', '\n']).filter(|word| word.contains('.'));
        words.into_iter().find(number).map(str::to_owned)
    };
    let peers = [
        ("nginx", &programs.nginx, "-v"),
        ("HAProxy", &programs.haproxy, "-v"),
        ("Envoy", &programs.envoy, "--version"),
    ];
    let version = |(name, program, argument): (&str, &Option<PathBuf>, &str)| {
        Some(format!("{name} {}", said(program.as_ref()?, argument).unwrap_or_default()))
    };
    peers.into_iter().filter_map(version).collect()
}
