//! What is read, what is refused, and by which name.

use super::*;
use crate::broken::bodies_are_refused_without_a_panic;
use crate::openai::params::{LABEL_CHARS_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX};
use crate::params::CHOICES_MAX;
use ballast_backend::TokenId;
use ballast_tokens::SamplingParams;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn options() -> ServerOptions {
    ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0))
}

/// A request with `extra` merged into a minimal one.
fn parse(extra: Value) -> Result<ChatRequest, ApiError> {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in extra.as_object().expect("extra fields are an object") {
        request[name] = value.clone();
    }
    ChatRequest::parse(request.to_string().as_bytes(), &options())
}

#[test]
fn everything_supported_reaches_the_runtime() {
    let request = parse(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1,
        "frequency_penalty": 0.25, "presence_penalty": -0.25, "seed": 7, "stop": ["a", "b"], "max_tokens": 9,
        "logprobs": true, "top_logprobs": 3, "logit_bias": {"65": -100, "66": 5}, "ignore_eos": true, "timeout": 1.5,
        "user": "u", "metadata": {"k": "v"}, "stream": true, "stream_options": {"include_usage": true},
    }))
    .unwrap();
    assert_eq!(request.mode, Mode::Streamed { include_usage: true });
    let generation = request.generation.request(vec![TokenId(1)], 3);
    let expected = SamplingParams {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.05,
        repetition_penalty: 1.1,
        frequency_penalty: 0.25,
        presence_penalty: -0.25,
        seed: Some(7),
        logit_bias: vec![(TokenId(65), -100.0), (TokenId(66), 5.0)],
        n_logprobs: Some(3),
        ..SamplingParams::default()
    };
    assert_eq!(generation.sampling, expected);
    assert_eq!((generation.stop, generation.max_tokens), (vec!["a".to_owned(), "b".to_owned()], Some(9)));
    assert_eq!((generation.ignore_eos, generation.deadlines.total), (true, Some(Duration::from_millis(1500))));
    assert_eq!(generation.fallback_seed, 3);
}

#[test]
fn null_is_absent_and_neutral_values_pass() {
    let request = parse(json!({
        "temperature": null, "stop": null, "tools": null, "mystery": null, "n": 1, "tool_choice": "none",
        "response_format": {"type": "text"}, "store": false, "modalities": ["text"], "service_tier": "auto",
        "stream": false, "logprobs": false,
    }))
    .unwrap();
    assert_eq!((request.mode, request.n_choices), (Mode::Whole, 1));
    assert_eq!(request.generation.sampling.n_logprobs, None);
    assert_eq!(request.generation.deadline, options().request_deadline);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (json!({"temperature": 101}), "temperature", "invalid_value"),
        (json!({"temperature": "hot"}), "temperature", "invalid_value"),
        (json!({"top_p": 1.5}), "top_p", "invalid_value"),
        (json!({"top_k": -1}), "top_k", "invalid_value"),
        (json!({"seed": 1.5}), "seed", "invalid_value"),
        (json!({"stop": [1]}), "stop", "invalid_value"),
        (json!({"max_tokens": 0}), "max_tokens", "invalid_value"),
        (json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_completion_tokens", "invalid_value"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs", "invalid_value"),
        (json!({"top_logprobs": 1}), "top_logprobs", "invalid_value"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias", "invalid_value"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias", "invalid_value"),
        (json!({"logit_bias": {"1": "x"}}), "logit_bias.1", "invalid_value"),
        (json!({"timeout": 0}), "timeout", "invalid_value"),
        (json!({"timeout": -1}), "timeout", "invalid_value"),
        (json!({"timeout": 3601}), "timeout", "invalid_value"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options", "invalid_value"),
        (json!({"stream": true, "stream_options": {"x": 1}}), "stream_options.x", "unknown_parameter"),
        (json!({"user": "u".repeat(LABEL_CHARS_MAX + 1)}), "user", "invalid_value"),
        (json!({"metadata": {"k": 1}}), "metadata", "invalid_value"),
        (json!({"metadata": {"k": "v".repeat(METADATA_VALUE_CHARS_MAX + 1)}}), "metadata", "invalid_value"),
        (json!({"n": 0}), "n", "invalid_value"),
        (json!({"n": CHOICES_MAX + 1}), "n", "invalid_value"),
        (json!({"tools": [1]}), "tools[0]", "invalid_value"),
        (json!({"tool_choice": "required"}), "tool_choice", "invalid_value"),
        (json!({"functions": []}), "functions", "unsupported_parameter"),
        (json!({"function_call": "auto"}), "function_call", "unsupported_parameter"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type", "invalid_value"),
        (json!({"mystery": 1}), "mystery", "unknown_parameter"),
        (json!({"model": null}), "model", "missing_parameter"),
        (json!({"messages": null}), "messages", "missing_parameter"),
    ];
    for (extra, param, code) in cases {
        let error = parse(extra.clone()).unwrap_err();
        assert_eq!((error.param().as_deref(), error.code().as_str()), (Some(param), code), "{extra}");
        assert_eq!(error.status(), 400, "{extra}");
    }
}

#[test]
fn metadata_has_at_most_its_entries_and_key_bytes() {
    let entries = |n: usize| (0..n).map(|idx| (format!("k{idx}"), Value::from("v"))).collect::<serde_json::Map<_, _>>();
    assert!(parse(json!({"metadata": entries(METADATA_ENTRIES_MAX)})).is_ok());
    assert!(parse(json!({"metadata": entries(METADATA_ENTRIES_MAX + 1)})).is_err());
    assert!(parse(json!({"metadata": {"k".repeat(METADATA_KEY_CHARS_MAX + 1): "v"}})).is_err());
}

#[test]
fn broken_bodies_are_refused_without_a_panic() {
    let whole = json!({
        "model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "h\u{e9}"}]}],
        "temperature": 0.5, "seed": -1, "stop": ["a"], "logit_bias": {"1": -1e2}, "stream": true, "timeout": 1e3,
        "stream_options": {"include_usage": true}, "metadata": {"k": "v"}, "logprobs": true, "top_logprobs": 2, "n": 2,
    });
    bodies_are_refused_without_a_panic(&whole, |body| ChatRequest::parse(body, &options()));
}
