//! The grammar of arguments in tags: those of the schema in its order, each with a value of its schema. A string is any
//! text up to its closing tag, or one of those that the schema lists.

use super::super::tagged::{Tagged, ValueKind};
use super::{quoted_text, rule};
use crate::ToolSpec;
use ballast_backend::TokenId;
use serde_json::{Map, Value};

type Control<'a> = &'a [(String, TokenId)];

/// The rule `args_{idx}` for the arguments of a tool.
pub(super) fn arguments(rules: &mut String, tagged: &Tagged, idx: usize, (tool, control): (&ToolSpec, Control<'_>)) {
    let schema = tool.parameters.as_ref().unwrap_or(&Value::Null);
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|name| name == key));
    let mut words = Vec::new();
    for (n, (key, property)) in properties.iter().enumerate() {
        let name = format!("arg_{idx}_{n}");
        let head = quoted_text(&format!("{}{key}{}", tagged.before_key, tagged.before_value), control);
        let value = value(rules, &name, (tagged, control), (tool, key, property));
        rule(rules, &name, &format!("{head} {value}"));
        words.push(if required(key) { name } else { format!("{name}?") });
    }
    // Without a list of arguments, there may be any.
    let takes_any = tool.parameters.is_some()
        && match schema.get("additionalProperties") {
            None => properties.is_empty() && schema.get("properties").is_none(),
            Some(more) => *more != Value::Bool(false),
        };
    if takes_any {
        let [before, between] = [&tagged.before_key, &tagged.before_value].map(|tag| quoted_text(tag, control));
        rule(rules, &format!("arg_{idx}_any"), &format!("{before} /[a-zA-Z0-9_-]{{1,64}}/ {between} value"));
        words.push(format!("arg_{idx}_any{{0,64}}"));
    }
    let body = if words.is_empty() { "\"\"".to_owned() } else { words.join(" ") };
    rule(rules, &format!("args_{idx}"), &body);
}

/// The value of an argument and its closing tag.
fn value(
    rules: &mut String,
    name: &str,
    (tagged, control): (&Tagged, Control<'_>),
    (tool, key, property): (&ToolSpec, &str, &Value),
) -> String {
    let close = quoted_text(&tagged.after_value, control);
    let kind = ValueKind::of(tool, key);
    let choices = property["enum"].as_array().filter(|_| kind == ValueKind::Text);
    let choices = choices.map(|values| values.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()));
    if let Some(choices) = choices {
        let choices: Vec<_> = choices.map(|text| Value::from(text).to_string()).collect();
        return format!("({}) {close}", choices.join(" | "));
    }
    if kind != ValueKind::Json {
        return "value".to_owned();
    }
    let mut schema = property.clone();
    for definitions in ["$defs", "definitions"] {
        let found = tool.parameters.as_ref().and_then(|root| root.get(definitions));
        if let (Some(found), Some(fields)) = (found, schema.as_object_mut()) {
            fields.entry(definitions).or_insert_with(|| found.clone());
        }
    }
    let name = format!("{name}_json");
    rule(rules, &name, &format!("%json {schema}"));
    format!("{name} {close}")
}

/// The rule `value` for text up to its closing tag, with that.
pub(super) fn text_value(rules: &mut String, tagged: &Tagged, control: Control<'_>) {
    let close = &tagged.after_value;
    let token = control.iter().filter_map(|(name, _)| close.find(name.as_str())).min();
    match token {
        None => {
            rule(rules, "value[lazy]", &format!("VALUE {}", quoted_text(close, control)));
            rule(rules, "VALUE", "/(?s:.*)/");
        }
        // No text spells a control token; what is before it ends the text.
        Some(at) => {
            let text: String = close[..at].chars().map(|c| format!("\\x{{{:x}}}", u32::from(c))).collect();
            rule(rules, "value", &format!("VALUE {}", quoted_text(&close[at..], control)));
            rule(rules, "VALUE", &format!("/(?s:.*){text}/"));
        }
    }
}
