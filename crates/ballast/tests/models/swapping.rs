//! Hot swaps: no request fails, every answer is that of the version that gave it.

use crate::life::block_on;
use crate::support::{Ledger, Shelf, answer_of, ask, counted, declare, eventually, question, quiet, report, room};
use ballast::{Error, ErrorKind, FinishReason, ModelSource, ModelState, Models, ReasonCode, SwapMode};
use ballast_runtime::lifecycle::LifecycleError;
use ballast_testkit::PATIENCE;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn swaps_under_load_fail_no_request() {
    const N_SWAPS: u64 = 6;
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 3));
    declare(&models, &shelf, 1);
    drop(models.acquire("a", Some(PATIENCE)).unwrap());
    let answers: Vec<String> = (1..=N_SWAPS + 1).map(|seed| answer_of(&shelf, seed)).collect();
    let (done, n_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let lease = models.acquire("a", Some(PATIENCE)).unwrap();
                    let version = usize::try_from(lease.version()).unwrap();
                    let answer = lease.generate(&question()).unwrap();
                    assert_eq!(answer.finish_reason, FinishReason::Length);
                    assert_eq!(answer.text, answers[version - 1], "version {version}");
                    n_answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for seed in 2..=N_SWAPS + 1 {
            let before = n_answers.load(Ordering::SeqCst);
            models.swap("a", shelf.source(seed), SwapMode::Beside, Some(PATIENCE)).unwrap();
            eventually("answers after the swap", || n_answers.load(Ordering::SeqCst) > before + 4);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!((report(&models, "a").version, models.stats().swaps), (N_SWAPS + 1, N_SWAPS));
    models.unload("a", Some(PATIENCE)).unwrap();
    assert_eq!(models.stats().held_bytes, 0);
}

#[test]
fn an_answer_goes_on_with_the_version_it_began_with() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 1);
    let old = models.acquire("a", Some(PATIENCE)).unwrap();
    let stream = old.stream(&question()).unwrap();
    models.swap("a", shelf.source(2), SwapMode::Beside, Some(PATIENCE)).unwrap();
    let new = models.acquire("a", Some(PATIENCE)).unwrap();
    assert_eq!((old.version(), new.version()), (1, 2));
    assert_eq!(ballast::Answer::collect(stream, |_| {}).text, answer_of(&shelf, 1));
    assert_eq!(ask(&new), answer_of(&shelf, 2));
}

#[test]
fn a_version_that_cannot_be_loaded_leaves_the_old_one_serving() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 1);
    drop(models.acquire("a", Some(PATIENCE)).unwrap());
    let missing = shelf.path("missing");
    let open = move |_: &_| ballast::Engine::load(&missing, &quiet());
    let failing = ModelSource::opened(shelf.bytes(), Arc::new(open));
    let error = models.swap("a", failing, SwapMode::Beside, Some(PATIENCE)).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::ModelLoadFailed)));
    assert_eq!(report(&models, "a").version, 1);
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 1));
    models.swap("a", shelf.source(2), SwapMode::Beside, Some(PATIENCE)).unwrap();
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 2));
}

#[test]
fn without_room_for_both_the_old_version_goes_first_if_it_may() {
    let shelf = Shelf::new();
    let ledger = Arc::new(Ledger::default());
    let models = Models::new(room(&shelf, 1));
    models.declare_source("a", counted(&shelf, 1, &ledger)).unwrap();
    drop(models.acquire("a", Some(PATIENCE)).unwrap());
    let swap = |seed, mode| models.swap("a", counted(&shelf, seed, &ledger), mode, Some(PATIENCE));
    assert_eq!(swap(2, SwapMode::Beside).unwrap_err().reason(), Some(ReasonCode::MemoryBudgetExceeded));
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 1));
    swap(2, SwapMode::EvictFirst).unwrap();
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 2));
    assert_eq!(ledger.live_bytes_max(), shelf.bytes(), "never both at once");
}

#[test]
fn a_model_that_is_not_loaded_is_replaced_without_a_load() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    declare(&models, &shelf, 1);
    models.swap("a", shelf.source(2), SwapMode::Beside, None).unwrap();
    assert_eq!((report(&models, "a").version, report(&models, "a").state), (2, ModelState::Absent));
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 2));
    let unknown = models.swap("x", shelf.source(2), SwapMode::Beside, None).unwrap_err();
    assert_eq!(unknown.reason(), Some(ReasonCode::ModelNotFound));
}

#[test]
fn swaps_of_one_name_take_turns() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 1);
    let lease = models.acquire("a", Some(PATIENCE)).unwrap();
    let mut first = Box::pin(models.swap_async("a", shelf.source(2), SwapMode::Beside));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if first.as_mut().poll(&mut context).is_pending() {
        let second = models.swap("a", shelf.source(3), SwapMode::Beside, Some(PATIENCE)).unwrap_err();
        assert!(matches!(second, Error::Lifecycle(LifecycleError::SwapInProgress { .. })), "{second}");
        block_on(first).unwrap();
    }
    drop(lease);
    block_on(models.swap_async("a", shelf.source(3), SwapMode::EvictFirst)).unwrap();
    assert_eq!(ask(&models.acquire("a", Some(PATIENCE)).unwrap()), answer_of(&shelf, 3));
}
