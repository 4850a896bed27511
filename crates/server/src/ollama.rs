//! The Ollama wire: chat and generate, one JSON object a line, and what is known of the model.

mod card;
mod keep_alive;
mod options;
mod request;
mod words;

pub(crate) use card::{list, running, show, version};

use crate::api_error::{ApiError, Told};
use crate::generation::{Submitted, Take, Taken, begin};
use crate::incoming::Incoming;
use crate::models::Held;
use crate::state::Server;
use crate::stream::response;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use keep_alive::Keep;
use request::{Ask, Asked, Prompt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
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
    let (tokens, (words, asked)) = begin(Arc::clone(&server), request, take).await?;
    match asked {
        Asked::Streamed => Ok(response(tokens, Lines::new(words), keep_alive)),
        Asked::Whole => Ok(Json(words.whole(&tokens.whole(|_, _| ()).await?[0])).into_response()),
        Asked::Nothing => Ok(Json(words.nothing("load")).into_response()),
        Asked::Unload => {
            server.models.unload(words.model()).await?;
            Ok(Json(words.nothing("unload")).into_response())
        }
    }
}

fn take(server: &Server, incoming: &Incoming, kind: Kind) -> Result<Taken<(Words, Asked)>, ApiError> {
    let ask = Ask::parse(&incoming.body, kind, &server.options)?;
    let deadline = ask.generation.deadline;
    if ask.prompt == Prompt::Nothing && ask.keep == Some(Keep::For(Duration::ZERO)) {
        let words = Words::new(server, server.models.card(&ask.model)?.id, kind);
        let (streams, model) = (Submitted::default(), Held::default());
        return Ok(Taken { streams, model, deadline, wire: (words, Asked::Unload) });
    }
    let model = server.generator(Some(&ask.model))?;
    if let Some(keep) = ask.keep {
        server.models.keep(&ask.model, keep.as_option())?;
    }
    let words = Words::new(server, model.id.clone(), kind);
    if matches!(ask.prompt, Prompt::Nothing) {
        ask.within_context(0, &model)?;
        // The caller only wants the model loaded, which it is.
        let (streams, model) = (Submitted::default(), model.into_model());
        return Ok(Taken { streams, model, deadline, wire: (words, Asked::Nothing) });
    }
    let prompt = ask.prompt.tokens(server, &model)?;
    let generation = ask.within_context(prompt.len(), &model)?;
    let streams = generation.submit(&model, (server, &incoming.asker), &[prompt], 1)?;
    Ok(Taken { streams, model: model.into_model(), deadline, wire: (words, ask.asked) })
}
