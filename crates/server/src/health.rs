//! `GET /health`: whether the engine runs, and how busy it is. Needs no key and tells nothing of the requests.

use crate::state::Server;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

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
