//! Who sits where and who waits: pure, no lock, no thread, no clock.
//!
//! Every seat has as many permits as calls may share its instance. At any time the permits that are out, those that are
//! free and those that are dying with their instance are all there are.

use super::{PoolError, PoolOptions, PoolStats};
use crate::confine::{Call, Rank};
use std::collections::BTreeMap;
use std::time::Duration;

/// Weight of the newest wait in the mean.
const EMA_NEW: f64 = 0.1;

/// A seat and which of its instances, so that news of an earlier one is not taken for the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeatId {
    pub(super) idx: usize,
    pub(super) generation: u64,
}

/// A waiter's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    rank: Rank,
    number: u64,
}

/// A permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) seat: SeatId,
    /// The seat has no instance yet: the holder opens it.
    pub(super) opens: bool,
}

/// The answer to who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Granted(Grant),
    Wait(Ticket),
}

// Vacant => Opening, Opening => (Live | Vacant | Dying), Live => Dying, Dying => Vacant
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Vacant,
    Opening,
    Live,
    /// Given up; `ended` once its thread really has. Vacant when the last permit has come back too.
    Dying {
        ended: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    life: Life,
    generation: u64,
    n_out: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    since: Duration,
    deadline: Duration,
    /// The caller's own deadline, not the pool's patience, is what ends the wait.
    is_callers: bool,
}

/// The permits of a pool.
#[derive(Debug)]
pub(super) struct Seats {
    options: PoolOptions,
    seats: Vec<Seat>,
    waiting: BTreeMap<Ticket, Waiter>,
    stats: PoolStats,
}

impl Seats {
    pub(super) fn new(options: PoolOptions) -> Self {
        let n_instances = options.n_instances.max(1);
        let options = PoolOptions { n_instances, concurrency: options.concurrency.max(1), ..options };
        let vacant = Seat { life: Life::Vacant, generation: 0, n_out: 0 };
        Self { options, seats: vec![vacant; n_instances], waiting: BTreeMap::new(), stats: PoolStats::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Asks for a permit. Whoever waits got none because there is none: nobody overtakes.
    pub(super) fn acquire(&mut self, call: Call, now: Duration) -> Result<Asked, PoolError> {
        let PoolOptions { waiters_max, acquire_timeout, .. } = self.options;
        self.stats.acquires += 1;
        if call.deadline <= now {
            self.stats.timed_out += 1;
            return Err(PoolError::Deadline);
        }
        if let Some(grant) = self.grant() {
            self.note_wait(Duration::ZERO);
            return Ok(Asked::Granted(grant));
        }
        if self.waiting.len() >= waiters_max {
            self.stats.failed += 1;
            return Err(PoolError::Exhausted { waiters_max });
        }
        let patience_ends = now.saturating_add(acquire_timeout);
        let ticket = Ticket { rank: call.rank, number: self.stats.acquires };
        let is_callers = call.deadline < patience_ends;
        let waiter = Waiter { since: now, deadline: call.deadline.min(patience_ends), is_callers };
        self.waiting.insert(ticket, waiter);
        Ok(Asked::Wait(ticket))
    }

    /// A permit of the best seat: an idle instance, else a seat without one, else the least used instance.
    fn grant(&mut self) -> Option<Grant> {
        let concurrency = self.options.concurrency;
        let cost = |seat: &Seat| match seat.life {
            Life::Live if seat.n_out == 0 => Some(0),
            Life::Vacant => Some(1),
            Life::Live if seat.n_out < concurrency => Some(1 + seat.n_out),
            Life::Live | Life::Opening | Life::Dying { .. } => None,
        };
        let seats = self.seats.iter().enumerate();
        let (_, idx) = seats.filter_map(|(idx, seat)| Some((cost(seat)?, idx))).min()?;
        let seat = &mut self.seats[idx];
        let opens = seat.life == Life::Vacant;
        if opens {
            seat.life = Life::Opening;
            seat.generation += 1;
        }
        seat.n_out += 1;
        Some(Grant { seat: SeatId { idx, generation: seat.generation }, opens })
    }

    fn note_wait(&mut self, waited: Duration) {
        let stats = &mut self.stats;
        let mean = stats.wait_mean.map(|mean| mean.mul_f64(1.0 - EMA_NEW) + waited.mul_f64(EMA_NEW));
        stats.wait_mean = Some(mean.unwrap_or(waited));
        stats.wait_max = stats.wait_max.max(waited);
        stats.successful += 1;
    }

    /// Hands what is free to those who wait, first come first served within a rank.
    pub(super) fn serve(&mut self, now: Duration) -> Vec<(Ticket, Grant)> {
        let mut served = Vec::new();
        while let Some((&ticket, &waiter)) = self.waiting.first_key_value()
            && let Some(grant) = self.grant()
        {
            self.waiting.remove(&ticket);
            self.note_wait(now.saturating_sub(waiter.since));
            served.push((ticket, grant));
        }
        served
    }

    /// The waiter has gone. `false`: it was served or told before.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> bool {
        let found = self.waiting.remove(&ticket).is_some();
        self.stats.cancelled += u64::from(found);
        found
    }

    /// Ends the waits that took too long.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<(Ticket, PoolError)> {
        let late = self.waiting.extract_if(.., |_, waiter| waiter.deadline <= now);
        let told = late.map(|(ticket, waiter)| {
            let waited = now.saturating_sub(waiter.since);
            (ticket, if waiter.is_callers { PoolError::Deadline } else { PoolError::TimedOut { waited } })
        });
        let told: Vec<_> = told.collect();
        self.stats.timed_out += told.len() as u64;
        told
    }

    /// The holder of an opening permit has opened the instance.
    pub(super) fn opened(&mut self, id: SeatId) {
        let seat = &mut self.seats[id.idx];
        if seat.life == Life::Opening {
            seat.life = Life::Live;
        }
    }

    /// A permit comes back. `true`: the seat has no instance any more.
    pub(super) fn release(&mut self, id: SeatId) -> bool {
        let seat = &mut self.seats[id.idx];
        assert!(seat.n_out > 0, "a permit is returned once, by its type");
        seat.n_out -= 1;
        if seat.life == Life::Opening {
            self.stats.open_failures += 1;
            seat.life = Life::Vacant;
        }
        Self::vacate(seat)
    }

    /// The instance is given up. `false`: it is another one already, or was given up before.
    pub(super) fn lose(&mut self, id: SeatId) -> bool {
        let seat = &mut self.seats[id.idx];
        let is_new = seat.generation == id.generation && seat.life == Life::Live;
        if is_new {
            seat.life = Life::Dying { ended: false };
            self.stats.lost_instances += 1;
        }
        is_new
    }

    /// The thread of a lost instance has ended. `true`: the seat has no instance any more.
    pub(super) fn ended(&mut self, idx: usize) -> bool {
        let seat = &mut self.seats[idx];
        if let Life::Dying { ended } = &mut seat.life {
            *ended = true;
        }
        Self::vacate(seat)
    }

    fn vacate(seat: &mut Seat) -> bool {
        let vacates = seat.n_out == 0 && seat.life == (Life::Dying { ended: true });
        if vacates {
            seat.life = Life::Vacant;
        }
        vacates
    }

    /// The instance of a seat, as far as it may be looked at.
    pub(super) fn live(&self, idx: usize) -> Option<SeatId> {
        let seat = &self.seats[idx];
        (seat.life == Life::Live).then_some(SeatId { idx, generation: seat.generation })
    }

    pub(super) fn is_dying(&self, idx: usize) -> bool {
        self.seats[idx].life == Life::Dying { ended: false }
    }

    /// Whether time alone may change something.
    pub(super) fn needs_time(&self) -> bool {
        !self.waiting.is_empty() || (0..self.seats.len()).any(|idx| self.is_dying(idx))
    }

    pub(super) fn record_inference(&mut self) {
        self.stats.inferences += 1;
    }

    pub(super) fn stats(&self) -> PoolStats {
        let count = |wanted: fn(&Seat) -> bool| self.seats.iter().filter(|seat| wanted(seat)).count();
        let concurrency = self.options.concurrency;
        let dying = |seat: &Seat| matches!(seat.life, Life::Dying { .. });
        PoolStats {
            permits: self.seats.len() * concurrency,
            active: self.seats.iter().map(|seat| seat.n_out).sum(),
            dying: self.seats.iter().filter(|seat| dying(seat)).map(|seat| concurrency - seat.n_out).sum(),
            free: self.seats.iter().filter(|seat| !dying(seat)).map(|seat| concurrency - seat.n_out).sum(),
            instances: count(|seat| seat.life == Life::Live),
            idle: count(|seat| seat.life == Life::Live && seat.n_out == 0),
            waiting: self.waiting.len(),
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests;
