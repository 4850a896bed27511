//! `tools`, `tool_choice` and `parallel_tool_calls` as this wire has them: functions without an object of their own.

use crate::fields::{Fields, ParamError};
use crate::tools::{Choice, Declared, Tools, declare};
use ballast_tokens::{CallCount, CallNeed};
use serde_json::{Value, json};

const FUNCTIONS_ONLY: &str = "tools are of type `function`";
const CHOICES: &str = "none, auto, required, or an object that names functions";

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    let path = |idx| format!("tools[{idx}]");
    let offered = declare(fields.take("tools"), path, |mut fields| {
        is_function(&mut fields)?;
        // Schemas are always kept to.
        fields.bool("strict")?;
        Ok(Declared { fields, schema: "parameters" })
    })?;
    let choice = fields.take("tool_choice").map_or(Ok(Choice::Auto), choice)?;
    let count = match fields.bool("parallel_tool_calls")? {
        Some(false) => CallCount::One,
        Some(true) | None => CallCount::Many,
    };
    Tools::new(offered, &choice, count, "tool_choice")
}

/// What is told again of them.
pub(super) fn echo(fields: &Fields) -> [(&'static str, Value); 3] {
    [("tools", json!([])), ("tool_choice", "auto".into()), ("parallel_tool_calls", true.into())]
        .map(|(field, default)| (field, fields.peek(field).cloned().unwrap_or(default)))
}

fn is_function(fields: &mut Fields) -> Result<(), ParamError> {
    match fields.string("type")?.as_deref() {
        Some("function") => Ok(()),
        Some(_) => Err(ParamError::Unsupported { param: fields.name("type"), supported: FUNCTIONS_ONLY }),
        None => Err(ParamError::Missing { param: fields.name("type"), expected: "`function`" }),
    }
}

fn choice(value: Value) -> Result<Choice, ParamError> {
    match value.as_str() {
        Some("none") => return Ok(Choice::None),
        Some("auto") => return Ok(Choice::Auto),
        Some("required") => return Ok(Choice::Required),
        Some(_) => return Err(ParamError::wrong("tool_choice".to_owned(), CHOICES, &value)),
        None => {}
    }
    let fields = Fields::new("tool_choice".to_owned(), value)?;
    if fields.peek("type") == Some(&"allowed_tools".into()) {
        return allowed(fields);
    }
    Ok(Choice::Only { names: vec![named(fields)?], need: CallNeed::Required })
}

/// `{"type": "function", "name": ..}`.
fn named(mut fields: Fields) -> Result<String, ParamError> {
    is_function(&mut fields)?;
    let name = fields.needed_string("name", "the name of a tool")?;
    fields.finish()?;
    Ok(name)
}

/// `{"type": "allowed_tools", "mode": .., "tools": [..]}`.
fn allowed(mut fields: Fields) -> Result<Choice, ParamError> {
    let _kind = fields.take("type");
    let mode = fields.needed_string("mode", "auto or required")?;
    let need = match mode.as_str() {
        "auto" => CallNeed::Optional,
        "required" => CallNeed::Required,
        _ => return Err(ParamError::wrong(fields.name("mode"), "auto or required", &mode.into())),
    };
    let param = fields.name("tools");
    let tools = match fields.take("tools") {
        Some(Value::Array(tools)) if tools.len() <= crate::TOOLS_MAX => tools,
        Some(other) => return Err(ParamError::wrong(param, "an array of functions", &other)),
        None => return Err(ParamError::Missing { param, expected: "an array of functions" }),
    };
    let name = |(idx, tool): (usize, Value)| named(Fields::new(format!("{param}[{idx}]"), tool)?);
    let names = tools.into_iter().enumerate().map(name).collect::<Result<_, _>>()?;
    fields.finish()?;
    Ok(Choice::Only { names, need })
}

#[cfg(test)]
mod tests {
    use super::*;

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
