//! The summary, for people and for programs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{latency::StageLatency, text};
use crate::lead::Grade;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Leads that were created and scored.
    pub leads: u64,
    /// Requests that created no lead.
    pub failed: u64,
    /// Leads that were created without a score, past the deadline for example.
    pub unscored: u64,
    /// Scored leads a second.
    pub leads_per_second: f64,
    /// How long leads were sent.
    pub seconds: f64,
    /// Histogram of the points: 0 to 9, 10 to 19, ..., 90 to 100.
    pub scores: [u64; 10],
    /// Scored leads by grade.
    pub grades: BTreeMap<Grade, u64>,
    /// Latency by stage, as the admin listener last told.
    pub stages: Vec<StageLatency>,
    /// The hot swap; none where the run ended before it.
    pub swap: Option<Swap>,
    /// What the lead log holds.
    pub lead_log: Logged,
}

/// A hot swap as clients saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swap {
    /// The version that answered before.
    pub from: String,
    /// The version that answers since.
    pub to: String,
    /// From the start of its writing to its first answer.
    pub first_milliseconds: f64,
    /// From the start of its writing until it gave every answer.
    pub milliseconds: f64,
    /// Requests that failed since it was written.
    pub failed: u64,
}

/// The lead log, after the sidecar has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Logged {
    /// Scores in it.
    pub scores: u64,
}

impl Summary {
    /// Whether every score that was answered was also logged.
    pub fn is_logged(&self) -> bool {
        self.lead_log.scores == self.leads
    }
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Swap { from, to, first_milliseconds: first, milliseconds: all, failed } = self;
        write!(
            f,
            "hot swap {from} -> {to}: first answer after {first:.0} ms, all after {all:.0} ms, {failed} failed"
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { leads, failed, unscored, seconds, leads_per_second, .. } = self;
        let leads = text::count(*leads);
        writeln!(f)?;
        writeln!(
            f,
            "{leads} leads in {seconds:.1} s, {leads_per_second:.0}/s; {failed} failed, {unscored} unscored"
        )?;
        write!(f, "grades")?;
        for (grade, leads) in &self.grades {
            write!(f, "  {grade} {}", text::count(*leads))?;
        }
        writeln!(f)?;
        for StageLatency { stage, p50_us, p99_us, max_us, .. } in &self.stages {
            let [p50, p99, max] = [p50_us, p99_us, max_us].map(|us| text::micros(*us));
            writeln!(f, "{stage:9}  p50 {p50:>7}  p99 {p99:>7}  max {max:>7}")?;
        }
        match &self.swap {
            Some(swap) => writeln!(f, "{swap}")?,
            None => writeln!(f, "no hot swap: the run ended before it")?,
        }
        let logged = text::count(self.lead_log.scores);
        match self.is_logged() {
            true => write!(f, "lead log: {logged} scores, one for each scored answer"),
            false => write!(f, "lead log: {logged} scores, but {leads} scored answers"),
        }
    }
}
