//! Metadata values: scalars, strings and arrays, each with its type in the file.

use std::fmt;
use std::str::Utf8Error;

/// The type of a metadata value, as numbered in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of Rust's own types")]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every type, by identifier.
    pub const ALL: [ValueType; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this identifier in files.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The identifier in files.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The name: `u8`, `f32`, `bool`, `string`, `array`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of Rust's own types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Text),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value's type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value of any of the integer types.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::I8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U64(value) => Some(value.into()),
            Self::I64(value) => Some(value.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

/// A string as the file has it. It should be UTF-8 and need not be: some vocabularies carry raw bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(Box<[u8]>);

impl Text {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// If they are not UTF-8.
    pub fn to_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

/// An array of values of one type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of Rust's own types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// The type of the elements.
    #[must_use]
    pub fn item_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::String(items) => items.len(),
            Self::Array(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F64(items) => items.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `idx` as a value of its own.
    #[must_use]
    pub fn get(&self, idx: usize) -> Option<Value> {
        match self {
            Self::U8(items) => items.get(idx).copied().map(Value::U8),
            Self::I8(items) => items.get(idx).copied().map(Value::I8),
            Self::U16(items) => items.get(idx).copied().map(Value::U16),
            Self::I16(items) => items.get(idx).copied().map(Value::I16),
            Self::U32(items) => items.get(idx).copied().map(Value::U32),
            Self::I32(items) => items.get(idx).copied().map(Value::I32),
            Self::F32(items) => items.get(idx).copied().map(Value::F32),
            Self::Bool(items) => items.get(idx).copied().map(Value::Bool),
            Self::String(items) => items.get(idx).map(|bytes| Value::String(bytes.into())),
            Self::Array(items) => items.get(idx).cloned().map(Value::Array),
            Self::U64(items) => items.get(idx).copied().map(Value::U64),
            Self::I64(items) => items.get(idx).copied().map(Value::I64),
            Self::F64(items) => items.get(idx).copied().map(Value::F64),
        }
    }

    /// The elements, each as a value of its own.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> {
        (0..self.len()).map(|idx| self.get(idx).expect("idx is below len"))
    }
}

/// Strings in one buffer: a vocabulary of 256 Ki tokens is two allocations.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StringArray {
    bytes: Box<[u8]>,
    ends: Box<[u32]>,
}

impl StringArray {
    /// An array of `ends.len()` strings; string `i` ends before byte `ends[i]` of `bytes`.
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Self {
        assert_eq!(ends.last().map_or(0, |&end| end as usize), bytes.len(), "the last string ends with the buffer");
        Self { bytes: bytes.into(), ends: ends.into() }
    }

    /// The number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `idx`. They need not be UTF-8.
    #[must_use]
    pub fn get(&self, idx: usize) -> Option<&[u8]> {
        let end = *self.ends.get(idx)? as usize;
        let start = idx.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.bytes[start..end])
    }

    /// The bytes of every string, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        (0..self.len()).map(|idx| self.get(idx).expect("idx is below len"))
    }

    /// Every string as text, an error in place of each that is not UTF-8.
    pub fn strs(&self) -> impl ExactSizeIterator<Item = Result<&str, Utf8Error>> {
        self.iter().map(std::str::from_utf8)
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for StringArray {
    /// # Panics
    /// If the strings have more than `u32::MAX` bytes together.
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for string in strings {
            bytes.extend_from_slice(string.as_ref());
            ends.push(u32::try_from(bytes.len()).expect("fewer than 4 GiB of strings"));
        }
        Self::from_parts(bytes, ends)
    }
}

macro_rules! value_from {
    ($($variant:ident($scalar:ty),)*) => {
        $(
            impl From<$scalar> for Value {
                fn from(value: $scalar) -> Self {
                    Self::$variant(value)
                }
            }
            impl From<Vec<$scalar>> for Value {
                fn from(items: Vec<$scalar>) -> Self {
                    Self::Array(Array::$variant(items))
                }
            }
        )*
    };
}

value_from! {
    U8(u8), I8(i8), U16(u16), I16(i16), U32(u32), I32(i32), F32(f32), Bool(bool), U64(u64), I64(i64), F64(f64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<StringArray> for Value {
    fn from(strings: StringArray) -> Self {
        Self::Array(Array::String(strings))
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_arrays_give_back_their_strings() {
        let strings: StringArray = ["", "a", "", "bc"].into_iter().collect();
        assert_eq!(strings.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"", b"bc"]);
        assert_eq!(strings.get(4), None);
        assert!(StringArray::default().is_empty());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let strings: StringArray = [&b"ok"[..], b"\xff"].into_iter().collect();
        let texts: Vec<_> = strings.strs().collect();
        assert_eq!(texts[0], Ok("ok"));
        assert!(texts[1].is_err());
        assert_eq!(Text::from(&b"\xff"[..]).as_bytes(), b"\xff");
        assert!(Text::from(&b"\xff"[..]).to_str().is_err());
    }

    #[test]
    fn type_identifiers_are_those_of_the_format() {
        for (id, value_type) in (0..).zip(ValueType::ALL) {
            assert_eq!((value_type.id(), ValueType::from_id(id)), (id, Some(value_type)));
        }
        assert_eq!(ValueType::from_id(13), None);
    }
}
