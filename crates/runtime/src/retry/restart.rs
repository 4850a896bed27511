//! When an instance that ended is opened again. Pure.
//!
//! ```text
//! Running => Down      it ended; the wait grows with every time it did not run long enough
//! Down    => Opening   the wait has passed
//! Opening => Running   it opened
//! Opening => Down      it did not; the wait grows
//! ```

use super::Backoff;
use std::time::Duration;

/// Where an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartState {
    /// It runs.
    Running {
        /// Since when.
        since: Duration,
    },
    /// It waits to be opened again.
    Down {
        /// Until when.
        until: Duration,
    },
    /// It is being opened.
    Opening,
}

/// Waits between the openings of one instance.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    backoff: Backoff,
    stable_after: Duration,
    state: RestartState,
    /// Failures in a row: ends before it was stable, and openings that failed.
    failures: u32,
    restarts: u64,
}

impl RestartPolicy {
    /// How long an instance must run before its earlier failures are forgotten, unless told otherwise.
    pub const STABLE_AFTER: Duration = Duration::from_secs(60);

    /// The policy of an instance that is being opened for the first time.
    #[must_use]
    pub fn new(backoff: Backoff, stable_after: Duration) -> Self {
        Self { backoff, stable_after, state: RestartState::Opening, failures: 0, restarts: 0 }
    }

    /// The instance opened.
    pub fn opened(&mut self, now: Duration) {
        if self.state == RestartState::Opening {
            self.state = RestartState::Running { since: now };
        }
    }

    /// The instance ended, or its opening failed. Returns when it may be opened again.
    pub fn failed(&mut self, now: Duration) -> Duration {
        match self.state {
            RestartState::Down { until } => return until,
            RestartState::Running { since } if now.saturating_sub(since) >= self.stable_after => self.failures = 0,
            RestartState::Running { .. } | RestartState::Opening => {}
        }
        let until = now.saturating_add(self.backoff.wait(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.state = RestartState::Down { until };
        until
    }

    /// Whether to open the instance now: `true` once for each wait that has passed.
    #[must_use]
    pub fn begin_opening(&mut self, now: Duration) -> bool {
        let is_due = matches!(self.state, RestartState::Down { until } if now >= until);
        if is_due {
            self.state = RestartState::Opening;
            self.restarts += 1;
        }
        is_due
    }

    /// Where the instance is.
    #[must_use]
    pub fn state(&self) -> RestartState {
        self.state
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How often it was opened again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }
}

#[cfg(test)]
mod tests {
    use super::{RestartPolicy, RestartState};
    use crate::retry::Backoff;
    use std::time::Duration;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn policy() -> RestartPolicy {
        RestartPolicy::new(Backoff { jitter: 0.0, ..Backoff::default() }, RestartPolicy::STABLE_AFTER)
    }

    #[test]
    fn waits_grow_until_it_has_run_for_a_while() {
        let mut policy = policy();
        let mut now = Duration::ZERO;
        for expected in [100, 200, 400] {
            policy.opened(now);
            now += MS(59_999);
            assert_eq!(policy.failed(now), now + MS(expected));
            now += MS(expected);
            assert!(policy.begin_opening(now));
        }
        policy.opened(now);
        now += MS(60_000);
        assert_eq!(policy.failed(now), now + MS(100), "it was stable");
        assert_eq!(policy.restarts(), 3);
    }

    #[test]
    fn opens_once_and_not_before_its_time() {
        let mut policy = policy();
        assert!(!policy.begin_opening(MS(0)), "it is being opened already");
        assert_eq!(policy.failed(MS(0)), MS(100));
        assert_eq!(policy.failed(MS(50)), MS(100), "a second report of the same end changes nothing");
        assert!(!policy.begin_opening(MS(99)));
        assert!(policy.begin_opening(MS(100)));
        assert!(!policy.begin_opening(MS(100)));
        assert_eq!(policy.failed(MS(100)), MS(300), "an opening that fails counts");
        policy.opened(MS(200));
        assert_eq!(policy.state(), RestartState::Down { until: MS(300) }, "nothing opens while it is down");
        assert_eq!(policy.failures(), 2);
    }
}
