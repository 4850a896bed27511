//! Whether the server lives, and whether it takes requests. Needs no key and tells nothing of the requests.

use crate::state::Server;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /health`: whether the engine runs, and how busy it is.
pub(crate) async fn health(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let health = server.model.runtime.health();
    let (code, status) =
        if health.running { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stopped") };
    let body = json!({
        "status": status,
        "model": server.model.id,
        "active_sequences": health.active_sequences,
        "waiting_requests": health.waiting_requests,
    });
    (code, Json(body))
}

/// Liveness: whoever hears this is answered by a process that works, however busy it is.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Readiness: whether it makes sense to send requests here.
pub(crate) async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let health = server.model.runtime.health();
    let (code, status) = match (health.running, health.draining) {
        (true, false) => (StatusCode::OK, "ok"),
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    (code, Json(json!({ "status": status })))
}
