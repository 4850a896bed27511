//! What the model checker runs.

use super::desk::Desk;
use super::error::ConfineError;
use super::model::ModelRef;
use super::options::{Call, ConfineOptions, ConfineStats};
use super::parts::{NewJob, Task, Ticket};
use super::slot::{Answer, Slot};
use super::work::{Lend, Open};
use ballast_testkit::VirtualClock;
use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(1);

/// A handle that counts its drops.
struct Handle(Arc<AtomicUsize>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct House {
    desk: Arc<Desk<Handle>>,
    clock: VirtualClock,
    owner: JoinHandle<()>,
    model: ModelRef,
    n_dropped: Arc<AtomicUsize>,
    n_ran: Arc<AtomicUsize>,
}

/// An owner thread with one model.
fn house() -> House {
    let clock = VirtualClock::new();
    let desk = Arc::new(Desk::new(&ConfineOptions::default(), Arc::new(clock.clone())));
    let at = Arc::clone(&desk);
    let owner = thread::spawn(move || at.serve(0));
    let (model, slot) = (ModelRef::unique(), Arc::new(Slot::new()));
    let n_dropped = Arc::new(AtomicUsize::new(0));
    let handle = Arc::clone(&n_dropped);
    let open = move |_: &_| Ok::<_, Infallible>(Handle(handle));
    let work = Box::new(Open::new(model, open, (), Arc::clone(&slot)));
    desk.submit(NewJob { task: Task::Load(model), call: Call::from(Duration::MAX), work, reply: slot.clone() })
        .unwrap();
    slot.wait().unwrap().unwrap().unwrap();
    House { desk, clock, owner, model, n_dropped, n_ran: Arc::default() }
}

impl House {
    fn submit(&self) -> Result<(Ticket, Answer<usize>), ConfineError> {
        let (slot, n_ran) = (Arc::new(Slot::new()), Arc::clone(&self.n_ran));
        let run = move |_: &mut Handle, _: &_| n_ran.fetch_add(1, Ordering::SeqCst) + 1;
        let work = Box::new(Lend::new(self.model, run, Arc::clone(&slot)));
        let reply = slot.clone();
        let ticket = self.desk.submit(NewJob { task: Task::With(self.model), call: DEADLINE.into(), work, reply })?;
        Ok((ticket, slot))
    }

    /// Runs `act` on another thread while one job is submitted and waited for.
    fn against(self, act: impl FnOnce(&Desk<Handle>) + 'static) -> (Result<usize, ConfineError>, Self) {
        let desk = Arc::clone(&self.desk);
        let other = thread::spawn(move || act(&desk));
        let outcome = self.submit().and_then(|(_, slot)| slot.wait().unwrap());
        other.join().unwrap();
        (outcome, self)
    }

    /// Ends the thread; every handle is gone then, and every job counted once.
    fn end(self) -> ConfineStats {
        self.desk.drain();
        self.owner.join().unwrap();
        self.desk.when_over().wait().unwrap();
        assert!(self.desk.is_ended());
        assert_eq!(self.n_dropped.load(Ordering::SeqCst), 1);
        let stats = self.desk.stats();
        let ended = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.stopped + stats.abandoned;
        assert_eq!(ended, stats.submitted);
        assert_eq!(stats.n_queued, 0);
        stats
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(test);
}

#[test]
fn a_job_against_its_cancellation() {
    check(|| {
        let house = house();
        let (ticket, slot) = house.submit().unwrap();
        house.desk.cancel(ticket);
        drop(slot);
        let n_ran = Arc::clone(&house.n_ran);
        let stats = house.end();
        assert_eq!(stats.done + stats.cancelled, 2);
        assert!(n_ran.load(Ordering::SeqCst) <= 1);
    });
}

#[test]
fn a_job_against_the_end_of_its_thread() {
    check(|| {
        let (outcome, house) = house().against(|desk| desk.abandon(0..1));
        assert!(matches!(outcome, Ok(1) | Err(ConfineError::Abandoned)), "{outcome:?}");
        house.end();
    });
}

#[test]
fn a_job_against_the_drain() {
    check(|| {
        let (outcome, house) = house().against(Desk::drain);
        assert!(matches!(outcome, Ok(1) | Err(ConfineError::Stopped)), "{outcome:?}");
        house.end();
    });
}

#[test]
fn a_job_against_its_deadline() {
    check(|| {
        let house = house();
        let clock = house.clock.clone();
        let (outcome, house) = house.against(move |desk| {
            clock.advance(DEADLINE);
            desk.expire();
        });
        assert!(matches!(outcome, Ok(1) | Err(ConfineError::Deadline { .. })), "{outcome:?}");
        house.end();
    });
}

#[test]
fn a_job_against_the_end_of_its_lease() {
    check(|| {
        let house = house();
        let model = house.model;
        let (outcome, house) = house.against(move |desk| desk.release(model).unwrap());
        assert!(matches!(outcome, Ok(1) | Err(ConfineError::ModelNotFound { .. })), "{outcome:?}");
        house.end();
    });
}
