//! A response as it is written: what clients are told of it, event by event, and what it is in the end. Pure.
//!
//! ```text
//! Queued     => InProgress            `start`: response.queued, then response.in_progress
//! InProgress => InProgress            `token`: response.output_text.delta, after the item and part it belongs to
//! InProgress => Completed|Incomplete  `end`: part, item and response are done
//! any        => Failed                `fail`: response.failed
//! any        => Cancelled             `cancel`: response.incomplete, whose response says that it was cancelled
//! ```
//!
//! An answer in one piece is written the same way with nobody listening, so both are the same response.

use super::item::{Content, Item, Role};
use crate::api_error::{ApiError, Told};
use crate::openai::objects::{TokenWords, finish_reason, timings};
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};

/// What ends a line and an event.
const END: &str = "\n\n";

/// Whether somebody is told what happens while it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Listening,
    Absent,
}

/// A response in progress.
#[derive(Debug)]
pub(super) struct Writing {
    /// The response as it stands, but for the message that is being written.
    response: Value,
    message: Message,
    words: TokenWords,
    audience: Audience,
    n_events: u64,
    /// Events that have not been taken.
    events: Vec<String>,
}

/// The message that is being written.
#[derive(Debug)]
struct Message {
    id: String,
    text: String,
    logprobs: Vec<Value>,
    /// How many of them have been told.
    n_told: usize,
    is_begun: bool,
}

impl Writing {
    /// `response` says who answers what, without status and output; the message will be called `message_id`.
    pub(super) fn new(response: Value, message_id: String, words: TokenWords, audience: Audience) -> Self {
        let message = Message { id: message_id, text: String::new(), logprobs: Vec::new(), n_told: 0, is_begun: false };
        let mut writing = Self { response, message, words, audience, n_events: 0, events: Vec::new() };
        for (field, value) in [
            ("status", "in_progress".into()),
            ("output", json!([])),
            ("error", Value::Null),
            ("incomplete_details", Value::Null),
            ("usage", Value::Null),
        ] {
            writing.response[field] = value;
        }
        writing
    }

    /// The response as it stands.
    pub(super) fn response(&self) -> &Value {
        &self.response
    }

    /// What the model has said, as items of the conversation.
    pub(super) fn output(&self) -> Vec<Item> {
        let content = Content::Message { role: Role::Assistant, texts: vec![self.message.text.clone()] };
        vec![Item { id: self.message.id.clone(), content }]
    }

    /// The events since the last call.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// The response is in the hands of the runtime, and nobody waits for it.
    pub(super) fn queue(&mut self) {
        self.response["status"] = "queued".into();
        self.tell_response("response.created");
        self.tell_response("response.queued");
    }

    /// The response is in work.
    pub(super) fn begin(&mut self) {
        self.tell_response("response.created");
        self.start();
    }

    /// A response that was queued is in work.
    pub(super) fn start(&mut self) {
        self.response["status"] = "in_progress".into();
        self.tell_response("response.in_progress");
    }

    pub(super) fn token(&mut self, event: &TokenEvent) {
        self.message.logprobs.extend(self.words.logprob_entry(event));
        self.text(&event.text);
    }

    /// The answer is complete, or as long as it may be. `now`: seconds since 1970.
    pub(super) fn end(&mut self, summary: &Summary, now: i64) {
        self.text(&summary.tail);
        let is_complete = finish_reason(summary) == "stop";
        let status = if is_complete { "completed" } else { "incomplete" };
        self.begin_message();
        self.end_message(status);
        self.response["usage"] = usage(summary);
        self.response["timings"] = timings(summary);
        self.response["status"] = status.into();
        if is_complete {
            self.response["completed_at"] = now.into();
            self.tell_response("response.completed");
        } else {
            self.response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
            self.tell_response("response.incomplete");
        }
    }

    /// There will be no more of it.
    pub(super) fn fail(&mut self, error: &ApiError) {
        let Told { code, message, .. } = error.into();
        self.response["error"] = json!({ "code": code, "message": message });
        self.stop("failed", "response.failed");
    }

    /// Nobody wants more of it.
    pub(super) fn cancel(&mut self) {
        self.stop("cancelled", "response.incomplete");
    }

    fn stop(&mut self, status: &str, event: &'static str) {
        if self.message.is_begun {
            self.end_message("incomplete");
        }
        self.response["status"] = status.into();
        self.tell_response(event);
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.begin_message();
        self.message.text += text;
        let told = self.message.n_told..;
        self.message.n_told = self.message.logprobs.len();
        self.tell("response.output_text.delta", |writing| {
            let logprobs = &writing.message.logprobs[told];
            writing.of_part(json!({ "delta": text, "logprobs": logprobs }))
        });
    }

    /// Tells of the message and its part before the first word of it.
    fn begin_message(&mut self) {
        if std::mem::replace(&mut self.message.is_begun, true) {
            return;
        }
        self.tell(
            "response.output_item.added",
            |writing| json!({ "output_index": 0, "item": writing.message.item("in_progress", json!([])) }),
        );
        self.tell("response.content_part.added", |writing| writing.of_part(json!({ "part": part("", &[]) })));
    }

    fn end_message(&mut self, status: &str) {
        self.tell("response.output_text.done", |writing| {
            let Message { text, logprobs, .. } = &writing.message;
            writing.of_part(json!({ "text": text, "logprobs": logprobs }))
        });
        self.tell("response.content_part.done", |writing| writing.of_part(json!({ "part": writing.message.part() })));
        let item = self.message.item(status, json!([self.message.part()]));
        self.tell("response.output_item.done", |_| json!({ "output_index": 0, "item": item }));
        self.response["output"] = json!([item]);
    }

    /// An event's fields, with those that say which part of the answer it tells of.
    fn of_part(&self, mut fields: Value) -> Value {
        fields["item_id"] = self.message.id.as_str().into();
        fields["output_index"] = 0.into();
        fields["content_index"] = 0.into();
        fields
    }

    fn tell_response(&mut self, kind: &'static str) {
        self.tell(kind, |writing| json!({ "response": writing.response }));
    }

    /// Adds an event, if somebody listens.
    fn tell(&mut self, kind: &'static str, fields: impl FnOnce(&Self) -> Value) {
        if self.audience == Audience::Absent {
            return;
        }
        let mut data = json!({ "type": kind, "sequence_number": self.n_events });
        if let (Value::Object(data), Value::Object(fields)) = (&mut data, fields(self)) {
            data.extend(fields);
        }
        self.n_events += 1;
        self.events.push(format!("event: {kind}\ndata: {data}{END}"));
    }
}

impl Message {
    fn part(&self) -> Value {
        part(&self.text, &self.logprobs)
    }

    fn item(&self, status: &str, content: Value) -> Value {
        json!({ "type": "message", "id": self.id, "status": status, "role": "assistant", "content": content })
    }
}

fn part(text: &str, logprobs: &[Value]) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs })
}

fn usage(summary: &Summary) -> Value {
    let usage = summary.usage;
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
