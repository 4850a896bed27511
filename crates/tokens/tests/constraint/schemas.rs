//! Which schemas are enforced, and by what name the others are refused.

use crate::walk::{Verdict, compiler, grammar, tokenizer, verdict, walk};
use ballast_tokens::{
    CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, SCHEMA_DEPTH_MAX, SCHEMA_ITEMS_MAX, SCHEMA_LENGTH_MAX,
    SCHEMA_LEVELS_MAX, SCHEMA_NODES_MAX,
};
use serde_json::{Value, json};

fn refused(schema: Value) -> Option<ConstraintError> {
    compiler().compile(&Constraint::JsonSchema(schema)).err()
}

/// The pointer and the keyword that a schema is refused for.
fn keyword_of(schema: Value) -> Option<String> {
    match refused(schema) {
        Some(ConstraintError::Keyword { keyword, pointer } | ConstraintError::Value { keyword, pointer, .. }) => {
            Some(format!("{pointer} {keyword}"))
        }
        Some(other) => Some(other.to_string()),
        None => None,
    }
}

#[test]
fn keywords_that_are_not_enforced_are_refused_by_name_and_place() {
    for keyword in ["$recursiveRef", "$vocabulary", "nullable", "x-guidance", "typo"] {
        let inner = json!({"type": "string", keyword: {}});
        assert_eq!(keyword_of(inner.clone()), Some(format!(" {keyword}")));
        let in_array = json!({"items": {"anyOf": [true, inner]}});
        assert_eq!(keyword_of(in_array), Some(format!("/items/anyOf/1 {keyword}")));
        let referred = json!({"$ref": "#/$defs/a", "$defs": {"a": {keyword: true}, "b": {"typo": 1}}});
        assert_eq!(keyword_of(referred), Some(format!("/$defs/a {keyword}")));
    }
}

#[test]
fn values_that_would_be_taken_for_something_else_are_refused() {
    let cases = [
        (json!({"$schema": "https://example.org/own"}), " $schema"),
        (json!({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}), "/items $schema"),
        (json!({"$ref": "https://example.org/a"}), " $ref"),
        (json!({"$ref": "#anchor"}), " $ref"),
        (json!({"$ref": "#/"}), " $ref"),
        (json!({"$ref": "#/$defs/none"}), " $ref"),
        (json!({"items": [true]}), "the schema at"),
        (json!({"additionalItems": false}), " additionalItems"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [true]}), " prefixItems"),
        (json!({"exclusiveMinimum": true}), " exclusiveMinimum"),
        (json!({"const": 9_007_199_254_740_993_u64}), " const"),
        (json!({"enum": [{"a": [1e300]}]}), " enum"),
        (json!({"enum": []}), " enum"),
        (json!({"enum": ["a\u{0}b"]}), " enum"),
        (json!({"const": ["\u{7f}"]}), " const"),
        (json!({"type": "strin"}), " type"),
        (json!({"type": []}), " type"),
        (json!({"minLength": 2.5}), " minLength"),
        (json!({"multipleOf": 0}), " multipleOf"),
        (json!({"maxItems": SCHEMA_ITEMS_MAX + 1}), " maxItems"),
        (json!({"maxLength": SCHEMA_LENGTH_MAX + 1}), " maxLength"),
        (json!({"required": ["a", 1]}), " required"),
        (json!({"required": ["a"], "minProperties": 3}), " minProperties"),
        (json!({"anyOf": []}), " anyOf"),
        (json!({"format": "color"}), " format"),
        (json!({"uniqueItems": true, "items": {"type": "string"}}), " uniqueItems"),
        (json!({"propertyNames": {"minLength": 2, "pattern": "^a"}}), " propertyNames"),
        (json!({"pattern": "(?=a)b"}), " pattern"),
        (json!({"not": {"pattern": "a"}, "type": "string"}), "/not pattern"),
        (json!({"contains": true, "maxContains": 65}), " maxContains"),
        (json!({"multipleOf": 123_456_789.123_456_7}), " multipleOf"),
    ];
    for (schema, expected) in cases {
        let got = keyword_of(schema.clone()).unwrap_or_default();
        assert!(got == expected || expected.starts_with("the "), "{schema}: {got}");
        assert!(!got.is_empty(), "{schema}");
    }
    let old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"const": 1}], "additionalItems": false});
    assert_eq!(refused(old), None);
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true});
    assert_eq!(refused(four), None);
}

#[test]
fn annotations_and_schemas_that_nothing_leads_to_pass() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.org/a", "$comment": "c",
        "title": "t", "description": "d", "default": {"not": 1}, "examples": [{"if": 1}], "deprecated": true,
        "readOnly": true, "writeOnly": false, "contentMediaType": "text/plain", "contentEncoding": "base64",
        "$anchor": "here", "$defs": {"unused": {"not": {}}}, "definitions": {"unused": {"typo": {}}}, "const": 1,
    });
    assert_eq!(verdict(&Constraint::JsonSchema(schema), "1"), Verdict::Complete);
}

#[test]
fn bounds_of_schemas_hold() {
    let nested = |n: usize| (1..n).fold(json!(true), |inner, _| json!({"items": inner}));
    assert_eq!(refused(nested(SCHEMA_DEPTH_MAX)), None);
    assert!(matches!(refused(nested(SCHEMA_DEPTH_MAX + 1)), Some(ConstraintError::TooLarge { .. })));
    let values = |n: usize| json!({"enum": (0..n).collect::<Vec<_>>()});
    assert_eq!(refused(values(SCHEMA_NODES_MAX - 1)), None);
    assert!(matches!(refused(values(SCHEMA_NODES_MAX)), Some(ConstraintError::TooLarge { .. })));
    let long = json!({"description": "x".repeat(CONSTRAINT_BYTES_MAX)});
    assert!(matches!(refused(long), Some(ConstraintError::TooLarge { .. })));
}

/// Each definition refers to the next, so that to compile one takes a stack as deep as there are definitions.
#[test]
fn a_chain_of_references_as_long_as_it_may_be_does_not_overflow_the_stack() {
    let chain = |n: usize| {
        let link = |idx: usize| {
            (format!("d{idx}"), json!({"anyOf": [{"$ref": format!("#/$defs/d{}", idx + 1)}, {"type": "null"}]}))
        };
        let mut defs: serde_json::Map<String, Value> = (0..n).map(link).collect();
        defs.insert(format!("d{n}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    // One level for the outermost, two for each link, one for the last.
    let n_max = (SCHEMA_LEVELS_MAX - 2) / 2;
    assert_eq!(refused(chain(n_max)), None);
    assert!(matches!(refused(chain(n_max + 1)), Some(ConstraintError::TooLarge { .. })));
}

#[test]
fn recursive_schemas_are_enforced() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["v"], "additionalProperties": false,
        }},
    });
    let tree = Constraint::JsonSchema(tree);
    assert_eq!(verdict(&tree, r#"{"v":1,"next":{"v":2,"next":{"v":3}}}"#), Verdict::Complete);
    assert_eq!(verdict(&tree, r#"{"v":1,"next":{}}"#), Verdict::Wrong(15));
}

#[test]
fn white_space_between_parts_of_json_has_a_bound() {
    let object = Constraint::JsonObject;
    assert_eq!(verdict(&object, &format!("{{{}\"a\": 1}}", " ".repeat(32))), Verdict::Complete);
    assert_eq!(verdict(&object, &format!("{{{}\"a\": 1}}", " ".repeat(33))), Verdict::Wrong(33));
    let embedded = Constraint::Lark(r#"start: "call " %json {"type": "object"}"#.to_owned());
    assert_eq!(verdict(&embedded, &format!("call {{{}", "\n".repeat(33))), Verdict::Wrong(5 + 33));
}

#[test]
fn json_that_nothing_can_follow_is_done() {
    let mut matcher = grammar(&Constraint::JsonObject).matcher(tokenizer().vocab_size());
    assert_eq!(walk(&mut matcher, "{}"), Verdict::Complete);
    assert!(matcher.is_done());
}

#[test]
fn schemas_in_grammars_are_checked_as_well() {
    let lark = r#"start: "a" %json {"properties": {"a": {"typo": {}}}}"#;
    let error = compiler().compile(&Constraint::Lark(lark.to_owned())).unwrap_err();
    assert_eq!(error.pointer().as_deref(), Some("/properties/a/typo"));
}
