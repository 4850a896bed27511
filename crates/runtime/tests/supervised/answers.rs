//! Who answers, with what, and who is told why not.

use crate::chain::*;
use ballast_backend::{
    CapabilityReport, DType, Dim, Dispatch, EngineError, ErrorKind, InferenceEngine, Instance, IoSchema, ModelArtifact,
    Predictor, PrepareOptions, Prepared, Pulse, ReasonCode, Tensor, TensorData, TensorMap,
};
use ballast_runtime::breaker::Position;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::retry::{Backoff, RetryPolicy};
use ballast_runtime::supervised::{
    Link, PredictFault, PredictOptions, SupervisedEngine, SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{Fault, FaultPlan, Hang, VirtualClock};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

#[test]
fn the_first_engine_answers_while_it_is_well() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    let (engine, _clock) = open(&[&first, &second], options());
    let prediction = engine.predict_blocking(inputs(3.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(3.0));
    assert_eq!((prediction.engine, prediction.retries), ("first", 0));
    assert_eq!(prediction.dispatch, Some(Dispatch::CPU));
    assert!(prediction.degraded.is_empty(), "{:?}", prediction.degraded);
    assert_eq!(second.n_opened.load(Ordering::SeqCst), 0, "instances are opened when they are needed");
    let metrics = engine.metrics();
    assert_eq!((metrics.compile_count, metrics.infer_count, metrics.infer_success), (2, 1, 1));
    assert_eq!(metrics.engines.load_success, 1);
    assert_eq!(metrics.cpu_dispatch_pct, Some(100.0));
}

#[test]
fn a_call_that_failed_is_run_again_on_the_same_engine() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Fail]));
    let (engine, _clock) = open(&[&first], options());
    let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    assert_eq!((prediction.engine, prediction.retries), ("first", 1));
    assert_eq!(prediction.degraded, [ReasonCode::Retried]);
    assert_eq!(engine.metrics().requests.retries, 1);
    assert_eq!(health(&engine, 0).restarts, 0, "one failure does not cost the instance");
}

#[test]
fn the_next_engine_really_answers_what_the_first_cannot() {
    for fault in [Fault::Fail, Fault::Panic, Fault::Lost] {
        let first = FaultyEngine::new("first", move |_| FaultPlan::list([fault; 100]));
        let second = FaultyEngine::healthy("second");
        let (engine, _clock) = open(&[&first, &second], options());
        let prediction = engine.predict_blocking(inputs(5.0), PredictOptions::default()).unwrap();
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(5.0), "{fault:?}");
        assert_eq!((prediction.engine, prediction.retries), ("second", 1), "{fault:?}");
        assert_eq!(prediction.degraded[0], ReasonCode::FallbackEngaged, "{fault:?}");
        let metrics = engine.metrics();
        assert_eq!(metrics.engines.fallbacks.values().sum::<u64>(), 1, "{fault:?}");
        assert_eq!((metrics.infer_count, metrics.infer_success), (3, 1), "{fault:?}");
    }
}

#[test]
fn the_retry_budget_is_kept() {
    let first = FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Fail));
    let second = FaultyEngine::healthy("second");
    let mut options = SupervisedOptions { failures_max: u32::MAX, ..options() };
    options.retry_budget.retries_floor = 2;
    options.retry_budget.retries_per_100 = 0;
    options.breaker.samples_min = 1000;
    let (engine, _clock) = open(&[&first, &second], options);
    (0..6).for_each(|_| assert_eq!(answer(&engine, 1.0), "second"));
    assert_eq!(engine.metrics().requests.retries, 2);
    assert_eq!(first.control.n_calls(), 8);
}

#[test]
fn nothing_is_tried_again_that_could_begin_only_after_the_deadline() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Fail]));
    let retry = RetryPolicy { backoff: Backoff { jitter: 0.0, ..Backoff::default() }, ..RetryPolicy::default() };
    let (engine, clock) = open(&[&first], SupervisedOptions { retry, ..options() });
    let brief = PredictOptions { deadline: retry.backoff.initial, ..PredictOptions::default() };
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), brief).unwrap_err());
        until("the first attempt", || first.control.n_calls() == 1);
        pass_time(&clock, MS(1), "it is told", || caller.is_finished());
        assert_eq!(caller.join().unwrap().retries, 0);
    });
    assert_eq!(first.control.n_calls(), 1);
}

#[test]
fn the_retry_policy_waits_and_stops() {
    let first = FaultyEngine::new("first", |_| FaultPlan::flapping(0, 1, Fault::Fail));
    let retry = RetryPolicy { attempts_max: 3, ..RetryPolicy::default() };
    let (engine, clock) = open(&[&first], SupervisedOptions { retry, failures_max: u32::MAX, ..options() });
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err());
        until("the first attempt", || first.control.n_calls() == 1);
        until("a retry waits", || engine.metrics().requests.retries == 1);
        assert_eq!(first.control.n_calls(), 1, "the second attempt waits for its time");
        pass_time(&clock, MS(10), "all attempts", || first.control.n_calls() == 3);
        let error = caller.join().unwrap();
        assert_eq!((error.retries, error.kind()), (2, ErrorKind::Internal));
        assert_eq!(error.reason(), Some(ReasonCode::EngineFailed));
    });
    assert_eq!(first.control.n_calls(), 3);
}

#[test]
fn wrong_inputs_are_refused_before_any_engine_sees_them() {
    let first = FaultyEngine::healthy("first");
    let (engine, _clock) = open(&[&first], options());
    let wrong = TensorMap::from([("x".to_owned(), Tensor::zeros(vec![WIDTH + 1], DType::F32).unwrap())]);
    for bad in [wrong, TensorMap::new()] {
        let error = engine.predict_blocking(bad, PredictOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(matches!(error.fault, PredictFault::Input(_)), "{error}");
    }
    assert_eq!(first.control.n_calls(), 0);
    assert_eq!(health(&engine, 0).breaker, Some(Position::Closed));
}

#[test]
fn a_full_pool_pushes_back_at_once() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Hang(Hang::Cooperative)]));
    let second = FaultyEngine::healthy("second");
    let pool = PoolOptions { n_instances: 1, waiters_max: 1, ..PoolOptions::default() };
    let (engine, _clock) = open(&[&first, &second], SupervisedOptions { pool, ..options() });
    thread::scope(|scope| {
        let running = scope.spawn(|| answer(&engine, 1.0));
        first.control.wait_hanging(1);
        let waiting = scope.spawn(|| answer(&engine, 2.0));
        until("the second caller waits", || health(&engine, 0).pool.is_some_and(|pool| pool.waiting == 1));
        let error = engine.predict_blocking(inputs(3.0), PredictOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Overloaded, Some(ReasonCode::PoolExhausted)));
        assert!(error.retry_after.is_some(), "a mean wait was measured");
        first.control.release();
        assert_eq!((running.join().unwrap(), waiting.join().unwrap()), ("first", "first"));
    });
    assert_eq!(second.control.n_calls(), 0, "who is refused for want of room takes no other link's");
}

#[test]
fn every_caller_gets_its_own_answer() {
    let first = FaultyEngine::healthy("first");
    let (engine, _clock) = open(&[&first], options());
    thread::scope(|scope| {
        for caller in 0..16_u16 {
            let engine = &engine;
            scope.spawn(move || {
                (0..50_u16).for_each(|n| assert_eq!(answer(engine, f32::from(caller * 100 + n)), "first"))
            });
        }
    });
    let pool = health(&engine, 0).pool.unwrap();
    assert_eq!(pool.inferences, 16 * 50);
    assert!(pool.instances <= 4 && first.n_opened.load(Ordering::SeqCst) == pool.instances, "{pool}");
    assert_eq!((pool.active, engine.health().n_predictions), (0, 0));
}

#[test]
fn outputs_are_written_into_buffers_that_were_used_before() {
    let first = FaultyEngine::healthy("first");
    let (engine, _clock) = open(&[&first], options());
    (0..50_u8).for_each(|n| assert_eq!(answer(&engine, f32::from(n)), "first"));
    let rate = engine.buffers().hit_rate().unwrap();
    assert!(rate > 0.8, "{}", engine.buffers());
    assert_eq!(engine.metrics().resources.buffer_hit_rate, Some(rate));
    let kept = engine.predict_blocking(inputs(9.0), PredictOptions::default()).unwrap();
    (0..5_u8).for_each(|n| assert_eq!(answer(&engine, f32::from(n)), "first"));
    assert_eq!(kept.outputs.get("y").unwrap().as_f32().unwrap(), expected(9.0), "no buffer has two owners");
}

#[test]
fn dropping_the_future_cancels_the_call() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Hang(Hang::Cooperative)]));
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    let (engine, _clock) = open(&[&first], SupervisedOptions { pool, ..options() });
    let mut call = Box::pin(engine.predict(inputs(1.0), PredictOptions::default()));
    until("it hangs", || {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        first.control.n_hanging() == 1
    });
    assert_eq!(engine.health().n_predictions, 1);
    drop(call);
    assert_eq!(engine.health().n_predictions, 0);
    assert_eq!(answer(&engine, 2.0), "first", "the instance was asked to return and serves again");
    let link = health(&engine, 0);
    assert_eq!((link.restarts, link.fences.fenced_total), (0, 0));
    assert_eq!(link.breaker, Some(Position::Closed));
}

#[test]
fn drained_engines_finish_what_they_have_and_take_no_more() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Hang(Hang::Cooperative)]));
    let (engine, _clock) = open(&[&first], options());
    thread::scope(|scope| {
        let running = scope.spawn(|| answer(&engine, 1.0));
        first.control.wait_hanging(1);
        let drain = scope.spawn(|| engine.drain_blocking(Duration::from_secs(60)));
        until("it drains", || engine.health().is_draining);
        let error = engine.predict_blocking(inputs(2.0), PredictOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::Draining)));
        first.control.release();
        assert_eq!(running.join().unwrap(), "first");
        assert!(drain.join().unwrap());
    });
}

#[test]
fn drains_give_up_what_takes_too_long() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Hang(Hang::Silent)]));
    let (engine, clock) = open(&[&first], options());
    thread::scope(|scope| {
        let running = scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err());
        first.control.wait_hanging(1);
        let drain = scope.spawn(|| engine.drain_blocking(MS(100)));
        until("it drains", || engine.health().is_draining);
        clock.advance(MS(100));
        assert!(!drain.join().unwrap());
        assert_eq!(running.join().unwrap().reason(), Some(ReasonCode::Draining));
    });
    first.control.release();
}

#[test]
fn no_instance_outlives_the_engine() {
    let engines = [FaultyEngine::healthy("first"), FaultyEngine::new("second", |_| FaultPlan::healthy())];
    let (engine, _clock) = open(&[&engines[0], &engines[1]], options());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| answer(&engine, 1.0));
        }
    });
    let clone = engine.clone();
    drop(engine);
    assert_eq!(answer(&clone, 1.0), "first", "clones share it");
    drop(clone);
    assert_eq!(engines[0].n_alive.load(Ordering::SeqCst), 0, "idle threads were joined");
}

#[test]
fn a_stuck_instance_does_not_hold_the_drop_and_ends_when_it_can() {
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Hang(Hang::Silent)]));
    let (engine, clock) = open(&[&first], options());
    thread::scope(|scope| {
        let caller = scope.spawn(|| engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err());
        first.control.wait_hanging(1);
        clock.advance(Duration::from_secs(5));
        assert_eq!(caller.join().unwrap().reason(), Some(ReasonCode::CancelledByTimeout));
    });
    drop(engine);
    assert_eq!(first.n_alive.load(Ordering::SeqCst), 1, "its thread cannot be killed");
    first.control.release();
    until("the thread ends", || first.n_alive.load(Ordering::SeqCst) == 0);
}

#[test]
fn the_summary_names_every_link() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    let (engine, _clock) = open(&[&first, &second], options());
    answer(&engine, 1.0);
    let summary = engine.summary();
    for part in ["first: breaker closed", "second: breaker closed", "buffers: ", "inferences"] {
        assert!(summary.contains(part), "{summary}");
    }
}

/// A tensor `y` of `len` elements.
fn outputs(name: &str, len: usize) -> TensorMap {
    TensorMap::from([(name.to_owned(), Tensor::zeros(vec![len], DType::F32).unwrap())])
}

#[test]
fn outputs_that_the_model_does_not_have_are_a_failure_of_the_engine() {
    let bad: [fn() -> TensorMap; 4] = [
        TensorMap::new,
        || outputs("y", WIDTH + 1),
        || TensorMap::from([("y".to_owned(), Tensor::zeros(vec![WIDTH], DType::I64).unwrap())]),
        || outputs("y", WIDTH).into_iter().chain(outputs("z", 1)).collect(),
    ];
    for bad in bad {
        let first = Arc::new(FaultyEngine { function: Arc::new(move |_| bad()), ..well("first") });
        let (engine, _clock) = open(&[&first], options());
        let error = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Internal, Some(ReasonCode::EngineFailed)));
        assert!(matches!(error.fault, PredictFault::Output { .. }), "{error}");
        let second = FaultyEngine::healthy("second");
        let (engine, _clock) = open(&[&first, &second], options());
        assert_eq!(answer(&engine, 1.0), "second");
    }
}

/// Gives as many elements as it is given.
fn any_width(name: &'static str) -> Arc<FaultyEngine> {
    let mut engine = well(name);
    for spec in engine.schema.inputs.iter_mut().chain(&mut engine.schema.outputs) {
        spec.shape = vec![Dim::Any];
    }
    let double = |inputs: &TensorMap| {
        let values: Vec<f32> = inputs["x"].as_f32().unwrap().iter().map(|x| 2.0 * x).collect();
        TensorMap::from([("y".to_owned(), Tensor::new(vec![values.len()], TensorData::F32(values)).unwrap())])
    };
    engine.function = Arc::new(double);
    Arc::new(engine)
}

#[test]
fn outputs_of_open_extent_are_right_and_reused_where_they_stay_the_same() {
    let first = any_width("first");
    let (engine, _clock) = open(&[&first], options());
    for len in [3, 3, 3, 3, 3, 3, 5, 2, 2, 2, 2, 2, 2] {
        let given =
            TensorMap::from([("x".to_owned(), Tensor::new(vec![len], TensorData::F32(vec![2.0; len])).unwrap())]);
        let prediction = engine.predict_blocking(given, PredictOptions::default()).unwrap();
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), vec![4.0; len]);
        assert_eq!(prediction.outputs.into_tensors()["y"].shape(), [len]);
    }
    let (engine, _clock) = open(&[&first], options());
    (0..20).for_each(|_| drop(engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap()));
    assert_eq!(engine.buffers().cache_hits, 18, "the first has no shape, the second allocates");
}

#[test]
fn buffers_come_without_what_another_left_in_them() {
    let first = FaultyEngine::healthy("first");
    let (engine, _clock) = open(&[&first], options());
    answer(&engine, 7.0);
    let lazy = Arc::new(Lazy);
    let link = Link { engine: lazy, ..link(&first) };
    let parts = SupervisedParts { clock: Arc::new(VirtualClock::new()), telemetry: Telemetry::default() };
    let engine = SupervisedEngine::open(vec![link], parts, options()).unwrap();
    for value in [3.0, 0.0] {
        let prediction = engine.predict_blocking(inputs(value), PredictOptions::default()).unwrap();
        let got = prediction.outputs.get("y").unwrap().as_f32().unwrap().to_vec();
        assert_eq!(got, vec![value; WIDTH], "where it writes nothing, nothing of another's stands");
    }
    assert_eq!(engine.buffers().cache_hits, 1);
}

/// Writes its inputs into the tensors it is given, but not where they are zero.
#[derive(Debug)]
struct Lazy;

struct LazyPredictor(IoSchema);

impl Predictor for LazyPredictor {
    fn io_schema(&self) -> &IoSchema {
        &self.0
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        let TensorData::F32(given) = outputs.get_mut("y").unwrap().data_mut() else { panic!("y is of f32") };
        for (to, from) in given.iter_mut().zip(inputs["x"].as_f32().unwrap()).filter(|(_, from)| **from != 0.0) {
            *to = *from;
        }
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        None
    }
}

impl InferenceEngine for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        well("lazy").prepare(artifact, options)
    }

    fn open(&self, _: &Prepared) -> Result<Instance, EngineError> {
        Ok(Instance::Predictor(Box::new(LazyPredictor(schema()))))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        well("lazy").capabilities(prepared)
    }
}
