//! Why a request is not admitted.

use ballast_backend::{ErrorKind, ReasonCode};
use ballast_tokens::{SamplingError, StopError};

/// Errors of [`crate::Runtime::submit`].
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A request without a prompt.
    #[error("prompt: expected at least one token, got none")]
    PromptEmpty,
    /// A prompt token outside the vocabulary.
    #[error("prompt: expected tokens below {vocab_size}, got {got}")]
    PromptToken {
        /// Size of the model's vocabulary.
        vocab_size: usize,
        /// The first bad token.
        got: u32,
    },
    /// The prompt leaves no room for an answer.
    #[error("prompt: expected fewer than {context_len} tokens, the context length, got {got}")]
    ContextLengthExceeded {
        /// Positions one sequence may have.
        context_len: usize,
        /// Tokens of the prompt.
        got: usize,
    },
    /// Zero tokens asked for.
    #[error("max_tokens: expected at least 1, got 0")]
    MaxTokensZero,
    /// Bad sampling parameters.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Bad stop strings.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The queue is full.
    #[error("queue: expected room among {queue_max} waiting requests, got none")]
    QueueFull {
        /// The bound.
        queue_max: usize,
    },
    /// The owner thread has ended.
    #[error("engine: expected it to be running, but it has stopped")]
    Stopped,
}

impl RuntimeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PromptEmpty
            | Self::PromptToken { .. }
            | Self::ContextLengthExceeded { .. }
            | Self::MaxTokensZero
            | Self::Sampling(_)
            | Self::Stop(_) => ErrorKind::Invalid,
            Self::QueueFull { .. } => ErrorKind::Overloaded,
            Self::Stopped => ErrorKind::Unavailable,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::ContextLengthExceeded { .. } => Some(ReasonCode::ContextLengthExceeded),
            Self::QueueFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::Stopped => Some(ReasonCode::EngineFailed),
            Self::PromptEmpty | Self::PromptToken { .. } | Self::MaxTokensZero | Self::Sampling(_) | Self::Stop(_) => {
                None
            }
        }
    }
}
