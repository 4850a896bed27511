//! The shell: holds the models, runs loads and drops on threads of their own, lets callers wait.

use super::lease::{ClaimGuard, Looked, Waiting};
use super::{
    Claim, InstanceId, Lease, Lifecycle, LifecycleError, LifecycleOptions, LifecycleStats, LoadOrder, ModelId,
    ModelPlan, ModelState, ModelStatus, Pressure, SwapMode,
};
use crate::telemetry::Telemetry;
use ballast_backend::{Clock, EngineError, Pulse};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest time a waiting thread sleeps before it looks at the clock again. Ends of loads wake it at once; this bounds
/// how late it sees its deadline when the clock is not the system's.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// Work that may take long: a load, or the drop of a model.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs a job somewhere else. A job that cannot be run is dropped.
pub type Spawn = Box<dyn Fn(Job) -> std::io::Result<()> + Send + Sync>;

/// A [`Spawn`] that gives each job a thread.
///
/// # Errors
/// If the system refuses a thread.
pub fn spawn_thread(job: Job) -> std::io::Result<()> {
    std::thread::Builder::new().name("ballast-loader".to_owned()).spawn(job).map(drop)
}

type Loader<M> = Box<dyn Fn(&LoadOrder, &Pulse) -> Result<M, EngineError> + Send + Sync>;

/// Where an instance's model will be, or why it will not.
pub(super) struct Seat<M> {
    pub(super) outcome: OnceLock<Outcome<M>>,
    pub(super) pulse: Pulse,
}

/// What those who wait for an instance are told.
pub(super) enum Outcome<M> {
    Loaded(Arc<M>),
    Refused(LifecycleError),
    /// To claim again: another instance answers.
    Redirected,
}

impl<M> Seat<M> {
    pub(super) fn outcome(&self) -> Option<&Outcome<M>> {
        self.outcome.get()
    }
}

impl<M> Default for Seat<M> {
    fn default() -> Self {
        Self { outcome: OnceLock::new(), pulse: Pulse::new() }
    }
}

/// What the lock guards.
pub(super) struct Inner<M> {
    pub(super) machine: Lifecycle,
    pub(super) seats: BTreeMap<InstanceId, Arc<Seat<M>>>,
}

pub(super) struct House<M: Send + Sync + 'static> {
    inner: Mutex<Inner<M>>,
    changed: Condvar,
    changed_async: Notify,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Telemetry,
    pub(super) spawn: Spawn,
    pub(super) loader: Loader<M>,
}

/// Loaded models of type `M`, shared by name. Clones are the same house.
pub struct ModelHouse<M: Send + Sync + 'static>(pub(super) Arc<House<M>>);

impl<M: Send + Sync + 'static> Clone for ModelHouse<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Send + Sync + 'static> fmt::Debug for ModelHouse<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelHouse").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<M: Send + Sync + 'static> ModelHouse<M> {
    /// An empty house. `loader` loads what it is told, beats and obeys the pulse it is given, and may take long;
    /// `spawn` runs it, usually [`spawn_thread`]. Loads that do not end are told to `telemetry`.
    #[must_use]
    pub fn new(
        options: LifecycleOptions,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
        spawn: Spawn,
        loader: impl Fn(&LoadOrder, &Pulse) -> Result<M, EngineError> + Send + Sync + 'static,
    ) -> Self {
        let inner = Mutex::new(Inner { machine: Lifecycle::new(options), seats: BTreeMap::new() });
        let (changed, changed_async) = (Condvar::new(), Notify::new());
        Self(Arc::new(House { inner, changed, changed_async, clock, telemetry, spawn, loader: Box::new(loader) }))
    }

    /// Makes a model known, without loading it. `false`: the name is taken.
    pub fn register(&self, id: ModelId, plan: ModelPlan) -> bool {
        self.0.run(|machine, _| machine.register(id, plan))
    }

    /// Takes a lease of a model on this thread, loading it or waiting for its load until `deadline_at`.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub fn acquire(&self, id: &ModelId, deadline_at: Option<Duration>) -> Result<Lease<M>, LifecycleError> {
        let mut waiting = self.claim(id)?;
        loop {
            waiting = match waiting.lease() {
                Looked::Over(outcome) => return outcome,
                Looked::Redirected => self.claim(id)?,
                Looked::Waits(waiting) => waiting,
            };
            let seat = Arc::clone(&waiting.seat);
            if !self.0.wait(deadline_at, |_| seat.outcome().is_some()) {
                drop(seat);
                return Err(LifecycleError::TimedOut { model: id.clone() });
            }
        }
    }

    /// Takes a lease of a model in async code. Dropping the future ends the wait.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub async fn acquire_async(&self, id: &ModelId) -> Result<Lease<M>, LifecycleError> {
        let mut waiting = self.claim(id)?;
        loop {
            let mut changed = pin!(self.0.changed_async.notified());
            // From here on no change is missed, so that looking once before waiting is enough.
            changed.as_mut().enable();
            waiting = match waiting.lease() {
                Looked::Over(outcome) => return outcome,
                Looked::Redirected => {
                    waiting = self.claim(id)?;
                    continue;
                }
                Looked::Waits(waiting) => waiting,
            };
            changed.await;
        }
    }

    /// Takes a lease of a model that is loaded, without waiting; `None`: it is not, and nothing is begun.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn acquire_ready(&self, id: &ModelId) -> Result<Option<Lease<M>>, LifecycleError> {
        let Some(waiting) = self.wait_for(|machine, now| machine.acquire_ready(id, now))? else { return Ok(None) };
        match waiting.lease() {
            Looked::Over(outcome) => outcome.map(Some),
            Looked::Redirected | Looked::Waits(_) => Ok(None),
        }
    }

    /// Looks at a model that is loaded, without using it; `None`: it is not. `look` is called under the lock of the
    /// house: it is quick and asks the house for nothing.
    pub fn with_loaded<T>(&self, id: &ModelId, look: impl FnOnce(&M) -> T) -> Option<T> {
        let inner = self.0.lock();
        let seat = inner.seats.get(&inner.machine.serving(id)?)?;
        match seat.outcome()? {
            Outcome::Loaded(model) => Some(look(model)),
            Outcome::Refused(_) | Outcome::Redirected => None,
        }
    }

    /// Says how long a model stays loaded without use from now on; `None`: until the room is needed.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_keep_alive(&self, id: &ModelId, keep_alive: Option<Duration>) -> Result<(), LifecycleError> {
        self.0.run(|machine, _| machine.set_keep_alive(id, keep_alive))
    }

    /// Begins to load a model before anybody asks for it.
    ///
    /// # Errors
    /// See [`LifecycleError`].
    pub fn preload(&self, id: &ModelId) -> Result<(), LifecycleError> {
        self.0.run(|machine, now| machine.preload(id, now))
    }

    /// Replaces a model's version without failing a request, and waits until the new one serves.
    ///
    /// # Errors
    /// `LoadFailed` where the new version could not be loaded (the old one serves on), `TimedOut` where it was not by
    /// `deadline_at` (it goes on); see [`LifecycleError`].
    pub fn swap(
        &self,
        id: &ModelId,
        plan: ModelPlan,
        mode: SwapMode,
        deadline_at: Option<Duration>,
    ) -> Result<(), LifecycleError> {
        let instance = self.0.run(|machine, now| machine.swap(id, plan, mode, now))?;
        let Some(instance) = instance else { return Ok(()) };
        if !self.0.wait(deadline_at, |machine| has_swapped(machine, id, instance)) {
            return Err(LifecycleError::TimedOut { model: id.clone() });
        }
        self.swap_outcome(id, plan)
    }

    /// The same in async code. Dropping the future ends the wait, not the swap.
    ///
    /// # Errors
    /// As [`ModelHouse::swap`].
    pub async fn swap_async(&self, id: &ModelId, plan: ModelPlan, mode: SwapMode) -> Result<(), LifecycleError> {
        let instance = self.0.run(|machine, now| machine.swap(id, plan, mode, now))?;
        let Some(instance) = instance else { return Ok(()) };
        self.0.wait_async(|machine| has_swapped(machine, id, instance)).await;
        self.swap_outcome(id, plan)
    }

    fn swap_outcome(&self, id: &ModelId, plan: ModelPlan) -> Result<(), LifecycleError> {
        let serves = self.status(id).is_some_and(|status| status.version == plan.version);
        let failed = LifecycleError::LoadFailed { model: id.clone(), retry_after: Duration::ZERO };
        if serves { Ok(()) } else { Err(failed) }
    }

    /// Unloads a model and waits until it is gone: uses go on to their end.
    ///
    /// # Errors
    /// `StillInUse` where it was not gone by `deadline_at` (it goes when its last use ends); `NotFound`.
    pub fn unload(&self, id: &ModelId, deadline_at: Option<Duration>) -> Result<(), LifecycleError> {
        let leaving = self.begin_unload(id)?;
        let mut in_use = 0;
        let is_gone = |machine: &Lifecycle| {
            in_use = machine.instances_of(id).filter(|(it, _)| leaving.contains(it)).map(|(_, claims)| claims).sum();
            leaving.iter().all(|&instance| !machine.has(instance))
        };
        if self.0.wait(deadline_at, is_gone) {
            return Ok(());
        }
        Err(LifecycleError::StillInUse { model: id.clone(), in_use })
    }

    /// The same in async code. Dropping the future ends the wait; the model goes when its last use ends.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn unload_async(&self, id: &ModelId) -> Result<(), LifecycleError> {
        let leaving = self.begin_unload(id)?;
        self.0.wait_async(|machine| leaving.iter().all(|&instance| !machine.has(instance))).await;
        Ok(())
    }

    fn begin_unload(&self, id: &ModelId) -> Result<Vec<InstanceId>, LifecycleError> {
        self.0.run(|machine, now| {
            machine.unload(id, now)?;
            Ok(machine.instances_of(id).map(|(instance, _)| instance).collect())
        })
    }

    /// Unloads a model and forgets its name. Does not wait.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, id: &ModelId) -> Result<(), LifecycleError> {
        self.0.run(|machine, now| machine.remove(id, now))
    }

    /// Does what time asks for. Returns when to call it again; calls in between may make it earlier.
    pub fn tick(&self) -> Option<Duration> {
        self.0.run(|machine, now| {
            machine.tick(now);
            machine.next_tick_at()
        })
    }

    /// Unloads idle models because the machine is short of memory. Returns how many.
    pub fn observe_pressure(&self, pressure: Pressure) -> usize {
        self.0.run(|machine, _| machine.observe_pressure(pressure))
    }

    /// How a model is doing; `None`: there is no such model.
    #[must_use]
    pub fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        self.0.lock().machine.status(id)
    }

    /// Every registered model and how it is doing.
    #[must_use]
    pub fn models(&self) -> Vec<(ModelId, ModelStatus)> {
        let inner = self.0.lock();
        inner.machine.models().filter_map(|id| Some((id.clone(), inner.machine.status(id)?))).collect()
    }

    /// What was counted, and what is held.
    #[must_use]
    pub fn stats(&self) -> LifecycleStats {
        self.0.lock().machine.stats()
    }

    fn claim(&self, id: &ModelId) -> Result<Waiting<M>, LifecycleError> {
        let waiting = self.wait_for(|machine, now| machine.acquire(id, now).map(Some))?;
        Ok(waiting.expect("what was claimed is waited for"))
    }

    /// Claims as `claim` says, and takes the seat of what was claimed.
    fn wait_for(
        &self,
        claim: impl FnOnce(&mut Lifecycle, Duration) -> Result<Option<Claim>, LifecycleError>,
    ) -> Result<Option<Waiting<M>>, LifecycleError> {
        let house = &self.0;
        let now = house.clock.now();
        let mut inner = house.lock();
        let claim = claim(&mut inner.machine, now);
        // The seat is taken before the errands are run: a load may end at once.
        let waiting = claim.map(|claim| {
            claim.map(|claim| {
                let seat = Arc::clone(inner.seats.entry(claim.instance()).or_default());
                Waiting { seat, claim: ClaimGuard::new(claim, Arc::clone(house)) }
            })
        });
        let errands = house.settle(&mut inner);
        drop(inner);
        house.perform(errands);
        waiting
    }
}

impl<M: Send + Sync + 'static> House<M> {
    /// Runs `call` on the machine under the lock, then does what comes of it.
    pub(super) fn run<T>(self: &Arc<Self>, call: impl FnOnce(&mut Lifecycle, Duration) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.lock();
        let answer = call(&mut inner.machine, now);
        let errands = self.settle(&mut inner);
        drop(inner);
        self.perform(errands);
        answer
    }

    /// Waits until `done`; `false`: the deadline came first.
    fn wait(&self, deadline_at: Option<Duration>, mut done: impl FnMut(&Lifecycle) -> bool) -> bool {
        let mut inner = self.lock();
        loop {
            if done(&inner.machine) {
                return true;
            }
            let left = deadline_at.map_or(WAIT_SLICE, |at| at.saturating_sub(self.clock.now()));
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(inner, left.min(WAIT_SLICE));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `done`, in async code.
    async fn wait_async(&self, mut done: impl FnMut(&Lifecycle) -> bool) {
        loop {
            let mut changed = pin!(self.changed_async.notified());
            // From here on no change is missed, so that looking once before waiting is enough.
            changed.as_mut().enable();
            if done(&self.lock().machine) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn tell(&self) {
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.inner.try_lock().is_err()
    }

    /// A panic under the lock is a broken invariant; what is whole goes on.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the load of `instance`, which replaces a version of `id`, has ended one way or the other.
fn has_swapped(machine: &Lifecycle, id: &ModelId, instance: InstanceId) -> bool {
    // A load that was given up may be there for long. Where the old version is loaded again, that is waited for.
    let is_coming = |status: ModelStatus| status.is_swapping || matches!(status.state, ModelState::Loading { .. });
    machine.instances_of(id).all(|(other, _)| other != instance) || !machine.status(id).is_some_and(is_coming)
}
