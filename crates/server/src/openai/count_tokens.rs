//! `POST /v1/chat/completions/input_tokens`: how many tokens a conversation has. Not OpenAI's: llama.cpp's beside it.

use crate::api_error::ApiError;
use crate::llamacpp::conversation;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn count_tokens(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    conversation(server, request, |model, conversation, options| {
        let n_tokens = conversation.prompt(model, options)?.len();
        Ok(json!({ "object": "response.input_tokens", "input_tokens": n_tokens }))
    })
    .await
}
