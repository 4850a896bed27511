//! The elements of a program's values: from its text or a file of weights to arrays.
//!
//! Floats become f32, whatever the program has: f16 has no value that f32 has not. Integers keep their width here; an
//! element of less than a byte takes one.

use super::{Content, ElementType, Literal, Numbers, TensorType};
use crate::array::{Array, Data};
use crate::error::GraphError;
use crate::onnx::of_bytes;
use crate::package::blob::Blobs;
use ballast_backend::{DType, element_count};
use half::{bf16, f16};
use std::sync::Arc;

/// Reads values, of which all together have a bound.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    blobs: &'a mut Blobs,
    bytes_max: usize,
    bytes_left: usize,
    tensor_bytes_max: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(blobs: &'a mut Blobs, bytes_max: usize, tensor_bytes_max: usize) -> Self {
        Self { blobs, bytes_max, bytes_left: bytes_max, tensor_bytes_max }
    }

    /// Counts bytes that are about to be allocated.
    pub(crate) fn spend(&mut self, shape: &[usize], dtype: DType) -> Result<usize, GraphError> {
        let len = element_count(shape);
        let bytes = len.and_then(|len| len.checked_mul(dtype.size_bytes()));
        let (Some(len), Some(bytes)) = (len, bytes.filter(|&bytes| bytes <= self.tensor_bytes_max)) else {
            let expected = format!("at most {} bytes", self.tensor_bytes_max);
            return Err(GraphError::malformed("value", expected, format!("the shape {shape:?} of {dtype}")));
        };
        let what = || "bytes of all values".to_owned();
        let max = self.bytes_max as u64;
        let more = || GraphError::TooMany { what: what(), max, got: max.saturating_add(bytes as u64) };
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(more)?;
        Ok(len)
    }

    /// Whether no file was truncated while it was read.
    pub(crate) fn check_intact(&self) -> Result<(), GraphError> {
        self.blobs.check_intact()
    }

    /// The elements of a tensor.
    pub(crate) fn array(&mut self, literal: &Literal) -> Result<Array, GraphError> {
        let of = literal.of.tensor();
        let of = of.ok_or_else(|| GraphError::malformed("value", "a tensor", literal.of.kind()))?;
        let shape = of.shape().ok_or_else(|| GraphError::malformed("value", "extents that are told", "others"))?;
        let len = self.spend(&shape, held_as(of.element))?;
        let data = match &literal.content {
            Content::Here(numbers) => here(numbers, of.element, len)?,
            Content::File { name, offset } => self.filed(name, *offset, of, len)?,
            Content::Texts(_) | Content::Numbers(_) | Content::Other => {
                return Err(GraphError::malformed("value", "elements of a tensor", "something else"));
            }
        };
        if data.len() != len {
            return Err(GraphError::malformed("value", format!("{len} elements"), data.len().to_string()));
        }
        Ok(Array::of_data(&shape, data))
    }

    fn filed(&mut self, name: &str, offset: u64, of: &TensorType, len: usize) -> Result<Data, GraphError> {
        let blob = self.blobs.entry(name, offset)?;
        if blob.element != of.element {
            let what = format!("file of weights {name:?}, entry at {offset}");
            return Err(GraphError::malformed(what, of.element.as_str(), blob.element.as_str()));
        }
        packed(blob.bytes, of.element, len)
    }
}

/// The type that elements have in memory.
fn held_as(element: ElementType) -> DType {
    match element {
        ElementType::Bool => DType::Bool,
        ElementType::Text => DType::Str,
        ElementType::F16
        | ElementType::F32
        | ElementType::F64
        | ElementType::Bf16
        | ElementType::F8E4M3
        | ElementType::F8E5M2 => DType::F32,
        ElementType::I8 | ElementType::I4 => DType::I8,
        ElementType::I16 => DType::I16,
        ElementType::I32 => DType::I32,
        ElementType::I64 => DType::I64,
        ElementType::U8 | ElementType::U6 | ElementType::U4 | ElementType::U3 | ElementType::U2 | ElementType::U1 => {
            DType::U8
        }
        ElementType::U16 => DType::U16,
        ElementType::U32 => DType::U32,
        ElementType::U64 => DType::U64,
    }
}

/// Elements in the program's text.
fn here(numbers: &Numbers, element: ElementType, len: usize) -> Result<Data, GraphError> {
    let wrong = |got: &str| GraphError::malformed("value", format!("elements of {}", element.as_str()), got);
    if let Numbers::Bytes(bytes) = numbers {
        return packed(bytes, element, len);
    }
    if numbers.len() != len {
        return Err(GraphError::malformed("value", format!("{len} elements"), numbers.len().to_string()));
    }
    let dtype = held_as(element);
    match (numbers, dtype) {
        (Numbers::Floats(values), DType::F32) => Ok(Data::F32(Arc::new(values.clone()))),
        #[expect(clippy::cast_possible_truncation, reason = "everything is computed in f32")]
        (Numbers::Doubles(values), DType::F32) => {
            Ok(Data::F32(Arc::new(values.iter().map(|&value| value as f32).collect())))
        }
        (Numbers::Bools(values), DType::Bool) => Ok(Data::Bool(Arc::new(values.clone()))),
        (Numbers::Texts(values), DType::Str) => Ok(Data::Str(Arc::new(values.clone()))),
        (Numbers::Ints(values), _) => ints(values, dtype).ok_or_else(|| wrong("integers that are none")),
        (Numbers::Floats(_) | Numbers::Doubles(_), _) => Err(wrong("floats")),
        (Numbers::Bools(_), _) => Err(wrong("truth values")),
        (Numbers::Texts(_), _) => Err(wrong("texts")),
        (Numbers::Bytes(_), _) => Err(wrong("bytes")),
    }
}

fn ints(values: &[i64], dtype: DType) -> Option<Data> {
    fn narrow<T: TryFrom<i64>>(values: &[i64]) -> Option<Arc<Vec<T>>> {
        values.iter().map(|&value| T::try_from(value).ok()).collect::<Option<Vec<T>>>().map(Arc::new)
    }
    match dtype {
        DType::I64 => narrow(values).map(Data::I64),
        DType::I32 => narrow(values).map(Data::I32),
        DType::I16 => narrow(values).map(Data::I16),
        DType::I8 => narrow(values).map(Data::I8),
        DType::U64 => Some(Data::U64(Arc::new(values.iter().map(|value| value.cast_unsigned()).collect()))),
        DType::U32 => narrow(values).map(Data::U32),
        DType::U16 => narrow(values).map(Data::U16),
        DType::U8 => narrow(values).map(Data::U8),
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 | DType::Bool | DType::Str => None,
    }
}

/// Elements one after the other; those of less than a byte begin in a byte's low bits.
fn packed(bytes: &[u8], element: ElementType, len: usize) -> Result<Data, GraphError> {
    let bits = element.bits();
    let expected = len.checked_mul(bits).map(|bits| bits.div_ceil(8));
    if expected != Some(bytes.len()) || bits == 0 {
        let expected = format!("{len} elements of {} in {expected:?} bytes", element.as_str());
        return Err(GraphError::malformed("value", expected, bytes.len().to_string()));
    }
    let f32s = |values: Vec<f32>| Data::F32(Arc::new(values));
    Ok(match element {
        ElementType::F16 => f32s(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()),
        ElementType::Bf16 => {
            f32s(bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect())
        }
        #[expect(clippy::cast_possible_truncation, reason = "everything is computed in f32")]
        ElementType::F64 => f32s(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()),
        ElementType::I4 => {
            let signed = unpacked(bytes, 4, len).into_iter().map(|value| (value << 4).cast_signed() >> 4);
            Data::I8(Arc::new(signed.collect()))
        }
        ElementType::U1 | ElementType::U2 | ElementType::U3 | ElementType::U4 | ElementType::U6 => {
            Data::U8(Arc::new(unpacked(bytes, bits, len)))
        }
        ElementType::F8E4M3 | ElementType::F8E5M2 => {
            return Err(GraphError::Unsupported { what: vec![format!("values of {}", element.as_str())] });
        }
        ElementType::F32
        | ElementType::Bool
        | ElementType::Text
        | ElementType::I8
        | ElementType::I16
        | ElementType::I32
        | ElementType::I64
        | ElementType::U8
        | ElementType::U16
        | ElementType::U32
        | ElementType::U64 => of_bytes(held_as(element), bytes),
    })
}

/// Numbers of `bits` bits, 8 at most, low ones first; one may lie in two bytes.
pub(crate) fn unpacked(bytes: &[u8], bits: usize, len: usize) -> Vec<u8> {
    let mask = u16::try_from((1_u32 << bits) - 1).expect("at most 8 bits");
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default());
    let number = |idx: usize| {
        let (at, shift) = (idx * bits / 8, idx * bits % 8);
        let pair = byte(at) | byte(at + 1) << 8;
        u8::try_from(pair >> shift & mask).expect("at most 8 bits")
    };
    (0..len).map(number).collect()
}

/// An array as operators take it: integers of every width are held in i32, which all of the machine's indices fit.
pub(crate) fn widened(array: Array) -> Result<Array, GraphError> {
    fn wide<T: TryInto<i32> + Copy>(values: &[T]) -> Option<Vec<i32>> {
        values.iter().map(|&value| value.try_into().ok()).collect()
    }
    let values = match array.data() {
        Data::F32(_) | Data::I32(_) | Data::Bool(_) | Data::Str(_) => return Ok(array),
        Data::I8(values) => wide(values),
        Data::I16(values) => wide(values),
        Data::U8(values) => wide(values),
        Data::U16(values) => wide(values),
        Data::U32(values) => wide(values),
        Data::I64(values) => wide(values),
        Data::U64(values) => wide(values),
        Data::F64(_) | Data::F16(_) | Data::Bf16(_) => None,
    };
    let values = values.ok_or_else(|| GraphError::malformed("value", "integers of 32 bits", "one outside"))?;
    Ok(Array::new(array.shape(), values))
}

/// Any number as f32.
pub(crate) fn floats(array: &Array) -> Option<Vec<f32>> {
    #[expect(clippy::cast_precision_loss, reason = "compressed weights have 16 bits at most")]
    Some(match array.data() {
        Data::F32(values) => values.to_vec(),
        Data::I8(values) => values.iter().map(|&value| f32::from(value)).collect(),
        Data::U8(values) => values.iter().map(|&value| f32::from(value)).collect(),
        Data::I16(values) => values.iter().map(|&value| f32::from(value)).collect(),
        Data::U16(values) => values.iter().map(|&value| f32::from(value)).collect(),
        Data::I32(values) => values.iter().map(|&value| value as f32).collect(),
        Data::F64(_)
        | Data::F16(_)
        | Data::Bf16(_)
        | Data::I64(_)
        | Data::U64(_)
        | Data::U32(_)
        | Data::Bool(_)
        | Data::Str(_) => return None,
    })
}
