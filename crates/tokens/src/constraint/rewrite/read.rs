//! Takes a schema apart: what it says where it holds.

use super::Rewriter;
use super::document::Scope;
use super::format::said;
use super::term::{Conjunct, Frames, Left, ListRule, RecordRule, Term, kind};
use crate::constraint::ConstraintError;
use crate::constraint::schema::{SCHEMA_ITEMS_MAX, SCHEMA_LENGTH_MAX, is_exact, is_writable, wrong};
use serde_json::{Map, Value};

type Terms<'a> = Result<Vec<Term<'a>>, ConstraintError>;

/// A schema that is an object, and where its own schemas are seen from.
#[derive(Clone)]
pub(super) struct Open<'a> {
    pub(super) schema: &'a Value,
    pub(super) fields: &'a Map<String, Value>,
    pub(super) scope: Scope,
    pub(super) frames: Frames,
}

impl<'a> Open<'a> {
    pub(super) fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.fields.get(keyword)
    }

    /// A schema in it.
    pub(super) fn conjunct(&self, schema: &'a Value) -> Conjunct<'a> {
        Conjunct { schema, holds: true, scope: Scope::clone(&self.scope) }
    }

    /// A schema in it that speaks of the same value.
    pub(super) fn here(&self, schema: &'a Value) -> Term<'a> {
        Term::Schema(self.conjunct(schema), Frames::clone(&self.frames))
    }

    /// The same, where it does not hold. What it looked at before it failed does not count.
    pub(super) fn not_here(&self, schema: &'a Value) -> Term<'a> {
        Term::Schema(self.conjunct(schema).not(), Frames::from([]))
    }
}

/// Whether a keyword says nothing of what is valid by itself. Some of them are read with the keyword that they go with.
pub(super) fn says_nothing(keyword: &str) -> bool {
    matches!(
        keyword,
        "title"
            | "description"
            | "default"
            | "examples"
            | "deprecated"
            | "readOnly"
            | "writeOnly"
            | "discriminator"
            | "$comment"
            | "$anchor"
            | "$dynamicAnchor"
            | "$schema"
            | "$id"
            | "id"
            | "$defs"
            | "definitions"
            | "contentMediaType"
            | "contentEncoding"
            | "contentSchema"
            | "then"
            | "else"
            | "minContains"
            | "maxContains"
    )
}

impl<'a> Rewriter<'a> {
    /// What a schema says where it holds.
    pub(super) fn terms(&mut self, mut open: Open<'a>) -> Terms<'a> {
        let mut left = Vec::new();
        for (keyword, what) in [("unevaluatedProperties", Left::Properties), ("unevaluatedItems", Left::Items)] {
            let Some(schema) = open.get(keyword) else { continue };
            self.n_frames += 1;
            let (inner, outer) = (self.n_frames, Frames::clone(&open.frames));
            open.frames = outer.iter().copied().chain([inner]).collect();
            left.push(Term::Left { what, inner, outer, conjunct: open.conjunct(schema) });
        }
        let mut terms = Vec::new();
        for (keyword, value) in open.fields {
            terms.extend(self.keyword(keyword, value, &open)?);
        }
        terms.extend(left);
        Ok(terms)
    }

    fn keyword(&mut self, keyword: &'a str, value: &'a Value, open: &Open<'a>) -> Terms<'a> {
        Ok(match keyword {
            "$ref" | "$dynamicRef" => vec![Term::Schema(self.reference(keyword, value, open)?, open.frames.clone())],
            "allOf" => self.list(keyword, value, open)?.iter().map(|schema| open.here(schema)).collect(),
            "anyOf" => {
                let options = self.list(keyword, value, open)?;
                vec![Term::Choice(options.iter().map(|schema| vec![open.here(schema)]).collect())]
            }
            "oneOf" => vec![self.one_of(self.list(keyword, value, open)?, open)?],
            "not" => vec![open.not_here(value)],
            "if" => condition(value, open),
            "const" | "enum" => vec![Term::Values(self.values(keyword, value, open)?)],
            "minLength" => vec![Term::MinLength(self.length(keyword, value, open)?)],
            "maxLength" => vec![Term::MaxLength(self.length(keyword, value, open)?)],
            "minItems" => vec![Term::MinItems(self.size(keyword, value, open)?)],
            "maxItems" => vec![Term::MaxItems(self.size(keyword, value, open)?)],
            "minProperties" => vec![Term::MinProperties(self.size(keyword, value, open)?, open.schema)],
            "maxProperties" => vec![Term::MaxProperties(self.size(keyword, value, open)?)],
            "type" => vec![Term::Kinds(self.kinds(value, open)?)],
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                self.bound(keyword, value, open)?.into_iter().collect()
            }
            "pattern" => vec![Term::Pattern(self.pattern(keyword, value, open)?)],
            "format" => vec![Term::Format(self.format(value, open)?)],
            "properties" | "patternProperties" | "additionalProperties" => {
                let is_first = first_of(open, &["properties", "patternProperties", "additionalProperties"], keyword);
                let rule = if is_first { Some(self.record_rule(open)?) } else { None };
                rule.map(|rule| Term::Record(rule, open.frames.clone())).into_iter().collect()
            }
            "required" => self.names(keyword, value, open)?.into_iter().map(Term::Require).collect(),
            "propertyNames" => vec![Term::Names(open.conjunct(value), open.schema)],
            "dependentRequired" | "dependentSchemas" | "dependencies" => self.dependencies(keyword, value, open)?,
            "items" | "prefixItems" | "additionalItems" => {
                let is_first = first_of(open, &["items", "prefixItems", "additionalItems"], keyword);
                let rule = if is_first { Some(self.list_rule(open)?) } else { None };
                rule.map(|rule| Term::List(rule, open.frames.clone())).into_iter().collect()
            }
            "contains" => self.contains(value, open)?,
            "uniqueItems" if value.as_bool() == Some(true) => vec![Term::Unique(open.schema)],
            "uniqueItems" if value.is_boolean() => vec![],
            "unevaluatedProperties" | "unevaluatedItems" => vec![],
            "$schema" if self.document.root().get("$schema") != Some(value) => {
                return Err(self.wrong("$schema", open, "the draft of the outermost schema"));
            }
            _ if says_nothing(keyword) => vec![],
            _ => return Err(self.unsupported(keyword, open.schema)),
        })
    }

    pub(super) fn wrong(&self, keyword: &str, open: &Open<'a>, expected: &'static str) -> ConstraintError {
        wrong(keyword, &self.document.pointer(open.schema), expected)
    }

    pub(super) fn reference(
        &self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<Conjunct<'a>, ConstraintError> {
        let document = &self.document;
        let target = value.as_str().and_then(|text| match keyword {
            "$ref" => document.target(open.schema, text),
            _ => document.dynamic_target(open.schema, text, &open.scope),
        });
        let schema = target.ok_or_else(|| self.wrong(keyword, open, "the place of a schema in this document"))?;
        Ok(Conjunct { schema, holds: true, scope: document.entered(&open.scope, schema) })
    }

    pub(super) fn list(
        &self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<&'a [Value], ConstraintError> {
        let list = value.as_array().filter(|list| !list.is_empty());
        Ok(list.ok_or_else(|| self.wrong(keyword, open, "a list of at least one schema"))?)
    }

    pub(super) fn values(
        &self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<&'a [Value], ConstraintError> {
        let values =
            if keyword == "const" { Some(std::slice::from_ref(value)) } else { value.as_array().map(Vec::as_slice) };
        let values = values.filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| self.wrong(keyword, open, "a list of at least one value"))?;
        if !values.iter().all(is_exact_throughout) {
            return Err(self.wrong(keyword, open, "numbers of below 2^53 and texts without control characters"));
        }
        Ok(values)
    }

    pub(super) fn length(&self, keyword: &str, value: &Value, open: &Open<'a>) -> Result<u64, ConstraintError> {
        let n = natural(value).filter(|n| *n <= SCHEMA_LENGTH_MAX);
        n.ok_or_else(|| self.wrong(keyword, open, "a whole number from 0 to 1000000"))
    }

    pub(super) fn size(&self, keyword: &str, value: &Value, open: &Open<'a>) -> Result<u64, ConstraintError> {
        let n = natural(value).filter(|n| *n <= SCHEMA_ITEMS_MAX);
        n.ok_or_else(|| self.wrong(keyword, open, "a whole number from 0 to 10000"))
    }

    pub(super) fn names(
        &self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<Vec<&'a str>, ConstraintError> {
        let names = value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
        names.ok_or_else(|| self.wrong(keyword, open, "a list of names"))
    }

    pub(super) fn map(&self, keyword: &str, open: &Open<'a>) -> Result<Vec<(&'a str, Conjunct<'a>)>, ConstraintError> {
        let Some(value) = open.get(keyword) else { return Ok(vec![]) };
        let fields = value.as_object().ok_or_else(|| self.wrong(keyword, open, "an object of schemas"))?;
        Ok(fields.iter().map(|(name, schema)| (name.as_str(), open.conjunct(schema))).collect())
    }

    pub(super) fn kinds(&self, value: &Value, open: &Open<'a>) -> Result<u8, ConstraintError> {
        let listed = value.as_array().filter(|names| !names.is_empty());
        let names = listed.map_or(std::slice::from_ref(value), Vec::as_slice);
        let kinds = names.iter().map(|name| name.as_str().and_then(kind_of));
        let all = kinds.into_iter().try_fold(0, |all, kind| Some(all | kind?));
        let expected = "one of null, boolean, number, integer, string, array, object, or a list of them";
        all.ok_or_else(|| self.wrong("type", open, expected))
    }

    /// A bound of numbers. In draft 4, one that is exclusive is true or false, beside the bound.
    pub(super) fn bound(
        &self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<Option<Term<'a>>, ConstraintError> {
        if keyword.starts_with("exclusive") && value.is_boolean() && self.document.is_old() {
            return Ok(None);
        }
        let number = value.as_f64().filter(|number| is_exact(*number));
        let number = number.ok_or_else(|| self.wrong(keyword, open, "a number of below 2^53"))?;
        let is_exclusive = |keyword: &str| open.get(keyword) == Some(&Value::Bool(true));
        Ok(Some(match keyword {
            "minimum" if is_exclusive("exclusiveMinimum") => Term::Above(number),
            "minimum" => Term::AtLeast(number),
            "maximum" if is_exclusive("exclusiveMaximum") => Term::Below(number),
            "maximum" => Term::AtMost(number),
            "exclusiveMinimum" => Term::Above(number),
            "exclusiveMaximum" => Term::Below(number),
            _ if number > 0.0 => Term::Step(number),
            _ => return Err(self.wrong(keyword, open, "a number above 0 and below 2^53")),
        }))
    }

    pub(super) fn pattern(
        &mut self,
        keyword: &str,
        value: &'a Value,
        open: &Open<'a>,
    ) -> Result<&'a str, ConstraintError> {
        let text = value.as_str().filter(|text| self.patterns.is_known(text));
        text.ok_or_else(|| self.wrong(keyword, open, "a regular expression without lookaround and backreferences"))
    }

    fn format(&self, value: &'a Value, open: &Open<'a>) -> Result<&'a str, ConstraintError> {
        const EXPECTED: &str = "a format that is known: docs/API.md lists them";
        let name = value.as_str().filter(|name| said(name).is_some());
        name.ok_or_else(|| self.wrong("format", open, EXPECTED))
    }

    pub(super) fn record_rule(&mut self, open: &Open<'a>) -> Result<RecordRule<'a>, ConstraintError> {
        let patterns = self.map("patternProperties", open)?;
        if patterns.iter().any(|(pattern, _)| !self.patterns.is_known(pattern)) {
            let expected = "regular expressions without lookaround and backreferences";
            return Err(self.wrong("patternProperties", open, expected));
        }
        let rest = open.get("additionalProperties").map(|schema| open.conjunct(schema));
        Ok(RecordRule { named: self.map("properties", open)?, patterns, rest })
    }

    pub(super) fn list_rule(&self, open: &Open<'a>) -> Result<ListRule<'a>, ConstraintError> {
        let items = open.get("items");
        let (first, rest) = match items {
            Some(Value::Array(first)) if self.document.is_old() => (first.as_slice(), open.get("additionalItems")),
            _ => match open.get("prefixItems") {
                Some(_) if self.document.is_old() => return Err(self.unsupported("prefixItems", open.schema)),
                Some(first) => (self.list("prefixItems", first, open)?, items),
                None if open.get("additionalItems").is_some() && !self.document.is_old() => {
                    return Err(self.unsupported("additionalItems", open.schema));
                }
                None => (&[][..], items),
            },
        };
        let conjunct = |schema| open.conjunct(schema);
        Ok(ListRule { first: first.iter().map(conjunct).collect(), rest: rest.map(conjunct) })
    }

    fn dependencies(&self, keyword: &str, value: &'a Value, open: &Open<'a>) -> Terms<'a> {
        let fields = value.as_object().ok_or_else(|| self.wrong(keyword, open, "an object"))?;
        let mut terms = Vec::new();
        for (name, needs) in fields {
            let mut with = vec![Term::Kinds(kind::OBJECT), Term::Require(name)];
            if needs.is_array() && keyword != "dependentSchemas" {
                with.extend(self.names(keyword, needs, open)?.into_iter().map(Term::Require));
            } else if keyword == "dependentRequired" {
                return Err(self.wrong(keyword, open, "lists of names"));
            } else {
                with.push(open.here(needs));
            }
            terms.push(Term::Choice(vec![vec![Term::Forbid(name)], with]));
        }
        Ok(terms)
    }
}

fn first_of(open: &Open<'_>, keywords: &[&str], keyword: &str) -> bool {
    open.fields.keys().find(|name| keywords.contains(&name.as_str())).is_some_and(|first| first == keyword)
}

fn condition<'a>(value: &'a Value, open: &Open<'a>) -> Vec<Term<'a>> {
    let branch = |first: Term<'a>, keyword: &str| {
        [first].into_iter().chain(open.get(keyword).map(|schema| open.here(schema))).collect()
    };
    vec![Term::Choice(vec![branch(open.here(value), "then"), branch(open.not_here(value), "else")])]
}

pub(super) fn kind_of(name: &str) -> Option<u8> {
    Some(match name {
        "null" => kind::NULL,
        "boolean" => kind::BOOLEAN,
        "number" => kind::NUMBER,
        "integer" => kind::INTEGER,
        "string" => kind::STRING,
        "array" => kind::ARRAY,
        "object" => kind::OBJECT,
        _ => return None,
    })
}

/// A number without a part after the point, however it is written.
fn natural(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0 && is_exact(*number))?;
    Some(whole(number))
}

/// A number of at least 0 without a part after the point, below 2^53.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "callers have bounded it")]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

/// A bound of items or properties, which fits.
pub(super) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn is_exact_throughout(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(is_exact),
        Value::Array(items) => items.iter().all(is_exact_throughout),
        Value::Object(fields) => fields.values().all(is_exact_throughout),
        Value::String(text) => is_writable(text),
        Value::Null | Value::Bool(_) => true,
    }
}
