//! `tools`, `tool_choice`, `parallel_tool_calls`, and calls in messages.

use crate::fields::{Fields, ParamError};
use crate::tools::{Choice, Declared, Tool, Tools, arguments, declare};
use ballast_tokens::{CallCount, CallNeed, ToolCall};
use serde_json::Value;

/// Most calls of one message.
pub(crate) const MESSAGE_CALLS_MAX: usize = 128;

const FUNCTIONS_ONLY: &str = "tools are of type `function`";
const CHOICES: &str = "none, auto, required, or an object that names functions";

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    let offered = functions(fields.take("tools"))?;
    let choice = fields.take("tool_choice").map_or(Ok(Choice::Auto), choice)?;
    let count = match fields.bool("parallel_tool_calls")? {
        Some(false) => CallCount::One,
        Some(true) | None => CallCount::Many,
    };
    Tools::new(offered, &choice, count, "tool_choice")
}

/// Tools of type `function`, as Ollama has them, too.
pub(crate) fn functions(value: Option<Value>) -> Result<Vec<Tool>, ParamError> {
    declare(
        value,
        |idx| format!("tools[{idx}]"),
        |mut fields| {
            is_function(&mut fields)?;
            let mut function = inner(&mut fields, "function")?;
            fields.finish()?;
            // Schemas are always kept to.
            function.bool("strict")?;
            Ok(Declared { fields: function, schema: "parameters" })
        },
    )
}

fn is_function(fields: &mut Fields) -> Result<(), ParamError> {
    match fields.string("type")?.as_deref() {
        Some("function") => Ok(()),
        Some(_) => Err(ParamError::Unsupported { param: fields.name("type"), supported: FUNCTIONS_ONLY }),
        None => Err(ParamError::Missing { param: fields.name("type"), expected: "`function`" }),
    }
}

/// The object in a field.
fn inner(fields: &mut Fields, field: &str) -> Result<Fields, ParamError> {
    let param = fields.name(field);
    let value = fields.take(field).ok_or(ParamError::Missing { param: param.clone(), expected: "an object" })?;
    Fields::new(param, value)
}

fn choice(value: Value) -> Result<Choice, ParamError> {
    match value.as_str() {
        Some("none") => return Ok(Choice::None),
        Some("auto") => return Ok(Choice::Auto),
        Some("required") => return Ok(Choice::Required),
        Some(_) => return Err(ParamError::wrong("tool_choice".to_owned(), CHOICES, &value)),
        None => {}
    }
    if !value.is_object() {
        return Err(ParamError::wrong("tool_choice".to_owned(), CHOICES, &value));
    }
    let fields = Fields::new("tool_choice".to_owned(), value)?;
    if fields.peek("type") == Some(&"allowed_tools".into()) {
        return allowed(fields);
    }
    let name = named(fields)?;
    Ok(Choice::Only { names: vec![name], need: CallNeed::Required })
}

/// `{"type": "function", "function": {"name": ..}}`.
fn named(mut fields: Fields) -> Result<String, ParamError> {
    is_function(&mut fields)?;
    let mut function = inner(&mut fields, "function")?;
    let name = function.needed_string("name", "the name of a tool")?;
    function.finish()?;
    fields.finish()?;
    Ok(name)
}

/// `{"type": "allowed_tools", "allowed_tools": {"mode": .., "tools": [..]}}`.
fn allowed(mut fields: Fields) -> Result<Choice, ParamError> {
    let _kind = fields.take("type");
    let mut allowed = inner(&mut fields, "allowed_tools")?;
    let mode = allowed.needed_string("mode", "auto or required")?;
    let need = match mode.as_str() {
        "auto" => CallNeed::Optional,
        "required" => CallNeed::Required,
        _ => return Err(ParamError::wrong(allowed.name("mode"), "auto or required", &mode.into())),
    };
    let param = allowed.name("tools");
    let tools = match allowed.take("tools") {
        Some(Value::Array(tools)) if tools.len() <= crate::TOOLS_MAX => tools,
        Some(other) => return Err(ParamError::wrong(param, "an array of functions", &other)),
        None => return Err(ParamError::Missing { param, expected: "an array of functions" }),
    };
    let name = |(idx, tool): (usize, Value)| named(Fields::new(format!("{param}[{idx}]"), tool)?);
    let names = tools.into_iter().enumerate().map(name).collect::<Result<_, _>>()?;
    allowed.finish()?;
    fields.finish()?;
    Ok(Choice::Only { names, need })
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
