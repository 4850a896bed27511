//! Where time comes from. Real clocks are made by the executable and by `ballast`; tests bring a virtual one.

use std::time::Duration;

/// A monotonic clock: time since an origin that is fixed for the life of the clock.
pub trait Clock: Send + Sync {
    /// Time since the clock's origin. Never goes back.
    fn now(&self) -> Duration;
}
