//! `input`: a text, or items.

use super::item::{Content, Item, Role};
use crate::fields::{Fields, ParamError};
use crate::openai::chat::{MESSAGES_MAX, PARTS_MAX};
use crate::openai::params::LABEL_CHARS_MAX;
use crate::tools::arguments;
use serde_json::Value;

const ROLES: &str = "one of system, developer, user, assistant";
const ITEMS: &str = "a string or an array of items";
const KINDS: &str = "items are of type message, reasoning, function_call and function_call_output";
const STATES: &str = "one of in_progress, completed, incomplete";

/// Parses `input`. Items without an identifier are named by `name`, which is given how names of their kind begin.
pub(super) fn parse(value: Option<Value>, name: &dyn Fn(&str) -> String) -> Result<Vec<Item>, ParamError> {
    let param = "input".to_owned();
    match value {
        None => Err(ParamError::Missing { param, expected: ITEMS }),
        Some(Value::String(text)) => {
            Ok(vec![Item { id: name("msg"), content: Content::Message { role: Role::User, texts: vec![text] } }])
        }
        Some(Value::Array(items)) if (1..=MESSAGES_MAX).contains(&items.len()) => {
            items.into_iter().enumerate().map(|(idx, item)| parse_item(idx, item, name)).collect()
        }
        Some(other) => {
            Err(ParamError::wrong(param, format!("a string or an array of 1 to {MESSAGES_MAX} items"), &other))
        }
    }
}

fn parse_item(idx: usize, value: Value, name: &dyn Fn(&str) -> String) -> Result<Item, ParamError> {
    let mut fields = Fields::new(format!("input[{idx}]"), value)?;
    let param = fields.name("type");
    let kind = fields.string("type")?.unwrap_or_else(|| "message".to_owned());
    let given = label(&mut fields, "id")?;
    state(&mut fields)?;
    let (prefix, content) = match kind.as_str() {
        "message" => ("msg", message(&mut fields)?),
        "reasoning" => ("rs", reasoning(&mut fields)?),
        "function_call" => ("fc", call(&mut fields)?),
        "function_call_output" => ("fco", call_output(&mut fields)?),
        _ => return Err(ParamError::Unsupported { param, supported: KINDS }),
    };
    fields.finish()?;
    Ok(Item { id: given.unwrap_or_else(|| name(prefix)), content })
}

fn message(fields: &mut Fields) -> Result<Content, ParamError> {
    let role = role(fields)?;
    Ok(Content::Message { role, texts: texts(fields, "content", role)? })
}

/// Thoughts. Of those that are encrypted or only summed up nothing can be read.
fn reasoning(fields: &mut Fields) -> Result<Content, ParamError> {
    fields.string("encrypted_content")?;
    let _summary = fields.take("summary");
    let param = fields.name("content");
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(Value::Array(parts)) if parts.len() <= PARTS_MAX => parts,
        Some(other) => return Err(ParamError::wrong(param, format!("an array of at most {PARTS_MAX} parts"), &other)),
    };
    let text = |(idx, part): (usize, Value)| {
        let mut part = Fields::new(format!("{param}[{idx}]"), part)?;
        if part.needed_string("type", "reasoning_text")? != "reasoning_text" {
            let supported = "parts of thoughts are of type reasoning_text";
            return Err(ParamError::Unsupported { param: part.name("type"), supported });
        }
        let text = part.needed_string("text", "a string")?;
        part.finish()?;
        Ok(text)
    };
    Ok(Content::Reasoning { text: parts.into_iter().enumerate().map(text).collect::<Result<String, _>>()? })
}

/// A call, whose arguments are a JSON object as text.
fn call(fields: &mut Fields) -> Result<Content, ParamError> {
    let call_id = call_id(fields)?;
    let name = fields.needed_string("name", "the name of the tool")?;
    let param = fields.name("arguments");
    let text = fields.needed_string("arguments", "a JSON object as text")?;
    let _is_object = arguments(param, text.as_str().into())?;
    Ok(Content::Call { call_id, name, arguments: text })
}

fn call_output(fields: &mut Fields) -> Result<Content, ParamError> {
    let call_id = call_id(fields)?;
    Ok(Content::CallOutput { call_id, texts: texts(fields, "output", Role::User)? })
}

fn call_id(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("call_id");
    label(fields, "call_id")?.ok_or(ParamError::Missing { param, expected: "the identifier of the call" })
}

/// # Errors
/// If an item of `input` answers a call that no item before it makes.
pub(super) fn check_answers<'a>(before: impl Iterator<Item = &'a Item>, input: &[Item]) -> Result<(), ParamError> {
    let made = |item: &'a Item| match &item.content {
        Content::Call { call_id, .. } => Some(call_id.as_str()),
        Content::Message { .. } | Content::Reasoning { .. } | Content::CallOutput { .. } => None,
    };
    let mut calls: Vec<&str> = before.filter_map(made).collect();
    for (idx, item) in input.iter().enumerate() {
        match &item.content {
            Content::Message { .. } | Content::Reasoning { .. } => {}
            Content::Call { call_id, .. } => calls.push(call_id),
            Content::CallOutput { call_id, .. } if calls.contains(&call_id.as_str()) => {}
            Content::CallOutput { call_id, .. } => {
                let expected = "the identifier of a call in an item before";
                return Err(ParamError::wrong(format!("input[{idx}].call_id"), expected, &call_id.as_str().into()));
            }
        }
    }
    Ok(())
}

fn label(fields: &mut Fields, field: &str) -> Result<Option<String>, ParamError> {
    let label = fields.string(field)?;
    match label {
        Some(label) if label.is_empty() || label.chars().count() > LABEL_CHARS_MAX => {
            Err(ParamError::wrong(fields.name(field), format!("1 to {LABEL_CHARS_MAX} characters"), &label.into()))
        }
        label => Ok(label),
    }
}

/// Clients send items back as they came. How far they were changes nothing.
fn state(fields: &mut Fields) -> Result<(), ParamError> {
    match fields.string("status")?.as_deref() {
        None | Some("in_progress" | "completed" | "incomplete") => Ok(()),
        Some(other) => Err(ParamError::wrong(fields.name("status"), STATES, &other.into())),
    }
}

fn role(fields: &mut Fields) -> Result<Role, ParamError> {
    let word = fields.needed_string("role", ROLES)?;
    let role = Role::ALL.into_iter().find(|role| role.as_str() == word);
    role.ok_or_else(|| ParamError::wrong(fields.name("role"), ROLES, &word.into()))
}

fn texts(fields: &mut Fields, field: &str, role: Role) -> Result<Vec<String>, ParamError> {
    let param = fields.name(field);
    match fields.take(field) {
        None => Err(ParamError::Missing { param, expected: "a string or an array of text parts" }),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(parts)) if (1..=PARTS_MAX).contains(&parts.len()) => {
            parts.into_iter().enumerate().map(|(idx, part)| text(format!("{param}[{idx}]"), part, role)).collect()
        }
        Some(other) => {
            Err(ParamError::wrong(param, format!("a string or an array of 1 to {PARTS_MAX} text parts"), &other))
        }
    }
}

/// A part. What the assistant said may have come with annotations and log probabilities: they are not part of the text.
fn text(path: String, value: Value, role: Role) -> Result<String, ParamError> {
    let mut fields = Fields::new(path, value)?;
    let param = fields.name("type");
    match (fields.string("type")?.as_deref(), role) {
        (Some("input_text"), _) => {}
        (Some("output_text"), Role::Assistant) => {
            fields.take("annotations");
            fields.take("logprobs");
        }
        (Some("output_text"), _) => {
            return Err(ParamError::wrong(
                param,
                "input_text, since the assistant did not say it",
                &"output_text".into(),
            ));
        }
        (Some(_), _) => return Err(ParamError::Unsupported { param, supported: "parts are text" }),
        (None, _) => return Err(ParamError::Missing { param, expected: "input_text or output_text" }),
    }
    let text = fields.needed_string("text", "a string")?;
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Vec<Value>, ParamError> {
        let items = parse(Some(value), &|kind| format!("{kind}_new"))?;
        Ok(items.iter().map(Item::json).collect())
    }

    #[test]
    fn texts_and_items_are_read() {
        let message = |id: &str, role: &str, content: Value| json!({"type": "message", "id": id, "status": "completed", "role": role, "content": content});
        let input = |text: &str| json!({"type": "input_text", "text": text});
        let cases = [
            (json!("hi"), vec![message("msg_new", "user", json!([input("hi")]))]),
            (
                json!([{"role": "developer", "content": "a"}, {"type": "message", "role": "user", "content": [input("b"), input("c")]}]),
                vec![
                    message("msg_new", "developer", json!([input("a")])),
                    message("msg_new", "user", json!([input("b"), input("c")])),
                ],
            ),
            (
                json!([{"role": "assistant", "id": "msg_7", "status": "completed", "type": "message", "content": [
                    {"type": "output_text", "text": "d", "annotations": [], "logprobs": []}]}]),
                vec![message("msg_7", "assistant", json!([{"type": "output_text", "text": "d", "annotations": []}]))],
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value.clone()).unwrap(), expected, "{value}");
        }
        let call = json!({"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c", "name": "look",
            "arguments": "{\"at\": 1}"});
        let output = json!({"type": "function_call_output", "call_id": "c", "output": [input("da"), input("rk")]});
        let shown = json!({"type": "function_call_output", "id": "fco_new", "status": "completed", "call_id": "c",
            "output": "dark"});
        assert_eq!(read(json!([call, output])).unwrap(), [call, shown]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!(1), "input"),
            (json!([]), "input"),
            (json!(["x"]), "input[0]"),
            (json!([{"role": "user"}]), "input[0].content"),
            (json!([{"content": "x"}]), "input[0].role"),
            (json!([{"role": "tool", "content": "x"}]), "input[0].role"),
            (json!([{"role": "user", "content": "x", "name": "n"}]), "input[0].name"),
            (json!([{"role": "user", "content": "x", "status": "odd"}]), "input[0].status"),
            (json!([{"role": "user", "content": "x", "id": "i".repeat(LABEL_CHARS_MAX + 1)}]), "input[0].id"),
            (json!([{"type": "item_reference", "id": "x"}]), "input[0].type"),
            (json!([{"role": "user", "content": []}]), "input[0].content"),
            (json!([{"type": "function_call", "name": "x", "arguments": "{}"}]), "input[0].call_id"),
            (json!([{"type": "function_call", "call_id": "c", "arguments": "{}"}]), "input[0].name"),
            (json!([{"type": "function_call", "call_id": "c", "name": "x", "arguments": "{"}]), "input[0].arguments"),
            (json!([{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
            (json!([{"type": "function_call_output", "call_id": "c"}]), "input[0].output"),
            (json!([{"role": "user", "content": [{"text": "x"}]}]), "input[0].content[0].type"),
            (json!([{"role": "user", "content": [{"type": "input_image"}]}]), "input[0].content[0].type"),
            (json!([{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]), "input[0].content[0].type"),
            (json!([{"role": "user", "content": [{"type": "input_text"}]}]), "input[0].content[0].text"),
            (
                json!([{"role": "user", "content": [{"type": "input_text", "text": "x", "y": 1}]}]),
                "input[0].content[0].y",
            ),
        ];
        for (value, param) in cases {
            assert_eq!(read(value.clone()).unwrap_err().param(), param, "{value}");
        }
    }

    #[test]
    fn inputs_and_items_are_bounded() {
        let item = json!({"role": "user", "content": "x"});
        assert!(read(vec![item.clone(); MESSAGES_MAX].into()).is_ok());
        assert!(read(vec![item; MESSAGES_MAX + 1].into()).is_err());
        let part = json!({"type": "input_text", "text": "x"});
        let of = |n: usize| read(json!([{"role": "user", "content": vec![part.clone(); n]}]));
        assert!(of(PARTS_MAX).is_ok());
        assert!(of(PARTS_MAX + 1).is_err());
    }
}
