//! What requests mean.

use super::*;
use std::sync::Arc;

fn options() -> ServerOptions {
    ServerOptions::new(Arc::new(|| 7), Arc::new(|| 0))
}

fn parse(extra: Value) -> Result<ResponseRequest, ApiError> {
    parse_with(extra, &options())
}

fn parse_with(extra: Value, options: &ServerOptions) -> Result<ResponseRequest, ApiError> {
    let mut body = json!({"model": "m", "input": "hi"});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    ResponseRequest::parse(body.to_string().as_bytes(), options)
}

#[test]
fn what_is_asked_is_told_with_defaults_filled_in() {
    let plain = parse(json!({})).unwrap();
    assert_eq!((plain.mode, plain.is_stored, plain.previous.as_deref()), (Mode::Whole, true, None));
    assert_eq!((&plain.echo["store"], &plain.echo["metadata"]), (&json!(true), &json!({})));
    assert_eq!((&plain.echo["tools"], &plain.echo["tool_choice"]), (&json!([]), &json!("auto")));
    let asked = json!({
        "instructions": "be brief", "temperature": 0.7, "top_p": 0.9, "max_output_tokens": 5, "store": false,
        "metadata": {"a": "b"}, "user": "u", "prompt_cache_key": "k", "safety_identifier": "s",
        "include": ["message.output_text.logprobs"], "top_logprobs": 2, "previous_response_id": "resp_1",
        "text": {"format": {"type": "json_object"}},
    });
    let request = parse(asked.clone()).unwrap();
    for (field, value) in asked.as_object().unwrap() {
        if !["include", "text"].contains(&field.as_str()) {
            assert_eq!(&request.echo[field], value, "{field}");
        }
    }
    assert_eq!(request.echo["text"]["format"]["type"], "json_object");
    assert_eq!(request.generation.sampling.n_logprobs, Some(2));
    assert_eq!((request.generation.max_tokens, request.generation.sampling.temperature), (Some(5), 0.7));
    assert!(request.generation.constraint.is_some());
}

#[test]
fn answers_come_as_they_are_asked_for() {
    let cases = [
        (json!({"stream": true}), Mode::Streamed),
        (json!({"stream": true, "stream_options": {"include_obfuscation": false}}), Mode::Streamed),
        (json!({"background": false}), Mode::Whole),
        (json!({"background": true}), Mode::Background { is_streamed: false }),
        (json!({"background": true, "stream": true}), Mode::Background { is_streamed: true }),
    ];
    for (extra, mode) in cases {
        assert_eq!(parse(extra.clone()).unwrap().mode, mode, "{extra}");
    }
}

#[test]
fn what_asks_for_nothing_passes() {
    parse(json!({
        "conversation": null, "include": ["reasoning.encrypted_content", "file_search_call.results"],
        "parallel_tool_calls": false, "reasoning": {"effort": null, "summary": null}, "service_tier": "auto",
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "truncation": "disabled", "context_management": [],
        "prompt_cache_retention": "in_memory", "text": {"verbosity": "medium"},
    }))
    .unwrap();
}

#[test]
fn what_cannot_be_obeyed_is_refused_by_name() {
    let cases = [
        (json!({"model": null}), "model"),
        (json!({"input": null}), "input"),
        (json!({"background": true, "store": false}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"frequency_penalty": "x"}), "frequency_penalty"),
        (json!({"include": ["mood"]}), "include"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_tokens": 1}), "max_tokens"),
        (json!({"max_tool_calls": 1}), "max_tool_calls"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"prompt_cache_key": "k".repeat(params::LABEL_CHARS_MAX + 1)}), "prompt_cache_key"),
        (json!({"reasoning": {"effort": "huge"}}), "reasoning.effort"),
        (json!({"service_tier": "flex"}), "service_tier"),
        (json!({"stream_options": {"include_obfuscation": false}}), "stream_options"),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
        ),
        (json!({"temperature": 1e9}), "temperature"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"messages": []}), "messages"),
    ];
    for (extra, param) in cases {
        let error = parse(extra.clone()).unwrap_err();
        assert_eq!(error.param().as_deref(), Some(param), "{extra}: {error}");
    }
}

#[test]
fn a_server_that_keeps_nothing_says_so() {
    let mut options = options();
    options.responses.count_max = 0;
    let plain = parse_with(json!({}), &options).unwrap();
    assert_eq!((plain.is_stored, &plain.echo["store"]), (false, &json!(false)));
    for (extra, param) in [(json!({"store": true}), "store"), (json!({"background": true}), "background")] {
        assert_eq!(parse_with(extra, &options).unwrap_err().param().as_deref(), Some(param));
    }
}
