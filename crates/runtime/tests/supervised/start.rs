//! When a chain begins to answer.

use crate::chain::*;
use ballast_backend::{ErrorKind, ReasonCode, Tensor, TensorData, TensorMap};
use ballast_runtime::parity::{InputOptions, Precision, Tolerances};
use ballast_runtime::retry::RetryPolicy;
use ballast_runtime::supervised::{
    LINKS_MAX, LinkPhase, OpenError, PredictOptions, Promotion, StartMode, SupervisedEngine, SupervisedOptions,
    SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{Fault, FaultPlan, VirtualClock};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

fn parts() -> (SupervisedParts, VirtualClock) {
    let clock = VirtualClock::new();
    (SupervisedParts { clock: Arc::new(clock.clone()), telemetry: Telemetry::default() }, clock)
}

#[test]
fn a_warm_start_answers_on_the_next_link_and_swaps_when_the_first_is_ready() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    first.is_held.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&first, &second], SupervisedOptions { start: StartMode::Warm, ..options() });
    assert_eq!(health(&engine, 0).phase, LinkPhase::Preparing);
    let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.engine, "second");
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::EngineUnavailable]);
    first.is_held.store(false, Ordering::SeqCst);
    until("it swaps", || health(&engine, 0).phase == LinkPhase::Ready);
    assert_eq!(first.n_opened.load(Ordering::SeqCst), 1, "it joins with one instance open");
    assert_eq!(answer(&engine, 2.0), "first");
    assert_eq!(first.n_opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_start_waits_for_every_link_and_leaves_out_those_that_fail() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    first.fails_to_prepare.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&first, &second], options());
    assert!(matches!(health(&engine, 0).phase, LinkPhase::Failed(_)));
    let prediction = engine.predict_blocking(inputs(1.0), PredictOptions::default()).unwrap();
    assert_eq!(prediction.engine, "second");
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::ModelLoadFailed]);
    let metrics = engine.metrics();
    assert_eq!((metrics.compile_count, metrics.compile_success), (2, 1));
}

#[test]
fn a_chain_of_which_nothing_is_ready_does_not_open() {
    let first = FaultyEngine::healthy("first");
    first.fails_to_prepare.store(true, Ordering::SeqCst);
    let error = SupervisedEngine::open(vec![link(&first)], parts().0, options()).unwrap_err();
    assert!(matches!(error, OpenError::Prepare { engine: "first", .. }), "{error}");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some(ReasonCode::ModelLoadFailed)));
    for n_links in [0, LINKS_MAX + 1] {
        let chain = vec![link(&first); n_links];
        let error = SupervisedEngine::open(chain, parts().0, options()).unwrap_err();
        assert!(matches!(error, OpenError::Links { links_max: LINKS_MAX, got } if got == n_links), "{error}");
    }
}

#[test]
fn a_preparation_that_hangs_does_not_hold_the_start_for_ever() {
    let first = FaultyEngine::healthy("first");
    first.is_held.store(true, Ordering::SeqCst);
    let (parts, clock) = parts();
    let options = SupervisedOptions { prepare_max: Duration::from_secs(60), ..options() };
    thread::scope(|scope| {
        let opening = scope.spawn(|| SupervisedEngine::open(vec![link(&first)], parts, options).unwrap_err());
        pass_time(&clock, Duration::from_secs(1), "it gives up", || opening.is_finished());
        let error = opening.join().unwrap();
        assert!(matches!(error, OpenError::Late { .. }), "{error}");
    });
    first.is_held.store(false, Ordering::SeqCst);
}

#[test]
fn a_link_with_other_inputs_or_outputs_is_left_out() {
    let first = FaultyEngine::healthy("first");
    let mut other = well("other");
    other.schema.outputs[0].name = "z".to_owned();
    let other = Arc::new(other);
    let (engine, _clock) = open(&[&first, &other], options());
    let phases: Vec<_> = engine.health().links.into_iter().map(|link| link.phase).collect();
    let failed = phases.iter().filter(|phase| matches!(phase, LinkPhase::Failed(_))).count();
    assert_eq!(failed, 1, "which of the two was first decides: {phases:?}");
}

fn promotion() -> Promotion {
    Promotion::new(Precision::F16.tolerances())
}

fn warm() -> SupervisedOptions {
    SupervisedOptions { start: StartMode::Warm, promotion: Some(promotion()), ..options() }
}

/// Why the first link is left out.
fn why(engine: &SupervisedEngine) -> String {
    until("the first link is left out", || matches!(health(engine, 0).phase, LinkPhase::Failed(_)));
    let LinkPhase::Failed(why) = health(engine, 0).phase else { panic!("it failed above") };
    why
}

/// Off by a tenth.
fn off(inputs: &TensorMap) -> TensorMap {
    let values = inputs["x"].as_f32().unwrap().iter().map(|x| 2.0 * x + 1.1).collect();
    TensorMap::from([("y".to_owned(), Tensor::new(vec![WIDTH], TensorData::F32(values)).unwrap())])
}

#[test]
fn a_link_joins_once_it_opened_and_answered_as_the_next_one_does() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    first.is_held.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&first, &second], warm());
    assert_eq!(answer(&engine, 1.0), "second");
    first.is_held.store(false, Ordering::SeqCst);
    until("it swaps", || health(&engine, 0).phase == LinkPhase::Ready);
    assert_eq!((first.n_opened.load(Ordering::SeqCst), engine.metrics().engines.parity_measured), (1, 4));
    assert_eq!(answer(&engine, 2.0), "first");
}

#[test]
fn a_link_that_answers_otherwise_than_the_next_is_left_out() {
    let mut first = well("first");
    first.function = Arc::new(off);
    let (first, second) = (Arc::new(first), FaultyEngine::healthy("second"));
    for start in [StartMode::Warm, StartMode::Wait] {
        let (engine, _clock) = open(&[&first, &second], SupervisedOptions { start, ..warm() });
        assert!(why(&engine).contains("differ"));
        assert_eq!((answer(&engine, 1.0), engine.metrics().engines.parity_exceeded), ("second", 1));
        assert!(engine.summary().contains("first: left out: its answers differ"), "{}", engine.summary());
    }
    let wide = Tolerances { l_inf_max: 1.0, rmse_max: 1.0, cosine_min: None };
    let (engine, _clock) =
        open(&[&first, &second], SupervisedOptions { promotion: Some(Promotion::new(wide)), ..warm() });
    until("it swaps", || health(&engine, 0).phase == LinkPhase::Ready);
}

#[test]
fn a_link_that_does_not_open_or_not_answer_is_left_out() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    first.fails_to_open.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&first, &second], warm());
    assert!(why(&engine).contains("did not prove itself"));
    let first = FaultyEngine::new("first", |_| FaultPlan::list([Fault::Fail]));
    let (engine, _clock) = open(&[&first, &second], warm());
    assert!(why(&engine).contains("did not prove itself"));
    assert_eq!(answer(&engine, 1.0), "second");
}

#[test]
fn the_last_link_joins_at_once_and_one_before_it_waits_for_it() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    second.is_held.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let opening = scope.spawn(|| open(&[&first, &second], warm()).0);
        until("the first is prepared", || first.n_prepared.load(Ordering::SeqCst) == 1);
        assert!(!opening.is_finished());
        second.is_held.store(false, Ordering::SeqCst);
        let engine = opening.join().unwrap();
        until("it swaps", || health(&engine, 0).phase == LinkPhase::Ready);
        assert_eq!(engine.metrics().engines.parity_measured, 4);
    });
}

#[test]
fn a_link_joins_uncompared_where_nothing_can_be_compared() {
    // The next link does not answer the first inputs, or none can be made.
    let healthy = FaultyEngine::healthy("first");
    let second = FaultyEngine::new("second", |_| FaultPlan::list([Fault::Fail]));
    let none = Promotion { inputs: InputOptions { elements_max: 0, ..InputOptions::default() }, ..promotion() };
    let refusing = SupervisedOptions { retry: RetryPolicy { attempts_max: 1, ..options().retry }, ..warm() };
    for (second, options) in
        [(&second, refusing), (&FaultyEngine::healthy("second"), SupervisedOptions { promotion: Some(none), ..warm() })]
    {
        let (engine, _clock) = open(&[&healthy, second], options);
        until("it swaps", || health(&engine, 0).phase == LinkPhase::Ready);
        assert_eq!(engine.metrics().engines.parity_measured, 0);
    }
    // Behind a link of which nothing becomes ready there is nothing to compare with.
    let lost = FaultyEngine::healthy("second");
    lost.fails_to_prepare.store(true, Ordering::SeqCst);
    let (engine, _clock) = open(&[&healthy, &lost], warm());
    assert_eq!(answer(&engine, 1.0), "first");
}

#[test]
fn tolerances_of_a_promotion_that_are_none_are_refused() {
    let tolerances = Tolerances { l_inf_max: -1.0, ..Precision::F16.tolerances() };
    let options = SupervisedOptions { promotion: Some(Promotion { tolerances, ..promotion() }), ..warm() };
    let error = SupervisedEngine::open(vec![link(&FaultyEngine::healthy("first"))], parts().0, options).unwrap_err();
    assert!(matches!(error, OpenError::Parity(_)), "{error}");
}

#[test]
fn of_a_chain_that_does_not_open_the_last_engine_tells_why() {
    let (first, second) = (FaultyEngine::healthy("first"), FaultyEngine::healthy("second"));
    for engine in [&first, &second] {
        engine.fails_to_prepare.store(true, Ordering::SeqCst);
    }
    let error = SupervisedEngine::open(vec![link(&first), link(&second)], parts().0, options()).unwrap_err();
    assert!(matches!(error, OpenError::Prepare { engine: "second", .. }), "{error}");
}
