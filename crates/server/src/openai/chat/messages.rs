//! The conversation: roles and text.

use crate::fields::{Fields, ParamError};
use ballast_tokens::ChatMessage;
use serde_json::Value;

/// Most messages of a conversation.
pub const MESSAGES_MAX: usize = 2048;
/// Most parts of one message.
pub const PARTS_MAX: usize = 256;

const ROLES: &str = "one of system, developer, user, assistant";
const TEXT_ONLY: &str = "messages are text: role and content";

/// Parses `messages`.
pub(crate) fn parse(value: Option<Value>) -> Result<Vec<ChatMessage>, ParamError> {
    let param = "messages".to_owned();
    match value {
        None => Err(ParamError::Missing { param, expected: "an array of messages" }),
        Some(Value::Array(messages)) if (1..=MESSAGES_MAX).contains(&messages.len()) => {
            messages.into_iter().enumerate().map(|(idx, message)| parse_message(idx, message)).collect()
        }
        Some(other) => Err(ParamError::wrong(param, format!("an array of 1 to {MESSAGES_MAX} messages"), &other)),
    }
}

fn parse_message(idx: usize, value: Value) -> Result<ChatMessage, ParamError> {
    let mut fields = Fields::new(format!("messages[{idx}]"), value)?;
    let role = parse_role(&mut fields)?;
    let content = parse_content(&mut fields)?;
    for field in ["name", "tool_calls", "tool_call_id", "function_call", "audio", "refusal"] {
        if fields.take(field).is_some() {
            return Err(ParamError::Unsupported { param: fields.name(field), supported: TEXT_ONLY });
        }
    }
    fields.finish()?;
    Ok(ChatMessage::text(role, content))
}

/// `developer` is OpenAI's newer name for `system`; the templates of open models know only the older.
fn parse_role(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("role");
    let role = fields.string("role")?.ok_or(ParamError::Missing { param: param.clone(), expected: ROLES })?;
    match role.as_str() {
        "system" | "user" | "assistant" => Ok(role),
        "developer" => Ok("system".to_owned()),
        "tool" | "function" => {
            Err(ParamError::Unsupported { param, supported: "tools are not, so they cannot answer" })
        }
        _ => Err(ParamError::wrong(param, ROLES, &Value::String(role))),
    }
}

fn parse_content(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("content");
    match fields.take("content") {
        None => Err(ParamError::Missing { param, expected: "a string or an array of text parts" }),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if (1..=PARTS_MAX).contains(&parts.len()) => {
            parts.into_iter().enumerate().map(|(idx, part)| parse_part(format!("{param}[{idx}]"), part)).collect()
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
        ]);
        let messages = parse(Some(value)).unwrap();
        let read: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(read, [("system", "be brief"), ("user", "ab"), ("assistant", "c")]);
    }

    #[test]
    fn what_is_wrong_with_a_message_is_named() {
        let of = |message: Value| parse(Some(json!([message]))).unwrap_err();
        let cases = [
            (json!({"content": "x"}), "messages[0].role"),
            (json!({"role": "user"}), "messages[0].content"),
            (json!({"role": "user", "content": []}), "messages[0].content"),
            (json!({"role": "user", "content": 1}), "messages[0].content"),
            (json!({"role": "robot", "content": "x"}), "messages[0].role"),
            (json!({"role": "tool", "content": "x"}), "messages[0].role"),
            (json!({"role": "user", "content": "x", "name": "n"}), "messages[0].name"),
            (json!({"role": "user", "content": "x", "mood": 1}), "messages[0].mood"),
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
