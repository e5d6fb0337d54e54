//! A model's slots, bound to one configuration: who answers which lead, and who scores along.
//!
//! Whatever is wrong with a challenger or a shadow, the champion serves. A challenger that does not fit the configuration, is
//! not loaded, panics too often or was tripped by its guard answers nobody; leads are assigned to its arm all the same, so
//! that an analysis by assignment leaves none out.

use std::sync::Arc;

use super::bound::{BindModelError, Bound};
use crate::{
    config::Config,
    lead::{Arm, ArmOutcome, Assignment, Exposure, ModelId, ShadowError, Slot, TripReason},
    registry::{Challenger, Served, Version},
    rollout::{Guard, Guards, Key, Split},
    telemetry::{Metrics, ShadowMetrics, TrialMetrics, now_ms},
};

/// One model's versions.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) champion: Bound,
    pub(super) trial: Option<Trial>,
    shadows: Vec<Bound>,
    /// The leads that shadows score.
    sampled: Split,
    /// Of models with versions that score along.
    along: Option<ShadowMetrics>,
}

/// A challenger and its share of the leads.
#[derive(Debug)]
pub(super) struct Trial {
    /// `None` where it is not loaded or does not fit.
    pub(super) challenger: Option<Bound>,
    /// The challenger's version.
    experiment: Arc<str>,
    id: ModelId,
    split: Split,
    guard: Arc<Guard>,
    metrics: TrialMetrics,
}

impl Slots {
    /// Binds what serves. Fails only where the champion does not fit.
    pub(super) fn new(
        served: &Served<Version>,
        config: &Config,
        guards: &Guards,
        metrics: &Metrics,
    ) -> Result<Self, BindModelError> {
        let champion = Bound::new(&served.champion, Slot::Champion, config, metrics)?;
        let bind = |version: &Arc<Version>, slot: Slot| {
            let bound = Bound::new(version, slot, config, metrics);
            let told =
                bound.inspect_err(|error| tracing::error!(%error, slot = slot.as_str(), "does not serve"));
            told.ok()
        };
        let shadows: Vec<Bound> =
            served.shadows.iter().filter_map(|version| bind(version, Slot::Shadow)).collect();
        let model = &champion.id.model;
        let trial = served.deployment.challenger.as_ref().map(|deployed| {
            let loaded = served.challenger.as_ref();
            let challenger = loaded.and_then(|version| bind(version, Slot::Challenger));
            let digest = loaded.map(|version| &version.id.digest);
            let guard = guards.of(model, &deployed.version, digest);
            Trial::new(model, deployed, challenger, guard, metrics)
        });
        let along = (trial.is_some() || !shadows.is_empty()).then(|| metrics.shadows(model));
        let sampled = Split::of_shadows(model, config.rollout.shadow.share.into());
        Ok(Self { champion, trial, shadows, sampled, along })
    }

    /// The version that answers for an arm.
    pub(super) fn of(&self, arm: Arm) -> &Bound {
        let challenger = self.trial.as_ref().and_then(|trial| trial.challenger.as_ref());
        challenger.filter(|_| arm == Arm::Challenger).unwrap_or(&self.champion)
    }

    /// Whether anybody scores a lead along with who answered it. Such a lead is told by its id, or by its time.
    pub(super) fn is_mirrored(&self, lead: Option<&str>, time_ms: i64) -> bool {
        let any =
            || !self.shadows.is_empty() || self.trial.as_ref().is_some_and(|trial| trial.live().is_some());
        let sampled = || {
            let key = lead.map_or_else(|| Key::request(time_ms.to_string()), Key::id);
            self.sampled.holds(self.sampled.bucket(&key))
        };
        self.along.is_some() && any() && (self.sampled.is_all() || sampled())
    }

    /// Who scores along where an arm answered: shadows, and the other arm of a trial.
    pub(super) fn along(&self, answered: Arm) -> impl Iterator<Item = (Slot, &Bound)> {
        let live = self.trial.as_ref().and_then(Trial::live);
        let other = live.map(|challenger| match answered {
            Arm::Champion => (Slot::Challenger, challenger),
            Arm::Challenger => (Slot::Champion, &self.champion),
        });
        let shadows = self.shadows.iter().map(|shadow| (Slot::Shadow, shadow));
        shadows.chain(other).filter(|(_, bound)| !bound.version.poison.is_out())
    }

    /// Counts a score that answers nobody, or why there is none. A challenger that cannot score what the champion scored is
    /// as bad here as on the request path.
    pub(super) fn count_along(&self, slot: Slot, failed: Option<ShadowError>) {
        self.along.iter().for_each(|metrics| metrics.count(slot, failed));
        if let (Slot::Challenger, Some(ShadowError::Score), Some(trial)) = (slot, failed, &self.trial) {
            trial.trip(TripReason::Score);
        }
    }

    #[cfg(test)]
    pub(super) fn shadows_mut(&mut self) -> &mut [Bound] {
        &mut self.shadows
    }
}

impl Trial {
    fn new(
        model: &Arc<str>,
        deployed: &Challenger,
        challenger: Option<Bound>,
        guard: Arc<Guard>,
        metrics: &Metrics,
    ) -> Self {
        let Challenger { version, percent } = deployed;
        let split = Split::of_challenger(model, version, *percent);
        let digest = challenger.as_ref().map_or_else(|| "".into(), |bound| Arc::clone(&bound.id.digest));
        let id = ModelId { model: Arc::clone(model), version: Arc::clone(version), digest };
        let metrics = metrics.trial(model);
        Self { challenger, experiment: Arc::clone(version), id, split, guard, metrics }
    }

    /// The challenger, while it may answer.
    pub(super) fn live(&self) -> Option<&Bound> {
        let challenger = self.challenger.as_ref()?;
        if challenger.version.poison.is_out() {
            self.trip(TripReason::Poison);
        }
        self.guard.tripped().is_none().then_some(challenger)
    }

    /// The arm of a lead: where it fell before in this experiment, or else by its key.
    pub(super) fn expose<'k>(&self, before: Option<&Assignment>, key: impl FnOnce() -> Key<'k>) -> Exposure {
        let assignment = before.filter(|before| *before.experiment == *self.experiment).cloned();
        let assignment = assignment.unwrap_or_else(|| {
            let (experiment, key) = (Arc::clone(&self.experiment), key());
            Assignment { experiment, bucket: self.split.bucket(&key), key: key.kind }
        });
        let arm = self.split.arm(assignment.bucket);
        Exposure { assignment, arm, propensity: self.split.propensity(arm) }
    }

    /// Counts a lead by the arm that it was assigned to.
    pub(super) fn count(&self, arm: Arm, outcome: ArmOutcome) {
        self.metrics.count(arm, outcome);
        if self.guard.tripped().is_none()
            && let Some(reason) = self.guard.count(arm, outcome, now_ms())
        {
            self.trip(reason);
        }
    }

    /// Takes the challenger out of service, once.
    pub(super) fn trip(&self, reason: TripReason) {
        if self.guard.trip(reason, now_ms()) {
            self.metrics.tripped(reason);
            let reason = reason.as_str();
            tracing::error!(model = %self.id, reason, "challenger taken out of service; the champion answers all");
        }
    }
}
