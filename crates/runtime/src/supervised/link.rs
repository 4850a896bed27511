//! One engine of the chain at work: its breaker, its instances, one attempt at a prediction.

use super::crew::{Crew, Instance};
use super::error::PredictFault;
use super::job::{Job, Opener, Ran, Seat};
use super::options::{Link, LiveParity, SupervisedOptions, SupervisedParts};
use super::outputs::{Buffers, LastShapes, Outputs};
use crate::breaker::{BreakerOptions, CircuitBreaker, Outcome, PassGuard, Position, Transition};
use crate::buffer_pool::BufferPool;
use crate::confine::{Call, ConfineError, Rank};
use crate::events::{BreakerChanged, InferenceEnded, PoolWait};
use crate::instance_pool::{AcquireError, InstancePool, PoolError};
use crate::parity::LiveSampler;
use crate::telemetry::{CorrelationId, FailureMode, Ids, Stage, TenantId};
use ballast_backend::{Dispatch, EngineError, ErrorKind, IoSchema, Prepared, TensorMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// An engine of the chain.
pub(super) struct LinkState {
    pub(super) link: Link,
    /// Empty while it is being prepared.
    pub(super) ready: OnceLock<Result<Ready, NotReady>>,
}

/// Why a link will never answer.
#[derive(Debug)]
pub(super) enum NotReady {
    Prepare(Arc<EngineError>),
    Schema,
    ThreadRefused,
    /// What was asked of it before it joins failed.
    Unproven(PredictFault),
    /// It answers otherwise than the next link.
    Differs,
}

/// A prepared link.
pub(super) struct Ready {
    pub(super) crew: Arc<Crew>,
    pub(super) pool: InstancePool<Instance>,
    pub(super) breaker: CircuitBreaker,
    /// What one run may take.
    sla: Option<Duration>,
    opener: Arc<Opener>,
    schema: Arc<IoSchema>,
    buffers: BufferPool,
    shapes: LastShapes,
    sampler: Option<Mutex<LiveSampler>>,
}

/// A prediction on its way along the chain.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) number: u64,
    pub(super) inputs: Arc<TensorMap>,
    pub(super) rank: Rank,
    pub(super) correlation: CorrelationId,
    pub(super) tenant: TenantId,
}

impl Ask {
    pub(super) fn ids(&self) -> Ids<'_> {
        Ids::new(&self.correlation, &self.tenant)
    }
}

/// One link's answer.
pub(super) struct Answer {
    pub(super) outputs: Outputs,
    pub(super) dispatch: Option<Dispatch>,
    pub(super) run: Duration,
    pub(super) is_late: bool,
    /// The breaker closes only after this answer was compared.
    pub(super) must_compare: bool,
}

/// One attempt of one link.
pub(super) struct Attempt {
    pub(super) pool_wait: Duration,
    pub(super) end: Result<Answer, PredictFault>,
}

impl LinkState {
    pub(super) fn new(link: Link) -> Self {
        Self { link, ready: OnceLock::new() }
    }

    pub(super) fn engine(&self) -> &'static str {
        self.link.engine.name()
    }

    pub(super) fn ready(&self) -> Result<&Ready, PredictFault> {
        match self.ready.get() {
            None => Err(PredictFault::Preparing),
            Some(Err(_)) => Err(PredictFault::NotPrepared),
            Some(Ok(ready)) => Ok(ready),
        }
    }

    /// Whether asking it now makes sense.
    pub(super) fn is_usable(&self) -> bool {
        self.ready().is_ok_and(|ready| {
            let rejects = matches!(ready.breaker.position(), Position::Open | Position::ForcedOpen);
            !rejects && ready.crew.all_lost().is_none()
        })
    }
}

impl Ready {
    /// A link with so many behind it.
    pub(super) fn new(
        (link, n_behind): (&Link, usize),
        prepared: Prepared,
        schema: Arc<IoSchema>,
        buffers: BufferPool,
        (parts, options): (&SupervisedParts, &SupervisedOptions),
    ) -> Result<Self, PoolError> {
        let engine = link.engine.name();
        let pool = InstancePool::new(options.pool, Arc::clone(&parts.clock))?;
        let sla = options.breaker.sla.or(Some(prepared.sla_estimate).filter(|sla| !sla.is_zero()));
        // Late answers are a reason to ask the next link. Where there is none they are better than no answers, unless
        // whoever runs the engine says otherwise.
        let sla_to_open = if n_behind > 0 { sla } else { options.breaker.sla };
        let telemetry = parts.telemetry.clone();
        let observer = move |Transition { from, to, cause }: Transition| {
            let cause = cause.map_or("recovered", |cause| cause.as_str());
            telemetry.emit(&BreakerChanged { engine, from: from.as_str(), to: to.as_str(), cause });
        };
        Ok(Self {
            crew: Arc::new(Crew::new(engine, Arc::clone(&parts.clock), parts.telemetry.clone(), options.clone())),
            pool,
            breaker: CircuitBreaker::new(BreakerOptions { sla: sla_to_open, ..options.breaker.clone() }, observer),
            sla,
            opener: Arc::new(Opener { engine: Arc::clone(&link.engine), prepared }),
            schema,
            buffers,
            shapes: LastShapes::default(),
            sampler: options.parity.map(|LiveParity { live, .. }| Mutex::new(LiveSampler::new(live))),
        })
    }

    pub(super) fn sampler(&self) -> Option<MutexGuard<'_, LiveSampler>> {
        self.sampler.as_ref().map(|sampler| sampler.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens one instance, so that the first prediction finds it open.
    pub(super) async fn warm_up(&self) -> Result<(), PredictFault> {
        let limit = self.crew.clock.now().saturating_add(self.crew.options.open_max);
        let permit = self.permit(Call::from(limit)).await?;
        let ran = self.submit(permit, None, limit).await?;
        ran.end.map(|_| ())
    }

    /// Tries once, until `limit` at the latest.
    pub(super) async fn attempt(&self, ask: &Ask, limit: Duration) -> Attempt {
        let nothing_waited = |fault| Attempt { pool_wait: Duration::ZERO, end: Err(fault) };
        if self.crew.all_lost().is_some() {
            return nothing_waited(PredictFault::AllLost);
        }
        let clock = Arc::clone(&self.crew.clock);
        let pass = match self.breaker.try_pass(clock.now()) {
            Ok(pass) => pass,
            Err(rejected) => return nothing_waited(rejected.into()),
        };
        let must_compare = pass.is_probe() && self.breaker.wants_parity();
        let asked_at = clock.now();
        let permit = self.permit(Call { deadline: limit, rank: ask.rank }).await;
        let pool_wait = clock.now().saturating_sub(asked_at);
        self.crew.telemetry.emit_for(ask.ids(), &PoolWait { duration: pool_wait });
        let end = match permit {
            Ok(permit) => {
                let began = clock.now();
                let ran = self.submit(permit, Some(Arc::clone(&ask.inputs)), limit).await;
                let end = ran.and_then(|ran| self.finish(ran, must_compare));
                self.account(ask, pass, &end, began);
                end
            }
            Err(fault) => Err(fault),
        };
        Attempt { pool_wait, end }
    }

    async fn permit(&self, call: Call) -> Result<Seated, PredictFault> {
        let crew = Arc::clone(&self.crew);
        let acquired = self.pool.acquire(call, async move || crew.hire().await).await;
        let permit = acquired.map_err(|error| match error {
            AcquireError::Pool(error) => PredictFault::Pool(error),
            AcquireError::Open(error) => PredictFault::Thread(error),
        })?;
        permit.record_inference();
        let body = Arc::clone(&permit.body);
        Ok(Seated { body, seat: Seat::new(permit) })
    }

    /// Sends the call to the instance's thread and waits for what becomes of it.
    async fn submit(&self, at: Seated, inputs: Option<Arc<TensorMap>>, limit: Duration) -> Result<Ran, PredictFault> {
        let Seated { body, seat } = at;
        let buffers = Buffers::take(&self.buffers, &self.schema, &self.shapes, &self.crew.telemetry)?;
        let (crew, opener) = (Arc::clone(&self.crew), Arc::clone(&self.opener));
        let job = Job { seat, body: Arc::clone(&body), crew, opener, inputs, buffers, deadline: limit };
        let ran = body.client.with(body.model, limit, move |cell, pulse| job.run(cell, pulse)).await;
        ran.map_err(|error| match error {
            ConfineError::Deadline { .. } => PredictFault::Deadline,
            ConfineError::Abandoned => PredictFault::Stalled,
            ConfineError::Panicked => PredictFault::Panicked,
            ConfineError::ModelNotFound { .. }
            | ConfineError::ModelLost { .. }
            | ConfineError::TooManyModels { .. }
            | ConfineError::NoThreadLeft { .. }
            | ConfineError::QueueFull { .. }
            | ConfineError::Stopped
            | ConfineError::ThreadRefused => PredictFault::Thread(error),
        })
    }

    fn finish(&self, ran: Ran, must_compare: bool) -> Result<Answer, PredictFault> {
        let Ran { condemned, buffers, run, end } = ran;
        let outputs = buffers.into_outputs();
        drop(condemned);
        let dispatch = end?;
        outputs.check(&self.schema)?;
        self.shapes.note(&self.schema, &outputs);
        let is_late = self.sla.is_some_and(|sla| run > sla);
        Ok(Answer { outputs, dispatch, run, is_late, must_compare })
    }

    /// Tells breaker and telemetry what became of a call that began at `began`.
    fn account(&self, ask: &Ask, pass: PassGuard, end: &Result<Answer, PredictFault>, began: Duration) {
        let now = self.crew.clock.now();
        let waited = now.saturating_sub(began);
        let outcome = match end {
            Ok(answer) => Some(Outcome::Success { latency: answer.run }),
            Err(fault) => self.outcome(fault, waited),
        };
        match outcome {
            Some(outcome) => pass.record(outcome, now),
            None => drop(pass),
        }
        if let Err(PredictFault::Thread(_)) = end {
            return;
        }
        self.crew.telemetry.emit_for(
            ask.ids(),
            &InferenceEnded {
                engine: self.crew.engine,
                duration: end.as_ref().map_or(waited, |answer| answer.run),
                outcome: match end {
                    Ok(_) => Ok(()),
                    Err(fault) => Err(FailureMode::of(Stage::Run, fault.kind(), fault.reason())),
                },
                dispatch: end.as_ref().ok().and_then(|answer| answer.dispatch),
                sla_violated: end.as_ref().is_ok_and(|answer| answer.is_late),
            },
        );
    }

    /// What a fault says about the engine; `None`: nothing.
    fn outcome(&self, fault: &PredictFault, waited: Duration) -> Option<Outcome> {
        match fault {
            // Whoever gives an engine less time than its service level cannot blame it.
            PredictFault::Deadline if self.sla.is_some_and(|sla| waited < sla) => None,
            PredictFault::Deadline | PredictFault::Late | PredictFault::Stalled => Some(Outcome::TimedOut),
            PredictFault::Engine(error) => Some(Outcome::Failed(error.kind())),
            // A model that cannot be opened at all is no fault of the caller's.
            PredictFault::Open(error) => Some(Outcome::Failed(match error.kind() {
                ErrorKind::Invalid => ErrorKind::Internal,
                kind @ (ErrorKind::Denied
                | ErrorKind::Overloaded
                | ErrorKind::Unavailable
                | ErrorKind::Cancelled
                | ErrorKind::Internal) => kind,
            })),
            PredictFault::Output { .. } | PredictFault::Panicked => Some(Outcome::Failed(ErrorKind::Internal)),
            PredictFault::Draining
            | PredictFault::Input(_)
            | PredictFault::Preparing
            | PredictFault::NotPrepared
            | PredictFault::AllLost
            | PredictFault::Rejected(_)
            | PredictFault::Pool(_)
            | PredictFault::Thread(_)
            | PredictFault::Parity
            | PredictFault::Unverified(_) => None,
        }
    }
}

/// A permit that is about to travel.
struct Seated {
    body: Arc<super::crew::Body>,
    seat: Seat,
}
