//! A house of models under many threads: memory, leases and swaps stay whole.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{Clock, EngineError, ErrorKind, Pulse};
use ballast_runtime::lifecycle::{
    Job, LifecycleError, LifecycleOptions, LoadOrder, LoadPart, ModelHouse, ModelId, ModelPlan, ModelState, Orphans,
    Pressure, ProvisionalPlan, SwapMode, spawn_thread,
};
use ballast_runtime::telemetry::{Metrics, RingLogger, Telemetry, Value};
use ballast_testkit::{PATIENCE, SplitMix, VirtualClock};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the loader has done: bytes that live, the most that ever lived, loads begun.
#[derive(Debug, Default)]
struct Ledger {
    live_bytes: AtomicU64,
    most_bytes: AtomicU64,
    live_models: AtomicU64,
    loads: AtomicU64,
}

/// A loaded model that counts itself.
#[derive(Debug)]
struct Model {
    version: u64,
    bytes: u64,
    ledger: Arc<Ledger>,
}

impl Model {
    fn new(version: u64, bytes: u64, ledger: &Arc<Ledger>) -> Self {
        let live = ledger.live_bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        ledger.most_bytes.fetch_max(live, Ordering::SeqCst);
        ledger.live_models.fetch_add(1, Ordering::SeqCst);
        ledger.loads.fetch_add(1, Ordering::SeqCst);
        Self { version, bytes, ledger: Arc::clone(ledger) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.ledger.live_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.ledger.live_models.fetch_sub(1, Ordering::SeqCst);
    }
}

fn plan(version: u64, bytes: u64) -> ModelPlan {
    ModelPlan { version, bytes, keep_alive: None, provisional: None }
}

fn failure() -> EngineError {
    EngineError::new(ErrorKind::Internal, std::io::Error::other("scripted"))
}

/// A house whose loads end at once; `bytes` says what each model takes.
fn house(budget_bytes: u64, bytes: &[(&str, u64)]) -> (ModelHouse<Model>, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let sizes: BTreeMap<ModelId, u64> = bytes.iter().map(|&(name, bytes)| (ModelId::new(name), bytes)).collect();
    let (books, known) = (Arc::clone(&ledger), sizes.clone());
    let load = move |order: &LoadOrder, _: &Pulse| Ok(Model::new(order.version, known[&order.model], &books));
    let mut options = LifecycleOptions::new(budget_bytes);
    options.backoff.initial = Duration::ZERO;
    let house =
        ModelHouse::new(options, Arc::new(VirtualClock::new()), Telemetry::default(), Box::new(spawn_thread), load);
    for (id, bytes) in sizes {
        assert!(house.register(id, plan(1, bytes)));
    }
    (house, ledger)
}

/// A load that waits for a word from the test.
struct Gate {
    begun: Receiver<(LoadOrder, Pulse)>,
    ends: SyncSender<bool>,
}

impl Gate {
    fn begun(&self) -> (LoadOrder, Pulse) {
        self.begun.recv_timeout(PATIENCE).expect("a load begins")
    }
}

/// A house whose loads end when the test says so, one word for each, and whether they succeed.
fn gated_house(options: LifecycleOptions) -> (ModelHouse<Model>, Gate, Arc<Ledger>, VirtualClock) {
    gated_house_telling(options, Telemetry::default())
}

fn gated_house_telling(
    options: LifecycleOptions,
    telemetry: Telemetry,
) -> (ModelHouse<Model>, Gate, Arc<Ledger>, VirtualClock) {
    let (ledger, clock) = (Arc::new(Ledger::default()), VirtualClock::new());
    let (tell, begun) = sync_channel(16);
    let (ends, told) = sync_channel(16);
    let (books, told) = (Arc::clone(&ledger), Mutex::new(told));
    let load = move |order: &LoadOrder, pulse: &Pulse| {
        tell.send((order.clone(), pulse.clone())).unwrap();
        let succeeds: bool = told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        if succeeds { Ok(Model::new(order.version, 1, &books)) } else { Err(failure()) }
    };
    let house = ModelHouse::new(options, Arc::new(clock.clone()), telemetry, Box::new(spawn_thread), load);
    house.register(ModelId::new("a"), plan(1, 1));
    (house, Gate { begun, ends }, ledger, clock)
}

/// Waits, with patience, for what another thread is to do.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("expected {what} within {PATIENCE:?}");
}

fn waiters(house: &ModelHouse<Model>, id: &ModelId) -> u32 {
    match house.status(id).unwrap().state {
        ModelState::Loading { waiters } => waiters,
        ModelState::Absent | ModelState::Ready { .. } | ModelState::Draining { .. } | ModelState::Failed { .. } => 0,
    }
}

#[test]
fn many_threads_load_use_and_unload_within_the_budget() {
    let names = [("a", 4), ("b", 6), ("c", 3), ("d", 5)];
    let (house, ledger) = house(10, &names);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let house = &house;
            scope.spawn(move || {
                let mut random = SplitMix::new(seed);
                for _ in 0..400 {
                    let (what, which) = (random.next_u64() % 100, random.next_u8() % 4);
                    let (name, bytes) = names[usize::from(which)];
                    let id = ModelId::new(name);
                    match what {
                        0..=89 => match house.acquire(&id, None) {
                            Ok(model) => assert_eq!(model.bytes, bytes),
                            Err(LifecycleError::NoRoom { .. } | LifecycleError::Unloaded { .. }) => {}
                            Err(error) => panic!("{error}"),
                        },
                        90..=95 => house.unload(&id, None).unwrap(),
                        _ => {
                            house.observe_pressure(Pressure::Critical);
                        }
                    }
                }
            });
        }
    });
    assert!(ledger.most_bytes.load(Ordering::SeqCst) <= 10, "{ledger:?}");
    for (name, _) in names {
        house.unload(&ModelId::new(name), None).unwrap();
    }
    eventually("no model to be left", || house.stats().held_bytes == 0);
    assert_eq!(ledger.live_models.load(Ordering::SeqCst), 0, "{ledger:?}");
}

#[test]
fn swaps_under_load_fail_no_request() {
    for (mode, budget) in [(SwapMode::Beside, 12), (SwapMode::EvictFirst, 7)] {
        let (house, ledger) = house(budget, &[("a", 6)]);
        let id = ModelId::new("a");
        let served = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut newest = 0;
                    for _ in 0..500 {
                        let model = house.acquire(&id, None).unwrap();
                        assert!(model.version >= newest, "a lease of version {} after {newest}", model.version);
                        newest = model.version;
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                drop(house.acquire(&id, None).unwrap());
                for version in 2..40 {
                    house.swap(&id, plan(version, 6), mode, None).unwrap();
                }
            });
        });
        assert_eq!(served.load(Ordering::SeqCst), 2000, "{mode:?}");
        assert_eq!(house.acquire(&id, None).unwrap().version, 39);
        assert!(ledger.most_bytes.load(Ordering::SeqCst) <= budget, "{mode:?} {ledger:?}");
    }
}

#[test]
fn a_swap_that_fails_fails_no_request() {
    for mode in [SwapMode::Beside, SwapMode::EvictFirst] {
        let options = LifecycleOptions::new(if mode == SwapMode::Beside { 2 } else { 1 });
        let (house, gate, _, _) = gated_house(options);
        let id = ModelId::new("a");
        gate.ends.send(true).unwrap();
        drop(house.acquire(&id, None).unwrap());
        gate.begun();
        gate.ends.send(false).unwrap();
        gate.ends.send(true).unwrap();
        let error = house.swap(&id, plan(2, 1), mode, None).unwrap_err();
        assert!(matches!(error, LifecycleError::LoadFailed { .. }), "{error:?}");
        assert_eq!(house.acquire(&id, None).unwrap().version, 1, "{mode:?}");
    }
}

#[test]
fn callers_share_one_load_and_leave_it_at_their_own_deadlines() {
    let (house, gate, ledger, clock) = gated_house(LifecycleOptions::new(1));
    let id = ModelId::new("a");
    std::thread::scope(|scope| {
        let patient: Vec<_> = (0..5).map(|_| scope.spawn(|| house.acquire(&id, None).unwrap().version)).collect();
        let hasty = scope.spawn(|| house.acquire(&id, Some(Duration::from_secs(5))).map(drop));
        gate.begun();
        eventually("six callers to wait", || waiters(&house, &id) == 6);
        clock.advance(Duration::from_secs(5));
        assert_eq!(hasty.join().unwrap(), Err(LifecycleError::TimedOut { model: id.clone() }));
        assert_eq!(waiters(&house, &id), 5);
        gate.ends.send(true).unwrap();
        assert!(patient.into_iter().all(|caller| caller.join().unwrap() == 1));
    });
    assert_eq!(ledger.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_load_that_nobody_waits_for_is_told_to_end() {
    let options = LifecycleOptions { orphans: Orphans::Cancel, ..LifecycleOptions::new(1) };
    let (house, gate, ledger, _) = gated_house(options);
    let id = ModelId::new("a");
    assert!(house.acquire(&id, Some(Duration::ZERO)).is_err());
    let (_, pulse) = gate.begun();
    eventually("the load to be told", || pulse.is_abandoned());
    gate.ends.send(true).unwrap();
    eventually("what came of it to be dropped", || house.stats().held_bytes == 0);
    assert_eq!((ledger.loads.load(Ordering::SeqCst), ledger.live_models.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn a_load_over_its_time_is_refused_and_what_comes_of_it_dropped() {
    let (house, gate, ledger, clock) = gated_house(LifecycleOptions::new(1));
    let id = ModelId::new("a");
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| house.acquire(&id, None).map(drop));
        gate.begun();
        eventually("the caller to wait", || waiters(&house, &id) == 1);
        clock.advance(house.tick().unwrap() - clock.now());
        house.tick();
        assert!(matches!(caller.join().unwrap(), Err(LifecycleError::LoadFailed { .. })));
    });
    gate.ends.send(true).unwrap();
    eventually("the late model to be dropped", || house.stats().held_bytes == 0);
    assert_eq!(ledger.live_models.load(Ordering::SeqCst), 0);
}

#[test]
fn failed_loads_and_panics_of_the_loader_are_told_to_all_who_wait() {
    let clock = Arc::new(VirtualClock::new());
    let load = |order: &LoadOrder, _: &Pulse| -> Result<(), EngineError> {
        assert!(order.model.as_str() != "panics", "scripted");
        Err(failure())
    };
    let house = ModelHouse::new(LifecycleOptions::new(10), clock, Telemetry::default(), Box::new(spawn_thread), load);
    for name in ["panics", "fails"] {
        let id = ModelId::new(name);
        house.register(id.clone(), plan(1, 5));
        let error = house.acquire(&id, None).map(drop).unwrap_err();
        assert!(error.retry_after().is_some_and(|wait| !wait.is_zero()), "{error:?}");
        let again = house.acquire(&id, None).map(drop).unwrap_err();
        assert!(matches!(again, LifecycleError::LoadFailed { .. }), "{again:?}");
    }
    assert_eq!((house.stats().load_failures, house.stats().held_bytes), (2, 0));
    let unknown = house.acquire(&ModelId::new("unknown"), None).map(drop).unwrap_err();
    assert!(matches!(unknown, LifecycleError::NotFound { .. }));
}

#[test]
fn unloading_waits_for_leases_to_its_deadline() {
    let (house, ledger) = house(10, &[("a", 4)]);
    let id = ModelId::new("a");
    let lease = house.acquire(&id, None).unwrap();
    let error = house.unload(&id, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error, LifecycleError::StillInUse { model: id.clone(), in_use: 1 });
    assert_eq!((lease.version, ledger.live_models.load(Ordering::SeqCst)), (1, 1), "the lease holds");
    drop(lease);
    house.unload(&id, None).unwrap();
    eventually("the model to be dropped", || ledger.live_models.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_house_without_threads_works_on_the_callers() {
    let ledger = Arc::new(Ledger::default());
    let books = Arc::clone(&ledger);
    let inline = |job: Job| {
        job();
        Ok(())
    };
    let load = move |order: &LoadOrder, _: &Pulse| {
        let bytes = if order.part == LoadPart::Full { 8 } else { 2 };
        Ok(Model::new(order.version, bytes, &books))
    };
    let house = ModelHouse::new(
        LifecycleOptions::new(10),
        Arc::new(VirtualClock::new()),
        Telemetry::default(),
        Box::new(inline),
        load,
    );
    let id = ModelId::new("a");
    house.register(id.clone(), ModelPlan { provisional: Some(ProvisionalPlan { bytes: 2 }), ..plan(1, 8) });
    house.preload(&id).unwrap();
    assert_eq!(house.acquire(&id, None).unwrap().bytes, 8, "the stand-in was replaced");
    assert_eq!((house.stats().loads, ledger.live_models.load(Ordering::SeqCst)), (2, 1));
    house.remove(&id).unwrap();
    assert_eq!(ledger.live_models.load(Ordering::SeqCst), 0);
}

#[test]
fn a_house_that_gets_no_threads_refuses_instead_of_waiting() {
    let refuse = |_: Job| Err(std::io::Error::other("no threads"));
    let load = |_: &LoadOrder, _: &Pulse| Ok(());
    let house = ModelHouse::new(
        LifecycleOptions::new(10),
        Arc::new(VirtualClock::new()),
        Telemetry::default(),
        Box::new(refuse),
        load,
    );
    let id = ModelId::new("a");
    house.register(id.clone(), plan(1, 1));
    assert!(matches!(house.acquire(&id, None), Err(LifecycleError::LoadFailed { .. })));
}

#[test]
fn async_callers_wait_and_leave_by_being_dropped() {
    let (house, gate, _, _) = gated_house(LifecycleOptions::new(1));
    let id = ModelId::new("a");
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut leaves = pin!(house.acquire_async(&id));
        assert!(leaves.as_mut().poll(&mut context).is_pending());
        assert_eq!(waiters(&house, &id), 1);
    }
    assert_eq!(waiters(&house, &id), 0, "dropping the future ends the wait");
    let mut stays = pin!(house.acquire_async(&id));
    assert!(stays.as_mut().poll(&mut context).is_pending());
    gate.begun();
    gate.ends.send(true).unwrap();
    let mut version = None;
    eventually("the future to be ready", || match stays.as_mut().poll(&mut context) {
        Poll::Ready(lease) => {
            version = Some(lease.unwrap().version);
            true
        }
        Poll::Pending => false,
    });
    assert_eq!(version, Some(1));
}

/// A house with room for one model, in which version 1 of "a" serves.
fn narrow_house(telemetry: Telemetry) -> (ModelHouse<Model>, Gate, Arc<Ledger>, VirtualClock) {
    let (house, gate, ledger, clock) = gated_house_telling(LifecycleOptions::new(1), telemetry);
    house.preload(&ModelId::new("a")).unwrap();
    gate.begun();
    gate.ends.send(true).unwrap();
    eventually("version 1", || ledger.live_models.load(Ordering::SeqCst) == 1);
    eventually("version 1 serves", || house.status(&ModelId::new("a")).unwrap().bytes.is_some());
    (house, gate, ledger, clock)
}

#[test]
fn who_waits_for_a_new_version_that_hangs_gets_the_old_one_again() {
    let (house, gate, _, clock) = narrow_house(Telemetry::default());
    let id = ModelId::new("a");
    let swap = std::thread::spawn({
        let (house, id) = (house.clone(), id.clone());
        move || house.swap(&id, plan(2, 1), SwapMode::EvictFirst, None)
    });
    let (order, pulse) = gate.begun();
    assert_eq!(order.version, 2);
    let visit = || {
        std::thread::spawn({
            let (house, id) = (house.clone(), id.clone());
            move || house.acquire(&id, None).map(|lease| lease.version)
        })
    };
    let visits = [visit(), visit()];
    let mut in_async_code = pin!(house.acquire_async(&id));
    let mut context = Context::from_waker(Waker::noop());
    assert!(in_async_code.as_mut().poll(&mut context).is_pending());
    eventually("three waiters", || waiters(&house, &id) == 3);
    clock.advance(LifecycleOptions::new(1).load_max);
    house.tick();
    assert!(pulse.is_abandoned());
    assert!(in_async_code.as_mut().poll(&mut context).is_pending());
    eventually("all wait for the old version", || waiters(&house, &id) == 3);
    gate.ends.send(false).unwrap();
    assert_eq!(gate.begun().0.version, 1);
    gate.ends.send(true).unwrap();
    assert_eq!(visits.map(|visit| visit.join().unwrap()), [Ok(1), Ok(1)]);
    assert!(matches!(swap.join().unwrap(), Err(LifecycleError::LoadFailed { .. })));
    let Poll::Ready(lease) = in_async_code.as_mut().poll(&mut context) else { panic!("the old version is there") };
    assert_eq!(lease.unwrap().version, 1);
}

#[test]
fn who_waits_in_async_code_gets_an_old_version_that_is_still_there_at_once() {
    let (house, _gate, _, clock) = narrow_house(Telemetry::default());
    let id = ModelId::new("a");
    let used = house.acquire(&id, None).unwrap();
    let patience = Some(Duration::ZERO);
    assert!(matches!(
        house.swap(&id, plan(2, 1), SwapMode::EvictFirst, patience),
        Err(LifecycleError::TimedOut { .. })
    ));
    let mut waits = pin!(house.acquire_async(&id));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending(), "version 1 is in use, and version 2 has no room");
    clock.advance(LifecycleOptions::new(1).load_max);
    house.tick();
    let Poll::Ready(lease) = waits.as_mut().poll(&mut context) else { panic!("version 1 serves again") };
    assert_eq!((lease.unwrap().version, used.version), (1, 1));
}

#[test]
fn a_load_that_does_not_end_is_told_and_its_memory_is_held_until_it_does() {
    let (metrics, ring) = (Arc::new(Metrics::default()), Arc::new(RingLogger::new(64)));
    let telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: Some(Arc::clone(&ring) as _) };
    let (house, gate, ledger, clock) = gated_house_telling(LifecycleOptions::new(1), telemetry);
    let (id, options) = (ModelId::new("a"), LifecycleOptions::new(1));
    house.preload(&id).unwrap();
    gate.begun();
    clock.advance(options.load_max);
    house.tick();
    assert_eq!(
        (house.stats().held_bytes, house.stats().stuck_bytes, metrics.snapshot().engines.loads_stuck),
        (1, 0, 0)
    );
    clock.advance(options.obey_max);
    house.tick();
    assert_eq!((house.stats().stuck_bytes, house.status(&id).unwrap().n_stuck), (1, 1));
    let told: Vec<_> = ring.records().into_iter().filter(|record| record.name == "load_stuck").collect();
    assert_eq!(told.iter().map(|record| record.fields.as_slice()).collect::<Vec<_>>(), [[("bytes", Value::Count(1))]]);
    assert_eq!(metrics.snapshot().engines.loads_stuck, 1);
    assert!(matches!(house.acquire(&id, None), Err(LifecycleError::NoRoom { .. })), "at once");
    gate.ends.send(true).unwrap();
    eventually("what was loaded is gone", || house.stats().held_bytes == 0);
    assert_eq!((house.stats().stuck_bytes, ledger.live_models.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn a_loaded_model_is_looked_at_and_taken_without_a_wait() {
    let (house, _) = house(10, &[("a", 10)]);
    let id = ModelId::new("a");
    assert!(house.acquire_ready(&id).unwrap().is_none() && house.with_loaded(&id, |_| ()).is_none());
    drop(house.acquire(&id, None).unwrap());
    assert_eq!(house.with_loaded(&id, |model| model.version), Some(1));
    assert_eq!(house.acquire_ready(&id).unwrap().map(|lease| lease.version), Some(1));
    house.unload(&id, Some(PATIENCE)).unwrap();
    assert!(house.acquire_ready(&id).unwrap().is_none() && house.with_loaded(&id, |_| ()).is_none());
    house.set_keep_alive(&id, Some(Duration::ZERO)).unwrap();
    drop(house.acquire(&id, None).unwrap());
    house.tick();
    assert!(matches!(house.status(&id).unwrap().state, ModelState::Absent));
}
