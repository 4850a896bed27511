//! `POST /api/embed`, and `POST /api/embeddings` of older clients, whose vectors are as the model gives them.

use crate::api_error::ApiError;
use crate::encoding::{Asked, Wanted, answer, check, dimensions, inputs, submit};
use crate::fields::{Fields, ParamError};
use crate::incoming::Incoming;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_runtime::encoding::{Overlong, normalize, shorten};
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug)]
struct Words {
    model: String,
    dimensions: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Embeddings {
    model: String,
    embeddings: Vec<Vec<f32>>,
    /// In nanoseconds.
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

#[derive(Debug, Serialize)]
struct Embedding {
    embedding: Vec<f32>,
}

/// `POST /api/embed`.
pub(crate) async fn embed(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (encoded, words) = match answer(server, request, |server, incoming| take(server, incoming, "input")).await {
        Ok(answered) => answered,
        Err(error) => return error.into_response(),
    };
    let mut embeddings = encoded.vectors;
    for vector in &mut embeddings {
        match words.dimensions {
            Some(dimensions) => shorten(vector, dimensions),
            None => normalize(vector),
        }
    }
    Json(Embeddings {
        model: words.model,
        embeddings,
        total_duration: u64::try_from(encoded.total.as_nanos()).unwrap_or(u64::MAX),
        // The model was loaded before.
        load_duration: 0,
        prompt_eval_count: encoded.n_tokens,
    })
    .into_response()
}

/// `POST /api/embeddings`.
pub(crate) async fn embeddings(State(server): State<Arc<Server>>, request: Request) -> Response {
    match answer(server, request, |server, incoming| take(server, incoming, "prompt")).await {
        Ok((encoded, _)) => {
            let embedding = encoded.vectors.into_iter().next().unwrap_or_default();
            Json(Embedding { embedding }).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn take(server: &Server, incoming: &Incoming, field: &str) -> Result<Asked<Words>, ApiError> {
    let mut fields = Fields::of_body(&incoming.body)?;
    let model = server.encoder(Some(&fields.needed_string("model", "the name of the model")?))?;
    check(&model, Wanted::Vector)?;
    let texts = inputs(&mut fields, field)?;
    if field == "prompt" && texts.len() > 1 {
        let got = format!("an array of {}", texts.len());
        return Err(ParamError::Wrong { param: field.to_owned(), expected: "one text".to_owned(), got }.into());
    }
    let dimensions = dimensions(&mut fields, model.encoder().shape().width)?;
    let overlong = match fields.bool("truncate")?.unwrap_or(true) {
        true => Overlong::Truncate { tokens_max: None },
        false => Overlong::Refuse,
    };
    // The model stays loaded while the server runs, and none of the options changes a vector.
    drop((fields.take("keep_alive"), fields.take("options")));
    fields.finish()?;
    let words = Words { model: model.id.clone(), dimensions };
    let texts = texts.into_iter().map(|input| input.encode(model.encoder(), overlong)).collect();
    submit(model, &incoming.asker, texts, (server.options.request_deadline, words))
}
