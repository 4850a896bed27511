//! The sign of life between an engine at work and whoever watches it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is asked of the engine; only ever raised, except that [`Pulse::resume`] takes an interruption back.
const GO: u8 = 0;
const INTERRUPT: u8 = 1;
const ABANDON: u8 = 2;

/// Shared by an engine's call and its watcher: the engine beats while it works, the watcher counts the beats and may
/// ask for the end. Clones are the same pulse.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<State>);

#[derive(Debug, Default)]
struct State {
    beats: AtomicU64,
    asked: AtomicU8,
}

/// The watcher wants no more of this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// Nobody waits for this call any more; the instance goes on with the next.
    Call,
    /// The instance was given up: it is to end.
    Instance,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "the call was interrupted: nobody waits for it",
            Self::Instance => "the instance was given up",
        })
    }
}

impl std::error::Error for Interrupted {}

impl Pulse {
    /// A pulse that nobody has asked anything of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the watcher that the engine is alive. Engines call it many times a second while they work (once a layer),
    /// and return at once with the error it gives.
    ///
    /// # Errors
    /// If the watcher asked for the end.
    pub fn beat(&self) -> Result<(), Interrupted> {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        match self.0.asked.load(Ordering::Acquire) {
            GO => Ok(()),
            INTERRUPT => Err(Interrupted::Call),
            _ => Err(Interrupted::Instance),
        }
    }

    /// Beats so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// Asks the call in progress to return.
    pub fn interrupt(&self) {
        self.0.asked.fetch_max(INTERRUPT, Ordering::AcqRel);
    }

    /// Takes an interruption back, before the next call. An abandoned instance stays abandoned.
    pub fn resume(&self) {
        let taken_back = self.0.asked.compare_exchange(INTERRUPT, GO, Ordering::AcqRel, Ordering::Acquire);
        // Otherwise nothing was asked, or the instance was given up: both stay.
        taken_back.ok();
    }

    /// Gives the instance up, for ever.
    pub fn abandon(&self) {
        self.0.asked.store(ABANDON, Ordering::Release);
    }

    /// Whether the instance was given up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.asked.load(Ordering::Acquire) == ABANDON
    }
}

#[cfg(test)]
mod tests {
    use super::{Interrupted, Pulse};

    #[test]
    fn an_interruption_can_be_taken_back_and_an_end_cannot() {
        let pulse = Pulse::new();
        assert_eq!(pulse.beat(), Ok(()));
        pulse.interrupt();
        assert_eq!(pulse.beat(), Err(Interrupted::Call));
        pulse.resume();
        assert_eq!(pulse.beat(), Ok(()));
        pulse.abandon();
        pulse.interrupt();
        pulse.resume();
        assert_eq!(pulse.beat(), Err(Interrupted::Instance));
        assert_eq!(pulse.beats(), 4);
    }
}
