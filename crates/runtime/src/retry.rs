//! What may be run again, and after which wait. Pure.

mod budget;
mod restart;
mod seeded;

pub use budget::{RetryBudget, RetryBudgetOptions};
pub use restart::{RestartPolicy, RestartState};
pub(crate) use seeded::{mix, unit};

use ballast_backend::ErrorKind;
use std::time::Duration;

/// Whether running a request again gives what the first attempt would have given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The same engine recomputes the same tokens, so that those already given stand.
    Safe,
    /// It may not.
    Unsafe,
}

/// Which failed attempts are followed by another, and after which wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts, the first included. Default 2.
    pub attempts_max: u32,
    /// Waits between attempts. Default 100 ms, doubling up to 30 s, up to half of it shorter by its seed.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 2, backoff: Backoff::default() }
    }
}

impl RetryPolicy {
    /// Whether a request may be run again after `attempts` attempts, the last of which failed with `kind` when
    /// `emitted_tokens` had reached the caller.
    #[must_use]
    pub fn may_retry(&self, kind: ErrorKind, emitted_tokens: usize, attempts: u32, replay: Replay) -> bool {
        let is_passing = match kind {
            ErrorKind::Unavailable | ErrorKind::Internal => true,
            ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Overloaded | ErrorKind::Cancelled => false,
        };
        is_passing && attempts < self.attempts_max && (emitted_tokens == 0 || replay == Replay::Safe)
    }

    /// How long to wait after `attempts` attempts, at least one, before the next.
    #[must_use]
    pub fn wait(&self, attempts: u32) -> Duration {
        self.backoff.wait(attempts.saturating_sub(1))
    }
}

/// Waits that grow: `initial`, then `factor` times the last, never above `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait. Default 100 ms.
    pub initial: Duration,
    /// What each wait is multiplied with. Default 2.
    pub factor: u32,
    /// The longest wait. Default 30 s.
    pub max: Duration,
    /// Largest share of a wait that is taken off, 0 to 1, so that many do not come back together. Default 0.5.
    pub jitter: f64,
    /// Decides the shares. Default 0.
    pub seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), factor: 2, max: Duration::from_secs(30), jitter: 0.5, seed: 0 }
    }
}

impl Backoff {
    /// The wait after `failures_before` failures and one more. The same arguments give the same wait.
    #[must_use]
    pub fn wait(&self, failures_before: u32) -> Duration {
        let growth = self.factor.checked_pow(failures_before).unwrap_or(u32::MAX);
        let longest = self.initial.saturating_mul(growth).min(self.max);
        let share = self.jitter.clamp(0.0, 1.0) * unit(mix(self.seed, u64::from(failures_before)));
        longest.mul_f64(1.0 - share)
    }
}

#[cfg(test)]
mod tests;
