//! Which job runs where and who is told what: pure, no lock, no thread, no clock.
//!
//! One table serves any number of owner threads ("lanes"). Jobs wait in one queue; a job names the lanes that have its
//! model, and a lane takes the first job that names it. So a model with copies on several lanes is served by whichever
//! is free first.

use super::error::{ConfineError, JobPhase};
use super::model::ModelRef;
use super::options::{Call, ConfineOptions, ConfineStats, Rank, THREADS_MAX};
use ballast_backend::Pulse;
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// A set of lanes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes(u64);

impl Lanes {
    pub(super) fn one(lane: usize) -> Self {
        Self(1 << lane)
    }

    pub(super) fn has(self, lane: usize) -> bool {
        self.0 >> lane & 1 == 1
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Use the model.
    With(ModelRef),
    /// Open the model, on any lane.
    Load(ModelRef),
    /// Open a further copy of the model, on a lane that has none.
    Copy(ModelRef),
}

/// A job's place in the queue, and its name ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    rank: Rank,
    number: u64,
}

/// A job before it is taken in.
pub(super) struct NewJob<W, R> {
    pub(super) task: Task,
    pub(super) call: Call,
    pub(super) work: W,
    pub(super) reply: R,
}

/// Somebody to be told that there will be no result, and work that will not run. Both are dropped and told outside of
/// the lock, because they run other people's code.
pub(super) struct Refusal<W, R> {
    pub(super) reply: R,
    pub(super) error: ConfineError,
    pub(super) work: Option<W>,
}

/// What a lane does next.
pub(super) enum Turn<W> {
    /// Runs this, then says [`Jobs::finish`].
    Run(W),
    /// Drops the handles of these models.
    Drop(Vec<ModelRef>),
    /// Sleeps until it is woken.
    Wait,
    /// Drops everything and ends, then says [`Jobs::ended`].
    End,
}

/// How a job left its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// With a result.
    Done,
    /// The model did not open, or its handle was not there.
    Failed,
    /// It panicked, and its handle was dropped.
    Poisoned,
}

/// What follows from a job that left its lane.
pub(super) struct Delivery<W, R> {
    /// Who gets the result; `None`: nobody waits for it any more.
    pub(super) reply: Option<R>,
    pub(super) told: Vec<Refusal<W, R>>,
}

// job: Queued => (Running | Cancelled | TimedOut | Stopped | Abandoned | Failed)
//      Running => (Done | Failed | Cancelled | TimedOut | Stopped | Abandoned)
// The caller is told at the first state after Running; the lane is free when the work returns.
struct Job<W, R> {
    task: Task,
    /// The lane chosen to open a model. Whoever uses one goes where the model is at the time.
    opens_on: Lanes,
    deadline: Duration,
    queued_at: Duration,
    work: W,
    reply: R,
}

struct Running<R> {
    ticket: Ticket,
    task: Task,
    deadline: Duration,
    started_at: Duration,
    /// `None`: the caller was told, or has gone.
    reply: Option<R>,
}

/// Life of a lane.
// Live => (Abandoned | Ended), Abandoned => Ended
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Live,
    Abandoned,
    Ended,
}

struct Lane<R> {
    life: Life,
    /// Sleeps, and was not woken yet.
    idle: bool,
    running: Option<Running<R>>,
    drops: Vec<ModelRef>,
    pulse: Pulse,
}

/// A model that is leased, or whose jobs are still to run.
#[derive(Clone, Copy)]
struct Model {
    lanes: Lanes,
    n_leases: usize,
    n_jobs: usize,
}

/// The jobs, lanes and models of one client.
pub(super) struct Jobs<W, R> {
    options: ConfineOptions,
    started_at: Duration,
    queue: BTreeMap<Ticket, Job<W, R>>,
    lanes: Vec<Lane<R>>,
    models: BTreeMap<ModelRef, Model>,
    /// Since when no job is taken in.
    draining_since: Option<Duration>,
    /// Lanes that have something new to look at.
    wake: Lanes,
    stats: ConfineStats,
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
        let ticket = Ticket { rank, number: self.stats.submitted };
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
    fn lanes_for(&self, job: &Job<W, R>) -> Lanes {
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

    /// Tells whoever's deadline has passed, and obeys the drain's own.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Refusal<W, R>> {
        let late: Vec<Ticket> =
            self.queue.iter().filter(|(_, job)| job.deadline <= now).map(|(ticket, _)| *ticket).collect();
        let error = ConfineError::Deadline { phase: JobPhase::Queued };
        let mut told: Vec<_> = late.into_iter().filter_map(|ticket| self.refuse(ticket, error)).collect();
        for lane in &mut self.lanes {
            let Some(running) = lane.running.as_mut().filter(|running| running.deadline <= now) else { continue };
            if let Some(reply) = running.reply.take() {
                lane.pulse.interrupt();
                self.stats.timed_out += 1;
                told.push(Refusal { reply, error: ConfineError::Deadline { phase: JobPhase::Running }, work: None });
            }
        }
        if let Some(since) = self.draining_since {
            told.append(&mut self.expire_drain(since, now));
        }
        told
    }

    fn expire_drain(&mut self, since: Duration, now: Duration) -> Vec<Refusal<W, R>> {
        let cut_at = since.saturating_add(self.options.drain_deadline);
        if now < cut_at {
            return Vec::new();
        }
        let rest: Vec<Ticket> = self.queue.keys().copied().collect();
        let mut told: Vec<_> =
            rest.into_iter().filter_map(|ticket| self.refuse(ticket, ConfineError::Stopped)).collect();
        for lane in &mut self.lanes {
            if let Some(running) = &mut lane.running {
                lane.pulse.interrupt();
                if let Some(reply) = running.reply.take() {
                    self.stats.stopped += 1;
                    told.push(Refusal { reply, error: ConfineError::Stopped, work: None });
                }
            }
        }
        if now >= cut_at.saturating_add(self.options.drain_grace) {
            for lane in 0..self.lanes.len() {
                told.append(&mut self.abandon(lane));
            }
        }
        told
    }

    /// Takes in no more jobs; what is queued still runs.
    pub(super) fn drain(&mut self, now: Duration) {
        self.draining_since.get_or_insert(now);
        self.wake = self.live();
    }

    /// Gives a lane up: whoever waits for it, and for what only it could run, is told.
    pub(super) fn abandon(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let Some(lane) = self.lanes.get_mut(lane_idx).filter(|lane| lane.life == Life::Live) else {
            return Vec::new();
        };
        lane.life = Life::Abandoned;
        lane.pulse.abandon();
        self.stats.threads_lost += 1;
        self.wake = self.wake.with(Lanes::one(lane_idx));
        self.forget_lane(lane_idx)
    }

    /// Notes that the thread of a lane has ended and every handle of it is dropped.
    pub(super) fn ended(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let life = mem::replace(&mut self.lanes[lane_idx].life, Life::Ended);
        if life == Life::Live { self.forget_lane(lane_idx) } else { Vec::new() }
    }

    /// Takes the lane from its models and tells whoever waits for it.
    fn forget_lane(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let mut told = Vec::new();
        for entry in self.models.values_mut() {
            entry.lanes = entry.lanes.without(Lanes::one(lane_idx));
        }
        if let Some(running) = &mut self.lanes[lane_idx].running {
            let task = running.task;
            if let Some(reply) = running.reply.take() {
                self.stats.abandoned += 1;
                told.push(Refusal { reply, error: ConfineError::Abandoned, work: None });
            }
            self.job_over(task);
        }
        told.append(&mut self.refuse_stranded(ConfineError::Abandoned));
        told
    }

    /// Refuses the queued jobs that no lane may run any more.
    fn refuse_stranded(&mut self, error: ConfineError) -> Vec<Refusal<W, R>> {
        let stranded: Vec<Ticket> =
            self.queue.iter().filter(|(_, job)| self.lanes_for(job).is_empty()).map(|(ticket, _)| *ticket).collect();
        stranded.into_iter().filter_map(|ticket| self.refuse(ticket, error)).collect()
    }

    /// Takes a job out of the queue, to be told `error`.
    fn refuse(&mut self, ticket: Ticket, error: ConfineError) -> Option<Refusal<W, R>> {
        let job = self.queue.remove(&ticket)?;
        match error {
            ConfineError::Deadline { .. } => self.stats.timed_out += 1,
            ConfineError::Stopped => self.stats.stopped += 1,
            ConfineError::Abandoned => self.stats.abandoned += 1,
            ConfineError::ModelLost { .. }
            | ConfineError::ModelNotFound { .. }
            | ConfineError::TooManyModels { .. }
            | ConfineError::NoThreadLeft { .. }
            | ConfineError::QueueFull { .. }
            | ConfineError::Panicked
            | ConfineError::ThreadRefused => self.stats.failed += 1,
        }
        self.job_over(job.task);
        Some(Refusal { reply: job.reply, error, work: Some(job.work) })
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

    fn job_over(&mut self, task: Task) {
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

    fn live(&self) -> Lanes {
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
