//! `POST /v1/embeddings`.

use crate::api_error::ApiError;
use crate::encoding::{Asked, Wanted, answer, base64, check, dimensions, inputs, submit, truncation};
use crate::fields::{Fields, ParamError};
use crate::incoming::Incoming;
use crate::openai::params::labels;
use crate::params::deadline;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_runtime::encoding::{Encoded, normalize, shorten};
use serde::Serialize;
use std::sync::Arc;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Float,
    Base64,
}

/// What the answer needs of the request.
#[derive(Debug)]
struct Words {
    model: String,
    encoding: Encoding,
    dimensions: Option<usize>,
}

/// The answer. Numbers are written as short as they can be read back, which is why these are no `Value`s.
#[derive(Debug, Serialize)]
struct Embeddings {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(crate) async fn embeddings(State(server): State<Arc<Server>>, request: Request) -> Response {
    match answer(server, request, take).await {
        Ok((encoded, words)) => Json(words.embeddings(encoded)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn take(server: &Server, incoming: &Incoming) -> Result<Asked<Words>, ApiError> {
    let mut fields = Fields::of_body(&incoming.body)?;
    let model = server.encoder(Some(&fields.needed_string("model", "the name of the model")?))?;
    check(&model, Wanted::Vector)?;
    let texts = inputs(&mut fields, "input")?;
    let encoding = encoding(&mut fields)?;
    let dimensions = dimensions(&mut fields, model.encoder().shape().width)?;
    let overlong = truncation(&mut fields)?;
    let deadline = deadline(&mut fields, &server.options)?;
    labels(&mut fields)?;
    fields.finish()?;
    let words = Words { model: model.id.clone(), encoding, dimensions };
    let texts = texts.into_iter().map(|input| input.encode(model.encoder(), overlong)).collect();
    submit(model, &incoming.asker, texts, (deadline, words))
}

fn encoding(fields: &mut Fields) -> Result<Encoding, ParamError> {
    match fields.string("encoding_format")?.as_deref() {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(other) => Err(ParamError::wrong("encoding_format".to_owned(), "float or base64", &other.into())),
    }
}

impl Words {
    fn embeddings(self, encoded: Encoded) -> Embeddings {
        let numbers = |mut vector: Vec<f32>| {
            match self.dimensions {
                Some(dimensions) => shorten(&mut vector, dimensions),
                None => normalize(&mut vector),
            }
            match self.encoding {
                Encoding::Float => Numbers::Float(vector),
                Encoding::Base64 => Numbers::Base64(base64(&vector)),
            }
        };
        let vectors = encoded.vectors.into_iter().enumerate();
        let data = vectors.map(|(index, vector)| Embedding { object: "embedding", index, embedding: numbers(vector) });
        let usage = Usage { prompt_tokens: encoded.n_tokens, total_tokens: encoded.n_tokens };
        Embeddings { object: "list", data: data.collect(), model: self.model, usage }
    }
}
