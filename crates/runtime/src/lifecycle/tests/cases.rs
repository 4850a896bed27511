//! Single cases, told in order.

use super::*;
use ballast_backend::{ErrorKind, ReasonCode};

const SECS: fn(u64) -> Duration = Duration::from_secs;
const NOW: Duration = Duration::ZERO;

/// Models by name and bytes, none loaded.
fn machine(budget_bytes: u64, models: &[(&str, u64)]) -> Lifecycle {
    let mut options = LifecycleOptions::new(budget_bytes);
    options.backoff.jitter = 0.0;
    let mut machine = Lifecycle::new(options);
    for &(name, bytes) in models {
        assert!(machine.register(id(name), plan(1, bytes)));
    }
    machine
}

/// The one load that is to be begun now.
#[track_caller]
fn load_order(machine: &mut Lifecycle) -> LoadOrder {
    let mut actions = machine.take_actions();
    assert_eq!(actions.len(), 1, "{actions:?}");
    match actions.pop() {
        Some(Action::Load(order)) => order,
        other => panic!("expected a load, got {other:?}"),
    }
}

/// Loads a model and uses it once, at `now`.
fn use_once(machine: &mut Lifecycle, name: &str, now: Duration) {
    let claim = machine.acquire(&id(name), now).unwrap();
    for action in machine.take_actions() {
        match action {
            Action::Drop { instance } => machine.ended(instance, now),
            Action::Load(_) | Action::Cancel { .. } | Action::Refuse { .. } => {}
            Action::Redirect { .. } | Action::Stuck { .. } => panic!("{action:?}"),
        }
    }
    machine.loaded(claim.instance(), now);
    machine.release(claim, now);
    assert!(machine.take_actions().iter().all(|action| matches!(action, Action::Load(_))));
}

fn loaded_names(machine: &Lifecycle) -> Vec<&str> {
    let is_ready = |name: &&ModelId| matches!(machine.status(name).unwrap().state, ModelState::Ready { .. });
    machine.models().filter(is_ready).map(ModelId::as_str).collect()
}

#[test]
fn many_callers_wait_for_one_load() {
    let mut machine = machine(10, &[("a", 10)]);
    let claims: Vec<Claim> = (0..5).map(|_| machine.acquire(&id("a"), NOW).unwrap()).collect();
    let order = load_order(&mut machine);
    assert_eq!(machine.status(&id("a")).unwrap().state, ModelState::Loading { waiters: 5 });
    assert!(claims.iter().all(|claim| machine.is_ready(claim) == Some(false)));
    machine.loaded(order.instance, SECS(3));
    assert!(claims.iter().all(|claim| machine.is_ready(claim) == Some(true)));
    let state = ModelState::Ready { in_use: 5, last_used: SECS(3), part: LoadPart::Full };
    assert_eq!(machine.status(&id("a")).unwrap().state, state);
    assert_eq!(machine.take_actions(), []);
}

#[test]
fn a_caller_that_leaves_does_not_stop_the_load_of_others() {
    let mut machine = Lifecycle::new(LifecycleOptions { orphans: Orphans::Cancel, ..LifecycleOptions::new(10) });
    machine.register(id("a"), plan(1, 10));
    let (first, second) = (machine.acquire(&id("a"), NOW).unwrap(), machine.acquire(&id("a"), NOW).unwrap());
    let order = load_order(&mut machine);
    machine.release(first, NOW);
    assert_eq!(machine.take_actions(), []);
    machine.loaded(order.instance, NOW);
    assert_eq!(machine.is_ready(&second), Some(true));
}

#[test]
fn when_all_leave_the_load_goes_on_or_is_cancelled() {
    for orphans in [Orphans::Keep, Orphans::Cancel] {
        let mut machine = Lifecycle::new(LifecycleOptions { orphans, ..LifecycleOptions::new(10) });
        machine.register(id("a"), plan(1, 10));
        let claim = machine.acquire(&id("a"), NOW).unwrap();
        let LoadOrder { instance, .. } = load_order(&mut machine);
        machine.release(claim, NOW);
        let (at_once, when_loaded) = match orphans {
            Orphans::Keep => (vec![], vec![]),
            Orphans::Cancel => (vec![Action::Cancel { instance }], vec![Action::Drop { instance }]),
        };
        assert_eq!(machine.take_actions(), at_once, "{orphans:?}");
        machine.loaded(instance, NOW);
        assert_eq!(machine.take_actions(), when_loaded, "{orphans:?}");
    }
}

#[test]
fn what_the_house_wants_is_loaded_though_callers_leave() {
    let mut machine = Lifecycle::new(LifecycleOptions { orphans: Orphans::Cancel, ..LifecycleOptions::new(10) });
    machine.register(id("a"), plan(1, 10));
    machine.preload(&id("a"), NOW).unwrap();
    let claim = machine.acquire(&id("a"), NOW).unwrap();
    let order = load_order(&mut machine);
    machine.release(claim, NOW);
    machine.preload(&id("a"), NOW).unwrap();
    machine.loaded(order.instance, NOW);
    assert_eq!(loaded_names(&machine), ["a"]);
    assert_eq!(machine.take_actions(), []);
}

#[test]
fn evicts_the_least_recently_used_but_never_one_in_use() {
    let mut machine = machine(10, &[("a", 3), ("b", 3), ("c", 3), ("d", 6)]);
    for (name, at) in [("b", 1), ("a", 2), ("c", 3)] {
        use_once(&mut machine, name, SECS(at));
    }
    let held = machine.acquire(&id("b"), SECS(4)).unwrap();
    let waiting = machine.acquire(&id("d"), SECS(5)).unwrap();
    let [Action::Drop { instance: first }, Action::Drop { instance: second }] = machine.take_actions()[..] else {
        panic!("a and c were to make room, and nothing to begin before they have")
    };
    assert_eq!(loaded_names(&machine), ["b"]);
    machine.ended(first, SECS(5));
    assert_eq!(machine.take_actions(), [], "the memory of the other is not free yet");
    machine.ended(second, SECS(5));
    assert_eq!(load_order(&mut machine).model, id("d"));
    assert_eq!(machine.stats().evictions, 2);
    machine.release(held, SECS(6));
    machine.release(waiting, SECS(6));
}

#[test]
fn refuses_what_cannot_fit_and_names_what_is_held() {
    let mut machine = machine(10, &[("a", 6), ("b", 5), ("c", 11)]);
    let claim = machine.acquire(&id("a"), NOW).unwrap();
    let order = load_order(&mut machine);
    let error = machine.acquire(&id("b"), NOW).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Overloaded, Some(ReasonCode::MemoryBudgetExceeded)));
    assert!(error.to_string().ends_with("this is held: a (6 bytes, used by 1)"), "{error}");
    machine.loaded(order.instance, NOW);
    assert!(machine.acquire(&id("b"), NOW).is_err(), "in use");
    machine.release(claim, NOW);
    assert_eq!(machine.acquire(&id("c"), NOW).unwrap_err().kind(), ErrorKind::Denied, "it will never fit");
    assert_eq!(machine.take_actions(), [], "nothing was evicted in vain");
    assert!(machine.acquire(&id("b"), NOW).is_ok(), "idle: it goes");
    assert_eq!(machine.stats().refused, 3);
}

#[test]
fn at_most_so_many_models_are_loaded() {
    let mut machine = Lifecycle::new(LifecycleOptions { models_max: 2, ..LifecycleOptions::new(100) });
    for name in ["a", "b", "c"] {
        machine.register(id(name), plan(1, 1));
        use_once(&mut machine, name, NOW);
    }
    assert_eq!(loaded_names(&machine), ["b", "c"]);
}

#[test]
fn a_model_whose_new_version_is_being_loaded_still_counts() {
    let mut machine = Lifecycle::new(LifecycleOptions { models_max: 2, ..LifecycleOptions::new(100) });
    for (name, at) in [("a", 1), ("b", 2)] {
        machine.register(id(name), plan(1, 1));
        use_once(&mut machine, name, SECS(at));
    }
    machine.register(id("c"), plan(1, 1));
    machine.swap(&id("a"), plan(2, 1), SwapMode::Beside, SECS(3)).unwrap();
    let claim = machine.acquire(&id("c"), SECS(3)).unwrap();
    assert_eq!(loaded_names(&machine), [""; 0], "evicting a's old version alone makes no room for c");
    machine.release(claim, SECS(3));
}

#[test]
fn at_most_so_many_callers_wait_for_one_load() {
    let mut machine = Lifecycle::new(LifecycleOptions { waiters_max: 2, ..LifecycleOptions::new(10) });
    machine.register(id("a"), plan(1, 1));
    let claims: Vec<Claim> = (0..2).map(|_| machine.acquire(&id("a"), NOW).unwrap()).collect();
    let error = machine.acquire(&id("a"), NOW).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Overloaded, Some(ReasonCode::BackpressureQueueFull)));
    let order = load_order(&mut machine);
    machine.loaded(order.instance, NOW);
    assert!(machine.acquire(&id("a"), NOW).is_ok(), "uses are not waits");
    claims.into_iter().for_each(|claim| machine.release(claim, NOW));
}

#[test]
fn a_failed_load_is_not_tried_again_before_its_time() {
    let mut machine = machine(10, &[("a", 1)]);
    let mut now = NOW;
    for wait in [1, 2, 4] {
        let claim = machine.acquire(&id("a"), now).unwrap();
        let LoadOrder { instance, .. } = load_order(&mut machine);
        machine.failed(instance, now);
        let error = LifecycleError::LoadFailed { model: id("a"), retry_after: SECS(wait) };
        assert_eq!(machine.take_actions(), [Action::Refuse { instance, error: error.clone() }]);
        assert_eq!(machine.is_ready(&claim), None);
        machine.release(claim, now);
        assert_eq!(machine.acquire(&id("a"), now), Err(error.clone()));
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::ModelLoadFailed)));
        assert_eq!(machine.status(&id("a")).unwrap().state, ModelState::Failed { until: now + SECS(wait) });
        now += SECS(wait);
    }
    use_once(&mut machine, "a", now);
    assert_eq!(loaded_names(&machine), ["a"]);
}

#[test]
fn a_load_that_takes_too_long_is_given_up() {
    let mut machine = machine(10, &[("a", 10)]);
    let claim = machine.acquire(&id("a"), NOW).unwrap();
    let LoadOrder { instance, .. } = load_order(&mut machine);
    assert_eq!(machine.next_tick_at(), Some(SECS(600)));
    machine.tick(SECS(599));
    assert_eq!(machine.take_actions(), []);
    machine.tick(SECS(600));
    let actions = machine.take_actions();
    assert!(matches!(actions[..], [Action::Cancel { .. }, Action::Refuse { .. }]), "{actions:?}");
    machine.release(claim, SECS(600));
    let again = machine.acquire(&id("a"), SECS(700)).unwrap();
    assert_eq!(machine.take_actions(), [], "its memory is still held");
    machine.failed(instance, SECS(701));
    assert_ne!(load_order(&mut machine).instance, instance);
    machine.release(again, SECS(701));
}

#[test]
fn an_idle_model_goes_after_its_keep_alive() {
    let mut machine = Lifecycle::new(LifecycleOptions::new(10));
    machine.register(id("a"), ModelPlan { keep_alive: Some(SECS(300)), ..plan(1, 1) });
    use_once(&mut machine, "a", SECS(10));
    assert_eq!(machine.next_tick_at(), Some(SECS(310)));
    let claim = machine.acquire(&id("a"), SECS(100)).unwrap();
    machine.tick(SECS(1000));
    assert_eq!(machine.take_actions(), [], "it is in use");
    machine.release(claim, SECS(1000));
    machine.tick(SECS(1299));
    assert_eq!(machine.take_actions(), []);
    machine.tick(SECS(1300));
    assert!(matches!(machine.take_actions()[..], [Action::Drop { .. }]));
    assert_eq!((machine.stats().expirations, machine.status(&id("a")).unwrap().state), (1, ModelState::Absent));
}

#[test]
fn memory_pressure_evicts_idle_models() {
    let cases =
        [(Pressure::Normal, &["a", "b", "c"][..]), (Pressure::Elevated, &["a", "b"]), (Pressure::Critical, &["a"])];
    for (pressure, expected) in cases {
        let mut machine = machine(10, &[("a", 3), ("b", 3), ("c", 3)]);
        for (name, at) in [("a", 1), ("b", 2), ("c", 3)] {
            use_once(&mut machine, name, SECS(at));
        }
        let again = machine.acquire(&id("b"), SECS(4)).unwrap();
        machine.release(again, SECS(4));
        let claim = machine.acquire(&id("a"), NOW).unwrap();
        assert_eq!(machine.observe_pressure(pressure), 3 - expected.len());
        assert_eq!(loaded_names(&machine), expected, "{pressure:?}");
        machine.release(claim, NOW);
    }
}

#[test]
fn unloading_waits_for_uses_and_refuses_waits() {
    let mut machine = machine(10, &[("a", 5), ("b", 5)]);
    let (used, waiting) = (machine.acquire(&id("a"), NOW).unwrap(), machine.acquire(&id("b"), NOW).unwrap());
    machine.loaded(used.instance(), NOW);
    drop(machine.take_actions());
    machine.unload(&id("a"), NOW).unwrap();
    assert_eq!(machine.status(&id("a")).unwrap().state, ModelState::Draining { in_use: 1 });
    assert_eq!(machine.take_actions(), []);
    let instance = used.instance();
    machine.release(used, NOW);
    assert_eq!(machine.take_actions(), [Action::Drop { instance }]);
    machine.unload(&id("b"), NOW).unwrap();
    let error = LifecycleError::Unloaded { model: id("b") };
    let instance = waiting.instance();
    assert_eq!(machine.take_actions(), [Action::Refuse { instance, error }, Action::Cancel { instance }]);
    machine.remove(&id("b"), NOW).unwrap();
    let error = machine.acquire(&id("b"), NOW).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some(ReasonCode::ModelNotFound)));
    assert!(!machine.register(id("a"), plan(9, 9)), "the name is taken");
}

#[test]
fn a_swap_beside_serves_the_old_version_until_the_new_one_is_there() {
    let mut machine = machine(10, &[("a", 4)]);
    use_once(&mut machine, "a", NOW);
    let old = machine.acquire(&id("a"), NOW).unwrap();
    let new = machine.swap(&id("a"), plan(2, 5), SwapMode::Beside, NOW).unwrap().unwrap();
    let order = load_order(&mut machine);
    assert_eq!((order.instance, order.version), (new, 2));
    let error = machine.swap(&id("a"), plan(3, 5), SwapMode::Beside, NOW).unwrap_err();
    assert_eq!(error, LifecycleError::SwapInProgress { model: id("a") });
    let during = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!(during.instance(), old.instance());
    machine.loaded(new, NOW);
    let after = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!(after.instance(), new);
    assert_eq!(machine.take_actions(), [], "the old one is in use");
    let instance = old.instance();
    machine.release(old, NOW);
    machine.release(during, NOW);
    assert_eq!(machine.take_actions(), [Action::Drop { instance }]);
    assert_eq!((machine.status(&id("a")).unwrap().version, machine.stats().swaps), (2, 1));
    let same = machine.swap(&id("a"), plan(2, 5), SwapMode::Beside, NOW);
    assert_eq!(same, Err(LifecycleError::SameVersion { model: id("a"), version: 2 }));
    machine.release(after, NOW);
}

#[test]
fn a_swap_that_fails_changes_nothing() {
    let mut machine = machine(10, &[("a", 4)]);
    use_once(&mut machine, "a", NOW);
    let new = machine.swap(&id("a"), plan(2, 5), SwapMode::Beside, NOW).unwrap().unwrap();
    drop(machine.take_actions());
    machine.failed(new, NOW);
    assert_eq!((machine.take_actions(), machine.status(&id("a")).unwrap().version), (vec![], 1));
    machine.observe_pressure(Pressure::Critical);
    assert!(machine.acquire(&id("a"), NOW).is_ok(), "and the old version may be loaded at once");
}

#[test]
fn a_swap_without_room_is_refused_or_lets_the_old_version_go_first() {
    let mut machine = machine(10, &[("a", 6)]);
    use_once(&mut machine, "a", NOW);
    let old = machine.acquire(&id("a"), NOW).unwrap();
    assert!(machine.swap(&id("a"), plan(2, 7), SwapMode::Beside, NOW).is_err());
    assert!(machine.swap(&id("a"), plan(2, 11), SwapMode::EvictFirst, NOW).is_err(), "it will never fit");
    assert_eq!(loaded_names(&machine), ["a"], "and the old one serves on");
    let new = machine.swap(&id("a"), plan(2, 7), SwapMode::EvictFirst, NOW).unwrap().unwrap();
    let waiting = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!((waiting.instance(), machine.take_actions()), (new, vec![]), "the old one is in use");
    let instance = old.instance();
    machine.release(old, NOW);
    assert_eq!(machine.take_actions(), [Action::Drop { instance }]);
    machine.ended(instance, NOW);
    assert_eq!(load_order(&mut machine).instance, new);
    machine.failed(new, NOW);
    let order = load_order(&mut machine);
    assert_eq!((order.instance, order.version), (new, 1), "the old version is loaded again for those who wait");
    machine.loaded(new, NOW);
    assert_eq!((machine.is_ready(&waiting), machine.status(&id("a")).unwrap().version), (Some(true), 1));
    machine.release(waiting, NOW);
}

#[test]
fn a_swap_of_what_is_not_loaded_loads_nothing() {
    let mut machine = machine(10, &[("a", 4)]);
    assert_eq!(machine.swap(&id("a"), plan(2, 5), SwapMode::Beside, NOW), Ok(None));
    let claim = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!(load_order(&mut machine).version, 2);
    machine.release(claim, NOW);
}

/// A house with model "a" of 8 bytes and a stand-in of 2.
fn with_stand_in() -> Lifecycle {
    let mut machine = machine(10, &[("b", 2)]);
    machine.register(id("a"), ModelPlan { provisional: Some(ProvisionalPlan { bytes: 2 }), ..plan(1, 8) });
    machine
}

#[test]
fn a_stand_in_serves_until_the_model_is_there() {
    let mut machine = with_stand_in();
    let first = machine.acquire(&id("a"), NOW).unwrap();
    let quick = load_order(&mut machine);
    assert_eq!(quick.part, LoadPart::Provisional);
    machine.loaded(quick.instance, NOW);
    let slow = load_order(&mut machine);
    assert_eq!((slow.part, machine.is_ready(&first)), (LoadPart::Full, Some(true)), "served while the other prepares");
    machine.loaded(slow.instance, NOW);
    let second = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!(second.instance(), slow.instance);
    machine.release(first, NOW);
    assert_eq!(machine.take_actions(), [Action::Drop { instance: quick.instance }]);
    machine.release(second, NOW);
}

#[test]
fn a_stand_in_serves_on_while_the_model_fails_or_has_no_room() {
    let mut machine = with_stand_in();
    let used = machine.acquire(&id("b"), NOW).unwrap();
    let first = machine.acquire(&id("a"), NOW).unwrap();
    drop(machine.take_actions());
    machine.loaded(used.instance(), NOW);
    machine.loaded(first.instance(), NOW);
    assert_eq!((machine.take_actions(), machine.next_tick_at()), (vec![], Some(SECS(1))), "no room now");
    machine.release(used, NOW);
    machine.tick(SECS(1));
    let [Action::Drop { instance }] = machine.take_actions()[..] else { panic!("b was to make room") };
    machine.ended(instance, SECS(1));
    let slow = load_order(&mut machine);
    machine.failed(slow.instance, SECS(1));
    assert_eq!((machine.take_actions(), machine.next_tick_at()), (vec![], Some(SECS(3))), "it waits twice as long");
    machine.tick(SECS(3));
    let slow = load_order(&mut machine);
    assert_eq!(slow.part, LoadPart::Full);
    machine.failed(slow.instance, SECS(3));
    machine.release(first, SECS(3));
    assert_eq!(machine.observe_pressure(Pressure::Critical), 1);
    assert!(machine.acquire(&id("a"), SECS(3)).is_ok(), "the stand-in itself did not fail");
}

#[test]
fn a_load_whose_room_does_not_come_is_given_up() {
    let mut machine = machine(10, &[("a", 10), ("b", 10)]);
    let used = machine.acquire(&id("a"), NOW).unwrap();
    let LoadOrder { instance, .. } = load_order(&mut machine);
    machine.loaded(instance, NOW);
    machine.unload(&id("a"), NOW).unwrap();
    let waiting = machine.acquire(&id("b"), SECS(1)).unwrap();
    assert_eq!((machine.take_actions(), machine.next_tick_at()), (vec![], Some(SECS(601))), "a is used on");
    machine.tick(SECS(600));
    assert_eq!(machine.is_ready(&waiting), Some(false));
    machine.tick(SECS(601));
    let error = LifecycleError::LoadFailed { model: id("b"), retry_after: SECS(1) };
    assert_eq!(machine.take_actions(), [Action::Refuse { instance: waiting.instance(), error }]);
    assert_eq!(machine.is_ready(&waiting), None);
    machine.release(used, SECS(700));
    machine.ended(instance, SECS(700));
    assert!(machine.acquire(&id("b"), SECS(700)).is_ok());
}

/// A load of `name` that was given up at second 0 and does not end.
fn hang(machine: &mut Lifecycle, name: &str) -> InstanceId {
    let claim = machine.acquire(&id(name), NOW).unwrap();
    let LoadOrder { instance, .. } = load_order(machine);
    machine.unload(&id(name), NOW).unwrap();
    drop(machine.take_actions());
    machine.release(claim, NOW);
    instance
}

fn stuck(instance: InstanceId, name: &str, version: u64, bytes: u64) -> Action {
    Action::Stuck { instance, model: id(name), version, bytes }
}

#[test]
fn who_waits_for_the_room_of_a_load_that_does_not_end_is_refused_once_it_is_stuck() {
    let mut machine = machine(10, &[("a", 10), ("b", 6), ("c", 4)]);
    let instance = hang(&mut machine, "a");
    let (first, second) = (machine.acquire(&id("b"), SECS(1)).unwrap(), machine.acquire(&id("c"), SECS(2)).unwrap());
    assert_eq!((machine.take_actions(), machine.next_tick_at()), (vec![], Some(SECS(10))), "it may still obey");
    machine.tick(SECS(9));
    assert_eq!((machine.take_actions(), machine.status(&id("a")).unwrap().n_stuck), (vec![], 0));
    machine.tick(SECS(10));
    let actions = machine.take_actions();
    let [told, Action::Refuse { instance: b, error }, Action::Refuse { instance: c, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((*told == stuck(instance, "a", 1, 10), *b, *c), (true, first.instance(), second.instance()));
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Overloaded, Some(ReasonCode::MemoryBudgetExceeded)));
    assert!(error.to_string().ends_with("this is held: a (10 bytes, used by 0)"), "{error}");
    let LifecycleStats { stuck: n_stuck, stuck_bytes, held_bytes, committed_bytes, .. } = machine.stats();
    assert_eq!((n_stuck, stuck_bytes, held_bytes, committed_bytes), (1, 10, 10, 10));
    assert_eq!((machine.status(&id("a")).unwrap().n_stuck, machine.next_tick_at()), (1, None));
    assert_eq!(machine.acquire(&id("b"), SECS(11)).unwrap_err().kind(), ErrorKind::Overloaded, "at once");
    machine.failed(instance, SECS(12));
    assert_eq!((machine.stats().stuck_bytes, machine.status(&id("a")).unwrap().n_stuck), (0, 0));
    assert!(machine.acquire(&id("b"), SECS(12)).is_ok(), "nothing of b failed");
    assert_eq!(load_order(&mut machine).model, id("b"));
}

#[test]
fn what_fits_beside_a_stuck_load_keeps_its_promise_and_idle_models_make_room_for_it() {
    let mut machine = machine(10, &[("a", 5), ("b", 3), ("c", 4)]);
    let instance = hang(&mut machine, "a");
    use_once(&mut machine, "b", SECS(1));
    let small = machine.acquire(&id("c"), SECS(3)).unwrap();
    assert_eq!(machine.take_actions(), [], "5 of a and 3 of b are held");
    machine.tick(SECS(10));
    let actions = machine.take_actions();
    let [told, Action::Drop { instance: b }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*told, stuck(instance, "a", 1, 5));
    machine.ended(*b, SECS(10));
    assert_eq!(load_order(&mut machine).instance, small.instance());
    machine.loaded(small.instance(), SECS(11));
    assert_eq!(machine.is_ready(&small), Some(true));
    machine.loaded(instance, SECS(20));
    assert_eq!(machine.take_actions(), [Action::Drop { instance }], "what comes of it in the end is dropped");
    machine.ended(instance, SECS(20));
    assert_eq!(machine.stats().held_bytes, 4);
    machine.release(small, SECS(20));
}

#[test]
fn idle_models_are_not_evicted_in_vain_for_who_does_not_fit_beside_a_stuck_load() {
    let mut machine = machine(10, &[("a", 6), ("b", 3), ("c", 7)]);
    hang(&mut machine, "a");
    use_once(&mut machine, "b", SECS(1));
    let waiting = machine.acquire(&id("c"), SECS(2)).unwrap();
    assert_eq!(machine.take_actions(), []);
    machine.tick(SECS(10));
    assert!(matches!(machine.take_actions()[..], [Action::Stuck { .. }, Action::Refuse { .. }]));
    assert_eq!((machine.is_ready(&waiting), loaded_names(&machine)), (None, vec!["b"]));
}

/// A house in which the old version of "a" has made way for a new one that hangs, and was given up at second 600. Returns
/// the new instance, for which somebody has waited.
fn hung_swap(machine: &mut Lifecycle, bytes: u64) -> InstanceId {
    use_once(machine, "a", NOW);
    let new = machine.swap(&id("a"), plan(2, bytes), SwapMode::EvictFirst, NOW).unwrap().unwrap();
    let [Action::Drop { instance: old }] = machine.take_actions()[..] else { panic!("the old version goes first") };
    machine.ended(old, NOW);
    assert_eq!(load_order(machine).instance, new);
    let waiting = machine.acquire(&id("a"), SECS(1)).unwrap();
    machine.tick(SECS(600));
    assert_eq!(machine.is_ready(&waiting), None);
    new
}

#[test]
fn a_new_version_that_hangs_leaves_its_place_to_the_old_one_for_those_who_wait() {
    let mut machine = machine(10, &[("a", 6)]);
    let new = hung_swap(&mut machine, 7);
    assert_eq!(machine.take_actions(), [Action::Cancel { instance: new }, Action::Redirect { instance: new }]);
    let waiting = machine.acquire(&id("a"), SECS(600)).expect("nobody is refused");
    assert_eq!((machine.take_actions(), machine.stats().held_bytes), (vec![], 7), "the memory is still held");
    machine.failed(new, SECS(605));
    let order = load_order(&mut machine);
    assert_eq!((order.instance, order.version), (waiting.instance(), 1));
    machine.loaded(order.instance, SECS(606));
    assert_eq!((machine.is_ready(&waiting), machine.status(&id("a")).unwrap().version), (Some(true), 1));
    assert_eq!((machine.stats().fallbacks, machine.stats().stuck), (1, 0));
}

#[test]
fn the_old_version_is_not_waited_for_longer_than_a_stuck_load_may_take_to_obey() {
    let mut machine = machine(10, &[("a", 6)]);
    let new = hung_swap(&mut machine, 7);
    drop(machine.take_actions());
    let waiting = machine.acquire(&id("a"), SECS(600)).unwrap();
    machine.tick(SECS(609));
    assert_eq!(machine.take_actions(), []);
    machine.tick(SECS(610));
    let actions = machine.take_actions();
    let [told, Action::Refuse { instance, error }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((told, *instance), (&stuck(new, "a", 2, 7), waiting.instance()));
    assert_eq!(error.reason(), Some(ReasonCode::MemoryBudgetExceeded));
    machine.failed(new, SECS(700));
    assert!(machine.acquire(&id("a"), SECS(700)).is_ok());
    assert_eq!(load_order(&mut machine).version, 1);
}

#[test]
fn the_old_version_is_loaded_beside_the_hung_one_where_it_fits() {
    let mut machine = machine(12, &[("a", 4), ("b", 3)]);
    let used = machine.acquire(&id("b"), NOW).unwrap();
    machine.loaded(used.instance(), NOW);
    drop(machine.take_actions());
    let new = hung_swap(&mut machine, 7);
    let actions = machine.take_actions();
    assert_eq!(actions, [Action::Cancel { instance: new }, Action::Redirect { instance: new }], "3 and 7 are held");
    machine.release(used, SECS(600));
    let waiting = machine.acquire(&id("a"), SECS(600)).unwrap();
    machine.tick(SECS(610));
    let actions = machine.take_actions();
    let [Action::Stuck { .. }, Action::Drop { instance: b }] = actions[..] else { panic!("{actions:?}") };
    machine.ended(b, SECS(610));
    let order = load_order(&mut machine);
    assert_eq!((order.instance, order.version), (waiting.instance(), 1));
}

#[test]
fn an_old_version_that_is_still_in_use_serves_again_where_the_room_for_the_new_one_does_not_come() {
    let mut machine = machine(10, &[("a", 6)]);
    use_once(&mut machine, "a", NOW);
    let old = machine.acquire(&id("a"), NOW).unwrap();
    let new = machine.swap(&id("a"), plan(2, 7), SwapMode::EvictFirst, NOW).unwrap().unwrap();
    let waiting = machine.acquire(&id("a"), NOW).unwrap();
    assert_eq!((waiting.instance(), machine.take_actions()), (new, vec![]));
    machine.tick(SECS(600));
    assert_eq!(machine.take_actions(), [Action::Redirect { instance: new }]);
    let again = machine.acquire(&id("a"), SECS(600)).unwrap();
    assert_eq!((again.instance(), machine.is_ready(&again)), (old.instance(), Some(true)));
    machine.release(old, SECS(601));
    machine.release(again, SECS(601));
    assert_eq!((machine.take_actions(), loaded_names(&machine)), (vec![], vec!["a"]), "it stays");
}

#[test]
fn a_new_version_that_hangs_beside_the_old_one_is_noticed_by_nobody() {
    let mut machine = machine(20, &[("a", 6)]);
    use_once(&mut machine, "a", NOW);
    let new = machine.swap(&id("a"), plan(2, 7), SwapMode::Beside, NOW).unwrap().unwrap();
    drop(machine.take_actions());
    let used = machine.acquire(&id("a"), SECS(1)).unwrap();
    machine.tick(SECS(600));
    assert_eq!(machine.take_actions(), [Action::Cancel { instance: new }]);
    machine.tick(SECS(610));
    assert_eq!(machine.take_actions(), [stuck(new, "a", 2, 7)]);
    let ModelStatus { version, is_swapping, n_stuck, .. } = machine.status(&id("a")).unwrap();
    assert_eq!((version, is_swapping, n_stuck), (1, false, 1));
    assert!(machine.swap(&id("a"), plan(3, 8), SwapMode::Beside, SECS(611)).is_err(), "7 of 20 are stuck");
    assert!(machine.swap(&id("a"), plan(3, 7), SwapMode::Beside, SECS(611)).is_ok());
    machine.release(used, SECS(611));
}

#[test]
fn what_is_to_be_replaced_is_not_evicted_for_its_successor_in_the_place_of_a_stuck_load() {
    let mut machine = machine(10, &[("a", 4), ("b", 5)]);
    hang(&mut machine, "b");
    use_once(&mut machine, "a", SECS(1));
    machine.swap(&id("a"), plan(2, 6), SwapMode::Beside, SECS(2)).unwrap();
    assert_eq!(machine.take_actions(), [], "5 of b and 4 of a are held");
    machine.tick(SECS(10));
    assert!(matches!(machine.take_actions()[..], [Action::Stuck { .. }]));
    assert_eq!((loaded_names(&machine), machine.status(&id("a")).unwrap().version), (vec!["a"], 1));
}

#[test]
fn a_stand_in_whose_model_found_no_room_beside_a_stuck_load_asks_again() {
    let mut machine = with_stand_in();
    machine.register(id("c"), plan(1, 6));
    let instance = hang(&mut machine, "c");
    let first = machine.acquire(&id("a"), SECS(1)).unwrap();
    let quick = load_order(&mut machine);
    machine.loaded(quick.instance, SECS(1));
    assert_eq!(machine.take_actions(), [], "the model waits for c's room");
    machine.tick(SECS(10));
    assert_eq!(machine.take_actions(), [stuck(instance, "c", 1, 6)]);
    assert_eq!((machine.is_ready(&first), machine.next_tick_at()), (Some(true), Some(SECS(11))));
    machine.failed(instance, SECS(11));
    machine.tick(SECS(11));
    assert_eq!(load_order(&mut machine).part, LoadPart::Full);
    machine.release(first, SECS(11));
}

#[test]
fn what_is_loaded_is_taken_without_beginning_a_load() {
    let mut machine = machine(10, &[("a", 10)]);
    assert_eq!(machine.acquire_ready(&id("a"), NOW), Ok(None));
    assert_eq!((machine.take_actions(), machine.serving(&id("a"))), (Vec::new(), None));
    assert!(matches!(machine.acquire_ready(&id("b"), NOW), Err(LifecycleError::NotFound { .. })));
    let waiting = machine.acquire(&id("a"), NOW).unwrap();
    let order = load_order(&mut machine);
    assert_eq!(machine.acquire_ready(&id("a"), NOW), Ok(None), "it is being loaded");
    machine.loaded(order.instance, NOW);
    let claim = machine.acquire_ready(&id("a"), SECS(1)).unwrap().expect("it is loaded");
    assert_eq!((claim.instance(), machine.serving(&id("a"))), (order.instance, Some(order.instance)));
    let state = ModelState::Ready { in_use: 2, last_used: SECS(1), part: LoadPart::Full };
    assert_eq!(machine.status(&id("a")).unwrap().state, state);
    machine.release(claim, SECS(1));
    machine.release(waiting, SECS(1));
}

#[test]
fn a_keep_alive_may_be_changed_while_the_model_is_loaded() {
    let mut machine = machine(10, &[("a", 10)]);
    use_once(&mut machine, "a", SECS(1));
    assert_eq!((machine.next_tick_at(), machine.status(&id("a")).unwrap().keep_alive), (None, None));
    machine.set_keep_alive(&id("a"), Some(SECS(4))).unwrap();
    assert_eq!(machine.next_tick_at(), Some(SECS(5)));
    assert_eq!(machine.status(&id("a")).unwrap().keep_alive, Some(SECS(4)));
    machine.tick(SECS(4));
    assert_eq!(loaded_names(&machine), ["a"]);
    machine.set_keep_alive(&id("a"), None).unwrap();
    machine.tick(SECS(100));
    assert_eq!(loaded_names(&machine), ["a"], "until the room is needed");
    machine.set_keep_alive(&id("a"), Some(Duration::ZERO)).unwrap();
    let claim = machine.acquire(&id("a"), SECS(101)).unwrap();
    machine.tick(SECS(102));
    assert_eq!(loaded_names(&machine), ["a"], "it is in use");
    machine.release(claim, SECS(103));
    machine.tick(SECS(103));
    assert!(loaded_names(&machine).is_empty());
    assert!(machine.set_keep_alive(&id("b"), None).is_err());
}
