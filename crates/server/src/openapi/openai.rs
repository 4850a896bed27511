//! The OpenAI wire.

use super::operation::Operation;
use super::schema::{
    Field, any, at_least, boolean, bounded, count, either, given, integer, list, null, number, one_of, only, or_null,
    said, sent, some, string, within,
};
use crate::openai::{
    LABEL_BYTES_MAX, MESSAGES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX, PARTS_MAX,
    PROMPTS_MAX,
};
use crate::params::CHOICES_MAX;
use crate::stream::EVENT_STREAM;
use ballast_tokens::{LOGPROBS_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, TEMPERATURE_MAX};
use serde_json::{Value, json};

pub(super) fn operations(model: &Value) -> Vec<Operation> {
    vec![
        Operation::post("/v1/chat/completions", "Answer a conversation.", (chat_body(model), chat_answer()))
            .works()
            .also(EVENT_STREAM),
        Operation::post("/v1/completions", "Go on from a prompt.", (completion_body(model), completion_answer()))
            .works()
            .also(EVENT_STREAM),
        Operation::get("/v1/models", "The models that are served.", cards()),
        Operation::get("/v1/models/{*id}", "One model.", card()).fails(404, "There is no such model."),
        Operation::get("/openapi.json", "This document.", any()),
    ]
}

/// A model.
fn card() -> Value {
    given(vec![
        ("id", string()),
        ("object", only("model")),
        ("created", integer()),
        ("owned_by", string()),
        ("context_length", integer()),
    ])
}

/// The list of models.
pub(super) fn cards() -> Value {
    given(vec![("object", only("list")), ("data", list(card()))])
}

/// An error in this wire's shape.
pub(super) fn error() -> Value {
    given(vec![(
        "error",
        given(vec![("message", string()), ("type", string()), ("param", or_null(string())), ("code", string())]),
    )])
}

/// What chat and text completions take alike.
fn shared() -> Vec<Field> {
    let metadata = json!({
        "type": "object",
        "maxProperties": METADATA_ENTRIES_MAX,
        "propertyNames": { "maxLength": METADATA_KEY_BYTES_MAX / 4 },
        "additionalProperties": bounded(METADATA_VALUE_BYTES_MAX / 4),
    });
    let mut fields = vec![
        ("stream", said(boolean(), "As server-sent events.")),
        ("n", said(count(1, i64::try_from(CHOICES_MAX).unwrap_or(1)), "How many answers.")),
        ("max_tokens", said(at_least(1), "Most tokens of an answer.")),
        ("stop", said(stop(), "Text that ends an answer.")),
        ("logit_bias", logit_bias()),
        ("seed", said(count(i64::MIN, i64::MAX), "The same seed gives the same answer.")),
        ("frequency_penalty", within(-2.0, 2.0)),
        ("presence_penalty", within(-2.0, 2.0)),
        ("ignore_eos", said(boolean(), "Go on after the model's end token.")),
        ("timeout", said(json!({ "type": "number", "exclusiveMinimum": 0.001, "maximum": 60 }), "Seconds.")),
        ("priority", priority()),
        ("user", bounded(LABEL_BYTES_MAX / 4)),
        ("metadata", metadata),
    ];
    fields.extend(sampling());
    fields.push(("repetition_penalty", within(0.125, 10.0)));
    fields
}

/// What decides which tokens are drawn, as most wires name it.
pub(super) fn sampling() -> Vec<Field> {
    vec![
        ("temperature", within(0.0, f64::from(TEMPERATURE_MAX))),
        ("top_k", at_least(0)),
        ("top_p", within(0.0, 1.0)),
        ("min_p", within(0.0, 1.0)),
    ]
}

pub(super) fn stop() -> Value {
    let text = json!({ "type": "string", "minLength": 1, "maxLength": STOP_STRING_BYTES_MAX / 4 });
    either(&[text.clone(), some(&text, 0, STOP_STRINGS_MAX)])
}

fn logit_bias() -> Value {
    json!({
        "type": "object",
        "description": "Numbers that are added to the logits of tokens, by their ids.",
        "patternProperties": { "^[0-9]{1,2}$": within(-100.0, 100.0) },
        "additionalProperties": false,
    })
}

pub(super) fn priority() -> Value {
    either(&[one_of(&["low", "normal", "high"]), count(-10, 10)])
}

pub(super) fn messages() -> Value {
    let part = sent(vec![("type", only("text")), ("text", string())], vec![]);
    let content = either(&[string(), some(&part, 1, PARTS_MAX)]);
    let role = one_of(&["system", "developer", "user", "assistant"]);
    some(&sent(vec![("role", role), ("content", content)], vec![]), 1, MESSAGES_MAX)
}

pub(super) fn chat_body(model: &Value) -> Value {
    let needed = vec![("model", model.clone()), ("messages", messages())];
    let mut others = shared();
    let top_logprobs = count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0));
    others.extend([
        ("max_completion_tokens", said(at_least(1), "The newer name of max_tokens.")),
        ("logprobs", boolean()),
        ("top_logprobs", said(top_logprobs, "Only with logprobs.")),
        ("stream_options", said(stream_options(), "Only with stream.")),
    ]);
    sent(needed, others)
}

fn stream_options() -> Value {
    sent(vec![], vec![("include_usage", boolean())])
}

fn completion_body(model: &Value) -> Value {
    let tokens = some(&count(0, 99), 1, 4096);
    let prompt = either(&[string(), tokens.clone(), some(&either(&[string(), tokens]), 1, PROMPTS_MAX)]);
    let mut others = shared();
    others.extend([
        ("logprobs", count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0))),
        ("echo", said(boolean(), "The prompt comes before its answer. Not with logprobs.")),
        ("parse_special", said(boolean(), "Names of control tokens in prompts stand for those tokens.")),
        ("stream_options", said(stream_options(), "Only with stream.")),
    ]);
    sent(vec![("model", model.clone()), ("prompt", prompt)], others)
}

fn answer(object: &str, choice: &Value) -> Value {
    given(vec![
        ("id", string()),
        ("object", only(object)),
        ("created", integer()),
        ("model", string()),
        ("system_fingerprint", string()),
        ("choices", list(choice.clone())),
        ("usage", usage()),
        ("timings", timings()),
    ])
}

fn usage() -> Value {
    given(vec![
        ("prompt_tokens", integer()),
        ("prompt_tokens_details", given(vec![("cached_tokens", integer())])),
        ("completion_tokens", integer()),
        ("total_tokens", integer()),
    ])
}

fn timings() -> Value {
    given(vec![
        ("queue_ms", number()),
        ("time_to_first_token_ms", or_null(number())),
        ("total_ms", number()),
        ("prefill_tokens_per_second", or_null(number())),
        ("decode_tokens_per_second", or_null(number())),
    ])
}

pub(super) fn chat_answer() -> Value {
    let token = vec![("token", string()), ("logprob", number()), ("bytes", list(count(0, 255)))];
    let mut with_top = token.clone();
    with_top.push(("top_logprobs", list(given(token))));
    let logprobs = given(vec![("content", list(given(with_top))), ("refusal", null())]);
    let message = given(vec![("role", only("assistant")), ("content", or_null(string())), ("refusal", null())]);
    let choice = given(vec![
        ("index", integer()),
        ("message", message),
        ("logprobs", or_null(logprobs)),
        ("finish_reason", one_of(&["stop", "length", "tool_calls"])),
    ]);
    answer("chat.completion", &choice)
}

fn completion_answer() -> Value {
    let logprobs = given(vec![
        ("tokens", list(string())),
        ("token_logprobs", list(number())),
        ("top_logprobs", list(json!({ "type": "object", "additionalProperties": number() }))),
        ("text_offset", list(integer())),
    ]);
    let choice = given(vec![
        ("index", integer()),
        ("text", string()),
        ("logprobs", or_null(logprobs)),
        ("finish_reason", one_of(&["stop", "length"])),
    ]);
    answer("text_completion", &choice)
}
