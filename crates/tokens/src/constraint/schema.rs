//! What of a JSON schema the engine of grammars enforces by itself. A schema that asks for more is said in other words, or
//! refused by the name of what it asks for: the engine would ignore some keywords, and take others for what they were in
//! another draft.
//!
//! The keywords are those of draft 2020-12, and of older drafts where `$schema` says so. References lead to places in
//! the schema itself, and what they lead to is checked as well.

use super::ConstraintError;
use super::rewrite::rewrite;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Deepest nesting of schemas, references not followed.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Most schemas and listed values in a schema.
pub const SCHEMA_NODES_MAX: usize = 20_000;
/// Nesting of all schemas that references lead to, taken together. To compile them may take a stack as deep.
pub const SCHEMA_LEVELS_MAX: usize = 2048;
/// Highest bound for the items of an array or the properties of an object.
pub const SCHEMA_ITEMS_MAX: u64 = 10_000;
/// Highest bound for the characters of a string.
pub const SCHEMA_LENGTH_MAX: u64 = 1_000_000;

/// Whole numbers below this are exact in the engine's arithmetic.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

const TYPES: &[&str] = &["null", "boolean", "number", "integer", "string", "array", "object"];
pub(super) const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Drafts in which `items` may be a list, and `prefixItems` is not known.
const OLD_DRAFTS: &[&str] = &[
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    DRAFT_4,
];
pub(super) const DRAFT_4: &str = "http://json-schema.org/draft-04/schema";
const NEW_DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a keyword's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It says nothing about what is valid.
    Annotation,
    /// It names the schema, which only the outermost may.
    Name,
    Schema,
    Schemas,
    SchemasByName,
    /// Schemas that count where a reference leads to them.
    Definitions,
    Items,
    OldItems,
    Reference,
    Type,
    Value,
    Values,
    Number,
    /// A number; true or false in draft 4.
    Exclusive,
    Step,
    Length,
    Count,
    Names,
    Pattern,
    Format,
}

fn role(keyword: &str) -> Option<Role> {
    Some(match keyword {
        "title" | "description" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" | "$comment"
        | "$anchor" | "contentMediaType" | "contentEncoding" | "contentSchema" | "discriminator" => Role::Annotation,
        "$schema" | "$id" | "id" => Role::Name,
        "additionalProperties" => Role::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Role::Schemas,
        "properties" | "patternProperties" => Role::SchemasByName,
        "$defs" | "definitions" => Role::Definitions,
        "items" => Role::Items,
        "additionalItems" => Role::OldItems,
        "$ref" => Role::Reference,
        "type" => Role::Type,
        "const" => Role::Value,
        "enum" => Role::Values,
        "minimum" | "maximum" => Role::Number,
        "exclusiveMinimum" | "exclusiveMaximum" => Role::Exclusive,
        "multipleOf" => Role::Step,
        "minLength" | "maxLength" => Role::Length,
        "minItems" | "maxItems" | "minProperties" | "maxProperties" => Role::Count,
        "required" => Role::Names,
        "pattern" => Role::Pattern,
        "format" => Role::Format,
        _ => return None,
    })
}

/// How a schema is given to the engine of grammars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wording {
    /// As it is, where the engine enforces all of it by itself.
    AsItIs,
    /// In other words.
    Other,
}

/// A schema as the engine of grammars is to see it.
///
/// # Errors
/// What of it is not enforced; a bound that is met.
pub(super) fn enforceable(schema: &Value, wording: Wording) -> Result<Value, ConstraintError> {
    match (wording, check(schema)) {
        (Wording::AsItIs, Ok(())) => Ok(schema.clone()),
        (_, Err(error @ ConstraintError::TooLarge { .. })) => Err(error),
        (Wording::AsItIs | Wording::Other, _) => rewrite(schema),
    }
}

/// Checks that the engine enforces all of a schema by itself.
///
/// # Errors
/// The first keyword that is not, with its place; a bound that is met.
fn check(schema: &Value) -> Result<(), ConstraintError> {
    let mut check = Check { root: schema, draft: draft(schema)?, n_nodes: 0, n_levels: 0, refs: BTreeSet::new() };
    check.tree(schema, "")
}

/// The place of the first schema that has a keyword.
pub(super) fn first_with(schema: &Value, keyword: &str, pointer: &str) -> Option<String> {
    let below = |name: &str, value: &Value| first_with(value, keyword, &format!("{pointer}/{name}"));
    match schema {
        Value::Object(fields) if fields.contains_key(keyword) => Some(pointer.to_owned()),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| below(name, value)),
        Value::Array(items) => items.iter().enumerate().find_map(|(idx, value)| below(&idx.to_string(), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The draft of a schema, by its address.
pub(super) fn draft(schema: &Value) -> Result<&str, ConstraintError> {
    let Some(value) = schema.get("$schema") else { return Ok(NEW_DRAFT) };
    let known = |name: &&str| *name == NEW_DRAFT || OLD_DRAFTS.contains(name);
    let name = value.as_str().map(|name| name.trim_end_matches('#')).filter(known);
    name.ok_or_else(|| wrong("$schema", "", "a draft from draft-04 to 2020-12"))
}

/// Whether it is a draft in which `items` may be a list.
pub(super) fn is_old_draft(draft: &str) -> bool {
    OLD_DRAFTS.contains(&draft)
}

pub(super) fn wrong(keyword: &str, pointer: &str, expected: &'static str) -> ConstraintError {
    ConstraintError::Value { keyword: keyword.to_owned(), pointer: pointer.to_owned(), expected }
}

pub(super) fn unsupported(keyword: &str, pointer: &str) -> ConstraintError {
    ConstraintError::Keyword { keyword: keyword.to_owned(), pointer: pointer.to_owned() }
}

struct Check<'a> {
    root: &'a Value,
    draft: &'a str,
    n_nodes: usize,
    n_levels: usize,
    /// References that were followed.
    refs: BTreeSet<&'a str>,
}

/// A keyword and its place.
#[derive(Clone, Copy)]
struct At<'a> {
    keyword: &'a str,
    pointer: &'a str,
    /// Of its schema, below the outermost or the one that a reference leads to.
    depth: usize,
}

impl At<'_> {
    fn expects(self, expected: &'static str) -> ConstraintError {
        wrong(self.keyword, self.pointer, expected)
    }

    /// The place of the part of its value that is called so.
    fn below(self, name: &str) -> String {
        format!("{}/{}/{name}", self.pointer, self.keyword)
    }
}

impl<'a> Check<'a> {
    /// Checks the outermost schema, or one that a reference leads to.
    fn tree(&mut self, schema: &'a Value, pointer: &str) -> Result<(), ConstraintError> {
        let n_levels = self.schema(schema, pointer, 1)?;
        self.n_levels += n_levels;
        if self.n_levels > SCHEMA_LEVELS_MAX {
            return Err(too_large("nesting of schemas that references lead to", SCHEMA_LEVELS_MAX, "levels"));
        }
        Ok(())
    }

    /// Checks a schema. Returns how deep the deepest in it is.
    fn schema(&mut self, schema: &'a Value, pointer: &str, depth: usize) -> Result<usize, ConstraintError> {
        self.count(1)?;
        if depth > SCHEMA_DEPTH_MAX {
            return Err(too_large("schema", SCHEMA_DEPTH_MAX, "levels"));
        }
        let fields = match schema {
            Value::Bool(_) => return Ok(depth),
            Value::Object(fields) => fields,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(ConstraintError::NotASchema { pointer: pointer.to_owned() });
            }
        };
        let mut deepest = depth;
        for (keyword, value) in fields {
            let role = role(keyword).ok_or_else(|| unsupported(keyword, pointer))?;
            deepest = deepest.max(self.keyword(role, value, At { keyword, pointer, depth })?);
        }
        properties_can_be_counted(fields, pointer)?;
        Ok(deepest)
    }

    /// Checks a keyword's value. Returns how deep the deepest schema in it is.
    fn keyword(&mut self, role: Role, value: &'a Value, at: At<'_>) -> Result<usize, ConstraintError> {
        match role {
            Role::Schema => return self.schema(value, &format!("{}/{}", at.pointer, at.keyword), at.depth + 1),
            Role::Schemas if at.keyword == "prefixItems" && self.is_old() => {
                return Err(unsupported(at.keyword, at.pointer));
            }
            Role::Schemas => return self.schemas(value, at),
            Role::SchemasByName => return self.schemas_by_name(value, at),
            Role::Items if value.is_array() && self.is_old() => return self.schemas(value, at),
            Role::Items => return self.schema(value, &format!("{}/{}", at.pointer, at.keyword), at.depth + 1),
            Role::OldItems if !self.is_old() => return Err(unsupported(at.keyword, at.pointer)),
            Role::OldItems => return self.schema(value, &format!("{}/{}", at.pointer, at.keyword), at.depth + 1),
            Role::Reference => self.reference(value, at)?,
            Role::Annotation => {}
            Role::Definitions if value.is_object() => {}
            Role::Definitions => return Err(at.expects("an object of schemas")),
            Role::Name if at.pointer.is_empty() => {}
            Role::Name => return Err(unsupported(at.keyword, at.pointer)),
            Role::Value => self.values(std::slice::from_ref(value), at)?,
            Role::Values => {
                let values = value.as_array().filter(|values| !values.is_empty());
                self.values(values.ok_or_else(|| at.expects("a list of at least one value"))?, at)?;
            }
            Role::Exclusive if value.is_boolean() && self.draft == DRAFT_4 => {}
            Role::Type
            | Role::Number
            | Role::Exclusive
            | Role::Step
            | Role::Length
            | Role::Count
            | Role::Names
            | Role::Pattern
            | Role::Format => plain(role, value).map_err(|expected| at.expects(expected))?,
        }
        Ok(at.depth)
    }

    fn is_old(&self) -> bool {
        is_old_draft(self.draft)
    }

    fn count(&mut self, n: usize) -> Result<(), ConstraintError> {
        self.n_nodes += n;
        if self.n_nodes > SCHEMA_NODES_MAX {
            return Err(too_large("schema", SCHEMA_NODES_MAX, "schemas and values"));
        }
        Ok(())
    }

    fn schemas(&mut self, value: &'a Value, at: At<'_>) -> Result<usize, ConstraintError> {
        let list = value.as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| at.expects("a list of at least one schema"))?;
        let mut deepest = at.depth;
        for (idx, schema) in list.iter().enumerate() {
            deepest = deepest.max(self.schema(schema, &at.below(&idx.to_string()), at.depth + 1)?);
        }
        Ok(deepest)
    }

    fn schemas_by_name(&mut self, value: &'a Value, at: At<'_>) -> Result<usize, ConstraintError> {
        let mut deepest = at.depth;
        for (name, schema) in value.as_object().ok_or_else(|| at.expects("an object of schemas"))? {
            deepest = deepest.max(self.schema(schema, &at.below(name), at.depth + 1)?);
        }
        Ok(deepest)
    }

    /// Checks what a reference leads to, once.
    fn reference(&mut self, value: &'a Value, at: At<'_>) -> Result<(), ConstraintError> {
        const EXPECTED: &str = "`#`, or `#/` and the way to a schema, without escaped characters";
        let is_plain = |text: &&str| !text.contains(['~', '%']) && (*text == "#" || text.len() > 2);
        let text = value.as_str().filter(is_plain).ok_or_else(|| at.expects(EXPECTED))?;
        let pointer = text.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let pointer = pointer.ok_or_else(|| at.expects(EXPECTED))?;
        let target = self.root.pointer(pointer).ok_or_else(|| at.expects("the place of a schema that is there"))?;
        if pointer.is_empty() || !self.refs.insert(pointer) {
            return Ok(());
        }
        self.tree(target, pointer)
    }

    /// Checks values that the answer is to be equal to.
    fn values(&mut self, values: &[Value], at: At<'_>) -> Result<(), ConstraintError> {
        self.count(values.len())?;
        for value in values {
            match value {
                Value::Number(number) if !number.as_f64().is_some_and(is_exact) => {
                    return Err(at.expects("numbers of below 2^53"));
                }
                Value::Array(items) => self.values(items, at)?,
                Value::Object(fields) => {
                    fields.values().try_for_each(|value| self.values(std::slice::from_ref(value), at))?
                }
                Value::String(text) if !is_writable(text) => {
                    return Err(at.expects("texts without control characters"));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether JSON can say a text without numbers of characters, which answers do not have.
pub(super) fn is_writable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}'))
}

fn too_large(what: &'static str, max: usize, unit: &'static str) -> ConstraintError {
    ConstraintError::TooLarge { what, max, unit }
}

/// Whether a number is exact in the engine's arithmetic.
pub(super) fn is_exact(number: f64) -> bool {
    number.abs() < EXACT_MAX
}

/// Checks a value that holds no schema. The error is what was expected.
fn plain(role: Role, value: &Value) -> Result<(), &'static str> {
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let (holds, expected) = match role {
        Role::Type => {
            let all = value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(is_type));
            (is_type(value) || all, "one of null, boolean, number, integer, string, array, object, or a list of them")
        }
        Role::Number | Role::Exclusive => (value.as_f64().is_some_and(is_exact), "a number of below 2^53"),
        Role::Step => {
            (value.as_f64().is_some_and(|step| step > 0.0 && is_exact(step)), "a number above 0 and below 2^53")
        }
        Role::Length => (value.as_u64().is_some_and(|n| n <= SCHEMA_LENGTH_MAX), "a whole number from 0 to 1000000"),
        Role::Count => (value.as_u64().is_some_and(|n| n <= SCHEMA_ITEMS_MAX), "a whole number from 0 to 10000"),
        Role::Names => (value.as_array().is_some_and(|names| names.iter().all(Value::is_string)), "a list of names"),
        Role::Pattern => (value.is_string(), "a regular expression"),
        Role::Format => (
            value.as_str().is_some_and(|name| FORMATS.contains(&name)),
            "one of date-time, time, date, duration, email, hostname, ipv4, ipv6, uuid, uri",
        ),
        Role::Annotation
        | Role::Name
        | Role::Schema
        | Role::Schemas
        | Role::SchemasByName
        | Role::Definitions
        | Role::Items
        | Role::OldItems
        | Role::Reference
        | Role::Value
        | Role::Values => (true, ""),
    };
    if holds { Ok(()) } else { Err(expected) }
}

/// Properties that are not named may come twice, and count once then. One more than those that are required is certain
/// to be another; two are not.
fn properties_can_be_counted(fields: &Map<String, Value>, pointer: &str) -> Result<(), ConstraintError> {
    let Some(min) = fields.get("minProperties").and_then(Value::as_u64) else { return Ok(()) };
    let names = fields.get("required").and_then(Value::as_array);
    let required: BTreeSet<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    if min > required.len() as u64 + 1 {
        return Err(wrong("minProperties", pointer, "at most one more than the properties that are required"));
    }
    Ok(())
}
