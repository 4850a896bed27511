//! Tensors as bytes: elements in little-endian order, row-major; of texts, each behind its length in four bytes.

use super::datatype;
use ballast_backend::{DType, TensorData};

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RawError {
    #[error("expected {expected} bytes for the shape and datatype, got {got}")]
    Length { expected: usize, got: usize },
    #[error("expected more bytes than a tensor can have")]
    TooLong,
    #[error("expected a truth value of 0 or 1, got {got}")]
    Truth { got: u8 },
    #[error("expected {n_elements} elements, each behind its length in four bytes, got bytes that end in element {at}")]
    Cut { n_elements: usize, at: usize },
    #[error("expected {n_elements} elements, got {n_bytes} bytes after them")]
    Rest { n_elements: usize, n_bytes: usize },
    #[error("expected texts in UTF-8, got something else in element {at}")]
    Text { at: usize },
}

/// Elements of `bytes`. Nothing is allocated before the length is known to be right.
pub(super) fn read(dtype: DType, n_elements: usize, bytes: &[u8]) -> Result<TensorData, RawError> {
    if let Some(size) = datatype::size_bytes(dtype) {
        let expected = n_elements.checked_mul(size).ok_or(RawError::TooLong)?;
        if expected != bytes.len() {
            return Err(RawError::Length { expected, got: bytes.len() });
        }
    }
    Ok(match dtype {
        DType::F32 => TensorData::F32(elements(bytes, f32::from_le_bytes)),
        DType::F64 => TensorData::F64(elements(bytes, f64::from_le_bytes)),
        DType::F16 => TensorData::F16(elements(bytes, u16::from_le_bytes)),
        DType::Bf16 => TensorData::Bf16(elements(bytes, u16::from_le_bytes)),
        DType::I64 => TensorData::I64(elements(bytes, i64::from_le_bytes)),
        DType::I32 => TensorData::I32(elements(bytes, i32::from_le_bytes)),
        DType::I16 => TensorData::I16(elements(bytes, i16::from_le_bytes)),
        DType::I8 => TensorData::I8(elements(bytes, i8::from_le_bytes)),
        DType::U64 => TensorData::U64(elements(bytes, u64::from_le_bytes)),
        DType::U32 => TensorData::U32(elements(bytes, u32::from_le_bytes)),
        DType::U16 => TensorData::U16(elements(bytes, u16::from_le_bytes)),
        DType::U8 => TensorData::U8(bytes.to_vec()),
        DType::Bool => match bytes.iter().find(|byte| **byte > 1) {
            Some(got) => return Err(RawError::Truth { got: *got }),
            None => TensorData::Bool(bytes.iter().map(|byte| *byte == 1).collect()),
        },
        DType::Str => TensorData::Str(texts(n_elements, bytes)?),
    })
}

fn elements<T, const N: usize>(bytes: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|chunk| of(*chunk)).collect()
}

fn texts(n_elements: usize, mut bytes: &[u8]) -> Result<Vec<String>, RawError> {
    // Each element has its length at the least.
    if n_elements > bytes.len() / 4 {
        return Err(RawError::Cut { n_elements, at: bytes.len() / 4 });
    }
    let mut texts = Vec::with_capacity(n_elements);
    for at in 0..n_elements {
        let cut = RawError::Cut { n_elements, at };
        let (length, rest) = bytes.split_first_chunk().ok_or(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut)?;
        let (text, rest) = rest.split_at_checked(length).ok_or(cut)?;
        texts.push(std::str::from_utf8(text).map_err(|_| RawError::Text { at })?.to_owned());
        bytes = rest;
    }
    if bytes.is_empty() { Ok(texts) } else { Err(RawError::Rest { n_elements, n_bytes: bytes.len() }) }
}

/// The bytes of elements.
pub(super) fn write(data: &TensorData) -> Vec<u8> {
    match data {
        TensorData::F32(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::F64(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::F16(bits) | TensorData::Bf16(bits) => bytes(bits, |bits| bits.to_le_bytes()),
        TensorData::I64(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::I32(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::I16(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::I8(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::U64(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::U32(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::U16(values) => bytes(values, |value| value.to_le_bytes()),
        TensorData::U8(values) => values.clone(),
        TensorData::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
        TensorData::Str(texts) => {
            let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len() + 4).sum());
            for text in texts {
                // A text of 4 GiB is beyond every bound of a body.
                bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes
        }
    }
}

fn bytes<T: Copy, const N: usize>(values: &[T], of: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| of(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_another_length_than_the_shape_says_are_refused() {
        for dtype in DType::EVERY {
            let size = datatype::size_bytes(dtype).unwrap_or(4);
            assert!(read(dtype, 3, &vec![0; 3 * size]).is_ok(), "{dtype}");
            for wrong in [0, 3 * size - 1, 3 * size + 1] {
                assert!(read(dtype, 3, &vec![0; wrong]).is_err(), "{dtype} {wrong}");
            }
            assert!(read(dtype, usize::MAX, &[0; 8]).is_err(), "{dtype}");
        }
    }

    #[test]
    fn lengths_of_texts_beyond_the_bytes_are_refused() {
        let cases: [(&[u8], usize, RawError); 5] = [
            (&[255, 255, 255, 255], 1, RawError::Cut { n_elements: 1, at: 0 }),
            (&[1, 0, 0, 0], 1, RawError::Cut { n_elements: 1, at: 0 }),
            (&[1, 0, 0, 0, b'a', 9, 0, 0, 0, b'b'], 2, RawError::Cut { n_elements: 2, at: 1 }),
            (&[1, 0, 0, 0, b'a', b'b'], 1, RawError::Rest { n_elements: 1, n_bytes: 1 }),
            (&[1, 0, 0, 0, 255], 1, RawError::Text { at: 0 }),
        ];
        for (bytes, n_elements, expected) in cases {
            assert_eq!(read(DType::Str, n_elements, bytes), Err(expected), "{bytes:?}");
        }
        let texts = TensorData::Str(vec!["ä".to_owned(), String::new()]);
        assert_eq!(write(&texts), [2, 0, 0, 0, 195, 164, 0, 0, 0, 0]);
    }

    #[test]
    fn truth_values_are_0_and_1() {
        assert_eq!(read(DType::Bool, 2, &[0, 1]), Ok(TensorData::Bool(vec![false, true])));
        assert_eq!(read(DType::Bool, 2, &[0, 2]), Err(RawError::Truth { got: 2 }));
    }
}
