//! What an instance is doing and whether it takes too long. Pure.
//!
//! ```text
//! Idle    => Opening   the first call opens the model
//! Opening => Idle      it opened, or did not
//! Idle    => Running   a call begins
//! Running => Idle      it returned
//! ```

use super::options::SupervisedOptions;
use crate::watchdog::{Verdict, Watchdog};
use std::time::Duration;

/// What is to be done about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It owes no sign of life.
    Idle,
    /// It is at work, and look again.
    Working,
    /// Its call takes longer than it may: ask it to return.
    Interrupt,
    /// It does not come back: give it up.
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Idle,
    Opening { since: Duration },
    Running { deadline: Duration, is_late: bool },
}

/// One instance's calls, watched.
#[derive(Debug)]
pub(super) struct Watch {
    dog: Watchdog,
    open_max: Duration,
    grace: Duration,
    work: Work,
    n_calls: u64,
}

impl Watch {
    pub(super) fn new(options: &SupervisedOptions) -> Self {
        let (open_max, grace) = (options.open_max, options.return_grace);
        Self { dog: Watchdog::new(options.watchdog), open_max, grace, work: Work::Idle, n_calls: 0 }
    }

    pub(super) fn open(&mut self, now: Duration) {
        self.work = Work::Opening { since: now };
    }

    /// A call begins whose caller waits until `deadline`.
    pub(super) fn begin(&mut self, beats: u64, deadline: Duration, now: Duration) {
        self.n_calls += 1;
        self.dog.begin(self.n_calls, beats, now);
        self.work = Work::Running { deadline, is_late: false };
    }

    /// Returns whether the call was asked to return because it took longer than it may.
    pub(super) fn end(&mut self) -> bool {
        self.dog.end();
        let was_late = matches!(self.work, Work::Running { is_late: true, .. });
        self.work = Work::Idle;
        was_late
    }

    pub(super) fn check(&mut self, beats: u64, now: Duration) -> Finding {
        let Self { dog, open_max, grace, work, .. } = self;
        match work {
            Work::Idle => Finding::Idle,
            Work::Opening { since } if now >= since.saturating_add(*open_max) => Finding::GiveUp,
            Work::Opening { .. } => Finding::Working,
            Work::Running { deadline, is_late } => match dog.observe(beats, now) {
                Verdict::Stalled { .. } => Finding::GiveUp,
                Verdict::Late { since } if now >= since.saturating_add(*grace) => Finding::GiveUp,
                _ if now >= deadline.saturating_add(*grace) => Finding::GiveUp,
                Verdict::Late { .. } => {
                    *is_late = true;
                    Finding::Interrupt
                }
                Verdict::Idle | Verdict::Alive => Finding::Working,
            },
        }
    }

    /// Time since the last sign of life was seen; `None`: it owes none.
    pub(super) fn heartbeat_age(&self, now: Duration) -> Option<Duration> {
        match self.work {
            Work::Idle => None,
            Work::Opening { since } => Some(now.saturating_sub(since)),
            Work::Running { .. } => self.dog.heartbeat_age(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Watch};
    use crate::supervised::SupervisedOptions;
    use crate::watchdog::WatchdogOptions;
    use std::time::Duration;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn watch() -> Watch {
        Watch::new(&SupervisedOptions {
            watchdog: WatchdogOptions { stall_after: S(4), call_max: Some(S(6)) },
            open_max: S(10),
            return_grace: S(1),
            ..SupervisedOptions::default()
        })
    }

    #[test]
    fn silence_is_given_up_and_an_idle_instance_owes_nothing() {
        let mut watch = watch();
        assert_eq!(watch.check(0, S(100)), Finding::Idle);
        watch.begin(0, S(200), S(100));
        let found: Vec<_> = (1..=4).map(|at| watch.check(0, S(100 + at))).collect();
        assert_eq!(found, [Finding::Working, Finding::Working, Finding::Working, Finding::GiveUp]);
        assert!(!watch.end());
        assert_eq!(watch.check(0, S(300)), Finding::Idle);
    }

    #[test]
    fn a_call_that_beats_too_long_is_asked_to_return_then_given_up() {
        let mut watch = watch();
        watch.begin(0, S(200), S(0));
        assert_eq!(watch.check(1, S(5)), Finding::Working);
        assert_eq!(watch.check(2, S(6)), Finding::Interrupt);
        assert_eq!(watch.check(3, S(7)), Finding::GiveUp);
        assert!(watch.end());
    }

    #[test]
    fn a_call_that_beats_on_after_its_deadline_is_given_up_after_the_grace() {
        let mut watch = watch();
        watch.begin(0, S(2), S(0));
        assert_eq!(watch.check(1, S(2)), Finding::Working);
        assert_eq!(watch.check(2, S(3)), Finding::GiveUp);
    }

    #[test]
    fn opening_owes_no_beats_but_an_end() {
        let mut watch = watch();
        watch.open(S(0));
        assert_eq!(watch.check(0, S(9)), Finding::Working);
        assert_eq!(watch.heartbeat_age(S(9)), Some(S(9)));
        assert_eq!(watch.check(0, S(10)), Finding::GiveUp);
    }
}
