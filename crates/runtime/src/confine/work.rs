//! What an owner thread holds and what it is asked to do with it.

use super::error::ConfineError;
use super::model::ModelRef;
use super::parts::Finish;
use super::slot::Answer;
use ballast_backend::Pulse;
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The only handles to the models of one owner thread. Never leaves it.
pub(super) struct Registry<H>(HashMap<ModelRef, H>);

impl<H> Registry<H> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Drops the handle of `model`. A panic of its drop ends here.
    pub(super) fn remove(&mut self, model: ModelRef) {
        if let Some(handle) = self.0.remove(&model) {
            caught(|| drop(handle));
        }
    }
}

impl<H> Drop for Registry<H> {
    fn drop(&mut self) {
        for (_, handle) in self.0.drain() {
            caught(|| drop(handle));
        }
    }
}

/// Runs other people's code; `None` if it panics.
fn caught<R>(run: impl FnOnce() -> R) -> Option<R> {
    let dropped = |payload: Box<dyn Any + Send>| catch_unwind(AssertUnwindSafe(|| drop(payload)));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(payload) => {
            tracing::error!("a job or a model's drop panicked on its owner thread");
            if dropped(payload).is_err() {
                tracing::error!("the payload of a panic panicked");
            }
            None
        }
    }
}

/// A job as its owner thread sees it. Exactly one of the last two follows `run`.
pub(super) trait Work<H>: Send {
    /// Does it and keeps the result.
    fn run(&mut self, registry: &mut Registry<H>, pulse: &Pulse) -> Finish;
    /// Hands the result to the caller.
    fn deliver(self: Box<Self>);
    /// Undoes it: the caller has gone.
    fn discard(self: Box<Self>, registry: &mut Registry<H>);
}

/// Lends a handle to a closure.
pub(super) struct Lend<F, R> {
    pub(super) model: ModelRef,
    pub(super) run: Option<F>,
    pub(super) outcome: Result<R, ConfineError>,
    pub(super) slot: Answer<R>,
}

impl<F, R> Lend<F, R> {
    pub(super) fn new(model: ModelRef, run: F, slot: Answer<R>) -> Self {
        Self { model, run: Some(run), outcome: Err(ConfineError::Panicked), slot }
    }
}

impl<H, F, R> Work<H> for Lend<F, R>
where
    F: FnOnce(&mut H, &Pulse) -> R + Send,
    R: Send,
{
    fn run(&mut self, registry: &mut Registry<H>, pulse: &Pulse) -> Finish {
        let Some(handle) = registry.0.get_mut(&self.model) else {
            self.outcome = Err(ConfineError::ModelLost { model: self.model });
            return Finish::Failed;
        };
        let Some(run) = self.run.take() else { return Finish::Failed };
        match caught(|| run(handle, pulse)) {
            Some(result) => {
                self.outcome = Ok(result);
                Finish::Done
            }
            None => {
                registry.remove(self.model);
                Finish::Poisoned
            }
        }
    }

    fn deliver(self: Box<Self>) {
        self.slot.settle(self.outcome);
    }

    fn discard(self: Box<Self>, _registry: &mut Registry<H>) {
        caught(|| drop(self));
    }
}

/// Opens a model and keeps the handle.
pub(super) struct Open<F, E, L> {
    pub(super) model: ModelRef,
    pub(super) run: Option<F>,
    pub(super) failure: Result<(), OpenFailure<E>>,
    /// What the caller gets: a lease.
    pub(super) lease: L,
    pub(super) slot: Answer<Result<L, E>>,
}

/// Why there is no handle.
pub(super) enum OpenFailure<E> {
    Refused(E),
    Panicked,
}

impl<F, E, L> Open<F, E, L> {
    pub(super) fn new(model: ModelRef, run: F, lease: L, slot: Answer<Result<L, E>>) -> Self {
        Self { model, run: Some(run), failure: Err(OpenFailure::Panicked), lease, slot }
    }
}

impl<H, F, E, L> Work<H> for Open<F, E, L>
where
    F: FnOnce(&Pulse) -> Result<H, E> + Send,
    E: Send,
    L: Send,
{
    fn run(&mut self, registry: &mut Registry<H>, pulse: &Pulse) -> Finish {
        let Some(run) = self.run.take() else { return Finish::Failed };
        match caught(|| run(pulse)) {
            Some(Ok(handle)) => {
                registry.0.insert(self.model, handle);
                self.failure = Ok(());
                Finish::Done
            }
            Some(Err(error)) => {
                self.failure = Err(OpenFailure::Refused(error));
                Finish::Failed
            }
            None => Finish::Poisoned,
        }
    }

    fn deliver(self: Box<Self>) {
        let Self { failure, lease, slot, .. } = *self;
        slot.settle(match failure {
            Ok(()) => Ok(Ok(lease)),
            Err(OpenFailure::Refused(error)) => Ok(Err(error)),
            Err(OpenFailure::Panicked) => Err(ConfineError::Panicked),
        });
    }

    fn discard(self: Box<Self>, registry: &mut Registry<H>) {
        if self.failure.is_ok() {
            registry.remove(self.model);
        }
        caught(|| drop(self));
    }
}
