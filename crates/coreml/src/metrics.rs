//! What the engine counted, under the names of the prior system.

use crate::{CoreMlError, PlanReport};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Times that are kept for quantiles, of each kind: the latest.
pub const SAMPLES_MAX: usize = 1024;

/// A snapshot. What was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CoreMlMetrics {
    /// Compilations, those included that the cache saved.
    pub compile_count: u64,
    /// Those that gave a bundle.
    pub compile_success: u64,
    /// Compilations that the cache saved.
    pub compile_cache_hits: u64,
    /// Median of a compilation that was not in the cache.
    pub compile_p50_ms: Option<f64>,
    /// 95th percentile of the same.
    pub compile_p95_ms: Option<f64>,
    /// 99th percentile of the same.
    pub compile_p99_ms: Option<f64>,
    /// Models loaded.
    pub load_count: u64,
    /// Those that opened.
    pub load_success: u64,
    /// Median of a load.
    pub load_p50_ms: Option<f64>,
    /// 99th percentile of a load.
    pub load_p99_ms: Option<f64>,
    /// Predictions.
    pub infer_count: u64,
    /// Those that were answered.
    pub infer_success: u64,
    /// Median of an answered prediction.
    pub infer_p50_ms: Option<f64>,
    /// 95th percentile of the same.
    pub infer_p95_ms: Option<f64>,
    /// 99th percentile of the same.
    pub infer_p99_ms: Option<f64>,
    /// Planned share of the neural engine in the last model that was planned; it is no measurement.
    pub ane_dispatch_pct: Option<f32>,
    /// The same of the GPU.
    pub gpu_dispatch_pct: Option<f32>,
    /// The same of the CPU.
    pub cpu_dispatch_pct: Option<f32>,
    /// Resident memory of the process, where the system says it.
    pub memory_current_mb: Option<f64>,
    /// The most that was seen whenever a snapshot was made.
    pub memory_peak_mb: Option<f64>,
    /// `None`: breakers are the runtime's, which reports them.
    pub circuit_breaker_active: Option<bool>,
    /// Answers later than their service level.
    pub sla_violations: u64,
    /// Answers that came when nobody waited any more.
    pub late_completions: u64,
    /// Failures by the words of the prior system.
    pub failure_modes: BTreeMap<&'static str, u64>,
}

impl CoreMlMetrics {
    /// The figures in words, a line each; what was not measured says so.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let ms = |value: Option<f64>| value.map_or("not measured".to_owned(), |ms| format!("{ms:.3} ms"));
        let pct = |value: Option<f32>| value.map_or("not known".to_owned(), |pct| format!("{pct:.1} %"));
        let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("strings take all");
        line(format_args!(
            "compile: {} of {}, {} from the cache, p50 {}, p99 {}",
            self.compile_success,
            self.compile_count,
            self.compile_cache_hits,
            ms(self.compile_p50_ms),
            ms(self.compile_p99_ms)
        ));
        line(format_args!("load: {} of {}, p50 {}", self.load_success, self.load_count, ms(self.load_p50_ms)));
        line(format_args!(
            "infer: {} of {}, p50 {}, p95 {}, p99 {}",
            self.infer_success,
            self.infer_count,
            ms(self.infer_p50_ms),
            ms(self.infer_p95_ms),
            ms(self.infer_p99_ms)
        ));
        line(format_args!(
            "planned dispatch: ane {}, gpu {}, cpu {}",
            pct(self.ane_dispatch_pct),
            pct(self.gpu_dispatch_pct),
            pct(self.cpu_dispatch_pct)
        ));
        line(format_args!("sla violations: {}; late completions: {}", self.sla_violations, self.late_completions));
        let failures: Vec<String> = self.failure_modes.iter().map(|(mode, n)| format!("{mode} {n}")).collect();
        line(format_args!("failures: {}", if failures.is_empty() { "none".to_owned() } else { failures.join(", ") }));
        text
    }
}

/// The latest times of one kind.
#[derive(Debug, Default)]
struct Samples(VecDeque<Duration>);

impl Samples {
    fn add(&mut self, took: Duration) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// Nearest-rank quantile, in milliseconds.
    fn quantile_ms(&self, percent: usize) -> Option<f64> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort();
        quantile(&sorted, percent).map(|took| took.as_secs_f64() * 1e3)
    }
}

/// Nearest-rank quantile of sorted times.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// How one call went.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// It gave what it was to give.
    Done,
    /// The cache had it.
    Cached,
    /// It did not.
    Failed(&'a CoreMlError),
}

/// Where the engine and its models count.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    figures: CoreMlMetrics,
    compile: Samples,
    load: Samples,
    infer: Samples,
}

impl Counters {
    fn with<R>(&self, count: impl FnOnce(&mut Tally) -> R) -> R {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn compiled(&self, took: Duration, outcome: Outcome<'_>) {
        self.with(|tally| {
            tally.figures.compile_count += 1;
            match outcome {
                Outcome::Done => tally.compile.add(took),
                Outcome::Cached => tally.figures.compile_cache_hits += 1,
                Outcome::Failed(error) => return tally.failed(error),
            }
            tally.figures.compile_success += 1;
        });
    }

    pub(crate) fn loaded(&self, took: Duration, outcome: Outcome<'_>) {
        self.with(|tally| {
            tally.figures.load_count += 1;
            match outcome {
                Outcome::Done | Outcome::Cached => {
                    tally.figures.load_success += 1;
                    tally.load.add(took);
                }
                Outcome::Failed(error) => tally.failed(error),
            }
        });
    }

    pub(crate) fn inferred(&self, took: Duration, sla: Duration, outcome: Outcome<'_>) {
        self.with(|tally| {
            tally.figures.infer_count += 1;
            match outcome {
                Outcome::Done | Outcome::Cached => {
                    tally.figures.infer_success += 1;
                    tally.infer.add(took);
                }
                Outcome::Failed(error) => tally.failed(error),
            }
            tally.figures.sla_violations += u64::from(took > sla);
        });
    }

    pub(crate) fn planned(&self, plan: &PlanReport) {
        let shares = plan.by_cost.or(plan.by_count);
        self.with(|tally| {
            tally.figures.ane_dispatch_pct = shares.map(|shares| shares.ane_pct);
            tally.figures.gpu_dispatch_pct = shares.map(|shares| shares.gpu_pct);
            tally.figures.cpu_dispatch_pct = shares.map(|shares| shares.cpu_pct);
        });
    }

    pub(crate) fn snapshot(&self, resident_bytes: Option<u64>, late_completions: u64) -> CoreMlMetrics {
        #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits")]
        let mb = resident_bytes.map(|bytes| bytes as f64 / (1024.0 * 1024.0));
        self.with(|tally| {
            let figures = &mut tally.figures;
            figures.memory_current_mb = mb;
            figures.memory_peak_mb = match (figures.memory_peak_mb, mb) {
                (Some(peak), Some(mb)) => Some(peak.max(mb)),
                (peak, mb) => peak.or(mb),
            };
            CoreMlMetrics {
                late_completions,
                compile_p50_ms: tally.compile.quantile_ms(50),
                compile_p95_ms: tally.compile.quantile_ms(95),
                compile_p99_ms: tally.compile.quantile_ms(99),
                load_p50_ms: tally.load.quantile_ms(50),
                load_p99_ms: tally.load.quantile_ms(99),
                infer_p50_ms: tally.infer.quantile_ms(50),
                infer_p95_ms: tally.infer.quantile_ms(95),
                infer_p99_ms: tally.infer.quantile_ms(99),
                ..figures.clone()
            }
        })
    }
}

impl Tally {
    fn failed(&mut self, error: &CoreMlError) {
        *self.figures.failure_modes.entry(error.failure_mode()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    #[test]
    fn calls_are_counted_and_what_was_not_measured_is_none() {
        let counters = Counters::default();
        assert_eq!(counters.snapshot(None, 0), CoreMlMetrics::default());
        let late = CoreMlError::TimedOut { action: Action::Predict, timeout: Duration::from_secs(5) };
        let sla = Duration::from_millis(20);
        for ms in 1..=100 {
            counters.inferred(Duration::from_millis(ms), sla, Outcome::Done);
        }
        counters.inferred(Duration::from_secs(5), sla, Outcome::Failed(&late));
        counters.compiled(Duration::from_millis(7), Outcome::Done);
        counters.compiled(Duration::ZERO, Outcome::Cached);
        let metrics = counters.snapshot(Some(3 << 20), 0);
        assert_eq!((metrics.infer_count, metrics.infer_success, metrics.sla_violations), (101, 100, 81));
        assert_eq!(
            (metrics.infer_p50_ms, metrics.infer_p95_ms, metrics.infer_p99_ms),
            (Some(50.0), Some(95.0), Some(99.0))
        );
        assert_eq!((metrics.compile_count, metrics.compile_success, metrics.compile_cache_hits), (2, 2, 1));
        assert_eq!((metrics.compile_p99_ms, metrics.load_p50_ms), (Some(7.0), None));
        assert_eq!(metrics.failure_modes, BTreeMap::from([("timeout", 1)]));
        assert_eq!((metrics.memory_current_mb, counters.snapshot(None, 0).memory_peak_mb), (Some(3.0), Some(3.0)));
        let summary = metrics.summary();
        assert!(summary.contains("infer: 100 of 101") && summary.contains("failures: timeout 1"), "{summary}");
        assert!(summary.contains("load: 0 of 0, p50 not measured"), "{summary}");
    }

    #[test]
    fn the_snapshot_as_json_has_the_names_of_the_prior_system() {
        let json = serde_json::to_value(CoreMlMetrics::default()).unwrap();
        let names = [
            "compile_count",
            "compile_success",
            "compile_p50_ms",
            "compile_p95_ms",
            "compile_p99_ms",
            "infer_count",
            "infer_success",
            "infer_p50_ms",
            "infer_p95_ms",
            "infer_p99_ms",
            "ane_dispatch_pct",
            "gpu_dispatch_pct",
            "cpu_dispatch_pct",
            "memory_current_mb",
            "memory_peak_mb",
            "circuit_breaker_active",
            "sla_violations",
            "failure_modes",
        ];
        for name in names {
            assert!(json.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn only_the_latest_times_are_kept() {
        let mut samples = Samples::default();
        samples.add(Duration::from_secs(100));
        (0..SAMPLES_MAX).for_each(|_| samples.add(Duration::from_millis(1)));
        assert_eq!((samples.0.len(), samples.quantile_ms(100)), (SAMPLES_MAX, Some(1.0)));
    }
}
