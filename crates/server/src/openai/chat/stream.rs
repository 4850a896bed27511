//! Answers as server-sent events.
//!
//! ```text
//! Role    => Content   the role chunk, at once: the client sees that it was heard
//! Content => Content   a chunk of text, or a comment when nothing came for a while
//! Content => Ended     last chunk, usage if asked for, [DONE] - or an error event
//! ```
//!
//! No event carries `id:` or `retry:`: OpenAI's Python client would take the next comment for an empty event.

use super::wire::Wire;
use super::{Tokens, answer};
use crate::api_error::ApiError;
use crate::openai::error;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ballast_runtime::{Event, Summary, TokenEvent};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::timeout;

const PING: &str = ": ping\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// How to stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) include_usage: bool,
    pub(super) keep_alive: Duration,
}

/// A response whose body is the answer in progress. Dropping it ends the work.
pub(super) fn response(tokens: Tokens, wire: Wire, options: Options) -> Response {
    let events = Events { tokens, wire, options, logprobs: Vec::new(), phase: Phase::Role };
    let stream = futures_util::stream::unfold(events, async |mut events| {
        let bytes = events.next().await?;
        Some((Ok::<_, Infallible>(bytes), events))
    });
    // nginx and its kin would hold events back until a buffer is full.
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Role,
    Content,
    Ended,
}

struct Events {
    tokens: Tokens,
    wire: Wire,
    options: Options,
    /// Of tokens whose text is held back: they go out with the next text.
    logprobs: Vec<Value>,
    phase: Phase,
}

impl Events {
    /// The next bytes of the body; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Ended => None,
            Phase::Role => {
                self.phase = Phase::Content;
                let delta = json!({ "role": "assistant", "content": "", "refusal": null });
                Some(self.chunk(delta, None).into())
            }
            Phase::Content => Some(self.content().await.into()),
        }
    }

    async fn content(&mut self) -> String {
        loop {
            match timeout(self.options.keep_alive, self.tokens.next()).await {
                Err(_) => return PING.to_owned(),
                Ok(Err(error)) => return self.fail(&error),
                Ok(Ok(Event::Done(summary))) => return self.end(summary),
                Ok(Ok(Event::Token(event))) => {
                    if let Some(chunk) = self.token(&event) {
                        return chunk;
                    }
                }
            }
        }
    }

    fn token(&mut self, event: &TokenEvent) -> Option<String> {
        self.logprobs.extend(self.wire.logprob(event));
        (!event.text.is_empty()).then(|| self.chunk(json!({ "content": event.text }), None))
    }

    fn end(&mut self, summary: Summary) -> String {
        let summary = match answer::complete(summary) {
            Ok(summary) => summary,
            Err(error) => return self.fail(&error),
        };
        self.phase = Phase::Ended;
        let mut bytes = String::new();
        if !summary.tail.is_empty() {
            bytes += &self.chunk(json!({ "content": summary.tail }), None);
        }
        bytes += &self.chunk(json!({}), Some(&summary));
        if self.options.include_usage {
            bytes += &event(&self.wire.usage_chunk(&summary));
        }
        bytes + DONE
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        self.phase = Phase::Ended;
        tracing::debug!(code = cause.code(), "a streamed answer ended with an error");
        event(&error::body(cause))
    }

    fn chunk(&mut self, delta: Value, summary: Option<&Summary>) -> String {
        let mut chunk = self.wire.chunk(delta, std::mem::take(&mut self.logprobs), summary);
        if self.options.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
