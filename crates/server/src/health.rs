//! Whether the server lives, and whether it takes requests. Needs no key and tells nothing of the requests.

use crate::ServedModel;
use crate::state::Server;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ballast_runtime::Health;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /health`: whether the engines run, and how busy they are.
pub(crate) async fn health(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let healths = healths(&server);
    let runs = healths.iter().all(|health| health.running);
    let (code, status) = if runs { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stopped") };
    let sum = |of: fn(&Health) -> usize| healths.iter().map(of).sum::<usize>();
    let body = json!({
        "status": status,
        "model": server.models.first().id,
        "active_sequences": sum(|health| health.active_sequences),
        "waiting_requests": sum(|health| health.waiting_requests),
    });
    (code, Json(body))
}

/// How every engine is that generates.
fn healths(server: &Server) -> Vec<Health> {
    server.models.iter().filter_map(ServedModel::generator).map(|generator| generator.runtime.health()).collect()
}

/// Liveness: whoever hears this is answered by a process that works, however busy it is.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Readiness: whether it makes sense to send requests here.
pub(crate) async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let healths = healths(&server);
    let (code, status) = if healths.iter().any(|health| health.draining) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if healths.iter().all(|health| health.running) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopped")
    };
    (code, Json(json!({ "status": status })))
}
