//! The left-hand side of a product: rows of activations in the form that the weights' type wants.

use crate::Kernels;

/// The forms activations can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationFormat {
    /// Plain f32.
    F32,
    /// int8 in blocks of 32 with a scale each.
    Q8_32,
}

/// Rows that stand together: an entry of one is beside the same entry of the next.
pub const TILE_ROWS: usize = 16;

/// Rows of activations, `[n_rows, n_cols]`. One buffer serves every layer: it grows to the largest use and stays.
///
/// Rows come in tiles of [`TILE_ROWS`], the last of as many as are left. A tile of `h` rows is `[n_cols, h]` as f32, or
/// `[n_blocks, h]` blocks, so that the rows a kernel takes at once are read in one stream.
#[derive(Debug, Default)]
pub struct Activations {
    format: Option<ActivationFormat>,
    n_rows: usize,
    n_cols: usize,
    values: Vec<f32>,
    blocks: Vec<Block>,
}

/// 32 activations: entry `i` is `quants[i] * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Block {
    /// From -127 to 127, four to a word, little-endian.
    pub quants: [i32; 8],
    /// What a quant counts.
    pub scale: f32,
    /// What the entries add up to: `scale` times the sum of the quants.
    pub offset: f32,
    /// Minus the sums of the first and the second 16 quants.
    pub neg_sums: [i32; 2],
    /// Minus the sum of all quants.
    pub neg_sum: i32,
}

impl Block {
    /// 32 times 0.
    pub const ZERO: Self = Self { quants: [0; 8], scale: 0.0, offset: 0.0, neg_sums: [0; 2], neg_sum: 0 };
}

impl Activations {
    /// Makes room for rows in `format`, `[n_rows, n_cols]`; what they are is undefined until each tile is filled.
    ///
    /// # Panics
    /// If `n_cols` is 0 or not a whole number of the format's blocks.
    pub fn reset(&mut self, format: ActivationFormat, n_rows: usize, n_cols: usize) -> TilesMut<'_> {
        assert!(n_cols > 0, "rows without columns");
        (self.format, self.n_rows, self.n_cols) = (Some(format), n_rows, n_cols);
        match format {
            ActivationFormat::F32 => {
                self.blocks.clear();
                self.values.resize(n_rows * n_cols, 0.0);
            }
            ActivationFormat::Q8_32 => {
                assert!(n_cols.is_multiple_of(32), "rows of {n_cols} in blocks of 32");
                self.values.clear();
                self.blocks.resize(n_rows * (n_cols / 32), Block::ZERO);
            }
        }
        TilesMut { n_rows, n_cols, values: &mut self.values, blocks: &mut self.blocks }
    }

    /// Fills the buffer with `x`, rows of `n_cols`, in `format`.
    ///
    /// # Panics
    /// If `n_cols` is 0, does not divide the length of `x`, or is not a whole number of the format's blocks.
    pub fn fill(&mut self, kernels: &dyn Kernels, format: ActivationFormat, x: &[f32], n_cols: usize) {
        assert!(n_cols > 0 && x.len().is_multiple_of(n_cols), "{} entries in rows of {n_cols}", x.len());
        self.reset(format, x.len() / n_cols, n_cols).fill(kernels, x);
    }

    /// The form the rows have now.
    #[must_use]
    pub fn format(&self) -> Option<ActivationFormat> {
        self.format
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Rows of tile `idx`.
    pub(crate) fn tile_rows(&self, idx: usize) -> usize {
        (self.n_rows - idx * TILE_ROWS).min(TILE_ROWS)
    }

    /// Tile `idx` as f32, `[n_cols, tile_rows]`.
    pub(crate) fn tile_f32(&self, idx: usize) -> &[f32] {
        &self.values[idx * TILE_ROWS * self.n_cols..][..self.tile_rows(idx) * self.n_cols]
    }

    /// Tile `idx` in blocks, `[n_blocks, tile_rows]`.
    pub(crate) fn tile_blocks(&self, idx: usize) -> &[Block] {
        let n_blocks = self.n_cols / 32;
        &self.blocks[idx * TILE_ROWS * n_blocks..][..self.tile_rows(idx) * n_blocks]
    }
}

/// Some tiles of activations, to be filled.
#[derive(Debug)]
pub struct TilesMut<'a> {
    n_rows: usize,
    n_cols: usize,
    /// Empty unless the rows are f32.
    values: &'a mut [f32],
    /// Empty unless the rows are blocks.
    blocks: &'a mut [Block],
}

impl<'a> TilesMut<'a> {
    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Splits into the first `n_rows` rows and the rest.
    ///
    /// # Panics
    /// If there are fewer rows, or `n_rows` is neither a whole number of tiles nor all.
    #[must_use]
    pub fn split_at_row(self, n_rows: usize) -> (Self, Self) {
        let whole = n_rows.is_multiple_of(TILE_ROWS) || n_rows == self.n_rows;
        assert!(n_rows <= self.n_rows && whole, "split at row {n_rows} of {}", self.n_rows);
        let Self { n_cols, .. } = self;
        let split = |len: usize, unit: usize| if len == 0 { 0 } else { n_rows * unit };
        let (left_values, values) = self.values.split_at_mut(split(self.values.len(), n_cols));
        let (left_blocks, blocks) = self.blocks.split_at_mut(split(self.blocks.len(), n_cols / 32));
        let left = Self { n_rows, n_cols, values: left_values, blocks: left_blocks };
        (left, Self { n_rows: self.n_rows - n_rows, n_cols, values, blocks })
    }

    /// Fills all rows with `x`, `[n_rows, n_cols]`.
    ///
    /// # Panics
    /// If `x` is of another length.
    pub fn fill(&mut self, kernels: &dyn Kernels, x: &[f32]) {
        assert!(x.len() == self.n_rows * self.n_cols, "{} entries for {} rows", x.len(), self.n_rows);
        for (idx, x) in x.chunks(TILE_ROWS * self.n_cols).enumerate() {
            self.fill_tile(kernels, idx, x);
        }
    }

    /// Fills tile `idx` of these with `x`, `[tile_rows, n_cols]`.
    ///
    /// # Panics
    /// If there is no such tile or `x` is of another length.
    pub fn fill_tile(&mut self, kernels: &dyn Kernels, idx: usize, x: &[f32]) {
        let n_rows = (self.n_rows - idx * TILE_ROWS).min(TILE_ROWS);
        assert!(x.len() == n_rows * self.n_cols, "{} entries for {n_rows} rows", x.len());
        if self.values.is_empty() {
            let n_blocks = self.n_cols / 32;
            let blocks = &mut self.blocks[idx * TILE_ROWS * n_blocks..][..n_rows * n_blocks];
            kernels.quantize(x, n_rows, blocks);
            return;
        }
        let values = &mut self.values[idx * TILE_ROWS * self.n_cols..][..x.len()];
        for (row, x) in x.chunks_exact(self.n_cols).enumerate() {
            values[row..].iter_mut().step_by(n_rows).zip(x).for_each(|(value, x)| *value = *x);
        }
    }
}
