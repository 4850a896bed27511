//! Names whose requests are shared between versions.

use super::ModelsOptions;
use crate::Error;
use ballast_backend::Clock;
use ballast_runtime::breaker::Outcome;
use ballast_runtime::events;
use ballast_runtime::lifecycle::ModelId;
use ballast_runtime::routing::{
    AffinityKey, Arm, CanaryPlan, CanaryTerms, ChoiceGuard, RolloutChange, RolloutState, Router, RoutingError,
    SharedRouter, Strategy, TargetId, TargetStats,
};
use ballast_runtime::telemetry::{CorrelationId, Ids, Telemetry, TenantId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How requests find a version. Each version is a model that was declared under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutePlan {
    /// All go to one.
    Single(String),
    /// A growing share of the keys goes to a new version, which is taken back if it fails more than the old one.
    Canary {
        /// The old version.
        baseline: String,
        /// The new version.
        canary: String,
        /// How fast, and how careful.
        terms: CanaryTerms,
    },
    /// A/B: every key belongs to one version, in proportion to the weights.
    Ab(Vec<AbArm>),
}

/// A version and its part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbArm {
    /// Which.
    pub model: String,
    /// Its part, relative to the others'.
    pub weight: u32,
}

/// A plan in the router's terms: target `n` is the `n`th of the models.
pub(super) struct Resolved {
    pub(super) targets: Vec<ModelId>,
    strategy: Strategy,
}

impl RoutePlan {
    /// # Errors
    /// If it names a version twice.
    pub(super) fn resolve(self) -> Result<Resolved, RoutingError> {
        let (names, strategy) = match self {
            Self::Single(model) => (vec![model], Strategy::Affinity(vec![TargetId(0)])),
            Self::Canary { baseline, canary, terms } => {
                let plan = CanaryPlan { baseline: TargetId(0), canary: TargetId(1), terms };
                (vec![baseline, canary], Strategy::Canary(plan))
            }
            Self::Ab(arms) => {
                let (names, weights): (Vec<String>, Vec<u32>) =
                    arms.into_iter().map(|arm| (arm.model, arm.weight)).unzip();
                let arm = |(target, weight)| Arm { target: TargetId(target), weight };
                (names, Strategy::Split((0..).zip(weights).map(arm).collect()))
            }
        };
        let targets: Vec<ModelId> = names.iter().map(|name| ModelId::new(name)).collect();
        let twice = (0..).zip(&targets).skip(1).find(|&(idx, id)| targets.iter().take(idx).any(|other| other == id));
        match twice {
            Some((idx, _)) => {
                Err(RoutingError::TargetTwice { target: TargetId(u32::try_from(idx).unwrap_or(u32::MAX)) })
            }
            None => Ok(Resolved { targets, strategy }),
        }
    }
}

/// One route.
struct Route {
    targets: Vec<ModelId>,
    router: SharedRouter,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
}

impl Route {
    fn target(&self, choice: &ChoiceGuard) -> ModelId {
        self.targets[choice.target().0 as usize].clone()
    }

    fn tell(&self, ids: Ids<'_>, change: Option<RolloutChange>) {
        if let Some(change) = change {
            self.telemetry.emit_for(ids, &events::RolloutChanged { change });
        }
    }
}

/// A request at the version that was chosen for it. Dropped, it counts as cancelled.
pub(super) struct Visit {
    choice: ChoiceGuard,
    route: Arc<Route>,
}

impl Visit {
    /// Says what became of the request.
    pub(super) fn report(self, outcome: Outcome, asked_by: Option<(&CorrelationId, &TenantId)>) {
        let ids = asked_by.map_or(Ids::NONE, |(correlation, tenant)| Ids::new(correlation, tenant));
        let now = self.route.clock.now();
        self.route.tell(ids, self.choice.report(outcome, now));
    }

    /// Says that the version could not be had. Returns the one that answers instead: the old version, where a roll-out
    /// had chosen the new one.
    pub(super) fn instead(self, outcome: Outcome) -> Option<(ModelId, Self)> {
        let Self { choice, route } = self;
        let (change, choice) = choice.instead(outcome, route.clock.now());
        route.tell(Ids::NONE, change);
        let choice = choice?;
        Some((route.target(&choice), Self { choice, route }))
    }
}

/// Every route. The lock is held for looking up only.
pub(super) struct Routes {
    routes_max: usize,
    seed: u64,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    routes: Mutex<BTreeMap<String, Arc<Route>>>,
}

impl Routes {
    pub(super) fn new(options: &ModelsOptions, clock: Arc<dyn Clock>) -> Self {
        let (routes_max, seed, telemetry) = (options.names_max, options.routing_seed, options.telemetry.clone());
        Self { routes_max, seed, clock, telemetry, routes: Mutex::default() }
    }

    pub(super) fn set(&self, name: &str, Resolved { targets, strategy }: Resolved) -> Result<(), Error> {
        let router = SharedRouter::new(Router::new(strategy, self.seed)?);
        let (clock, telemetry) = (Arc::clone(&self.clock), self.telemetry.clone());
        let mut routes = self.lock();
        if routes.len() >= self.routes_max && !routes.contains_key(name) {
            return Err(Error::NamesFull { model: name.to_owned(), names_max: self.routes_max });
        }
        routes.insert(name.to_owned(), Arc::new(Route { targets, router, clock, telemetry }));
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// The model for `key`; without a route, the model of this name.
    pub(super) fn choose(&self, name: &str, key: AffinityKey) -> Result<(ModelId, Option<Visit>), RoutingError> {
        let Some(route) = self.find(name) else { return Ok((ModelId::new(name), None)) };
        let choice = route.router.pick(key)?;
        Ok((route.target(&choice), Some(Visit { choice, route })))
    }

    /// A person's decision about a roll-out.
    pub(super) fn decide(
        &self,
        name: &str,
        decision: impl FnOnce(&SharedRouter) -> Option<RolloutChange>,
    ) -> Option<RolloutChange> {
        let route = self.find(name)?;
        let change = decision(&route.router);
        route.tell(Ids::NONE, change);
        change
    }

    pub(super) fn report(&self) -> Vec<RouteReport> {
        self.lock().iter().map(|(name, route)| RouteReport::new(name, route)).collect()
    }

    fn find(&self, name: &str) -> Option<Arc<Route>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Route>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a route is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReport {
    /// Its name.
    pub name: String,
    /// Where its roll-out is; `None`: it has none.
    pub rollout: Option<RolloutState>,
    /// Its versions.
    pub targets: Vec<RouteTarget>,
}

/// A version of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// The model.
    pub model: String,
    /// What it was asked and how it answered.
    pub stats: TargetStats,
}

impl RouteReport {
    fn new(name: &str, route: &Route) -> Self {
        let stats = route.router.targets();
        let targets = route.targets.iter().zip(stats);
        Self {
            name: name.to_owned(),
            rollout: route.router.rollout(),
            targets: targets.map(|(model, stats)| RouteTarget { model: model.to_string(), stats }).collect(),
        }
    }
}
