//! Revenue per lead, which a few large deals make.

use serde::Serialize;

use crate::{
    leadlog::{Revenue, Tally},
    stats::{mean_interval, quantile, sorted},
};

/// The largest revenues are cut here before an interval is drawn, so that one deal does not decide it.
const CUT: f64 = 0.995;

/// The draws are the same each time.
const SEED: u64 = 42;

/// What leads brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Money {
    /// In all.
    pub total: f64,
    /// Per lead, those that brought nothing included.
    pub per_lead: f64,
    /// The same with the largest revenues cut at the 99.5th percentile of those of won leads. `None` where the leads' own rows
    /// have expired, as with the two below.
    pub per_lead_cut: Option<f64>,
    /// Its 95% interval, by drawing the leads again.
    pub interval95: Option<[f64; 2]>,
    /// Won leads whose revenue was not told, and counts as none.
    pub untold: Option<u64>,
}

impl Money {
    /// `None` where no revenue was told.
    pub(super) fn new(matured: &Tally, leads: &[Revenue]) -> Option<Self> {
        let total = matured.total();
        let told = sorted(leads.iter().filter_map(|lead| lead.revenue).collect());
        if total.scored == 0 || (total.revenue == 0.0 && told.is_empty()) {
            return None;
        }
        // Sketches outlive rows; what is left of these would tell of other leads.
        let are_all_there = leads.len() as u64 == total.won;
        let cut = quantile(&told, CUT).filter(|_| are_all_there);
        let cut: Option<Vec<f64>> = cut.map(|most| told.iter().map(|revenue| revenue.min(most)).collect());
        let n = total.scored as f64;
        Some(Self {
            total: total.revenue,
            per_lead: total.revenue / n,
            per_lead_cut: cut.as_ref().map(|revenues| revenues.iter().sum::<f64>() / n),
            interval95: cut
                .and_then(|revenues| mean_interval(&revenues, usize::try_from(total.scored).ok()?, SEED)),
            untold: are_all_there.then(|| leads.len().saturating_sub(told.len()) as u64),
        })
    }
}
