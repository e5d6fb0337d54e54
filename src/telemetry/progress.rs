//! How far a long command is: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Tells on stderr; to be dropped when it is done.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    told: Instant,
}

impl Progress {
    /// Says nothing where it is to be `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| ProgressBar::new(1_000));
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {msg}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        Self { bar, quiet, told: Instant::now() }
    }

    /// So much of 0..=1 is done; `text` says it in words, and is only made where it is shown.
    pub fn tell(&mut self, share: f64, text: impl Fn() -> String) {
        if let Some(bar) = &self.bar {
            // In range, so the cast keeps the value.
            bar.set_position((share.clamp(0.0, 1.0) * 1_000.0) as u64);
            bar.set_message(text());
        } else if !self.quiet && self.told.elapsed() >= BETWEEN_LINES {
            self.told = Instant::now();
            // A closed stderr is no reason to stop.
            _ = writeln!(stderr(), "{}", text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
