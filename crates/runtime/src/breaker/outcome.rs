//! What became of a call, and what that says about the engine.

use ballast_backend::ErrorKind;
use std::time::Duration;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success {
        /// From the call to its answer.
        latency: Duration,
    },
    /// It ended with an error.
    Failed(ErrorKind),
    /// The engine took longer than it was given: a deadline passed while it worked, or the watchdog gave it up.
    TimedOut,
}

/// What an outcome says about the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It works.
    Good,
    /// It works, but answered later than it should.
    Late,
    /// It does not work.
    Bad,
    /// Nothing: the request was wrong, forbidden, refused or given up.
    Nothing,
}

impl Outcome {
    /// What it says about an engine that should answer within `sla`. The one place where kinds of errors are held
    /// against an engine or not.
    #[must_use]
    pub fn weight(self, sla: Option<Duration>) -> Weight {
        match self {
            Self::Success { latency } if sla.is_some_and(|sla| latency > sla) => Weight::Late,
            Self::Success { .. } => Weight::Good,
            Self::TimedOut => Weight::Bad,
            Self::Failed(kind) => match kind {
                ErrorKind::Unavailable | ErrorKind::Internal => Weight::Bad,
                ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Overloaded | ErrorKind::Cancelled => {
                    Weight::Nothing
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Weight};
    use ballast_backend::ErrorKind;
    use std::time::Duration;

    #[test]
    fn only_the_engines_own_faults_are_held_against_it() {
        let ms = Duration::from_millis;
        let success = |n| Outcome::Success { latency: ms(n) };
        let cases = [
            (success(20), Weight::Good),
            (success(21), Weight::Late),
            (Outcome::TimedOut, Weight::Bad),
            (Outcome::Failed(ErrorKind::Internal), Weight::Bad),
            (Outcome::Failed(ErrorKind::Unavailable), Weight::Bad),
            (Outcome::Failed(ErrorKind::Invalid), Weight::Nothing),
            (Outcome::Failed(ErrorKind::Denied), Weight::Nothing),
            (Outcome::Failed(ErrorKind::Overloaded), Weight::Nothing),
            (Outcome::Failed(ErrorKind::Cancelled), Weight::Nothing),
        ];
        for (outcome, expected) in cases {
            assert_eq!(outcome.weight(Some(ms(20))), expected, "{outcome:?}");
        }
        assert_eq!(success(u64::MAX).weight(None), Weight::Good);
    }
}
