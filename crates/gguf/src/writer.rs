//! Writes version 3 files. What it writes, the reader takes: both keep the same rules.

use crate::header::{ALIGNMENT_KEY, MAGIC, alignment_of};
use crate::limits::{
    ARRAY_DEPTH_MAX, ARRAY_ELEMENTS_MAX, DIMS_MAX, KEY_BYTES_MAX, METADATA_ENTRIES_MAX, STRING_BYTES_MAX,
    TENSOR_NAME_BYTES_MAX, TENSORS_MAX,
};
use crate::name_index::NameIndex;
use crate::reader::{Field, Of};
use crate::stream_writer::PlannedTensor;
use crate::{Array, GgufError, Metadata, TensorType, Value, encode};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const VERSION: u32 = 3;

/// A file to be: metadata and tensors in the order they were given. Checked when it is written.
#[derive(Clone, Debug, Default)]
pub struct Writer<'a> {
    entries: Vec<(String, Value)>,
    tensors: Vec<PlannedTensor>,
    /// The bytes of each tensor.
    data: Vec<Cow<'a, [u8]>>,
}

impl<'a> Writer<'a> {
    /// A file without metadata and tensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. `general.alignment` is obeyed.
    pub fn metadata(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.entries.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a tensor; `shape` is in ggml's order, fastest first.
    pub fn tensor(
        &mut self,
        name: &str,
        shape: &[u64],
        tensor_type: TensorType,
        data: impl Into<Cow<'a, [u8]>>,
    ) -> &mut Self {
        self.tensors.push(PlannedTensor { name: name.to_owned(), shape: shape.to_vec(), tensor_type });
        self.data.push(data.into());
        self
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If the file would not be well-formed: a name twice, a limit passed, data that is not its tensor's size.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GgufError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Creates or replaces the file at `path`.
    ///
    /// # Errors
    /// As [`Writer::to_bytes`], or if the file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), GgufError> {
        let file = File::create(path).map_err(|source| GgufError::Io { path: path.to_owned(), source })?;
        let mut out = BufWriter::new(file);
        self.write_to(&mut out)?;
        out.flush().map_err(|source| GgufError::Io { path: path.to_owned(), source })
    }

    /// Writes the file to `out`.
    ///
    /// # Errors
    /// As [`Writer::to_bytes`], or if `out` fails.
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), GgufError> {
        let alignment = check(&self.entries, &self.tensors)?;
        for (tensor, data) in self.tensors.iter().zip(&self.data) {
            let (expected, got) = (tensor.n_bytes()?, data.len() as u64);
            if expected != got {
                return Err(GgufError::WrongDataLen { name: tensor.name.clone(), expected, got });
            }
        }
        let header = header(&self.entries, &self.tensors, alignment)?;
        self.write_parts(&header, alignment, out).map_err(|source| GgufError::Write { source })
    }

    fn write_parts(&self, header: &[u8], alignment: u64, out: &mut impl Write) -> io::Result<()> {
        write_padded(header, alignment, out)?;
        self.data.iter().try_for_each(|data| write_padded(data, alignment, out))
    }
}

/// Everything before the data, without padding behind it. The parts have been checked.
pub(crate) fn header(
    entries: &[(String, Value)],
    tensors: &[PlannedTensor],
    alignment: u64,
) -> Result<Vec<u8>, GgufError> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        encode::string(key.as_bytes(), &mut out);
        encode::value(value, &mut out);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        encode::string(tensor.name.as_bytes(), &mut out);
        out.extend(u32::try_from(tensor.shape.len()).expect("at most DIMS_MAX").to_le_bytes());
        out.extend(tensor.shape.iter().flat_map(|dim| dim.to_le_bytes()));
        out.extend(tensor.tensor_type.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.n_bytes()?.next_multiple_of(alignment);
    }
    Ok(out)
}

/// The alignment of a file of these parts, if it would be well-formed.
pub(crate) fn check(entries: &[(String, Value)], tensors: &[PlannedTensor]) -> Result<u64, GgufError> {
    at_most(METADATA_ENTRIES_MAX, entries.len(), Field { what: "metadata count", of: Of::File })?;
    at_most(TENSORS_MAX, tensors.len(), Field { what: "tensor count", of: Of::File })?;
    for (key, value) in entries {
        check_name(KEY_BYTES_MAX, key, Field { what: "key", of: Of::Key(key) })?;
        check_value(value, Field { what: "value", of: Of::Key(key) })?;
    }
    tensors.iter().try_for_each(check_tensor)?;
    let name = |idx: usize| tensors[idx].name.as_str();
    NameIndex::new(tensors.len(), name)
        .map_err(|idx| GgufError::DuplicateTensor { name: name(idx).to_owned(), offset: 0 })?;
    let key = |idx: usize| entries[idx].0.as_str();
    NameIndex::new(entries.len(), key)
        .map_err(|idx| GgufError::DuplicateKey { key: key(idx).to_owned(), offset: 0 })?;
    let alignment = entries.iter().filter(|(key, _)| key == ALIGNMENT_KEY).cloned().collect();
    alignment_of(&Metadata::new(alignment)?).map(u64::from)
}

/// Writes bytes, and zeros behind them up to a multiple of the alignment.
pub(crate) fn write_padded(bytes: &[u8], alignment: u64, out: &mut impl Write) -> io::Result<()> {
    let n_bytes = bytes.len() as u64;
    let padding = n_bytes.next_multiple_of(alignment) - n_bytes;
    out.write_all(bytes)?;
    io::copy(&mut io::Read::take(io::repeat(0), padding), out)?;
    Ok(())
}

fn at_most(max: u64, n: usize, field: Field<'_>) -> Result<(), GgufError> {
    let got = n as u64;
    if got <= max { Ok(()) } else { Err(GgufError::TooMany { field: field.to_string(), offset: 0, max, got }) }
}

fn check_name(max: u64, name: &str, field: Field<'_>) -> Result<(), GgufError> {
    if name.is_empty() {
        return Err(GgufError::EmptyName { field: field.to_string(), offset: 0 });
    }
    at_most(max, name.len(), field)
}

fn check_value(value: &Value, field: Field<'_>) -> Result<(), GgufError> {
    if let Value::String(text) = value {
        at_most(STRING_BYTES_MAX, text.as_bytes().len(), field)?;
    }
    if let Value::Array(array) = value {
        check_array(array, field, 1)?;
    }
    Ok(())
}

fn check_array(array: &Array, field: Field<'_>, depth: usize) -> Result<(), GgufError> {
    if depth > ARRAY_DEPTH_MAX {
        return Err(GgufError::ArrayTooDeep { field: field.to_string(), offset: 0, max: ARRAY_DEPTH_MAX });
    }
    at_most(ARRAY_ELEMENTS_MAX, array.len(), Field { what: "array length", ..field })?;
    if let Array::String(strings) = array {
        strings.iter().try_for_each(|string| at_most(STRING_BYTES_MAX, string.len(), field))?;
    }
    if let Array::Array(arrays) = array {
        arrays.iter().try_for_each(|array| check_array(array, field, depth + 1))?;
    }
    Ok(())
}

fn check_tensor(tensor: &PlannedTensor) -> Result<(), GgufError> {
    let PlannedTensor { name, shape, .. } = tensor;
    check_name(TENSOR_NAME_BYTES_MAX, name, Field { what: "name", of: Of::Tensor(name) })?;
    if shape.is_empty() || shape.len() > DIMS_MAX {
        let got = u32::try_from(shape.len()).unwrap_or(u32::MAX);
        return Err(GgufError::BadDimCount { name: name.clone(), offset: 0, max: DIMS_MAX, got });
    }
    tensor.n_bytes().map(|_| ())
}
