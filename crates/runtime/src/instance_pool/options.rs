//! The bounds of a pool, what it counts, and why there is no permit.

use ballast_backend::{ErrorKind, ReasonCode};
use std::fmt;
use std::time::Duration;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Most instances, at least 1.
    pub n_instances: usize,
    /// Calls that may share an instance, at least 1.
    pub concurrency: usize,
    /// Longest wait for a permit.
    pub acquire_timeout: Duration,
    /// Most callers that wait; one more is refused with `POOL_EXHAUSTED`.
    pub waiters_max: usize,
    /// How late, in system time, a waiter may learn that its time is over, or a seat that its old thread has ended.
    pub tick: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            n_instances: 4,
            concurrency: 1,
            acquire_timeout: Duration::from_millis(5000),
            waiters_max: 64,
            tick: Duration::from_millis(5),
        }
    }
}

/// What a pool did and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolStats {
    /// Permits there are: instances times concurrency. `active + free + dying` is always this.
    pub permits: usize,
    /// Permits that are out.
    pub active: usize,
    /// Permits that could be had.
    pub free: usize,
    /// Permits of lost instances whose threads have not ended.
    pub dying: usize,
    /// Instances that are open.
    pub instances: usize,
    /// Instances that are open and not in use.
    pub idle: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// Permits asked for.
    pub acquires: u64,
    /// Permits given.
    pub successful: u64,
    /// Callers refused because too many waited.
    pub failed: u64,
    /// Callers whose wait took too long.
    pub timed_out: u64,
    /// Callers that went away while they waited.
    pub cancelled: u64,
    /// Instances that did not open.
    pub open_failures: u64,
    /// Instances that were given up.
    pub lost_instances: u64,
    /// Calls made with permits.
    pub inferences: u64,
    /// Mean wait of those who got a permit, moving: nine parts old, one part new. `None`: nobody has.
    pub wait_mean: Option<Duration>,
    /// Longest wait of those who got a permit.
    pub wait_max: Duration,
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { permits, active, dying, instances, idle, waiting, .. } = self;
        write!(f, "{instances} instances, {idle} idle, {active} of {permits} permits out, {dying} dying, ")?;
        write!(f, "{waiting} waiting; {} acquires: {} given, ", self.acquires, self.successful)?;
        write!(f, "{} refused, {} timed out, {} cancelled; ", self.failed, self.timed_out, self.cancelled)?;
        match self.wait_mean {
            Some(mean) => write!(f, "wait {mean:.1?} on average, {:.1?} at most; ", self.wait_max)?,
            None => f.write_str("wait not measured; ")?,
        }
        write!(f, "{} inferences, {} instances lost", self.inferences, self.lost_instances)
    }
}

/// Errors of an [`InstancePool`](super::InstancePool).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too many callers wait already.
    #[error("pool: expected room among {waiters_max} waiting callers, got none")]
    Exhausted {
        /// The bound.
        waiters_max: usize,
    },
    /// No instance came free within [`PoolOptions::acquire_timeout`].
    #[error("pool: expected a free instance, got none in {waited:?}")]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The caller's own deadline passed.
    #[error("pool: the deadline passed before an instance was free")]
    Deadline,
    /// The system refused the pool its timer thread.
    #[error("pool: the system refused a thread")]
    ThreadRefused,
}

impl PoolError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Exhausted { .. } | Self::TimedOut { .. } => ErrorKind::Overloaded,
            Self::Deadline => ErrorKind::Cancelled,
            Self::ThreadRefused => ErrorKind::Unavailable,
        }
    }

    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Exhausted { .. } | Self::TimedOut { .. } => Some(ReasonCode::PoolExhausted),
            Self::Deadline => Some(ReasonCode::CancelledByTimeout),
            Self::ThreadRefused => Some(ReasonCode::EngineUnavailable),
        }
    }
}

/// Errors of [`InstancePool::acquire`](super::InstancePool::acquire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError<E> {
    /// There is no permit.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The permit's instance was to be opened, and did not open.
    #[error("instance: it could not be opened: {0}")]
    Open(E),
}
