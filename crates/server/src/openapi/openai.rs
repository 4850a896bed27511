//! The OpenAI wire.

use super::operation::{Operation, Served};
use super::schema::{
    Field, any, at_least, boolean, bounded, count, either, given, integer, list, null, number, one_of, only, or_null,
    said, seed, sent, signed, some, string, within,
};
use crate::TOOLS_MAX;
use crate::openai::MESSAGE_CALLS_MAX;
use crate::openai::{
    LABEL_CHARS_MAX, MESSAGES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX, PARTS_MAX,
    PROMPTS_MAX,
};
use crate::params::CHOICES_MAX;
use crate::stream::EVENT_STREAM;
use ballast_tokens::{LOGPROBS_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, TEMPERATURE_MAX};
use serde_json::{Value, json};

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let model = served.model();
    vec![
        Operation::post("/v1/chat/completions", "Answer a conversation.", (chat_body(&model, served), chat_answer()))
            .works()
            .also(EVENT_STREAM),
        Operation::post(
            "/v1/completions",
            "Go on from a prompt.",
            (completion_body(&model, served), completion_answer()),
        )
        .works()
        .also(EVENT_STREAM),
        Operation::get("/v1/models", "The models that are served.", models()),
        Operation::get("/v1/models/{*id}", "One model.", card()).fails(404, "There is no such model."),
        Operation::get("/openapi.json", "This document.", any()),
    ]
}

/// What is told of one model.
fn card() -> Value {
    given(vec![
        ("id", string()),
        ("object", only("model")),
        ("created", integer()),
        ("owned_by", string()),
        ("status", given(vec![("value", one_of(&["unloaded", "failed", "loading", "loaded"]))])),
        ("context_length", integer()),
    ])
}

/// What is told of all.
pub(super) fn models() -> Value {
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
fn shared(served: &Served) -> Vec<Field> {
    let mut fields = vec![
        ("stream", said(boolean(), "As server-sent events.")),
        ("n", said(count(1, i64::try_from(CHOICES_MAX).unwrap_or(1)), "How many answers.")),
        ("max_tokens", said(at_least(1), "Most tokens of an answer.")),
        ("stop", said(stop(), "Text that ends an answer.")),
        ("logit_bias", logit_bias()),
        ("seed", said(seed(), "The same seed gives the same answer.")),
        ("frequency_penalty", within(-2.0, 2.0)),
        ("presence_penalty", within(-2.0, 2.0)),
        ("ignore_eos", said(boolean(), "Go on after the model's end token.")),
        ("grammar", said(string(), "What the answer must look like, in llama.cpp's format.")),
        ("json_schema", said(any_object(), "What the answer must look like; an empty one is none.")),
        ("timeout", served.timeout()),
        ("priority", priority()),
        ("user", bounded(LABEL_CHARS_MAX)),
        ("metadata", metadata()),
    ];
    fields.extend(sampling());
    fields.push(("repetition_penalty", within(0.1, 10.0)));
    fields.extend(telling());
    fields
}

/// What is told of an answer while it is made.
pub(super) fn telling() -> Vec<Field> {
    vec![
        ("timings_per_token", said(boolean(), "Every piece of a stream comes with the times until then.")),
        ("return_progress", said(boolean(), "A stream tells first how much of the prompt was read.")),
    ]
}

pub(super) fn metadata() -> Value {
    json!({
        "type": "object",
        "maxProperties": METADATA_ENTRIES_MAX,
        "propertyNames": { "maxLength": METADATA_KEY_CHARS_MAX },
        "additionalProperties": bounded(METADATA_VALUE_CHARS_MAX),
    })
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
    let text = json!({ "type": "string", "minLength": 1, "maxLength": STOP_STRING_BYTES_MAX });
    either(&[text.clone(), some(&text, 0, STOP_STRINGS_MAX)])
}

pub(super) fn logit_bias() -> Value {
    json!({
        "type": "object",
        "description": "Numbers that are added to the logits of tokens, by their ids.",
        "patternProperties": { "^[0-9]+$": or_null(within(-100.0, 100.0)) },
        "additionalProperties": false,
    })
}

pub(super) fn priority() -> Value {
    either(&[one_of(&["low", "normal", "high"]), count(-10, 10)])
}

pub(super) fn messages() -> Value {
    some(&message(), 1, MESSAGES_MAX)
}

fn message() -> Value {
    let role = one_of(&["system", "developer", "user", "assistant"]);
    sent(vec![("role", role), ("content", content())], vec![])
}

fn content() -> Value {
    let part = sent(vec![("type", only("text")), ("text", string())], vec![]);
    either(&[string(), some(&part, 1, PARTS_MAX)])
}

/// Messages of conversations with tools.
fn messages_with_tools() -> Value {
    let function = sent(vec![("name", string()), ("arguments", either(&[string(), any_object()]))], vec![]);
    let call =
        sent(vec![("id", string()), ("type", only("function")), ("function", function)], vec![("index", at_least(0))]);
    let calls = some(&call, 0, MESSAGE_CALLS_MAX);
    let others = vec![("content", content()), ("reasoning_content", string())];
    let asking = sent(vec![("role", only("assistant")), ("tool_calls", calls)], others);
    let answer = vec![("role", only("tool")), ("tool_call_id", string()), ("content", content())];
    some(&either(&[message(), asking, sent(answer, vec![("name", string())])]), 1, MESSAGES_MAX)
}

pub(super) fn any_object() -> Value {
    json!({ "type": "object" })
}

/// A tool's name.
pub(super) fn tool_name() -> Value {
    json!({ "type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$" })
}

/// Tools of type `function`.
pub(super) fn tools() -> Value {
    let others = vec![("description", string()), ("parameters", any_object()), ("strict", boolean())];
    let function = sent(vec![("name", tool_name())], others);
    let tool = sent(vec![("type", only("function")), ("function", function)], vec![]);
    said(some(&tool, 0, TOOLS_MAX), "What the model may call; schemas are enforced.")
}

fn tool_choice() -> Value {
    let named = || {
        let function = sent(vec![("name", tool_name())], vec![]);
        sent(vec![("type", only("function")), ("function", function)], vec![])
    };
    let allowed = vec![("mode", one_of(&["auto", "required"])), ("tools", some(&named(), 1, TOOLS_MAX))];
    let allowed = sent(vec![("type", only("allowed_tools")), ("allowed_tools", sent(allowed, vec![]))], vec![]);
    either(&[one_of(&["none", "auto", "required"]), named(), allowed])
}

pub(super) fn chat_body(model: &Value, served: &Served) -> Value {
    let needed = vec![("model", model.clone()), ("messages", messages_with_tools())];
    let mut others = shared(served);
    let top_logprobs = count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0));
    others.extend([
        ("max_completion_tokens", said(at_least(1), "The newer name of max_tokens.")),
        ("logprobs", boolean()),
        ("top_logprobs", said(top_logprobs, "Only with logprobs.")),
        ("stream_options", said(stream_options(), "Only with stream.")),
        ("continue_final_message", said(boolean(), "A last message of the assistant is how the answer begins.")),
        ("add_generation_prompt", boolean()),
        ("verbose", said(boolean(), "The prompt and the settings come with the answer.")),
        ("id_slot", said(signed(), "Below 0 is wherever there is room.")),
        ("cache_prompt", boolean()),
        ("tools", tools()),
        ("tool_choice", tool_choice()),
        ("parallel_tool_calls", said(boolean(), "False: at most one call.")),
    ]);
    others.extend(thinking());
    let mut body = streams(sent(needed, others));
    body["not"] = json!({ "required": ["max_tokens", "max_completion_tokens"] });
    body
}

/// How hard a model thinks, in the words of most templates that know of it.
pub(super) fn efforts() -> Value {
    one_of(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])
}

/// What is said of thoughts before the answer.
fn thinking() -> Vec<Field> {
    let kind = sent(vec![("type", one_of(&["enabled", "disabled"]))], vec![]);
    vec![
        ("reasoning_effort", said(efforts(), "None: the model is asked not to think.")),
        ("thinking", kind),
        ("reasoning_format", said(one_of(&["auto", "deepseek", "none"]), "None: thoughts stay in the text.")),
        ("reasoning_budget_tokens", said(signed(), "Most tokens of thoughts; below 0 is as many as it likes.")),
    ]
}

/// Options of a stream only where there is one.
fn streams(mut body: Value) -> Value {
    body["if"] = json!({ "required": ["stream_options"], "properties": { "stream_options": { "type": "object" } } });
    body["then"] = json!({ "required": ["stream"], "properties": { "stream": { "const": true } } });
    body
}

fn stream_options() -> Value {
    sent(vec![], vec![("include_usage", boolean())])
}

fn completion_body(model: &Value, served: &Served) -> Value {
    let tokens = some(&served.token(), 1, 4096);
    let text = json!({ "type": "string", "minLength": 1 });
    let prompt = either(&[text.clone(), tokens.clone(), some(&either(&[text, tokens]), 1, PROMPTS_MAX)]);
    let mut others = shared(served);
    others.extend([
        ("logprobs", count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0))),
        ("echo", said(boolean(), "The prompt comes before its answer. Not with logprobs.")),
        ("parse_special", said(boolean(), "Names of control tokens in prompts stand for those tokens.")),
        ("stream_options", said(stream_options(), "Only with stream.")),
    ]);
    streams(sent(vec![("model", model.clone()), ("prompt", prompt)], others))
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

pub(super) fn timings() -> Value {
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
