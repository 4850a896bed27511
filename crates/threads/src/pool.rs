//! The pool: workers that spin for the next job, then park.
//!
//! A job is published by writing it, setting `remaining`, and advancing `epoch`; a worker that sees a new epoch runs
//! its share and decrements `remaining`. Nobody writes the job while `remaining` is above zero.

#![expect(unsafe_code, reason = "lends the caller's stack to the workers for the time of one call")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Polls before a worker starts to yield, and yields before it parks. Decoding a token takes a fork every few
/// microseconds, so a worker stays awake between them; between requests it sleeps.
const SPINS_BEFORE_YIELD: u32 = 4_000;
const YIELDS_BEFORE_PARK: u32 = 64;

/// `n` compute threads, the caller among them.
#[derive(Debug)]
pub struct ComputePool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoch: AtomicU64,
    remaining: AtomicUsize,
    stop: AtomicBool,
    /// One flag per worker: set while it is parked or about to park.
    parked: Vec<AtomicBool>,
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A call on borrowed data: `run(data, thread_idx)`.
#[derive(Clone, Copy, Debug)]
struct Job {
    run: unsafe fn(*const (), usize),
    data: *const (),
}

// SAFETY: `job` is written only by `ComputePool::run` (which has `&mut ComputePool`) while `remaining` is 0, and read
// by workers only between a new epoch and their decrement of `remaining`; the data it points to is borrowed by the
// running call, which does not return before `remaining` is 0 again. `run` demands Send parts and a Sync closure.
unsafe impl Sync for Shared {}
// SAFETY: as for Sync; the pointer in `job` is only followed under the protocol above.
unsafe impl Send for Shared {}

/// What one call of `run` lends to the workers.
struct Call<'a, P, F> {
    parts: *mut P,
    n_parts: usize,
    n_threads: usize,
    f: &'a F,
}

impl ComputePool {
    /// Starts `n_threads - 1` workers.
    ///
    /// # Panics
    /// If the system refuses a thread.
    #[must_use]
    pub fn new(n_threads: NonZeroUsize) -> Self {
        let n_workers = n_threads.get() - 1;
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            remaining: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            parked: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let workers = (0..n_workers)
            .map(|idx| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("ballast-compute-{}", idx + 1))
                    .spawn(move || work(&shared, idx))
                    .expect("the system must grant compute threads")
            })
            .collect();
        Self { shared, workers }
    }

    /// Threads that share a call, the caller among them.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f` once for every part: part `i` on thread `i % n_threads`, in order. Returns when all are done.
    ///
    /// # Panics
    /// If `f` does, after every thread has finished its share.
    pub fn run<P: Send, F: Fn(&mut P) + Sync>(&mut self, parts: &mut [P], f: F) {
        if self.workers.is_empty() || parts.len() <= 1 {
            parts.iter_mut().for_each(f);
            return;
        }
        let call = Call { parts: parts.as_mut_ptr(), n_parts: parts.len(), n_threads: self.n_threads(), f: &f };
        let job = Job { run: run_share::<P, F>, data: (&raw const call).cast() };
        self.publish(job);
        // SAFETY: `call` is alive and thread 0's share is this thread's alone.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { run_share::<P, F>(job.data, 0) }));
        self.join();
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    fn publish(&mut self, job: Job) {
        debug_assert_eq!(self.shared.remaining.load(Ordering::Relaxed), 0);
        // SAFETY: `remaining` is 0 and we have `&mut self`, so no worker reads the job now (see Shared).
        unsafe { *self.shared.job.get() = Some(job) };
        self.shared.remaining.store(self.workers.len(), Ordering::Relaxed);
        self.wake();
    }

    /// Advances the epoch and unparks whoever sleeps. The store of the epoch and the load of `parked` here, and their
    /// opposite order in `wait_for_epoch`, are sequentially consistent: one side always sees the other.
    fn wake(&self) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (flag, worker) in self.shared.parked.iter().zip(&self.workers) {
            if flag.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    /// Waits for the workers' shares. Yields when they take long: their CPU may be ours.
    fn join(&self) {
        let mut polls = 0_u32;
        while self.shared.remaining.load(Ordering::Acquire) != 0 {
            polls = polls.saturating_add(1);
            if polls < SPINS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        for worker in self.workers.drain(..) {
            // A worker's panic has been handed to the caller of `run` already.
            drop(worker.join());
        }
    }
}

/// A worker's life.
fn work(shared: &Shared, worker_idx: usize) {
    let mut seen = 0;
    loop {
        seen = wait_for_epoch(shared, worker_idx, seen);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: a new epoch was seen and our decrement of `remaining` is still to come (see Shared).
        let job = unsafe { *shared.job.get() }.expect("a job is published before its epoch");
        // SAFETY: the caller of `run` keeps the data alive until `remaining` is 0; share `worker_idx + 1` is ours.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (job.run)(job.data, worker_idx + 1) }));
        if let Err(payload) = outcome {
            shared.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
        shared.remaining.fetch_sub(1, Ordering::Release);
    }
}

/// Returns the first epoch that is not `seen`: spins, then yields, then parks.
fn wait_for_epoch(shared: &Shared, worker_idx: usize, seen: u64) -> u64 {
    let mut polls = 0_u32;
    loop {
        let epoch = shared.epoch.load(Ordering::Acquire);
        if epoch != seen {
            return epoch;
        }
        polls = polls.saturating_add(1);
        if polls < SPINS_BEFORE_YIELD {
            std::hint::spin_loop();
        } else if polls < SPINS_BEFORE_YIELD + YIELDS_BEFORE_PARK {
            std::thread::yield_now();
        } else {
            park(shared, worker_idx, seen);
        }
    }
}

fn park(shared: &Shared, worker_idx: usize, seen: u64) {
    let flag = &shared.parked[worker_idx];
    flag.store(true, Ordering::SeqCst);
    while shared.epoch.load(Ordering::SeqCst) == seen {
        std::thread::park();
    }
    flag.store(false, Ordering::Relaxed);
}

/// Runs the parts that belong to `thread_idx`.
///
/// # Safety
/// `data` points to a live `Call<P, F>` whose `parts` are borrowed exclusively for the call, and no other thread runs
/// the same `thread_idx`.
unsafe fn run_share<P, F: Fn(&mut P)>(data: *const (), thread_idx: usize) {
    // SAFETY: the caller's promise.
    let call = unsafe { &*data.cast::<Call<'_, P, F>>() };
    for idx in (thread_idx..call.n_parts).step_by(call.n_threads) {
        // SAFETY: idx is in bounds, and each idx belongs to one thread only.
        (call.f)(unsafe { &mut *call.parts.add(idx) });
    }
}

#[cfg(test)]
mod tests {
    use super::ComputePool;
    use std::num::NonZeroUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn pool(n_threads: usize) -> ComputePool {
        ComputePool::new(NonZeroUsize::new(n_threads).unwrap())
    }

    #[test]
    fn every_part_runs_exactly_once() {
        for n_threads in 1..5 {
            let mut pool = pool(n_threads);
            for n_parts in 0..12_usize {
                let mut parts: Vec<usize> = (0..n_parts).collect();
                pool.run(&mut parts, |part| *part += 100);
                assert_eq!(parts, (100..100 + n_parts).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_part_always_goes_to_the_same_thread() {
        let mut pool = pool(3);
        let mut names = || {
            let mut parts = vec![None; 6];
            pool.run(&mut parts, |part| *part = Some(std::thread::current().id()));
            parts
        };
        let first = names();
        assert_eq!(first[0], first[3]);
        for _ in 0..20 {
            assert_eq!(names(), first);
        }
    }

    #[test]
    fn workers_that_have_parked_wake_for_the_next_job() {
        let mut pool = pool(2);
        let mut parts = [0_u64; 2];
        for _ in 0..200 {
            pool.run(&mut parts, |part| *part += 1);
            while !pool.shared.parked.iter().all(|p| p.load(std::sync::atomic::Ordering::SeqCst)) {
                std::thread::yield_now();
            }
        }
        assert_eq!(parts, [200, 200]);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = pool(2);
        for bad in 0..2_usize {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&mut [0_usize, 1], |part| assert_ne!(*part, bad, "part {bad}"));
            }));
            assert!(outcome.is_err());
            let mut parts = [1, 2];
            pool.run(&mut parts, |part| *part *= 2);
            assert_eq!(parts, [2, 4]);
        }
    }

    #[test]
    fn many_small_jobs_are_all_seen() {
        let mut pool = pool(4);
        let mut parts = [0_u64; 4];
        for _ in 0..5_000 {
            pool.run(&mut parts, |part| *part += 1);
        }
        assert_eq!(parts, [5_000; 4]);
    }
}
