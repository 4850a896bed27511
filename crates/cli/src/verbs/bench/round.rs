//! `ballast bench round`: one round in this process, straight on the engine: load, prefill, decode, batched decode.

use super::figure::{Figure, RoundTold};
use super::phases::Phases;
use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, open_gguf};
use crate::output;
use ballast::{LoadOptions, SystemClock, TokenId, wiring};
use ballast_backend::{BlockId, Clock, Generator, GeneratorShape, LogitRows, Logits, Pulse, SequenceStep};
use clap::Args as ClapArgs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Positions that a KV block has at most: sequences are given room in whole blocks.
const BLOCK_LEN_MAX: usize = 64;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    phases: Phases,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let phases = self.phases.checked().map_err(Failure::usage)?;
        let located = self.model.locate()?;
        output::json(&run(located.path(), &self.load.options()?, &phases)?.to_json())
    }
}

fn run(path: &Path, options: &LoadOptions, phases: &Phases) -> Result<RoundTold, Failure> {
    let clock = SystemClock::start();
    let options = sized(options, phases);
    let gguf = Arc::new(open_gguf(path)?);
    let mut engine = wiring::open_engine(path, &gguf, &options)?;
    let load = clock.now();
    let mut bench = Bench { shape: engine.shape().clone(), engine: engine.as_mut(), logits: Logits::default(), clock };
    // The first pass over the weights reads the file; it is part of no phase.
    bench.prefill(0, 1)?;
    let mut samples = vec![(Figure::Load, Ok(load.as_secs_f64()))];
    for figure in phases.figures() {
        let rate = bench.rate(figure)?;
        // The way down to the first depth may be a prompt that was asked for.
        if samples.iter().all(|(known, _)| *known != figure) {
            samples.push((figure, Ok(rate)));
        }
    }
    Ok(RoundTold { version: Some(env!("CARGO_PKG_VERSION").to_owned()), samples })
}

/// An engine as large as the phases need.
fn sized(options: &LoadOptions, phases: &Phases) -> LoadOptions {
    let (mut context_len, mut kv_len, mut n_parallel) = (1, 1, 1);
    for figure in phases.figures() {
        if let Figure::Prefill { depth, tokens } = figure {
            context_len = context_len.max(depth + tokens);
        }
        let Figure::Decode { sequences, depth, tokens } = figure else { continue };
        context_len = context_len.max(depth + tokens);
        kv_len = kv_len.max((depth + tokens).next_multiple_of(BLOCK_LEN_MAX) * sequences);
        n_parallel = n_parallel.max(sequences);
    }
    kv_len = kv_len.max(context_len);
    LoadOptions { context_len: Some(context_len), kv_len: Some(kv_len), n_parallel, ..options.clone() }
}

struct Bench<'a> {
    engine: &'a mut dyn Generator,
    shape: GeneratorShape,
    logits: Logits,
    clock: SystemClock,
}

impl Bench<'_> {
    /// Tokens a second of a phase. Depths come in order, each behind what the one before has filled.
    fn rate(&mut self, figure: Figure) -> Result<f64, Failure> {
        let (n_tokens, time) = if let Figure::Decode { sequences, depth, tokens } = figure {
            (tokens * sequences, self.decode(depth, tokens, sequences)?)
        } else if let Figure::Prefill { depth, tokens } = figure {
            (tokens, self.prefill(depth, tokens)?)
        } else {
            unreachable!("no phase gives {figure:?}")
        };
        Ok(n_tokens as f64 / time.as_secs_f64())
    }

    /// Time for a prompt behind `depth` positions of the first sequence, with logits for its last token.
    fn prefill(&mut self, depth: usize, n_tokens: usize) -> Result<Duration, Failure> {
        let end = depth + n_tokens;
        let tokens: Vec<TokenId> = (depth..end).map(|position| token(position, self.shape.vocab_size)).collect();
        let blocks = blocks(0, end.div_ceil(self.shape.block_len));
        let begin = self.clock.now();
        let mut start = depth;
        for tokens in tokens.chunks(self.shape.max_batch_tokens) {
            let next = start + tokens.len();
            let logits = if next == end { LogitRows::Last } else { LogitRows::None };
            let step = SequenceStep { tokens, start, blocks: &blocks[..next.div_ceil(self.shape.block_len)], logits };
            self.engine.step(&[step], &mut self.logits, &Pulse::new()).map_err(ballast::Error::from)?;
            start = next;
        }
        Ok(self.clock.now() - begin)
    }

    /// Time for `n_tokens` steps of `n_sequences`, each behind `depth` positions; only the first has filled any.
    fn decode(&mut self, depth: usize, n_tokens: usize, n_sequences: usize) -> Result<Duration, Failure> {
        let blocks_each = (depth + n_tokens).div_ceil(self.shape.block_len);
        let tables: Vec<_> = (0..n_sequences).map(|sequence| blocks(sequence * blocks_each, blocks_each)).collect();
        let begin = self.clock.now();
        for start in depth..depth + n_tokens {
            let token = [token(start, self.shape.vocab_size)];
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

#[cfg(test)]
mod tests {
    use super::{LoadOptions, sized};
    use crate::verbs::bench::phases::tests::phases;

    #[test]
    fn the_engine_is_as_large_as_the_largest_phase() {
        let size = |phases| {
            let sized = sized(&LoadOptions::default(), &phases);
            (sized.context_len.unwrap(), sized.kv_len.unwrap(), sized.n_parallel)
        };
        assert_eq!(size(phases(&[512], &[128], &[1], &[])), (512, 512, 1));
        assert_eq!(size(phases(&[64], &[100], &[1, 8], &[])), (100, 8 * 128, 8));
        assert_eq!(size(phases(&[64], &[16], &[1], &[4096])), (4112, 4160, 1));
    }
}
