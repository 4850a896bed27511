//! A pool whose time somebody else keeps: for simulations, which have no threads.

use super::{Handle, InstancePool, PoolOptions, PooledInstance, Shared};
use ballast_backend::Clock;
use std::sync::{Arc, Weak};

/// What a pool's timer thread does, turned by hand.
pub(crate) struct Timer<I: PooledInstance>(Weak<Shared<I>>);

impl<I: PooledInstance> InstancePool<I> {
    /// A pool without a thread. Whoever holds the timer is the thread.
    pub(crate) fn played(options: PoolOptions, clock: Arc<dyn Clock>) -> (Self, Timer<I>) {
        let shared = Arc::new(Shared::new(options, clock));
        let timer = Timer(Arc::downgrade(&shared));
        (Self(Arc::new(Handle { shared, timer: None })), timer)
    }
}

impl<I: PooledInstance> Timer<I> {
    /// Whether time alone may change something; `None`: the pool has gone.
    pub(crate) fn needs_time(&self) -> Option<bool> {
        Some(self.0.upgrade()?.lock().seats.needs_time())
    }

    /// Looks at the clock and at dying instances.
    pub(crate) fn turn(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.update(|_| ());
        }
    }
}
