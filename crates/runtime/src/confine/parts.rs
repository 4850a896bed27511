//! What the table of jobs is made of: jobs, lanes, models, and what is said about them.

use super::error::ConfineError;
use super::model::ModelRef;
use super::options::Call;
use ballast_backend::Pulse;
use std::time::Duration;

/// A set of lanes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes(u64);

impl Lanes {
    pub(super) fn one(lane: usize) -> Self {
        Self(1 << lane)
    }

    pub(super) fn has(self, lane: usize) -> bool {
        self.0 >> lane & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Use the model.
    With(ModelRef),
    /// Open the model, on any lane.
    Load(ModelRef),
    /// Open a further copy of the model, on a lane that has none.
    Copy(ModelRef),
}

/// A job's place in the queue, and its name ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    /// When a job of rank 0 would have come to have the same place, in nanoseconds. As all age alike, who is before whom
    /// never changes.
    pub(super) turn_nanos: u128,
    pub(super) number: u64,
}

/// A job before it is taken in.
pub(super) struct NewJob<W, R> {
    pub(super) task: Task,
    pub(super) call: Call,
    pub(super) work: W,
    pub(super) reply: R,
}

/// Somebody to be told that there will be no result, and work that will not run. Both are dropped and told outside of
/// the lock, because they run other people's code.
pub(super) struct Refusal<W, R> {
    pub(super) reply: R,
    pub(super) error: ConfineError,
    pub(super) work: Option<W>,
}

/// What a lane does next.
pub(super) enum Turn<W> {
    /// Runs this, then says [`super::jobs::Jobs::finish`].
    Run(W),
    /// Drops the handles of these models.
    Drop(Vec<ModelRef>),
    /// Sleeps until it is woken.
    Wait,
    /// Drops everything and ends, then says [`super::jobs::Jobs::ended`].
    End,
}

/// How a job left its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// With a result.
    Done,
    /// The model did not open, or its handle was not there.
    Failed,
    /// It panicked, and its handle was dropped.
    Poisoned,
}

/// What follows from a job that left its lane.
pub(super) struct Delivery<W, R> {
    /// Who gets the result; `None`: nobody waits for it any more.
    pub(super) reply: Option<R>,
    pub(super) told: Vec<Refusal<W, R>>,
}

// job: Queued => (Running | Cancelled | TimedOut | Stopped | Abandoned | Failed)
//      Running => (Done | Failed | Cancelled | TimedOut | Stopped | Abandoned)
// The caller is told at the first state after Running; the lane is free when the work returns.
pub(super) struct Job<W, R> {
    pub(super) task: Task,
    /// The lane chosen to open a model. Whoever uses one goes where the model is at the time.
    pub(super) opens_on: Lanes,
    pub(super) deadline: Duration,
    pub(super) queued_at: Duration,
    pub(super) work: W,
    pub(super) reply: R,
}

pub(super) struct Running<R> {
    pub(super) ticket: Ticket,
    pub(super) task: Task,
    pub(super) deadline: Duration,
    pub(super) started_at: Duration,
    /// `None`: the caller was told, or has gone.
    pub(super) reply: Option<R>,
}

/// Life of a lane.
// Live => (Abandoned | Ended), Abandoned => Ended
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Live,
    Abandoned,
    Ended,
}

pub(super) struct Lane<R> {
    pub(super) life: Life,
    /// Sleeps, and was not woken yet.
    pub(super) idle: bool,
    pub(super) running: Option<Running<R>>,
    pub(super) drops: Vec<ModelRef>,
    pub(super) pulse: Pulse,
}

/// A model that is leased, or whose jobs are still to run.
#[derive(Clone, Copy)]
pub(super) struct Model {
    pub(super) lanes: Lanes,
    pub(super) n_leases: usize,
    pub(super) n_jobs: usize,
}
