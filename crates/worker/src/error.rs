//! What goes wrong between the two processes, and the bounds of what they say to each other.

use ballast_backend::{EngineError, ErrorKind, Interrupted, ReasonCode};
use std::fmt;
use std::io;
use std::time::Duration;

/// Most bytes of one frame: fits a socket's buffer, so that a writer does not wait for a reader that has stopped.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of an error's text that cross from the worker; the rest is cut.
pub const TEXT_BYTES_MAX: usize = 2 * 1024;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame over the bound.
    #[error("frame: expected at most {FRAME_BYTES_MAX} bytes, got {got}")]
    TooLong {
        /// Bytes it has, or claims.
        got: usize,
    },
    /// A body that is not the message expected.
    #[error("frame: expected a message of this protocol, got something else at byte {at}")]
    Malformed {
        /// Where reading ended.
        at: usize,
    },
}

/// Why a socket between the processes is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side has gone.
    #[error("the other process has closed the connection")]
    Closed,
    /// The system.
    #[error(transparent)]
    Io(io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        // Which of these a death gives depends on what it left unread.
        let is_end = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if is_end { Self::Closed } else { Self::Io(error) }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The system did not say within the time granted.
    Unknown,
}

impl fmt::Display for HowEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("a status that is not known"),
        }
    }
}

/// Errors of a worker. It goes on after `Engine`, `Interrupted(Call)`, what is `Invalid`, and shared memory that cannot
/// be written; after all others it is gone.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process cannot be started.
    #[error("worker: cannot be started: {source}")]
    Spawn {
        /// Why not.
        source: io::Error,
    },
    /// Shared memory cannot be had, read or written.
    #[error("worker: shared memory: {source}")]
    Shared {
        /// Why not.
        source: io::Error,
    },
    /// A call that would take more shared memory than it may.
    #[error("worker: expected at most {max_bytes} bytes of shared memory, got a call of {got_bytes}")]
    SharedTooLarge {
        /// [`crate::WorkerLimits::shared_bytes_max`].
        max_bytes: u64,
        /// What the call would take.
        got_bytes: u64,
    },
    /// A call whose description is longer than a frame.
    #[error("worker: expected a call described in {FRAME_BYTES_MAX} bytes, got {got}")]
    CallTooLong {
        /// Bytes of the description.
        got: usize,
    },
    /// A step with a number that cannot be passed on.
    #[error("worker: step: expected {expected}, got {got}")]
    Step {
        /// The bound.
        expected: &'static str,
        /// What was asked.
        got: usize,
    },
    /// The connection broke, or carried something else.
    #[error("worker: {0}")]
    Link(#[from] LinkError),
    /// The worker speaks another version.
    #[error("worker: expected version {expected} of the protocol, got {got}")]
    Version {
        /// Ours.
        expected: u32,
        /// Its.
        got: u32,
    },
    /// The worker said what it may not say.
    #[error("worker: expected {expected}, got {got}")]
    Protocol {
        /// What would have been right.
        expected: &'static str,
        /// What came, bounded.
        got: String,
    },
    /// The instance was not open in time.
    #[error("worker: expected an open instance within {max:?}")]
    OpenTimeout {
        /// [`crate::WorkerLimits::open_max`].
        max: Duration,
    },
    /// The process has ended.
    #[error("worker: the process ended with {how}")]
    Ended {
        /// How.
        how: HowEnded,
    },
    /// The engine in the worker failed, and the worker goes on.
    #[error("{text}")]
    Engine {
        /// The engine's own kind.
        kind: ErrorKind,
        /// The engine's own text, bounded.
        text: String,
    },
    /// The engine in the worker panicked, and the worker ended.
    #[error("worker: the engine panicked: {text}")]
    Panicked {
        /// What the panic said, bounded.
        text: String,
    },
    /// The watcher asked for the end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Workers need sockets and descriptors of Unix.
    #[error("worker: expected a Unix system, worker processes are not available on this platform")]
    NotOnThisPlatform,
}

impl WorkerError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::SharedTooLarge { .. } | Self::CallTooLong { .. } | Self::Step { .. } => ErrorKind::Invalid,
            Self::Engine { kind, .. } => *kind,
            Self::Panicked { .. } => ErrorKind::Internal,
            Self::Interrupted(_) => ErrorKind::Cancelled,
            Self::Spawn { .. }
            | Self::Shared { .. }
            | Self::Link(_)
            | Self::Version { .. }
            | Self::Protocol { .. }
            | Self::OpenTimeout { .. }
            | Self::Ended { .. }
            | Self::NotOnThisPlatform => ErrorKind::Unavailable,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Link(_) | Self::Protocol { .. } | Self::Ended { .. } | Self::Panicked { .. } => {
                Some(ReasonCode::EngineCrashed)
            }
            Self::Spawn { .. }
            | Self::Shared { .. }
            | Self::Version { .. }
            | Self::OpenTimeout { .. }
            | Self::NotOnThisPlatform => Some(ReasonCode::EngineUnavailable),
            Self::Engine { .. } => Some(ReasonCode::EngineFailed),
            Self::SharedTooLarge { .. } | Self::CallTooLong { .. } | Self::Step { .. } | Self::Interrupted(_) => None,
        }
    }
}

impl From<WorkerError> for EngineError {
    fn from(error: WorkerError) -> Self {
        Self::new(error.kind(), error)
    }
}
