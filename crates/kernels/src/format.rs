//! The weight formats of ggml that the kernels read, and matrices of them.

use crate::ActivationFormat;
use std::fmt;
use std::ops::Range;

/// How weights are stored. Names, block lengths and layouts are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the formats' own")]
#[expect(non_camel_case_types, reason = "the names are the formats' own")]
pub enum WeightType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl WeightType {
    /// Every format.
    pub const ALL: [WeightType; 11] = [
        WeightType::F32,
        WeightType::F16,
        WeightType::BF16,
        WeightType::Q4_0,
        WeightType::Q4_1,
        WeightType::Q5_0,
        WeightType::Q5_1,
        WeightType::Q8_0,
        WeightType::Q4_K,
        WeightType::Q5_K,
        WeightType::Q6_K,
    ];

    /// Weights in a block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// The form activations must have to be multiplied with weights of this type.
    #[must_use]
    pub const fn activation_format(self) -> ActivationFormat {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => ActivationFormat::F32,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Q4_K | Self::Q5_K | Self::Q6_K => {
                ActivationFormat::Q8_32
            }
        }
    }
}

/// Bytes and shape that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// Rows asked for.
    pub n_rows: usize,
    /// Columns asked for.
    pub n_cols: usize,
    /// The format.
    pub weight_type: WeightType,
    /// Bytes given.
    pub n_bytes: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_rows, n_cols, weight_type, n_bytes } = self;
        write!(f, "expected the bytes of a {n_rows} x {n_cols} matrix of {weight_type:?}, got {n_bytes} bytes")
    }
}

impl std::error::Error for ShapeError {}

/// A matrix of weights, `[n_rows, n_cols]` row-major, each row a whole number of blocks. Borrowed, often from a file.
#[derive(Clone, Copy, Debug)]
pub struct WeightMatrix<'a> {
    weight_type: WeightType,
    n_rows: usize,
    n_cols: usize,
    bytes: &'a [u8],
}

impl<'a> WeightMatrix<'a> {
    /// A matrix over `bytes`.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, or `bytes` is not exactly the matrix.
    pub fn new(weight_type: WeightType, n_rows: usize, n_cols: usize, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let error = ShapeError { n_rows, n_cols, weight_type, n_bytes: bytes.len() };
        if !n_cols.is_multiple_of(weight_type.block_len()) {
            return Err(error);
        }
        let row_bytes = n_cols / weight_type.block_len() * weight_type.block_bytes();
        match row_bytes.checked_mul(n_rows) {
            Some(n) if n == bytes.len() => Ok(Self { weight_type, n_rows, n_cols, bytes }),
            _ => Err(error),
        }
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

    /// Bytes of a row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.n_cols / self.weight_type.block_len() * self.weight_type.block_bytes()
    }

    /// The bytes of row `idx`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, idx: usize) -> &'a [u8] {
        &self.bytes[idx * self.row_bytes()..][..self.row_bytes()]
    }

    /// The matrix of rows `range`.
    ///
    /// # Panics
    /// If the range is not inside the matrix.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let bytes = &self.bytes[range.start * self.row_bytes()..range.end * self.row_bytes()];
        Self { n_rows: range.len(), bytes, ..*self }
    }
}
