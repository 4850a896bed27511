//! The fields of a JSON object, taken out one by one; what is left in the end was not known.

use crate::api_error::ApiError;
use crate::json::{self, shown};
use serde::Deserialize;
use serde_json::Value;

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ParamError {
    #[error("{param}: expected {expected}, got nothing")]
    Missing { param: String, expected: &'static str },
    #[error("{param}: expected {expected}, got {got}")]
    Wrong { param: String, expected: String, got: String },
    #[error("{param}: there is no such parameter")]
    Unknown { param: String },
    #[error("{param}: not supported here; {supported}")]
    Unsupported { param: String, supported: &'static str },
}

impl ParamError {
    pub(crate) fn param(&self) -> &str {
        match self {
            Self::Missing { param, .. }
            | Self::Wrong { param, .. }
            | Self::Unknown { param }
            | Self::Unsupported { param, .. } => param,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing_parameter",
            Self::Wrong { .. } => "invalid_value",
            Self::Unknown { .. } => "unknown_parameter",
            Self::Unsupported { .. } => "unsupported_parameter",
        }
    }

    /// A value that is not what it should be. Numbers are shown, other values only by their type.
    pub(crate) fn wrong(param: String, expected: impl Into<String>, got: &Value) -> Self {
        let got = match got {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::String(_) => "a string".to_owned(),
            Value::Array(items) => format!("an array of {}", items.len()),
            Value::Object(_) => "an object".to_owned(),
        };
        Self::Wrong { param, expected: expected.into(), got }
    }
}

/// A field that is known and cannot be obeyed, whether a value asks for nothing, and what the caller can do.
pub(crate) type Refused = (&'static str, fn(&Value) -> bool, &'static str);

/// Whatever it says, it asks for something.
pub(crate) fn never(_value: &Value) -> bool {
    false
}

/// The number 0.
pub(crate) fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

/// The number 1.
pub(crate) fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

/// An empty list.
pub(crate) fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// An object's fields. Null means absent.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Where the object is, empty for the request itself.
    path: String,
    /// By name; so few that to look through them is quicker than to hash the names of all that are asked for.
    fields: Vec<(String, Value)>,
}

impl Fields {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// If it is not JSON, or not an object.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self::new(String::new(), json::parse(body).map_err(ApiError::Json)?)?)
    }

    /// The fields of `value`, which is found at `path`.
    pub(crate) fn new(path: String, value: Value) -> Result<Self, ParamError> {
        if let Value::Object(fields) = value {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
            return Ok(Self { path, fields });
        }
        let param = if path.is_empty() { "body".to_owned() } else { path };
        Err(ParamError::wrong(param, "an object", &value))
    }

    /// The full name of a field.
    pub(crate) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// A field, left where it is.
    pub(crate) fn peek(&self, field: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value)
    }

    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        let idx = self.fields.iter().position(|(name, _)| name == field)?;
        Some(self.fields.remove(idx).1)
    }

    /// Puts back what is left of an object that was taken from here, for whoever reads the rest.
    pub(crate) fn put_back(&mut self, field: &str, rest: Self) {
        if !rest.fields.is_empty() {
            self.fields.push((field.to_owned(), Value::Object(rest.fields.into_iter().collect())));
        }
    }

    /// Takes a field that serde can read as `T`.
    fn typed<T: for<'de> Deserialize<'de>>(&mut self, field: &str, expected: &str) -> Result<Option<T>, ParamError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        T::deserialize(&value).map(Some).map_err(|_| ParamError::wrong(self.name(field), expected, &value))
    }

    pub(crate) fn string(&mut self, field: &str) -> Result<Option<String>, ParamError> {
        self.typed(field, "a string")
    }

    /// A string that must be there, `expected` in words.
    pub(crate) fn needed_string(&mut self, field: &str, expected: &'static str) -> Result<String, ParamError> {
        let param = self.name(field);
        self.string(field)?.ok_or(ParamError::Missing { param, expected })
    }

    pub(crate) fn bool(&mut self, field: &str) -> Result<Option<bool>, ParamError> {
        self.typed(field, "true or false")
    }

    pub(crate) fn f32(&mut self, field: &str) -> Result<Option<f32>, ParamError> {
        self.typed(field, "a number")
    }

    pub(crate) fn f64(&mut self, field: &str) -> Result<Option<f64>, ParamError> {
        self.typed(field, "a number")
    }

    pub(crate) fn i64(&mut self, field: &str) -> Result<Option<i64>, ParamError> {
        self.typed(field, "a whole number")
    }

    pub(crate) fn count(&mut self, field: &str) -> Result<Option<usize>, ParamError> {
        self.typed(field, "a whole number, 0 or more")
    }

    /// A seed: any whole number of 64 bits, signed or not.
    pub(crate) fn seed(&mut self, field: &str) -> Result<Option<u64>, ParamError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
        seed.map(Some).ok_or_else(|| ParamError::wrong(self.name(field), "a whole number of 64 bits", &value))
    }

    /// Takes the fields out that the server knows and cannot obey; a value that asks for nothing passes.
    ///
    /// # Errors
    /// If one asks for something.
    pub(crate) fn refuse(&mut self, rows: &[Refused]) -> Result<(), ParamError> {
        for &(field, asks_for_nothing, supported) in rows {
            if self.take(field).is_some_and(|value| !asks_for_nothing(&value)) {
                return Err(ParamError::Unsupported { param: self.name(field), supported });
            }
        }
        Ok(())
    }

    /// Names of fields that are left.
    pub(crate) fn left(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// # Errors
    /// If a field is left: nobody has read it.
    pub(crate) fn finish(self) -> Result<(), ParamError> {
        match self.left().next() {
            Some(field) => Err(ParamError::Unknown { param: self.name(&shown(field)) }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::new(String::new(), value).unwrap()
    }

    #[test]
    fn seeds_are_any_whole_number_of_64_bits() {
        for (value, expected) in [(json!(7), 7), (json!(-1), u64::MAX), (json!(u64::MAX), u64::MAX)] {
            assert_eq!(fields(json!({"seed": value})).seed("seed"), Ok(Some(expected)));
        }
        for value in [json!(1.5), json!("7"), json!(1e30)] {
            assert!(fields(json!({"seed": value})).seed("seed").is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_left_is_unknown_unless_it_is_null() {
        assert_eq!(fields(json!({"x": null})).finish(), Ok(()));
        let error = Fields::new("messages[0]".to_owned(), json!({"x": 1})).unwrap().finish().unwrap_err();
        assert_eq!((error.param(), error.code()), ("messages[0].x", "unknown_parameter"));
    }

    #[test]
    fn strings_are_not_quoted_back() {
        let error = fields(json!({"n": "secret"})).count("n").unwrap_err();
        assert_eq!(error.to_string(), "n: expected a whole number, 0 or more, got a string");
    }
}
