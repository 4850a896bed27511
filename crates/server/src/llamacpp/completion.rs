//! `POST /completion`: text that goes on from a prompt, in llama.cpp's shape.

use super::prompt::Prompts;
use super::request::CompletionRequest;
use super::words::{Events, Words};
use crate::api_error::ApiError;
use crate::generation::{Take, Taken, Whole, begin};
use crate::incoming::Incoming;
use crate::models::GeneratorUse;
use crate::state::Server;
use crate::stream::response;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_backend::TokenId;
use serde_json::Value;
use std::sync::Arc;

pub(crate) async fn completion(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request, take).await.unwrap_or_else(ApiError::into_response)
}

/// How the answers are to come, and their words.
pub(super) struct Asked {
    words: Words,
    is_streamed: bool,
    is_list: bool,
}

/// Has `take` parse and submit a request, and answers it.
pub(super) async fn answer(server: Arc<Server>, request: Request, take: Take<Asked>) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, Asked { mut words, is_streamed, is_list }) = begin(server, request, take).await?;
    if is_streamed {
        return Ok(response(tokens, Events(words), keep_alive));
    }
    let answers = tokens.whole(|idx, event| words.note(idx, event)).await?;
    let last = |(idx, Whole { text, summary, .. }): (usize, &Whole)| words.last(idx, text, summary);
    let mut objects: Vec<Value> = answers.iter().enumerate().map(last).collect();
    Ok(if is_list { Json(objects).into_response() } else { Json(objects.swap_remove(0)).into_response() })
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<Asked>, ApiError> {
    let (prompts, request) = CompletionRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator_of_many(request.model.as_deref())?;
    let tokens = prompts.tokens(model.format().tokenizer())?;
    let Prompts { is_list, .. } = prompts;
    submit((server, incoming), model, &request, (&tokens, is_list))
}

/// Submits a request for each prompt; the answers to a list are one.
pub(super) fn submit(
    (server, incoming): (&Arc<Server>, &Incoming),
    model: GeneratorUse,
    request: &CompletionRequest,
    (prompts, is_list): (&[Vec<TokenId>], bool),
) -> Result<Taken<Asked>, ApiError> {
    let mut generation = request.generation(model.format().tokenizer());
    let (prefix_cache, slot) = server.slots.resolve(&model, request.place)?;
    generation.prefix_cache = prefix_cache;
    let words = Words::new(server, &model, request, generation.clone(), prompts).keeps(slot);
    let streams = generation.submit(&model, (server, &incoming.asker), prompts, 1)?;
    let wire = Asked { words, is_streamed: request.is_streamed, is_list };
    Ok(Taken { streams, model: model.into_model(), deadline: generation.deadline, wire })
}
