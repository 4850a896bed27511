//! `x-request-id`: on every answer, the caller's own where it sent a usable one.

use crate::connection::PeerAddress;
use crate::routes::route_of;
use crate::state::Server;
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::trail::{Beginning, Trail};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use ballast_runtime::CorrelationId;
use std::sync::Arc;

/// Longest identifier that is taken from a caller.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's name, for whoever handles it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The name under which events tell of the request.
    pub(crate) fn correlation(&self) -> Option<CorrelationId> {
        self.0.to_str().ok()?.parse().ok()
    }
}

/// Names the request in its answer, in the log and in the audit log, and its trace with it.
pub(crate) async fn name_request(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let id = given(request.headers()).cloned().unwrap_or_else(|| made(&server));
    let trace = TraceContext::of(request.headers(), &*server.options.random);
    let trail = Arc::new(Trail::begin(beginning(&server, &request, &id, trace), server.options.audit.clone()));
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(Arc::clone(&trail));
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let (status, request_id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
    tracing::info!(request_id, trace_id = trace.trace_id(), %method, status, "request answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert(TRACEPARENT, trace.header());
    trail.follow(&server, response)
}

fn beginning(server: &Server, request: &Request, id: &HeaderValue, trace: TraceContext) -> Beginning {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|path| route_of(request.method(), path.as_str()));
    Beginning {
        request_id: id.to_str().unwrap_or_default().to_owned(),
        trace_id: trace.trace_id(),
        method: route.map_or("", |route| route.method.as_str()),
        route: route.map_or("", |route| route.path),
        address: request.extensions().get::<PeerAddress>().map(|address| address.0),
        unix_time: (server.options.unix_time)(),
    }
}

fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_usable = |id: &[u8]| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain);
    headers.get(REQUEST_ID).filter(|id| is_usable(id.as_bytes()))
}

fn made(server: &Server) -> HeaderValue {
    let id = format!("req-{:016x}", (server.options.random)());
    HeaderValue::try_from(id).expect("hexadecimal digits are fit for a header")
}
