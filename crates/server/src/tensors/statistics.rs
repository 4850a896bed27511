//! What was counted and measured of one version.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    pub(crate) total: Duration,
}

impl Counted {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(time);
    }

    /// Nanoseconds in all.
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.total.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Waiting for others, and for an instance.
    pub(crate) queue: Duration,
    /// Making tensors of what was sent.
    pub(crate) input: Duration,
    /// The model's run.
    pub(crate) infer: Duration,
    /// Making an answer of the outputs.
    pub(crate) output: Duration,
}

/// Runs of one number of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchFigures {
    pub(crate) input: Counted,
    pub(crate) infer: Counted,
    pub(crate) output: Counted,
}

/// Everything that is told of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) success: Counted,
    pub(crate) fail: Counted,
    /// Failures by Triton's words for why.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    pub(crate) queue: Counted,
    pub(crate) input: Counted,
    pub(crate) infer: Counted,
    pub(crate) output: Counted,
    /// Items that were answered.
    pub(crate) n_inferences: u64,
    /// Runs of the model that answered.
    pub(crate) n_executions: u64,
    /// Seconds since 1970; 0: never.
    pub(crate) last_inference: u64,
    /// By number of items; at most as many as a batch may have.
    pub(crate) batches: BTreeMap<usize, BatchFigures>,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Statistics(Mutex<Figures>);

impl Statistics {
    /// A request was answered.
    pub(super) fn succeed(&self, total: Duration, times: Times, n_items: usize) {
        let mut figures = self.lock();
        figures.success.add(total);
        figures.queue.add(times.queue);
        figures.input.add(times.input);
        figures.infer.add(times.infer);
        figures.output.add(times.output);
        figures.n_inferences += n_items as u64;
    }

    /// A request was not answered.
    pub(super) fn fail(&self, total: Duration, why: &'static str) {
        let mut figures = self.lock();
        figures.fail.add(total);
        *figures.failures.entry(why).or_default() += 1;
    }

    /// The model ran once, for so many items.
    pub(super) fn ran(&self, n_items: usize, times: Times) {
        let mut figures = self.lock();
        figures.n_executions += 1;
        let batch = figures.batches.entry(n_items).or_default();
        batch.input.add(times.input);
        batch.infer.add(times.infer);
        batch.output.add(times.output);
    }

    /// A request came.
    pub(super) fn asked(&self, unix_time: i64) {
        self.lock().last_inference = u64::try_from(unix_time).unwrap_or(0);
    }

    pub(super) fn figures(&self) -> Figures {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
