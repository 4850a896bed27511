//! What is known of the models: `GET /api/tags`, `/api/ps`, `/api/version` and `POST /api/show`.

use crate::ModelFacts;
use crate::api_error::ApiError;
use crate::body;
use crate::fields::Fields;
use crate::models::{Card, Stage};
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// When a model ends that stays until its room is needed: a date that every client can read.
const FAR: i64 = i32::MAX as i64;

/// Models that can be asked, loaded or not, by every name that they have.
pub(crate) async fn list(State(server): State<Arc<Server>>) -> Json<Value> {
    let objects: Vec<Value> = server.models.cards().iter().flat_map(by_each_name).collect();
    Json(json!({ "models": objects }))
}

fn by_each_name(card: &Card) -> Vec<Value> {
    let named = |name: &String| {
        let mut object = object(card);
        object["name"] = name.as_str().into();
        object["model"] = name.as_str().into();
        object
    };
    std::iter::once(&card.id).chain(&card.aliases).map(named).collect()
}

/// Models that are loaded, and for how long yet.
pub(crate) async fn running(State(server): State<Arc<Server>>) -> Json<Value> {
    let now = (server.options.unix_time)();
    let running = |card: &Card| {
        let Stage::Loaded { bytes, expires_in, .. } = card.state else { return None };
        let ends = expires_in.and_then(|left| i64::try_from(left.as_secs()).ok()).map(|left| now.saturating_add(left));
        let mut object = object(card);
        object["expires_at"] = timestamp(ends.unwrap_or(FAR)).into();
        object["size"] = if bytes > 0 { bytes } else { card.facts.file_bytes }.into();
        object["size_vram"] = 0.into();
        object["context_length"] = card.context_len.into();
        Some(object)
    };
    let objects: Vec<Value> = server.models.cards().iter().filter_map(running).collect();
    Json(json!({ "models": objects }))
}

pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// Everything about one model.
pub(crate) async fn show(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    let body = body::read(request, &server.options).await?;
    let mut fields = Fields::of_body(&body)?;
    // Older clients call it by its older name.
    let name = match fields.string("name")? {
        Some(name) => name,
        None => fields.needed_string("model", "the name of the model")?,
    };
    fields.bool("verbose")?;
    fields.finish()?;
    let card = server.models.card(&name)?;
    let facts = &card.facts;
    let capabilities = match card.state {
        Stage::Loaded { capability, .. } => vec![capability],
        Stage::Unloaded | Stage::Failed | Stage::Loading { .. } => Vec::new(),
    };
    Ok(Json(json!({
        "modified_at": timestamp(card.created),
        "details": details(facts),
        "model_info": {
            "general.architecture": facts.architecture,
            "general.parameter_count": facts.n_parameters,
            format!("{}.context_length", facts.architecture): card.context_len,
        },
        "capabilities": capabilities,
    })))
}

fn object(card: &Card) -> Value {
    json!({
        "name": card.id,
        "model": card.id,
        "modified_at": timestamp(card.created),
        "size": card.facts.file_bytes,
        "digest": card.facts.sha256,
        "details": details(&card.facts),
    })
}

fn details(facts: &ModelFacts) -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": in_words(facts.n_parameters),
        "quantization_level": facts.quantization,
    })
}

/// A number of parameters as people say it: `134.52M`.
fn in_words(n: u64) -> String {
    let (unit, letter) = match n {
        1_000_000_000.. => (1e9, "B"),
        1_000_000.. => (1e6, "M"),
        _ => (1e3, "K"),
    };
    format!("{:.2}{letter}", n as f64 / unit)
}

/// Seconds since 1970 as RFC 3339 says it; 1970 for a time that no calendar has.
pub(super) fn timestamp(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::{in_words, timestamp};

    #[test]
    fn times_are_said_as_rfc_3339_says_them() {
        assert_eq!(timestamp(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(i64::MAX), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn parameters_are_said_in_their_unit() {
        assert_eq!([in_words(134_515_008), in_words(7_000_000_000), in_words(500)], ["134.52M", "7.00B", "0.50K"]);
    }
}
