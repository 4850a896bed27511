//! From bytes to a checked header: metadata and the tensor table. Pure, and total: any bytes give a header or an error.

use crate::limits::{
    ALIGNMENT_DEFAULT, ALIGNMENT_MAX, ALIGNMENT_MIN, ARRAY_DEPTH_MAX, ARRAY_ELEMENTS_MAX, KEY_BYTES_MAX,
    METADATA_ENTRIES_MAX, STRING_BYTES_MAX, TENSORS_MAX,
};
use crate::name_index::NameIndex;
use crate::reader::{Field, Of, Reader};
use crate::{Array, GgufError, Metadata, StringArray, TensorInfo, Value, ValueType, tensor};

/// The first bytes of every file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// The entry that says what tensor offsets are multiples of.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// What a file says before its data, checked against the file's length.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The format's version: 2 or 3.
    pub version: u32,
    /// What tensor offsets are multiples of.
    pub alignment: u32,
    /// The metadata.
    pub metadata: Metadata,
    /// The tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// Where the tensor data begins, from the start of the file. A file without tensors may end before it.
    pub data_offset: u64,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, GgufError> {
        let mut reader = Reader::new(bytes);
        let version = read_version(&mut reader)?;
        let n_tensors = reader.count(TENSORS_MAX, Field { what: "tensor count", of: Of::File })?;
        let n_entries = reader.count(METADATA_ENTRIES_MAX, Field { what: "metadata count", of: Of::File })?;
        let metadata = read_metadata(&mut reader, n_entries)?;
        let alignment = alignment_of(&metadata)?;
        let mut tensors = tensor::read_table(&mut reader, n_tensors)?;
        let data_offset = reader.offset().next_multiple_of(alignment.into());
        tensor::place(&mut tensors, alignment, data_offset, bytes.len() as u64)?;
        Ok(Self { version, alignment, metadata, tensors: tensors.infos, data_offset })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<u32, GgufError> {
    let got = reader.array(Field { what: "magic", of: Of::File })?;
    if got != MAGIC {
        return Err(GgufError::BadMagic { got });
    }
    match reader.u32(Field { what: "version", of: Of::File })? {
        version @ 2..=3 => Ok(version),
        got if (1..=3).contains(&got.swap_bytes()) => Err(GgufError::BigEndian { version: got.swap_bytes() }),
        got => Err(GgufError::UnsupportedVersion { got }),
    }
}

/// The alignment a file with this metadata has.
pub(crate) fn alignment_of(metadata: &Metadata) -> Result<u32, GgufError> {
    let got = metadata.u32(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    if got.is_power_of_two() && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&got) {
        return Ok(got);
    }
    Err(GgufError::BadAlignment { min: ALIGNMENT_MIN, max: ALIGNMENT_MAX, got })
}

fn read_metadata(reader: &mut Reader<'_>, n_entries: u64) -> Result<Metadata, GgufError> {
    // A key of one byte with its length, a value type and a value of one byte.
    let entry_bytes_min = 8 + 1 + 4 + 1;
    reader.expect_room(n_entries, entry_bytes_min, Field { what: "entries", of: Of::File })?;
    let (mut entries, mut offsets) = (Vec::new(), Vec::new());
    for idx in 0..n_entries {
        offsets.push(reader.offset());
        let key = reader.name(KEY_BYTES_MAX, Field { what: "key", of: Of::Entry(idx) })?;
        let value = read_value(reader, &key)?;
        entries.push((key, value));
    }
    let names = NameIndex::new(entries.len(), |idx| entries[idx].0.as_str());
    match names {
        Ok(index) => Ok(Metadata::from_parts(entries, index)),
        Err(idx) => Err(GgufError::DuplicateKey { key: entries.swap_remove(idx).0, offset: offsets[idx] }),
    }
}

fn read_value_type(reader: &mut Reader<'_>, field: Field<'_>) -> Result<ValueType, GgufError> {
    let offset = reader.offset();
    let got = reader.u32(field)?;
    ValueType::from_id(got).ok_or_else(|| GgufError::UnknownValueType { field: field.to_string(), offset, got })
}

fn read_value(reader: &mut Reader<'_>, key: &str) -> Result<Value, GgufError> {
    let field = Field { what: "value", of: Of::Key(key) };
    let value_type = read_value_type(reader, Field { what: "value type", ..field })?;
    Ok(match value_type {
        ValueType::U8 => Value::U8(u8::from_le_bytes(reader.array(field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(reader.array(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(reader.array(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(reader.array(field)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(reader.array(field)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(reader.array(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(reader.array(field)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(reader.array(field)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(reader.array(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(reader.array(field)?)),
        ValueType::Bool => Value::Bool(read_bools(reader, 1, field)?[0]),
        ValueType::String => Value::String(reader.string(STRING_BYTES_MAX, field)?.into()),
        ValueType::Array => Value::Array(read_array(reader, field, 1)?),
    })
}

fn read_array(reader: &mut Reader<'_>, field: Field<'_>, depth: usize) -> Result<Array, GgufError> {
    let offset = reader.offset();
    if depth > ARRAY_DEPTH_MAX {
        return Err(GgufError::ArrayTooDeep { field: field.to_string(), offset, max: ARRAY_DEPTH_MAX });
    }
    let item_type = read_value_type(reader, Field { what: "array item type", ..field })?;
    let n = reader.count(ARRAY_ELEMENTS_MAX, Field { what: "array length", ..field })?;
    let field = Field { what: "array elements", ..field };
    Ok(match item_type {
        ValueType::U8 => Array::U8(read_items(reader, n, field, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(read_items(reader, n, field, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(read_items(reader, n, field, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(read_items(reader, n, field, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(read_items(reader, n, field, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(read_items(reader, n, field, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(read_items(reader, n, field, f32::from_le_bytes)?),
        ValueType::U64 => Array::U64(read_items(reader, n, field, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(read_items(reader, n, field, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(read_items(reader, n, field, f64::from_le_bytes)?),
        ValueType::Bool => Array::Bool(read_bools(reader, n, field)?),
        ValueType::String => Array::String(read_strings(reader, n, field)?),
        ValueType::Array => Array::Array(read_arrays(reader, n, field, depth)?),
    })
}

fn read_items<T, const N: usize>(
    reader: &mut Reader<'_>,
    n: u64,
    field: Field<'_>,
    item: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    let bytes = reader.take(n.saturating_mul(N as u64), field)?;
    let (items, _) = bytes.as_chunks::<N>();
    Ok(items.iter().map(|bytes| item(*bytes)).collect())
}

fn read_bools(reader: &mut Reader<'_>, n: u64, field: Field<'_>) -> Result<Vec<bool>, GgufError> {
    let offset = reader.offset();
    let bytes = reader.take(n, field)?;
    match (offset..).zip(bytes).find(|(_, byte)| **byte > 1) {
        Some((offset, &got)) => Err(GgufError::BadBool { field: field.to_string(), offset, got }),
        None => Ok(bytes.iter().map(|byte| *byte == 1).collect()),
    }
}

/// Two passes: the first finds where every string ends, and so that it is there; the second copies into a buffer of the
/// right size. Nothing is allocated for strings that are only claimed.
fn read_strings(reader: &mut Reader<'_>, n: u64, field: Field<'_>) -> Result<StringArray, GgufError> {
    const LENGTH_BYTES: usize = 8;
    reader.expect_room(n, LENGTH_BYTES as u64, field)?;
    let start = reader.fork();
    let capacity = |n: u64| usize::try_from(n).expect("no more than the bytes in memory");
    let mut ends = Vec::with_capacity(capacity(n));
    let mut end = 0u32;
    for _ in 0..n {
        let string = reader.string(STRING_BYTES_MAX, field)?;
        end += u32::try_from(string.len()).expect("a header is shorter than 4 GiB");
        ends.push(end);
    }
    let mut encoded = start.until(reader);
    let (mut bytes, mut position) = (Vec::with_capacity(end as usize), 0);
    for &end in &ends {
        let (string, rest) = encoded[LENGTH_BYTES..].split_at((end - position) as usize);
        bytes.extend_from_slice(string);
        (encoded, position) = (rest, end);
    }
    Ok(StringArray::from_parts(bytes, ends))
}

fn read_arrays(reader: &mut Reader<'_>, n: u64, field: Field<'_>, depth: usize) -> Result<Vec<Array>, GgufError> {
    // An item type and a length.
    let array_bytes_min = 4 + 8;
    reader.expect_room(n, array_bytes_min, field)?;
    (0..n).map(|_| read_array(reader, field, depth + 1)).collect()
}
