//! The hand-off of jobs under a model checker: every order of steps, up to a number of preemptions, of a caller and its
//! workers. Each part of a job runs once, and before the call returns; nobody reads a job that is being written; nobody
//! sleeps for ever, in a call or at the end: loom ends a test whose threads all wait.
//!
//! `src/hand_off.rs` is included as it is, over loom's atomics. Workers go to sleep at once, which is the state in which
//! a wake-up can be lost. More preemptions than the ordinary run allows:
//! `LOOM_MAX_PREEMPTIONS=4 cargo test -p ballast-threads --test hand_off_loom`.
#![allow(dead_code, unreachable_pub, reason = "the file is made for the crate that it is part of")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "../src/hand_off.rs"]
mod hand_off;

/// Loom's atomics in the place of the system's, and waits that the checker understands.
mod sync {
    #![expect(unsafe_code, reason = "the same promises as of the real cell")]

    use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use loom::thread::park;

    /// Loom fails a test in which accesses to it are not ordered.
    #[derive(Debug)]
    pub(crate) struct JobCell<J>(UnsafeCell<Option<J>>);

    impl<J: Copy> JobCell<J> {
        pub(crate) fn empty() -> Self {
            Self(UnsafeCell::new(None))
        }

        /// # Safety
        /// Checked by loom.
        pub(crate) unsafe fn set(&self, job: J) {
            // SAFETY: loom looks for other accesses.
            self.0.with_mut(|place| unsafe { *place = Some(job) });
        }

        /// # Safety
        /// Checked by loom.
        pub(crate) unsafe fn get(&self) -> J {
            // SAFETY: loom looks for writes.
            self.0.with(|place| unsafe { *place }).expect("a job is set before it is read")
        }
    }

    #[derive(PartialEq)]
    pub(crate) enum Waited {
        ALittle,
        Enough,
    }

    /// A worker sleeps at once, a caller yields.
    pub(crate) enum Patience {
        Worker,
        Caller,
    }

    impl Patience {
        pub(crate) fn of_worker() -> Self {
            Self::Worker
        }

        pub(crate) fn of_caller() -> Self {
            Self::Caller
        }

        pub(crate) fn pause(&mut self) -> Waited {
            match self {
                Self::Worker => Waited::Enough,
                Self::Caller => {
                    loom::thread::yield_now();
                    Waited::ALittle
                }
            }
        }
    }
}

use hand_off::Caller;
use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often each part of each job ran. Not loom's atomics: what the hand-off orders is checked at the job's cell, these
/// only count.
type Runs = Arc<Vec<Vec<AtomicUsize>>>;

struct House {
    caller: Caller<usize>,
    workers: Vec<JoinHandle<()>>,
    runs: Runs,
}

/// A caller, its workers, and jobs of so many parts.
fn house(n_workers: usize, jobs: &[usize]) -> House {
    let caller = Caller::new(n_workers);
    let count = |n_parts: &usize| (0..*n_parts).map(|_| AtomicUsize::new(0)).collect();
    let runs: Runs = Arc::new(jobs.iter().map(count).collect());
    let workers = (0..n_workers)
        .map(|idx| {
            let (shared, runs) = (caller.shared(), Arc::clone(&runs));
            thread::spawn(move || {
                shared.serve(idx, |job: usize, part| {
                    runs[job][part].fetch_add(1, Ordering::Relaxed);
                });
            })
        })
        .collect();
    House { caller, workers, runs }
}

impl House {
    #[expect(unsafe_code, reason = "the parts of these jobs do not unwind")]
    fn run(&mut self, job: usize) {
        let (runs, workers) = (&self.runs, &self.workers);
        let run_part = |part: usize| {
            runs[job][part].fetch_add(1, Ordering::Relaxed);
        };
        // SAFETY: `run_part` does not unwind.
        unsafe { self.caller.run(job, runs[job].len(), || wake(workers), run_part) };
        assert!(runs[job].iter().all(|n| n.load(Ordering::Relaxed) == 1), "job {job}: {:?}", runs[job]);
    }

    fn end(mut self) {
        self.caller.stop(|| wake(&self.workers));
        for worker in self.workers {
            worker.join().unwrap();
        }
        assert!(self.runs.iter().flatten().all(|n| n.load(Ordering::Relaxed) == 1), "{:?}", self.runs);
    }
}

fn wake(workers: &[JoinHandle<()>]) {
    for worker in workers {
        worker.thread().unpark();
    }
}

fn check(n_workers: usize, jobs: &'static [usize]) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(move || {
        let mut house = house(n_workers, jobs);
        for job in 0..jobs.len() {
            house.run(job);
        }
        house.end();
    });
}

#[test]
fn a_pool_that_was_never_used_ends() {
    check(1, &[]);
}

#[test]
fn parts_of_successive_jobs_run_once_each_before_the_call_returns() {
    check(1, &[2, 4]);
}

#[test]
fn a_share_that_grows_from_one_job_to_the_next_is_claimed_anew() {
    check(1, &[1, 3]);
}

#[test]
fn two_workers_and_a_job_without_a_part_for_the_second() {
    check(2, &[2]);
}
