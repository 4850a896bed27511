//! The pool of instances over real threads: who gets a permit, who is told what, and that no permit is ever lost.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{Clock, ErrorKind, ReasonCode};
use ballast_runtime::confine::{ConfineError, ConfineOptions, ModelClient, ModelRef};
use ballast_runtime::instance_pool::{AcquireError, InstancePool, Permit, PoolError, PoolOptions, PooledInstance};
use ballast_testkit::{PATIENCE, VirtualClock};
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;

#[derive(Debug, Default)]
struct Fake {
    is_lost: AtomicBool,
    is_ended: AtomicBool,
}

/// An instance that a test can end.
#[derive(Clone, Debug, Default)]
struct Instance(Arc<Fake>);

impl PooledInstance for Instance {
    fn abandon(&self) {
        self.0.is_lost.store(true, Ordering::SeqCst);
    }

    fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::SeqCst)
    }

    fn is_ended(&self) -> bool {
        self.0.is_ended.load(Ordering::SeqCst)
    }
}

struct House {
    clock: VirtualClock,
    pool: InstancePool<Instance>,
    n_opened: AtomicUsize,
}

fn house(options: PoolOptions) -> House {
    let clock = VirtualClock::new();
    let pool = InstancePool::new(options, Arc::new(clock.clone())).unwrap();
    House { clock, pool, n_opened: AtomicUsize::new(0) }
}

impl House {
    fn acquire(&self) -> Result<Permit<Instance>, AcquireError<Infallible>> {
        self.pool.acquire_blocking(NEVER, || {
            self.n_opened.fetch_add(1, Ordering::SeqCst);
            Ok(Instance::default())
        })
    }

    fn n_opened(&self) -> usize {
        self.n_opened.load(Ordering::SeqCst)
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..PATIENCE.as_millis() {
        if condition() {
            return;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{what}: not within {PATIENCE:?}");
}

fn one() -> PoolOptions {
    PoolOptions { n_instances: 1, ..PoolOptions::default() }
}

#[test]
fn a_pool_is_empty_until_it_is_asked() {
    let house = house(PoolOptions::default());
    let stats = house.pool.stats();
    assert_eq!((stats.permits, stats.free, stats.instances, stats.wait_mean), (4, 4, 0, None));
    assert_eq!(house.n_opened(), 0);
    assert_eq!(PoolOptions::default().acquire_timeout, Duration::from_millis(5000));
}

#[test]
fn a_permit_returns_when_it_is_dropped_and_its_instance_is_used_again() {
    let house = house(PoolOptions::default());
    for _ in 0..3 {
        let permit = house.acquire().unwrap();
        assert_eq!(permit.seat_idx(), 0);
        permit.record_inference();
        assert_eq!((house.pool.stats().active, house.pool.stats().idle), (1, 0));
    }
    let stats = house.pool.stats();
    assert_eq!((stats.active, stats.idle, stats.inferences, stats.successful), (0, 1, 3, 3));
    assert_eq!(house.n_opened(), 1);
    let all: Vec<_> = (0..4).map(|_| house.acquire().unwrap()).collect();
    assert_eq!((house.n_opened(), all.len()), (4, 4));
    assert!(house.pool.summary().starts_with("4 instances, 0 idle, 4 of 4 permits out"), "{}", house.pool.summary());
}

#[test]
fn exhaustion_is_told_at_once_where_too_many_wait() {
    let house = house(PoolOptions { waiters_max: 0, ..one() });
    let _held = house.acquire().unwrap();
    let Err(AcquireError::Pool(refused)) = house.acquire() else { panic!("expected a refusal") };
    assert_eq!(refused, PoolError::Exhausted { waiters_max: 0 });
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Overloaded, Some(ReasonCode::PoolExhausted)));
    assert_eq!(house.pool.stats().failed, 1);
}

#[test]
fn a_wait_ends_with_the_patience_of_the_pool_or_the_callers_deadline() {
    let house = house(one());
    let _held = house.acquire().unwrap();
    thread::scope(|scope| {
        let patient = scope.spawn(|| house.acquire().unwrap_err());
        let hurried = scope
            .spawn(|| house.pool.acquire_blocking(SECOND, || Ok::<_, Infallible>(Instance::default())).unwrap_err());
        until("both wait", || house.pool.stats().waiting == 2);
        house.clock.advance(SECOND);
        assert_eq!(hurried.join().unwrap(), AcquireError::Pool(PoolError::Deadline));
        assert_eq!(house.pool.stats().waiting, 1);
        house.clock.advance(4 * SECOND);
        let waited = house.clock.now();
        assert_eq!(patient.join().unwrap(), AcquireError::Pool(PoolError::TimedOut { waited }));
    });
    assert_eq!(house.pool.stats().timed_out, 2);
}

#[test]
fn a_panic_in_use_returns_the_permit() {
    let house = house(one());
    let used = catch_unwind(AssertUnwindSafe(|| {
        let _permit = house.acquire().unwrap();
        panic!("on purpose");
    }));
    assert!(used.is_err());
    assert_eq!(house.pool.stats().free, 1);
    drop(house.acquire().unwrap());
}

#[test]
fn an_instance_that_does_not_open_costs_nobody_the_permit() {
    let house = house(one());
    let refused = house.pool.acquire_blocking(NEVER, || Err::<Instance, _>("no such device"));
    assert_eq!(refused.unwrap_err(), AcquireError::Open("no such device"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        house.pool.acquire_blocking(NEVER, || -> Result<Instance, Infallible> { panic!("on purpose") })
    }));
    assert!(panicked.is_err());
    assert_eq!((house.pool.stats().free, house.pool.stats().open_failures), (1, 2));
    drop(house.acquire().unwrap());
}

#[test]
fn a_cancelled_wait_loses_no_permit() {
    let house = house(one());
    for served in [false, true] {
        let mut held = Some(house.acquire().unwrap());
        {
            let mut wait = pin!(house.pool.acquire(NEVER, async || Ok::<_, Infallible>(Instance::default())));
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(house.pool.stats().waiting, 1);
            if served {
                held = None;
                assert_eq!(house.pool.stats().active, 1, "the permit is on its way to the waiter");
            }
        }
        assert_eq!(house.pool.stats().waiting, 0);
        drop(held);
        assert_eq!(house.pool.stats().free, 1);
    }
    assert_eq!(house.pool.stats().cancelled, 1);
    let opening = house.pool.acquire(NEVER, async || Ok::<_, Infallible>(Instance::default()));
    drop(opening);
    assert_eq!(house.pool.stats().free, 1);
}

#[test]
fn waiters_are_served_in_order() {
    let house = house(one());
    let held = house.acquire().unwrap();
    let (order, served) = sync_channel(3);
    thread::scope(|scope| {
        for n in 0..3 {
            let (order, house) = (order.clone(), &house);
            scope.spawn(move || {
                let permit = house.acquire().unwrap();
                order.send(n).unwrap();
                drop(permit);
            });
            until("it waits", || house.pool.stats().waiting == n + 1);
        }
        drop(held);
        assert_eq!([0; 3].map(|_| served.recv_timeout(PATIENCE).unwrap()), [0, 1, 2]);
    });
}

#[test]
fn two_calls_share_an_instance_where_that_is_allowed() {
    let house = house(PoolOptions { concurrency: 2, ..one() });
    let (first, second) = (house.acquire().unwrap(), house.acquire().unwrap());
    assert_eq!((house.n_opened(), first.seat_idx(), second.seat_idx()), (1, 0, 0));
    assert!(Arc::ptr_eq(&first.0, &second.0));
    assert_eq!(house.pool.stats().free, 0);
}

#[test]
fn a_lost_instance_is_replaced_when_its_thread_has_ended() {
    let house = house(one());
    let permit = house.acquire().unwrap();
    let old = permit.clone();
    permit.lose();
    assert!(old.is_lost(), "its callers are told");
    assert_eq!((house.pool.stats().dying, house.pool.stats().lost_instances), (1, 1));
    thread::scope(|scope| {
        let next = scope.spawn(|| house.acquire().unwrap().clone());
        until("it waits", || house.pool.stats().waiting == 1);
        assert_eq!(house.n_opened(), 1, "the stuck thread still has the permit");
        old.0.is_ended.store(true, Ordering::SeqCst);
        assert!(!Arc::ptr_eq(&next.join().unwrap().0, &old.0));
    });
    assert_eq!((house.n_opened(), house.pool.stats().dying), (2, 0));
}

#[test]
fn an_instance_that_a_watchdog_gave_up_is_not_lent_again() {
    let house = house(one());
    let old = house.acquire().unwrap().clone();
    old.abandon();
    old.0.is_ended.store(true, Ordering::SeqCst);
    let new = house.acquire().unwrap();
    assert!(!Arc::ptr_eq(&new.0, &old.0));
    assert_eq!(house.pool.stats().lost_instances, 1);
}

#[test]
fn a_pool_of_owner_threads_replaces_the_one_that_is_stuck() {
    let clock = VirtualClock::new();
    let pool: InstancePool<Owned> = InstancePool::new(one(), Arc::new(clock.clone())).unwrap();
    let open = || {
        let client = ModelClient::start(&ConfineOptions::default(), Arc::new(clock.clone()))?;
        let model = client.load_blocking(NEVER, |_| Ok::<u8, Infallible>(7)).unwrap();
        Ok::<_, ConfineError>(Owned { client, model })
    };
    let permit = pool.acquire_blocking(NEVER, open).unwrap();
    assert_eq!(permit.client.with_blocking(permit.model, NEVER, |handle, _| *handle), Ok(7));
    let (release, is_released) = sync_channel::<()>(0);
    let (entered, is_in) = sync_channel(1);
    let stuck = permit.client.try_with(permit.model, NEVER, move |_, _| {
        entered.send(()).unwrap();
        is_released.recv_timeout(PATIENCE).unwrap();
    });
    is_in.recv_timeout(PATIENCE).unwrap();
    permit.lose();
    assert_eq!(stuck.unwrap().wait(), Err(ConfineError::Abandoned));
    assert_eq!(pool.stats().dying, 1);
    release.send(()).unwrap();
    let permit = pool.acquire_blocking(NEVER, open).unwrap();
    assert_eq!(permit.client.with_blocking(permit.model, NEVER, |handle, _| *handle), Ok(7));
}

/// One model on a thread of its own.
struct Owned {
    client: ModelClient<u8>,
    model: ModelRef,
}

impl PooledInstance for Owned {
    fn abandon(&self) {
        self.client.abandon();
    }

    fn is_lost(&self) -> bool {
        self.client.is_over()
    }

    fn is_ended(&self) -> bool {
        self.client.is_ended()
    }
}

#[test]
fn no_permit_is_lost_in_a_crowd() {
    let house = house(PoolOptions { n_instances: 2, concurrency: 2, ..PoolOptions::default() });
    thread::scope(|scope| {
        for seed in 0..4 {
            let house = &house;
            scope.spawn(move || {
                let mut random = ballast_testkit::SplitMix::new(seed);
                for _ in 0..200 {
                    if random.next_u64().is_multiple_of(3) {
                        let mut wait =
                            pin!(house.pool.acquire(NEVER, async || Ok::<_, Infallible>(Instance::default())));
                        let _permit_or_wait = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    } else {
                        house.acquire().unwrap().record_inference();
                    }
                }
            });
        }
    });
    let stats = house.pool.stats();
    assert_eq!((stats.active, stats.free, stats.dying, stats.waiting), (0, 4, 0, 0));
    assert_eq!(stats.acquires, 800);
}
