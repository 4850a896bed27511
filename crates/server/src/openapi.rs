//! The OpenAPI document of the server: what every route takes and gives.
//!
//! Paths, methods and keys are those of the routes' table; what bodies look like is said beside each wire. A row of the
//! table without an operation here, or the other way round, fails a test.

mod anthropic;
mod embeddings;
mod health;
mod kserve;
mod llamacpp;
mod ollama;
mod openai;
mod operation;
mod responses;
mod schema;

use crate::ServedModel;
use crate::routes::{Route, routes};
use crate::state::Server;
use axum::Json;
use axum::extract::State;
use operation::{Operation, Served, operations};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /openapi.json`: names of models, tokens and lengths are those that are served.
pub(crate) async fn serve(State(server): State<Arc<Server>>) -> Json<Value> {
    let vocab_size = |model: &ServedModel| model.generator().map(|it| it.format.tokenizer().vocab_size());
    let cards = server.models.cards();
    Json(document(&Served {
        vocab_size: server.models.each_loaded(vocab_size).into_iter().flatten().min(),
        context_len: cards.iter().filter_map(|card| card.context_len).min(),
        names: cards.into_iter().map(|card| card.id).collect(),
        deadline_max: Some(server.options.request_deadline_max.as_secs_f64()),
    }))
}

/// The document of a server whose models are not known, of the version 3.1 of OpenAPI.
#[must_use]
pub fn openapi() -> Value {
    document(&Served::default())
}

fn document(served: &Served) -> Value {
    let operations = operations(served);
    let mut paths = Map::new();
    for route in routes() {
        let found = operations.iter().find(|operation| operation.answers(route));
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = found.map_or_else(|| json!({}), |found| described(route, found));
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Ballast", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT OR Apache-2.0" } },
        "paths": paths,
        "components": { "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer" },
            "header": { "type": "apiKey", "in": "header", "name": "x-api-key" },
        }},
    })
}

fn described(route: &Route, operation: &Operation) -> Value {
    let mut described = operation.described();
    let needs_key = route.scope.is_some();
    described["security"] = if needs_key { json!([{ "bearer": [] }, { "header": [] }]) } else { json!([]) };
    if needs_key {
        let responses = &mut described["responses"];
        responses["401"] = operation.error("There is no key, or none that is known.");
        responses["403"] = operation.error("The key is not for this.");
        responses["429"] = operation.error("Too many requests, or too many at a time: wait as `Retry-After` says.");
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_and_router_are_the_same() {
        let operations = operations(&Served::default());
        for route in routes() {
            let found = operations.iter().filter(|operation| operation.answers(route)).count();
            assert_eq!(found, 1, "{route:?}");
        }
        assert_eq!(operations.len(), routes().len());
    }

    #[test]
    fn models_are_those_that_are_served() {
        let model = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let document = document(&Served { names, ..Served::default() });
            let body = &document["paths"]["/v1/chat/completions"]["post"]["requestBody"];
            body["content"]["application/json"]["schema"]["properties"]["model"].clone()
        };
        assert_eq!(model(&["a", "b"])["enum"], json!(["a", "b"]));
        assert_eq!(model(&[])["enum"], Value::Null);
    }
}
