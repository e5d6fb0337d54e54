//! The command line.

use std::time::Duration;

use clap::Args;

/// What the acts take in a run without an end.
const ACTS: Duration = Duration::from_secs(40);
/// Leads of a whole run from which on a small share of them is enough for a canary.
const MANY: f64 = 12_000.0;

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
    /// How long the acts take.
    pub(super) fn acts(&self) -> Duration {
        self.length.unwrap_or(ACTS)
    }

    /// Percent of the leads that a version on trial answers: a quarter, or half where there are few. A step takes 500.
    pub(super) fn share(&self) -> u32 {
        let leads = f64::from(self.rate) * self.acts().as_secs_f64();
        if self.rate == 0 || leads >= MANY { 25 } else { 50 }
    }
}

fn time(text: &str) -> Result<Duration, &'static str> {
    crate::config::time(text).filter(|time| !time.is_zero()).ok_or("not a time such as 10s or 2m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_leads_are_shared_evenly() {
        for (length, rate, expected) in
            [(None, 500, 25), (None, 0, 25), (None, 100, 50), (Some(10), 500, 50), (Some(60), 500, 25)]
        {
            let length = length.map(Duration::from_secs);
            let options = DemoOptions { length, rate, json: false };
            assert_eq!(options.share(), expected, "{options:?}");
        }
    }
}
