//! Every event: its stable name and keys, its level, and what it counts.

use ballast_backend::{Dispatch, ErrorKind, ReasonCode};
use ballast_runtime::FinishReason;
use ballast_runtime::events::*;
use ballast_runtime::routing::{RollbackReason, RolloutChange, RolloutState};
use ballast_runtime::telemetry::{
    CorrelationId, EndCount, Event, FailureMode, Fanout, Ids, Level, LogRecord, Logger, Metrics, MetricsSnapshot,
    RingLogger, RuntimeLogEvent, Telemetry, TenantId,
};
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A handle with everything attached, and what is attached.
struct Attached {
    telemetry: Telemetry,
    metrics: Arc<Metrics>,
    ring: Arc<RingLogger>,
}

impl Attached {
    fn new() -> Self {
        let (metrics, ring) = (Arc::new(Metrics::default()), Arc::new(RingLogger::new(100)));
        let logger: Arc<dyn Logger> = Arc::clone(&ring) as _;
        Self { telemetry: Telemetry { metrics: Some(Arc::clone(&metrics)), logger: Some(logger) }, metrics, ring }
    }

    fn emit(&self, event: &impl Event) {
        self.telemetry.emit(event);
    }

    fn snapshot(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }
}

fn emit_each(attached: &Attached) {
    let (engine, reason) = ("e", ReasonCode::MemoryBudgetSoftLimit);
    attached.emit(&EngineCreated { engine });
    attached.emit(&CompileEnded { engine, duration: MS, outcome: Ok(()) });
    attached.emit(&ModelLoadStarted { engine });
    attached.emit(&ModelLoadEnded { engine, duration: MS, bytes: 8, outcome: Err(FailureMode::LoadError) });
    attached.emit(&LoadStuck { bytes: 9 });
    attached.emit(&SessionCreated);
    attached.emit(&SessionDisposed);
    attached.emit(&RequestAdmitted);
    attached.emit(&RequestRefused { kind: ErrorKind::Invalid, reason: None });
    attached.emit(&RequestStarted { queue_time: MS });
    attached.emit(&FirstToken { ttft: MS });
    attached.emit(&TokenGenerated { since_last: None });
    attached.emit(&ended(FinishReason::Stop, None));
    attached.emit(&Retried);
    attached.emit(&Degraded { reason: ReasonCode::ContextTruncated });
    attached.emit(&QueueDepth { n_waiting: 1, n_running: 2 });
    attached.emit(&KvLookup { hit_tokens: 1, miss_tokens: 2 });
    attached.emit(&KvEvicted { blocks: 3 });
    attached.emit(&Preempted);
    attached.emit(&MemoryObserved { current_bytes: 4 });
    attached.emit(&MemoryBudget { reason });
    attached.emit(&PoolWait { duration: MS });
    attached.emit(&BufferTaken { hit: true });
    attached.emit(&inference(Ok(()), None));
    attached.emit(&BreakerChanged { engine, from: BREAKER_CLOSED, to: "open", cause: "failures" });
    attached.emit(&FallbackEngaged { engine, reason });
    attached.emit(&EngineStalled { engine });
    attached.emit(&EngineCrashed { engine });
    attached.emit(&EngineRestarted { engine, attempt: 1, after: MS });
    attached.emit(&ParityMeasured { engine, linf: 0.5, exceeded: false });
    attached.emit(&ThreadsObserved { busy: MS, available: MS * 2 });
    let from = RolloutState::Stage { idx: 0, percent: 5 };
    let to = RolloutState::RolledBack { reason: RollbackReason::FailureRate };
    attached.emit(&RolloutChanged { change: RolloutChange { from, to } });
}

fn ended(finish_reason: FinishReason, reason: Option<ReasonCode>) -> RequestEnded {
    RequestEnded { finish_reason, reason, prompt_tokens: 5, completion_tokens: 3, cached_tokens: 2, total: MS * 9 }
}

fn inference(outcome: Result<(), FailureMode>, dispatch: Option<Dispatch>) -> InferenceEnded {
    InferenceEnded { engine: "e", duration: MS * 4, outcome, dispatch, sla_violated: outcome.is_err() }
}

fn line(record: &LogRecord) -> String {
    let keys: Vec<_> = record.fields.as_slice().iter().map(|(key, _)| *key).collect();
    let span = record.span.map_or("-", |span| span.name);
    format!("{} {} {span} {}", record.level, record.name, keys.join(" ")).trim_end().to_owned()
}

#[test]
fn every_event_has_its_stable_name_level_span_and_keys() {
    let attached = Attached::new();
    emit_each(&attached);
    let lines: Vec<_> = attached.ring.records().iter().map(line).collect();
    let expected = [
        "info engine_created - engine",
        "info compile_ended compile engine duration_ms failure",
        "debug model_load_started - engine",
        "error model_load_ended model_load engine duration_ms bytes failure",
        "error load_stuck - bytes",
        "debug session_created -",
        "debug session_disposed -",
        "debug request_admitted -",
        "warn request_refused - kind reason",
        "debug request_started queue queue_ms",
        "debug first_token time_to_first_token ttft_ms",
        "trace token_generated - since_last_ms",
        "info request_ended request finish_reason reason stop_code prompt_tokens completion_tokens cached_tokens total_ms",
        "warn retried -",
        "warn degraded - reason degrade_code",
        "trace queue_depth - n_waiting n_running",
        "debug kv_lookup - hit_tokens miss_tokens",
        "debug kv_evicted - blocks",
        "debug preempted -",
        "trace memory_observed - current_bytes",
        "warn memory_budget - reason",
        "trace pool_wait pool_wait duration_ms",
        "trace buffer_taken - hit",
        "debug inference_ended inference engine duration_ms failure ane_share gpu_share cpu_share sla_violated",
        "warn breaker_changed - engine from to cause",
        "warn fallback_engaged - engine reason",
        "error engine_stalled - engine",
        "error engine_crashed - engine",
        "warn engine_restarted - engine attempt after_ms",
        "debug parity_measured - engine linf exceeded",
        "trace threads_observed - busy_ms available_ms",
        "error rollout_changed - from from_percent to to_percent reason",
    ];
    assert_eq!(lines, expected);
}

/// Wants errors only, and fails if it is given anything else.
struct ErrorsOnly;

impl Logger for ErrorsOnly {
    fn enabled(&self, level: Level) -> bool {
        level == Level::Error
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        assert_eq!(event.level, Level::Error, "{}", event.name);
    }
}

#[test]
fn a_logger_is_given_only_what_it_wants() {
    let mut attached = Attached::new();
    attached.telemetry.logger = Some(Arc::new(ErrorsOnly));
    emit_each(&attached);
    let both = Fanout(vec![Arc::new(ErrorsOnly), Arc::clone(&attached.ring) as _]);
    attached.telemetry.logger = Some(Arc::new(both));
    emit_each(&attached);
    assert_eq!(attached.ring.records().len(), 32);
}

#[test]
fn an_event_carries_the_ids_of_its_request() {
    let attached = Attached::new();
    let (correlation, tenant): (CorrelationId, TenantId) = ("session-7".parse().unwrap(), "acme".parse().unwrap());
    attached.telemetry.emit_for(Ids::new(&correlation, &tenant), &RequestAdmitted);
    attached.emit(&RequestAdmitted);
    let ids: Vec<_> = attached.ring.records().into_iter().map(|record| (record.correlation, record.tenant)).collect();
    assert_eq!(ids, [(Some(correlation), Some(tenant)), (None, None)]);
}

#[test]
fn bad_ends_are_logged_louder() {
    let attached = Attached::new();
    attached.emit(&ended(FinishReason::Error, Some(ReasonCode::EngineFailed)));
    attached.emit(&inference(Err(FailureMode::Timeout), None));
    attached.emit(&CompileEnded { engine: "e", duration: MS, outcome: Err(FailureMode::CompileError) });
    attached.emit(&ParityMeasured { engine: "e", linf: 1.0, exceeded: true });
    attached.emit(&BreakerChanged { engine: "e", from: "half_open", to: BREAKER_CLOSED, cause: "probes" });
    let levels: Vec<_> = attached.ring.records().iter().map(|record| record.level).collect();
    assert_eq!(levels, [Level::Error, Level::Warn, Level::Error, Level::Error, Level::Info]);
}

#[test]
fn figures_of_engines_add_up() {
    let attached = Attached::new();
    let ane = Dispatch { ane: 1.0, gpu: 0.0, cpu: 0.0 };
    for dispatch in [None, Some(ane), Some(ane), Some(ane), Some(Dispatch::CPU)] {
        attached.emit(&inference(Ok(()), dispatch));
    }
    attached.emit(&inference(Err(FailureMode::RuntimeError), None));
    attached.emit(&inference(Err(FailureMode::Timeout), None));
    attached.emit(&CompileEnded { engine: "e", duration: MS, outcome: Ok(()) });
    attached.emit(&CompileEnded { engine: "e", duration: MS, outcome: Err(FailureMode::Timeout) });
    let seen = attached.snapshot();
    assert_eq!((seen.infer_count, seen.infer_success, seen.sla_violations), (7, 5, 2));
    assert_eq!((seen.compile_count, seen.compile_success), (2, 1));
    assert_eq!(
        (seen.ane_dispatch_pct, seen.gpu_dispatch_pct, seen.cpu_dispatch_pct),
        (Some(75.0), Some(0.0), Some(25.0))
    );
    assert_eq!((seen.infer_p50_ms, seen.infer_p95_ms, seen.infer_p99_ms), (Some(4.0), Some(4.0), Some(4.0)));
    assert_eq!((seen.compile_p50_ms, seen.compile_p95_ms, seen.compile_p99_ms), (Some(1.0), Some(1.0), Some(1.0)));
    assert_eq!((seen.failure_modes["timeout"], seen.failure_modes["runtime_error"]), (2, 1));
    assert_eq!(seen.failure_modes.len(), 7);
    assert_eq!(seen.infer_success_pct().map(f64::round), Some(71.0));
}

#[test]
fn figures_of_requests_add_up() {
    let attached = Attached::new();
    attached.emit(&ended(FinishReason::Stop, None));
    attached.emit(&ended(FinishReason::Stop, None));
    attached.emit(&ended(FinishReason::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    attached.emit(&RequestRefused { kind: ErrorKind::Overloaded, reason: Some(ReasonCode::BackpressureQueueFull) });
    attached.emit(&RequestRefused { kind: ErrorKind::Invalid, reason: None });
    attached.emit(&FirstToken { ttft: MS * 10 });
    attached.emit(&FirstToken { ttft: MS * 30 });
    attached.emit(&TokenGenerated { since_last: None });
    for since_last in [20, 30, 10].map(|n| Some(MS * n)) {
        attached.emit(&TokenGenerated { since_last });
    }
    attached.emit(&KvLookup { hit_tokens: 30, miss_tokens: 10 });
    let MetricsSnapshot { times, requests, resources, .. } = attached.snapshot();
    let timeout = EndCount { finish_reason: "cancelled", reason: Some("CANCELLED_BY_TIMEOUT"), count: 1 };
    assert_eq!(requests.ended, [EndCount { finish_reason: "stop", reason: None, count: 2 }, timeout]);
    assert_eq!(requests.refused, [("BACKPRESSURE_QUEUE_FULL", 1), ("invalid", 1)].into());
    let tokens = (requests.prompt_tokens, requests.completion_tokens, requests.cached_tokens);
    assert_eq!((tokens, requests.generated_tokens), ((15, 9, 6), 4));
    assert_eq!(times.average_time_to_first_token_ms, Some(20.0));
    assert_eq!(times.average_tokens_per_second, Some(50.0));
    assert_eq!(resources.kv_hit_rate, Some(0.75));
    assert_eq!((times.ttft.count, times.inter_token.count, times.request.count), (2, 3, 3));
}

#[test]
fn a_breaker_is_active_until_each_is_closed_again() {
    let attached = Attached::new();
    let change = |engine, from, to| {
        attached.emit(&BreakerChanged { engine, from, to, cause: "c" });
        attached.snapshot().circuit_breaker_active
    };
    assert!(!attached.snapshot().circuit_breaker_active);
    assert!(change("a", BREAKER_CLOSED, "open"));
    assert!(change("b", BREAKER_CLOSED, "open"));
    assert!(change("a", "open", "half_open"));
    assert!(change("a", "half_open", BREAKER_CLOSED));
    assert!(!change("b", "open", BREAKER_CLOSED));
}

#[test]
fn memory_and_queue_keep_their_peaks() {
    let attached = Attached::new();
    for current_bytes in [3 << 20, 9 << 20, 4 << 20] {
        attached.emit(&MemoryObserved { current_bytes });
    }
    attached.emit(&QueueDepth { n_waiting: 5, n_running: 1 });
    attached.emit(&QueueDepth { n_waiting: 0, n_running: 4 });
    let seen = attached.snapshot();
    assert_eq!((seen.memory_current_mb, seen.memory_peak_mb), (Some(4.0), Some(9.0)));
    assert_eq!(seen.resources.memory_high_water_bytes, Some(9 << 20));
    assert_eq!((seen.requests.n_waiting, seen.requests.n_waiting_max), (Some(0), Some(5)));
    assert_eq!((seen.requests.n_running, seen.requests.n_running_max), (Some(4), Some(4)));
}

#[test]
fn what_is_done_about_misbehaviour_is_counted() {
    let attached = Attached::new();
    emit_each(&attached);
    attached.emit(&BufferTaken { hit: false });
    let MetricsSnapshot { engines, requests, resources, times, .. } = attached.snapshot();
    let events = (engines.created, engines.restarts, engines.stalls, engines.crashes, engines.breaker_changes);
    assert_eq!(events, (1, 1, 1, 1, 1));
    assert_eq!((engines.load_count, engines.load_success, engines.loaded_bytes), (1, 0, 8));
    assert_eq!(engines.loads_stuck, 1);
    assert_eq!(engines.fallbacks, [("MEMORY_BUDGET_SOFT_LIMIT", 1)].into());
    assert_eq!((engines.parity_measured, engines.parity_exceeded, engines.parity_linf_max), (1, 0, Some(0.5)));
    assert_eq!((requests.retries, requests.preemptions, requests.admitted, requests.started), (1, 1, 1, 1));
    assert_eq!((requests.sessions_created, requests.sessions_disposed), (1, 1));
    assert_eq!(requests.degraded, [("CONTEXT_TRUNCATED", 1)].into());
    assert_eq!(resources.memory_budget, [("MEMORY_BUDGET_SOFT_LIMIT", 1)].into());
    assert_eq!((resources.kv_evicted_blocks, resources.buffer_hit_rate), (3, Some(0.5)));
    assert_eq!(resources.thread_utilisation, Some(0.5));
    assert_eq!((times.queue.count, times.pool_wait.count, times.load.count), (1, 1, 1));
}

#[test]
fn what_was_not_measured_is_none() {
    let seen = Attached::new().snapshot();
    let MetricsSnapshot { times, requests, resources, engines, .. } = &seen;
    assert_eq!((seen.ane_dispatch_pct, seen.gpu_dispatch_pct, seen.cpu_dispatch_pct), (None, None, None));
    assert_eq!((seen.infer_p99_ms, seen.compile_p50_ms, seen.infer_success_pct()), (None, None, None));
    assert_eq!((seen.memory_current_mb, seen.memory_peak_mb, resources.memory_high_water_bytes), (None, None, None));
    assert_eq!(
        (times.average_time_to_first_token_ms, times.average_tokens_per_second, times.ttft.max_ms),
        (None, None, None)
    );
    assert_eq!((resources.kv_hit_rate, resources.buffer_hit_rate, resources.thread_utilisation), (None, None, None));
    assert_eq!((requests.n_waiting, requests.n_running, engines.parity_linf_max), (None, None, None));
}
