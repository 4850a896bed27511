//! The left-hand side of a layer's products, in every form that its weights want.

use crate::weights::Weight;
use ballast_kernels::{ActivationFormat, Activations, Kernels, TILE_ROWS, TilesMut};

/// Which forms are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Formats {
    plain: bool,
    quantized: bool,
}

impl Formats {
    /// Those of some weights.
    pub(crate) fn of(weights: &[&Weight]) -> Self {
        let wants = |format| weights.iter().any(|weight| weight.activation_format() == format);
        Self { plain: wants(ActivationFormat::F32), quantized: wants(ActivationFormat::Q8_32) }
    }
}

/// Rows of activations in one form or both. Kept between steps.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    plain: Activations,
    quantized: Activations,
}

impl Inputs {
    /// Room for rows, `[n_rows, n_cols]`, in the forms `formats`.
    pub(crate) fn reset(&mut self, formats: Formats, n_rows: usize, n_cols: usize) -> InputsMut<'_> {
        let Self { plain, quantized } = self;
        InputsMut {
            n_rows,
            plain: formats.plain.then(|| plain.reset(ActivationFormat::F32, n_rows, n_cols)),
            quantized: formats.quantized.then(|| quantized.reset(ActivationFormat::Q8_32, n_rows, n_cols)),
        }
    }

    /// The rows in the form that some weights want.
    pub(crate) fn activations(&self, format: ActivationFormat) -> &Activations {
        match format {
            ActivationFormat::F32 => &self.plain,
            ActivationFormat::Q8_32 => &self.quantized,
        }
    }
}

/// Some rows, to be filled tile by tile.
#[derive(Debug)]
pub(crate) struct InputsMut<'a> {
    n_rows: usize,
    plain: Option<TilesMut<'a>>,
    quantized: Option<TilesMut<'a>>,
}

impl InputsMut<'_> {
    /// Rows of which no inputs are made.
    pub(crate) fn none(n_rows: usize) -> Self {
        Self { n_rows, plain: None, quantized: None }
    }

    /// Splits into the first `n_rows`, whole tiles or all, and the rest.
    pub(crate) fn split_at_row(self, n_rows: usize) -> (Self, Self) {
        let (plain, plain_rest) = self.plain.map(|tiles| tiles.split_at_row(n_rows)).unzip();
        let (quantized, quantized_rest) = self.quantized.map(|tiles| tiles.split_at_row(n_rows)).unzip();
        let rest = Self { n_rows: self.n_rows - n_rows, plain: plain_rest, quantized: quantized_rest };
        (Self { n_rows, plain, quantized }, rest)
    }

    /// Fills tile `idx` with `x`, `[tile_rows, n_cols]`.
    pub(crate) fn fill_tile(&mut self, kernels: &dyn Kernels, idx: usize, x: &[f32]) {
        for tiles in [&mut self.plain, &mut self.quantized].into_iter().flatten() {
            tiles.fill_tile(kernels, idx, x);
        }
    }

    /// Rows of each tile, in order.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let n_rows = self.n_rows;
        (0..n_rows).step_by(TILE_ROWS).map(move |start| start..n_rows.min(start + TILE_ROWS))
    }
}
