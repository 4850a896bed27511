//! The handle that callers hold: starts engines, takes requests, drains.

use crate::admission::{Admission, AdmissionOptions};
use crate::breaker::{BreakerOptions, Forced, Position};
use crate::conductor::{EngineState, SupervisionOptions};
use crate::governance::{Governance, InputPolicy};
use crate::pipeline;
use crate::replica::{EngineSource, EngineSpec, Replica, ReplicaParts};
use crate::scheduler::SchedulerOptions;
use crate::sequence::Surroundings;
use crate::telemetry::Telemetry;
use crate::{Request, RuntimeError, TokenStream};
use ballast_backend::{Clock, Generator, GeneratorShape};
use ballast_tokens::{Constraint, ConstraintError, Grammar, GrammarCompiler, Tokenizer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of a runtime, and how it supervises its engines.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeOptions {
    /// Bounds of the queue.
    pub admission: AdmissionOptions,
    /// Whose turn it is.
    pub scheduling: SchedulerOptions,
    /// When an engine counts as dead, and what is done then.
    pub supervision: SupervisionOptions,
    /// When an engine is not asked any more.
    pub breaker: BreakerOptions,
    /// Most tokens a reader may be behind; its sequence pauses until it reads.
    pub buffered_tokens_max: usize,
    /// Longest time a reader may keep its sequence waiting; it is then cut with `BACKPRESSURE_BUFFER_FULL`.
    pub slow_reader_max: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            admission: AdmissionOptions::default(),
            scheduling: SchedulerOptions::default(),
            supervision: SupervisionOptions::default(),
            // Answers of a language model have no common service level, and the memory of an engine is planned before
            // it is opened.
            breaker: BreakerOptions { sla: None, memory_bytes_max: None, ..BreakerOptions::default() },
            buffered_tokens_max: 256,
            slow_reader_max: Duration::from_secs(60),
        }
    }
}

/// What a runtime is made of beside its engines.
#[derive(Clone)]
pub struct RuntimeParts {
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub options: RuntimeOptions,
    /// What decides which requests may run; `None`: all may.
    pub policy: Option<Arc<dyn InputPolicy>>,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl RuntimeParts {
    /// Parts with default bounds, no policy, and events that go nowhere.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, clock: Arc<dyn Clock>) -> Self {
        let (options, telemetry) = (RuntimeOptions::default(), Telemetry::default());
        Self { tokenizer, clock, options, policy: None, telemetry }
    }

    pub(crate) fn for_replica(&self) -> ReplicaParts {
        ReplicaParts {
            clock: Arc::clone(&self.clock),
            telemetry: self.telemetry.clone(),
            scheduling: self.options.scheduling,
            supervision: self.options.supervision,
            breaker: self.options.breaker.clone(),
            queue_max: self.options.admission.queue_max,
        }
    }
}

/// What the runtime is doing now.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Some engine takes requests.
    pub running: bool,
    /// It takes no new requests, because it is shutting down.
    pub draining: bool,
    /// Sequences being generated.
    pub active_sequences: usize,
    /// Requests waiting for their turn.
    pub waiting_requests: usize,
    /// Prompt tokens of the requests waiting.
    pub queued_tokens: usize,
    /// Every engine, in the order of the chain.
    pub engines: Vec<EngineHealth>,
}

/// What one engine is doing now.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineHealth {
    /// Its name.
    pub name: &'static str,
    /// What it is doing.
    pub state: EngineState,
    /// What its breaker does with calls.
    pub breaker: Position,
    /// Sequences it is generating.
    pub active_sequences: usize,
    /// KV blocks that no sequence holds.
    pub available_blocks: usize,
    /// KV blocks there are.
    pub blocks: usize,
    /// Steps it has run.
    pub steps: u64,
    /// How often it was replaced.
    pub restarts: u64,
    /// How often a sequence lost its KV blocks to another.
    pub preemptions: u64,
    /// Blocks whose content made room for others.
    pub evicted_blocks: u64,
}

/// Running engines. Clones share them; when the last is dropped, requests in flight end with `DRAINING`.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The chain, never empty.
    pub(crate) replicas: Vec<Replica>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) grammars: GrammarCompiler,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) admission: Admission,
    pub(crate) governance: Governance,
    pub(crate) options: RuntimeOptions,
    pub(crate) telemetry: Telemetry,
    pub(crate) n_requests: AtomicU64,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("shape", self.shape()).field("health", &self.health()).finish()
    }
}

impl Runtime {
    /// Runs one opened engine, which is not replaced if it is lost.
    ///
    /// # Panics
    /// If the system refuses a thread.
    #[must_use]
    pub fn start(engine: Box<dyn Generator>, parts: RuntimeParts) -> Self {
        let spec = EngineSpec { name: "engine", source: EngineSource::Opened(engine) };
        Self::supervise(vec![spec], parts).expect("there is one engine, and it is open")
    }

    /// Opens the engines of a chain and supervises them: a request goes to the first whose breaker lets it pass, and on
    /// to the next if that fails before it has answered anything. All must have the tokenizer's vocabulary.
    ///
    /// # Errors
    /// If there is no engine, or one cannot be opened.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn supervise(chain: Vec<EngineSpec>, parts: RuntimeParts) -> Result<Self, RuntimeError> {
        let mut replicas = Vec::with_capacity(chain.len());
        for spec in chain {
            replicas.push(Replica::start(spec, parts.for_replica())?);
        }
        if replicas.is_empty() {
            return Err(RuntimeError::NoEngine);
        }
        Ok(Self::of(replicas, parts))
    }

    /// A runtime over replicas that run, at least one.
    pub(crate) fn of(replicas: Vec<Replica>, parts: RuntimeParts) -> Self {
        let RuntimeParts { tokenizer, clock, options, policy, telemetry } = parts;
        let (admission, governance) = (Admission::new(options.admission), Governance::new(policy));
        let n_requests = AtomicU64::new(1);
        let grammars = GrammarCompiler::new(Arc::clone(&tokenizer));
        let inner =
            Inner { replicas, tokenizer, grammars, clock, admission, governance, options, telemetry, n_requests };
        Self { inner: Arc::new(inner) }
    }

    /// Takes a request. Its answer is read from the stream; dropping the stream cancels it.
    ///
    /// # Errors
    /// If the request is wrong or too long for the context, the queue is full, a policy blocks it, or no engine can be
    /// asked; see [`RuntimeError`].
    pub fn submit(&self, request: Request) -> Result<TokenStream, RuntimeError> {
        pipeline::submit(&self.inner, request)
    }

    /// Compiles what an answer must look like for [`Request::constraint`], or finds it compiled. May take some hundred
    /// milliseconds: not for async code.
    ///
    /// # Errors
    /// If some of it cannot be enforced, or it is too large; see [`ConstraintError`].
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        self.inner.grammars.compile(constraint)
    }

    /// What the first engine can do; its context no longer than the KV cache has room for.
    #[must_use]
    pub fn shape(&self) -> &GeneratorShape {
        &self.inner.replicas[0].shape
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.inner.tokenizer
    }

    /// Where its events go.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }

    /// What the runtime is doing now.
    #[must_use]
    pub fn health(&self) -> Health {
        let engines: Vec<EngineHealth> = self.inner.replicas.iter().map(Replica::health).collect();
        Health {
            running: self.inner.replicas.iter().any(Replica::is_running),
            draining: self.inner.admission.is_closed(),
            active_sequences: engines.iter().map(|engine| engine.active_sequences).sum(),
            waiting_requests: self.inner.admission.n_waiting(),
            queued_tokens: self.inner.admission.n_queued_tokens(),
            engines,
        }
    }

    /// Sets the breaker of an engine by hand. `false`: the chain has no engine of this name.
    pub fn force_breaker(&self, engine: &str, forced: Forced) -> bool {
        let found = self.inner.replicas.iter().find(|replica| replica.name == engine);
        found.inspect(|replica| replica.breaker().force(forced)).is_some()
    }

    /// Takes no more requests, lets those in flight finish within `patience`, and ends the rest with `DRAINING`. Returns
    /// when all have ended. Blocks: not for async code.
    pub fn drain(&self, patience: Duration) {
        self.inner.end(patience);
    }
}

impl Inner {
    /// What sequences of an engine of the chain have in common.
    pub(crate) fn surroundings(&self, replica_idx: usize) -> Surroundings {
        let replica = &self.replicas[replica_idx];
        Surroundings {
            tokenizer: Arc::clone(&self.tokenizer),
            shape: replica.shape.clone(),
            engine: replica.name,
            telemetry: self.telemetry.clone(),
            slow_reader_max: self.options.slow_reader_max,
        }
    }

    fn end(&self, patience: Duration) {
        self.admission.close();
        let until = self.clock.now().saturating_add(patience);
        for replica in &self.replicas {
            replica.begin_drain(until);
        }
        for replica in &self.replicas {
            replica.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl Replica {
    fn health(&self) -> EngineHealth {
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        EngineHealth {
            name: self.name,
            state: self.engine_state(),
            breaker: self.breaker().position(),
            active_sequences: self.gauges.n_active.load(Ordering::Relaxed),
            available_blocks: self.gauges.n_available_blocks.load(Ordering::Relaxed),
            blocks: self.shape.n_blocks,
            steps: read(&self.gauges.n_steps),
            restarts: read(&self.gauges.n_restarts),
            preemptions: read(&self.gauges.n_preempted),
            evicted_blocks: read(&self.gauges.n_evicted_blocks),
        }
    }
}
