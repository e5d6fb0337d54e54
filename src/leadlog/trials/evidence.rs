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
    folds::{CanaryFold, Last, MISSES, PairsFold, Range, Reached, SCORES, SHADOW_SCORES, StepFold},
    settled::Settled,
    store::{Store, StoreError},
    trial::{Horizon, OnStep, OnTrial},
};
use crate::lead::{Cohort, Evidence, Pairs, Sides, StepCounts, Window};

/// What is counted whole takes so small a part of the time at most, however long the log is.
const SETTLED_SHARE: u32 = 100;

/// What has been read of a model's trials.
#[derive(Debug, Default)]
pub struct Seen {
    of: Option<OnTrial>,
    canary: Option<CanaryFold>,
    pairs: Vec<PairsFold>,
    scores: Reached,
    misses: Reached,
    shadow_scores: Reached,
    settled: Option<Kept>,
}

/// What was counted whole, and until when it is good enough.
#[derive(Debug)]
struct Kept {
    settled: Settled,
    horizon_ms: i64,
    due: Instant,
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
        let (stands, ends) = self.moment(store)?;
        let mut seen = std::mem::take(self);
        if !(stands && seen.of.as_ref() == Some(of) && seen.moves(span)) {
            seen = Self::new(of, span);
        }
        let read = seen.read(store, of, window_ms, ends);
        if read.is_err() {
            // What is half counted is read again.
            seen = Self { settled: seen.settled, ..Self::new(of, span) };
        }
        *self = seen;
        read?;
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

    /// Whether all that was read is as it was, and how far the tables go. Both are of one moment, for a row may go between two
    /// and another take its number; what is read after it is read in pieces, which hold no writer up.
    fn moment(&self, store: &Store) -> Result<(bool, [Option<Last>; 3]), StoreError> {
        let Self { scores, misses, shadow_scores, .. } = self;
        let _moment = store.connection.unchecked_transaction()?;
        let stands = scores.stands(store, &SCORES)?
            && misses.stands(store, &MISSES)?
            && shadow_scores.stands(store, &SHADOW_SCORES)?;
        Ok((stands, [SCORES.last(store)?, MISSES.last(store)?, SHADOW_SCORES.last(store)?]))
    }

    /// Moves the window, where it is the same or the next one.
    fn moves(&mut self, span: (i64, i64)) -> bool {
        self.canary.as_mut().is_none_or(|canary| canary.window.moves(span))
    }

    fn read(
        &mut self,
        store: &Store,
        of: &OnTrial,
        window_ms: i64,
        [to_score, to_miss, to_shadow_score]: [Option<Last>; 3],
    ) -> Result<(), StoreError> {
        let Self { canary, pairs, scores, misses, shadow_scores, .. } = self;
        let experiment = of.canary.as_ref().map(|canary| canary.version.as_str());
        let range = Range { model: &of.model, experiment, from_ms: of.since_ms(window_ms) };
        if let Some(canary) = canary {
            scores.read(store, (&SCORES, &range), to_score, |row| canary.scored(row))?;
            misses.read(store, (&MISSES, &range), to_miss, |row| canary.missed(row))?;
        }
        shadow_scores.read(store, (&SHADOW_SCORES, &range), to_shadow_score, |row| {
            let row = row.try_into()?;
            pairs.iter_mut().for_each(|pair| pair.count(&row));
            canary.iter_mut().for_each(|canary| canary.timed(&row));
            Ok(())
        })
    }

    /// Counts leads and labels anew, unless that took long a short while ago, for the same horizon.
    fn settled(&mut self, store: &Store, of: &OnTrial, horizon: Horizon) -> Result<Settled, StoreError> {
        let (started, horizon_ms) = (Instant::now(), horizon.ms);
        let is_fresh = |kept: &&Kept| started < kept.due && kept.horizon_ms == horizon_ms;
        if let Some(kept) = self.settled.as_ref().filter(is_fresh) {
            return Ok(kept.settled.clone());
        }
        let settled = Settled::count(store, of, horizon)?;
        let due = Instant::now() + SETTLED_SHARE * started.elapsed();
        self.settled = Some(Kept { settled: settled.clone(), horizon_ms, due });
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
