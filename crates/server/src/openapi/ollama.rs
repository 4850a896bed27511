//! Ollama's wire.

use super::llamacpp::penalties;
use super::openai::{efforts, sampling, stop, tools};
use super::operation::{Operation, Served};
use super::schema::{
    Field, any, boolean, either, given, integer, list, number, one_of, only, said, seed, sent, some, string,
    tokens_or_all,
};
use crate::openai::{MESSAGE_CALLS_MAX, MESSAGES_MAX};
use crate::stream::LINES;
use serde_json::{Value, json};

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let models = || given(vec![("models", list(card()))]);
    let chat = given(vec![
        ("model", string()),
        ("created_at", string()),
        ("done", boolean()),
        ("message", given(vec![("role", only("assistant")), ("content", string())])),
    ]);
    let deleted = sent(vec![("model", served.model())], vec![]);
    let generated =
        given(vec![("model", string()), ("created_at", string()), ("done", boolean()), ("response", string())]);
    let shown = given(vec![
        ("modified_at", string()),
        ("details", details()),
        ("model_info", any()),
        ("capabilities", list(string())),
    ]);
    vec![
        Operation::post("/api/chat", "Answer a conversation.", (chat_body(served), chat)).works().also(LINES),
        Operation::post("/api/generate", "Answer a prompt.", (generate_body(served), generated)).works().also(LINES),
        Operation::post("/api/pull", "Bring a model here.", (pull_body(), done()))
            .works()
            .also(LINES)
            .fails(501, "The server was not started with --manage-models."),
        Operation::post("/api/copy", "Give a model another name.", (copy_body(served), done()))
            .fails(501, "The server was not started with --manage-models."),
        Operation::post("/api/delete", "Forget a model.", (deleted, done()))
            .deletes()
            .fails(501, "The server was not started with --manage-models."),
        Operation::get("/api/tags", "Models that can be asked.", models()),
        Operation::get("/api/ps", "Models that are loaded.", models()),
        Operation::post("/api/show", "Everything about one model.", (show_body(served), shown)),
        Operation::get("/api/version", "The version.", given(vec![("version", string())])),
    ]
}

/// An error in this wire's shape.
pub(super) fn error() -> Value {
    given(vec![("error", string())])
}

fn shared(served: &Served) -> Vec<Field> {
    vec![
        ("stream", said(boolean(), "A line for each piece; the default.")),
        ("timeout", served.timeout()),
        ("think", said(either(&[boolean(), efforts()]), "True only where the model's template knows of thoughts.")),
        ("keep_alive", either(&[number(), json!({ "type": "string", "pattern": "^-?([0-9]{1,9}(ms|s|m|h)){1,4}$" })])),
        ("options", options(served)),
    ]
}

fn options(served: &Served) -> Value {
    let context_len = "Tokens of prompt and answer together, within the server's context.";
    let mut others = [sampling(), penalties()].concat();
    others.extend([
        ("seed", seed()),
        ("stop", stop()),
        ("num_predict", tokens_or_all()),
        ("num_ctx", said(served.context_len(), context_len)),
    ]);
    sent(vec![], others)
}

fn chat_body(served: &Served) -> Value {
    let role = one_of(&["system", "user", "assistant"]);
    let said_only = sent(vec![("role", role), ("content", string())], vec![]);
    let object = serde_json::json!({ "type": "object" });
    let function = sent(vec![("name", string()), ("arguments", object)], vec![]);
    let calls =
        some(&sent(vec![("function", function)], vec![("id", string()), ("type", string())]), 0, MESSAGE_CALLS_MAX);
    let asking = sent(vec![("role", only("assistant")), ("tool_calls", calls)], vec![("content", string())]);
    let answer = sent(vec![("role", only("tool")), ("content", string())], vec![("tool_name", string())]);
    let message = either(&[said_only, asking, answer]);
    let mut others = shared(served);
    others.push(("tools", tools()));
    others.push(("messages", said(some(&message, 0, MESSAGES_MAX), "None: the model is loaded.")));
    sent(vec![("model", served.model())], others)
}

fn generate_body(served: &Served) -> Value {
    let mut others = shared(served);
    others.extend([("prompt", string()), ("system", string()), ("raw", boolean())]);
    sent(vec![("model", served.model())], others)
}

fn done() -> Value {
    given(vec![("status", string())])
}

fn pull_body() -> Value {
    sent(vec![("model", string())], vec![("stream", boolean())])
}

fn copy_body(served: &Served) -> Value {
    sent(vec![("source", served.model()), ("destination", string())], vec![])
}

fn show_body(served: &Served) -> Value {
    sent(vec![("model", served.model())], vec![("verbose", boolean())])
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
