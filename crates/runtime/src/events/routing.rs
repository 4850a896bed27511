//! Versions of a model that get traffic, and lose it.

use crate::routing::{RollbackReason, RolloutChange, RolloutState};
use crate::telemetry::{Event, Fields, Level, Metrics};

/// The roll-out of a new version took a step. Which roll-out, its owner knows: names of models are no words of the
/// program.
#[derive(Clone, Copy, Debug)]
pub struct RolloutChanged {
    /// The step.
    pub change: RolloutChange,
}

impl Event for RolloutChanged {
    const NAME: &'static str = "rollout_changed";
    const MESSAGE: &'static str = "the roll-out of a version took a step";

    fn level(&self) -> Level {
        match self.change.to {
            RolloutState::Stage { .. } | RolloutState::Promoted => Level::Info,
            RolloutState::RolledBack { .. } => Level::Error,
        }
    }

    fn count(&self, _: &Metrics) {}

    fn fields(&self) -> Fields {
        let RolloutChange { from, to } = self.change;
        Fields::of([
            ("from", word(from).into()),
            ("from_percent", percent(from).into()),
            ("to", word(to).into()),
            ("to_percent", percent(to).into()),
            ("reason", reason(to).into()),
        ])
    }
}

fn word(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Stage { .. } => "stage",
        RolloutState::Promoted => "promoted",
        RolloutState::RolledBack { .. } => "rolled_back",
    }
}

/// The new version's share of the keys.
fn percent(state: RolloutState) -> u32 {
    match state {
        RolloutState::Stage { percent, .. } => u32::from(percent),
        RolloutState::Promoted => 100,
        RolloutState::RolledBack { .. } => 0,
    }
}

fn reason(state: RolloutState) -> Option<&'static str> {
    match state {
        RolloutState::Stage { .. } | RolloutState::Promoted => None,
        RolloutState::RolledBack { reason } => Some(match reason {
            RollbackReason::FailureRate => "failure_rate",
            RollbackReason::FailuresInRow => "failures_in_row",
            RollbackReason::ByHand => "by_hand",
        }),
    }
}
