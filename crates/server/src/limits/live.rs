//! Limits of callers that change while the server runs.

use super::CallerLimits;
use std::sync::{PoisonError, RwLock};

/// What every caller may use up that has no limits of its own, as it is now. Requests that come later see a change;
/// what was used before is not forgotten.
#[derive(Debug, Default)]
pub struct LiveLimits(RwLock<CallerLimits>);

impl LiveLimits {
    /// Limits to begin with.
    #[must_use]
    pub fn new(limits: CallerLimits) -> Self {
        Self(RwLock::new(limits))
    }

    /// Other limits from now on.
    pub fn set(&self, limits: CallerLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(crate) fn now(&self) -> CallerLimits {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
