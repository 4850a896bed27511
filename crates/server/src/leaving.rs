//! Answers of a server that is about to go end their connections, so that clients and load balancers keep none that it
//! would have to break.

use crate::state::Server;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Says so in the head of the answer. HTTP/2 has a frame for it.
pub(crate) async fn close(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let has_header = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if has_header && server.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
