//! When a link is not asked, and when it is asked again.

use crate::chain::*;
use ballast_backend::{Clock, ErrorKind, ReasonCode};
use ballast_runtime::breaker::{Cause, Forced, Position};
use ballast_runtime::supervised::{PredictOptions, SupervisedEngine, SupervisedOptions, SupervisedParts};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{Fault, FaultPlan, VirtualClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Every call is tried once.
fn once() -> SupervisedOptions {
    let mut options = SupervisedOptions { failures_max: u32::MAX, ..options() };
    options.retry.attempts_max = 1;
    options.breaker.open_for.jitter = 0.0;
    options
}

#[test]
fn opens_below_95_percent_after_10_samples_and_closes_by_itself() {
    let mut faults = vec![Fault::None; 9];
    faults.push(Fault::Fail);
    let first = FaultyEngine::new("first", move |_| FaultPlan::list(faults.clone()));
    let second = FaultyEngine::healthy("second");
    let (engine, clock) = open(&[&first, &second], once());
    (0..9).for_each(|_| assert_eq!(answer(&engine, 1.0), "first"));
    assert_eq!(answer(&engine, 2.0), "second", "the tenth fails, and is answered all the same");
    let link = health(&engine, 0);
    assert_eq!(link.breaker, Some(Position::Open));
    assert_eq!(link.breaker_counters.trips_by(Cause::SuccessRate), 1);
    assert!(engine.metrics().circuit_breaker_active);

    let n_calls = first.control.n_calls();
    let prediction = engine.predict_blocking(inputs(3.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::CircuitOpen]);
    assert_eq!(first.control.n_calls(), n_calls, "an open breaker asks nobody");

    clock.advance(Duration::from_secs(10));
    assert_eq!(answer(&engine, 4.0), "first", "a probe");
    assert_eq!(health(&engine, 0).breaker, Some(Position::HalfOpen));
    assert_eq!(answer(&engine, 5.0), "first");
    assert_eq!(health(&engine, 0).breaker, Some(Position::Closed));
    assert!(!engine.metrics().circuit_breaker_active);
}

#[test]
fn an_open_breaker_without_another_link_says_when_to_come_back() {
    let first = FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Fail));
    let (engine, clock) = open(&[&first], once());
    (0..10).for_each(|_| drop(engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err()));
    clock.advance(Duration::from_secs(4));
    let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::CircuitOpen)));
    assert_eq!(error.retry_after, Some(Duration::from_secs(6)));
    assert!(!engine.health().is_ready());
}

/// Every call takes so long.
struct Slow {
    clock: VirtualClock,
    step_ms: AtomicU64,
}

impl Clock for Slow {
    fn now(&self) -> Duration {
        self.clock.advance(MS(self.step_ms.load(Ordering::SeqCst)));
        self.clock.now()
    }
}

#[test]
fn opens_over_answers_that_come_late() {
    let mut options = once();
    options.breaker.window = Duration::from_secs(100_000);
    // Each look at this clock takes a second: a run takes one, however quick the machine.
    let slow = Arc::new(Slow { clock: VirtualClock::new(), step_ms: AtomicU64::new(1) });
    let first = Arc::new(FaultyEngine::with_sla("first", Duration::from_nanos(1), |_| FaultPlan::healthy()));
    let second = FaultyEngine::healthy("second");
    let engine = open_at(&[&first, &second], options, slow);
    for n in 0..100 {
        let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
        assert_eq!((prediction.engine, &*prediction.degraded), ("first", &[ReasonCode::SlaViolated][..]), "{n}");
    }
    assert_eq!(answer(&engine, 1.0), "second");
    assert_eq!(health(&engine, 0).breaker_counters.trips_by(Cause::SlaViolations), 1);
    assert_eq!(engine.metrics().sla_violations, 100);
}

#[test]
fn an_engine_alone_may_be_late_unless_it_is_told_how_long_it_has() {
    for (sla, expected) in [(None, 150), (Some(Duration::from_nanos(1)), 100)] {
        let mut options = once();
        (options.breaker.window, options.breaker.sla) = (Duration::from_secs(100_000), sla);
        let slow = Arc::new(Slow { clock: VirtualClock::new(), step_ms: AtomicU64::new(1) });
        let only = Arc::new(FaultyEngine::with_sla("only", Duration::from_nanos(1), |_| FaultPlan::healthy()));
        let engine = open_at(&[&only], options, slow);
        let asked = (0..150).map(|_| engine.predict_blocking(inputs(1.0), PredictOptions::default()));
        assert_eq!(asked.filter(Result::is_ok).count(), expected, "{sla:?}");
        assert_eq!(engine.metrics().sla_violations, expected as u64, "each is counted");
    }
}

#[test]
fn opens_over_memory_told_and_probed() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    let (engine, _clock) = open(&[&first, &second], once());
    assert_eq!(engine.observe_memory("first", 2048 << 20), 1);
    assert_eq!(answer(&engine, 1.0), "first", "the limit itself is allowed");
    assert_eq!(engine.observe_memory("first", (2048 << 20) + 1), 1);
    assert_eq!(answer(&engine, 1.0), "second");
    assert_eq!(health(&engine, 0).breaker_counters.trips_by(Cause::Memory), 1);
    assert_eq!(engine.observe_memory("nobody", u64::MAX), 0);

    let used = Arc::new(AtomicU64::new(0));
    let probe = Arc::clone(&used);
    let mut probed = link(&first);
    probed.memory = Some(Arc::new(move || Some(probe.load(Ordering::SeqCst))));
    let parts = SupervisedParts { clock: Arc::new(VirtualClock::new()), telemetry: Telemetry::default() };
    let clock = parts.clock.clone();
    let options = SupervisedOptions { memory_every: Duration::ZERO, ..once() };
    let engine = SupervisedEngine::open(vec![probed, link(&second)], parts, options).unwrap();
    assert_eq!(answer(&engine, 1.0), "first");
    used.store(3 << 30, Ordering::SeqCst);
    until("the probe is read", || health(&engine, 0).breaker == Some(Position::Open));
    assert_eq!(answer(&engine, 1.0), "second");
    assert_eq!(clock.now(), Duration::ZERO);
    assert_eq!(engine.metrics().resources.memory_high_water_bytes, Some(3 << 30));
}

#[test]
fn obeys_a_person() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    let (engine, _clock) = open(&[&first, &second], once());
    assert_eq!(engine.force_breaker("first", Forced::Open), 1);
    assert_eq!(answer(&engine, 1.0), "second");
    assert_eq!(engine.force_breaker("first", Forced::Auto), 1);
    assert_eq!(answer(&engine, 1.0), "first");
    assert_eq!(engine.force_breaker("nobody", Forced::Open), 0);
}

#[test]
fn an_impatient_caller_does_not_open_it() {
    let first =
        FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Hang(ballast_testkit::Hang::Cooperative)));
    let (engine, clock) = open(&[&first], once());
    for n in 0..12 {
        std::thread::scope(|scope| {
            let impatient = PredictOptions { deadline: MS(1), ..PredictOptions::default() };
            let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), impatient).unwrap_err());
            until("it hangs", || first.control.n_calls() == n + 1);
            clock.advance(MS(1));
            assert_eq!(caller.join().unwrap().reason(), Some(ReasonCode::CancelledByTimeout));
        });
        until("it returned", || first.control.n_hanging() == 0);
    }
    assert_eq!(health(&engine, 0).breaker, Some(Position::Closed), "its service level is an hour");
}
