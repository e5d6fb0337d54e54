//! What is asked for.

use std::path::PathBuf;

use clap::Args;

use crate::config::Moment;

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
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: Moment,
    /// Scores before then; all that there are without it.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
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
