//! One version of a tensor model at work: its uses, its runs, its figures.

use super::TensorModel;
use super::desk::Desk;
use super::error::TensorsError;
use super::statistics::{Figures, Statistics, Times};
use super::stock::{self, TensorModelError};
use ballast_backend::{Clock, IoSchema, TensorMap};
use ballast_runtime::{CorrelationId, Priority, TenantId};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// What is asked of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Longest time until the answer.
    pub(crate) deadline: Duration,
    pub(crate) priority: Priority,
    pub(crate) tenant: TenantId,
    pub(crate) correlation: Option<CorrelationId>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) outputs: TensorMap,
    pub(crate) times: Times,
    /// Items of this request; 1 where the model has no batches.
    pub(crate) n_items: usize,
}

/// A version that is served.
pub(crate) struct Served {
    pub(crate) model: TensorModel,
    pub(crate) schema: IoSchema,
    desk: Arc<Desk>,
    statistics: Arc<Statistics>,
    clock: Arc<dyn Clock>,
    n_uses: watch::Sender<usize>,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("name", &self.model.name).field("version", &self.model.version).finish()
    }
}

impl Served {
    /// # Errors
    /// If it cannot be served.
    pub(super) fn new(model: TensorModel, clock: Arc<dyn Clock>) -> Result<Self, TensorModelError> {
        let schema = stock::check(&model)?;
        let statistics = Arc::new(Statistics::default());
        let (engine, batching) = (model.engine.clone(), model.batching.clone());
        let desk = Arc::new(Desk::new(engine, batching, Arc::clone(&clock), Arc::clone(&statistics)));
        Ok(Self { model, schema, desk, statistics, clock, n_uses: watch::Sender::new(0) })
    }

    /// Everything that was counted.
    pub(crate) fn figures(&self) -> Figures {
        self.statistics.figures()
    }

    /// Requests that wait for their run.
    pub(crate) fn n_pending(&self) -> usize {
        let links = self.model.engine.health().links;
        let in_pools: usize = links.iter().filter_map(|link| link.pool.as_ref()).map(|pool| pool.waiting).sum();
        self.desk.n_waiting() + in_pools
    }

    /// Instances of the engine that answers first; `None`: it is not ready.
    pub(crate) fn n_instances(&self) -> Option<usize> {
        self.model.engine.health().links.iter().find_map(|link| link.pool.as_ref()).map(|pool| pool.permits)
    }

    /// Whether an engine could be asked now.
    pub(crate) fn is_ready(&self) -> bool {
        self.model.engine.health().is_ready()
    }

    /// Waits until nobody uses it, and drains its engine; after `patience` those in progress are given up.
    pub(super) async fn retire(&self, patience: Duration) {
        let began = self.clock.now();
        let mut uses = self.n_uses.subscribe();
        let unused = timeout(patience, uses.wait_for(|n| *n == 0)).await.is_ok();
        if !unused {
            tracing::warn!(model = %self.model.name, version = self.model.version, "a tensor model was given up in use");
        }
        let left = patience.saturating_sub(self.clock.now().saturating_sub(began));
        if !self.model.engine.drain(left).await {
            tracing::warn!(model = %self.model.name, "predictions in progress were given up");
        }
    }
}

/// A use of a version: it is not unloaded as long as this is held.
#[derive(Debug)]
pub(crate) struct TensorUse(Arc<Served>);

impl TensorUse {
    pub(super) fn new(served: &Arc<Served>) -> Self {
        served.n_uses.send_modify(|n| *n += 1);
        Self(Arc::clone(served))
    }

    /// Begins to count a request; `unix_time` in seconds.
    pub(crate) fn begin(self, unix_time: i64) -> Tally {
        self.statistics.asked(unix_time);
        let began = self.clock.now();
        Tally { model: self, began, is_counted: false }
    }
}

impl Deref for TensorUse {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Drop for TensorUse {
    fn drop(&mut self) {
        self.0.n_uses.send_modify(|n| *n -= 1);
    }
}

/// A request that will be counted once: as answered, as failed, or as cancelled where its caller has left.
#[derive(Debug)]
pub(crate) struct Tally {
    model: TensorUse,
    began: Duration,
    is_counted: bool,
}

impl Tally {
    /// The model.
    pub(crate) fn model(&self) -> &Served {
        &self.model
    }

    /// The time, on the clock that everything is measured by.
    pub(crate) fn now(&self) -> Duration {
        self.model.clock.now()
    }

    /// Runs the model.
    ///
    /// # Errors
    /// If the inputs are not the model's, there is no place or no time, or the engine fails.
    pub(crate) async fn run(&self, inputs: TensorMap, run: Run) -> Result<Ran, TensorsError> {
        self.model.desk.run(inputs, run).await
    }

    /// It was answered, with `times` in all.
    pub(crate) fn succeed(mut self, times: Times, n_items: usize) {
        self.is_counted = true;
        self.model.statistics.succeed(self.now().saturating_sub(self.began), times, n_items);
    }

    /// It was not answered.
    pub(crate) fn fail(mut self, why: &'static str) {
        self.count_failure(why);
    }

    fn count_failure(&mut self, why: &'static str) {
        self.is_counted = true;
        self.model.statistics.fail(self.now().saturating_sub(self.began), why);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count_failure("CANCELED");
        }
    }
}
