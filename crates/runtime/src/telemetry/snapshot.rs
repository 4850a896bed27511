//! What was counted, at one time, as plain values. What was not measured is `None`.

use super::fields::millis;
use super::metrics::ByReason;
use super::{FailureMode, HistogramSnapshot, Metrics, Timing};
use crate::events::kind_word;
use ballast_backend::ReasonCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Bytes of the `_mb` figures: 2^20.
const MB_BYTES: f64 = 1_048_576.0;

/// Times of one kind, in milliseconds. Quantiles have a relative error of at most 1.6 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TimingSnapshot {
    /// How many there are.
    pub count: u64,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Mean.
    pub mean_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

impl From<&HistogramSnapshot> for TimingSnapshot {
    fn from(times: &HistogramSnapshot) -> Self {
        let quantile = |permille| times.permille(permille).map(millis);
        Self {
            count: times.count(),
            p50_ms: quantile(500),
            p95_ms: quantile(950),
            p99_ms: quantile(990),
            mean_ms: times.mean().map(millis),
            max_ms: times.max().map(millis),
        }
    }
}

/// Requests that ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndCount {
    /// Why.
    pub finish_reason: &'static str,
    /// The reason code, where there is one.
    pub reason: Option<&'static str>,
    /// How many.
    pub count: u64,
}

/// Everything that [`Metrics`] counted. The names up to `failure_modes` are those of the prior system.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Preparations of models.
    pub compile_count: u64,
    /// Preparations that went well.
    pub compile_success: u64,
    /// Median time of a preparation, in milliseconds.
    pub compile_p50_ms: Option<f64>,
    /// Its 95th percentile.
    pub compile_p95_ms: Option<f64>,
    /// Its 99th percentile.
    pub compile_p99_ms: Option<f64>,
    /// Calls of engines.
    pub infer_count: u64,
    /// Calls that went well.
    pub infer_success: u64,
    /// Median time of a call, failed ones too, in milliseconds.
    pub infer_p50_ms: Option<f64>,
    /// Its 95th percentile.
    pub infer_p95_ms: Option<f64>,
    /// Its 99th percentile.
    pub infer_p99_ms: Option<f64>,
    /// Share of the reported work that ran on the neural engine, in percent; `None` until an engine reported.
    pub ane_dispatch_pct: Option<f32>,
    /// The share of the GPU.
    pub gpu_dispatch_pct: Option<f32>,
    /// The share of the CPU.
    pub cpu_dispatch_pct: Option<f32>,
    /// Memory at the last look, in units of 2^20 bytes.
    pub memory_current_mb: Option<f64>,
    /// The most of all looks.
    pub memory_peak_mb: Option<f64>,
    /// Whether any breaker is not closed.
    pub circuit_breaker_active: bool,
    /// Calls that took longer than their service level allows.
    pub sla_violations: u64,
    /// Failures by mode; every mode is there.
    pub failure_modes: BTreeMap<&'static str, u64>,

    /// How long things take, and how fast tokens come.
    pub times: TimeFigures,
    /// Requests and their tokens.
    pub requests: RequestFigures,
    /// Memory, caches and pools.
    pub resources: ResourceFigures,
    /// Engines, and what was done when they misbehaved.
    pub engines: EngineFigures,
}

/// How long things take, and how fast tokens come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TimeFigures {
    /// Time to the first token.
    pub ttft: TimingSnapshot,
    /// Mean time to the first token, in milliseconds.
    pub average_time_to_first_token_ms: Option<f64>,
    /// Time from one token to the next.
    pub inter_token: TimingSnapshot,
    /// Tokens per second of one answer after its first token: the inverse of the mean time between two tokens.
    pub average_tokens_per_second: Option<f64>,
    /// Time in the queue.
    pub queue: TimingSnapshot,
    /// Time from submission to the end.
    pub request: TimingSnapshot,
    /// Time waited for an instance of a pool.
    pub pool_wait: TimingSnapshot,
    /// Time to open a model.
    pub load: TimingSnapshot,
}

/// Requests and their tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RequestFigures {
    /// Requests that got a place in the queue.
    pub admitted: u64,
    /// Requests that left the queue.
    pub started: u64,
    /// Requests that ended, by finish reason and reason code; ways that none ended in are left out.
    pub ended: Vec<EndCount>,
    /// Requests that were refused, by reason code, or by kind (in lower case) where there is no code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests in the queue at the last look.
    pub n_waiting: Option<u64>,
    /// The most of all looks.
    pub n_waiting_max: Option<u64>,
    /// Requests in the batch at the last look.
    pub n_running: Option<u64>,
    /// The most of all looks.
    pub n_running_max: Option<u64>,
    /// Prompt tokens of requests that ended.
    pub prompt_tokens: u64,
    /// Tokens generated for requests that ended.
    pub completion_tokens: u64,
    /// Prompt tokens of requests that ended which were not computed, because they were cached.
    pub cached_tokens: u64,
    /// The most tokens, of prompt and answer, of a request that ended.
    pub tokens_max: Option<u64>,
    /// Tokens generated so far, those of running requests too.
    pub generated_tokens: u64,
    /// Requests that were run again.
    pub retries: u64,
    /// Sequences that were preempted.
    pub preemptions: u64,
    /// Answers degraded, by reason code.
    pub degraded: BTreeMap<&'static str, u64>,
    /// Sessions that began.
    pub sessions_created: u64,
    /// Sessions that ended.
    pub sessions_disposed: u64,
}

/// Memory, caches and pools.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ResourceFigures {
    /// Share of looked-up tokens that were cached, 0 to 1.
    pub kv_hit_rate: Option<f64>,
    /// Cached blocks that were given up.
    pub kv_evicted_blocks: u64,
    /// The most memory of all looks, in bytes.
    pub memory_high_water_bytes: Option<u64>,
    /// How often the memory budget was reached, by reason code.
    pub memory_budget: BTreeMap<&'static str, u64>,
    /// Share of buffers that the pool had, 0 to 1.
    pub buffer_hit_rate: Option<f64>,
    /// Share of their time that the compute threads computed, 0 to 1.
    pub thread_utilisation: Option<f64>,
}

/// Engines, and what was done when they misbehaved.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EngineFigures {
    /// Engines that were created.
    pub created: u64,
    /// Models that were to be opened.
    pub load_count: u64,
    /// Models that were opened.
    pub load_success: u64,
    /// Bytes of all models that were opened.
    pub loaded_bytes: u64,
    /// Loads that were given up and did not end in their time.
    pub loads_stuck: u64,
    /// Changes of breakers' states.
    pub breaker_changes: u64,
    /// How often another engine answered, by reason code.
    pub fallbacks: BTreeMap<&'static str, u64>,
    /// Engines that were opened again.
    pub restarts: u64,
    /// Engines that gave no sign of life.
    pub stalls: u64,
    /// Engines whose thread or process ended.
    pub crashes: u64,
    /// Comparisons of two engines.
    pub parity_measured: u64,
    /// Comparisons over the tolerance.
    pub parity_exceeded: u64,
    /// The largest difference of all comparisons; not a number if one was none.
    pub parity_linf_max: Option<f32>,
}

impl MetricsSnapshot {
    /// Share of calls that went well, in percent.
    #[must_use]
    pub fn infer_success_pct(&self) -> Option<f64> {
        share(self.infer_success, self.infer_count).map(|share| share * 100.0)
    }
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / MB_BYTES
}

fn by_text(counts: &ByReason) -> BTreeMap<&'static str, u64> {
    counts.counted().map(|(reason, count)| (reason.as_str(), count)).collect()
}

impl Metrics {
    /// What is counted now. Counters that are written meanwhile may be in it or not, each for itself.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        let (compile, infer) = (self.times(Timing::Compile), self.times(Timing::Infer));
        let (dispatch, memory) = (self.dispatches.get(), self.memory.get());
        MetricsSnapshot {
            compile_count: self.compiles.all.get(),
            compile_success: self.compiles.success.get(),
            compile_p50_ms: compile.p50_ms,
            compile_p95_ms: compile.p95_ms,
            compile_p99_ms: compile.p99_ms,
            infer_count: self.infers.all.get(),
            infer_success: self.infers.success.get(),
            infer_p50_ms: infer.p50_ms,
            infer_p95_ms: infer.p95_ms,
            infer_p99_ms: infer.p99_ms,
            ane_dispatch_pct: dispatch.map(|dispatch| dispatch.ane * 100.0),
            gpu_dispatch_pct: dispatch.map(|dispatch| dispatch.gpu * 100.0),
            cpu_dispatch_pct: dispatch.map(|dispatch| dispatch.cpu * 100.0),
            memory_current_mb: memory.map(|(current, _)| mb(current)),
            memory_peak_mb: memory.map(|(_, peak)| mb(peak)),
            circuit_breaker_active: self.breakers_open.load(Ordering::Relaxed) > 0,
            sla_violations: self.sla_violations.get(),
            failure_modes: FailureMode::ALL.iter().map(|mode| (mode.as_str(), self.failures(*mode))).collect(),
            times: self.time_figures(),
            requests: self.request_figures(),
            resources: self.resource_figures(),
            engines: self.engine_figures(),
        }
    }

    fn times(&self, timing: Timing) -> TimingSnapshot {
        TimingSnapshot::from(&self.timing(timing))
    }

    fn time_figures(&self) -> TimeFigures {
        let (ttft, gaps) = (self.times(Timing::TimeToFirstToken), self.timing(Timing::InterToken));
        let gaps_s = gaps.sum().as_secs_f64();
        TimeFigures {
            average_time_to_first_token_ms: ttft.mean_ms,
            ttft,
            average_tokens_per_second: (gaps_s > 0.0).then(|| gaps.count() as f64 / gaps_s),
            inter_token: TimingSnapshot::from(&gaps),
            queue: self.times(Timing::Queue),
            request: self.times(Timing::Request),
            pool_wait: self.times(Timing::PoolWait),
            load: self.times(Timing::Load),
        }
    }

    fn request_figures(&self) -> RequestFigures {
        let (waiting, running) = (self.waiting.get(), self.running.get());
        let ends = self.ends.counted().into_iter().map(|(finish_reason, reason, count)| EndCount {
            finish_reason: finish_reason.as_str(),
            reason: reason.map(ReasonCode::as_str),
            count,
        });
        let mut refused = by_text(&self.refusals.by_reason);
        refused.extend(self.refusals.counted_kinds().map(|(kind, count)| (kind_word(kind), count)));
        RequestFigures {
            admitted: self.admitted.get(),
            started: self.started.get(),
            ended: ends.collect(),
            refused,
            n_waiting: waiting.map(|(current, _)| current),
            n_waiting_max: waiting.map(|(_, peak)| peak),
            n_running: running.map(|(current, _)| current),
            n_running_max: running.map(|(_, peak)| peak),
            prompt_tokens: self.prompt_tokens.get(),
            completion_tokens: self.completion_tokens.get(),
            cached_tokens: self.cached_tokens.get(),
            tokens_max: self.request_tokens.get().map(|(_, peak)| peak),
            generated_tokens: self.generated_tokens.get(),
            retries: self.retries.get(),
            preemptions: self.preemptions.get(),
            degraded: by_text(&self.degraded),
            sessions_created: self.sessions_created.get(),
            sessions_disposed: self.sessions_disposed.get(),
        }
    }

    fn resource_figures(&self) -> ResourceFigures {
        let (kv_hits, buffer_hits) = (self.kv_hit_tokens.get(), self.buffer_hits.get());
        ResourceFigures {
            kv_hit_rate: share(kv_hits, kv_hits + self.kv_miss_tokens.get()),
            kv_evicted_blocks: self.kv_evicted_blocks.get(),
            memory_high_water_bytes: self.memory.get().map(|(_, peak)| peak),
            memory_budget: by_text(&self.memory_budget),
            buffer_hit_rate: share(buffer_hits, buffer_hits + self.buffer_misses.get()),
            thread_utilisation: share(self.threads_busy_nanos.get(), self.threads_available_nanos.get()),
        }
    }

    fn engine_figures(&self) -> EngineFigures {
        EngineFigures {
            created: self.engines_created.get(),
            load_count: self.loads.all.get(),
            load_success: self.loads.success.get(),
            loaded_bytes: self.loaded_bytes.get(),
            loads_stuck: self.loads_stuck.get(),
            breaker_changes: self.breaker_changes.get(),
            fallbacks: by_text(&self.fallbacks),
            restarts: self.restarts.get(),
            stalls: self.stalls.get(),
            crashes: self.crashes.get(),
            parity_measured: self.parity.measured.get(),
            parity_exceeded: self.parity.exceeded.get(),
            parity_linf_max: self.parity.linf_max(),
        }
    }
}
