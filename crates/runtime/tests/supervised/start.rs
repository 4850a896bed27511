//! When a chain begins to answer.

use crate::chain::*;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::supervised::{
    LINKS_MAX, LinkPhase, OpenError, PredictOptions, StartMode, SupervisedEngine, SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::VirtualClock;
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
