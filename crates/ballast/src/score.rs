//! What the model thinks of given tokens: raw logits and perplexity. Runs the engine without a runtime.

use crate::Error;
use ballast_backend::{BlockId, Generator, LogitRows, Logits, Pulse, SequenceStep, TokenId};

/// Tokens whose logits are held at a time.
const CHUNK_LEN: usize = 64;
/// The shortest window whose second half has a token that is scored.
const WINDOW_LEN_MIN: usize = 3;

/// Runs `tokens` as one sequence and calls `on_row(position, logits)` for every position that is wanted.
///
/// # Errors
/// If the engine refuses the tokens or fails.
pub fn for_each_logits(
    engine: &mut dyn Generator,
    tokens: &[TokenId],
    wants: impl Fn(usize) -> bool,
    mut on_row: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let shape = engine.shape().clone();
    let blocks = sequence_blocks(tokens.len().div_ceil(shape.block_len));
    let (mut logits, pulse) = (Logits::default(), Pulse::new());
    for (idx, chunk) in tokens.chunks(CHUNK_LEN.min(shape.max_batch_tokens)).enumerate() {
        let start = idx * CHUNK_LEN.min(shape.max_batch_tokens);
        let wanted = (start..start + chunk.len()).any(&wants);
        let rows = if wanted { LogitRows::All } else { LogitRows::None };
        engine.step(&[SequenceStep { tokens: chunk, start, blocks: &blocks, logits: rows }], &mut logits, &pulse)?;
        for row in 0..logits.n_rows() {
            if wants(start + row) {
                on_row(start + row, logits.row(row));
            }
        }
    }
    Ok(())
}

/// The first `n_blocks` blocks, for a sequence that has the cache to itself.
fn sequence_blocks(n_blocks: usize) -> Vec<BlockId> {
    (0..u32::try_from(n_blocks).unwrap_or(u32::MAX)).map(BlockId).collect()
}

/// A perplexity and what it was computed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative log likelihood.
    pub perplexity: f64,
    /// Standard error of the perplexity.
    pub error: f64,
    /// Tokens scored.
    pub n_scored: usize,
    /// Windows of `context_len` tokens.
    pub n_windows: usize,
}

/// The perplexity of a text over windows of `context_len` tokens that do not overlap. The second half of each window
/// is scored, given all that stands before it in the window; if the model uses BOS, it replaces each window's first
/// token. (This is the procedure of llama.cpp's `perplexity` tool, so figures compare.)
///
/// # Errors
/// If a window is too short to score in, the text is shorter than two windows, or the engine fails.
pub fn perplexity(
    engine: &mut dyn Generator,
    tokens: &[TokenId],
    context_len: usize,
    bos: Option<TokenId>,
    mut on_window: impl FnMut(usize, usize),
) -> Result<Perplexity, Error> {
    if context_len < WINDOW_LEN_MIN {
        return Err(Error::WindowTooShort { expected: WINDOW_LEN_MIN, got: context_len });
    }
    if tokens.len() / 2 < context_len {
        return Err(Error::TextTooShort { expected: context_len.saturating_mul(2), got: tokens.len() });
    }
    let n_windows = tokens.len() / context_len;
    let first_scored = context_len / 2;
    let (mut sum, mut sum_of_squares, mut n_scored) = (0.0, 0.0, 0_usize);
    for (idx, window) in tokens.chunks_exact(context_len).enumerate() {
        let mut input = window.to_vec();
        if let Some(bos) = bos {
            input[0] = bos;
        }
        let wants = |position: usize| (first_scored..context_len - 1).contains(&position);
        for_each_logits(engine, &input, wants, |position, logits| {
            let nll = -log_softmax(logits, window[position + 1]);
            sum += nll;
            sum_of_squares += nll * nll;
            n_scored += 1;
        })?;
        on_window(idx + 1, n_windows);
    }
    let mean = sum / n_scored as f64;
    let variance = (sum_of_squares / n_scored as f64 - mean * mean).max(0.0);
    let error = (variance / (n_scored.max(2) - 1) as f64).sqrt() * mean.exp();
    Ok(Perplexity { perplexity: mean.exp(), error, n_scored, n_windows })
}

/// The natural logarithm of `token`'s probability.
fn log_softmax(logits: &[f32], token: TokenId) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(logits[token.index()] - max) - sum.ln()
}
