//! `text`: what the answer must look like.

use crate::fields::{Fields, ParamError};
use ballast_tokens::Constraint;
use serde_json::{Value, json};

const FORMATS: &str = "one of text, json_object, json_schema";
const SCHEMA: &str = "a JSON schema: an object, true or false";
/// Longest `name` of a schema; the bound is OpenAI's.
const NAME_BYTES_MAX: usize = 64;

/// What `text` asks for.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) constraint: Option<Constraint>,
    /// As it was asked for, defaults filled in.
    pub(super) echo: Value,
}

/// The parameter that asks for a constraint.
pub(super) const PARAM: &str = "text.format.schema";

/// Parses `text`.
pub(super) fn parse(value: Option<Value>) -> Result<Text, ParamError> {
    let mut text = Fields::new("text".to_owned(), value.unwrap_or_else(|| json!({})))?;
    text.refuse(&[("verbosity", |value| value == "medium", "say in the prompt how long the answer is to be")])?;
    let format = text.take("format").unwrap_or_else(|| json!({ "type": "text" }));
    text.finish()?;
    let echo = json!({ "format": format.clone(), "verbosity": "medium" });
    let mut format = Fields::new("text.format".to_owned(), format)?;
    let kind = format.needed_string("type", FORMATS)?;
    let constraint = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Constraint::JsonObject),
        "json_schema" => Some(schema(&mut format)?),
        _ => return Err(ParamError::wrong(format.name("type"), FORMATS, &kind.into())),
    };
    format.finish()?;
    Ok(Text { constraint, echo })
}

/// A schema and what it is called. It is enforced whether `strict` says so or not.
fn schema(format: &mut Fields) -> Result<Constraint, ParamError> {
    let name = format.needed_string("name", "the name of the schema")?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(ParamError::wrong(format.name("name"), format!("1 to {NAME_BYTES_MAX} bytes"), &name.into()));
    }
    format.string("description")?;
    format.bool("strict")?;
    match format.take("schema") {
        None => Err(ParamError::Missing { param: format.name("schema"), expected: SCHEMA }),
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Constraint::JsonSchema(schema)),
        Some(other) => Err(ParamError::wrong(format.name("schema"), SCHEMA, &other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_understood() {
        let schema = json!({"type": "object"});
        let named = json!({"type": "json_schema", "name": "n", "strict": true, "description": "d", "schema": schema});
        let cases = [
            (None, None),
            (Some(json!({"verbosity": "medium"})), None),
            (Some(json!({"format": {"type": "text"}})), None),
            (Some(json!({"format": {"type": "json_object"}})), Some(Constraint::JsonObject)),
            (Some(json!({"format": named.clone()})), Some(Constraint::JsonSchema(schema))),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value.clone()).unwrap().constraint, expected, "{value:?}");
        }
        assert_eq!(parse(Some(json!({"format": named.clone()}))).unwrap().echo["format"], named);
        assert_eq!(parse(None).unwrap().echo, json!({"format": {"type": "text"}, "verbosity": "medium"}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        let cases = [
            (json!("x"), "text"),
            (json!({"verbosity": "low"}), "text.verbosity"),
            (json!({"style": 1}), "text.style"),
            (json!({"format": {}}), "text.format.type"),
            (json!({"format": {"type": "xml"}}), "text.format.type"),
            (json!({"format": {"type": "text", "x": 1}}), "text.format.x"),
            (json!({"format": {"type": "json_schema", "schema": {}}}), "text.format.name"),
            (json!({"format": {"type": "json_schema", "name": long, "schema": {}}}), "text.format.name"),
            (json!({"format": {"type": "json_schema", "name": "n"}}), "text.format.schema"),
            (json!({"format": {"type": "json_schema", "name": "n", "schema": []}}), "text.format.schema"),
        ];
        for (value, param) in cases {
            assert_eq!(parse(Some(value.clone())).unwrap_err().param(), param, "{value}");
        }
    }
}
