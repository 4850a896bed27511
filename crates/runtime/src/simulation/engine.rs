//! An instance of a scripted engine: keys and values in virtual memory, and a course for every call.

use super::dice::Dice;
use super::scenario::{EnginePlan, VOCAB};
use super::story::{self, ROOT};
use crate::engine_thread::{OwnedShare, StepJob, StepOutcome};
use ballast_backend::{BlockId, EngineError, ErrorKind, LogitRows, Pulse};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// How long an engine takes to see that it was interrupted.
const OBEYS_IN: Duration = Duration::from_micros(200);

/// The failure of a script.
#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
pub(super) struct Scripted;

/// What a position holds: what came before and in it, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) value: u64,
    pub(super) tag: u64,
}

/// KV memory.
#[derive(Debug)]
pub(super) struct Memory {
    cells: Vec<Cell>,
    block_len: usize,
}

impl Memory {
    fn new(plan: &EnginePlan) -> Self {
        let block_len = plan.shape.block_len;
        Self { cells: vec![Cell::default(); plan.shape.n_blocks * block_len], block_len }
    }

    pub(super) fn cell(&mut self, blocks: &[BlockId], position: usize) -> &mut Cell {
        let block = blocks[position / self.block_len];
        &mut self.cells[block.index() * self.block_len + position % self.block_len]
    }
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Done,
    Failed(ErrorKind),
    Panicked,
}

impl Course {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "stepped: engine",
            Self::Failed(ErrorKind::Cancelled) => "returned early: engine",
            Self::Failed(_) => "failed: engine",
            Self::Panicked => "panicked: engine",
        }
    }
}

/// A call in progress.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) course: Course,
    /// When it returns; `None`: never by itself.
    pub(super) until: Option<Duration>,
    /// Whether it gives signs of life, and so sees what is asked of it.
    pub(super) beats: bool,
    /// The step; `None`: it is being opened.
    pub(super) step: Option<Step>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) job: StepJob,
    /// The requests of the shares.
    pub(super) who: Vec<usize>,
    tags: Vec<u64>,
}

impl Step {
    pub(super) fn new(job: StepJob, who: Vec<usize>, tags: Vec<u64>) -> Self {
        Self { job, who, tags }
    }

    /// The requests whose shares end with a new token.
    pub(super) fn sampled(&self) -> Vec<usize> {
        let shares = self.who.iter().zip(&self.job.shares);
        shares.filter(|(_, share)| share.logits == LogitRows::Last).map(|(&who, _)| who).collect()
    }
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) generation: u64,
    pub(super) inbox: Receiver<StepJob>,
    pub(super) pulse: Pulse,
    pub(super) call: Option<Call>,
    /// It takes no more calls.
    pub(super) is_gone: bool,
    pub(super) memory: Memory,
}

impl Instance {
    pub(super) fn new(generation: u64, inbox: Receiver<StepJob>, pulse: Pulse, plan: &EnginePlan) -> Self {
        Self { generation, inbox, pulse, call: None, is_gone: false, memory: Memory::new(plan) }
    }

    pub(super) fn is_gone_or_given_up(&self) -> bool {
        self.is_gone || self.pulse.is_abandoned()
    }

    /// Gives a sign of life, and obeys where it is of that temper. Whether the call's end has moved.
    pub(super) fn beat(&mut self, obeys: bool, now: Duration) -> bool {
        let Some(call) = self.call.as_mut().filter(|call| call.beats) else { return false };
        let sooner = now + OBEYS_IN;
        if self.pulse.beat().is_ok() || !obeys || call.until.is_some_and(|until| until <= sooner) {
            return false;
        }
        (call.course, call.until) = (Course::Failed(ErrorKind::Cancelled), Some(sooner));
        true
    }

    /// Carries out a step that returns now: writes what it computed, or, where it failed, anything.
    pub(super) fn finish(&mut self, course: Course, mut step: Step, dice: &mut Dice) -> (StepOutcome, StepJob) {
        let outcome = match course {
            Course::Done => StepOutcome::Done,
            Course::Failed(kind) => StepOutcome::Failed(EngineError::new(kind, Scripted)),
            Course::Panicked => StepOutcome::Panicked,
        };
        let mut said = Vec::new();
        for (share, &tag) in step.job.shares.iter().zip(&step.tags) {
            if course == Course::Done {
                let last = self.write(share, tag);
                said.extend((share.logits == LogitRows::Last).then_some(last));
            } else {
                self.spoil(share, dice);
            }
        }
        if course == Course::Done {
            let logits = step.job.logits.reset(said.len(), VOCAB);
            logits.fill(0.0);
            for (row, value) in logits.chunks_mut(VOCAB).zip(said) {
                row[story::next(value).index()] = 1.0;
            }
        }
        (outcome, step.job)
    }

    fn write(&mut self, share: &OwnedShare, tag: u64) -> u64 {
        let before = share.start.checked_sub(1);
        let mut value = before.map_or(ROOT, |position| self.memory.cell(&share.blocks, position).value);
        for (position, &token) in (share.start..).zip(&share.tokens) {
            value = story::value(value, token);
            *self.memory.cell(&share.blocks, position) = Cell { value, tag };
        }
        value
    }

    fn spoil(&mut self, share: &OwnedShare, dice: &mut Dice) {
        for position in share.start..share.start + share.tokens.len() {
            if dice.chance(500) {
                *self.memory.cell(&share.blocks, position) = Cell { value: dice.bits(), tag: dice.bits() };
            }
        }
    }
}

impl EnginePlan {
    fn is_faulty(&self, now: Duration) -> bool {
        let in_phase = self.temper.flaps.is_none_or(|phase| (now.as_micros() / phase.as_micros()).is_multiple_of(2));
        now < self.heals_at && in_phase
    }

    /// How a step goes that begins now.
    pub(super) fn step_course(&self, step: Step, is_poisoned: bool, now: Duration, dice: &mut Dice) -> Call {
        let n_tokens: usize = step.job.shares.iter().map(|share| share.tokens.len()).sum();
        let micros = self.micros_per_step + self.micros_per_token * n_tokens as u64;
        let takes = dice.micros(micros / 2, micros);
        let temper = self.temper;
        let mut call = Call { course: Course::Done, until: Some(now + takes), beats: true, step: Some(step) };
        if is_poisoned {
            call.course = Course::Panicked;
        } else if self.is_faulty(now) {
            let comes_back = temper.comes_back.then(|| now + dice.millis(50, 500));
            if dice.chance(temper.panics) {
                call.course = Course::Panicked;
            } else if dice.chance(temper.hangs) {
                (call.until, call.beats) = (comes_back, false);
            } else if dice.chance(temper.dallies) {
                call.until = comes_back;
            } else if let Some((kind, _)) = temper.fails.filter(|(_, often)| dice.chance(*often)) {
                call.course = Course::Failed(kind);
            }
        }
        call
    }

    /// How an opening goes that begins now.
    pub(super) fn open_course(&self, now: Duration, dice: &mut Dice) -> Call {
        let mut call = Call { course: Course::Done, until: Some(now + self.opens_in), beats: true, step: None };
        if self.is_faulty(now) {
            if dice.chance(self.temper.hangs_in_open) {
                (call.until, call.beats) = (self.temper.comes_back.then(|| now + dice.millis(50, 500)), false);
            } else if dice.chance(self.temper.fails_to_open) {
                call.course = Course::Failed(ErrorKind::Unavailable);
            }
        }
        call
    }
}
