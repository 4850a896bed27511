//! Bounds of a set of models.

use ballast_runtime::lifecycle::LifecycleOptions;
use ballast_runtime::retry::Backoff;
use ballast_runtime::telemetry::Telemetry;
use std::time::Duration;

/// Bounds of [`super::Models`].
#[derive(Clone, Debug)]
pub struct ModelsOptions {
    /// Most bytes that loaded models take together, as planned; `None`: what the machine and the process's cgroup leave
    /// at the beginning. Default `None`.
    pub memory_bytes: Option<u64>,
    /// Most models loaded at a time, at least 1. Default 8.
    pub models_max: usize,
    /// Most names of models, and most routes. Default 256.
    pub names_max: usize,
    /// Most callers that wait for one load. Default 256.
    pub waiters_max: u32,
    /// How long a model stays loaded without use; `None`: until the room is needed. Default `None`.
    pub keep_alive: Option<Duration>,
    /// Longest time of one load; then it is given up, and those who wait get the version before it, or are refused.
    /// Default 10 min.
    pub load_max: Duration,
    /// Longest time that a load which was given up may take to end; then it is told as stuck, and nobody counts on its room
    /// before it has really ended. Default 10 s.
    pub obey_max: Duration,
    /// Waits after failed loads. Default 1 s, doubling up to 60 s, up to a tenth shorter by its seed.
    pub backoff: Backoff,
    /// Decides which keys belong to which version. Default 0.
    pub routing_seed: u64,
    /// Where steps of roll-outs and loads that do not end are told. Models tell of themselves where their own options say. Default: nowhere.
    pub telemetry: Telemetry,
}

impl Default for ModelsOptions {
    fn default() -> Self {
        let LifecycleOptions { models_max, waiters_max, load_max, obey_max, backoff, .. } = LifecycleOptions::new(0);
        Self {
            memory_bytes: None,
            models_max,
            names_max: 256,
            waiters_max,
            keep_alive: None,
            load_max,
            obey_max,
            backoff,
            routing_seed: 0,
            telemetry: Telemetry::default(),
        }
    }
}

impl ModelsOptions {
    pub(super) fn lifecycle(&self, budget_bytes: u64) -> LifecycleOptions {
        LifecycleOptions {
            models_max: self.models_max,
            waiters_max: self.waiters_max,
            load_max: self.load_max,
            obey_max: self.obey_max,
            backoff: self.backoff,
            ..LifecycleOptions::new(budget_bytes)
        }
    }
}
