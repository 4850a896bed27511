//! Tensors as JSON: a list of values, or lists in lists as the shape says.
//!
//! Text that serde has found to be JSON is read once more, straight into a vector of the right type and size: no value
//! takes more memory than its element, and decimals are rounded once, as the standard library does it.

use ballast_backend::{DType, RANK_MAX, TensorData};
use serde::ser::{Error, SerializeSeq};
use serde::{Serialize, Serializer};

/// Up to here every whole number is a number of 64 bits with a point: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What is wrong with a list of values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValuesError {
    #[error("expected a list")]
    NoList,
    #[error("expected {expected} values for the shape, got {got}")]
    Count { expected: usize, got: usize },
    #[error("expected lists in lists as the shape says, or one list of all values")]
    Nesting,
    #[error("expected values of the datatype, got something else as value {at}")]
    Value { at: usize },
    #[error("expected bytes behind the JSON: values of this datatype cannot be sent in it")]
    Binary,
}

/// Elements of `json`, which is JSON.
pub(super) fn read(dtype: DType, shape: &[usize], json: &str) -> Result<TensorData, ValuesError> {
    let scan = Scan { json, shape, n_elements: shape.iter().product() };
    Ok(match dtype {
        DType::F16 | DType::Bf16 => return Err(ValuesError::Binary),
        DType::F32 => TensorData::F32(scan.all(|token| token.parse().ok().filter(|value: &f32| value.is_finite()))?),
        DType::F64 => TensorData::F64(scan.all(|token| token.parse().ok().filter(|value: &f64| value.is_finite()))?),
        DType::I64 => TensorData::I64(scan.all(whole)?),
        DType::I32 => TensorData::I32(scan.all(whole)?),
        DType::I16 => TensorData::I16(scan.all(whole)?),
        DType::I8 => TensorData::I8(scan.all(whole)?),
        DType::U64 => TensorData::U64(scan.all(whole)?),
        DType::U32 => TensorData::U32(scan.all(whole)?),
        DType::U16 => TensorData::U16(scan.all(whole)?),
        DType::U8 => TensorData::U8(scan.all(whole)?),
        DType::Bool => TensorData::Bool(scan.all(|token| token.parse().ok())?),
        DType::Str => TensorData::Str(scan.all(|token| serde_json::from_str(token).ok())?),
    })
}

/// A whole number, which JSON may also write with a point or an exponent.
fn whole<T: TryFrom<i128>>(token: &str) -> Option<T> {
    let exact = token.parse::<i128>().ok();
    let written = || {
        let value = token.parse::<f64>().ok().filter(|value| value.fract() == 0.0 && value.abs() <= WHOLE_MAX)?;
        #[expect(clippy::cast_possible_truncation, reason = "every whole number up to there is one of i128")]
        Some(value as i128)
    };
    T::try_from(exact.or_else(written)?).ok()
}

/// A walk over the tokens.
struct Scan<'a> {
    json: &'a str,
    shape: &'a [usize],
    n_elements: usize,
}

impl<'a> Scan<'a> {
    fn all<T>(&self, value: impl Fn(&'a str) -> Option<T>) -> Result<Vec<T>, ValuesError> {
        // Every value takes a byte at the least.
        if self.n_elements > self.json.len() {
            return Err(ValuesError::Count { expected: self.n_elements, got: self.json.len() / 2 });
        }
        let flat = [self.n_elements];
        let extents = if self.is_nested()? { self.shape } else { &flat[..] };
        let mut values = Vec::with_capacity(self.n_elements);
        let mut counts = [0_usize; RANK_MAX];
        let (mut depth, mut at) = (0, 0);
        while let Some(byte) = self.json.as_bytes().get(at) {
            match byte {
                b'[' => {
                    if depth == extents.len() {
                        return Err(ValuesError::Nesting);
                    }
                    if depth > 0 {
                        counts[depth - 1] += 1;
                    }
                    counts[depth] = 0;
                    depth += 1;
                }
                b']' if depth == extents.len() && counts[depth - 1] != extents[depth - 1] && extents.len() == 1 => {
                    return Err(ValuesError::Count { expected: self.n_elements, got: values.len() });
                }
                // A list that has no place for a value says nothing of what is in it.
                b']' if counts[depth - 1] != extents[depth - 1] => return Err(ValuesError::Nesting),
                b']' => depth -= 1,
                b',' | b' ' | b'\t' | b'\n' | b'\r' => {}
                _ if depth != extents.len() => return Err(ValuesError::Nesting),
                _ => {
                    let token = token(&self.json[at..]);
                    if values.len() == self.n_elements {
                        return Err(ValuesError::Count { expected: self.n_elements, got: values.len() + 1 });
                    }
                    values.push(value(token).ok_or(ValuesError::Value { at: values.len() })?);
                    counts[depth - 1] += 1;
                    at += token.len();
                    continue;
                }
            }
            at += 1;
        }
        if values.len() == self.n_elements {
            Ok(values)
        } else {
            Err(ValuesError::Count { expected: self.n_elements, got: values.len() })
        }
    }

    /// Whether there are lists in the list.
    fn is_nested(&self) -> Result<bool, ValuesError> {
        let inner = self.json.trim_start().strip_prefix('[').ok_or(ValuesError::NoList)?;
        let is_nested = inner.trim_start().starts_with('[');
        if is_nested && self.shape.is_empty() {
            Err(ValuesError::Nesting)
        } else {
            Ok(is_nested && self.shape.len() > 1)
        }
    }
}

/// The token that `json` begins with: a text up to its end, anything else up to what ends it.
fn token(json: &str) -> &str {
    let mut is_escaped = false;
    let end_of_text = |byte: u8| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    };
    let end = if json.starts_with('"') {
        json.bytes().skip(1).position(end_of_text).map(|at| at + 2)
    } else {
        json.bytes().position(|byte| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
    };
    &json[..end.unwrap_or(json.len()).max(1)]
}

/// Elements as one list.
#[derive(Debug)]
pub(super) struct Values(pub(super) TensorData);

impl Values {
    /// Why they cannot be written as JSON, if so.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let infinite =
            "it has values that are no numbers or infinite, which JSON has no words for: ask for binary_data";
        match &self.0 {
            TensorData::F16(_) | TensorData::Bf16(_) => {
                Err("values of its datatype cannot be sent in JSON: ask for binary_data")
            }
            TensorData::F32(values) if values.iter().any(|value| !value.is_finite()) => Err(infinite),
            TensorData::F64(values) if values.iter().any(|value| !value.is_finite()) => Err(infinite),
            TensorData::F32(_)
            | TensorData::F64(_)
            | TensorData::I64(_)
            | TensorData::I32(_)
            | TensorData::I16(_)
            | TensorData::I8(_)
            | TensorData::U64(_)
            | TensorData::U32(_)
            | TensorData::U16(_)
            | TensorData::U8(_)
            | TensorData::Bool(_)
            | TensorData::Str(_) => Ok(()),
        }
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            TensorData::F32(values) => list(serializer, values),
            TensorData::F64(values) => list(serializer, values),
            TensorData::F16(_) | TensorData::Bf16(_) => Err(S::Error::custom("16 bits have no JSON")),
            TensorData::I64(values) => list(serializer, values),
            TensorData::I32(values) => list(serializer, values),
            TensorData::I16(values) => list(serializer, values),
            TensorData::I8(values) => list(serializer, values),
            TensorData::U64(values) => list(serializer, values),
            TensorData::U32(values) => list(serializer, values),
            TensorData::U16(values) => list(serializer, values),
            TensorData::U8(values) => list(serializer, values),
            TensorData::Bool(values) => list(serializer, values),
            TensorData::Str(texts) => list(serializer, texts),
        }
    }
}

fn list<S: Serializer, T: Serialize>(serializer: S, values: &[T]) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(values.len()))?;
    for value in values {
        list.serialize_element(value)?;
    }
    list.end()
}

#[cfg(test)]
mod tests;
