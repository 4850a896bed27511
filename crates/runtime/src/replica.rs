//! One engine of the chain, as the pipeline sees it: a breaker in front, a queue, and the owner thread behind.

use crate::bell::Bell;
use crate::breaker::{BreakerOptions, Cause, CircuitBreaker, PassGuard, Rejected, Transition};
use crate::conductor::{Conductor, EngineState, Reopens, SupervisionOptions};
use crate::engine_thread::{Begin, EngineThread, OpenEngine};
use crate::events;
use crate::owner::{Gauges, Message, Opener, Owner, usable};
use crate::scheduler::{SchedulerOptions, Terms};
use crate::sequence::Sequence;
use crate::telemetry::Telemetry;
use ballast_backend::{Clock, EngineError, ErrorKind, Generator, GeneratorShape};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages of the engine's threads that find room beside the requests.
const ENGINE_MESSAGES_MAX: usize = 16;

/// Where instances of an engine come from.
pub enum EngineSource {
    /// One that is open. It is not replaced when it is lost.
    Opened(Box<dyn Generator>),
    /// As many as are needed, one at a time, all alike.
    Reopened(Arc<OpenEngine>),
}

impl fmt::Debug for EngineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opened(_) => "Opened",
            Self::Reopened(_) => "Reopened",
        })
    }
}

/// An engine for a chain.
#[derive(Debug)]
pub struct EngineSpec {
    /// What it is called in results, labels and logs.
    pub name: &'static str,
    /// Where its instances come from.
    pub source: EngineSource,
}

/// What a replica needs beside its engine.
pub(crate) struct ReplicaParts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) telemetry: Telemetry,
    pub(crate) scheduling: SchedulerOptions,
    pub(crate) supervision: SupervisionOptions,
    pub(crate) breaker: BreakerOptions,
    pub(crate) queue_max: usize,
}

/// The first instance, and how others come.
pub(crate) struct Crew {
    pub(crate) name: &'static str,
    pub(crate) shape: GeneratorShape,
    pub(crate) engine: EngineThread,
    /// `None`: the first is the only one.
    pub(crate) opener: Option<Opener>,
}

/// An engine and its owner.
pub(crate) struct Replica {
    pub(crate) name: &'static str,
    pub(crate) shape: GeneratorShape,
    pub(crate) gauges: Arc<Gauges>,
    breaker: CircuitBreaker,
    outbox: SyncSender<Message>,
    bell: Bell,
    owner: Mutex<Option<JoinHandle<()>>>,
    clock: Arc<dyn Clock>,
}

impl Replica {
    /// Opens the first instance and starts the owner.
    ///
    /// # Errors
    /// If the engine cannot be opened.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub(crate) fn start(spec: EngineSpec, parts: ReplicaParts) -> Result<Self, EngineError> {
        let (outbox, inbox) = sync_channel(parts.queue_max.max(1) + ENGINE_MESSAGES_MAX);
        let (begin, open, shape) = match spec.source {
            EngineSource::Opened(engine) => {
                let shape = engine.shape().clone();
                (Begin::Serve(engine), None, Some(shape))
            }
            EngineSource::Reopened(open) => (Begin::Open(Arc::clone(&open)), Some(open), None),
        };
        let engine = EngineThread::spawn(0, begin, outbox.clone());
        let shape = usable(&shape.map_or_else(|| first_opened(&inbox), Ok)?);
        let to_owner = outbox.clone();
        let opener = open.map(|open| -> Opener {
            Box::new(move |generation| {
                EngineThread::spawn(generation, Begin::Open(Arc::clone(&open)), to_owner.clone())
            })
        });
        let crew = Crew { name: spec.name, shape, engine, opener };
        let (replica, owner) = Self::assemble(crew, parts, (outbox, inbox));
        let owner = std::thread::Builder::new()
            .name("ballast-owner".to_owned())
            .spawn(move || owner.run())
            .expect("the system must grant the engine's owner its thread");
        *replica.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        Ok(replica)
    }

    /// A replica and its owner, which does not run yet, at the two ends of `channel`.
    pub(crate) fn assemble(
        crew: Crew,
        parts: ReplicaParts,
        (outbox, inbox): (SyncSender<Message>, Receiver<Message>),
    ) -> (Self, Owner) {
        let Crew { name, shape, engine, opener } = crew;
        let (gauges, bell) = (Arc::new(Gauges::new()), Bell::new(outbox.clone()));
        let reopens = if opener.is_some() { Reopens::Yes } else { Reopens::No };
        let owner = Owner {
            conductor: Conductor::new(shape.clone(), parts.scheduling, parts.supervision, reopens),
            shape: shape.clone(),
            engine: Some(engine),
            opener,
            clock: Arc::clone(&parts.clock),
            inbox,
            bell: bell.clone(),
            gauges: Arc::clone(&gauges),
            spare: None,
            drain_until: None,
            stepping_since: None,
            observed_at: Duration::ZERO,
            lost_at: None,
            name,
            telemetry: parts.telemetry.clone(),
        };
        let telemetry = parts.telemetry;
        let tell = move |Transition { from, to, cause }: Transition| {
            let (from, to, cause) = (from.as_str(), to.as_str(), cause.map_or("", Cause::as_str));
            telemetry.emit(&events::BreakerChanged { engine: name, from, to, cause });
        };
        let breaker = CircuitBreaker::new(parts.breaker, tell);
        let (owner_thread, clock) = (Mutex::new(None), parts.clock);
        let replica = Self { name, shape, gauges, breaker, outbox, bell, owner: owner_thread, clock };
        (replica, owner)
    }

    /// Asks the breaker for leave.
    pub(crate) fn try_pass(&self) -> Result<PassGuard, Rejected> {
        self.breaker.try_pass(self.clock.now())
    }

    pub(crate) fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    pub(crate) fn is_running(&self) -> bool {
        self.gauges.is_running.load(Ordering::Acquire)
    }

    pub(crate) fn engine_state(&self) -> EngineState {
        self.gauges.engine_state()
    }

    /// Hands a request to the owner. Gives it back if the owner is gone or has too much to hear.
    pub(crate) fn submit(&self, sequence: Sequence, terms: Terms) -> Result<(), NotTaken> {
        self.outbox.try_send(Message::Submit(Box::new((sequence, terms)))).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Disconnected(_) => NotTaken::Gone,
        })
    }

    /// What readers wake the owner with.
    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Lets what is in flight finish until then, and no longer.
    pub(crate) fn begin_drain(&self, until: Duration) {
        if self.outbox.send(Message::Drain { until }).is_err() {
            tracing::debug!("the owner has gone before it was drained");
        }
    }

    /// Waits until the owner has ended. Once; later calls return at once.
    pub(crate) fn join(&self) {
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(owner) = owner
            && owner.join().is_err()
        {
            tracing::error!("the engine's owner panicked");
        }
    }
}

/// Why a request was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Gone,
}

fn first_opened(inbox: &Receiver<Message>) -> Result<GeneratorShape, EngineError> {
    match inbox.recv() {
        Ok(Message::Opened { outcome, .. }) => outcome,
        Ok(_) | Err(_) => Err(EngineError::new(ErrorKind::Internal, NoAnswer)),
    }
}

/// The engine's thread said nothing.
#[derive(Debug, thiserror::Error)]
#[error("the engine's thread ended before it said whether the engine is open")]
struct NoAnswer;
