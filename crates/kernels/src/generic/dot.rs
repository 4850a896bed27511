//! Dot products of one weight row and one activation row.

use crate::activations::Q8Row;
use crate::blocks::{Block32, Block256, dequantize};
use crate::{Activations, WeightMatrix, WeightType};

/// Row `j` of the weights with row `i` of the activations.
pub(super) fn dot(w: &WeightMatrix<'_>, j: usize, x: &Activations, i: usize) -> f32 {
    let blocks = w.row(j).chunks_exact(w.weight_type().block_bytes());
    match w.weight_type() {
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => dot_f32(w.weight_type(), w.row(j), x.row_f32(i)),
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q5_0 | WeightType::Q5_1 | WeightType::Q8_0 => {
            dot_32(blocks.map(|block| Block32::unpack(w.weight_type(), block)), x.row_q8(i))
        }
        WeightType::Q4_K | WeightType::Q5_K | WeightType::Q6_K => {
            dot_256(blocks.map(|block| Block256::unpack(w.weight_type(), block)), x.row_q8(i))
        }
    }
}

fn dot_f32(weight_type: WeightType, weights: &[u8], x: &[f32]) -> f32 {
    let mut total = 0.0;
    for (bytes, x) in weights.chunks(32 * weight_type.block_bytes()).zip(x.chunks(32)) {
        let mut weights = [0.0; 32];
        dequantize(weight_type, bytes, &mut weights[..x.len()]);
        for (weight, x) in weights.iter().zip(x) {
            total += weight * x;
        }
    }
    total
}

fn dot_32(blocks: impl Iterator<Item = Block32>, x: Q8Row<'_>) -> f32 {
    let mut total = 0.0;
    let activations = x.quants.as_chunks::<32>().0.iter().zip(x.scales).zip(x.offsets);
    for (block, ((quants, scale), offset)) in blocks.zip(activations) {
        total += block.scale * scale * dot_i8(&block.quants, quants) as f32;
        total -= block.min * offset;
    }
    total
}

fn dot_256(blocks: impl Iterator<Item = Block256>, x: Q8Row<'_>) -> f32 {
    let mut total = 0.0;
    let activations = x.quants.as_chunks::<256>().0.iter().zip(x.scales).zip(x.sums.as_chunks::<16>().0);
    for (block, ((quants, scale), sums)) in blocks.zip(activations) {
        let groups = block.quants.as_chunks::<16>().0.iter().zip(quants.as_chunks::<16>().0);
        let products: i32 = groups.zip(block.scales).map(|((w, x), scale)| i32::from(scale) * dot_i8(w, x)).sum();
        let minima: i32 = block.mins.iter().zip(sums).map(|(min, sum)| i32::from(*min) * sum).sum();
        total += block.scale * scale * products as f32;
        total -= block.min * scale * minima as f32;
    }
    total
}

fn dot_i8(w: &[i8], x: &[i8]) -> i32 {
    w.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum()
}
