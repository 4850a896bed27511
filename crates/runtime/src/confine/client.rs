//! What callers hold: the client, leases on models, and jobs that are pending.

use super::desk::Desk;
use super::error::{ConfineError, LoadError};
use super::model::ModelRef;
use super::options::{Call, ConfineOptions, ConfineStats, THREADS_MAX};
use super::parts::{NewJob, Task, Ticket};
use super::slot::{Answer, Slot};
use super::work::{Lend, Open};
use ballast_backend::{Clock, Pulse};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, ThreadId};

/// The way to models that live on their owner threads. Clones share the threads; when the last one is dropped the
/// threads drain and are joined, as [`ModelClient::shutdown_blocking`] does; in async code call
/// [`ModelClient::shutdown`] before that, which does not block.
///
/// `H` is what a model's handle is; it need be neither `Send` nor `Sync`.
pub struct ModelClient<H: 'static>(Arc<Inner<H>>);

struct Inner<H: 'static> {
    desk: Arc<Desk<H>>,
    n_owners: usize,
    /// Owners and timer: what may not wait for them.
    ours: Vec<ThreadId>,
    /// Every thread, the timer last; empty once they were joined.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<H> Clone for ModelClient<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> fmt::Debug for ModelClient<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelClient").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<H> ModelClient<H> {
    /// Starts the owner threads and their timer.
    ///
    /// # Errors
    /// [`ConfineError::ThreadRefused`] if the system refuses a thread.
    pub fn start(options: &ConfineOptions, clock: Arc<dyn Clock>) -> Result<Self, ConfineError> {
        let desk = Arc::new(Desk::new(options, clock));
        let n_owners = options.n_threads.clamp(1, THREADS_MAX);
        let mut threads = Vec::with_capacity(n_owners + 1);
        for lane in 0..=n_owners {
            let at = Arc::clone(&desk);
            let run = move || if lane < n_owners { at.serve(lane) } else { at.keep_time() };
            match Builder::new().name(options.name.clone()).spawn(run) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    tracing::error!(%error, "the system refused an owner thread");
                    desk.abandon(0..n_owners);
                    return Err(ConfineError::ThreadRefused);
                }
            }
        }
        let ours = threads.iter().map(|thread| thread.thread().id()).collect();
        Ok(Self(Arc::new(Inner { desk, n_owners, ours, threads: Mutex::new(threads) })))
    }

    /// Opens a model on the owner thread with the fewest. It stays loaded until its last lease ends: the one this
    /// gives, by [`ModelClient::unload`], and every other, by dropping it. A caller that goes away takes the model along.
    ///
    /// # Errors
    /// What `open` says, or why it was not run to its end.
    pub async fn load<E, F>(&self, call: impl Into<Call>, open: F) -> Result<ModelRef, LoadError<E>>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        loaded(self.submit_load(call.into(), open)?.outcome().await)
    }

    /// [`ModelClient::load`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn load_blocking<E, F>(&self, call: impl Into<Call>, open: F) -> Result<ModelRef, LoadError<E>>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        loaded(self.submit_load(call.into(), open)?.wait())
    }

    fn submit_load<E, F>(&self, call: Call, open: F) -> Result<Pending<H, Result<ModelLease<H>, E>>, ConfineError>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        let (model, slot) = (ModelRef::unique(), Arc::new(Slot::new()));
        let lease = ModelLease { desk: Arc::clone(&self.0.desk), model };
        let work = Box::new(Open::new(model, open, lease, Arc::clone(&slot)));
        let ticket = self.0.desk.submit(NewJob { task: Task::Load(model), call, work, reply: slot.clone() })?;
        Ok(Pending { desk: Arc::clone(&self.0.desk), ticket: Some(ticket), slot })
    }

    /// Opens one more copy of a model, on a thread that has none. Jobs go to whichever copy is free first.
    ///
    /// # Errors
    /// [`ConfineError::NoThreadLeft`] if every thread has one; else as [`ModelClient::load`].
    pub async fn replicate<E, F>(&self, model: ModelRef, call: impl Into<Call>, open: F) -> Result<(), LoadError<E>>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        self.submit_copy(model, call.into(), open)?.outcome().await?.map_err(LoadError::Open)
    }

    /// [`ModelClient::replicate`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn replicate_blocking<E, F>(&self, model: ModelRef, call: impl Into<Call>, open: F) -> Result<(), LoadError<E>>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        self.submit_copy(model, call.into(), open)?.wait()?.map_err(LoadError::Open)
    }

    fn submit_copy<E, F>(&self, model: ModelRef, call: Call, open: F) -> Result<Pending<H, Result<(), E>>, ConfineError>
    where
        F: FnOnce(&Pulse) -> Result<H, E> + Send + 'static,
        E: Send + 'static,
    {
        let slot = Arc::new(Slot::new());
        let work = Box::new(Open::new(model, open, (), Arc::clone(&slot)));
        let ticket = self.0.desk.submit(NewJob { task: Task::Copy(model), call, work, reply: slot.clone() })?;
        Ok(Pending { desk: Arc::clone(&self.0.desk), ticket: Some(ticket), slot })
    }

    /// Lends the model's handle to `job` on its owner thread. Dropping the future cancels the job: queued, it never
    /// runs; running, its pulse is interrupted and the result is dropped.
    ///
    /// # Errors
    /// Why there is no result; a full queue refuses at once.
    pub async fn with<R, F>(&self, model: ModelRef, call: impl Into<Call>, job: F) -> Result<R, ConfineError>
    where
        F: FnOnce(&mut H, &Pulse) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.try_with(model, call, job)?.outcome().await
    }

    /// [`ModelClient::with`], waiting on this thread, which must not be one that runs async code. From a job of this
    /// client it waits for its own thread, and so until its deadline.
    ///
    /// # Errors
    /// As there.
    pub fn with_blocking<R, F>(&self, model: ModelRef, call: impl Into<Call>, job: F) -> Result<R, ConfineError>
    where
        F: FnOnce(&mut H, &Pulse) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.try_with(model, call, job)?.wait()
    }

    /// Queues `job` at once or refuses it at once; waiting for the result is the caller's next step.
    ///
    /// # Errors
    /// A model that is not there, a full queue, a deadline in the past, threads that drain or were given up.
    pub fn try_with<R, F>(&self, model: ModelRef, call: impl Into<Call>, job: F) -> Result<Pending<H, R>, ConfineError>
    where
        F: FnOnce(&mut H, &Pulse) -> R + Send + 'static,
        R: Send + 'static,
    {
        let slot = Arc::new(Slot::new());
        let work = Box::new(Lend::new(model, job, Arc::clone(&slot)));
        let (call, reply) = (call.into(), slot.clone());
        let ticket = self.0.desk.submit(NewJob { task: Task::With(model), call, work, reply })?;
        Ok(Pending { desk: Arc::clone(&self.0.desk), ticket: Some(ticket), slot })
    }

    /// One more lease on a loaded model, ended by [`ModelClient::unload`].
    ///
    /// # Errors
    /// [`ConfineError::ModelNotFound`].
    pub fn retain(&self, model: ModelRef) -> Result<(), ConfineError> {
        self.0.desk.retain(model)
    }

    /// One more lease on a loaded model, ended by dropping it.
    ///
    /// # Errors
    /// [`ConfineError::ModelNotFound`].
    pub fn lease(&self, model: ModelRef) -> Result<ModelLease<H>, ConfineError> {
        self.0.desk.retain(model)?;
        Ok(ModelLease { desk: Arc::clone(&self.0.desk), model })
    }

    /// Ends one lease. With the last one the model is gone for new jobs; those that are queued still run, then the
    /// handle is dropped on its owner thread.
    ///
    /// # Errors
    /// [`ConfineError::ModelNotFound`], also if there is no lease left to end.
    pub fn unload(&self, model: ModelRef) -> Result<(), ConfineError> {
        self.0.desk.release(model)
    }

    /// What the threads did and do.
    #[must_use]
    pub fn stats(&self) -> ConfineStats {
        self.0.desk.stats()
    }

    /// Number of owner threads, those that were given up too.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.0.n_owners
    }

    /// The pulse of the calls on a thread, for a watchdog; `None` if there is no such thread.
    #[must_use]
    pub fn pulse(&self, thread_idx: usize) -> Option<Pulse> {
        self.0.desk.pulse(thread_idx)
    }

    /// Gives every thread up: whoever waits is told [`ConfineError::Abandoned`] at once, and nothing is taken in any
    /// more. The threads are left to themselves; each drops its handles whenever its call returns.
    pub fn abandon(&self) {
        self.0.desk.abandon(0..self.n_threads());
    }

    /// Gives one thread up. Jobs whose model has a copy elsewhere go there.
    pub fn abandon_thread(&self, thread_idx: usize) {
        self.0.desk.abandon(std::iter::once(thread_idx));
    }

    /// Whether every thread has ended or was given up, so that nothing will run here any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.desk.is_over()
    }

    /// Whether every thread has really ended and its handles are dropped.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.desk.is_ended()
    }

    /// Takes in no more jobs, runs what is queued until the drain deadline, tells the rest, and waits for the threads
    /// to end. One that does not return within the grace time is given up.
    pub async fn shutdown(&self) {
        self.0.desk.drain();
        self.0.desk.when_over().recv().await;
        self.0.join();
    }

    /// [`ModelClient::shutdown`], waiting on this thread. On an owner thread it only begins the drain.
    pub fn shutdown_blocking(&self) {
        self.0.shutdown_blocking();
    }
}

impl<H> Inner<H> {
    fn shutdown_blocking(&self) {
        self.desk.drain();
        // A thread cannot wait for its own end.
        if !self.ours.contains(&std::thread::current().id()) {
            self.desk.when_over().wait();
            self.join();
        }
    }

    /// Joins the threads that have ended, and lets go of those that were given up.
    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for (lane, thread) in threads.into_iter().enumerate() {
            let is_timer = lane == self.n_owners;
            if (is_timer || self.desk.is_lane_ended(lane)) && thread.join().is_err() {
                tracing::error!("an owner thread panicked outside of its jobs");
            }
        }
    }
}

impl<H> Drop for Inner<H> {
    fn drop(&mut self) {
        self.shutdown_blocking();
    }
}

fn loaded<H, E>(outcome: Result<Result<ModelLease<H>, E>, ConfineError>) -> Result<ModelRef, LoadError<E>> {
    Ok(outcome?.map_err(LoadError::Open)?.into_model())
}

/// A lease on a model; dropping it ends the lease. It does not keep the threads from ending with their last client.
#[must_use = "dropping a lease ends it"]
pub struct ModelLease<H: 'static> {
    desk: Arc<Desk<H>>,
    model: ModelRef,
}

impl<H> ModelLease<H> {
    /// The model.
    #[must_use]
    pub fn model(&self) -> ModelRef {
        self.model
    }

    /// Leaves the lease to the caller, who ends it with [`ModelClient::unload`].
    #[must_use]
    pub fn into_model(self) -> ModelRef {
        let model = self.model;
        // One more for the one that dropping `self` ends. A model that is gone needs none.
        if self.desk.retain(model).is_err() {
            tracing::debug!(%model, "the model was unloaded under its lease");
        }
        model
    }
}

impl<H> fmt::Debug for ModelLease<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelLease").field(&self.model).finish()
    }
}

impl<H> Drop for ModelLease<H> {
    fn drop(&mut self) {
        // A lease of a load that was refused has no model; one of a thread that has ended, none any more.
        if self.desk.release(self.model).is_err() {
            tracing::trace!(model = %self.model, "a lease ended after its model");
        }
    }
}

/// A job that was taken in. Dropping it cancels the job.
#[must_use = "dropping a pending job cancels it"]
pub struct Pending<H: 'static, R> {
    desk: Arc<Desk<H>>,
    /// `None` once the outcome was read.
    ticket: Option<Ticket>,
    slot: Answer<R>,
}

impl<H, R> Pending<H, R> {
    /// Waits for the outcome in async code.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn outcome(mut self) -> Result<R, ConfineError> {
        let outcome = self.slot.recv().await;
        self.ticket = None;
        outcome.unwrap_or(Err(ConfineError::Stopped))
    }

    /// Waits for the outcome on this thread, which must not be one that runs async code.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn wait(mut self) -> Result<R, ConfineError> {
        let outcome = self.slot.wait();
        self.ticket = None;
        outcome.unwrap_or(Err(ConfineError::Stopped))
    }
}

impl<H, R> fmt::Debug for Pending<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl<H, R> Drop for Pending<H, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.desk.cancel(ticket);
        }
    }
}
