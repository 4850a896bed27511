//! The handle that callers hold: admits requests and hands out streams.

use crate::owner::Owner;
use crate::scheduler::Scheduler;
use crate::sequence::{Reader, Sequence};
use crate::{Canceller, Request, RuntimeError, TokenStream};
use ballast_backend::{Clock, Generator, GeneratorShape, Logits, Pulse};
use ballast_tokens::Tokenizer;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Bounds of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Most requests that wait; one more is refused with `BACKPRESSURE_QUEUE_FULL`.
    pub queue_max: usize,
    /// Most events a reader may be behind; its sequence pauses until it reads. At least two.
    pub buffered_events_max: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { queue_max: 64, buffered_events_max: 256 }
    }
}

/// What the runtime is doing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The owner thread runs.
    pub running: bool,
    /// Sequences being generated.
    pub active_sequences: usize,
    /// Requests waiting for their turn.
    pub waiting_requests: usize,
}

/// Counters shared between the handle and the owner.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) running: AtomicBool,
    pub(crate) active: AtomicUsize,
    /// Requests that hold a [`QueuePermit`].
    waiting: AtomicUsize,
}

/// A place in the queue: taken at admission, freed by dropping it when the request first runs or ends.
#[derive(Debug)]
pub(crate) struct QueuePermit(Arc<Gauges>);

impl QueuePermit {
    fn acquire(gauges: &Arc<Gauges>, queue_max: usize) -> Option<Self> {
        let next = |n| (n < queue_max).then_some(n + 1);
        gauges.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Self(Arc::clone(gauges)))
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running engine. Clones share it; when the last is dropped, requests in flight end with `DRAINING`.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` only while dropping.
    outbox: Option<SyncSender<Sequence>>,
    owner: Mutex<Option<JoinHandle<()>>>,
    tokenizer: Arc<Tokenizer>,
    clock: Arc<dyn Clock>,
    gauges: Arc<Gauges>,
    shape: GeneratorShape,
    options: RuntimeOptions,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("shape", &self.inner.shape).field("health", &self.health()).finish()
    }
}

impl Runtime {
    /// Starts the owner thread and moves `engine` to it.
    ///
    /// # Panics
    /// If the system refuses a thread.
    #[must_use]
    pub fn start(
        engine: Box<dyn Generator>,
        tokenizer: Arc<Tokenizer>,
        clock: Arc<dyn Clock>,
        options: RuntimeOptions,
    ) -> Self {
        let shape = usable(engine.shape());
        let (outbox, inbox) = sync_channel(options.queue_max.max(1));
        let gauges = Arc::new(Gauges {
            running: AtomicBool::new(true),
            active: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        });
        let owner = Owner {
            engine,
            clock: Arc::clone(&clock),
            inbox,
            gauges: Arc::clone(&gauges),
            scheduler: Scheduler::new(shape.clone()),
            logits: Logits::default(),
            pulse: Pulse::new(),
        };
        let owner = std::thread::Builder::new()
            .name("ballast-engine".to_owned())
            .spawn(move || owner.run())
            .expect("the system must grant the engine its thread");
        let owner = Mutex::new(Some(owner));
        Self { inner: Arc::new(Inner { outbox: Some(outbox), owner, tokenizer, clock, gauges, shape, options }) }
    }

    /// Admits a request. Its answer is read from the stream; dropping the stream cancels it.
    ///
    /// # Errors
    /// If the request is wrong, too long for the context, or the queue is full; see [`RuntimeError`].
    pub fn submit(&self, request: Request) -> Result<TokenStream, RuntimeError> {
        let inner = &*self.inner;
        self.check(&request)?;
        let n_prompt = request.prompt.len();
        let queue_max = inner.options.queue_max.max(1);
        let permit = QueuePermit::acquire(&inner.gauges, queue_max).ok_or(RuntimeError::QueueFull { queue_max })?;
        let (sender, receiver) = mpsc::channel(inner.options.buffered_events_max.max(2));
        let canceller = Canceller::default();
        let reader =
            Reader { sender, canceller: canceller.clone(), permit: Some(permit), submitted_at: inner.clock.now() };
        let sequence = Sequence::new(request, &inner.tokenizer, &inner.shape, reader)?;
        let outbox = inner.outbox.as_ref().ok_or(RuntimeError::Stopped)?;
        match outbox.try_send(sequence) {
            Ok(()) => Ok(TokenStream::new(receiver, canceller, n_prompt)),
            Err(TrySendError::Full(_)) => Err(RuntimeError::QueueFull { queue_max }),
            Err(TrySendError::Disconnected(_)) => Err(RuntimeError::Stopped),
        }
    }

    fn check(&self, request: &Request) -> Result<(), RuntimeError> {
        let GeneratorShape { context_len, vocab_size, .. } = self.inner.shape;
        let n_prompt = request.prompt.len();
        if n_prompt == 0 {
            return Err(RuntimeError::PromptEmpty);
        }
        if n_prompt >= context_len {
            return Err(RuntimeError::ContextLengthExceeded { context_len, got: n_prompt });
        }
        if request.max_tokens == Some(0) {
            return Err(RuntimeError::MaxTokensZero);
        }
        match request.prompt.iter().find(|token| token.index() >= vocab_size) {
            Some(token) => Err(RuntimeError::PromptToken { vocab_size, got: token.0 }),
            None => Ok(()),
        }
    }

    /// What the engine can do; its context no longer than the KV cache has room for.
    #[must_use]
    pub fn shape(&self) -> &GeneratorShape {
        &self.inner.shape
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.inner.tokenizer
    }

    /// What the runtime is doing now.
    #[must_use]
    pub fn health(&self) -> Health {
        let gauges = &self.inner.gauges;
        Health {
            running: gauges.running.load(Ordering::Acquire),
            active_sequences: gauges.active.load(Ordering::Relaxed),
            waiting_requests: gauges.waiting.load(Ordering::Relaxed),
        }
    }
}

/// The engine's shape with the context bounded by the KV cache: a sequence that needs more blocks than there are would
/// wait for ever.
fn usable(shape: &GeneratorShape) -> GeneratorShape {
    let kv_positions = shape.n_blocks.saturating_mul(shape.block_len);
    GeneratorShape { context_len: shape.context_len.min(kv_positions), ..shape.clone() }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.outbox.take());
        let owner = self.owner.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(owner) = owner
            && owner.join().is_err()
        {
            tracing::error!("the engine's owner thread panicked");
        }
    }
}
