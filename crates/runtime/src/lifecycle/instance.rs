//! One instance of a model, and where it is in its life.

use super::{LoadPart, ModelId, ModelPlan};
use std::time::Duration;

/// The table stands at the top of `lifecycle.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Queued { since: Duration },
    Loading { since: Duration },
    Ready,
    Draining,
    Abandoned { since: Duration },
    Stuck,
    Ending,
}

/// Why an instance is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Callers wait for it; without them it may be given up.
    Callers,
    /// The house wants it, whoever waits.
    House,
}

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) model: ModelId,
    pub(super) plan: ModelPlan,
    pub(super) part: LoadPart,
    pub(super) purpose: Purpose,
    pub(super) phase: Phase,
    /// Those who wait while it is Queued or Loading, those who use it when it is Ready or Draining.
    pub(super) claims: u32,
    pub(super) last_used: Duration,
}

impl Instance {
    pub(super) fn queued(model: ModelId, plan: ModelPlan, part: LoadPart, purpose: Purpose, now: Duration) -> Self {
        Self { model, plan, part, purpose, phase: Phase::Queued { since: now }, claims: 0, last_used: now }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.plan.bytes_of(self.part)
    }

    /// Whether it stays, or is to come.
    pub(super) fn is_committed(&self) -> bool {
        match self.phase {
            Phase::Queued { .. } | Phase::Loading { .. } | Phase::Ready => true,
            Phase::Draining | Phase::Abandoned { .. } | Phase::Stuck | Phase::Ending => false,
        }
    }

    /// Whether it takes room, or counts on room, that others may not count on.
    pub(super) fn takes_room(&self) -> bool {
        self.is_committed() || self.phase == Phase::Stuck
    }

    /// Whether it takes memory.
    pub(super) fn is_held(&self) -> bool {
        !matches!(self.phase, Phase::Queued { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.claims == 0
    }

    /// When its keep-alive ends; `None`: it is not idle, or has none.
    pub(super) fn expires_at(&self) -> Option<Duration> {
        let keep_alive = self.plan.keep_alive.filter(|_| self.is_idle())?;
        Some(self.last_used.saturating_add(keep_alive))
    }
}
