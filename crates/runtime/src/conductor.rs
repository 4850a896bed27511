//! What one engine does next, whatever happens to it. Pure: no clock, no channel, no thread, no engine; its owner
//! (`owner.rs`) carries out what it decides, and a simulation does the same with virtual time.
//!
//! ```text
//! Opening  => Ready     the instance answers
//!             Down      it could not be opened, or gave no sign of life
//! Ready    => Stepping  somebody has something to run
//! Stepping => Ready     the step came back, with logits or with an error that concerns this step only
//!             Down      the instance is lost: it crashed, stalled, or failed too often in a row
//! Down     => Opening   after a pause that grows
//!             Ended     there is nothing to open it with
//! ```
//!
//! A lost instance takes its KV cache along, and nothing else: tokens and samplers are here, so every sequence goes on
//! where it was on the next instance, with the same bytes. Those under which engines failed more than `attempts_max`
//! times since their last token end.

use crate::FinishReason;
use crate::request::Phase;
use crate::retry::{Backoff, RestartPolicy};
use crate::scheduler::{Scheduler, SchedulerOptions, Share, Slot, Terms, Work};
use crate::watchdog::{Verdict, Watchdog, WatchdogOptions};
use ballast_backend::{ErrorKind, GeneratorShape, Logits, ReasonCode};
use std::time::Duration;

/// How often readers that are behind, or may have gone, are looked at while nothing else happens.
const READER_POLL: Duration = Duration::from_millis(5);
/// Steps in a row that fail before the instance is replaced.
const FAILURES_MAX: u32 = 3;

/// Engines that may fail under one request in its whole life, however far it comes between them.
pub(crate) const FAILURES_OF_ONE_MAX: u32 = 16;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) finish_reason: FinishReason,
    pub(crate) reason: Option<ReasonCode>,
    pub(crate) overdue: Option<Phase>,
}

impl End {
    pub(crate) fn error(reason: ReasonCode) -> Self {
        Self { finish_reason: FinishReason::Error, reason: Some(reason), overdue: None }
    }

    pub(crate) fn plain(finish_reason: FinishReason) -> Self {
        Self { finish_reason, reason: None, overdue: None }
    }

    pub(crate) fn cancelled(reason: ReasonCode) -> Self {
        Self { finish_reason: FinishReason::Cancelled, reason: Some(reason), overdue: None }
    }
}

/// What did not go as it should, and is made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    /// Its keys and values were given up and are computed again.
    KvEvicted,
    /// An engine failed under it, and it is run again.
    Retried,
}

/// Where a sequence is when a step begins that runs some of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepBegun {
    /// Tokens of its prompt that were found computed.
    pub(crate) n_cached: usize,
    /// Tokens before those that the step runs.
    pub(crate) start: usize,
}

/// A request in flight.
pub(crate) trait Job: Work {
    /// Ends it if its reader has gone, asked for the end or is too far behind, or if a deadline has passed.
    fn check(&mut self, now: Duration);
    /// When a deadline will pass.
    fn next_deadline(&self) -> Option<Duration>;
    /// A step begins that runs some of its tokens.
    fn note_step(&mut self, begun: StepBegun, now: Duration);
    /// Something did not go as it should, and is made good.
    fn note_setback(&mut self, setback: Setback);
    /// Chooses the next token from `logits`. What the next step need not wait for is left to [`Job::catch_up`].
    fn accept(&mut self, logits: &mut [f32], now: Duration);
    /// Does what was left: the engine has its next step by now, or there is none to give it, and its answer is not
    /// waited for yet. Tells the reader of the token. A constraint's mask for the next token is to be made here, too.
    fn catch_up(&mut self);
    /// Ends it. Nothing happens if it has ended.
    fn finish(&mut self, end: End, now: Duration);
}

/// How an engine is supervised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SupervisionOptions {
    /// When an engine at work counts as dead.
    pub watchdog: WatchdogOptions,
    /// How long a lost instance waits to be replaced.
    pub restart: Backoff,
    /// How often a request may be run again because an engine failed under it.
    pub attempts: Attempts,
}

/// How often a request may be run again without a token in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

impl Default for Attempts {
    fn default() -> Self {
        Self(2)
    }
}

/// How a step ended.
pub(crate) enum StepEnd<'a> {
    Done(&'a mut Logits),
    Failed(ErrorKind),
    /// A panic: the instance cannot be used any more.
    Panicked,
}

/// Whether an answer was that of the present instance, which was asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Heard {
    Yes,
    No,
}

/// What the owner is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open an instance.
    Open { generation: u64 },
    /// Run a step: the shares of [`Conductor::shares`].
    Step { generation: u64 },
    /// Tell the step in progress that nobody waits for it.
    Interrupt,
    /// Give the instance up.
    Abandon { generation: u64 },
    /// Nothing, until something comes or [`Conductor::wake_at`].
    Wait,
}

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// An instance is being opened.
    Opening,
    /// Waits for work.
    Ready,
    /// Runs a step.
    Stepping,
    /// Lost; another is opened after a pause.
    Down,
    /// Lost for good.
    Ended,
}

#[derive(Debug)]
enum Engine {
    Opening,
    Ready,
    Stepping { shares: Vec<Share>, interruption: Option<Interruption> },
    Down { until: Duration },
    Ended,
}

/// The step in progress was told to end.
#[derive(Clone, Copy, Debug)]
struct Interruption {
    /// It took longer than a call may, which is a fault; otherwise nobody waits for it any more.
    is_late: bool,
    /// When the instance is given up if it has not obeyed, beats or not.
    until: Duration,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) n_steps: u64,
    pub(crate) n_crashed: u64,
    pub(crate) n_stalled: u64,
    pub(crate) n_restarts: u64,
    pub(crate) n_retried: u64,
}

/// Requests in flight and the engine that runs them.
#[derive(Debug)]
pub(crate) struct Conductor<J> {
    scheduler: Scheduler<J>,
    engine: Engine,
    /// Which instance is the present one; answers of earlier ones are not heard.
    generation: u64,
    can_reopen: bool,
    watchdog: Watchdog,
    /// How long an interrupted step may take to return.
    obeys_within: Duration,
    restart: RestartPolicy,
    attempts_max: u32,
    n_failures: u32,
    counts: Counts,
    /// Memory of the last step's shares, to be used again.
    spare_shares: Vec<Share>,
}

impl<J: Job> Conductor<J> {
    /// A conductor of an opened instance, generation 0. Without `can_reopen` the first loss is the end.
    pub(crate) fn new(
        shape: GeneratorShape,
        scheduling: SchedulerOptions,
        supervision: SupervisionOptions,
        reopens: Reopens,
    ) -> Self {
        let mut restart = RestartPolicy::new(supervision.restart, RestartPolicy::STABLE_AFTER);
        restart.opened(Duration::ZERO);
        Self {
            scheduler: Scheduler::new(shape, scheduling),
            engine: Engine::Ready,
            generation: 0,
            can_reopen: reopens == Reopens::Yes,
            watchdog: Watchdog::new(supervision.watchdog),
            obeys_within: supervision.watchdog.stall_after,
            restart,
            attempts_max: supervision.attempts.0,
            n_failures: 0,
            counts: Counts::default(),
            spare_shares: Vec::new(),
        }
    }

    pub(crate) fn submit(&mut self, job: J, terms: Terms, now: Duration) {
        self.scheduler.push(job, terms, now);
    }

    pub(crate) fn scheduler(&self) -> &Scheduler<J> {
        &self.scheduler
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Openings in a row that the present state took.
    pub(crate) fn restart_attempt(&self) -> u32 {
        self.restart.failures()
    }

    pub(crate) fn engine_state(&self) -> EngineState {
        match self.engine {
            Engine::Opening => EngineState::Opening,
            Engine::Ready => EngineState::Ready,
            Engine::Stepping { .. } => EngineState::Stepping,
            Engine::Down { .. } => EngineState::Down,
            Engine::Ended => EngineState::Ended,
        }
    }

    /// The shares of the step in progress.
    pub(crate) fn shares(&self) -> &[Share] {
        if let Engine::Stepping { shares, .. } = &self.engine { shares } else { &[] }
    }

    pub(crate) fn slot(&self, share: &Share) -> &Slot<J> {
        &self.scheduler.running()[share.slot_idx]
    }

    /// What to do next. `beats` are those of the present instance.
    pub(crate) fn poll(&mut self, beats: u64, now: Duration) -> Action {
        let action = self.decide(beats, now);
        if action == Action::Wait {
            self.scheduler.slots_mut().for_each(|slot| slot.work.catch_up());
        }
        action
    }

    fn decide(&mut self, beats: u64, now: Duration) -> Action {
        self.check_jobs(now);
        match &self.engine {
            Engine::Opening | Engine::Stepping { .. } => self.watch(beats, now),
            Engine::Ready => self.begin_step(beats, now),
            Engine::Down { .. } => self.reopen(beats, now),
            Engine::Ended => {
                self.end_all(End::error(ReasonCode::EngineCrashed), now);
                Action::Wait
            }
        }
    }

    /// When [`Conductor::poll`] is to be called again although nothing came.
    pub(crate) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let deadlines = self.scheduler.slots().filter_map(|slot| slot.work.next_deadline()).min();
        let readers = (!self.scheduler.is_idle()).then(|| now + READER_POLL);
        let engine = match &self.engine {
            Engine::Opening | Engine::Stepping { .. } => self.watchdog.next_check_at(now),
            Engine::Down { until } => Some(*until),
            Engine::Ready | Engine::Ended => None,
        };
        [deadlines, readers, engine].into_iter().flatten().min()
    }

    /// An instance was opened, or could not be.
    pub(crate) fn opened(&mut self, generation: u64, outcome: Result<(), ErrorKind>, now: Duration) -> Heard {
        if generation != self.generation || !matches!(self.engine, Engine::Opening) {
            return Heard::No;
        }
        self.watchdog.end();
        match outcome {
            Ok(()) => {
                self.restart.opened(now);
                self.n_failures = 0;
                self.engine = Engine::Ready;
            }
            Err(_) => self.go_down(now),
        }
        Heard::Yes
    }

    /// A step came back. Not heard if the instance was given up before, of which its number alone does not tell: the
    /// next has none until it is opened.
    pub(crate) fn stepped(&mut self, generation: u64, end: StepEnd<'_>, now: Duration) -> Heard {
        let Engine::Stepping { shares, interruption } = &mut self.engine else { return Heard::No };
        if generation != self.generation {
            return Heard::No;
        }
        let (shares, interruption) = (std::mem::take(shares), *interruption);
        self.engine = Engine::Ready;
        self.watchdog.end();
        match end {
            StepEnd::Done(logits) => self.deliver(&shares, logits, now),
            StepEnd::Failed(ErrorKind::Cancelled) if interruption.is_some_and(|told| !told.is_late) => {
                self.scheduler.stand_still(&shares);
            }
            StepEnd::Failed(ErrorKind::Unavailable) | StepEnd::Panicked => {
                self.counts.n_crashed += 1;
                self.lose(&shares, ReasonCode::EngineCrashed, now);
            }
            StepEnd::Failed(ErrorKind::Invalid) if shares.len() == 1 => {
                self.scheduler.stand_still(&shares);
                self.finish_shares(&shares, End::error(ReasonCode::EngineFailed), now);
            }
            // To take too long is a fault as any other; so is to return as if interrupted when nobody asked.
            StepEnd::Failed(
                ErrorKind::Invalid
                | ErrorKind::Denied
                | ErrorKind::Overloaded
                | ErrorKind::Internal
                | ErrorKind::Cancelled,
            ) => {
                self.n_failures += 1;
                if self.n_failures >= FAILURES_MAX && self.can_reopen {
                    self.lose(&shares, ReasonCode::EngineFailed, now);
                } else {
                    self.scheduler.suspect_all(&shares);
                    self.give_up_on(&shares, ReasonCode::EngineFailed, now);
                }
            }
        }
        self.scheduler.remove_finished();
        self.spare_shares = shares;
        Heard::Yes
    }

    /// Ends everything in flight, what the engine works on included.
    pub(crate) fn end_all(&mut self, end: End, now: Duration) {
        for slot in self.scheduler.slots_mut() {
            slot.work.finish(end, now);
        }
        self.scheduler.remove_finished();
    }

    fn check_jobs(&mut self, now: Duration) {
        for slot in self.scheduler.slots_mut() {
            slot.work.check(now);
        }
        self.scheduler.remove_finished();
    }

    fn begin_step(&mut self, beats: u64, now: Duration) -> Action {
        let n_preempted = self.scheduler.n_preempted();
        let shares = self.scheduler.plan(now, std::mem::take(&mut self.spare_shares));
        if self.scheduler.n_preempted() > n_preempted {
            self.note_evicted();
        }
        if shares.is_empty() {
            self.spare_shares = shares;
            return Action::Wait;
        }
        for share in &shares {
            let slot = self.scheduler.running_mut(share.slot_idx);
            let n_cached = slot.n_cached.unwrap_or(0);
            slot.work.note_step(StepBegun { n_cached, start: share.start }, now);
        }
        self.counts.n_steps += 1;
        self.watchdog.begin(self.counts.n_steps, beats, now);
        self.engine = Engine::Stepping { shares, interruption: None };
        Action::Step { generation: self.generation }
    }

    fn note_evicted(&mut self) {
        for slot in self.scheduler.slots_mut().filter(|slot| slot.was_preempted()) {
            slot.work.note_setback(Setback::KvEvicted);
        }
    }

    fn watch(&mut self, beats: u64, now: Duration) -> Action {
        let verdict = self.watchdog.observe(beats, now);
        let is_disobeyed = match &self.engine {
            Engine::Stepping { interruption, .. } => interruption.is_some_and(|told| now >= told.until),
            Engine::Opening | Engine::Ready | Engine::Down { .. } | Engine::Ended => false,
        };
        if matches!(verdict, Verdict::Stalled { .. }) || is_disobeyed {
            return self.give_up(now);
        }
        let until = now.saturating_add(self.obeys_within);
        let Engine::Stepping { shares, interruption: interruption @ None } = &mut self.engine else {
            return Action::Wait;
        };
        let (running, is_late) = (self.scheduler.running(), matches!(verdict, Verdict::Late { .. }));
        if is_late || shares.iter().all(|share| running[share.slot_idx].work.is_finished()) {
            *interruption = Some(Interruption { is_late, until });
            return Action::Interrupt;
        }
        Action::Wait
    }

    /// Gives the instance up while it works.
    fn give_up(&mut self, now: Duration) -> Action {
        self.watchdog.end();
        self.counts.n_stalled += 1;
        let generation = self.generation;
        match std::mem::replace(&mut self.engine, Engine::Ended) {
            Engine::Stepping { shares, .. } => self.lose(&shares, ReasonCode::EngineStalled, now),
            Engine::Opening | Engine::Ready | Engine::Down { .. } | Engine::Ended => self.go_down(now),
        }
        self.scheduler.remove_finished();
        Action::Abandon { generation }
    }

    fn deliver(&mut self, shares: &[Share], logits: &mut Logits, now: Duration) {
        self.n_failures = 0;
        let mut row = 0;
        for &share in shares {
            self.scheduler.advance(share);
            let slot = self.scheduler.running_mut(share.slot_idx);
            if share.samples {
                if !slot.work.is_finished() {
                    slot.work.accept(logits.row_mut(row), now);
                }
                row += 1;
            }
        }
    }

    /// The instance is gone, and with it every key and value.
    fn lose(&mut self, shares: &[Share], reason: ReasonCode, now: Duration) {
        self.scheduler.suspect_all(shares);
        self.give_up_on(shares, reason, now);
        self.scheduler.lose_kv();
        self.go_down(now);
    }

    /// Ends those of `shares` under which engines failed too often; notes the retry of the others.
    fn give_up_on(&mut self, shares: &[Share], reason: ReasonCode, now: Duration) {
        for share in shares {
            let (attempts_max, can_reopen) = (self.attempts_max, self.can_reopen);
            let slot = self.scheduler.running_mut(share.slot_idx);
            let is_hopeless = slot.n_attempts > attempts_max || slot.n_failures > FAILURES_OF_ONE_MAX;
            if is_hopeless || (!can_reopen && reason != ReasonCode::EngineFailed) {
                slot.work.finish(End::error(reason), now);
            } else if !slot.work.is_finished() {
                slot.work.note_setback(Setback::Retried);
                self.counts.n_retried += 1;
            }
        }
    }

    fn finish_shares(&mut self, shares: &[Share], end: End, now: Duration) {
        for share in shares {
            self.scheduler.running_mut(share.slot_idx).work.finish(end, now);
        }
    }

    fn go_down(&mut self, now: Duration) {
        let until = self.restart.failed(now);
        self.engine = if self.can_reopen { Engine::Down { until } } else { Engine::Ended };
    }

    fn reopen(&mut self, beats: u64, now: Duration) -> Action {
        if !self.restart.begin_opening(now) {
            return Action::Wait;
        }
        self.generation += 1;
        self.counts.n_restarts += 1;
        self.watchdog.begin(self.counts.n_steps, beats, now);
        self.engine = Engine::Opening;
        Action::Open { generation: self.generation }
    }
}

/// Whether a lost instance can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reopens {
    Yes,
    No,
}

#[cfg(test)]
mod tests;
