//! Claims and uses that give themselves back.

use super::house::{House, Outcome, Seat};
use super::{Claim, LifecycleError};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A claim that is given back when it is dropped.
pub(super) struct ClaimGuard<M: Send + Sync + 'static> {
    /// `None` only while dropping.
    claim: Option<Claim>,
    house: Arc<House<M>>,
}

impl<M: Send + Sync + 'static> ClaimGuard<M> {
    pub(super) fn new(claim: Claim, house: Arc<House<M>>) -> Self {
        Self { claim: Some(claim), house }
    }
}

impl<M: Send + Sync + 'static> Drop for ClaimGuard<M> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.house.run(|machine, now| machine.release(claim, now));
        }
    }
}

/// A wait for a model. Fields are dropped in this order: who learns that nobody waits may count on the model being
/// held by the house alone.
pub(super) struct Waiting<M: Send + Sync + 'static> {
    pub(super) seat: Arc<Seat<M>>,
    pub(super) claim: ClaimGuard<M>,
}

impl<M: Send + Sync + 'static> Waiting<M> {
    /// Looks at how the load has ended, if it has.
    pub(super) fn lease(self) -> Looked<M> {
        match self.seat.outcome() {
            None => Looked::Waits(self),
            Some(Outcome::Redirected) => Looked::Redirected,
            Some(Outcome::Refused(error)) => Looked::Over(Err(error.clone())),
            Some(Outcome::Loaded(model)) => Looked::Over(Ok(Lease { model: Arc::clone(model), claim: self.claim })),
        }
    }
}

/// What somebody sees who waits for a model.
pub(super) enum Looked<M: Send + Sync + 'static> {
    /// The load has not ended.
    Waits(Waiting<M>),
    /// Another instance answers; its claim is void.
    Redirected,
    Over(Result<Lease<M>, LifecycleError>),
}

/// A use of a loaded model; dropping it ends the use. The model is not dropped before its last lease.
pub struct Lease<M: Send + Sync + 'static> {
    // Dropped before the claim, as in `Waiting`.
    model: Arc<M>,
    claim: ClaimGuard<M>,
}

impl<M: Send + Sync + 'static> Deref for Lease<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M: Send + Sync + 'static> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.claim.claim).finish()
    }
}
