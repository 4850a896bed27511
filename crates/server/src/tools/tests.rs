//! What may be offered and chosen, and its bounds.

use super::*;
use crate::openai::functions;
use serde_json::json;

fn function(name: &str, parameters: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

#[test]
fn tools_are_bounded_by_number_name_and_schemas() {
    let named = |n: usize| functions(Some((0..n).map(|idx| function(&format!("f{idx}"), &json!({}))).collect()));
    assert!(named(TOOLS_MAX).is_ok());
    assert_eq!(named(TOOLS_MAX + 1).unwrap_err().param(), "tools");
    let name = |n: usize| functions(Some(json!([function(&"x".repeat(n), &json!({}))])));
    assert!(name(ballast_tokens::TOOL_NAME_BYTES_MAX).is_ok());
    assert_eq!(name(ballast_tokens::TOOL_NAME_BYTES_MAX + 1).unwrap_err().param(), "tools[0].function.name");
    let of = |n: usize| json!({"type": "object", "description": "x".repeat(n)});
    let around = of(0).to_string().len();
    let two = |n: usize| functions(Some(json!([function("a", &of(0)), function("b", &of(n - 2 * around))])));
    assert!(two(TOOL_SCHEMAS_BYTES_MAX).is_ok());
    assert_eq!(two(TOOL_SCHEMAS_BYTES_MAX + 1).unwrap_err().param(), "tools[1].function.parameters");
}

#[test]
fn names_are_letters_digits_and_two_signs_and_each_is_one_tool() {
    for name in ["a", "A_b-9"] {
        assert!(functions(Some(json!([function(name, &json!({}))]))).is_ok(), "{name}");
    }
    for name in ["", "a b", "a.b", "\u{e9}", "a\"b"] {
        let error = functions(Some(json!([function(name, &json!({}))]))).unwrap_err();
        assert_eq!(error.param(), "tools[0].function.name", "{name}");
    }
    let twice = functions(Some(json!([function("a", &json!({})), function("a", &json!({}))]))).unwrap_err();
    assert_eq!(twice.param(), "tools[1].function.name");
}
