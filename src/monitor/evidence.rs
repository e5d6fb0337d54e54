//! What the lead log knows of a model's versions on trial.

use crate::{
    config::Rollout,
    lead::Evidence,
    leadlog::{Horizon, OnCanary, OnStep, OnTrial, Seen, Store, StoreError},
    rollout::{Memory, ModelLife, StepSpan, Wanted, WantedCanary, wanted},
};

/// Counts all that a decision about `model` may rest on, as far as `seen` has not read it yet; nothing where nothing is on
/// trial. The window begins where the last one that was judged ended.
pub fn gather(
    (store, seen): (&Store, &mut Seen),
    (model, life): (&str, &ModelLife),
    policy: &Rollout,
    memory: &Memory,
    now_ms: i64,
) -> Result<Evidence, StoreError> {
    let Some(wanted) = wanted(life, memory) else { return Ok(Evidence::default()) };
    let ms = i64::try_from(policy.horizon.as_millis()).unwrap_or(i64::MAX);
    let window_ms = wanted.canary.as_ref().map_or(now_ms, |canary| canary.window_ms);
    seen.look(store, &on_trial(model, wanted), window_ms, Horizon { ms, now_ms })
}

fn on_trial(model: &str, wanted: Wanted<'_>) -> OnTrial {
    let canary = |WantedCanary { version, pairs_ms, steps, .. }: WantedCanary<'_>| {
        let step = |step: &StepSpan| {
            let StepSpan { seq, percent, from_ms, to_ms, .. } = *step;
            OnStep { seq, percent, from_ms, to_ms }
        };
        OnCanary { version: version.into(), pairs_ms, steps: steps.iter().map(step).collect() }
    };
    OnTrial {
        model: model.into(),
        champion: wanted.champion.into(),
        canary: wanted.canary.map(canary),
        shadows: wanted.shadows.into_iter().map(|(shadow, since_ms)| (shadow.into(), since_ms)).collect(),
    }
}
