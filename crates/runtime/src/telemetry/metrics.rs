//! What is counted: atomics only, written by any thread, read as a snapshot.

use super::{FailureMode, Histogram, HistogramSnapshot};
use crate::FinishReason;
use ballast_backend::{Dispatch, ErrorKind, ReasonCode};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What times are kept of, each in a histogram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timing {
    /// Making a model ready.
    Compile,
    /// Opening a model.
    Load,
    /// One call of an engine, failed ones too.
    Infer,
    /// From submission to the first step of a request.
    Queue,
    /// From submission to the first token.
    TimeToFirstToken,
    /// From one token to the next.
    InterToken,
    /// From submission to the end.
    Request,
    /// Waiting for an instance of a pool.
    PoolWait,
}

impl Timing {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Compile,
        Self::Load,
        Self::Infer,
        Self::Queue,
        Self::TimeToFirstToken,
        Self::InterToken,
        Self::Request,
        Self::PoolWait,
    ];
}

/// Counts up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down, and the highest it has been.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    current: AtomicU64,
    peak: AtomicU64,
    n_set: AtomicU64,
}

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.current.store(value, Ordering::Relaxed);
        self.peak.fetch_max(value, Ordering::Relaxed);
        self.n_set.fetch_add(1, Ordering::Release);
    }

    /// The last value and the highest; `None` before the first.
    pub(crate) fn get(&self) -> Option<(u64, u64)> {
        let is_set = self.n_set.load(Ordering::Acquire) > 0;
        is_set.then(|| (self.current.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed)))
    }
}

/// How many were tried and how many went well.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) all: Counter,
    pub(crate) success: Counter,
}

impl Attempts {
    pub(crate) fn add(&self, is_success: bool) {
        self.success.add(u64::from(is_success));
        self.all.add(1);
    }
}

/// Number of reason codes.
pub(crate) const N_REASONS: usize = ReasonCode::ALL.len();

/// A counter for each reason code.
#[derive(Debug)]
pub(crate) struct ByReason([Counter; N_REASONS]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ByReason {
    pub(crate) fn add(&self, reason: ReasonCode) {
        self.0[reason as usize].add(1);
    }

    /// The codes that were counted, with their counts.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (ReasonCode, u64)> {
        let counts = ReasonCode::ALL.iter().copied().zip(self.0.iter().map(Counter::get));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// Requests that ended, by finish reason and reason code.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// One for each of [`FINISH_REASONS`].
    rows: [EndRow; FINISH_REASONS.len()],
}

#[derive(Debug, Default)]
struct EndRow {
    without_reason: Counter,
    by_reason: ByReason,
}

/// Every finish reason, by its index in [`Ends`].
const FINISH_REASONS: [FinishReason; 4] =
    [FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled, FinishReason::Error];

impl Ends {
    pub(crate) fn add(&self, finish_reason: FinishReason, reason: Option<ReasonCode>) {
        let row = match finish_reason {
            FinishReason::Stop => &self.rows[0],
            FinishReason::Length => &self.rows[1],
            FinishReason::Cancelled => &self.rows[2],
            FinishReason::Error => &self.rows[3],
        };
        match reason {
            Some(reason) => row.by_reason.add(reason),
            None => row.without_reason.add(1),
        }
    }

    /// The ends that were counted, with their counts.
    pub(crate) fn counted(&self) -> Vec<(FinishReason, Option<ReasonCode>, u64)> {
        let mut counted = Vec::new();
        for (finish_reason, row) in FINISH_REASONS.into_iter().zip(&self.rows) {
            let n_without = row.without_reason.get();
            counted.extend((n_without > 0).then_some((finish_reason, None, n_without)));
            counted.extend(row.by_reason.counted().map(|(reason, n)| (finish_reason, Some(reason), n)));
        }
        counted
    }
}

/// Requests that were refused: by reason code, and without one by the kind of the error.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) by_reason: ByReason,
    by_kind: [Counter; KINDS.len()],
}

/// Every kind, by its index in [`Refusals`].
const KINDS: [ErrorKind; 6] = [
    ErrorKind::Invalid,
    ErrorKind::Denied,
    ErrorKind::Overloaded,
    ErrorKind::Unavailable,
    ErrorKind::Cancelled,
    ErrorKind::Internal,
];

impl Refusals {
    pub(crate) fn add(&self, kind: ErrorKind, reason: Option<ReasonCode>) {
        match (reason, kind) {
            (Some(reason), _) => self.by_reason.add(reason),
            (None, ErrorKind::Invalid) => self.by_kind[0].add(1),
            (None, ErrorKind::Denied) => self.by_kind[1].add(1),
            (None, ErrorKind::Overloaded) => self.by_kind[2].add(1),
            (None, ErrorKind::Unavailable) => self.by_kind[3].add(1),
            (None, ErrorKind::Cancelled) => self.by_kind[4].add(1),
            (None, ErrorKind::Internal) => self.by_kind[5].add(1),
        }
    }

    /// The kinds that were counted without a reason code.
    pub(crate) fn counted_kinds(&self) -> impl Iterator<Item = (ErrorKind, u64)> {
        KINDS.into_iter().zip(self.by_kind.iter().map(Counter::get)).filter(|(_, count)| *count > 0)
    }
}

/// Where engines said that their work ran, summed in millionths of a call.
#[derive(Debug, Default)]
pub(crate) struct Dispatches {
    ane: Counter,
    gpu: Counter,
    cpu: Counter,
}

impl Dispatches {
    pub(crate) fn add(&self, dispatch: Dispatch) {
        self.ane.add(millionths(dispatch.ane));
        self.gpu.add(millionths(dispatch.gpu));
        self.cpu.add(millionths(dispatch.cpu));
    }

    /// Shares of all work that was reported; `None` before the first report.
    pub(crate) fn get(&self) -> Option<Dispatch> {
        let [ane, gpu, cpu] = [&self.ane, &self.gpu, &self.cpu].map(|unit| unit.get() as f32);
        let all = ane + gpu + cpu;
        (all > 0.0).then(|| Dispatch { ane: ane / all, gpu: gpu / all, cpu: cpu / all })
    }
}

fn millionths(share: f32) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e6 after the clamp; NaN is 0")]
    let millionths = (f64::from(share.clamp(0.0, 1.0)) * 1e6).round() as u64;
    millionths
}

/// Numeric comparisons of two engines.
#[derive(Debug, Default)]
pub(crate) struct Parity {
    pub(crate) measured: Counter,
    pub(crate) exceeded: Counter,
    /// The bits of the largest difference: of numbers that are not negative, the order of the bits is theirs.
    linf_max_bits: AtomicU32,
}

impl Parity {
    pub(crate) fn add(&self, linf: f32, is_exceeded: bool) {
        self.linf_max_bits.fetch_max(linf.abs().to_bits(), Ordering::Relaxed);
        self.exceeded.add(u64::from(is_exceeded));
        self.measured.add(1);
    }

    /// The largest difference; `None` before the first.
    pub(crate) fn linf_max(&self) -> Option<f32> {
        (self.measured.get() > 0).then(|| f32::from_bits(self.linf_max_bits.load(Ordering::Relaxed)))
    }
}

/// Everything that is counted. Written by the events ([`crate::events`]), read by [`Metrics::snapshot`].
#[derive(Debug, Default)]
pub struct Metrics {
    timings: [Histogram; Timing::ALL.len()],
    failures: [Counter; FailureMode::ALL.len()],
    pub(crate) compiles: Attempts,
    pub(crate) loads: Attempts,
    pub(crate) infers: Attempts,
    pub(crate) loaded_bytes: Counter,
    pub(crate) loads_stuck: Counter,
    pub(crate) dispatches: Dispatches,
    pub(crate) sla_violations: Counter,
    pub(crate) memory: Gauge,
    pub(crate) memory_budget: ByReason,
    pub(crate) breakers_open: AtomicI64,
    pub(crate) breaker_changes: Counter,
    pub(crate) fallbacks: ByReason,
    pub(crate) degraded: ByReason,
    pub(crate) parity: Parity,
    pub(crate) stalls: Counter,
    pub(crate) crashes: Counter,
    pub(crate) restarts: Counter,
    pub(crate) retries: Counter,
    pub(crate) preemptions: Counter,
    pub(crate) admitted: Counter,
    pub(crate) started: Counter,
    pub(crate) refusals: Refusals,
    pub(crate) ends: Ends,
    pub(crate) prompt_tokens: Counter,
    pub(crate) completion_tokens: Counter,
    pub(crate) cached_tokens: Counter,
    /// Tokens of a request, prompt and answer, when it ends.
    pub(crate) request_tokens: Gauge,
    pub(crate) generated_tokens: Counter,
    pub(crate) kv_hit_tokens: Counter,
    pub(crate) kv_miss_tokens: Counter,
    pub(crate) kv_evicted_blocks: Counter,
    pub(crate) buffer_hits: Counter,
    pub(crate) buffer_misses: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) running: Gauge,
    pub(crate) engines_created: Counter,
    pub(crate) sessions_created: Counter,
    pub(crate) sessions_disposed: Counter,
    pub(crate) threads_busy_nanos: Counter,
    pub(crate) threads_available_nanos: Counter,
}

impl Metrics {
    /// Times of one kind, for an exporter or a window between two snapshots.
    #[must_use]
    pub fn timing(&self, timing: Timing) -> HistogramSnapshot {
        self.timings[timing as usize].snapshot()
    }

    pub(crate) fn record(&self, timing: Timing, time: Duration) {
        self.timings[timing as usize].record(time);
    }

    pub(crate) fn add_failure(&self, mode: FailureMode) {
        self.failures[mode as usize].add(1);
    }

    pub(crate) fn failures(&self, mode: FailureMode) -> u64 {
        self.failures[mode as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_indexed_by_the_order_of_declaration() {
        assert!(ReasonCode::ALL.iter().enumerate().all(|(idx, reason)| *reason as usize == idx));
        assert!(Timing::ALL.iter().enumerate().all(|(idx, timing)| *timing as usize == idx));
        assert!(FailureMode::ALL.iter().enumerate().all(|(idx, mode)| *mode as usize == idx));
    }

    #[test]
    fn every_end_and_refusal_is_counted_where_it_belongs() {
        let (ends, refusals) = (Ends::default(), Refusals::default());
        for finish_reason in FINISH_REASONS {
            ends.add(finish_reason, None);
            ReasonCode::ALL.iter().for_each(|reason| ends.add(finish_reason, Some(*reason)));
        }
        let mut expected = Vec::new();
        for finish_reason in FINISH_REASONS {
            expected.push((finish_reason, None, 1));
            expected.extend(ReasonCode::ALL.iter().map(|reason| (finish_reason, Some(*reason), 1)));
        }
        assert_eq!(ends.counted(), expected);
        KINDS.iter().for_each(|kind| refusals.add(*kind, None));
        refusals.add(ErrorKind::Overloaded, Some(ReasonCode::BackpressureQueueFull));
        assert!(refusals.counted_kinds().eq(KINDS.map(|kind| (kind, 1))));
        assert!(refusals.by_reason.counted().eq([(ReasonCode::BackpressureQueueFull, 1)]));
    }

    #[test]
    fn a_gauge_keeps_its_peak_and_is_not_measured_before() {
        let gauge = Gauge::default();
        assert_eq!(gauge.get(), None);
        [3, 9, 4].iter().for_each(|value| gauge.set(*value));
        assert_eq!(gauge.get(), Some((4, 9)));
    }

    #[test]
    fn dispatch_is_the_share_of_all_reported_work() {
        let dispatches = Dispatches::default();
        assert_eq!(dispatches.get(), None);
        dispatches.add(Dispatch { ane: 1.0, gpu: 0.0, cpu: 0.0 });
        dispatches.add(Dispatch { ane: 0.5, gpu: f32::NAN, cpu: 0.5 });
        assert_eq!(dispatches.get(), Some(Dispatch { ane: 0.75, gpu: 0.0, cpu: 0.25 }));
        dispatches.add(Dispatch { ane: -3.0, gpu: 0.0, cpu: 7.0 });
        dispatches.add(Dispatch::CPU);
        assert_eq!(dispatches.get(), Some(Dispatch { ane: 0.375, gpu: 0.0, cpu: 0.625 }));
    }
}
