//! Arguments written as pairs of a key and a value in tags, instead of as a JSON object.

use crate::ToolSpec;
use crate::chat_message::written;
use serde_json::{Map, Value};

/// How arguments are written: `(before_key KEY before_value VALUE after_value)*`. A value that is a string is written as
/// it is, any other as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) before_key: String,
    pub(crate) before_value: String,
    pub(crate) after_value: String,
}

impl Tagged {
    pub(crate) fn mentions(&self, text: &str) -> bool {
        [&self.before_key, &self.before_value, &self.after_value].into_iter().any(|tag| tag.contains(text))
    }

    /// Arguments, a JSON object, in tags; as they are where they are none.
    pub(crate) fn write(&self, arguments: &str) -> String {
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(arguments) else { return arguments.to_owned() };
        let pair = |(key, value): (&String, &Value)| {
            let value = value.as_str().map_or_else(|| written(value), str::to_owned);
            format!("{}{key}{}{value}{}", self.before_key, self.before_value, self.after_value)
        };
        fields.iter().map(pair).collect()
    }
}

/// What a value may be by its schema; it says how its text is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// A string: its text is the value.
    Text,
    /// No string: its text is JSON.
    Json,
    /// A string, unless its text is JSON of one of these types.
    TextOr(Vec<String>),
}

/// All types of JSON but strings.
const NOT_STRINGS: [&str; 6] = ["null", "boolean", "integer", "number", "object", "array"];
/// Most references that are followed from one schema.
const DEPTH_MAX: usize = 16;

impl ValueKind {
    /// The kind of the argument `key` of a tool.
    pub(crate) fn of(tool: &ToolSpec, key: &str) -> Self {
        let root = tool.parameters.as_ref().unwrap_or(&Value::Null);
        let mut types = root["properties"].get(key).map_or_else(any_type, |schema| types_of(root, schema, DEPTH_MAX));
        let has_text = types.iter().any(|kind| kind == "string");
        types.retain(|kind| kind != "string");
        match (has_text, types.is_empty()) {
            (true, true) => Self::Text,
            (true, false) => Self::TextOr(types),
            (false, _) => Self::Json,
        }
    }

    /// The JSON that a whole text stands for.
    pub(crate) fn json(&self, text: &str) -> String {
        let value = match text.trim() {
            // Templates print them so, as Python would, and models repeat what they have seen.
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::Null),
            text => serde_json::from_str::<Value>(text),
        };
        let is_it = |value: &Value| match self {
            Self::Text => false,
            Self::Json => true,
            Self::TextOr(types) => types.iter().any(|kind| is_of_type(value, kind)),
        };
        match value {
            Ok(value) if is_it(&value) => written(&value),
            Ok(_) | Err(_) => Value::from(text).to_string(),
        }
    }
}

fn any_type() -> Vec<String> {
    NOT_STRINGS.iter().chain(&["string"]).map(|&kind| kind.to_owned()).collect()
}

/// The types that a schema allows, as far as it says.
fn types_of(root: &Value, schema: &Value, depth: usize) -> Vec<String> {
    let Some(depth) = depth.checked_sub(1) else { return any_type() };
    if let Some(to) = schema["$ref"].as_str() {
        let target = to.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or_else(any_type, |target| types_of(root, target, depth));
    }
    match &schema["type"] {
        Value::String(kind) => return vec![kind.clone()],
        Value::Array(kinds) => return kinds.iter().filter_map(|kind| Some(kind.as_str()?.to_owned())).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| type_of(value).to_owned()).collect();
    }
    if let Some(value) = schema.get("const") {
        return vec![type_of(value).to_owned()];
    }
    match ["anyOf", "oneOf"].into_iter().find_map(|name| schema[name].as_array()) {
        Some(schemas) => schemas.iter().flat_map(|schema| types_of(root, schema, depth)).collect(),
        None => any_type(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    if kind == "integer" { value.is_i64() || value.is_u64() } else { type_of(value) == kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_by_their_schemas() {
        let parameters = json!({
            "properties": {
                "text": {"type": "string"}, "number": {"type": "number"}, "maybe": {"type": ["string", "null"]},
                "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "named": {"$ref": "#/$defs/named"},
                "choice": {"enum": ["1", "2"]}, "any": {}, "flag": {"type": "boolean"}, "loop": {"$ref": "#/$defs/loop"},
            },
            "$defs": {"named": {"type": "array"}, "loop": {"$ref": "#/$defs/loop"}},
        });
        let tool = ToolSpec { name: "t".to_owned(), description: String::new(), parameters: Some(parameters) };
        let cases = [
            ("text", "17", "\"17\""),
            ("text", "a\"\n", "\"a\\\"\\n\""),
            ("number", " 17 ", "17"),
            ("number", "many", "\"many\""),
            ("maybe", "17", "\"17\""),
            ("maybe", "null", "null"),
            ("either", "17", "17"),
            ("either", "1.5", "\"1.5\""),
            ("named", "[1,\"a\"]", "[1, \"a\"]"),
            ("choice", "1", "\"1\""),
            ("any", "{\"a\":1}", "{\"a\": 1}"),
            ("any", "\"quoted\"", "\"\\\"quoted\\\"\""),
            ("flag", "True", "true"),
            ("loop", "1", "1"),
            ("unknown", "x", "\"x\""),
        ];
        for (key, text, expected) in cases {
            assert_eq!(ValueKind::of(&tool, key).json(text), expected, "{key}: {text}");
        }
    }
}
