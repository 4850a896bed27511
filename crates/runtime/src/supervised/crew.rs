//! The instances of one link: opened on threads of their own, watched, given up, replaced after a pause.
//!
//! The place of a lost instance counts as taken until its thread has really ended, its pause has passed, and no more
//! than [`SupervisedOptions::fenced_max`] others are still out.

use super::job::Cell;
use super::options::SupervisedOptions;
use super::watch::{Finding, Watch};
use crate::confine::{ConfineError, ConfineOptions, LoadError, ModelClient, ModelRef};
use crate::events::{EngineCrashed, EngineRestarted, EngineStalled};
use crate::instance_pool::PooledInstance;
use crate::retry::RestartPolicy;
use crate::telemetry::Telemetry;
use crate::watchdog::{FenceCounters, Fences};
use ballast_backend::{Clock, Pulse};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Why an instance is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It panicked, said that it is lost, or failed too often in a row.
    Crashed,
    /// It gave no sign of life.
    Stalled,
    /// It did not open.
    Unopened,
}

/// The instances of one link.
pub(super) struct Crew {
    pub(super) engine: &'static str,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Telemetry,
    pub(super) options: SupervisedOptions,
    state: Mutex<State>,
}

struct State {
    /// Those whose places are taken.
    members: BTreeMap<u64, Arc<Body>>,
    fences: Fences,
    restart: RestartPolicy,
    /// Lost ones whose places are taken: when each may be replaced.
    due: BTreeMap<u64, Duration>,
    /// When those were lost whose places are free again.
    vacancies: Vec<Duration>,
    n_hired: u64,
    restarts: u64,
}

/// What the pool lends.
pub(super) struct Instance {
    pub(super) body: Arc<Body>,
    crew: Arc<Crew>,
}

/// An instance and what is known of it.
pub(super) struct Body {
    id: u64,
    pub(super) client: ModelClient<Cell>,
    pub(super) model: ModelRef,
    pulse: Pulse,
    watched: Mutex<Watched>,
    /// Set once: it must not be used again.
    condemned: OnceLock<Loss>,
}

struct Watched {
    watch: Watch,
    failures: u32,
}

/// What is known of a crew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CrewState {
    pub(super) fences: FenceCounters,
    pub(super) heartbeat_age: Option<Duration>,
    pub(super) restarts: u64,
}

impl Crew {
    pub(super) fn new(
        engine: &'static str,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
        options: SupervisedOptions,
    ) -> Self {
        let state = State {
            members: BTreeMap::new(),
            fences: Fences::new(options.fenced_max),
            restart: RestartPolicy::new(options.restart, RestartPolicy::STABLE_AFTER),
            due: BTreeMap::new(),
            vacancies: Vec::new(),
            n_hired: 0,
            restarts: 0,
        };
        Self { engine, clock, telemetry, options, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread of an instance. The model is opened by its first call, which so may be late without being lost.
    pub(super) async fn hire(self: &Arc<Self>) -> Result<Instance, ConfineError> {
        let options = ConfineOptions {
            n_threads: 1,
            queue_max: self.options.pool.concurrency.max(1),
            models_max: 1,
            drain_deadline: Duration::ZERO,
            drain_grace: Duration::ZERO,
            tick: self.options.tick,
            ..ConfineOptions::default()
        };
        let client = ModelClient::<Cell>::start(&options, Arc::clone(&self.clock))?;
        let loaded = client.load(Duration::MAX, |_pulse| Ok::<Cell, Infallible>(None)).await;
        let model = loaded.map_err(|error| match error {
            LoadError::Open(never) => match never {},
            LoadError::Confine(error) => error,
        })?;
        let pulse = client.pulse(0).ok_or(ConfineError::Stopped)?;
        let watched = Mutex::new(Watched { watch: Watch::new(&self.options), failures: 0 });
        let now = self.clock.now();
        let mut state = self.lock();
        state.n_hired += 1;
        let id = state.n_hired;
        let body = Arc::new(Body { id, client, model, pulse, watched, condemned: OnceLock::new() });
        state.members.insert(id, Arc::clone(&body));
        state.fences.opened(id);
        let replaces = state.vacancies.pop();
        if replaces.is_some() {
            state.restarts += 1;
            // Only the first of several places that were waiting moves the policy on.
            let moved = state.restart.begin_opening(now);
            tracing::trace!(moved, "an instance is replaced");
        }
        let attempt = state.restart.failures();
        drop(state);
        if let Some(lost_at) = replaces {
            self.telemetry.emit(&EngineRestarted { engine: self.engine, attempt, after: now.saturating_sub(lost_at) });
        }
        Ok(Instance { body, crew: Arc::clone(self) })
    }

    /// The model of an instance is open.
    pub(super) fn opened(&self) {
        let now = self.clock.now();
        self.lock().restart.opened(now);
    }

    /// Gives an instance up: whoever waits for it is told, its thread is left to itself.
    pub(super) fn give_up(&self, body: &Body, loss: Loss) {
        let loss = *body.condemned.get_or_init(|| loss);
        let now = self.clock.now();
        let mut state = self.lock();
        let is_new = state.fences.abandon(body.id);
        if is_new {
            let due = state.restart.failed(now);
            state.due.insert(body.id, due);
        }
        drop(state);
        if is_new {
            match loss {
                Loss::Stalled => self.telemetry.emit(&EngineStalled { engine: self.engine }),
                Loss::Crashed => self.telemetry.emit(&EngineCrashed { engine: self.engine }),
                Loss::Unopened => {}
            }
        }
        body.client.abandon();
    }

    /// Looks at every instance at work. Returns whether to look again soon.
    pub(super) fn check(&self) -> bool {
        let members: Vec<Arc<Body>> = self.lock().members.values().map(Arc::clone).collect();
        let now = self.clock.now();
        let mut is_busy = false;
        for body in members {
            if body.client.is_over() {
                continue;
            }
            match body.check(now) {
                Finding::Idle => {}
                Finding::Working | Finding::Interrupt => is_busy = true,
                Finding::GiveUp => self.give_up(&body, Loss::Stalled),
            }
        }
        is_busy
    }

    /// Gives up every instance at work. Idle ones end with their pool.
    pub(super) fn abandon_busy(&self) {
        let members: Vec<Arc<Body>> = self.lock().members.values().map(Arc::clone).collect();
        for body in members.iter().filter(|body| body.client.stats().n_running > 0) {
            body.client.abandon();
        }
    }

    /// If every place belongs to an instance that was given up: how long until one may be replaced, if that is known.
    pub(super) fn all_lost(&self) -> Option<Option<Duration>> {
        let now = self.clock.now();
        let state = self.lock();
        if state.due.len() < self.options.pool.n_instances.max(1) {
            return None;
        }
        let ended = state.due.iter().filter(|(id, _)| state.fences.state(**id).is_none());
        Some(ended.map(|(_, due)| due.saturating_sub(now)).min())
    }

    pub(super) fn state(&self) -> CrewState {
        let now = self.clock.now();
        let state = self.lock();
        let alive = state.members.values().filter(|body| !body.client.is_over());
        let heartbeat_age = alive.filter_map(|body| body.lock().watch.heartbeat_age(now)).max();
        CrewState { fences: state.fences.counters(), heartbeat_age, restarts: state.restarts }
    }

    fn is_vacant(&self, body: &Body) -> bool {
        if !body.client.is_ended() {
            return false;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        state.fences.ended(body.id);
        state.due.get(&body.id).is_none_or(|due| now >= *due) && state.fences.may_replace()
    }

    fn leave(&self, id: u64) -> Option<Arc<Body>> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.fences.ended(id);
        if state.due.remove(&id).is_some() {
            state.vacancies.push(now);
        }
        state.members.remove(&id)
    }
}

impl Body {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opens(&self, now: Duration) {
        self.lock().watch.open(now);
    }

    pub(super) fn begins(&self, deadline: Duration, now: Duration) {
        self.lock().watch.begin(self.pulse.beats(), deadline, now);
    }

    /// Returns whether the call was asked to return because it took longer than it may.
    pub(super) fn ends(&self) -> bool {
        self.lock().watch.end()
    }

    /// Asks under the lock, so that only the call that is late hears it.
    fn check(&self, now: Duration) -> Finding {
        let mut watched = self.lock();
        let finding = watched.watch.check(self.pulse.beats(), now);
        if finding == Finding::Interrupt {
            self.pulse.interrupt();
        }
        finding
    }

    pub(super) fn succeeded(&self) {
        self.lock().failures = 0;
    }

    /// One more call in a row failed. Returns how many.
    pub(super) fn failed(&self) -> u32 {
        let mut watched = self.lock();
        watched.failures = watched.failures.saturating_add(1);
        watched.failures
    }

    /// It must not be used again: who returns its permit gives it up.
    pub(super) fn condemn(&self, loss: Loss) {
        self.condemned.get_or_init(|| loss);
    }

    pub(super) fn is_condemned(&self) -> bool {
        self.condemned.get().is_some()
    }
}

impl PooledInstance for Instance {
    fn abandon(&self) {
        self.crew.give_up(&self.body, Loss::Crashed);
    }

    fn is_lost(&self) -> bool {
        self.body.client.is_over()
    }

    fn is_ended(&self) -> bool {
        self.crew.is_vacant(&self.body)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let body = self.crew.leave(self.body.id);
        drop(body);
    }
}
