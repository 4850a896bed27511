//! Which version or replica of a model answers: canary, A/B, affinity, balance. Pure; [`SharedRouter`] is the shell that
//! threads share.
//!
//! ```text
//! pick(key)  a canary's share or an arm's share of the keys, the key's own replica, or the less loaded of two
//! report()   what became of it: load and latency of the target, and the roll-out's next step
//! ```
//!
//! A choice costs no allocation and depends on the seed, the key, the number of the pick and what was reported only.

mod balance;
mod canary;
mod shell;

pub use canary::{CanaryPlan, CanaryTerms, RollbackReason, Rollout, RolloutChange, RolloutState, STAGES_MAX};
pub use shell::{ChoiceGuard, SharedRouter};

use crate::breaker::{Outcome, Weight};
use crate::retry::mix;
use ballast_backend::{ErrorKind, ReasonCode};
use std::fmt;
use std::time::Duration;

/// Most targets of one router.
pub const TARGETS_MAX: usize = 64;

/// A version or a replica, by a number of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What requests that belong together have in common: a conversation, a user, a prefix, or nothing but a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AffinityKey(u64);

impl AffinityKey {
    /// The key of a name. FNV-1a, 64 bits.
    #[must_use]
    pub fn of_bytes(name: &[u8]) -> Self {
        let offset = 0xcbf2_9ce4_8422_2325;
        Self(name.iter().fold(offset, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The key of a number, such as a request's.
    #[must_use]
    pub fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// A target and its part of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Which.
    pub target: TargetId,
    /// Its part, relative to the others'.
    pub weight: u32,
}

/// How targets are chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// A growing share of the keys goes to a new version, which is taken back if it fails more than the old one.
    Canary(CanaryPlan),
    /// A/B: every key belongs to one arm, in proportion to the weights.
    Split(Vec<Arm>),
    /// Every key belongs to one replica, by rendezvous hashing.
    Affinity(Vec<TargetId>),
    /// Of two replicas drawn by weight, the one with less work at hand.
    Balance(Vec<Arm>),
}

/// Whether a target takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Up,
    /// It does not; its keys go elsewhere until it does.
    Down,
}

/// Errors of routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// No target, or too many.
    #[error("routing: expected 1 to {TARGETS_MAX} targets, got {got}")]
    Targets {
        /// How many.
        got: usize,
    },
    /// The same target twice.
    #[error("routing: expected different targets, got {target} twice")]
    TargetTwice {
        /// Which.
        target: TargetId,
    },
    /// Weights that are all zero, or whose sum is too large.
    #[error("routing: expected weights with a sum of 1 to 4294967295, got {sum}")]
    Weights {
        /// Their sum.
        sum: u64,
    },
    /// Stages that do not grow, or go over 100 %.
    #[error("canary: expected 1 to {max} growing stages of at most 100 percent", max = STAGES_MAX)]
    Stages,
    /// No target that is up may take the request.
    #[error("routing: expected a target that is up, got none")]
    NoneUp,
}

impl RoutingError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Targets { .. } | Self::TargetTwice { .. } | Self::Weights { .. } | Self::Stages => ErrorKind::Invalid,
            Self::NoneUp => ErrorKind::Unavailable,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Targets { .. } | Self::TargetTwice { .. } | Self::Weights { .. } | Self::Stages => None,
            Self::NoneUp => Some(ReasonCode::EngineUnavailable),
        }
    }
}

/// Stands for a request at its target. Give it back with [`Router::report`] or [`Router::release`].
#[must_use = "a token that is not given back counts as work for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    target_idx: usize,
}

/// The answer to [`Router::pick`].
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who answers.
    pub target: TargetId,
    /// To report with.
    pub token: Token,
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetStats {
    /// Which.
    pub target: TargetId,
    /// Whether it takes requests.
    pub availability: Availability,
    /// Requests picked for it and not given back.
    pub outstanding: u64,
    /// Requests picked for it.
    pub picks: u64,
    /// Requests it answered.
    pub successes: u64,
    /// Requests it failed.
    pub failures: u64,
    /// Moving average of its latency, nine parts of the old and one of the new; `None`: nothing was reported.
    pub latency: Option<Duration>,
}

impl TargetStats {
    fn new(target: TargetId) -> Self {
        let (outstanding, picks, successes, failures) = (0, 0, 0, 0);
        Self { target, availability: Availability::Up, outstanding, picks, successes, failures, latency: None }
    }

    fn is_up(&self) -> bool {
        self.availability == Availability::Up
    }
}

/// What the strategy decides with; indices are into the router's targets.
#[derive(Clone, Debug)]
enum Plan {
    /// Target 0 is the baseline, 1 the canary.
    Canary(Box<Rollout>),
    Split(Vec<u32>),
    Affinity,
    Balance(Vec<u32>),
}

/// The targets of a roll-out.
const BASELINE_IDX: usize = 0;
const CANARY_IDX: usize = 1;

/// Chooses targets and learns from what is reported.
#[derive(Clone, Debug)]
pub struct Router {
    targets: Vec<TargetStats>,
    plan: Plan,
    seed: u64,
    n_picks: u64,
}

impl Router {
    /// A router whose targets are all up. The same seed gives the same choices.
    ///
    /// # Errors
    /// If the strategy names no target, one twice, too many, weights that give nobody anything, or stages that do not
    /// grow.
    pub fn new(strategy: Strategy, seed: u64) -> Result<Self, RoutingError> {
        let split = |arms: Vec<Arm>| arms.into_iter().map(|arm| (arm.target, arm.weight)).unzip();
        let (ids, plan): (Vec<TargetId>, Plan) = match strategy {
            Strategy::Canary(plan) => {
                (vec![plan.baseline, plan.canary], Plan::Canary(Box::new(Rollout::new(plan.terms)?)))
            }
            Strategy::Split(arms) => {
                let (ids, weights) = split(arms);
                (ids, Plan::Split(checked(weights)?))
            }
            Strategy::Affinity(ids) => (ids, Plan::Affinity),
            Strategy::Balance(arms) => {
                let (ids, weights) = split(arms);
                (ids, Plan::Balance(checked(weights)?))
            }
        };
        if ids.is_empty() || ids.len() > TARGETS_MAX {
            return Err(RoutingError::Targets { got: ids.len() });
        }
        if let Some((_, &target)) = ids.iter().enumerate().find(|&(idx, id)| ids[..idx].contains(id)) {
            return Err(RoutingError::TargetTwice { target });
        }
        Ok(Self { targets: ids.into_iter().map(TargetStats::new).collect(), plan, seed, n_picks: 0 })
    }

    /// Chooses who answers a request of `key`.
    ///
    /// # Errors
    /// If no target that may take it is up.
    pub fn pick(&mut self, key: AffinityKey) -> Result<Choice, RoutingError> {
        let hash = mix(self.seed, key.0);
        let target_idx = match &self.plan {
            Plan::Canary(rollout) => rollout.pick(hash, &self.targets),
            Plan::Split(weights) => balance::by_weight(&self.targets, weights, hash),
            Plan::Affinity => balance::by_rendezvous(&self.targets, hash),
            Plan::Balance(weights) => balance::less_loaded_of_two(&self.targets, weights, mix(self.seed, self.n_picks)),
        };
        let target_idx = target_idx.ok_or(RoutingError::NoneUp)?;
        self.n_picks += 1;
        let stats = &mut self.targets[target_idx];
        stats.outstanding += 1;
        stats.picks += 1;
        Ok(Choice { target: stats.target, token: Token { target_idx } })
    }

    /// Takes note of what became of a request. Returns the roll-out's step, if it takes one.
    pub fn report(&mut self, token: Token, outcome: Outcome, now: Duration) -> Option<RolloutChange> {
        let target_idx = token.target_idx;
        self.release(token);
        let stats = &mut self.targets[target_idx];
        match outcome.weight(None) {
            Weight::Nothing => return None,
            Weight::Good | Weight::Late => stats.successes += 1,
            Weight::Bad => stats.failures += 1,
        }
        stats.latency = Some(balance::average(stats.latency, outcome));
        match &mut self.plan {
            Plan::Canary(rollout) if target_idx == BASELINE_IDX => rollout.report_baseline(outcome, now),
            Plan::Canary(rollout) => rollout.report_canary(outcome, now),
            Plan::Split(_) | Plan::Affinity | Plan::Balance(_) => None,
        }
    }

    /// Takes note that the target could not be used at all, as [`Router::report`] does, and chooses who answers instead:
    /// where a roll-out sent the request to the new version, the old one. `None`: nobody else may.
    pub fn instead(
        &mut self,
        token: Token,
        outcome: Outcome,
        now: Duration,
    ) -> (Option<RolloutChange>, Option<Choice>) {
        let is_canary = matches!(self.plan, Plan::Canary(_)) && token.target_idx == CANARY_IDX;
        let change = self.report(token, outcome, now);
        let baseline = self.targets.first_mut().filter(|baseline| is_canary && baseline.is_up());
        let choice = baseline.map(|baseline| {
            baseline.outstanding += 1;
            baseline.picks += 1;
            Choice { target: baseline.target, token: Token { target_idx: BASELINE_IDX } }
        });
        (change, choice)
    }

    /// Takes note that a request ended without saying anything about its target.
    pub fn release(&mut self, token: Token) {
        self.targets[token.target_idx].outstanding -= 1;
    }

    /// Says whether `target` takes requests. `false`: there is no such target.
    pub fn set_availability(&mut self, target: TargetId, availability: Availability) -> bool {
        let found = self.targets.iter_mut().find(|stats| stats.target == target);
        found.map(|stats| stats.availability = availability).is_some()
    }

    /// The roll-out, where there is one.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        match &self.plan {
            Plan::Canary(rollout) => Some(rollout),
            Plan::Split(_) | Plan::Affinity | Plan::Balance(_) => None,
        }
    }

    /// The roll-out, for a person's decisions.
    pub fn rollout_mut(&mut self) -> Option<&mut Rollout> {
        match &mut self.plan {
            Plan::Canary(rollout) => Some(rollout),
            Plan::Split(_) | Plan::Affinity | Plan::Balance(_) => None,
        }
    }

    /// What is known of each target.
    #[must_use]
    pub fn targets(&self) -> &[TargetStats] {
        &self.targets
    }
}

fn checked(weights: Vec<u32>) -> Result<Vec<u32>, RoutingError> {
    let sum = weights.iter().map(|&weight| u64::from(weight)).sum();
    if (1..=u64::from(u32::MAX)).contains(&sum) { Ok(weights) } else { Err(RoutingError::Weights { sum }) }
}

#[cfg(test)]
mod tests;
