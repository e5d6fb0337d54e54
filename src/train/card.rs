//! The model card: what a version is for, what it was made from, how good it is and where it is not, for people.
//!
//! `model-card.md` and `reliability.svg` lie beside the manifest, which does not name them: nothing needs them to serve. The
//! same training gives the same bytes, so there is no clock and no path of a machine in them.

use std::fmt::Write;

use super::{dataset::Dataset, judged::View, trials};
use crate::{
    registry::{GateVerdict, Manifest, Search, Segment, Version},
    score::Kind,
    stats::{self, Proportion, Z95},
};

/// The card's file.
pub(super) const CARD: &str = "model-card.md";
/// The plot's file, which the card shows.
pub(super) const PLOT: &str = "reliability.svg";

const PARTS: usize = 10;
/// Features that the card names by their effect.
const FEATURES: usize = 12;
/// Below so many conversions every figure is rough.
const FEW: usize = 150;

/// What a card tells of.
pub(super) struct Told<'a> {
    pub(super) version: &'a Version,
    /// Leads that it is judged on; without labels, only their scores are known.
    pub(super) judged: &'a Dataset,
    pub(super) scores: &'a [f64],
    /// What these leads are, such as `validation rows`.
    pub(super) rows: &'a str,
}

/// The files, by name.
pub(super) fn files(told: &Told<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![(CARD, told.card().into_bytes())];
    if told.is_labelled() {
        files.push((PLOT, plot(told.scores, &told.judged.labels).into_bytes()));
    }
    files
}

impl Told<'_> {
    fn is_labelled(&self) -> bool {
        self.judged.labels.len() == self.scores.len() && !self.scores.is_empty()
    }

    /// What the leads are, once that was said at length.
    fn same(&self) -> &str {
        self.rows.split(',').next().unwrap_or_default()
    }

    fn card(&self) -> String {
        let manifest = &self.version.manifest;
        let mut card = format!("# {}\n\n", self.version.id);
        card += &purpose(manifest);
        card += &self.data();
        if self.is_labelled() {
            card += &self.quality();
            card += &self.lift();
        } else {
            card += "## Quality\n\nNot known: nobody said which of the leads converted.\n\n";
        }
        card += &self.effects();
        card += &segments(&manifest.segments, self.same());
        card += &gate(manifest.gate.as_ref());
        card += &self.limits();
        card
    }

    fn data(&self) -> String {
        let lineage = &self.version.manifest.lineage;
        let mut rows = Vec::new();
        let mut row = |name: &str, text: String| rows.push(format!("| {name} | {} |\n", cell(&text)));
        let described = if lineage.imported.is_some() { "described by" } else { "fitted on" };
        row(described, format!("{}, {} rows", lineage.dataset, lineage.rows));
        row("digest of these", format!("SHA-256 {}", lineage.digest));
        if let Some(snapshot) = &lineage.snapshot {
            row("all rows", format!("{}, of which {} converted", snapshot.rows, snapshot.positives));
            if let (Some(first), Some(last)) = (&snapshot.first_event, &snapshot.last_event) {
                row("from", format!("{first} to {last}"));
            }
            snapshot.seen_until.iter().for_each(|until| row("fitted and calibrated up to", until.clone()));
            snapshot.label_cutoff.iter().for_each(|cutoff| row("labels final up to", cutoff.clone()));
            row("digest of all rows", format!("SHA-256 {}", snapshot.digest));
        }
        if let Some(imported) = &lineage.imported {
            row("imported from", format!("{}, SHA-256 {}", imported.file, imported.sha256));
        }
        let validation = lineage.validation.clone().unwrap_or_else(|| "rows set apart".to_owned());
        if lineage.imported.is_none() {
            row("chosen and calibrated on", validation);
        }
        row("figures below", format!("{} {}", self.scores.len(), self.rows));
        row("target", lineage.target.clone().unwrap_or_else(|| "not known".into()));
        row(
            "left out",
            if lineage.dropped.is_empty() { "nothing".into() } else { lineage.dropped.join(", ") },
        );
        let held_nothing: Vec<_> =
            lineage.left_out.iter().map(|out| format!("{} ({})", out.column, out.note)).collect();
        if !held_nothing.is_empty() {
            row("nothing to learn from", held_nothing.join(", "));
        }
        lineage.search.iter().for_each(|search| {
            let Search { study, compared, settings, .. } = search;
            let settings = trials::settings(settings);
            row(
                "settings",
                format!("{settings}; best of {compared} trials on the same leads (study {study})"),
            );
        });
        lineage.seed.iter().for_each(|seed| row("seed", seed.to_string()));
        lineage.commit.iter().for_each(|commit| row("commit", commit.clone()));
        lineage.source.iter().for_each(|source| row("source", source.clone()));
        format!("## Data\n\n| | |\n|---|---|\n{}\n", rows.concat())
    }

    fn quality(&self) -> String {
        let (scores, labels) = (self.scores, &self.judged.labels);
        let all = share(labels.iter().copied());
        let auc = match (stats::auc(scores, labels), stats::auc_variance(scores, labels)) {
            (Some(auc), Some(variance)) => {
                let half = Z95 * variance.sqrt();
                format!("{auc:.4} ({:.4} to {:.4})", (auc - half).max(0.0), (auc + half).min(1.0))
            }
            _ => "not known: one kind of end is missing".into(),
        };
        let mut text = format!(
            "## Quality\n\nOn {} {}. In brackets the 95% interval: DeLong's for the AUC, Wilson's for shares.\n\n",
            scores.len(),
            self.rows
        );
        let table = stats::reliability(scores, labels, PARTS);
        let _ = write!(
            text,
            "| | |\n|---|---|\n| converted | {} |\n| AUC | {auc} |\n| log-loss | {:.4} |\n| Brier | {:.4} |\n\
             | calibration error (ECE, ten parts of equal width) | {:.4} |\n\n",
            rate(all),
            stats::log_loss(scores, labels),
            stats::brier(scores, labels),
            stats::ece(&table),
        );
        text += &self.grades();
        text += &format!("![Promised and observed shares of conversions]({PLOT})\n\n");
        text
    }

    fn grades(&self) -> String {
        let cutoffs = self.version.manifest.cutoffs;
        let bounds = [("A", cutoffs.a), ("B", cutoffs.b), ("C", cutoffs.c), ("D", 0.0)];
        let mut text = "| grade | scores from | leads | converted |\n|---|---|---|---|\n".to_owned();
        let mut above = f32::INFINITY;
        for (grade, from) in bounds {
            let leads = self.scores.iter().zip(&self.judged.labels);
            let own = leads.filter(|(score, _)| (**score as f32) >= from && (**score as f32) < above);
            let own = share(own.map(|(_, label)| *label));
            let _ = writeln!(text, "| {grade} | {from:.4} | {} | {} |", own.leads, rate(own));
            above = from.min(above);
        }
        text + "\n"
    }

    fn lift(&self) -> String {
        let mut text = format!(
            "## Lift\n\nOn the same {}, by falling score, in tenths.\n\n\
             | tenth | leads | converted | lift | of all conversions so far |\n|---|---|---|---|---|\n",
            self.same()
        );
        let base = share(self.judged.labels.iter().copied()).rate();
        for (i, part) in stats::gains(self.scores, &self.judged.labels, PARTS).iter().enumerate() {
            let own = Proportion { conversions: part.positives, leads: part.n };
            let lift = if base > 0.0 { own.rate() / base } else { f64::NAN };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {lift:.2} | {:.1}% |",
                i + 1,
                part.n,
                rate(own),
                part.cumulative * 100.0
            );
        }
        text + "\n"
    }

    fn effects(&self) -> String {
        let (model, manifest) = (&self.version.model, &self.version.manifest);
        let effects = View::new(model, self.judged).effects(self.version);
        let mut text = format!(
            "## What moves the score\n\nMean distance, in logits, by which a feature moves a lead away from the typical one \
             (in/out), on the same {}.\n\n| feature | effect |\n|---|---|\n",
            self.same()
        );
        for (name, effect) in effects.iter().take(FEATURES) {
            let is_protected =
                manifest.schema.features.iter().any(|spec| spec.name == *name && spec.protected);
            let protected = if is_protected { " (protected: never named as a reason)" } else { "" };
            let _ = writeln!(text, "| {}{protected} | {effect:.3} |", cell(name));
        }
        if let Some(rest) = effects.len().checked_sub(FEATURES).filter(|rest| *rest > 0) {
            let _ = writeln!(text, "\n{rest} more move it less.");
        }
        text + "\n"
    }

    fn limits(&self) -> String {
        let manifest = &self.version.manifest;
        let mut limits = vec![
            "It orders leads and says how likely they convert. It is no reason to refuse, price or treat a person \
             differently where the law forbids that; features that stand in for protected attributes are in it unless \
             they were left out above."
                .to_owned(),
            "It knows the leads of its data only. Other sources of leads, campaigns or seasons are drift: the manifest's \
             histograms are what live leads are compared with."
                .to_owned(),
        ];
        let required: Vec<_> = manifest.schema.features.iter().filter(|spec| spec.required).collect();
        let optional = manifest.schema.features.len() - required.len();
        let names = required.iter().map(|spec| cell(&spec.name)).collect::<Vec<_>>().join(", ");
        limits.push(match required.len() {
            0 => "Every feature may be missing; it is then taken for the typical one.".to_owned(),
            _ => format!(
                "A lead without one of these is not scored, for none was ever missing: {names}. {optional} other features \
                 may be missing."
            ),
        });
        let conversions = self.judged.positives();
        if self.is_labelled() && conversions < FEW {
            limits.push(format!("{conversions} conversions are few: read the intervals, not the figures."));
        }
        if manifest.lineage.imported.is_none() && self.rows.starts_with("validation") {
            limits.push(
                "The rows that the figures rest on also chose and calibrated it, which flatters it a little."
                    .to_owned(),
            );
        }
        if manifest.gate.is_none() {
            limits.push("It was not compared with the version that served when it was made.".to_owned());
        }
        format!("## Limits\n\n{}", limits.iter().map(|limit| format!("- {limit}\n")).collect::<String>())
    }
}

fn purpose(manifest: &Manifest) -> String {
    let what = match manifest.kind {
        Kind::Linear => "A logistic regression",
        Kind::Mlp => "A neural network",
        Kind::Lightgbm => "Boosted trees (LightGBM)",
        Kind::Xgboost => "Boosted trees (XGBoost)",
    };
    format!(
        "## What it is for\n\n{what} over {} features of a lead. It scores leads as they arrive: the calibrated chance that \
         one converts, from 0 to 1, and a grade from A to D. Programs read `manifest.json`; this page is for people, and \
         nothing reads it.\n\n",
        manifest.schema.features.len(),
    )
}

fn segments(segments: &[Segment], rows: &str) -> String {
    if segments.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "## Segments\n\nOn the same {rows}.\n\n| feature | word | leads | converted | AUC |\n|---|---|---|---|---|\n"
    );
    for Segment { feature, word, rows, positives, auc } in segments {
        let auc = auc.map_or_else(|| "-".to_owned(), |auc| format!("{auc:.3}"));
        let own = rate(Proportion { conversions: *positives, leads: *rows });
        let _ = writeln!(text, "| {} | {} | {rows} | {own} | {auc} |", cell(feature), cell(word));
    }
    text + "\n"
}

fn gate(gate: Option<&GateVerdict>) -> String {
    let Some(GateVerdict { mode, passed, champion, rows, positives, checks, holdout }) = gate else {
        return String::new();
    };
    let passed = if *passed { "passed" } else { "failed" };
    let mut text = format!(
        "## The gate\n\nCompared with version {champion} on {rows} newest leads that it was not fitted on, {positives} of \
         which converted; asked for: {}. It {passed}.\n\n",
        mode.as_str()
    );
    let notes = holdout.iter().flat_map(|holdout| &holdout.notes);
    notes.for_each(|note| text += &format!("Note: {}.\n\n", cell(note)));
    text += "| check | | found |\n|---|---|---|\n";
    for check in checks {
        let mark = if check.passed { "passed" } else { "**failed**" };
        let _ = writeln!(text, "| {} | {mark} | {} |", check.name, cell(&check.said));
    }
    text + "\nHow long scoring takes is recorded in the ledger: no two runs measure the same.\n\n"
}

fn share(labels: impl Iterator<Item = bool>) -> Proportion {
    let (mut conversions, mut leads) = (0, 0);
    for label in labels {
        conversions += u64::from(label);
        leads += 1;
    }
    Proportion { conversions, leads }
}

/// `11.2% (10.5% to 11.9%)`
fn rate(share: Proportion) -> String {
    if share.leads == 0 {
        return "-".to_owned();
    }
    let [low, high] = share.wilson().map(|end| end * 100.0);
    format!("{:.1}% ({low:.1}% to {high:.1}%)", share.rate() * 100.0)
}

/// Text in a table's cell or a sentence: one line, and nothing in it is Markdown, HTML or another order of letters.
fn cell(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        let is_inside = before.is_alphanumeric() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '<' => plain += "&lt;",
            '&' => plain += "&amp;",
            // Within a word it emphasises nothing.
            '_' if is_inside => plain.push('_'),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '$' => plain.extend(['\\', c]),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => plain.push(' '),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
        before = c;
    }
    plain
}

/// Where a share lies in the plot: 0 at the bottom left, 1 at the top right.
fn at(x: f64, y: f64) -> (f64, f64) {
    (50.0 + 340.0 * x, 370.0 - 340.0 * y)
}

/// Ten parts of equal count: what was promised across, what came upwards with its interval; the diagonal is the truth. The
/// axes end where the data does, so that scores of rare conversions do not crowd in a corner.
fn plot(scores: &[f64], labels: &[bool]) -> String {
    let parts = stats::reliability_equal_mass(scores, labels, PARTS);
    let parts = parts.iter().filter(|part| part.n > 0).map(|part| {
        let conversions = (part.mean_label * part.n as f64).round() as u64;
        (part.mean_score, part.mean_label, Proportion { conversions, leads: part.n }.wilson())
    });
    let parts: Vec<_> = parts.collect();
    let most = parts.iter().map(|(score, _, [_, high])| score.max(*high)).fold(0.0, f64::max);
    let most = ((most * 10.0).ceil() / 10.0).clamp(0.1, 1.0);
    let mut svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 410 420\" width=\"410\" height=\"420\" \
                   font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"410\" height=\"420\" fill=\"#fff\"/>\n"
        .to_owned();
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let ((x, bottom), (left, y)) = (at(share, 0.0), at(0.0, share));
        let label = share * most * 100.0;
        let _ = write!(
            svg,
            "<path d=\"M{x:.1} 30V{bottom:.1}M{left:.1} {y:.1}H390\" stroke=\"#ddd\"/>\n\
             <text x=\"{x:.1}\" y=\"388\" text-anchor=\"middle\">{label:.0}%</text>\n\
             <text x=\"44\" y=\"{:.1}\" text-anchor=\"end\">{label:.0}%</text>\n",
            y + 4.0
        );
    }
    svg += "<path d=\"M50 370L390 30\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>\n";
    for (score, share, [low, high]) in parts {
        let (x, y) = at(score / most, share / most);
        let ((_, bottom), (_, top)) = (at(0.0, low / most), at(0.0, high / most));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {bottom:.1}V{top:.1}\" stroke=\"#06c\"/><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#06c\"/>"
        );
    }
    svg + "<text x=\"220\" y=\"410\" text-anchor=\"middle\">mean score</text>\n\
           <text x=\"14\" y=\"200\" text-anchor=\"middle\" transform=\"rotate(-90 14 200)\">share that converted</text>\n</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_table_cannot_break_it() {
        for (text, expected) in [
            ("emp_var_rate", "emp_var_rate"),
            ("+0.1107 (95% interval)", "+0.1107 (95% interval)"),
            ("a|b", "a\\|b"),
            // Else the bar would end the cell after all.
            ("a\\|b", "a\\\\\\|b"),
            ("a\nb\r\tc", "a b  c"),
            ("<b>", "&lt;b>"),
            ("&lt;", "&amp;lt;"),
            ("**bold** and _slanted_", "\\*\\*bold\\*\\* and \\_slanted\\_"),
            ("`code`", "\\`code\\`"),
            ("![shown](http://a)", "!\\[shown\\](http://a)"),
            ("~~gone~~ $x$", "\\~\\~gone\\~\\~ \\$x\\$"),
            ("one\u{2028}two\u{202e}eerht", "one two eerht"),
            ("ü_ö", "ü_ö"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
        assert_eq!(rate(Proportion { conversions: 10, leads: 100 }), "10.0% (5.5% to 17.4%)");
        assert_eq!(rate(Proportion::default()), "-");
    }

    #[test]
    fn the_plot_holds_ten_parts_and_stays_in_its_frame() {
        let scores: Vec<f64> = (0..1000u32).map(|i| f64::from(i) / 4000.0).collect();
        let labels: Vec<bool> = (0..1000).map(|i| i % 8 == 0).collect();
        let svg = plot(&scores, &labels);
        assert_eq!(svg.matches("<circle").count(), 10);
        assert!(svg.contains(">30%<") && !svg.contains("NaN"), "{svg}");
        for text in svg.split("cy=\"").skip(1) {
            let y: f64 = text.split('"').next().unwrap().parse().unwrap();
            assert!((30.0..=370.0).contains(&y), "{y}");
        }
        assert_eq!(plot(&[0.5; 3], &[true; 3]).matches("<circle").count(), 3);
    }
}
