//! Loading on demand, sharing one load, making room, keeping alive, failing and coming back.

use crate::support::{Ledger, Shelf, answer_of, ask, counted, declare, eventually, question, quiet, report, room};
use ballast::gguf::{Gguf, TensorType};
use ballast::telemetry::{RingLogger, Telemetry};
use ballast::{
    BudgetMode, CachedWeights, CompileCacheOptions, Error, ErrorKind, LoadOptions, MemoryBudget, ModelLease,
    ModelSource, ModelState, Models, ModelsOptions, Pressure, ReasonCode, wiring,
};
use ballast_runtime::lifecycle::LifecycleError;
use ballast_runtime::retry::Backoff;
use ballast_testkit::{PATIENCE, TinyLlama, VirtualClock};
use std::fs::File;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

fn acquire(models: &Models, name: &str) -> ModelLease {
    models.acquire(name, Some(PATIENCE)).unwrap()
}

fn refused(models: &Models, name: &str) -> Error {
    models.acquire(name, Some(PATIENCE)).map(drop).unwrap_err()
}

fn is_absent(models: &Models, name: &str) -> bool {
    report(models, name).state == ModelState::Absent
}

fn is_ready(models: &Models, name: &str) -> bool {
    matches!(report(models, name).state, ModelState::Ready { .. })
}

#[test]
fn models_are_loaded_on_demand_and_answer_as_themselves() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    assert!(is_absent(&models, "a") && is_absent(&models, "b"));
    assert_eq!((models.stats().loads, models.stats().held_bytes), (0, 0));
    for (name, seed) in [("a", 1), ("b", 2), ("a", 1)] {
        assert_eq!(ask(&acquire(&models, name)), answer_of(&shelf, seed));
    }
    assert_ne!(answer_of(&shelf, 1), answer_of(&shelf, 2), "the models differ");
    assert_eq!((models.stats().loads, models.stats().hits, models.stats().held_bytes), (2, 1, 2 * shelf.bytes()));
    let a = report(&models, "a");
    assert_eq!((a.version, a.bytes, a.planned_bytes), (1, Some(shelf.bytes()), Some(shelf.bytes())));
    let lease = acquire(&models, "a");
    assert_eq!((report(&models, "a").n_leases(), lease.version()), (1, 1));
}

#[test]
fn one_load_serves_all_who_ask_at_once() {
    let shelf = Shelf::new();
    let ledger = Arc::new(Ledger::default());
    let models = Models::new(room(&shelf, 1));
    models.declare_source("a", counted(&shelf, 1, &ledger)).unwrap();
    let (barrier, expected) = (Barrier::new(8), answer_of(&shelf, 1));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(ask(&acquire(&models, "a")), expected);
            });
        }
    });
    assert_eq!((ledger.n_opened(), models.stats().loads), (1, 1));
}

#[test]
fn the_idle_model_that_was_not_used_for_longest_makes_room() {
    let shelf = Shelf::new();
    let clock = VirtualClock::new();
    let models = Models::with_clock(room(&shelf, 2), Arc::new(clock.clone()));
    declare(&models, &shelf, 4);
    for name in ["a", "b", "a"] {
        clock.advance(Duration::from_secs(1));
        drop(acquire(&models, name));
    }
    drop(acquire(&models, "c"));
    assert!(is_ready(&models, "a") && is_absent(&models, "b") && is_ready(&models, "c"));
    assert_eq!(models.stats().evictions, 1);
    let used = acquire(&models, "a");
    clock.advance(Duration::from_secs(1));
    drop(acquire(&models, "c"));
    drop(acquire(&models, "d"));
    assert!(is_ready(&models, "a") && is_absent(&models, "c"), "what is in use stays, however long ago it was taken");
    let also_used = acquire(&models, "d");
    let error = refused(&models, "b");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Overloaded, Some(ReasonCode::MemoryBudgetExceeded)));
    let Error::Lifecycle(LifecycleError::NoRoom { held, .. }) = error else { panic!("{error}") };
    assert_eq!(held.iter().map(|held| held.model.as_str()).collect::<Vec<_>>(), ["a", "d"]);
    drop((used, also_used));
    drop(acquire(&models, "b"));
}

#[test]
fn as_many_models_are_loaded_as_there_may_be() {
    let shelf = Shelf::new();
    let models = Models::new(ModelsOptions { models_max: 1, ..room(&shelf, 4) });
    declare(&models, &shelf, 2);
    drop(acquire(&models, "a"));
    drop(acquire(&models, "b"));
    assert!(is_absent(&models, "a") && is_ready(&models, "b"));
}

#[test]
fn a_model_that_nobody_uses_is_unloaded_after_its_keep_alive() {
    let shelf = Shelf::new();
    let (clock, second) = (VirtualClock::new(), Duration::from_secs(1));
    let options = ModelsOptions { keep_alive: Some(60 * second), ..room(&shelf, 1) };
    let models = Models::with_clock(options, Arc::new(clock.clone()));
    declare(&models, &shelf, 1);
    let lease = acquire(&models, "a");
    clock.advance(100 * second);
    models.tick();
    assert!(is_ready(&models, "a"), "it is in use");
    drop(lease);
    clock.advance(59 * second);
    assert_eq!(models.tick(), Some(160 * second));
    assert!(is_ready(&models, "a"));
    assert_eq!(report(&models, "a").last_used(), Some(100 * second));
    clock.advance(second);
    models.tick();
    assert!(is_absent(&models, "a"));
    eventually("its memory to be free", || models.stats().held_bytes == 0);
    assert_eq!(models.stats().expirations, 1);
    assert_eq!(ask(&acquire(&models, "a")), answer_of(&shelf, 1));
}

#[test]
fn keep_alives_end_without_being_asked_where_the_clock_is_the_systems() {
    let shelf = Shelf::new();
    let models = Models::new(ModelsOptions { keep_alive: Some(Duration::ZERO), ..room(&shelf, 1) });
    declare(&models, &shelf, 1);
    drop(acquire(&models, "a"));
    eventually("the model to go", || models.stats().expirations == 1 && models.stats().held_bytes == 0);
}

#[test]
fn pressure_takes_idle_models_only() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 3));
    declare(&models, &shelf, 3);
    let used = acquire(&models, "a");
    drop((acquire(&models, "b"), acquire(&models, "c")));
    assert_eq!(models.observe_pressure(Pressure::Critical), 2);
    assert!(is_ready(&models, "a") && is_absent(&models, "b") && is_absent(&models, "c"));
    drop(used);
}

#[test]
fn a_load_that_failed_is_not_tried_again_before_its_time() {
    let shelf = Shelf::new();
    let clock = VirtualClock::new();
    let models = Models::with_clock(room(&shelf, 1), Arc::new(clock.clone()));
    let path = shelf.file(1);
    models.declare("a", &path, &quiet()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let first = refused(&models, "a");
    assert_eq!((first.kind(), first.reason()), (ErrorKind::Unavailable, Some(ReasonCode::ModelLoadFailed)));
    let wait = first.retry_after().unwrap();
    assert!(wait > Duration::from_millis(900) && wait <= Duration::from_secs(1), "{wait:?}");
    std::fs::write(&path, &whole).unwrap();
    clock.advance(wait / 2);
    assert_eq!(refused(&models, "a").retry_after(), Some(wait - wait / 2));
    assert_eq!(models.stats().load_failures, 1, "the second was refused without a load");
    let failure = report(&models, "a").failure.unwrap();
    assert_eq!((failure.version, failure.kind), (1, ErrorKind::Invalid));
    clock.advance(wait);
    assert_eq!(ask(&acquire(&models, "a")), answer_of(&shelf, 1));
    assert_eq!(report(&models, "a").failure, None);
}

#[test]
fn a_file_that_outgrew_its_plan_is_not_loaded() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    let path = shelf.file(1);
    models.declare("a", &path, &quiet()).unwrap();
    TinyLlama { n_layers: 6, ..TinyLlama::new(TensorType::F32) }.write_file(&path).unwrap();
    assert_eq!(refused(&models, "a").reason(), Some(ReasonCode::ModelLoadFailed));
    assert_eq!(report(&models, "a").failure.unwrap().reason, Some(ReasonCode::MemoryBudgetExceeded));
}

#[test]
fn a_file_is_planned_within_the_common_budget() {
    let shelf = Shelf::new();
    let path = shelf.path("roomy");
    TinyLlama { context_len: 4096, ..TinyLlama::new(TensorType::F32) }.write_file(&path).unwrap();
    let (unbounded, budget_bytes) = (quiet(), {
        let gguf = Gguf::open(&path).unwrap();
        let half = LoadOptions { context_len: Some(2048), ..quiet() };
        wiring::model_plan(&gguf, &half).unwrap().1.total_bytes()
    });
    let models = Models::new(ModelsOptions { memory_bytes: Some(budget_bytes), ..ModelsOptions::default() });
    models.declare("a", &path, &unbounded).unwrap();
    let lease = acquire(&models, "a");
    assert_eq!((lease.report().shape.context_len, models.stats().held_bytes), (2048, budget_bytes));
    assert_eq!(lease.report().findings[0].code, ReasonCode::MemoryBudgetSoftLimit);
    let strict = MemoryBudget { mode: BudgetMode::Strict, bytes: None };
    let error = models.declare("b", &path, &LoadOptions { memory: strict, ..quiet() }).unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::MemoryBudgetExceeded));
}

#[test]
fn a_second_engine_is_part_of_the_plan() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 8));
    let options = LoadOptions { fallback_kernels: Some("generic".to_owned()), ..quiet() };
    models.declare("a", &shelf.file(1), &options).unwrap();
    let lease = acquire(&models, "a");
    let plan = lease.report().plan;
    assert_eq!(models.stats().held_bytes, 2 * plan.total_bytes(), "each packs the weights for itself");
}

#[test]
fn cached_weights_are_planned_as_memory_of_its_own_unless_they_are_to_be_mapped() {
    let shelf = Shelf::new();
    let path = shelf.file(1);
    // Old enough to be known by its date.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let cache = wiring::open_compile_cache(&CompileCacheOptions::new(shelf.path("cache"))).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    drop(wiring::compile(&gguf, &cache, &quiet()).unwrap());
    let plan = |cached_weights| {
        let compile_cache = Some(Arc::clone(&cache));
        wiring::model_plan(&gguf, &LoadOptions { compile_cache, cached_weights, ..quiet() }).unwrap().1
    };
    assert_eq!(LoadOptions::default().cached_weights, CachedWeights::Copied);
    assert_eq!(plan(CachedWeights::Copied).mapped_bytes, 0);
    assert!(plan(CachedWeights::Mapped).mapped_bytes > 0);
}

/// A model whose loads wait until something is sent, and then fail.
fn gated(shelf: &Shelf) -> (ModelSource, SyncSender<()>) {
    let (release, gate) = sync_channel::<()>(1);
    let (gate, path) = (Mutex::new(gate), shelf.path("missing"));
    let open = move |_: &_| {
        // A test that is over lets go, too.
        gate.lock().unwrap().recv().unwrap_or_default();
        ballast::Engine::load(&path, &quiet())
    };
    (ModelSource::opened(1, Arc::new(open)), release)
}

#[test]
fn a_load_is_bounded_in_time_and_in_those_who_wait_for_it() {
    let shelf = Shelf::new();
    let (clock, second) = (VirtualClock::new(), Duration::from_secs(1));
    let backoff = Backoff { initial: 5 * second, jitter: 0.0, ..Backoff::default() };
    let options = ModelsOptions { waiters_max: 1, load_max: 9 * second, backoff, ..room(&shelf, 1) };
    let models = Models::with_clock(options, Arc::new(clock.clone()));
    let (source, release) = gated(&shelf);
    models.declare_source("a", source).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut waits = Box::pin(models.acquire_async("a"));
    assert!(waits.as_mut().poll(&mut context).is_pending());
    let error = refused(&models, "a");
    assert!(matches!(error, Error::Lifecycle(LifecycleError::WaitersFull { waiters_max: 1, .. })), "{error}");
    clock.advance(8 * second);
    models.tick();
    assert!(waits.as_mut().poll(&mut context).is_pending());
    clock.advance(second);
    models.tick();
    let error = block_on(waits).map(drop).unwrap_err();
    assert_eq!((error.reason(), error.retry_after()), (Some(ReasonCode::ModelLoadFailed), Some(5 * second)));
    release.send(()).unwrap();
}

#[test]
fn a_load_that_does_not_end_is_told_counted_and_in_nobodys_way_longer_than_it_may_take_to_obey() {
    let (shelf, ring) = (Shelf::new(), Arc::new(RingLogger::new(16)));
    let (clock, second) = (VirtualClock::new(), Duration::from_secs(1));
    let telemetry = Telemetry { metrics: None, logger: Some(Arc::clone(&ring) as _) };
    let options = ModelsOptions { load_max: 9 * second, obey_max: 4 * second, telemetry, ..room(&shelf, 1) };
    let models = Models::with_clock(options, Arc::new(clock.clone()));
    let (source, release) = gated(&shelf);
    models.declare_source("a", source).unwrap();
    models.declare("b", &shelf.file(1), &quiet()).unwrap();
    models.preload("a").unwrap();
    for (secs, n_stuck) in [(9, 0), (3, 0), (1, 1)] {
        clock.advance(secs * second);
        models.tick();
        assert_eq!((report(&models, "a").n_stuck, models.stats().stuck), (n_stuck, u64::from(n_stuck)));
    }
    assert_eq!(ring.records().iter().filter(|record| record.name == "load_stuck").count(), 1);
    assert_eq!((models.stats().held_bytes, models.stats().stuck_bytes), (1, 1));
    let error = refused(&models, "b");
    assert_eq!(error.reason(), Some(ReasonCode::MemoryBudgetExceeded), "at once, and not when the load may be over");
    assert!(error.to_string().ends_with("this is held: a (1 bytes, used by 0)"), "{error}");
    release.send(()).unwrap();
    eventually("the end of the load", || models.stats().stuck_bytes == 0);
    assert_eq!(ask(&acquire(&models, "b")), answer_of(&shelf, 1));
}

#[test]
fn names_are_known_once_and_bounded() {
    let shelf = Shelf::new();
    let models = Models::new(ModelsOptions { names_max: 2, ..room(&shelf, 1) });
    declare(&models, &shelf, 2);
    assert!(matches!(models.declare("a", &shelf.file(1), &quiet()), Err(Error::NameTaken { .. })));
    let full = models.declare("c", &shelf.file(1), &quiet()).unwrap_err();
    assert!(matches!(full, Error::NamesFull { names_max: 2, .. }) && full.kind() == ErrorKind::Overloaded);
    models.forget("a").unwrap();
    models.declare("c", &shelf.file(3), &quiet()).unwrap();
    assert_eq!(models.status().iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    for error in [refused(&models, "a"), models.unload("a", None).unwrap_err(), models.forget("a").unwrap_err()] {
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some(ReasonCode::ModelNotFound)));
    }
    let missing = models.declare("d", &shelf.path("missing"), &quiet()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Invalid);
}

#[test]
fn unloading_waits_for_leases_and_keeps_the_name() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    declare(&models, &shelf, 1);
    let lease = acquire(&models, "a");
    let error = models.unload("a", Some(Duration::ZERO)).unwrap_err();
    assert!(matches!(error, Error::Lifecycle(LifecycleError::StillInUse { in_use: 1, .. })), "{error}");
    assert_eq!(ask(&lease), answer_of(&shelf, 1), "uses go on to their end");
    drop(lease);
    models.unload("a", Some(PATIENCE)).unwrap();
    assert_eq!(models.stats().held_bytes, 0);
    assert_eq!(ask(&acquire(&models, "a")), answer_of(&shelf, 1));
}

#[test]
fn an_engine_cloned_out_of_a_lease_does_not_hold_the_memory() {
    let shelf = Shelf::new();
    let ledger = Arc::new(Ledger::default());
    let models = Models::new(room(&shelf, 1));
    models.declare_source("a", counted(&shelf, 1, &ledger)).unwrap();
    let clone = (*acquire(&models, "a")).clone();
    assert_eq!(ledger.live_bytes(), shelf.bytes());
    models.unload("a", Some(PATIENCE)).unwrap();
    assert_eq!(ledger.live_bytes(), 0, "it is gone when unloading says so");
    assert_eq!(clone.generate(&question()).unwrap_err().reason(), Some(ReasonCode::Draining));
}

#[test]
fn everything_goes_with_the_last_handle_and_the_last_lease() {
    let shelf = Shelf::new();
    let (ledger, held) = (Arc::new(Ledger::default()), Arc::new(()));
    let models = Models::new(room(&shelf, 2));
    models.declare_source("a", counted(&shelf, 1, &ledger)).unwrap();
    let kept = Arc::clone(&held);
    let open = move |_: &_| Err(Error::NameTaken { model: format!("{kept:?}") });
    models.declare_source("b", ModelSource::opened(1, Arc::new(open))).unwrap();
    let lease = acquire(&models, "a");
    let clone = models.clone();
    drop(models);
    assert_eq!(ask(&acquire(&clone, "a")), answer_of(&shelf, 1));
    drop(clone);
    assert_eq!(ask(&lease), answer_of(&shelf, 1), "a lease outlives the handles");
    assert_eq!(ledger.live_bytes(), shelf.bytes());
    drop(lease);
    eventually("the models to go", || ledger.live_bytes() == 0);
    eventually("the sources to go", || Arc::strong_count(&held) == 1);
}

#[test]
fn a_caller_leaves_a_slow_load_at_its_own_deadline() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    let (release, gate) = sync_channel::<()>(0);
    let (gate, path) = (Mutex::new(gate), shelf.file(1));
    let open = move |_: &_| {
        gate.lock().unwrap().recv().unwrap();
        ballast::Engine::load(&path, &quiet())
    };
    models.declare_source("a", ModelSource::opened(shelf.bytes(), Arc::new(open))).unwrap();
    let error = models.acquire("a", Some(Duration::from_millis(1))).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    let preloaded = models.preload("a");
    assert!(preloaded.is_ok() && matches!(report(&models, "a").state, ModelState::Loading { waiters: 0 }));
    release.send(()).unwrap();
    assert_eq!(ask(&acquire(&models, "a")), answer_of(&shelf, 1));
    assert_eq!(models.stats().loads, 1, "the load went on");
}

#[test]
fn async_callers_wait_for_loads_and_unloads() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    let lease = block_on(models.acquire_async("a")).unwrap();
    assert_eq!(ask(&lease), answer_of(&shelf, 1));
    let mut context = Context::from_waker(Waker::noop());
    let mut unloading = Box::pin(models.unload_async("a"));
    assert!(unloading.as_mut().poll(&mut context).is_pending(), "a lease is held");
    drop(lease);
    block_on(unloading).unwrap();
    assert_eq!(models.stats().held_bytes, 0);
    assert_eq!(block_on(models.acquire_async("x")).map(drop).unwrap_err().reason(), Some(ReasonCode::ModelNotFound));
}

/// Polls until it is ready.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (Box::pin(future), Context::from_waker(Waker::noop()));
    let mut output = None;
    eventually("a future", || match future.as_mut().poll(&mut context) {
        Poll::Ready(ready) => {
            output = Some(ready);
            true
        }
        Poll::Pending => false,
    });
    output.unwrap()
}

#[test]
fn loading_tells_when_it_begins_and_how_it_ends() {
    let shelf = Shelf::new();
    let ring = Arc::new(RingLogger::new(64));
    let telemetry = Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::clone(&ring) as _) };
    let engine =
        ballast::Engine::load(&shelf.file(1), &LoadOptions { telemetry: telemetry.clone(), ..quiet() }).unwrap();
    let is_of_loading = |name: &&str| name.starts_with("model_load") || *name == "engine_created";
    let names = || ring.records().iter().map(|record| record.name).filter(is_of_loading).collect::<Vec<_>>();
    assert_eq!(names(), ["model_load_started", "engine_created", "model_load_ended"]);
    let figures = engine.metrics().unwrap().engines;
    assert_eq!((figures.created, figures.load_count, figures.load_success), (1, 1, 1));
    ballast::Engine::load(&shelf.path("missing"), &LoadOptions { telemetry, ..quiet() }).unwrap_err();
    assert_eq!(names()[3..], ["model_load_started", "model_load_ended"]);
    let figures = engine.metrics().unwrap().engines;
    assert_eq!((figures.created, figures.load_count, figures.load_success), (1, 2, 1));
}
