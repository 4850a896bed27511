//! The life of a request, told once:
//!
//! ```text
//! Request --check--> --admission--> Admitted --governance--> Approved --breaker--> replica's queue --scheduler--> step
//!                    holds its place         obligations put on        next engine of the chain if it is open
//! ```
//!
//! What happens after the queue is told by `conductor.rs`. The stream that comes back follows the request: if an engine
//! fails under it before anything was answered, the same request goes to the next engine of the chain.

use crate::admission::{Admitted, NoPlace};
use crate::governance::Approved;
use crate::kv::Salt;
use crate::replica::NotTaken;
use crate::runtime::Inner;
use crate::scheduler::Terms;
use crate::sequence::{Reader, Sequence};
use crate::stream::{Rescue, TokenStream};
use crate::telemetry::Ids;
use crate::{Canceller, CorrelationId, PrefixCache, Request, RuntimeError, events};
use ballast_backend::ReasonCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Sends a request on its way.
///
/// # Errors
/// Where it ends before an engine sees it: it is wrong, there is no room, a policy blocks it, or no engine can be asked.
pub(crate) fn submit(inner: &Arc<Inner>, mut request: Request) -> Result<TokenStream, RuntimeError> {
    let number = || CorrelationId::from_number(inner.n_requests.fetch_add(1, Ordering::Relaxed));
    let (correlation, tenant) = (request.correlation.get_or_insert_with(number).clone(), request.tenant.clone());
    let ids = Ids::new(&correlation, &tenant);
    let outcome = admit(inner, request).and_then(|admitted| inner.governance.approve(admitted)).and_then(|approved| {
        inner.telemetry.emit_for(ids, &events::RequestAdmitted);
        let (submitted_at, canceller) = (inner.clock.now(), Canceller::default());
        dispatch(inner, approved, Route { first: 0, submitted_at, canceller, why: ReasonCode::CircuitOpen })
    });
    if let Err(error) = &outcome {
        inner.telemetry.emit_for(ids, &events::RequestRefused { kind: error.kind(), reason: error.reason() });
    }
    outcome
}

/// Where on the chain a request goes next.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) first: usize,
    pub(crate) submitted_at: Duration,
    pub(crate) canceller: Canceller,
    /// Why it does not go to an engine before.
    pub(crate) why: ReasonCode,
}

/// Admission: what is asked can be done at all, and there is a place for it.
fn admit(inner: &Inner, request: Request) -> Result<Admitted, RuntimeError> {
    check(inner, &request)?;
    inner.admission.admit(request).map_err(|no_place| refusal(inner, no_place))
}

fn refusal(inner: &Inner, no_place: NoPlace) -> RuntimeError {
    let options = &inner.options.admission;
    match no_place {
        NoPlace::Draining => RuntimeError::Draining,
        NoPlace::Requests { retry_after } => {
            RuntimeError::QueueFull { queue_max: options.queue_max.max(1), retry_after }
        }
        NoPlace::Tokens { retry_after } => {
            RuntimeError::QueuedTokensFull { queued_tokens_max: options.queued_tokens_max, retry_after }
        }
    }
}

fn check(inner: &Inner, request: &Request) -> Result<(), RuntimeError> {
    let shape = &inner.replicas[0].shape;
    let n_prompt = request.prompt.len();
    if n_prompt == 0 {
        return Err(RuntimeError::PromptEmpty);
    }
    if n_prompt >= shape.context_len {
        return Err(RuntimeError::ContextLengthExceeded { context_len: shape.context_len, got: n_prompt });
    }
    if request.max_tokens == Some(0) {
        return Err(RuntimeError::MaxTokensZero);
    }
    match request.prompt.iter().find(|token| token.index() >= shape.vocab_size) {
        Some(token) => Err(RuntimeError::PromptToken { vocab_size: shape.vocab_size, got: token.0 }),
        None => Ok(()),
    }
}

/// Hands the request to the first engine from `route.first` on that can be asked.
fn dispatch(inner: &Arc<Inner>, approved: Approved, route: Route) -> Result<TokenStream, RuntimeError> {
    let mut refused = RuntimeError::Stopped;
    for (idx, replica) in inner.replicas.iter().enumerate().skip(route.first) {
        if !replica.is_running() || approved.request().prompt.len() >= replica.shape.context_len {
            continue;
        }
        let pass = match replica.try_pass() {
            Ok(pass) => pass,
            Err(rejected) => {
                refused = sooner(refused, rejected.retry_after);
                continue;
            }
        };
        let (sender, receiver) = mpsc::channel(inner.options.buffered_tokens_max.max(1) + 1);
        let reader = Reader {
            pass: Some(pass),
            sender,
            canceller: route.canceller.clone(),
            submitted_at: route.submitted_at,
            degraded: if idx == 0 { Vec::new() } else { vec![ReasonCode::FallbackEngaged] },
        };
        // Only a request that another engine could take over is kept.
        let rescue = (idx + 1 < inner.replicas.len()).then(|| {
            let route = Route { first: idx + 1, ..route.clone() };
            Box::new(Rescue { approved: approved.kept(), route, runtime: Arc::downgrade(inner) })
        });
        let (n_prompt, terms) = (approved.request().prompt.len(), terms(approved.request()));
        let sequence = Sequence::new(approved, inner.surroundings(idx), reader)?;
        replica.submit(sequence, terms).map_err(|not_taken| lost(inner, not_taken))?;
        if idx > 0 {
            inner.telemetry.emit(&events::FallbackEngaged { engine: replica.name, reason: route.why });
        }
        return Ok(TokenStream::new((receiver, replica.bell()), route.canceller, n_prompt, rescue));
    }
    Err(refused)
}

/// The refusal that tells the caller to come back the soonest.
fn sooner(refused: RuntimeError, retry_after: Option<Duration>) -> RuntimeError {
    let retry_after = [refused.retry_after(), retry_after].into_iter().flatten().min();
    RuntimeError::CircuitOpen { retry_after }
}

fn lost(inner: &Inner, not_taken: NotTaken) -> RuntimeError {
    match not_taken {
        NotTaken::Full => refusal(inner, NoPlace::Requests { retry_after: inner.admission.retry_after(0) }),
        NotTaken::Gone => RuntimeError::Stopped,
    }
}

fn terms(request: &Request) -> Terms {
    let salt = match request.prefix_cache {
        PrefixCache::Tenant => Some(Salt::Tenant(request.tenant.clone())),
        PrefixCache::Part(part) => Some(Salt::Part(request.tenant.clone(), part)),
        PrefixCache::Shared => Some(Salt::Shared),
        PrefixCache::Off => None,
    };
    Terms { tenant: request.tenant.clone(), priority: request.priority, salt }
}

/// Sends a request whose engine failed before it answered anything to the next one. It needs no place in the queue: it
/// had one, and a request that was taken is not refused for those that came later.
pub(crate) fn rescue(rescue: Rescue, why: ReasonCode) -> Result<TokenStream, RuntimeError> {
    let runtime = rescue.runtime.upgrade().ok_or(RuntimeError::Draining)?;
    dispatch(&runtime, rescue.approved, Route { why, ..rescue.route })
}
