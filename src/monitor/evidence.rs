//! What the lead log knows of a model's versions on trial.

use crate::{
    config::Rollout,
    lead::{Evidence, Pairs, StepCounts, Window},
    leadlog::{Horizon, Store, StoreError, Stretch, Versus},
    rollout::{Experiment, Memory, ModelLife, StepSpan},
};

/// Counts all that a decision about `model` may rest on. The window begins where the last one that was judged ended.
pub fn gather(
    store: &Store,
    (model, life): (&str, &ModelLife),
    policy: &Rollout,
    memory: &Memory,
    now_ms: i64,
) -> Result<Evidence, StoreError> {
    let ms = i64::try_from(policy.horizon.as_millis()).unwrap_or(i64::MAX);
    let known = Known { store, model, life, horizon: Horizon { ms, now_ms } };
    let mut evidence = Evidence::default();
    if let Some(experiment) = &life.experiment {
        if let Some(step) = life.step() {
            evidence.window = known.window(experiment, memory.window_from_ms(step))?;
        }
        for step in &experiment.steps {
            evidence.steps.push(known.step(experiment, step)?);
        }
        evidence.pairs = known.pairs(&experiment.version)?;
    }
    for shadow in &life.shadows {
        evidence.shadows.push((shadow.as_str().into(), known.pairs(shadow)?));
    }
    Ok(evidence)
}

struct Known<'k> {
    store: &'k Store,
    model: &'k str,
    life: &'k ModelLife,
    horizon: Horizon,
}

impl Known<'_> {
    fn window(&self, experiment: &Experiment, from_ms: i64) -> Result<Window, StoreError> {
        let to_ms = self.horizon.now_ms;
        let arms = self.store.traffic(&self.stretch(experiment, from_ms, to_ms))?;
        Ok(Window { from_ms, to_ms, arms })
    }

    fn step(&self, experiment: &Experiment, step: &StepSpan) -> Result<StepCounts, StoreError> {
        let to_ms = step.to_ms.unwrap_or(self.horizon.now_ms);
        let stretch = self.stretch(experiment, step.from_ms, to_ms);
        Ok(StepCounts {
            seq: step.seq,
            percent: step.percent,
            arms: self.store.traffic(&stretch)?,
            cohorts: self.store.cohorts(&stretch, self.horizon)?,
            scores: self.store.answers(&stretch)?,
        })
    }

    /// The version beside the champion, since it was first a shadow.
    fn pairs(&self, version: &str) -> Result<Pairs, StoreError> {
        let Some(champion) = self.life.champion.as_deref() else { return Ok(Pairs::default()) };
        let began = self.life.versions.get(version).map(|life| life.shadow_ms.unwrap_or(life.since_ms));
        let versus =
            Versus { model: self.model, champion, challenger: version, since_ms: began.unwrap_or_default() };
        self.store.pairs(&versus, self.horizon)
    }

    fn stretch<'s>(&'s self, experiment: &'s Experiment, from_ms: i64, to_ms: i64) -> Stretch<'s> {
        Stretch { model: self.model, experiment: &experiment.version, from_ms, to_ms }
    }
}
