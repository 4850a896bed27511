//! How a supervised engine is: what operators see of each link.

use super::link::{LinkState, NotReady};
use crate::breaker::{BreakerCounters, Position};
use crate::instance_pool::PoolStats;
use crate::parity::LiveStats;
use crate::watchdog::FenceCounters;
use std::fmt;
use std::time::Duration;

/// Where a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// Its model is being prepared.
    Preparing,
    /// It answers, if its breaker lets it.
    Ready,
    /// It could not be prepared or did not prove itself, and why. For logs: it may name files.
    Failed(String),
}

/// How one link is.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkHealth {
    /// The engine's name.
    pub engine: &'static str,
    /// Where it is.
    pub phase: LinkPhase,
    /// What its breaker does with calls; `None`: it is not ready.
    pub breaker: Option<Position>,
    /// What its breaker counted.
    pub breaker_counters: BreakerCounters,
    /// Its instances and who waits for them; `None`: it is not ready.
    pub pool: Option<PoolStats>,
    /// Instances that serve and instances that were given up.
    pub fences: FenceCounters,
    /// Instances that were opened in place of lost ones.
    pub restarts: u64,
    /// Longest time since the last sign of life of an instance at work; `None`: none owes one.
    pub heartbeat_age: Option<Duration>,
    /// Comparisons with the next link.
    pub parity: LiveStats,
}

/// How a supervised engine is.
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisedHealth {
    /// Every link, in the order of the chain.
    pub links: Vec<LinkHealth>,
    /// Predictions in progress.
    pub n_predictions: usize,
    /// Whether no more are taken in.
    pub is_draining: bool,
}

impl SupervisedHealth {
    /// Whether a link could be asked now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let passes = |link: &LinkHealth| {
            link.breaker.is_some_and(|position| match position {
                Position::Closed | Position::HalfOpen | Position::ForcedClosed => true,
                Position::Open | Position::ForcedOpen => false,
            })
        };
        !self.is_draining && self.links.iter().any(passes)
    }
}

impl fmt::Display for LinkHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.engine)?;
        match (&self.phase, self.breaker, &self.pool) {
            (LinkPhase::Failed(why), _, _) => write!(f, "left out: {why}"),
            (LinkPhase::Preparing | LinkPhase::Ready, Some(breaker), Some(pool)) => {
                let FenceCounters { fenced, .. } = self.fences;
                write!(f, "breaker {}, {fenced} fenced, {} restarts; {pool}", breaker.as_str(), self.restarts)
            }
            (LinkPhase::Preparing | LinkPhase::Ready, _, _) => f.write_str("being prepared"),
        }
    }
}

impl LinkState {
    pub(super) fn health(&self) -> LinkHealth {
        let phase = match self.ready.get() {
            None => LinkPhase::Preparing,
            Some(Ok(_)) => LinkPhase::Ready,
            Some(Err(NotReady::Prepare(error))) => LinkPhase::Failed(error.to_string()),
            Some(Err(NotReady::Schema)) => LinkPhase::Failed("its inputs or outputs are not the chain's".to_owned()),
            Some(Err(NotReady::Unproven(fault))) => LinkPhase::Failed(format!("it did not prove itself: {fault}")),
            Some(Err(NotReady::Differs)) => {
                LinkPhase::Failed("its answers differ from the next engine's by more than the tolerance".to_owned())
            }
            Some(Err(NotReady::ThreadRefused)) => LinkPhase::Failed("the system refused a thread".to_owned()),
        };
        let ready = self.ready().ok();
        let crew = ready.map(|ready| ready.crew.state()).unwrap_or_default();
        LinkHealth {
            engine: self.engine(),
            phase,
            breaker: ready.map(|ready| ready.breaker.position()),
            breaker_counters: ready.map(|ready| ready.breaker.counters()).unwrap_or_default(),
            pool: ready.map(|ready| ready.pool.stats()),
            fences: crew.fences,
            restarts: crew.restarts,
            heartbeat_age: crew.heartbeat_age,
            parity: ready.and_then(|ready| Some(ready.sampler()?.stats())).unwrap_or_default(),
        }
    }
}
