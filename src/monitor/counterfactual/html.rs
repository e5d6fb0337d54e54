//! A replay as a page.

use std::fmt::Write;

use super::report::Replay;
use crate::monitor::page::{Page, escape};

impl Replay {
    /// One file that can be mailed and kept.
    pub fn html(&self) -> String {
        let mut page = Page::new(&format!("{} on the leads of {}", self.version, self.model));
        self.headlines().iter().for_each(|line| page.paragraph(line));
        page.heading("Scores");
        page.svg(&self.chart());
        for (title, head, rows) in self.tables() {
            page.heading(&title);
            page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
        }
        page.heading("What was read");
        self.notes().iter().for_each(|note| page.paragraph(note));
        page.finish()
    }
}

/// A bar's room, and the tallest bar, in pixels.
const WIDE: usize = 60;
const TALL: f64 = 120.0;

impl Replay {
    /// How many leads have which scores, as given beside the version's.
    fn chart(&self) -> String {
        let most = self.histogram.iter().flatten().copied().max().unwrap_or(0).max(1) as f64;
        let width = WIDE * self.histogram.len();
        let told =
            format!("Leads by score, in tenths: as given in grey, with {} in blue", escape(&self.version));
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} 150\" width=\"{width}\" height=\"150\" role=\"img\"><title>{told}</title>"
        );
        for (place, pair) in self.histogram.iter().enumerate() {
            let left = place * WIDE;
            for (count, (x, fill)) in pair.iter().zip([(left + 5, "#8c959f"), (left + 30, "#0969da")]) {
                let tall = TALL * *count as f64 / most;
                // Writing to a string does not fail.
                _ = write!(
                    svg,
                    "<rect x=\"{x}\" y=\"{:.1}\" width=\"22\" height=\"{tall:.1}\" fill=\"{fill}\"><title>{count}</title></rect>",
                    TALL - tall
                );
            }
            let from = place as f64 / self.histogram.len().max(1) as f64;
            _ = write!(svg, "<text x=\"{}\" y=\"140\" font-size=\"12\">{from:.1}</text>", left + 20);
        }
        svg.push_str("</svg>");
        format!("{svg}<p>{told}.</p>")
    }
}
