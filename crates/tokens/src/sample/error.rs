//! What can be wrong with sampling parameters, masks and logits.

use ballast_backend::{ErrorKind, TokenId};

/// Why no token was sampled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A parameter is outside its range or not a number.
    #[error("{field}: expected {expected}, got {got}")]
    OutOfRange {
        /// Name of the field of `SamplingParams`.
        field: &'static str,
        /// The range, in words.
        expected: &'static str,
        /// What was given.
        got: f64,
    },
    /// A parameter that counts something is over its bound.
    #[error("{field}: expected at most {max}, got {got}")]
    TooMany {
        /// Name of the field of `SamplingParams`.
        field: &'static str,
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// A logit bias names a token that the model does not have.
    #[error("logit_bias: expected a token below {vocab_size}, got {token}")]
    BiasOutsideVocab {
        /// The token.
        token: TokenId,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// The vocabulary is empty or too large for token ids.
    #[error("vocab_size: expected 1 to {max}, got {got}", max = u32::MAX)]
    VocabSize {
        /// What was given.
        got: usize,
    },
    /// The row of logits does not have one entry per token.
    #[error("logits: expected {expected} entries, got {got}")]
    LogitsLength {
        /// Size of the vocabulary.
        expected: usize,
        /// Length of the row.
        got: usize,
    },
    /// The mask does not have one bit per token.
    #[error("mask: expected {expected} bits, got {got}")]
    MaskLength {
        /// Size of the vocabulary.
        expected: usize,
        /// Bits of the mask.
        got: usize,
    },
    /// The engine produced a logit that is not a number or is positive infinity.
    #[error("logit of token {token}: expected a finite number, got {value}")]
    LogitNotFinite {
        /// The first such token.
        token: TokenId,
        /// Its logit.
        value: f32,
    },
    /// The mask forbids every token of the vocabulary.
    #[error("mask: expected at least one allowed token, got none")]
    MaskAllowsNothing,
    /// Every token that the mask allows has a logit of negative infinity.
    #[error("logits: expected at least one possible token, got negative infinity for all")]
    NoTokenPossible,
}

impl SamplingError {
    /// What a caller can do about it: parameters are the caller's, logits are the engine's.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } | Self::TooMany { .. } | Self::BiasOutsideVocab { .. } => ErrorKind::Invalid,
            Self::MaskAllowsNothing => ErrorKind::Invalid,
            Self::VocabSize { .. } | Self::LogitsLength { .. } | Self::MaskLength { .. } => ErrorKind::Internal,
            Self::LogitNotFinite { .. } | Self::NoTokenPossible => ErrorKind::Internal,
        }
    }
}
