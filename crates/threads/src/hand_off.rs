//! The hand-off of jobs: how a caller publishes one, how its parts are claimed, how everyone waits. It spawns no thread
//! and knows nothing of a job but that it has `n_parts` parts.
//!
//! Part `i` is of share `i % n_shares`. Share 0 is the caller's and nobody else's. The parts of another share are claimed
//! one after the other by the share's worker or, as soon as the caller has finished its own, by the caller: a share whose
//! worker does not run now is not waited for, but for the part that the worker is in.
//!
//! ```text
//! // post      (n, _)     => (n + 1, awake)   the caller publishes a job, and wakes all where one was asleep
//! //           (n, awake) => (n, asleep)      a worker goes to sleep
//! // claims    (m < n, _) => (n, k - 1)       the first of k parts of a share of job n is claimed
//! //           (n, k > 0) => (n, k - 1)       another is
//! // finished  f          => f + k            a worker has run the k parts that it claimed
//! ```
//!
//! The job is written only when every part of the last one has been claimed and finished. It is read only by who has
//! claimed a part of it, before that part counts as finished. A worker that slept through jobs claims nothing of them:
//! its share's claims are of a later one, or none are left.

#![expect(unsafe_code, reason = "the job is in a cell that claims guard")]

use super::sync::{AtomicBool, AtomicU64, JobCell, Ordering, Patience, Waited, park};
use std::cmp;
use std::sync::Arc;

/// Bits that hold a number of parts, here and in claims.
const PARTS_BITS: u32 = 16;
/// Parts of a job at most.
pub(crate) const PARTS_MAX: usize = (1 << PARTS_BITS) - 1;
/// The bit of a post that says that a worker is asleep or falling asleep.
const ASLEEP: u64 = 1;

/// The end of a hand-off that publishes.
#[derive(Debug)]
pub(crate) struct Caller<J> {
    shared: Arc<HandOff<J>>,
    /// For each worker: how many parts it has claimed since the beginning, as far as is known.
    claimed: Box<[u64]>,
}

/// What a caller and its workers have in common.
#[derive(Debug)]
pub(crate) struct HandOff<J> {
    posted: Padded<Posted<J>>,
    /// One for each worker.
    shares: Box<[Padded<Share>]>,
}

/// What only the caller writes, but for the bit of the sleepers. Workers that wait read all of it from one cache line.
#[derive(Debug)]
struct Posted<J> {
    /// A `Post` and `ASLEEP`.
    post: AtomicU64,
    stop: AtomicBool,
    job: JobCell<J>,
}

/// Which job is published, in one word, so that nobody takes a job's number of parts for another's: the job's epoch, a
/// number of 47 bits, which a job each microsecond uses up in four years, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Post {
    epoch: u64,
    n_parts: usize,
}

/// A worker's share.
#[derive(Debug)]
struct Share {
    /// The epoch of the last claim, shifted, and how many parts of the share are left to claim.
    claims: AtomicU64,
    /// Parts that the worker has claimed and finished since the beginning.
    finished: AtomicU64,
}

/// Keeps neighbours off a value's cache line; two lines, because CPUs fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

// SAFETY: `job` is written only by `Caller::run` before it publishes, when all that was claimed of the last job is
// finished and nothing is left to claim, and read only by who has claimed a part and not finished it; `claims` and
// `finished` order these accesses. The rest is atomic.
unsafe impl<J: Send> Sync for HandOff<J> {}

impl<J: Copy> Caller<J> {
    pub(crate) fn new(n_workers: usize) -> Self {
        let share = || Padded(Share { claims: AtomicU64::new(0), finished: AtomicU64::new(0) });
        let posted = Posted { post: AtomicU64::new(0), stop: AtomicBool::new(false), job: JobCell::empty() };
        let shares = (0..n_workers).map(|_| share()).collect();
        let shared = Arc::new(HandOff { posted: Padded(posted), shares });
        Self { shared, claimed: (0..n_workers).map(|_| 0).collect() }
    }

    /// What a worker serves.
    pub(crate) fn shared(&self) -> Arc<HandOff<J>> {
        Arc::clone(&self.shared)
    }

    /// Has every part of a job run once, by `run_part` here or by that of a worker. Calls `wake` if a worker sleeps.
    ///
    /// # Panics
    /// If there are more than [`PARTS_MAX`] parts.
    ///
    /// # Safety
    /// `run_part` does not unwind: the parts of this job could be claimed after the call.
    pub(crate) unsafe fn run(&mut self, job: J, n_parts: usize, wake: impl FnOnce(), run_part: impl Fn(usize)) {
        assert!(n_parts <= PARTS_MAX, "a job of {n_parts} parts, at most {PARTS_MAX}");
        let posted = &self.shared.posted.0;
        // SAFETY: the last call ended with everything claimed and finished, so nobody reads the job (see HandOff).
        unsafe { posted.job.set(job) };
        let post = self.shared.advance(n_parts, wake);
        for part in (0..n_parts).step_by(self.shared.n_shares()) {
            run_part(part);
        }
        self.claim_the_rest(post, run_part);
        for (share, claimed) in self.shared.shares.iter().zip(&self.claimed) {
            let mut patience = Patience::of_caller();
            while share.0.finished.load(Ordering::Acquire) != *claimed {
                patience.pause();
            }
        }
    }

    /// Runs what the workers have not claimed.
    fn claim_the_rest(&mut self, post: Post, run_part: impl Fn(usize)) {
        for (idx, (share, claimed)) in self.shared.shares.iter().zip(&mut self.claimed).enumerate() {
            let len = self.shared.share_len(post.n_parts, idx + 1);
            *claimed += len as u64;
            while let Some(nth) = share.0.claim(post.epoch, len) {
                *claimed -= 1;
                run_part(self.shared.part(idx + 1, nth));
            }
        }
    }

    /// Whether a worker has fallen asleep since the last job was published.
    #[cfg(test)]
    pub(crate) fn asleep(&self) -> bool {
        self.shared.posted.0.post.load(Ordering::Relaxed) & ASLEEP != 0
    }

    /// Ends the workers. Calls `wake` if one sleeps.
    pub(crate) fn stop(&mut self, wake: impl FnOnce()) {
        self.shared.posted.0.stop.store(true, Ordering::Relaxed);
        self.shared.advance(0, wake);
    }
}

impl<J: Copy> HandOff<J> {
    fn n_shares(&self) -> usize {
        self.shares.len() + 1
    }

    fn share_len(&self, n_parts: usize, share_idx: usize) -> usize {
        n_parts.saturating_sub(share_idx).div_ceil(self.n_shares())
    }

    fn part(&self, share_idx: usize, nth: usize) -> usize {
        share_idx + nth * self.n_shares()
    }

    /// Publishes the next job. It is one word with the sleepers' bit: a worker falls asleep either before, and is woken,
    /// or after, and sees it.
    fn advance(&self, n_parts: usize, wake: impl FnOnce()) -> Post {
        let word = &self.posted.0.post;
        let post = Post { epoch: Post::of(word.load(Ordering::Relaxed)).epoch + 1, n_parts };
        if word.swap(post.word(), Ordering::AcqRel) & ASLEEP != 0 {
            wake();
        }
        post
    }

    /// A worker's life: runs its share of every job that it is awake for by `run_part`, which must not unwind (the
    /// caller would wait for ever). Returns when the caller stops it.
    pub(crate) fn serve(&self, worker_idx: usize, run_part: impl Fn(J, usize)) {
        let (posted, share) = (&self.posted.0, &self.shares[worker_idx].0);
        let mut post = Post::of(0);
        loop {
            post = self.wait_for_another(post);
            if posted.stop.load(Ordering::Relaxed) {
                return;
            }
            let len = self.share_len(post.n_parts, worker_idx + 1);
            let mut n_run = 0;
            while let Some(nth) = share.claim(post.epoch, len) {
                // SAFETY: a part of this epoch is claimed and not finished (see HandOff).
                run_part(unsafe { posted.job.get() }, self.part(worker_idx + 1, nth));
                n_run += 1;
            }
            if n_run > 0 {
                share.finished.fetch_add(n_run, Ordering::Release);
            }
        }
    }

    /// Returns the first post that is not `seen`.
    fn wait_for_another(&self, seen: Post) -> Post {
        let mut patience = Patience::of_worker();
        loop {
            let post = Post::of(self.posted.0.post.load(Ordering::Acquire));
            if post != seen {
                return post;
            }
            if patience.pause() == Waited::Enough {
                self.sleep(seen);
            }
        }
    }

    fn sleep(&self, seen: Post) {
        let mut word = self.posted.0.post.fetch_or(ASLEEP, Ordering::Relaxed);
        while Post::of(word) == seen {
            park();
            word = self.posted.0.post.load(Ordering::Relaxed);
        }
    }
}

impl Post {
    fn of(word: u64) -> Self {
        Self { epoch: word >> (PARTS_BITS + 1), n_parts: (word >> 1) as usize & PARTS_MAX }
    }

    fn word(self) -> u64 {
        (self.epoch << PARTS_BITS | self.n_parts as u64) << 1
    }
}

impl Share {
    /// Claims the next part of the share's `len` parts in `epoch`: which one, or `None` if all are claimed.
    #[expect(clippy::cast_possible_truncation, reason = "masked to PARTS_BITS")]
    fn claim(&self, epoch: u64, len: usize) -> Option<usize> {
        let mut word = self.claims.load(Ordering::Acquire);
        loop {
            let left = match (word >> PARTS_BITS).cmp(&epoch) {
                cmp::Ordering::Less => len,
                cmp::Ordering::Equal => (word & PARTS_MAX as u64) as usize,
                cmp::Ordering::Greater => 0,
            };
            let next = (epoch << PARTS_BITS) | left.checked_sub(1)? as u64;
            match self.claims.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(len - left),
                Err(now) => word = now,
            }
        }
    }
}
