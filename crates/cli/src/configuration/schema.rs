//! The JSON Schema of a file of settings.

use super::key::{Key, Keys, Kind};
use super::profile::Profile;
use super::source::Value;
use clap::ValueEnum;
use serde_json::{Map, Value as Json, json};

/// What editors and checkers need to know of a file of settings: draft 2020-12.
pub(crate) fn schema(keys: &Keys) -> Json {
    let profiles: Vec<&str> = Profile::value_variants().iter().map(|profile| profile.name()).collect();
    let mut properties = Map::new();
    properties.insert("profile".into(), json!({ "enum": profiles, "description": "Settings for a purpose." }));
    for section in keys.sections() {
        let of_section = keys.iter().filter(|key| key.section() == section && !key.is_secret());
        let entries: Map<String, Json> = of_section.map(|key| (key.name().to_owned(), property(key))).collect();
        properties
            .insert(section.into(), json!({ "type": "object", "additionalProperties": false, "properties": entries }));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of ballast serve",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn property(key: &Key) -> Json {
    let mut property = match key.kind() {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Bytes => json!({ "type": ["integer", "string"] }),
        Kind::Text => json!({ "type": "string" }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
    };
    property["description"] = json!(key.help());
    let choices = key.choices();
    if !choices.is_empty() {
        property["enum"] = json!(choices);
    }
    if let Some(default) = key.default() {
        property["default"] = json_of(key, &default);
    }
    property
}

/// A value in the type of its key.
fn json_of(key: &Key, value: &Value) -> Json {
    let words = match value {
        Value::Switch(on) => return json!(on),
        Value::Words(words) => words,
    };
    match key.kind() {
        Kind::List => json!(words),
        Kind::Integer | Kind::Number | Kind::Bytes => {
            let word = words.first().map_or("", String::as_str);
            serde_json::from_str(word).unwrap_or_else(|_| json!(word))
        }
        Kind::Text | Kind::Switch => json!(words.first()),
    }
}

/// A value as a file of settings says it.
pub(crate) fn toml_of(key: &Key, value: &Value) -> String {
    // JSON's scalars and arrays of text are TOML's too.
    json_of(key, value).to_string()
}
