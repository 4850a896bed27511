//! Answers that are compared with the next engine's.

use crate::chain::*;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::breaker::{Cause, Position};
use ballast_runtime::parity::{LiveOptions, Precision, Tolerances};
use ballast_runtime::supervised::{
    LiveParity, OpenError, PredictOptions, SupervisedEngine, SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{Fault, FaultPlan, Hang, VirtualClock};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn comparing() -> SupervisedOptions {
    let live = LiveOptions { share_ppm: 1_000_000, ..LiveOptions::default() };
    let mut options =
        SupervisedOptions { parity: Some(LiveParity { live, tolerances: Precision::F32.tolerances() }), ..options() };
    options.breaker.open_for.jitter = 0.0;
    options
}

#[test]
fn tolerances_that_are_none_do_not_open() {
    let mut options = comparing();
    for l_inf_max in [-1.0, f64::NAN] {
        let tolerances = Tolerances { l_inf_max, ..Precision::F32.tolerances() };
        options.parity = Some(LiveParity { live: LiveOptions::default(), tolerances });
        let parts = SupervisedParts { clock: Arc::new(VirtualClock::new()), telemetry: Telemetry::default() };
        let chain = vec![link(&FaultyEngine::healthy("first")), link(&FaultyEngine::healthy("second"))];
        let error = SupervisedEngine::open(chain, parts, options.clone()).unwrap_err();
        assert!(matches!(error, OpenError::Parity(_)), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn one_wrong_answer_opens_the_breaker_and_right_probes_close_it() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Wrong]));
    let second = FaultyEngine::healthy("second");
    let (engine, clock) = open(&[&first, &second], comparing());
    let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.engine, "first");
    until("it was compared", || health(&engine, 0).breaker == Some(Position::Open));
    assert_eq!(health(&engine, 0).breaker_counters.trips_by(Cause::Parity), 1);
    assert_eq!(engine.metrics().engines.parity_exceeded, 1);
    assert_eq!(answer(&engine, 2.0), "second");

    clock.advance(Duration::from_secs(10));
    let n_measured = engine.metrics().engines.parity_measured;
    assert_eq!(answer(&engine, 3.0), "first");
    assert!(engine.metrics().engines.parity_measured > n_measured, "the probe was compared before it was given");
    until("it closes", || {
        answer(&engine, 4.0);
        health(&engine, 0).breaker == Some(Position::Closed)
    });
}

#[test]
fn a_wrong_probe_is_never_given_to_the_caller() {
    let first = FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Wrong));
    let second = FaultyEngine::healthy("second");
    let (engine, clock) = open(&[&first, &second], comparing());
    engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    until("it was compared", || health(&engine, 0).breaker == Some(Position::Open));
    clock.advance(Duration::from_secs(10));
    let prediction = engine.predict_blocking(inputs(6.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(6.0));
    assert_eq!(prediction.engine, "second");
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::ParityExceeded]);
    assert_eq!(health(&engine, 0).breaker, Some(Position::Open));
}

#[test]
fn comparing_does_not_delay_the_answer_and_is_bounded() {
    let first = FaultyEngine::healthy("first");
    let second = FaultyEngine::new("second", |_| FaultPlan::list([Fault::Hang(Hang::Cooperative)]));
    let (engine, _clock) = open(&[&first, &second], comparing());
    (0..5).for_each(|_| assert_eq!(answer(&engine, 1.0), "first"));
    until("one comparison hangs", || second.control.n_hanging() == 1);
    let stats = health(&engine, 0).parity;
    assert_eq!((stats.begun, stats.skipped_busy), (1, 4));
    second.control.release();
    until("it ends", || health(&engine, 0).parity.within == 1);
    assert_eq!(health(&engine, 0).breaker, Some(Position::Closed));
}

#[test]
fn a_comparison_that_hangs_does_not_keep_a_dropped_engine() {
    let first = FaultyEngine::healthy("first");
    let second = FaultyEngine::new("second", |_| FaultPlan::list([Fault::Hang(Hang::Silent)]));
    let (engine, _clock) = open(&[&first, &second], comparing());
    assert_eq!(answer(&engine, 1.0), "first");
    second.control.wait_hanging(1);
    drop(engine);
    until("the first engine's instances are closed", || first.n_alive.load(Ordering::SeqCst) == 0);
    assert_eq!(second.control.n_hanging(), 1, "the comparison was given up, not waited for");
    second.control.release();
    until("the second engine's instances are closed", || second.n_alive.load(Ordering::SeqCst) == 0);
}

#[test]
fn without_the_option_nothing_is_compared() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    let (engine, _clock) = open(&[&first, &second], options());
    (0..5).for_each(|_| assert_eq!(answer(&engine, 1.0), "first"));
    assert_eq!(second.control.n_calls(), 0);
}
