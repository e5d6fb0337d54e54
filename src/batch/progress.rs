//! How far a run is: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Tells on stderr.
pub(super) struct Progress {
    /// Of the input, where it is known.
    bytes: Option<u64>,
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    told: Instant,
}

impl Progress {
    /// Of an input of so many bytes; none of a pipe.
    pub(super) fn new(bytes: Option<u64>, quiet: bool) -> Self {
        let now = Instant::now();
        let bar = (!quiet && stderr().is_terminal()).then(|| new_bar(bytes));
        Self { bytes, bar, quiet, started: now, told: now }
    }

    /// So much was read and written, by `now`.
    pub(super) fn tell(&mut self, read: u64, rows: u64, now: Instant) {
        if let Some(bar) = &self.bar {
            bar.set_position(read);
            bar.set_message(self.line(read, rows, now));
        } else if !self.quiet && now.saturating_duration_since(self.told) >= BETWEEN_LINES {
            self.told = now;
            // A closed stderr is no reason to stop scoring.
            let _ = writeln!(stderr(), "{}", self.line(read, rows, now));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    /// `41% 1200000 rows, 800000 rows/s`
    fn line(&self, read: u64, rows: u64, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        let rate = if seconds > 0.0 { rows as f64 / seconds } else { 0.0 };
        match self.bytes.filter(|bytes| *bytes > 0 && self.bar.is_none()) {
            Some(bytes) => {
                let share = 100.0 * read as f64 / bytes as f64;
                format!("{share:.0}% {rows} rows, {rate:.0} rows/s")
            }
            None => format!("{rows} rows, {rate:.0} rows/s"),
        }
    }
}

fn new_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {percent:>3}% {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_share_and_rate() {
        let check = |bytes, expected: &str| {
            let progress = Progress::new(bytes, true);
            let now = progress.started + Duration::from_secs(2);
            assert_eq!(progress.line(50, 10, now), expected);
        };
        check(Some(200), "25% 10 rows, 5 rows/s");
        check(None, "10 rows, 5 rows/s");
        check(Some(0), "10 rows, 5 rows/s");
    }
}
