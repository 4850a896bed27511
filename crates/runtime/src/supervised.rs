//! A tensor model that keeps answering: pool, deadline, watchdog, breaker, fallback, parity.
//!
//! ```text
//! predict -> check inputs -> link 1: breaker -> pool -> instance's own thread -> outputs
//!                              | Open, lost, late, failed after its retries
//!                              v
//!                            link 2 ... the same request, the same deadline; else a typed error
//! ```
//!
//! [`SupervisedEngine`] wraps a chain of engines that open Predictors: neural engine, GPU, CPU. Each link has its own
//! instances, each on a thread of its own, and its own breaker. An instance that gives no sign of life is given up and
//! replaced after a pause; its place counts as taken until its thread has really ended. Whoever lost an answer to a
//! stall, a crash or a panic gets another attempt, then the next link: a prediction can be run again without harm.
//!
//! Nothing here needs an async runtime: every wait is woken by a thread of the engine, and the `_blocking` twins run the
//! same code on the caller's thread.

mod block_on;
mod chain;
mod crew;
mod error;
mod job;
mod keeper;
mod link;
mod options;
mod outputs;
mod promotion;
mod report;
mod shadow;
mod start;
mod watch;

pub use chain::{PredictLatency, Prediction};
pub use error::{OpenError, PredictError, PredictFault};
pub use options::{
    LINKS_MAX, Link, LinkModel, LiveParity, MemoryProbe, PredictOptions, Promotion, StartMode, SupervisedOptions,
    SupervisedParts,
};
pub use outputs::{OutputTensor, Outputs};
pub use report::{LinkHealth, LinkPhase, SupervisedHealth};

use crate::breaker::Forced;
use crate::buffer_pool::{BufferPool, BufferStats};
use crate::events::{MemoryObserved, RequestRefused};
use crate::retry::RetryBudget;
use crate::telemetry::{CorrelationId, Ids, Metrics, MetricsSnapshot};
use ballast_backend::{IoSchema, TensorMap};
use block_on::block_on;
use keeper::{Keeper, Woken};
use link::{Ask, LinkState};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A chain of engines that answers as one. Clones share it; with the last one its threads end: those that are idle are
/// joined, those that are at work are given up and end by themselves.
#[derive(Clone)]
pub struct SupervisedEngine(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

/// What callers, the keeper, preparations and comparisons share.
struct Shared {
    me: Weak<Shared>,
    links: Vec<LinkState>,
    parts: SupervisedParts,
    metrics: Arc<Metrics>,
    options: SupervisedOptions,
    /// Of the whole chain, from the first link that was ready.
    schema: OnceLock<Arc<IoSchema>>,
    buffers: BufferPool,
    keeper: Keeper,
    budget: Mutex<RetryBudget>,
    n_asked: AtomicU64,
    /// Held while a link becomes ready.
    starting: Mutex<()>,
    started: Condvar,
}

impl fmt::Debug for SupervisedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedEngine").field("health", &self.health()).finish()
    }
}

impl SupervisedEngine {
    /// Prepares the chain and begins to answer. A link that cannot be prepared is left out, as long as one can.
    /// [`StartMode::Warm`] answers with the first link that is ready while the others are prepared.
    ///
    /// # Errors
    /// A chain without links or with too many, tolerances that are none, no link that is ready in time, no threads.
    pub fn open(chain: Vec<Link>, parts: SupervisedParts, options: SupervisedOptions) -> Result<Self, OpenError> {
        if !(1..=LINKS_MAX).contains(&chain.len()) {
            return Err(OpenError::Links { links_max: LINKS_MAX, got: chain.len() });
        }
        if let Some(LiveParity { tolerances, .. }) = options.parity {
            tolerances.check()?;
        }
        if let Some(Promotion { tolerances, .. }) = options.promotion {
            tolerances.check()?;
        }
        let shared = Shared::new(chain, parts, options);
        let at = Arc::clone(&shared);
        let keeper = Builder::new().name("ballast-keeper".to_owned()).spawn(move || at.keep()).map_err(|error| {
            tracing::error!(%error, "the system refused a thread");
            OpenError::ThreadRefused
        })?;
        let engine = Self(Arc::new(Handle { shared, keeper: Some(keeper) }));
        engine.0.shared.start()?;
        Ok(engine)
    }

    /// Answers: by the first link of the chain that can, within the deadline. Dropping the future cancels the call.
    ///
    /// # Errors
    /// Why nobody answered, and when to try again, where that can be said.
    pub async fn predict(&self, inputs: TensorMap, options: PredictOptions) -> Result<Prediction, PredictError> {
        let shared = &*self.0.shared;
        let PredictOptions { deadline, correlation, tenant, priority } = options;
        let number = shared.n_asked.fetch_add(1, Ordering::Relaxed);
        let correlation = correlation.unwrap_or_else(|| CorrelationId::from_number(number));
        let refused = |fault: PredictFault| {
            let (kind, reason) = (fault.kind(), fault.reason());
            shared.parts.telemetry.emit_for(Ids::new(&correlation, &tenant), &RequestRefused { kind, reason });
            PredictError { engine: shared.links[0].engine(), fault, retry_after: None, retries: 0 }
        };
        let _in_progress = shared.keeper.begin().ok_or_else(|| refused(PredictFault::Draining))?;
        if let Some(schema) = shared.schema.get() {
            schema.check_inputs(&inputs).map_err(|error| refused(error.into()))?;
        }
        let ask = Ask { number, inputs: Arc::new(inputs), rank: options::rank(priority), correlation, tenant };
        shared.answer(&ask, shared.parts.clock.now().saturating_add(deadline)).await
    }

    /// [`SupervisedEngine::predict`], waiting on this thread, which must not be one that runs async code.
    ///
    /// # Errors
    /// As there.
    pub fn predict_blocking(&self, inputs: TensorMap, options: PredictOptions) -> Result<Prediction, PredictError> {
        block_on(self.predict(inputs, options))
    }

    /// What the chain takes and gives; `None` only before the first link is ready.
    #[must_use]
    pub fn io_schema(&self) -> Option<&IoSchema> {
        self.0.shared.schema.get().map(|schema| &**schema)
    }

    /// What was counted, for all that shares the telemetry this engine was given.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.0.shared.metrics.snapshot()
    }

    /// What output tensors were used again.
    #[must_use]
    pub fn buffers(&self) -> BufferStats {
        self.0.shared.buffers.stats()
    }

    /// How it is, link by link.
    #[must_use]
    pub fn health(&self) -> SupervisedHealth {
        let shared = &self.0.shared;
        SupervisedHealth {
            links: shared.links.iter().map(LinkState::health).collect(),
            n_predictions: shared.keeper.n_predictions(),
            is_draining: shared.keeper.is_draining(),
        }
    }

    /// Links, buffers and figures in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let links: String = self.health().links.iter().map(|link| format!("{link}\n")).collect();
        format!("{links}buffers: {}\n{}", self.buffers(), self.metrics().summary())
    }

    /// A person's word on the breaker of every link of this engine's name. Returns how many obey: those that are ready.
    pub fn force_breaker(&self, engine: &str, forced: Forced) -> usize {
        let named = self.0.shared.links.iter().filter(|link| link.engine() == engine);
        let ready = named.filter_map(|link| link.ready().ok());
        ready.map(|ready| ready.breaker.force(forced)).count()
    }

    /// Takes note of the memory that the links of this engine's name use. Returns how many take note: those that are
    /// ready. Links with a [`MemoryProbe`] are looked at without this.
    pub fn observe_memory(&self, engine: &str, memory_bytes: u64) -> usize {
        let named = self.0.shared.links.iter().filter(|link| link.engine() == engine);
        named.filter(|link| self.0.shared.note_memory(link, memory_bytes)).count()
    }

    /// Takes no more predictions, and waits for those in progress; after `patience` they are given up and told so.
    /// Returns whether every one ended by itself.
    pub async fn drain(&self, patience: Duration) -> bool {
        let shared = &self.0.shared;
        let until = shared.parts.clock.now().saturating_add(patience);
        let woken = shared.keeper.drain(until).await;
        shared.abandon_busy();
        woken == Woken::Empty
    }

    /// [`SupervisedEngine::drain`], waiting on this thread, which must not be one that runs async code.
    #[must_use]
    pub fn drain_blocking(&self, patience: Duration) -> bool {
        block_on(self.drain(patience))
    }
}

impl Shared {
    fn new(chain: Vec<Link>, mut parts: SupervisedParts, options: SupervisedOptions) -> Arc<Self> {
        let metrics = Arc::clone(parts.telemetry.metrics.get_or_insert_default());
        let has_probe = chain.iter().any(|link| link.memory.is_some());
        let every = has_probe.then_some(options.memory_every);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            links: chain.into_iter().map(LinkState::new).collect(),
            metrics,
            schema: OnceLock::new(),
            buffers: BufferPool::new(options.buffers, Arc::clone(&parts.clock)),
            keeper: Keeper::new(Arc::clone(&parts.clock), options.tick, every),
            budget: Mutex::new(RetryBudget::new(options.retry_budget)),
            n_asked: AtomicU64::new(0),
            starting: Mutex::new(()),
            started: Condvar::new(),
            parts,
            options,
        })
    }

    fn budget(&self) -> MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_settled<'a>(&self, settled: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        let (settled, _) =
            self.started.wait_timeout(settled, self.options.tick).unwrap_or_else(PoisonError::into_inner);
        settled
    }

    fn tell_settled(&self) {
        self.started.notify_all();
    }

    /// The life of the keeper's thread.
    fn keep(&self) {
        let mut memory_due = Duration::ZERO;
        self.keeper.run(|| {
            let now = self.parts.clock.now();
            if now >= memory_due {
                memory_due = now.saturating_add(self.options.memory_every);
                self.probe_memory();
            }
            let ready = self.links.iter().filter_map(|link| link.ready().ok());
            ready.fold(false, |is_busy, ready| ready.crew.check() | is_busy)
        });
    }

    fn probe_memory(&self) {
        for link in &self.links {
            if let Some(memory_bytes) = link.link.memory.as_ref().and_then(|probe| probe()) {
                self.note_memory(link, memory_bytes);
            }
        }
    }

    fn note_memory(&self, link: &LinkState, memory_bytes: u64) -> bool {
        let Ok(ready) = link.ready() else { return false };
        self.parts.telemetry.emit(&MemoryObserved { current_bytes: memory_bytes });
        ready.breaker.observe_memory(memory_bytes, self.parts.clock.now());
        true
    }

    fn abandon_busy(&self) {
        self.links.iter().filter_map(|link| link.ready().ok()).for_each(|ready| ready.crew.abandon_busy());
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.keeper.close();
        if self.keeper.take().is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the keeper of an engine panicked");
        }
        self.shared.abandon_busy();
    }
}

/// Shared between threads, and so are its answers.
const _: fn() = || {
    fn crosses<T: Send + Sync>(_: &T) {}
    fn moves<T: Send>(_: T) {}
    let _check = |engine: &SupervisedEngine, inputs: TensorMap| {
        crosses(engine);
        moves(engine.predict(inputs, PredictOptions::default()));
        moves(engine.drain(Duration::ZERO));
    };
};
