//! The pool: threads that serve a hand-off, and the loan of a caller's data to them.

#![expect(unsafe_code, reason = "lends the caller's stack to the workers for the time of one call")]

use crate::hand_off::{Caller, PARTS_MAX};
use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// `n` compute threads, the caller among them.
#[derive(Debug)]
pub struct ComputePool {
    caller: Caller<Job>,
    workers: Vec<JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// What the first part that panicked in a call had to say.
#[derive(Debug, Default)]
struct Failure(Mutex<Option<Box<dyn Any + Send>>>);

/// A call on borrowed data: `run(data, piece)`.
#[derive(Clone, Copy, Debug)]
struct Job {
    run: unsafe fn(*const (), usize),
    data: *const (),
}

// SAFETY: the data is a `Call` that is borrowed until all of its pieces are done, its parts are Send and its closure is
// Sync (`ComputePool::run` demands it), and a piece is run by one thread only.
unsafe impl Send for Job {}

/// What one call of `run` lends to the workers. A piece is so many parts in a row that their number fits a hand-off:
/// one, but for jobs of very many parts.
struct Call<'a, P, F> {
    parts: *mut P,
    n_parts: usize,
    piece_len: usize,
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
        let (caller, failure) = (Caller::new(n_workers), Arc::<Failure>::default());
        let workers = (0..n_workers)
            .map(|idx| {
                let (shared, failure) = (caller.shared(), Arc::clone(&failure));
                std::thread::Builder::new()
                    .name(format!("ballast-compute-{}", idx + 1))
                    // SAFETY: the hand-off gives each piece of a job to one thread, while `run` waits for it.
                    .spawn(move || shared.serve(idx, |job, piece| unsafe { failure.guard(job, piece) }))
                    .expect("the system must grant compute threads")
            })
            .collect();
        Self { caller, workers, failure }
    }

    /// Threads that share a call, the caller among them.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f` once for every part and returns when all are done. Part `i` is of thread `i % n_threads`, which takes
    /// its parts in order; what a thread has not begun when the caller is done, the caller does. Which thread runs a
    /// part is therefore a matter of time: `f` must not ask.
    ///
    /// # Panics
    /// If `f` does, with the first panic, when no part runs any more.
    pub fn run<P: Send, F: Fn(&mut P) + Sync>(&mut self, parts: &mut [P], f: F) {
        if self.workers.is_empty() || parts.len() <= 1 {
            parts.iter_mut().for_each(f);
            return;
        }
        let piece_len = parts.len().div_ceil(PARTS_MAX);
        let n_pieces = parts.len().div_ceil(piece_len);
        let call = Call { parts: parts.as_mut_ptr(), n_parts: parts.len(), piece_len, f: &f };
        let job = Job { run: run_piece::<P, F>, data: (&raw const call).cast() };
        let (workers, failure) = (&self.workers, &self.failure);
        // SAFETY: `call` is alive until all is done, and the hand-off gives each piece to one thread.
        let run_piece = |piece| unsafe { failure.guard(job, piece) };
        // SAFETY: `guard` does not unwind.
        unsafe { self.caller.run(job, n_pieces, || wake(workers), run_piece) };
        if let Some(payload) = failure.take() {
            resume_unwind(payload);
        }
    }
}

fn wake(workers: &[JoinHandle<()>]) {
    for worker in workers {
        worker.thread().unpark();
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.caller.stop(|| wake(&self.workers));
        for worker in self.workers.drain(..) {
            // A part's panic has been handed to the caller of `run` already.
            drop(worker.join());
        }
    }
}

impl Failure {
    /// Runs a piece and keeps its panic.
    ///
    /// # Safety
    /// That of the job's `run`.
    unsafe fn guard(&self, job: Job, piece: usize) {
        // SAFETY: the caller's promise.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| unsafe { (job.run)(job.data, piece) })) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    }

    fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs the parts of a piece.
///
/// # Safety
/// `data` points to a live `Call<P, F>` whose `parts` are borrowed exclusively for the call, and no other thread runs
/// the same piece.
unsafe fn run_piece<P, F: Fn(&mut P)>(data: *const (), piece: usize) {
    // SAFETY: the caller's promise.
    let call = unsafe { &*data.cast::<Call<'_, P, F>>() };
    for idx in (piece * call.piece_len..call.n_parts).take(call.piece_len) {
        // SAFETY: idx is in bounds, and each idx belongs to one piece only.
        (call.f)(unsafe { &mut *call.parts.add(idx) });
    }
}

#[cfg(test)]
mod tests {
    use super::{ComputePool, PARTS_MAX};
    use std::collections::HashSet;
    use std::num::NonZeroUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn parts_run_at_the_same_time_where_each_waits_for_all() {
        for n_threads in 1..5 {
            let barrier = Barrier::new(n_threads);
            let mut threads = vec![None; n_threads];
            pool(n_threads).run(&mut threads, |thread| {
                barrier.wait();
                *thread = Some(std::thread::current().id());
            });
            let distinct: HashSet<_> = threads.iter().collect();
            assert_eq!(distinct.len(), n_threads);
            assert_eq!(threads[0], Some(std::thread::current().id()));
        }
    }

    #[test]
    fn the_caller_runs_what_an_absent_worker_has_not_begun() {
        let mut pool = pool(2);
        let done = AtomicUsize::new(0);
        let mut parts: Vec<usize> = (0..8).collect();
        // The worker stays in its first part until all others are done, so that the caller must have done them.
        pool.run(&mut parts, |part| {
            while *part == 1 && done.load(Ordering::SeqCst) < 7 {
                std::thread::yield_now();
            }
            done.fetch_add(1, Ordering::SeqCst);
            *part += 100;
        });
        assert_eq!(parts, (100..108).collect::<Vec<_>>());
    }

    #[test]
    fn more_parts_than_a_hand_off_holds_run_once_each() {
        let mut pool = pool(3);
        for n_parts in [PARTS_MAX, PARTS_MAX + 1, 2 * PARTS_MAX + 1] {
            let mut parts = vec![0_u8; n_parts];
            pool.run(&mut parts, |part| *part += 1);
            assert!(parts.iter().all(|part| *part == 1));
        }
    }

    #[test]
    fn workers_that_have_fallen_asleep_wake_for_the_next_job_and_for_the_end() {
        let mut pool = pool(2);
        let barrier = Barrier::new(2);
        let mut parts = [0_u64; 2];
        for _ in 0..50 {
            pool.run(&mut parts, |part| {
                barrier.wait();
                *part += 1;
            });
            while !pool.caller.asleep() {
                std::thread::yield_now();
            }
        }
        assert_eq!(parts, [50, 50]);
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
