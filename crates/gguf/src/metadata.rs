//! The key-value part of a file, in file order, with getters that check the type.

use crate::name_index::NameIndex;
use crate::{Array, GgufError, StringArray, Value};

/// Metadata: unique keys, each with a value.
///
/// The typed getters return `Ok(None)` for a key that is absent and an error for one of another type. Those for
/// integers accept every integer type whose value fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: NameIndex,
}

impl Metadata {
    /// Metadata of these entries, which `index` was made from.
    pub(crate) fn from_parts(entries: Vec<(String, Value)>, index: NameIndex) -> Self {
        Self { entries, index }
    }

    /// Metadata of these entries, in this order.
    ///
    /// # Errors
    /// If a key is there twice.
    pub fn new(entries: Vec<(String, Value)>) -> Result<Self, GgufError> {
        match NameIndex::new(entries.len(), |idx| entries[idx].0.as_str()) {
            Ok(index) => Ok(Self { entries, index }),
            Err(idx) => Err(GgufError::DuplicateKey { key: entries[idx].0.clone(), offset: 0 }),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let idx = self.index.find(key, |idx| self.entries[idx].0.as_str())?;
        Some(&self.entries[idx].1)
    }

    /// The entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A string that is UTF-8.
    ///
    /// # Errors
    /// If the value is no string, or not UTF-8.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::String(text) = value else { return Err(wrong_type(key, "string", value)) };
        let text = text
            .to_str()
            .map_err(|error| GgufError::StringNotUtf8 { key: key.to_owned(), valid_up_to: error.valid_up_to() })?;
        Ok(Some(text))
    }

    /// A truth value.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "bool", other)),
        }
    }

    /// A 32-bit float.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "f32", other)),
        }
    }

    /// An integer that fits a `u32`.
    ///
    /// # Errors
    /// If the value is no integer or does not fit.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.integer(key, "an integer that fits u32")
    }

    /// An integer that fits a `u64`.
    ///
    /// # Errors
    /// If the value is no integer or does not fit.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.integer(key, "an integer that fits u64")
    }

    /// An integer that fits an `i64`.
    ///
    /// # Errors
    /// If the value is no integer or does not fit.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, GgufError> {
        self.integer(key, "an integer that fits i64")
    }

    /// An array of strings; whether each is UTF-8 is for the caller to see.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>, GgufError> {
        match self.array(key, "array of string")? {
            None => Ok(None),
            Some(Array::String(strings)) => Ok(Some(strings)),
            Some(other) => Err(wrong_item(key, "array of string", other)),
        }
    }

    /// An array of i32.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn i32s(&self, key: &str) -> Result<Option<&[i32]>, GgufError> {
        match self.array(key, "array of i32")? {
            None => Ok(None),
            Some(Array::I32(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_item(key, "array of i32", other)),
        }
    }

    /// An array of f32.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        match self.array(key, "array of f32")? {
            None => Ok(None),
            Some(Array::F32(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_item(key, "array of f32", other)),
        }
    }

    /// An array of any integer type whose elements fit a `u64`.
    ///
    /// # Errors
    /// If the value is of another type, or an element does not fit.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>, GgufError> {
        let expected = "array of integers that fit u64";
        let Some(array) = self.array(key, expected)? else { return Ok(None) };
        let element = |item: Value| {
            let got = item.integer().ok_or_else(|| wrong_item(key, expected, array))?;
            u64::try_from(got).map_err(|_| GgufError::OutOfRange { key: key.to_owned(), expected, got })
        };
        array.iter().map(element).collect::<Result<_, _>>().map(Some)
    }

    fn array(&self, key: &str, expected: &'static str) -> Result<Option<&Array>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(other) => Err(wrong_type(key, expected, other)),
        }
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let got = value.integer().ok_or_else(|| wrong_type(key, expected, value))?;
        let fits = T::try_from(got).map_err(|_| GgufError::OutOfRange { key: key.to_owned(), expected, got })?;
        Ok(Some(fits))
    }
}

fn wrong_type(key: &str, expected: &'static str, got: &Value) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), expected, got: got.value_type() }
}

fn wrong_item(key: &str, expected: &'static str, got: &Array) -> GgufError {
    GgufError::WrongItemType { key: key.to_owned(), expected, got: got.item_type() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, Value)]) -> Metadata {
        Metadata::new(entries.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()).unwrap()
    }

    #[test]
    fn integers_of_any_type_are_read_when_they_fit() {
        let values: [Value; 8] =
            [7u8.into(), 7i8.into(), 7u16.into(), 7i16.into(), 7u32.into(), 7i32.into(), 7u64.into(), 7i64.into()];
        for value in values {
            let metadata = metadata(&[("n", value)]);
            assert_eq!(metadata.u32("n").unwrap(), Some(7));
            assert_eq!(metadata.u64("n").unwrap(), Some(7));
            assert_eq!(metadata.i64("n").unwrap(), Some(7));
        }
    }

    #[test]
    fn integers_that_do_not_fit_are_refused() {
        let metadata = metadata(&[("minus", (-1i32).into()), ("big", (1u64 << 32).into())]);
        assert!(matches!(metadata.u64("minus"), Err(GgufError::OutOfRange { got: -1, .. })));
        assert!(matches!(metadata.u32("big"), Err(GgufError::OutOfRange { got: 4_294_967_296, .. })));
    }

    #[test]
    fn another_type_is_an_error_and_an_absent_key_is_not() {
        let metadata = metadata(&[("s", "text".into()), ("a", vec![1i32].into()), ("f", 0.5f32.into())]);
        assert!(matches!(metadata.u32("s"), Err(GgufError::WrongType { got: crate::ValueType::String, .. })));
        assert!(matches!(metadata.string("f"), Err(GgufError::WrongType { .. })));
        assert!(matches!(metadata.bool("s"), Err(GgufError::WrongType { .. })));
        assert!(matches!(metadata.f32("s"), Err(GgufError::WrongType { .. })));
        assert!(matches!(metadata.strings("s"), Err(GgufError::WrongType { .. })));
        assert!(matches!(metadata.strings("a"), Err(GgufError::WrongItemType { got: crate::ValueType::I32, .. })));
        assert!(matches!(metadata.f32s("a"), Err(GgufError::WrongItemType { .. })));
        assert_eq!(metadata.i32s("a").unwrap(), Some(&[1][..]));
        assert_eq!(metadata.u64s("a").unwrap(), Some(vec![1]));
        assert_eq!(metadata.u32("absent").unwrap(), None);
        assert_eq!(metadata.strings("absent").unwrap(), None);
    }

    #[test]
    fn strings_that_are_not_utf8_fail_when_read_as_text() {
        let metadata = metadata(&[("raw", Value::String(b"a\xff"[..].into()))]);
        assert!(matches!(metadata.string("raw"), Err(GgufError::StringNotUtf8 { valid_up_to: 1, .. })));
        assert!(matches!(metadata.get("raw"), Some(Value::String(text)) if text.as_bytes() == b"a\xff"));
    }

    #[test]
    fn a_repeated_key_is_found() {
        let entry = |key: &str| (key.to_owned(), Value::U8(0));
        let entries = vec![entry("b"), entry("a"), entry("c"), entry("a"), entry("b")];
        assert!(matches!(Metadata::new(entries), Err(GgufError::DuplicateKey { key, .. }) if key == "a"));
    }
}
