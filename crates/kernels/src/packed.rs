//! Weights as the kernels read them: the very bits of ggml's blocks, in another order.
//!
//! Sixteen rows are a strip: a vector has one row in each lane, an activation is broadcast to all of them, and nothing
//! is ever added across lanes. A strip is contiguous and goes from column to column; within it the sixteen blocks that
//! stand side by side are one group, as large as they were, field by field:
//!
//! | format | fields of a group, 16 lanes each |
//! |---|---|
//! | F32, F16, BF16 | one column |
//! | Q4_0 | f16 scale; nibbles |
//! | Q4_1 | f16 scale; f16 minimum; nibbles |
//! | Q5_0 | f16 scale; fifth bits; nibbles |
//! | Q5_1 | f16 scale; f16 minimum; fifth bits; nibbles |
//! | Q8_0 | f16 scale; bytes, 128 too great |
//! | Q4_K | f16 scale; f16 minimum; three words of 6-bit scales and minima; nibbles of each of 8 slices |
//! | Q5_K | as Q4_K, with fifth bits before the nibbles of each slice |
//! | Q6_K | f16 scale; 16 x int8 scales; high bits, nibbles of each of 8 slices |
//!
//! A slice is 32 columns. Its quants are eight units of 64 bytes, byte `4 * lane + b` of unit `u` being column
//! `4 * u + b`: the order that dot-product instructions of four bytes and int8 tiles want.
//! - nibbles: four units, low nibbles are units 0 to 3, high ones units 4 to 7;
//! - fifth bits: one unit, bit `u` of each byte belongs to unit `u`;
//! - high bits of Q6_K: two units, in the first two bits each of units 0 to 3, in the second of units 4 to 7.
//!
//! Rows that fill up the last strip are zeros.

mod pack;
mod slice;

pub use pack::pack;
pub(crate) use slice::{Slice, column_lane, unpack};

use crate::{ShapeError, WeightType};
use std::ops::Range;

/// Rows of a strip.
pub const STRIP_ROWS: usize = 16;

/// A matrix of weights, `[n_rows, n_cols]`, in strips. Borrowed, often from a file.
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a> {
    weight_type: WeightType,
    n_rows: usize,
    n_cols: usize,
    bytes: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// A matrix over `bytes`, as [`pack()`] writes them.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, or `bytes` is not exactly the matrix.
    pub fn new(weight_type: WeightType, n_rows: usize, n_cols: usize, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        match Self::bytes_of(weight_type, n_rows, n_cols) {
            Some(n) if n == bytes.len() => Ok(Self { weight_type, n_rows, n_cols, bytes }),
            _ => Err(ShapeError { n_rows, n_cols, weight_type, n_bytes: bytes.len() }),
        }
    }

    /// Bytes of a packed matrix; `None` if a row is not a whole number of blocks or there are too many.
    #[must_use]
    pub fn bytes_of(weight_type: WeightType, n_rows: usize, n_cols: usize) -> Option<usize> {
        if !n_cols.is_multiple_of(weight_type.block_len()) {
            return None;
        }
        let strip_bytes = (n_cols / weight_type.block_len()).checked_mul(STRIP_ROWS * weight_type.block_bytes())?;
        strip_bytes.checked_mul(n_rows.div_ceil(STRIP_ROWS))
    }

    /// The format.
    #[must_use]
    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// Rows: outputs of a product.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns: inputs of a product.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Strips; the last may have fewer than [`STRIP_ROWS`] rows that count.
    #[must_use]
    pub fn n_strips(&self) -> usize {
        self.n_rows.div_ceil(STRIP_ROWS)
    }

    /// The matrix of the rows `range`, which begins at a strip and ends at one or at the matrix's end.
    ///
    /// # Panics
    /// If the range is not inside the matrix or not made of strips.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let whole_end = range.end.is_multiple_of(STRIP_ROWS) || range.end == self.n_rows;
        let whole = range.is_empty() || range.start.is_multiple_of(STRIP_ROWS) && whole_end;
        assert!(whole && range.end <= self.n_rows, "rows {range:?} are not whole strips of {}", self.n_rows);
        let strips = range.start.div_ceil(STRIP_ROWS)..range.end.div_ceil(STRIP_ROWS);
        let bytes = &self.bytes[strips.start * self.strip_bytes()..strips.end * self.strip_bytes()];
        Self { n_rows: range.len(), bytes, ..*self }
    }

    /// Writes row `idx` to `out` as f32, bit for bit as [`crate::dequantize`] of the row it was packed from.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `n_cols` long.
    pub fn dequantize_row(&self, idx: usize, out: &mut [f32]) {
        assert!(idx < self.n_rows && out.len() == self.n_cols, "row {idx} to {} entries", out.len());
        slice::dequantize_lane(self.weight_type, self.strip(idx / STRIP_ROWS), idx % STRIP_ROWS, out);
    }

    /// The bytes of strip `idx`.
    pub(crate) fn strip(&self, idx: usize) -> &'a [u8] {
        &self.bytes[idx * self.strip_bytes()..][..self.strip_bytes()]
    }

    fn strip_bytes(&self) -> usize {
        self.n_cols / self.weight_type.block_len() * self.weight_type.block_bytes() * STRIP_ROWS
    }
}
