//! The bounds of a client's threads, what is asked of one call, and what a client counts.

use std::time::Duration;

/// Most owner threads of one client: their sets are kept as bits of one word.
pub const THREADS_MAX: usize = 64;

/// Bounds of a [`crate::confine::ModelClient`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfineOptions {
    /// Name of the threads.
    pub name: String,
    /// Owner threads, 1 to [`THREADS_MAX`]; what is outside is brought inside.
    pub n_threads: usize,
    /// Most jobs that wait, at least 1; one more is refused with `BACKPRESSURE_QUEUE_FULL`.
    pub queue_max: usize,
    /// Waiting that is worth one rank; zero: the order of coming alone counts. As long as for requests by default.
    pub age_step: Duration,
    /// Most models loaded at the same time.
    pub models_max: usize,
    /// How long queued jobs are still run after [`crate::confine::ModelClient::shutdown`].
    pub drain_deadline: Duration,
    /// How long after that a running job may take to return, before its thread is given up.
    pub drain_grace: Duration,
    /// How late, in system time, a caller may learn that its deadline has passed.
    pub tick: Duration,
}

impl Default for ConfineOptions {
    fn default() -> Self {
        Self {
            name: "ballast-owner".to_owned(),
            n_threads: 1,
            queue_max: 64,
            age_step: Duration::from_secs(10),
            models_max: 64,
            drain_deadline: Duration::from_secs(5),
            drain_grace: Duration::from_secs(1),
            tick: Duration::from_millis(5),
        }
    }
}

/// Place of a job in the queue: lower goes first, equals in the order of their coming. A job that waits gains a rank for
/// every [`ConfineOptions::age_step`], so that nobody waits for ever. In a pool of instances, where waiting is bounded,
/// ranks do not age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u8);

impl Default for Rank {
    fn default() -> Self {
        Self(128)
    }
}

/// What is asked of one job. A bare deadline converts into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When the caller stops waiting, in time of the client's clock; [`Duration::MAX`]: never.
    pub deadline: Duration,
    /// Place in the queue.
    pub rank: Rank,
}

impl From<Duration> for Call {
    fn from(deadline: Duration) -> Self {
        Self { deadline, rank: Rank::default() }
    }
}

/// What a client's threads did and do. Every job that was taken in is counted once when its caller is told or gone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConfineStats {
    /// Jobs that wait.
    pub n_queued: usize,
    /// Jobs on a thread, those whose callers have gone too.
    pub n_running: usize,
    /// When the oldest job on a thread began.
    pub running_since: Option<Duration>,
    /// Models that are leased.
    pub n_models: usize,
    /// Jobs taken in.
    pub submitted: u64,
    /// Jobs not taken in: queue or models at their bound.
    pub refused: u64,
    /// Jobs that gave their result to their caller.
    pub done: u64,
    /// Jobs that panicked, lost their model or did not open it.
    pub failed: u64,
    /// Jobs whose callers went away.
    pub cancelled: u64,
    /// Jobs whose deadline passed.
    pub timed_out: u64,
    /// Jobs that ended because their threads drained.
    pub stopped: u64,
    /// Jobs that ended because their thread was given up.
    pub abandoned: u64,
    /// Threads that were given up.
    pub threads_lost: usize,
    /// Time that jobs spent in the queue before they ran, together.
    pub wait_total: Duration,
    /// Longest of them.
    pub wait_max: Duration,
    /// Time that jobs spent on their threads, together.
    pub run_total: Duration,
    /// Share of the threads' time spent in jobs, 0 to 1; `None` at the very start.
    pub busy_share: Option<f64>,
}
