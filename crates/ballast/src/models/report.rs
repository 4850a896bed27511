//! How models are doing.

use crate::Error;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::lifecycle::ModelState;
use std::time::Duration;

/// Why a load failed. Its message may name the model's file: it is for the log, not for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFailure {
    /// The version that was loaded.
    pub version: u64,
    /// What can be done about it.
    pub kind: ErrorKind,
    /// The reason code, where there is one.
    pub reason: Option<ReasonCode>,
    /// The error.
    pub message: String,
}

impl LoadFailure {
    pub(super) fn new(version: u64, error: &Error) -> Self {
        Self { version, kind: error.kind(), reason: error.reason(), message: error.to_string() }
    }
}

/// How a model is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// The version that serves; where none does, the one that the next use loads.
    pub version: u64,
    /// What it does.
    pub state: ModelState,
    /// Bytes it takes; `None`: nothing of it serves.
    pub bytes: Option<u64>,
    /// Bytes it takes when it is loaded.
    pub planned_bytes: Option<u64>,
    /// Whether another version is being loaded to take its place.
    pub is_swapping: bool,
    /// Loads of it that were given up, did not end in their time, and hold memory still.
    pub n_stuck: u32,
    /// Why its last load failed; `None`: it did not.
    pub failure: Option<LoadFailure>,
}

impl ModelReport {
    /// Leases of it, those of a version that is on its way out aside.
    #[must_use]
    pub fn n_leases(&self) -> u32 {
        match self.state {
            ModelState::Ready { in_use, .. } | ModelState::Draining { in_use } => in_use,
            ModelState::Absent | ModelState::Loading { .. } | ModelState::Failed { .. } => 0,
        }
    }

    /// When a lease of it was last taken or dropped, by the clock of the models; `None`: it is not loaded.
    #[must_use]
    pub fn last_used(&self) -> Option<Duration> {
        match self.state {
            ModelState::Ready { last_used, .. } => Some(last_used),
            ModelState::Draining { .. }
            | ModelState::Absent
            | ModelState::Loading { .. }
            | ModelState::Failed { .. } => None,
        }
    }
}
