//! The report for a terminal, and as a page that can be mailed.

use std::fmt;

use super::{
    super::page::Page,
    Investigation, Scoring,
    sections::{Section, opening, sections, title},
};

/// Characters of a line before it is broken.
const WIDTH: usize = 100;

impl fmt::Display for Investigation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", title(self))?;
        opening(self).iter().try_for_each(|line| write_wrapped(f, line, ""))?;
        sections(self).iter().try_for_each(|section| write_section(f, section))
    }
}

fn write_section(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    writeln!(f, "\n{}", section.title)?;
    if !section.rows.is_empty() {
        write_table(f, section)?;
    }
    section.lines.iter().try_for_each(|line| write_wrapped(f, line, "  "))
}

/// Aligned columns; one that is empty throughout is left out.
fn write_table(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    let head: Vec<String> = section.head.iter().map(|cell| (*cell).to_owned()).collect();
    let cells = |column: usize| section.rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| match cells(column).all(String::is_empty) {
            true => 0,
            false => {
                cells(column).chain(head.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
            }
        })
        .collect();
    for row in std::iter::once(&head).chain(&section.rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            line.push_str(&format!("  {cell:<width$}"));
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_wrapped(f: &mut fmt::Formatter<'_>, text: &str, indent: &str) -> fmt::Result {
    let mut line = indent.to_owned();
    for word in text.split(' ') {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = format!("{indent}{}", if text.starts_with("- ") { "  " } else { "" });
        } else if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

impl Investigation {
    /// The report as one file without anything from elsewhere.
    pub fn to_html(&self) -> String {
        let mut page = Page::new(&title(self));
        opening(self).iter().for_each(|line| page.paragraph(line));
        page.svg(&drawing(self));
        for section in sections(self) {
            page.heading(&section.title);
            if !section.rows.is_empty() {
                page.table(&section.head, &section.rows);
            }
            section.lines.iter().for_each(|line| page.paragraph(line));
        }
        page.finish()
    }
}

/// The points of its scores over time; the one that is looked into is a full dot. Numbers only, so there is nothing to escape.
fn drawing(told: &Investigation) -> String {
    const SIZE: [f64; 2] = [900.0, 120.0];
    let [width, height] = SIZE;
    let (first, last) = (told.scores.first(), told.scores.last());
    let begin = first.map_or(0, |scoring| scoring.time_ms);
    let span = last.map_or(1, |scoring| (scoring.time_ms - begin).max(1)) as f64;
    let place = |scoring: &Scoring| {
        let x = (scoring.time_ms - begin) as f64 / span * (width - 20.0) + 10.0;
        (x, (1.0 - scoring.score.clamp(0.0, 1.0)) * (height - 20.0) + 10.0)
    };
    let line: Vec<String> = told.scores.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dots = told.scores.iter().enumerate().map(|(at, scoring)| {
        let ((x, y), fill) = (place(scoring), if at == told.at { "#0969da" } else { "#ffffff" });
        format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"#0969da\"/>")
    });
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\"><title>Points over time, 0 to 100</title>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#0969da\"/>{}</svg>",
        line.join(" "),
        dots.collect::<String>()
    )
}
