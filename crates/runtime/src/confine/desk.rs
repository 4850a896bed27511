//! Where callers, owner threads and the timer meet: the table of jobs behind its lock, and who sleeps on what.
//!
//! Nobody's code runs under the lock: results, refused work and replies are dropped and told after it is released.

use super::error::ConfineError;
use super::jobs::Jobs;
use super::model::ModelRef;
use super::options::{ConfineOptions, ConfineStats};
use super::parts::{Delivery, Finish, NewJob, Refusal, Ticket, Turn};
use super::slot::{Reply, Slot};
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::work::{Registry, Work};
use ballast_backend::{Clock, Pulse};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How many ticks the timer goes on after its last job: under load nobody has to wake it.
const LINGER_TICKS: u32 = 200;

type BoxedWork<H> = Box<dyn Work<H>>;
type BoxedReply = Arc<dyn Reply>;

/// Shared by clients, leases, owner threads and timer.
pub(super) struct Desk<H> {
    state: Mutex<State<H>>,
    /// One for each lane.
    lanes: Vec<Condvar>,
    timer: Condvar,
    clock: Arc<dyn Clock>,
    tick: Duration,
}

struct State<H> {
    jobs: Jobs<BoxedWork<H>, BoxedReply>,
    timer_sleeps: bool,
    /// Who waits for the end; one for each call of `shutdown`.
    enders: Vec<Arc<Slot<()>>>,
}

impl<H: 'static> Desk<H> {
    pub(super) fn new(options: &ConfineOptions, clock: Arc<dyn Clock>) -> Self {
        let jobs = Jobs::new(options, clock.now());
        Self {
            lanes: (0..jobs.n_lanes()).map(|_| Condvar::new()).collect(),
            state: Mutex::new(State { jobs, timer_sleeps: false, enders: Vec::new() }),
            timer: Condvar::new(),
            clock,
            tick: options.tick,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever has something new to look at, with the lock released.
    fn unlock(&self, mut state: MutexGuard<'_, State<H>>) {
        let wake = state.jobs.take_wake();
        let is_over = state.jobs.is_over();
        let enders = if is_over { mem::take(&mut state.enders) } else { Vec::new() };
        let wakes_timer = is_over || state.timer_sleeps && state.jobs.next_expiry(Duration::ZERO).is_some();
        state.timer_sleeps &= !wakes_timer;
        drop(state);
        for (_, lane) in self.lanes.iter().enumerate().filter(|(idx, _)| wake.has(*idx)) {
            lane.notify_one();
        }
        if wakes_timer {
            self.timer.notify_one();
        }
        for ender in enders {
            ender.settle(());
        }
    }

    /// Takes a job in, or says why not; then the job is dropped here, on the caller's thread.
    pub(super) fn submit(&self, job: NewJob<BoxedWork<H>, BoxedReply>) -> Result<Ticket, ConfineError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let late = state.jobs.expire(now);
        let ticket = match state.jobs.admit(job.task, job.call, now) {
            Ok(lanes) => Ok(state.jobs.push(job, lanes, now)),
            Err(error) => {
                self.unlock(state);
                drop(job);
                tell(late);
                return Err(error);
            }
        };
        self.unlock(state);
        tell(late);
        ticket
    }

    /// The caller has gone.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let mut state = self.lock();
        let unrun = state.jobs.cancel(ticket);
        self.unlock(state);
        drop(unrun);
    }

    pub(super) fn retain(&self, model: ModelRef) -> Result<(), ConfineError> {
        self.lock().jobs.retain(model)
    }

    pub(super) fn release(&self, model: ModelRef) -> Result<(), ConfineError> {
        let mut state = self.lock();
        let released = state.jobs.release(model);
        self.unlock(state);
        released
    }

    pub(super) fn drain(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.jobs.drain(now);
        self.unlock(state);
    }

    pub(super) fn abandon(&self, lanes: impl Iterator<Item = usize>) {
        let mut state = self.lock();
        let told = lanes.flat_map(|lane| state.jobs.abandon(lane)).collect();
        self.unlock(state);
        tell(told);
    }

    /// Filled once every thread has ended or was given up.
    pub(super) fn when_over(&self) -> Arc<Slot<()>> {
        let ender = Arc::new(Slot::new());
        let mut state = self.lock();
        state.enders.push(Arc::clone(&ender));
        self.unlock(state);
        ender
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().jobs.is_over()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().jobs.is_ended()
    }

    pub(super) fn is_lane_ended(&self, lane: usize) -> bool {
        self.lock().jobs.is_lane_ended(lane)
    }

    pub(super) fn pulse(&self, lane: usize) -> Option<Pulse> {
        self.lock().jobs.pulse(lane).cloned()
    }

    pub(super) fn stats(&self) -> ConfineStats {
        let now = self.clock.now();
        self.lock().jobs.stats(now)
    }

    /// The life of an owner thread: takes turns until it is told to end, then drops every handle.
    pub(super) fn serve(&self, lane: usize) {
        /// Says that the thread has ended, after its registry is gone, even if it panics.
        struct Ended<'a, H: 'static>(&'a Desk<H>, usize);
        impl<H: 'static> Drop for Ended<'_, H> {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                let told = state.jobs.ended(self.1);
                self.0.unlock(state);
                tell(told);
            }
        }
        let _ended = Ended(self, lane);
        let mut registry = Registry::new();
        let pulse = self.pulse(lane).unwrap_or_default();
        loop {
            match self.next(lane) {
                Turn::Run(work) => self.run(lane, work, &mut registry, &pulse),
                Turn::Drop(models) => models.into_iter().for_each(|model| registry.remove(model)),
                Turn::Wait => {}
                Turn::End => return,
            }
        }
    }

    /// Sleeps until there is something for `lane` to do.
    fn next(&self, lane: usize) -> Turn<BoxedWork<H>> {
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            let late = state.jobs.expire(now);
            if !late.is_empty() {
                self.unlock(state);
                tell(late);
                state = self.lock();
                continue;
            }
            match state.jobs.next(lane, now) {
                Turn::Wait => state = self.lanes[lane].wait(state).unwrap_or_else(PoisonError::into_inner),
                turn @ (Turn::Run(_) | Turn::Drop(_) | Turn::End) => return turn,
            }
        }
    }

    fn run(&self, lane: usize, mut work: BoxedWork<H>, registry: &mut Registry<H>, pulse: &Pulse) {
        let finish: Finish = work.run(registry, pulse);
        let now = self.clock.now();
        let mut state = self.lock();
        let Delivery { reply, told } = state.jobs.finish(lane, finish, now);
        self.unlock(state);
        match reply {
            Some(_) => work.deliver(),
            None => work.discard(registry),
        }
        tell(told);
    }

    /// Tells callers whose deadline has passed.
    pub(super) fn expire(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let late = state.jobs.expire(now);
        self.unlock(state);
        tell(late);
    }

    /// The life of the timer: looks at the clock while there is anything to tell, even if every owner thread is stuck.
    pub(super) fn keep_time(&self) {
        let mut n_idle_ticks = 0;
        loop {
            self.expire();
            let mut state = self.lock();
            if state.jobs.is_over() {
                return;
            }
            let now = self.clock.now();
            let expiry = state.jobs.next_expiry(now);
            n_idle_ticks = if expiry.is_some() { 0 } else { n_idle_ticks + 1 };
            if n_idle_ticks > LINGER_TICKS {
                state.timer_sleeps = true;
                drop(self.timer.wait(state));
            } else {
                // No longer than a tick, whatever the deadline: the clock need not be the system's.
                let wait = expiry.map_or(self.tick, |at| at.saturating_sub(now).min(self.tick));
                drop(self.timer.wait_timeout(state, wait));
            }
        }
    }
}

/// Tells callers that there will be no result, and drops the work that will not run.
fn tell<W>(told: Vec<Refusal<W, BoxedReply>>) {
    for Refusal { reply, error, work } in told {
        reply.refuse(error);
        drop(work);
    }
}
