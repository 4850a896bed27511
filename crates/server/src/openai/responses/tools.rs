//! Tools of a response, and what is told again of them.

use crate::fields::{Fields, ParamError};
use crate::openai::functions::Layout;
use crate::tools::Tools;
use serde_json::{Value, json};

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    Layout::Flat.take(fields)
}

/// What is told again of them.
pub(super) fn echo(fields: &Fields) -> [(&'static str, Value); 3] {
    [("tools", json!([])), ("tool_choice", "auto".into()), ("parallel_tool_calls", true.into())]
        .map(|(field, default)| (field, fields.peek(field).cloned().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_tokens::{CallCount, CallNeed};

    fn of(extra: Value) -> Result<Tools, ParamError> {
        let mut body = json!({"tools": [
            {"type": "function", "name": "look", "description": "Looks.", "strict": true, "parameters": {"properties": {}}},
            {"type": "function", "name": "go"},
        ]});
        for (field, value) in extra.as_object().unwrap() {
            body[field] = value.clone();
        }
        let mut fields = Fields::new(String::new(), body)?;
        let tools = take(&mut fields)?;
        fields.finish()?;
        Ok(tools)
    }

    #[test]
    fn choices_are_understood() {
        let go = json!({"type": "function", "name": "go"});
        let cases = [
            (json!({}), vec!["look", "go"], CallNeed::Optional, CallCount::Many),
            (json!({"tool_choice": "required"}), vec!["look", "go"], CallNeed::Required, CallCount::Many),
            (json!({"tool_choice": go, "parallel_tool_calls": false}), vec!["go"], CallNeed::Required, CallCount::One),
            (
                json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [go]}}),
                vec!["go"],
                CallNeed::Optional,
                CallCount::Many,
            ),
        ];
        for (extra, callable, need, count) in cases {
            let tools = of(extra.clone()).unwrap();
            assert_eq!((tools.may_call(), tools.need(), tools.count()), (callable, need, count), "{extra}");
        }
        assert_eq!(of(json!({"tool_choice": "none"})).unwrap().told(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tools": [{"name": "x"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
            (json!({"tools": [{"type": "function", "name": "x", "mood": 1}]}), "tools[0].mood"),
            (json!({"tools": [{"type": "function", "name": "x", "parameters": []}]}), "tools[0].parameters"),
            (json!({"tool_choice": "any"}), "tool_choice"),
            (json!({"tool_choice": 1}), "tool_choice"),
            (json!({"tool_choice": {"type": "function", "name": "fly"}}), "tool_choice"),
            (json!({"tool_choice": {"type": "function"}}), "tool_choice.name"),
            (json!({"tool_choice": {"type": "mcp"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "allowed_tools", "mode": "x"}}), "tool_choice.mode"),
            (json!({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}), "tool_choice.tools"),
            (json!({"parallel_tool_calls": 1}), "parallel_tool_calls"),
        ];
        for (extra, param) in cases {
            assert_eq!(of(extra.clone()).unwrap_err().param(), param, "{extra}");
        }
    }
}
