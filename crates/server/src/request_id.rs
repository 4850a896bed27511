//! `x-request-id`: on every answer, the caller's own where it sent a usable one.

use crate::state::Server;
use axum::extract::{Request, State};
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

/// Names the request in its answer and in the log.
pub(crate) async fn name_request(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let id = given(request.headers()).cloned().unwrap_or_else(|| made(&server));
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let (status, request_id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
    tracing::info!(request_id, %method, status, "request answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
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
