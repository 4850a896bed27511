//! The objects that answers are made of.

use super::request::MessagesRequest;
use crate::ServedModel;
use crate::generation::Whole;
use crate::state::Server;
use ballast_runtime::{FinishReason, Summary};
use serde_json::{Value, json};

/// What all objects of one answer share.
#[derive(Debug)]
pub(super) struct Words {
    id: String,
    model: String,
    stop: Vec<String>,
    n_prompt: usize,
}

impl Words {
    pub(super) fn new(server: &Server, model: &ServedModel, request: &MessagesRequest, n_prompt: usize) -> Self {
        Self {
            id: format!("msg_{:016x}", (server.options.random)()),
            model: model.id.clone(),
            stop: request.generation.stop.clone(),
            n_prompt,
        }
    }

    /// An answer in one piece.
    pub(super) fn message(&self, answer: &Whole) -> Value {
        let Whole { text, summary } = answer;
        let content = if text.is_empty() { json!([]) } else { json!([{ "type": "text", "text": text }]) };
        self.object(content, &self.stop(summary), usage(summary))
    }

    /// An answer of which nothing is known yet but its prompt.
    pub(super) fn begun(&self) -> Value {
        let usage = json!({
            "input_tokens": self.n_prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        self.object(json!([]), &json!({ "stop_reason": null, "stop_sequence": null }), usage)
    }

    fn object(&self, content: Value, stop: &Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop["stop_reason"],
            "stop_sequence": stop["stop_sequence"],
            "usage": usage,
        })
    }

    /// Why an answer ended. Those that ended otherwise are errors and have no reason on this wire.
    pub(super) fn stop(&self, summary: &Summary) -> Value {
        let sequence = summary.stop_idx.and_then(|idx| self.stop.get(idx));
        let reason = match (summary.finish_reason, sequence) {
            (FinishReason::Length, _) => "max_tokens",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, Some(_)) => "stop_sequence",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, None) => "end_turn",
        };
        json!({ "stop_reason": reason, "stop_sequence": sequence })
    }
}

/// Tokens that were found cached are not among the input tokens of this wire.
pub(super) fn usage(summary: &Summary) -> Value {
    let usage = summary.usage;
    json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}
