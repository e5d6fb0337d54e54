//! `leadwire investigate`: options in, text out. It works on the files, whether or not a sidecar runs.

use std::path::PathBuf;

use clap::Args;

use super::{Ask, InvestigateError, gather::investigate, shown::parse_time};
use crate::rollout::Desk;

/// Why a lead got the score it got.
#[derive(Clone, Debug, Args)]
pub struct InvestigateOptions {
    /// The lead's id in the CRM, or that of a deal it became.
    lead: String,
    /// The model; that of the last score without it.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Look into the score that was current then: `2026-11-22`, `2026-11-22T14:02:05Z` or milliseconds since 1970. The last
    /// one without it.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<i64>,
    /// Compare with the score that was current then; with the one before without it.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    against: Option<i64>,
    /// Count what became of leads that had their time within so many days.
    #[arg(long, value_name = "N", default_value_t = Ask::DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Print JSON.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write a page that stands by itself instead.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing is told.
    #[error(transparent)]
    Investigate(#[from] InvestigateError),
    /// The page cannot be written.
    #[error("{}", file.display())]
    Page {
        /// Where.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The report is no JSON.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The report, for standard output.
pub fn run(options: &InvestigateOptions, desk: &Desk, now_ms: i64) -> Result<String, CommandError> {
    let ask = Ask {
        lead: options.lead.clone(),
        model: options.model.clone(),
        at_ms: options.at,
        against_ms: options.against,
        days: options.days,
    };
    let told = investigate(desk, &ask, now_ms)?;
    if let Some(file) = &options.html {
        std::fs::write(file, told.to_html())
            .map_err(|source| CommandError::Page { file: file.clone(), source })?;
        return Ok(format!("{}\nwritten to {}\n", told.answer, file.display()));
    }
    Ok(if options.json { serde_json::to_string(&told)? + "\n" } else { told.to_string() })
}
