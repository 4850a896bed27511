//! The conversation: roles and text.

use super::tools;
use crate::fields::{Fields, ParamError};
use crate::tools::known_answer;
use ballast_tokens::ChatMessage;
use serde_json::Value;

/// Most messages of a conversation.
pub const MESSAGES_MAX: usize = 2048;
/// Most parts of one message.
pub const PARTS_MAX: usize = 256;

const ROLES: &str = "one of system, developer, user, assistant, tool";
const TEXT_ONLY: &str = "messages are text: role and content";

/// Parses `messages`.
pub(crate) fn parse(value: Option<Value>) -> Result<Vec<ChatMessage>, ParamError> {
    let param = "messages".to_owned();
    match value {
        None => Err(ParamError::Missing { param, expected: "an array of messages" }),
        Some(Value::Array(messages)) if (1..=MESSAGES_MAX).contains(&messages.len()) => {
            let mut parsed = Vec::with_capacity(messages.len());
            for message in messages {
                parsed.push(parse_message(&parsed, message)?);
            }
            Ok(parsed)
        }
        Some(other) => Err(ParamError::wrong(param, format!("an array of 1 to {MESSAGES_MAX} messages"), &other)),
    }
}

fn parse_message(before: &[ChatMessage], value: Value) -> Result<ChatMessage, ParamError> {
    let mut fields = Fields::new(format!("messages[{}]", before.len()), value)?;
    let mut message = ChatMessage { role: parse_role(&mut fields)?, ..ChatMessage::default() };
    match message.role.as_str() {
        "assistant" => {
            message.tool_calls = tools::calls(fields.name("tool_calls"), fields.take("tool_calls"))?;
            message.reasoning = fields.string("reasoning_content")?.unwrap_or_default();
        }
        "tool" => {
            let param = fields.name("tool_call_id");
            let id = fields.needed_string("tool_call_id", "the identifier of the call that is answered")?;
            message.tool_call_id = Some(known_answer(param, id, before)?);
            message.name = fields.string("name")?;
        }
        _ => {}
    }
    // Beside calls and thoughts there need be no text.
    if (message.tool_calls.is_empty() && message.reasoning.is_empty()) || fields.peek("content").is_some() {
        message.content = parse_content(&mut fields)?;
    }
    // litellm sends what it does not know of an answer back here, with that nothing was refused.
    fields.refuse(&[("provider_specific_fields", says_nothing, TEXT_ONLY)])?;
    for field in ["name", "tool_calls", "tool_call_id", "function_call", "audio", "refusal"] {
        if fields.take(field).is_some() {
            return Err(ParamError::Unsupported { param: fields.name(field), supported: TEXT_ONLY });
        }
    }
    fields.finish()?;
    Ok(message)
}

/// An object whose fields are all null.
fn says_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.values().all(Value::is_null))
}

/// `developer` is OpenAI's newer name for `system`; the templates of open models know only the older.
fn parse_role(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("role");
    let role = fields.string("role")?.ok_or(ParamError::Missing { param: param.clone(), expected: ROLES })?;
    match role.as_str() {
        "system" | "user" | "assistant" | "tool" => Ok(role),
        "developer" => Ok("system".to_owned()),
        "function" => Err(ParamError::Unsupported { param, supported: "use the role `tool`" }),
        _ => Err(ParamError::wrong(param, ROLES, &Value::String(role))),
    }
}

fn parse_content(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("content");
    match fields.take("content") {
        None => Err(ParamError::Missing { param, expected: "a string or an array of text parts" }),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if (1..=PARTS_MAX).contains(&parts.len()) => {
            let part = |(idx, part): (usize, Value)| parse_part(format!("{param}[{idx}]"), part);
            // As llama.cpp and vLLM join them.
            Ok(parts.into_iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        Some(other) => {
            let expected = format!("a string or an array of 1 to {PARTS_MAX} text parts");
            Err(ParamError::wrong(param, expected, &other))
        }
    }
}

fn parse_part(path: String, value: Value) -> Result<String, ParamError> {
    let mut fields = Fields::new(path, value)?;
    let param = fields.name("type");
    match fields.string("type")?.as_deref() {
        Some("text") => {}
        Some(_) => return Err(ParamError::Unsupported { param, supported: "parts are of type `text`" }),
        None => return Err(ParamError::Missing { param, expected: "`text`" }),
    }
    let param = fields.name("text");
    let text = fields.string("text")?.ok_or(ParamError::Missing { param, expected: "a string" })?;
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn roles_and_text_are_read() {
        let value = json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": null},
            {"role": "assistant", "content": "d", "provider_specific_fields": {"refusal": null}},
        ]);
        let messages = parse(Some(value)).unwrap();
        let read: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(read, [("system", "be brief"), ("user", "a\nb"), ("assistant", "c"), ("assistant", "d")]);
    }

    #[test]
    fn calls_and_their_answers_are_read() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}});
        let answer = json!({"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "7"}]});
        let messages = json!([{"role": "assistant", "content": null, "tool_calls": [call]}, answer]);
        let messages = parse(Some(messages)).unwrap();
        let arguments = serde_json::to_string(&messages[0].tool_calls[0].arguments).unwrap();
        assert_eq!((messages[0].content.as_str(), arguments.as_str()), ("", "{\"b\":1,\"a\":2}"));
        assert_eq!((messages[1].content.as_str(), messages[1].tool_call_id.as_deref()), ("7", Some("c")));
        let many = |n: usize| parse(Some(json!([{"role": "assistant", "tool_calls": vec![call.clone(); n]}])));
        assert!(many(tools::MESSAGE_CALLS_MAX).is_ok() && many(tools::MESSAGE_CALLS_MAX + 1).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_message_is_named() {
        let of = |message: Value| parse(Some(json!([message]))).unwrap_err();
        let call = |function: Value| {
            let call = json!({"id": "c", "type": "function", "function": function});
            json!({"role": "assistant", "content": null, "tool_calls": [call]})
        };
        let cases = [
            (json!({"content": "x"}), "messages[0].role"),
            (json!({"role": "user"}), "messages[0].content"),
            (json!({"role": "user", "content": []}), "messages[0].content"),
            (json!({"role": "user", "content": 1}), "messages[0].content"),
            (json!({"role": "robot", "content": "x"}), "messages[0].role"),
            (json!({"role": "function", "content": "x"}), "messages[0].role"),
            (json!({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
            (json!({"role": "tool", "content": "x", "tool_call_id": "c"}), "messages[0].tool_call_id"),
            (json!({"role": "user", "content": "x", "tool_calls": []}), "messages[0].tool_calls"),
            (json!({"role": "assistant", "tool_calls": []}), "messages[0].content"),
            (json!({"role": "assistant", "tool_calls": {}}), "messages[0].tool_calls"),
            (json!({"role": "assistant", "tool_calls": [{"id": "c"}]}), "messages[0].tool_calls[0].type"),
            (call(json!({"name": "f"})), "messages[0].tool_calls[0].function.arguments"),
            (call(json!({"name": "f", "arguments": "[1]"})), "messages[0].tool_calls[0].function.arguments"),
            (call(json!({"name": "f", "arguments": "{"})), "messages[0].tool_calls[0].function.arguments"),
            (call(json!({"arguments": "{}"})), "messages[0].tool_calls[0].function.name"),
            (json!({"role": "user", "content": "x", "name": "n"}), "messages[0].name"),
            (json!({"role": "user", "content": "x", "mood": 1}), "messages[0].mood"),
            (
                json!({"role": "assistant", "content": "x", "provider_specific_fields": {"a": 1}}),
                "messages[0].provider_specific_fields",
            ),
            (json!({"role": "user", "content": "x", "reasoning_content": "y"}), "messages[0].reasoning_content"),
            (json!({"role": "user", "content": [{"type": "image_url"}]}), "messages[0].content[0].type"),
            (json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
            (json!("x"), "messages[0]"),
        ];
        for (message, param) in cases {
            assert_eq!(of(message.clone()).param(), param, "{message}");
        }
    }

    #[test]
    fn conversations_and_messages_are_bounded() {
        let message = json!({"role": "user", "content": "x"});
        assert!(parse(Some(vec![message.clone(); MESSAGES_MAX].into())).is_ok());
        assert!(parse(Some(vec![message; MESSAGES_MAX + 1].into())).is_err());
        assert!(parse(Some(json!([]))).is_err());
        let part = json!({"type": "text", "text": "x"});
        let of = |n: usize| parse(Some(json!([{"role": "user", "content": vec![part.clone(); n]}])));
        assert!(of(PARTS_MAX).is_ok());
        assert!(of(PARTS_MAX + 1).is_err());
    }
}
