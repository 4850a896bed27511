//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::ServedModel;
use crate::api_error::ApiError;
use crate::state::Server;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn list_models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": server.models.iter().map(card).collect::<Vec<_>>() }))
}

pub(crate) async fn show_model(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(card(&*server.model(&id)?)))
}

fn card(model: &ServedModel) -> Value {
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "ballast",
        "context_length": model.context_len(),
    })
}
