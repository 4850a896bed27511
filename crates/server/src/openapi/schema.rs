//! Words for JSON schemas, so that a wire's bodies read as a list.

use serde_json::{Map, Value, json};
use std::fmt::Display;

/// A field of an object.
pub(super) type Field = (&'static str, Value);

pub(super) fn string() -> Value {
    json!({ "type": "string" })
}

pub(super) fn bounded(bytes_max: usize) -> Value {
    json!({ "type": "string", "maxLength": bytes_max })
}

pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn integer() -> Value {
    json!({ "type": "integer" })
}

pub(super) fn number() -> Value {
    json!({ "type": "number" })
}

pub(super) fn null() -> Value {
    json!({ "type": "null" })
}

/// Any value at all.
pub(super) fn any() -> Value {
    json!({})
}

/// A whole number from `min` to `max`.
pub(super) fn count(min: i64, max: i64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// A whole number of 64 bits, `min` or more.
pub(super) fn at_least(min: i64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": u64::MAX })
}

/// A whole number of 64 bits, with a sign.
pub(super) fn signed() -> Value {
    count(i64::MIN, i64::MAX)
}

/// A seed: 64 bits, with a sign or without.
pub(super) fn seed() -> Value {
    json!({ "type": "integer", "minimum": i64::MIN, "maximum": u64::MAX })
}

/// A number of tokens; one below 0 is no bound.
pub(super) fn tokens_or_all() -> Value {
    either(&[count(i64::MIN, -1), count(1, i64::MAX)])
}

/// A number from `min` to `max`.
pub(super) fn within(min: f64, max: f64) -> Value {
    json!({ "type": "number", "minimum": min, "maximum": max })
}

pub(super) fn one_of(values: &[&str]) -> Value {
    json!({ "enum": values })
}

pub(super) fn only(value: impl Into<Value>) -> Value {
    json!({ "const": value.into() })
}

pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A list of `min` to `max` items.
pub(super) fn some(items: &Value, min: usize, max: usize) -> Value {
    json!({ "type": "array", "items": items, "minItems": min, "maxItems": max })
}

pub(super) fn either(schemas: &[Value]) -> Value {
    json!({ "anyOf": schemas })
}

/// The same, or null.
pub(super) fn or_null(schema: Value) -> Value {
    either(&[schema, null()])
}

/// What a request sends: no other fields; one that is not needed may be null, which means that it is not there.
pub(super) fn sent(needed: Vec<Field>, others: Vec<Field>) -> Value {
    let names: Vec<&str> = needed.iter().map(|(name, _)| *name).collect();
    let others = others.into_iter().map(|(name, schema)| (name.to_owned(), or_null(schema)));
    let needed = needed.into_iter().map(|(name, schema)| (name.to_owned(), schema));
    let properties: Map<String, Value> = needed.chain(others).collect();
    json!({ "type": "object", "required": names, "properties": properties, "additionalProperties": false })
}

/// What an answer has at the least.
pub(super) fn given(fields: Vec<Field>) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// The same, with words on what it is.
pub(super) fn said(mut schema: Value, what: impl Display) -> Value {
    schema["description"] = what.to_string().into();
    schema
}
