//! What is known of a request at its end: one line in the log, and one in the audit log.
//!
//! A trail goes with the request and its answer's body. Whoever learns something writes it down; when the body has
//! been sent or given up, the line is written. Never what was asked or answered.

use crate::audit::AuditLog;
use crate::caller::Caller;
use crate::security::SecurityEvent;
use crate::state::Server;
use crate::trace_context::TraceContext;
use crate::wire::Code;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use ballast_runtime::Summary;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use serde_json::json;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// What never changes about a request.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) request_id: String,
    pub(crate) trace: TraceContext,
    pub(crate) method: &'static str,
    /// As the router matched it: what a caller made up is not repeated.
    pub(crate) route: &'static str,
    pub(crate) address: Option<IpAddr>,
    /// Seconds since 1970.
    pub(crate) unix_time: i64,
}

/// What is learnt on the way.
#[derive(Debug, Default)]
struct Facts {
    key: Option<Arc<str>>,
    tenant: Option<String>,
    model: Option<String>,
    status: Option<u16>,
    reason: Option<String>,
    prompt_tokens: u64,
    completion_tokens: u64,
    is_complete: bool,
}

/// One request's.
#[derive(Debug)]
pub(crate) struct Trail {
    beginning: Beginning,
    begun: Instant,
    facts: Mutex<Facts>,
    audit: Option<Arc<AuditLog>>,
}

impl Trail {
    pub(crate) fn begin(beginning: Beginning, audit: Option<Arc<AuditLog>>) -> Self {
        Self { beginning, begun: Instant::now(), facts: Mutex::default(), audit }
    }

    pub(crate) fn note_caller(&self, caller: &Caller) {
        let mut facts = self.facts();
        facts.key.clone_from(&caller.id);
        facts.tenant = Some(caller.tenant.as_str().to_owned());
    }

    /// Prompts were taken by `model`.
    pub(crate) fn note_prompt(&self, model: &str, n_tokens: u64) {
        let mut facts = self.facts();
        facts.model = Some(model.to_owned());
        facts.prompt_tokens = facts.prompt_tokens.saturating_add(n_tokens);
    }

    pub(crate) fn note_token(&self) {
        self.facts().completion_tokens += 1;
    }

    /// An answer has ended.
    pub(crate) fn note_end(&self, summary: &Summary) {
        if let Some(reason) = summary.reason {
            self.facts().reason = Some(reason.as_str().to_ascii_lowercase());
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how the answer begins, tells guards of what they look for, and goes with the body to its end.
    pub(crate) fn follow(self: Arc<Self>, server: &Server, response: Response) -> Response {
        if let Some(event) = response.extensions().get::<SecurityEvent>() {
            server.security.add(*event);
            let facts = self.facts();
            let (key, address) = (facts.key.as_deref().unwrap_or_default(), self.beginning.address);
            let request_id = self.beginning.request_id.as_str();
            tracing::warn!(event = event.as_str(), request_id, key, ?address, route = self.beginning.route, "security");
        }
        {
            let mut facts = self.facts();
            facts.status = Some(response.status().as_u16());
            if let Some(Code(code)) = response.extensions().get() {
                facts.reason = Some(code.clone());
            }
        }
        response.map(|body| {
            self.facts().is_complete = body.is_end_stream();
            Body::new(Followed { body, trail: self })
        })
    }
}

impl Drop for Trail {
    /// The request is over.
    fn drop(&mut self) {
        let Some(audit) = &self.audit else { return };
        let Beginning { request_id, trace, method, route, address, unix_time } = &self.beginning;
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        audit.write(&json!({
            "event": "request",
            "time": Timestamp::from_second(*unix_time).unwrap_or_default().to_string(),
            "request_id": request_id,
            "trace_id": trace.trace_id(),
            "key": facts.key.as_deref(),
            "tenant": facts.tenant,
            "address": address.map(|address| address.to_string()),
            "method": method,
            "route": route,
            "model": facts.model,
            "status": facts.status,
            "reason": facts.reason,
            "prompt_tokens": facts.prompt_tokens,
            "completion_tokens": facts.completion_tokens,
            "is_complete": facts.is_complete,
            "duration_ms": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
}

/// A body that notes whether it was sent to its end.
struct Followed {
    body: Body,
    trail: Arc<Trail>,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || (matches!(frame, Poll::Ready(Some(Ok(_)))) && self.is_end_stream()) {
            self.trail.facts().is_complete = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
