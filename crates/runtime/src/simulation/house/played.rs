//! A model and its instances, played.

use super::ledger::Ledger;
use crate::instance_pool::{InstancePool, PooledInstance};
use crate::lifecycle::LoadOrder;
use ballast_backend::Clock;
use ballast_testkit::VirtualClock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The failure of a script, and what scripted panics carry.
#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
pub(super) struct Scripted;

/// A loaded model.
pub(super) struct Loaded {
    pub(super) order: LoadOrder,
    pub(super) pool: InstancePool<Played>,
    threads: Mutex<Vec<Arc<Thread>>>,
    ledger: Arc<Ledger>,
}

impl Loaded {
    pub(super) fn new(order: LoadOrder, pool: InstancePool<Played>, ledger: Arc<Ledger>) -> Self {
        Self { order, pool, threads: Mutex::default(), ledger }
    }

    /// Opens an instance whose thread lives on for `ends_after` once it is given up.
    ///
    /// # Panics
    /// If as many threads as the pool may have instances have not ended.
    pub(super) fn open(&self, ends_after: Duration) -> Played {
        let clock = self.ledger.clock.clone();
        let thread = Arc::new(Thread { clock, ends_after, lost_at: AtomicU64::new(u64::MAX) });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.has_ended());
        threads.push(Arc::clone(&thread));
        let n_max = self.ledger.pool.n_instances;
        assert!(threads.len() <= n_max, "{} threads of {n_max} instances", threads.len());
        Played { thread, n_holders: AtomicUsize::new(0) }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.ledger.note_dropped(self.order.instance);
    }
}

pub(super) struct Thread {
    clock: VirtualClock,
    ends_after: Duration,
    /// In nanoseconds; at the end of time: it was not.
    lost_at: AtomicU64,
}

impl Thread {
    fn lost_at(&self) -> Option<Duration> {
        Some(self.lost_at.load(Ordering::Relaxed)).filter(|&at| at != u64::MAX).map(Duration::from_nanos)
    }

    /// It dies.
    pub(super) fn crash(&self) {
        let now = u64::try_from(self.clock.now().as_nanos()).expect("a simulation is short");
        self.lost_at.fetch_min(now, Ordering::Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.lost_at().is_some_and(|at| at + self.ends_after <= self.clock.now())
    }
}

/// An instance.
pub(super) struct Played {
    thread: Arc<Thread>,
    n_holders: AtomicUsize,
}

impl Played {
    /// Begins a call.
    ///
    /// # Panics
    /// If it has more callers than it may have, or was lost before now.
    pub(super) fn enter(&self, concurrency: usize) -> Presence<'_> {
        let n_holders = self.n_holders.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(n_holders <= concurrency, "{n_holders} callers of an instance for {concurrency}");
        let is_lost = self.thread.lost_at().is_some_and(|at| at < self.thread.clock.now());
        assert!(!is_lost, "a lost instance was handed out");
        Presence(self)
    }

    /// The thread it runs on.
    pub(super) fn thread(&self) -> Arc<Thread> {
        Arc::clone(&self.thread)
    }
}

impl PooledInstance for Played {
    fn abandon(&self) {
        self.thread.crash();
    }

    fn is_lost(&self) -> bool {
        self.thread.lost_at().is_some()
    }

    fn is_ended(&self) -> bool {
        self.thread.has_ended()
    }
}

/// A call of an instance.
pub(super) struct Presence<'a>(&'a Played);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.n_holders.fetch_sub(1, Ordering::Relaxed);
    }
}
