//! The objects that answers are made of.

use super::request::ChatRequest;
use crate::RandomSource;
use crate::generation::Whole;
use crate::llamacpp::settings;
use crate::models::GeneratorUse;
use crate::openai::objects::{Answer, Object, TokenWords, finish_reason, timings, usage};
use crate::openai::params::Mode;
use crate::params::Telling;
use crate::state::Server;
use crate::tools::{Said, SaidCall, SaidWhole, call_id};
use ballast_backend::TokenId;
use ballast_runtime::{Summary, TokenEvent};
use serde::Serialize;
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
    telling: Telling,
    /// What decided the answer; `None`: nobody asked. Its `prompt` comes by [`Wire::tells`].
    verbose: Option<Value>,
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
            telling: request.generation.telling,
            verbose: request.is_verbose.then(|| {
                let is_streamed = request.mode != Mode::Whole;
                json!({ "generation_settings": settings(&request.generation, model.format().tokenizer(), is_streamed) })
            }),
        }
    }

    /// Tells the prompt with the answer, where it was asked for.
    pub(super) fn tells(mut self, prompt: &[TokenId]) -> Self {
        if let Some(verbose) = &mut self.verbose {
            verbose["prompt"] = self.words.prompt_text(prompt).into();
        }
        self
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
    pub(super) fn completion(&self, answers: &[Whole], logprobs: Vec<Vec<Value>>) -> Object<'_, Choice> {
        let choice = |(index, (whole, logprobs)): (usize, (&Whole, Vec<Value>))| {
            let said = self.said.clone().whole(whole);
            let finish_reason = Some(reason(&whole.summary, said.calls.len()));
            let logprobs = self.logprobs(logprobs);
            Choice { index, message: Some(self.message(said)), delta: None, logprobs, finish_reason }
        };
        let choices = answers.iter().zip(logprobs).enumerate().map(choice).collect();
        let summaries: Vec<&Summary> = answers.iter().map(|answer| &answer.summary).collect();
        let mut object = self.answer.object("chat.completion", choices);
        object.usage = Some(Some(usage(&summaries, 1)));
        object.timings = Some(timings(summaries[0]));
        object.verbose = self.verbose.as_ref();
        object
    }

    /// One piece of an answer: what is new, and on the last piece how it ended and after how many calls.
    pub(super) fn chunk(
        &self,
        index: usize,
        delta: Value,
        logprobs: Vec<Value>,
        end: Option<(&Summary, usize)>,
    ) -> Object<'_, Choice> {
        let logprobs = if logprobs.is_empty() { None } else { self.logprobs(logprobs) };
        let finish_reason = end.map(|(summary, n_calls)| reason(summary, n_calls));
        let choice = Choice { index, message: None, delta: Some(delta), logprobs, finish_reason };
        let mut object = self.answer.object("chat.completion.chunk", vec![choice]);
        if let Some((summary, _)) = end {
            object.timings = Some(timings(summary));
            object.verbose = self.verbose.as_ref();
        }
        object
    }

    /// The piece after the last, which carries the usage.
    pub(super) fn usage_chunk(&self, summaries: &[Summary]) -> Object<'_, Choice> {
        let mut object = self.answer.object("chat.completion.chunk", Vec::new());
        object.usage = Some(Some(usage(&summaries.iter().collect::<Vec<_>>(), 1)));
        object.timings = summaries.first().map(timings);
        object
    }

    /// What is told of answers while they are made.
    pub(super) fn telling(&self) -> Telling {
        self.telling
    }

    /// The token's entry in `logprobs`. The token that ends the answer is not part of it.
    pub(super) fn logprob(&self, event: &TokenEvent) -> Option<Value> {
        self.words.logprob_entry(event)
    }

    fn logprobs(&self, entries: Vec<Value>) -> Option<Value> {
        self.wants_logprobs.then(|| json!({ "content": entries, "refusal": null }))
    }
}

/// One choice: its message, or a piece of it.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Value>,
    logprobs: Option<Value>,
    finish_reason: Option<&'static str>,
}

/// Why an answer ended that made so many calls.
fn reason(summary: &Summary, n_calls: usize) -> &'static str {
    match finish_reason(summary) {
        "stop" if n_calls > 0 => "tool_calls",
        reason => reason,
    }
}
