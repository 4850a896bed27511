//! Arrays whose rows do not lie back to back: reading them into dense ones. Outputs of GPU and neural engine are padded.

use ballast_backend::{DType, RANK_MAX, TensorData, element_count};

/// An array in memory: extents and, for each dimension, how many elements lie between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// An array that does not fit its own buffer, or that nobody could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Extents or strides that are negative.
    #[error("array: expected extents and strides from 0, got {got}")]
    Negative {
        /// One of them.
        got: i64,
    },
    /// Extents and strides of different number, or too many.
    #[error("array: expected one stride for each of at most {RANK_MAX} dimensions, got {n_dims} and {n_strides}")]
    Rank {
        /// Dimensions.
        n_dims: usize,
        /// Strides.
        n_strides: usize,
    },
    /// An element outside of the buffer.
    #[error("array: expected its last element within {buffer_bytes} bytes, got {end_bytes:?}")]
    OutOfBounds {
        /// The buffer's length.
        buffer_bytes: usize,
        /// Where the last element ends; `None`: further than can be counted.
        end_bytes: Option<usize>,
    },
}

impl Layout {
    /// Checks extents and strides as Core ML tells them.
    pub(crate) fn new(shape: &[i64], strides: &[i64]) -> Result<Self, LayoutError> {
        if shape.len() != strides.len() || shape.len() > RANK_MAX {
            return Err(LayoutError::Rank { n_dims: shape.len(), n_strides: strides.len() });
        }
        let sizes = |values: &[i64]| -> Result<Vec<usize>, LayoutError> {
            values.iter().map(|&got| usize::try_from(got).map_err(|_| LayoutError::Negative { got })).collect()
        };
        Ok(Self { shape: sizes(shape)?, strides: sizes(strides)? })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where the last element ends, in elements; `None` if that cannot be counted.
    fn end(&self) -> Option<usize> {
        let dims = self.shape.iter().zip(&self.strides);
        let last = dims.clone().try_fold(0_usize, |end, (&extent, &stride)| {
            end.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
        })?;
        if dims.clone().any(|(&extent, _)| extent == 0) { Some(0) } else { last.checked_add(1) }
    }

    /// How many of the last dimensions lie back to back, and the elements of such a run.
    fn run(&self) -> (usize, usize) {
        let mut run = 1;
        for (idx, (&extent, &stride)) in self.shape.iter().zip(&self.strides).enumerate().rev() {
            if stride != run && extent != 1 {
                return (idx + 1, run);
            }
            run *= extent;
        }
        (0, run)
    }
}

/// Strides of a dense array, in elements.
pub(crate) fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for idx in (1..shape.len()).rev() {
        strides[idx - 1] = strides[idx] * shape[idx];
    }
    strides
}

/// Checks that an array lies within its buffer, and is no larger than it, which one that repeats elements could be.
pub(crate) fn check(buffer_bytes: usize, layout: &Layout, dtype: DType) -> Result<(), LayoutError> {
    let in_bytes = |n_elements: usize| n_elements.checked_mul(dtype.size_bytes());
    let ends = [layout.end().and_then(in_bytes), element_count(&layout.shape).and_then(in_bytes)];
    match ends.into_iter().find(|end| end.is_none_or(|end| end > buffer_bytes)) {
        Some(end_bytes) => Err(LayoutError::OutOfBounds { buffer_bytes, end_bytes }),
        None => Ok(()),
    }
}

/// Reads the elements of an array into `data`, row-major. `data` must have the number of elements that `layout` has.
///
/// # Errors
/// [`LayoutError::OutOfBounds`]; nothing is written then.
pub(crate) fn gather(bytes: &[u8], layout: &Layout, data: &mut TensorData) -> Result<(), LayoutError> {
    check(bytes.len(), layout, data.dtype())?;
    let element_bytes = data.dtype().size_bytes();
    if let Some(out) = bytes_mut(data) {
        assert_eq!(element_count(&layout.shape).map(|n| n * element_bytes), Some(out.len()), "one place each");
        copy_runs(bytes, layout, element_bytes, out);
    }
    Ok(())
}

fn copy_runs(bytes: &[u8], layout: &Layout, element_bytes: usize, out: &mut [u8]) {
    let (n_outer, run) = layout.run();
    let run_bytes = run * element_bytes;
    if out.is_empty() {
        return;
    }
    let mut at = [0_usize; RANK_MAX];
    for row in out.chunks_exact_mut(run_bytes) {
        let start: usize = at.iter().zip(&layout.strides[..n_outer]).map(|(i, stride)| i * stride).sum();
        row.copy_from_slice(&bytes[start * element_bytes..][..run_bytes]);
        for dim in (0..n_outer).rev() {
            at[dim] += 1;
            if at[dim] < layout.shape[dim] {
                break;
            }
            at[dim] = 0;
        }
    }
}

/// The elements as bytes, of the types that Core ML has.
pub(crate) fn bytes_mut(data: &mut TensorData) -> Option<&mut [u8]> {
    match data {
        TensorData::F32(values) => Some(bytemuck::cast_slice_mut(values)),
        TensorData::F64(values) => Some(bytemuck::cast_slice_mut(values)),
        TensorData::F16(bits) => Some(bytemuck::cast_slice_mut(bits)),
        TensorData::I32(values) => Some(bytemuck::cast_slice_mut(values)),
        TensorData::I8(values) => Some(bytemuck::cast_slice_mut(values)),
        TensorData::Bf16(_)
        | TensorData::I64(_)
        | TensorData::I16(_)
        | TensorData::U64(_)
        | TensorData::U32(_)
        | TensorData::U16(_)
        | TensorData::U8(_)
        | TensorData::Bool(_)
        | TensorData::Str(_) => None,
    }
}

/// The same for reading.
pub(crate) fn bytes_of(data: &TensorData) -> Option<&[u8]> {
    match data {
        TensorData::F32(values) => Some(bytemuck::cast_slice(values)),
        TensorData::F64(values) => Some(bytemuck::cast_slice(values)),
        TensorData::F16(bits) => Some(bytemuck::cast_slice(bits)),
        TensorData::I32(values) => Some(bytemuck::cast_slice(values)),
        TensorData::I8(values) => Some(bytemuck::cast_slice(values)),
        TensorData::Bf16(_)
        | TensorData::I64(_)
        | TensorData::I16(_)
        | TensorData::U64(_)
        | TensorData::U32(_)
        | TensorData::U16(_)
        | TensorData::U8(_)
        | TensorData::Bool(_)
        | TensorData::Str(_) => None,
    }
}

/// Types of elements that Core ML's arrays can have, with its numbers for them.
const CODES: [(DType, i64); 5] = [
    (DType::F64, 0x10000 | 64),
    (DType::F32, 0x10000 | 32),
    (DType::F16, 0x10000 | 16),
    (DType::I32, 0x20000 | 32),
    (DType::I8, 0x20000 | 8),
];

/// Core ML's number for a type; `None` if it has none.
pub(crate) fn code_of(dtype: DType) -> Option<i64> {
    CODES.iter().find(|(known, _)| *known == dtype).map(|(_, code)| *code)
}

/// The type of a number of Core ML's.
pub(crate) fn dtype_of(code: i64) -> Option<DType> {
    CODES.iter().find(|(_, known)| *known == code).map(|(dtype, _)| *dtype)
}

/// The types that Core ML takes.
pub(crate) fn dtypes() -> Vec<DType> {
    CODES.iter().map(|(dtype, _)| *dtype).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gathered(values: &[i32], shape: &[i64], strides: &[i64]) -> Result<Vec<i32>, LayoutError> {
        let layout = Layout::new(shape, strides)?;
        let mut data = TensorData::zeros(DType::I32, element_count(layout.shape()).unwrap());
        gather(bytemuck::cast_slice(values), &layout, &mut data)?;
        let TensorData::I32(values) = data else { panic!("{data:?}") };
        Ok(values)
    }

    #[test]
    fn padded_and_transposed_arrays_are_read_row_by_row() {
        let values: Vec<i32> = (0..24).collect();
        let cases: [(&[i64], &[i64], Vec<i32>); 7] = [
            (&[2, 3], &[3, 1], vec![0, 1, 2, 3, 4, 5]),
            (&[2, 3], &[8, 1], vec![0, 1, 2, 8, 9, 10]),
            (&[3, 2], &[1, 3], vec![0, 3, 1, 4, 2, 5]),
            (&[2, 1, 2], &[12, 99, 1], vec![0, 1, 12, 13]),
            (&[2, 2, 2], &[12, 4, 2], vec![0, 2, 4, 6, 12, 14, 16, 18]),
            (&[], &[], vec![0]),
            (&[2, 0], &[1, 1], vec![]),
        ];
        for (shape, strides, expected) in cases {
            assert_eq!(gathered(&values, shape, strides), Ok(expected), "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn arrays_that_leave_their_buffer_are_refused() {
        let values = [0; 6];
        assert!(gathered(&values, &[2, 3], &[3, 1]).is_ok());
        for (shape, strides) in [(&[2, 3], &[4, 1]), (&[7, 1], &[1, 1]), (&[2, 2], &[i64::MAX, i64::MAX])] {
            assert!(matches!(gathered(&values, shape, strides), Err(LayoutError::OutOfBounds { .. })), "{shape:?}");
        }
        let huge = Layout::new(&[1 << 40], &[0]).unwrap();
        assert!(check(24, &huge, DType::I32).is_err(), "an element that is repeated is no reason to allocate");
        assert_eq!(gathered(&values, &[2], &[-1]), Err(LayoutError::Negative { got: -1 }));
        assert_eq!(gathered(&values, &[2], &[]), Err(LayoutError::Rank { n_dims: 1, n_strides: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_gathered_is_what_its_indices_say(
            shape in proptest::collection::vec(1_i64..4, 1..5), pads in proptest::collection::vec(0_i64..3, 5),
        ) {
            let mut strides = vec![1; shape.len()];
            for dim in (1..shape.len()).rev() {
                strides[dim - 1] = strides[dim] * shape[dim] + pads[dim];
            }
            let len = shape[0] * strides[0];
            let values: Vec<i32> = (0..i32::try_from(len).unwrap()).collect();
            let mut expected = vec![0];
            for (extent, stride) in shape.iter().zip(&strides) {
                let steps = expected.iter().flat_map(|base| (0..*extent).map(move |i| base + i * stride));
                expected = steps.collect();
            }
            let expected: Vec<i32> = expected.into_iter().map(|v| i32::try_from(v).unwrap()).collect();
            prop_assert_eq!(gathered(&values, &shape, &strides).unwrap(), expected);
        }
    }
}
