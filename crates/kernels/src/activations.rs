//! The left-hand side of a product: rows of activations in the form that the weights' type wants.

use crate::Kernels;

/// The forms activations can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationFormat {
    /// Plain f32.
    F32,
    /// int8 in blocks of 32, a scale and an integer sum per block.
    Q8_32,
    /// int8 in blocks of 256, a scale per block and an integer sum per 16.
    Q8_256,
}

/// Rows of activations, `[n_rows, n_cols]`. One buffer serves every layer: it grows to the largest use and stays.
#[derive(Debug, Default)]
pub struct Activations {
    format: Option<ActivationFormat>,
    n_rows: usize,
    n_cols: usize,
    values: Vec<f32>,
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    offsets: Vec<f32>,
}

impl Activations {
    /// Fills the buffer with `x`, rows of `n_cols`, in `format`.
    ///
    /// # Panics
    /// If `n_cols` is 0, does not divide the length of `x`, or is not a whole number of the format's blocks.
    pub fn fill(&mut self, kernels: &dyn Kernels, format: ActivationFormat, x: &[f32], n_cols: usize) {
        assert!(n_cols > 0 && x.len().is_multiple_of(n_cols), "{} entries in rows of {n_cols}", x.len());
        (self.format, self.n_rows, self.n_cols) = (Some(format), x.len() / n_cols, n_cols);
        let (block_len, sum_len) = match format {
            ActivationFormat::F32 => {
                self.values.clear();
                self.values.extend_from_slice(x);
                return;
            }
            ActivationFormat::Q8_32 => (32, 32),
            ActivationFormat::Q8_256 => (256, 16),
        };
        assert!(n_cols.is_multiple_of(block_len), "rows of {n_cols} in blocks of {block_len}");
        self.quants.resize(x.len(), 0);
        self.scales.resize(x.len() / block_len, 0.0);
        self.sums.resize(x.len() / sum_len, 0);
        if format == ActivationFormat::Q8_32 {
            kernels.quantize_q8_32(x, &mut self.quants, &mut self.scales, &mut self.sums);
            self.offsets.clear();
            self.offsets.extend(self.scales.iter().zip(&self.sums).map(|(scale, sum)| scale * *sum as f32));
        } else {
            kernels.quantize_q8_256(x, &mut self.quants, &mut self.scales, &mut self.sums);
        }
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

    /// Row `idx` as f32, `[n_cols]`; empty unless the format is `F32`.
    pub(crate) fn row_f32(&self, idx: usize) -> &[f32] {
        &self.values[idx * self.n_cols..][..self.n_cols]
    }

    /// Row `idx` quantised: values, scales, sums.
    pub(crate) fn row_q8(&self, idx: usize) -> Q8Row<'_> {
        let (block_len, sum_len) = if self.format == Some(ActivationFormat::Q8_256) { (256, 16) } else { (32, 32) };
        let (n_scales, n_sums) = (self.n_cols / block_len, self.n_cols / sum_len);
        let n_offsets = if block_len == 32 { n_scales } else { 0 };
        Q8Row {
            offsets: &self.offsets[idx * n_offsets..][..n_offsets],
            quants: &self.quants[idx * self.n_cols..][..self.n_cols],
            scales: &self.scales[idx * n_scales..][..n_scales],
            sums: &self.sums[idx * n_sums..][..n_sums],
        }
    }
}

/// One quantised row: `[n_cols]` values, a scale per block, a sum per block (of 32) or per 16 (blocks of 256).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q8Row<'a> {
    pub(crate) quants: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
    /// In blocks of 32: what a block's entries add up to, `scale * sum`.
    pub(crate) offsets: &'a [f32],
}
