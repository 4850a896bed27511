//! A request at the version that a route chose, which learns what became of it.

use super::lease::{Housed, ModelLease};
use super::routes::Visit;
use crate::{Answer, Engine, Error, Generate};
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::breaker::Outcome;
use ballast_runtime::lifecycle::{Lease, LifecycleError, ModelId};
use ballast_runtime::{Canceller, CorrelationId, Event, FinishReason, Phase, Summary, TenantId, TokenStream};
use std::fmt;
use std::task::{Context, Poll};

/// A use of the version that was chosen for a request, for that one request:
///
/// ```compile_fail,E0382
/// fn ask_twice(lease: ballast::RoutedLease, generate: &ballast::Generate) {
///     let first = lease.stream(generate);
///     let second = lease.stream(generate);
/// }
/// ```
pub struct RoutedLease {
    visit: Option<Visit>,
    lease: ModelLease,
    model: ModelId,
}

impl fmt::Debug for RoutedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedLease").field("model", &self.model).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl RoutedLease {
    pub(super) fn new(model: ModelId, visit: Option<Visit>, lease: Lease<Housed>) -> Self {
        Self { visit, lease: ModelLease::new(lease), model }
    }

    /// A version that is not given out counts as one that failed, where it is its own fault. Returns the version that
    /// answers instead: each is asked once.
    ///
    /// # Errors
    /// `error`, where there is none.
    pub(super) fn instead(
        visit: Option<Visit>,
        error: LifecycleError,
    ) -> Result<(ModelId, Option<Visit>), LifecycleError> {
        let instead = visit.and_then(|visit| visit.instead(Outcome::Failed(error.kind())));
        instead.map(|(model, visit)| (model, Some(visit))).ok_or(error)
    }

    /// The version: the name it was declared under.
    #[must_use]
    pub fn model(&self) -> &str {
        self.model.as_str()
    }

    /// The engine that answers. What is asked of it without this lease is not reported.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.lease
    }

    /// Starts the answer. The stream holds the lease, and reports when it ends; dropping it cancels the request.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn stream(self, generate: &Generate) -> Result<RoutedStream, Error> {
        let Self { visit, lease, model } = self;
        let asked_by = Asked { correlation: generate.correlation.clone(), tenant: generate.tenant.clone() };
        match lease.stream(generate) {
            Ok(stream) => Ok(RoutedStream { stream, visit, lease, model, asked_by }),
            Err(error) => {
                if let Some(visit) = visit {
                    visit.report(Outcome::Failed(error.kind()), asked_by.ids());
                }
                Err(error)
            }
        }
    }

    /// Answers and waits for the end.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    ///
    /// # Panics
    /// If called from async code.
    pub fn generate(self, generate: &Generate) -> Result<Answer, Error> {
        let mut stream = self.stream(generate)?;
        Ok(Answer::collect_from(|| stream.next_blocking(), |_| {}))
    }
}

/// Who asked.
struct Asked {
    correlation: Option<CorrelationId>,
    tenant: TenantId,
}

impl Asked {
    fn ids(&self) -> Option<(&CorrelationId, &TenantId)> {
        Some((self.correlation.as_ref()?, &self.tenant))
    }
}

/// The answer of a version, as it is generated. Fields are dropped in this order: the request is cancelled before its
/// model may go.
pub struct RoutedStream {
    stream: TokenStream,
    /// `None` once it was reported, or where there is no route.
    visit: Option<Visit>,
    lease: ModelLease,
    model: ModelId,
    asked_by: Asked,
}

impl fmt::Debug for RoutedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedStream").field("model", &self.model).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl RoutedStream {
    /// The version that answers: the name it was declared under.
    #[must_use]
    pub fn model(&self) -> &str {
        self.model.as_str()
    }

    /// A handle that ends this request from anywhere.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.stream.canceller()
    }

    /// Waits for the next event on this thread; `None` after the summary.
    ///
    /// # Panics
    /// If called from async code: use [`RoutedStream::recv`] there.
    pub fn next_blocking(&mut self) -> Option<Event> {
        let event = self.stream.next_blocking();
        self.note(event)
    }

    /// Waits for the next event; `None` after the summary.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.stream.recv().await;
        self.note(event)
    }

    /// Polls for the next event; `None` after the summary.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.poll_recv(context).map(|event| self.note(event))
    }

    fn note(&mut self, event: Option<Event>) -> Option<Event> {
        if let Some(Event::Done(summary)) = &event
            && let Some(visit) = self.visit.take()
        {
            visit.report(outcome(summary), self.asked_by.ids());
        }
        event
    }
}

/// What an end says about the version: as for the breaker of an engine, except that the time of the whole answer is
/// compared.
fn outcome(summary: &Summary) -> Outcome {
    match summary.finish_reason {
        FinishReason::Stop | FinishReason::Length => Outcome::Success { latency: summary.timings.total },
        FinishReason::Error if summary.reason == Some(ReasonCode::EngineStalled) => Outcome::TimedOut,
        FinishReason::Error => Outcome::Failed(ErrorKind::Internal),
        FinishReason::Cancelled => match summary.overdue {
            Some(Phase::FirstToken | Phase::InterToken) => Outcome::TimedOut,
            Some(Phase::Queue | Phase::Total) | None => Outcome::Failed(ErrorKind::Cancelled),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_runtime::{Timings, Usage};
    use std::time::Duration;

    #[test]
    fn ends_are_held_against_a_version_where_it_is_at_fault() {
        let total = Duration::from_secs(7);
        let said = |finish_reason, reason, overdue| {
            outcome(&Summary {
                tail: String::new(),
                finish_reason,
                stop_idx: None,
                reason,
                overdue,
                degraded: Vec::new(),
                engine: "e",
                usage: Usage::default(),
                timings: Timings { total, ..Timings::default() },
            })
        };
        let success = Outcome::Success { latency: total };
        let nothing = Outcome::Failed(ErrorKind::Cancelled);
        let timeout = Some(ReasonCode::CancelledByTimeout);
        let cases = [
            (FinishReason::Stop, None, None, success),
            (FinishReason::Length, None, None, success),
            (FinishReason::Error, Some(ReasonCode::EngineFailed), None, Outcome::Failed(ErrorKind::Internal)),
            (FinishReason::Error, Some(ReasonCode::EngineStalled), None, Outcome::TimedOut),
            (FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller), None, nothing),
            (FinishReason::Cancelled, Some(ReasonCode::Draining), None, nothing),
            (FinishReason::Cancelled, timeout, Some(Phase::Queue), nothing),
            (FinishReason::Cancelled, timeout, Some(Phase::Total), nothing),
            (FinishReason::Cancelled, timeout, Some(Phase::FirstToken), Outcome::TimedOut),
            (FinishReason::Cancelled, timeout, Some(Phase::InterToken), Outcome::TimedOut),
        ];
        for (finish_reason, reason, overdue, expected) in cases {
            assert_eq!(said(finish_reason, reason, overdue), expected, "{finish_reason:?} {reason:?} {overdue:?}");
        }
    }
}
