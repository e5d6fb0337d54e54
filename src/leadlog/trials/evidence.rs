//! What the log tells of versions on trial, as counts that a rollout can judge.
//!
//! Leads count by the arm they were assigned to, whoever answered; those that only a request told are left out.
//!
//! A trial lasts for weeks and is looked at each minute, so a look reads only the rows that were written since the last one.
//! What they add up to is kept; it takes the same memory however many there were. A row stays counted when it is removed
//! later. All is read once more where something else is asked, such as one step more, and where the last row that was read
//! is gone or another stands in its place: its lead was forgotten, or the log was set aside.
//!
//! What became of leads changes afterwards, and is counted whole by `settled.rs`.

use std::time::Instant;

use super::{
    folds::{CanaryFold, MISSES, PairsFold, Range, Reached, SCORES, SHADOW_SCORES, StepFold},
    settled::{Settled, Versus},
    store::{Store, StoreError},
};
use crate::lead::{Cohort, Evidence, Pairs, Sides, StepCounts, Window};

/// What is counted whole takes so small a part of the time at most, however long the log is.
const SETTLED_SHARE: u32 = 100;

/// What is on trial of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnTrial {
    /// The model's name.
    pub model: String,
    /// The version that serves: pairs are made with it and no other.
    pub champion: String,
    /// The canary, if one runs.
    pub canary: Option<OnCanary>,
    /// Each shadow, and since when its pairs count, in milliseconds since 1970.
    pub shadows: Vec<(Box<str>, i64)>,
}

/// A version that answers a share of the leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnCanary {
    /// The challenger's version.
    pub version: String,
    /// Since when its pairs count, in milliseconds since 1970.
    pub pairs_ms: i64,
    /// Its steps.
    pub steps: Vec<OnStep>,
}

/// A stretch of time with one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnStep {
    /// The ledger's record that began it.
    pub seq: u64,
    /// The challenger's share.
    pub percent: u32,
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// The moment after its last; `None` while it runs.
    pub to_ms: Option<i64>,
}

impl OnTrial {
    /// Each pair of versions.
    pub(in crate::leadlog) fn pairs(&self) -> impl Iterator<Item = Versus<'_>> {
        let Self { model, champion, canary, shadows } = self;
        let canary = canary.iter().map(|canary| (canary.version.as_str(), canary.pairs_ms));
        let shadows = shadows.iter().map(|(version, since_ms)| (&**version, *since_ms));
        canary.chain(shadows).map(move |(challenger, since_ms)| Versus {
            model,
            champion,
            challenger,
            since_ms,
        })
    }

    /// Earlier rows are not read.
    fn since_ms(&self, window_ms: i64) -> i64 {
        let steps = self.canary.iter().flat_map(|canary| &canary.steps).map(|step| step.from_ms);
        let window = self.canary.iter().map(|_| window_ms);
        self.pairs().map(|pair| pair.since_ms).chain(steps).chain(window).min().unwrap_or(i64::MAX)
    }
}

/// When a label is settled.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// How long a lead has to convert, in milliseconds.
    pub ms: i64,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Horizon {
    /// What is older than this has had its time.
    pub fn settled_ms(self) -> i64 {
        self.now_ms.saturating_sub(self.ms)
    }
}

/// What has been read of a model's trials.
#[derive(Debug, Default)]
pub struct Seen {
    of: Option<OnTrial>,
    canary: Option<CanaryFold>,
    pairs: Vec<PairsFold>,
    scores: Reached,
    misses: Reached,
    shadow_scores: Reached,
    /// With the time when it is counted again.
    settled: Option<(Settled, Instant)>,
}

impl Seen {
    /// Counts what came since the last look. The canary's window begins at `window_ms`, where the last one that was judged
    /// ended, and ends now.
    pub fn look(
        &mut self,
        store: &Store,
        of: &OnTrial,
        window_ms: i64,
        horizon: Horizon,
    ) -> Result<Evidence, StoreError> {
        let span = (window_ms, horizon.now_ms);
        // What fails on the way leaves nothing that is half counted.
        let mut seen = std::mem::take(self);
        if !(seen.of.as_ref() == Some(of) && seen.stands(store)? && seen.moves(span)) {
            seen = Self::new(of, span);
        }
        seen.read(store, of, window_ms)?;
        *self = seen;
        let settled = self.settled(store, of, horizon)?;
        Ok(self.evidence(of, &settled))
    }

    fn new(of: &OnTrial, span: (i64, i64)) -> Self {
        let canary = of.canary.as_ref().map(|canary| CanaryFold::new(canary, span));
        Self {
            of: Some(of.clone()),
            canary,
            pairs: of.pairs().map(PairsFold::new).collect(),
            ..Self::default()
        }
    }

    /// Whether all that was read is as it was.
    fn stands(&self, store: &Store) -> Result<bool, StoreError> {
        let Self { scores, misses, shadow_scores, .. } = self;
        Ok(scores.stands(store, &SCORES)?
            && misses.stands(store, &MISSES)?
            && shadow_scores.stands(store, &SHADOW_SCORES)?)
    }

    /// Moves the window, where it is the same or the next one.
    fn moves(&mut self, span: (i64, i64)) -> bool {
        self.canary.as_mut().is_none_or(|canary| canary.window.moves(span))
    }

    fn read(&mut self, store: &Store, of: &OnTrial, window_ms: i64) -> Result<(), StoreError> {
        let Self { canary, pairs, scores, misses, shadow_scores, .. } = self;
        let experiment = of.canary.as_ref().map(|canary| canary.version.as_str());
        let range = Range { model: &of.model, experiment, from_ms: of.since_ms(window_ms) };
        if let Some(canary) = canary {
            scores.read(store, (&SCORES, &range), |row| canary.scored(row))?;
            misses.read(store, (&MISSES, &range), |row| canary.missed(row))?;
        }
        shadow_scores.read(store, (&SHADOW_SCORES, &range), |row| {
            let row = row.try_into()?;
            pairs.iter_mut().for_each(|pair| pair.count(&row));
            canary.iter_mut().for_each(|canary| canary.timed(&row));
            Ok(())
        })
    }

    /// Counts leads and labels anew, unless that took long a short while ago.
    fn settled(&mut self, store: &Store, of: &OnTrial, horizon: Horizon) -> Result<Settled, StoreError> {
        let started = Instant::now();
        if let Some((settled, _)) = self.settled.as_ref().filter(|(_, due)| started < *due) {
            return Ok(settled.clone());
        }
        let settled = Settled::count(store, of, horizon)?;
        let due = Instant::now() + SETTLED_SHARE * started.elapsed();
        self.settled = Some((settled.clone(), due));
        Ok(settled)
    }

    fn evidence(&self, of: &OnTrial, settled: &Settled) -> Evidence {
        let pairs = self.pairs.iter().zip(&settled.labelled);
        let mut pairs = pairs.map(|(pair, (labelled, auc))| Pairs {
            labelled: labelled.clone(),
            auc: *auc,
            ..pair.counted()
        });
        let mut evidence = Evidence::default();
        if let (Some(on), Some(canary)) = (&of.canary, &self.canary) {
            let (from_ms, to_ms, arms) = canary.window.counted();
            evidence.window = Window { from_ms, to_ms, arms };
            evidence.pairs = pairs.next().unwrap_or_default();
            let steps = on.steps.iter().zip(&canary.steps).zip(&settled.cohorts);
            evidence.steps = steps.map(|((on, step), cohorts)| step_counts(on, step, *cohorts)).collect();
        }
        evidence.shadows = of.shadows.iter().map(|(shadow, _)| shadow.clone()).zip(pairs).collect();
        evidence
    }
}

fn step_counts(on: &OnStep, step: &StepFold, cohorts: Sides<Cohort>) -> StepCounts {
    let (OnStep { seq, percent, .. }, (arms, scores)) = (*on, step.counted());
    StepCounts { seq, percent, arms, cohorts, scores }
}

#[cfg(test)]
mod tests;
