//! JSON as values of the template engine.

use super::TemplateError;
use minijinja::Value;

/// Deepest nesting of messages, tools and extra variables; what parsers of JSON commonly allow.
const DEPTH_MAX: usize = 128;

/// A JSON value as the template sees it; objects keep the order of their keys.
pub(super) fn from_json(json: &serde_json::Value) -> Result<Value, TemplateError> {
    convert(json, 0)
}

fn convert(json: &serde_json::Value, depth: usize) -> Result<Value, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::NestedTooDeep { max: DEPTH_MAX });
    }
    Ok(match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => {
            Value::from(items.iter().map(|item| convert(item, depth + 1)).collect::<Result<Vec<_>, _>>()?)
        }
        serde_json::Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.as_str(), convert(value, depth + 1)?)));
            Value::from_pairs(entries.collect::<Result<Vec<_>, _>>()?)
        }
    })
}
