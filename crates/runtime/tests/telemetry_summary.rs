//! What people and programs read: the summary, the snapshot as JSON, and the grades.

use ballast_backend::{Dispatch, ErrorKind, ReasonCode};
use ballast_runtime::FinishReason;
use ballast_runtime::events::{
    BreakerChanged, CompileEnded, FallbackEngaged, FirstToken, InferenceEnded, KvLookup, MemoryObserved, RequestEnded,
    RequestRefused, TokenGenerated,
};
use ballast_runtime::telemetry::{FailureMode, Grade, Growth, HealthFigures, HealthLimits, Metrics, Telemetry};
use std::sync::Arc;
use std::time::Duration;

/// Metrics after some events.
fn measured() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::default());
    let telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: None };
    let (engine, ms) = ("e", Duration::from_millis);
    telemetry.emit(&CompileEnded { engine, duration: ms(120), outcome: Ok(()) });
    let dispatch = Some(Dispatch { ane: 0.75, gpu: 0.0, cpu: 0.25 });
    for _ in 0..99 {
        telemetry.emit(&InferenceEnded { engine, duration: ms(18), outcome: Ok(()), dispatch, sla_violated: false });
    }
    let outcome = Err(FailureMode::Timeout);
    telemetry.emit(&InferenceEnded { engine, duration: ms(18), outcome, dispatch: None, sla_violated: true });
    telemetry.emit(&MemoryObserved { current_bytes: 85 << 20 });
    telemetry.emit(&BreakerChanged { engine, from: "closed", to: "open", cause: "failures" });
    telemetry.emit(&FallbackEngaged { engine, reason: ReasonCode::CircuitOpen });
    telemetry.emit(&FirstToken { ttft: ms(40) });
    telemetry.emit(&TokenGenerated { since_last: Some(ms(20)) });
    telemetry.emit(&KvLookup { hit_tokens: 1, miss_tokens: 3 });
    telemetry.emit(&RequestRefused { kind: ErrorKind::Overloaded, reason: Some(ReasonCode::BackpressureQueueFull) });
    telemetry.emit(&RequestEnded {
        finish_reason: FinishReason::Cancelled,
        reason: Some(ReasonCode::CancelledByTimeout),
        prompt_tokens: 4,
        completion_tokens: 1,
        cached_tokens: 1,
        total: ms(60),
    });
    metrics
}

#[test]
fn the_summary_tells_what_was_measured_and_what_was_not() {
    let expected = "\
compilations     1 of 1 succeeded; p50 120.0 ms, p95 120.0 ms, p99 120.0 ms
loads            0 of 0 succeeded; not measured
inferences       99 of 100 succeeded; p50 18.0 ms, p95 18.0 ms, p99 18.0 ms
dispatch         ANE 75.0 %, GPU 0.0 %, CPU 25.0 %
failures         timeout 1
SLA violations   1
circuit breaker  active
fallbacks        CIRCUIT_OPEN 1
engines          0 restarts, 0 stalls, 0 crashes
parity           0 of 0 over the tolerance, largest difference not measured
requests         0 admitted, 0 started
ended            cancelled (CANCELLED_BY_TIMEOUT) 1
refused          BACKPRESSURE_QUEUE_FULL 1
degraded         none
run again        0 retried, 0 preempted
queue            not measured waiting; not measured
first token      p50 40.0 ms, p95 40.0 ms, p99 40.0 ms
between tokens   p50 20.0 ms, p95 20.0 ms, p99 20.0 ms; 50.0 per second
tokens           4 of prompts, 1 of them cached; 1 generated
memory           85 MB now, 85 MB at most
memory budget    none
KV cache hits    25.0 %
buffer hits      not measured
pool wait        not measured
compute threads  not measured
";
    assert_eq!(measured().snapshot().summary(), expected);
}

#[test]
fn a_summary_of_nothing_has_no_invented_figure() {
    let summary = Metrics::default().snapshot().summary();
    assert!(summary.contains("dispatch         not measured"), "{summary}");
    assert!(summary.contains("memory           not measured"), "{summary}");
    assert!(summary.contains("inferences       0 of 0 succeeded; not measured"), "{summary}");
}

/// Names of the prior system's snapshot.
const FIELDS: [&str; 18] = [
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

#[test]
fn the_snapshot_as_json_has_the_names_of_the_prior_system() {
    let json = serde_json::to_value(measured().snapshot()).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[..FIELDS.len()], FIELDS);
    assert_eq!(keys[FIELDS.len()..], ["times", "requests", "resources", "engines"]);
    assert_eq!(json["infer_count"], 100);
    assert_eq!(json["ane_dispatch_pct"], 75.0);
    assert_eq!(json["failure_modes"]["timeout"], 1);
    assert_eq!(json["circuit_breaker_active"], true);
    assert_eq!(json["requests"]["ended"][0]["reason"], "CANCELLED_BY_TIMEOUT");
    let none = serde_json::to_value(Metrics::default().snapshot()).unwrap();
    assert!(none["infer_p99_ms"].is_null() && none["memory_peak_mb"].is_null() && none["ane_dispatch_pct"].is_null());
}

#[test]
fn a_snapshot_is_graded() {
    let growth = Growth { mb_per_hour: Some(6.0), mb_per_1000_inferences: None };
    let figures = HealthFigures::new(&measured().snapshot(), growth);
    let report = HealthLimits::default().grade(&figures);
    assert_eq!(report.success_pct.grade, Some(Grade::Warning), "99 % is not over 99 %");
    assert_eq!(report.infer_p99_ms.grade, Some(Grade::Healthy));
    assert_eq!(report.ane_dispatch_pct.grade, Some(Grade::Healthy));
    assert_eq!(report.memory_growth_mb_per_hour.value, Some(6.0));
    assert_eq!(report.overall, Some(Grade::Warning));
    let json = serde_json::to_value(report).unwrap();
    assert_eq!((&json["overall"], &json["infer_p99_ms"]["value"]), (&"warning".into(), &18.0.into()));
}
