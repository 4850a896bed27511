//! Why a request is not taken, or a runtime not started.

use ballast_backend::{EngineError, ErrorKind, ReasonCode};
use ballast_tokens::{SamplingError, StopError};
use std::time::Duration;

/// Errors of [`crate::Runtime`].
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
    #[error("prompt: {got} tokens, which exceeds the available context size: expected fewer than {context_len}")]
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
    /// As many requests wait as may.
    #[error("queue: expected room among {queue_max} waiting requests, got none; try again in {retry_after:?}")]
    QueueFull {
        /// The bound.
        queue_max: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// As many prompt tokens wait as may.
    #[error("queue: expected room among {queued_tokens_max} waiting tokens, got none; try again in {retry_after:?}")]
    QueuedTokensFull {
        /// The bound.
        queued_tokens_max: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// The runtime is shutting down.
    #[error("runtime: expected it to take requests, but it is draining")]
    Draining,
    /// The engines fail too often to be asked.
    #[error("engine: expected one whose breaker lets calls pass, got none")]
    CircuitOpen {
        /// When one may be asked again; `None`: a person has to say so.
        retry_after: Option<Duration>,
    },
    /// A policy does not allow the request.
    #[error("policy: the request is blocked by the rule {rule}")]
    PolicyBlocked {
        /// The rule.
        rule: &'static str,
    },
    /// A runtime without engines.
    #[error("engines: expected at least one, got none")]
    NoEngine,
    /// An engine could not be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No engine is left that could answer.
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
            | Self::NoEngine
            | Self::Sampling(_)
            | Self::Stop(_) => ErrorKind::Invalid,
            Self::PolicyBlocked { .. } => ErrorKind::Denied,
            Self::QueueFull { .. } | Self::QueuedTokensFull { .. } => ErrorKind::Overloaded,
            Self::Engine(error) => error.kind(),
            Self::CircuitOpen { .. } | Self::Draining | Self::Stopped => ErrorKind::Unavailable,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::ContextLengthExceeded { .. } => Some(ReasonCode::ContextLengthExceeded),
            Self::QueueFull { .. } | Self::QueuedTokensFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::Draining => Some(ReasonCode::Draining),
            Self::CircuitOpen { .. } => Some(ReasonCode::CircuitOpen),
            Self::PolicyBlocked { .. } => Some(ReasonCode::PolicyBlocked),
            Self::Engine(_) => Some(ReasonCode::EngineFailed),
            Self::Stopped => Some(ReasonCode::EngineCrashed),
            Self::PromptEmpty
            | Self::PromptToken { .. }
            | Self::MaxTokensZero
            | Self::NoEngine
            | Self::Sampling(_)
            | Self::Stop(_) => None,
        }
    }

    /// When the same call may succeed, where that can be said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. } | Self::QueuedTokensFull { retry_after, .. } => Some(*retry_after),
            Self::CircuitOpen { retry_after } => *retry_after,
            Self::PromptEmpty
            | Self::PromptToken { .. }
            | Self::ContextLengthExceeded { .. }
            | Self::MaxTokensZero
            | Self::NoEngine
            | Self::Sampling(_)
            | Self::Stop(_)
            | Self::Draining
            | Self::PolicyBlocked { .. }
            | Self::Engine(_)
            | Self::Stopped => None,
        }
    }
}
