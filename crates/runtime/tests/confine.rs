//! Models on owner threads, from outside: who may hold what, and what every caller is told.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{Clock, ErrorKind, ReasonCode};
use ballast_runtime::confine::{Call, ConfineError, ConfineOptions, JobPhase, LoadError, ModelClient, ModelRef, Rank};
use ballast_testkit::{PATIENCE, VirtualClock};
use std::cell::Cell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;

/// A handle that may not move: its count is shared without a lock.
struct Handle {
    uses: Rc<Cell<usize>>,
    opened_on: thread::ThreadId,
    dropped: Arc<Dropped>,
}

#[derive(Default)]
struct Dropped {
    n: AtomicUsize,
    elsewhere: AtomicBool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.dropped.elsewhere.fetch_or(thread::current().id() != self.opened_on, Ordering::SeqCst);
        self.dropped.n.fetch_add(1, Ordering::SeqCst);
    }
}

struct House {
    clock: VirtualClock,
    client: ModelClient<Handle>,
    dropped: Arc<Dropped>,
}

fn house(options: &ConfineOptions) -> House {
    let clock = VirtualClock::new();
    let client = ModelClient::start(options, Arc::new(clock.clone())).unwrap();
    House { clock, client, dropped: Arc::default() }
}

impl House {
    fn opener(&self) -> impl FnOnce(&ballast_backend::Pulse) -> Result<Handle, Infallible> + Send + 'static {
        let dropped = Arc::clone(&self.dropped);
        |_| Ok(Handle { uses: Rc::default(), opened_on: thread::current().id(), dropped })
    }

    fn load(&self) -> ModelRef {
        self.client.load_blocking(NEVER, self.opener()).unwrap()
    }

    /// Occupies the owner thread until the gate opens. Returns once the job runs.
    fn occupy(&self, model: ModelRef) -> (Gate, thread::JoinHandle<Result<(), ConfineError>>) {
        self.occupy_until(model, NEVER)
    }

    fn occupy_until(
        &self,
        model: ModelRef,
        deadline: Duration,
    ) -> (Gate, thread::JoinHandle<Result<(), ConfineError>>) {
        let (gate, client) = (Gate::default(), self.client.clone());
        let (entered, is_in) = sync_channel(1);
        let held = gate.clone();
        let job = thread::spawn(move || {
            client.with_blocking(model, deadline, move |_, _| {
                entered.send(()).unwrap();
                held.wait();
            })
        });
        is_in.recv_timeout(PATIENCE).unwrap();
        (gate, job)
    }

    fn end(self) -> Arc<Dropped> {
        drop(self.client);
        self.dropped
    }
}

/// Held shut until a test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        let (guard, timeout) = self.0.1.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap();
        drop(guard);
        assert!(!timeout.timed_out(), "nobody opened the gate");
    }
}

/// Waits for what another thread is about to do.
fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..PATIENCE.as_millis() {
        if condition() {
            return;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{what}: not within {PATIENCE:?}");
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(thread::current()))));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(PATIENCE),
        }
    }
}

#[test]
fn a_handle_is_opened_used_and_dropped_on_one_thread() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    for n in 1..=3 {
        let used = house.client.with_blocking(model, NEVER, |handle, _| {
            handle.uses.set(handle.uses.get() + 1);
            (handle.uses.get(), handle.opened_on == thread::current().id())
        });
        assert_eq!(used, Ok((n, true)));
    }
    assert_ne!(house.client.with_blocking(model, NEVER, |handle, _| handle.opened_on), Ok(thread::current().id()));
    let dropped = house.end();
    assert_eq!(dropped.n.load(Ordering::SeqCst), 1);
    assert!(!dropped.elsewhere.load(Ordering::SeqCst));
}

#[test]
fn references_are_unique_across_clients() {
    let houses = [house(&ConfineOptions::default()), house(&ConfineOptions::default())];
    let models: HashSet<ModelRef> = houses.iter().flat_map(|house| [house.load(), house.load()]).collect();
    assert_eq!(models.len(), 4);
    let stranger = houses[0].load();
    let found = houses[1].client.with_blocking(stranger, NEVER, |_, _| ());
    assert_eq!(found, Err(ConfineError::ModelNotFound { model: stranger }));
}

#[test]
fn the_handle_is_dropped_with_the_last_lease() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    house.client.retain(model).unwrap();
    let lease = house.client.lease(model).unwrap();
    assert_eq!(house.client.unload(model), Ok(()));
    assert_eq!(house.client.unload(model), Ok(()));
    assert_eq!(house.client.with_blocking(lease.model(), NEVER, |_, _| ()), Ok(()));
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 0);
    drop(lease);
    until("the handle is dropped", || house.dropped.n.load(Ordering::SeqCst) == 1);
    let gone = Err(ConfineError::ModelNotFound { model });
    assert_eq!(house.client.with_blocking(model, NEVER, |_, _| ()), gone);
    assert_eq!(house.client.unload(model), gone);
    assert_eq!(house.client.retain(model), gone);
    assert!(house.client.lease(model).is_err());
    assert_eq!(house.client.stats().n_models, 0);
}

#[test]
fn jobs_queued_before_an_unload_still_run() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, first) = house.occupy(model);
    let second = house.client.try_with(model, NEVER, |handle, _| handle.uses.get()).unwrap();
    house.client.unload(model).unwrap();
    gate.open();
    assert_eq!(first.join().unwrap(), Ok(()));
    assert_eq!(second.wait(), Ok(0));
    until("the handle is dropped", || house.dropped.n.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let house = house(&ConfineOptions { queue_max: 2, ..ConfineOptions::default() });
    let model = house.load();
    let (gate, job) = house.occupy(model);
    let waiting = [0, 1].map(|n| house.client.try_with(model, NEVER, move |_, _| n).unwrap());
    let refused = house.client.with_blocking(model, NEVER, |_, _| ()).unwrap_err();
    assert_eq!(refused, ConfineError::QueueFull { queue_max: 2 });
    assert_eq!((refused.kind(), refused.reason()), (ErrorKind::Overloaded, Some(ReasonCode::BackpressureQueueFull)));
    gate.open();
    assert_eq!(waiting.map(|job| job.wait()), [Ok(0), Ok(1)]);
    assert_eq!(job.join().unwrap(), Ok(()));
    assert_eq!(house.client.stats().refused, 1);
}

#[test]
fn models_are_bounded() {
    let house = house(&ConfineOptions { models_max: 1, ..ConfineOptions::default() });
    let model = house.load();
    let refused = house.client.load_blocking(NEVER, house.opener()).unwrap_err();
    assert_eq!(refused, LoadError::Confine(ConfineError::TooManyModels { models_max: 1 }));
    house.client.unload(model).unwrap();
    house.load();
}

#[test]
fn callers_learn_of_their_deadline_while_the_thread_is_stuck() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let ran = Arc::new(AtomicBool::new(false));
    let (gate, running) = house.occupy_until(model, SECOND);
    let set = Arc::clone(&ran);
    let queued = house.client.try_with(model, SECOND, move |_, _| set.store(true, Ordering::SeqCst)).unwrap();
    house.clock.advance(SECOND);
    assert_eq!(queued.wait(), Err(ConfineError::Deadline { phase: JobPhase::Queued }));
    assert_eq!(running.join().unwrap(), Err(ConfineError::Deadline { phase: JobPhase::Running }));
    assert!(house.client.pulse(0).unwrap().beat().is_err(), "the running job is asked to return");
    let late = house.client.with_blocking(model, SECOND, |_, _| ());
    assert_eq!(late, Err(ConfineError::Deadline { phase: JobPhase::Queued }));
    gate.open();
    assert_eq!(house.client.with_blocking(model, NEVER, |_, pulse| pulse.beat()), Ok(Ok(())), "the next one is not");
    assert!(!ran.load(Ordering::SeqCst));
    assert_eq!(house.client.stats().timed_out, 2);
}

#[test]
fn dropping_a_future_cancels_its_job_wherever_it_is() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, (entered, is_in)) = (Gate::default(), sync_channel(1));
    let held = gate.clone();
    let running = house.client.try_with(model, NEVER, move |_, _| {
        entered.send(()).unwrap();
        held.wait();
    });
    is_in.recv_timeout(PATIENCE).unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ran);
    {
        let mut queued = pin!(house.client.with(model, NEVER, move |_, _| set.store(true, Ordering::SeqCst)));
        assert!(queued.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(house.client.stats().n_queued, 1);
    }
    assert_eq!(house.client.stats().n_queued, 0);
    let pulse = house.client.pulse(0).unwrap();
    assert_eq!(pulse.beat(), Ok(()), "a queued job's end is nothing to the running one");
    drop(running);
    assert!(pulse.beat().is_err());
    gate.open();
    assert_eq!(block_on(house.client.with(model, NEVER, |_, pulse| pulse.beat())), Ok(Ok(())));
    assert!(!ran.load(Ordering::SeqCst));
    let stats = house.client.stats();
    assert_eq!((stats.cancelled, stats.done, stats.submitted), (2, 2, 4));
}

#[test]
fn a_panic_costs_its_handle_and_nothing_else() {
    let house = house(&ConfineOptions::default());
    let (broken, whole) = (house.load(), house.load());
    let (gate, job) = house.occupy(whole);
    let panics = house.client.try_with(broken, NEVER, |_, _| panic!("on purpose")).unwrap();
    let after = house.client.try_with(broken, NEVER, |_, _| ()).unwrap();
    gate.open();
    job.join().unwrap().unwrap();
    let panicked: Result<(), ConfineError> = panics.wait();
    assert_eq!(panicked, Err(ConfineError::Panicked));
    let lost = Err(ConfineError::ModelLost { model: broken });
    assert_eq!(after.wait(), lost);
    assert_eq!(house.client.with_blocking(broken, NEVER, |_, _| ()), lost);
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 1);
    assert_eq!(house.client.with_blocking(whole, NEVER, |_, _| ()), Ok(()));
    assert_eq!(house.client.unload(broken), Ok(()), "the lease outlives the handle");
    let gone = Err(ConfineError::ModelNotFound { model: broken });
    assert_eq!(house.client.with_blocking(broken, NEVER, |_, _| ()), gone);
}

#[test]
fn a_model_that_does_not_open_is_not_there() {
    let house = house(&ConfineOptions::default());
    let refused = house.client.load_blocking(NEVER, |_| Err::<Handle, _>("no such file"));
    assert_eq!(refused, Err(LoadError::Open("no such file")));
    let panicked = house.client.load_blocking(NEVER, |_| -> Result<Handle, Infallible> { panic!("on purpose") });
    assert_eq!(panicked, Err(LoadError::Confine(ConfineError::Panicked)));
    let stats = house.client.stats();
    assert_eq!((stats.n_models, stats.failed), (0, 2));
    house.load();
}

#[test]
fn a_load_whose_caller_has_gone_leaves_no_model() {
    let house = house(&ConfineOptions::default());
    let (gate, (entered, is_in)) = (Gate::default(), sync_channel(1));
    let (held, open) = (gate.clone(), house.opener());
    {
        let mut load = pin!(house.client.load(NEVER, move |pulse| {
            entered.send(()).unwrap();
            held.wait();
            open(pulse)
        }));
        assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        is_in.recv_timeout(PATIENCE).unwrap();
    }
    gate.open();
    until("the handle is dropped", || house.dropped.n.load(Ordering::SeqCst) == 1);
    let other = house.load();
    let (gate, job) = house.occupy(other);
    {
        let mut load = pin!(house.client.load(NEVER, house.opener()));
        assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        gate.open();
        until("the model is loaded", || house.client.stats().n_models == 2);
    }
    until("it is dropped, though it was loaded", || house.dropped.n.load(Ordering::SeqCst) == 2);
    assert_eq!(house.client.stats().n_models, 1);
    job.join().unwrap().unwrap();
}

#[test]
fn shutdown_runs_what_is_queued_and_refuses_the_rest() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, job) = house.occupy(model);
    let queued = house.client.try_with(model, NEVER, |_, _| 7).unwrap();
    let client = house.client.clone();
    let shutdown = thread::spawn(move || block_on(client.shutdown()));
    let refused = || house.client.with_blocking(model, house.clock.now() + SECOND, |_, _| ());
    until("the drain begins", || house.client.retain(model).is_ok() && house.client.stats().n_queued == 1);
    until("new jobs are refused", || {
        house.client.try_with(model, NEVER, |_, _| ()).is_err_and(|error| error == ConfineError::Stopped)
    });
    assert_eq!(refused(), Err(ConfineError::Stopped));
    assert!(!house.client.is_ended());
    gate.open();
    assert_eq!((job.join().unwrap(), queued.wait()), (Ok(()), Ok(7)));
    shutdown.join().unwrap();
    assert!(house.client.is_ended());
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 1);
}

#[test]
fn a_drain_ends_at_its_deadline_and_gives_a_stuck_thread_up() {
    let options = ConfineOptions { drain_deadline: 5 * SECOND, drain_grace: SECOND, ..ConfineOptions::default() };
    let house = house(&options);
    let model = house.load();
    let (gate, job) = house.occupy(model);
    let queued = house.client.try_with(model, NEVER, |_, _| 7).unwrap();
    let client = house.client.clone();
    let shutdown = thread::spawn(move || client.shutdown_blocking());
    until("the drain begins", || house.client.try_with(model, NEVER, |_, _| ()).is_err());
    house.clock.advance(5 * SECOND);
    assert_eq!(queued.wait(), Err(ConfineError::Stopped));
    assert_eq!(job.join().unwrap(), Err(ConfineError::Stopped));
    assert!(!house.client.pulse(0).unwrap().is_abandoned(), "it has the grace time to return");
    house.clock.advance(SECOND);
    shutdown.join().unwrap();
    assert!(house.client.pulse(0).unwrap().is_abandoned());
    assert!(!house.client.is_ended());
    gate.open();
    until("the thread ends when it returns", || house.client.is_ended());
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 1);
}

#[test]
fn an_abandoned_thread_keeps_nobody_waiting() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, running) = house.occupy(model);
    let queued = house.client.try_with(model, NEVER, |_, _| ()).unwrap();
    house.client.abandon();
    assert_eq!(queued.wait(), Err(ConfineError::Abandoned));
    let told = running.join().unwrap().unwrap_err();
    assert_eq!((told, told.reason()), (ConfineError::Abandoned, Some(ReasonCode::EngineStalled)));
    assert_eq!(house.client.with_blocking(model, NEVER, |_, _| ()), Err(ConfineError::Abandoned));
    house.client.shutdown_blocking();
    assert!(!house.client.is_ended(), "its thread is still in the call");
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 0);
    gate.open();
    until("the thread ends when it returns", || house.client.is_ended());
    assert_eq!(house.dropped.n.load(Ordering::SeqCst), 1);
    assert!(!house.dropped.elsewhere.load(Ordering::SeqCst));
}

#[test]
fn ranks_go_first_and_equals_in_their_order() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, job) = house.occupy(model);
    let order = Arc::new(Mutex::new(Vec::new()));
    let ranks = [200, 128, 0, 128, 200, 0];
    let jobs = ranks.iter().enumerate().map(|(n, &rank)| {
        let order = Arc::clone(&order);
        let call = Call { deadline: NEVER, rank: Rank(rank) };
        house.client.try_with(model, call, move |_, _| order.lock().unwrap().push(n)).unwrap()
    });
    let jobs: Vec<_> = jobs.collect();
    gate.open();
    jobs.into_iter().for_each(|job| job.wait().unwrap());
    job.join().unwrap().unwrap();
    assert_eq!(*order.lock().unwrap(), [2, 5, 1, 3, 0, 4]);
}

#[test]
fn models_spread_over_threads_and_jobs_go_where_they_live() {
    let house = house(&ConfineOptions { n_threads: 2, ..ConfineOptions::default() });
    let models: Vec<ModelRef> = (0..4).map(|_| house.load()).collect();
    let home = |model| house.client.with_blocking(model, NEVER, |handle, _| handle.opened_on).unwrap();
    let homes: Vec<_> = models.iter().map(|&model| home(model)).collect();
    assert_eq!((homes[0] == homes[2], homes[1] == homes[3], homes[0] == homes[1]), (true, true, false));
    let (gate, job) = house.occupy(models[0]);
    let waits = house.client.try_with(models[2], NEVER, |_, _| thread::current().id()).unwrap();
    assert_eq!(home(models[1]), homes[1], "the other thread is free");
    gate.open();
    assert_eq!(waits.wait(), Ok(homes[0]));
    job.join().unwrap().unwrap();
}

#[test]
fn copies_of_a_model_share_one_queue() {
    let house = house(&ConfineOptions { n_threads: 2, ..ConfineOptions::default() });
    let model = house.load();
    house.client.replicate_blocking(model, NEVER, house.opener()).unwrap();
    let again = house.client.replicate_blocking(model, NEVER, house.opener()).unwrap_err();
    assert_eq!(again, LoadError::Confine(ConfineError::NoThreadLeft { model }));
    let (gate, job) = house.occupy(model);
    for _ in 0..3 {
        assert!(house.client.with_blocking(model, NEVER, |_, _| ()).is_ok(), "the free copy takes what comes");
    }
    house.client.abandon_thread(stuck_thread(&house, model));
    assert_eq!(job.join().unwrap(), Err(ConfineError::Abandoned));
    assert!(house.client.with_blocking(model, NEVER, |_, _| ()).is_ok(), "the other copy goes on");
    house.client.unload(model).unwrap();
    until("the live copy is dropped", || house.dropped.n.load(Ordering::SeqCst) == 1);
    gate.open();
    until("and the other when its thread ends", || house.dropped.n.load(Ordering::SeqCst) == 2);
}

/// Index of the thread that does not serve `model` while the other one is stuck.
fn stuck_thread(house: &House, model: ModelRef) -> usize {
    let [first, second] = [0, 1].map(|idx| house.client.pulse(idx).unwrap());
    let before = [first.beats(), second.beats()];
    house.client.with_blocking(model, NEVER, |_, pulse| pulse.beat()).unwrap().unwrap();
    usize::from(first.beats() > before[0])
}

#[test]
fn the_last_client_may_be_dropped_by_its_own_job() {
    let house = house(&ConfineOptions::default());
    let model = house.load();
    let (gate, (entered, is_in)) = (Gate::default(), sync_channel(1));
    let (client, held) = (house.client.clone(), gate.clone());
    let pending = house.client.try_with(model, NEVER, move |_, _| {
        entered.send(()).unwrap();
        held.wait();
        drop(client);
    });
    let pending = pending.unwrap();
    is_in.recv_timeout(PATIENCE).unwrap();
    let House { client, dropped, .. } = house;
    // The job's clone is the last one now; its thread does not wait for itself.
    drop(client);
    gate.open();
    let (outcome, is_over) = sync_channel(1);
    thread::spawn(move || outcome.send(pending.wait()).unwrap());
    assert_eq!(is_over.recv_timeout(PATIENCE), Ok(Ok(())));
    until("the handle is dropped", || dropped.n.load(Ordering::SeqCst) == 1);
}

#[test]
fn every_job_is_counted_once_whatever_ends_it() {
    let options = ConfineOptions { n_threads: 2, queue_max: 8, ..ConfineOptions::default() };
    let house = house(&options);
    let model = house.load();
    house.client.replicate_blocking(model, NEVER, house.opener()).unwrap();
    let before = house.client.stats().submitted;
    let told: Vec<u64> = thread::scope(|scope| {
        let callers = (0..4_u64).map(|seed| {
            let house = &house;
            scope.spawn(move || call_at_random(house, model, seed))
        });
        callers.collect::<Vec<_>>().into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let stats = house.client.stats();
    assert_eq!(stats.submitted - before, told.iter().sum::<u64>());
    let ended = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.stopped + stats.abandoned;
    assert_eq!(ended, stats.submitted);
    assert_eq!(stats.n_queued, 0);
}

/// Submits, waits, drops and lets time pass by a seed. Returns how many jobs were taken in.
fn call_at_random(house: &House, model: ModelRef, seed: u64) -> u64 {
    let mut random = ballast_testkit::SplitMix::new(seed);
    let mut n_taken = 0;
    for _ in 0..200 {
        let now = house.clock.now();
        let deadline = if random.next_u64().is_multiple_of(4) { now + SECOND } else { NEVER };
        let Ok(job) = house.client.try_with(model, deadline, |handle, _| handle.uses.set(handle.uses.get() + 1)) else {
            continue;
        };
        n_taken += 1;
        match random.next_u64() % 8 {
            0 => drop(job),
            1 => {
                house.clock.advance(SECOND);
                assert!(matches!(job.wait(), Ok(()) | Err(ConfineError::Deadline { .. })));
            }
            _ => assert!(matches!(job.wait(), Ok(()) | Err(ConfineError::Deadline { .. }))),
        }
    }
    n_taken
}
