//! The owner thread: the one place that holds the engine. Plan, step, sample, emit.

use crate::FinishReason;
use crate::runtime::Gauges;
use crate::scheduler::{Scheduler, Share};
use crate::sequence::Sequence;
use ballast_backend::{Clock, EngineError, Generator, LogitRows, Logits, Pulse, ReasonCode, SequenceStep};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

/// How often readers that are behind are looked at again when nothing else runs.
const PAUSED_POLL: Duration = Duration::from_millis(2);

/// The owner's state.
pub(crate) struct Owner {
    pub(crate) engine: Box<dyn Generator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) inbox: Receiver<Sequence>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) scheduler: Scheduler<Sequence>,
    pub(crate) logits: Logits,
    pub(crate) pulse: Pulse,
}

/// Why a step gave nothing.
enum StepFailure {
    Engine(EngineError),
    Panic,
}

impl Owner {
    /// Runs until every handle is gone or the engine has panicked; then ends what is still in flight.
    pub(crate) fn run(mut self) {
        let reason = loop {
            if !self.receive() {
                break ReasonCode::Draining;
            }
            let now = self.clock.now();
            self.scheduler.retain(|sequence| {
                sequence.check(now);
                !sequence.is_finished()
            });
            let shares = self.scheduler.plan(Sequence::is_paused);
            self.report();
            if shares.is_empty() {
                continue;
            }
            if let Err(StepFailure::Panic) = self.step(&shares) {
                break ReasonCode::EngineFailed;
            }
        };
        self.end_all(reason);
    }

    /// Takes in what has arrived. Sleeps while there is nothing to do. `false`: every handle is gone.
    fn receive(&mut self) -> bool {
        if self.scheduler.is_idle() {
            self.report();
            match self.inbox.recv() {
                Ok(sequence) => self.push(sequence),
                Err(_) => return false,
            }
        } else if self.all_paused() {
            match self.inbox.recv_timeout(PAUSED_POLL) {
                Ok(sequence) => self.push(sequence),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(sequence) => self.push(sequence),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn all_paused(&self) -> bool {
        let running = self.scheduler.running();
        !running.is_empty() && running.iter().all(|slot| slot.payload.is_paused())
    }

    fn push(&mut self, sequence: Sequence) {
        let n_tokens = sequence.tokens.len();
        self.scheduler.push(sequence, n_tokens);
    }

    /// Publishes what `Runtime::health` shows.
    fn report(&self) {
        self.gauges.active.store(self.scheduler.running().len(), Ordering::Relaxed);
    }

    /// Runs one step and hands every sequence its token.
    fn step(&mut self, shares: &[Share]) -> Result<(), StepFailure> {
        let now = self.clock.now();
        for share in shares {
            self.scheduler.running_mut(share.slot_idx).payload.note_step(now);
        }
        let outcome = self.run_engine(shares);
        let now = self.clock.now();
        if let Err(failure) = outcome {
            self.fail(shares, &failure, now);
            return Err(failure);
        }
        let mut logit_row = 0;
        for &share in shares {
            self.scheduler.advance(share);
            if share.samples {
                let logits = self.logits.row_mut(logit_row);
                self.scheduler.running_mut(share.slot_idx).payload.accept(logits, now);
                logit_row += 1;
            }
        }
        self.scheduler.retain(|sequence| !sequence.is_finished());
        Ok(())
    }

    fn run_engine(&mut self, shares: &[Share]) -> Result<(), StepFailure> {
        let running = self.scheduler.running();
        let batch: Vec<SequenceStep<'_>> = shares
            .iter()
            .map(|share| {
                let slot = &running[share.slot_idx];
                SequenceStep {
                    tokens: &slot.payload.tokens[share.start..][..share.n_tokens],
                    start: share.start,
                    blocks: &slot.blocks,
                    logits: if share.samples { LogitRows::Last } else { LogitRows::None },
                }
            })
            .collect();
        let (engine, logits) = (&mut self.engine, &mut self.logits);
        match catch_unwind(AssertUnwindSafe(|| engine.step(&batch, logits, &self.pulse))) {
            Ok(outcome) => outcome.map_err(StepFailure::Engine),
            Err(_) => Err(StepFailure::Panic),
        }
    }

    /// Ends the sequences of a step that failed.
    fn fail(&mut self, shares: &[Share], failure: &StepFailure, now: Duration) {
        match failure {
            StepFailure::Engine(error) => tracing::error!(%error, kind = ?error.kind(), "an engine step failed"),
            StepFailure::Panic => tracing::error!("the engine panicked"),
        }
        for share in shares {
            let sequence = &mut self.scheduler.running_mut(share.slot_idx).payload;
            sequence.finish(FinishReason::Error, Some(ReasonCode::EngineFailed), now);
        }
        self.scheduler.retain(|sequence| !sequence.is_finished());
    }

    fn end_all(&mut self, reason: ReasonCode) {
        self.stopped();
        let now = self.clock.now();
        let finish_reason = if reason == ReasonCode::Draining { FinishReason::Cancelled } else { FinishReason::Error };
        while let Ok(sequence) = self.inbox.try_recv() {
            self.push(sequence);
        }
        self.scheduler.retain(|sequence| {
            sequence.finish(finish_reason, Some(reason), now);
            false
        });
    }

    /// Publishes that nothing will be done any more.
    fn stopped(&self) {
        self.gauges.running.store(false, Ordering::Release);
        self.gauges.active.store(0, Ordering::Relaxed);
    }
}

/// A panic outside of the engine ends the thread; health must not go on saying that it runs. The sequences are dropped
/// with the owner, which their streams report as `ENGINE_FAILED`.
impl Drop for Owner {
    fn drop(&mut self) {
        self.stopped();
    }
}
