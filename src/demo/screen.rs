//! The run as it goes: a panel redrawn in place on a terminal, a line a second elsewhere.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write, stdout},
    net::SocketAddr,
    time::Duration,
};

use super::{
    latency::StageLatency,
    story::Plot,
    tally::{BARS, ScoredLead, Tally},
    text::{count, micros},
};

/// How often [`Screen::show`] is worth calling.
pub(super) const PERIOD: Duration = Duration::from_millis(250);
/// Over how many calls the current rate is taken: a second.
const WINDOW: usize = 4;
/// Width of a histogram's bar in characters.
const BAR: usize = 12;

/// What there is to show.
pub(super) struct Frame<'f> {
    /// Since the start.
    pub(super) elapsed: Duration,
    /// The sidecar's two addresses.
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Counts.
    pub(super) tally: &'f Tally,
    /// Latency as last told.
    pub(super) stages: &'f [StageLatency],
    /// The rollout as last told.
    pub(super) plot: &'f Plot,
}

/// Where it is shown.
pub(super) struct Screen {
    kind: Kind,
    /// Time and leads of the last calls, oldest first.
    past: VecDeque<(Duration, u64)>,
}

enum Kind {
    /// On a terminal; how many lines stand there.
    Panel(usize),
    /// Elsewhere; the second that the next line is for, and how many moves were told.
    Lines(u64, usize),
    Quiet,
}

impl Screen {
    /// Chooses by what standard output is.
    pub(super) fn new(quiet: bool) -> Self {
        let kind = match (quiet, stdout().is_terminal()) {
            (true, _) => Kind::Quiet,
            (false, true) => Kind::Panel(0),
            (false, false) => Kind::Lines(1, 0),
        };
        Self { kind, past: VecDeque::new() }
    }

    /// Shows a frame, or leaves it if one was shown a moment ago.
    pub(super) fn show(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let rate = self.rate(frame);
        let mut out = stdout().lock();
        match &mut self.kind {
            Kind::Quiet => return Ok(()),
            Kind::Lines(second, told) if frame.elapsed.as_secs() >= *second => {
                *second = frame.elapsed.as_secs() + 1;
                let moves = &frame.plot.moves;
                // What was before the first lead is no news.
                for moved in moves.iter().skip(*told).filter(|moved| moved.seconds > 0.0) {
                    writeln!(out, "{:>5.1} s  {moved}", moved.seconds)?;
                }
                writeln!(out, "{}", line(frame, rate))?;
                *told = moves.len();
            }
            Kind::Lines(..) => {}
            Kind::Panel(drawn) => {
                let lines = panel(frame, rate);
                // Up to the panel's first line, then everything below is cleared.
                if *drawn > 0 {
                    write!(out, "\x1b[{drawn}A\r\x1b[J")?;
                }
                *drawn = lines.len();
                for line in lines {
                    writeln!(out, "{line}")?;
                }
            }
        }
        out.flush()
    }

    /// Leads a second over the window.
    fn rate(&mut self, frame: &Frame<'_>) -> u64 {
        self.past.push_back((frame.elapsed, frame.tally.leads));
        if self.past.len() > WINDOW + 1 {
            self.past.pop_front();
        }
        let (then, leads) = self.past.front().copied().unwrap_or_default();
        let time = frame.elapsed.saturating_sub(then).as_secs_f64();
        if time > 0.0 { ((frame.tally.leads - leads) as f64 / time).round() as u64 } else { 0 }
    }
}

fn line(frame: &Frame<'_>, rate: u64) -> String {
    let Frame { elapsed, tally, stages, .. } = frame;
    let (leads, failed) = (count(tally.leads), count(tally.failed));
    let slots = frame.plot.slots();
    let mut line =
        format!("{:>3} s  {leads} leads  {}/s  {failed} failed  {slots}", elapsed.as_secs(), count(rate));
    for name in ["score", "total"] {
        if let Some(stage) = stages.iter().find(|stage| stage.stage == name) {
            line += &format!("  {name} p50 {} p99 {}", micros(stage.p50_us), micros(stage.p99_us));
        }
    }
    line
}

/// The panel's lines, none wider than 80 characters.
fn panel(frame: &Frame<'_>, rate: u64) -> Vec<String> {
    let Frame { tally, .. } = frame;
    let mut lines = vec![
        format!(
            "leadwire demo {:>4} s  sidecar {}  admin http://{}",
            frame.elapsed.as_secs(),
            frame.listen,
            frame.admin
        ),
        format!(
            "{} leads   {}/s   {} failed   {} unscored",
            count(tally.leads),
            count(rate),
            count(tally.failed),
            count(tally.unscored)
        ),
        frame.plot.slots(),
        frame.plot.moves.last().map_or_else(String::new, |last| format!("{:.1} s  {last}", last.seconds)),
        String::new(),
    ];
    let mut right = side(frame).into_iter();
    for left in histogram(tally) {
        let right = right.next().unwrap_or_default();
        lines.push(format!("{left:46}{right}").trim_end().to_owned());
    }
    lines
}

/// A row for each bar, with a column for each version.
fn histogram(tally: &Tally) -> Vec<String> {
    let mut versions: Vec<_> = tally.scores.iter().take(2).collect();
    // A version's column stays where it is when the next one joins.
    versions.sort_by_key(|(name, _)| (name.len(), name.as_str()));
    let mut rows = vec![format!("{:8}", "points")];
    rows.extend((0..BARS).map(|bar| {
        let last = if bar == BARS - 1 { 100 } else { bar * 10 + 9 };
        format!("{:>3}-{last:<4}", bar * 10)
    }));
    rows.push(String::new());
    for (name, bars) in versions {
        let total: u64 = bars.iter().sum();
        let shares = bars.iter().map(|leads| *leads as f64 / total.max(1) as f64);
        let cells = shares.map(|share| format!("{:BAR$} {:>3.0}%", bar(share), share * 100.0));
        for (row, cell) in rows.iter_mut().zip([name.clone()].into_iter().chain(cells)) {
            *row += &format!("{cell:18} ");
        }
    }
    rows
}

/// To an eighth of a character.
fn bar(share: f64) -> String {
    let eighths = (share * (BAR * 8) as f64).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// Stages, and the last leads.
fn side(frame: &Frame<'_>) -> Vec<String> {
    let mut rows = vec![format!("{:9} {:>8} {:>8}", "stage", "p50", "p99")];
    rows.extend(
        frame.stages.iter().map(|stage| {
            format!("{:9} {:>8} {:>8}", stage.stage, micros(stage.p50_us), micros(stage.p99_us))
        }),
    );
    rows.resize(6, String::new());
    rows.push("last leads".into());
    rows.extend(frame.tally.last.iter().map(|lead| {
        let ScoredLead { id, points, grade, model } = lead;
        format!("{id} {points:>3} {} {model}", grade.as_str())
    }));
    rows
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        demo::{story::Move, tally::Answer},
        lead::Grade,
    };

    fn tally(leads: &[(u8, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (points, model) in leads {
            let (id, model) = (format!("00Q{points:015}"), (*model).to_owned());
            let lead = ScoredLead { id, points: *points, grade: Grade::C, model };
            tally.count(Answer::Scored(lead), Instant::now());
        }
        tally
    }

    #[test]
    fn the_panel_keeps_its_size_and_fits() {
        let stage = |stage: &str| StageLatency {
            stage: stage.into(),
            count: 1,
            p50_us: 0.9,
            p99_us: 12_000.0,
            max_us: 1.0,
        };
        let stages = ["recognise", "score", "enrich", "upstream", "total"].map(stage);
        let lines = |tally: &Tally, stages: &[StageLatency], plot: &Plot| {
            let listen = "127.0.0.1:65535".parse().unwrap();
            let elapsed = Duration::from_secs(1);
            panel(&Frame { elapsed, listen, admin: listen, tally, stages, plot }, 500)
        };
        let moved = |version: &str, to: &str, percent| Move {
            seconds: 1_000.0,
            version: version.into(),
            from: "production".into(),
            to: to.into(),
            percent,
            actor: "leadwire".into(),
        };
        let moves = vec![moved("lead/2", "production", None), moved("lead/3", "canary", Some(25))];
        let plot = Plot { moves, ..Plot::default() };
        let empty = lines(&Tally::default(), &[], &Plot::default());
        let leads = tally(&[(3, "lead/1"), (55, "lead/1"), (97, "lead/2"), (1, "lead/2")]);
        let full = lines(&leads, &stages, &plot);
        assert_eq!(full[2], "lead/2 production, lead/3 canary 25%");
        assert_eq!(full[3], "1000.0 s  lead/3 production -> canary 25% by leadwire");
        assert_eq!(empty.len(), full.len(), "else the terminal would scroll");
        let wide = full.iter().chain(&empty).find(|line| line.chars().count() > 80);
        assert_eq!(wide, None);
        assert!(full[6].contains("██████        50%"), "{full:#?}");
        assert!(full[15].contains("90-100") && full[15].contains("50%"), "{full:#?}");
    }

    #[test]
    fn bars_end_in_eighths() {
        assert_eq!([bar(0.0), bar(1.0 / 96.0), bar(0.25)], ["", "▏", "███"]);
    }
}
