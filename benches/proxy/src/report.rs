//! The tables, as Markdown or as JSON.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{
    goals::Goal,
    peers::{Contender, LEAD_LOG},
    rounds::{CONNECTIONS, HELD, PACE, Paced, Sample, Series},
    wire::Asked,
};

/// All that was measured.
#[derive(Serialize)]
pub struct Report {
    pub machine: String,
    pub versions: Vec<String>,
    pub rounds: usize,
    pub rows: Vec<Row>,
    pub latency: Vec<Latency>,
    pub real_time: bool,
    pub lead_log: Vec<LeadLog>,
    pub memory: Vec<Memory>,
    pub goals: Vec<Goal>,
}

/// One contender's requests of one kind over so many connections.
#[derive(Serialize)]
pub struct Row {
    pub contender: String,
    pub asked: Asked,
    pub connections: usize,
    pub cpu_us: f64,
    pub to_nginx: Option<Ratio>,
    pub to_envoy: Option<Ratio>,
    pub per_second: f64,
}

/// A contender's CPU time over another's in the same round.
#[derive(Clone, Copy, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

/// Microseconds, the medians of all rounds.
#[derive(Serialize)]
pub struct Latency {
    pub contender: String,
    pub p50: f64,
    pub p99: f64,
    /// Over direct requests.
    pub added_p50: f64,
    pub added_p99: f64,
}

/// Resident bytes.
#[derive(Serialize)]
pub struct Memory {
    pub contender: String,
    pub idle: u64,
    pub at_64: u64,
    pub at_1000: u64,
}

/// What became of the records of all leads that were scored.
#[derive(Serialize)]
pub struct LeadLog {
    pub contender: String,
    pub scored: f64,
    /// Since the thread that writes could not follow.
    pub dropped: f64,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, greatest } = self;
        write!(f, "{median:.2} ({least:.2}-{greatest:.2})")
    }
}

/// Rows of a series: one for each contender, and one without the lead log's thread where there is one at work.
pub fn rows(contenders: &[Contender], series: &Series) -> Vec<Row> {
    let find = |name: &str| {
        let at = contenders.iter().position(|contender| contender.name.starts_with(name))?;
        Some(series.samples.get(at)?.iter().map(|sample| sample.cpu).collect::<Vec<_>>())
    };
    let (nginx, envoy) = (find("nginx"), find("Envoy"));
    let row = |contender: String, samples: &[Sample], cpu: &dyn Fn(&Sample) -> f64| {
        let times: Vec<f64> = samples.iter().map(cpu).collect();
        Row {
            contender,
            asked: series.asked,
            connections: series.connections,
            to_nginx: nginx.as_ref().map(|peer| ratio(&times, peer)),
            to_envoy: envoy.as_ref().map(|peer| ratio(&times, peer)),
            cpu_us: median(times),
            per_second: median(samples.iter().map(|sample| sample.per_second).collect()),
        }
    };
    let mut rows = Vec::new();
    for (contender, samples) in contenders.iter().zip(&series.samples) {
        rows.push(row(contender.name.clone(), samples, &|sample| sample.cpu));
        if contender.scores() && series.asked == Asked::Lead {
            let name = format!("{}, without the thread `{LEAD_LOG}`", contender.name);
            rows.push(row(name, samples, &|sample| sample.cpu - sample.lead_log));
        }
    }
    rows
}

/// Round by round, since a neighbour's noise is the same for both then.
fn ratio(times: &[f64], peer: &[f64]) -> Ratio {
    let mut ratios: Vec<f64> = times.iter().zip(peer).map(|(time, peer)| time / peer).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |at: Option<&f64>| at.copied().unwrap_or(f64::NAN);
    Ratio { least: at(ratios.first()), greatest: at(ratios.last()), median: median(ratios) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Latency of direct requests first, then of each contender.
pub fn latency(contenders: &[Contender], paced: &Paced) -> Vec<Latency> {
    let percents = |rounds: &[[f64; 2]]| {
        let p50 = median(rounds.iter().map(|[p50, _]| *p50).collect());
        let p99 = median(rounds.iter().map(|[_, p99]| *p99).collect());
        [p50, p99]
    };
    let [direct_p50, direct_p99] = percents(&paced.direct);
    let names = contenders.iter().map(|contender| contender.name.clone());
    let all = [("direct".to_owned(), &paced.direct)].into_iter().chain(names.zip(&paced.contenders));
    let of = |(contender, rounds): (String, &Vec<[f64; 2]>)| {
        let [p50, p99] = percents(rounds);
        Latency { contender, p50, p99, added_p50: p50 - direct_p50, added_p99: p99 - direct_p99 }
    };
    all.map(of).collect()
}

/// Asks whoever scores.
pub fn lead_log(contenders: &[Contender]) -> anyhow::Result<Vec<LeadLog>> {
    let of = |contender: &Contender| {
        Ok(LeadLog {
            contender: contender.name.clone(),
            scored: contender.metric("leadwire_requests_total", "outcome=\"scored\"")?,
            dropped: contender.metric("leadwire_leadlog_dropped_total", "")?,
        })
    };
    contenders.iter().filter(|contender| contender.scores()).map(of).collect()
}

/// What the kernel said of each contender.
pub fn memory(contenders: &[Contender], bytes: &[[u64; 3]]) -> Vec<Memory> {
    let of = |(contender, [idle, at_64, at_1000]): (&Contender, &[u64; 3])| Memory {
        contender: contender.name.clone(),
        idle: *idle,
        at_64: *at_64,
        at_1000: *at_1000,
    };
    contenders.iter().zip(bytes).map(of).collect()
}

impl Report {
    /// The tables for people.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self { machine, rounds, versions, .. } = self;
        writeln!(out, "{machine}; {}; {rounds} rounds.\n", versions.join(", "))?;
        self.write_leads(out)?;
        for LeadLog { contender, scored, dropped } in &self.lead_log {
            writeln!(out, "{contender}: {scored} leads scored, {dropped} of their records dropped.\n")?;
        }
        self.write_records(out)?;
        self.write_latency(out)?;
        self.write_memory(out)?;
        writeln!(out, "\n| goal | measured | target | stretch | reached | of the stretch |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        self.goals.iter().try_for_each(|goal| writeln!(out, "{}", goal.told()))
    }

    fn write_leads(&self, out: &mut String) -> fmt::Result {
        let [few, some, many] = CONNECTIONS;
        writeln!(
            out,
            "| POST of a lead | CPU µs at {some} | to nginx at {few} | at {some} | at {many} | to Envoy at {some} | at {many} | requests/s at {many} |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for row in self.rows.iter().filter(|row| row.asked == Asked::Lead && row.connections == some) {
            let at = |connections| self.of(row, connections);
            let nginx = |connections| told(at(connections).and_then(|row| row.to_nginx));
            let envoy = |connections| {
                at(connections)
                    .and_then(|row| row.to_envoy)
                    .map_or("-".into(), |it| format!("{:.2}", it.median))
            };
            writeln!(
                out,
                "| {} | {:.1} | {} | {} | {} | {} | {} | {:.0} |",
                row.contender,
                row.cpu_us,
                nginx(few),
                nginx(some),
                nginx(many),
                envoy(some),
                envoy(many),
                at(many).map_or(f64::NAN, |row| row.per_second),
            )?;
        }
        writeln!(out)
    }

    /// The same contender's row at so many connections.
    fn of(&self, row: &Row, connections: usize) -> Option<&Row> {
        let same = |other: &&Row| {
            (&other.contender, other.asked, other.connections) == (&row.contender, row.asked, connections)
        };
        self.rows.iter().find(same)
    }

    fn write_records(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "| GET of 2 KiB | CPU µs at 16 | to nginx | to Envoy | requests/s |")?;
        writeln!(out, "|---|---|---|---|---|")?;
        for row in self.rows.iter().filter(|row| row.asked == Asked::Record) {
            let (nginx, envoy) = (told(row.to_nginx), told(row.to_envoy));
            writeln!(
                out,
                "| {} | {:.1} | {nginx} | {envoy} | {:.0} |",
                row.contender, row.cpu_us, row.per_second
            )?;
        }
        writeln!(out)
    }

    fn write_latency(&self, out: &mut String) -> fmt::Result {
        let scheduling = if self.real_time { "real-time" } else { "usual" };
        writeln!(
            out,
            "| {PACE} requests/s, {scheduling} scheduling | p50 µs | p99 µs | added p50 | added p99 |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for Latency { contender, p50, p99, added_p50, added_p99 } in &self.latency {
            writeln!(out, "| {contender} | {p50:.0} | {p99:.0} | {added_p50:.0} | {added_p99:.0} |")?;
        }
        writeln!(out)
    }

    fn write_memory(&self, out: &mut String) -> fmt::Result {
        let [few, many] = HELD;
        writeln!(out, "| resident MiB | idle | {few} connections | {many} connections |")?;
        writeln!(out, "|---|---|---|---|")?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for Memory { contender, idle, at_64, at_1000 } in &self.memory {
            writeln!(out, "| {contender} | {:.1} | {:.1} | {:.1} |", mib(*idle), mib(*at_64), mib(*at_1000))?;
        }
        Ok(())
    }
}

fn told(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(|| "-".into(), |ratio| ratio.to_string())
}
