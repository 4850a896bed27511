//! `POST /v1/completions`: text that goes on from a prompt, without a chat template.

mod request;
mod wire;

use crate::api_error::ApiError;
use crate::generation::{Taken, Tokens, begin};
use crate::incoming::Incoming;
use crate::openai::params::Mode;
use crate::state::Server;
use crate::stream::response;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use request::CompletionRequest;
pub use request::{COMPLETION_TOKENS_DEFAULT, PROMPTS_MAX};
use std::sync::Arc;
use wire::{Chunks, Wire};

pub(crate) async fn completions(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, (wire, mode)) = begin(server, request, take).await?;
    match mode {
        Mode::Whole => whole(tokens, wire).await,
        Mode::Streamed { include_usage } => Ok(response(tokens, Chunks::new(wire, include_usage), keep_alive)),
    }
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<(Wire, Mode)>, ApiError> {
    let request = CompletionRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator(Some(&request.model))?;
    let prompts = request.prompts(model.runtime().tokenizer())?;
    let wire = Wire::new(server, &model, &request, &prompts);
    let streams = request.generation.submit(&model, (server, &incoming.asker), &prompts, request.n_choices)?;
    let (model, deadline) = (model.into_model(), request.generation.deadline);
    Ok(Taken { streams, model, deadline, wire: (wire, request.mode) })
}

async fn whole(tokens: Tokens, mut wire: Wire) -> Result<Response, ApiError> {
    let answers = tokens.whole(|idx, event| wire.note(idx, event)).await?;
    Ok(Json(wire.completion(&answers)).into_response())
}
