//! Ollama's wire.

use super::openai::stop;
use super::operation::Operation;
use super::schema::{
    Field, any, at_least, boolean, count, given, integer, list, one_of, only, said, sent, some, string, within,
};
use crate::openai::MESSAGES_MAX;
use crate::stream::LINES;
use ballast_tokens::{PENALTY_WINDOW_MAX, TEMPERATURE_MAX};
use serde_json::{Value, json};

pub(super) fn operations(model: &Value) -> Vec<Operation> {
    let models = || given(vec![("models", list(card()))]);
    let chat = given(vec![
        ("model", string()),
        ("created_at", string()),
        ("done", boolean()),
        ("message", given(vec![("role", only("assistant")), ("content", string())])),
    ]);
    let generated =
        given(vec![("model", string()), ("created_at", string()), ("done", boolean()), ("response", string())]);
    let shown = given(vec![
        ("modified_at", string()),
        ("details", details()),
        ("model_info", any()),
        ("capabilities", list(string())),
    ]);
    vec![
        Operation::post("/api/chat", "Answer a conversation.", (chat_body(model), chat)).works().also(LINES),
        Operation::post("/api/generate", "Answer a prompt.", (generate_body(model), generated)).works().also(LINES),
        Operation::get("/api/tags", "Models that can be asked.", models()),
        Operation::get("/api/ps", "Models that are loaded.", models()),
        Operation::post("/api/show", "Everything about one model.", (show_body(model), shown)),
        Operation::get("/api/version", "The version.", given(vec![("version", string())])),
    ]
}

/// An error in this wire's shape.
pub(super) fn error() -> Value {
    given(vec![("error", string())])
}

fn shared() -> Vec<Field> {
    vec![
        ("stream", said(boolean(), "A line for each piece; the default.")),
        ("timeout", said(json!({ "type": "number", "exclusiveMinimum": 0.001, "maximum": 60 }), "Seconds.")),
        ("options", options()),
    ]
}

fn options() -> Value {
    sent(
        vec![],
        vec![
            ("temperature", within(0.0, f64::from(TEMPERATURE_MAX))),
            ("top_k", at_least(0)),
            ("top_p", within(0.0, 1.0)),
            ("min_p", within(0.0, 1.0)),
            ("repeat_penalty", within(0.125, 10.0)),
            ("repeat_last_n", count(-1, i64::try_from(PENALTY_WINDOW_MAX).unwrap_or(0))),
            ("frequency_penalty", within(-2.0, 2.0)),
            ("presence_penalty", within(-2.0, 2.0)),
            ("seed", count(i64::MIN, i64::MAX)),
            ("stop", stop()),
            ("num_predict", at_least(1)),
            ("num_ctx", said(at_least(1), "Tokens of prompt and answer together, within the server's context.")),
        ],
    )
}

fn chat_body(model: &Value) -> Value {
    let role = one_of(&["system", "user", "assistant"]);
    let message = sent(vec![("role", role), ("content", string())], vec![]);
    let mut others = shared();
    others.push(("messages", said(some(&message, 0, MESSAGES_MAX), "None: the model is loaded.")));
    sent(vec![("model", model.clone())], others)
}

fn generate_body(model: &Value) -> Value {
    let mut others = shared();
    others.extend([("prompt", string()), ("system", string()), ("raw", boolean())]);
    sent(vec![("model", model.clone())], others)
}

fn show_body(model: &Value) -> Value {
    sent(vec![("model", model.clone())], vec![("verbose", boolean())])
}

fn details() -> Value {
    given(vec![
        ("format", string()),
        ("family", string()),
        ("families", list(string())),
        ("parameter_size", string()),
        ("quantization_level", string()),
    ])
}

fn card() -> Value {
    given(vec![
        ("name", string()),
        ("model", string()),
        ("modified_at", string()),
        ("size", integer()),
        ("digest", string()),
        ("details", details()),
    ])
}
