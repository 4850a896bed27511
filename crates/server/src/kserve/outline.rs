//! The JSON of a request for inference, with the tensors' values left as text.
//!
//! A parsed value takes many times the memory of its text; values of tensors are read later, when their type is known,
//! and everything else is short.

use crate::json::{self, shown};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;

/// Most tensors of a request, inputs or outputs.
pub(super) const TENSORS_MAX: usize = 256;
/// Longest text of a field that holds no values of a tensor.
const FIELD_BYTES_MAX: usize = 64 * 1024;

/// A request without its values.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// Everything but the inputs.
    pub(super) fields: Map<String, Value>,
    /// `None`: there is no such field.
    pub(super) inputs: Option<Vec<InputOutline<'a>>>,
}

/// An input.
#[derive(Debug, Default)]
pub(super) struct InputOutline<'a> {
    /// Everything but the values.
    pub(super) fields: Map<String, Value>,
    /// Its values, where they are in the JSON.
    pub(super) data: Option<&'a RawValue>,
}

/// Parses a whole text.
///
/// # Errors
/// What is wrong and where.
pub(super) fn outline(json: &[u8]) -> Result<Outline<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let outline = (&mut deserializer).deserialize_map(Whole)?;
    deserializer.end()?;
    Ok(outline)
}

/// Puts a field into `fields`.
fn put<'de, A: MapAccess<'de>>(fields: &mut Map<String, Value>, name: String, map: &mut A) -> Result<(), A::Error> {
    let raw: &RawValue = map.next_value()?;
    let text = raw.get();
    if text.len() > FIELD_BYTES_MAX {
        let name = shown(&name);
        return Err(A::Error::custom(format_args!("field `{name}`: expected at most {FIELD_BYTES_MAX} bytes")));
    }
    let value = json::parse(text.as_bytes()).map_err(A::Error::custom)?;
    if fields.contains_key(&name) {
        return Err(A::Error::custom(format_args!("field `{}` is given twice", shown(&name))));
    }
    fields.insert(name, value);
    if fields.len() > TENSORS_MAX { Err(A::Error::custom("expected fewer fields")) } else { Ok(()) }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Outline<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline<'de>, A::Error> {
        let mut outline = Outline::default();
        while let Some(name) = map.next_key::<String>()? {
            if name != "inputs" {
                put(&mut outline.fields, name, &mut map)?;
            } else if outline.inputs.is_some() {
                return Err(A::Error::custom("field `inputs` is given twice"));
            } else {
                outline.inputs = Some(map.next_value_seed(Inputs)?);
            }
        }
        Ok(outline)
    }
}

struct Inputs;

impl<'de> DeserializeSeed<'de> for Inputs {
    type Value = Vec<InputOutline<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Inputs {
    type Value = Vec<InputOutline<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of inputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut inputs = Vec::new();
        while let Some(input) = seq.next_element_seed(Input)? {
            if inputs.len() == TENSORS_MAX {
                return Err(A::Error::custom(format_args!("inputs: expected at most {TENSORS_MAX}")));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }
}

struct Input;

impl<'de> DeserializeSeed<'de> for Input {
    type Value = InputOutline<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Input {
    type Value = InputOutline<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InputOutline<'de>, A::Error> {
        let mut input = InputOutline::default();
        while let Some(name) = map.next_key::<String>()? {
            if name != "data" {
                put(&mut input.fields, name, &mut map)?;
            } else if input.data.is_some() {
                return Err(A::Error::custom("field `data` is given twice"));
            } else {
                input.data = Some(map.next_value()?);
            }
        }
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_text_and_everything_else_is_parsed() {
        let text = br#"{"id":"a","inputs":[{"name":"x","shape":[1],"data": [1, 2] }],"outputs":[]}"#;
        let outline = outline(text).unwrap();
        let inputs = outline.inputs.unwrap();
        assert_eq!((outline.fields.len(), inputs.len()), (2, 1));
        assert_eq!((inputs[0].data.unwrap().get(), inputs[0].fields["name"].as_str()), ("[1, 2]", Some("x")));
    }

    #[test]
    fn what_is_not_strict_or_too_long_is_refused() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(FIELD_BYTES_MAX));
        let many = format!(r#"{{"inputs":[{}]}}"#, vec!["{}"; TENSORS_MAX + 1].join(","));
        let cases = [
            (r#"{"id":1,"id":2}"#, "given twice"),
            (r#"{"inputs":[],"inputs":[]}"#, "given twice"),
            (r#"{"inputs":[{"data":[],"data":[]}]}"#, "given twice"),
            (r#"{"inputs":[{"name":"x","name":"y"}]}"#, "given twice"),
            (r#"{"parameters":{"a":1,"a":2}}"#, "given twice"),
            (r#"{"inputs":{}}"#, "expected a list of inputs"),
            (r#"{"inputs":[1]}"#, "expected an input"),
            ("[]", "expected an object"),
            ("{} {}", "trailing"),
            ("", "EOF"),
            (long.as_str(), "at most 65536 bytes"),
            (many.as_str(), "at most 256"),
        ];
        for (text, expected) in cases {
            let error = outline(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{}: {error}", &text[..text.len().min(50)]);
        }
    }
}
