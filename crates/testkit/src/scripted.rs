//! An engine that follows a script: what it says, when it steps, where it fails.
//!
//! It has a KV cache in which the keys and values are the tokens themselves. What it says next is a function of the
//! tokens it finds there, so a block table that is wrong, shared or stale shows in the answer.

use ballast_backend::{
    BlockId, EngineError, ErrorKind, Generator, GeneratorShape, LogitRows, Logits, Pulse, SequenceStep, TokenId,
};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait of a test for an engine, and of an engine for a test, before it panics.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Logit of the token the script says; all others have 0.
const LOGIT: f32 = 30.0;

/// From all tokens of a sequence so far to the next.
pub type Next = dyn Fn(&[TokenId]) -> TokenId + Send + Sync;

/// What an engine is to do.
#[derive(Clone)]
pub struct Script {
    /// The engine's bounds.
    pub shape: GeneratorShape,
    /// Step, counted from 0, that returns an error.
    pub fail_at: Option<usize>,
    /// Step, counted from 0, that panics.
    pub panic_at: Option<usize>,
    /// Whether steps wait for [`ScriptControl::allow`].
    pub held: bool,
    /// What is said.
    pub next: Arc<Next>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Script {
    /// Says `next` of all tokens of the sequence so far.
    #[must_use]
    pub fn new(vocab_size: usize, next: impl Fn(&[TokenId]) -> TokenId + Send + Sync + 'static) -> Self {
        let shape = GeneratorShape {
            vocab_size,
            context_len: 512,
            block_len: 16,
            n_blocks: 256,
            max_batch_tokens: 64,
            max_batch_sequences: 8,
        };
        Self { shape, fail_at: None, panic_at: None, held: false, next: Arc::new(next) }
    }

    /// Says the tokens of `answer` after the last `cue` of the prompt, then `end` for ever.
    ///
    /// # Panics
    /// The engine, if a prompt does not contain `cue`.
    #[must_use]
    pub fn answering(vocab_size: usize, cue: Vec<TokenId>, answer: Vec<TokenId>, end: TokenId) -> Self {
        Self::new(vocab_size, move |tokens| {
            let at = tokens.windows(cue.len()).rposition(|window| window == cue).expect("the prompt has the cue");
            answer.get(tokens.len() - at - cue.len()).copied().unwrap_or(end)
        })
    }

    /// The engine and the test's hold on it.
    #[must_use]
    pub fn engine(self) -> (ScriptedGenerator, ScriptControl) {
        let control = ScriptControl::default();
        control.lock().n_allowed = if self.held { Some(0) } else { None };
        let cache = vec![None; self.shape.n_blocks * self.shape.block_len];
        let engine = ScriptedGenerator { script: self, cache, n_steps: 0, control: control.clone() };
        (engine, control)
    }
}

/// One sequence's share of a step, as the engine was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedShare {
    /// Tokens that were run.
    pub tokens: Vec<TokenId>,
    /// Position of the first.
    pub start: usize,
    /// The block table.
    pub blocks: Vec<BlockId>,
    /// Rows of logits asked for.
    pub logits: LogitRows,
}

/// What a test holds of an engine that has moved to its owner.
#[derive(Clone, Debug, Default)]
pub struct ScriptControl(Arc<(Mutex<Progress>, Condvar)>);

#[derive(Debug, Default)]
struct Progress {
    /// Steps that may be finished; `None`: all.
    n_allowed: Option<usize>,
    /// What every step that has begun was given.
    begun: Vec<Vec<RecordedShare>>,
}

impl ScriptControl {
    /// Lets `n_steps` more steps finish.
    pub fn allow(&self, n_steps: usize) {
        if let Some(n_allowed) = &mut self.lock().n_allowed {
            *n_allowed += n_steps;
        }
        self.0.1.notify_all();
    }

    /// Lets all steps finish from now on.
    pub fn release(&self) {
        self.lock().n_allowed = None;
        self.0.1.notify_all();
    }

    /// Waits until `n_steps` steps have begun.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_begun(&self, n_steps: usize) {
        self.wait("the engine did not begin the step", |progress| progress.begun.len() >= n_steps);
    }

    /// Everything the engine was given so far, by step.
    #[must_use]
    pub fn steps(&self) -> Vec<Vec<RecordedShare>> {
        self.lock().begun.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, otherwise: &str, done: impl Fn(&Progress) -> bool) {
        let waited = self.0.1.wait_timeout_while(self.lock(), PATIENCE, |progress| !done(progress));
        let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        assert!(!timeout.timed_out(), "{otherwise} within {PATIENCE:?}");
    }

    fn begin(&self, batch: &[SequenceStep<'_>], step: usize) {
        let record = |share: &SequenceStep<'_>| RecordedShare {
            tokens: share.tokens.to_vec(),
            start: share.start,
            blocks: share.blocks.to_vec(),
            logits: share.logits,
        };
        self.lock().begun.push(batch.iter().map(record).collect());
        self.0.1.notify_all();
        self.wait("the test did not allow the step", |progress| progress.n_allowed.is_none_or(|n| step < n));
    }
}

/// The failure a script asks for.
#[derive(Debug, thiserror::Error)]
#[error("step {step} fails by its script")]
struct ScriptedFailure {
    step: usize,
}

/// An engine that follows a [`Script`].
#[derive(Debug)]
pub struct ScriptedGenerator {
    script: Script,
    /// The token at every position of every block.
    cache: Vec<Option<TokenId>>,
    n_steps: usize,
    control: ScriptControl,
}

impl ScriptedGenerator {
    /// Writes the share's tokens and reads the sequence back from its blocks.
    ///
    /// # Panics
    /// If the blocks are too few, or a position before the share was never run.
    fn run(&mut self, share: &SequenceStep<'_>) -> Vec<TokenId> {
        let block_len = self.script.shape.block_len;
        let slot = |position: usize| share.blocks[position / block_len].index() * block_len + position % block_len;
        for (position, &token) in (share.start..).zip(share.tokens) {
            self.cache[slot(position)] = Some(token);
        }
        let n_tokens = share.start + share.tokens.len();
        (0..n_tokens).map(|position| self.cache[slot(position)].expect("earlier positions were run")).collect()
    }

    fn check(&self, batch: &[SequenceStep<'_>]) {
        let shape = &self.script.shape;
        let n_tokens: usize = batch.iter().map(|share| share.tokens.len()).sum();
        assert!((1..=shape.max_batch_tokens).contains(&n_tokens), "a step of {n_tokens} tokens");
        assert!(batch.len() <= shape.max_batch_sequences, "a step of {} sequences", batch.len());
        // Beginnings may be shared; what is written belongs to one sequence.
        let written = |share: &SequenceStep<'_>| share.start / shape.block_len..;
        for (idx, share) in batch.iter().enumerate() {
            for block in &share.blocks[written(share)] {
                let is_others = batch.iter().enumerate().any(|(other, s)| other != idx && s.blocks.contains(block));
                assert!(!is_others, "a block that is written belongs to two sequences");
            }
        }
    }
}

impl Generator for ScriptedGenerator {
    fn shape(&self) -> &GeneratorShape {
        &self.script.shape
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, _pulse: &Pulse) -> Result<(), EngineError> {
        let step = self.n_steps;
        self.n_steps += 1;
        self.check(batch);
        self.control.begin(batch, step);
        assert!(self.script.panic_at != Some(step), "step {step} panics by its script");
        if self.script.fail_at == Some(step) {
            return Err(EngineError::new(ErrorKind::Internal, ScriptedFailure { step }));
        }
        let n_rows = batch.iter().map(SequenceStep::n_logit_rows).sum();
        logits.reset(n_rows, self.script.shape.vocab_size).fill(0.0);
        let mut row = 0;
        for share in batch {
            let tokens = self.run(share);
            let n_share_rows = share.n_logit_rows();
            for n_seen in tokens.len() + 1 - n_share_rows..=tokens.len() {
                let next = (self.script.next)(&tokens[..n_seen]);
                logits.row_mut(row)[next.index()] = LOGIT;
                row += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn successor(vocab_size: usize) -> Script {
        Script::new(vocab_size, |tokens| TokenId(tokens.last().expect("never empty").0 + 1))
    }

    fn best(logits: &Logits, row: usize) -> usize {
        logits.row(row).iter().position(|&logit| logit == LOGIT).unwrap()
    }

    #[test]
    fn logits_come_for_the_rows_asked_for() {
        let (mut engine, control) = successor(16).engine();
        let mut logits = Logits::default();
        let (a, b) = ([TokenId(1), TokenId(2), TokenId(5)], [TokenId(9)]);
        let step = |tokens, blocks, logits| SequenceStep { tokens, start: 0, blocks, logits };
        let batch = [step(&a, &[BlockId(3)], LogitRows::All), step(&b, &[BlockId(0)], LogitRows::Last)];
        engine.step(&batch, &mut logits, &Pulse::new()).unwrap();
        let said: Vec<usize> = (0..logits.n_rows()).map(|row| best(&logits, row)).collect();
        assert_eq!(said, [2, 3, 6, 10]);
        assert_eq!(control.steps()[0][0].tokens, a);
    }

    #[test]
    fn answers_follow_the_cue() {
        let ids = |range: std::ops::Range<u32>| range.map(TokenId).collect::<Vec<_>>();
        let (mut engine, _control) = Script::answering(16, ids(3..5), ids(7..9), TokenId(15)).engine();
        let mut logits = Logits::default();
        for (tokens, expected) in
            [(ids(1..5), 7), ([ids(1..5), ids(7..8)].concat(), 8), ([ids(3..5), ids(7..9)].concat(), 15)]
        {
            let step = SequenceStep { tokens: &tokens, start: 0, blocks: &[BlockId(1)], logits: LogitRows::Last };
            engine.step(&[step], &mut logits, &Pulse::new()).unwrap();
            assert_eq!(best(&logits, 0), expected);
        }
    }

    #[test]
    fn a_step_fails_where_the_script_says() {
        let (mut engine, _control) = Script { fail_at: Some(1), ..successor(4) }.engine();
        let mut logits = Logits::default();
        let step = SequenceStep { tokens: &[TokenId(0)], start: 0, blocks: &[BlockId(0)], logits: LogitRows::Last };
        assert!(engine.step(&[step], &mut logits, &Pulse::new()).is_ok());
        assert_eq!(engine.step(&[step], &mut logits, &Pulse::new()).unwrap_err().kind(), ErrorKind::Internal);
        assert!(engine.step(&[step], &mut logits, &Pulse::new()).is_ok());
    }
}
