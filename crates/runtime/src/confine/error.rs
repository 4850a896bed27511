//! Why a job has no result.

use super::model::ModelRef;
use ballast_backend::{ErrorKind, ReasonCode};
use std::fmt;

/// Where a job was when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobPhase {
    /// In the queue: it never ran.
    Queued,
    /// On its thread: it was asked to return, and its result is dropped.
    Running,
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
        })
    }
}

/// Errors of a [`crate::confine::ModelClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfineError {
    /// The model was never loaded here, or its last lease has ended.
    #[error("{model}: expected a loaded model, found none")]
    ModelNotFound {
        /// The reference.
        model: ModelRef,
    },
    /// The model is leased, but a job panicked while it held the handle, which was dropped.
    #[error("{model}: expected its handle to be intact, but a job panicked with it")]
    ModelLost {
        /// The reference.
        model: ModelRef,
    },
    /// Too many models.
    #[error("models: expected room among {models_max}, got none")]
    TooManyModels {
        /// The bound.
        models_max: usize,
    },
    /// Every thread has a copy of the model already.
    #[error("{model}: expected a thread without a copy, got none")]
    NoThreadLeft {
        /// The reference.
        model: ModelRef,
    },
    /// Too many jobs wait.
    #[error("queue: expected room among {queue_max} waiting jobs, got none")]
    QueueFull {
        /// The bound.
        queue_max: usize,
    },
    /// The deadline passed.
    #[error("deadline: it passed while the job was {phase}")]
    Deadline {
        /// Where the job was.
        phase: JobPhase,
    },
    /// The job panicked. The handle it held was dropped.
    #[error("job: expected it to return, but it panicked")]
    Panicked,
    /// The threads drain, or have ended.
    #[error("owner thread: expected it to take jobs, but it is shutting down")]
    Stopped,
    /// The thread gave no sign of life and was given up.
    #[error("owner thread: expected it to answer, but it was given up")]
    Abandoned,
    /// The system refused a thread.
    #[error("owner thread: the system refused it")]
    ThreadRefused,
}

impl ConfineError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoThreadLeft { .. } => ErrorKind::Invalid,
            Self::TooManyModels { .. } | Self::QueueFull { .. } => ErrorKind::Overloaded,
            Self::Deadline { .. } => ErrorKind::Cancelled,
            Self::Panicked => ErrorKind::Internal,
            Self::ModelNotFound { .. }
            | Self::ModelLost { .. }
            | Self::Stopped
            | Self::Abandoned
            | Self::ThreadRefused => ErrorKind::Unavailable,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::ModelNotFound { .. } => Some(ReasonCode::ModelNotFound),
            Self::ModelLost { .. } | Self::ThreadRefused => Some(ReasonCode::EngineUnavailable),
            Self::QueueFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::Deadline { .. } => Some(ReasonCode::CancelledByTimeout),
            Self::Panicked => Some(ReasonCode::EngineFailed),
            Self::Stopped => Some(ReasonCode::Draining),
            Self::Abandoned => Some(ReasonCode::EngineStalled),
            Self::TooManyModels { .. } | Self::NoThreadLeft { .. } => None,
        }
    }
}

/// Errors of [`crate::confine::ModelClient::load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError<E> {
    /// The model did not open.
    #[error("model: it could not be opened: {0}")]
    Open(E),
    /// It was not tried, or not to the end.
    #[error(transparent)]
    Confine(#[from] ConfineError),
}
