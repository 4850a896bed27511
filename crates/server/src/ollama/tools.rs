//! `tools`, and calls in messages.

use crate::fields::{Fields, ParamError};
use crate::openai::{MESSAGE_CALLS_MAX, functions};
use crate::tools::{Choice, Tools, arguments};
use ballast_tokens::{CallCount, ToolCall};
use serde_json::Value;

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    Tools::new(functions(fields.take("tools"))?, &Choice::Auto, CallCount::Many, "tools")
}

/// Calls in message `idx`. This wire's calls have no identifiers; where a client keeps one it is taken.
pub(super) fn calls(idx: usize, value: Option<Value>) -> Result<Vec<ToolCall>, ParamError> {
    let param = format!("messages[{idx}].tool_calls");
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(calls)) if calls.len() <= MESSAGE_CALLS_MAX => {
            let call = |(n, call): (usize, Value)| parse_call(format!("{param}[{n}]"), call, format!("call_{idx}_{n}"));
            calls.into_iter().enumerate().map(call).collect()
        }
        Some(other) => Err(ParamError::wrong(param, format!("an array of at most {MESSAGE_CALLS_MAX} calls"), &other)),
    }
}

fn parse_call(path: String, value: Value, made_up: String) -> Result<ToolCall, ParamError> {
    let mut fields = Fields::new(path, value)?;
    let id = fields.string("id")?.unwrap_or(made_up);
    let param = fields.name("function");
    let value = fields.take("function").ok_or(ParamError::Missing { param: param.clone(), expected: "an object" })?;
    fields.string("type")?;
    fields.finish()?;
    let mut function = Fields::new(param, value)?;
    let name = function.needed_string("name", "the name of the tool")?;
    let param = function.name("arguments");
    let given = function.take("arguments");
    let arguments = arguments(param.clone(), given.ok_or(ParamError::Missing { param, expected: "an object" })?)?;
    function.count("index")?;
    function.finish()?;
    Ok(ToolCall { id, name, arguments })
}
