//! What is asked for.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{config, ledger};

/// Score the log's leads again with another version, and tell what changes.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// The version: its name, serving or not, or the path of its folder.
    #[arg(long, value_name = "VERSION")]
    pub with: String,
    /// The model whose scores are read. Without it, that of the folder, or the only one that has such a version.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Scores from then on: 30d, 12h, 2026-11-22, or 2026-11-22T08:03:00Z.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = When::parse)]
    pub since: When,
    /// Scores before then; all that there are without it.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub until: Option<When>,
    /// Every score, and not only the last of each lead before its outcome.
    #[arg(long)]
    pub all: bool,
    /// Leads whose scores move most.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1_000))]
    pub movers: u16,
    /// Leads that can be called; a tenth of them without it.
    #[arg(long, value_name = "COUNT")]
    pub capacity: Option<u64>,
    /// Print JSON.
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write a page to this file instead.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long before now.
    Ago(Duration),
    /// In milliseconds since 1970.
    At(i64),
}

impl When {
    /// `30d`, or a day or a time in UTC.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(ago) = config::time(text) {
            return Ok(Self::Ago(ago));
        }
        let forms = [text.to_owned(), format!("{text}T00:00:00.000Z"), text.replace('Z', ".000Z")];
        let found = forms.iter().find_map(|text| ledger::millis(text)).map(Self::At);
        found.ok_or("expected 30d, 12h, 2026-11-22, or 2026-11-22T08:03:00Z")
    }

    /// In milliseconds since 1970.
    pub(super) fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
            Self::At(ms) => ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_ago_or_a_time() {
        let now_ms = 10 * 86_400_000;
        for (text, expected) in [
            ("1d", Some(9 * 86_400_000)),
            ("36h", Some(9 * 86_400_000 - 43_200_000)),
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-02T00:00:01Z", Some(86_401_000)),
            ("1970-01-02T00:00:01.250Z", Some(86_401_250)),
            ("18446744073709551615s", Some(i64::MIN + now_ms + 1)),
            ("30", None),
            ("1970-13-02", None),
            ("", None),
        ] {
            assert_eq!(When::parse(text).ok().map(|when| when.ms(now_ms)), expected, "{text}");
        }
    }
}
