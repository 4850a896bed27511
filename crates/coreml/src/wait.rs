//! Waiting for an answer of Core ML: until it comes, time is up, or nobody wants it any more.

use crate::{Action, CoreMlError};
use ballast_backend::{Clock, Pulse};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often the clock and the pulse are looked at while an answer is awaited; a time-out is late by at most this.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// One wait.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    action: Action,
    clock: &'a dyn Clock,
    timeout: Duration,
    until: Duration,
    pulse: &'a Pulse,
}

impl<'a> Wait<'a> {
    /// Waits at most `timeout` from now.
    pub(crate) fn new(action: Action, timeout: Duration, clock: &'a dyn Clock, pulse: &'a Pulse) -> Self {
        Self { action, clock, timeout, until: clock.now().saturating_add(timeout), pulse }
    }

    /// What the answer is to.
    pub(crate) fn action(&self) -> Action {
        self.action
    }

    /// The answer. Beats the pulse while it waits.
    ///
    /// # Errors
    /// The answer's own error; [`CoreMlError::TimedOut`]; [`CoreMlError::Interrupted`]; or, where whoever was to answer
    /// is gone, [`CoreMlError::NoAnswer`].
    pub(crate) fn answer<T>(&self, answers: &Receiver<Result<T, CoreMlError>>) -> Result<T, CoreMlError> {
        loop {
            self.pulse.beat()?;
            match answers.recv_timeout(TICK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return Err(CoreMlError::NoAnswer { action: self.action }),
                Err(RecvTimeoutError::Timeout) if self.clock.now() >= self.until => {
                    return Err(CoreMlError::TimedOut { action: self.action, timeout: self.timeout });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    struct Fast(std::sync::atomic::AtomicU64);

    impl Clock for Fast {
        /// Every look takes a second.
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }
    }

    #[test]
    fn a_wait_ends_with_the_answer_the_timeout_the_pulse_or_the_answerer() {
        let clock = Fast(0.into());
        let pulse = Pulse::new();
        let wait = |pulse| Wait::new(Action::Predict, Duration::from_secs(3), &clock, pulse);

        let (sender, answers) = sync_channel(1);
        sender.send(Ok(7)).unwrap();
        assert_eq!(wait(&pulse).answer(&answers).unwrap(), 7);

        let timed_out = wait(&pulse).answer(&answers);
        assert!(matches!(timed_out, Err(CoreMlError::TimedOut { action: Action::Predict, .. })));

        drop(sender);
        assert!(matches!(wait(&pulse).answer(&answers), Err(CoreMlError::NoAnswer { .. })));

        let (_sender, answers) = sync_channel::<Result<u8, _>>(1);
        pulse.interrupt();
        assert!(matches!(wait(&pulse).answer(&answers), Err(CoreMlError::Interrupted(_))));
    }
}
