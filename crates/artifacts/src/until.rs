//! Until when something may take: a deadline, and a pulse by which it can be ended earlier.

use crate::CacheError;
use ballast_backend::{Clock, Pulse};
use std::fmt;
use std::time::Duration;

/// How long a wait or a long read may take.
#[derive(Clone, Copy)]
pub struct Until<'a> {
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// A time on `clock`; `None`: as long as it takes.
    pub deadline: Option<Duration>,
    /// Ends the work early, and shows that it goes on.
    pub pulse: &'a Pulse,
}

impl fmt::Debug for Until<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").field("deadline", &self.deadline).field("pulse", self.pulse).finish_non_exhaustive()
    }
}

impl Until<'_> {
    /// Whether there is still time; beats the pulse.
    ///
    /// # Errors
    /// [`CacheError::DeadlinePassed`] or [`CacheError::Interrupted`].
    pub fn check(&self) -> Result<(), CacheError> {
        self.pulse.beat()?;
        match self.deadline {
            Some(deadline) if self.clock.now() >= deadline => Err(CacheError::DeadlinePassed),
            Some(_) | None => Ok(()),
        }
    }
}
