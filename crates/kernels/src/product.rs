//! Products of packed weights and activations over any [`Isa`].
//!
//! A result adds up in one vector lane from the first column to the last, and by the same operations whatever rows are
//! computed beside it.

mod formats;
mod plain;
mod quantized;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tiles;

use crate::isa::Isa;
use crate::packed::STRIP_ROWS;
use crate::{Activations, PackedMatrix, PanelMut, WeightType};

/// Activation rows that stay in the second cache while all strips of weights pass.
const PANEL_TILES: usize = 16;

/// `y = x w^T`; shapes were checked.
#[inline(always)]
pub(crate) fn matmul<S: Isa>(isa: S, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match w.weight_type() {
        WeightType::F32 => plain::matmul::<S, plain::F32, 64>(isa, w, x, y),
        WeightType::F16 => plain::matmul::<S, plain::F16, 32>(isa, w, x, y),
        WeightType::BF16 => plain::matmul::<S, plain::BF16, 32>(isa, w, x, y),
        WeightType::Q4_0 => quantized::matmul::<S, formats::Q4_0>(isa, w, x, y),
        WeightType::Q4_1 => quantized::matmul::<S, formats::Q4_1>(isa, w, x, y),
        WeightType::Q5_0 => quantized::matmul::<S, formats::Q5_0>(isa, w, x, y),
        WeightType::Q5_1 => quantized::matmul::<S, formats::Q5_1>(isa, w, x, y),
        WeightType::Q8_0 => quantized::matmul::<S, formats::Q8_0>(isa, w, x, y),
        WeightType::Q4_K => quantized::matmul::<S, formats::Q4_K>(isa, w, x, y),
        WeightType::Q5_K => quantized::matmul::<S, formats::Q5_K>(isa, w, x, y),
        WeightType::Q6_K => quantized::matmul::<S, formats::Q6_K>(isa, w, x, y),
    }
}

/// Writes the results of row `i` from weight row `j` on, as far as there are.
#[inline(always)]
fn store<S: Isa>(isa: S, y: &mut PanelMut<'_>, i: usize, j: usize, results: S::F) {
    let row = &mut y.row_mut(i)[j..];
    if let Some(out) = row.first_chunk_mut::<STRIP_ROWS>() {
        isa.store(results, out);
        return;
    }
    let mut out = [0.0; STRIP_ROWS];
    isa.store(results, &mut out);
    row.copy_from_slice(&out[..row.len()]);
}
