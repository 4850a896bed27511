//! What becomes of instances that were given up: their threads cannot be killed, so they are fenced off and counted
//! until they end by themselves. Pure.
//!
//! ```text
//! Serving => Fenced    given up; its thread, its memory and its permit are still out
//! Serving => Ended     its thread ended
//! Fenced  => Ended     its thread ended at last and returned its permit
//! ```

use std::collections::BTreeMap;

/// Where an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// It serves.
    Serving,
    /// It was given up and has not ended.
    Fenced,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FenceCounters {
    /// Instances that serve.
    pub serving: usize,
    /// Instances that were given up and have not ended.
    pub fenced: usize,
    /// Instances ever given up.
    pub fenced_total: u64,
    /// Instances that ended.
    pub ended_total: u64,
}

/// The instances of one pool. Ended ones are forgotten.
#[derive(Clone, Debug)]
pub struct Fences {
    instances: BTreeMap<u64, FenceState>,
    fenced_max: usize,
    counters: FenceCounters,
}

impl Fences {
    /// Fenced instances that may be out while replacements are still opened, unless told otherwise: each holds a
    /// thread and a model's memory.
    pub const FENCED_MAX: usize = 2;

    /// No instances. Replacements stop while more than `fenced_max` that were given up are still out.
    #[must_use]
    pub fn new(fenced_max: usize) -> Self {
        Self { instances: BTreeMap::new(), fenced_max, counters: FenceCounters::default() }
    }

    /// Instance `id` serves. Numbers are not used twice.
    pub fn opened(&mut self, id: u64) {
        if self.instances.insert(id, FenceState::Serving).is_none() {
            self.counters.serving += 1;
        }
    }

    /// Gives instance `id` up. `true`: it served until now.
    pub fn abandon(&mut self, id: u64) -> bool {
        let serves = self.instances.get_mut(&id).filter(|state| **state == FenceState::Serving);
        let Some(state) = serves else { return false };
        *state = FenceState::Fenced;
        self.counters.serving -= 1;
        self.counters.fenced += 1;
        self.counters.fenced_total += 1;
        true
    }

    /// The thread of instance `id` ended and its permit is back. Returns where the instance was; `None`: not known.
    pub fn ended(&mut self, id: u64) -> Option<FenceState> {
        let state = self.instances.remove(&id)?;
        match state {
            FenceState::Serving => self.counters.serving -= 1,
            FenceState::Fenced => self.counters.fenced -= 1,
        }
        self.counters.ended_total += 1;
        Some(state)
    }

    /// Where instance `id` is; `None`: it ended or never opened.
    #[must_use]
    pub fn state(&self, id: u64) -> Option<FenceState> {
        self.instances.get(&id).copied()
    }

    /// Whether an instance may be opened in place of one that was given up.
    #[must_use]
    pub fn may_replace(&self) -> bool {
        self.counters.fenced <= self.fenced_max
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> FenceCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::{FenceCounters, FenceState, Fences};
    use proptest::prelude::*;

    #[test]
    fn an_instance_is_given_up_once_and_ends_once() {
        let mut fences = Fences::new(Fences::FENCED_MAX);
        fences.opened(1);
        assert!(fences.abandon(1));
        assert!(!fences.abandon(1), "it was given up already");
        assert_eq!(fences.state(1), Some(FenceState::Fenced));
        assert_eq!(fences.ended(1), Some(FenceState::Fenced));
        assert_eq!(fences.ended(1), None);
        assert!(!fences.abandon(1), "it has ended");
        assert_eq!(fences.counters(), FenceCounters { fenced_total: 1, ended_total: 1, ..FenceCounters::default() });
    }

    #[test]
    fn nothing_is_replaced_while_too_many_are_still_out() {
        let mut fences = Fences::new(1);
        (0..2).for_each(|id| fences.opened(id));
        assert!(fences.abandon(0) && fences.may_replace());
        assert!(fences.abandon(1) && !fences.may_replace());
        assert_eq!(fences.ended(0), Some(FenceState::Fenced));
        assert!(fences.may_replace());
    }

    proptest! {
        #[test]
        fn counts_are_what_is_there(script in prop::collection::vec((0_u8..3, 0_u64..6), 0..100)) {
            let mut fences = Fences::new(0);
            for (what, id) in script {
                match what {
                    0 if fences.state(id).is_none() => fences.opened(id),
                    1 => drop(fences.abandon(id)),
                    _ => drop(fences.ended(id)),
                }
                let n = |wanted| (0..6).filter(|&id| fences.state(id) == Some(wanted)).count();
                prop_assert_eq!(fences.counters().serving, n(FenceState::Serving));
                prop_assert_eq!(fences.counters().fenced, n(FenceState::Fenced));
            }
        }
    }
}
