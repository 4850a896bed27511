//! Which job runs where and who is told what: pure, no lock, no thread, no clock.
//!
//! One table serves any number of owner threads ("lanes"). Jobs wait in one queue, by rank and by how long they have waited; a job names the lanes that have its
//! model, and a lane takes the first job that names it. So a model with copies on several lanes is served by whichever
//! is free first.

use super::error::{ConfineError, JobPhase};
use super::model::ModelRef;
use super::options::{Call, ConfineOptions, ConfineStats, THREADS_MAX};
use super::parts::{Delivery, Finish, Job, Lane, Lanes, Life, Model, NewJob, Running, Task, Ticket, Turn};
use ballast_backend::Pulse;
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// The jobs, lanes and models of one client.
pub(super) struct Jobs<W, R> {
    pub(super) options: ConfineOptions,
    pub(super) started_at: Duration,
    pub(super) queue: BTreeMap<Ticket, Job<W, R>>,
    pub(super) lanes: Vec<Lane<R>>,
    pub(super) models: BTreeMap<ModelRef, Model>,
    /// Since when no job is taken in.
    pub(super) draining_since: Option<Duration>,
    /// Lanes that have something new to look at.
    pub(super) wake: Lanes,
    pub(super) stats: ConfineStats,
}

impl<W, R> Jobs<W, R> {
    pub(super) fn new(options: &ConfineOptions, now: Duration) -> Self {
        let lane = |_| Lane { life: Life::Live, idle: false, running: None, drops: Vec::new(), pulse: Pulse::new() };
        Self {
            started_at: now,
            queue: BTreeMap::new(),
            lanes: (0..options.n_threads.clamp(1, THREADS_MAX)).map(lane).collect(),
            models: BTreeMap::new(),
            draining_since: None,
            wake: Lanes::default(),
            stats: ConfineStats::default(),
            options: ConfineOptions { queue_max: options.queue_max.max(1), ..options.clone() },
        }
    }

    pub(super) fn n_lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The pulse of a lane's calls.
    pub(super) fn pulse(&self, lane: usize) -> Option<&Pulse> {
        self.lanes.get(lane).map(|lane| &lane.pulse)
    }

    /// Whether [`Jobs::push`] may follow, and on which lanes the job could run.
    pub(super) fn admit(&mut self, task: Task, call: Call, now: Duration) -> Result<Lanes, ConfineError> {
        let admitted = self.place(task, call, now);
        if matches!(admitted, Err(ConfineError::QueueFull { .. } | ConfineError::TooManyModels { .. })) {
            self.stats.refused += 1;
        }
        admitted
    }

    fn place(&self, task: Task, call: Call, now: Duration) -> Result<Lanes, ConfineError> {
        let ConfineOptions { queue_max, models_max, .. } = self.options;
        if self.draining_since.is_some() {
            return Err(ConfineError::Stopped);
        }
        if self.live().is_empty() {
            return Err(ConfineError::Abandoned);
        }
        if call.deadline <= now {
            return Err(ConfineError::Deadline { phase: JobPhase::Queued });
        }
        let lanes = match task {
            Task::With(model) => self.lanes_of(model)?,
            Task::Load(_) if self.models.len() + self.n_loading() >= models_max => {
                return Err(ConfineError::TooManyModels { models_max });
            }
            Task::Load(_) => self.least_loaded(self.live()).ok_or(ConfineError::Abandoned)?,
            Task::Copy(model) => {
                let free = self.live().without(self.lanes_of(model)?).without(self.opening(model));
                self.least_loaded(free).ok_or(ConfineError::NoThreadLeft { model })?
            }
        };
        if self.queue.len() >= queue_max {
            return Err(ConfineError::QueueFull { queue_max });
        }
        Ok(lanes)
    }

    /// Queues a job that [`Jobs::admit`] gave `lanes` for.
    pub(super) fn push(&mut self, job: NewJob<W, R>, lanes: Lanes, now: Duration) -> Ticket {
        let NewJob { task, call: Call { deadline, rank }, work, reply } = job;
        self.stats.submitted += 1;
        let turn_nanos = now.as_nanos() + self.options.age_step.as_nanos() * u128::from(rank.0);
        let ticket = Ticket { turn_nanos, number: self.stats.submitted };
        if let Task::With(model) | Task::Copy(model) = task
            && let Some(entry) = self.models.get_mut(&model)
        {
            entry.n_jobs += 1;
        }
        self.queue.insert(ticket, Job { task, opens_on: lanes, deadline, queued_at: now, work, reply });
        let idle = |lane: &usize| lanes.has(*lane) && self.lanes[*lane].idle;
        if let Some(lane) = (0..self.lanes.len()).find(idle) {
            self.lanes[lane].idle = false;
            self.wake = self.wake.with(Lanes::one(lane));
        }
        ticket
    }

    /// Lanes to wake since the last call.
    pub(super) fn take_wake(&mut self) -> Lanes {
        mem::take(&mut self.wake)
    }

    /// What `lane` does next. After [`Turn::Wait`] it counts as idle until it is woken or asks again.
    pub(super) fn next(&mut self, lane_idx: usize, now: Duration) -> Turn<W> {
        let lane = &mut self.lanes[lane_idx];
        lane.idle = false;
        if lane.life != Life::Live {
            return Turn::End;
        }
        if !lane.drops.is_empty() {
            return Turn::Drop(mem::take(&mut lane.drops));
        }
        let first = self.queue.iter().find(|(_, job)| self.lanes_for(job).has(lane_idx)).map(|(ticket, _)| *ticket);
        let lane = &mut self.lanes[lane_idx];
        let Some((ticket, job)) = first.and_then(|ticket| self.queue.remove_entry(&ticket)) else {
            if self.draining_since.is_some() {
                return Turn::End;
            }
            lane.idle = true;
            return Turn::Wait;
        };
        let Job { task, deadline, queued_at, work, reply, .. } = job;
        let waited = now.saturating_sub(queued_at);
        self.stats.wait_total += waited;
        self.stats.wait_max = self.stats.wait_max.max(waited);
        lane.pulse.resume();
        lane.running = Some(Running { ticket, task, deadline, started_at: now, reply: Some(reply) });
        Turn::Run(work)
    }

    /// Lanes that may run a queued job.
    pub(super) fn lanes_for(&self, job: &Job<W, R>) -> Lanes {
        match job.task {
            Task::With(model) => self.models.get(&model).map_or(Lanes::default(), |entry| entry.lanes),
            Task::Load(_) | Task::Copy(_) => job.opens_on.and(self.live()),
        }
    }

    /// Notes that the work of `lane` returned.
    pub(super) fn finish(&mut self, lane_idx: usize, finish: Finish, now: Duration) -> Delivery<W, R> {
        let Some(Running { task, started_at, reply, .. }) = self.lanes[lane_idx].running.take() else {
            return Delivery { reply: None, told: Vec::new() };
        };
        self.stats.run_total += now.saturating_sub(started_at);
        let (here, mut told) = (Lanes::one(lane_idx), Vec::new());
        match (task, finish) {
            (Task::Load(model), Finish::Done) if reply.is_some() => {
                self.models.insert(model, Model { lanes: here, n_leases: 1, n_jobs: 0 });
            }
            (Task::Copy(model), Finish::Done) if reply.is_some() => {
                if let Some(entry) = self.models.get_mut(&model) {
                    entry.lanes = entry.lanes.with(here);
                }
            }
            (Task::With(model), Finish::Poisoned) => {
                if let Some(entry) = self.models.get_mut(&model) {
                    entry.lanes = entry.lanes.without(here);
                }
                told = self.refuse_stranded(ConfineError::ModelLost { model });
            }
            (Task::With(_) | Task::Load(_) | Task::Copy(_), Finish::Done | Finish::Failed | Finish::Poisoned) => {}
        }
        // A lane that was given up has left its models already.
        if self.lanes[lane_idx].life == Life::Live {
            self.job_over(task);
        }
        match finish {
            _ if reply.is_none() => {}
            Finish::Done => self.stats.done += 1,
            Finish::Failed | Finish::Poisoned => self.stats.failed += 1,
        }
        Delivery { reply, told }
    }

    /// The caller has gone. Returns what will not run, if the job was queued.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<(W, R)> {
        if let Some(Job { task, work, reply, .. }) = self.queue.remove(&ticket) {
            self.stats.cancelled += 1;
            self.job_over(task);
            return Some((work, reply));
        }
        let is_it = |lane: &&mut Lane<R>| lane.running.as_ref().is_some_and(|running| running.ticket == ticket);
        let lane = self.lanes.iter_mut().find(is_it)?;
        if lane.running.as_mut()?.reply.take().is_some() {
            self.stats.cancelled += 1;
            lane.pulse.interrupt();
        }
        None
    }

    /// One more lease.
    pub(super) fn retain(&mut self, model: ModelRef) -> Result<(), ConfineError> {
        let entry = self.models.get_mut(&model).filter(|entry| entry.n_leases > 0);
        entry.ok_or(ConfineError::ModelNotFound { model })?.n_leases += 1;
        Ok(())
    }

    /// One lease fewer.
    pub(super) fn release(&mut self, model: ModelRef) -> Result<(), ConfineError> {
        let entry = self.models.get_mut(&model).filter(|entry| entry.n_leases > 0);
        entry.ok_or(ConfineError::ModelNotFound { model })?.n_leases -= 1;
        self.drop_if_unused(model);
        Ok(())
    }

    pub(super) fn job_over(&mut self, task: Task) {
        let (Task::With(model) | Task::Copy(model)) = task else { return };
        if let Some(entry) = self.models.get_mut(&model) {
            entry.n_jobs -= 1;
        }
        self.drop_if_unused(model);
    }

    /// Has the handles dropped once nobody leases the model and no job of it is left.
    fn drop_if_unused(&mut self, model: ModelRef) {
        let unused = |entry: &&Model| entry.n_leases == 0 && entry.n_jobs == 0;
        let Some(lanes) = self.models.get(&model).filter(unused).map(|entry| entry.lanes) else { return };
        self.models.remove(&model);
        for (_, lane) in self.lanes.iter_mut().enumerate().filter(|(idx, _)| lanes.has(*idx)) {
            lane.idle = false;
            lane.drops.push(model);
        }
        self.wake = self.wake.with(lanes);
    }

    pub(super) fn live(&self) -> Lanes {
        let live = self.lanes.iter().enumerate().filter(|(_, lane)| lane.life == Life::Live);
        live.fold(Lanes::default(), |lanes, (idx, _)| lanes.with(Lanes::one(idx)))
    }

    fn lanes_of(&self, model: ModelRef) -> Result<Lanes, ConfineError> {
        let entry = self.models.get(&model).filter(|entry| entry.n_leases > 0);
        let lanes = entry.ok_or(ConfineError::ModelNotFound { model })?.lanes;
        if lanes.is_empty() { Err(ConfineError::ModelLost { model }) } else { Ok(lanes) }
    }

    /// Jobs that open models, queued and running, with their lanes.
    fn opens(&self) -> impl Iterator<Item = (Task, Lanes)> + '_ {
        let queued = self.queue.values().map(|job| (job.task, job.opens_on));
        let lanes = self.lanes.iter().enumerate();
        let running = lanes.filter_map(|(idx, lane)| Some((lane.running.as_ref()?.task, Lanes::one(idx))));
        queued.chain(running).filter(|(task, _)| !matches!(task, Task::With(_)))
    }

    fn n_loading(&self) -> usize {
        self.opens().filter(|(task, _)| matches!(task, Task::Load(_))).count()
    }

    /// Lanes on which a copy of `model` is being opened.
    fn opening(&self, model: ModelRef) -> Lanes {
        let copies = self.opens().filter(|(task, _)| *task == Task::Copy(model));
        copies.fold(Lanes::default(), |lanes, (_, lane)| lanes.with(lane))
    }

    /// The lane of `among` with the fewest models, loaded and being loaded.
    fn least_loaded(&self, among: Lanes) -> Option<Lanes> {
        let n_models = |lane: usize| {
            let loaded = self.models.values().filter(|model| model.lanes.has(lane)).count();
            loaded + self.opens().filter(|(_, lanes)| lanes.has(lane)).count()
        };
        let lanes = (0..self.lanes.len()).filter(|&lane| among.has(lane));
        lanes.min_by_key(|&lane| n_models(lane)).map(Lanes::one)
    }

    /// When [`Jobs::expire`] next has something to do; `None`: there is nothing to wait for.
    pub(super) fn next_expiry(&self, now: Duration) -> Option<Duration> {
        let queued = self.queue.values().map(|job| job.deadline);
        let running = self.lanes.iter().filter_map(|lane| lane.running.as_ref().filter(|job| job.reply.is_some()));
        let drain = self.draining_since.filter(|_| !self.is_over()).map(|since| {
            let cut_at = since.saturating_add(self.options.drain_deadline);
            if now < cut_at { cut_at } else { cut_at.saturating_add(self.options.drain_grace) }
        });
        let deadlines = queued.chain(running.map(|job| job.deadline)).filter(|&deadline| deadline < Duration::MAX);
        deadlines.chain(drain).min()
    }

    /// Whether nothing will run any more, but for what was given up.
    pub(super) fn is_over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.life != Life::Live)
    }

    /// Whether every thread has ended, those that were given up too.
    pub(super) fn is_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.life == Life::Ended)
    }

    /// Whether the thread of `lane` has ended.
    pub(super) fn is_lane_ended(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.life == Life::Ended)
    }

    /// What is and was.
    pub(super) fn stats(&self, now: Duration) -> ConfineStats {
        let running = || self.lanes.iter().filter_map(|lane| lane.running.as_ref());
        let in_progress: Duration = running().map(|running| now.saturating_sub(running.started_at)).sum();
        let total = now.saturating_sub(self.started_at).as_secs_f64() * self.lanes.len() as f64;
        let busy = (self.stats.run_total + in_progress).as_secs_f64();
        ConfineStats {
            n_queued: self.queue.len(),
            n_running: running().count(),
            running_since: running().map(|running| running.started_at).min(),
            n_models: self.models.len(),
            busy_share: (total > 0.0).then(|| busy / total),
            ..self.stats
        }
    }
}
