//! The Anthropic wire: messages, in one piece and streamed, and what they would cost.

mod content;
mod error;
mod request;
mod stream;
mod tools;
mod words;

pub(crate) use content::BLOCKS_MAX;
pub(crate) use error::{error_body, error_status};

use crate::api_error::ApiError;
use crate::body;
use crate::constraint;
use crate::fields::Fields;
use crate::generation::{Taken, begin};
use crate::incoming::Incoming;
use crate::models::{Effort, with_models};
use crate::state::Server;
use crate::stream::response;
use crate::tools::Said;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use request::{Conversation, MessagesRequest};
use serde_json::json;
use std::sync::Arc;
use stream::Events;
use words::Words;

/// `POST /v1/messages`.
pub(crate) async fn messages(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, (words, is_streamed)) = begin(server, request, take).await?;
    if is_streamed {
        return Ok(response(tokens, Events::new(words), keep_alive));
    }
    let answers = tokens.whole(|_, _| ()).await?;
    Ok(Json(words.message(&answers[0])).into_response())
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<(Words, bool)>, ApiError> {
    let mut request = MessagesRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator(Some(&request.model))?;
    let calls = request.conversation.tools.constrain(&model, &mut request.generation)?;
    let prompt = request.conversation.prompt(server, &model)?;
    let thoughts = prompt.think(&request.conversation.thinking, &model, &mut request.generation);
    let said = Said::new(thoughts, calls, Arc::clone(model.runtime().tokenizer()));
    let words = Words::new(server, &model, &request, (prompt.tokens.len(), said));
    let streams = request.generation.submit(&model, (server, &incoming.asker), &[prompt.tokens], 1)?;
    Ok(Taken {
        streams,
        model: model.into_model(),
        deadline: request.generation.deadline,
        wire: (words, request.is_streamed),
    })
}

/// `POST /v1/messages/count_tokens`: the length of a prompt, without answering it.
pub(crate) async fn count_tokens(State(server): State<Arc<Server>>, request: Request) -> Result<Response, ApiError> {
    let body = body::read(request, &server.options).await?;
    let patience = || Ok(server.options.request_deadline);
    let effort = Effort::of(&body);
    let n_tokens = with_models((&server, effort), patience, move |server, _| count(server, &body)).await?;
    Ok(Json(json!({ "input_tokens": n_tokens })).into_response())
}

fn count(server: &Server, body: &[u8]) -> Result<usize, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = crate::params::model_name(&mut fields, &server.options)?;
    let conversation = Conversation::take(&mut fields, &server.options)?;
    constraint::of_anthropic(&mut fields)?;
    fields.refuse(request::UNSUPPORTED)?;
    fields.finish()?;
    let model = server.generator(Some(&model))?;
    Ok(conversation.prompt(server, &model)?.tokens.len())
}
