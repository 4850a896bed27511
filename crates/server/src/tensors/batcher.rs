//! Which waiting requests are run together, and when. Pure: no clock, no lock, no task.
//!
//! ```text
//! absent  => waiting   offer
//! waiting => running   next: Run, with others of equal shapes
//! waiting => absent    leave: its caller is gone, or its time is over
//! running => absent    ended
//! ```
//!
//! At most `slots` runs are out at a time, and who waits meanwhile is joined afterwards. While a slot is free, nobody
//! waits longer than `max_wait` for others.

use super::Batching;
use ballast_runtime::Priority;
use std::cmp::Reverse;
use std::time::Duration;

/// Names a waiting request. Numbers are given in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// What has to be equal for requests to be joined: every input's shape but its first extent, in the order of the names.
pub(super) type Shapes = Vec<Vec<usize>>;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) shapes: Shapes,
    /// Its first extent, from 1 to `max_batch`.
    pub(super) n_items: usize,
    pub(super) priority: Priority,
    /// When it came.
    pub(super) since: Duration,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These are run together; whoever calls says when it has [`Batcher::ended`].
    Run(Vec<Ticket>),
    /// Nothing before this time, unless somebody comes or a run ends.
    WaitUntil(Duration),
    /// Nothing, unless somebody comes or a run ends.
    Idle,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

/// The state.
#[derive(Debug)]
pub(super) struct Batcher {
    batching: Batching,
    /// Runs that may be out at a time.
    slots: usize,
    n_running: usize,
    /// By priority, then in the order of arrival.
    queue: Vec<Waiting>,
}

impl Batcher {
    /// With `slots` runs at a time, at least one.
    pub(super) fn new(batching: Batching, slots: usize) -> Self {
        Self { batching, slots: slots.max(1), n_running: 0, queue: Vec::new() }
    }

    /// Takes a request in.
    pub(super) fn offer(&mut self, waiting: Waiting) -> Result<(), QueueFull> {
        if self.queue.len() >= self.batching.queue_max {
            return Err(QueueFull);
        }
        let rank = |waiting: &Waiting| (Reverse(waiting.priority.level()), waiting.ticket);
        let at = self.queue.partition_point(|other| rank(other) < rank(&waiting));
        self.queue.insert(at, waiting);
        Ok(())
    }

    /// Forgets a request, if it still waits.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.queue.retain(|waiting| waiting.ticket != ticket);
    }

    /// A run is over.
    pub(super) fn ended(&mut self) {
        self.n_running = self.n_running.saturating_sub(1);
    }

    /// Requests that wait.
    pub(super) fn n_waiting(&self) -> usize {
        self.queue.len()
    }

    /// What is to be done at `now`. To be called until it says something other than [`Next::Run`].
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.n_running >= self.slots {
            return Next::Idle;
        }
        let mut seen: Vec<&Shapes> = Vec::new();
        let mut due: Option<Duration> = None;
        let mut run = None;
        for head in &self.queue {
            if seen.contains(&&head.shapes) {
                continue;
            }
            seen.push(&head.shapes);
            match self.gather(&head.shapes, now) {
                Gathered::Run(tickets) => {
                    run = Some(tickets);
                    break;
                }
                Gathered::Until(at) => due = Some(due.map_or(at, |due| due.min(at))),
            }
        }
        let Some(tickets) = run else { return due.map_or(Next::Idle, Next::WaitUntil) };
        self.queue.retain(|waiting| !tickets.contains(&waiting.ticket));
        self.n_running += 1;
        Next::Run(tickets)
    }

    /// The requests of these shapes that are next, if it is time for them.
    fn gather(&self, shapes: &Shapes, now: Duration) -> Gathered {
        let alike = || self.queue.iter().filter(|waiting| waiting.shapes == *shapes);
        if !self.batching.joins {
            return Gathered::Run(alike().take(1).map(|waiting| waiting.ticket).collect());
        }
        let mut tickets = Vec::new();
        let mut n_items = 0;
        // As many tickets, from the first, as make the largest preferred number.
        let mut preferred = None;
        let mut is_full = false;
        for waiting in alike() {
            if n_items + waiting.n_items > self.batching.max_batch {
                is_full = true;
                break;
            }
            n_items += waiting.n_items;
            tickets.push(waiting.ticket);
            if self.batching.preferred.contains(&n_items) {
                preferred = Some(tickets.len());
            }
        }
        let oldest = alike().map(|waiting| waiting.since).min().unwrap_or(now);
        let due = oldest.saturating_add(self.batching.max_wait);
        if is_full || n_items >= self.batching.max_batch || now >= due {
            return Gathered::Run(tickets);
        }
        match preferred {
            Some(n_tickets) => {
                tickets.truncate(n_tickets);
                Gathered::Run(tickets)
            }
            None => Gathered::Until(due),
        }
    }
}

enum Gathered {
    Run(Vec<Ticket>),
    Until(Duration),
}

#[cfg(test)]
mod tests;
