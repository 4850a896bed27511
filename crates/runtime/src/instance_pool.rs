//! Several instances of one model, lent one call at a time.
//!
//! Up to [`PoolOptions::n_instances`] instances, each opened by the first caller who needs it, each on its own owner
//! thread. A [`Permit`] is the right to use one; it returns by being dropped, in a panic and in a cancelled future too,
//! and cannot be returned twice. Whoever finds none free waits in the order of ranks and coming, for a bounded time,
//! among a bounded number.
//!
//! An instance that is lost is replaced, but not before its thread has really ended: until then its permit counts as
//! out, so that stuck threads cannot pile up.

mod options;
#[cfg(test)]
mod played;
mod seats;

pub use options::{AcquireError, PoolError, PoolOptions, PoolStats};
#[cfg(test)]
pub(crate) use played::Timer;

use crate::confine::{Call, ModelClient, Slot};
use ballast_backend::Clock;
use seats::{Asked, Grant, SeatId, Seats, Ticket};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What a pool must know of an instance: whether it can still be used, and whether it is really gone.
pub trait PooledInstance: Send + Sync + 'static {
    /// Gives it up; whoever waits for it is told.
    fn abandon(&self);
    /// Whether nothing will be answered any more.
    fn is_lost(&self) -> bool;
    /// Whether its thread has ended.
    fn is_ended(&self) -> bool;
}

impl<H> PooledInstance for ModelClient<H> {
    fn abandon(&self) {
        Self::abandon(self);
    }

    fn is_lost(&self) -> bool {
        self.is_over()
    }

    fn is_ended(&self) -> bool {
        Self::is_ended(self)
    }
}

/// A pool of instances. Clones share it. Its instances are dropped with the last clone and the last permit.
pub struct InstancePool<I: PooledInstance>(Arc<Handle<I>>);

struct Handle<I: PooledInstance> {
    shared: Arc<Shared<I>>,
    timer: Option<JoinHandle<()>>,
}

struct Shared<I: PooledInstance> {
    state: Mutex<State<I>>,
    timer: Condvar,
    clock: Arc<dyn Clock>,
    tick: Duration,
}

struct State<I: PooledInstance> {
    seats: Seats,
    instances: Vec<Option<Arc<I>>>,
    waiters: BTreeMap<Ticket, Arc<Answer<I>>>,
    timer_sleeps: bool,
    is_closed: bool,
}

type Outcome<I> = Result<Granted<I>, PoolError>;
type Answer<I> = Slot<Outcome<I>>;

/// What is to be told and dropped once the lock is released.
struct News<I: PooledInstance> {
    told: Vec<(Arc<Answer<I>>, Outcome<I>)>,
    gone: Vec<Arc<I>>,
}

impl<I: PooledInstance> Clone for InstancePool<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: PooledInstance> fmt::Debug for InstancePool<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InstancePool").field(&self.stats()).finish()
    }
}

impl<I: PooledInstance> InstancePool<I> {
    /// A pool without instances.
    ///
    /// # Errors
    /// [`PoolError::ThreadRefused`] if the system refuses the thread that watches the time.
    pub fn new(options: PoolOptions, clock: Arc<dyn Clock>) -> Result<Self, PoolError> {
        let shared = Arc::new(Shared::new(options, clock));
        let at = Arc::clone(&shared);
        let timer = Builder::new().name("ballast-pool".to_owned()).spawn(move || at.keep_time());
        let timer = timer.map_err(|error| {
            tracing::error!(%error, "the system refused a pool its thread");
            PoolError::ThreadRefused
        })?;
        Ok(Self(Arc::new(Handle { shared, timer: Some(timer) })))
    }

    /// Waits for a permit; if its seat has no instance, opens one with `open`. Dropping the future gives everything back.
    ///
    /// # Errors
    /// Why there is no permit, or what `open` says.
    pub async fn acquire<E, O>(&self, call: impl Into<Call>, open: O) -> Result<Permit<I>, AcquireError<E>>
    where
        O: AsyncFnOnce() -> Result<I, E>,
    {
        let granted = match self.0.shared.ask(call.into())? {
            Ask::Granted(granted) => granted,
            Ask::Wait(wait) => wait.answer.recv().await.unwrap_or(Err(PoolError::Deadline))?,
        };
        let opened = if granted.opens { Some(open().await.map_err(AcquireError::Open)?) } else { None };
        Ok(granted.permit(opened))
    }

    /// [`InstancePool::acquire`], waiting on this thread, which must not be one that runs async code.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_blocking<E, O>(&self, call: impl Into<Call>, open: O) -> Result<Permit<I>, AcquireError<E>>
    where
        O: FnOnce() -> Result<I, E>,
    {
        let granted = match self.0.shared.ask(call.into())? {
            Ask::Granted(granted) => granted,
            Ask::Wait(wait) => wait.answer.wait().unwrap_or(Err(PoolError::Deadline))?,
        };
        let opened = if granted.opens { Some(open().map_err(AcquireError::Open)?) } else { None };
        Ok(granted.permit(opened))
    }

    /// What the pool did and holds.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.0.shared.lock().seats.stats()
    }

    /// [`InstancePool::stats`] as one line.
    #[must_use]
    pub fn summary(&self) -> String {
        self.stats().to_string()
    }
}

impl<I: PooledInstance> Drop for Handle<I> {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.timer.notify_one();
        if self.timer.take().is_some_and(|timer| timer.join().is_err()) {
            tracing::error!("a pool's timer panicked");
        }
    }
}

enum Ask<I: PooledInstance> {
    Granted(Granted<I>),
    Wait(Wait<I>),
}

/// A caller that waits; dropping it takes it out of the line. A permit that came meanwhile is in the answer and returns
/// with it.
struct Wait<I: PooledInstance> {
    shared: Arc<Shared<I>>,
    ticket: Ticket,
    answer: Arc<Answer<I>>,
}

impl<I: PooledInstance> Drop for Wait<I> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.seats.cancel(self.ticket);
        let answer = state.waiters.remove(&self.ticket);
        drop(state);
        drop(answer);
    }
}

/// A seat's permit. Returns by being dropped.
struct Granted<I: PooledInstance> {
    shared: Arc<Shared<I>>,
    seat: SeatId,
    /// The seat has no instance yet: the holder opens it.
    opens: bool,
    instance: Option<Arc<I>>,
}

impl<I: PooledInstance> Granted<I> {
    /// The permit over the seat's instance, which is `opened` if the seat had none.
    fn permit(mut self, opened: Option<I>) -> Permit<I> {
        if let Some(opened) = opened.map(Arc::new) {
            self.shared.update(|state| {
                state.seats.opened(self.seat);
                state.instances[self.seat.idx] = Some(Arc::clone(&opened));
            });
            self.instance = Some(opened);
        }
        Permit(self)
    }
}

impl<I: PooledInstance> Drop for Granted<I> {
    fn drop(&mut self) {
        self.shared.update(
            |state| {
                if state.seats.release(self.seat) { state.instances[self.seat.idx].take() } else { None }
            },
        );
    }
}

/// The right to use an instance, which it dereferences to. Returns by being dropped.
#[must_use = "dropping a permit returns it"]
pub struct Permit<I: PooledInstance>(Granted<I>);

impl<I: PooledInstance> Permit<I> {
    /// Counts one call.
    pub fn record_inference(&self) {
        self.0.shared.lock().seats.record_inference();
    }

    /// Which seat of the pool it is.
    #[must_use]
    pub fn seat_idx(&self) -> usize {
        self.0.seat.idx
    }

    /// Gives the instance up and returns the permit, which counts as out until the instance's thread has ended.
    pub fn lose(self) {
        self.abandon();
        self.0.shared.update(|state| state.seats.lose(self.0.seat));
    }
}

impl<I: PooledInstance> Deref for Permit<I> {
    type Target = I;

    fn deref(&self) -> &I {
        self.0.instance.as_deref().expect("a permit is made over an instance")
    }
}

impl<I: PooledInstance> fmt::Debug for Permit<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.0.seat).finish()
    }
}

impl<I: PooledInstance> Shared<I> {
    fn new(options: PoolOptions, clock: Arc<dyn Clock>) -> Self {
        let seats = Seats::new(options);
        let state = State {
            instances: (0..seats.len()).map(|_| None).collect(),
            seats,
            waiters: BTreeMap::new(),
            timer_sleeps: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), timer: Condvar::new(), clock, tick: options.tick }
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then hands out what became free. What `change` gives back is dropped outside of the lock.
    fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut State<I>) -> T) {
        let mut state = self.lock();
        let changed = change(&mut state);
        let news = self.settle(&mut state);
        self.unlock(state);
        drop(changed);
        news.tell();
    }

    fn unlock(&self, mut state: MutexGuard<'_, State<I>>) {
        let wakes = state.timer_sleeps && state.seats.needs_time();
        state.timer_sleeps &= !wakes;
        drop(state);
        if wakes {
            self.timer.notify_one();
        }
    }

    /// Notices lost and ended instances, ends waits that took too long, and serves who waits.
    fn settle(self: &Arc<Self>, state: &mut State<I>) -> News<I> {
        let now = self.clock.now();
        let State { seats, instances, waiters, .. } = state;
        let mut news = News { told: Vec::new(), gone: Vec::new() };
        for (idx, place) in instances.iter_mut().enumerate() {
            let Some(instance) = place else { continue };
            if let Some(seat) = seats.live(idx).filter(|_| instance.is_lost()) {
                seats.lose(seat);
            }
            if seats.is_dying(idx) && instance.is_ended() && seats.ended(idx) {
                news.gone.extend(place.take());
            }
        }
        for (ticket, error) in seats.expire(now) {
            news.told.extend(waiters.remove(&ticket).map(|answer| (answer, Err(error))));
        }
        for (ticket, grant) in seats.serve(now) {
            let granted = self.granted(grant, instances);
            let answer = waiters.remove(&ticket).expect("a waiter is in both tables or in none");
            news.told.push((answer, Ok(granted)));
        }
        news
    }

    fn granted(self: &Arc<Self>, grant: Grant, instances: &[Option<Arc<I>>]) -> Granted<I> {
        let instance = if grant.opens { None } else { instances[grant.seat.idx].clone() };
        Granted { shared: Arc::clone(self), seat: grant.seat, opens: grant.opens, instance }
    }

    fn ask(self: &Arc<Self>, call: Call) -> Result<Ask<I>, PoolError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let news = self.settle(&mut state);
        let asked = state.seats.acquire(call, now).map(|asked| match asked {
            Asked::Granted(grant) => Ask::Granted(self.granted(grant, &state.instances)),
            Asked::Wait(ticket) => {
                let answer = Arc::new(Slot::new());
                state.waiters.insert(ticket, Arc::clone(&answer));
                Ask::Wait(Wait { shared: Arc::clone(self), ticket, answer })
            }
        });
        self.unlock(state);
        news.tell();
        asked
    }

    /// The life of the timer: looks at the clock and at dying instances while there is anything to wait for.
    fn keep_time(self: &Arc<Self>) {
        loop {
            self.update(|_| ());
            let mut state = self.lock();
            if state.is_closed {
                return;
            }
            if state.seats.needs_time() {
                drop(self.timer.wait_timeout(state, self.tick));
            } else {
                state.timer_sleeps = true;
                drop(self.timer.wait(state));
            }
        }
    }
}

impl<I: PooledInstance> News<I> {
    fn tell(self) {
        for (answer, outcome) in self.told {
            answer.settle(outcome);
        }
    }
}
