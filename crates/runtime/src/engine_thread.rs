//! The thread that owns one engine instance: it opens it, runs steps on it, and drops it.
//!
//! ```text
//! Opening => Serving   the instance answers      (message Opened)
//!            Gone      it could not be opened    (message Opened with the error)
//! Serving => Gone      jobs ended, or it panicked, or it was given up
//! ```

use crate::owner::Message;
use ballast_backend::{
    BlockId, EngineError, ErrorKind, Generator, GeneratorShape, LogitRows, Logits, Pulse, SequenceStep, TokenId,
};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Opens an instance. Called on the thread that will own it, again for every replacement.
pub type OpenEngine = dyn Fn(&Pulse) -> Result<Box<dyn Generator>, EngineError> + Send + Sync;

/// One sequence's share of a step, in memory that travels.
#[derive(Debug)]
pub(crate) struct OwnedShare {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) start: usize,
    pub(crate) blocks: Vec<BlockId>,
    pub(crate) logits: LogitRows,
}

impl OwnedShare {
    /// Nothing to run.
    pub(crate) const EMPTY: Self = Self { tokens: Vec::new(), start: 0, blocks: Vec::new(), logits: LogitRows::None };
}

/// A step on its way to the engine and back.
#[derive(Debug, Default)]
pub(crate) struct StepJob {
    pub(crate) shares: Vec<OwnedShare>,
    pub(crate) logits: Logits,
    /// Shares of larger steps before, whose memory is kept.
    spare: Vec<OwnedShare>,
}

impl StepJob {
    /// Makes it a job of `n` shares, all of which are to be filled.
    pub(crate) fn resize(&mut self, n: usize) {
        let Self { shares, spare, .. } = self;
        spare.extend(shares.drain(n.min(shares.len())..));
        shares.extend((shares.len()..n).map(|_| spare.pop().unwrap_or(OwnedShare::EMPTY)));
    }
}

/// How a step went.
#[derive(Debug)]
pub(crate) enum StepOutcome {
    Done,
    Failed(EngineError),
    Panicked,
}

/// A running engine thread. Dropping it lets the thread end after its job; it is joined only by [`EngineThread::join`].
pub(crate) struct EngineThread {
    jobs: Option<SyncSender<StepJob>>,
    pub(crate) pulse: Pulse,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for EngineThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineThread").field("pulse", &self.pulse).finish_non_exhaustive()
    }
}

/// What comes first on the thread.
pub(crate) enum Begin {
    /// Open an instance and say so.
    Open(Arc<OpenEngine>),
    /// Serve one that is open.
    Serve(Box<dyn Generator>),
}

impl EngineThread {
    /// Starts a thread whose answers go to `owner`, under the number of its generation.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub(crate) fn spawn(generation: u64, begin: Begin, owner: SyncSender<Message>) -> Self {
        let (jobs, inbox) = sync_channel(1);
        let pulse = Pulse::new();
        let hands = Hands { generation, pulse: pulse.clone(), owner };
        let thread = std::thread::Builder::new()
            .name("ballast-engine".to_owned())
            .spawn(move || hands.run(begin, &inbox))
            .expect("the system must grant the engine its thread");
        Self { jobs: Some(jobs), pulse, thread: Some(thread) }
    }

    /// An instance whose work somebody else does: who holds the receiver is the engine.
    #[cfg(test)]
    pub(crate) fn played() -> (Self, Receiver<StepJob>) {
        let (jobs, inbox) = sync_channel(1);
        (Self { jobs: Some(jobs), pulse: Pulse::new(), thread: None }, inbox)
    }

    /// Hands over a step. There is never more than one on its way.
    pub(crate) fn run(&self, job: StepJob) {
        // The thread has ended only if it has said so, which its owner hears before it sends again.
        if self.jobs.as_ref().is_none_or(|jobs| jobs.try_send(job).is_err()) {
            tracing::error!("the engine's thread takes no step");
        }
    }

    /// Gives the instance up: it ends when it next beats its pulse, or never.
    pub(crate) fn abandon(self) {
        self.pulse.abandon();
    }

    /// Lets the thread end and waits for it.
    pub(crate) fn join(mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}

/// The thread's side.
struct Hands {
    generation: u64,
    pulse: Pulse,
    owner: SyncSender<Message>,
}

impl Hands {
    fn run(&self, begin: Begin, inbox: &Receiver<StepJob>) {
        let opened = match begin {
            Begin::Serve(engine) => Some(engine),
            Begin::Open(open) => self.open(&open),
        };
        let Some(mut engine) = opened else { return };
        let mut memory = Vec::new();
        while let Ok(mut job) = inbox.recv() {
            self.pulse.resume();
            let outcome = self.step(engine.as_mut(), &mut job, &mut memory);
            let is_last = matches!(outcome, StepOutcome::Panicked) || self.pulse.is_abandoned();
            self.say(Message::Stepped { generation: self.generation, outcome, job });
            if is_last {
                break;
            }
        }
        // What panicked once may panic again while it is dropped; it takes nobody along.
        if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
            tracing::error!("the engine panicked while it was dropped");
        }
    }

    fn open(&self, open: &Arc<OpenEngine>) -> Option<Box<dyn Generator>> {
        let opened = catch_unwind(AssertUnwindSafe(|| open(&self.pulse)));
        let (engine, outcome) = match opened {
            Ok(Ok(engine)) => {
                let shape = engine.shape().clone();
                (Some(engine), Ok(shape))
            }
            Ok(Err(error)) => (None, Err(error)),
            Err(_) => (None, Err(EngineError::new(ErrorKind::Internal, OpenPanicked))),
        };
        self.say(Message::Opened { generation: self.generation, outcome });
        engine
    }

    /// Runs a step. `memory` is empty, and was a batch before.
    fn step(
        &self,
        engine: &mut dyn Generator,
        job: &mut StepJob,
        memory: &mut Vec<SequenceStep<'static>>,
    ) -> StepOutcome {
        let mut batch: Vec<SequenceStep<'_>> = std::mem::take(memory);
        batch.extend(job.shares.iter().map(|share| SequenceStep {
            tokens: &share.tokens,
            start: share.start,
            blocks: &share.blocks,
            logits: share.logits,
        }));
        let logits = &mut job.logits;
        let outcome = match catch_unwind(AssertUnwindSafe(|| engine.step(&batch, logits, &self.pulse))) {
            Ok(Ok(())) => StepOutcome::Done,
            Ok(Err(error)) => StepOutcome::Failed(error),
            Err(_) => StepOutcome::Panicked,
        };
        batch.clear();
        // Nothing is borrowed any more, which only a vector of another type can say; it takes over the memory.
        *memory = batch.into_iter().map(|_| unreachable!("it is empty")).collect();
        outcome
    }

    fn say(&self, message: Message) {
        if self.owner.send(message).is_err() {
            tracing::debug!("an engine's thread has outlived its owner");
        }
    }
}

/// Opening an engine panicked.
#[derive(Debug, thiserror::Error)]
#[error("the engine panicked while it was opened")]
struct OpenPanicked;

/// The outcome of opening, as the owner hears it.
pub(crate) type Opened = Result<GeneratorShape, EngineError>;
