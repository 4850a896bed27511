//! What a supervised engine is made of, its bounds, and what is asked of one prediction.

use crate::breaker::BreakerOptions;
use crate::buffer_pool::BufferPoolOptions;
use crate::instance_pool::PoolOptions;
use crate::parity::{InputOptions, LiveOptions, Tolerances};
use crate::retry::{Backoff, RetryBudgetOptions, RetryPolicy};
use crate::telemetry::{CorrelationId, Telemetry, TenantId};
use crate::watchdog::{Fences, WatchdogOptions};
use crate::{Priority, confine::Rank};
use ballast_backend::{Clock, InferenceEngine, ModelArtifact, PrepareOptions, Prepared};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Most links of a chain.
pub const LINKS_MAX: usize = 8;

/// Bytes an engine uses now; `None`: it cannot tell. Called every [`SupervisedOptions::memory_every`], must not wait.
pub type MemoryProbe = dyn Fn() -> Option<u64> + Send + Sync;

/// One engine of a chain, and the model it runs.
#[derive(Clone)]
pub struct Link {
    /// The engine.
    pub engine: Arc<dyn InferenceEngine>,
    /// Its model. Every link's has the same inputs and outputs.
    pub model: LinkModel,
    /// What tells the memory the engine uses, for its breaker; `None`: nothing does.
    pub memory: Option<Arc<MemoryProbe>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("engine", &self.engine.name()).field("model", &self.model).finish_non_exhaustive()
    }
}

/// A model, prepared or to be prepared.
#[derive(Clone, Debug)]
pub enum LinkModel {
    /// Made ready before.
    Prepared(Prepared),
    /// To be made ready by the link's engine, on a thread of its own.
    Artifact {
        /// The model.
        artifact: ModelArtifact,
        /// How.
        options: PrepareOptions,
    },
}

/// What comes from outside.
#[derive(Clone)]
pub struct SupervisedParts {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where events go. If nothing counts them, the engine does by itself.
    pub telemetry: Telemetry,
}

impl fmt::Debug for SupervisedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedParts").field("telemetry", &self.telemetry).finish_non_exhaustive()
    }
}

/// When a supervised engine begins to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMode {
    /// When every link is prepared, or has failed to be.
    #[default]
    Wait,
    /// When one link is prepared. The others are prepared in the background; each joins with one instance open.
    Warm,
}

/// How answers are compared while serving. The next link of the chain counts as right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveParity {
    /// Which answers, and what is too much.
    pub live: LiveOptions,
    /// How much an answer may differ.
    pub tolerances: Tolerances,
}

/// What a link must show before it joins the chain, where a link behind it is ready: its first instance opens, and
/// answers inputs from a seed as the next link does, which counts as right. A link that does not is left out for good.
///
/// Where no inputs can be made from a seed, or the next link does not take them, opening is all that is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promotion {
    /// The inputs.
    pub inputs: InputOptions,
    /// How many. Default 4.
    pub n_samples: u32,
    /// How much an answer may differ.
    pub tolerances: Tolerances,
    /// Longest time one answer may take. Default 1 min.
    pub answer_max: Duration,
}

impl Promotion {
    /// The usual samples, held to these tolerances.
    #[must_use]
    pub fn new(tolerances: Tolerances) -> Self {
        let (inputs, answer_max) = (InputOptions::default(), Duration::from_secs(60));
        Self { inputs, n_samples: 4, tolerances, answer_max }
    }
}

/// Bounds of a supervised engine. Pool, breaker, watchdog, restart and retry are each link's own.
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisedOptions {
    /// When it begins to answer.
    pub start: StartMode,
    /// Longest wait for links to be prepared, at the start. Default 10 min.
    pub prepare_max: Duration,
    /// Instances, and who waits for them.
    pub pool: PoolOptions,
    /// Output tensors that are kept for the next answer.
    pub buffers: BufferPoolOptions,
    /// When a link is not asked. Where it names no SLA, the prepared model's own estimate is taken.
    pub breaker: BreakerOptions,
    /// When an instance at work counts as dead.
    pub watchdog: WatchdogOptions,
    /// Longest time the opening of an instance may take. Default 2 min.
    pub open_max: Duration,
    /// How long a call whose deadline has passed may take to return before its instance is given up. Default 1 s.
    pub return_grace: Duration,
    /// Instances that were given up and have not ended, up to which others are still replaced. Default 2.
    pub fenced_max: usize,
    /// Calls in a row that fail before their instance is replaced. Default 3.
    pub failures_max: u32,
    /// How long the place of a lost instance stays empty.
    pub restart: Backoff,
    /// How often a link runs a prediction again that failed under it. Default: once, after 10 ms.
    pub retry: RetryPolicy,
    /// How many retries there may be, all links together.
    pub retry_budget: RetryBudgetOptions,
    /// Share of the time left that a link may use while another could still answer, in percent. Default 50.
    pub link_share_percent: u8,
    /// How answers are compared while serving; `None`: they are not.
    pub parity: Option<LiveParity>,
    /// What a link must show before it joins; `None`: that it can be prepared.
    pub promotion: Option<Promotion>,
    /// How often the links' memory is looked at. Default 1 s.
    pub memory_every: Duration,
    /// How late, in system time, a watcher or a waiter may learn that time has passed. Default 5 ms.
    pub tick: Duration,
}

impl Default for SupervisedOptions {
    fn default() -> Self {
        Self {
            start: StartMode::Wait,
            prepare_max: Duration::from_secs(600),
            pool: PoolOptions::default(),
            buffers: BufferPoolOptions::default(),
            breaker: BreakerOptions::default(),
            watchdog: WatchdogOptions::default(),
            open_max: Duration::from_secs(120),
            return_grace: Duration::from_secs(1),
            fenced_max: Fences::FENCED_MAX,
            failures_max: 3,
            restart: Backoff::default(),
            retry: RetryPolicy {
                backoff: Backoff { initial: Duration::from_millis(10), ..Backoff::default() },
                ..RetryPolicy::default()
            },
            retry_budget: RetryBudgetOptions::default(),
            link_share_percent: 50,
            parity: None,
            promotion: None,
            memory_every: Duration::from_secs(1),
            tick: Duration::from_millis(5),
        }
    }
}

/// What is asked of one prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictOptions {
    /// Longest time until the answer, with every retry and fallback. Default 5 s.
    pub deadline: Duration,
    /// What ties its events together; `None`: a number.
    pub correlation: Option<CorrelationId>,
    /// Whose it is.
    pub tenant: TenantId,
    /// How soon it gets an instance.
    pub priority: Priority,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            correlation: None,
            tenant: TenantId::default(),
            priority: Priority::NORMAL,
        }
    }
}

/// The place in line of a comparison: after everybody.
pub(super) const SHADOW_RANK: Rank = Rank(u8::MAX);

/// The place in line of a priority.
pub(super) fn rank(priority: Priority) -> Rank {
    let Rank(middle) = Rank::default();
    Rank(middle.saturating_add_signed(-priority.level()))
}

#[cfg(test)]
mod tests {
    use super::{SHADOW_RANK, rank};
    use crate::confine::ConfineOptions;
    use crate::{Priority, SchedulerOptions};

    #[test]
    fn calls_age_as_requests_do() {
        assert_eq!(ConfineOptions::default().age_step, SchedulerOptions::default().age_step);
    }

    #[test]
    fn higher_priorities_come_sooner_and_comparisons_last() {
        let levels = [Priority::MAX, Priority::HIGH, Priority::NORMAL, Priority::LOW, Priority::MIN];
        let ranks = levels.map(rank);
        assert!(ranks.is_sorted() && ranks[0] < ranks[1] && ranks[3] < ranks[4]);
        assert!(ranks[4] < SHADOW_RANK);
    }
}
