//! The routes of every wire that turn texts into numbers.

use super::operation::{Operation, Served};
use super::schema::{
    Field, any, at_least, boolean, bounded, count, either, given, integer, list, number, one_of, only, said, sent,
    some, string, within,
};
use crate::encoding::{INPUTS_MAX, TEXT_BYTES_MAX};
use serde_json::{Value, json};

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let post = |path, summary, bodies: (Value, Value)| Operation::post(path, summary, bodies).works();
    let embeddings = given(vec![
        ("object", only("list")),
        ("model", string()),
        ("data", list(given(vec![("index", integer()), ("embedding", either(&[list(number()), string()]))]))),
        ("usage", usage()),
    ]);
    let embedded = given(vec![
        ("model", string()),
        ("embeddings", list(list(number()))),
        ("total_duration", integer()),
        ("load_duration", integer()),
        ("prompt_eval_count", integer()),
    ]);
    let vectors = || list(given(vec![("index", integer()), ("embedding", list(list(number())))]));
    let ranking = || {
        let result = given(vec![("index", integer()), ("relevance_score", within(0.0, 1.0))]);
        given(vec![("object", only("list")), ("model", string()), ("results", list(result)), ("usage", usage())])
    };
    vec![
        post("/v1/embeddings", "Texts to vectors.", (embeddings_body(served), embeddings)),
        post("/v1/rerank", "Documents by how well they answer a question.", (rerank_body(served), ranking())),
        post("/v2/rerank", "Documents by how well they answer a question.", (rerank_body(served), ranking())),
        post("/rerank", "Documents by how well they answer a question.", (rerank_body(served), ranking())),
        post("/embedding", "Texts to vectors.", (content_body(served), vectors())),
        post("/embeddings", "Texts to vectors.", (content_body(served), vectors())),
        post("/api/embed", "Texts to vectors.", (ollama_body(served, "input"), embedded)),
        post(
            "/api/embeddings",
            "A text to a vector that is not scaled.",
            (ollama_body(served, "prompt"), given(vec![("embedding", list(number()))])),
        ),
    ]
}

fn usage() -> Value {
    given(vec![("prompt_tokens", integer()), ("total_tokens", integer())])
}

/// What is encoded.
fn input() -> Value {
    let text = || json!({ "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX });
    let tokens = || some(&count(0, i64::from(u32::MAX)), 1, TEXT_BYTES_MAX);
    either(&[text(), some(&text(), 1, INPUTS_MAX), tokens(), some(&tokens(), 1, INPUTS_MAX)])
}

fn truncation() -> Field {
    let number = json!({ "type": "integer", "anyOf": [{ "const": -1 }, { "minimum": 2 }] });
    ("truncate_prompt_tokens", said(number, "Texts are cut to so many tokens, with -1 to as many as the model takes."))
}

fn embeddings_body(served: &Served) -> Value {
    sent(
        vec![("model", served.model()), ("input", input())],
        vec![
            ("encoding_format", one_of(&["float", "base64"])),
            ("dimensions", at_least(1)),
            truncation(),
            ("timeout", served.timeout()),
            ("user", bounded(512)),
            ("metadata", any()),
        ],
    )
}

fn content_body(served: &Served) -> Value {
    let others = vec![
        ("model", string()),
        ("embd_normalize", either(&[only(2), only(-1)])),
        truncation(),
        ("timeout", served.timeout()),
    ];
    let of = |field| sent(vec![(field, input())], others.clone());
    either(&[of("content"), of("input")])
}

fn ollama_body(served: &Served, field: &'static str) -> Value {
    sent(
        vec![("model", served.model()), (field, input())],
        vec![("truncate", boolean()), ("dimensions", at_least(1)), ("keep_alive", any()), ("options", any())],
    )
}

fn rerank_body(served: &Served) -> Value {
    let document = either(&[string(), sent(vec![("text", string())], vec![])]);
    sent(
        vec![("query", string()), ("documents", some(&document, 1, INPUTS_MAX))],
        vec![
            ("model", string()),
            ("top_n", at_least(1)),
            ("return_documents", boolean()),
            ("max_tokens_per_doc", at_least(1)),
            ("timeout", served.timeout()),
        ],
    )
}
