//! Answers of a server that is about to go end their connections, so that clients and load balancers keep none that it
//! would have to break.

use crate::state::Server;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Version};

/// Says so in the head of an answer to a request of this version. HTTP/2 has a frame for it.
pub(crate) fn close(server: &Server, version: Version, headers: &mut HeaderMap) {
    if version <= Version::HTTP_11 && server.is_leaving() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
