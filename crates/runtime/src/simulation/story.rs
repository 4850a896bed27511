//! What a model says: the one right continuation of every prompt, and the keys and values that come of it.
//!
//! The keys and values of a position stand for everything up to it, as in a model with attention, so that an engine
//! that reads a wrong block says a wrong token.

use crate::retry::mix;
use ballast_backend::TokenId;

/// The token that ends an answer (of the tiny tokenizer).
pub(super) const END: TokenId = TokenId(263);

/// The value of nothing.
pub(super) const ROOT: u64 = 0x5eed;

/// The value of a position after one of value `before`.
pub(super) fn value(before: u64, token: TokenId) -> u64 {
    mix(before, u64::from(token.0))
}

/// The token after a position.
pub(super) fn next(value: u64) -> TokenId {
    let word = mix(value, 7);
    let letter = u32::try_from(word % 26).expect("it is below 26");
    if word.is_multiple_of(23) { END } else { TokenId(u32::from(b'a') + letter) }
}

/// A prompt and how it goes on.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) tokens: Vec<TokenId>,
    values: Vec<u64>,
}

impl Story {
    pub(super) fn new(prompt: &[TokenId]) -> Self {
        let mut story = Self::default();
        prompt.iter().for_each(|&token| story.push(token));
        story
    }

    fn push(&mut self, token: TokenId) {
        let before = self.values.last().copied().unwrap_or(ROOT);
        self.values.push(value(before, token));
        self.tokens.push(token);
    }

    /// The tokens and values of the first `n` positions.
    pub(super) fn until(&mut self, n: usize) -> (&[TokenId], &[u64]) {
        while self.tokens.len() < n {
            let last = self.values.last().copied().expect("a prompt has tokens");
            self.push(next(last));
        }
        (&self.tokens[..n], &self.values[..n])
    }
}
