//! Instances that do not come back.

use crate::chain::*;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::retry::{Backoff, RetryPolicy};
use ballast_runtime::supervised::{PredictFault, PredictOptions, SupervisedOptions};
use ballast_runtime::watchdog::WatchdogOptions;
use ballast_testkit::{Fault, FaultPlan, Hang};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn patient() -> PredictOptions {
    PredictOptions { deadline: LONG, ..PredictOptions::default() }
}

/// The first instance hangs at its first call, as told; all others are well.
fn first_hangs(hang: Hang) -> impl Fn(usize) -> FaultPlan + Send + Sync + 'static {
    move |instance| if instance == 0 { FaultPlan::list([Fault::Hang(hang)]) } else { FaultPlan::healthy() }
}

#[test]
fn a_stuck_instance_is_fenced_while_others_go_on_and_its_permit_returns_at_its_end() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Silent));
    let pool = PoolOptions { n_instances: 2, ..PoolOptions::default() };
    let (engine, clock) = open(&[&first], SupervisedOptions { pool, ..options() });
    thread::scope(|scope| {
        let victim = scope.spawn(|| engine.predict_blocking(inputs(7.0), patient()).unwrap());
        first.control.wait_hanging(1);
        assert_eq!(answer(&engine, 1.0), "first", "another instance answers meanwhile");
        pass_time(&clock, MS(500), "it is fenced", || health(&engine, 0).fences.fenced == 1);
        let prediction = victim.join().unwrap();
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(7.0));
        assert_eq!((prediction.retries, &*prediction.degraded), (1, &[ReasonCode::Retried][..]));
    });
    let pool = || health(&engine, 0).pool.unwrap();
    clock.advance(LONG);
    assert_eq!(answer(&engine, 2.0), "first");
    assert_eq!((pool().active, pool().instances), (1, 1), "its permit is still out");
    assert_eq!(engine.metrics().engines.stalls, 1);

    first.control.release();
    until("its thread ends", || health(&engine, 0).fences.fenced == 0);
    until("its permit is back", || pool().free == 2);
    assert_eq!(first.n_alive.load(Ordering::SeqCst), 1);
    assert_eq!(health(&engine, 0).fences.fenced_total, 1);
}

#[test]
fn a_call_that_only_beats_is_given_up_after_its_deadline() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Deaf));
    let (engine, clock) = open(&[&first], options());
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err());
        first.control.wait_hanging(1);
        clock.advance(Duration::from_secs(5));
        let error = caller.join().unwrap();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    });
    assert_eq!(health(&engine, 0).fences.fenced, 0, "it has a grace to return");
    clock.advance(Duration::from_secs(1));
    until("it is fenced", || health(&engine, 0).fences.fenced == 1);
    assert_eq!(answer(&engine, 1.0), "first");
    first.control.release();
}

#[test]
fn a_call_over_its_own_limit_is_asked_to_return_and_the_instance_is_kept() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Cooperative));
    let second = FaultyEngine::healthy("second");
    let watchdog = WatchdogOptions { call_max: Some(MS(100)), ..WatchdogOptions::default() };
    let (engine, clock) = open(&[&first, &second], SupervisedOptions { watchdog, ..options() });
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), patient()).unwrap());
        first.control.wait_hanging(1);
        clock.advance(MS(100));
        assert_eq!(caller.join().unwrap().engine, "second");
    });
    assert_eq!(answer(&engine, 1.0), "first");
    assert_eq!((health(&engine, 0).fences.fenced_total, first.n_opened.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn whoever_has_no_other_engine_is_told_that_the_call_was_late() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Cooperative));
    let watchdog = WatchdogOptions { call_max: Some(MS(100)), ..WatchdogOptions::default() };
    let retry = RetryPolicy { attempts_max: 1, ..options().retry };
    let (engine, clock) = open(&[&first], SupervisedOptions { watchdog, retry, ..options() });
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), patient()).unwrap_err());
        first.control.wait_hanging(1);
        clock.advance(MS(100));
        let error = caller.join().unwrap();
        assert!(matches!(error.fault, PredictFault::Late), "{error}");
    });
}

#[test]
fn the_next_engine_answers_within_the_deadline_when_the_first_hangs() {
    let first = FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Hang(Hang::Silent)));
    let second = FaultyEngine::healthy("second");
    let (engine, clock) = open(&[&first, &second], options());
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(4.0), PredictOptions::default()).unwrap());
        first.control.wait_hanging(1);
        clock.advance(MS(2500));
        let prediction = caller.join().unwrap();
        assert_eq!(prediction.engine, "second");
        assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::CancelledByTimeout]);
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(4.0));
        assert_eq!(prediction.latency.total, MS(2500));
    });
    first.control.release();
}

#[test]
fn no_other_engine_is_asked_after_the_deadline() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Silent));
    let second = FaultyEngine::healthy("second");
    let (engine, clock) = open(&[&first, &second], SupervisedOptions { link_share_percent: 100, ..options() });
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err());
        first.control.wait_hanging(1);
        clock.advance(Duration::from_secs(5));
        let error = caller.join().unwrap();
        assert_eq!((error.engine, error.reason()), ("first", Some(ReasonCode::CancelledByTimeout)));
    });
    assert_eq!(second.control.n_calls(), 0);
    first.control.release();
}

#[test]
fn the_deadline_is_met_when_everything_hangs() {
    let hangs = |name| FaultyEngine::new(name, |_| FaultPlan::flapping(0, 1, Fault::Hang(Hang::Silent)));
    let (first, second) = (hangs("first"), hangs("second"));
    let (engine, clock) = open(&[&first, &second], options());
    thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err()))
            .collect();
        first.control.wait_hanging(4);
        pass_time(&clock, MS(100), "all are told", || callers.iter().all(|caller| caller.is_finished()));
        for caller in callers {
            assert_eq!(caller.join().unwrap().reason(), Some(ReasonCode::CancelledByTimeout));
        }
    });
    assert_eq!(engine.health().n_predictions, 0);
    first.control.release();
    second.control.release();
}

#[test]
fn a_link_whose_instances_are_all_stuck_is_skipped() {
    let first = FaultyEngine::new("first", first_hangs(Hang::Silent));
    let second = FaultyEngine::healthy("second");
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let (engine, clock) = open(&[&first, &second], SupervisedOptions { pool, ..options() });
    thread::scope(|scope| {
        let victim = scope.spawn(|| engine.predict_blocking(inputs(1.0), patient()).unwrap());
        first.control.wait_hanging(1);
        pass_time(&clock, MS(500), "the victim is answered", || victim.is_finished());
        assert_eq!(victim.join().unwrap().engine, "second");
    });
    let prediction = engine.predict_blocking(inputs(1.0), patient()).unwrap();
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::EngineUnavailable]);
    first.control.release();
    until("it is replaced", || answer(&engine, 1.0) == "first");
    assert_eq!(health(&engine, 0).restarts, 1);
}

#[test]
fn a_lost_instance_is_replaced_after_a_pause_that_grows() {
    let first =
        FaultyEngine::new("first", |n| if n < 2 { FaultPlan::list([Fault::Panic]) } else { FaultPlan::healthy() });
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let restart = Backoff { jitter: 0.0, ..Backoff::default() };
    let mut options = SupervisedOptions { pool, restart, ..options() };
    options.retry.attempts_max = 1;
    let (engine, clock) = open(&[&first], options);
    for (n, pause) in [100, 200].into_iter().enumerate() {
        let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
        assert!(matches!(error.fault, PredictFault::Panicked), "{error}");
        assert_eq!(error.reason(), Some(ReasonCode::EngineCrashed));
        until("its thread has ended", || health(&engine, 0).fences.fenced == 0);
        clock.advance(MS(pause - 1));
        let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
        assert!(matches!(error.fault, PredictFault::AllLost), "{error}");
        assert_eq!((error.retry_after, first.n_opened.load(Ordering::SeqCst)), (Some(MS(1)), n + 1));
        clock.advance(MS(1));
        until("its place is free", || health(&engine, 0).pool.unwrap().free == 1);
    }
    assert_eq!(answer(&engine, 1.0), "first");
    let figures = engine.metrics().engines;
    assert_eq!((figures.crashes, figures.restarts), (2, 2));
}

#[test]
fn an_instance_that_fails_again_and_again_is_replaced() {
    let first =
        FaultyEngine::new("first", |n| FaultPlan::list(if n == 0 { vec![Fault::Fail; 100] } else { Vec::new() }));
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let mut options = SupervisedOptions { pool, ..options() };
    options.retry.attempts_max = 3;
    options.breaker.samples_min = 100;
    let (engine, _clock) = open(&[&first], options);
    let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
    assert_eq!((error.retries, first.control.n_calls()), (2, 3), "{error}");
    until("it is replaced", || {
        engine.predict_blocking(inputs(1.0), PredictOptions::default()).is_ok_and(|prediction| prediction.retries == 0)
    });
    assert_eq!(first.n_opened.load(Ordering::SeqCst), 2);
}

#[test]
fn an_instance_that_answers_between_failures_is_kept() {
    let faults = [Fault::Fail, Fault::Fail, Fault::None, Fault::Fail, Fault::Fail];
    let first = FaultyEngine::new("first", move |_| FaultPlan::list(faults));
    let mut options = SupervisedOptions { failures_max: 3, ..options() };
    options.retry.attempts_max = 1;
    options.breaker.samples_min = 100;
    let (engine, _clock) = open(&[&first], options);
    for fault in faults {
        let answered = engine.predict_blocking(inputs(1.0), PredictOptions::default()).is_ok();
        assert_eq!(answered, fault == Fault::None);
    }
    assert_eq!(answer(&engine, 1.0), "first");
    assert_eq!((first.n_opened.load(Ordering::SeqCst), health(&engine, 0).fences.fenced_total), (1, 0));
}

#[test]
fn an_instance_that_says_it_is_lost_is_replaced() {
    let first = FaultyEngine::new("first", |n| FaultPlan::list(if n == 0 { vec![Fault::Lost] } else { Vec::new() }));
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let mut options = SupervisedOptions { pool, ..options() };
    options.retry.attempts_max = 1;
    let (engine, _clock) = open(&[&first], options);
    let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    until("it is replaced", || engine.predict_blocking(inputs(1.0), PredictOptions::default()).is_ok());
    assert_eq!((first.n_opened.load(Ordering::SeqCst), engine.metrics().engines.restarts), (2, 1));
}

#[test]
fn an_instance_that_does_not_open_has_its_pause() {
    let first = FaultyEngine::healthy("first");
    first.fails_to_open.store(true, Ordering::SeqCst);
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let restart = Backoff { jitter: 0.0, ..Backoff::default() };
    let mut options = SupervisedOptions { pool, restart, ..options() };
    options.retry.attempts_max = 1;
    let (engine, clock) = open(&[&first], options);
    let refused = || engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
    let error = refused();
    assert!(matches!(error.fault, PredictFault::Open(_)), "{error}");
    let error = refused();
    assert!(matches!(error.fault, PredictFault::AllLost), "{error}");
    first.fails_to_open.store(false, Ordering::SeqCst);
    clock.advance(restart.initial);
    until("it opens", || engine.predict_blocking(inputs(1.0), PredictOptions::default()).is_ok());
}

#[test]
fn an_instance_that_does_not_open_leaves_the_answer_to_the_next_engine() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    first.fails_to_open.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&first, &second], options());
    let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.degraded[..2], [ReasonCode::FallbackEngaged, ReasonCode::ModelLoadFailed]);
    first.fails_to_open.store(false, Ordering::SeqCst);
    until("it opens", || answer(&engine, 1.0) == "first");
}

#[test]
fn nothing_is_replaced_while_too_many_stuck_instances_are_out() {
    let first = FaultyEngine::new("first", |n| match n {
        0 => FaultPlan::list([Fault::Hang(Hang::Silent)]),
        1 => FaultPlan::list([Fault::None, Fault::Panic]),
        _ => FaultPlan::healthy(),
    });
    let pool = PoolOptions { n_instances: 2, ..PoolOptions::default() };
    let mut options = SupervisedOptions { pool, fenced_max: 0, ..options() };
    options.retry.attempts_max = 1;
    let (engine, clock) = open(&[&first], options);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| engine.predict_blocking(inputs(1.0), patient()).unwrap_err());
        first.control.wait_hanging(1);
        assert_eq!(answer(&engine, 1.0), "first");
        pass_time(&clock, MS(500), "the stuck one is given up", || stuck.is_finished());
        assert_eq!(stuck.join().unwrap().reason(), Some(ReasonCode::EngineStalled));
    });
    let refused = || engine.predict_blocking(inputs(1.0), patient()).unwrap_err();
    assert!(matches!(refused().fault, PredictFault::Panicked));
    until("the other one has ended", || health(&engine, 0).fences.ended_total == 1);
    for _ in 0..20 {
        let error = refused();
        assert!(matches!(error.fault, PredictFault::AllLost), "{error}");
        thread::yield_now();
    }
    first.control.release();
    until("places are free again", || health(&engine, 0).pool.unwrap().free == 2);
    assert_eq!(answer(&engine, 1.0), "first");
}
