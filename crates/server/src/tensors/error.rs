//! Why a tensor model gives no answer.

use super::stock::TensorModelError;
use crate::StockError;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::supervised::PredictError;
use std::time::Duration;

/// Clones go to every request of a run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum TensorsError {
    #[error("model: there is no tensor model `{name}` here")]
    Unknown { name: String },
    #[error("model: `{name}` has no version {version} here")]
    UnknownVersion { name: String, version: u64 },
    #[error("model: `{name}` is not ready: {reason}")]
    NotReady { name: String, reason: String },
    #[error("model: `{name}` is being loaded or unloaded; ask again later")]
    Busy { name: String },
    #[error("models: expected at most {max} loads at a time; ask again later")]
    Loads { max: usize },
    /// Nobody here loads models.
    #[error("models are not loaded and unloaded here: the server was started with the models it has")]
    NoStock,
    #[error(transparent)]
    Stock(#[from] StockError),
    /// What the stock brought cannot be served.
    #[error(transparent)]
    Model(#[from] TensorModelError),
    #[error("inputs: expected 1 to {max} items in the first dimension, got {got}")]
    Items { max: usize, got: usize },
    #[error("inputs: expected the same first dimension in all, got {one} and {other}")]
    ItemsUneven { one: usize, other: usize },
    #[error("the model has no place for another request now; at most {queue_max} wait")]
    QueueFull { queue_max: usize },
    #[error("the request's time was over before its answer was there")]
    TimedOut,
    /// The model gave rows of its own number, or requests were joined that are not alike.
    #[error("tensor `{name}`: expected one row for each item of the batch")]
    Unlike { name: String },
    /// The engine did not answer.
    #[error("{message}")]
    Failed { kind: ErrorKind, reason: Option<ReasonCode>, retry_after: Option<Duration>, message: String },
}

impl TensorsError {
    /// A run ended without an answer.
    pub(super) fn lost() -> Self {
        let message = "the engine failed while it worked on this request".to_owned();
        let reason = Some(ReasonCode::EngineFailed);
        Self::Failed { kind: ErrorKind::Internal, reason, retry_after: None, message }
    }

    /// What a caller can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } | Self::UnknownVersion { .. } | Self::Items { .. } | Self::ItemsUneven { .. } => {
                ErrorKind::Invalid
            }
            Self::NotReady { .. } | Self::Busy { .. } | Self::Loads { .. } => ErrorKind::Unavailable,
            Self::NoStock => ErrorKind::Invalid,
            Self::Stock(error) => error.kind,
            Self::Model(_) | Self::Unlike { .. } => ErrorKind::Internal,
            Self::QueueFull { .. } => ErrorKind::Overloaded,
            Self::TimedOut => ErrorKind::Cancelled,
            Self::Failed { kind, .. } => *kind,
        }
    }

    /// The reason code, where there is one.
    pub(crate) fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::NotReady { .. } | Self::Busy { .. } => Some(ReasonCode::EngineUnavailable),
            Self::QueueFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::TimedOut => Some(ReasonCode::CancelledByTimeout),
            Self::Failed { reason, .. } => *reason,
            Self::Unlike { .. } => Some(ReasonCode::EngineFailed),
            Self::Unknown { .. }
            | Self::UnknownVersion { .. }
            | Self::Loads { .. }
            | Self::NoStock
            | Self::Stock(_)
            | Self::Model(_)
            | Self::Items { .. }
            | Self::ItemsUneven { .. } => None,
        }
    }

    /// When the same request may succeed, where the engine can tell.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Failed { retry_after, .. } = self { *retry_after } else { None }
    }

    /// The stable code of errors without a reason.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::UnknownVersion { .. } => "model_not_found",
            Self::NotReady { .. } | Self::Busy { .. } | Self::Loads { .. } => "model_loading",
            Self::NoStock => "not_supported",
            Self::Stock(_) => "model_not_managed",
            Self::Items { .. } | Self::ItemsUneven { .. } => "invalid_value",
            Self::Model(_) | Self::QueueFull { .. } | Self::TimedOut | Self::Unlike { .. } => "server_error",
            Self::Failed { kind: ErrorKind::Invalid, .. } => "invalid_value",
            Self::Failed { .. } => "server_error",
        }
    }

    /// Why it failed, in Triton's words for its metrics.
    pub(crate) fn failure(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Overloaded | ErrorKind::Denied => "REJECTED",
            ErrorKind::Cancelled => "CANCELED",
            ErrorKind::Internal | ErrorKind::Unavailable => "BACKEND",
            ErrorKind::Invalid => "OTHER",
        }
    }
}

impl From<PredictError> for TensorsError {
    /// What is inside of an engine is for the log, not for callers.
    fn from(error: PredictError) -> Self {
        let (kind, reason, retry_after) = (error.kind(), error.reason(), error.retry_after);
        let message = match kind {
            ErrorKind::Invalid => error.fault.to_string(),
            ErrorKind::Denied | ErrorKind::Overloaded => "the model has no place for another request now".to_owned(),
            ErrorKind::Cancelled => "the request's time was over before its answer was there".to_owned(),
            ErrorKind::Unavailable => "the engine cannot take requests now; ask again later".to_owned(),
            ErrorKind::Internal => "the engine failed while it worked on this request".to_owned(),
        };
        if kind == ErrorKind::Internal {
            tracing::warn!(%error, "a tensor model failed");
        }
        Self::Failed { kind, reason, retry_after, message }
    }
}
