//! A replay for a terminal: the answer first, then the tables.

use std::fmt::{self, Display, Formatter};

use time::OffsetDateTime;

use super::{
    quality::{Difference, Quality},
    report::{GRADES, Mover, Replay, Skipped},
};
use crate::registry::{Table, thousands};

impl Display for Replay {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for line in self.headlines() {
            writeln!(f, "{line}")?;
        }
        for (title, head, rows) in self.tables() {
            let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
            rows.into_iter().for_each(|row| table.push(row));
            write!(f, "\n{title}\n{table}")?;
        }
        writeln!(f)?;
        self.notes().iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// Title, head and rows.
pub(super) type Sheet = (String, Vec<String>, Vec<Vec<String>>);

impl Replay {
    /// What everybody wants to know.
    pub(super) fn headlines(&self) -> Vec<String> {
        let Self { version, model, from_ms, to_ms, leads, up, down, .. } = self;
        let (from, to, what) =
            (day(*from_ms), day(to_ms.saturating_sub(1)), if self.all { "scores" } else { "leads" });
        let share = percent(self.changed_grades, *leads);
        let (changed, all) = (thousands(self.changed_grades), thousands(*leads));
        let mut lines = vec![
            format!("{version} on {all} {what} of {model}, {from} to {to}"),
            format!(
                "{changed} of {all} {what} change grade ({share}): {} up, {} down",
                thousands(up.leads),
                thousands(down.leads)
            ),
        ];
        let [given, with] = self.mean;
        lines.push(format!(
            "mean score {given:.4} as given, {with:.4} with {version}; a lead's two scores are {:.4} apart on average",
            self.mean_distance
        ));
        lines.extend(self.matured.ranking(version));
        lines
    }

    /// What stands in tables.
    pub(super) fn tables(&self) -> Vec<Sheet> {
        let mut tables = vec![self.changes(), self.by_grade(), self.called()];
        let days = self.horizon_ms / 86_400_000;
        let each = [
            (format!("what became of leads older than {days} days"), &self.matured),
            ("younger leads that have ended already, provisional".to_owned(), &self.provisional),
        ];
        tables.extend(each.into_iter().filter(|(_, quality)| quality.leads > 0).map(|(title, quality)| {
            let (leads, won) = (thousands(quality.leads), thousands(quality.won));
            (format!("{title}: {leads}, {won} won"), self.sides(""), quality.rows())
        }));
        if !self.movers.is_empty() {
            let head = ["lead", "scored", "by", "as given", &self.version, "points"].map(String::from);
            let rows = self.movers.iter().map(Mover::row).collect();
            tables.push(("leads that move most".to_owned(), head.into(), rows));
        }
        tables
    }

    fn sides(&self, first: &str) -> Vec<String> {
        vec![first.to_owned(), "as given".to_owned(), self.version.clone(), "difference".to_owned()]
    }

    fn changes(&self) -> Sheet {
        let head = ["as given \\ now", "A", "B", "C", "D"].map(String::from);
        let row = |(grade, counts): (&crate::lead::Grade, &[u64; 4])| {
            let cells = counts.iter().map(|count| {
                if *count == 0 {
                    "0".to_owned()
                } else {
                    format!("{} ({})", thousands(*count), percent(*count, self.leads))
                }
            });
            [grade.to_string()].into_iter().chain(cells).collect()
        };
        let rows = GRADES.iter().zip(&self.grade_changes).map(row).collect();
        ("grades".to_owned(), head.into(), rows)
    }

    fn by_grade(&self) -> Sheet {
        let mut head =
            ["grade", "leads", "expected to convert", "known to be won"].map(String::from).to_vec();
        let money = self.revenue.map(|revenue| revenue.mean);
        head.extend(money.map(|_| "expected revenue".to_owned()));
        let row = |name: String, leads: [u64; 2], expected: [f64; 2], won: [u64; 2]| {
            let mut cells = vec![
                name,
                arrow(leads.map(thousands)),
                arrow(expected.map(conversions)),
                arrow(won.map(thousands)),
            ];
            cells.extend(money.map(|mean| arrow(expected.map(|expected| whole(expected * mean)))));
            cells
        };
        let of = |grade: &super::report::GradeRow| {
            row(grade.grade.to_string(), grade.leads, grade.expected, grade.won)
        };
        let mut rows: Vec<Vec<String>> = self.grades.iter().map(of).collect();
        let won = self.grades.iter().map(|row| row.won[0]).sum::<u64>();
        rows.push(row("all".to_owned(), [self.leads; 2], self.expected, [won; 2]));
        rows.push(row("better grade".to_owned(), [self.up.leads; 2], self.up.expected, [self.up.won; 2]));
        rows.push(row(
            "worse grade".to_owned(),
            [self.down.leads; 2],
            self.down.expected,
            [self.down.won; 2],
        ));
        (format!("as given -> {}", self.version), head, rows)
    }

    fn called(&self) -> Sheet {
        let calls = &self.calls;
        let row = |name: &str, called: &super::report::Called| {
            let rate = if called.known == 0 { "-".to_owned() } else { percent(called.won, called.known) };
            vec![
                name.to_owned(),
                thousands(called.leads),
                thousands(called.known),
                thousands(called.won),
                rate,
            ]
        };
        let rows = vec![
            row("called before, and now", &calls.both),
            row("called before, and no more", &calls.dropped),
            row("called now, and not before", &calls.gained),
        ];
        let head = ["", "leads", "end known", "won", "share"].map(String::from);
        (format!("the {} highest scores", thousands(calls.capacity)), head.into(), rows)
    }

    /// What a reader must know to read the rest.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.skipped.told();
        let given = self.given_by.iter().map(|(version, count)| format!("{version}: {}", thousands(*count)));
        let given = given.collect::<Vec<_>>().join(", ");
        notes.extend((!given.is_empty()).then(|| format!("scored by {given}")));
        if self.own > 0 {
            let (own, same) = (thousands(self.own), thousands(self.own_same));
            notes.push(format!(
                "{own} scores were given by {} itself: {same} come out the same to the bit",
                self.version
            ));
        }
        if !self.absent.is_empty() {
            let absent = self.absent.join(", ");
            notes.push(format!("no lead has {absent}: {} reads that as missing", self.version));
        }
        if let Some(revenue) = &self.revenue {
            let (deals, mean) = (thousands(revenue.deals), whole(revenue.mean));
            notes.push(format!("expected revenue: {mean} a conversion, the mean of {deals} won leads"));
        }
        if self.provisional.leads > 0 {
            notes.push(
                "of younger leads only those are known that ended early: decide nothing on them".to_owned(),
            );
        }
        notes
    }
}

impl Skipped {
    fn told(&self) -> Vec<String> {
        let Self { after, earlier, nameless, required, withheld, unreadable, not_finite } = *self;
        let reasons = [
            (earlier, "are of leads with a later score that counts"),
            (after, "were given when the lead was won or lost already"),
            (nameless, "are of leads without an id (--all takes them)"),
            (required, "lack a feature that the version requires"),
            (withheld, "lack a feature that the log may not keep"),
            (unreadable, "cannot be read any more"),
            (not_finite, "get no score that is a number"),
        ];
        let told = |(count, reason): (u64, &str)| format!("left out: {} scores {reason}", thousands(count));
        reasons.into_iter().filter(|(count, _)| *count > 0).map(told).collect()
    }
}

impl Quality {
    /// Which of the two ranks better, as far as that can be told.
    fn ranking(&self, version: &str) -> Option<String> {
        let Difference { value, low, high, .. } = self.auc_difference?;
        let word = match () {
            () if low > 0.0 => "better",
            () if high < 0.0 => "worse",
            () => "no differently, as far as can be told",
        };
        let [given, with] = self.auc.map(|auc| auc.unwrap_or(f64::NAN));
        let known = thousands(self.leads);
        let signed = signed(value);
        Some(format!(
            "{version} ranks them {word}: AUC {given:.4} as given, {with:.4} now ({signed}) over {known} known ends"
        ))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let row = |name: &str, [given, with]: [Option<f64>; 2]| {
            let difference = given.zip(with).map(|(given, with)| signed(with - given));
            vec![name.to_owned(), cell(given), cell(with), difference.unwrap_or_else(|| "-".to_owned())]
        };
        let mut rows = vec![
            row("AUC", self.auc),
            row("log-loss", self.log_loss),
            row("Brier", self.brier),
            row("ECE", self.ece),
        ];
        if let (Some(difference), Some(cell)) =
            (&self.auc_difference, rows.first_mut().and_then(|row| row.last_mut()))
        {
            let Difference { value, low, high, p } = *difference;
            let p = if p < 0.001 { "below 0.001".to_owned() } else { format!("{p:.3}") };
            *cell = format!("{} (95%: {} to {}; p {p})", signed(value), signed(low), signed(high));
        }
        rows
    }
}

impl Mover {
    fn row(&self) -> Vec<String> {
        let points = self.scores.map(|score| (f64::from(score) * 100.0).round());
        let side = |side: usize| {
            let (score, grade) = (self.scores.get(side), self.grades.get(side));
            score.zip(grade).map_or_else(String::new, |(score, grade)| format!("{score:.4} {grade}"))
        };
        let lead = if self.lead.is_empty() { "-".to_owned() } else { shown(&self.lead) };
        vec![
            lead,
            minute(self.time_ms),
            shown(&self.version),
            side(0),
            side(1),
            format!("{:+.0}", points[1] - points[0]),
        ]
    }
}

/// Four digits with their sign; nothing is below zero by less.
fn signed(number: f64) -> String {
    let text = format!("{number:+.4}");
    if text == "-0.0000" { "+0.0000".to_owned() } else { text }
}

/// An id without what a terminal would act on.
fn shown(id: &str) -> String {
    id.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn arrow([given, with]: [String; 2]) -> String {
    if given == with { given } else { format!("{given} -> {with}") }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}

fn conversions(number: f64) -> String {
    format!("{number:.1}")
}

/// `12,300`, or `-3`
fn whole(number: f64) -> String {
    let sign = if number <= -0.5 { "-" } else { "" };
    // The cast saturates.
    format!("{sign}{}", thousands(number.abs().round() as u64))
}

fn at(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).ok()
}

/// `2026-11-22`
fn day(ms: i64) -> String {
    at(ms).map_or_else(|| "the beginning".to_owned(), |time| time.date().to_string())
}

/// `2026-11-22 08:03`
fn minute(ms: i64) -> String {
    at(ms).map_or_else(String::new, |time| format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0.00001, -0.00001, -0.25, 1.0].map(signed), ["+0.0000", "+0.0000", "-0.2500", "+1.0000"]);
        assert_eq!([-1234.5, -0.4, 0.5, 1e6].map(whole), ["-1,235", "0", "1", "1,000,000"]);
        assert_eq!(percent(1, 0), "100.0%");
        assert_eq!(
            (day(0), minute(-60_000), day(i64::MIN)),
            ("1970-01-01".into(), "1969-12-31 23:59".into(), "the beginning".into())
        );
        assert_eq!(arrow(["a".into(), "a".into()]) + &arrow(["a".into(), "b".into()]), "aa -> b");
    }

    #[test]
    fn a_ranking_is_told_where_its_interval_leaves_zero_out() {
        for (low, high, expected) in [
            (
                0.01,
                0.02,
                Some(
                    "lead/2 ranks them better: AUC 0.5000 as given, 0.5150 now (+0.0150) over 1,000 known ends",
                ),
            ),
            (
                -0.02,
                -0.01,
                Some(
                    "lead/2 ranks them worse: AUC 0.5000 as given, 0.5150 now (+0.0150) over 1,000 known ends",
                ),
            ),
            (
                -0.01,
                0.01,
                Some(
                    "lead/2 ranks them no differently, as far as can be told: AUC 0.5000 as given, 0.5150 now (+0.0150) over 1,000 known ends",
                ),
            ),
        ] {
            let difference = Some(Difference { value: 0.015, low, high, p: 0.5 });
            let quality = Quality {
                leads: 1_000,
                auc: [Some(0.5), Some(0.515)],
                auc_difference: difference,
                ..Quality::default()
            };
            assert_eq!(quality.ranking("lead/2").as_deref(), expected);
        }
        assert_eq!(Quality::default().ranking("lead/2"), None);
    }
}
