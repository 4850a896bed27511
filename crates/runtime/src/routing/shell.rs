//! A router that threads share: a lock around the pure one, and choices that come back by themselves.

use super::{
    AffinityKey, Availability, Choice, RolloutChange, RolloutState, Router, RoutingError, TargetId, TargetStats, Token,
};
use crate::breaker::Outcome;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A router behind a lock. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedRouter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    router: Mutex<Router>,
}

impl SharedRouter {
    /// Shares `router`.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self(Arc::new(Shared { router: Mutex::new(router) }))
    }

    /// Chooses who answers a request of `key`.
    ///
    /// # Errors
    /// If no target that may take it is up.
    pub fn pick(&self, key: AffinityKey) -> Result<ChoiceGuard, RoutingError> {
        let Choice { target, token } = self.lock().pick(key)?;
        Ok(ChoiceGuard { target, token: Some(token), router: self.clone() })
    }

    /// Says whether `target` takes requests. `false`: there is no such target.
    pub fn set_availability(&self, target: TargetId, availability: Availability) -> bool {
        self.lock().set_availability(target, availability)
    }

    /// Where the roll-out is, where there is one.
    #[must_use]
    pub fn rollout(&self) -> Option<RolloutState> {
        self.lock().rollout().map(super::Rollout::state)
    }

    /// Takes the new version back.
    pub fn roll_back(&self) -> Option<RolloutChange> {
        self.lock().rollout_mut()?.roll_back()
    }

    /// Gives the new version everything.
    pub fn promote(&self) -> Option<RolloutChange> {
        self.lock().rollout_mut()?.promote()
    }

    /// What is known of each target.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetStats> {
        self.lock().targets().to_vec()
    }

    /// No function of the pure router panics half-way, so that a poisoned lock guards whole data.
    fn lock(&self) -> MutexGuard<'_, Router> {
        self.0.router.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request at its target. Dropped without [`ChoiceGuard::report`], it counts as cancelled by the caller.
#[must_use = "dropping a choice gives it back"]
#[derive(Debug)]
pub struct ChoiceGuard {
    target: TargetId,
    /// `None` once it was given back.
    token: Option<Token>,
    router: SharedRouter,
}

impl ChoiceGuard {
    /// Who answers.
    #[must_use]
    pub fn target(&self) -> TargetId {
        self.target
    }

    /// Says what became of the request. Returns the roll-out's step, if it takes one.
    pub fn report(mut self, outcome: Outcome, now: Duration) -> Option<RolloutChange> {
        let token = self.token.take()?;
        self.router.lock().report(token, outcome, now)
    }

    /// Says that the target could not be used at all. Returns the roll-out's step, if it takes one, and who answers
    /// instead: where a roll-out sent the request to the new version, the old one.
    pub fn instead(mut self, outcome: Outcome, now: Duration) -> (Option<RolloutChange>, Option<Self>) {
        let Some(token) = self.token.take() else { return (None, None) };
        let (change, choice) = self.router.lock().instead(token, outcome, now);
        let guard = |Choice { target, token }| Self { target, token: Some(token), router: self.router.clone() };
        (change, choice.map(guard))
    }
}

impl Drop for ChoiceGuard {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.router.lock().release(token);
        }
    }
}
