//! The owner thread of one engine: it holds the conductor, and carries out what that decides.
//!
//! One loop: hear what has come, ask what to do, do it, sleep until something comes or time is up. The engine itself
//! lives on a thread of its own (`engine_thread.rs`), so that one that hangs keeps neither requests nor their readers.

use crate::bell::Bell;
use crate::conductor::{Action, Conductor, End, EngineState, Heard, StepEnd};
use crate::engine_thread::{EngineThread, Opened, StepJob, StepOutcome};
use crate::events;
use crate::scheduler::{Terms, Work};
use crate::sequence::Sequence;
use crate::telemetry::{FailureMode, Stage, Telemetry};
use ballast_backend::{Clock, ErrorKind, GeneratorShape, LogitRows, Logits, ReasonCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long the last step may take to obey before its thread is left to itself.
const LAST_STEP_MAX: Duration = Duration::from_secs(2);

/// What the owner hears.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request was queued.
    Submit(Box<(Sequence, Terms)>),
    /// An instance was opened, or could not be.
    Opened { generation: u64, outcome: Opened },
    /// A step came back.
    Stepped { generation: u64, outcome: StepOutcome, job: StepJob },
    /// A reader has made room for a sequence that waited for it.
    Read,
    /// Nothing more comes: what is in flight may finish until then.
    Drain { until: Duration },
}

/// What the owner publishes.
#[derive(Debug)]
pub(crate) struct Gauges {
    /// The owner takes requests.
    pub(crate) is_running: AtomicBool,
    pub(crate) n_active: AtomicUsize,
    pub(crate) n_queued: AtomicUsize,
    pub(crate) n_available_blocks: AtomicUsize,
    pub(crate) n_restarts: AtomicU64,
    pub(crate) n_steps: AtomicU64,
    pub(crate) n_preempted: AtomicU64,
    pub(crate) n_evicted_blocks: AtomicU64,
    state: AtomicU8,
}

const STATES: [EngineState; 5] =
    [EngineState::Opening, EngineState::Ready, EngineState::Stepping, EngineState::Down, EngineState::Ended];

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            is_running: AtomicBool::new(true),
            n_active: AtomicUsize::new(0),
            n_queued: AtomicUsize::new(0),
            n_available_blocks: AtomicUsize::new(0),
            n_restarts: AtomicU64::new(0),
            n_steps: AtomicU64::new(0),
            n_preempted: AtomicU64::new(0),
            n_evicted_blocks: AtomicU64::new(0),
            state: AtomicU8::new(1),
        }
    }

    pub(crate) fn engine_state(&self) -> EngineState {
        STATES[usize::from(self.state.load(Ordering::Acquire))]
    }

    fn set_state(&self, state: EngineState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Publishes that nothing will be done any more.
    fn stop(&self) {
        self.set_state(EngineState::Ended);
        self.n_active.store(0, Ordering::Relaxed);
        self.n_queued.store(0, Ordering::Relaxed);
        self.is_running.store(false, Ordering::Release);
    }
}

/// Begins to open the instance of a generation; its answer comes as [`Message::Opened`].
pub(crate) type Opener = Box<dyn FnMut(u64) -> EngineThread + Send>;

/// The owner's state.
pub(crate) struct Owner {
    pub(crate) conductor: Conductor<Sequence>,
    pub(crate) shape: GeneratorShape,
    /// The present instance; `None` while there is none.
    pub(crate) engine: Option<EngineThread>,
    /// Replaces lost instances; `None` where that cannot be done.
    pub(crate) opener: Option<Opener>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) inbox: Receiver<Message>,
    /// What readers wake it with.
    pub(crate) bell: Bell,
    pub(crate) gauges: Arc<Gauges>,
    /// Memory of the last step, to be used again.
    pub(crate) spare: Option<StepJob>,
    pub(crate) drain_until: Option<Duration>,
    /// When the step in progress began.
    pub(crate) stepping_since: Option<Duration>,
    /// When the engine was last seen to end a step.
    pub(crate) observed_at: Duration,
    /// When the present instance was lost.
    pub(crate) lost_at: Option<Duration>,
    pub(crate) name: &'static str,
    pub(crate) telemetry: Telemetry,
}

impl Owner {
    /// Runs until it was drained or the engine is lost for good.
    pub(crate) fn run(mut self) {
        loop {
            let now = self.clock.now();
            if self.is_over_after_a_turn(now) {
                break;
            }
            self.hear(now);
        }
        self.end_requests();
        self.part_with_engine();
    }

    /// Does what is to be done now. Whether that was the last.
    pub(crate) fn is_over_after_a_turn(&mut self, now: Duration) -> bool {
        self.act(now);
        self.report();
        self.is_over(now)
    }

    /// When the next turn is due although nothing comes.
    pub(crate) fn wake_at(&self, now: Duration) -> Option<Duration> {
        [self.conductor.wake_at(now), self.drain_until].into_iter().flatten().min()
    }

    /// Does what the conductor decides until it waits.
    fn act(&mut self, now: Duration) {
        loop {
            let beats = self.engine.as_ref().map_or(0, |engine| engine.pulse.beats());
            match self.conductor.poll(beats, now) {
                Action::Step { .. } => self.step(),
                Action::Open { generation } => self.open(generation),
                Action::Interrupt => self.engine.iter().for_each(|engine| engine.pulse.interrupt()),
                Action::Abandon { generation } => {
                    tracing::error!(engine = self.name, generation, "no sign of life: the instance is given up");
                    self.telemetry.emit(&events::EngineStalled { engine: self.name });
                    self.lost_at = Some(now);
                    self.engine.take().into_iter().for_each(EngineThread::abandon);
                }
                Action::Wait => return,
            }
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        match self.drain_until {
            Some(until) => now >= until || self.conductor.scheduler().is_idle(),
            None => self.conductor.engine_state() == EngineState::Ended,
        }
    }

    /// Sleeps until something has come or it is time to look, and takes in everything that has come.
    fn hear(&mut self, now: Duration) {
        let first = match self.wake_at(now) {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.inbox.recv_timeout(at.saturating_sub(now)),
        };
        let Ok(message) = first else { return };
        self.take_in(message);
        self.take_in_the_rest();
    }

    /// Takes in what has come already. Returns how many messages that were.
    pub(crate) fn take_in_the_rest(&mut self) -> usize {
        let mut n_messages = 0;
        while let Ok(message) = self.inbox.try_recv() {
            self.take_in(message);
            n_messages += 1;
        }
        n_messages
    }

    fn take_in(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Submit(request) => {
                let (sequence, terms) = *request;
                self.conductor.submit(sequence, terms, now);
            }
            Message::Opened { generation, outcome } => self.opened(generation, outcome, now),
            Message::Stepped { generation, outcome, job } => self.stepped(generation, &outcome, job, now),
            // To be awake is enough: every turn looks at the readers.
            Message::Read => self.bell.heard(),
            Message::Drain { until } => self.drain_until = Some(self.drain_until.map_or(until, |at| at.min(until))),
        }
    }

    fn opened(&mut self, generation: u64, outcome: Opened, now: Duration) {
        let outcome = match outcome {
            Ok(shape) if usable(&shape) == self.shape => Ok(()),
            Ok(shape) => {
                tracing::error!(expected = ?self.shape, got = ?shape, "the engine came back with another shape");
                Err(ErrorKind::Invalid)
            }
            Err(error) => {
                tracing::error!(%error, "the engine could not be opened");
                Err(error.kind())
            }
        };
        match self.conductor.opened(generation, outcome, now) {
            Heard::No => {}
            Heard::Yes if outcome.is_err() => self.engine = None,
            Heard::Yes => {
                let after = now.saturating_sub(self.lost_at.take().unwrap_or(now));
                let attempt = self.conductor.restart_attempt();
                self.telemetry.emit(&events::EngineRestarted { engine: self.name, attempt, after });
            }
        }
    }

    fn stepped(&mut self, generation: u64, outcome: &StepOutcome, mut job: StepJob, now: Duration) {
        let end = match outcome {
            StepOutcome::Done if !self.is_complete(&job.logits) => {
                tracing::error!(engine = self.name, "the engine gave other logits than it was asked for");
                StepEnd::Failed(ErrorKind::Internal)
            }
            StepOutcome::Done => StepEnd::Done(&mut job.logits),
            StepOutcome::Failed(error) => {
                if error.kind() != ErrorKind::Cancelled {
                    tracing::error!(%error, kind = ?error.kind(), "an engine step failed");
                }
                StepEnd::Failed(error.kind())
            }
            StepOutcome::Panicked => {
                tracing::error!("the engine panicked");
                StepEnd::Panicked
            }
        };
        let failure = match &end {
            StepEnd::Done(_) => None,
            StepEnd::Failed(kind) => Some(FailureMode::of(Stage::Run, *kind, None)),
            StepEnd::Panicked => Some(FailureMode::of(Stage::Run, ErrorKind::Internal, None)),
        };
        if self.conductor.stepped(generation, end, now) == Heard::No {
            return;
        }
        self.count_step(failure, now);
        self.spare = Some(job);
        if matches!(self.conductor.engine_state(), EngineState::Down | EngineState::Ended) {
            self.telemetry.emit(&events::EngineCrashed { engine: self.name });
            self.lost_at = Some(now);
            self.engine.take().into_iter().for_each(EngineThread::abandon);
        }
    }

    /// Counts a step as an inference, and how much of the time the engine was at work.
    fn count_step(&mut self, failure: Option<FailureMode>, now: Duration) {
        let Some(since) = self.stepping_since.take() else { return };
        let duration = now.saturating_sub(since);
        let available = now.saturating_sub(std::mem::replace(&mut self.observed_at, now));
        let outcome = failure.map_or(Ok(()), Err);
        let engine = self.name;
        self.telemetry.emit(&events::InferenceEnded { engine, duration, outcome, dispatch: None, sla_violated: false });
        self.telemetry.emit(&events::ThreadsObserved { busy: duration, available });
    }

    /// Whether there is a row for every share that samples.
    fn is_complete(&self, logits: &Logits) -> bool {
        let n_rows = self.conductor.shares().iter().filter(|share| share.samples).count();
        logits.n_rows() == n_rows && (0..n_rows).all(|row| logits.row(row).len() == self.shape.vocab_size)
    }

    fn step(&mut self) {
        let mut job = self.spare.take().unwrap_or_default();
        // The shares keep their memory from step to step.
        job.resize(self.conductor.shares().len());
        let n_blocks_max = self.shape.context_len.div_ceil(self.shape.block_len);
        for (own, share) in job.shares.iter_mut().zip(self.conductor.shares()) {
            let slot = self.conductor.slot(share);
            own.tokens.clear();
            own.tokens.extend_from_slice(&slot.work.tokens()[share.start..][..share.n_tokens]);
            own.start = share.start;
            own.blocks.clear();
            own.blocks.reserve_exact(n_blocks_max);
            own.blocks.extend_from_slice(slot.blocks());
            own.logits = if share.samples { LogitRows::Last } else { LogitRows::None };
        }
        self.stepping_since = Some(self.clock.now());
        if let Some(engine) = &self.engine {
            engine.run(job);
        }
    }

    fn open(&mut self, generation: u64) {
        let Some(opener) = &mut self.opener else { return };
        tracing::info!(generation, "opening the engine again");
        self.engine = Some(opener(generation));
    }

    fn report(&self) {
        let (gauges, scheduler, counts) = (&self.gauges, self.conductor.scheduler(), self.conductor.counts());
        let (n_running, n_waiting) = (scheduler.running().len(), scheduler.n_waiting());
        let n_running_before = gauges.n_active.swap(n_running, Ordering::Relaxed);
        let n_waiting_before = gauges.n_queued.swap(n_waiting, Ordering::Relaxed);
        if (n_running, n_waiting) != (n_running_before, n_waiting_before) {
            self.telemetry.emit(&events::QueueDepth { n_waiting, n_running });
        }
        gauges.n_available_blocks.store(scheduler.n_available_blocks(), Ordering::Relaxed);
        gauges.n_preempted.store(scheduler.n_preempted(), Ordering::Relaxed);
        let n_evicted = scheduler.n_evicted_blocks();
        let n_evicted_before = gauges.n_evicted_blocks.swap(n_evicted, Ordering::Relaxed);
        if n_evicted > n_evicted_before {
            let blocks = usize::try_from(n_evicted - n_evicted_before).unwrap_or(usize::MAX);
            self.telemetry.emit(&events::KvEvicted { blocks });
        }
        gauges.n_restarts.store(counts.n_restarts, Ordering::Relaxed);
        gauges.n_steps.store(counts.n_steps, Ordering::Relaxed);
        gauges.set_state(self.conductor.engine_state());
    }

    /// Ends every request there is, and takes no more.
    pub(crate) fn end_requests(&mut self) {
        self.gauges.stop();
        self.take_in_the_rest();
        let end = match self.drain_until {
            Some(_) => End::cancelled(ReasonCode::Draining),
            None => End::error(ReasonCode::EngineCrashed),
        };
        self.conductor.end_all(end, self.clock.now());
    }

    /// Lets the engine end, and waits for it if it obeys.
    fn part_with_engine(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        engine.pulse.abandon();
        let is_quiet = self.conductor.engine_state() != EngineState::Stepping || self.hears_the_step();
        if is_quiet {
            engine.join();
        }
    }
}

impl Owner {
    /// Waits a while for the step in progress, which was told to end.
    fn hears_the_step(&self) -> bool {
        loop {
            match self.inbox.recv_timeout(LAST_STEP_MAX) {
                Ok(Message::Stepped { .. }) => return true,
                Ok(Message::Submit(_) | Message::Opened { .. } | Message::Read | Message::Drain { .. }) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A panic outside of the engine ends the thread; health must not go on saying that it runs. The sequences are dropped
/// with the owner, which their streams report as `ENGINE_CRASHED`.
impl Drop for Owner {
    fn drop(&mut self) {
        self.gauges.stop();
    }
}

/// The engine's shape with the context bounded by the KV cache: a sequence that needs more blocks than there are would
/// wait for ever.
pub(crate) fn usable(shape: &GeneratorShape) -> GeneratorShape {
    let kv_positions = shape.n_blocks.saturating_mul(shape.block_len);
    GeneratorShape { context_len: shape.context_len.min(kv_positions), ..shape.clone() }
}
