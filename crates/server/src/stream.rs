//! Answers as they come: the body of a response that a wire puts into words.
//!
//! ```text
//! Begin   => Content   what the wire says at once: the client sees that it was heard
//! Content => Content   a token, or a sign of life when nothing came for a while
//! Content => Ended     the last words - or an error in the wire's shape
//! ```

use crate::api_error::ApiError;
use crate::generation::{Tokens, complete};
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ballast_runtime::{Event, Progress, Summary, TokenEvent};
use futures_util::Stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::timeout;

/// Server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
/// One JSON object a line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// How a wire says what happens. Each text is whole events or lines; an empty one is not sent.
pub(crate) trait Frames: Send + 'static {
    /// Of the body.
    const CONTENT_TYPE: &'static str;
    /// What is sent after a silence; `None` where clients take everything for a part of the answer.
    const PING: Option<&'static str>;

    /// Before anything else.
    fn begin(&mut self) -> String;
    /// A token of answer `idx`.
    fn token(&mut self, idx: usize, event: &TokenEvent) -> String;
    /// How far answer `idx` has come; only where the request asks for it.
    fn progress(&mut self, _idx: usize, _progress: &Progress) -> String {
        String::new()
    }
    /// Answer `idx` is complete. The summary's tail has not been sent.
    fn end(&mut self, idx: usize, summary: Summary) -> String;
    /// All answers are complete.
    fn finish(&mut self) -> String;
    /// Something went wrong; nothing comes after it.
    fn fail(&mut self, error: &ApiError) -> String;
}

/// A response whose body is the answer in progress. Dropping it ends the work.
pub(crate) fn response<F: Frames>(tokens: Tokens, frames: F, keep_alive: Duration) -> Response {
    let words = Words { tokens, frames, keep_alive, phase: Phase::Begin };
    let stream = futures_util::stream::unfold(words, async |mut words| {
        let bytes = words.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(bytes)), words))
    });
    streamed(F::CONTENT_TYPE, stream)
}

/// A response whose body comes piece by piece.
pub(crate) fn streamed(
    content_type: &'static str,
    pieces: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    // nginx and its kin would hold events back until a buffer is full.
    let headers =
        [(CONTENT_TYPE.as_str(), content_type), (CACHE_CONTROL.as_str(), "no-cache"), ("x-accel-buffering", "no")];
    (headers, Body::from_stream(pieces)).into_response()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    Content,
    Ended,
}

struct Words<F> {
    tokens: Tokens,
    frames: F,
    keep_alive: Duration,
    phase: Phase,
}

impl<F: Frames> Words<F> {
    /// The next bytes of the body; `None` after the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let text = match self.phase {
                Phase::Ended => return None,
                Phase::Begin => {
                    self.phase = Phase::Content;
                    self.frames.begin()
                }
                Phase::Content => self.content().await,
            };
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    async fn content(&mut self) -> String {
        let next = match F::PING {
            None => self.tokens.next().await,
            Some(ping) => match timeout(self.keep_alive, self.tokens.next()).await {
                Ok(next) => next,
                Err(_) => return ping.to_owned(),
            },
        };
        match next {
            Err(error) => self.fail(&error),
            Ok(None) => {
                self.phase = Phase::Ended;
                self.frames.finish()
            }
            Ok(Some((idx, Event::Token(event)))) => self.frames.token(idx, &event),
            Ok(Some((idx, Event::Progress(progress)))) => self.frames.progress(idx, &progress),
            Ok(Some((idx, Event::Done(summary)))) => match complete(summary) {
                Ok(summary) => self.frames.end(idx, summary),
                Err(error) => self.fail(&error),
            },
        }
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        self.phase = Phase::Ended;
        tracing::debug!(code = cause.code(), "a streamed answer ended with an error");
        self.frames.fail(cause)
    }
}
