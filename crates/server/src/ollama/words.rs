//! The objects that answers are made of, in one piece and one a line.

use super::card::timestamp;
use super::error_body;
use crate::UnixTime;
use crate::api_error::ApiError;
use crate::generation::Whole;
use crate::state::Server;
use crate::stream::{Frames, LINES};
use crate::tools::{Said, SaidCall, SaidEvent, SaidWhole, whole_object};
use ballast_runtime::{FinishReason, Summary, TokenEvent};
use serde_json::{Value, json};
use std::time::Duration;

/// Which route is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Generate,
}

/// What all objects of one answer share.
pub(super) struct Words {
    kind: Kind,
    model: String,
    unix_time: UnixTime,
    /// Takes the answer apart.
    said: Said,
}

impl Words {
    pub(super) fn new(server: &Server, model: String, kind: Kind, said: Said) -> Self {
        Self { kind, model, unix_time: UnixTime::clone(&server.options.unix_time), said }
    }

    /// An answer in one piece.
    pub(super) fn whole(&self, answer: &Whole) -> Value {
        let SaidWhole { thought, text, calls } = self.said.clone().whole(answer);
        let mut object = self.last(&text, &answer.summary);
        if !thought.is_empty() {
            self.put_thought(&mut object, thought);
        }
        if !calls.is_empty() {
            object["message"]["tool_calls"] = calls.iter().map(call).collect();
        }
        object
    }

    /// Puts what was thought where the route has it.
    fn put_thought(&self, object: &mut Value, thought: String) {
        match self.kind {
            Kind::Chat => object["message"]["thinking"] = thought.into(),
            Kind::Generate => object["thinking"] = thought.into(),
        }
    }

    /// The answer to nothing: the model is loaded.
    pub(super) fn loaded(&self) -> Value {
        let mut object = self.object("", true);
        object["done_reason"] = "load".into();
        object
    }

    fn last(&self, text: &str, summary: &Summary) -> Value {
        let mut object = self.object(text, true);
        object["done_reason"] = done_reason(summary).into();
        for (name, value) in figures(summary) {
            object[name] = value;
        }
        object
    }

    fn object(&self, text: &str, is_done: bool) -> Value {
        let mut object = object((self.kind, &self.model), (self.unix_time)(), text);
        object["done"] = is_done.into();
        object
    }
}

/// The answer to nothing: the model of this name is unloaded.
pub(super) fn unloaded(server: &Server, model: &str, kind: Kind) -> Value {
    let mut object = object((kind, model), (server.options.unix_time)(), "");
    object["done_reason"] = "unload".into();
    object
}

/// An answer that is done, so far as anybody knows.
fn object((kind, model): (Kind, &str), created: i64, text: &str) -> Value {
    let mut object = json!({ "model": model, "created_at": timestamp(created), "done": true });
    match kind {
        Kind::Chat => object["message"] = json!({ "role": "assistant", "content": text }),
        Kind::Generate => object["response"] = text.into(),
    }
    object
}

/// A call, whose arguments are an object on this wire.
fn call(call: &SaidCall) -> Value {
    json!({ "function": { "name": call.name, "arguments": whole_object(&call.arguments) } })
}

/// Answers that ended otherwise are errors and have no reason on this wire.
fn done_reason(summary: &Summary) -> &'static str {
    match summary.finish_reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => "stop",
    }
}

/// Tokens, and times in nanoseconds. Nothing was loaded for this answer.
fn figures(summary: &Summary) -> [(&'static str, Value); 6] {
    let Summary { timings, usage, .. } = summary;
    let nanos = |time: Duration| json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let first = timings.time_to_first_token.unwrap_or(timings.total);
    [
        ("total_duration", nanos(timings.total)),
        ("load_duration", json!(0)),
        ("prompt_eval_count", json!(usage.prompt_tokens)),
        ("prompt_eval_duration", nanos(first.saturating_sub(timings.queue))),
        ("eval_count", json!(usage.completion_tokens)),
        ("eval_duration", nanos(timings.total.saturating_sub(first))),
    ]
}

/// An answer line by line: a call is one line.
pub(super) struct Lines {
    words: Words,
    said: Said,
    /// The call that is being said.
    call: SaidCall,
}

impl Lines {
    pub(super) fn new(words: Words) -> Self {
        let said = words.said.clone();
        Self { words, said, call: SaidCall::default() }
    }

    fn say(&mut self, said: Vec<SaidEvent>) -> String {
        let say = |event: SaidEvent| match event {
            SaidEvent::Thought(text) => {
                let mut object = self.words.object("", false);
                self.words.put_thought(&mut object, text);
                line(&object)
            }
            SaidEvent::Text(text) => line(&self.words.object(&text, false)),
            SaidEvent::CallStarted { name, .. } => {
                self.call = SaidCall { name, arguments: String::new() };
                String::new()
            }
            SaidEvent::Arguments { text, .. } => {
                self.call.arguments += &text;
                String::new()
            }
            SaidEvent::CallEnded { .. } => {
                let mut object = self.words.object("", false);
                object["message"]["tool_calls"] = json!([call(&self.call)]);
                line(&object)
            }
        };
        said.into_iter().map(say).collect()
    }
}

fn line(object: &Value) -> String {
    format!("{object}\n")
}

impl Frames for Lines {
    const CONTENT_TYPE: &'static str = LINES;
    const PING: Option<&'static str> = None;

    fn begin(&mut self) -> String {
        String::new()
    }

    fn token(&mut self, _idx: usize, event: &TokenEvent) -> String {
        let said = self.said.token(event);
        self.say(said)
    }

    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        let said = self.said.end(&summary);
        self.say(said) + &line(&self.words.last("", &summary))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        line(&error_body(&cause.into()))
    }
}
