//! Answers as server-sent events: the role at once, chunks of text, the usage if asked for, `[DONE]`.
//!
//! No event carries `id:` or `retry:`: OpenAI's Python client would take the next comment for an empty event.

use super::wire::Wire;
use crate::api_error::ApiError;
use crate::openai::error::error_body;
use crate::openai::event::{DONE, PING, event};
use crate::stream::{EVENT_STREAM, Frames};
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};

/// The chunks of all choices.
pub(super) struct Chunks {
    wire: Wire,
    include_usage: bool,
    /// Of tokens whose text is held back, for each choice: they go out with its next text.
    logprobs: Vec<Vec<Value>>,
    /// Of choices that have ended, by index.
    summaries: Vec<Option<Summary>>,
}

impl Chunks {
    pub(super) fn new(wire: Wire, include_usage: bool) -> Self {
        let n = wire.n_choices();
        Self { wire, include_usage, logprobs: vec![Vec::new(); n], summaries: vec![None; n] }
    }

    fn chunk(&mut self, idx: usize, delta: Value, summary: Option<&Summary>) -> String {
        let mut chunk = self.wire.chunk(idx, delta, std::mem::take(&mut self.logprobs[idx]), summary);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }
}

impl Frames for Chunks {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some(PING);

    fn begin(&mut self) -> String {
        let role = json!({ "role": "assistant", "content": null, "refusal": null });
        (0..self.wire.n_choices()).map(|idx| self.chunk(idx, role.clone(), None)).collect()
    }

    fn token(&mut self, idx: usize, event: &TokenEvent) -> String {
        self.logprobs[idx].extend(self.wire.logprob(event));
        if event.text.is_empty() { String::new() } else { self.chunk(idx, json!({ "content": event.text }), None) }
    }

    fn end(&mut self, idx: usize, summary: Summary) -> String {
        let mut text = String::new();
        if !summary.tail.is_empty() {
            text += &self.chunk(idx, json!({ "content": summary.tail }), None);
        }
        text += &self.chunk(idx, json!({}), Some(&summary));
        self.summaries[idx] = Some(summary);
        text
    }

    fn finish(&mut self) -> String {
        let summaries: Vec<Summary> = self.summaries.drain(..).flatten().collect();
        let usage = if self.include_usage { event(&self.wire.usage_chunk(&summaries)) } else { String::new() };
        usage + DONE
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event(&error_body(&cause.into()))
    }
}
