//! `GET /metrics`: what the runtime is doing and has counted, in OpenMetrics' text.
//!
//! What vLLM has a name for has vLLM's: gateways, autoscalers and dashboards read those. Everything else begins with
//! `ballast_`. Labels are names of models and engines, and words of fixed lists; nothing that a caller sends is one.

use crate::state::Server;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ballast_runtime::telemetry::{HistogramSnapshot, MetricsSnapshot, Timing};
use ballast_runtime::{EngineState, Health};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the times to a first token, in seconds: vLLM's.
const FIRST_TOKEN_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// Bounds of the times between tokens and of steps: vLLM's, and shorter ones.
const TOKEN_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];
/// Bounds of whole requests and of their waiting: vLLM's.
const REQUEST_BOUNDS: &[f64] =
    &[0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0];

/// Times, the name they are told by, what they are, and the bounds of their buckets.
type Times = (Timing, &'static str, &'static str, &'static [f64]);

const TIMES: &[Times] = &[
    (
        Timing::TimeToFirstToken,
        "vllm:time_to_first_token_seconds",
        "From submission to the first token",
        FIRST_TOKEN_BOUNDS,
    ),
    (Timing::InterToken, "vllm:inter_token_latency_seconds", "From one token to the next", TOKEN_BOUNDS),
    (Timing::Request, "vllm:e2e_request_latency_seconds", "From submission to the end", REQUEST_BOUNDS),
    (Timing::Queue, "vllm:request_queue_time_seconds", "From submission to the first step", REQUEST_BOUNDS),
    (Timing::Infer, "ballast_step_seconds", "One step of the engine", TOKEN_BOUNDS),
    (Timing::Load, "ballast_load_seconds", "Opening a model", REQUEST_BOUNDS),
];

pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let runtime = &server.model.runtime;
    let counted = runtime.telemetry().metrics.as_ref().map(|metrics| Counted {
        figures: metrics.snapshot(),
        times: TIMES.iter().map(|(timing, ..)| metrics.timing(*timing)).collect(),
    });
    let guarded = Guarded {
        security: server.security.all().map(|(event, n)| (event.as_str(), n)).collect(),
        tls_failed: server.options.tls.as_ref().map(|tls| tls.n_failed()),
        audit_lost: server.options.audit.as_ref().map(|audit| audit.n_lost()),
    };
    let scrape = Scrape { model: server.model.id.clone(), health: runtime.health(), counted, guarded };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    // Writing to a string does not fail, and the collector has no failure of its own.
    encode(&mut text, &registry).expect("a string takes any text");
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

/// Everything that is told at one time.
#[derive(Debug)]
struct Scrape {
    model: String,
    health: Health,
    /// `None` where nobody counts.
    counted: Option<Counted>,
    guarded: Guarded,
}

/// What the server itself has counted.
#[derive(Debug)]
struct Guarded {
    security: Vec<(&'static str, u64)>,
    /// `None` without TLS.
    tls_failed: Option<u64>,
    /// `None` without an audit log.
    audit_lost: Option<u64>,
}

impl Guarded {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Refusals that guards look for, by event";
        let mut metric = encoder.encode_descriptor("ballast_security_events", help, None, MetricType::Counter)?;
        let tls = self.tls_failed.map(|n| ("tls_failed", n));
        for (event, n) in self.security.iter().copied().chain(tls) {
            let labels: Labels<'_> = vec![("event", event)];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        if let Some(n) = self.audit_lost {
            let help = "Lines that are missing in the audit log";
            let mut metric = encoder.encode_descriptor("ballast_audit_lines_lost", help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Counted {
    figures: MetricsSnapshot,
    /// One for each of [`TIMES`].
    times: Vec<HistogramSnapshot>,
}

/// Labels of one sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_now(&mut encoder)?;
        self.guarded.encode(&mut encoder)?;
        let Some(Counted { figures, times }) = &self.counted else { return Ok(()) };
        self.encode_requests(&mut encoder, figures)?;
        encode_engines(&mut encoder, figures)?;
        for ((_, name, help, bounds), times) in TIMES.iter().zip(times) {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            encode_times(metric.encode_family(&self.labels())?, times, bounds)?;
        }
        Ok(())
    }
}

impl Scrape {
    /// The labels that vLLM's metrics have.
    fn labels(&self) -> Labels<'_> {
        vec![("model_name", &self.model), ("engine", "0")]
    }

    /// What the runtime is doing now.
    fn encode_now(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Health { active_sequences, waiting_requests, queued_tokens, engines, .. } = &self.health;
        let held: usize = engines.iter().map(|engine| engine.blocks.saturating_sub(engine.available_blocks)).sum();
        let blocks: usize = engines.iter().map(|engine| engine.blocks).sum();
        let gauges = [
            ("vllm:num_requests_running", "Sequences being generated", *active_sequences as f64),
            ("vllm:num_requests_waiting", "Requests waiting for their turn", *waiting_requests as f64),
            ("vllm:kv_cache_usage_perc", "Share of KV blocks that sequences hold", held as f64 / blocks.max(1) as f64),
            ("ballast_queue_tokens", "Prompt tokens of requests waiting", *queued_tokens as f64),
        ];
        for (name, help, value) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_family(&self.labels())?.encode_gauge(&value)?;
        }
        let mut up = encoder.encode_descriptor("ballast_engine_up", "Whether it works", None, MetricType::Gauge)?;
        for engine in engines {
            let is_up = matches!(engine.state, EngineState::Ready | EngineState::Stepping);
            up.encode_family(&vec![("engine", engine.name)])?.encode_gauge(&u32::from(is_up))?;
        }
        let help = "What the engine's breaker does with calls";
        let mut state = encoder.encode_descriptor("ballast_circuit_state", help, None, MetricType::Gauge)?;
        for engine in engines {
            let labels: Labels<'_> = vec![("engine", engine.name), ("state", engine.breaker.as_str())];
            state.encode_family(&labels)?.encode_gauge(&1_u32)?;
        }
        let mut build = encoder.encode_descriptor("ballast_build", "What runs", None, MetricType::Info)?;
        build.encode_info(&vec![("version", env!("CARGO_PKG_VERSION"))])
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>, figures: &MetricsSnapshot) -> fmt::Result {
        let requests = &figures.requests;
        let counters = [
            ("vllm:prompt_tokens", "Prompt tokens of requests that ended", requests.prompt_tokens),
            ("vllm:generation_tokens", "Tokens generated", requests.generated_tokens),
            ("vllm:prefix_cache_queries", "Prompt tokens looked up in the cache", requests.prompt_tokens),
            ("vllm:prefix_cache_hits", "Prompt tokens found in the cache", requests.cached_tokens),
            ("vllm:num_preemptions", "Sequences that lost their KV blocks", requests.preemptions),
            ("ballast_requests_admitted", "Requests that got a place in the queue", requests.admitted),
            ("ballast_requests_retried", "Requests that were run again", requests.retries),
        ];
        for (name, help, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_family(&self.labels())?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        let ended = "Requests that ended, by finish reason and reason code";
        let mut metric = encoder.encode_descriptor("ballast_requests_ended", ended, None, MetricType::Counter)?;
        for end in &requests.ended {
            let labels: Labels<'_> =
                vec![("finish_reason", end.finish_reason), ("reason", end.reason.unwrap_or_default())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&end.count, None)?;
        }
        let help = "Requests that ended with an answer, by finish reason";
        let mut metric = encoder.encode_descriptor("vllm:request_success", help, None, MetricType::Counter)?;
        for word in ["stop", "length"] {
            let n: u64 = requests.ended.iter().filter(|end| end.finish_reason == word).map(|end| end.count).sum();
            let labels: Labels<'_> = [self.labels(), vec![("finished_reason", word)]].concat();
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        encode_by_reason(encoder, ("ballast_requests_refused", "Requests refused"), &requests.refused)?;
        encode_by_reason(encoder, ("ballast_degraded", "Answers degraded"), &requests.degraded)
    }
}

fn encode_engines(encoder: &mut DescriptorEncoder<'_>, figures: &MetricsSnapshot) -> fmt::Result {
    let engines = &figures.engines;
    let counters = [
        ("ballast_steps", "Steps of engines", figures.infer_count),
        ("ballast_steps_failed", "Steps that failed", figures.infer_count.saturating_sub(figures.infer_success)),
        ("ballast_engine_restarts", "Engines opened again", engines.restarts),
        ("ballast_engine_crashes", "Engines whose thread or process ended", engines.crashes),
        ("ballast_engine_stalls", "Engines that gave no sign of life", engines.stalls),
        ("ballast_circuit_changes", "Changes of breakers' states", engines.breaker_changes),
    ];
    for (name, help, value) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    encode_by_reason(encoder, ("ballast_fallbacks", "Requests that another engine answered"), &engines.fallbacks)
}

fn encode_by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let help = format!("{help}, by reason code");
    let mut metric = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
    for (reason, count) in counts {
        let labels: Labels<'_> = vec![("reason", reason)];
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
    }
    Ok(())
}

fn encode_times(mut metric: MetricEncoder<'_>, times: &HistogramSnapshot, bounds: &[f64]) -> fmt::Result {
    let mut n_below = 0;
    let mut bucket = |bound: f64, n_all: u64| {
        let n = n_all.saturating_sub(n_below);
        n_below = n_all;
        (bound, n)
    };
    let mut buckets: Vec<(f64, u64)> =
        bounds.iter().map(|bound| bucket(*bound, times.at_most(Duration::from_secs_f64(*bound)))).collect();
    buckets.push(bucket(f64::INFINITY, times.count()));
    metric.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets, None)
}
