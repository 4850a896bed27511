//! Memory, cached keys and values, buffers and instances.

use crate::telemetry::{Event, Fields, Level, Metrics, Span, Timing};
use ballast_backend::ReasonCode;
use std::time::Duration;

/// A prompt was looked up among the cached prefixes.
#[derive(Clone, Copy, Debug)]
pub struct KvLookup {
    /// Tokens whose keys and values were there.
    pub hit_tokens: usize,
    /// Tokens that must be computed.
    pub miss_tokens: usize,
}

impl Event for KvLookup {
    const NAME: &'static str = "kv_lookup";
    const MESSAGE: &'static str = "a prompt was looked up in the KV cache";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.kv_hit_tokens.add(self.hit_tokens as u64);
        metrics.kv_miss_tokens.add(self.miss_tokens as u64);
    }

    fn fields(&self) -> Fields {
        Fields::of([("hit_tokens", self.hit_tokens.into()), ("miss_tokens", self.miss_tokens.into())])
    }
}

/// Cached blocks were given up.
#[derive(Clone, Copy, Debug)]
pub struct KvEvicted {
    /// How many.
    pub blocks: usize,
}

impl Event for KvEvicted {
    const NAME: &'static str = "kv_evicted";
    const MESSAGE: &'static str = "cached KV blocks were given up";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.kv_evicted_blocks.add(self.blocks as u64);
    }

    fn fields(&self) -> Fields {
        Fields::of([("blocks", self.blocks.into())])
    }
}

/// A sequence gave its blocks to another and will compute them again.
#[derive(Clone, Copy, Debug)]
pub struct Preempted;

impl Event for Preempted {
    const NAME: &'static str = "preempted";
    const MESSAGE: &'static str = "a sequence was preempted";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.preemptions.add(1);
    }
}

/// Memory in use was looked at.
#[derive(Clone, Copy, Debug)]
pub struct MemoryObserved {
    /// Bytes in use.
    pub current_bytes: u64,
}

impl Event for MemoryObserved {
    const NAME: &'static str = "memory_observed";
    const MESSAGE: &'static str = "memory was looked at";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        metrics.memory.set(self.current_bytes);
    }

    fn fields(&self) -> Fields {
        Fields::of([("current_bytes", self.current_bytes.into())])
    }
}

/// Something comes close to the memory budget, or would go over it.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// `MemoryBudgetSoftLimit` or `MemoryBudgetExceeded`.
    pub reason: ReasonCode,
}

impl Event for MemoryBudget {
    const NAME: &'static str = "memory_budget";
    const MESSAGE: &'static str = "the memory budget is reached";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.memory_budget.add(self.reason);
    }

    fn fields(&self) -> Fields {
        Fields::of([("reason", self.reason.as_str().into())])
    }
}

/// A caller got an instance of a pool, or gave up waiting.
#[derive(Clone, Copy, Debug)]
pub struct PoolWait {
    /// How long it waited.
    pub duration: Duration,
}

impl Event for PoolWait {
    const NAME: &'static str = "pool_wait";
    const MESSAGE: &'static str = "waiting for an instance ended";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        metrics.record(Timing::PoolWait, self.duration);
    }

    fn fields(&self) -> Fields {
        Fields::of([("duration_ms", self.duration.into())])
    }

    fn span(&self) -> Option<Span> {
        Span::new("pool_wait", self.duration)
    }
}

/// A buffer was taken from the pool of buffers, or made.
#[derive(Clone, Copy, Debug)]
pub struct BufferTaken {
    /// Whether the pool had one.
    pub hit: bool,
}

impl Event for BufferTaken {
    const NAME: &'static str = "buffer_taken";
    const MESSAGE: &'static str = "a buffer was taken";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        let counter = if self.hit { &metrics.buffer_hits } else { &metrics.buffer_misses };
        counter.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([("hit", self.hit.into())])
    }
}
