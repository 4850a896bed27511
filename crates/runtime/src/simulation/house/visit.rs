//! Who comes to the house, and what each sees on its way.

use super::ledger::Ledger;
use super::played::{Loaded, Played, Scripted};
use super::scenario::{Course, NAMES, Opening, Plan, Scenario};
use crate::confine::Call;
use crate::instance_pool::{AcquireError, Permit, PoolError};
use crate::lifecycle::{
    Glimpse, InstanceId, Job, Lease, LifecycleError, ModelHouse, ModelId, ModelPlan, ModelState, SwapMode,
};
use ballast_backend::{Clock, ReasonCode};
use ballast_testkit::VirtualClock;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Where somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for a lease of a model.
    Asks {
        model: ModelId,
        since: Duration,
    },
    /// Has a lease and waits for a permit of its pool.
    Leases {
        instance: InstanceId,
        key: (u8, u64),
        since: Duration,
    },
    /// Has a permit, and opens the seat's instance or uses it.
    Holds {
        instance: InstanceId,
    },
    /// Waits for the end of a swap or of an unloading.
    Orders {
        since: Duration,
    },
    Gone,
}

/// What came of a visit.
#[derive(Clone, Debug)]
pub(super) enum End {
    Served,
    Lost,
    NoLease(LifecycleError),
    NoPermit(PoolError),
    NotOpened,
    Ordered,
    NotOrdered(LifecycleError),
}

impl End {
    pub(super) fn words(&self) -> (&'static str, Option<ReasonCode>) {
        match self {
            Self::Served => ("served", None),
            Self::Lost => ("gave its instance up", None),
            Self::NoLease(error) => ("no lease", error.reason()),
            Self::NoPermit(error) => ("no permit", error.reason()),
            Self::NotOpened => ("not opened", None),
            Self::Ordered => ("order carried out", None),
            Self::NotOrdered(error) => ("order refused", error.reason()),
        }
    }

    /// A swap that failed because its load did.
    pub(super) fn is_failed_load(&self) -> bool {
        matches!(self, Self::NotOrdered(LifecycleError::LoadFailed { .. }))
    }
}

/// What visitors see, and what they say of themselves.
pub(super) struct Around<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) house: ModelHouse<Loaded>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: VirtualClock,
    pub(super) ids: Vec<ModelId>,
    pub(super) stages: RefCell<Vec<Stage>>,
    /// Who is to be woken, when.
    pub(super) timers: RefCell<BinaryHeap<Reverse<(Duration, usize)>>>,
    /// When somebody last ordered a model to be unloaded.
    pub(super) unloaded_at: RefCell<BTreeMap<ModelId, Duration>>,
    /// Models that were served once.
    pub(super) served: RefCell<Vec<bool>>,
    /// Permits asked for, of whatever pool.
    pub(super) n_asked: Cell<u64>,
    /// The house is being closed.
    pub(super) is_closing: Cell<bool>,
}

impl Around<'_> {
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(super) fn go_to(&self, who: usize, stage: Stage) {
        self.stages.borrow_mut()[who] = stage;
    }

    async fn sleep(&self, who: usize, time: Duration) {
        let until = self.now() + time;
        self.timers.borrow_mut().push(Reverse((until, who)));
        poll_fn(|_| if self.now() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Carries out a load or a drop.
    pub(super) fn carry_out(&self, job: Job) {
        let given_up =
            self.house.look(|machine| machine.glimpses().filter(Glimpse::is_given_up).map(|it| it.id).collect());
        self.ledger.carry_out(job, given_up);
    }

    /// Whose sleep is over.
    pub(super) fn awake(&self, now: Duration) -> Vec<usize> {
        let (mut timers, mut awake) = (self.timers.borrow_mut(), Vec::new());
        while timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            awake.extend(timers.pop().map(|Reverse((_, who))| who));
        }
        awake
    }

    /// A visit from end to end.
    pub(super) async fn visit(&self, who: usize, plan: Plan) -> End {
        let lease = match self.lease(who, plan.model).await {
            Ok(lease) => lease,
            Err(error) => return End::NoLease(error),
        };
        let permit = match self.permit(who, &lease, &plan).await {
            Ok(permit) => permit,
            Err(AcquireError::Pool(error)) => return End::NoPermit(error),
            Err(AcquireError::Open(Scripted)) => return End::NotOpened,
        };
        permit.record_inference();
        let presence = permit.enter(self.scenario.pool.concurrency);
        self.sleep(who, plan.takes).await;
        drop(presence);
        match plan.course {
            Course::Done => {}
            Course::Panics => resume_unwind(Box::new(Scripted)),
            Course::Hangs => {
                permit.lose();
                return End::Lost;
            }
            Course::Crashes => permit.thread().crash(),
            Course::CrashesIdle => {
                let thread = permit.thread();
                drop(permit);
                thread.crash();
                return End::Served;
            }
        }
        if plan.keeps {
            std::mem::forget(permit);
        }
        End::Served
    }

    async fn lease(&self, who: usize, idx: usize) -> Result<Lease<Loaded>, LifecycleError> {
        let (id, since) = (&self.ids[idx], self.now());
        let before = self.house.status(id);
        let is_ready = before.is_some_and(|status| matches!(status.state, ModelState::Ready { .. }));
        let was_served = self.served.borrow()[idx];
        let must_be_ready = was_served && self.scenario.weather.serves_everybody() && !self.scenario.goes_first();
        assert!(is_ready || !must_be_ready, "visitor {who}: {id} is not served any more, but {before:?}");
        self.go_to(who, Stage::Asks { model: id.clone(), since });
        let lease = self.house.acquire_async(id).await;
        let waited = self.now() - since;
        match &lease {
            Ok(lease) => {
                assert!(!is_ready || waited.is_zero(), "visitor {who} waited {waited:?} for what was there");
                assert_eq!(lease.order.model, *id, "visitor {who} has the lease of another model");
                let version = before.filter(|_| is_ready).map(|status| status.version);
                assert!(version.is_none_or(|version| version == lease.order.version), "visitor {who}: an old version");
                assert!(self.ledger.is_alive(lease.order.instance), "visitor {who} has a model that is gone");
                self.served.borrow_mut()[idx] = true;
            }
            Err(error) => {
                assert!(!is_ready, "visitor {who} was refused what was there: {error}");
                self.check_no_lease(who, idx, since, error);
            }
        }
        lease
    }

    async fn permit(&self, who: usize, lease: &Loaded, plan: &Plan) -> Result<Permit<Played>, AcquireError<Scripted>> {
        let (since, instance, pool) = (self.now(), lease.order.instance, &lease.pool);
        let deadline = plan.deadline.map_or(Duration::MAX, |time| since + time);
        let number = self.n_asked.get() + 1;
        self.n_asked.set(number);
        self.go_to(who, Stage::Leases { instance, key: (plan.rank.0, number), since });
        let opening = async || {
            self.check_turn(who, pool.stats().waiting);
            self.go_to(who, Stage::Holds { instance });
            self.sleep(who, plan.opens_in).await;
            match plan.opening {
                Opening::Done => Ok(lease.open(plan.ends_after)),
                Opening::Fails => Err(Scripted),
                Opening::Panics => resume_unwind(Box::new(Scripted)),
            }
        };
        let permit = pool.acquire(Call { deadline, rank: plan.rank }, opening).await;
        match &permit {
            Ok(_) => {
                self.check_turn(who, pool.stats().waiting);
                self.go_to(who, Stage::Holds { instance });
            }
            Err(AcquireError::Pool(error)) => self.check_no_permit(who, since, deadline, *error, &pool.stats()),
            Err(AcquireError::Open(Scripted)) => assert_eq!(plan.opening, Opening::Fails, "visitor {who}"),
        }
        permit
    }

    pub(super) async fn swap(&self, who: usize, idx: usize, plan: ModelPlan, mode: SwapMode) -> End {
        let id = &self.ids[idx];
        self.go_to(who, Stage::Orders { since: self.now() });
        match self.house.swap_async(id, plan, mode).await {
            Ok(()) => {
                let version = self.house.status(id).map(|status| status.version);
                assert_eq!(version, Some(plan.version), "a swap of {id} is done, but not there");
                End::Ordered
            }
            Err(error) => End::NotOrdered(error),
        }
    }

    pub(super) async fn unload(&self, who: usize, idx: usize) -> End {
        let id = &self.ids[idx];
        self.go_to(who, Stage::Orders { since: self.now() });
        self.unloaded_at.borrow_mut().insert(id.clone(), self.now());
        let leaving: Vec<InstanceId> = self.house.look(|machine| machine.instances_of(id).map(|(it, _)| it).collect());
        match self.house.unload_async(id).await {
            Ok(()) => {
                assert!(!leaving.iter().any(|&it| self.ledger.is_alive(it)), "{id} is unloaded, but not gone");
                End::Ordered
            }
            Err(error) => End::NotOrdered(error),
        }
    }

    /// The names of the models of a scenario.
    pub(super) fn names(scenario: &Scenario) -> Vec<ModelId> {
        NAMES[..scenario.models.len()].iter().map(|name| ModelId::new(name)).collect()
    }
}
