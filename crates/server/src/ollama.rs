//! The Ollama wire: chat and generate, one JSON object a line, and what is known of the model.

mod card;
mod embed;
mod keep_alive;
mod manage;
mod options;
mod request;
mod tools;
mod words;

pub(crate) use card::{list, running, show, version};
pub(crate) use embed::{embed, embeddings};
pub use manage::PULLS_MAX;
pub(crate) use manage::{copy, delete, pull};

use crate::api_error::{ApiError, Told};
use crate::generation::{Submitted, Take, Taken, begin};
use crate::incoming::Incoming;
use crate::models::Held;
use crate::state::Server;
use crate::stream::response;
use crate::tools::Said;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use keep_alive::Keep;
use request::{Ask, Asked, Prompt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use words::{Kind, Lines, Words, unloaded};

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

/// What a request asks for.
enum Wire {
    Answer(Box<Words>, Asked),
    /// That the model of this name be unloaded.
    Unload(String, Kind),
}

async fn answer(server: Arc<Server>, request: Request, take: Take<Wire>) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, wire) = begin(Arc::clone(&server), request, take).await?;
    match wire {
        Wire::Answer(words, Asked::Streamed) => Ok(response(tokens, Lines::new(*words), keep_alive)),
        Wire::Answer(words, Asked::Whole) => Ok(Json(words.whole(&tokens.whole(|_, _| ()).await?[0])).into_response()),
        Wire::Answer(words, Asked::Nothing) => Ok(Json(words.loaded()).into_response()),
        Wire::Unload(model, kind) => {
            server.models.unload(&model).await?;
            Ok(Json(unloaded(&server, &model, kind)).into_response())
        }
    }
}

fn take(server: &Arc<Server>, incoming: &Incoming, kind: Kind) -> Result<Taken<Wire>, ApiError> {
    let mut ask = Ask::parse(&incoming.body, kind, &server.options)?;
    let deadline = ask.generation.deadline;
    if let Some(visit) = incoming.asker.visit.as_ref().filter(|_| ask.keep.is_some()) {
        // Nobody has a say in how long a model stays that they may not ask.
        visit.caller.check_model(&server.models.card(&ask.model)?.id)?;
    }
    if ask.prompt == Prompt::Nothing && ask.keep == Some(Keep::For(Duration::ZERO)) {
        let wire = Wire::Unload(server.models.card(&ask.model)?.id, kind);
        return Ok(Taken { streams: Submitted::default(), model: Held::default(), deadline, wire });
    }
    let model = server.generator(Some(&ask.model))?;
    if let Some(keep) = ask.keep {
        server.models.keep(&ask.model, keep.as_option())?;
    }
    let calls = ask.tools.constrain(&model, &mut ask.generation)?;
    let prompt = std::mem::replace(&mut ask.prompt, Prompt::Nothing);
    let (tokens, thoughts) = prompt.read(server, &model, &mut ask)?;
    let said = Said::new(thoughts, calls, Arc::clone(model.runtime().tokenizer()));
    let words = Box::new(Words::new(server, model.id.clone(), kind, said));
    let generation = ask.within_context(tokens.len(), &model)?;
    if prompt == Prompt::Nothing {
        // The caller only wants the model loaded, which it is.
        let (streams, model) = (Submitted::default(), model.into_model());
        return Ok(Taken { streams, model, deadline, wire: Wire::Answer(words, Asked::Nothing) });
    }
    let streams = generation.submit(&model, (server, &incoming.asker), &[tokens], 1)?;
    Ok(Taken { streams, model: model.into_model(), deadline, wire: Wire::Answer(words, ask.asked) })
}
