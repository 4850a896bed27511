//! The system's clocks: the monotonic one, and the date.

use ballast_backend::Clock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time enters the library")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Seconds since 1970-01-01 00:00 UTC: what chat templates and wires call the date.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the date enters the library")]
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
