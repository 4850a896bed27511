//! What loaders, models and threads have to say to the world that plays them.

use super::super::dice::Dice;
use super::played::{Loaded, Played, Scripted};
use super::scenario::Loading;
use crate::instance_pool::{InstancePool, PoolOptions, Timer};
use crate::lifecycle::{InstanceId, Job, LoadOrder, LoadPart, LockProbe, ModelId, ModelPlan};
use ballast_backend::{EngineError, ErrorKind, Pulse};
use ballast_testkit::VirtualClock;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The books of a house.
pub(super) struct Ledger {
    pub(super) clock: VirtualClock,
    pub(super) pool: PoolOptions,
    loading: Loading,
    lock: OnceLock<LockProbe<Loaded>>,
    inner: Mutex<Inner>,
}

struct Inner {
    dice: Dice,
    plans: BTreeMap<(ModelId, u64), ModelPlan>,
    /// What loaded once.
    good: BTreeSet<(ModelId, u64, bool)>,
    /// Jobs that were handed over and not planned yet.
    jobs: Vec<Job>,
    /// Timers of pools that were made and not planned yet.
    timers: Vec<Timer<Played>>,
    /// Bytes of the models that there really are.
    alive: BTreeMap<InstanceId, u64>,
    /// Loads that were given up when the present job began.
    given_up: BTreeSet<InstanceId>,
    /// A job is carried out: models may be dropped.
    is_at_work: bool,
    is_quiet: bool,
    wrong: Vec<String>,
    n_loads: u64,
}

impl Ledger {
    pub(super) fn new(clock: VirtualClock, pool: PoolOptions, loading: Loading, dice: Dice) -> Self {
        let inner = Inner {
            dice,
            plans: BTreeMap::new(),
            good: BTreeSet::new(),
            jobs: Vec::new(),
            timers: Vec::new(),
            alive: BTreeMap::new(),
            given_up: BTreeSet::new(),
            is_at_work: false,
            is_quiet: false,
            wrong: Vec::new(),
            n_loads: 0,
        };
        Self { clock, pool, loading, lock: OnceLock::new(), inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on models are not to be dropped while this is locked.
    pub(super) fn watch(&self, lock: LockProbe<Loaded>) {
        assert!(self.lock.set(lock).is_ok(), "a ledger belongs to one house");
    }

    pub(super) fn note_plan(&self, model: &ModelId, plan: ModelPlan) {
        self.lock().plans.insert((model.clone(), plan.version), plan);
    }

    /// From now on nothing fails.
    pub(super) fn calm_down(&self) {
        self.lock().is_quiet = true;
    }

    /// A thread for a job, if the system has one.
    pub(super) fn spawn(&self, job: Job) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.is_quiet || !inner.dice.chance(self.loading.refused) {
            inner.jobs.push(job);
            return Ok(());
        }
        // What the job holds is dropped with it, on the caller's thread.
        let before = std::mem::replace(&mut inner.is_at_work, true);
        drop(inner);
        drop(job);
        self.lock().is_at_work = before;
        Err(io::Error::other("no thread"))
    }

    pub(super) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut self.lock().jobs)
    }

    pub(super) fn take_timers(&self) -> Vec<Timer<Played>> {
        std::mem::take(&mut self.lock().timers)
    }

    pub(super) fn carry_out(&self, job: Job, given_up: BTreeSet<InstanceId>) {
        let mut inner = self.lock();
        (inner.is_at_work, inner.given_up) = (true, given_up);
        drop(inner);
        job();
        self.lock().is_at_work = false;
    }

    /// The loader. Its time has passed already.
    pub(super) fn load(self: &Arc<Self>, order: &LoadOrder, pulse: &Pulse) -> Result<Loaded, EngineError> {
        let mut inner = self.lock();
        inner.n_loads += 1;
        let key = (order.model.clone(), order.version, order.part == LoadPart::Full);
        let may_fail =
            !inner.is_quiet && !(self.loading.is_steady && (order.version == 1 || inner.good.contains(&key)));
        let (panics, fails) = (inner.dice.chance(self.loading.panics), inner.dice.chance(self.loading.fails));
        let is_given_up = pulse.is_abandoned();
        if is_given_up != inner.given_up.contains(&order.instance) {
            inner.wrong.push(format!("{order:?} was given up, and not told so"));
        }
        if may_fail && panics {
            drop(inner);
            resume_unwind(Box::new(Scripted));
        }
        if may_fail && fails || is_given_up && self.loading.obeys {
            return Err(EngineError::new(ErrorKind::Unavailable, Scripted));
        }
        inner.good.insert(key);
        let plan = inner.plans[&(order.model.clone(), order.version)];
        let bytes = match (order.part, plan.provisional) {
            (LoadPart::Provisional, Some(provisional)) => provisional.bytes,
            (LoadPart::Provisional, None) | (LoadPart::Full, _) => plan.bytes,
        };
        if inner.alive.insert(order.instance, bytes).is_some() {
            inner.wrong.push(format!("{order:?} is loaded twice"));
        }
        let (pool, timer) = InstancePool::played(self.pool, Arc::new(self.clock.clone()));
        inner.timers.push(timer);
        drop(inner);
        Ok(Loaded::new(order.clone(), pool, Arc::clone(self)))
    }

    /// A model was dropped.
    pub(super) fn note_dropped(&self, instance: InstanceId) {
        let is_locked = self.lock.get().is_some_and(LockProbe::is_locked);
        let mut inner = self.lock();
        inner.alive.remove(&instance);
        if is_locked {
            inner.wrong.push(format!("{instance:?} was dropped while the house was locked"));
        }
        if !inner.is_at_work && !std::thread::panicking() {
            inner.wrong.push(format!("{instance:?} was dropped by a caller"));
        }
    }

    pub(super) fn alive_bytes(&self) -> u64 {
        self.lock().alive.values().sum()
    }

    pub(super) fn is_alive(&self, instance: InstanceId) -> bool {
        self.lock().alive.contains_key(&instance)
    }

    pub(super) fn n_loads(&self) -> u64 {
        self.lock().n_loads
    }

    /// What was seen where nobody may panic.
    pub(super) fn wrong(&self) -> Option<String> {
        self.lock().wrong.pop()
    }
}
