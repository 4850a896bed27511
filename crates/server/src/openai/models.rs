//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::api_error::ApiError;
use crate::models::{Card, Stage};
use crate::state::Server;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn list_models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": server.models.cards().into_iter().map(object).collect::<Vec<_>>() }))
}

pub(crate) async fn show_model(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(object(server.models.card(&id)?)))
}

fn object(card: Card) -> Value {
    let mut object = json!({
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "ballast",
        "status": { "value": card.state.as_str() },
    });
    if let Some(context_len) = card.context_len {
        object["context_length"] = context_len.into();
    }
    if let Stage::Loading { fraction: Some(fraction) } = card.state {
        object["status"]["progress"] = fraction.into();
    }
    object
}
