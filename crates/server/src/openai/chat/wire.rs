//! The objects that answers are made of.

use super::request::ChatRequest;
use crate::state::Server;
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Summary, Timings, TokenEvent, Usage};
use ballast_tokens::{ShowSpecial, Tokenizer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What stands for a logarithm of zero: JSON has no infinity.
const LOGPROB_MIN: f32 = -9999.0;

/// What all objects of one answer share.
#[derive(Debug)]
pub(super) struct Wire {
    id: String,
    created: i64,
    model: String,
    fingerprint: String,
    wants_logprobs: bool,
    ignore_eos: bool,
    tokenizer: Arc<Tokenizer>,
}

impl Wire {
    pub(super) fn new(server: &Server, request: &ChatRequest, created: i64) -> Self {
        Self {
            id: format!("chatcmpl-{:016x}", (server.options.random)()),
            created,
            model: server.model.id.clone(),
            fingerprint: server.model.fingerprint.clone(),
            wants_logprobs: request.n_logprobs().is_some(),
            ignore_eos: request.ignore_eos,
            tokenizer: Arc::clone(server.model.runtime.tokenizer()),
        }
    }

    /// An answer in one piece.
    pub(super) fn completion(&self, text: &str, logprobs: Vec<Value>, summary: &Summary) -> Value {
        let choice = json!({
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": self.logprobs(logprobs),
            "finish_reason": finish_reason(summary),
        });
        let mut object = self.object("chat.completion", json!([choice]));
        object["usage"] = usage(summary.usage);
        object["timings"] = timings(&summary.timings, summary.usage);
        object
    }

    /// One piece of an answer: what is new, and on the last piece why it ended.
    pub(super) fn chunk(&self, delta: Value, logprobs: Vec<Value>, summary: Option<&Summary>) -> Value {
        let logprobs = if logprobs.is_empty() { Value::Null } else { self.logprobs(logprobs) };
        let finish_reason = summary.map(finish_reason);
        let choice = json!({ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason });
        let mut object = self.object("chat.completion.chunk", json!([choice]));
        if let Some(summary) = summary {
            object["timings"] = timings(&summary.timings, summary.usage);
        }
        object
    }

    /// The piece after the last, which carries the usage.
    pub(super) fn usage_chunk(&self, summary: &Summary) -> Value {
        let mut object = self.object("chat.completion.chunk", json!([]));
        object["usage"] = usage(summary.usage);
        object
    }

    /// The token's entry in `logprobs`. The token that ends the answer is not part of it.
    pub(super) fn logprob(&self, event: &TokenEvent) -> Option<Value> {
        let logprob = event.logprob.as_ref()?;
        if self.tokenizer.is_end_of_generation(event.token) && !self.ignore_eos {
            return None;
        }
        let mut entry = self.token(event.token, logprob.chosen);
        let top = logprob.top.iter().map(|&(token, logprob)| self.token(token, logprob));
        entry["top_logprobs"] = top.collect();
        Some(entry)
    }

    fn token(&self, token: TokenId, logprob: f32) -> Value {
        let bytes = self.tokenizer.token_bytes(token, ShowSpecial::Yes);
        json!({ "token": String::from_utf8_lossy(bytes), "logprob": logprob.max(LOGPROB_MIN), "bytes": bytes })
    }

    fn logprobs(&self, entries: Vec<Value>) -> Value {
        if self.wants_logprobs { json!({ "content": entries, "refusal": null }) } else { Value::Null }
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }
}

/// Answers that ended otherwise are errors and have no finish reason on this wire.
fn finish_reason(summary: &Summary) -> &'static str {
    match summary.finish_reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => "stop",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

fn timings(timings: &Timings, usage: Usage) -> Value {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    json!({
        "queue_ms": ms(timings.queue),
        "time_to_first_token_ms": timings.time_to_first_token.map(ms),
        "total_ms": ms(timings.total),
        "prefill_tokens_per_second": timings.prefill_tokens_per_second(usage),
        "decode_tokens_per_second": timings.decode_tokens_per_second(usage),
    })
}
