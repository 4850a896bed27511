//! One round in this process: load, prefill, decode, batched decode, straight on the engine.

use crate::failure::Failure;
use crate::options::open_gguf;
use ballast::{LoadOptions, SystemClock, TokenId, wiring};
use ballast_backend::{BlockId, Clock, Generator, LogitRows, Logits, Pulse, SequenceStep};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a round measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    pub(super) prompt_tokens: usize,
    pub(super) decode_tokens: usize,
    pub(super) n_sequences: usize,
}

/// Runs the phases and returns their figures: milliseconds and tokens per second.
pub(super) fn run(path: &Path, options: &LoadOptions, phases: Phases) -> Result<Value, Failure> {
    let clock = SystemClock::start();
    let options = sized(options, phases);
    let gguf = Arc::new(open_gguf(path)?);
    let mut engine = wiring::open_engine(path, &gguf, &options)?;
    let load = clock.now();
    let mut bench = Bench { engine: engine.as_mut(), logits: Logits::default(), clock };
    // The first pass over the weights reads the file; it is part of neither phase.
    bench.prefill(1)?;
    let prefill = bench.prefill(phases.prompt_tokens)?;
    let decode = bench.decode(phases.decode_tokens, 1)?;
    let batched = bench.decode(phases.decode_tokens, phases.n_sequences)?;
    Ok(json!({
        "load_ms": load.as_secs_f64() * 1e3,
        "prefill_tokens_per_second": rate(phases.prompt_tokens, prefill),
        "decode_tokens_per_second": rate(phases.decode_tokens, decode),
        "batched_decode_tokens_per_second": rate(phases.decode_tokens * phases.n_sequences, batched),
    }))
}

/// An engine as large as the phases need.
fn sized(options: &LoadOptions, phases: Phases) -> LoadOptions {
    let context_len = phases.prompt_tokens.max(phases.decode_tokens);
    let kv_len = context_len.max(phases.decode_tokens.next_multiple_of(64) * phases.n_sequences);
    let (context_len, kv_len) = (Some(context_len), Some(kv_len));
    LoadOptions { context_len, kv_len, n_parallel: phases.n_sequences, ..options.clone() }
}

fn rate(n_tokens: usize, time: Duration) -> f64 {
    n_tokens as f64 / time.as_secs_f64()
}

struct Bench<'a> {
    engine: &'a mut dyn Generator,
    logits: Logits,
    clock: SystemClock,
}

impl Bench<'_> {
    /// Time for a prompt, with logits for its last token.
    fn prefill(&mut self, n_tokens: usize) -> Result<Duration, Failure> {
        let shape = self.engine.shape().clone();
        let tokens: Vec<TokenId> = (0..n_tokens).map(|position| token(position, shape.vocab_size)).collect();
        let blocks = blocks(0, n_tokens.div_ceil(shape.block_len));
        let begin = self.clock.now();
        let mut start = 0;
        while start < n_tokens {
            let end = n_tokens.min(start + shape.max_batch_tokens);
            let logits = if end == n_tokens { LogitRows::Last } else { LogitRows::None };
            let step = SequenceStep { tokens: &tokens[start..end], start, blocks: &blocks, logits };
            self.engine.step(&[step], &mut self.logits, &Pulse::new()).map_err(ballast::Error::from)?;
            start = end;
        }
        Ok(self.clock.now() - begin)
    }

    /// Time for `n_tokens` steps of `n_sequences`, each from an empty cache.
    fn decode(&mut self, n_tokens: usize, n_sequences: usize) -> Result<Duration, Failure> {
        let shape = self.engine.shape().clone();
        let blocks_each = n_tokens.div_ceil(shape.block_len);
        let tables: Vec<_> = (0..n_sequences).map(|sequence| blocks(sequence * blocks_each, blocks_each)).collect();
        let begin = self.clock.now();
        for start in 0..n_tokens {
            let token = [token(start, shape.vocab_size)];
            let step = |blocks| SequenceStep { tokens: &token, start, blocks, logits: LogitRows::Last };
            let batch: Vec<_> = tables.iter().map(|blocks| step(blocks.as_slice())).collect();
            self.engine.step(&batch, &mut self.logits, &Pulse::new()).map_err(ballast::Error::from)?;
        }
        Ok(self.clock.now() - begin)
    }
}

/// Some token for a position: the cost does not depend on which.
fn token(position: usize, vocab_size: usize) -> TokenId {
    TokenId(u32::try_from(position * 7_919 % vocab_size).expect("a vocabulary is numbered in u32"))
}

fn blocks(first: usize, n_blocks: usize) -> Vec<BlockId> {
    let number = |n| u32::try_from(n).expect("blocks are numbered in u32");
    (number(first)..number(first + n_blocks)).map(BlockId).collect()
}
