//! `POST /v1/rerank`, `/v2/rerank` and `/rerank`: documents by how well they answer a question, as Jina's and Cohere's
//! clients ask for it.

use crate::api_error::ApiError;
use crate::encoding::{Asked, INPUTS_MAX, TEXT_BYTES_MAX, Wanted, answer, check, submit};
use crate::fields::{Fields, ParamError};
use crate::incoming::Incoming;
use crate::params::deadline;
use crate::state::Server;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_runtime::encoding::{Encoded, Overlong};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the answer needs of the request.
#[derive(Debug)]
struct Words {
    model: String,
    top_n: usize,
    /// The documents, if they come back.
    documents: Option<Vec<String>>,
}

pub(crate) async fn rerank(State(server): State<Arc<Server>>, request: Request) -> Response {
    match answer(server, request, take).await {
        Ok((encoded, words)) => Json(words.ranking(&encoded)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn take(server: &Server, incoming: &Incoming) -> Result<Asked<Words>, ApiError> {
    let mut fields = Fields::of_body(&incoming.body)?;
    let model = server.encoder_of_many(fields.string("model")?.as_deref())?;
    check(&model, Wanted::Score)?;
    let query = fields.needed_string("query", "the question")?;
    let documents = documents(&mut fields)?;
    let top_n = fields.count("top_n")?.unwrap_or(documents.len());
    if top_n == 0 {
        return Err(ParamError::wrong("top_n".to_owned(), "1 or more", &0.into()).into());
    }
    let returned = fields.bool("return_documents")?.unwrap_or(false);
    let tokens_max = fields.count("max_tokens_per_doc")?;
    let deadline = deadline(&mut fields, &server.options)?;
    fields.finish()?;
    // A document's beginning tells what it is about, and those who rank send whole pages.
    let overlong = Overlong::Truncate { tokens_max };
    let texts = documents.iter().map(|document| model.encoder().pair(&query, document, overlong)).collect();
    let words = Words { model: model.id.clone(), top_n, documents: returned.then_some(documents) };
    submit(model, &incoming.asker, texts, (deadline, words))
}

/// Each a string, or an object with a `text`.
fn documents(fields: &mut Fields) -> Result<Vec<String>, ParamError> {
    let param = "documents".to_owned();
    let expected = "an array of strings, or of objects with a text";
    let Some(value) = fields.take("documents") else { return Err(ParamError::Missing { param, expected }) };
    let items = value.as_array().ok_or_else(|| ParamError::wrong(param.clone(), expected, &value))?;
    if !(1..=INPUTS_MAX).contains(&items.len()) {
        return Err(ParamError::wrong(param, format!("1 to {INPUTS_MAX} documents"), &value));
    }
    let document = |(idx, item): (usize, &Value)| {
        let text = item.as_str().or_else(|| item.get("text")?.as_str());
        let text = text.filter(|text| text.len() <= TEXT_BYTES_MAX).map(str::to_owned);
        let expected = format!("a text of at most {TEXT_BYTES_MAX} bytes");
        text.ok_or_else(|| ParamError::wrong(format!("documents[{idx}]"), expected, item))
    };
    items.iter().enumerate().map(document).collect()
}

impl Words {
    fn ranking(&self, encoded: &Encoded) -> Value {
        let score = |vector: &Vec<f32>| vector.first().copied().unwrap_or(f32::NEG_INFINITY);
        let mut ranked: Vec<(usize, f32)> = encoded.vectors.iter().map(score).enumerate().collect();
        // Equal ones stay in the order of the request.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let result = |(index, score): (usize, f32)| {
            let relevance = 1.0 / (1.0 + (-f64::from(score)).exp());
            let mut result = json!({ "index": index, "relevance_score": relevance });
            if let Some(documents) = &self.documents {
                result["document"] = json!({ "text": documents[index] });
            }
            result
        };
        let results: Vec<Value> = ranked.into_iter().take(self.top_n).map(result).collect();
        let n_tokens = encoded.n_tokens;
        json!({
            "object": "list",
            "model": self.model,
            "results": results,
            "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
        })
    }
}
