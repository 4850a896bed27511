//! How a thread waits: it spins for a while, then offers its CPU to others, then gives up and is to sleep.
//!
//! ```text
//! // Spin => Yield   its time is over
//! // Yield => Sleep  it has yielded often enough
//! ```
//!
//! Spinning is measured in time, because what a poll takes differs by an order of magnitude between CPUs. None of this
//! has a say in what is computed.

use std::time::{Duration, Instant};

/// A worker that waits for a job. It spins no longer than what lies between the forks of a token: who spins while its
/// caller has no CPU uses up the time slice that it could do its next share in. It yields for about a millisecond where
/// nobody else wants the CPU, which is longer than what lies between two tokens.
const WORKER: Limits = Limits { spin: Duration::from_micros(20), n_yields: Some(2_000) };
/// A caller that waits for the part that a worker is in. It has nothing to sleep for: the worker does not wake it.
const CALLER: Limits = Limits { spin: Duration::from_micros(20), n_yields: None };
/// Polls between two looks at the time, which take as long as some of them.
const POLLS_PER_LOOK: u32 = 32;

/// How long a thread waits in which way.
#[derive(Clone, Copy, Debug)]
struct Limits {
    spin: Duration,
    /// Without, it never sleeps.
    n_yields: Option<u32>,
}

/// What to do before the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Spin,
    Yield,
    Sleep,
}

/// What a pause comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Look again.
    ALittle,
    /// Sleep.
    Enough,
}

/// One wait.
#[derive(Debug)]
pub(crate) struct Patience {
    limits: Limits,
    n_polls: u32,
    n_yielded: u32,
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn of_worker() -> Self {
        Self::within(WORKER)
    }

    pub(crate) fn of_caller() -> Self {
        Self::within(CALLER)
    }

    const fn within(limits: Limits) -> Self {
        Self { limits, n_polls: 0, n_yielded: 0, since: None }
    }

    /// Waits a little, or says that it is time to sleep, which a caller is never told.
    pub(crate) fn pause(&mut self) -> Waited {
        match self.next(Self::spun) {
            Pause::Spin => std::hint::spin_loop(),
            Pause::Yield => std::thread::yield_now(),
            Pause::Sleep => return Waited::Enough,
        }
        Waited::ALittle
    }

    /// `spun` tells for how long this wait has lasted; it is asked now and then.
    fn next(&mut self, spun: impl FnOnce(&mut Self) -> Duration) -> Pause {
        if self.n_yielded == 0 {
            self.n_polls += 1;
            if !self.n_polls.is_multiple_of(POLLS_PER_LOOK) || spun(self) < self.limits.spin {
                return Pause::Spin;
            }
        }
        if self.limits.n_yields.is_some_and(|max| self.n_yielded >= max) {
            return Pause::Sleep;
        }
        self.n_yielded = self.n_yielded.saturating_add(1);
        Pause::Yield
    }

    #[expect(clippy::disallowed_methods, reason = "when to let go of a CPU; no result depends on it")]
    fn spun(&mut self) -> Duration {
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, POLLS_PER_LOOK, Patience, Pause};
    use std::time::Duration;

    const LIMITS: Limits = Limits { spin: Duration::from_micros(100), n_yields: Some(3) };

    #[test]
    fn spins_for_its_time_then_yields_then_sleeps() {
        let mut patience = Patience::within(LIMITS);
        for look in 0..5_u32 {
            for _ in 0..POLLS_PER_LOOK {
                assert_eq!(patience.next(|_| Duration::from_micros(24) * look), Pause::Spin);
            }
        }
        for _ in 1..POLLS_PER_LOOK {
            assert_eq!(patience.next(|_| unreachable!("between looks")), Pause::Spin);
        }
        for _ in 0..3 {
            assert_eq!(patience.next(|_| LIMITS.spin), Pause::Yield);
        }
        for _ in 0..3 {
            assert_eq!(patience.next(|_| unreachable!("time no longer matters")), Pause::Sleep);
        }
    }

    #[test]
    fn a_caller_never_sleeps() {
        let mut patience = Patience::of_caller();
        patience.n_yielded = u32::MAX - 1;
        for _ in 0..3 {
            assert_eq!(patience.next(|_| Duration::MAX), Pause::Yield);
        }
    }
}
