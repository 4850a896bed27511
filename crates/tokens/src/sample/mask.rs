//! A set of tokens as a bitset: what a constraint allows next.

use ballast_backend::TokenId;

/// One bit per token of a vocabulary. Constraints fill it, the sampler obeys it; it is kept between tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    vocab_size: usize,
}

impl TokenMask {
    /// A mask over `vocab_size` tokens that allows none of them.
    #[must_use]
    pub fn none(vocab_size: usize) -> Self {
        Self { words: vec![0; vocab_size.div_ceil(64)], vocab_size }
    }

    /// A mask over `vocab_size` tokens that allows all of them.
    #[must_use]
    pub fn all(vocab_size: usize) -> Self {
        let mut mask = Self::none(vocab_size);
        mask.words.fill(u64::MAX);
        if let Some(last) = mask.words.last_mut().filter(|_| !vocab_size.is_multiple_of(64)) {
            *last >>= 64 - vocab_size % 64;
        }
        mask
    }

    /// Number of tokens, allowed or not.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Allows a token.
    ///
    /// # Panics
    /// If the token is outside the vocabulary.
    pub fn allow(&mut self, token: TokenId) {
        assert!(token.index() < self.vocab_size, "token {token} is outside the vocabulary of {}", self.vocab_size);
        self.words[token.index() / 64] |= 1 << (token.index() % 64);
    }

    /// Forbids a token.
    ///
    /// # Panics
    /// If the token is outside the vocabulary.
    pub fn forbid(&mut self, token: TokenId) {
        assert!(token.index() < self.vocab_size, "token {token} is outside the vocabulary of {}", self.vocab_size);
        self.words[token.index() / 64] &= !(1 << (token.index() % 64));
    }

    /// Forbids every token.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Whether a token is allowed; tokens outside the vocabulary are not.
    #[must_use]
    pub fn is_allowed(&self, token: TokenId) -> bool {
        self.words.get(token.index() / 64).is_some_and(|word| word >> (token.index() % 64) & 1 == 1)
    }

    /// Whether no token is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Number of allowed tokens.
    #[must_use]
    pub fn n_allowed(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Allows exactly the tokens whose bits are set, 32 in a word, the first in the lowest. Words past the vocabulary do
    /// not count.
    pub(crate) fn set(&mut self, halves: &[u32]) {
        for (idx, word) in self.words.iter_mut().enumerate() {
            let half = |idx: usize| u64::from(halves.get(idx).copied().unwrap_or(0));
            *word = half(2 * idx) | half(2 * idx + 1) << 32;
        }
        let n_last = self.vocab_size % 64;
        if let Some(last) = self.words.last_mut().filter(|_| n_last > 0) {
            *last &= u64::MAX >> (64 - n_last);
        }
    }

    /// The bits of tokens `64 * idx` to `64 * idx + 63`, the first in the lowest; 0 outside the vocabulary.
    pub(super) fn word(&self, idx: usize) -> u64 {
        self.words.get(idx).copied().unwrap_or(0)
    }
}
