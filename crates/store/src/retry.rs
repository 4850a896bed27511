//! When to try again, and how long to wait before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::StoreError;
use crate::places::{Clock, Limits};

/// Slice of a wait after which cancellation is looked at.
const SLICE: Duration = Duration::from_millis(100);

/// Counts failures in a row and waits between attempts.
pub(crate) struct Retry<'a> {
    clock: &'a Clock,
    limits: &'a Limits,
    cancel: &'a AtomicBool,
    attempts: u32,
    failures: u32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(clock: &'a Clock, limits: &'a Limits, cancel: &'a AtomicBool) -> Self {
        Self { clock, limits, cancel, attempts: limits.attempts, failures: 0 }
    }

    /// Gives up sooner: for a source that has an alternative.
    pub(crate) fn at_most(mut self, attempts: u32) -> Self {
        self.attempts = self.attempts.min(attempts);
        self
    }

    /// The last attempt got far enough: failures before it do not count any more.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next attempt, or gives `error` back when there should be none.
    pub(crate) fn wait_after(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failures += 1;
        let Some(asked) = transient(&error) else { return Err(error) };
        let backoff = self.limits.backoff.saturating_mul(1 << (self.failures - 1).min(16)).min(self.limits.backoff_max);
        let wait = asked.map_or(backoff, |asked| asked.max(backoff));
        if self.failures >= self.attempts || wait > self.limits.backoff_max {
            return Err(error);
        }
        pause(self.clock, wait, self.cancel)
    }

    /// Calls `attempt` until it succeeds or should not be tried again.
    pub(crate) fn run<T>(mut self, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => self.wait_after(error)?,
            }
        }
    }
}

/// `None` for an error that another attempt would only repeat; else the wait that the server asked for, if it did.
fn transient(error: &StoreError) -> Option<Option<Duration>> {
    if let StoreError::RateLimited { wait, .. } | StoreError::Status { status: 408 | 500 | 502..=504, wait, .. } = error
    {
        return Some(*wait);
    }
    matches!(error, StoreError::Unreachable { .. } | StoreError::Interrupted { .. }).then_some(None)
}

/// Sleeps in slices; cancellation ends it.
pub(crate) fn pause(clock: &Clock, wait: Duration, cancel: &AtomicBool) -> Result<(), StoreError> {
    let mut left = wait;
    while !left.is_zero() {
        check(cancel)?;
        let slice = left.min(SLICE);
        (clock.sleep)(slice);
        left -= slice;
    }
    check(cancel)
}

/// `Cancelled` once the flag is set.
pub(crate) fn check(cancel: &AtomicBool) -> Result<(), StoreError> {
    if cancel.load(Ordering::Relaxed) { Err(StoreError::Cancelled) } else { Ok(()) }
}
