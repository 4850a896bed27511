//! From text to tokens and back, and what the server is: `/tokenize`, `/detokenize`, `/apply-template`, `/props`.

use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError};
use crate::models::{GeneratorUse, with_models};
use crate::state::Server;
use crate::{body, openai};
use axum::Json;
use axum::extract::{Query, Request, State};
use ballast_backend::TokenId;
use ballast_tokens::{EncodeOptions, ShowSpecial};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads a body and answers from it, off the threads that serve sockets.
async fn answer(
    server: Arc<Server>,
    request: Request,
    of: fn(&Server, Fields) -> Result<Value, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let body = body::read(request, &server.options).await?;
    let patience = || Ok(server.options.request_deadline);
    let work = move |server: &Server, _| of(server, Fields::of_body(&body)?);
    Ok(Json(with_models(&server, patience, work).await?))
}

/// The model that is named, or the first.
fn model(server: &Server, fields: &mut Fields) -> Result<GeneratorUse, ApiError> {
    server.generator_of_many(fields.string("model")?.as_deref())
}

/// `POST /tokenize`.
pub(crate) async fn tokenize(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    answer(server, request, tokens_of).await
}

fn tokens_of(server: &Server, mut fields: Fields) -> Result<Value, ApiError> {
    let content = fields.needed_string("content", "a string")?;
    let options = EncodeOptions {
        add_special: fields.bool("add_special")?.unwrap_or(false),
        parse_special: fields.bool("parse_special")?.unwrap_or(true),
    };
    let with_pieces = fields.bool("with_pieces")?.unwrap_or(false);
    let model = model(server, &mut fields)?;
    fields.finish()?;
    let tokenizer = model.format().tokenizer();
    // Half a character has no text: its bytes stand for it.
    let piece = |token: &TokenId| {
        let bytes = tokenizer.token_bytes(*token, ShowSpecial::Yes);
        let piece = std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
        json!({ "id": token.0, "piece": piece })
    };
    let tokens = tokenizer.encode(&content, options);
    let tokens = tokens.iter().map(|token| if with_pieces { piece(token) } else { json!(token.0) });
    Ok(json!({ "tokens": tokens.collect::<Vec<_>>() }))
}

/// `POST /detokenize`.
pub(crate) async fn detokenize(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    answer(server, request, text_of).await
}

fn text_of(server: &Server, mut fields: Fields) -> Result<Value, ApiError> {
    let param = "tokens".to_owned();
    let tokens = match fields.take("tokens") {
        None => return Err(ParamError::Missing { param, expected: "an array of tokens" }.into()),
        Some(Value::Array(tokens)) => tokens,
        Some(other) => return Err(ParamError::wrong(param, "an array of tokens", &other).into()),
    };
    let model = model(server, &mut fields)?;
    fields.finish()?;
    let tokenizer = model.format().tokenizer();
    let token = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId);
        let known = id.filter(|id| id.index() < tokenizer.vocab_size());
        let expected = || format!("tokens below {}", tokenizer.vocab_size());
        known.ok_or_else(|| ParamError::wrong("tokens".to_owned(), expected(), value))
    };
    let tokens = tokens.iter().map(token).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "content": tokenizer.decode_lossy(&tokens, ShowSpecial::Yes) }))
}

/// `POST /apply-template`.
pub(crate) async fn apply_template(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    answer(server, request, prompt_of).await
}

fn prompt_of(server: &Server, mut fields: Fields) -> Result<Value, ApiError> {
    let messages = openai::messages(fields.take("messages"))?;
    let add_generation_prompt = fields.bool("add_generation_prompt")?.unwrap_or(true);
    let model = model(server, &mut fields)?;
    fields.finish()?;
    let render = server.rendering(add_generation_prompt);
    Ok(json!({ "prompt": model.format().chat_text(&messages, &render)? }))
}

/// `GET /props`: of the model that `?model=` names, or of the first.
pub(crate) async fn props(
    State(server): State<Arc<Server>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, ApiError> {
    let patience = || Ok(server.options.request_deadline);
    let model =
        with_models(&server, patience, move |server, _| server.generator_of_many(asked.model.as_deref())).await?;
    let shape = model.runtime().shape();
    Ok(Json(json!({
        "default_generation_settings": { "n_ctx": shape.context_len },
        "total_slots": shape.max_batch_sequences,
        "model_alias": model.id,
        "model_path": model.id,
        "chat_template": model.format().template_source(),
        "build_info": format!("ballast {}", env!("CARGO_PKG_VERSION")),
        "is_sleeping": false,
    })))
}

/// What a query may say.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    model: Option<String>,
}
