//! A snapshot as a few lines for people.

use super::{EndCount, MetricsSnapshot, TimingSnapshot};
use std::collections::BTreeMap;
use std::fmt;

/// What stands for a figure that nobody measured.
const NOT_MEASURED: &str = "not measured";

impl MetricsSnapshot {
    /// The figures in words, one topic to a line. What was not measured says so.
    #[must_use]
    pub fn summary(&self) -> String {
        let sections = [self.engine_lines(), self.request_lines(), self.resource_lines()];
        sections.into_iter().flatten().map(|(topic, text)| format!("{topic:<17}{text}\n")).collect()
    }

    fn engine_lines(&self) -> Vec<(&'static str, String)> {
        let Self { engines, circuit_breaker_active, sla_violations, .. } = self;
        let dispatch = [self.ane_dispatch_pct, self.gpu_dispatch_pct, self.cpu_dispatch_pct];
        let units = dispatch.iter().zip(["ANE", "GPU", "CPU"]);
        let shares: Vec<_> = units.filter_map(|(pct, unit)| pct.map(|pct| format!("{unit} {pct:.1} %"))).collect();
        let compile = [self.compile_p50_ms, self.compile_p95_ms, self.compile_p99_ms];
        let infer = [self.infer_p50_ms, self.infer_p95_ms, self.infer_p99_ms];
        let failures = listed(self.failure_modes.iter().map(|(mode, count)| (*mode, *count)));
        vec![
            ("compilations", format!("{}; {}", success(self.compile_success, self.compile_count), quantiles(compile))),
            ("loads", format!("{}; {}", success(engines.load_success, engines.load_count), times(&self.times.load))),
            ("inferences", format!("{}; {}", success(self.infer_success, self.infer_count), quantiles(infer))),
            ("dispatch", if shares.is_empty() { NOT_MEASURED.to_owned() } else { shares.join(", ") }),
            ("failures", failures),
            ("SLA violations", sla_violations.to_string()),
            ("circuit breaker", if *circuit_breaker_active { "active" } else { "closed" }.to_owned()),
            ("fallbacks", counts(&engines.fallbacks)),
            (
                "engines",
                format!("{} restarts, {} stalls, {} crashes", engines.restarts, engines.stalls, engines.crashes),
            ),
            ("parity", {
                let (exceeded, measured) = (engines.parity_exceeded, engines.parity_measured);
                let largest = measured_or(engines.parity_linf_max, |linf| format!("{linf:e}"));
                format!("{exceeded} of {measured} over the tolerance, largest difference {largest}")
            }),
        ]
    }

    fn request_lines(&self) -> Vec<(&'static str, String)> {
        let Self { times: taken, requests, .. } = self;
        let ends = requests.ended.iter().map(|EndCount { finish_reason, reason, count }| match reason {
            Some(reason) => format!("{finish_reason} ({reason}) {count}"),
            None => format!("{finish_reason} {count}"),
        });
        let ends: Vec<_> = ends.collect();
        let rate = measured_or(taken.average_tokens_per_second, |rate| format!("{rate:.1} per second"));
        vec![
            ("requests", format!("{} admitted, {} started", requests.admitted, requests.started)),
            ("ended", if ends.is_empty() { "none".to_owned() } else { ends.join(", ") }),
            ("refused", counts(&requests.refused)),
            ("degraded", counts(&requests.degraded)),
            ("run again", format!("{} retried, {} preempted", requests.retries, requests.preemptions)),
            (
                "queue",
                format!("{} waiting; {}", measured_or(requests.n_waiting, |n| n.to_string()), times(&taken.queue)),
            ),
            ("first token", times(&taken.ttft)),
            ("between tokens", format!("{}; {rate}", times(&taken.inter_token))),
            ("tokens", {
                let (prompt, cached) = (requests.prompt_tokens, requests.cached_tokens);
                format!("{prompt} of prompts, {cached} of them cached; {} generated", requests.generated_tokens)
            }),
        ]
    }

    fn resource_lines(&self) -> Vec<(&'static str, String)> {
        let Self { resources, .. } = self;
        let pct = |share: Option<f64>| measured_or(share, |share| format!("{:.1} %", share * 100.0));
        let mb = |mb: Option<f64>| measured_or(mb, |mb| format!("{mb:.0} MB"));
        vec![
            (
                "memory",
                match self.memory_peak_mb {
                    Some(_) => format!("{} now, {} at most", mb(self.memory_current_mb), mb(self.memory_peak_mb)),
                    None => NOT_MEASURED.to_owned(),
                },
            ),
            ("memory budget", counts(&resources.memory_budget)),
            ("KV cache hits", pct(resources.kv_hit_rate)),
            ("buffer hits", pct(resources.buffer_hit_rate)),
            ("pool wait", times(&self.times.pool_wait)),
            ("compute threads", pct(resources.thread_utilisation)),
        ]
    }
}

fn measured_or<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), show)
}

fn success(n_success: u64, n_all: u64) -> String {
    format!("{n_success} of {n_all} succeeded")
}

fn quantiles(p50_p95_p99_ms: [Option<f64>; 3]) -> String {
    match p50_p95_p99_ms {
        [Some(p50), Some(p95), Some(p99)] => format!("p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms"),
        _ => NOT_MEASURED.to_owned(),
    }
}

fn times(times: &TimingSnapshot) -> String {
    quantiles([times.p50_ms, times.p95_ms, times.p99_ms])
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    listed(counts.iter().map(|(name, count)| (*name, *count)))
}

fn listed(counts: impl Iterator<Item = (impl fmt::Display, u64)>) -> String {
    let present: Vec<_> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if present.is_empty() { "none".to_owned() } else { present.join(", ") }
}
