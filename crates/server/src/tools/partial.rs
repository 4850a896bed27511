//! Arguments that were cut off, as far as they came: wires that give arguments as an object cannot give half of one.

use serde_json::{Map, Value};

/// The object that `text` is, or the longest beginning of it that can be closed; empty where there is none.
pub(crate) fn whole_object(text: &str) -> Value {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    if let Some(object) = parse(text) {
        return object;
    }
    let closed = closings(text).into_iter().rev().find_map(|(at, closers)| parse(&format!("{}{closers}", &text[..at])));
    closed.unwrap_or_else(|| Value::Object(Map::new()))
}

/// Where the text may be closed, with what closes it: after whole values, outside of strings.
fn closings(text: &str) -> Vec<(usize, String)> {
    let (mut open, mut places) = (Vec::new(), Vec::new());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if is_in_string {
            (is_in_string, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
            continue;
        }
        match c {
            '"' => is_in_string = true,
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            ',' => places.push((at, open.iter().rev().collect())),
            _ => continue,
        }
        if "{[}]".contains(c) {
            places.push((at + 1, open.iter().rev().collect()));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_came_of_an_object_is_kept() {
        let cases = [
            (r#"{"a": 1, "b": [1, {"c": "}"}]}"#, json!({"a": 1, "b": [1, {"c": "}"}]})),
            (r#"{"a": 1, "b": [1, {"c": "x"#, json!({"a": 1, "b": [1, {}]})),
            (r#"{"a": 1, "b": [1, 2"#, json!({"a": 1, "b": [1]})),
            (r#"{"a": "x\", y"#, json!({})),
            (r#"{"a": {"b": 2}, "#, json!({"a": {"b": 2}})),
            ("{", json!({})),
            ("", json!({})),
        ];
        for (text, expected) in cases {
            assert_eq!(whole_object(text), expected, "{text}");
        }
    }
}
