//! What each wire's parameters ask for.

use super::{Asked, CHOICES_OF_TEXT_MAX, of_anthropic, of_llamacpp, of_ollama, of_openai};
use crate::fields::{Fields, ParamError};
use ballast_tokens::Constraint;
use serde_json::{Value, json};

type Take = fn(&mut Fields) -> Result<Option<Asked>, ParamError>;

fn parse(take: Take, body: Value) -> Result<Option<Asked>, ParamError> {
    let mut fields = Fields::new(String::new(), body)?;
    let asked = take(&mut fields)?;
    fields.finish()?;
    Ok(asked)
}

fn schema() -> Value {
    json!({"const": null})
}

#[test]
fn every_way_to_ask_is_understood() {
    let of_schema = || Constraint::JsonSchema(schema());
    let regex = |text: &str| Constraint::Regex(text.to_owned());
    let cases: [(Take, Value, Option<Asked>); 24] = [
        (of_openai, json!({}), None),
        (of_openai, json!({"response_format": {"type": "text"}}), None),
        (
            of_openai,
            json!({"response_format": {"type": "json_object"}}),
            Some((Constraint::JsonObject, "response_format")),
        ),
        (
            of_openai,
            json!({"response_format": {"type": "json_object", "schema": schema()}}),
            Some((of_schema(), "response_format.schema")),
        ),
        (
            of_openai,
            json!({"response_format": {"type": "json_schema", "json_schema":
                {"name": "n", "description": "d", "strict": true, "schema": schema()}}}),
            Some((of_schema(), "response_format.json_schema.schema")),
        ),
        (of_openai, json!({"guided_json": schema()}), Some((of_schema(), "guided_json"))),
        (of_openai, json!({"json_schema": schema()}), Some((of_schema(), "json_schema"))),
        (
            of_openai,
            json!({"grammar": "root ::= \"a\""}),
            Some((Constraint::Gbnf("root ::= \"a\"".to_owned()), "grammar")),
        ),
        (of_openai, json!({"guided_json": "{\"const\": null}"}), Some((of_schema(), "guided_json"))),
        (of_openai, json!({"guided_regex": "a+"}), Some((regex("a+"), "guided_regex"))),
        (of_openai, json!({"guided_choice": ["a.b", "c"]}), Some((regex(r"a\.b|c"), "guided_choice"))),
        (
            of_openai,
            json!({"guided_grammar": "start: \"a\""}),
            Some((Constraint::Lark("start: \"a\"".to_owned()), "guided_grammar")),
        ),
        (
            of_openai,
            json!({"structured_outputs": {"grammar": "root ::= \"a\""}}),
            Some((Constraint::Gbnf("root ::= \"a\"".to_owned()), "structured_outputs.grammar")),
        ),
        (
            of_openai,
            json!({"structured_outputs": {"json": true}}),
            Some((Constraint::JsonSchema(json!(true)), "structured_outputs.json")),
        ),
        (of_llamacpp, json!({"grammar": "", "json_schema": {}}), None),
        (
            of_llamacpp,
            json!({"grammar": "root ::= \"a\""}),
            Some((Constraint::Gbnf("root ::= \"a\"".to_owned()), "grammar")),
        ),
        (of_llamacpp, json!({"json_schema": schema()}), Some((of_schema(), "json_schema"))),
        (of_ollama, json!({}), None),
        (of_ollama, json!({"format": ""}), None),
        (of_ollama, json!({"format": "json"}), Some((Constraint::JsonObject, "format"))),
        (of_ollama, json!({"format": schema()}), Some((of_schema(), "format"))),
        (of_anthropic, json!({}), None),
        (
            of_anthropic,
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}}),
            Some((of_schema(), "output_config.format.schema")),
        ),
        (
            of_anthropic,
            json!({"output_format": {"type": "json_schema", "schema": schema()}}),
            Some((of_schema(), "output_format.schema")),
        ),
    ];
    for (take, body, expected) in cases {
        assert_eq!(parse(take, body.clone()), Ok(expected), "{body}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let many = vec!["a"; CHOICES_OF_TEXT_MAX + 1];
    let cases: [(Take, Value, &str, &str); 24] = [
        (of_openai, json!({"response_format": "json"}), "response_format", "invalid_value"),
        (of_openai, json!({"response_format": {}}), "response_format.type", "missing_parameter"),
        (of_openai, json!({"response_format": {"type": "xml"}}), "response_format.type", "invalid_value"),
        (
            of_openai,
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema",
            "missing_parameter",
        ),
        (
            of_openai,
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}),
            "response_format.json_schema.schema",
            "missing_parameter",
        ),
        (
            of_openai,
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}}),
            "response_format.json_schema.x",
            "unknown_parameter",
        ),
        (
            of_openai,
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}}),
            "response_format.json_schema.schema",
            "invalid_value",
        ),
        (
            of_openai,
            json!({"response_format": {"type": "text", "schema": {}}}),
            "response_format.schema",
            "unknown_parameter",
        ),
        (of_openai, json!({"guided_json": "{"}), "guided_json", "invalid_value"),
        (of_openai, json!({"guided_choice": []}), "guided_choice", "invalid_value"),
        (of_openai, json!({"guided_choice": [""]}), "guided_choice", "invalid_value"),
        (of_openai, json!({"guided_choice": many}), "guided_choice", "invalid_value"),
        (of_openai, json!({"structured_outputs": {"yaml": 1}}), "structured_outputs.yaml", "unknown_parameter"),
        (of_openai, json!({"guided_json": {}, "guided_regex": "a"}), "guided_regex", "unsupported_parameter"),
        (
            of_openai,
            json!({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}),
            "structured_outputs.regex",
            "unsupported_parameter",
        ),
        (of_llamacpp, json!({"grammar": "a", "json_schema": {"a": 1}}), "json_schema", "unsupported_parameter"),
        (of_llamacpp, json!({"grammar": 1}), "grammar", "invalid_value"),
        (of_ollama, json!({"format": "xml"}), "format", "invalid_value"),
        (of_ollama, json!({"format": ["json"]}), "format", "invalid_value"),
        (of_anthropic, json!({"output_config": {"mood": 1}}), "output_config.mood", "unknown_parameter"),
        (of_anthropic, json!({"output_format": {"type": "text"}}), "output_format.type", "invalid_value"),
        (
            of_anthropic,
            json!({"output_config": {"format": {"type": "json_schema"}}}),
            "output_config.format.schema",
            "missing_parameter",
        ),
        (
            of_anthropic,
            json!({"output_format": {"type": "json_schema", "schema": {}, "name": "n"}}),
            "output_format.name",
            "unknown_parameter",
        ),
        (
            of_anthropic,
            json!({"output_config": {"format": {"type": "json_schema", "schema": {}}},
                "output_format": {"type": "json_schema", "schema": {}}}),
            "output_format.schema",
            "unsupported_parameter",
        ),
    ];
    for (take, body, param, code) in cases {
        let error = parse(take, body.clone()).unwrap_err();
        assert_eq!((error.param(), error.code()), (param, code), "{body}");
    }
}

#[test]
fn a_list_of_items_is_of_an_older_draft_where_none_is_named() {
    let draft = |schema: Value| {
        let (constraint, _) = parse(of_openai, json!({ "guided_json": schema })).unwrap().unwrap();
        let Constraint::JsonSchema(schema) = constraint else { panic!("a schema stays one") };
        schema.get("$schema").cloned()
    };
    let older = json!("https://json-schema.org/draft/2019-09/schema");
    assert_eq!(draft(json!({"items": [{"type": "integer"}]})), Some(older.clone()));
    assert_eq!(draft(json!({"properties": {"a": {"items": [{}]}}})), Some(older));
    assert_eq!(draft(json!({"items": {"type": "integer"}})), None);
    let named = json!("http://json-schema.org/draft-07/schema");
    assert_eq!(draft(json!({"$schema": named, "items": [{}]})), Some(named));
}
