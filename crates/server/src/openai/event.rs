//! Server-sent events of this wire.

use serde_json::Value;

/// A comment: no client takes it for a part of the answer.
pub(super) const PING: &str = ": ping\n\n";
/// The last event.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// One event.
pub(super) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
