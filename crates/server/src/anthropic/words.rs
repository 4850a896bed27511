//! The objects that answers are made of.

use super::request::MessagesRequest;
use crate::generation::Whole;
use crate::state::Server;
use crate::tools::{Said, SaidWhole, call_id, whole_object};
use crate::{RandomSource, ServedModel};
use ballast_runtime::{FinishReason, Summary};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What all objects of one answer share.
pub(super) struct Words {
    id: String,
    model: String,
    stop: Vec<String>,
    n_prompt: usize,
    /// Takes the answer apart.
    said: Said,
    random: RandomSource,
}

impl Words {
    pub(super) fn new(
        server: &Server,
        model: &ServedModel,
        request: &MessagesRequest,
        (n_prompt, said): (usize, Said),
    ) -> Self {
        Self {
            id: format!("msg_{:016x}", (server.options.random)()),
            model: model.id.clone(),
            stop: request.generation.stop.clone(),
            n_prompt,
            said,
            random: RandomSource::clone(&server.options.random),
        }
    }

    /// What takes the answer apart.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    /// A block for a call; its arguments come after it where the answer is streamed.
    pub(super) fn tool_use(&self, name: &str, input: Value) -> Value {
        json!({ "type": "tool_use", "id": call_id("toolu", &self.random), "name": name, "input": input })
    }

    /// An answer in one piece.
    pub(super) fn message(&self, answer: &Whole) -> Value {
        let SaidWhole { thought, text, calls } = self.said.clone().whole(answer);
        let thought = (!thought.is_empty()).then(|| thinking(&thought, &signature(&Sha256::new_with_prefix(&thought))));
        let text = (!text.is_empty()).then(|| json!({ "type": "text", "text": text }));
        let uses = calls.iter().map(|call| self.tool_use(&call.name, whole_object(&call.arguments)));
        let content = thought.into_iter().chain(text).chain(uses).collect();
        self.object(content, &self.stop(&answer.summary, calls.len()), usage(&answer.summary))
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

    /// Why an answer ended that made so many calls. Those that ended otherwise are errors and have no reason on this wire.
    pub(super) fn stop(&self, summary: &Summary, n_calls: usize) -> Value {
        let sequence = summary.stop_idx.and_then(|idx| self.stop.get(idx));
        let reason = match (summary.finish_reason, sequence) {
            (FinishReason::Length, _) => "max_tokens",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, Some(_)) => "stop_sequence",
            (FinishReason::Stop, None) if n_calls > 0 => "tool_use",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, None) => "end_turn",
        };
        json!({ "stop_reason": reason, "stop_sequence": sequence })
    }
}

/// A block of thoughts.
pub(super) fn thinking(thought: &str, signature: &str) -> Value {
    json!({ "type": "thinking", "thinking": thought, "signature": signature })
}

/// What clients send back with thoughts: their digest, always the same for the same. Nobody here asks for it again.
pub(super) fn signature(thought: &Sha256) -> String {
    thought.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
