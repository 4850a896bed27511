//! The Ollama wire: chat and generate, one JSON object a line, and what is known of the model.

mod card;
mod options;
mod request;
mod words;

pub(crate) use card::{list, running, show, version};

use crate::api_error::{ApiError, Told};
use crate::generation::{Take, Taken, begin};
use crate::incoming::Incoming;
use crate::state::Server;
use crate::stream::response;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use request::{Ask, Asked, Prompt};
use serde_json::{Value, json};
use std::sync::Arc;
use words::{Kind, Lines, Words};

/// `POST /api/chat`.
pub(crate) async fn chat(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request, |server, incoming| take(server, incoming, Kind::Chat))
        .await
        .unwrap_or_else(ApiError::into_response)
}

/// `POST /api/generate`.
pub(crate) async fn generate(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request, |server, incoming| take(server, incoming, Kind::Generate))
        .await
        .unwrap_or_else(ApiError::into_response)
}

/// An error, also where it is the last line of an answer.
pub(crate) fn error_body(told: &Told) -> Value {
    json!({ "error": told.message })
}

async fn answer(server: Arc<Server>, request: Request, take: Take<(Words, Asked)>) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, (words, asked)) = begin(server, request, take).await?;
    match asked {
        Asked::Streamed => Ok(response(tokens, Lines::new(words), keep_alive)),
        Asked::Whole => Ok(Json(words.whole(&tokens.whole(|_, _| ()).await?[0])).into_response()),
        Asked::Nothing => Ok(Json(words.loaded()).into_response()),
    }
}

fn take(server: &Arc<Server>, incoming: &Incoming, kind: Kind) -> Result<Taken<(Words, Asked)>, ApiError> {
    let ask = Ask::parse(&incoming.body, kind, &server.options)?;
    let model = server.generator(Some(&ask.model))?;
    let words = Words::new(server, &model, kind);
    let deadline = ask.generation.deadline;
    if matches!(ask.prompt, Prompt::Nothing) {
        // Nothing to answer: the caller only wants the model loaded, which it is.
        return Ok(Taken { streams: Vec::new(), model: model.into_model(), deadline, wire: (words, Asked::Nothing) });
    }
    let prompt = ask.prompt.tokens(server, &model)?;
    let generation = ask.within_context(prompt.len(), &model)?;
    let streams = generation.submit(&model, (server, &incoming.asker), &[prompt], 1)?;
    Ok(Taken { streams, model: model.into_model(), deadline, wire: (words, ask.asked) })
}
