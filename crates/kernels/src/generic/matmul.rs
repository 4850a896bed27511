//! Products, one result and one column after another.

use crate::activations::{Block, TILE_ROWS};
use crate::packed::{STRIP_ROWS, Slice, column_lane, unpack};
use crate::{ActivationFormat, Activations, PackedMatrix, PanelMut, WeightType};

pub(super) fn matmul(w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    for strip in 0..w.n_strips() {
        let first = strip * STRIP_ROWS;
        let n_lanes = (w.n_rows() - first).min(STRIP_ROWS);
        match w.weight_type().activation_format() {
            ActivationFormat::F32 => {
                for i in 0..x.n_rows() {
                    for lane in 0..n_lanes {
                        y.row_mut(i)[first + lane] = dot_f32(w, strip, lane, x, i);
                    }
                }
            }
            ActivationFormat::Q8_32 => {
                let slices: Vec<Slice> =
                    (0..w.n_cols() / 32).map(|idx| unpack(w.weight_type(), w.strip(strip), idx)).collect();
                for i in 0..x.n_rows() {
                    for lane in 0..n_lanes {
                        y.row_mut(i)[first + lane] = dot_q8(w.weight_type(), &slices, lane, x, i);
                    }
                }
            }
        }
    }
}

fn dot_f32(w: &PackedMatrix<'_>, strip: usize, lane: usize, x: &Activations, i: usize) -> f32 {
    let columns = w.strip(strip).chunks_exact(STRIP_ROWS * w.weight_type().block_bytes());
    let tile = x.tile_f32(i / TILE_ROWS).chunks_exact(x.tile_rows(i / TILE_ROWS));
    columns
        .zip(tile)
        .fold(0.0, |sum, (column, x)| x[i % TILE_ROWS].mul_add(column_lane(w.weight_type(), column, lane), sum))
}

fn dot_q8(weight_type: WeightType, slices: &[Slice], lane: usize, x: &Activations, i: usize) -> f32 {
    let mut total = 0.0;
    let tile = x.tile_blocks(i / TILE_ROWS).chunks_exact(x.tile_rows(i / TILE_ROWS));
    for (slice, blocks) in slices.iter().zip(tile) {
        let block = &blocks[i % TILE_ROWS];
        let [first, second] = products(weight_type, slice, lane, block);
        if weight_type == WeightType::Q6_K {
            total = (first as f32 * block.scale).mul_add(slice.scales[0][lane], total);
            total = (second as f32 * block.scale).mul_add(slice.scales[1][lane], total);
        } else {
            total = ((first + second) as f32 * block.scale).mul_add(slice.scales[0][lane], total);
        }
        if weight_type.has_mins() {
            total = block.offset.mul_add(slice.mins[lane], total);
        }
    }
    total
}

/// The integer dot products of columns 0 to 15 and of columns 16 to 31.
fn products(weight_type: WeightType, slice: &Slice, lane: usize, block: &Block) -> [i32; 2] {
    let mut sums = [0; 2];
    for (unit, word) in block.quants.into_iter().enumerate() {
        for (b, x) in word.to_le_bytes().into_iter().enumerate() {
            let weight = i32::from(slice.quants[unit][4 * lane + b]) - i32::from(weight_type.zero());
            sums[unit / 4] += weight * i32::from(x.cast_signed());
        }
    }
    sums
}
