//! Several models by name in one process, within one memory budget: loaded on demand, shared, replaced, unloaded.
//!
//! ```no_run
//! use ballast::{Generate, LoadOptions, Models, ModelsOptions};
//! use std::time::Duration;
//! # fn main() -> Result<(), ballast::Error> {
//! let models = Models::new(ModelsOptions { memory_bytes: Some(4 << 30), ..ModelsOptions::default() });
//! models.declare("small", "small.gguf".as_ref(), &LoadOptions::default())?;
//! let lease = models.acquire("small", Some(Duration::from_secs(30)))?;
//! println!("{}", lease.generate(&Generate::chat("Why is the sky blue?"))?.text);
//! # Ok(())
//! # }
//! ```
//!
//! The life of an instance is the table of `ballast_runtime::lifecycle`; which version answers is decided by
//! `ballast_runtime::routing`. This module joins the two to files and engines.

mod catalogue;
mod keeper;
mod lease;
mod options;
mod report;
mod routed;
mod routes;
mod source;

pub use ballast_runtime::lifecycle::{LifecycleStats, ModelState, Pressure, SwapMode};
pub use ballast_runtime::routing::CanaryTerms;
pub use ballast_runtime::routing::{AffinityKey, RollbackReason, RolloutChange, RolloutState, TargetStats};
pub use lease::ModelLease;
pub use options::ModelsOptions;
pub use report::{LoadFailure, ModelReport};
pub use routed::{RoutedLease, RoutedStream};
pub use routes::{AbArm, RoutePlan, RouteReport, RouteTarget};
pub use source::{ModelSource, OpenModel};

use crate::machine::Machine;
use crate::{Error, LoadOptions, SystemClock};
use ballast_backend::Clock;
use ballast_runtime::lifecycle::{LifecycleError, ModelHouse, ModelId, ModelPlan, spawn_thread};
use catalogue::{Catalogue, Swapping};
use keeper::Keeper;
use lease::Housed;
use routes::Routes;
use source::Planned;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Models by name. Send + Sync; clones are the same models. Loads and drops run on threads of their own, so that a
/// caller with a deadline leaves on time whatever a load does. When the last clone and the last lease are dropped,
/// every model is.
///
/// Waiting functions block, except for those that are `async`.
#[derive(Clone)]
pub struct Models(Arc<Shared>);

struct Shared {
    house: ModelHouse<Housed>,
    catalogue: Arc<Catalogue>,
    routes: Routes,
    clock: Arc<dyn Clock>,
    budget_bytes: u64,
    keep_alive: Option<Duration>,
    /// Ends with the rest; `None` where the owner of the clock ticks.
    _keeper: Option<Keeper>,
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Models {
    /// No models. A thread of its own does what time asks for.
    ///
    /// # Panics
    /// If the system refuses that thread.
    #[must_use]
    pub fn new(options: ModelsOptions) -> Self {
        Self::build(options, Arc::new(SystemClock::start()), Keeper::start)
    }

    /// No models, under a clock of the caller's, who calls [`Models::tick`] as it moves.
    #[must_use]
    pub fn with_clock(options: ModelsOptions, clock: Arc<dyn Clock>) -> Self {
        Self::build(options, clock, |_, _| None)
    }

    fn build(
        options: ModelsOptions,
        clock: Arc<dyn Clock>,
        keep: impl FnOnce(ModelHouse<Housed>, Arc<dyn Clock>) -> Option<Keeper>,
    ) -> Self {
        let budget_bytes = options.memory_bytes.or_else(|| Machine::read().memory_bytes()).unwrap_or(u64::MAX);
        let catalogue = Arc::new(Catalogue::new(options.names_max));
        let shelf = Arc::clone(&catalogue);
        let house = ModelHouse::new(
            options.lifecycle(budget_bytes),
            Arc::clone(&clock),
            options.telemetry.clone(),
            Box::new(spawn_thread),
            move |order, pulse| shelf.load(&order.model, order.version, pulse),
        );
        Self(Arc::new(Shared {
            _keeper: keep(house.clone(), Arc::clone(&clock)),
            routes: Routes::new(&options, Arc::clone(&clock)),
            keep_alive: options.keep_alive,
            house,
            catalogue,
            clock,
            budget_bytes,
        }))
    }

    /// Makes the model at `path` known under a name. Reads its header to learn what it takes; loads nothing.
    ///
    /// # Errors
    /// If the file is not a model that can be run, its own budget is strict and too small, the name is taken, or there
    /// are as many names as there may be.
    pub fn declare(&self, name: &str, path: &Path, options: &LoadOptions) -> Result<(), Error> {
        self.declare_source(name, ModelSource::file(path, options))
    }

    /// Makes a model known under a name.
    ///
    /// # Errors
    /// As [`Models::declare`].
    pub fn declare_source(&self, name: &str, source: ModelSource) -> Result<(), Error> {
        let planned = source.plan(self.0.budget_bytes)?;
        let (id, bytes) = (ModelId::new(name), planned.bytes);
        let version = self.0.catalogue.declare(&id, planned)?;
        self.0.house.register(id, self.plan(version, bytes));
        Ok(())
    }

    /// Unloads a model and forgets its name, without waiting: those who use it go on to their end.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        let id = ModelId::new(name);
        self.0.house.remove(&id)?;
        self.0.catalogue.forget(&id);
        Ok(())
    }

    /// Takes a lease of a model on this thread, loading it or waiting for its load for up to `patience`; `None`: for as
    /// long as it takes. One load serves all who wait. A model that nobody uses makes room, the least recently used
    /// first.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND`; `MODEL_LOAD_FAILED`, with a time to come back at; `MEMORY_BUDGET_EXCEEDED` if what is in use
    /// leaves no room; `CANCELLED_BY_TIMEOUT`; `BACKPRESSURE_QUEUE_FULL` if too many wait.
    pub fn acquire(&self, name: &str, patience: Option<Duration>) -> Result<ModelLease, Error> {
        let id = ModelId::new(name);
        Ok(ModelLease::new(self.0.house.acquire(&id, self.until(patience))?))
    }

    /// Takes a lease of a model in async code. Dropping the future ends the wait.
    ///
    /// # Errors
    /// As [`Models::acquire`].
    pub async fn acquire_async(&self, name: &str) -> Result<ModelLease, Error> {
        let id = ModelId::new(name);
        Ok(ModelLease::new(self.0.house.acquire_async(&id).await?))
    }

    /// Begins to load a model before anybody asks for it.
    ///
    /// # Errors
    /// As [`Models::acquire`].
    pub fn preload(&self, name: &str) -> Result<(), Error> {
        Ok(self.0.house.preload(&ModelId::new(name))?)
    }

    /// Unloads a model and waits until it is gone: those who use it go on to their end. The next use loads it again.
    ///
    /// # Errors
    /// `StillInUse` where it was not gone within `patience` (its last use ends it); `MODEL_NOT_FOUND`.
    pub fn unload(&self, name: &str, patience: Option<Duration>) -> Result<(), Error> {
        Ok(self.0.house.unload(&ModelId::new(name), self.until(patience))?)
    }

    /// The same in async code. Dropping the future ends the wait.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND`.
    pub async fn unload_async(&self, name: &str) -> Result<(), Error> {
        Ok(self.0.house.unload_async(&ModelId::new(name)).await?)
    }

    /// Replaces what a name stands for, without failing a request: the old version serves until the new one does, and
    /// its uses go on to their end. Waits until the new version serves. A model that is not loaded is not loaded.
    ///
    /// # Errors
    /// `MODEL_LOAD_FAILED` where the new version could not be loaded: the old one stays. `MEMORY_BUDGET_EXCEEDED` where
    /// both do not fit ([`SwapMode::EvictFirst`] lets the old one go first then, and callers wait). `SwapInProgress` if
    /// another has begun. `CANCELLED_BY_TIMEOUT` where it took longer than `patience`; it goes on.
    pub fn swap(
        &self,
        name: &str,
        source: ModelSource,
        mode: SwapMode,
        patience: Option<Duration>,
    ) -> Result<(), Error> {
        let (swapping, plan) = self.begin_swap(name, source)?;
        let outcome = self.0.house.swap(swapping.id(), plan, mode, self.until(patience));
        Ok(self.end_swap(swapping, outcome)?)
    }

    /// The same in async code. Dropping the future ends the wait, not the swap.
    ///
    /// # Errors
    /// As [`Models::swap`].
    pub async fn swap_async(&self, name: &str, source: ModelSource, mode: SwapMode) -> Result<(), Error> {
        let (swapping, plan) = self.begin_swap(name, source)?;
        let outcome = self.0.house.swap_async(swapping.id(), plan, mode).await;
        Ok(self.end_swap(swapping, outcome)?)
    }

    fn begin_swap(&self, name: &str, source: ModelSource) -> Result<(Swapping, ModelPlan), Error> {
        let planned: Planned = source.plan(self.0.budget_bytes)?;
        let bytes = planned.bytes;
        let swapping = Catalogue::begin_swap(&self.0.catalogue, &ModelId::new(name), planned)?;
        let plan = self.plan(swapping.version(), bytes);
        Ok((swapping, plan))
    }

    /// Forgets the versions that will not be loaded again.
    fn end_swap(&self, swapping: Swapping, outcome: Result<(), LifecycleError>) -> Result<(), LifecycleError> {
        match self.0.house.status(swapping.id()).filter(|status| !status.is_swapping) {
            Some(status) => swapping.settle(status.version),
            // One that goes on is needed; one that was refused is not.
            None if matches!(outcome, Err(LifecycleError::TimedOut { .. })) => {}
            None => swapping.withdraw(),
        }
        outcome
    }

    /// Says how requests for `name` find a model, from now on. A name may be a route and a model at once:
    /// [`Models::acquire_for`] follows the route, [`Models::acquire`] asks for the model. A roll-out begins anew.
    ///
    /// # Errors
    /// If the plan names a model that was not declared, or one twice, gives nobody anything, or has stages that do not
    /// grow; or if there are as many routes as there may be.
    pub fn route(&self, name: &str, plan: RoutePlan) -> Result<(), Error> {
        let strategy = plan.resolve()?;
        if let Some(model) = strategy.targets.iter().find(|&id| self.0.house.status(id).is_none()) {
            return Err(LifecycleError::NotFound { model: model.clone() }.into());
        }
        self.0.routes.set(name, strategy)
    }

    /// Forgets a route. `false`: there is none of this name. Requests that were routed go on.
    pub fn unroute(&self, name: &str) -> bool {
        self.0.routes.remove(name)
    }

    /// Takes a lease of the version that the route of this name chooses for `key`; without a route, of the model of this
    /// name. Equal keys find equal versions, as long as the route stays as it is.
    ///
    /// # Errors
    /// As [`Models::acquire`]. A version that cannot be loaded counts as one that failed; where it is the new one of a
    /// roll-out, the old one answers instead.
    pub fn acquire_for(&self, name: &str, key: AffinityKey, patience: Option<Duration>) -> Result<RoutedLease, Error> {
        let until = self.until(patience);
        let (mut id, mut visit) = self.0.routes.choose(name, key)?;
        loop {
            match self.0.house.acquire(&id, until) {
                Ok(lease) => return Ok(RoutedLease::new(id, visit, lease)),
                Err(error) => (id, visit) = RoutedLease::instead(visit, error)?,
            }
        }
    }

    /// The same in async code.
    ///
    /// # Errors
    /// As [`Models::acquire_for`].
    pub async fn acquire_for_async(&self, name: &str, key: AffinityKey) -> Result<RoutedLease, Error> {
        let (mut id, mut visit) = self.0.routes.choose(name, key)?;
        loop {
            match self.0.house.acquire_async(&id).await {
                Ok(lease) => return Ok(RoutedLease::new(id, visit, lease)),
                Err(error) => (id, visit) = RoutedLease::instead(visit, error)?,
            }
        }
    }

    /// Takes the new version of a route's roll-out back. `None`: there is no roll-out, or it was taken back before.
    pub fn roll_back(&self, route: &str) -> Option<RolloutChange> {
        self.0.routes.decide(route, ballast_runtime::routing::SharedRouter::roll_back)
    }

    /// Gives the new version of a route's roll-out everything. `None`: there is no roll-out in a stage.
    pub fn promote(&self, route: &str) -> Option<RolloutChange> {
        self.0.routes.decide(route, ballast_runtime::routing::SharedRouter::promote)
    }

    /// Does what time asks for: ends keep-alives and loads that take too long. Returns when to call it again. Only for
    /// [`Models::with_clock`]; elsewhere a thread does it.
    pub fn tick(&self) -> Option<Duration> {
        self.0.house.tick()
    }

    /// Unloads models that nobody uses because the machine is short of memory. Returns how many.
    pub fn observe_pressure(&self, pressure: Pressure) -> usize {
        self.0.house.observe_pressure(pressure)
    }

    /// Every model and how it is doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<ModelReport> {
        let models = self.0.house.models();
        models.into_iter().map(|(id, status)| self.0.catalogue.report(&id, status)).collect()
    }

    /// How a model is doing; `None`: there is no such model.
    #[must_use]
    pub fn status_of(&self, name: &str) -> Option<ModelReport> {
        let id = ModelId::new(name);
        Some(self.0.catalogue.report(&id, self.0.house.status(&id)?))
    }

    /// Every route, by name: where its roll-out is, and what its versions have done.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteReport> {
        self.0.routes.report()
    }

    /// What was counted, and what is held now.
    #[must_use]
    pub fn stats(&self) -> LifecycleStats {
        self.0.house.stats()
    }

    /// Bytes that the loaded models may take together.
    #[must_use]
    pub fn budget_bytes(&self) -> u64 {
        self.0.budget_bytes
    }

    fn until(&self, patience: Option<Duration>) -> Option<Duration> {
        patience.map(|patience| self.0.clock.now().saturating_add(patience))
    }

    fn plan(&self, version: u64, bytes: u64) -> ModelPlan {
        ModelPlan { version, bytes, keep_alive: self.0.keep_alive, provisional: None }
    }
}
