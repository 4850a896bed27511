//! Tools and calls as bodies have them.

use super::{TOOL_SCHEMAS_BYTES_MAX, TOOLS_MAX, Tool};
use crate::fields::{Fields, ParamError};
use crate::json;
use ballast_tokens::{ChatMessage, TOOL_NAME_BYTES_MAX, ToolSpec};
use serde_json::{Map, Value};

/// A tool as a body has it.
pub(crate) struct Declared {
    /// The object that has its name.
    pub(crate) fields: Fields,
    /// The field that has its schema.
    pub(crate) schema: &'static str,
}

/// Parses `tools`: `open` finds name, description and schema of each, and takes what else its wire knows.
///
/// # Errors
/// The first thing that is wrong, by its name.
pub(crate) fn declare(
    value: Option<Value>,
    path: impl Fn(usize) -> String,
    open: impl Fn(Fields) -> Result<Declared, ParamError>,
) -> Result<Vec<Tool>, ParamError> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= TOOLS_MAX => items,
        Some(other) => {
            return Err(ParamError::wrong(
                "tools".to_owned(),
                format!("an array of at most {TOOLS_MAX} tools"),
                &other,
            ));
        }
    };
    let mut tools: Vec<Tool> = Vec::new();
    let mut room = TOOL_SCHEMAS_BYTES_MAX;
    for (idx, item) in items.into_iter().enumerate() {
        let declared = open(Fields::new(path(idx), item)?)?;
        let name_param = declared.fields.name("name");
        let tool = tool(declared)?;
        if tools.iter().any(|other| other.spec.name == tool.spec.name) {
            return Err(ParamError::wrong(name_param, "another name for each tool", &tool.spec.name.into()));
        }
        let n_bytes = tool.spec.parameters.as_ref().map_or(0, |schema| schema.to_string().len());
        room = room.checked_sub(n_bytes).ok_or_else(|| {
            let expected = format!("at most {TOOL_SCHEMAS_BYTES_MAX} bytes in the schemas of all tools");
            ParamError::wrong(tool.schema_param.clone(), expected, &Value::Object(Map::new()))
        })?;
        tools.push(tool);
    }
    Ok(tools)
}

fn tool(declared: Declared) -> Result<Tool, ParamError> {
    let Declared { mut fields, schema } = declared;
    let name = name(&mut fields)?;
    let description = fields.string("description")?.unwrap_or_default();
    let schema_param = fields.name(schema);
    let parameters = match fields.take(schema) {
        None => None,
        Some(Value::Object(schema)) if schema.get("type").is_none_or(|kind| kind == "object") => {
            Some(as_object(schema))
        }
        Some(other) => return Err(ParamError::wrong(schema_param, "a JSON Schema of an object", &other)),
    };
    fields.finish()?;
    Ok(Tool { spec: ToolSpec { name, description, parameters }, schema_param })
}

/// A schema that says nothing of objects allows anything else, too; arguments are an object.
fn as_object(mut schema: Map<String, Value>) -> Value {
    if !schema.contains_key("type") {
        schema.insert("type".to_owned(), "object".into());
    }
    Value::Object(schema)
}

/// The name of a tool.
///
/// # Errors
/// If it is missing, too long, or has other characters than letters, digits, `_` and `-`.
fn name(fields: &mut Fields) -> Result<String, ParamError> {
    let param = fields.name("name");
    let name = fields.needed_string("name", "the name of the tool")?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=TOOL_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_good) {
        return Ok(name);
    }
    let expected = format!("1 to {TOOL_NAME_BYTES_MAX} letters, digits, `_` and `-`");
    Err(ParamError::wrong(param, expected, &name.into()))
}

/// The arguments of a call: an object, or text that is one.
///
/// # Errors
/// If they are neither.
pub(crate) fn arguments(param: String, value: Value) -> Result<Map<String, Value>, ParamError> {
    let wrong = |got: &Value| ParamError::wrong(param.clone(), "a JSON object, or text that is one", got);
    match value {
        Value::Object(fields) => Ok(fields),
        Value::String(text) if text.trim().is_empty() => Ok(Map::new()),
        Value::String(text) => match json::parse(text.as_bytes()) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) | Err(_) => Err(wrong(&text.into())),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong(&value)),
    }
}

/// The identifier at `param`, which an answer of a tool has for the call that it answers.
///
/// # Errors
/// If no call before it has that identifier.
pub(crate) fn known_answer(param: String, id: String, before: &[ChatMessage]) -> Result<String, ParamError> {
    if before.iter().flat_map(|message| &message.tool_calls).any(|call| call.id == id) {
        return Ok(id);
    }
    Err(ParamError::wrong(param, "the identifier of a call in a message before", &id.into()))
}
