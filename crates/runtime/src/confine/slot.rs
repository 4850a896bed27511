//! Where a job's outcome waits for its caller: written once, read once, from async code or from a thread.
//!
//! A channel of a library would do, but not under a model checker: every wait goes through the locks of `sync.rs`.

use super::error::ConfineError;
use super::sync::{Condvar, Mutex, PoisonError};
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// One outcome.
// Empty => Full, Full => Taken. The first outcome stands, later ones are dropped.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    full: Condvar,
}

enum State<T> {
    Empty(Waiter),
    Full(T),
    Taken,
}

/// Who is to be woken.
enum Waiter {
    Nobody,
    Task(Waker),
    Thread,
}

/// Where the outcome of a job goes.
pub(super) type Answer<R> = Arc<Slot<Result<R, ConfineError>>>;

/// What can be told to a caller whatever result it waits for.
pub(super) trait Reply: Send + Sync {
    fn refuse(&self, error: ConfineError);
}

impl<R: Send> Reply for Slot<Result<R, ConfineError>> {
    fn refuse(&self, error: ConfineError) {
        self.settle(Err(error));
    }
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Empty(Waiter::Nobody)), full: Condvar::new() }
    }

    /// Writes the outcome and wakes the caller.
    pub(crate) fn settle(&self, outcome: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Empty(waiter) = &mut *state else {
            // Released before the outcome is dropped, which may run anyone's code.
            drop(state);
            return;
        };
        let waiter = mem::replace(waiter, Waiter::Nobody);
        *state = State::Full(outcome);
        drop(state);
        match waiter {
            Waiter::Nobody => {}
            Waiter::Task(waker) => waker.wake(),
            Waiter::Thread => self.full.notify_all(),
        }
    }

    /// Waits on this thread. `None` if the outcome was taken before.
    pub(crate) fn wait(&self) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let State::Empty(waiter) = &mut *state {
            *waiter = Waiter::Thread;
            state = self.full.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        take(&mut state)
    }

    /// Waits in async code. `None` if the outcome was taken before.
    pub(crate) async fn recv(&self) -> Option<T> {
        poll_fn(|context| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let State::Empty(waiter) = &mut *state {
                match waiter {
                    Waiter::Task(waker) => waker.clone_from(context.waker()),
                    Waiter::Nobody | Waiter::Thread => *waiter = Waiter::Task(context.waker().clone()),
                }
                return Poll::Pending;
            }
            Poll::Ready(take(&mut state))
        })
        .await
    }
}

fn take<T>(state: &mut State<T>) -> Option<T> {
    match mem::replace(state, State::Taken) {
        State::Full(outcome) => Some(outcome),
        State::Empty(_) | State::Taken => None,
    }
}
