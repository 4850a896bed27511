//! Server-sent events without names: OpenAI's and llama.cpp's.

use serde_json::Value;

/// A comment: no client takes it for a part of the answer.
pub(crate) const PING: &str = ": ping\n\n";
/// The last event.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// One event.
pub(crate) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
