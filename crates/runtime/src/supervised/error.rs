//! Why there is no answer, or no engine.

use crate::breaker::Rejected;
use crate::confine::ConfineError;
use crate::instance_pool::PoolError;
use crate::parity::ParityError;
use ballast_backend::{EngineError, ErrorKind, ReasonCode, TensorError};
use std::sync::Arc;
use std::time::Duration;

/// What went wrong with a prediction, or with one link's attempt at it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictFault {
    /// The engine takes no more predictions.
    #[error("it is draining")]
    Draining,
    /// The inputs are not what the model takes.
    #[error(transparent)]
    Input(#[from] TensorError),
    /// The link is being prepared.
    #[error("it is still being prepared")]
    Preparing,
    /// The link could not be prepared.
    #[error("it could not be prepared")]
    NotPrepared,
    /// Every instance of the link was given up and is not replaced yet.
    #[error("every instance was given up")]
    AllLost,
    /// The link fails too often to be asked.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// No instance came free.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The time was over while the prediction ran.
    #[error("the deadline passed while it ran")]
    Deadline,
    /// The watchdog ended a call that took longer than it may.
    #[error("the call took longer than it may")]
    Late,
    /// An instance could not be opened.
    #[error("instance: it could not be opened: {0}")]
    Open(#[source] EngineError),
    /// The engine answered with an error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine answered without an output, or with one that the model does not have.
    #[error("output {name:?}: expected what the model says it gives")]
    Output {
        /// The first bad output.
        name: String,
    },
    /// The engine panicked.
    #[error("it panicked")]
    Panicked,
    /// The instance gave no sign of life and was given up.
    #[error("it gave no sign of life")]
    Stalled,
    /// The owner thread could not take the call.
    #[error(transparent)]
    Thread(ConfineError),
    /// The answer differs from the reference's by more than the tolerance.
    #[error("its answer differs from the reference's by more than the tolerance")]
    Parity,
    /// The answer had to be compared with the reference's, which could not be had.
    #[error("its answer could not be compared: {0}")]
    Unverified(Box<PredictFault>),
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same link may try again.
    Retry,
    /// The next link is asked.
    Fallback,
    /// The caller is told.
    Stop,
}

impl PredictFault {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Input(_) => ErrorKind::Invalid,
            Self::Draining | Self::Preparing | Self::NotPrepared | Self::AllLost | Self::Stalled => {
                ErrorKind::Unavailable
            }
            Self::Rejected(rejected) => rejected.kind(),
            Self::Pool(error) => error.kind(),
            Self::Deadline | Self::Late => ErrorKind::Cancelled,
            Self::Open(error) | Self::Engine(error) => error.kind(),
            Self::Thread(error) => error.kind(),
            Self::Output { .. } | Self::Panicked | Self::Parity => ErrorKind::Internal,
            Self::Unverified(fault) => fault.kind(),
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Input(_) => None,
            Self::Draining => Some(ReasonCode::Draining),
            Self::Preparing | Self::AllLost => Some(ReasonCode::EngineUnavailable),
            Self::NotPrepared | Self::Open(_) => Some(ReasonCode::ModelLoadFailed),
            Self::Rejected(rejected) => Some(rejected.reason()),
            Self::Pool(error) => error.reason(),
            Self::Deadline | Self::Late => Some(ReasonCode::CancelledByTimeout),
            Self::Engine(_) | Self::Output { .. } => Some(ReasonCode::EngineFailed),
            Self::Panicked => Some(ReasonCode::EngineCrashed),
            Self::Stalled => Some(ReasonCode::EngineStalled),
            Self::Thread(error) => error.reason(),
            Self::Parity | Self::Unverified(_) => Some(ReasonCode::ParityExceeded),
        }
    }

    /// The one place that decides what follows.
    pub(super) fn next(&self) -> Next {
        match self {
            Self::Draining | Self::Input(_) => Next::Stop,
            // Whoever is refused for want of room would take another link's room.
            Self::Pool(PoolError::Exhausted { .. } | PoolError::TimedOut { .. }) => Next::Stop,
            Self::Preparing
            | Self::NotPrepared
            | Self::AllLost
            | Self::Rejected(_)
            | Self::Pool(PoolError::Deadline | PoolError::ThreadRefused)
            | Self::Deadline
            | Self::Late
            | Self::Parity
            | Self::Unverified(_) => Next::Fallback,
            Self::Output { .. } | Self::Panicked | Self::Stalled | Self::Thread(_) => Next::Retry,
            Self::Open(error) => match error.kind() {
                ErrorKind::Internal | ErrorKind::Unavailable => Next::Retry,
                ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Overloaded | ErrorKind::Cancelled => Next::Fallback,
            },
            Self::Engine(error) => match error.kind() {
                ErrorKind::Internal | ErrorKind::Unavailable => Next::Retry,
                ErrorKind::Denied | ErrorKind::Overloaded | ErrorKind::Cancelled => Next::Fallback,
                ErrorKind::Invalid => Next::Stop,
            },
        }
    }
}

/// A prediction that was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{engine}: {fault}")]
pub struct PredictError {
    /// Name of the last engine that was asked.
    pub engine: &'static str,
    /// What it said, or why it was not asked.
    pub fault: PredictFault,
    /// When the same call may succeed, where that can be said: the soonest of all links.
    pub retry_after: Option<Duration>,
    /// How often it was run again.
    pub retries: u32,
}

impl PredictError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.fault.kind()
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        self.fault.reason()
    }
}

/// A supervised engine that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No link, or too many.
    #[error("chain: expected 1 to {links_max} engines, got {got}")]
    Links {
        /// The bound.
        links_max: usize,
        /// How many.
        got: usize,
    },
    /// Tolerances that no difference can be measured by.
    #[error(transparent)]
    Parity(#[from] ParityError),
    /// The system refused a thread.
    #[error("supervisor: the system refused a thread")]
    ThreadRefused,
    /// No link could be prepared.
    #[error("{engine}: {source}")]
    Prepare {
        /// Name of the last engine that failed so: those before it are there to be better, not to be needed.
        engine: &'static str,
        /// What it said.
        source: Arc<EngineError>,
    },
    /// The model is a language model, or has other inputs or outputs than the rest of the chain.
    #[error("{engine}: expected a tensor model with the inputs and outputs of the whole chain")]
    Schema {
        /// Name of the last such engine.
        engine: &'static str,
    },
    /// No link proved itself.
    #[error("{engine}: expected it to prove itself before it joins the chain, but it did not")]
    Unproven {
        /// Name of the last such engine.
        engine: &'static str,
    },
    /// No link was prepared in time.
    #[error("chain: expected an engine to be prepared within {prepare_max:?}, got none")]
    Late {
        /// The bound.
        prepare_max: Duration,
    },
}

impl OpenError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Links { .. } | Self::Schema { .. } => ErrorKind::Invalid,
            Self::Parity(error) => error.kind(),
            Self::ThreadRefused | Self::Unproven { .. } => ErrorKind::Unavailable,
            Self::Prepare { source, .. } => source.kind(),
            Self::Late { .. } => ErrorKind::Cancelled,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Links { .. } | Self::Parity(_) => None,
            Self::ThreadRefused => Some(ReasonCode::EngineUnavailable),
            Self::Prepare { .. } | Self::Schema { .. } | Self::Unproven { .. } => Some(ReasonCode::ModelLoadFailed),
            Self::Late { .. } => Some(ReasonCode::CancelledByTimeout),
        }
    }
}
