//! What requests are served with: one configuration and the versions that match it, swapped whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use metrics::Histogram;

use crate::{
    config::Config,
    lead::{Arm, ModelId, Value},
    recognise::{Recogniser, Route},
    registry::Version,
    score::FeatureSpec,
    telemetry::{Metrics, RouteMetrics, UNMATCHED},
};

/// An immutable set of routes, features and models. Requests in flight keep the one they started with.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its routes and feature map, compiled.
    pub recogniser: Recogniser,
    /// The features' names, for the lead log.
    pub(super) names: Arc<[Arc<str>]>,
    routes: Vec<RouteState>,
    unmatched: RouteMetrics,
    models: Vec<Bound>,
    made: Instant,
}

#[derive(Debug)]
struct RouteState {
    metrics: RouteMetrics,
    /// Its model's place among `models`.
    model: Option<usize>,
    /// Nothing is injected into requests until this many milliseconds after the snapshot was made.
    paused_until: AtomicU64,
}

/// How long a route's injection rests after the CRM refused it.
const PAUSE_MS: u64 = 600_000;

/// A version, with its features matched to the configuration's.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) version: Arc<Version>,
    pub(super) id: Arc<ModelId>,
    pub(super) arm: Arm,
    pub(super) scores: Histogram,
    /// For each feature of the model its place among the configuration's.
    places: Vec<Option<usize>>,
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

impl Snapshot {
    /// Compiles `config` and binds `champions`, at most one version for each model.
    pub fn new(
        config: Arc<Config>,
        champions: &[Arc<Version>],
        metrics: &Metrics,
    ) -> Result<Self, BindModelError> {
        let models = champions.iter().map(|version| Bound::new(version, &config, metrics));
        let models: Vec<Bound> = models.collect::<Result<_, _>>()?;
        let model_of = |name: &Arc<str>| models.iter().position(|bound| bound.id.model == *name);
        let routes = config.routes.iter().map(|route| RouteState {
            metrics: metrics.route(&route.name),
            model: model_of(&route.model),
            paused_until: AtomicU64::new(0),
        });
        Ok(Self {
            recogniser: Recogniser::new(&config),
            names: config.features.iter().map(|feature| feature.name.clone()).collect(),
            routes: routes.collect(),
            unmatched: metrics.route(UNMATCHED),
            models,
            made: Instant::now(),
            config,
        })
    }

    /// Whether it is made of just these.
    pub fn serves(&self, config: &Arc<Config>, champions: &[Arc<Version>]) -> bool {
        let bound = self.models.iter().map(|bound| Arc::as_ptr(&bound.version));
        Arc::ptr_eq(&self.config, config) && bound.eq(champions.iter().map(Arc::as_ptr))
    }

    /// The counters of a route, or of requests that no route matches.
    pub(super) fn metrics(&self, route: Option<&Route>) -> &RouteMetrics {
        let of_route = route.and_then(|route| self.routes.get(route.index));
        of_route.map_or(&self.unmatched, |route| &route.metrics)
    }

    /// The version that scores a route's leads.
    pub(super) fn model(&self, route: &Route) -> Option<&Bound> {
        self.models.get(self.routes.get(route.index)?.model?)
    }

    /// Whether a route's injection into requests rests.
    pub(super) fn is_paused(&self, route: &Route) -> bool {
        let until =
            self.routes.get(route.index).map_or(0, |route| route.paused_until.load(Ordering::Relaxed));
        until > 0 && until > self.age_ms()
    }

    /// Lets a route's injection into requests rest, and counts that.
    pub(super) fn pause(&self, route: &Route) {
        if let Some(route) = self.routes.get(route.index) {
            route.paused_until.store(self.age_ms() + PAUSE_MS, Ordering::Relaxed);
            route.metrics.injection_refused();
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
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
            Some(kind) if kind != trained.feature_type() => {
                let (configured, trained) = (kind.as_str(), trained.feature_type().as_str());
                Err(BindModelError::Type { id, feature, configured, trained })
            }
            _ => Ok(place),
        }
    };
    version.model.features().iter().map(place).collect()
}

impl Bound {
    fn new(version: &Arc<Version>, config: &Config, metrics: &Metrics) -> Result<Self, BindModelError> {
        let (id, arm) = (Arc::new(version.id.clone()), Arm::Champion);
        let scores = metrics.scores(&id, arm);
        Ok(Self { version: version.clone(), id, arm, scores, places: places(version, config)? })
    }

    /// The value of the model's feature `index` among a lead's values.
    pub(super) fn value<'v, 'a>(&self, values: &'v [Value<'a>], index: usize) -> &'v Value<'a> {
        let place = self.places.get(index).copied().flatten();
        place.and_then(|place| values.get(place)).unwrap_or(&Value::Missing)
    }
}
