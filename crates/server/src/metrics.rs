//! `GET /metrics`: what the runtimes are doing and have counted, in OpenMetrics' text for who asks for it by name, and in
//! the older one, with llama.cpp's names too, for everybody else.
//!
//! What vLLM has a name for has vLLM's: gateways, autoscalers and dashboards read those. Everything else begins with
//! `ballast_`. Labels are names of models and engines, and words of fixed lists; nothing that a caller sends is one.

mod classic;
mod guarded;
mod llama;
mod tensors;

use crate::ServedModel;
use crate::state::Server;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use ballast_runtime::lifecycle::LifecycleStats;
use ballast_runtime::telemetry::{HistogramSnapshot, MetricsSnapshot, Timing};
use ballast_runtime::{EngineState, Health, Runtime};
use classic::{CLASSIC, classic};
use guarded::Guarded;
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

/// When the process started, in seconds since 1970, as llama.cpp's server says it.
const STARTED: HeaderName = HeaderName::from_static("process-start-time-unix");

pub(crate) async fn metrics(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let scrape = |model: &ServedModel| Some(Scrape::take(&model.id, &model.generator()?.runtime));
    let scrapes: Vec<Scrape> = server.models.each_loaded(scrape).into_iter().flatten().collect();
    let by_llama = llama::text(&scrapes);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrapes(scrapes)));
    registry.register_collector(Box::new(Loads(server.models.stats())));
    registry.register_collector(Box::new(Guarded::take(&server)));
    let mut text = String::new();
    // Writing to a string does not fail, and the collector has no failure of its own.
    encode(&mut text, &registry).expect("a string takes any text");
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let (content_type, text) = if accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text"))
    {
        let end = "# EOF\n";
        let text = text.strip_suffix(end).unwrap_or(&text);
        (OPEN_METRICS, format!("{text}{}{end}", tensors::text(&server, "unknown")))
    } else {
        (CLASSIC, classic(&text) + &by_llama + &tensors::text(&server, "counter"))
    };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (STARTED, server.started_at.into())];
    (headers, text).into_response()
}

/// Everything that is told of one model at one time.
#[derive(Debug)]
struct Scrape {
    model: String,
    health: Health,
    /// `None` where nobody counts.
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    figures: MetricsSnapshot,
    /// One for each of [`TIMES`].
    times: Vec<HistogramSnapshot>,
}

impl Counted {
    fn time(&self, timing: Timing) -> Option<&HistogramSnapshot> {
        TIMES.iter().zip(&self.times).find(|((known, ..), _)| *known == timing).map(|(_, times)| times)
    }
}

/// Labels of one sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Scrape {
    fn take(model: &str, runtime: &Runtime) -> Self {
        let counted = runtime.telemetry().metrics.as_ref().map(|metrics| Counted {
            figures: metrics.snapshot(),
            times: TIMES.iter().map(|(timing, ..)| metrics.timing(*timing)).collect(),
        });
        Self { model: model.to_owned(), health: runtime.health(), counted }
    }

    /// The labels that vLLM's metrics have.
    fn labels(&self) -> Labels<'_> {
        vec![("model_name", &self.model), ("engine", "0")]
    }

    /// The model, and what else tells its samples apart.
    fn labels_with<'a>(&'a self, more: &[(&'static str, &'a str)]) -> Labels<'a> {
        [&[("model_name", self.model.as_str())], more].concat()
    }

    /// Share of KV blocks that sequences hold.
    fn kv_usage(&self) -> f64 {
        let engines = &self.health.engines;
        let held: usize = engines.iter().map(|engine| engine.blocks.saturating_sub(engine.available_blocks)).sum();
        let blocks: usize = engines.iter().map(|engine| engine.blocks).sum();
        held as f64 / blocks.max(1) as f64
    }
}

/// Everything that is told at one time. Each metric is told once, with samples of every model.
#[derive(Debug)]
struct Scrapes(Vec<Scrape>);

/// A metric's name, its help, and its value.
type Metric<S, T> = (&'static str, &'static str, fn(&S) -> T);

const GAUGES: &[Metric<Scrape, f64>] = &[
    ("vllm:num_requests_running", "Sequences being generated", |scrape| scrape.health.active_sequences as f64),
    ("vllm:num_requests_waiting", "Requests waiting for their turn", |scrape| scrape.health.waiting_requests as f64),
    ("vllm:kv_cache_usage_perc", "Share of KV blocks that sequences hold", Scrape::kv_usage),
    ("ballast_queue_tokens", "Prompt tokens of requests waiting", |scrape| scrape.health.queued_tokens as f64),
];

const COUNTERS: &[Metric<MetricsSnapshot, u64>] = &[
    ("vllm:prompt_tokens", "Prompt tokens of requests that ended", |figures| figures.requests.prompt_tokens),
    ("vllm:generation_tokens", "Tokens generated", |figures| figures.requests.generated_tokens),
    ("vllm:prefix_cache_queries", "Prompt tokens looked up in the cache", |figures| figures.requests.prompt_tokens),
    ("vllm:prefix_cache_hits", "Prompt tokens found in the cache", |figures| figures.requests.cached_tokens),
    ("vllm:num_preemptions", "Sequences that lost their KV blocks", |figures| figures.requests.preemptions),
    ("ballast_requests_admitted", "Requests that got a place in the queue", |figures| figures.requests.admitted),
    ("ballast_requests_retried", "Requests that were run again", |figures| figures.requests.retries),
    ("ballast_steps", "Steps of engines", |figures| figures.infer_count),
    ("ballast_steps_failed", "Steps that failed", |figures| figures.infer_count.saturating_sub(figures.infer_success)),
    ("ballast_engine_restarts", "Engines opened again", |figures| figures.engines.restarts),
    ("ballast_engine_crashes", "Engines whose thread or process ended", |figures| figures.engines.crashes),
    ("ballast_engine_stalls", "Engines that gave no sign of life", |figures| figures.engines.stalls),
    ("ballast_circuit_changes", "Changes of breakers' states", |figures| figures.engines.breaker_changes),
];

/// Counts by reason code.
type CountsOf = fn(&MetricsSnapshot) -> &BTreeMap<&'static str, u64>;

const COUNTERS_BY_REASON: &[(&str, &str, CountsOf)] = &[
    ("ballast_requests_refused", "Requests refused, by reason code", |figures| &figures.requests.refused),
    ("ballast_degraded", "Answers degraded, by reason code", |figures| &figures.requests.degraded),
    ("ballast_fallbacks", "Requests that another engine answered, by reason code", |figures| {
        &figures.engines.fallbacks
    }),
];

impl Collector for Scrapes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_now(&mut encoder)?;
        self.encode_engines(&mut encoder)?;
        if self.counted().next().is_none() {
            return Ok(());
        }
        self.encode_counters(&mut encoder)?;
        self.encode_ends(&mut encoder)?;
        for (idx, (_, name, help, bounds)) in TIMES.iter().enumerate() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (scrape, counted) in self.counted() {
                encode_times(metric.encode_family(&scrape.labels())?, &counted.times[idx], bounds)?;
            }
        }
        Ok(())
    }
}

impl Scrapes {
    /// Those that are counted.
    fn counted(&self) -> impl Iterator<Item = (&Scrape, &Counted)> {
        self.0.iter().filter_map(|scrape| Some((scrape, scrape.counted.as_ref()?)))
    }

    /// What the runtimes are doing now.
    fn encode_now(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for scrape in &self.0 {
                metric.encode_family(&scrape.labels())?.encode_gauge(&value(scrape))?;
            }
        }
        let mut build = encoder.encode_descriptor("ballast_build", "What runs", None, MetricType::Info)?;
        build.encode_info(&vec![("version", env!("CARGO_PKG_VERSION"))])
    }

    /// How the engines are.
    fn encode_engines(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let engines = || self.0.iter().flat_map(|scrape| scrape.health.engines.iter().map(move |it| (scrape, it)));
        let mut up = encoder.encode_descriptor("ballast_engine_up", "Whether it works", None, MetricType::Gauge)?;
        for (scrape, engine) in engines() {
            let is_up = matches!(engine.state, EngineState::Ready | EngineState::Stepping);
            let labels = scrape.labels_with(&[("engine", engine.name)]);
            up.encode_family(&labels)?.encode_gauge(&u32::from(is_up))?;
        }
        let help = "What the engine's breaker does with calls";
        let mut state = encoder.encode_descriptor("ballast_circuit_state", help, None, MetricType::Gauge)?;
        for (scrape, engine) in engines() {
            let labels = scrape.labels_with(&[("engine", engine.name), ("state", engine.breaker.as_str())]);
            state.encode_family(&labels)?.encode_gauge(&1_u32)?;
        }
        Ok(())
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (scrape, counted) in self.counted() {
                let value = value(&counted.figures);
                metric.encode_family(&scrape.labels())?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        for (name, help, counts) in COUNTERS_BY_REASON {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (scrape, counted) in self.counted() {
                for (reason, count) in counts(&counted.figures) {
                    let labels = scrape.labels_with(&[("reason", reason)]);
                    metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
                }
            }
        }
        Ok(())
    }

    /// How requests ended.
    fn encode_ends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ended = "Requests that ended, by finish reason and reason code";
        let mut metric = encoder.encode_descriptor("ballast_requests_ended", ended, None, MetricType::Counter)?;
        for (scrape, counted) in self.counted() {
            for end in &counted.figures.requests.ended {
                let reason = end.reason.unwrap_or_default();
                let labels = scrape.labels_with(&[("finish_reason", end.finish_reason), ("reason", reason)]);
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&end.count, None)?;
            }
        }
        let help = "Requests that ended with an answer, by finish reason";
        let mut metric = encoder.encode_descriptor("vllm:request_success", help, None, MetricType::Counter)?;
        for (scrape, counted) in self.counted() {
            for word in ["stop", "length"] {
                let ended = counted.figures.requests.ended.iter().filter(|end| end.finish_reason == word);
                let n: u64 = ended.map(|end| end.count).sum();
                let labels: Labels<'_> = [scrape.labels(), vec![("finished_reason", word)]].concat();
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
            }
        }
        Ok(())
    }
}

/// What became of the models themselves.
#[derive(Debug)]
struct Loads(LifecycleStats);

impl Collector for Loads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(stats) = self;
        let counters = [
            ("ballast_model_loads", "Models that were loaded", stats.loads),
            ("ballast_model_loads_failed", "Loads that failed", stats.load_failures),
            ("ballast_model_evictions", "Idle models that made room for others", stats.evictions),
            ("ballast_model_expirations", "Models unloaded after their keep-alive", stats.expirations),
            ("ballast_model_loads_refused", "Loads refused for want of room", stats.refused),
        ];
        for (name, help, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        let help = "Planned memory of loaded models";
        let mut held = encoder.encode_descriptor("ballast_model_held_bytes", help, None, MetricType::Gauge)?;
        held.encode_gauge(&(stats.held_bytes as f64))
    }
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
