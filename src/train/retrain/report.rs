//! What came of a retraining, for people and scripts.

use std::fmt;

use serde::Serialize;

use super::compare::Judged;
use crate::{
    registry::{GateCheck, GateVerdict, Metrics, Search},
    train::{Candidate, InputReport, command},
};

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct RetrainReport {
    /// The model.
    pub model: String,
    /// `model/version`; in a dry run, as it would be called.
    pub id: String,
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// The champion's version; `None` where there was none to compare with.
    pub champion: Option<String>,
    /// Where the rows came from and how they were set apart.
    pub input: InputReport,
    /// The network or trees that were kept.
    pub network: String,
    /// The best of every family that was tried.
    pub candidates: Vec<Candidate>,
    /// The search, where there was one.
    pub search: Option<Search>,
    /// Its quality on the validation rows.
    pub metrics: Option<Metrics>,
    /// The verdict; `None` without a champion, and where an earlier run had reached it.
    pub gate: Option<GateVerdict>,
    /// Whether scoring is fast enough; it may come out otherwise in another run.
    pub latency: Option<GateCheck>,
    /// Leads of known score that it scores alike, to 1e-5, once it is loaded as whatever serves is; it is refused otherwise.
    pub golden: usize,
    /// Whether it may be tried.
    pub passed: bool,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What happened to it, such as `lead/4: trained -> validated`.
    pub said: Vec<String>,
}

impl RetrainReport {
    /// Takes what the gate found.
    pub(super) fn judged(&mut self, judged: Judged) {
        self.passed = judged.as_ref().is_none_or(|(gate, latency)| gate.passed && latency.passed);
        (self.gate, self.latency) = judged.unzip();
    }
}

impl fmt::Display for RetrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        command::tried(f, self.search.as_ref(), &self.candidates)?;
        writeln!(f, "kept {}", self.network)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        if let Some(gate) = &self.gate {
            let GateVerdict { rows, positives, champion, checks, .. } = gate;
            writeln!(
                f,
                "against {}/{champion}, on {rows} newest leads, {positives} of them converted:",
                self.model
            )?;
            let notes = gate.holdout.iter().flat_map(|holdout| &holdout.notes);
            notes.into_iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
            for check in checks.iter().chain(&self.latency) {
                let mark = if check.passed { "passed" } else { "FAILED" };
                writeln!(f, "  {mark} {}: {}", check.name, check.said)?;
            }
        }
        writeln!(f, "loaded as what serves: {} golden samples hold", self.golden)?;
        self.said.iter().try_for_each(|said| writeln!(f, "{said}"))?;
        let would = if self.dry_run { "would be" } else { "is" };
        match (self.passed, &self.champion) {
            (false, _) => write!(f, "{} {would} rejected; the champion serves on", self.id),
            (true, None) => write!(f, "{} {would} the first version, and serves", self.id),
            (true, Some(_)) => write!(f, "{} {would} a shadow", self.id),
        }
    }
}
