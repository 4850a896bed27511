//! `POST /completion`: text that goes on from a prompt, in llama.cpp's shape.

use super::request::CompletionRequest;
use crate::api_error::ApiError;
use crate::generation::{Taken, Whole, begin};
use crate::incoming::Incoming;
use crate::models::GeneratorUse;
use crate::openai::{PING, error_body, event, finite};
use crate::state::Server;
use crate::stream::{EVENT_STREAM, Frames, response};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Summary, TokenEvent};
use ballast_tokens::{ShowSpecial, Tokenizer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn completion(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, (mut words, is_streamed)) = begin(server, request, take).await?;
    if is_streamed {
        return Ok(response(tokens, Events(words), keep_alive));
    }
    let answers = tokens.whole(|_, event| words.note(event)).await?;
    let Whole { text, summary, .. } = &answers[0];
    Ok(Json(words.last(text, summary)).into_response())
}

fn take(server: &Server, incoming: &Incoming) -> Result<Taken<(Words, bool)>, ApiError> {
    let request = CompletionRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator_of_many(request.model.as_deref())?;
    let prompt = request.prompt(model.format().tokenizer())?;
    let words = Words::new(&model, &request);
    let streams = request.generation.submit(&model, (server, &incoming.asker), &[prompt], 1)?;
    let (model, deadline) = (model.into_model(), request.generation.deadline);
    Ok(Taken { streams, model, deadline, wire: (words, request.is_streamed) })
}

/// What all objects of one answer share, and what has not been sent yet.
struct Words {
    model: String,
    stop: Vec<String>,
    returns_tokens: bool,
    tokenizer: Arc<Tokenizer>,
    ignore_eos: bool,
    tokens: Vec<TokenId>,
    probabilities: Vec<Value>,
}

impl Words {
    fn new(model: &GeneratorUse, request: &CompletionRequest) -> Self {
        Self {
            model: model.id.clone(),
            stop: request.generation.stop.clone(),
            returns_tokens: request.returns_tokens,
            tokenizer: Arc::clone(model.format().tokenizer()),
            ignore_eos: request.generation.ignore_eos,
            tokens: Vec::new(),
            probabilities: Vec::new(),
        }
    }

    /// Takes note of a token. The one that ends the answer is not part of it.
    fn note(&mut self, event: &TokenEvent) {
        if self.tokenizer.is_end_of_generation(event.token) && !self.ignore_eos {
            return;
        }
        if self.returns_tokens {
            self.tokens.push(event.token);
        }
        if let Some(logprob) = &event.logprob {
            let token = |token: TokenId, logprob: f32| {
                let bytes = self.tokenizer.token_bytes(token, ShowSpecial::Yes);
                let text = String::from_utf8_lossy(bytes);
                json!({ "id": token.0, "token": text, "bytes": bytes, "logprob": finite(logprob) })
            };
            let mut entry = token(event.token, logprob.chosen);
            entry["top_logprobs"] = logprob.top.iter().map(|&(id, logprob)| token(id, logprob)).collect();
            self.probabilities.push(entry);
        }
    }

    /// What is new.
    fn part(&mut self, text: &str, is_last: bool) -> Value {
        let tokens: Vec<u32> = self.tokens.drain(..).map(|token| token.0).collect();
        let mut object = json!({ "index": 0, "content": text, "tokens": tokens, "stop": is_last, "id_slot": -1 });
        if !self.probabilities.is_empty() {
            object["completion_probabilities"] = self.probabilities.drain(..).collect();
        }
        object
    }

    /// What is new at the end, and how the answer came about.
    fn last(&mut self, text: &str, summary: &Summary) -> Value {
        let mut object = self.part(text, true);
        let word = summary.stop_idx.and_then(|idx| self.stop.get(idx));
        let kind = match (summary.finish_reason, word) {
            (FinishReason::Length, _) => "limit",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, Some(_)) => "word",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, None) => "eos",
        };
        let usage = summary.usage;
        let told = [
            ("model", json!(self.model)),
            ("stop_type", json!(kind)),
            ("stopping_word", json!(word.map_or("", String::as_str))),
            ("tokens_predicted", json!(usage.completion_tokens)),
            ("tokens_evaluated", json!(usage.prompt_tokens)),
            ("tokens_cached", json!(usage.cached_tokens)),
            ("truncated", json!(false)),
            ("timings", timings(summary)),
        ];
        for (name, value) in told {
            object[name] = value;
        }
        object
    }
}

fn timings(summary: &Summary) -> Value {
    let Summary { timings, usage, .. } = summary;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let first = timings.time_to_first_token.unwrap_or(timings.total);
    json!({
        "prompt_n": usage.prompt_tokens - usage.cached_tokens,
        "prompt_ms": ms(first.saturating_sub(timings.queue)),
        "prompt_per_second": timings.prefill_tokens_per_second(*usage),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": ms(timings.total.saturating_sub(first)),
        "predicted_per_second": timings.decode_tokens_per_second(*usage),
        "cache_n": usage.cached_tokens,
    })
}

/// An answer as server-sent events; the last one says that it is.
struct Events(Words);

impl Frames for Events {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some(PING);

    fn begin(&mut self) -> String {
        String::new()
    }

    fn token(&mut self, _idx: usize, token: &TokenEvent) -> String {
        self.0.note(token);
        if token.text.is_empty() { String::new() } else { event(&self.0.part(&token.text, false)) }
    }

    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        event(&self.0.last(&summary.tail, &summary))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event(&error_body(&cause.into()))
    }
}
