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
    let (code, status) = if !server.models.has_started() {
        (StatusCode::SERVICE_UNAVAILABLE, "loading")
    } else if healths.iter().all(|health| health.running) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopped")
    };
    let sum = |of: fn(&Health) -> usize| healths.iter().map(of).sum::<usize>();
    let body = json!({
        "status": status,
        "model": server.models.first_id(),
        "active_sequences": sum(|health| health.active_sequences),
        "waiting_requests": sum(|health| health.waiting_requests),
    });
    (code, Json(body))
}

/// How every engine is that is loaded and generates.
fn healths(server: &Server) -> Vec<Health> {
    let health = |model: &ServedModel| model.generator().map(|generator| generator.runtime.health());
    server.models.each_loaded(health).into_iter().flatten().collect()
}

/// Liveness: whoever hears this is answered by a process that works, however busy it is.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Readiness: whether it makes sense to send requests here. While the first model is being loaded, it is told how far
/// that is, where it is known.
pub(crate) async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let healths = healths(&server);
    let status = if server.is_leaving() || healths.iter().any(|health| health.draining) {
        "draining"
    } else if !server.models.has_started() {
        let body = json!({ "status": "loading", "progress": server.models.start_progress() });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    } else if healths.iter().all(|health| health.running) {
        return (StatusCode::OK, Json(json!({ "status": "ok" })));
    } else {
        "stopped"
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": status })))
}
