//! The table of jobs, without threads: every order of events a seed can think of, and the rules one by one.

use super::error::{ConfineError, JobPhase};
use super::jobs::Jobs;
use super::model::ModelRef;
use super::options::{Call, ConfineOptions, Rank};
use super::parts::{Delivery, Finish, NewJob, Refusal, Task, Ticket, Turn};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;

/// Work and replies are the numbers of their jobs.
type Table = Jobs<usize, usize>;

fn table(n_threads: usize) -> Table {
    Jobs::new(&ConfineOptions { n_threads, queue_max: 4, models_max: 3, ..ConfineOptions::default() }, Duration::ZERO)
}

fn submit(jobs: &mut Table, task: Task, call: impl Into<Call>, number: usize) -> Result<Ticket, ConfineError> {
    let call = call.into();
    let lanes = jobs.admit(task, call, Duration::ZERO)?;
    Ok(jobs.push(NewJob { task, call, work: number, reply: number }, lanes, Duration::ZERO))
}

/// Opens a model on whichever lane it is given.
fn open(jobs: &mut Table, task: Task) {
    submit(jobs, task, NEVER, 0).unwrap();
    for lane in 0..jobs.n_lanes() {
        if let Turn::Run(_) = jobs.next(lane, Duration::ZERO) {
            jobs.finish(lane, Finish::Done, Duration::ZERO);
        }
    }
}

fn loaded(jobs: &mut Table) -> ModelRef {
    let model = ModelRef::unique();
    open(jobs, Task::Load(model));
    model
}

fn told(refusals: Vec<Refusal<usize, usize>>) -> Vec<(usize, ConfineError)> {
    refusals.into_iter().map(|refusal| (refusal.reply, refusal.error)).collect()
}

fn runs(jobs: &mut Table, lane: usize) -> Option<usize> {
    match jobs.next(lane, Duration::ZERO) {
        Turn::Run(work) => Some(work),
        Turn::Drop(_) | Turn::Wait | Turn::End => None,
    }
}

#[test]
fn an_idle_lane_is_woken_once() {
    let mut jobs = table(2);
    let model = loaded(&mut jobs);
    open(&mut jobs, Task::Copy(model));
    jobs.take_wake();
    assert!(runs(&mut jobs, 0).is_none() && runs(&mut jobs, 1).is_none());
    for (number, lane) in [(1, 0), (2, 1)] {
        submit(&mut jobs, Task::With(model), NEVER, number).unwrap();
        let wake = jobs.take_wake();
        assert!(wake.has(lane) && !wake.has(1 - lane), "job {number} wakes lane {lane} alone");
    }
    submit(&mut jobs, Task::With(model), NEVER, 3).unwrap();
    assert!(!jobs.take_wake().has(0), "it was woken and has not looked yet");
}

/// One lane that runs a job of rank 128 every second, while the next has come already; a job of rank 138 among them.
fn seconds_until_it_runs(age_step: Duration) -> Option<u64> {
    let options = ConfineOptions { age_step, ..ConfineOptions::default() };
    let mut jobs: Table = Jobs::new(&options, Duration::ZERO);
    let model = loaded(&mut jobs);
    let submit = |jobs: &mut Table, rank, number, now| {
        let call = Call { deadline: NEVER, rank: Rank(rank) };
        let lanes = jobs.admit(Task::With(model), call, now).unwrap();
        jobs.push(NewJob { task: Task::With(model), call, work: number, reply: number }, lanes, now);
    };
    submit(&mut jobs, 138, 1, Duration::ZERO);
    for second in 0..200_u32 {
        let now = SECOND * second;
        submit(&mut jobs, 128, 2, now);
        let Turn::Run(number) = jobs.next(0, now) else { panic!("there are jobs") };
        if number == 1 {
            return Some(second.into());
        }
        jobs.finish(0, Finish::Done, now);
    }
    None
}

#[test]
fn a_job_that_waits_gains_a_rank_for_every_step() {
    for (step, runs_after) in [(SECOND * 10, Some(100)), (SECOND, Some(10)), (Duration::ZERO, Some(0)), (NEVER, None)] {
        assert_eq!(seconds_until_it_runs(step), runs_after, "{step:?}");
    }
}

#[test]
fn queued_jobs_of_a_lost_model_are_told_and_others_stay() {
    let mut jobs = table(1);
    let (broken, whole) = (loaded(&mut jobs), loaded(&mut jobs));
    for (number, model) in [(1, broken), (2, broken), (3, whole)] {
        submit(&mut jobs, Task::With(model), NEVER, number).unwrap();
    }
    assert_eq!(runs(&mut jobs, 0), Some(1));
    let Delivery { reply, told: lost } = jobs.finish(0, Finish::Poisoned, Duration::ZERO);
    assert_eq!((reply, told(lost)), (Some(1), vec![(2, ConfineError::ModelLost { model: broken })]));
    assert_eq!(runs(&mut jobs, 0), Some(3));
}

#[test]
fn a_job_goes_on_where_another_copy_lives() {
    let mut jobs = table(2);
    let model = loaded(&mut jobs);
    open(&mut jobs, Task::Copy(model));
    for number in [1, 2] {
        submit(&mut jobs, Task::With(model), NEVER, number).unwrap();
    }
    assert_eq!(runs(&mut jobs, 0), Some(1));
    assert_eq!(told(jobs.abandon(0)), [(1, ConfineError::Abandoned)]);
    assert!(jobs.abandon(0).is_empty(), "it is given up once");
    assert_eq!(runs(&mut jobs, 1), Some(2));
    assert_eq!(jobs.finish(0, Finish::Done, Duration::ZERO).reply, None);
    assert!(matches!(jobs.next(0, Duration::ZERO), Turn::End));
    assert!(!jobs.is_over());
}

#[test]
fn a_model_goes_when_leases_and_jobs_are_gone() {
    let mut jobs = table(1);
    let model = loaded(&mut jobs);
    let ticket = submit(&mut jobs, Task::With(model), NEVER, 1).unwrap();
    jobs.release(model).unwrap();
    assert_eq!(jobs.release(model), Err(ConfineError::ModelNotFound { model }));
    assert_eq!(jobs.admit(Task::With(model), NEVER.into(), Duration::ZERO), Err(ConfineError::ModelNotFound { model }));
    jobs.take_wake();
    assert_eq!(jobs.cancel(ticket), Some((1, 1)));
    assert!(jobs.take_wake().has(0));
    assert!(matches!(jobs.next(0, Duration::ZERO), Turn::Drop(models) if models == [model]));
}

#[test]
fn a_model_goes_with_the_last_job_that_was_refused() {
    let mut jobs = table(1);
    let model = loaded(&mut jobs);
    submit(&mut jobs, Task::With(model), SECOND, 1).unwrap();
    jobs.release(model).unwrap();
    assert_eq!(told(jobs.expire(SECOND)), [(1, ConfineError::Deadline { phase: JobPhase::Queued })]);
    assert!(matches!(jobs.next(0, SECOND), Turn::Drop(models) if models == [model]));
}

#[test]
fn the_timer_is_told_of_what_can_still_change() {
    let mut jobs = table(1);
    let model = loaded(&mut jobs);
    assert_eq!(jobs.next_expiry(Duration::ZERO), None);
    submit(&mut jobs, Task::With(model), 2 * SECOND, 1).unwrap();
    submit(&mut jobs, Task::With(model), NEVER, 2).unwrap();
    assert_eq!(jobs.next_expiry(Duration::ZERO), Some(2 * SECOND));
    assert_eq!(runs(&mut jobs, 0), Some(1));
    let running = ConfineError::Deadline { phase: JobPhase::Running };
    assert_eq!(told(jobs.expire(2 * SECOND)), [(1, running)]);
    assert_eq!(jobs.next_expiry(2 * SECOND), None, "its caller is told already");
    jobs.drain(2 * SECOND);
    assert_eq!(jobs.next_expiry(2 * SECOND), Some(7 * SECOND));
    assert_eq!(told(jobs.expire(7 * SECOND)), [(2, ConfineError::Stopped)]);
    assert_eq!(jobs.next_expiry(7 * SECOND), Some(8 * SECOND));
    jobs.expire(8 * SECOND);
    assert!(jobs.is_over() && !jobs.is_ended());
}

#[test]
fn a_pulse_is_interrupted_for_its_own_job_only() {
    let mut jobs = table(1);
    let model = loaded(&mut jobs);
    let tickets = [1, 2].map(|number| submit(&mut jobs, Task::With(model), NEVER, number).unwrap());
    let pulse = jobs.pulse(0).unwrap().clone();
    runs(&mut jobs, 0);
    jobs.cancel(tickets[1]);
    assert!(pulse.beat().is_ok());
    jobs.cancel(tickets[0]);
    assert!(pulse.beat().is_err());
    jobs.finish(0, Finish::Done, Duration::ZERO);
    submit(&mut jobs, Task::With(model), NEVER, 3).unwrap();
    runs(&mut jobs, 0);
    jobs.cancel(tickets[0]);
    assert!(pulse.beat().is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Submit { model: usize, rank: u8, seconds: Option<u64> },
    Load,
    Copy(usize),
    Release(usize),
    Turn(usize),
    Finish(usize, u8),
    Cancel(usize),
    Pass(u64),
    Abandon(usize),
    Drain,
}

fn event() -> impl Strategy<Value = Event> {
    let submit = (0..3_usize, 0..3_u8, prop::option::of(1..20_u64));
    prop_oneof![
        8 => submit.prop_map(|(model, rank, seconds)| Event::Submit { model, rank, seconds }),
        2 => Just(Event::Load),
        2 => (0..3_usize).prop_map(Event::Copy),
        1 => (0..3_usize).prop_map(Event::Release),
        8 => (0..3_usize).prop_map(Event::Turn),
        6 => (0..3_usize, 0..8_u8).prop_map(|(lane, how)| Event::Finish(lane, how)),
        2 => any::<usize>().prop_map(Event::Cancel),
        2 => (0..5_u64).prop_map(Event::Pass),
        1 => (0..12_usize).prop_map(Event::Abandon),
        1 => Just(Event::Drain),
    ]
}

/// Drives a table and keeps the account of who was told.
struct Driver {
    jobs: Table,
    now: Duration,
    models: Vec<ModelRef>,
    tickets: Vec<(Ticket, usize)>,
    /// The job on every lane.
    running: Vec<Option<usize>>,
    ended: Vec<bool>,
    submitted: usize,
    over: BTreeSet<usize>,
}

impl Driver {
    fn new(n_threads: usize) -> Self {
        Self {
            jobs: table(n_threads),
            now: Duration::ZERO,
            models: Vec::new(),
            tickets: Vec::new(),
            running: vec![None; n_threads],
            ended: vec![false; n_threads],
            submitted: 0,
            over: BTreeSet::new(),
        }
    }

    /// Notes that a caller was told, or has gone: never twice.
    fn note(&mut self, number: usize) {
        assert!(self.over.insert(number), "job {number} has two outcomes");
    }

    fn tell(&mut self, refusals: Vec<Refusal<usize, usize>>) {
        refusals.into_iter().for_each(|refusal| self.note(refusal.reply));
    }

    fn submit(&mut self, task: Task, call: Call) {
        if let Ok(lanes) = self.jobs.admit(task, call, self.now) {
            let number = self.submitted;
            self.submitted += 1;
            let ticket = self.jobs.push(NewJob { task, call, work: number, reply: number }, lanes, self.now);
            self.tickets.push((ticket, number));
        }
    }

    fn apply(&mut self, event: Event) {
        let model = |idx: usize| self.models.get(idx % self.models.len().max(1)).copied();
        let never = Call::from(NEVER);
        match event {
            Event::Load => {
                let model = ModelRef::unique();
                self.models.push(model);
                self.submit(Task::Load(model), never);
            }
            Event::Submit { model: idx, rank, seconds } => {
                let deadline = seconds.map_or(NEVER, |seconds| self.now + Duration::from_secs(seconds));
                if let Some(model) = model(idx) {
                    self.submit(Task::With(model), Call { deadline, rank: Rank(rank) });
                }
            }
            Event::Copy(idx) => model(idx).into_iter().for_each(|model| self.submit(Task::Copy(model), never)),
            Event::Release(idx) => {
                if let Some(model) = model(idx) {
                    let _released_or_gone = self.jobs.release(model);
                }
            }
            Event::Turn(lane) if lane < self.running.len() => self.turn(lane),
            Event::Finish(lane, how) if lane < self.running.len() => self.finish(lane, how),
            Event::Cancel(nth) if !self.tickets.is_empty() => {
                let (ticket, number) = self.tickets[nth % self.tickets.len()];
                if !self.over.contains(&number) {
                    self.jobs.cancel(ticket);
                    self.note(number);
                }
            }
            Event::Pass(seconds) => self.now += Duration::from_secs(seconds),
            Event::Abandon(lane) => {
                let refusals = self.jobs.abandon(lane);
                self.tell(refusals);
            }
            Event::Drain => self.jobs.drain(self.now),
            Event::Turn(_) | Event::Finish(..) | Event::Cancel(_) => {}
        }
        let late = self.jobs.expire(self.now);
        self.tell(late);
    }

    fn turn(&mut self, lane: usize) {
        if self.running[lane].is_some() || self.ended[lane] {
            return;
        }
        match self.jobs.next(lane, self.now) {
            Turn::Run(number) => {
                assert!(!self.over.contains(&number), "job {number} runs though it is over");
                self.running[lane] = Some(number);
            }
            Turn::End => {
                self.ended[lane] = true;
                let refusals = self.jobs.ended(lane);
                self.tell(refusals);
            }
            Turn::Drop(_) | Turn::Wait => {}
        }
    }

    fn finish(&mut self, lane: usize, how: u8) {
        let Some(number) = self.running[lane].take() else { return };
        let finish = [Finish::Poisoned, Finish::Failed].get(usize::from(how)).copied().unwrap_or(Finish::Done);
        let Delivery { reply, told } = self.jobs.finish(lane, finish, self.now);
        self.tell(told);
        assert_eq!(reply.is_none(), self.over.contains(&number), "a caller that waits gets its result");
        reply.into_iter().for_each(|reply| self.note(reply));
    }

    fn check(&self) {
        let stats = self.jobs.stats(self.now);
        let ended = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.stopped + stats.abandoned;
        assert_eq!(ended, self.over.len() as u64);
        assert!(stats.n_queued <= 4 && stats.n_models <= 3);
        let waiting = self.running.iter().flatten().filter(|number| !self.over.contains(number)).count();
        assert_eq!(self.submitted, self.over.len() + stats.n_queued + waiting, "no job is lost");
    }
}

proptest! {
    #[test]
    fn every_job_has_exactly_one_outcome(
        n_threads in 1..4_usize,
        events in prop::collection::vec(event(), 1..150),
    ) {
        let mut driver = Driver::new(n_threads);
        for event in events {
            driver.apply(event);
            driver.check();
        }
        driver.jobs.drain(driver.now);
        for _ in 0..driver.submitted + 2 {
            (0..n_threads).for_each(|lane| { driver.finish(lane, 9); driver.turn(lane); });
            driver.check();
        }
        prop_assert_eq!(driver.over.len(), driver.submitted, "a drain leaves nobody waiting");
        prop_assert!(driver.jobs.is_ended());
    }
}
