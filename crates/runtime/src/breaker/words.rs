//! What a breaker is told and what it tells: positions, causes, changes, counts.

use ballast_backend::{ErrorKind, ReasonCode};
use std::time::Duration;

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Too few calls succeeded.
    SuccessRate,
    /// Too many answers came late.
    SlaViolations,
    /// The engine takes more memory than it may.
    Memory,
    /// The engine's numbers are further from the reference than they may be.
    Parity,
    /// A probe failed.
    ProbeFailed,
    /// A person opened it.
    Forced,
}

impl Cause {
    /// Every cause, in declaration order.
    pub const ALL: [Self; 6] =
        [Self::SuccessRate, Self::SlaViolations, Self::Memory, Self::Parity, Self::ProbeFailed, Self::Forced];

    /// Lower-case name, for labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::SlaViolations => "sla_violations",
            Self::Memory => "memory",
            Self::Parity => "parity",
            Self::ProbeFailed => "probe_failed",
            Self::Forced => "forced",
        }
    }
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
    /// Calls are rejected until a person says otherwise.
    ForcedOpen,
    /// Calls pass, whatever happens, until a person says otherwise.
    ForcedClosed,
}

impl Position {
    /// Lower-case name, for labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// A person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Reject everything.
    Open,
    /// Pass everything.
    Closed,
    /// Decide by what happens; begins closed, with nothing counted.
    Auto,
}

/// How an answer compares with the reference engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Within the tolerance.
    Within,
    /// Over it.
    Exceeded,
}

/// A change of position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it was.
    pub from: Position,
    /// Where it is.
    pub to: Position,
    /// Why it opened; `None` where it did not.
    pub cause: Option<Cause>,
}

/// The engine is not asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine: the circuit breaker is open ({})", cause.as_str())]
pub struct Rejected {
    /// What opened the breaker.
    pub cause: Cause,
    /// When asking again may help; `None`: when a probe that is out has ended, or a person says so.
    pub retry_after: Option<Duration>,
}

impl Rejected {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        ReasonCode::CircuitOpen
    }
}

/// What was counted since the breaker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerCounters {
    pub(super) trips: [u64; Cause::ALL.len()],
    /// Calls that were rejected.
    pub rejected: u64,
    /// Outcomes that came after the breaker had opened over them, and decided nothing.
    pub stale: u64,
}

impl BreakerCounters {
    /// How often it opened for `cause`.
    #[must_use]
    pub fn trips_by(&self, cause: Cause) -> u64 {
        self.trips[cause as usize]
    }

    /// How often it opened.
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.trips.iter().sum()
    }
}
