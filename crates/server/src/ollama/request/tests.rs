//! What is read, what is refused, and by which name.

use super::*;
use crate::broken::bodies_are_refused_without_a_panic;
use ballast_tokens::{PENALTY_WINDOW_MAX, SamplingParams};
use serde_json::json;
use std::sync::Arc;

fn parse(kind: Kind, extra: Value) -> Result<Ask, ApiError> {
    let mut request = json!({ "model": "m" });
    match kind {
        Kind::Chat => request["messages"] = json!([{"role": "user", "content": "hi"}]),
        Kind::Generate => request["prompt"] = "hi".into(),
    }
    for (name, value) in extra.as_object().expect("extra fields are an object") {
        request[name] = value.clone();
    }
    let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
    Ask::parse(request.to_string().as_bytes(), kind, &options)
}

#[test]
fn everything_supported_reaches_the_runtime() {
    let options = json!({
        "temperature": 0.5, "top_k": 40, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "frequency_penalty": 0.25, "presence_penalty": -0.25, "seed": 7, "num_predict": 9, "stop": ["a"],
        "num_ctx": 32, "mirostat": 0, "typical_p": 1.0, "tfs_z": 1,
    });
    let ask = parse(Kind::Chat, json!({"options": options, "stream": false, "keep_alive": "5m", "tools": []})).unwrap();
    assert_eq!((ask.asked, ask.context_len), (Asked::Whole, Some(32)));
    let generation = ask.generation.request(vec![TokenId(1)], 3);
    let expected = SamplingParams {
        temperature: 0.5,
        top_k: 40,
        top_p: 0.9,
        min_p: 0.1,
        repetition_penalty: 1.1,
        penalty_window: PENALTY_WINDOW_MAX,
        frequency_penalty: 0.25,
        presence_penalty: -0.25,
        seed: Some(7),
        ..SamplingParams::default()
    };
    assert_eq!(generation.sampling, expected);
    assert_eq!((generation.stop, generation.max_tokens), (vec!["a".to_owned()], Some(9)));
    let ask = parse(Kind::Chat, json!({"options": {"num_predict": -1}})).unwrap();
    assert_eq!((ask.asked, ask.generation.max_tokens), (Asked::Streamed, None));
}

#[test]
fn prompts_are_conversations_text_or_nothing() {
    let message = |role: &str, content: &str| ChatMessage::text(role, content);
    let of = |kind: Kind, extra: Value| parse(kind, extra).unwrap().prompt;
    assert_eq!(of(Kind::Generate, json!({})), Prompt::Conversation(vec![message("user", "hi")]));
    let with_system = vec![message("system", "s"), message("user", "hi")];
    assert_eq!(of(Kind::Generate, json!({"system": "s"})), Prompt::Conversation(with_system));
    assert_eq!(of(Kind::Generate, json!({"raw": true})), Prompt::Raw("hi".to_owned()));
    assert_eq!(of(Kind::Generate, json!({"prompt": ""})), Prompt::Nothing);
    assert_eq!(of(Kind::Chat, json!({"messages": []})), Prompt::Nothing);
    assert_eq!(of(Kind::Chat, json!({})), Prompt::Conversation(vec![message("user", "hi")]));
}

#[test]
fn what_is_wrong_is_named() {
    let (chat, generate) = (Kind::Chat, Kind::Generate);
    let cases = [
        (chat, json!({"model": null}), "model", "missing_parameter"),
        (chat, json!({"messages": 1}), "messages", "invalid_value"),
        (chat, json!({"messages": [{"role": "robot", "content": ""}]}), "messages[0].role", "invalid_value"),
        (
            chat,
            json!({"messages": [{"role": "user", "content": "", "tool_name": "x"}]}),
            "messages[0].tool_name",
            "unsupported_parameter",
        ),
        (
            chat,
            json!({"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
            "messages[0].tool_calls[0].function",
            "missing_parameter",
        ),
        (
            chat,
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]}]}),
            "messages[0].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        (chat, json!({"messages": [{"role": "user"}]}), "messages[0].content", "missing_parameter"),
        (
            chat,
            json!({"messages": [{"role": "user", "content": "", "images": ["x"]}]}),
            "messages[0].images",
            "unsupported_parameter",
        ),
        (chat, json!({"prompt": "x"}), "prompt", "unknown_parameter"),
        (chat, json!({"tools": [{}]}), "tools[0].type", "missing_parameter"),
        (generate, json!({"tools": []}), "tools", "unknown_parameter"),
        (chat, json!({"format": "xml"}), "format", "invalid_value"),
        (chat, json!({"think": "huge"}), "think", "invalid_value"),
        (chat, json!({"keep_alive": "soon"}), "keep_alive", "invalid_value"),
        (chat, json!({"options": {"temperature": 101}}), "temperature", "invalid_value"),
        (chat, json!({"options": {"num_predict": 0}}), "options.num_predict", "invalid_value"),
        (chat, json!({"options": {"mirostat": 2}}), "options.mirostat", "unsupported_parameter"),
        (chat, json!({"options": {"num_thread": 2}}), "options.num_thread", "unsupported_parameter"),
        (chat, json!({"options": {"warmth": 2}}), "options.warmth", "unknown_parameter"),
        (generate, json!({"messages": []}), "messages", "unknown_parameter"),
        (generate, json!({"suffix": "x"}), "suffix", "unsupported_parameter"),
        (generate, json!({"context": [1]}), "context", "unsupported_parameter"),
        (generate, json!({"raw": true, "system": "x"}), "system", "unsupported_parameter"),
    ];
    for (kind, extra, param, code) in cases {
        let error = parse(kind, extra.clone()).unwrap_err();
        assert_eq!((error.param().as_deref(), error.code().as_str()), (Some(param), code), "{extra}");
        assert_eq!(error.status(), 400, "{extra}");
    }
}

#[test]
fn broken_bodies_are_refused_without_a_panic() {
    let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
    let whole = json!({"model": "m", "messages": [{"role": "user", "content": "h\u{e9}"}], "stream": false, "keep_alive": "5m", "options": {"temperature": 0.5, "num_ctx": 9, "stop": ["a"], "repeat_last_n": -1}});
    bodies_are_refused_without_a_panic(&whole, |body| Ask::parse(body, Kind::Chat, &options));
}
