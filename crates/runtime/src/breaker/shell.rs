//! A breaker that threads share: a lock around the pure one, and passes that come back by themselves.

use super::{Breaker, BreakerCounters, BreakerOptions, Forced, Outcome, Parity, Pass, Position, Rejected, Transition};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Told of every change of position, on the thread that caused it and outside of the lock.
type Observer = Box<dyn Fn(Transition) + Send + Sync>;

/// One engine's breaker. Clones share it.
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Shared>);

struct Shared {
    breaker: Mutex<Breaker>,
    observer: Observer,
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.lock(), f)
    }
}

impl CircuitBreaker {
    /// A closed breaker that tells `observer` of its changes. The observer must not wait.
    #[must_use]
    pub fn new(options: BreakerOptions, observer: impl Fn(Transition) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { breaker: Mutex::new(Breaker::new(options)), observer: Box::new(observer) }))
    }

    /// Asks for leave to call the engine.
    ///
    /// # Errors
    /// If the engine is not to be asked now.
    pub fn try_pass(&self, now: Duration) -> Result<PassGuard, Rejected> {
        let decision = self.lock().try_pass(now);
        self.tell(decision.transition);
        decision.pass.map(|pass| PassGuard { pass: Some(pass), breaker: self.clone() })
    }

    /// Takes note of the memory the engine uses.
    pub fn observe_memory(&self, memory_bytes: u64, now: Duration) {
        let transition = self.lock().observe_memory(memory_bytes, now);
        self.tell(transition);
    }

    /// Takes note of a comparison with the reference engine.
    pub fn observe_parity(&self, parity: Parity, now: Duration) {
        let transition = self.lock().observe_parity(parity, now);
        self.tell(transition);
    }

    /// Obeys a person.
    pub fn force(&self, forced: Forced) {
        let transition = self.lock().force(forced);
        self.tell(transition);
    }

    /// What it does with calls.
    #[must_use]
    pub fn position(&self) -> Position {
        self.lock().position()
    }

    /// Whether probes' answers are to be compared with the reference engine's; see [`Breaker::wants_parity`].
    #[must_use]
    pub fn wants_parity(&self) -> bool {
        self.lock().wants_parity()
    }

    /// What was counted since it was made.
    #[must_use]
    pub fn counters(&self) -> BreakerCounters {
        self.lock().counters()
    }

    /// Probes that were passed and not given back.
    #[cfg(test)]
    pub(crate) fn probes_out(&self) -> u32 {
        self.lock().probes_out()
    }

    fn tell(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            (self.0.observer)(transition);
        }
    }

    /// No function of the pure breaker panics half-way, so that a poisoned lock guards whole data.
    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to call the engine once. Dropped without [`PassGuard::record`], it counts as neither success nor failure.
#[must_use = "dropping a pass gives it back"]
pub struct PassGuard {
    /// `None` once it was given back.
    pass: Option<Pass>,
    breaker: CircuitBreaker,
}

impl fmt::Debug for PassGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PassGuard").field(&self.pass).finish()
    }
}

impl PassGuard {
    /// Whether the call decides if the breaker closes.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.pass.as_ref().is_some_and(Pass::is_probe)
    }

    /// Says what became of the call.
    pub fn record(mut self, outcome: Outcome, now: Duration) {
        if let Some(pass) = self.pass.take() {
            let transition = self.breaker.lock().record(pass, outcome, now);
            self.breaker.tell(transition);
        }
    }
}

impl Drop for PassGuard {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.breaker.lock().release(pass);
        }
    }
}
