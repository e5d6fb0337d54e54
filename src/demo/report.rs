//! The summary, for people and for programs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{latency::StageLatency, story::Move, text};
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
    /// How versions came and went.
    pub rollout: Rollout,
    /// What the lead log holds.
    pub lead_log: Logged,
}

/// The rollout, as the ledger told it and as clients saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Rollout {
    /// What was moved, in order.
    pub moves: Vec<Move>,
    /// Leads that the second version answered while the first one still did.
    pub canary_leads: u64,
    /// The third version's service; none where it answered nobody.
    pub failing: Option<Service>,
    /// What made the sidecar take it back: `score`.
    pub trigger: Option<String>,
    /// The acts that the run ended before.
    pub unreached: Vec<&'static str>,
    /// Its record.
    pub ledger: Ledgered,
}

/// A version in service, as clients saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// `lead/3`.
    pub version: String,
    /// Leads that it answered.
    pub leads: u64,
    /// From its first answer to its last.
    pub milliseconds: f64,
    /// Requests that failed since its first answer.
    pub failed: u64,
}

/// The ledger, after the sidecar has stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledgered {
    /// Its records, a line each, as `leadwire ledger show` tells them.
    pub lines: Vec<String>,
    /// What is wrong with it, if anything.
    pub broken: Option<String>,
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

    /// Whether nothing went wrong that a client or an auditor would mind.
    pub fn is_sound(&self) -> bool {
        self.failed == 0 && self.rollout.ledger.broken.is_none()
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for moved in &self.moves {
            writeln!(f, "{:>5.1} s  {moved}", moved.seconds)?;
        }
        let leads = text::count(self.canary_leads);
        match self.canary_leads {
            0 => {}
            _ => writeln!(f, "canary: lead/2 answered {leads} leads beside lead/1")?,
        }
        if let Some(Service { version, leads, milliseconds, failed }) = &self.failing {
            let leads = text::count(*leads);
            write!(f, "bad challenger: {version} answered {leads} leads within {milliseconds:.0} ms, ")?;
            match &self.trigger {
                Some(trigger) => writeln!(f, "taken back for its {trigger}, {failed} failed")?,
                None => writeln!(f, "not taken back yet, {failed} failed")?,
            }
        }
        if !self.unreached.is_empty() {
            let acts = self.unreached.join(", ");
            writeln!(f, "not reached: {acts}; a longer run or more leads a second would")?;
        }
        write!(f, "{}", self.ledger)
    }
}

impl fmt::Display for Ledgered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        match &self.broken {
            None => write!(f, "ledger: {} records, chain intact", self.lines.len()),
            Some(broken) => write!(f, "ledger: {broken}"),
        }
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
        let logged = text::count(self.lead_log.scores);
        match self.is_logged() {
            true => writeln!(f, "lead log: {logged} scores, one for each scored answer")?,
            false => writeln!(f, "lead log: {logged} scores, but {leads} scored answers")?,
        }
        write!(f, "\n{}", self.rollout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_is_told_as_far_as_it_came() {
        let ledger = Ledgered { lines: vec!["0  promoted".into()], broken: None };
        let nothing = Rollout {
            moves: Vec::new(),
            canary_leads: 0,
            failing: None,
            trigger: None,
            unreached: vec!["the promotion", "the rollback"],
            ledger,
        };
        let moved = Move {
            seconds: 12.34,
            version: "lead/2".into(),
            from: "shadow".into(),
            to: "canary".into(),
            percent: Some(25),
            actor: "leadwire".into(),
        };
        let service = Service { version: "lead/3".into(), leads: 12, milliseconds: 304.2, failed: 0 };
        let running = Rollout {
            moves: vec![moved],
            canary_leads: 1_234,
            failing: Some(service),
            unreached: Vec::new(),
            ..nothing.clone()
        };
        let broken = Ledgered { lines: Vec::new(), broken: Some("record 3: its hash is another".into()) };
        let whole = Rollout { trigger: Some("score".into()), ledger: broken, ..running.clone() };
        for (rollout, expected) in [
            (
                nothing,
                "not reached: the promotion, the rollback; a longer run or more leads a second would\n\n\
                 0  promoted\nledger: 1 records, chain intact",
            ),
            (
                running,
                " 12.3 s  lead/2 shadow -> canary 25% by leadwire\n\
                 canary: lead/2 answered 1,234 leads beside lead/1\n\
                 bad challenger: lead/3 answered 12 leads within 304 ms, not taken back yet, 0 failed\n\n\
                 0  promoted\nledger: 1 records, chain intact",
            ),
            (
                whole,
                " 12.3 s  lead/2 shadow -> canary 25% by leadwire\n\
                 canary: lead/2 answered 1,234 leads beside lead/1\n\
                 bad challenger: lead/3 answered 12 leads within 304 ms, taken back for its score, 0 failed\n\n\
                 ledger: record 3: its hash is another",
            ),
        ] {
            assert_eq!(rollout.to_string(), expected);
        }
    }
}
