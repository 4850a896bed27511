//! Schemas that are said in other words before they are enforced: what gets through and what does not.

use crate::walk::{Verdict, compiler, verdict};
use ballast_tokens::{Constraint, ConstraintError, SCHEMA_CHOICES_MAX, SCHEMA_PLACES_MAX, SCHEMA_STEPS_MAX};
use serde_json::{Value, json};

/// A schema, texts that must get through, and texts that must not.
struct Case {
    schema: Value,
    valid: &'static [&'static str],
    invalid: &'static [&'static str],
}

fn check(cases: Vec<Case>) {
    let mut faults = Vec::new();
    for Case { schema, valid, invalid } in cases {
        let constraint = Constraint::JsonSchema(schema.clone());
        let texts = valid.iter().map(|text| (*text, true)).chain(invalid.iter().map(|text| (*text, false)));
        for (text, expected) in texts {
            let got = verdict(&constraint, text);
            if (got == Verdict::Complete) != expected {
                faults.push(format!("{schema}: {text}: {got:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_schema_rules_out_does_not_get_through() {
    check(vec![
        Case { schema: json!({"not": {"type": "object"}}), valid: &["1", "[]", "\"a\""], invalid: &["{}"] },
        Case {
            schema: json!({"type": "string", "not": {"enum": ["yes", "no"]}}),
            valid: &["\"ye\"", "\"yess\"", "\"\"", "\"maybe\""],
            invalid: &["\"yes\"", "\"no\""],
        },
        Case {
            schema: json!({"type": "integer", "not": {"const": 5}, "minimum": 3, "maximum": 7}),
            valid: &["3", "4", "6", "7"],
            invalid: &["5", "2", "8"],
        },
        Case {
            schema: json!({"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["b"]}}),
            valid: &["{}", "{\"a\":1}", "{\"c\":1}"],
            invalid: &["{\"b\":1}", "{\"a\":1,\"b\":2}"],
        },
        Case {
            schema: json!({"type": ["string", "integer"], "not": {"type": "string", "minLength": 3}, "maximum": 9}),
            valid: &["\"ab\"", "9"],
            invalid: &["\"abc\"", "10"],
        },
    ]);
}

#[test]
fn one_schema_of_several_holds_and_no_other() {
    let of_kind = |kind: &str, name: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, name: {"type": "integer"}}, "required": ["kind", name]});
    check(vec![
        Case {
            schema: json!({"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "discriminator": {"propertyName": "kind"},
                "$defs": {"a": of_kind("a", "x"), "b": of_kind("b", "y")}}),
            valid: &["{\"kind\":\"a\",\"x\":1}", "{\"kind\":\"b\",\"y\":2}"],
            invalid: &["{\"kind\":\"a\",\"y\":1}", "{\"kind\":\"c\",\"x\":1}"],
        },
        Case {
            schema: json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
            valid: &["1", "-3", "true"],
            invalid: &["2", "3"],
        },
        Case {
            schema: json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "additionalProperties": false}),
            valid: &["{\"a\":1}", "{\"b\":1}"],
            invalid: &["{}", "{\"a\":1,\"b\":1}"],
        },
    ]);
}

#[test]
fn conditions_and_dependencies_hold() {
    check(vec![
        Case {
            schema: json!({"type": "object", "properties": {"pay": {"enum": ["card", "cash"]}, "number": {"type": "string"}},
                "required": ["pay"], "additionalProperties": false,
                "if": {"properties": {"pay": {"const": "card"}}}, "then": {"required": ["number"]}, "else": {"properties": {"number": false}}}),
            valid: &["{\"pay\":\"card\",\"number\":\"1\"}", "{\"pay\":\"cash\"}"],
            invalid: &["{\"pay\":\"card\"}", "{\"pay\":\"cash\",\"number\":\"1\"}"],
        },
        Case {
            schema: json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "additionalProperties": false, "dependentRequired": {"a": ["b"]}}),
            valid: &["{}", "{\"b\":1}", "{\"a\":1,\"b\":2}"],
            invalid: &["{\"a\":1}"],
        },
        Case {
            schema: json!({"dependentSchemas": {"a": {"properties": {"b": {"type": "null"}}, "required": ["b"]}}}),
            valid: &["{\"b\":1}", "{\"b\":null,\"a\":1}", "3"],
            invalid: &["{\"a\":1}", "{\"a\":1,\"b\":1}"],
        },
        Case {
            schema: json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                "dependencies": {"a": ["b"], "c": {"required": ["d"]}}}),
            valid: &["{\"a\":1,\"b\":1}", "{\"c\":1,\"d\":1}"],
            invalid: &["{\"a\":1}", "{\"c\":1}"],
        },
    ]);
}

#[test]
fn names_counts_and_what_is_left_of_properties_hold() {
    check(vec![
        Case {
            schema: json!({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}}),
            valid: &["{}", "{\"ab\":1}"],
            invalid: &["{\"A\":1}", "{\"ab\":null}"],
        },
        Case {
            schema: json!({"type": "object", "propertyNames": {"enum": ["x", "y"]}}),
            valid: &["{\"x\":1}", "{\"x\":1,\"y\":[]}"],
            invalid: &["{\"z\":1}"],
        },
        Case {
            schema: json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "dependentRequired": {}}),
            valid: &["{\"a\":1}"],
            invalid: &["{}", "{\"a\":1,\"b\":2}"],
        },
        Case {
            schema: json!({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}],
                "type": "object", "unevaluatedProperties": false}),
            valid: &["{\"a\":1}", "{\"a\":1,\"b\":null}"],
            invalid: &["{\"a\":1,\"c\":1}", "{}"],
        },
        Case {
            schema: json!({"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 3}}, "additionalProperties": false}),
            valid: &["{\"ab\":3}"],
            invalid: &["{\"ab\":1}", "{\"ab\":null}", "{\"c\":3}"],
        },
    ]);
}

#[test]
fn items_that_must_be_among_others_hold() {
    check(vec![
        Case {
            schema: json!({"type": "array", "contains": {"const": 7}}),
            valid: &["[7]", "[7,1]"],
            invalid: &["[]", "[1]"],
        },
        Case {
            schema: json!({"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "minContains": 2, "maxContains": 2}),
            valid: &["[5,6]", "[5,6,1]"],
            invalid: &["[5]", "[5,6,7]"],
        },
        Case {
            schema: json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true}),
            valid: &["[]", "[\"b\",\"a\"]", "[\"a\",\"b\",\"c\"]"],
            invalid: &["[\"a\",\"a\"]", "[\"a\",\"b\",\"a\"]"],
        },
        Case {
            schema: json!({"prefixItems": [{"type": "string"}], "type": "array", "unevaluatedItems": false}),
            valid: &["[\"a\"]", "[]"],
            invalid: &["[\"a\",1]", "[1]"],
        },
    ]);
}

#[test]
fn references_by_identifier_anchor_and_dynamic_anchor_lead_where_they_should() {
    check(vec![
        Case {
            schema: json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "integer"}}}),
            valid: &["1"],
            invalid: &["\"a\""],
        },
        Case {
            schema: json!({"$id": "https://example.org/root", "$ref": "item", "$defs": {"a": {"$id": "item", "type": "null"}}}),
            valid: &["null"],
            invalid: &["1"],
        },
        Case {
            schema: json!({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "boolean"}}}),
            valid: &["true"],
            invalid: &["1"],
        },
        Case {
            schema: json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "not": {"minItems": 2}}}}),
            valid: &["[]", "[[[]]]"],
            invalid: &["[[],[]]", "[1]"],
        },
        Case {
            schema: json!({"$id": "https://example.org/list", "$dynamicAnchor": "node", "type": "object", "required": ["next"],
                "properties": {"next": {"anyOf": [{"type": "null"}, {"$dynamicRef": "#node"}]}}, "additionalProperties": false}),
            valid: &["{\"next\":null}", "{\"next\":{\"next\":null}}"],
            invalid: &["{\"next\":{}}", "{\"next\":1}"],
        },
    ]);
}

/// Each condition is a choice of two, and all but a few of their combinations contradict themselves.
#[test]
fn many_conditions_on_one_property_are_no_more_ways_than_it_has_values() {
    let kind = |n: usize| format!("k{n}");
    let condition =
        |n: usize| json!({"if": {"properties": {"kind": {"const": kind(n)}}}, "then": {"required": [format!("x{n}")]}});
    let schema = json!({"type": "object", "required": ["kind"],
        "properties": {"kind": {"enum": (0..20).map(kind).collect::<Vec<_>>()}}, "allOf": (0..20).map(condition).collect::<Vec<_>>()});
    check(vec![Case {
        schema,
        valid: &["{\"kind\":\"k7\",\"x7\":1}", "{\"kind\":\"k19\",\"x19\":1}"],
        invalid: &["{\"kind\":\"k7\"}", "{\"kind\":\"k7\",\"x8\":1}"],
    }]);
}

/// To tell the options apart would take to tell them apart.
#[test]
fn a_choice_that_refers_to_itself_in_its_own_place_ends() {
    let loops = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "oneOf": [{"minimum": 3}, {"$ref": "#/$defs/a"}]}}});
    drop(compiler().compile(&Constraint::JsonSchema(loops)));
    let chain = |n: usize| (n.to_string(), json!({"oneOf": [{"minimum": n}, {"$ref": format!("#/$defs/{}", n + 1)}]}));
    let mut defs: serde_json::Map<String, Value> = (0..300).map(chain).collect();
    defs.insert("300".to_owned(), json!({"type": "null"}));
    drop(compiler().compile(&Constraint::JsonSchema(json!({"$ref": "#/$defs/0", "$defs": defs}))));
}

/// A name can be written with character numbers: it would pass for one that nothing is said of.
#[test]
fn a_name_that_is_spoken_of_cannot_be_written_so_that_it_passes_for_another() {
    check(vec![Case {
        schema: json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
        valid: &["{\"a\":1}", "{\"b\":\"x\"}"],
        invalid: &["{\"\\u0061\":\"x\"}"],
    }]);
}

#[test]
fn a_schema_by_which_nothing_is_valid_is_refused() {
    for schema in [
        json!({"not": {}}),
        json!(false),
        json!({"allOf": [{"type": "string"}, {"not": {"type": "string"}}]}),
        json!({"oneOf": [true, true]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}, "dependentRequired": {}}}}),
    ] {
        let error = compiler().compile(&Constraint::JsonSchema(schema.clone())).unwrap_err();
        assert!(error.to_string().contains("nsatisfiable"), "{schema}: {error}");
    }
}

/// What an empty list of dependencies does: nothing, but the engine does not know it.
fn in_other_words(mut schema: Value) -> Result<(), ConstraintError> {
    schema["dependentRequired"] = json!({});
    compiler().compile(&Constraint::JsonSchema(schema)).map(|_| ())
}

#[test]
fn bounds_of_schemas_in_other_words_hold() {
    let too_large = |error: Option<ConstraintError>, bound: usize| {
        assert!(matches!(error, Some(ConstraintError::TooLarge { max, .. }) if max == bound), "{bound}: {error:?}");
    };
    let choice = |n: usize| json!({"anyOf": [{"minLength": n}, {"maxLength": 1000 + n}]});
    let choices = |n: usize| json!({"type": "string", "allOf": (0..n).map(choice).collect::<Vec<_>>()});
    assert_eq!(in_other_words(choices(4)), Ok(()));
    too_large(in_other_words(choices(11)).err(), SCHEMA_CHOICES_MAX);
    let mut dead: Vec<Value> = (0..24).map(choice).collect();
    dead.push(json!({"anyOf": [false, false]}));
    let dead = json!({"type": "string", "allOf": dead});
    too_large(in_other_words(dead).err(), SCHEMA_STEPS_MAX);
    let named =
        |n: usize| (0..n).map(|n| (format!("p{n}"), json!({"maxLength": n}))).collect::<serde_json::Map<_, _>>();
    too_large(in_other_words(json!({"properties": named(SCHEMA_PLACES_MAX)})).err(), SCHEMA_PLACES_MAX);
    let wide = json!({"type": "string", "allOf": vec![json!({"anyOf": [{"minLength": 1}, false]}); 600]});
    too_large(in_other_words(wide).err(), 512);
}
