//! Answers in one piece. The future holds the token stream, so a client that leaves ends the work.

use super::Tokens;
use super::wire::Wire;
use crate::api_error::ApiError;
use axum::Json;
use axum::response::{IntoResponse, Response};
use ballast_runtime::{Event, FinishReason, Summary};

/// Waits for the whole answer.
pub(super) async fn response(mut tokens: Tokens, wire: Wire) -> Result<Response, ApiError> {
    let (mut text, mut logprobs) = (String::new(), Vec::new());
    loop {
        match tokens.next().await? {
            Event::Token(event) => {
                text += &event.text;
                logprobs.extend(wire.logprob(&event));
            }
            Event::Done(summary) => {
                let summary = complete(summary)?;
                text += &summary.tail;
                return Ok(Json(wire.completion(&text, logprobs, &summary)).into_response());
            }
        }
    }
}

/// The summary of an answer that is complete.
///
/// # Errors
/// If the request ended before it was.
pub(super) fn complete(summary: Summary) -> Result<Summary, ApiError> {
    match summary.finish_reason {
        FinishReason::Stop | FinishReason::Length => Ok(summary),
        finish_reason @ (FinishReason::Cancelled | FinishReason::Error) => {
            Err(ApiError::Ended { finish_reason, reason: summary.reason })
        }
    }
}
