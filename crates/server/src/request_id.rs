//! `x-request-id`: on every answer, the caller's own where it sent a usable one.

use crate::connection::PeerAddress;
use crate::hex;
use crate::routes::Route;
use crate::state::Server;
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::trail::{Beginning, Trail};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
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

/// A request that has its name, and will be told of.
pub(crate) struct Named {
    id: HeaderValue,
    trace: TraceContext,
    trail: Arc<Trail>,
    method: Method,
}

/// Names a request, and its trace with it, for whoever handles it.
pub(crate) fn name(server: &Server, route: Option<&Route>, request: &mut Request) -> Named {
    let id = given(request.headers()).cloned().unwrap_or_else(|| made(server));
    let trace = TraceContext::of(request.headers(), &*server.options.random);
    let beginning = beginning(server, route, request, (&id, trace));
    let trail = Arc::new(Trail::begin(beginning, server.options.audit.clone()));
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(Arc::clone(&trail));
    Named { id, trace, trail, method: request.method().clone() }
}

impl Named {
    /// Names the request in its answer, in the log and in the audit log, and its trace with it.
    pub(crate) fn tell(self, server: &Server, mut response: Response) -> Response {
        let Self { id, trace, trail, method } = self;
        let (status, request_id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
        tracing::info!(request_id, trace_id = trace.trace_id(), %method, status, "request answered");
        response.headers_mut().insert(REQUEST_ID, id);
        response.headers_mut().insert(TRACEPARENT, trace.header());
        trail.follow(server, response)
    }
}

fn beginning(
    server: &Server,
    route: Option<&Route>,
    request: &Request,
    (id, trace): (&HeaderValue, TraceContext),
) -> Beginning {
    Beginning {
        request_id: id.to_str().unwrap_or_default().to_owned(),
        trace,
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
    let mut id = String::from("req-");
    hex::push(&mut id, (server.options.random)().into(), 16);
    HeaderValue::try_from(id).expect("hexadecimal digits are fit for a header")
}
