//! Tensors, sequences and optional values in files.

use super::types::{dtype, type_name};
use super::{Reader, open_file, pair};
use crate::array::{Array, Data, Value};
use crate::error::GraphError;
use crate::package::blob::confined;
use crate::protobuf::{Field, Message};
use ballast_backend::{DType, RANK_MAX, element_count};
use half::{bf16, f16};
use std::borrow::Cow;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};
use std::sync::Arc;

/// The fields of a tensor as they come.
#[derive(Default)]
struct Parts<'a> {
    name: String,
    dims: Vec<i64>,
    code: i64,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    /// `int32_data`, `int64_data` or `uint64_data`, whose numbers have one wire form.
    ints: Vec<i64>,
    texts: Vec<String>,
    raw: Option<&'a [u8]>,
    external: Vec<(String, String)>,
    is_external: bool,
}

/// A tensor with its name.
pub(crate) fn read_tensor(message: Message<'_>, reader: &mut Reader<'_>) -> Result<(String, Array), GraphError> {
    let mut parts = Parts::default();
    for field in message.fields() {
        parts.add(field?)?;
    }
    let (shape, dtype) = parts.head(reader.limits.tensor_bytes_max)?;
    let len: usize = shape.iter().product();
    let data = parts.data(dtype, len, reader)?;
    if data.len() != len {
        return Err(parts.wrong(format!("{len} elements of {dtype}"), data.len().to_string()));
    }
    Ok((parts.name, Array::of_data(&shape, data)))
}

impl<'a> Parts<'a> {
    fn add(&mut self, field: Field<'a>) -> Result<(), GraphError> {
        match field.number {
            1 => field.ints(&mut self.dims)?,
            2 => self.code = field.int()?,
            4 => field.floats(&mut self.floats)?,
            5 | 7 | 11 => field.ints(&mut self.ints)?,
            6 => self.texts.push(field.text()?),
            8 => self.name = field.text()?,
            9 => self.raw = Some(field.bytes()?),
            10 => field.doubles(&mut self.doubles)?,
            13 => self.external.push(pair(field.message("place of a tensor")?)?),
            14 => self.is_external = field.int()? == 1,
            _ => {}
        }
        Ok(())
    }

    fn wrong(&self, expected: impl Into<String>, got: impl Into<String>) -> GraphError {
        GraphError::malformed(format!("tensor {:?}", self.name), expected, got)
    }

    /// Shape and type.
    fn head(&self, bytes_max: usize) -> Result<(Vec<usize>, DType), GraphError> {
        let Some(dtype) = dtype(self.code) else {
            return Err(GraphError::Unsupported {
                what: vec![format!("{:?}, a tensor of {}", self.name, type_name(self.code))],
            });
        };
        let extents = self.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<usize>, _>>();
        let shape = extents.ok().filter(|shape| shape.len() <= RANK_MAX);
        let shape = shape.ok_or_else(|| {
            self.wrong(format!("at most {RANK_MAX} extents of 0 or more"), format!("{:?}", self.dims))
        })?;
        let bytes = element_count(&shape).and_then(|len| len.checked_mul(dtype.size_bytes()));
        if bytes.is_none_or(|bytes| bytes > bytes_max) {
            return Err(self.wrong(format!("at most {bytes_max} bytes"), format!("the shape {shape:?}")));
        }
        Ok((shape, dtype))
    }

    fn data(&mut self, dtype: DType, len: usize, reader: &Reader<'_>) -> Result<Data, GraphError> {
        if dtype == DType::Str {
            return Ok(Data::Str(Arc::new(std::mem::take(&mut self.texts))));
        }
        let raw: Cow<'_, [u8]> = match self.raw {
            Some(raw) if !self.is_external => Cow::Borrowed(raw),
            _ if self.is_external => Cow::Owned(self.external_bytes(len * dtype.size_bytes(), reader)?),
            _ => return self.typed(dtype),
        };
        if raw.len() != len * dtype.size_bytes() {
            return Err(self.wrong(format!("{} bytes", len * dtype.size_bytes()), raw.len().to_string()));
        }
        Ok(of_bytes(dtype, &raw))
    }

    /// Elements in the field of their type.
    fn typed(&mut self, dtype: DType) -> Result<Data, GraphError> {
        let ints = &self.ints;
        let outside = |_| GraphError::malformed("tensor", format!("numbers of {dtype}"), "one outside");
        fn narrow<T: TryFrom<i64>>(ints: &[i64]) -> Result<Arc<Vec<T>>, T::Error> {
            ints.iter().map(|&value| T::try_from(value)).collect::<Result<Vec<T>, _>>().map(Arc::new)
        }
        Ok(match dtype {
            DType::F32 => Data::F32(Arc::new(std::mem::take(&mut self.floats))),
            DType::F64 => Data::F64(Arc::new(std::mem::take(&mut self.doubles))),
            DType::F16 => {
                let bits = narrow::<u16>(ints).map_err(outside)?;
                Data::F16(Arc::new(bits.iter().map(|&bits| f16::from_bits(bits)).collect()))
            }
            DType::Bf16 => {
                let bits = narrow::<u16>(ints).map_err(outside)?;
                Data::Bf16(Arc::new(bits.iter().map(|&bits| bf16::from_bits(bits)).collect()))
            }
            DType::I64 => Data::I64(Arc::new(ints.clone())),
            DType::I32 => Data::I32(narrow(ints).map_err(outside)?),
            DType::I16 => Data::I16(narrow(ints).map_err(outside)?),
            DType::I8 => Data::I8(narrow(ints).map_err(outside)?),
            DType::U64 => Data::U64(Arc::new(ints.iter().map(|value| value.cast_unsigned()).collect())),
            DType::U32 => Data::U32(narrow(ints).map_err(outside)?),
            DType::U16 => Data::U16(narrow(ints).map_err(outside)?),
            DType::U8 => Data::U8(narrow(ints).map_err(outside)?),
            DType::Bool => Data::Bool(Arc::new(ints.iter().map(|&value| value != 0).collect())),
            DType::Str => Data::Str(Arc::default()),
        })
    }

    /// Elements in a file beside the model, which lies in its folder or below.
    fn external_bytes(&self, n_bytes: usize, reader: &Reader<'_>) -> Result<Vec<u8>, GraphError> {
        let entry = |key: &str| self.external.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let location = entry("location").unwrap_or_default();
        let outside = || self.wrong("a file in the model's folder", format!("{location:?}"));
        let folder = reader.folder.filter(|_| !location.is_empty()).ok_or_else(outside)?;
        // A folder of no name is the one that the program is in.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let is_below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(is_below) {
            return Err(outside());
        }
        let path = folder.join(location);
        // One that is not there is told as such.
        let path =
            if path.exists() { confined(folder, Path::new(location), folder).ok_or_else(outside)? } else { path };
        let number = |key: &str, default: usize| match entry(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| self.wrong(format!("{key} of the file's bytes"), text)),
        };
        let (offset, len) = (number("offset", 0)?, number("length", n_bytes)?);
        let (mut file, file_bytes) = open_file(&path)?;
        let end = offset.checked_add(len).filter(|end| len == n_bytes && *end as u64 <= file_bytes);
        if end.is_none() {
            return Err(self.wrong(format!("{n_bytes} bytes of {location:?}"), format!("{len} from {offset} on")));
        }
        // The part alone: large models keep all their weights in one file.
        let mut bytes = vec![0; n_bytes];
        let read = file.seek(SeekFrom::Start(offset as u64)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|error| GraphError::File { path, fault: error.to_string() })?;
        Ok(bytes)
    }
}

/// Elements from their bytes, which are as many as the elements need.
pub(crate) fn of_bytes(dtype: DType, bytes: &[u8]) -> Data {
    macro_rules! numbers {
        ($variant:ident, $convert:expr) => {
            Data::$variant(Arc::new(bytes.as_chunks().0.iter().map(|bytes| $convert(*bytes)).collect()))
        };
    }
    match dtype {
        DType::F32 => numbers!(F32, f32::from_le_bytes),
        DType::F64 => numbers!(F64, f64::from_le_bytes),
        DType::F16 => numbers!(F16, f16::from_le_bytes),
        DType::Bf16 => numbers!(Bf16, bf16::from_le_bytes),
        DType::I64 => numbers!(I64, i64::from_le_bytes),
        DType::I32 => numbers!(I32, i32::from_le_bytes),
        DType::I16 => numbers!(I16, i16::from_le_bytes),
        DType::I8 => numbers!(I8, i8::from_le_bytes),
        DType::U64 => numbers!(U64, u64::from_le_bytes),
        DType::U32 => numbers!(U32, u32::from_le_bytes),
        DType::U16 => numbers!(U16, u16::from_le_bytes),
        DType::U8 => numbers!(U8, u8::from_le_bytes),
        DType::Bool => Data::Bool(Arc::new(bytes.iter().map(|byte| *byte != 0).collect())),
        DType::Str => Data::Str(Arc::default()),
    }
}

/// A sequence of tensors, sequences or optional values.
pub(crate) fn read_sequence(message: Message<'_>, reader: &mut Reader<'_>) -> Result<Value, GraphError> {
    let mut values = Vec::new();
    for field in message.fields() {
        let field = field?;
        match field.number {
            3 => values.push(read_tensor(field.message("tensor")?, reader)?.1.into()),
            5 => values.push(read_sequence(field.message("sequence")?, reader)?),
            7 => values.push(read_optional(field.message("optional value")?, reader)?),
            _ => {}
        }
    }
    Ok(Value::Sequence(Arc::new(values)))
}

/// A value that may be missing.
pub(crate) fn read_optional(message: Message<'_>, reader: &mut Reader<'_>) -> Result<Value, GraphError> {
    let mut value = None;
    for field in message.fields() {
        let field = field?;
        match field.number {
            3 => value = Some(Value::from(read_tensor(field.message("tensor")?, reader)?.1)),
            5 => value = Some(read_sequence(field.message("sequence")?, reader)?),
            7 => value = Some(read_optional(field.message("optional value")?, reader)?),
            _ => {}
        }
    }
    Ok(Value::Optional(value.map(Arc::new)))
}
