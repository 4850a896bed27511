//! Models that are loaded and unloaded by name, as llama.cpp's router does it.

use crate::api_error::ApiError;
use crate::body;
use crate::fields::Fields;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /models/load`: begins to load a model; `GET /models` says how far it is.
pub(crate) async fn load(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    let model = model(&server, request).await?;
    server.models.load(&model)?;
    Ok(Json(json!({ "success": true })))
}

/// `POST /models/unload`: unloads a model. Its answers in progress go on to their end, which is waited for.
pub(crate) async fn unload(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    let model = model(&server, request).await?;
    server.models.unload(&model).await?;
    Ok(Json(json!({ "success": true })))
}

async fn model(server: &Server, request: Request) -> Result<String, ApiError> {
    let body = body::read(request, &server.options).await?;
    let mut fields = Fields::of_body(&body)?;
    let model = fields.needed_string("model", "the name of the model")?;
    fields.finish()?;
    Ok(model)
}
