//! Server-sent events without names: OpenAI's and llama.cpp's.

use serde::Serialize;

/// A comment: no client takes it for a part of the answer.
pub(crate) const PING: &str = ": ping\n\n";
/// The last event.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// One event.
///
/// # Panics
/// If `data` has maps whose keys are no texts.
pub(crate) fn event(data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("names are texts");
    ["data: ", &json, "\n\n"].concat()
}
