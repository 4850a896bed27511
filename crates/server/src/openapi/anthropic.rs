//! The Anthropic wire.

use super::openai::{sampling, stop, tool_name};
use super::operation::{Operation, Served};
use super::schema::{
    Field, at_least, boolean, bounded, either, given, integer, list, one_of, only, or_null, said, seed, sent, some,
    string,
};
use crate::TOOLS_MAX;
use crate::anthropic::BLOCKS_MAX;
use crate::openai::{LABEL_CHARS_MAX, MESSAGES_MAX};
use crate::stream::EVENT_STREAM;
use serde_json::Value;

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let counted = given(vec![("input_tokens", integer())]);
    vec![
        Operation::post("/v1/messages", "Answer a conversation.", (body(served), message()))
            .works()
            .also(EVENT_STREAM)
            .fails(529, "The server is too busy."),
        Operation::post(
            "/v1/messages/count_tokens",
            "Count a prompt's tokens.",
            (counted_body(&served.model()), counted),
        ),
    ]
}

/// An error in this wire's shape.
pub(super) fn error() -> Value {
    given(vec![("type", only("error")), ("error", given(vec![("type", string()), ("message", string())]))])
}

fn conversation(model: &Value) -> (Vec<Field>, Vec<Field>) {
    let role = one_of(&["user", "assistant"]);
    let message = sent(vec![("role", role), ("content", content())], vec![]);
    (
        vec![("model", model.clone()), ("messages", some(&message, 1, MESSAGES_MAX))],
        vec![("system", content()), ("cache_control", cache_control()), ("thinking", thinking())],
    )
}

fn content() -> Value {
    let block = sent(vec![("type", only("text")), ("text", string())], vec![("cache_control", cache_control())]);
    either(&[string(), some(&block, 0, BLOCKS_MAX)])
}

fn cache_control() -> Value {
    sent(vec![("type", only("ephemeral"))], vec![("ttl", one_of(&["5m", "1h"]))])
}

fn counted_body(model: &Value) -> Value {
    let (needed, others) = conversation(model);
    sent(needed, others)
}

fn tools() -> Value {
    let schema = serde_json::json!({ "type": "object" });
    let others = vec![
        ("type", only("custom")),
        ("description", string()),
        ("cache_control", cache_control()),
        ("strict", boolean()),
        ("eager_input_streaming", said(boolean(), "Without effect: input is streamed as it is generated.")),
    ];
    let tool = sent(vec![("name", tool_name()), ("input_schema", schema)], others);
    said(some(&tool, 0, TOOLS_MAX), "What the model may call; schemas are enforced.")
}

fn tool_choice() -> Value {
    let one = || ("disable_parallel_tool_use", said(boolean(), "True: at most one call."));
    let kind = one_of(&["auto", "any", "none"]);
    either(&[
        sent(vec![("type", kind)], vec![one()]),
        sent(vec![("type", only("tool")), ("name", tool_name())], vec![one()]),
    ])
}

/// Blocks of a message of a conversation with tools.
fn blocks() -> Value {
    let cached = || vec![("cache_control", cache_control())];
    let text = sent(vec![("type", only("text")), ("text", string())], cached());
    let input = serde_json::json!({ "type": "object" });
    let call = vec![("type", only("tool_use")), ("id", string()), ("name", string()), ("input", input)];
    let mut others = cached();
    others.extend([("content", content()), ("is_error", boolean())]);
    let result = sent(vec![("type", only("tool_result")), ("tool_use_id", string())], others);
    let thinking = sent(vec![("type", only("thinking")), ("thinking", string())], vec![("signature", string())]);
    either(&[string(), some(&either(&[text, sent(call, cached()), result, thinking]), 0, BLOCKS_MAX)])
}

/// Whether the model thinks before it answers. The budget is less than `max_tokens`.
fn thinking() -> Value {
    let enabled = sent(vec![("type", only("enabled"))], vec![("budget_tokens", at_least(1))]);
    let known = either(&[enabled, sent(vec![("type", one_of(&["adaptive", "disabled"]))], vec![])]);
    said(known, "Thoughts before the answer; nothing said is none, unless the server says otherwise.")
}

fn body(served: &Served) -> Value {
    let (mut needed, mut others) = conversation(&served.model());
    let message = sent(vec![("role", one_of(&["user", "assistant"])), ("content", blocks())], vec![]);
    needed[1] = ("messages", some(&message, 1, MESSAGES_MAX));
    needed.push(("max_tokens", said(at_least(1), "Most tokens of the answer.")));
    others.extend(sampling());
    others.extend([
        ("stream", said(boolean(), "As server-sent events.")),
        ("stop_sequences", stop()),
        ("seed", seed()),
        ("timeout", served.timeout()),
        ("tools", tools()),
        ("tool_choice", tool_choice()),
        ("metadata", sent(vec![], vec![("user_id", bounded(LABEL_CHARS_MAX))])),
    ]);
    sent(needed, others)
}

fn message() -> Value {
    let block = given(vec![("type", one_of(&["thinking", "text", "tool_use"]))]);
    given(vec![
        ("id", string()),
        ("type", only("message")),
        ("role", only("assistant")),
        ("model", string()),
        ("content", list(block)),
        ("stop_reason", one_of(&["end_turn", "max_tokens", "stop_sequence", "tool_use"])),
        ("stop_sequence", or_null(string())),
        (
            "usage",
            given(vec![
                ("input_tokens", integer()),
                ("cache_creation_input_tokens", integer()),
                ("cache_read_input_tokens", integer()),
                ("output_tokens", integer()),
            ]),
        ),
    ])
}
