//! Penalties: the window of the last tokens, how often each is in it, and what that does to its logit.

use super::SamplingParams;
use ballast_backend::TokenId;
use std::collections::VecDeque;

/// Windows up to this length have all their memory from the beginning; longer ones grow.
const RESERVED_LEN: usize = 1024;

/// The last tokens of a sequence, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    tokens: VecDeque<TokenId>,
    /// Each token of the window once, by ascending id. Every count is looked at for every token that is sampled, so to
    /// move some of them costs no more than that.
    counts: Vec<(TokenId, u32)>,
    len_max: usize,
}

impl Window {
    /// An empty window of at most `len_max` tokens.
    pub(super) fn new(len_max: usize) -> Self {
        let reserved = len_max.min(RESERVED_LEN);
        Self { tokens: VecDeque::with_capacity(reserved), counts: Vec::with_capacity(reserved), len_max }
    }

    /// Adds the next token and forgets the one that leaves the window.
    pub(super) fn push(&mut self, token: TokenId) {
        if self.len_max == 0 {
            return;
        }
        if self.tokens.len() == self.len_max {
            let oldest = self.tokens.pop_front().expect("a full window has a first token");
            let at = self.place_of(oldest).expect("every token of the window is counted");
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
        self.tokens.push_back(token);
        match self.place_of(token) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (token, 1)),
        }
    }

    /// Adds tokens in order; those that would leave the window at once are not looked at.
    pub(super) fn extend(&mut self, tokens: &[TokenId]) {
        let tokens = &tokens[tokens.len().saturating_sub(self.len_max)..];
        let n_leaving = (self.tokens.len() + tokens.len()).saturating_sub(self.len_max);
        self.tokens.drain(..n_leaving);
        self.tokens.extend(tokens);
        let mut sorted: Vec<TokenId> = self.tokens.iter().copied().collect();
        sorted.sort_unstable();
        self.counts.clear();
        let count_of = |equal: &[TokenId]| u32::try_from(equal.len()).expect("a window has at most 2^20 tokens");
        self.counts.extend(sorted.chunk_by(|a, b| a == b).map(|equal| (equal[0], count_of(equal))));
    }

    /// The tokens of the window, each once, with their counts, by ascending id.
    pub(super) fn counts(&self) -> &[(TokenId, u32)] {
        &self.counts
    }

    fn place_of(&self, token: TokenId) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&token, |(counted, _)| *counted)
    }
}

/// A logit after the penalties for a token that is `count` times in the window.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^24: the window has at most 2^20 tokens")]
pub(super) fn penalized(logit: f32, count: u32, params: &SamplingParams) -> f32 {
    let repeated = if logit > 0.0 { logit / params.repetition_penalty } else { logit * params.repetition_penalty };
    repeated - count as f32 * params.frequency_penalty - params.presence_penalty
}

#[cfg(test)]
mod tests {
    use super::Window;
    use ballast_backend::TokenId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_window_counts_its_last_tokens_however_they_came(
            len_max in 0usize..9,
            groups in prop::collection::vec(prop::collection::vec(0u32..6, 0..12), 0..12),
        ) {
            let mut window = Window::new(len_max);
            let mut all = Vec::new();
            for group in groups {
                let group: Vec<TokenId> = group.into_iter().map(TokenId).collect();
                match group.as_slice() {
                    [token] => window.push(*token),
                    tokens => window.extend(tokens),
                }
                all.extend(group);
                let mut expected: BTreeMap<TokenId, u32> = BTreeMap::new();
                let last = &all[all.len().saturating_sub(len_max)..];
                last.iter().for_each(|token| *expected.entry(*token).or_default() += 1);
                prop_assert_eq!(window.counts(), expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
