//! From text to tokens and back, and what the server is: `/tokenize`, `/detokenize`, `/apply-template`, `/props`.

use super::settings;
use crate::api_error::ApiError;
use crate::body;
use crate::fields::{Fields, ParamError};
use crate::models::{Effort, GeneratorUse, with_models};
use crate::openai::Conversation;
use crate::state::Server;
use crate::thinking;
use axum::Json;
use axum::extract::{Query, Request, State};
use ballast_backend::TokenId;
use ballast_tokens::{EncodeOptions, RenderOptions, ShowSpecial};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads a body and answers from it.
async fn answer(
    server: Arc<Server>,
    request: Request,
    of: fn(&Server, Fields) -> Result<Value, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let body = body::read(request, &server.options).await?;
    let (patience, effort) = (|| Ok(server.options.request_deadline), Effort::of(&body));
    let work = move |server: &Arc<Server>, _| of(server, Fields::of_body(&body)?);
    Ok(Json(with_models((&server, effort), patience, work).await?))
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
    conversation(server, request, |model, conversation, options| {
        Ok(json!({ "prompt": conversation.text(model, options)? }))
    })
    .await
}

/// What is to be told of a conversation and how it is rendered.
type Told = fn(&GeneratorUse, &Conversation, &RenderOptions) -> Result<Value, ApiError>;

/// Reads a conversation and answers from it.
pub(crate) async fn conversation(server: Arc<Server>, request: Request, told: Told) -> Result<Json<Value>, ApiError> {
    let body = body::read(request, &server.options).await?;
    let (patience, effort) = (|| Ok(server.options.request_deadline), Effort::of(&body));
    let work = move |server: &Arc<Server>, _| {
        let mut fields = Fields::of_body(&body)?;
        let conversation = Conversation::take(&mut fields)?;
        let options = rendering(server, &mut fields, conversation.adds_cue)?;
        let model = model(server, &mut fields)?;
        fields.finish()?;
        told(&model, &conversation, &options)
    };
    Ok(Json(with_models((&server, effort), patience, work).await?))
}

/// `tools` and what is said of thinking, as they are handed to the template.
fn rendering(server: &Server, fields: &mut Fields, add_generation_prompt: bool) -> Result<RenderOptions, ParamError> {
    let tools = match fields.take("tools") {
        None => None,
        Some(Value::Array(tools)) if tools.iter().all(Value::is_object) => {
            (!tools.is_empty()).then_some(Value::Array(tools))
        }
        Some(other) => return Err(ParamError::wrong("tools".to_owned(), "an array of objects", &other)),
    };
    let mut options = server.rendering(add_generation_prompt, tools);
    thinking::of_chat(fields)?.tell(&server.options, &mut options);
    Ok(options)
}

/// `GET /props`: of the model that `?model=` names, or of the first.
pub(crate) async fn props(
    State(server): State<Arc<Server>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, ApiError> {
    let patience = || Ok(server.options.request_deadline);
    let find = move |server: &Arc<Server>, _| server.generator_of_many(asked.model.as_deref());
    let model = with_models((&server, Effort::Slight), patience, find).await?;
    let (shape, tokenizer) = (model.runtime().shape(), model.format().tokenizer());
    let text = |token: Option<TokenId>| token.map_or("", |token| tokenizer.token_text(token));
    Ok(Json(json!({
        "default_generation_settings": { "n_ctx": shape.context_len, "params": settings::sampling(&server.options.sampling) },
        "total_slots": shape.max_batch_sequences,
        "model_alias": model.id,
        "model_path": if model.facts.file_name.is_empty() { &model.id } else { &model.facts.file_name },
        "modalities": { "vision": false, "video": false, "audio": false },
        "endpoint_slots": server.options.shows_slots,
        "endpoint_props": false,
        "endpoint_metrics": true,
        "bos_token": text(tokenizer.bos()),
        "eos_token": text(tokenizer.eos()),
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
