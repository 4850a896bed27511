//! Looks through a grammar in llguidance's dialect of Lark for what has to be seen before its engine sees it: schemas,
//! how deep it may be nested, and what cannot be obeyed. It is no parser; what is not well-formed the engine refuses.

use super::schema::Wording;
use super::{ConstraintError, schema};
use serde_json::{StreamDeserializer, Value};

/// Most opening brackets outside of schemas, texts and regular expressions; to parse one inside another takes stack.
pub const LARK_BRACKETS_MAX: usize = 4096;

/// Words that are followed by JSON.
const BEFORE_JSON: &[&str] = &["%json", "%llguidance", "%regex"];
/// An attribute of rules that would change how tokens are chosen.
const TEMPERATURE: &str = "temperature";

/// Checks a grammar's schemas and bounds. Returns it with its schemas as the engine is to see them.
///
/// # Errors
/// What of a schema is not enforced; a bound that is met; an attribute that is not obeyed.
pub(super) fn prepare(grammar: &str, wording: Wording) -> Result<String, ConstraintError> {
    let prepared = String::with_capacity(grammar.len());
    let mut scan = Scan { rest: grammar, prepared, n_brackets: 0, wording };
    while !scan.rest.is_empty() {
        scan.take_one()?;
    }
    Ok(scan.prepared)
}

struct Scan<'a> {
    rest: &'a str,
    prepared: String,
    n_brackets: usize,
    /// Of its schemas.
    wording: Wording,
}

impl Scan<'_> {
    /// Takes the next part of the grammar.
    fn take_one(&mut self) -> Result<(), ConstraintError> {
        if let Some(word) = BEFORE_JSON.iter().find(|word| self.rest.starts_with(**word)) {
            return self.take_json(word);
        }
        let first = self.rest.chars().next().expect("there is a rest");
        let len = match first {
            '"' => quoted_len(self.rest, '"'),
            '#' => line_len(self.rest),
            '/' if self.rest.starts_with("//") => line_len(self.rest),
            '/' => quoted_len(self.rest, '/'),
            '<' => special_len(self.rest),
            _ if is_of_name(first) => self.rest.find(|c| !is_of_name(c)).unwrap_or(self.rest.len()),
            _ => first.len_utf8(),
        };
        if matches!(first, '(' | '[' | '{') {
            self.n_brackets += 1;
            if self.n_brackets > LARK_BRACKETS_MAX {
                let what = "Lark grammar";
                return Err(ConstraintError::TooLarge { what, max: LARK_BRACKETS_MAX, unit: "brackets" });
            }
        }
        if &self.rest[..len] == TEMPERATURE && self.rest[len..].trim_start().starts_with('=') {
            return Err(ConstraintError::Unsupported { word: TEMPERATURE });
        }
        self.copy(len);
        Ok(())
    }

    fn copy(&mut self, len: usize) {
        self.prepared += &self.rest[..len];
        self.rest = &self.rest[len..];
    }

    /// Takes a word and the JSON behind it. Where there is none, the engine says so.
    fn take_json(&mut self, word: &str) -> Result<(), ConstraintError> {
        self.copy(word.len());
        let mut values: StreamDeserializer<'_, _, Value> = serde_json::Deserializer::from_str(self.rest).into_iter();
        let Some(Ok(value)) = values.next() else { return Ok(()) };
        let len = values.byte_offset();
        if word != "%json" {
            self.copy(len);
            return Ok(());
        }
        self.prepared += " ";
        self.prepared += &with_bounded_whitespace(schema::enforceable(&value, self.wording)?).to_string();
        self.rest = &self.rest[len..];
        Ok(())
    }
}

/// A schema with which white space between two parts of the JSON has a bound: a model that likes white space too much
/// would go on with it for ever. Characters are not written by their numbers (`\u0061`): a name that is spoken of could
/// be written so that it passes for another, and what is said of it would not hold.
pub(super) fn with_bounded_whitespace(schema: Value) -> Value {
    let mut fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(true) => serde_json::Map::new(),
        other @ (Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return other;
        }
    };
    let options = serde_json::json!({
        "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,32}",
        "json_allowed_escapes": "nrbtf\\\"",
    });
    fields.insert("x-guidance".to_owned(), options);
    Value::Object(fields)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The length of a text between two quotes, both counted; of all there is where it has no end.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

fn line_len(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// The length of a special token's name; of its first character where it is none.
fn special_len(text: &str) -> usize {
    let end = text[1..].find(|c: char| c == '<' || c == '>' || c.is_whitespace()).map(|at| at + 1);
    end.filter(|end| *end > 1 && text[*end..].starts_with('>')).map_or(1, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::{LARK_BRACKETS_MAX, Wording};
    use crate::ConstraintError;
    use proptest::prelude::*;

    fn prepare(grammar: &str) -> Result<String, ConstraintError> {
        super::prepare(grammar, Wording::AsItIs)
    }

    #[test]
    fn schemas_are_found_wherever_they_are_and_nowhere_else() {
        let has_typo =
            |text: &str| matches!(prepare(text), Err(ConstraintError::Keyword { keyword, .. }) if keyword == "typo");
        for text in [
            r#"start: %json {"typo": {}}"#,
            r#"start: "%json" /a\/%json/ <%json> x // %json
x: %json{"properties": {"a": {"typo": {}}}}"#,
            r#"start: %lark { start: %json {"typo": {}} }"#,
            "start: \"\\\"\" %json\n {\"typo\": {}}",
        ] {
            assert!(has_typo(text), "{text}");
        }
        for text in [
            r#"start: "%json {\"typo\": {}}""#,
            r#"start: /%json {"typo": {}}/"#,
            r#"start: "a" // %json {"typo": {}}"#,
            r#"start: "a" # %json {"typo": {}}"#,
            r#"start: <%json{"typo":{}}>"#,
        ] {
            assert_eq!(prepare(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn brackets_have_a_bound_and_a_temperature_is_refused() {
        let nested = |n: usize| format!("start: {}\"a\"{} \"((\"", "(".repeat(n), ")".repeat(n));
        assert!(prepare(&nested(LARK_BRACKETS_MAX)).is_ok());
        assert!(matches!(prepare(&nested(LARK_BRACKETS_MAX + 1)), Err(ConstraintError::TooLarge { .. })));
        for text in ["start[temperature=0.5]: \"a\"", "x[max_tokens=3, temperature = 1]: /a/"] {
            assert_eq!(prepare(text), Err(ConstraintError::Unsupported { word: "temperature" }));
        }
        assert!(prepare("start: temperature\ntemperature: /[0-9]/ \"temperature=\"").is_ok());
    }

    proptest! {
        #[test]
        fn what_holds_no_schema_stays_as_it_is(text in "[a-z\"/\\\\<>#(){} \n%é]{0,40}") {
            if let Ok(prepared) = prepare(&text) {
                prop_assert!(prepared == text || text.contains("%json"));
            }
        }
    }
}
