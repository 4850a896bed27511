//! Why there are no vectors.

use super::PredictError;
use crate::admission::NoPlace;
use ballast_backend::{ErrorKind, ReasonCode, TensorError};
use std::sync::Arc;
use std::time::Duration;

/// Why a request has no vectors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A request without texts, or with too many.
    #[error("texts: expected 1 to {texts_max}, got {got}")]
    Texts {
        /// The bound.
        texts_max: usize,
        /// How many there are.
        got: usize,
    },
    /// A text without tokens, or with more than the model has positions for.
    #[error("text {idx}: expected 1 to {tokens_max} tokens, got {got}")]
    TextLength {
        /// Which text.
        idx: usize,
        /// The bound.
        tokens_max: usize,
        /// How many there are.
        got: usize,
    },
    /// A token outside the vocabulary.
    #[error("text {idx}: expected tokens below {vocab_size}, got {got}")]
    Token {
        /// Which text.
        idx: usize,
        /// Size of the model's vocabulary.
        vocab_size: usize,
        /// The token.
        got: u32,
    },
    /// As many requests or tokens wait as may.
    #[error("queue: expected room, got none; try again in {retry_after:?}")]
    QueueFull {
        /// When there may be room.
        retry_after: Duration,
    },
    /// It takes no requests any more.
    #[error("encoder: expected it to take requests, but it is draining")]
    Draining,
    /// The request's time is over, or nobody waits for it.
    #[error("the deadline passed")]
    Deadline,
    /// The tensors cannot be made.
    #[error(transparent)]
    Inputs(TensorError),
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] PredictError),
    /// The engine answered with another number of entries.
    #[error("engine: expected {expected} entries, got {got}")]
    Output {
        /// What the texts need.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// What ended a call of several requests.
    #[error(transparent)]
    Shared(Arc<EncodeError>),
    /// The system refuses a thread.
    #[error("encoder: the system refuses a thread")]
    ThreadRefused,
    /// The encoder has gone.
    #[error("encoder: expected it to be running, but it has stopped")]
    Stopped,
}

impl EncodeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Texts { .. } | Self::TextLength { .. } | Self::Token { .. } | Self::Inputs(_) => ErrorKind::Invalid,
            Self::QueueFull { .. } => ErrorKind::Overloaded,
            Self::Draining | Self::Stopped | Self::ThreadRefused => ErrorKind::Unavailable,
            Self::Deadline => ErrorKind::Cancelled,
            Self::Engine(error) => error.kind(),
            Self::Output { .. } => ErrorKind::Internal,
            Self::Shared(error) => error.kind(),
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::TextLength { .. } => Some(ReasonCode::ContextLengthExceeded),
            Self::QueueFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::Draining => Some(ReasonCode::Draining),
            Self::Deadline => Some(ReasonCode::CancelledByTimeout),
            Self::Engine(error) => error.reason(),
            Self::Output { .. } => Some(ReasonCode::EngineFailed),
            Self::Stopped => Some(ReasonCode::EngineUnavailable),
            Self::Shared(error) => error.reason(),
            Self::Texts { .. } | Self::Token { .. } | Self::Inputs(_) | Self::ThreadRefused => None,
        }
    }

    /// When the same call may succeed, where that can be said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after } => Some(*retry_after),
            Self::Engine(error) => error.retry_after,
            Self::Shared(error) => error.retry_after(),
            Self::Texts { .. }
            | Self::TextLength { .. }
            | Self::Token { .. }
            | Self::Inputs(_)
            | Self::Draining
            | Self::Deadline
            | Self::Output { .. }
            | Self::ThreadRefused
            | Self::Stopped => None,
        }
    }

    /// Whether each request of a call that failed so may succeed without the others.
    pub(super) fn may_be_anothers(&self) -> bool {
        match self.kind() {
            ErrorKind::Invalid | ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::Cancelled => true,
            ErrorKind::Denied | ErrorKind::Overloaded => false,
        }
    }
}

impl From<NoPlace> for EncodeError {
    fn from(no_place: NoPlace) -> Self {
        match no_place {
            NoPlace::Draining => Self::Draining,
            NoPlace::Requests { retry_after } | NoPlace::Tokens { retry_after } => Self::QueueFull { retry_after },
        }
    }
}
