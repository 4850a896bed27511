//! A prediction's way along the chain: which link is asked, how often, and what the caller is told.

use super::Shared;
use super::error::{Next, PredictError, PredictFault};
use super::link::{Answer, Ask, Attempt, LinkState, Ready};
use super::outputs::Outputs;
use crate::events::{Degraded, FallbackEngaged, Retried};
use crate::instance_pool::PoolError;
use crate::retry::Replay;
use ballast_backend::{Dispatch, ReasonCode};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Prediction {
    /// The outputs.
    pub outputs: Outputs,
    /// Name of the engine that answered.
    pub engine: &'static str,
    /// What did not go as it should and was made good: `FALLBACK_ENGAGED` with the reason, `RETRIED`, `SLA_VIOLATED`.
    pub degraded: Vec<ReasonCode>,
    /// Where the work ran, if the engine can tell.
    pub dispatch: Option<Dispatch>,
    /// Where the time went.
    pub latency: PredictLatency,
    /// How often it was run again.
    pub retries: u32,
}

/// Where the time of a prediction went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictLatency {
    /// Waiting for an instance, in all attempts.
    pub pool_wait: Duration,
    /// The run that gave the answer.
    pub run: Duration,
    /// All of it.
    pub total: Duration,
}

/// What has happened so far.
#[derive(Default)]
struct Tale {
    retries: u32,
    pool_wait: Duration,
    retry_after: Option<Duration>,
    /// Why the link before did not answer.
    before: Option<(&'static str, PredictFault)>,
}

impl Shared {
    /// Asks one link after the other until one answers, `deadline` passes, or asking on makes no sense.
    pub(super) async fn answer(&self, ask: &Ask, deadline: Duration) -> Result<Prediction, PredictError> {
        let began = self.parts.clock.now();
        let mut tale = Tale::default();
        self.budget().note_request(began);
        for idx in 0..self.links.len() {
            let link = &self.links[idx];
            match self.ask_link(idx, ask, deadline, &mut tale).await {
                Ok(answer) => {
                    self.shadow(idx, ask, &answer);
                    return Ok(self.prediction(link, ask, answer, began, tale));
                }
                Err(fault) => {
                    tale.note_retry_after(link, &fault);
                    let next = fault.next();
                    tale.before = Some((link.engine(), fault));
                    if next == Next::Stop || self.keeper.is_draining() || self.parts.clock.now() >= deadline {
                        break;
                    }
                }
            }
        }
        Err(self.error(tale, deadline))
    }

    /// Asks one link, again where that is allowed.
    async fn ask_link(
        &self,
        idx: usize,
        ask: &Ask,
        deadline: Duration,
        tale: &mut Tale,
    ) -> Result<Answer, PredictFault> {
        let ready = self.links[idx].ready()?;
        let limit = self.limit(idx, deadline);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Attempt { pool_wait, end } = ready.attempt(ask, limit).await;
            tale.pool_wait += pool_wait;
            let fault = match end {
                Ok(answer) if answer.must_compare => return self.verified(idx, ask, answer, deadline).await,
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let now = self.parts.clock.now();
            let again_at = now.saturating_add(self.options.retry.wait(attempts));
            let may = fault.next() == Next::Retry
                && !self.keeper.is_draining()
                && again_at < limit
                && self.options.retry.may_retry(fault.kind(), 0, attempts, Replay::Safe)
                && self.budget().try_spend(now);
            if !may {
                return Err(fault);
            }
            tale.retries += 1;
            self.parts.telemetry.emit_for(ask.ids(), &Retried);
            self.keeper.sleep_until(again_at).await;
        }
    }

    /// Until when a link may try: to the end if no other could answer after it.
    fn limit(&self, idx: usize, deadline: Duration) -> Duration {
        if !self.links[idx + 1..].iter().any(LinkState::is_usable) {
            return deadline;
        }
        let now = self.parts.clock.now();
        let share = f64::from(self.options.link_share_percent.min(100)) / 100.0;
        now.saturating_add(deadline.saturating_sub(now).mul_f64(share))
    }

    fn prediction(&self, link: &LinkState, ask: &Ask, answer: Answer, began: Duration, tale: Tale) -> Prediction {
        let Answer { outputs, dispatch, run, is_late, .. } = answer;
        let mut degraded = Vec::new();
        if let Some((_, fault)) = &tale.before {
            let reason = fault.reason().unwrap_or(ReasonCode::EngineFailed);
            self.parts.telemetry.emit_for(ask.ids(), &FallbackEngaged { engine: link.engine(), reason });
            degraded.extend([ReasonCode::FallbackEngaged, reason]);
        }
        degraded.extend((tale.retries > 0).then_some(ReasonCode::Retried));
        degraded.extend(is_late.then_some(ReasonCode::SlaViolated));
        for reason in &degraded {
            self.parts.telemetry.emit_for(ask.ids(), &Degraded { reason: *reason });
        }
        let total = self.parts.clock.now().saturating_sub(began);
        let latency = PredictLatency { pool_wait: tale.pool_wait, run, total };
        Prediction { outputs, engine: link.engine(), degraded, dispatch, latency, retries: tale.retries }
    }

    fn error(&self, tale: Tale, deadline: Duration) -> PredictError {
        let Tale { retries, retry_after, before, .. } = tale;
        let (engine, fault) = before.expect("a chain has a link, and it did not answer");
        let is_over = self.parts.clock.now() >= deadline;
        let fault = match fault.next() {
            Next::Stop => fault,
            Next::Retry | Next::Fallback if self.keeper.is_draining() => PredictFault::Draining,
            Next::Retry | Next::Fallback if is_over => PredictFault::Deadline,
            Next::Retry | Next::Fallback => fault,
        };
        PredictError { engine, fault, retry_after, retries }
    }
}

impl Tale {
    fn note_retry_after(&mut self, link: &LinkState, fault: &PredictFault) {
        let ready = link.ready().ok();
        let known = match fault {
            PredictFault::Rejected(rejected) => rejected.retry_after,
            PredictFault::AllLost => ready.and_then(|ready: &Ready| ready.crew.all_lost().flatten()),
            PredictFault::Pool(PoolError::Exhausted { .. } | PoolError::TimedOut { .. }) => {
                ready.and_then(|ready| ready.pool.stats().wait_mean)
            }
            PredictFault::Draining
            | PredictFault::Input(_)
            | PredictFault::Preparing
            | PredictFault::NotPrepared
            | PredictFault::Pool(PoolError::Deadline | PoolError::ThreadRefused)
            | PredictFault::Deadline
            | PredictFault::Late
            | PredictFault::Open(_)
            | PredictFault::Engine(_)
            | PredictFault::Output { .. }
            | PredictFault::Panicked
            | PredictFault::Stalled
            | PredictFault::Thread(_)
            | PredictFault::Parity
            | PredictFault::Unverified(_) => None,
        };
        self.retry_after = [self.retry_after, known].into_iter().flatten().min();
    }
}
