//! The command line.

use std::time::Duration;

use clap::Args;

/// Half-way of a run without an end.
const SWAP_AFTER: Duration = Duration::from_secs(10);

/// How the demo runs.
#[derive(Clone, Debug, Args)]
pub struct DemoOptions {
    /// How long, such as 10s or 2m; until Ctrl-C without it.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub length: Option<Duration>,
    /// Leads a second; 0 is as fast as it goes.
    #[arg(long, value_name = "LEADS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub rate: u32,
    /// Print nothing but one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

impl DemoOptions {
    /// When the second version is written, from the start.
    pub(super) fn swap_after(&self) -> Duration {
        self.length.map_or(SWAP_AFTER, |length| length / 2)
    }
}

fn time(text: &str) -> Result<Duration, &'static str> {
    crate::config::time(text).filter(|time| !time.is_zero()).ok_or("not a time such as 10s or 2m")
}
