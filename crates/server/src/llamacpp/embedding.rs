//! `POST /embedding` and `POST /embeddings` of llama.cpp's server: a list of vectors for each text, of one or, where the
//! model does not pool, of one for each token.

use crate::api_error::ApiError;
use crate::encoding::{Asked, Wanted, answer, check, inputs, submit, truncation};
use crate::fields::{Fields, ParamError};
use crate::incoming::Incoming;
use crate::params::deadline;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_runtime::encoding::normalize;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug)]
struct Words {
    is_normalized: bool,
    width: usize,
}

#[derive(Debug, Serialize)]
struct Embedding {
    index: usize,
    embedding: Vec<Vec<f32>>,
}

pub(crate) async fn embedding(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (encoded, words) = match answer(server, request, take).await {
        Ok(answered) => answered,
        Err(error) => return error.into_response(),
    };
    let vectors = |all: Vec<f32>| {
        let mut vectors: Vec<Vec<f32>> = all.chunks_exact(words.width).map(<[f32]>::to_vec).collect();
        if words.is_normalized {
            vectors.iter_mut().for_each(|vector| normalize(vector));
        }
        vectors
    };
    let texts = encoded.vectors.into_iter().enumerate();
    let embeddings: Vec<_> = texts.map(|(index, all)| Embedding { index, embedding: vectors(all) }).collect();
    Json(embeddings).into_response()
}

fn take(server: &Server, incoming: &Incoming) -> Result<Asked<Words>, ApiError> {
    let mut fields = Fields::of_body(&incoming.body)?;
    let model = server.encoder_of_many(fields.string("model")?.as_deref())?;
    check(&model, Wanted::Vectors)?;
    let field = if fields.peek("input").is_some() { "input" } else { "content" };
    let texts = inputs(&mut fields, field)?;
    // As the program numbers them: 2 is the Euclidean length.
    let is_normalized = match fields.i64("embd_normalize")? {
        None | Some(2) => true,
        Some(-1) => false,
        Some(got) => {
            return Err(ParamError::wrong("embd_normalize".to_owned(), "2 or -1", &got.into()).into());
        }
    };
    let overlong = truncation(&mut fields)?;
    let deadline = deadline(&mut fields, &server.options)?;
    fields.finish()?;
    let words = Words { is_normalized, width: model.encoder().shape().width };
    let texts = texts.into_iter().map(|input| input.encode(model.encoder(), overlong)).collect();
    submit(model, &incoming.asker, texts, (deadline, words))
}
