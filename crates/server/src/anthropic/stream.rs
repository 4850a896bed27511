//! Answers as server-sent events with names: the message, its one block of text piece by piece, and its end.

use super::error::error_body;
use super::words::{Words, usage};
use crate::api_error::ApiError;
use crate::stream::{EVENT_STREAM, Frames};
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};

/// The events of one answer.
pub(super) struct Events(Words);

impl Events {
    pub(super) fn new(words: Words) -> Self {
        Self(words)
    }
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = name.into();
    format!("event: {name}\ndata: {data}\n\n")
}

fn text_delta(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    event("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": text } }))
}

impl Frames for Events {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some("event: ping\ndata: {\"type\":\"ping\"}\n\n");

    fn begin(&mut self) -> String {
        let block = json!({ "index": 0, "content_block": { "type": "text", "text": "" } });
        event("message_start", json!({ "message": self.0.begun() })) + &event("content_block_start", block)
    }

    fn token(&mut self, _idx: usize, event: &TokenEvent) -> String {
        text_delta(&event.text)
    }

    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        let delta = json!({ "delta": self.0.stop(&summary), "usage": usage(&summary) });
        text_delta(&summary.tail)
            + &event("content_block_stop", json!({ "index": 0 }))
            + &event("message_delta", delta)
            + &event("message_stop", json!({}))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event("error", error_body(&cause.into()))
    }
}
