//! Who is at work, who waits for time to pass, and the thread that looks after both.

use crate::confine::Slot;
use ballast_backend::Clock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Predictions in progress, and what is told when.
pub(super) struct Keeper {
    state: Mutex<State>,
    wake: Condvar,
    clock: Arc<dyn Clock>,
    tick: Duration,
    /// How often to look even though nobody is at work; `None`: not at all.
    every: Option<Duration>,
}

#[derive(Default)]
struct State {
    n_predictions: usize,
    /// Calls that nobody waits for, to be watched all the same.
    n_beside: usize,
    alarms: Vec<Alarm>,
    is_draining: bool,
    is_closed: bool,
    sleeps: bool,
    /// Who waits for the last prediction.
    drains: Vec<Arc<Slot<Woken>>>,
}

struct Alarm {
    at: Duration,
    slot: Arc<Slot<Woken>>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The time.
    Time,
    /// No prediction is in progress any more.
    Empty,
}

/// A prediction in progress; it ends when this is dropped.
pub(super) struct InProgress<'a>(&'a Keeper);

/// A call that is watched; it ends when this is dropped.
pub(super) struct Beside<'a>(&'a Keeper);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.lock().n_beside -= 1;
    }
}

impl Keeper {
    pub(super) fn new(clock: Arc<dyn Clock>, tick: Duration, every: Option<Duration>) -> Self {
        Self { state: Mutex::new(State::default()), wake: Condvar::new(), clock, tick, every }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let wakes = std::mem::take(&mut state.sleeps);
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// A prediction begins; `None`: no more are taken in.
    pub(super) fn begin(&self) -> Option<InProgress<'_>> {
        let mut state = self.lock();
        if state.is_draining {
            return None;
        }
        state.n_predictions += 1;
        self.unlock(state);
        Some(InProgress(self))
    }

    pub(super) fn n_predictions(&self) -> usize {
        self.lock().n_predictions
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    /// A call beside the predictions begins.
    pub(super) fn begin_beside(&self) -> Beside<'_> {
        let mut state = self.lock();
        state.n_beside += 1;
        self.unlock(state);
        Beside(self)
    }

    /// Waits until `at`.
    pub(super) async fn sleep_until(&self, at: Duration) {
        if self.clock.now() < at {
            self.alarm(at).recv().await;
        }
    }

    fn alarm(&self, at: Duration) -> Arc<Slot<Woken>> {
        let slot = Arc::new(Slot::new());
        let mut state = self.lock();
        state.alarms.push(Alarm { at, slot: Arc::clone(&slot) });
        self.unlock(state);
        slot
    }

    /// Takes no more in, and waits for the last prediction, or until `at`.
    pub(super) async fn drain(&self, at: Duration) -> Woken {
        let slot = self.alarm(at);
        let is_empty = {
            let mut state = self.lock();
            state.is_draining = true;
            state.drains.push(Arc::clone(&slot));
            state.n_predictions == 0
        };
        if is_empty {
            slot.settle(Woken::Empty);
        }
        slot.recv().await.unwrap_or(Woken::Empty)
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_draining = true;
        state.is_closed = true;
        drop(state);
        self.wake.notify_one();
    }

    /// The life of the keeper's thread. `look` says whether somebody is at work.
    pub(super) fn run(&self, mut look: impl FnMut() -> bool) {
        loop {
            let is_busy = look();
            let now = self.clock.now();
            let mut state = self.lock();
            if state.is_closed {
                return;
            }
            let due: Vec<Alarm> = state.alarms.extract_if(.., |alarm| alarm.at <= now).collect();
            if !due.is_empty() {
                drop(state);
                due.iter().for_each(|alarm| alarm.slot.settle(Woken::Time));
                continue;
            }
            let wait = if is_busy || state.n_predictions + state.n_beside > 0 || !state.alarms.is_empty() {
                Some(self.tick)
            } else {
                state.sleeps = true;
                self.every
            };
            match wait {
                Some(wait) => drop(self.wake.wait_timeout(state, wait)),
                None => drop(self.wake.wait(state)),
            }
        }
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.n_predictions -= 1;
        let ended = if state.n_predictions == 0 { std::mem::take(&mut state.drains) } else { Vec::new() };
        drop(state);
        ended.iter().for_each(|slot| slot.settle(Woken::Empty));
    }
}
