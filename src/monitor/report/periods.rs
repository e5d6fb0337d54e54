//! The same by week, month, day or version.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{asked::By, dates};
use crate::{
    leadlog::{CohortDay, Tally},
    stats::Proportion,
};

/// Leads that were scored in one period, or by one version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Period {
    /// `2026-W47`, `2026-11`, `2026-11-22`, or the version.
    pub period: String,
    /// Leads that were scored.
    pub leads: u64,
    /// Those of them of matured days, which the conversion is of.
    pub matured: u64,
    /// Those of the matured that converted.
    pub conversions: u64,
    /// Conversions per matured lead.
    pub rate: f64,
    /// Its 95% interval (Wilson).
    pub wilson95: [f64; 2],
    /// What the matured leads brought.
    pub revenue: f64,
    /// Conversions so far of leads that are not matured.
    pub so_far: u64,
}

/// The periods in which leads were scored, the first first.
pub(super) fn periods(cohorts: &[CohortDay], by: By) -> Vec<Period> {
    let name = |cohort: &CohortDay| match by {
        By::Version => cohort.version.clone(),
        By::Week => dates::week(cohort.day),
        By::Month => dates::month(cohort.day),
        By::Day => dates::day(cohort.day),
    };
    let mut sums: BTreeMap<String, (Tally, Tally)> = BTreeMap::new();
    for cohort in cohorts {
        let (matured, open) = sums.entry(name(cohort)).or_default();
        if cohort.matured { matured } else { open }.merge(&cohort.tally);
    }
    sums.into_iter().map(|(period, (matured, open))| one(period, &matured, &open)).collect()
}

fn one(period: String, matured: &Tally, open: &Tally) -> Period {
    let (matured, open) = (matured.total(), open.total());
    let outcome = Proportion { conversions: matured.won, leads: matured.scored };
    Period {
        period,
        leads: matured.scored.saturating_add(open.scored),
        matured: matured.scored,
        conversions: matured.won,
        rate: outcome.rate(),
        wilson95: outcome.wilson(),
        revenue: matured.revenue,
        so_far: open.won,
    }
}
