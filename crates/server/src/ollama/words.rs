//! The objects that answers are made of, in one piece and one a line.

use super::card::timestamp;
use super::error_body;
use crate::UnixTime;
use crate::api_error::ApiError;
use crate::generation::Whole;
use crate::state::Server;
use crate::stream::{Frames, LINES};
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
}

impl Words {
    pub(super) fn new(server: &Server, model: String, kind: Kind) -> Self {
        Self { kind, model, unix_time: UnixTime::clone(&server.options.unix_time) }
    }

    /// An answer in one piece.
    pub(super) fn whole(&self, answer: &Whole) -> Value {
        self.last(&answer.text, &answer.summary)
    }

    /// Whose words they are.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// The answer to nothing: what was done instead, `load` or `unload`.
    pub(super) fn nothing(&self, done: &str) -> Value {
        let mut object = self.object("", true);
        object["done_reason"] = done.into();
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
        let mut object = json!({ "model": self.model, "created_at": timestamp((self.unix_time)()), "done": is_done });
        match self.kind {
            Kind::Chat => object["message"] = json!({ "role": "assistant", "content": text }),
            Kind::Generate => object["response"] = text.into(),
        }
        object
    }
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

/// An answer line by line.
pub(super) struct Lines(Words);

impl Lines {
    pub(super) fn new(words: Words) -> Self {
        Self(words)
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
        if event.text.is_empty() { String::new() } else { line(&self.0.object(&event.text, false)) }
    }

    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        let tail = if summary.tail.is_empty() { String::new() } else { line(&self.0.object(&summary.tail, false)) };
        tail + &line(&self.0.last("", &summary))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        line(&error_body(&cause.into()))
    }
}
