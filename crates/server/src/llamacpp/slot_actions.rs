//! `GET /slots` and `POST /slots/{id_slot}?action=`: what the places are doing; saving, restoring and erasing them.

use super::slot_file;
use super::slots::SlotId;
use crate::api_error::ApiError;
use crate::body;
use crate::caller::Visit;
use crate::fields::{Fields, ParamError};
use crate::generation::complete;
use crate::incoming::Asker;
use crate::models::{Effort, GeneratorUse, with_models};
use crate::state::Server;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use ballast_runtime::{Deadlines, Event, PrefixCache, TokenStream};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// What a query may say.
#[derive(Debug, Deserialize)]
struct Asked {
    model: Option<String>,
    action: Option<String>,
    fail_on_no_slot: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Result<Self, ParamError> {
        let wrong = |_| ParamError::wrong("query".to_owned(), "each of its names once", &Value::Null);
        Query::try_from_uri(request.uri()).map(|Query(asked)| asked).map_err(wrong)
    }
}

/// `GET /slots`. The places are the sequences that can be generated at a time: as many are busy as there are sequences.
pub(crate) async fn slots(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    let asked = Asked::of(&request)?;
    if !server.options.shows_slots {
        return Err(ApiError::NotServed { what: "slots", why: "the server was started with --no-slots" });
    }
    let model = model(&server, asked.model, None).await?;
    let (shape, n_active) = (model.runtime().shape(), model.runtime().health().active_sequences);
    if asked.fail_on_no_slot.is_some_and(|asked| !asked.is_empty()) && n_active >= shape.max_batch_sequences {
        return Err(ApiError::NoSlot);
    }
    let slot = |idx: usize| {
        let n_kept = server.slots.tokens(&SlotId { model: model.id.clone(), idx }).len();
        json!({
            "id": idx,
            "n_ctx": shape.context_len,
            "speculative": false,
            "is_processing": idx < n_active,
            "n_prompt_tokens": n_kept,
        })
    };
    Ok(Json((0..shape.max_batch_sequences).map(slot).collect()))
}

/// The model that is named, or the first; waits until it is loaded.
async fn model(
    server: &Arc<Server>,
    name: Option<String>,
    visit: Option<Arc<Visit>>,
) -> Result<GeneratorUse, ApiError> {
    let patience = || Ok(server.options.request_deadline);
    let find = move |server: &Arc<Server>, _| {
        let model = server.generator_of_many(name.as_deref());
        if let (Err(ApiError::ModelCold { model }), Some(visit)) = (&model, &visit) {
            // Nobody has a model loaded that they may not ask.
            visit.caller.check_model(model.as_str())?;
        }
        model
    };
    with_models((server, Effort::Slight), patience, find).await
}

/// `POST /slots/{id_slot}`.
pub(crate) async fn act(
    State(server): State<Arc<Server>>,
    Path(slot): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let asked = Asked::of(&request)?;
    let wrong =
        |param: &str, expected: &str, got: String| ParamError::wrong(param.to_owned(), expected, &Value::String(got));
    let asker = Asker::of(&request)?;
    let model = model(&server, asked.model, asker.visit.clone()).await?;
    if let Some(visit) = &asker.visit {
        visit.caller.check_model(&model.id)?;
    }
    let idx = slot.parse().map_err(|_| wrong("id_slot", "a whole number", slot))?;
    let id = server.slots.id(&model, idx)?;
    match asked.action.as_deref() {
        Some("erase") => {
            let (_, n_erased) = server.slots.erase(&id);
            Ok(Json(json!({ "id_slot": idx, "n_erased": n_erased })))
        }
        Some("save") => {
            let body = body::read(request, &server.options).await?;
            let saved = tokio::task::spawn_blocking(move || save(&server, &body, &id)).await;
            Ok(Json(saved.map_err(|_| ApiError::Panicked)??))
        }
        Some("restore") => {
            let body = body::read(request, &server.options).await?;
            restore(server, model, (&body, &asker), id).await.map(Json)
        }
        Some(_) | None => Err(wrong("action", "save, restore or erase", asked.action.unwrap_or_default()).into()),
    }
}

/// The file that `filename` means.
fn file(server: &Server, body: &Bytes) -> Result<(String, PathBuf), ApiError> {
    let why = "the server was started without --slot-dir";
    let dir = server.options.slot_dir.as_ref().ok_or(ApiError::NotServed { what: "slot files", why })?;
    let mut fields = Fields::of_body(body)?;
    let name = fields.needed_string("filename", "the name of a file")?;
    fields.string("model")?;
    fields.finish()?;
    let expected = "at most 128 letters, digits, `.`, `_` and `-`, not beginning with `.`";
    let path = slot_file::path(dir, &name);
    let path = path.ok_or_else(|| ParamError::wrong("filename".to_owned(), expected, &Value::String(name.clone())))?;
    Ok((name, path))
}

fn save(server: &Server, body: &Bytes, id: &SlotId) -> Result<Value, ApiError> {
    let (name, path) = file(server, body)?;
    let tokens = server.slots.tokens(id);
    let n_bytes = slot_file::write(&path, &tokens).map_err(|_| ApiError::SlotFile { what: "written" })?;
    Ok(json!({ "id_slot": id.idx, "filename": name, "n_saved": tokens.len(), "n_written": n_bytes }))
}

async fn restore(
    server: Arc<Server>,
    model: GeneratorUse,
    (body, asker): (&Bytes, &Asker),
    id: SlotId,
) -> Result<Value, ApiError> {
    let (name, path) = file(&server, body)?;
    let context_len = model.context_len();
    let read = tokio::task::spawn_blocking(move || slot_file::read(&path, context_len)).await;
    let read = read.map_err(|_| ApiError::Panicked)?.map_err(|_| ApiError::SlotFile { what: "read" })?;
    let Some((tokens, n_bytes)) = read else { return Err(ApiError::SlotFile { what: "understood" }) };
    let vocab_size = model.format().tokenizer().vocab_size();
    if tokens.iter().any(|token| token.index() >= vocab_size) {
        return Err(ApiError::SlotFile { what: "used with this model" });
    }
    let (part, _) = server.slots.erase(&id);
    if !tokens.is_empty() {
        let reserve = |visit: &Arc<Visit>| visit.reserve(tokens.len() as u64, 1);
        let mut work = asker.visit.as_ref().map(reserve).transpose()?;
        let request = ballast_runtime::Request {
            max_tokens: Some(1),
            deadlines: Deadlines::total(server.options.request_deadline),
            prefix_cache: PrefixCache::Part(part),
            tenant: asker.tenant.clone(),
            priority: asker.priority,
            ..ballast_runtime::Request::new(tokens.clone())
        };
        let stream = model.runtime().submit(request)?;
        if let Some(work) = &mut work {
            work.note_prompt(&model.id, tokens.len() as u64);
        }
        ended(stream).await?;
    }
    let n_tokens = tokens.len();
    server.slots.keep(&id, tokens);
    Ok(json!({ "id_slot": id.idx, "filename": name, "n_restored": n_tokens, "n_read": n_bytes }))
}

/// Waits for the end of an answer that nobody reads.
async fn ended(mut stream: TokenStream) -> Result<(), ApiError> {
    loop {
        match stream.recv().await {
            Some(Event::Token(_) | Event::Progress(_)) => {}
            Some(Event::Done(summary)) => return complete(summary).map(|_| ()),
            None => return Err(ApiError::Panicked),
        }
    }
}
