//! Penalties: the window of the last tokens, how often each is in it, and what that does to its logit.

use super::SamplingParams;
use ballast_backend::TokenId;
use std::collections::{HashMap, VecDeque};

/// The last tokens of a sequence, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    tokens: VecDeque<TokenId>,
    counts: HashMap<TokenId, u32>,
    len_max: usize,
}

impl Window {
    /// An empty window of at most `len_max` tokens.
    pub(super) fn new(len_max: usize) -> Self {
        Self { len_max, ..Self::default() }
    }

    /// Adds the next token and forgets the one that leaves the window.
    pub(super) fn push(&mut self, token: TokenId) {
        if self.len_max == 0 {
            return;
        }
        if self.tokens.len() == self.len_max {
            let oldest = self.tokens.pop_front().expect("a full window has a first token");
            let count = self.counts.get_mut(&oldest).expect("every token of the window is counted");
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&oldest);
            }
        }
        self.tokens.push_back(token);
        *self.counts.entry(token).or_insert(0) += 1;
    }

    /// Adds tokens in order; those that would leave the window at once are not looked at.
    pub(super) fn extend(&mut self, tokens: &[TokenId]) {
        let start = tokens.len().saturating_sub(self.len_max);
        tokens[start..].iter().for_each(|&token| self.push(token));
    }

    /// The tokens of the window, each once, with their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (TokenId, u32)> {
        self.counts.iter().map(|(&token, &count)| (token, count))
    }
}

/// A logit after the penalties for a token that is `count` times in the window.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^24: the window has at most 2^20 tokens")]
pub(super) fn penalized(logit: f32, count: u32, params: &SamplingParams) -> f32 {
    let repeated = if logit > 0.0 { logit / params.repetition_penalty } else { logit * params.repetition_penalty };
    repeated - count as f32 * params.frequency_penalty - params.presence_penalty
}
