//! The tensor table: what each tensor is, and where its bytes lie.

use crate::limits::{DIMS_MAX, TENSOR_ELEMENTS_MAX, TENSOR_NAME_BYTES_MAX};
use crate::name_index::NameIndex;
use crate::reader::{Field, Of, Reader};
use crate::{GgufError, TensorType};

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the model.
    pub name: String,
    /// The dimensions in ggml's order, fastest first: `[n_cols, n_rows]`. One to four, none of them zero.
    pub shape: Vec<u64>,
    /// How the elements are stored.
    pub tensor_type: TensorType,
    /// Where the bytes begin, from the start of the file that holds them.
    pub offset: u64,
    /// Their number.
    pub n_bytes: u64,
    /// Which of the model's files holds them; 0 if there is only one.
    pub shard_idx: usize,
}

impl TensorInfo {
    /// The number of elements.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// The table as read, and where each entry stands in the file.
pub(crate) struct Table {
    pub(crate) infos: Vec<TensorInfo>,
    entry_offsets: Vec<u64>,
}

/// Reads the table. The tensors' offsets are still relative to the data.
pub(crate) fn read_table(reader: &mut Reader<'_>, n_tensors: u64) -> Result<Table, GgufError> {
    // A name of one byte with its length, the number of dimensions, one dimension, the type and the offset.
    let tensor_bytes_min = 8 + 1 + 4 + 8 + 4 + 8;
    reader.expect_room(n_tensors, tensor_bytes_min, Field { what: "tensor table", of: Of::File })?;
    let mut table = Table { infos: Vec::new(), entry_offsets: Vec::new() };
    for idx in 0..n_tensors {
        table.entry_offsets.push(reader.offset());
        table.infos.push(read_tensor(reader, idx)?);
    }
    match NameIndex::new(table.infos.len(), |idx| table.infos[idx].name.as_str()) {
        Ok(_) => Ok(table),
        Err(idx) => {
            let (name, offset) = (table.infos.swap_remove(idx).name, table.entry_offsets[idx]);
            Err(GgufError::DuplicateTensor { name, offset })
        }
    }
}

fn read_tensor(reader: &mut Reader<'_>, idx: u64) -> Result<TensorInfo, GgufError> {
    let name = reader.name(TENSOR_NAME_BYTES_MAX, Field { what: "name", of: Of::TensorNumber(idx) })?;
    let of = Of::Tensor(&name);
    let dims_offset = reader.offset();
    let n_dims = reader.u32(Field { what: "dimension count", of })?;
    if n_dims == 0 || n_dims as usize > DIMS_MAX {
        return Err(GgufError::BadDimCount { name, offset: dims_offset, max: DIMS_MAX, got: n_dims });
    }
    let mut shape = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        shape.push(reader.u64(Field { what: "dimension", of })?);
    }
    let type_offset = reader.offset();
    let type_id = reader.u32(Field { what: "type", of })?;
    let offset = reader.u64(Field { what: "offset", of })?;
    let tensor_type = tensor_type(type_id, &name, type_offset)?;
    let n_bytes = tensor_bytes(&name, &shape, tensor_type, dims_offset)?;
    Ok(TensorInfo { name, shape, tensor_type, offset, n_bytes, shard_idx: 0 })
}

fn tensor_type(got: u32, name: &str, offset: u64) -> Result<TensorType, GgufError> {
    TensorType::from_id(got).ok_or_else(|| {
        let name = name.to_owned();
        match TensorType::removed_name(got) {
            Some(type_name) => GgufError::RemovedTensorType { name, offset, got, type_name },
            None => GgufError::UnknownTensorType { name, offset, got },
        }
    })
}

/// The bytes of a tensor of this shape and type. `offset` is for errors.
pub(crate) fn tensor_bytes(name: &str, shape: &[u64], tensor_type: TensorType, offset: u64) -> Result<u64, GgufError> {
    let name = || name.to_owned();
    if let Some(dim_idx) = shape.iter().position(|dim| *dim == 0) {
        return Err(GgufError::ZeroDim { name: name(), offset, dim_idx });
    }
    let max = TENSOR_ELEMENTS_MAX;
    let too_large = || GgufError::TensorTooLarge { name: name(), offset, shape: shape.to_vec(), max };
    let n_elements = shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim)).filter(|n| *n <= max);
    let n_elements = n_elements.ok_or_else(too_large)?;
    let (expected, got) = (tensor_type.block_len(), shape.first().copied().unwrap_or(1));
    if !got.is_multiple_of(expected) {
        return Err(GgufError::RowNotInBlocks { name: name(), offset, expected, got });
    }
    tensor_type.row_bytes(n_elements).filter(|n| *n <= max).ok_or_else(too_large)
}

/// Makes the offsets absolute, and checks that every tensor is aligned, inside the file and apart from the others.
pub(crate) fn place(table: &mut Table, alignment: u32, data_offset: u64, file_bytes: u64) -> Result<(), GgufError> {
    for (info, &entry_offset) in table.infos.iter_mut().zip(&table.entry_offsets) {
        let (name, relative) = (|| info.name.clone(), info.offset);
        if !relative.is_multiple_of(alignment.into()) {
            let (offset, expected, got) = (entry_offset, alignment, relative);
            return Err(GgufError::TensorMisaligned { name: name(), offset, expected, got });
        }
        let end = u128::from(data_offset) + u128::from(relative) + u128::from(info.n_bytes);
        if end > file_bytes.into() {
            let (offset, expected, got) = (entry_offset, file_bytes, end);
            return Err(GgufError::TensorOutOfBounds { name: name(), offset, expected, got });
        }
        info.offset = data_offset + relative;
    }
    refuse_overlap(&table.infos)
}

fn refuse_overlap(infos: &[TensorInfo]) -> Result<(), GgufError> {
    let mut by_offset: Vec<&TensorInfo> = infos.iter().collect();
    by_offset.sort_by_key(|info| info.offset);
    for pair in by_offset.windows(2) {
        let expected = pair[0].offset + pair[0].n_bytes;
        if pair[1].offset < expected {
            let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
            return Err(GgufError::TensorsOverlap { first, second, expected, got: pair[1].offset });
        }
    }
    Ok(())
}
