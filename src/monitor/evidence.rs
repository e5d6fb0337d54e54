//! What the lead log knows of a model's versions on trial.

use crate::{
    config::Rollout,
    lead::{Evidence, Pairs},
    leadlog::{Horizon, Store, StoreError, Stretch, Versus},
    rollout::{Memory, ModelLife, WantedCanary, wanted},
};

/// Counts all that a decision about `model` may rest on; nothing where nothing is on trial. The window begins where the
/// last one that was judged ended.
pub fn gather(
    store: &Store,
    (model, life): (&str, &ModelLife),
    policy: &Rollout,
    memory: &Memory,
    now_ms: i64,
) -> Result<Evidence, StoreError> {
    let Some(wanted) = wanted(life, memory) else { return Ok(Evidence::default()) };
    let ms = i64::try_from(policy.horizon.as_millis()).unwrap_or(i64::MAX);
    let log = Log { store, model, champion: wanted.champion, horizon: Horizon { ms, now_ms } };
    let mut evidence = Evidence::default();
    if let Some(canary) = &wanted.canary {
        evidence.window = store.window(&log.stretch(canary, canary.window_ms, now_ms))?;
        evidence.pairs = log.pairs(canary.version, canary.pairs_ms)?;
        for step in canary.steps {
            let stretch = log.stretch(canary, step.from_ms, step.to_ms.unwrap_or(now_ms));
            evidence.steps.push(store.step(&stretch, (step.seq, step.percent), log.horizon)?);
        }
    }
    for (shadow, since_ms) in wanted.shadows {
        evidence.shadows.push((shadow.into(), log.pairs(shadow, since_ms)?));
    }
    Ok(evidence)
}

struct Log<'l> {
    store: &'l Store,
    model: &'l str,
    champion: &'l str,
    horizon: Horizon,
}

impl Log<'_> {
    /// A version beside the champion.
    fn pairs(&self, challenger: &str, since_ms: i64) -> Result<Pairs, StoreError> {
        let Self { store, model, champion, horizon } = *self;
        store.pairs(&Versus { model, champion, challenger, since_ms }, horizon)
    }

    fn stretch<'s>(&'s self, canary: &'s WantedCanary<'_>, from_ms: i64, to_ms: i64) -> Stretch<'s> {
        Stretch { model: self.model, experiment: canary.version, from_ms, to_ms }
    }
}
