//! The objects that answers are made of.

use super::request::ChatRequest;
use crate::RandomSource;
use crate::generation::Whole;
use crate::models::GeneratorUse;
use crate::openai::objects::{Answer, TokenWords, finish_reason, timings, usage};
use crate::state::Server;
use crate::tools::{Said, SaidCall, SaidWhole, call_id};
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};

/// What all objects of one answer share.
pub(super) struct Wire {
    answer: Answer,
    words: TokenWords,
    n_choices: usize,
    wants_logprobs: bool,
    /// Takes an answer apart.
    said: Said,
    random: RandomSource,
}

impl Wire {
    pub(super) fn new(server: &Server, model: &GeneratorUse, request: &ChatRequest, said: Said) -> Self {
        Self {
            answer: Answer::new(server, model, "chatcmpl", (server.options.unix_time)()),
            words: TokenWords::new(model, &request.generation),
            n_choices: request.n_choices,
            wants_logprobs: request.generation.sampling.n_logprobs.is_some(),
            said,
            random: RandomSource::clone(&server.options.random),
        }
    }

    pub(super) fn n_choices(&self) -> usize {
        self.n_choices
    }

    /// What takes an answer apart.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    /// The name of another call.
    pub(super) fn call_id(&self) -> String {
        call_id("call", &self.random)
    }

    /// An answer as a message; without text there is none beside calls.
    fn message(&self, said: SaidWhole) -> Value {
        let SaidWhole { thought, text, calls } = said;
        let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !thought.is_empty() {
            message["reasoning_content"] = thought.into();
        }
        if !calls.is_empty() {
            let call = |SaidCall { name, arguments }: SaidCall| {
                let function = json!({ "name": name, "arguments": arguments });
                json!({ "id": self.call_id(), "type": "function", "function": function })
            };
            message["tool_calls"] = calls.into_iter().map(call).collect();
        }
        message
    }

    /// All answers in one piece.
    pub(super) fn completion(&self, answers: &[Whole], logprobs: Vec<Vec<Value>>) -> Value {
        let choice = |(idx, (whole, logprobs)): (usize, (&Whole, Vec<Value>))| {
            let said = self.said.clone().whole(whole);
            let finish_reason = reason(&whole.summary, said.calls.len());
            json!({
                "index": idx,
                "message": self.message(said),
                "logprobs": self.logprobs(logprobs),
                "finish_reason": finish_reason,
            })
        };
        let choices: Vec<Value> = answers.iter().zip(logprobs).enumerate().map(choice).collect();
        let summaries: Vec<&Summary> = answers.iter().map(|answer| &answer.summary).collect();
        let mut object = self.answer.object("chat.completion", json!(choices));
        object["usage"] = usage(&summaries, 1);
        object["timings"] = timings(summaries[0]);
        object
    }

    /// One piece of an answer: what is new, and on the last piece how it ended and after how many calls.
    pub(super) fn chunk(
        &self,
        idx: usize,
        delta: Value,
        logprobs: Vec<Value>,
        end: Option<(&Summary, usize)>,
    ) -> Value {
        let logprobs = if logprobs.is_empty() { Value::Null } else { self.logprobs(logprobs) };
        let finish_reason = end.map(|(summary, n_calls)| reason(summary, n_calls));
        let choice = json!({ "index": idx, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason });
        let mut object = self.answer.object("chat.completion.chunk", json!([choice]));
        if let Some((summary, _)) = end {
            object["timings"] = timings(summary);
        }
        object
    }

    /// The piece after the last, which carries the usage.
    pub(super) fn usage_chunk(&self, summaries: &[Summary]) -> Value {
        let mut object = self.answer.object("chat.completion.chunk", json!([]));
        object["usage"] = usage(&summaries.iter().collect::<Vec<_>>(), 1);
        object
    }

    /// The token's entry in `logprobs`. The token that ends the answer is not part of it.
    pub(super) fn logprob(&self, event: &TokenEvent) -> Option<Value> {
        self.words.logprob_entry(event)
    }

    fn logprobs(&self, entries: Vec<Value>) -> Value {
        if self.wants_logprobs { json!({ "content": entries, "refusal": null }) } else { Value::Null }
    }
}

/// Why an answer ended that made so many calls.
fn reason(summary: &Summary, n_calls: usize) -> &'static str {
    match finish_reason(summary) {
        "stop" if n_calls > 0 => "tool_calls",
        reason => reason,
    }
}
