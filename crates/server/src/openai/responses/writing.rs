//! A response as it is written: what clients are told of it, event by event, and what it is in the end. Pure.
//!
//! ```text
//! Queued     => InProgress            `start`: response.queued, then response.in_progress
//! InProgress => InProgress            `progress`: response.in_progress again, with how much of the prompt was read
//! InProgress => InProgress            `token`: a delta, after the item and part it belongs to
//! InProgress => Completed|Incomplete  `end`: part, item and response are done
//! any        => Failed                `fail`: response.failed
//! any        => Cancelled             `cancel`: response.incomplete, whose response says that it was cancelled
//! ```
//!
//! An answer in one piece is written the same way with nobody listening, so both are the same response.

use super::draft::Draft;
use super::item::Item;
use crate::RandomSource;
use crate::api_error::{ApiError, Told};
use crate::openai::objects::{TokenWords, finish_reason, named, timings};
use crate::progress::Reporter;
use crate::tools::{Said, SaidEvent, call_id};
use ballast_runtime::{Progress, Summary, TokenEvent};
use ballast_tokens::Completeness;
use serde_json::{Value, json};

/// Whether somebody is told what happens while it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Listening,
    Absent,
}

/// What takes an answer apart, and names its pieces.
pub(super) struct Pen {
    pub(super) said: Said,
    pub(super) words: TokenWords,
    pub(super) random: RandomSource,
    pub(super) audience: Audience,
    pub(super) reporter: Reporter,
}

/// A response in progress.
pub(super) struct Writing {
    /// The response as it stands, but for the item that is being written.
    response: Value,
    pen: Pen,
    /// The item that is being written.
    draft: Option<Draft>,
    /// Items that are done.
    done: Vec<Item>,
    /// Of tokens whose text is held back: they go out with the next text.
    logprobs: Vec<Value>,
    n_events: u64,
    /// Events that have not been taken.
    events: Vec<String>,
}

impl Writing {
    /// `response` says who answers what, without status and output.
    pub(super) fn new(mut response: Value, pen: Pen) -> Self {
        for (field, value) in [
            ("status", "in_progress".into()),
            ("output", json!([])),
            ("error", Value::Null),
            ("incomplete_details", Value::Null),
            ("usage", Value::Null),
        ] {
            response[field] = value;
        }
        let (done, logprobs, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { response, pen, draft: None, done, logprobs, n_events: 0, events }
    }

    /// The response as it stands.
    pub(super) fn response(&self) -> &Value {
        &self.response
    }

    /// What the model has said, as items of the conversation.
    pub(super) fn output(&self) -> Vec<Item> {
        self.done.clone()
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

    /// How far it has come, which is told where the request asks for it.
    pub(super) fn progress(&mut self, progress: &Progress) {
        let Some(told) = self.pen.reporter.note(0, progress) else { return };
        if self.pen.audience == Audience::Listening {
            let mut fields = json!({ "response": self.response, "prompt_progress": told });
            self.pen.reporter.add_to(0, &mut fields);
            self.tell("response.in_progress", fields);
        }
    }

    pub(super) fn token(&mut self, event: &TokenEvent) {
        self.logprobs.extend(self.pen.words.logprob_entry(event));
        let said = self.pen.said.token(event);
        said.into_iter().for_each(|said| self.write(said));
    }

    /// The answer is complete, or as long as it may be. `now`: seconds since 1970.
    pub(super) fn end(&mut self, summary: &Summary, now: i64) {
        let said = self.pen.said.end(summary);
        said.into_iter().for_each(|said| self.write(said));
        let is_complete = finish_reason(summary) == "stop";
        let status = if is_complete { "completed" } else { "incomplete" };
        if self.draft.is_none() && self.done.is_empty() {
            self.open_message();
        }
        self.close(status);
        self.response["usage"] = usage(summary, self.pen.said.n_thought_tokens());
        self.response["timings"] = json!(timings(summary));
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
        self.close("incomplete");
        self.response["status"] = status.into();
        self.tell_response(event);
    }

    fn write(&mut self, said: SaidEvent) {
        match said {
            SaidEvent::Thought(text) => self.think(&text),
            SaidEvent::Text(text) => self.text(&text),
            SaidEvent::CallStarted { name, .. } => {
                self.close("completed");
                let (id, call_id) = (named(&self.pen.random, "fc"), call_id("call", &self.pen.random));
                self.open(Draft::call(id, call_id, name));
            }
            SaidEvent::Arguments { text, .. } => self.add(&text),
            SaidEvent::CallEnded { completeness } => {
                self.logprobs.clear();
                self.close(match completeness {
                    Completeness::Whole => "completed",
                    Completeness::Cut => "incomplete",
                });
            }
        }
    }

    fn think(&mut self, text: &str) {
        if !self.draft.as_ref().is_some_and(Draft::is_reasoning) {
            self.close("completed");
            self.open(Draft::reasoning(named(&self.pen.random, "rs")));
        }
        self.add(text);
    }

    fn text(&mut self, text: &str) {
        let is_in_message = self.draft.as_ref().is_some_and(Draft::is_message);
        // Blanks between calls are no message.
        if text.is_empty() || (!is_in_message && !self.done.is_empty() && text.trim().is_empty()) {
            return;
        }
        if !is_in_message {
            self.close("completed");
            self.open_message();
        }
        self.add(text);
    }

    fn open_message(&mut self) {
        self.open(Draft::message(named(&self.pen.random, "msg")));
    }

    fn open(&mut self, draft: Draft) {
        for (kind, fields) in draft.opening(self.done.len()) {
            self.tell(kind, fields);
        }
        self.draft = Some(draft);
    }

    /// Adds to the item that is open.
    fn add(&mut self, text: &str) {
        let logprobs = std::mem::take(&mut self.logprobs);
        let Some(draft) = &mut self.draft else { return };
        let (kind, mut fields) = draft.add(text, logprobs, self.done.len());
        self.pen.reporter.add_to(0, &mut fields);
        self.tell(kind, fields);
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, status: &str) {
        let Some(draft) = self.draft.take() else { return };
        for (kind, fields) in draft.closing(status, self.done.len()) {
            self.tell(kind, fields);
        }
        if let Value::Array(output) = &mut self.response["output"] {
            output.push(draft.json(status));
        }
        self.done.push(draft.into_item());
    }

    fn tell_response(&mut self, kind: &'static str) {
        if self.pen.audience == Audience::Listening {
            let mut fields = json!({ "response": self.response });
            let is_ended = self.response["timings"].is_object();
            if is_ended {
                self.pen.reporter.add_to(0, &mut fields);
            }
            self.tell(kind, fields);
        }
    }

    /// Adds an event, if somebody listens.
    fn tell(&mut self, kind: &'static str, fields: Value) {
        if self.pen.audience == Audience::Absent {
            return;
        }
        let mut data = json!({ "type": kind, "sequence_number": self.n_events });
        if let (Value::Object(data), Value::Object(fields)) = (&mut data, fields) {
            data.extend(fields);
        }
        self.n_events += 1;
        self.events.push(format!("event: {kind}\ndata: {data}\n\n"));
    }
}

fn usage(summary: &Summary, n_thought_tokens: usize) -> Value {
    let usage = summary.usage;
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": n_thought_tokens },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
