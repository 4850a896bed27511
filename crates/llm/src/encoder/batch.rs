//! The texts of a call, flattened to rows: one row for each token.

use super::EncoderConfig;
use crate::LlmError;
use ballast_backend::EncoderShape;
use std::ops::Range;

/// One row for each token of the call, texts one after another. Kept between calls.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Token of each row.
    pub(super) tokens: Vec<u32>,
    /// Position of each row in its text.
    pub(super) positions: Vec<usize>,
    /// Token type of each row.
    pub(super) types: Vec<usize>,
    /// Rows of each text.
    pub(super) texts: Vec<Range<usize>>,
}

impl Batch {
    /// Flattens texts after checking them against the engine's shape: each is its tokens, and how many of them are of
    /// the first type.
    ///
    /// # Errors
    /// If they do not fit: too many texts or tokens, a text without tokens or with too many, unknown tokens.
    pub(super) fn set(
        &mut self,
        texts: &[(&[i32], usize)],
        shape: &EncoderShape,
        config: &EncoderConfig,
    ) -> Result<(), LlmError> {
        at_most("texts within max_batch_texts", texts.len(), shape.max_batch_texts)?;
        let n_tokens = texts.iter().map(|(tokens, _)| tokens.len()).sum();
        at_most("tokens within max_batch_tokens", n_tokens, shape.max_batch_tokens)?;
        self.tokens.clear();
        self.positions.clear();
        self.types.clear();
        self.texts.clear();
        for (tokens, n_first) in texts {
            if tokens.is_empty() {
                return Err(LlmError::Step { expected: "at least one token in every text", got: 0 });
            }
            at_most("positions within context_len", tokens.len(), shape.context_len)?;
            let start = self.tokens.len();
            for token in *tokens {
                let token = u32::try_from(*token).unwrap_or(u32::MAX);
                if token as usize >= shape.vocab_size {
                    return Err(LlmError::Step { expected: "tokens below vocab_size", got: token as usize });
                }
                self.tokens.push(token);
            }
            self.positions.extend(0..tokens.len());
            // A model that does not tell texts apart has one type at most.
            let second = usize::from(config.n_token_types > 1);
            self.types.extend((0..tokens.len()).map(|at| if at < *n_first { 0 } else { second }));
            self.texts.push(start..self.tokens.len());
        }
        Ok(())
    }
}

fn at_most(expected: &'static str, got: usize, max: usize) -> Result<(), LlmError> {
    if got <= max { Ok(()) } else { Err(LlmError::Step { expected, got }) }
}
