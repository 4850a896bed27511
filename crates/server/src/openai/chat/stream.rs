//! Answers as server-sent events: the role at once, chunks of text, the usage if asked for, `[DONE]`.
//!
//! No event carries `id:` or `retry:`: OpenAI's Python client would take the next comment for an empty event.

use super::wire::Wire;
use crate::api_error::ApiError;
use crate::openai::error::error_body;
use crate::openai::event::{DONE, PING, event};
use crate::progress::Reporter;
use crate::stream::{EVENT_STREAM, Frames};
use crate::tools::{Said, SaidEvent};
use ballast_runtime::{Progress, Summary, TokenEvent};
use serde_json::{Value, json};

/// The chunks of all choices.
pub(super) struct Chunks {
    wire: Wire,
    include_usage: bool,
    /// Of tokens whose text is held back, for each choice: they go out with its next text.
    logprobs: Vec<Vec<Value>>,
    /// What takes each choice apart.
    said: Vec<Said>,
    /// Of choices that have ended, by index.
    summaries: Vec<Option<Summary>>,
    reporter: Reporter,
}

impl Chunks {
    pub(super) fn new(wire: Wire, include_usage: bool) -> Self {
        let n = wire.n_choices();
        let said = vec![wire.said().clone(); n];
        let (reporter, logprobs) = (Reporter::new(wire.telling(), n), vec![Vec::new(); n]);
        Self { wire, include_usage, logprobs, said, summaries: vec![None; n], reporter }
    }

    fn chunk(&mut self, idx: usize, delta: Value, summary: Option<&Summary>) -> String {
        let end = summary.map(|summary| (summary, self.said[idx].n_calls()));
        let mut chunk = self.wire.chunk(idx, delta, std::mem::take(&mut self.logprobs[idx]), end);
        if end.is_none() {
            chunk.timings = self.reporter.times(idx).map(Into::into);
        }
        chunk.usage = self.include_usage.then_some(None);
        event(&chunk)
    }

    fn chunks(&mut self, idx: usize, said: Vec<SaidEvent>) -> String {
        let chunk = |event: SaidEvent| {
            let delta = match event {
                SaidEvent::Thought(text) => json!({ "reasoning_content": text }),
                SaidEvent::Text(text) => json!({ "content": text }),
                SaidEvent::CallStarted { index, name } => {
                    let function = json!({ "name": name, "arguments": "" });
                    let id = self.wire.call_id();
                    json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
                }
                SaidEvent::Arguments { index, text } => {
                    json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
                }
                SaidEvent::CallEnded { .. } => return String::new(),
            };
            self.chunk(idx, delta, None)
        };
        said.into_iter().map(chunk).collect()
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
        let said = self.said[idx].token(event);
        self.chunks(idx, said)
    }

    fn progress(&mut self, idx: usize, progress: &Progress) -> String {
        let Some(told) = self.reporter.note(idx, progress) else { return String::new() };
        let mut chunk = self.wire.chunk(idx, json!({}), Vec::new(), None);
        chunk.timings = self.reporter.times(idx).map(Into::into);
        chunk.prompt_progress = Some(told);
        event(&chunk)
    }

    fn end(&mut self, idx: usize, summary: Summary) -> String {
        let said = self.said[idx].end(&summary);
        let mut text = self.chunks(idx, said);
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
