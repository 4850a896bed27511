//! What a cache has done since it was opened.

use crate::Rejection;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one [`crate::ArtifactCache`] has done since it was opened. Other processes count their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries that were there.
    pub hits: u64,
    /// Entries that were not there, or could not be loaded.
    pub misses: u64,
    /// Entries that another thread or process built while this one waited. They count as hits, too.
    pub waits: u64,
    /// Entries built.
    pub builds: u64,
    /// Builds that failed or panicked.
    pub build_failures: u64,
    /// Entries that were thrown away and built again, by reason.
    pub rebuilds: Vec<(Rejection, u64)>,
    /// Entries removed to keep the bound.
    pub evictions: u64,
    /// Directories of dead builders that were removed.
    pub stale_removed: u64,
    /// Entries at the last look: when the cache was opened, and after each build.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
}

/// Counters behind [`CacheStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) builds: AtomicU64,
    pub(crate) build_failures: AtomicU64,
    rebuilds: [AtomicU64; Rejection::ALL.len()],
    pub(crate) evictions: AtomicU64,
    pub(crate) stale_removed: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn count_rebuild(&self, reason: Rejection) {
        let slots = Rejection::ALL.iter().zip(&self.rebuilds);
        slots.filter(|(rejection, _)| **rejection == reason).for_each(|(_, counter)| count(counter));
    }

    pub(crate) fn snapshot(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: read(&self.hits),
            misses: read(&self.misses),
            waits: read(&self.waits),
            builds: read(&self.builds),
            build_failures: read(&self.build_failures),
            rebuilds: Rejection::ALL.iter().copied().zip(self.rebuilds.iter().map(read)).collect(),
            evictions: read(&self.evictions),
            stale_removed: read(&self.stale_removed),
            entries: read(&self.entries),
            bytes: read(&self.bytes),
        }
    }
}
