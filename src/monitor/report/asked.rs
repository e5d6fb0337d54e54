//! What a report is of.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::dates;
use crate::leadlog::Horizon;

/// What `leadwire report` is asked.
#[derive(Clone, Debug, Args)]
pub struct ReportOptions {
    /// Only this model.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The first day on which the leads were scored: `2026-08-24`, or `90d` ago.
    #[arg(long, value_name = "DAY", default_value = "90d")]
    pub since: Since,
    /// The last day; today without it.
    #[arg(long, value_name = "DAY")]
    pub until: Option<Since>,
    /// What the table over time goes by.
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// Print the report as JSON.
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write it as a page that can be mailed, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What the table over time goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The version that scored.
    Version,
    /// The week of the score, from Monday.
    #[default]
    Week,
    /// The month of the score.
    Month,
    /// The day of the score.
    Day,
}

/// A day, by its date or by how many days ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Days since 1970, UTC.
    Day(i64),
    /// So many days before today.
    Ago(i64),
}

impl Since {
    /// The day, as of a moment.
    pub fn day(self, now_ms: i64) -> i64 {
        match self {
            Since::Day(day) => day,
            Since::Ago(days) => now_ms.div_euclid(dates::DAY_MS).saturating_sub(days),
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = || text.strip_suffix('d')?.parse().ok().filter(|days: &u32| *days <= 36_500).map(i64::from);
        let day = dates::parse(text).map(Since::Day).or_else(|| ago().map(Since::Ago));
        day.ok_or("a day is written as 2026-08-24, or as 90d for 90 days ago")
    }
}

/// What a report is of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// One model; all without it.
    pub model: Option<&'a str>,
    /// The first day, in days since 1970, UTC.
    pub from: i64,
    /// The day after the last.
    pub to: i64,
    /// What the table over time goes by.
    pub by: By,
    /// How long a lead has to convert, and what time it is.
    pub horizon: Horizon,
}

impl<'a> Asked<'a> {
    /// The days from `since` to `until`, or to today.
    pub fn new(
        model: Option<&'a str>,
        (since, until): (Since, Option<Since>),
        by: By,
        horizon: Horizon,
    ) -> Self {
        let day = |since: Since| since.day(horizon.now_ms);
        let to = day(until.unwrap_or(Since::Ago(0))).saturating_add(1);
        Self { model, from: day(since), to, by, horizon }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_or_ages() {
        let check = |text: &str, expected: Option<i64>| {
            let day = text.parse::<Since>().ok().map(|since| since.day(1_000 * dates::DAY_MS + 5));
            assert_eq!(day, expected, "{text}");
        };
        check("1970-01-03", Some(2));
        check("90d", Some(910));
        check("0d", Some(1_000));
        check("-5d", None);
        check("36501d", None);
        check("4w", None);
        check("d", None);
        check("", None);
        let horizon = Horizon { ms: 0, now_ms: 1_000 * dates::DAY_MS };
        let asked = |until| Asked::new(None, (Since::Ago(10), until), By::Week, horizon);
        assert_eq!((asked(None).from, asked(None).to), (990, 1_001));
        assert_eq!(asked(Some(Since::Day(995))).to, 996, "the last day is in it");
    }
}
