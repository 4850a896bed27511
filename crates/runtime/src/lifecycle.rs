//! Which models are loaded: single-flight load, counted use, eviction, swap. Pure; [`ModelHouse`] is the shell that
//! holds the models and runs the loads.
//!
//! A model is registered under its name with a plan. Its instances live through
//!
//! ```text
//! Queued    => Loading     there is room among what is held
//! Queued    => gone        nobody wants it any more, or no room came in time
//! Loading   => Ready       loaded; whoever waited for it uses it
//! Loading   => Queued      the new version of a swap failed and the old one had to go first: the old one is loaded again
//! Loading   => Abandoned   unloaded, too slow, or nobody waits for it any more
//! Abandoned => Stuck       the loader did not come back in its time
//! Loading   => gone        it failed
//! Abandoned, Stuck => Ending | gone    the loader came back
//! Ready     => Draining    unloaded or replaced while in use: no new use
//! Ready     => Ending      unloaded, replaced or evicted while idle
//! Draining  => Ending      its last user left
//! Draining  => Ready       the new version that it made room for does not come
//! Ending    => gone        it was dropped
//! ```
//!
//! Two sums bound memory. What is *held* (everything but Queued) never exceeds the budget: a load begins when it fits.
//! What is *committed* (Queued, Loading, Ready, Stuck) never exceeds it either: a load is refused that would not fit once
//! what is on its way out has gone. So two loads cannot both count on the same room, and a Queued one begins once what is on
//! its way out has gone; where that does not go, it waits no longer than a load may take.
//!
//! A load that hangs is treated as one that fails, as far as memory allows. It is given up after `load_max`, and where it
//! was a new version whose old one had to go first, the old one answers again for those who wait. What it takes is held
//! until it really ends. `obey_max` later nobody counts on that room any more: who was promised it gets other room, or the
//! version before, or is refused at once and not after another `load_max`.

#[cfg(test)]
mod books;
mod errands;
mod error;
mod house;
mod instance;
mod lease;
mod room;
mod steps;
mod words;

#[cfg(test)]
pub(crate) use books::{Glimpse, LockProbe, Stands};
pub use error::{Held, LifecycleError};
pub use house::{Job, ModelHouse, Spawn, spawn_thread};
pub use lease::Lease;
pub use words::{
    Action, InstanceId, LifecycleOptions, LifecycleStats, LoadOrder, LoadPart, ModelId, ModelPlan, ModelState,
    ModelStatus, Orphans, Pressure, ProvisionalPlan, SwapMode,
};

use instance::{Instance, Phase, Purpose};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of a registered model.
#[derive(Clone, Debug)]
struct Model {
    /// What is loaded next; the newest plan that worked, or the first.
    plan: ModelPlan,
    /// The Ready instance that takes new use.
    serving: Option<InstanceId>,
    /// The Queued or Loading instance that will.
    next: Option<InstanceId>,
    failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    until: Duration,
    /// Failed loads in a row.
    n: u32,
}

/// A use of an instance, or a wait for one. Give it back with [`Lifecycle::release`].
#[must_use = "a claim that is not given back keeps its instance for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    instance: InstanceId,
}

impl Claim {
    /// Of which instance.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }
}

/// The models of one house. What is to be done comes out of [`Lifecycle::take_actions`] after every call.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    options: LifecycleOptions,
    models: BTreeMap<ModelId, Model>,
    instances: BTreeMap<InstanceId, Instance>,
    n_instances: u64,
    actions: Vec<Action>,
    stats: LifecycleStats,
}

impl Lifecycle {
    /// No models.
    #[must_use]
    pub fn new(options: LifecycleOptions) -> Self {
        Self {
            options,
            models: BTreeMap::new(),
            instances: BTreeMap::new(),
            n_instances: 0,
            actions: Vec::new(),
            stats: LifecycleStats::default(),
        }
    }

    /// Makes a model known, without loading it. `false`: the name is taken, see [`Lifecycle::swap`].
    pub fn register(&mut self, id: ModelId, plan: ModelPlan) -> bool {
        let is_new = !self.models.contains_key(&id);
        if is_new {
            self.models.insert(id, Model { plan, serving: None, next: None, failure: None });
        }
        is_new
    }

    /// Claims a use of a model, loading it if need be. Where the instance is not Ready yet, the claim waits with it and
    /// becomes a use when it is.
    ///
    /// # Errors
    /// If there is no such model, its last load failed a moment ago, there is no room for it, or too many wait already.
    pub fn acquire(&mut self, id: &ModelId, now: Duration) -> Result<Claim, LifecycleError> {
        let model = self.model(id)?;
        let instance = match model.serving.or(model.next) {
            Some(instance) => instance,
            None => self.begin(id, Purpose::Callers, now)?,
        };
        self.join(instance, now)
    }

    /// Claims a use of a model that is loaded; `None`: it is not, and nothing is begun.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn acquire_ready(&mut self, id: &ModelId, now: Duration) -> Result<Option<Claim>, LifecycleError> {
        let serving = self.model(id)?.serving;
        serving.map(|instance| self.join(instance, now)).transpose()
    }

    /// Says how long a model stays loaded without use from now on, as it is loaded and as it will be; `None`: until the
    /// room is needed.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn set_keep_alive(&mut self, id: &ModelId, keep_alive: Option<Duration>) -> Result<(), LifecycleError> {
        let model = self.model_mut(id)?;
        model.plan.keep_alive = keep_alive;
        for instance in [model.serving, model.next].into_iter().flatten() {
            if let Some(instance) = self.instances.get_mut(&instance) {
                instance.plan.keep_alive = keep_alive;
            }
        }
        Ok(())
    }

    /// The loaded instance that takes new use; `None`: there is none.
    #[must_use]
    pub fn serving(&self, id: &ModelId) -> Option<InstanceId> {
        self.models.get(id)?.serving
    }

    /// Loads a model that nobody asked for yet, if it is not loaded or being loaded.
    ///
    /// # Errors
    /// As [`Lifecycle::acquire`].
    pub fn preload(&mut self, id: &ModelId, now: Duration) -> Result<(), LifecycleError> {
        let model = self.model(id)?;
        if model.serving.or(model.next).is_none() {
            self.begin(id, Purpose::House, now)?;
        }
        Ok(())
    }

    /// Ends a use or a wait. A claim whose instance has gone is void already.
    pub fn release(&mut self, claim: Claim, now: Duration) {
        let Some(instance) = self.instances.get_mut(&claim.instance) else { return };
        instance.claims = instance.claims.saturating_sub(1);
        instance.last_used = instance.last_used.max(now);
        if instance.claims > 0 {
            return;
        }
        match instance.phase {
            Phase::Draining => self.end(claim.instance),
            Phase::Queued { .. } | Phase::Loading { .. }
                if instance.purpose == Purpose::Callers && self.options.orphans == Orphans::Cancel =>
            {
                self.give_up(claim.instance, None, now);
            }
            Phase::Queued { .. } | Phase::Loading { .. } | Phase::Ready => {}
            Phase::Abandoned { .. } | Phase::Stuck | Phase::Ending => {}
        }
    }

    /// Whether a claim is a use; `None`: it is void.
    #[must_use]
    pub fn is_ready(&self, claim: &Claim) -> Option<bool> {
        match self.instances.get(&claim.instance)?.phase {
            Phase::Queued { .. } | Phase::Loading { .. } => Some(false),
            Phase::Ready | Phase::Draining => Some(true),
            Phase::Abandoned { .. } | Phase::Stuck | Phase::Ending => None,
        }
    }

    /// Whether an instance is anywhere in its life.
    #[must_use]
    pub fn has(&self, id: InstanceId) -> bool {
        self.instances.contains_key(&id)
    }

    /// Instances of a model, whatever their phase; each with its claims.
    pub fn instances_of(&self, id: &ModelId) -> impl Iterator<Item = (InstanceId, u32)> {
        self.instances.iter().filter(move |(_, it)| it.model == *id).map(|(&instance, it)| (instance, it.claims))
    }

    /// A load ended well.
    pub fn loaded(&mut self, id: InstanceId, now: Duration) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        match instance.phase {
            Phase::Abandoned { .. } | Phase::Stuck => self.end(id),
            Phase::Loading { .. } => {
                instance.phase = Phase::Ready;
                instance.last_used = instance.last_used.max(now);
                self.stats.loads += 1;
                self.install(id, now);
            }
            Phase::Queued { .. } | Phase::Ready | Phase::Draining | Phase::Ending => {}
        }
    }

    /// A load ended badly.
    pub fn failed(&mut self, id: InstanceId, now: Duration) {
        let Some(instance) = self.instances.get(&id) else { return };
        match instance.phase {
            Phase::Abandoned { .. } | Phase::Stuck => {
                self.instances.remove(&id);
                self.admit(now);
            }
            Phase::Loading { .. } => {
                self.stats.load_failures += 1;
                self.fail(id, now);
            }
            Phase::Queued { .. } | Phase::Ready | Phase::Draining | Phase::Ending => {}
        }
    }

    /// An instance that was to be dropped is.
    pub fn ended(&mut self, id: InstanceId, now: Duration) {
        if self.instances.get(&id).is_some_and(|instance| instance.phase == Phase::Ending) {
            self.instances.remove(&id);
            self.admit(now);
        }
    }

    /// Replaces a model's plan. A loaded one serves on until the new version is, then drains. Returns the instance of
    /// the new version; `None`: nothing was loaded, the next use loads the new version.
    ///
    /// # Errors
    /// If there is no such model, it has this version, it is being loaded or swapped already, or both versions do not
    /// fit (with [`SwapMode::EvictFirst`]: the new version alone does not).
    pub fn swap(
        &mut self,
        id: &ModelId,
        plan: ModelPlan,
        mode: SwapMode,
        now: Duration,
    ) -> Result<Option<InstanceId>, LifecycleError> {
        let model = self.model_mut(id)?;
        if model.next.is_some() {
            return Err(LifecycleError::SwapInProgress { model: id.clone() });
        }
        if model.plan.version == plan.version {
            return Err(LifecycleError::SameVersion { model: id.clone(), version: plan.version });
        }
        let Some(old) = model.serving else {
            (model.plan, model.failure) = (plan, None);
            return Ok(None);
        };
        let beside = self.make_room(id, plan.bytes, Some(old));
        match (beside, mode) {
            (Ok(()), SwapMode::Beside | SwapMode::EvictFirst) => {}
            (Err(error), SwapMode::Beside) => return Err(error),
            (Err(_), SwapMode::EvictFirst) => {
                self.make_room(id, plan.bytes, None)?;
                self.retire(old);
            }
        }
        Ok(Some(self.queue(id, plan, LoadPart::Full, Purpose::House, now)))
    }

    /// Unloads a model: those who use it go on to their end, those who wait for it are refused. It stays registered.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn unload(&mut self, id: &ModelId, now: Duration) -> Result<(), LifecycleError> {
        let Model { serving, next, .. } = *self.model(id)?;
        if let Some(next) = next {
            self.give_up(next, Some(LifecycleError::Unloaded { model: id.clone() }), now);
        }
        if let Some(serving) = serving {
            self.retire(serving);
        }
        Ok(())
    }

    /// Unloads a model and forgets its name.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn remove(&mut self, id: &ModelId, now: Duration) -> Result<(), LifecycleError> {
        self.unload(id, now)?;
        self.models.remove(id);
        Ok(())
    }

    /// Does what time asks for: unloads what nobody used for its keep-alive, gives up loads that take too long or whose
    /// room does not come, counts no longer on the room of those that do not end, tries again to replace provisional
    /// instances.
    pub fn tick(&mut self, now: Duration) {
        let due: Vec<InstanceId> =
            self.instances.iter().filter(|(_, it)| self.is_due(it, now)).map(|(&id, _)| id).collect();
        for id in due {
            let Some(instance) = self.instances.get(&id) else { continue };
            let model = instance.model.clone();
            match instance.phase {
                Phase::Queued { .. } | Phase::Loading { .. } => self.time_out(id, now),
                Phase::Abandoned { .. } => self.be_stuck(id),
                Phase::Ready if instance.expires_at().is_some_and(|at| now >= at) => {
                    self.stats.expirations += 1;
                    self.retire(id);
                }
                Phase::Ready => self.upgrade(&model, now),
                Phase::Draining | Phase::Stuck | Phase::Ending => {}
            }
        }
        self.keep_promises(now);
        self.admit(now);
    }

    /// When [`Lifecycle::tick`] next has something to do, as things are now.
    #[must_use]
    pub fn next_tick_at(&self) -> Option<Duration> {
        self.instances.values().filter_map(|instance| self.due_at(instance)).min()
    }

    /// Unloads idle models because the machine is short of memory. Returns how many.
    pub fn observe_pressure(&mut self, pressure: Pressure) -> usize {
        let n_max = match pressure {
            Pressure::Normal => 0,
            Pressure::Elevated => 1,
            Pressure::Critical => usize::MAX,
        };
        let victims: Vec<InstanceId> = self.idle_by_age().into_iter().take(n_max).collect();
        for &id in &victims {
            self.evict(id);
        }
        victims.len()
    }

    /// What is to be done now, in order. Whoever calls anything else calls this after it.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What was counted, and what is held.
    #[must_use]
    pub fn stats(&self) -> LifecycleStats {
        let (held_bytes, stuck_bytes) = (self.held_bytes(), self.stuck_bytes());
        LifecycleStats { held_bytes, stuck_bytes, committed_bytes: self.committed_bytes(None), ..self.stats }
    }

    /// How a model is doing; `None`: there is no such model.
    #[must_use]
    pub fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        let model = self.models.get(id)?;
        let draining = self.instances.values().filter(|it| it.model == *id && it.phase == Phase::Draining);
        let n_draining: u32 = draining.map(|instance| instance.claims).sum();
        let of = |id: Option<InstanceId>| id.and_then(|id| self.instances.get(&id));
        let state = match (of(model.serving), of(model.next), model.failure) {
            (Some(serving), ..) => {
                ModelState::Ready { in_use: serving.claims, last_used: serving.last_used, part: serving.part }
            }
            (None, Some(next), _) => ModelState::Loading { waiters: next.claims },
            (None, None, Some(Failure { until, .. })) => ModelState::Failed { until },
            (None, None, None) if n_draining > 0 => ModelState::Draining { in_use: n_draining },
            (None, None, None) => ModelState::Absent,
        };
        let version = of(model.serving).map_or(model.plan.version, |serving| serving.plan.version);
        let bytes = of(model.serving).map(Instance::bytes);
        let is_swapping = model.serving.is_some() && model.next.is_some();
        let stuck = self.instances.values().filter(|it| it.model == *id && it.phase == Phase::Stuck);
        let n_stuck = u32::try_from(stuck.count()).unwrap_or(u32::MAX);
        let keep_alive = of(model.serving).map_or(model.plan, |serving| serving.plan).keep_alive;
        Some(ModelStatus { state, version, bytes, keep_alive, is_swapping, n_stuck })
    }

    /// Every registered model.
    pub fn models(&self) -> impl Iterator<Item = &ModelId> {
        self.models.keys()
    }

    fn model(&self, id: &ModelId) -> Result<&Model, LifecycleError> {
        self.models.get(id).ok_or_else(|| LifecycleError::NotFound { model: id.clone() })
    }

    fn model_mut(&mut self, id: &ModelId) -> Result<&mut Model, LifecycleError> {
        self.models.get_mut(id).ok_or_else(|| LifecycleError::NotFound { model: id.clone() })
    }

    fn join(&mut self, id: InstanceId, now: Duration) -> Result<Claim, LifecycleError> {
        let waiters_max = self.options.waiters_max;
        let instance = self.instances.get_mut(&id).expect("what a model points to is there");
        if instance.phase == Phase::Ready {
            self.stats.hits += 1;
        } else if instance.claims >= waiters_max {
            return Err(LifecycleError::WaitersFull { model: instance.model.clone(), waiters_max });
        }
        instance.claims += 1;
        instance.last_used = instance.last_used.max(now);
        Ok(Claim { instance: id })
    }

    /// Begins to load a model of which nothing is loaded.
    fn begin(&mut self, id: &ModelId, purpose: Purpose, now: Duration) -> Result<InstanceId, LifecycleError> {
        let model = self.model(id)?;
        if let Some(Failure { until, .. }) = model.failure.filter(|failure| now < failure.until) {
            return Err(LifecycleError::LoadFailed { model: id.clone(), retry_after: until - now });
        }
        let plan = model.plan;
        let part = if plan.provisional.is_some() { LoadPart::Provisional } else { LoadPart::Full };
        self.make_room(id, plan.bytes_of(part), None)?;
        Ok(self.queue(id, plan, part, purpose, now))
    }
}

#[cfg(test)]
mod tests;
