//! What an answer must look like, in the words of each wire.
//!
//! One parameter of a request may say it. What it says is compiled when the request is submitted, and refused then by the
//! name of what cannot be enforced.

use crate::fields::{Fields, ParamError};
use crate::json;
use ballast_tokens::Constraint;
use serde_json::Value;

/// Most texts to choose from.
pub const CHOICES_OF_TEXT_MAX: usize = 1024;

/// A constraint, and the parameter that asks for it.
pub(crate) type Asked = (Constraint, &'static str);

const FORMATS: &str = "one of text, json_object, json_schema";
const SCHEMA: &str = "a JSON schema: an object, true or false";

/// Takes what the OpenAI wire and its servers call it: `response_format`, `structured_outputs`, `guided_json` and its
/// kin, and llama.cpp's `grammar` and `json_schema`.
///
/// # Errors
/// If one of them is wrong, or two ask for something.
pub(crate) fn of_openai(fields: &mut Fields) -> Result<Option<Asked>, ParamError> {
    let mut asked = response_format(fields)?.into_iter().collect::<Vec<_>>();
    if let Some(value) = fields.take("structured_outputs") {
        let mut inner = Fields::new("structured_outputs".to_owned(), value)?;
        asked.extend(listed(&mut inner, &STRUCTURED)?);
        inner.finish()?;
    }
    asked.extend(listed(fields, &GUIDED)?);
    asked.extend(by_llamacpp(fields)?);
    only(asked)
}

/// Takes what llama.cpp's server calls it: `grammar` and `json_schema`.
///
/// # Errors
/// If one of them is wrong, or both ask for something.
pub(crate) fn of_llamacpp(fields: &mut Fields) -> Result<Option<Asked>, ParamError> {
    only(by_llamacpp(fields)?)
}

fn by_llamacpp(fields: &mut Fields) -> Result<Vec<Asked>, ParamError> {
    let grammar = fields.string("grammar")?.filter(|grammar| !grammar.is_empty());
    let grammar = grammar.map(|grammar| (Constraint::Gbnf(grammar), "grammar"));
    let schema = fields.take("json_schema");
    // Clients of it send an empty schema where they have none.
    let schema = schema.filter(|schema| schema.as_object().is_none_or(|fields| !fields.is_empty()));
    let schema = schema.map(|schema| schema_of(schema, "json_schema")).transpose()?;
    Ok(grammar.into_iter().chain(schema).collect())
}

/// Takes what Ollama calls it: `format`, either `json` or a schema.
///
/// # Errors
/// If it is neither.
pub(crate) fn of_ollama(fields: &mut Fields) -> Result<Option<Asked>, ParamError> {
    match fields.take("format") {
        None => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name == "json" => Ok(Some((Constraint::JsonObject, "format"))),
        Some(schema @ Value::Object(_)) => Ok(Some((Constraint::JsonSchema(schema), "format"))),
        Some(other) => Err(ParamError::wrong("format".to_owned(), "\"json\" or a JSON schema", &other)),
    }
}

/// Takes what Anthropic calls it: `format` in `output_config`, whose effort was taken before, or the older `output_format`.
///
/// # Errors
/// If one of them is wrong, or both ask for something.
pub(crate) fn of_anthropic(fields: &mut Fields) -> Result<Option<Asked>, ParamError> {
    let mut asked = Vec::new();
    if let Some(value) = fields.take("output_config") {
        let mut config = Fields::new("output_config".to_owned(), value)?;
        asked.extend(anthropic_format(&mut config, "format", "output_config.format.schema")?);
        config.finish()?;
    }
    asked.extend(anthropic_format(fields, "output_format", "output_format.schema")?);
    only(asked)
}

/// A format in the field `name`, whose schema is `param`.
fn anthropic_format(fields: &mut Fields, name: &str, param: &'static str) -> Result<Option<Asked>, ParamError> {
    const KIND: &str = "`json_schema`";
    let Some(value) = fields.take(name) else { return Ok(None) };
    let mut format = Fields::new(fields.name(name), value)?;
    let kind = format.needed_string("type", KIND)?;
    if kind != "json_schema" {
        return Err(ParamError::wrong(format.name("type"), KIND, &kind.into()));
    }
    let missing = ParamError::Missing { param: param.to_owned(), expected: SCHEMA };
    let schema = format.take("schema").ok_or(missing)?;
    format.finish()?;
    schema_of(schema, param).map(Some)
}

fn only(asked: Vec<Asked>) -> Result<Option<Asked>, ParamError> {
    match asked.as_slice() {
        [] | [_] => Ok(asked.into_iter().next()),
        [.., (_, second)] => {
            let supported = "one parameter may say what the answer must look like";
            Err(ParamError::Unsupported { param: (*second).to_owned(), supported })
        }
    }
}

fn response_format(fields: &mut Fields) -> Result<Option<Asked>, ParamError> {
    let Some(value) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::new("response_format".to_owned(), value)?;
    let kind = format.needed_string("type", FORMATS)?;
    let asked = match kind.as_str() {
        "text" => None,
        // llama.cpp's server takes a schema here.
        "json_object" => Some(match format.take("schema") {
            None => (Constraint::JsonObject, "response_format"),
            Some(schema) => schema_of(schema, "response_format.schema")?,
        }),
        "json_schema" => Some(named_schema(&mut format)?),
        _ => return Err(ParamError::wrong(format.name("type"), FORMATS, &kind.into())),
    };
    format.finish()?;
    Ok(asked)
}

/// `json_schema`: a schema and what it is called. It is enforced whether `strict` says so or not.
fn named_schema(format: &mut Fields) -> Result<Asked, ParamError> {
    const PARAM: &str = "response_format.json_schema";
    let missing = |param: &str, expected| ParamError::Missing { param: param.to_owned(), expected };
    let value = format.take("json_schema").ok_or_else(|| missing(PARAM, "a name and a schema"))?;
    let mut named = Fields::new(PARAM.to_owned(), value)?;
    named.string("name")?;
    named.string("description")?;
    named.bool("strict")?;
    let param = "response_format.json_schema.schema";
    let schema = named.take("schema").ok_or_else(|| missing(param, SCHEMA))?;
    named.finish()?;
    schema_of(schema, param)
}

/// A schema, as it is or as a text.
fn schema_of(value: Value, param: &'static str) -> Result<Asked, ParamError> {
    let wrong = |value: &Value| ParamError::wrong(param.to_owned(), SCHEMA, value);
    match value {
        Value::Object(_) | Value::Bool(_) => Ok((Constraint::JsonSchema(dated(value)), param)),
        Value::String(ref text) => match json::parse(text.as_bytes()) {
            Ok(schema @ (Value::Object(_) | Value::Bool(_))) => Ok((Constraint::JsonSchema(dated(schema)), param)),
            Ok(_) | Err(_) => Err(wrong(&value)),
        },
        Value::Null | Value::Number(_) | Value::Array(_) => Err(wrong(&value)),
    }
}

/// A schema that says which draft it is of. One that does not, and has a list where newer drafts want `prefixItems`, is of
/// the last draft that had it so, as older generators of schemas write them.
fn dated(mut schema: Value) -> Value {
    if schema.get("$schema").is_none() && has_listed_items(&schema) && schema.is_object() {
        schema["$schema"] = "https://json-schema.org/draft/2019-09/schema".into();
    }
    schema
}

fn has_listed_items(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.get("items").is_some_and(Value::is_array) || fields.values().any(has_listed_items)
        }
        Value::Array(items) => items.iter().any(has_listed_items),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// How a parameter says it, by its field's name and its full name.
struct Names {
    json: (&'static str, &'static str),
    regex: (&'static str, &'static str),
    choice: (&'static str, &'static str),
    grammar: (&'static str, &'static str),
}

const STRUCTURED: Names = Names {
    json: ("json", "structured_outputs.json"),
    regex: ("regex", "structured_outputs.regex"),
    choice: ("choice", "structured_outputs.choice"),
    grammar: ("grammar", "structured_outputs.grammar"),
};
const GUIDED: Names = Names {
    json: ("guided_json", "guided_json"),
    regex: ("guided_regex", "guided_regex"),
    choice: ("guided_choice", "guided_choice"),
    grammar: ("guided_grammar", "guided_grammar"),
};

fn listed(fields: &mut Fields, names: &Names) -> Result<Vec<Asked>, ParamError> {
    let json = fields.take(names.json.0).map(|schema| schema_of(schema, names.json.1)).transpose()?;
    let regex = fields.string(names.regex.0)?.map(|regex| (Constraint::Regex(regex), names.regex.1));
    let choice = fields.take(names.choice.0).map(|texts| choice(&texts, names.choice.1)).transpose()?;
    let grammar = fields.string(names.grammar.0)?.map(|text| (grammar(text), names.grammar.1));
    Ok([json, regex, choice, grammar].into_iter().flatten().collect())
}

/// A grammar: in llama.cpp's format where its rules are written `a ::= b`, else in Lark's.
fn grammar(text: String) -> Constraint {
    if text.contains("::=") { Constraint::Gbnf(text) } else { Constraint::Lark(text) }
}

/// One of several texts.
fn choice(value: &Value, param: &'static str) -> Result<Asked, ParamError> {
    let wrong = || {
        let expected = format!("an array of 1 to {CHOICES_OF_TEXT_MAX} strings, none of them empty");
        ParamError::wrong(param.to_owned(), expected, value)
    };
    let texts = value.as_array().filter(|texts| (1..=CHOICES_OF_TEXT_MAX).contains(&texts.len())).ok_or_else(wrong)?;
    let text = |text: &Value| text.as_str().filter(|text| !text.is_empty()).map(escaped).ok_or_else(wrong);
    let texts: Vec<String> = texts.iter().map(text).collect::<Result<_, _>>()?;
    Ok((Constraint::Regex(texts.join("|")), param))
}

/// A regular expression that matches just this text.
fn escaped(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

#[cfg(test)]
mod tests;
