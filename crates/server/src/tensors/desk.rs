//! The batcher at work: its lock, its timers, and the runs it asks for.
//!
//! Timers are those of the async runtime, whose smallest step is a millisecond: a wait ends up to that much later.

use super::Batching;
use super::batcher::{Batcher, Next, Shapes, Ticket, Waiting};
use super::error::TensorsError;
use super::joined::{join, split};
use super::served::{Ran, Run};
use super::statistics::{Statistics, Times};
use ballast_backend::{Clock, TensorMap};
use ballast_runtime::supervised::{PredictOptions, SupervisedEngine};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Where requests for one version wait, and from where they are run.
pub(super) struct Desk {
    engine: SupervisedEngine,
    batching: Batching,
    clock: Arc<dyn Clock>,
    statistics: Arc<Statistics>,
    state: Mutex<State>,
}

struct State {
    batcher: Batcher,
    /// Those that wait.
    jobs: BTreeMap<Ticket, Job>,
    next_ticket: u64,
    /// When the timer that is set goes off.
    timer: Option<Duration>,
}

struct Job {
    inputs: TensorMap,
    n_items: usize,
    run: Run,
    since: Duration,
    answer: oneshot::Sender<Result<Ran, TensorsError>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("batching", &self.batching).field("n_waiting", &self.n_waiting()).finish()
    }
}

impl Desk {
    pub(super) fn new(
        engine: SupervisedEngine,
        batching: Batching,
        clock: Arc<dyn Clock>,
        statistics: Arc<Statistics>,
    ) -> Self {
        let permits =
            engine.health().links.iter().filter_map(|link| link.pool.as_ref()).map(|pool| pool.permits).next();
        let batcher = Batcher::new(batching.clone(), permits.unwrap_or(1));
        let state = State { batcher, jobs: BTreeMap::new(), next_ticket: 0, timer: None };
        Self { engine, batching, clock, statistics, state: Mutex::new(state) }
    }

    /// Requests that wait for a run.
    pub(super) fn n_waiting(&self) -> usize {
        self.lock().batcher.n_waiting()
    }

    /// Runs a request, by itself or with others. Dropping the future cancels it, and its run if nobody else is in it.
    ///
    /// # Errors
    /// If it cannot be in a batch, there is no place for it, its time is over, or the engine fails.
    pub(super) async fn run(self: &Arc<Self>, inputs: TensorMap, run: Run) -> Result<Ran, TensorsError> {
        if self.batching.max_batch == 0 {
            return self.run_alone(inputs, run).await;
        }
        let n_items = n_items(&inputs, self.batching.max_batch)?;
        let deadline = run.deadline;
        let (answer, answered) = oneshot::channel();
        let ticket = self.take_in(Job { inputs, n_items, run, since: self.clock.now(), answer })?;
        let _place = Place { desk: self, ticket };
        self.pump();
        tokio::select! {
            answered = answered => answered.unwrap_or_else(|_| Err(TensorsError::lost())),
            () = sleep(deadline) => Err(TensorsError::TimedOut),
        }
    }

    async fn run_alone(&self, inputs: TensorMap, run: Run) -> Result<Ran, TensorsError> {
        let Run { deadline, priority, tenant, correlation } = run;
        let options = PredictOptions { deadline, priority, tenant, correlation };
        let prediction = self.engine.predict(inputs, options).await?;
        let times = Times { queue: prediction.latency.pool_wait, infer: prediction.latency.run, ..Times::default() };
        self.statistics.ran(1, times);
        Ok(Ran { outputs: prediction.outputs.into_tensors(), times, n_items: 1 })
    }

    fn take_in(&self, job: Job) -> Result<Ticket, TensorsError> {
        let mut state = self.lock();
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        let (shapes, n_items, priority, since) = (shapes(&job.inputs), job.n_items, job.run.priority, job.since);
        let queue_max = self.batching.queue_max;
        let waiting = Waiting { ticket, shapes, n_items, priority, since };
        state.batcher.offer(waiting).map_err(|_| TensorsError::QueueFull { queue_max })?;
        state.jobs.insert(ticket, job);
        Ok(ticket)
    }

    /// Does what is to be done now.
    fn pump(self: &Arc<Self>) {
        loop {
            let now = self.clock.now();
            let mut state = self.lock();
            match state.batcher.next(now) {
                Next::Run(tickets) => {
                    let jobs = tickets.iter().filter_map(|ticket| state.jobs.remove(ticket)).collect();
                    drop(state);
                    let slot = Slot(Arc::clone(self));
                    tokio::spawn(async move { slot.0.execute(jobs).await });
                }
                Next::WaitUntil(at) => {
                    if state.timer.is_none_or(|timer| timer > at) {
                        state.timer = Some(at);
                        drop(state);
                        self.wake_at(at, now);
                    }
                    return;
                }
                Next::Idle => return,
            }
        }
    }

    fn wake_at(self: &Arc<Self>, at: Duration, now: Duration) {
        let desk = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(at.saturating_sub(now)).await;
            let Some(desk) = desk.upgrade() else { return };
            {
                let mut state = desk.lock();
                if state.timer == Some(at) {
                    state.timer = None;
                }
            }
            desk.pump();
        });
    }

    /// Runs these together and gives each its part.
    async fn execute(&self, mut jobs: Vec<Job>) {
        jobs.retain(|job| !job.answer.is_closed());
        if jobs.is_empty() {
            return;
        }
        let began = self.clock.now();
        let n_items: Vec<usize> = jobs.iter().map(|job| job.n_items).collect();
        let parts: Vec<TensorMap> = jobs.iter_mut().map(|job| std::mem::take(&mut job.inputs)).collect();
        let ran = match join(parts) {
            Ok(inputs) => {
                let input = self.clock.now().saturating_sub(began);
                let options = options(&jobs, self.clock.now());
                let all_gone = async {
                    for job in &mut jobs {
                        job.answer.closed().await;
                    }
                };
                tokio::select! {
                    predicted = self.engine.predict(inputs, options) => match predicted {
                        Ok(prediction) => self.parted(prediction, &n_items, input),
                        Err(error) => Err(error.into()),
                    },
                    () = all_gone => return,
                }
            }
            Err(error) => Err(error),
        };
        match ran {
            Ok((parts, times)) => {
                for (job, outputs) in jobs.into_iter().zip(parts) {
                    let waited = began.saturating_sub(job.since);
                    let times = Times { queue: times.queue.saturating_add(waited), ..times };
                    // Who has left meanwhile needs nothing.
                    drop(job.answer.send(Ok(Ran { outputs, times, n_items: job.n_items })));
                }
            }
            Err(error) => jobs.into_iter().for_each(|job| drop(job.answer.send(Err(error.clone())))),
        }
    }

    fn parted(
        &self,
        prediction: ballast_runtime::supervised::Prediction,
        n_items: &[usize],
        input: Duration,
    ) -> Result<(Vec<TensorMap>, Times), TensorsError> {
        let began = self.clock.now();
        let latency = prediction.latency;
        let parts = split(prediction.outputs.into_tensors(), n_items)?;
        let output = self.clock.now().saturating_sub(began);
        let times = Times { queue: latency.pool_wait, input, infer: latency.run, output };
        self.statistics.ran(n_items.iter().sum(), times);
        Ok((parts, times))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that is out; when it is dropped, however it ends, the next one may go.
struct Slot(Arc<Desk>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().batcher.ended();
        self.0.pump();
    }
}

/// A caller that waits; when it is gone, so is its place in the queue.
struct Place<'a> {
    desk: &'a Arc<Desk>,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.batcher.leave(self.ticket);
        state.jobs.remove(&self.ticket);
    }
}

/// What a joined run is asked with: the longest of its requests' times, the highest of their priorities.
fn options(jobs: &[Job], now: Duration) -> PredictOptions {
    let left = |job: &Job| job.since.saturating_add(job.run.deadline).saturating_sub(now);
    let first = jobs.first().map(|job| job.run.clone()).unwrap_or_default();
    PredictOptions {
        deadline: jobs.iter().map(left).max().unwrap_or_default(),
        priority: jobs.iter().map(|job| job.run.priority).max_by_key(|p| p.level()).unwrap_or_default(),
        tenant: first.tenant,
        correlation: first.correlation,
    }
}

/// How many items a request has.
fn n_items(inputs: &TensorMap, max: usize) -> Result<usize, TensorsError> {
    let mut extents = inputs.values().map(|tensor| tensor.shape().first().copied().unwrap_or(0));
    let one = extents.next().unwrap_or(0);
    if let Some(other) = extents.find(|extent| *extent != one) {
        return Err(TensorsError::ItemsUneven { one, other });
    }
    if (1..=max).contains(&one) { Ok(one) } else { Err(TensorsError::Items { max, got: one }) }
}

fn shapes(inputs: &TensorMap) -> Shapes {
    inputs.values().map(|tensor| tensor.shape().iter().skip(1).copied().collect()).collect()
}
