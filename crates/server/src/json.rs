//! JSON as it must be here: bounded depth, and no field twice, since one of the two would be ignored.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use std::fmt;

/// Deepest nesting of objects and arrays.
pub const JSON_DEPTH_MAX: usize = 32;
/// Up to here every whole number is a number of 64 bits with a point: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Longest part of a field's name that an error shows.
const SHOWN_CHARS_MAX: usize = 64;

/// Parses a whole text.
///
/// # Errors
/// What is wrong and where; shows nothing of the text but the name of a field that is there twice.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A name for an error message, cut short and without control characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("expected at most {JSON_DEPTH_MAX} levels of nesting")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    /// `1.0` is the whole number 1: JSON has one type of numbers. (RFC 8259, section 6)
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let is_whole = value.fract() == 0.0 && value.abs() <= WHOLE_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "every whole number up to there is one of i64")]
        let whole = value as i64;
        Ok(if is_whole { whole.into() } else { value.into() })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match fields.entry(name) {
                Entry::Occupied(twice) => {
                    return Err(A::Error::custom(format_args!("field `{}` is given twice", shown(twice.key()))));
                }
                Entry::Vacant(new) => new.insert(map.next_value_seed(inner)?),
            };
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_as_they_are() {
        let text = r#"{"a":[1,-2,2.5,"x",true,null],"b":{}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), json!({"a": [1, -2, 2.5, "x", true, null], "b": {}}));
        assert_eq!(parse(b"[1.0, -3e2, 1e16]").unwrap(), json!([1, -300, 1e16]));
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(deep(JSON_DEPTH_MAX).as_bytes()).is_ok());
        let too_deep = deep(JSON_DEPTH_MAX + 1);
        let cases = [
            (r#"{"a":1,"a":2}"#, "given twice"),
            (r#"{"b":[{"a":1,"a":1}]}"#, "`a` is given twice"),
            (too_deep.as_str(), "levels of nesting"),
            (r#"{"a":1} x"#, "trailing"),
            (r#"{"a":"#, "EOF"),
            ("", "EOF"),
            ("{\"a\":\"\u{0}\"}", "control character"),
        ];
        for (text, expected) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_cut_short_before_they_are_shown() {
        assert_eq!(shown(&"x".repeat(100)).len(), SHOWN_CHARS_MAX);
        assert_eq!(shown("a\nb"), "a?b");
    }
}
