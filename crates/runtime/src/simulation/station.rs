//! One engine of the chain: its owner, in the place of whose thread stands virtual time, and its instances.

use super::dice::Dice;
use super::engine::{Course, Instance, Scripted, Step};
use super::scenario::EnginePlan;
use crate::engine_thread::{EngineThread, StepJob};
use crate::owner::{Message, Opener, Owner};
use crate::replica::{Crew, Replica};
use crate::runtime::RuntimeParts;
use ballast_backend::{EngineError, ErrorKind, Pulse};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Names of the engines of a chain.
pub(super) const NAMES: [&str; super::scenario::CHAIN_MAX] = ["first", "second", "third"];

/// Messages that an owner has not heard; it hears them all before time goes on.
const INBOX: usize = 4096;

/// An instance that was asked for.
type Newborn = (u64, Receiver<StepJob>, Pulse);

pub(super) struct Station {
    pub(super) idx: usize,
    pub(super) plan: EnginePlan,
    pub(super) owner: Option<Owner>,
    pub(super) wake_at: Option<Duration>,
    pub(super) instance: Instance,
    /// Instances that were given up while they worked.
    abandoned: Vec<Instance>,
    outbox: SyncSender<Message>,
    newborns: Receiver<Newborn>,
    pub(super) memory_bytes: u64,
    /// Its owner has not looked since something may have come.
    pub(super) is_behind: bool,
}

/// What an engine told its owner.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) generation: u64,
    pub(super) course: Course,
    /// The requests of the step; `None`: it was being opened.
    pub(super) who: Option<Vec<usize>>,
    /// Those among them whose shares end with a new token.
    pub(super) sampled: Vec<usize>,
}

impl Station {
    /// A replica of a plan and the station behind it.
    pub(super) fn new(idx: usize, plan: &EnginePlan, parts: &RuntimeParts) -> (Replica, Self) {
        let (outbox, inbox) = sync_channel(INBOX);
        let (bear, newborns) = sync_channel(4);
        let (engine, jobs) = EngineThread::played();
        let instance = Instance::new(0, jobs, engine.pulse.clone(), plan);
        let opener: Option<Opener> = plan.reopens.then(|| -> Opener {
            Box::new(move |generation| {
                let (engine, jobs) = EngineThread::played();
                bear.try_send((generation, jobs, engine.pulse.clone())).expect("births are noted at once");
                engine
            })
        });
        let shape = crate::owner::usable(&plan.shape);
        let crew = Crew { name: NAMES[idx], shape, engine, opener };
        let (replica, owner) = Replica::assemble(crew, parts.for_replica(), (outbox.clone(), inbox));
        let station = Self {
            idx,
            plan: plan.clone(),
            owner: Some(owner),
            wake_at: Some(Duration::ZERO),
            instance,
            abandoned: Vec::new(),
            outbox,
            newborns,
            memory_bytes: 0,
            is_behind: false,
        };
        (replica, station)
    }

    /// When an engine says something.
    pub(super) fn next_call_end(&self) -> Option<Duration> {
        let ends = self.instances().filter_map(|instance| instance.call.as_ref()?.until);
        ends.min()
    }

    fn instances(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&self.instance).chain(&self.abandoned)
    }

    /// Ends the calls whose time has come. What they tell is in the owner's inbox then.
    pub(super) fn end_calls(&mut self, now: Duration, dice: &mut Dice) -> Vec<Told> {
        let mut told = Vec::new();
        let is_faulty = now < self.plan.heals_at;
        for instance in std::iter::once(&mut self.instance).chain(&mut self.abandoned) {
            let Some(call) = instance.call.take_if(|call| call.until.is_some_and(|until| until <= now)) else {
                continue;
            };
            let (generation, course) = (instance.generation, call.course);
            let sampled = call.step.as_ref().map(Step::sampled).unwrap_or_default();
            told.push(Told { generation, course, who: call.step.as_ref().map(|step| step.who.clone()), sampled });
            let message = match call.step {
                Some(step) => {
                    self.memory_bytes += if is_faulty { self.plan.temper.leaks } else { 0 };
                    let (outcome, job) = instance.finish(course, step, dice);
                    instance.is_gone = course == Course::Panicked || instance.pulse.is_abandoned();
                    Message::Stepped { generation, outcome, job }
                }
                None => {
                    let outcome = match course {
                        Course::Done => Ok(self.plan.shape.clone()),
                        Course::Failed(kind) => Err(EngineError::new(kind, Scripted)),
                        Course::Panicked => Err(EngineError::new(ErrorKind::Internal, Scripted)),
                    };
                    instance.is_gone = outcome.is_err() || instance.pulse.is_abandoned();
                    Message::Opened { generation, outcome }
                }
            };
            if self.owner.is_some() {
                self.outbox.try_send(message).expect("the owner hears everything at once");
            }
        }
        self.abandoned.retain(|instance| instance.call.is_some());
        told
    }

    /// Takes in an instance that was asked for. The one before must have ended or been given up.
    pub(super) fn take_newborn(&mut self, now: Duration, dice: &mut Dice) -> Option<u64> {
        let (generation, jobs, pulse) = self.newborns.try_recv().ok()?;
        assert_eq!(generation, self.instance.generation + 1, "generations go up by one");
        assert!(self.instance.is_gone || self.instance.pulse.is_abandoned(), "two instances at a time");
        let mut born = Instance::new(generation, jobs, pulse, &self.plan);
        born.call = Some(self.plan.open_course(now, dice));
        self.memory_bytes = 0;
        let before = std::mem::replace(&mut self.instance, born);
        self.abandoned.extend(Some(before).filter(|before| before.call.is_some()));
        Some(generation)
    }

    /// The step that was handed to the present instance, if one was.
    pub(super) fn take_job(&mut self) -> Option<StepJob> {
        let job = self.instance.inbox.try_recv().ok()?;
        assert!(self.instance.call.is_none(), "an engine was given two steps at once");
        assert!(!self.instance.is_gone && !self.instance.pulse.is_abandoned(), "a lost engine was given a step");
        self.instance.pulse.resume();
        Some(job)
    }

    /// The requests whose step failed with the instance that was given up just now.
    pub(super) fn take_stall(&mut self) -> Option<Vec<usize>> {
        if !self.instance.pulse.is_abandoned() || self.instance.is_gone {
            return None;
        }
        self.instance.is_gone = true;
        let step = self.instance.call.as_ref()?.step.as_ref()?;
        Some(step.who.clone())
    }

    pub(super) fn begin(&mut self, step: Step, is_poisoned: bool, now: Duration, dice: &mut Dice) {
        self.instance.call = Some(self.plan.step_course(step, is_poisoned, now, dice));
    }

    /// Signs of life, and what follows from an interruption.
    pub(super) fn beat(&mut self, now: Duration) {
        let obeys = self.plan.temper.obeys || now >= self.plan.heals_at;
        for instance in std::iter::once(&mut self.instance).chain(&mut self.abandoned) {
            instance.beat(obeys, now);
        }
    }
}
