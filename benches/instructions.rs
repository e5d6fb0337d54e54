//! Instructions per lead of each case, by callgrind: `cargo bench --bench instructions`.
//!
//! Runs itself under valgrind with N and with 2N runs of a case; the difference is free of start-up, and repeats to 0.1%
//! on a busy machine. Valgrind knows no AVX-512, so the code that is counted is what AVX2 machines run.

mod cases;

use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--case").skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(name), Some(runs)) => run(&name, &runs),
        _ => report(),
    }
}

/// The inner process: one case, so many times.
fn run(name: &str, runs: &str) -> ExitCode {
    let runs: u64 = runs.parse().expect("a number of runs");
    let case = cases::all().into_iter().find(|case| case.name == name).expect("a case's name");
    let mut run = case.ready();
    (0..runs).for_each(|_| run());
    ExitCode::SUCCESS
}

fn report() -> ExitCode {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("valgrind is not installed: skipped");
        return ExitCode::SUCCESS;
    }
    println!("{:>12}  case", "instructions");
    for case in cases::all() {
        // Large batches take long under valgrind, and need fewer runs for the same precision.
        let runs = (1024 / case.leads).max(8);
        let (once, twice) = (count(&case.name, runs), count(&case.name, 2 * runs));
        let per_lead = (twice - once) as f64 / (runs * case.leads) as f64;
        println!("{per_lead:>12.0}  {}", case.name);
    }
    ExitCode::SUCCESS
}

/// Instructions of a whole process.
fn count(name: &str, runs: u64) -> u64 {
    let this = std::env::current_exe().expect("this program's path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--case", name, &runs.to_string()])
        .output()
        .expect("valgrind was there a moment ago");
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    assert!(output.status.success(), "{name:?} under valgrind:\n{report}");
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.expect("callgrind says how much it collected")
}
