//! The gate between admission and the queue: which requests may run, and with which obligations.
//!
//! Only this file makes an [`Approved`], and only an `Approved` can be scheduled: what a policy was not asked about
//! cannot reach an engine.

use crate::admission::{Admitted, QueuePermit};
use crate::{Request, RuntimeError};
use std::fmt;
use std::sync::Arc;

/// A policy's word on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run as it is.
    Allow,
    /// It may run within bounds.
    AllowWithin(Obligations),
    /// It may not run.
    Block {
        /// Which rule says so: a word for the caller and for labels.
        rule: &'static str,
    },
}

/// What a policy demands of a request that it allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// Most tokens to generate, whatever the request says.
    pub max_tokens: Option<usize>,
}

/// Decides about requests before they are queued.
pub trait InputPolicy: Send + Sync {
    /// The policy's word. Called on the caller's thread; must not block.
    fn review(&self, request: &Request) -> Verdict;
}

/// A request that a policy has allowed, or that runs where there is no policy.
#[derive(Debug)]
pub struct Approved {
    request: Request,
    /// Its place in the queue; `None` once it has been served.
    permit: Option<QueuePermit>,
}

impl Approved {
    /// What is asked for, with the policy's obligations put on it.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Notes that an engine has begun to run it: its time in the queue is over, wherever it goes on.
    pub(crate) fn end_queue_time(&mut self) {
        self.request.deadlines.queue = None;
    }

    /// The same for another engine, should the first fail. It had its place in the queue and needs none again.
    pub(crate) fn kept(&self) -> Self {
        Self { request: self.request.clone(), permit: None }
    }

    pub(crate) fn into_parts(self) -> (Request, Option<QueuePermit>) {
        (self.request, self.permit)
    }
}

/// The gate.
#[derive(Clone, Default)]
pub(crate) struct Governance {
    policy: Option<Arc<dyn InputPolicy>>,
}

impl fmt::Debug for Governance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governance").field("has_policy", &self.policy.is_some()).finish()
    }
}

impl Governance {
    pub(crate) fn new(policy: Option<Arc<dyn InputPolicy>>) -> Self {
        Self { policy }
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// If the policy blocks the request; its place in the queue is then free again.
    pub(crate) fn approve(&self, admitted: Admitted) -> Result<Approved, RuntimeError> {
        let Admitted { mut request, permit } = admitted;
        match self.policy.as_ref().map_or(Verdict::Allow, |policy| policy.review(&request)) {
            Verdict::Allow => {}
            Verdict::AllowWithin(Obligations { max_tokens }) => {
                request.max_tokens = [request.max_tokens, max_tokens].into_iter().flatten().min();
            }
            Verdict::Block { rule } => return Err(RuntimeError::PolicyBlocked { rule }),
        }
        Ok(Approved { request, permit: Some(permit) })
    }
}
