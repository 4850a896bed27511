//! The objects that answers are made of.

use super::request::ChatRequest;
use crate::generation::Whole;
use crate::models::GeneratorUse;
use crate::openai::objects::{Answer, TokenWords, finish_reason, timings, usage};
use crate::state::Server;
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};

/// What all objects of one answer share.
#[derive(Debug)]
pub(super) struct Wire {
    answer: Answer,
    words: TokenWords,
    n_choices: usize,
    wants_logprobs: bool,
}

impl Wire {
    pub(super) fn new(server: &Server, model: &GeneratorUse, request: &ChatRequest, created: i64) -> Self {
        Self {
            answer: Answer::new(server, model, "chatcmpl", created),
            words: TokenWords::new(model, &request.generation),
            n_choices: request.n_choices,
            wants_logprobs: request.generation.sampling.n_logprobs.is_some(),
        }
    }

    pub(super) fn n_choices(&self) -> usize {
        self.n_choices
    }

    /// All answers in one piece.
    pub(super) fn completion(&self, answers: &[Whole], logprobs: Vec<Vec<Value>>) -> Value {
        let choice = |(idx, (Whole { text, summary }, logprobs)): (usize, (&Whole, Vec<Value>))| {
            json!({
                "index": idx,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": self.logprobs(logprobs),
                "finish_reason": finish_reason(summary),
            })
        };
        let choices: Vec<Value> = answers.iter().zip(logprobs).enumerate().map(choice).collect();
        let summaries: Vec<&Summary> = answers.iter().map(|answer| &answer.summary).collect();
        let mut object = self.answer.object("chat.completion", json!(choices));
        object["usage"] = usage(&summaries, 1);
        object["timings"] = timings(summaries[0]);
        object
    }

    /// One piece of an answer: what is new, and on the last piece why it ended.
    pub(super) fn chunk(&self, idx: usize, delta: Value, logprobs: Vec<Value>, summary: Option<&Summary>) -> Value {
        let logprobs = if logprobs.is_empty() { Value::Null } else { self.logprobs(logprobs) };
        let finish_reason = summary.map(finish_reason);
        let choice = json!({ "index": idx, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason });
        let mut object = self.answer.object("chat.completion.chunk", json!([choice]));
        if let Some(summary) = summary {
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
