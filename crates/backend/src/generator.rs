//! The trait of language-model engines: a batch of sequences in, logits out.
//!
//! An engine keeps no sequence state of its own: the caller owns the KV block tables and says, for every sequence of
//! a step, which tokens to run at which position over which blocks. So scheduling, prefix reuse and preemption are
//! the caller's, and an engine is a function of its weights, its KV blocks and the batch.

use crate::{BlockId, ErrorKind, Pulse, TokenId};
use std::fmt;

/// What an engine can do; fixed when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorShape {
    /// Number of entries in a row of logits.
    pub vocab_size: usize,
    /// Most positions one sequence may have.
    pub context_len: usize,
    /// Positions in one KV block.
    pub block_len: usize,
    /// KV blocks there are, for all sequences together.
    pub n_blocks: usize,
    /// Most tokens in one step, all sequences together.
    pub max_batch_tokens: usize,
    /// Most sequences in one step.
    pub max_batch_sequences: usize,
}

/// For which of its tokens a sequence wants logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// For none: a chunk of a prompt that goes on.
    None,
    /// For the last token only.
    Last,
    /// For every token of the step.
    All,
}

/// One sequence's share of a step: `tokens` at positions `start..start + tokens.len()`.
#[derive(Clone, Copy, Debug)]
pub struct SequenceStep<'a> {
    /// Tokens to run, at least one.
    pub tokens: &'a [TokenId],
    /// Position of the first token; positions before it must have been run over the same blocks.
    pub start: usize,
    /// The sequence's KV blocks in order, enough for `start + tokens.len()` positions. Written blocks are distinct
    /// from every block of every other sequence in the step.
    pub blocks: &'a [BlockId],
    /// Which rows of logits to produce.
    pub logits: LogitRows,
}

impl SequenceStep<'_> {
    /// Rows of logits this share produces.
    #[must_use]
    pub fn n_logit_rows(&self) -> usize {
        match self.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => self.tokens.len(),
        }
    }
}

/// Rows of logits, `[n_rows, vocab_size]`, in the order of the batch; the buffer is kept between steps.
#[derive(Clone, Debug, Default)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Logits {
    /// Makes room for `n_rows` rows of `vocab_size` entries and returns them for writing, row-major.
    pub fn reset(&mut self, n_rows: usize, vocab_size: usize) -> &mut [f32] {
        self.vocab_size = vocab_size;
        self.values.resize(n_rows * vocab_size, 0.0);
        &mut self.values
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.values.len().checked_div(self.vocab_size).unwrap_or(0)
    }

    /// Row `idx`, `[vocab_size]`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, idx: usize) -> &[f32] {
        &self.values[idx * self.vocab_size..][..self.vocab_size]
    }

    /// Row `idx` for writing, `[vocab_size]`: samplers work in place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, idx: usize) -> &mut [f32] {
        &mut self.values[idx * self.vocab_size..][..self.vocab_size]
    }
}

/// A language-model engine. Owned by one thread; `Send` so that it can be moved to its owner.
pub trait Generator: Send {
    /// What this engine can do.
    fn shape(&self) -> &GeneratorShape;

    /// Runs every sequence's tokens through the model and fills `logits` with the rows asked for, in batch order.
    /// The result for a sequence does not depend on the other sequences of the step. Beats `pulse` while it works.
    ///
    /// # Errors
    /// A batch outside [`Generator::shape`] is `Invalid`; a fault of this step is `Internal`; an instance that is lost,
    /// with its files or its process, is `Unavailable`; a step interrupted through `pulse` is `Cancelled`. After an
    /// error the KV positions the step would have written are undefined, earlier ones stand.
    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError>;
}

/// An engine's failure, told to the runtime. The engine's own error is kept as the source.
#[derive(Debug)]
pub struct EngineError {
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl EngineError {
    /// Wraps an engine's own error.
    pub fn new(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, source: Box::new(source) }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The engine's own error, where it is an `E`.
    ///
    /// # Errors
    /// The error itself, where it is another.
    pub fn downcast<E: std::error::Error + 'static>(self) -> Result<E, Self> {
        let Self { kind, source } = self;
        source.downcast().map(|error| *error).map_err(|source| Self { kind, source })
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine: {}", self.source)
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}
