//! Why a model is not given out.

use super::ModelId;
use ballast_backend::{ErrorKind, ReasonCode};
use std::fmt;
use std::time::Duration;

/// A model that takes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub model: ModelId,
    /// Its bytes.
    pub bytes: u64,
    /// Those who use it, or wait for it.
    pub claims: u32,
}

/// Shows a list of [`Held`] as words.
struct List<'a>(&'a [Held]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (idx, Held { model, bytes, claims }) in self.0.iter().enumerate() {
            let separator = if idx == 0 { "" } else { ", " };
            write!(f, "{separator}{model} ({bytes} bytes, used by {claims})")?;
        }
        Ok(())
    }
}

/// Errors of [`super::Lifecycle`] and [`super::ModelHouse`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// No model of this name.
    #[error("model {model}: there is no model of this name")]
    NotFound {
        /// The name.
        model: ModelId,
    },
    /// The load failed.
    #[error("model {model}: it could not be loaded; the next attempt is possible in {} ms", retry_after.as_millis())]
    LoadFailed {
        /// The name.
        model: ModelId,
        /// When it may be loaded again.
        retry_after: Duration,
    },
    /// What is in use leaves no room.
    #[error(
        "model {model}: expected room for {needed_bytes} bytes among {budget_bytes} and for one model among \
         {models_max}, but this is held: {}",
        List(held)
    )]
    NoRoom {
        /// The name.
        model: ModelId,
        /// Bytes it takes.
        needed_bytes: u64,
        /// Bytes there are for all.
        budget_bytes: u64,
        /// Models there may be.
        models_max: usize,
        /// What is loaded or being loaded.
        held: Vec<Held>,
    },
    /// Too many wait for the load.
    #[error("model {model}: expected fewer than {waiters_max} callers that wait for its load")]
    WaitersFull {
        /// The name.
        model: ModelId,
        /// The bound.
        waiters_max: u32,
    },
    /// The model was unloaded while it was being loaded.
    #[error("model {model}: it was unloaded before it was ready")]
    Unloaded {
        /// The name.
        model: ModelId,
    },
    /// The model is being loaded or swapped.
    #[error("model {model}: another version is being loaded")]
    SwapInProgress {
        /// The name.
        model: ModelId,
    },
    /// A swap to the version that is there.
    #[error("model {model}: expected another version than {version}, which it has")]
    SameVersion {
        /// The name.
        model: ModelId,
        /// The version.
        version: u64,
    },
    /// The caller's deadline passed.
    #[error("model {model}: the deadline passed before it was ready")]
    TimedOut {
        /// The name.
        model: ModelId,
    },
    /// The deadline of an unloading passed. It goes on: the last use ends it.
    #[error("model {model}: the deadline passed while it was used by {in_use}")]
    StillInUse {
        /// The name.
        model: ModelId,
        /// Uses.
        in_use: u32,
    },
}

impl LifecycleError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::SameVersion { .. } => ErrorKind::Invalid,
            Self::NoRoom { needed_bytes, budget_bytes, .. } if needed_bytes > budget_bytes => ErrorKind::Denied,
            Self::NoRoom { .. } | Self::WaitersFull { .. } | Self::SwapInProgress { .. } => ErrorKind::Overloaded,
            Self::LoadFailed { .. } | Self::Unloaded { .. } => ErrorKind::Unavailable,
            Self::TimedOut { .. } | Self::StillInUse { .. } => ErrorKind::Cancelled,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::NotFound { .. } => Some(ReasonCode::ModelNotFound),
            Self::LoadFailed { .. } => Some(ReasonCode::ModelLoadFailed),
            Self::NoRoom { .. } => Some(ReasonCode::MemoryBudgetExceeded),
            Self::WaitersFull { .. } => Some(ReasonCode::BackpressureQueueFull),
            Self::Unloaded { .. } | Self::SwapInProgress { .. } => Some(ReasonCode::EngineUnavailable),
            Self::TimedOut { .. } | Self::StillInUse { .. } => Some(ReasonCode::CancelledByTimeout),
            Self::SameVersion { .. } => None,
        }
    }

    /// When asking again may help, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LoadFailed { retry_after, .. } => Some(*retry_after),
            Self::NotFound { .. }
            | Self::NoRoom { .. }
            | Self::WaitersFull { .. }
            | Self::Unloaded { .. }
            | Self::SwapInProgress { .. }
            | Self::SameVersion { .. }
            | Self::TimedOut { .. }
            | Self::StillInUse { .. } => None,
        }
    }
}
