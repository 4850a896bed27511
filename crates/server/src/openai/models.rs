//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::api_error::ApiError;
use crate::state::{ServedModel, Server};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn list_models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [card(&server.model)] }))
}

pub(crate) async fn show_model(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    server.check_model(&id)?;
    Ok(Json(card(&server.model)))
}

fn card(model: &ServedModel) -> Value {
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "ballast",
        "context_length": model.runtime.shape().context_len,
    })
}
