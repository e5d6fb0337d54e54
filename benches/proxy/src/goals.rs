//! What the proxy should cost, beside what it cost in this run. Ratios are to the peer in the same run; the stretch is what
//! prototypes that do nothing else have reached.

use serde::Serialize;

use super::{
    report::{Ratio, Report, Row},
    wire::Asked,
};

/// One of them; less is better.
#[derive(Serialize)]
pub struct Goal {
    pub what: String,
    pub target: f64,
    pub stretch: f64,
    pub measured: f64,
}

/// A peer, connections, and the target and stretch of the CPU time over the peer's.
type Over = (&'static str, usize, f64, f64);

const PASSES: [Over; 4] = [
    ("nginx", 16, 1.08, 0.92),
    ("nginx", 64, 1.08, 0.92),
    ("Envoy", 16, 0.50, 0.40),
    ("Envoy", 64, 0.50, 0.40),
];

const SCORES: [Over; 4] = [
    ("nginx", 16, 1.20, 1.00),
    ("nginx", 64, 1.15, 1.00),
    ("Envoy", 16, 0.55, 0.45),
    ("Envoy", 64, 0.50, 0.45),
];

const TRIES: [Over; 2] = [("nginx", 16, 1.25, 1.05), ("nginx", 64, 1.25, 1.05)];

const PASSING: &str = "leadwire, pass-through";
const SCORING: &str = "leadwire, score + inject";
const TRYING: &str = "leadwire, score + inject, with a shadow and a canary";

const MIB: f64 = (1 << 20) as f64;

/// All that a run can tell; what lacks its peer is left out.
pub fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    let ours =
        report.rows.iter().filter(|row| row.asked == Asked::Lead && row.contender.starts_with("leadwire"));
    for row in ours {
        let overs: &[Over] = match &*row.contender {
            PASSING => &PASSES,
            name if name.starts_with(TRYING) => &TRIES,
            _ => &SCORES,
        };
        let same = overs.iter().filter(|(_, connections, ..)| *connections == row.connections);
        goals.extend(same.filter_map(|over| cpu(row, *over)));
    }
    goals.sort_by(|one, other| one.what.cmp(&other.what));
    goals.extend(added(report).into_iter().flatten());
    goals.extend(memory(report).into_iter().flatten());
    goals
}

fn cpu(row: &Row, (peer, connections, target, stretch): Over) -> Option<Goal> {
    let Ratio { median: measured, .. } = if peer == "nginx" { row.to_nginx? } else { row.to_envoy? };
    let what = format!("{}: CPU over {peer}'s at {connections}", row.contender);
    Some(Goal { what, target, stretch, measured })
}

fn added(report: &Report) -> Option<[Goal; 2]> {
    let of = |name: &str| report.latency.iter().find(|latency| latency.contender == name);
    let (ours, nginx) = (of(SCORING)?, of("nginx")?);
    let goal = |percent: &str, target, stretch, measured| Goal {
        what: format!("{SCORING}: added {percent} over nginx's"),
        target,
        stretch,
        measured,
    };
    let (p50, p99) = (ours.added_p50 / nginx.added_p50, ours.added_p99 / nginx.added_p99);
    Some([goal("p50", 1.15, 1.0, p50), goal("p99", 1.5, 1.1, p99)])
}

fn memory(report: &Report) -> Option<[Goal; 2]> {
    let ours = report.memory.iter().find(|memory| memory.contender == SCORING)?;
    let goal = |when: &str, target, stretch, bytes: u64| Goal {
        what: format!("{SCORING}: resident MiB {when}"),
        target,
        stretch,
        measured: bytes as f64 / MIB,
    };
    Some([goal("idle", 8.0, 5.0, ours.idle), goal("at 1000", 40.0, 25.0, ours.at_1000)])
}

impl Goal {
    /// A row of a table.
    pub fn told(&self) -> String {
        let Self { what, target, stretch, measured } = self;
        let reached = match () {
            () if measured <= stretch => "stretch",
            () if measured <= target => "target",
            () => "no",
        };
        format!("| {what} | {measured:.2} | {target} | {stretch} | {reached} | {:.2} |", measured / stretch)
    }
}
