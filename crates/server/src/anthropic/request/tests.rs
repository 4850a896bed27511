//! What is read, what is refused, and by which name.

use super::*;
use crate::broken::bodies_are_refused_without_a_panic;
use ballast_backend::TokenId;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn parse(extra: Value) -> Result<MessagesRequest, ApiError> {
    let mut request = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in extra.as_object().expect("extra fields are an object") {
        request[name] = value.clone();
    }
    let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
    MessagesRequest::parse(request.to_string().as_bytes(), &options)
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

#[test]
fn everything_supported_reaches_the_runtime() {
    let request = parse(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["a", "b"], "stream": true, "timeout": 1.5,
        "metadata": {"user_id": "u"}, "service_tier": "auto", "thinking": {"type": "disabled"}, "tools": [],
        "tool_choice": {"type": "none"}, "seed": 7, "min_p": 0.1, "system": "be brief",
    }))
    .unwrap();
    assert!(request.is_streamed);
    let generation = request.generation.request(vec![TokenId(1)], 3);
    let expected = SamplingParams {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.1,
        seed: Some(7),
        ..SamplingParams::default()
    };
    assert_eq!(generation.sampling, expected);
    assert_eq!((generation.stop, generation.max_tokens), (vec!["a".to_owned(), "b".to_owned()], Some(9)));
    assert_eq!(generation.deadlines.total, Some(Duration::from_millis(1500)));
}

#[test]
fn neighbours_of_one_role_are_one_turn_and_a_last_word_of_the_assistant_begins_the_answer() {
    let messages = json!([message("user", "a"), message("user", "b"), message("assistant", "c"), message("user", "d")]);
    let conversation = parse(json!({"system": "s", "messages": messages})).unwrap().conversation;
    let turns: Vec<_> = conversation.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    assert_eq!(turns, [("system", "s"), ("user", "a\nb"), ("assistant", "c"), ("user", "d")]);
    assert_eq!(conversation.prefill, None);
    let messages = json!([message("user", "a"), message("assistant", "It is")]);
    let conversation = parse(json!({ "messages": messages })).unwrap().conversation;
    assert_eq!((conversation.messages.len(), conversation.prefill.as_deref()), (1, Some("It is")));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (json!({"max_tokens": null}), "max_tokens", "missing_parameter"),
        (json!({"max_tokens": 0}), "max_tokens", "invalid_value"),
        (json!({"model": null}), "model", "missing_parameter"),
        (json!({"messages": null}), "messages", "missing_parameter"),
        (json!({"messages": []}), "messages", "invalid_value"),
        (json!({"messages": [message("system", "x")]}), "messages.0.role", "invalid_value"),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content", "missing_parameter"),
        (json!({"messages": [message("user", "x"), message("assistant", "x ")]}), "messages", "invalid_value"),
        (json!({"temperature": 101}), "temperature", "invalid_value"),
        (json!({"stop_sequences": [1]}), "stop_sequences", "invalid_value"),
        (json!({"metadata": {"user_id": "u".repeat(crate::LABEL_CHARS_MAX + 1)}}), "metadata.user_id", "invalid_value"),
        (json!({"metadata": {"other": 1}}), "metadata.other", "unknown_parameter"),
        (json!({"tools": [{}]}), "tools.0.input_schema", "missing_parameter"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice", "invalid_value"),
        (
            json!({"messages": [message("user", "x"), {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]}),
            "messages",
            "invalid_value",
        ),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 9}}), "thinking.budget_tokens", "invalid_value"),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": {}}},
                "messages": [message("user", "x"), message("assistant", "{")]}),
            "output_config.format.schema",
            "unsupported_parameter",
        ),
        (json!({"n": 2}), "n", "unknown_parameter"),
        (json!({"cache_control": {"type": "eternal"}}), "cache_control.type", "invalid_value"),
    ];
    for (extra, param, code) in cases {
        let error = parse(extra.clone()).unwrap_err();
        assert_eq!((error.param().as_deref(), error.code().as_str()), (Some(param), code), "{extra}");
        assert_eq!(error.status(), 400, "{extra}");
    }
}

#[test]
fn broken_bodies_are_refused_without_a_panic() {
    let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
    let whole = json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "h\u{e9}", "cache_control": {"type": "ephemeral"}}], "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "stop_sequences": ["a"], "metadata": {"user_id": "u"}});
    bodies_are_refused_without_a_panic(&whole, |body| MessagesRequest::parse(body, &options));
}
