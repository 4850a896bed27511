//! Many callers, every fault there is, by seed: each call ends exactly once, with the right answer or a typed error.

use crate::chain::*;
use ballast_backend::Clock;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::supervised::{PredictOptions, SupervisedOptions};
use ballast_runtime::watchdog::WatchdogOptions;
use ballast_testkit::{FaultPlan, FaultRates, SplitMix};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Real time: hangs end by real watchdogs.
struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the faults of this test take real time")]
fn real_clock() -> Arc<RealClock> {
    Arc::new(RealClock(Instant::now()))
}

const N_CALLERS: u64 = 8;
const N_CALLS: u64 = 60;

fn stress(seed: u64, rates: FaultRates) {
    let plan = move |salt: u64| move |n: usize| FaultPlan::seeded(seed ^ salt ^ (n as u64) << 32, rates);
    let first = FaultyEngine::new("first", plan(1));
    let second = FaultyEngine::new("second", plan(2));
    let options = SupervisedOptions {
        pool: PoolOptions { n_instances: 3, waiters_max: 4, tick: MS(1), ..PoolOptions::default() },
        watchdog: WatchdogOptions { stall_after: MS(40), call_max: Some(MS(20)) },
        return_grace: MS(20),
        ..options()
    };
    let engine = open_at(&[&first, &second], options, real_clock());
    let (n_right, n_failed, n_dropped) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for caller in 0..N_CALLERS {
            let (engine, n_right, n_failed, n_dropped) = (&engine, &n_right, &n_failed, &n_dropped);
            let mut random = SplitMix::new(seed ^ caller << 48);
            scope.spawn(move || {
                for n in 0..N_CALLS {
                    let value = f32::from(u16::try_from(caller * N_CALLS + n).unwrap());
                    let deadline = MS(random.next_u64() % 200);
                    let options = PredictOptions { deadline, ..PredictOptions::default() };
                    if random.next_u64().is_multiple_of(10) {
                        let mut call = Box::pin(engine.predict(inputs(value), options));
                        drop(call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                        n_dropped.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    match engine.predict_blocking(inputs(value), options) {
                        Ok(prediction) => {
                            let got = prediction.outputs.get("y").unwrap().as_f32().unwrap();
                            assert_eq!(got, expected(value), "seed {seed}");
                            n_right.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => {
                            assert!(error.reason().is_some(), "seed {seed}: {error}");
                            n_failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let ended = [n_right, n_failed, n_dropped].map(AtomicUsize::into_inner);
    assert_eq!(ended.iter().sum::<usize>() as u64, N_CALLERS * N_CALLS, "seed {seed}");
    assert!(ended[0] > 0, "seed {seed}: nothing was answered");
    first.control.release();
    second.control.release();
    for idx in 0..2 {
        until("every permit is back", || health(&engine, idx).pool.is_some_and(|pool| pool.active == 0));
        until("nobody waits", || health(&engine, idx).pool.is_some_and(|pool| pool.waiting == 0));
    }
    assert_eq!(engine.health().n_predictions, 0, "seed {seed}");
    drop(engine);
    until("no instance is left", || [&first, &second].iter().all(|e| e.n_alive.load(Ordering::SeqCst) == 0));
}

#[test]
fn each_call_ends_once_with_the_right_answer_or_a_typed_error() {
    let mixes = [
        FaultRates::default(),
        FaultRates { fail: 100, ..FaultRates::default() },
        FaultRates { panic: 50, lost: 20, ..FaultRates::default() },
        FaultRates { hang: 20, slow: (50, MS(5)), ..FaultRates::default() },
        FaultRates { slow: (50, MS(30)), fail: 50, panic: 20, hang: 20, lost: 10, ..FaultRates::default() },
    ];
    for (seed, rates) in (0..).zip(mixes) {
        stress(seed, rates);
    }
}
