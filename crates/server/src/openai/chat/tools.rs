//! Tools of a chat, and calls in its messages.

use crate::fields::{Fields, ParamError};
use crate::openai::functions::{Layout, inner, is_function};
use crate::tools::{Tools, arguments};
use ballast_tokens::ToolCall;
use serde_json::Value;

/// Most calls of one message.
pub(crate) const MESSAGE_CALLS_MAX: usize = 128;

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    Layout::Nested.take(fields)
}

/// Calls in a message of the assistant.
pub(super) fn calls(param: String, value: Option<Value>) -> Result<Vec<ToolCall>, ParamError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(calls)) if calls.len() <= MESSAGE_CALLS_MAX => {
            calls.into_iter().enumerate().map(|(idx, call)| parse_call(format!("{param}[{idx}]"), call)).collect()
        }
        Some(other) => Err(ParamError::wrong(param, format!("an array of at most {MESSAGE_CALLS_MAX} calls"), &other)),
    }
}

fn parse_call(path: String, value: Value) -> Result<ToolCall, ParamError> {
    let mut fields = Fields::new(path, value)?;
    is_function(&mut fields)?;
    let id = fields.needed_string("id", "the call's identifier")?;
    // Clients that put a stream together send the index back.
    fields.count("index")?;
    let mut function = inner(&mut fields, "function")?;
    fields.finish()?;
    let name = function.needed_string("name", "the name of the tool")?;
    let param = function.name("arguments");
    let given = function.take("arguments");
    let arguments = arguments(param.clone(), given.ok_or(ParamError::Missing { param, expected: "a string" })?)?;
    function.finish()?;
    Ok(ToolCall { id, name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_tokens::{CallCount, CallNeed};
    use serde_json::json;

    fn of(extra: Value) -> Result<Tools, ParamError> {
        let mut body = json!({"tools": [
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": true}},
            {"type": "function", "function": {"name": "go", "description": "Goes."}},
        ]});
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            body[name] = value.clone();
        }
        let mut fields = Fields::new(String::new(), body)?;
        let tools = take(&mut fields)?;
        fields.finish()?;
        Ok(tools)
    }

    #[test]
    fn what_is_offered_and_chosen_is_read() {
        let go = json!({"type": "function", "function": {"name": "go"}});
        let none = of(json!({"tool_choice": "none"})).unwrap();
        assert_eq!((none.told(), none.may_call()), (None, Vec::new()));
        let cases = [
            (json!({}), vec!["look", "go"], CallNeed::Optional, CallCount::Many),
            (json!({"tool_choice": "auto"}), vec!["look", "go"], CallNeed::Optional, CallCount::Many),
            (json!({"tool_choice": "required"}), vec!["look", "go"], CallNeed::Required, CallCount::Many),
            (json!({"tool_choice": go, "parallel_tool_calls": false}), vec!["go"], CallNeed::Required, CallCount::One),
            (
                json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [go]}}}),
                vec!["go"],
                CallNeed::Optional,
                CallCount::Many,
            ),
        ];
        for (extra, callable, need, count) in cases {
            let tools = of(extra.clone()).unwrap();
            assert_eq!((tools.may_call(), tools.need(), tools.count()), (callable, need, count), "{extra}");
            assert_eq!(tools.told().unwrap().as_array().unwrap().len(), 2, "{extra}");
        }
        assert_eq!(of(json!({"tools": []})).unwrap().told(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
        let cases = [
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "custom", "custom": {}}]}), "tools[0].type"),
            (json!({"tools": [{"function": {"name": "x"}}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (json!({"tools": [{"type": "function", "function": {"name": "x"}, "more": 1}]}), "tools[0].more"),
            (one(json!({})), "tools[0].function.name"),
            (one(json!({"name": "a b"})), "tools[0].function.name"),
            (one(json!({"name": "x", "parameters": []})), "tools[0].function.parameters"),
            (one(json!({"name": "x", "parameters": {"type": "string"}})), "tools[0].function.parameters"),
            (one(json!({"name": "x", "mood": 1})), "tools[0].function.mood"),
            (json!({"tool_choice": "any"}), "tool_choice"),
            (json!({"tool_choice": 1}), "tool_choice"),
            (json!({"tool_choice": {"type": "function", "function": {"name": "fly"}}}), "tool_choice"),
            (json!({"tool_choice": {"type": "function"}}), "tool_choice.function"),
            (json!({"tool_choice": {"type": "custom"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice.allowed_tools"),
            (
                json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}}}),
                "tool_choice.allowed_tools.mode",
            ),
            (
                json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
                "tool_choice",
            ),
            (json!({"tools": [], "tool_choice": "required"}), "tool_choice"),
            (json!({"parallel_tool_calls": 1}), "parallel_tool_calls"),
        ];
        for (extra, param) in cases {
            assert_eq!(of(extra.clone()).unwrap_err().param(), param, "{extra}");
        }
    }
}
