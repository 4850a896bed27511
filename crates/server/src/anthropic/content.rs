//! Content: a string, or blocks of text, calls of tools, and what tools answered.

use crate::fields::{Fields, ParamError};
use crate::tools::{arguments, known_answer};
use ballast_tokens::{ChatMessage, ToolCall};
use serde_json::Value;

/// Most blocks of one message.
pub(crate) const BLOCKS_MAX: usize = 256;

const TEXT_ONLY: &str = "content is text";

/// The turns of the content at `param`, of a message of `role`: answers of tools are turns of their own. `before` are the
/// turns before it.
pub(super) fn turns(
    param: String,
    value: Option<Value>,
    role: &str,
    before: &[ChatMessage],
) -> Result<Vec<ChatMessage>, ParamError> {
    let blocks = match value {
        Some(Value::Array(blocks)) if (1..=BLOCKS_MAX).contains(&blocks.len()) => blocks,
        other => return Ok(vec![ChatMessage::text(role, parse(param, other)?)]),
    };
    let mut turns: Vec<ChatMessage> = Vec::new();
    for (idx, block) in blocks.into_iter().enumerate() {
        let turn = turn(format!("{param}.{idx}"), block, role, before)?;
        match turns.last_mut().filter(|last| last.role == turn.role && turn.role != "tool") {
            Some(last) => {
                last.content += &turn.content;
                last.reasoning += &turn.reasoning;
                last.tool_calls.extend(turn.tool_calls);
            }
            None => turns.push(turn),
        }
    }
    Ok(turns)
}

fn turn(path: String, block: Value, role: &str, before: &[ChatMessage]) -> Result<ChatMessage, ParamError> {
    let mut fields = Fields::new(path.clone(), block)?;
    let kind = fields.peek("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let _kind = fields.take("type");
    let turn = match (kind.as_str(), role) {
        ("tool_use", "assistant") => tool_use(&mut fields)?,
        ("tool_result", "user") => tool_result(&mut fields, before)?,
        ("thinking", "assistant") => thoughts(&mut fields)?,
        ("redacted_thinking", "assistant") => redacted(&mut fields)?,
        _ => return Ok(ChatMessage::text(role, parse_fields(fields, &kind)?)),
    };
    cache_control(&mut fields)?;
    fields.finish()?;
    Ok(turn)
}

/// What the model thought. Who signed it makes no difference to what a template shows of it.
fn thoughts(fields: &mut Fields) -> Result<ChatMessage, ParamError> {
    let reasoning = fields.needed_string("thinking", "what was thought")?;
    fields.string("signature")?;
    Ok(ChatMessage { reasoning, ..ChatMessage::text("assistant", "") })
}

/// Thoughts that only another server can read.
fn redacted(fields: &mut Fields) -> Result<ChatMessage, ParamError> {
    fields.needed_string("data", "what was thought, encrypted")?;
    Ok(ChatMessage::text("assistant", ""))
}

fn tool_use(fields: &mut Fields) -> Result<ChatMessage, ParamError> {
    let id = fields.needed_string("id", "the call's identifier")?;
    let name = fields.needed_string("name", "the name of the tool")?;
    let param = fields.name("input");
    let input = fields.take("input").ok_or(ParamError::Missing { param: param.clone(), expected: "an object" })?;
    let call = ToolCall { id, name, arguments: arguments(param, input)? };
    Ok(ChatMessage { tool_calls: vec![call], ..ChatMessage::text("assistant", "") })
}

fn tool_result(fields: &mut Fields, before: &[ChatMessage]) -> Result<ChatMessage, ParamError> {
    let id = fields.needed_string("tool_use_id", "the identifier of the call that is answered")?;
    let id = known_answer(fields.name("tool_use_id"), id, before)?;
    let content = match fields.take("content") {
        None => String::new(),
        content => parse(fields.name("content"), content)?,
    };
    // Templates know no failures; models read of them.
    let content = if fields.bool("is_error")?.unwrap_or(false) { format!("error: {content}") } else { content };
    Ok(ChatMessage { tool_call_id: Some(id), ..ChatMessage::text("tool", content) })
}

/// The text at `param`.
pub(super) fn parse(param: String, value: Option<Value>) -> Result<String, ParamError> {
    match value {
        None => Err(ParamError::Missing { param, expected: "a string or an array of text blocks" }),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(blocks)) if blocks.len() <= BLOCKS_MAX => {
            blocks.into_iter().enumerate().map(|(idx, block)| parse_block(format!("{param}.{idx}"), block)).collect()
        }
        Some(other) => {
            let expected = format!("a string or an array of at most {BLOCKS_MAX} text blocks");
            Err(ParamError::wrong(param, expected, &other))
        }
    }
}

fn parse_block(path: String, value: Value) -> Result<String, ParamError> {
    let mut fields = Fields::new(path, value)?;
    let kind = fields.needed_string("type", "\"text\"")?;
    parse_fields(fields, &kind)
}

/// The text of a block whose type has been taken.
fn parse_fields(mut fields: Fields, kind: &str) -> Result<String, ParamError> {
    if kind.is_empty() {
        return Err(ParamError::Missing { param: fields.name("type"), expected: "\"text\"" });
    }
    if kind != "text" {
        return Err(ParamError::Unsupported { param: fields.name("type"), supported: TEXT_ONLY });
    }
    let text = fields.needed_string("text", "a string")?;
    cache_control(&mut fields)?;
    if fields.take("citations").is_some_and(|value| value != Value::Array(Vec::new())) {
        return Err(ParamError::Unsupported { param: fields.name("citations"), supported: TEXT_ONLY });
    }
    fields.finish()?;
    Ok(text)
}

/// What a caller wants kept is kept: every prefix is, for as long as there is room.
pub(super) fn cache_control(fields: &mut Fields) -> Result<(), ParamError> {
    let Some(value) = fields.take("cache_control") else { return Ok(()) };
    let mut control = Fields::new(fields.name("cache_control"), value)?;
    let kind = control.needed_string("type", "\"ephemeral\"")?;
    if kind != "ephemeral" {
        return Err(ParamError::wrong(control.name("type"), "\"ephemeral\"", &kind.into()));
    }
    if let Some(ttl) = control.string("ttl")?
        && !["5m", "1h"].contains(&ttl.as_str())
    {
        return Err(ParamError::wrong(control.name("ttl"), "\"5m\" or \"1h\"", &ttl.into()));
    }
    control.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_of_text_are_joined() {
        let blocks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        assert_eq!(parse("system".to_owned(), Some(blocks)), Ok("ab".to_owned()));
        assert_eq!(parse("system".to_owned(), Some(json!("a"))), Ok("a".to_owned()));
    }

    #[test]
    fn calls_and_their_answers_are_turns() {
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1}});
        let said = json!([{"type": "text", "text": "Wait."}, call, call]);
        let asked = turns("c".to_owned(), Some(said), "assistant", &[]).unwrap();
        assert_eq!((asked.len(), asked[0].content.as_str(), asked[0].tool_calls.len()), (1, "Wait.", 2));
        let answer = |more: Value| {
            let mut answer = json!({"type": "tool_result", "tool_use_id": "t"});
            for (name, value) in more.as_object().unwrap() {
                answer[name] = value.clone();
            }
            answer
        };
        let failed = answer(json!({"content": [{"type": "text", "text": "no"}], "is_error": true}));
        let answers =
            json!([answer(json!({"content": "7"})), failed, answer(json!({})), {"type": "text", "text": "?"}]);
        let answered = turns("c".to_owned(), Some(answers), "user", &asked).unwrap();
        let read: Vec<_> = answered.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
        assert_eq!(read, [("tool", "7"), ("tool", "error: no"), ("tool", ""), ("user", "?")]);
        let cases = [
            (json!([answer(json!({"tool_use_id": "u"}))]), "user", "c.0.tool_use_id"),
            (json!([answer(json!({"mood": 1}))]), "user", "c.0.mood"),
            (json!([answer(json!({}))]), "assistant", "c.0.type"),
            (json!([call]), "user", "c.0.type"),
            (json!([{"type": "thinking", "thinking": "x"}]), "user", "c.0.type"),
            (json!([{"type": "thinking"}]), "assistant", "c.0.thinking"),
            (json!([{"type": "redacted_thinking"}]), "assistant", "c.0.data"),
            (json!([{"type": "tool_use", "id": "t", "name": "f"}]), "assistant", "c.0.input"),
            (json!([{"type": "tool_use", "id": "t", "name": "f", "input": 1}]), "assistant", "c.0.input"),
        ];
        for (content, role, param) in cases {
            let error = turns("c".to_owned(), Some(content.clone()), role, &asked).unwrap_err();
            assert_eq!(error.param(), param, "{content}");
        }
    }

    #[test]
    fn thoughts_are_kept_apart() {
        let blocks = json!([
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Yes."},
            {"type": "thinking", "thinking": " Or no.", "signature": "s"},
        ]);
        let turns = turns("c".to_owned(), Some(blocks), "assistant", &[]).unwrap();
        let read: Vec<_> = turns.iter().map(|turn| (turn.content.as_str(), turn.reasoning.as_str())).collect();
        assert_eq!(read, [("Yes.", "Hm. Or no.")]);
    }

    #[test]
    fn what_is_wrong_with_a_block_is_named() {
        let cases = [
            (json!(1), "c"),
            (json!([1]), "c.0"),
            (json!([{"type": "image", "source": {}}]), "c.0.type"),
            (json!([{"type": "text"}]), "c.0.text"),
            (json!([{"text": "x"}]), "c.0.type"),
            (json!([{"type": "text", "text": "x", "mood": 1}]), "c.0.mood"),
            (json!([{"type": "text", "text": "x", "citations": [1]}]), "c.0.citations"),
            (json!([{"type": "text", "text": "x", "cache_control": {"type": "eternal"}}]), "c.0.cache_control.type"),
            (
                json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1y"}}]),
                "c.0.cache_control.ttl",
            ),
        ];
        for (content, param) in cases {
            assert_eq!(parse("c".to_owned(), Some(content.clone())).unwrap_err().param(), param, "{content}");
        }
        let many = |n: usize| parse("c".to_owned(), Some(json!(vec![json!({"type": "text", "text": "x"}); n])));
        assert!(many(BLOCKS_MAX).is_ok() && many(BLOCKS_MAX + 1).is_err());
    }
}
