//! Which buffers are kept and which make room: pure, no lock, no clock.
//!
//! One line of buffers, the longest unused first, and no index: there are few, and so neither giving one out nor taking
//! one back allocates.

use super::{BufferPoolOptions, BufferStats};
use ballast_backend::{DType, Tensor};
use std::collections::VecDeque;
use std::time::Duration;

/// Room for buffers that is reserved at the start; beyond it the line grows as it must.
const RESERVED_MAX: usize = 1024;

/// What buffers are kept by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

struct Kept {
    key: Key,
    tensor: Tensor,
    since: Duration,
}

/// The buffers that nobody uses.
pub(super) struct Shelf {
    options: BufferPoolOptions,
    kept: VecDeque<Kept>,
    stats: BufferStats,
}

impl Shelf {
    pub(super) fn new(options: BufferPoolOptions) -> Self {
        let kept = VecDeque::with_capacity(options.buffers_max.min(RESERVED_MAX));
        Self { options, kept, stats: BufferStats::default() }
    }

    /// The buffer of `key` that was used last; `None`: one is to be allocated.
    pub(super) fn take(&mut self, key: &Key) -> Option<Tensor> {
        let found = self.kept.iter().rposition(|kept| kept.key == *key);
        let Some(kept) = found.and_then(|at| self.kept.remove(at)) else {
            self.stats.cache_misses += 1;
            return None;
        };
        self.stats.cache_hits += 1;
        self.stats.current_pool_bytes -= kept.tensor.size_bytes();
        Some(kept.tensor)
    }

    /// Notes that a miss was answered by an allocation.
    pub(super) fn note_allocation(&mut self) {
        self.stats.total_allocations += 1;
    }

    /// Keeps a buffer, as far as the bounds allow. Returns what is to be freed.
    pub(super) fn put(&mut self, key: Key, tensor: Tensor, now: Duration) -> Vec<Tensor> {
        let BufferPoolOptions { buffers_per_key_max, buffers_max, pool_bytes_max, .. } = self.options;
        let n_bytes = tensor.size_bytes();
        if n_bytes > pool_bytes_max || buffers_per_key_max == 0 || buffers_max == 0 {
            self.stats.total_bytes_freed += n_bytes as u64;
            return vec![tensor];
        }
        let mut freed = Vec::new();
        let of_key = |kept: &Kept| kept.key == key;
        if self.kept.iter().filter(|kept| of_key(kept)).count() >= buffers_per_key_max {
            let oldest = self.kept.iter().position(of_key);
            freed.extend(oldest.and_then(|at| self.free(at)));
        }
        while self.kept.len() >= buffers_max || self.stats.current_pool_bytes + n_bytes > pool_bytes_max {
            freed.extend(self.free(0));
        }
        self.kept.push_back(Kept { key, tensor, since: now });
        self.stats.current_pool_bytes += n_bytes;
        self.stats.peak_pool_bytes = self.stats.peak_pool_bytes.max(self.stats.current_pool_bytes);
        freed
    }

    /// Takes out what was unused for longer than the time to live. Returns what is to be freed.
    pub(super) fn purge(&mut self, now: Duration) -> Vec<Tensor> {
        let ttl = self.options.ttl;
        let n_stale = self.kept.iter().take_while(|kept| now.saturating_sub(kept.since) >= ttl).count();
        (0..n_stale).filter_map(|_| self.free(0)).collect()
    }

    /// Takes everything out. Returns what is to be freed.
    pub(super) fn clear(&mut self) -> Vec<Tensor> {
        (0..self.kept.len()).filter_map(|_| self.free(0)).collect()
    }

    fn free(&mut self, at: usize) -> Option<Tensor> {
        let tensor = self.kept.remove(at)?.tensor;
        self.stats.current_pool_bytes -= tensor.size_bytes();
        self.stats.total_bytes_freed += tensor.size_bytes() as u64;
        Some(tensor)
    }

    pub(super) fn stats(&self) -> BufferStats {
        BufferStats { current_buffer_count: self.kept.len(), ..self.stats }
    }
}

#[cfg(test)]
mod tests;
