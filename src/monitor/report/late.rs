//! How long wins take, and what is still to come.

use serde::Serialize;

use super::dates::DAY_MS;
use crate::{
    leadlog::{CohortDay, Horizon, Win},
    stats::{quantile, sorted},
};

/// How long leads took that were won, of all matured days, in days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delays {
    /// Leads that were won, those after the horizon too.
    pub wins: u64,
    /// Half of them took no longer.
    pub median_days: f64,
    /// Three in four took no longer.
    pub p75_days: f64,
    /// Nine in ten took no longer: a horizon to choose.
    pub p90_days: f64,
    /// The share of them that came after the horizon and so count as not converted.
    pub late: f64,
}

impl Delays {
    pub(super) fn new(wins: &[Win], horizon_ms: i64) -> Option<Self> {
        let delays = sorted(wins.iter().map(|win| win.delay_ms as f64 / DAY_MS as f64).collect());
        let days = |q| quantile(&delays, q);
        let late = wins.iter().filter(|win| win.delay_ms > horizon_ms).count();
        Some(Self {
            wins: wins.len() as u64,
            median_days: days(0.5)?,
            p75_days: days(0.75)?,
            p90_days: days(0.9)?,
            late: late as f64 / wins.len() as f64,
        })
    }
}

/// What the days that have not matured may come to: each win that is known counts for those that are still to come, by how
/// many of the earlier ones had come at that age. An estimate, and never official.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Leads of the days that are old enough to tell.
    pub leads: u64,
    /// Leads of days that are too young.
    pub left_out: u64,
    /// Conversions that are known.
    pub conversions: u64,
    /// Conversions per lead in the end, about.
    pub rate: f64,
}

/// Wins of matured days that it takes to know how they come.
const LEAST_WINS: usize = 30;

/// A day of which fewer of the wins can be known says nothing yet.
const LEAST_SHARE: f64 = 0.1;

impl Estimate {
    /// `wins` are those of matured days.
    pub(super) fn new(cohorts: &[CohortDay], wins: &[Win], horizon: Horizon) -> Option<Self> {
        let within = wins.iter().filter(|win| win.delay_ms <= horizon.ms);
        let delays = sorted(within.map(|win| win.delay_ms as f64).collect());
        let (mut estimate, mut expected) = (Self { leads: 0, left_out: 0, conversions: 0, rate: 0.0 }, 0.0);
        for day in cohorts.iter().filter(|day| !day.matured) {
            // As if all its leads had been scored at noon.
            let noon = day.day.saturating_mul(DAY_MS).saturating_add(DAY_MS / 2);
            let age = horizon.now_ms.saturating_sub(noon) as f64;
            let come = delays.partition_point(|delay| *delay <= age) as f64 / delays.len() as f64;
            if come < LEAST_SHARE {
                estimate.left_out = estimate.left_out.saturating_add(day.scored);
                continue;
            }
            estimate.leads = estimate.leads.saturating_add(day.scored);
            estimate.conversions = estimate.conversions.saturating_add(day.positives);
            expected += day.positives as f64 / come;
        }
        estimate.rate = (expected / estimate.leads as f64).min(1.0);
        (delays.len() >= LEAST_WINS && estimate.leads > 0).then_some(estimate)
    }
}
