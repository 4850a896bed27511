//! The table of keywords in docs/API.md says what is done: every row has a schema here that shows it.

use crate::walk::compiler;
use ballast_tokens::Constraint;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../../docs/API.md");
const BEGIN: &str = "| keyword | what is done |";

/// The rows of the table: keywords, and the first word of what is done with each.
fn documented() -> BTreeMap<String, String> {
    let table = DOCUMENT.split_once(BEGIN).expect("docs/API.md has the table of keywords").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut documented = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let done = cells[2].split([' ', ':', ',', ';']).next().unwrap().to_owned();
        for keyword in cells[1].split(',').map(|name| name.trim().trim_matches('`')) {
            assert!(documented.insert(keyword.to_owned(), done.clone()).is_none(), "{keyword} stands twice");
        }
    }
    documented
}

/// A value with which a keyword means something.
fn sample(keyword: &str) -> Value {
    match keyword {
        "type" => json!("string"),
        "const" => json!(1),
        "enum" => json!([1, 2]),
        "allOf" | "anyOf" | "oneOf" => json!([{"type": "string"}, {"minLength": 1}]),
        "not" | "if" | "then" | "else" | "contains" | "contentSchema" => json!({"type": "integer"}),
        "$ref" => json!("#/$defs/a"),
        "$dynamicRef" => json!("#here"),
        "$id" | "id" => json!("https://example.org/a"),
        "$schema" => json!("https://json-schema.org/draft/2020-12/schema"),
        "$anchor" | "$dynamicAnchor" => json!("here"),
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
            json!({"a": {"type": "string"}})
        }
        "additionalProperties" | "unevaluatedProperties" | "unevaluatedItems" | "items" => json!({"type": "string"}),
        "propertyNames" => json!({"pattern": "^a"}),
        "required" => json!(["a"]),
        "dependentRequired" | "dependencies" => json!({"a": ["b"]}),
        "prefixItems" => json!([{"type": "string"}]),
        "additionalItems" => json!(false),
        "pattern" => json!("^a"),
        "format" => json!("date"),
        "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" | "nullable" | "$recursiveAnchor" => json!(true),
        "title" | "description" | "$comment" | "contentEncoding" | "contentMediaType" | "default" => json!("a"),
        "examples" => json!(["a"]),
        "discriminator" | "$vocabulary" => json!({}),
        "$recursiveRef" => json!("#"),
        "multipleOf" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => json!(2),
        _ => json!(1),
    }
}

fn schema(keyword: &str) -> Value {
    let mut schema = json!({"$defs": {"a": {"$anchor": "here", "type": "string"}}, "maxItems": 1});
    if matches!(keyword, "additionalItems" | "dependencies") {
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    }
    if matches!(keyword, "minContains" | "maxContains") {
        schema["contains"] = json!({"type": "string"});
    }
    if keyword == "maxItems" {
        return json!({"maxItems": 3});
    }
    schema[keyword] = sample(keyword);
    schema
}

#[test]
fn the_documented_keywords_are_enforced_or_refused_as_the_document_says() {
    let documented = documented();
    assert!(documented.len() > 50, "{documented:?}");
    for (keyword, done) in documented {
        let compiled = compiler().compile(&Constraint::JsonSchema(schema(&keyword)));
        match done.as_str() {
            "enforced" | "narrowed" | "read" => assert!(compiled.is_ok(), "{keyword}: {compiled:?}"),
            "refused" => {
                let pointer = compiled.unwrap_err().pointer().unwrap_or_default();
                assert_eq!(pointer, format!("/{keyword}"), "{keyword} is named");
            }
            other => panic!("{keyword}: {other}"),
        }
    }
}
