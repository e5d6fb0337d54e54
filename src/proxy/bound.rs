//! A version bound to a configuration: whose value is which feature of the model.

use std::sync::Arc;

use crate::{
    config::{Config, Feature, Fill},
    lead::{FeatureType, ModelId, Reason, Slot, Value},
    registry::Version,
    score::{Encoding, FeatureSpec, Kind, ReasonScratch},
    telemetry::{Metrics, ScoreBuckets, now_ms},
};

/// A version, with its features matched to the configuration's.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) version: Arc<Version>,
    pub(super) id: Arc<ModelId>,
    pub(super) scores: Arc<ScoreBuckets>,
    /// For each feature of the model its place among the configuration's.
    places: Vec<Option<usize>>,
    /// For each feature of the model what stands in for a value; empty where nothing ever does.
    fills: Vec<Fills>,
    #[cfg(test)]
    pub(super) trouble: Trouble,
}

/// What stands in for a value where the manifest leaves that open: networks impute by themselves, trees do not.
#[derive(Debug, Default)]
struct Fills {
    missing: Value<'static>,
    unseen: Option<Value<'static>>,
}

/// A version that cannot serve under the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindModelError {
    /// The model was trained with a feature that never missed, and nothing maps it.
    #[error("model {id} requires feature \"{feature}\", which `features` does not map")]
    Unmapped {
        /// The version.
        id: String,
        /// The feature.
        feature: String,
    },
    /// Types differ, so every value would be missing.
    #[error("feature \"{feature}\" is a {configured} in `features` and a {trained} in model {id}")]
    Type {
        /// The version.
        id: String,
        /// The feature.
        feature: String,
        /// In the configuration.
        configured: &'static str,
        /// In the model.
        trained: &'static str,
    },
}

impl Bound {
    /// Binds the version that holds a slot.
    pub(super) fn new(
        version: &Arc<Version>,
        slot: Slot,
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Self, BindModelError> {
        let id = Arc::new(version.id.clone());
        let places = places(version, config)?;
        let configured = places.iter().map(|place| config.features.get((*place)?));
        let imputes = matches!(version.manifest.kind, Kind::Linear | Kind::Mlp);
        let fill = |(spec, configured): (&FeatureSpec, Option<&Feature>)| {
            configured.map(|configured| Fills::new(spec, configured)).unwrap_or_default()
        };
        let fills = match imputes {
            true => Vec::new(),
            false => version.model.features().iter().zip(configured).map(fill).collect(),
        };
        // Only now: a version that does not fit has no scores.
        let scores = metrics.scores(&id, slot);
        Ok(Self {
            version: version.clone(),
            id,
            scores,
            places,
            fills,
            #[cfg(test)]
            trouble: Trouble::default(),
        })
    }

    /// Does the model's own work. A panic in it goes on, and counts against this version.
    pub(super) fn blamed<R>(&self, work: impl FnOnce() -> R) -> R {
        let blame = Blame(&self.version);
        #[cfg(test)]
        self.trouble.strike();
        let done = work();
        // Reached only without a panic, which is the one thing that drops the guard.
        std::mem::forget(blame);
        done
    }

    /// Does work that only this version's time is wanted of. A panic in it goes on, and counts against nobody.
    pub(super) fn unblamed<R>(&self, work: impl FnOnce() -> R) -> R {
        #[cfg(test)]
        self.trouble.strike();
        work()
    }

    /// Why a lead has its score.
    pub(super) fn reasons(&self, values: &[Value<'_>], scratch: &mut ReasonScratch) -> Vec<Reason> {
        let Version { model, explainer, .. } = &*self.version;
        explainer.reasons(model, |index| self.value(values, index), scratch)
    }

    /// What the request or an earlier one said of the model's feature `index`, among a lead's values.
    pub(super) fn told<'v, 'a>(&self, values: &'v [Value<'a>], index: usize) -> &'v Value<'a> {
        let place = self.places.get(index).copied().flatten();
        place.and_then(|place| values.get(place)).unwrap_or(&Value::Missing)
    }

    /// Whether the model reads the value at a place.
    pub(super) fn reads(&self, place: usize) -> bool {
        self.places.contains(&Some(place))
    }

    /// Whether a lead's values are so, of every feature of the model.
    pub(super) fn all<'a>(&self, values: &[Value<'a>], is: impl Fn(&Value<'a>) -> bool) -> bool {
        (0..self.places.len()).all(|index| is(self.told(values, index)))
    }

    /// The same as it is scored: with what stands in for a missing value, or for a word that the model does not know.
    pub(super) fn value<'v, 'a>(&'v self, values: &'v [Value<'a>], index: usize) -> &'v Value<'a> {
        let value = self.told(values, index);
        match self.fills.get(index) {
            Some(fills) if value.is_missing() => &fills.missing,
            Some(Fills { unseen: Some(unseen), .. })
                if self.version.model.encoder().is_unseen(index, value) =>
            {
                unseen
            }
            _ => value,
        }
    }
}

/// What befalls a version whenever it works, as a defect of it would.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Trouble(pub(super) Option<Box<dyn Fn() + Send + Sync>>);

#[cfg(test)]
impl Trouble {
    fn strike(&self) {
        self.0.iter().for_each(|trouble| trouble());
    }
}

#[cfg(test)]
impl std::fmt::Debug for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trouble")
    }
}

/// Holds a version to account for a panic. Cheaper than to catch one twice: where nothing panics, it is nothing.
struct Blame<'v>(&'v Version);

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        let Version { id, poison, .. } = self.0;
        if poison.panicked(now_ms()) {
            tracing::error!(model = %id, "taken out of service: it panicked three times within a minute");
        }
    }
}

impl Fills {
    fn new(spec: &FeatureSpec, configured: &Feature) -> Self {
        let missing = match (&configured.missing, &spec.encoding) {
            (Some(Fill::Median), Encoding::Number { median, .. } | Encoding::Piecewise { median, .. }) => {
                Value::Number(*median)
            }
            (Some(Fill::Number(number)), _) => Value::Number(*number),
            (Some(Fill::Word(word)), _) => Value::Text(word.to_string().into()),
            (Some(Fill::Boolean(yes)), _) => Value::Boolean(*yes),
            (Some(Fill::Median | Fill::Nan) | None, _) => Value::Missing,
        };
        let unseen = configured.oov.as_ref().map(|word| Value::Text(word.to_string().into()));
        Self { missing, unseen }
    }
}

/// Whether every feature that the version requires is mapped, with the type it was trained with.
pub fn check_features(version: &Version, config: &Config) -> Result<(), BindModelError> {
    places(version, config).map(|_| ())
}

/// For each feature of the model its place among the configuration's.
fn places(version: &Version, config: &Config) -> Result<Vec<Option<usize>>, BindModelError> {
    let place = |trained: &FeatureSpec| {
        let (id, feature) = (version.id.to_string(), trained.name.clone());
        let place = config.features.iter().position(|configured| *configured.name == *feature);
        let configured = place.and_then(|place| config.features.get(place)).map(|feature| feature.kind);
        match configured {
            None if trained.required => Err(BindModelError::Unmapped { id, feature }),
            // Categories take booleans: their vocabulary may hold yes and no.
            Some(FeatureType::Boolean) if trained.feature_type() == FeatureType::Category => Ok(place),
            Some(kind) if kind != trained.feature_type() => {
                let (configured, trained) = (kind.as_str(), trained.feature_type().as_str());
                Err(BindModelError::Type { id, feature, configured, trained })
            }
            _ => Ok(place),
        }
    };
    version.model.features().iter().map(place).collect()
}
