//! Answers as server-sent events with names: the message, its blocks of thoughts, text and calls piece by piece, and its end.
//!
//! ```text
//! None => Thinking  the first thought
//! None => Text    the first word; at once where there can be nothing else
//! Thinking => any the first word or call: thoughts are signed, and their block ends
//! None => Call    a call
//! Text => Call    the text's block ends
//! Call => None    the call's block ends with it
//! any  => None    the answer ends
//! ```

use super::error::error_body;
use super::words::{Words, signature, thinking, usage};
use crate::api_error::ApiError;
use crate::stream::{EVENT_STREAM, Frames};
use crate::tools::{Said, SaidEvent};
use ballast_runtime::{Summary, TokenEvent};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The events of one answer.
pub(super) struct Events {
    words: Words,
    said: Said,
    open: Option<Block>,
    /// Index of the block that is open, or else of the next.
    index: usize,
    /// Of what has been thought.
    digest: Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Call,
}

impl Events {
    pub(super) fn new(words: Words) -> Self {
        let said = words.said().clone();
        Self { words, said, open: None, index: 0, digest: Sha256::new() }
    }

    /// Ends the block that is open, if it is not `wanted`, and begins that one.
    fn begin_block(&mut self, wanted: Block, block: &Value) -> String {
        if self.open == Some(wanted) && wanted != Block::Call {
            return String::new();
        }
        let ended = self.end_block();
        self.open = Some(wanted);
        ended + &event("content_block_start", json!({ "index": self.index, "content_block": block }))
    }

    fn end_block(&mut self) -> String {
        let signed = match self.open.take() {
            None => return String::new(),
            Some(Block::Thinking) => {
                self.delta(json!({ "type": "signature_delta", "signature": signature(&self.digest) }))
            }
            Some(Block::Text | Block::Call) => String::new(),
        };
        self.index += 1;
        signed + &event("content_block_stop", json!({ "index": self.index - 1 }))
    }

    fn delta(&self, delta: Value) -> String {
        event("content_block_delta", json!({ "index": self.index, "delta": delta }))
    }

    fn say(&mut self, said: Vec<SaidEvent>) -> String {
        let say = |event: SaidEvent| match event {
            SaidEvent::Thought(text) => {
                self.digest.update(&text);
                let begun = self.begin_block(Block::Thinking, &thinking("", ""));
                begun + &self.delta(json!({ "type": "thinking_delta", "thinking": text }))
            }
            SaidEvent::Text(text) => {
                let begun = self.begin_block(Block::Text, &text_block());
                begun + &self.delta(json!({ "type": "text_delta", "text": text }))
            }
            SaidEvent::CallStarted { name, .. } => {
                let block = self.words.tool_use(&name, json!({}));
                self.begin_block(Block::Call, &block)
            }
            SaidEvent::Arguments { text, .. } => {
                self.delta(json!({ "type": "input_json_delta", "partial_json": text }))
            }
            SaidEvent::CallEnded { .. } => self.end_block(),
        };
        said.into_iter().map(say).collect()
    }
}

fn text_block() -> Value {
    json!({ "type": "text", "text": "" })
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = name.into();
    format!("event: {name}\ndata: {data}\n\n")
}

impl Frames for Events {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some("event: ping\ndata: {\"type\":\"ping\"}\n\n");

    fn begin(&mut self) -> String {
        let begun = event("message_start", json!({ "message": self.words.begun() }));
        if !self.said.is_plain() { begun } else { begun + &self.begin_block(Block::Text, &text_block()) }
    }

    fn token(&mut self, _idx: usize, event: &TokenEvent) -> String {
        let said = self.said.token(event);
        self.say(said)
    }

    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        let said = self.said.end(&summary);
        let delta = json!({ "delta": self.words.stop(&summary, self.said.n_calls()), "usage": usage(&summary) });
        self.say(said) + &self.end_block() + &event("message_delta", delta) + &event("message_stop", json!({}))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event("error", error_body(&cause.into()))
    }
}
