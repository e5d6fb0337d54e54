//! What requests are served with: one configuration and the versions that match it, swapped whole.

use std::{sync::Arc, time::Instant};

use super::{bound::BindModelError, rest::Rest, slots::Slots, tls::TlsSides};
use crate::{
    config::Config,
    recognise::{Recogniser, Route},
    registry::{Served, Version},
    rollout::Guards,
    telemetry::{ConnectMetrics, FeedbackMetrics, Metrics, MirrorMetrics, RouteMetrics, UNMATCHED},
};

/// An immutable set of routes, features and models. Requests in flight keep the one they started with.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its routes and feature map, compiled. While a model has a challenger, it reads beside each lead's features who the lead
    /// is.
    pub recogniser: Recogniser,
    /// The features' names, for the lead log.
    pub(super) names: Arc<[Arc<str>]>,
    routes: Vec<RouteState>,
    unmatched: RouteMetrics,
    pub(super) models: Vec<Arc<Slots>>,
    /// What `models` are made of.
    served: Vec<Arc<Served<Version>>>,
    pub(super) tls: TlsSides,
    pub(super) mirrored: MirrorMetrics,
    pub(super) connects: ConnectMetrics,
    pub(super) feedback: FeedbackMetrics,
    made: Instant,
}

#[derive(Debug)]
struct RouteState {
    metrics: RouteMetrics,
    /// Its model's place among `models`.
    model: Option<usize>,
    rest: Rest,
}

impl Snapshot {
    /// Compiles `config` and binds `champions`, at most one version for each model.
    pub fn new(
        config: Arc<Config>,
        champions: &[Arc<Version>],
        metrics: &Metrics,
    ) -> Result<Self, BindModelError> {
        let alone = |version: &Arc<Version>| Served::of(version.id.version.clone(), version.clone());
        let served = champions.iter().map(|version| Arc::new(alone(version))).collect();
        Self::serving(config, served, &Guards::default(), metrics)
    }

    /// The same with every slot of each model; `guards` are those of the challengers.
    pub fn serving(
        config: Arc<Config>,
        served: Vec<Arc<Served<Version>>>,
        guards: &Guards,
        metrics: &Metrics,
    ) -> Result<Self, BindModelError> {
        let slots =
            |served: &Arc<Served<Version>>| Slots::new(served, &config, guards, metrics).map(Arc::new);
        let models: Vec<Arc<Slots>> = served.iter().map(slots).collect::<Result<_, _>>()?;
        let model_of = |name: &Arc<str>| models.iter().position(|slots| slots.champion.id.model == *name);
        let routes = config.routes.iter().map(|route| RouteState {
            metrics: metrics.route(&route.name),
            model: model_of(&route.model),
            rest: Rest::default(),
        });
        let recogniser = match models.iter().any(|slots| slots.trial.is_some()) {
            true => Recogniser::with_identity(&config),
            false => Recogniser::new(&config),
        };
        Ok(Self {
            recogniser,
            names: config.features.iter().map(|feature| feature.name.clone()).collect(),
            routes: routes.collect(),
            unmatched: metrics.route(UNMATCHED),
            models,
            served,
            tls: TlsSides::default(),
            mirrored: metrics.mirror.clone(),
            connects: metrics.connects.clone(),
            feedback: metrics.feedback.clone(),
            made: Instant::now(),
            config,
        })
    }

    /// The same with TLS, which is made of the files that the configuration names.
    pub fn with_tls(self, tls: TlsSides) -> Self {
        Self { tls, ..self }
    }

    /// Whether it is made of just these.
    pub fn serves(&self, config: &Arc<Config>, served: &[Arc<Served<Version>>], tls: &TlsSides) -> bool {
        let same = self.served.iter().map(Arc::as_ptr).eq(served.iter().map(Arc::as_ptr));
        Arc::ptr_eq(&self.config, config) && same && self.tls == *tls
    }

    /// Takes over the injections that rest, so that a swap does not wake them.
    pub fn inherit_pauses(&self, before: &Snapshot) {
        let (now, then) = (self.age_ms(), before.age_ms());
        for (route, state) in self.config.routes.iter().zip(&self.routes) {
            let of_before = before.config.routes.iter().position(|known| known.name == route.name);
            if let Some(of_before) = of_before.and_then(|index| before.routes.get(index)) {
                state.rest.inherit(now, &of_before.rest, then);
            }
        }
    }

    /// The counters of a route, or of requests that no route matches.
    pub(super) fn metrics(&self, route: Option<&Route>) -> &RouteMetrics {
        let of_route = route.and_then(|route| self.routes.get(route.index));
        of_route.map_or(&self.unmatched, |route| &route.metrics)
    }

    /// The versions that score a route's leads.
    pub(super) fn model(&self, route: &Route) -> Option<&Arc<Slots>> {
        self.models.get(self.routes.get(route.index)?.model?)
    }

    /// Whether a route's injection into requests rests.
    pub(super) fn is_paused(&self, route: &Route) -> bool {
        self.routes.get(route.index).is_some_and(|state| state.rest.is_on(self.age_ms()))
    }

    /// Counts an injection into a request that the CRM refused. Whether the route's injection rests now.
    pub(super) fn refused(&self, route: &Route) -> bool {
        let Some(state) = self.routes.get(route.index) else { return false };
        state.metrics.injection_refused();
        state.rest.refused(self.age_ms(), &self.config.limits)
    }

    /// An injection into a request was taken.
    pub(super) fn injected(&self, route: &Route) {
        if let Some(state) = self.routes.get(route.index) {
            state.rest.taken();
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}
