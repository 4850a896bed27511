//! Activations to int8 over any [`Isa`]; `lanes::quantize_block` says what is computed.

use crate::activations::Block;
use crate::isa::Isa;
use crate::lanes;

/// Rows `[n_rows, n_cols]` to blocks `[n_cols / 32, n_rows]`; lengths were checked.
#[inline(always)]
pub(crate) fn quantize<S: Isa>(isa: S, x: &[f32], n_rows: usize, out: &mut [Block]) {
    let n_blocks = out.len() / n_rows;
    for row in 0..n_rows {
        let x = &x[row * 32 * n_blocks..][..32 * n_blocks];
        for idx in 0..n_blocks {
            let x = x[32 * idx..].first_chunk().expect("the row has whole blocks");
            out[idx * n_rows + row] = quantize_block(isa, x);
        }
    }
}

#[inline(always)]
fn quantize_block<S: Isa>(isa: S, x: &[f32; 32]) -> Block {
    let halves = x.as_chunks::<16>().0;
    let (first, second) = (isa.load(&halves[0]), isa.load(&halves[1]));
    let mut magnitudes = [0.0; 16];
    isa.store(isa.max_magnitude(isa.max_magnitude(isa.splat(0.0), first), second), &mut magnitudes);
    let (scale, inverse) = lanes::scale_of(magnitudes);
    let inverse = isa.splat(inverse);
    let (first, second) = (isa.round(isa.mul(first, inverse)), isa.round(isa.mul(second, inverse)));
    let mut bytes = [0; 32];
    let halves = bytes.as_chunks_mut::<16>().0;
    isa.store_i8(first, &mut halves[0]);
    isa.store_i8(second, &mut halves[1]);
    lanes::block(&bytes, scale, [isa.sum(first), isa.sum(second)])
}
