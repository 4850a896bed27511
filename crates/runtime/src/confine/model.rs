//! What the world outside of an owner thread holds of a model: a number.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loaded model, wherever its handle lives: an opaque number, never given twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelRef(u64);

/// The one global of this crate besides events: a reference that is unique per client only could be taken to the wrong
/// one, where it would name another model.
static N_MODELS: AtomicU64 = AtomicU64::new(1);

impl ModelRef {
    /// A reference that nobody else has.
    pub(super) fn unique() -> Self {
        Self(N_MODELS.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model {}", self.0)
    }
}
