//! How far a replay is: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Tells on stderr.
pub(super) struct Progress {
    rows: u64,
    bar: Option<ProgressBar>,
    quiet: bool,
    told: Instant,
}

impl Progress {
    /// Of so many rows.
    pub(super) fn new(rows: u64, quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| new_bar(rows));
        Self { rows, bar, quiet, told: Instant::now() }
    }

    /// So many have been read.
    pub(super) fn tell(&mut self, read: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(read);
        } else if !self.quiet && self.told.elapsed() >= BETWEEN_LINES {
            self.told = Instant::now();
            // A closed stderr is no reason to stop.
            let _ = writeln!(stderr(), "{}", line(read, self.rows));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// `41% of 1200000 rows`
fn line(read: u64, rows: u64) -> String {
    format!("{:.0}% of {rows} rows", 100.0 * read as f64 / rows.max(1) as f64)
}

fn new_bar(rows: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}% of {len} rows, {per_sec}, {eta} left");
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_share() {
        assert_eq!(line(50, 200), "25% of 200 rows");
        assert_eq!(line(0, 0), "0% of 0 rows");
    }
}
