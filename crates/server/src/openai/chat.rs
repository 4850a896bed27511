//! `POST /v1/chat/completions`: parse, submit, then answer in one piece or as a stream.

mod conversation;
mod messages;
mod request;
mod stream;
mod tools;
mod unsupported;
mod wire;

pub(crate) use conversation::Conversation;
pub use messages::{MESSAGES_MAX, PARTS_MAX};
pub(crate) use tools::MESSAGE_CALLS_MAX;

use crate::api_error::ApiError;
use crate::generation::{Taken, Tokens, begin};
use crate::incoming::Incoming;
use crate::openai::params::Mode;
use crate::state::Server;
use crate::stream::response;
use crate::thinking::ChatPrompt;
use crate::tools::Said;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use request::ChatRequest;
use std::sync::Arc;
use stream::Chunks;
use wire::Wire;

pub(crate) async fn chat_completions(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, (wire, mode)) = begin(server, request, take).await?;
    match mode {
        Mode::Whole => whole(tokens, &wire).await,
        Mode::Streamed { include_usage } => Ok(response(tokens, Chunks::new(wire, include_usage), keep_alive)),
    }
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<(Wire, Mode)>, ApiError> {
    let mut request = ChatRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator(Some(&request.model))?;
    request.generation.prefix_cache = server.slots.resolve(&model, request.place)?.0;
    let calls = request.tools.constrain(&model, &mut request.generation)?;
    let (conversation, told) = (&request.conversation, request.tools.told());
    let rendering = server.rendering(conversation.adds_cue, told);
    let mut prompt = ChatPrompt::render(server, &model, conversation.messages(), rendering, &request.thinking)?;
    conversation.begin(&model, &mut prompt.tokens);
    let thoughts = prompt.think(&request.thinking, &model, &mut request.generation);
    let said = Said::new(thoughts, calls, Arc::clone(model.runtime().tokenizer()));
    let wire = Wire::new(server, &model, &request, said).tells(&prompt.tokens);
    let streams = request.generation.submit(&model, (server, &incoming.asker), &[prompt.tokens], request.n_choices)?;
    let (model, deadline) = (model.into_model(), request.generation.deadline);
    Ok(Taken { streams, model, deadline, wire: (wire, request.mode) })
}

/// Waits for the whole answer. The future holds the token streams, so a client that leaves ends the work.
async fn whole(tokens: Tokens, wire: &Wire) -> Result<Response, ApiError> {
    let mut logprobs = vec![Vec::new(); wire.n_choices()];
    let answers = tokens.whole(|idx, event| logprobs[idx].extend(wire.logprob(event))).await?;
    Ok(Json(wire.completion(&answers, logprobs)).into_response())
}
