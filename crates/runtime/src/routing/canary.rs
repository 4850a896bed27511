//! How a new version gets its traffic, and how it loses it again. Pure.
//!
//! ```text
//! Stage(i) => Stage(i + 1)   enough samples and time in stage i
//! Stage(n) => Promoted       the same in the last stage; all traffic is the new version's
//! Stage(i) => RolledBack     it fails more than the old one may, or too often in a row; it gets no traffic any more
//! ```

use super::{RoutingError, TargetId, TargetStats};
use crate::breaker::{Outcome, Weight, Window};
use crate::retry::mix;
use std::time::Duration;

/// Most stages of a plan.
pub const STAGES_MAX: usize = 16;

/// Which version is rolled out in the place of which, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryPlan {
    /// The old version.
    pub baseline: TargetId,
    /// The new version.
    pub canary: TargetId,
    /// How.
    pub terms: CanaryTerms,
}

/// How a new version is rolled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryTerms {
    /// Shares of the keys that the new version gets, in percent, growing. Default 5, 25, 50, 100. A key that it has
    /// once, it keeps.
    pub stages: Vec<u8>,
    /// Reports of the new version in a stage before the next begins. Default 100.
    pub stage_samples_min: u32,
    /// Time in a stage before the next begins. Default 5 min; `Duration::MAX` holds the stage.
    pub stage_time_min: Duration,
    /// By how many percentage points the new version's failure rate may be above the old one's. Default 5.
    pub failure_budget_percent: u8,
    /// Reports of the new version in the window before rates are compared. Default 20.
    pub samples_min: u32,
    /// Failures in a row after which the new version is taken back at once, at least 1. Default 5.
    pub failures_in_row_max: u32,
    /// Latency above which an answer counts as a failure of its version; `None`: none does. Default `None`.
    pub sla: Option<Duration>,
    /// How far back rates count. Default 10 min.
    pub window: Duration,
}

impl Default for CanaryTerms {
    fn default() -> Self {
        Self {
            stages: vec![5, 25, 50, 100],
            stage_samples_min: 100,
            stage_time_min: Duration::from_secs(5 * 60),
            failure_budget_percent: 5,
            samples_min: 20,
            failures_in_row_max: 5,
            sla: None,
            window: Duration::from_secs(10 * 60),
        }
    }
}

/// Why a version was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RollbackReason {
    /// It failed more often than the old one and the budget allow.
    FailureRate,
    /// It failed too often in a row.
    FailuresInRow,
    /// A person said so.
    ByHand,
}

/// Where a roll-out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// The new version has a share.
    Stage {
        /// Which stage, from 0.
        idx: usize,
        /// The share, in percent.
        percent: u8,
    },
    /// The new version has everything.
    Promoted,
    /// The new version has nothing.
    RolledBack {
        /// Why.
        reason: RollbackReason,
    },
}

/// A step of a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutChange {
    /// Where it was.
    pub from: RolloutState,
    /// Where it is.
    pub to: RolloutState,
}

/// Indices into the window's counters.
const BASELINE_GOOD: usize = 0;
const BASELINE_BAD: usize = 1;
const CANARY_GOOD: usize = 2;
const CANARY_BAD: usize = 3;

/// A roll-out in progress.
#[derive(Clone, Debug)]
pub struct Rollout {
    terms: CanaryTerms,
    state: RolloutState,
    window: Window<4>,
    stage_samples: u32,
    /// When the stage's first report came; before that, no time passes.
    stage_began_at: Option<Duration>,
    failures_in_row: u32,
}

impl Rollout {
    pub(super) fn new(terms: CanaryTerms) -> Result<Self, RoutingError> {
        let is_growing = terms.stages.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = terms.stages.len() <= STAGES_MAX && terms.stages.iter().all(|&percent| percent <= 100);
        let Some(&percent) = terms.stages.first().filter(|_| is_growing && fits) else {
            return Err(RoutingError::Stages);
        };
        let (state, window) = (RolloutState::Stage { idx: 0, percent }, Window::new(terms.window));
        Ok(Self { terms, state, window, stage_samples: 0, stage_began_at: None, failures_in_row: 0 })
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> RolloutState {
        self.state
    }

    /// Takes the new version back, now or after its promotion.
    pub fn roll_back(&mut self) -> Option<RolloutChange> {
        match self.state {
            RolloutState::Stage { .. } | RolloutState::Promoted => {
                Some(self.enter(RolloutState::RolledBack { reason: RollbackReason::ByHand }))
            }
            RolloutState::RolledBack { .. } => None,
        }
    }

    /// Gives the new version everything. One that was taken back stays so: it is rolled out anew, by a new router.
    pub fn promote(&mut self) -> Option<RolloutChange> {
        match self.state {
            RolloutState::Stage { .. } => Some(self.enter(RolloutState::Promoted)),
            RolloutState::Promoted | RolloutState::RolledBack { .. } => None,
        }
    }

    /// Index of the target for a key: 0 the baseline, 1 the canary. A version that is down leaves its keys to the
    /// other, but one that was taken back gets none.
    pub(super) fn pick(&self, hash: u64, targets: &[TargetStats]) -> Option<usize> {
        let (wants_canary, may_canary) = match self.state {
            // A hash of its own: the key's hash also decides elsewhere.
            RolloutState::Stage { percent, .. } => (mix(hash, 0) % 100 < u64::from(percent), true),
            RolloutState::Promoted => (true, true),
            RolloutState::RolledBack { .. } => (false, false),
        };
        match (wants_canary, targets[0].is_up(), may_canary && targets[1].is_up()) {
            (true, _, true) | (false, false, true) => Some(1),
            (_, true, _) => Some(0),
            (_, false, false) => None,
        }
    }

    pub(super) fn report_baseline(&mut self, outcome: Outcome, now: Duration) -> Option<RolloutChange> {
        match outcome.weight(self.terms.sla) {
            Weight::Nothing => return None,
            Weight::Good => self.window.add(BASELINE_GOOD, now),
            Weight::Bad | Weight::Late => self.window.add(BASELINE_BAD, now),
        }
        None
    }

    pub(super) fn report_canary(&mut self, outcome: Outcome, now: Duration) -> Option<RolloutChange> {
        match outcome.weight(self.terms.sla) {
            Weight::Nothing => return None,
            Weight::Good => {
                self.window.add(CANARY_GOOD, now);
                self.failures_in_row = 0;
            }
            Weight::Bad | Weight::Late => {
                self.window.add(CANARY_BAD, now);
                self.failures_in_row += 1;
            }
        }
        let RolloutState::Stage { idx, .. } = self.state else { return None };
        self.stage_samples = self.stage_samples.saturating_add(1);
        let began_at = *self.stage_began_at.get_or_insert(now);
        if let Some(reason) = self.over_budget(now) {
            return Some(self.enter(RolloutState::RolledBack { reason }));
        }
        let is_done = self.stage_samples >= self.terms.stage_samples_min
            && now.saturating_sub(began_at) >= self.terms.stage_time_min;
        is_done.then(|| {
            let next = self.terms.stages.get(idx + 1);
            let next = next.map_or(RolloutState::Promoted, |&percent| RolloutState::Stage { idx: idx + 1, percent });
            self.enter(next)
        })
    }

    fn over_budget(&mut self, now: Duration) -> Option<RollbackReason> {
        if self.failures_in_row >= self.terms.failures_in_row_max.max(1) {
            return Some(RollbackReason::FailuresInRow);
        }
        let totals = self.window.totals(now);
        let [_, baseline_bad, _, canary_bad] = totals.map(u128::from);
        let n_canary = u128::from(totals[CANARY_GOOD] + totals[CANARY_BAD]);
        // Without a report of the old version its rate counts as 0.
        let n_baseline = u128::from(totals[BASELINE_GOOD] + totals[BASELINE_BAD]).max(1);
        let allowed = (baseline_bad * 100 + n_baseline * u128::from(self.terms.failure_budget_percent)) * n_canary;
        let is_over = n_canary >= u128::from(self.terms.samples_min) && canary_bad * 100 * n_baseline > allowed;
        is_over.then_some(RollbackReason::FailureRate)
    }

    fn enter(&mut self, to: RolloutState) -> RolloutChange {
        let from = self.state;
        self.state = to;
        (self.stage_samples, self.stage_began_at) = (0, None);
        RolloutChange { from, to }
    }
}
